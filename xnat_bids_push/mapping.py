"""Where each file of a dataset lives in XNAT, by the table of ``mapping.toml``; and back. Pure.

`place` turns the files of one subject into parcels, one for each XNAT node; `path_of` turns an address back
into the dataset's path. Identity comes from names, never from order: a recording's address depends on its
root-relative path and the table alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

from xnat_bids_push.errors import MappingError
from xnat_bids_push.labels import Portion
from xnat_bids_push.model import (
    Address,
    BidsFile,
    Issue,
    Mark,
    MarkKind,
    Node,
    Origin,
    Parcel,
    Part,
    Placed,
    Scan,
    Severity,
)
from xnat_bids_push.names import (
    BidsName,
    escape,
    from_label,
    hide,
    is_session,
    is_subject,
    parse_name,
    to_label,
    unescape,
)
from xnat_bids_push.table import RESOURCE_LABEL, Datatype, Table

DESCRIPTION = "dataset_description.json"
MANIFEST = "manifest.json"
GENERATED = "generated.json"
"""Names in the resource of manifests: what XNAT cannot hold, and what is there although the dataset has it not."""

_LONGEST = 255
"""XNAT's limit for labels, IDs and short texts, in characters."""

_LONGEST_RESOURCE = _LONGEST - len("_catalog.xml")
"""XNAT names a resource's catalog for its label, and no file's name is longer than 255 bytes."""

_PHASES = frozenset({"phase", "real", "imag"})

_FOLDERS, _NAMES = 1 << 8, 1 << 13
"""How many folders and names are remembered. Names are the same in every session, but for subject and session."""


# ------------------------------------------------------------------ where a path lies


class Spot(NamedTuple):
    """Where a path lies in the BIDS hierarchy.

    Args:
        tree: the root's folder, if it is one of ``[trees]``.
        inner: the path below the folders named before; for a tree, the path below it.
        front: what the names of recordings begin with here; empty but in a datatype's folder.
    """

    subject: str = ""
    session: str = ""
    datatype: str = ""
    tree: str = ""
    inner: str = ""
    front: str = ""


def spot(path: str, table: Table) -> Spot:
    """Take a root-relative path apart.

    >>> from xnat_bids_push.table import default_table
    >>> spot("sub-01/ses-a/anat/sub-01_ses-a_T1w.nii", default_table()).datatype
    'anat'
    >>> spot("derivatives/prep/sub-01/x.nii", default_table()).subject
    'sub-01'
    >>> spot("stimuli/sub-01/x.png", default_table()).subject
    ''
    """
    folder, slash, name = path.rpartition("/")
    subject, session, datatype, tree, inner, front = spot_of_folder(folder + slash, table)
    return Spot(subject, session, datatype, tree, inner + name, front)


@lru_cache(maxsize=_FOLDERS)
def spot_of_folder(folder: str, table: Table) -> Spot:
    """What all paths directly in a folder have in common; its own path ends in "/", and the root's is empty."""
    first, slash, below = folder.partition("/")
    if first in table.trees and slash:
        # What is always read is read with the project: it would else come in two parts of one subject.
        parts = below.split("/") if table.trees[first].optional else []
        at = next((i for i, part in enumerate(parts[:2]) if is_subject(part) and i + 1 < len(parts)), None)
        if at is None:
            return Spot(tree=first, inner=below)
        session = parts[at + 1] if is_session(parts[at + 1]) and at + 2 < len(parts) else ""
        return Spot(parts[at], session, tree=first, inner=below)
    if not (is_subject(first) and slash):
        return Spot(inner=folder)
    head, slash, rest = below.partition("/")
    session, below = (head, rest) if slash and is_session(head) else ("", below)
    head, slash, rest = below.partition("/")
    if not (slash and head in table.datatypes):
        return Spot(first, session, inner=below)
    return Spot(first, session, head, inner=rest, front=f"{first}_{session}_" if session else f"{first}_")


def folder_of(node: Node, table: Table) -> str | None:
    """The dataset's folder that a node holds, with "/" at its end; None if the label is not one of ours.

    >>> from xnat_bids_push.table import default_table
    >>> folder_of(Node("sub-01", "sub-01_ses-a_MR"), default_table())
    'sub-01/ses-a/'
    """
    if not node.subject:
        return ""
    subject = table.naming.subject_folder(node.subject)
    if subject is None or not node.experiment:
        return f"{subject}/" if subject else None
    portion = table.naming.portion(node.experiment)
    if portion is None or portion.subject != subject:
        return None
    return f"{subject}/{portion.session}/" if portion.session else f"{subject}/"


