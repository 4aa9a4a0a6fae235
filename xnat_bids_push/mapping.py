"""Where each file of a dataset lives in XNAT, by the table of ``mapping.toml``; and back. Pure.

`place` turns the files of one subject into parcels, one for each XNAT node; `path_of` turns an address back
into the dataset's path. Identity comes from names, never from order: a recording's address depends on its
root-relative path and the table alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

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

Key = tuple[tuple[tuple[str, str], ...], str]
"""What makes two files one recording: entities without ``sub``, ``ses`` and ``split``, and the suffix."""


# ------------------------------------------------------------------ where a path lies


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a path lies in the BIDS hierarchy.

    Args:
        tree: the root's folder, if it is one of ``[trees]``.
        inner: the path below the folders named before; for a tree, the path below it.
    """

    subject: str
    session: str
    datatype: str
    tree: str
    inner: str


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
    first, _, below = path.partition("/")
    if first in table.trees and below:
        # What is always read is read with the project: it would else come in two parts of one subject.
        parts = below.split("/") if table.trees[first].optional else []
        at = next((i for i, part in enumerate(parts[:2]) if is_subject(part) and i + 1 < len(parts)), None)
        if at is None:
            return Spot("", "", "", first, below)
        session = parts[at + 1] if is_session(parts[at + 1]) and at + 2 < len(parts) else ""
        return Spot(parts[at], session, "", first, below)
    if not (is_subject(first) and below):
        return Spot("", "", "", "", path)
    head, _, rest = below.partition("/")
    session, below = (head, rest) if rest and is_session(head) else ("", below)
    head, _, rest = below.partition("/")
    datatype, below = (head, rest) if rest and head in table.datatypes else ("", below)
    return Spot(first, session, datatype, "", below)


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
    spots = {file.path: spot(file.path, table) for file in part.files}
    scans = _recordings((spots[file.path] for file in part.files if not file.ignored), table)
    homes = _homes(spots.values(), table)
    placed = [_place_file(file, spots[file.path], scans, homes, table) for file in part.files]
    placed += _manifests(part.marks, homes, {one.address.node for one in placed}, table)
    parcels = tuple(_parcels(placed, scans, table, description))
    _check_unique(parcels)
    return Placement(parcels, tuple(_name_issues(parcels, table)))


_Folder = tuple[str, str, str]
"""Subject, session and datatype: a folder in which recordings lie."""


def _recordings(spots: Iterable[Spot], table: Table) -> dict[_Folder, dict[Key, Scan]]:
    """The scans: every recording of every datatype folder."""
    found: dict[_Folder, dict[Key, Scan]] = defaultdict(dict)
    for where in spots:
        name = recording_name(where, table)
        if name is not None:
            found[where.subject, where.session, where.datatype].setdefault(
                _key(name), _scan(name, table.datatypes[where.datatype])
            )
    return found


def recording_name(where: Spot, table: Table) -> BidsName | None:
    """The parsed name of the recording that a file is (or is a part of); None if it is none."""
    if not where.datatype:
        return None
    datatype = table.datatypes[where.datatype]
    name = _own_name(where)
    if name is None or _format(where, name, datatype) is None:
        return None
    if datatype.suffixes and name.suffix not in datatype.suffixes:
        return None
    if name.suffix in table.session_wide or name.suffix in table.companions:
        return None
    if name.get("acq") in table.session_wide_acquisitions.get(where.datatype, frozenset()):
        return None
    return name


def _own_name(where: Spot) -> BidsName | None:
    """The name of a file, or of the folder recording it lies in, if it is of its folder's subject and session."""
    name = parse_name(where.inner.partition("/")[0])
    if name is None or ("ses" in dict(name.entities)) != bool(where.session):
        return None
    folders = [f"{key}-{value}" for key, value in name.entities[: 2 if where.session else 1]]
    return name if folders == [folder for folder in (where.subject, where.session) if folder] else None


def _format(where: Spot, name: BidsName, datatype: Datatype) -> str | None:
    """The resource for the recording's format: by extension, with "/" behind it for a folder."""
    return datatype.formats.get(name.extension + ("/" if "/" in where.inner else ""))


def _key(name: BidsName) -> Key:
    return name.without("sub", "ses", "split"), name.suffix


