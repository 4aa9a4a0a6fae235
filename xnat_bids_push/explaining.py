"""Why a file lives where it lives: the rule, the address, XNAT's fields and where each value comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.mapping import DESCRIPTION, folder_of, path_of, place, spot
from xnat_bids_push.model import Address, Experiment, Explanation, Field, Node, Origin, Parcel, Part, Placed
from xnat_bids_push.names import escape
from xnat_bids_push.planning import Describe
from xnat_bids_push.uris import file_uri


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about: a path, which may be a folder, or whatever lies at an address or below it.

    Args:
        scan: empty for all of the node's, or, with a resource, for its own; `resource` and `name` are empty for all.
    """

    asked: str
    path: str = ""
    node: Node | None = None
    scan: str = ""
    resource: str = ""
    name: str = ""

    def covers(self, path: str, address: Address | None) -> bool:
        """Whether a file is among what is asked about."""
        if self.node is None:
            return path == self.path or path.startswith(f"{self.path}/") or not self.path
        if address is None:
            return False
        if not self.resource and not self.node.experiment:
            return self.node.subject in ("", address.node.subject)
        if address.node != self.node:
            return False
        if not self.resource:
            return self.scan in ("", address.scan)
        return (self.scan, self.resource) == (address.scan, address.resource) and self.name in ("", address.name)


def root_of(targets: Iterable[str]) -> Path:
    """The dataset that the first of the paths lies in.

    Raises:
        ConfigError: there is none.
    """
    paths = [Path(text).absolute() for text in targets if not is_uri(text)] or [Path.cwd()]
    for folder in (paths[0], *paths[0].parents):
        # Not that of a derivative, which lies in the dataset that is asked about.
        if (folder / DESCRIPTION).is_file() and folder.parent.name != "derivatives":
            return folder
    raise ConfigError(f"{paths[0]} lies in no BIDS dataset (there is no {DESCRIPTION} above it): say where with --root")


def target_of(text: str, root: Path, experiments: Iterable[Experiment] = ()) -> Target:
    """What a word of the command line asks about: a path, from here or from the dataset's root, or an address.

    Raises:
        ConfigError: it lies outside of the dataset, or cannot be understood.
    """
    if is_uri(text):
        return uri_target(text, experiments)
    given, root = Path(text), Path(os.path.normpath(root))
    absolute = Path(os.path.normpath(given.absolute()))
    if not given.is_absolute() and not (absolute.is_relative_to(root) and os.path.lexists(absolute)):
        absolute = Path(os.path.normpath(root / given))
    if not absolute.is_relative_to(root):
        raise ConfigError(f"{text} does not lie in the dataset {root}")
    path = absolute.relative_to(root).as_posix()
    return Target(text, "" if path == "." else path)


def explain(dataset: Dataset, targets: Iterable[Target], *, describe: Describe) -> Iterator[Explanation]:
    """Explain each file that a target covers, in the order of the targets.

    Args:
        dataset: read with all its derivatives and sourcedata, so that these can be explained, too.
        targets: what is asked about.
        describe: gives XNAT's fields.

    Raises:
        ConfigError: there is nothing of the kind in the dataset.
    """
    for target in targets:
        found = False
        for subject in _subjects(target, dataset):
            for explanation in _explained(dataset, dataset.part(subject), target, describe):
                found = True
                yield explanation
        if not found:
            raise ConfigError(_nothing(target, dataset))


def _subjects(target: Target, dataset: Dataset) -> Iterable[str]:
    """The parts of the dataset in which a target can lie."""
    if target.node == Node() and not target.resource:
        return ("", *dataset.subjects)
    if target.node is not None:
        folder = folder_of(target.node, dataset.table)
        subject = (folder or "").partition("/")[0]
    else:
        subject = spot(f"{target.path}/.", dataset.table).subject
        if not target.path or (not subject and any(_is_below(f, target.path) for f in _all_folders(dataset))):
            return ("", *dataset.subjects)
    return (subject,) if subject in ("", *dataset.subjects) else ()