# ------------------------------------------------------------------ what a name says


@dataclass(frozen=True, slots=True)
class Sense:
    """What a name says in a datatype's folder, but for subject and session: it is the same in every session.

    Args:
        scan: the scan of the recording that has this name.
        extension: from the first dot on.
        resource: where the recording itself goes; empty if no recording is called so.
        beside: where a file goes whose name is that of a recording but for the extension: the resource, and the rule.
        companions: the scans that a file may go with else, the best first: their IDs, and the rule.
    """

    scan: Scan
    extension: str
    resource: str
    beside: tuple[str, str]
    companions: tuple[tuple[str, str], ...]


def sense(where: Spot, table: Table) -> Sense | None:
    """What the name at a spot says: that of a file, or of the folder recording it lies in.

    None if there is no datatype, or if it is not a BIDS name of its folder's subject and session.
    """
    return _sense_of(where.inner, where, table)


def _sense_of(inner: str, where: Spot, table: Table) -> Sense | None:
    own, slash, _ = inner.partition("/")
    if not (where.front and own.startswith(where.front)):
        return None
    return _sense(own[len(where.front) :], where.datatype, slash, table)


@lru_cache(maxsize=_NAMES)
def _sense(rest: str, folder: str, slash: str, table: Table) -> Sense | None:
    """What a name without subject and session says in a datatype's folder; `slash` is "/" for a folder's name."""
    name, datatype = parse_name(rest), table.datatypes[folder]
    if name is None or name.get("sub") or name.get("ses"):
        return None
    resource = datatype.formats.get(name.extension + slash, "") if _is_recording(name, datatype, table) else ""
    companions = _companions(name, datatype, table) if not slash else ()
    return Sense(_scan(name, datatype), name.extension, resource, _beside(name, datatype, table), companions)


def _is_recording(name: BidsName, datatype: Datatype, table: Table) -> bool:
    """Whether a recording can be called so."""
    if datatype.suffixes and name.suffix not in datatype.suffixes:
        return False
    if name.suffix in table.session_wide or name.suffix in table.companions:
        return False
    return name.get("acq") not in table.session_wide_acquisitions.get(datatype.name, frozenset())


def _beside(name: BidsName, datatype: Datatype, table: Table) -> tuple[str, str]:
    if name.extension == ".json" and not name.get("split"):
        return table.sidecar, "sidecar"
    attached = table.attachments.get(name.extension, table.companion)
    return attached if attached in datatype.formats.values() else table.companion, "of the recording's name"


def _companions(name: BidsName, datatype: Datatype, table: Table) -> tuple[tuple[str, str], ...]:
    entities = name.without("split", *table.ignoring)
    suffixes = table.companions.get(name.suffix, ())
    return tuple((_scan_id(datatype, _stem(entities, suffix)), f"{name.suffix} of {suffix}") for suffix in suffixes)


def _scan(name: BidsName, datatype: Datatype) -> Scan:
    """The scan of a recording: files whose names differ in ``split`` or extension alone are one."""
    stem = _stem(name.without("split"), name.suffix)
    part = name.get("part")
    return Scan(
        id=_scan_id(datatype, stem),
        xsi_type=datatype.scan,
        type=f"{name.suffix}-{part}" if part in _PHASES else name.suffix,
        series_description=stem,
    )


def _scan_id(datatype: Datatype, stem: str) -> str:
    return to_label(f"{datatype.name}_{stem}")


def _stem(entities: Iterable[tuple[str, str]], suffix: str) -> str:
    return "_".join([*(f"{entity}-{value}" for entity, value in entities), suffix])


def scan_name(scan: str) -> BidsName | None:
    """The name that a scan's ID was made of, without ``sub``, ``ses`` and extension; None if it is not one of ours.

    >>> scan_name("func_task-rest_bold").suffix
    'bold'
    """
    return parse_name(from_label(scan).partition("_")[2])


# ------------------------------------------------------------------ placing


@dataclass(frozen=True, slots=True)
class Placement:
    """The parcels of one part, and what is wrong or odd about its names."""

    parcels: tuple[Parcel, ...]
    issues: tuple[Issue, ...] = ()