def _companion_keys(name: BidsName, table: Table) -> list[Key]:
    """The recordings that a file may go with, the best first."""
    entities = name.without("sub", "ses", "split", *table.ignoring)
    return [(entities, suffix) for suffix in table.companions.get(name.suffix, ())]


def _scan(name: BidsName, datatype: Datatype) -> Scan:
    key = _key(name)
    part = name.get("part")
    return Scan(
        id=_scan_id(datatype, key),
        xsi_type=datatype.scan,
        type=f"{name.suffix}-{part}" if part in _PHASES else name.suffix,
        series_description=_stem(key),
    )


def _scan_id(datatype: Datatype, key: Key) -> str:
    return to_label(f"{datatype.name}_{_stem(key)}")


def scan_name(scan: str) -> BidsName | None:
    """The name that a scan's ID was made of, without ``sub``, ``ses`` and extension; None if it is not one of ours.

    >>> scan_name("func_task-rest_bold").suffix
    'bold'
    """
    return parse_name(from_label(scan).partition("_")[2])


def _stem(key: Key) -> str:
    entities, suffix = key
    return "_".join([*(f"{entity}-{value}" for entity, value in entities), suffix])


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


def _node(where: Spot, homes: Mapping[tuple[str, str], str], table: Table) -> Node:
    """The node for what lies at a spot: its modality's experiment, else the session's first, else the subject."""
    if not where.subject:
        return Node()
    subject = table.naming.subject_label(where.subject)
    home = homes.get((where.subject, where.session))
    modality = table.datatypes[where.datatype].modality if where.datatype else home
    if modality is None:
        return Node(subject)
    return Node(subject, table.naming.experiment_label(Portion(where.subject, where.session, modality)))


def _place_file(
    file: BidsFile,
    where: Spot,
    scans: Mapping[_Folder, Mapping[Key, Scan]],
    homes: Mapping[tuple[str, str], str],
    table: Table,
) -> Placed:
    node = _node(where, homes, table)
    if where.tree:
        resource, name = _tree_place(where, table)
        return Placed(file, Address(node, "", resource, escape(name)), f"tree {where.tree}")
    if where.datatype and not file.ignored:
        here = scans.get((where.subject, where.session, where.datatype), {})
        found = _scan_place(where, here, table)
        if found is not None:
            scan, resource, rule = found
            return Placed(file, Address(node, scan.id, resource, escape(where.inner)), rule)
    rule = "ignored" if file.ignored else "no recording"
    return Placed(file, Address(node, "", table.other, _other_name(file.path, node, table)), rule)


def _tree_place(where: Spot, table: Table) -> tuple[str, str]:
    """Resource and name for what lies in one of ``[trees]``."""
    tree = table.trees[where.tree]
    folder, _, below = where.inner.partition("/")
    label = f"{tree.resource}_{folder}"
    own = tree.parts and below and RESOURCE_LABEL.fullmatch(label) and not is_subject(folder)
    return (label, below) if own and len(label) <= _LONGEST_RESOURCE else (tree.resource, where.inner)


def _scan_place(where: Spot, scans: Mapping[Key, Scan], table: Table) -> tuple[Scan, str, str] | None:
    """The scan and the resource for a file of a datatype's folder, and the rule; None if it belongs to no scan."""
    name = _own_name(where)
    if name is None:
        return None
    scan = scans.get(_key(name))
    datatype = table.datatypes[where.datatype]
    if scan is not None and recording_name(where, table) is not None:
        return scan, datatype.formats[name.extension + ("/" if "/" in where.inner else "")], "recording"
    if "/" in where.inner:
        return None
    if scan is not None:
        if name.extension == ".json" and not name.get("split"):
            return scan, table.sidecar, "sidecar"
        attached = table.attachments.get(name.extension, table.companion)
        resource = attached if attached in datatype.formats.values() else table.companion
        return scan, resource, "of the recording's name"
    for key in _companion_keys(name, table):
        if key in scans:
            return scans[key], table.companion, f"{name.suffix} of {key[1]}"
    return None


def _other_name(path: str, node: Node, table: Table) -> str:
    """The name in a node's ``other`` resource: the path below the node's folder."""
    folder = folder_of(node, table) or ""
    inner = path.removeprefix(folder)
    name = escape(inner)
    return hide(name) if node.experiment and inner == DESCRIPTION else name