def _all_folders(dataset: Dataset) -> Iterator[str]:
    return (folder for folders in dataset.folders.values() for folder in folders)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _explained(dataset: Dataset, part: Part, target: Target, describe: Describe) -> Iterator[Explanation]:
    for parcel in place(part, dataset.table, description=dataset.description).parcels:
        covered = [one for one in parcel.files if target.covers(_asked_path(one), one.address)]
        if covered:
            described = describe(parcel)
            person = describe.subject_fields(parcel.node.subject) if parcel.node.experiment else ()
            yield from (_explanation(one, described, person) for one in covered)
    for left in (*part.left_out, *dataset.left_out) if not part.subject else part.left_out:
        if target.covers(left.path, None):
            yield Explanation(left.path, None, f"not pushed: {left.reason}")


def _asked_path(placed: Placed) -> str:
    """A file's path; what the push makes itself is found by its address only."""
    return placed.file.path if placed.origin is Origin.DATASET else "\0"


def _explanation(placed: Placed, parcel: Parcel, person: tuple[Field, ...]) -> Explanation:
    scan = next((scan for scan in parcel.scans if scan.id == placed.address.scan), None)
    path = placed.file.path if placed.origin is not Origin.MANIFEST else f"({placed.origin})"
    return Explanation(path, placed.address, placed.rule, parcel.xsi_type, scan, parcel.fields, person)


def _nothing(target: Target, dataset: Dataset) -> str:
    if target.node is None:
        return f"{target.asked}: there is no such file in {dataset.root}"
    address = Address(target.node, target.scan, target.resource, target.name)
    path = path_of(address, dataset.table) if target.name else None
    if path is None:
        return f"{target.asked}: nothing of the dataset {dataset.root} lives there"
    return f"{target.asked}: would be {path}, which is not in {dataset.root}"


# ------------------------------------------------------------------ addresses as XNAT writes them

_URI = re.compile(
    r".*?/(?:data|REST)(?:/archive)?"
    r"(?:/projects/(?P<project>[^/]+))?(?:/subjects/(?P<subject>[^/]+))?(?:/experiments/(?P<experiment>[^/]+))?"
    r"(?:/scans/(?P<scan>[^/]+))?(?:/resources/(?P<resource>[^/]+))?(?:/files(?:/(?P<name>.+))?)?/?"
)


def is_uri(text: str) -> bool:
    """Whether a text is an address of XNAT's, and no path.

    >>> is_uri("/data/projects/P/subjects/sub-01"), is_uri("sub-01/anat")
    (True, False)
    """
    return _match(text) is not None


def _match(text: str) -> re.Match[str] | None:
    match = _URI.fullmatch(urlsplit(text).path)
    return match if match is not None and any(match.groups()) else None


def uri_target(text: str, experiments: Iterable[Experiment] = ()) -> Target:
    """The target of an address, whose experiment may be named by its label or its ID.

    Args:
        text: as XNAT and browsers show it, with or without the server.
        experiments: those of the project, to find an ID among.

    Raises:
        ConfigError: the address names an experiment whose subject cannot be told.
    """
    match = _match(text)
    if match is None:
        raise ConfigError(f"{text} is no address in XNAT")
    part = {name: unquote(value or "") for name, value in match.groupdict().items()}
    subject, experiment = part["subject"], part["experiment"]
    if experiment:
        known = next((one for one in experiments if experiment in (one.id, one.label)), None)
        subject, experiment = (known.subject, known.label) if known else (subject, experiment)
    if experiment and not subject:
        raise ConfigError(f"{text} names an experiment by its ID: say in which --project, on which --server")
    # A name that XNAT holds escaped may have been typed as it is on disk.
    name = part["name"] if "=" in part["name"] else escape(part["name"]) if part["name"] else ""
    return Target(text, "", Node(subject, experiment), part["scan"], part["resource"], name)


def uri_of(explanation: Explanation, project: str) -> str:
    """The address of a file, as XNAT has it; "" for what is not pushed.

    >>> uri_of(Explanation("sub-01/x", Address(Node("sub-01"), "", "BIDS", "x"), ""), "P")
    '/data/projects/P/subjects/sub-01/resources/BIDS/files/x'
    """
    return file_uri(explanation.address, project) if explanation.address else ""