def place(part: Part, table: Table, *, description: BidsFile | None = None) -> Placement:
    """Give every file of a part its one address.

    Args:
        part: the files of one subject, or those of no subject.
        table: the mapping.
        description: the dataset's ``dataset_description.json``, of which each experiment gets a copy
            because XNAT's own BIDS tools look for it there.

    Raises:
        MappingError: two files would share an address (a fault of the table).
    """
    folders = [(where, list(files)) for where, files in _folders(part.files, table)]
    scans = _recordings(folders)
    nodes = _Nodes(_homes((where for where, _ in folders), table), table)
    by_id = {scan.id: scan for scan in scans.values()}
    by_node: dict[Node, list[Placed]] = defaultdict(list)
    modalities: dict[Node, set[str]] = defaultdict(set)
    for where, files in folders:
        node = nodes[where.subject, where.session, where.datatype]
        by_node[node] += [_place_file(one, where, node, scans, table) for one in files]
        if where.datatype:
            modalities[node].add(table.datatypes[where.datatype].modality)
    for manifest in list(_manifests(part.marks, nodes, by_node.keys(), table)):
        by_node[manifest.address.node].append(manifest)
    parcels = tuple(
        _parcel(node, by_node[node], table.session_type(modalities[node]), by_id, table, description)
        for node in sorted(by_node)
    )
    return Placement(parcels, tuple(_name_issues(parcels, table)))


class _Read(NamedTuple):
    """A file of a folder, its path below the folder's spot, and what its name says."""

    file: BidsFile
    inner: str
    says: Sense | None


def _folders(files: Iterable[BidsFile], table: Table) -> Iterable[tuple[Spot, Iterable[_Read]]]:
    """Folder by folder, where it lies and what is directly in it."""
    for folder, own in groupby(files, key=lambda file: file.path[: file.path.rfind("/") + 1]):
        where = spot_of_folder(folder, table)
        yield where, (_read(file, where.inner + file.path[len(folder) :], where, table) for file in own)


def _read(file: BidsFile, inner: str, where: Spot, table: Table) -> _Read:
    return _Read(file, inner, None if file.ignored else _sense_of(inner, where, table))


_Scans = Mapping[tuple[str, str, str], Scan]
"""Scans by subject, session and ID."""


def _recordings(folders: Iterable[tuple[Spot, Iterable[_Read]]]) -> _Scans:
    """The scans: every recording of every datatype folder."""
    return {
        (where.subject, where.session, one.says.scan.id): one.says.scan
        for where, files in folders
        for one in files
        if one.says is not None and one.says.resource
    }


def _homes(spots: Iterable[Spot], table: Table) -> dict[tuple[str, str], str]:
    """For each subject and session, the modality of its first experiment."""
    order = list(table.modalities)
    homes: dict[tuple[str, str], str] = {}
    for where in spots:
        if where.datatype:
            modality = table.datatypes[where.datatype].modality
            best = homes.get((where.subject, where.session), modality)
            homes[where.subject, where.session] = min(best, modality, key=order.index)
    return homes


class _Nodes(dict[tuple[str, ...], Node]):
    """The node of what lies in a folder: its modality's experiment, else the session's first, else the subject."""

    def __init__(self, homes: Mapping[tuple[str, str], str], table: Table) -> None:
        super().__init__()
        self._homes, self._table = homes, table

    def __missing__(self, folder: tuple[str, ...]) -> Node:
        subject, session, datatype = folder
        return self.setdefault(folder, self._node(subject, session, datatype))

    def _node(self, subject: str, session: str, datatype: str) -> Node:
        naming = self._table.naming
        if not subject:
            return Node()
        home = self._homes.get((subject, session))
        modality = self._table.datatypes[datatype].modality if datatype else home
        label = naming.subject_label(subject)
        if modality is None:
            return Node(label)
        return Node(label, naming.experiment_label(Portion(subject, session, modality)))


def _place_file(read: _Read, where: Spot, node: Node, scans: _Scans, table: Table) -> Placed:
    file, inner, says = read
    if where.tree:
        resource, name = _tree_place(where.tree, inner, table)
        return Placed(file, Address(node, "", resource, escape(name)), f"tree {where.tree}")
    found = _scan_place(says, inner, where, scans, table) if says is not None else None
    if found is not None:
        scan, resource, rule = found
        return Placed(file, Address(node, scan, resource, escape(inner)), rule)
    rule = "ignored" if file.ignored else "no recording"
    return Placed(file, Address(node, "", table.other, _other_name(file.path, node, table)), rule)