def _manifests(
    marks: Iterable[Mark], homes: Mapping[tuple[str, str], str], nodes: Set[Node], table: Table
) -> Iterable[Placed]:
    """One manifest for each node that has something to carry beyond files; none is made for an empty folder alone."""
    by_node: dict[Node, list[Mark]] = defaultdict(list)
    for mark in marks:
        # A folder's mark belongs to the folder itself, not to the one above it.
        path = f"{mark.path}/." if mark.kind is MarkKind.FOLDER else mark.path
        where = spot(path, table)
        if where.datatype and _node(where, homes, table) not in nodes:
            where = replace(where, datatype="")
        by_node[_node(where, homes, table)].append(mark)
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


def _parcels(
    placed: Iterable[Placed],
    scans: Mapping[_Folder, Mapping[Key, Scan]],
    table: Table,
    description: BidsFile | None,
) -> Iterable[Parcel]:
    by_node: dict[Node, list[Placed]] = defaultdict(list)
    for one in placed:
        by_node[one.address.node].append(one)
    by_id = {scan.id: scan for folder in scans.values() for scan in folder.values()}
    for node in sorted(by_node):
        files = by_node[node]
        if node.experiment and description is not None:
            address = Address(node, "", table.other, DESCRIPTION)
            files.append(Placed(description, address, "copy for XNAT's BIDS tools", Origin.COPY))
        ids = {one.address.scan for one in files if one.address.scan}
        yield Parcel(
            node,
            table.session_type(_modalities(files, table)) if node.experiment else "",
            tuple(by_id[scan] for scan in sorted(ids)),
            tuple(sorted(files, key=lambda one: one.address)),
            accepts=table.session_types if node.experiment and table.naming.one_per_session else frozenset(),
        )


def _modalities(files: Iterable[Placed], table: Table) -> frozenset[str]:
    """The modalities that an experiment holds: those of the datatypes' folders that its files lie in."""
    datatypes = {spot(placed.file.path, table).datatype for placed in files} - {""}
    return frozenset(table.datatypes[name].modality for name in datatypes)


def _check_unique(parcels: Iterable[Parcel]) -> None:
    for parcel in parcels:
        seen: dict[Address, str] = {}
        for placed in parcel.files:
            other = seen.setdefault(placed.address, placed.file.path)
            if other != placed.file.path:
                raise MappingError(f"{other} and {placed.file.path} would both be {placed.address}")


def _name_issues(parcels: Iterable[Parcel], table: Table) -> Iterable[Issue]:
    """Names that XNAT cannot tell apart or cannot store, and recordings that no name says."""
    for parcel in parcels:
        yield from _twins(parcel)
        for placed in parcel.files:
            address = placed.address
            if placed.origin is not Origin.DATASET:
                continue
            if _is_too_long(address):
                yield Issue(Severity.ERROR, placed.file.path, "its name is too long for XNAT: shorten it")
            elif placed.rule == "no recording" and _looks_like_data(placed.file.path, table):
                yield Issue(
                    Severity.WARNING,
                    placed.file.path,
                    "its name or place is not of the BIDS form, so that it becomes no scan, and is kept as a file",
                )


def _is_too_long(address: Address) -> bool:
    # XNAT keeps an experiment's document in a file named for its label.
    words = (address.node.subject, f"{address.node.experiment}.xml", address.scan)
    return max(map(len, words)) > _LONGEST


_DATA = (".nii", ".nii.gz", ".edf", ".bdf", ".vhdr", ".set", ".fif", ".snirf", ".nwb")


def _looks_like_data(path: str, table: Table) -> bool:
    name = parse_name(path.rpartition("/")[2])
    acquisitions = table.session_wide_acquisitions.values()
    wide = name is not None and any(name.get("acq") in row for row in acquisitions)
    return is_subject(path.partition("/")[0]) and path.endswith(_DATA) and not wide


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
    own = _own_name(spot(path, table))
    keys = [_key(own), *_companion_keys(own, table)] if own is not None else []
    return path if address.scan in {_scan_id(datatype, key) for key in keys} else None


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