def _tree_place(root: str, inner: str, table: Table) -> tuple[str, str]:
    """Resource and name for what lies in one of ``[trees]``."""
    tree = table.trees[root]
    folder, _, below = inner.partition("/")
    label = f"{tree.resource}_{folder}"
    own = tree.parts and below and RESOURCE_LABEL.fullmatch(label) and not is_subject(folder)
    return (label, below) if own and len(label) <= _LONGEST_RESOURCE else (tree.resource, inner)


def _scan_place(says: Sense, inner: str, where: Spot, scans: _Scans, table: Table) -> tuple[str, str, str] | None:
    """The scan's ID and the resource for a file, and the rule; None if it belongs to no scan."""
    if says.resource:
        return says.scan.id, says.resource, "recording"
    if "/" in inner:
        return None
    if (where.subject, where.session, says.scan.id) in scans:
        return says.scan.id, *says.beside
    goes_with = (one for one in says.companions if (where.subject, where.session, one[0]) in scans)
    scan, rule = next(goes_with, ("", ""))
    return (scan, table.companion, rule) if scan else None


def _other_name(path: str, node: Node, table: Table) -> str:
    """The name in a node's ``other`` resource: the path below the node's folder."""
    folder = folder_of(node, table) or ""
    inner = path.removeprefix(folder)
    name = escape(inner)
    return hide(name) if node.experiment and inner == DESCRIPTION else name


def _manifests(marks: Iterable[Mark], nodes: _Nodes, there: Set[Node], table: Table) -> Iterable[Placed]:
    """One manifest for each node that has something to carry beyond files; none is made for an empty folder alone."""
    by_node: dict[Node, list[Mark]] = defaultdict(list)
    for mark in marks:
        # A folder's mark belongs to the folder itself, not to the one above it.
        path = f"{mark.path}/." if mark.kind is MarkKind.FOLDER else mark.path
        subject, session, datatype, *_ = spot(path, table)
        node = nodes[subject, session, datatype]
        by_node[node if node in there else nodes[subject, session, ""]].append(mark)
    for node, own in by_node.items():
        content = write_manifest(own)
        file = BidsFile(f"{table.manifest}/{node}", len(content), content)
        yield Placed(file, Address(node, "", table.manifest, MANIFEST), "manifest", Origin.MANIFEST)


def write_manifest(marks: Iterable[Mark]) -> bytes:
    """A manifest's bytes: the same for the same marks, whatever their order."""
    rows = [
        {"path": mark.path, "kind": mark.kind.value} | ({"target": mark.target} if mark.target else {})
        for mark in sorted(marks)
    ]
    text = json.dumps({"format": "bids2xnat manifest", "version": 1, "marks": rows}, indent=1, sort_keys=True)
    return text.encode() + b"\n"


def read_manifest(content: bytes) -> tuple[Mark, ...]:
    """The marks of a manifest.

    Raises:
        MappingError: it is not one of ours.
    """
    try:
        rows = json.loads(content)["marks"]
        return tuple(Mark(_text(row["path"]), MarkKind(row["kind"]), _text(row.get("target", ""))) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MappingError(f"a manifest in the archive cannot be read: {error!r}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


_by_address = attrgetter("address")


def _parcel(
    node: Node,
    files: list[Placed],
    xsi_type: str,
    scans: Mapping[str, Scan],
    table: Table,
    description: BidsFile | None,
) -> Parcel:
    if node.experiment and description is not None:
        address = Address(node, "", table.other, DESCRIPTION)
        files.append(Placed(description, address, "copy for XNAT's BIDS tools", Origin.COPY))
    files.sort(key=_by_address)
    _check_unique(files)
    return Parcel(
        node,
        xsi_type if node.experiment else "",
        tuple(scans[scan] for scan in sorted({one.address.scan for one in files}) if scan),
        tuple(files),
        accepts=table.session_types if node.experiment and table.naming.one_per_session else frozenset(),
    )


def _check_unique(files: Iterable[Placed]) -> None:
    for one, other in pairwise(files):
        if one.address == other.address and one.file.path != other.file.path:
            raise MappingError(f"{one.file.path} and {other.file.path} would both be {one.address}")


def _name_issues(parcels: Iterable[Parcel], table: Table) -> Iterable[Issue]:
    """Names that XNAT cannot tell apart or cannot store, and recordings that no name says."""
    for parcel in parcels:
        yield from _twins(parcel)
        # XNAT keeps an experiment's document in a file named for its label.
        longest = max(len(parcel.node.subject), len(f"{parcel.node.experiment}.xml"))
        for placed in parcel.files:
            if placed.origin is not Origin.DATASET:
                continue
            if longest > _LONGEST or len(placed.address.scan) > _LONGEST:
                yield Issue(Severity.ERROR, placed.file.path, "its name is too long for XNAT: shorten it")
            elif placed.rule == "no recording" and _looks_like_data(placed.file.path, table):
                yield Issue(
                    Severity.WARNING,
                    placed.file.path,
                    "its name or place is not of the BIDS form, so that it becomes no scan, and is kept as a file",
                )


_DATA = (".nii", ".nii.gz", ".edf", ".bdf", ".vhdr", ".set", ".fif", ".snirf", ".nwb")


def _looks_like_data(path: str, table: Table) -> bool:
    if not (is_subject(path.partition("/")[0]) and path.endswith(_DATA)):
        return False
    name = parse_name(path.rpartition("/")[2])
    acquisitions = table.session_wide_acquisitions.values()
    return name is None or not any(name.get("acq") in row for row in acquisitions)


def _twins(parcel: Parcel) -> Iterable[Issue]:
    """Scans whose IDs differ in case only: one folder on many an archive's disk."""
    seen: dict[str, str] = {}
    for scan in parcel.scans:
        twin = seen.setdefault(scan.id.casefold(), scan.id)
        if twin != scan.id:
            yield Issue(
                Severity.ERROR,
                parcel.node.experiment,
                f"scans {twin} and {scan.id} differ only in case, and may share a folder in the archive: rename one",
            )


# ------------------------------------------------------------------ and back


def path_of(address: Address, table: Table) -> str | None:
    """The dataset's path that belongs at an address; None if no file of a dataset can live there.

    The inverse of `place` for files of a dataset. Copies and manifests have no path of their own.

    >>> from xnat_bids_push.table import default_table
    >>> node = Node("sub-01", "sub-01_MR")
    >>> path_of(Address(node, "anat_T1w", "NIFTI", "sub-01_T1w.nii.gz"), default_table())
    'sub-01/anat/sub-01_T1w.nii.gz'
    >>> path_of(Address(node, "1", "DICOM", "a.dcm"), default_table()) is None
    True
    """
    folder = folder_of(address.node, table)
    if folder is None:
        return None
    name = unescape(address.name)
    if address.scan:
        return _scan_path(address, folder, name, table)
    for root, tree in table.trees.items():
        if address.resource == tree.resource:
            return f"{root}/{name}"
        if tree.parts and address.resource.startswith(f"{tree.resource}_"):
            return f"{root}/{address.resource.removeprefix(f'{tree.resource}_')}/{name}"
    if address.resource != table.other or is_copy(address, table):
        return None
    return folder + name


def _scan_path(address: Address, folder: str, name: str, table: Table) -> str | None:
    datatype = table.datatypes.get(address.scan.partition("_")[0])
    portion = table.naming.portion(address.node.experiment)
    if datatype is None or portion is None or portion.modality not in ("", datatype.modality):
        return None
    if address.resource not in {table.sidecar, table.companion, *datatype.formats.values()}:
        return None
    path = f"{folder}{datatype.name}/{name}"
    says = sense(spot(path, table), table)
    return path if says is not None and address.scan in (says.scan.id, *(scan for scan, _ in says.companions)) else None


def is_copy(address: Address, table: Table) -> bool:
    """Whether an address is that of a copy of the dataset's description."""
    return bool(address.node.experiment) and (address.scan, address.resource, address.name) == (
        "",
        table.other,
        DESCRIPTION,
    )


def is_manifest(address: Address, table: Table) -> bool:
    """Whether an address is that of a manifest of ours."""
    here = not address.scan and address.resource == table.manifest
    return here and address.name in (MANIFEST, GENERATED)


def is_ours(address: Address, table: Table) -> bool:
    """Whether our table can have written a file at this address."""
    if folder_of(address.node, table) is None:
        return False
    if address.resource == table.staging:
        return True
    return is_manifest(address, table) or is_copy(address, table) or path_of(address, table) is not None


def origin_of(address: Address, table: Table) -> Origin:
    """Who makes the file that our table has at an address."""
    if is_manifest(address, table):
        return Origin.MANIFEST
    return Origin.COPY if is_copy(address, table) else Origin.DATASET


def files_by_resource(files: Sequence[Placed]) -> dict[tuple[str, str], list[Placed]]:
    """Files grouped by scan and resource: what one archive, and one writer, may hold."""
    groups: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for placed in files:
        groups[placed.address.scan, placed.address.resource].append(placed)
    return groups
