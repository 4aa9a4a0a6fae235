"""Reading back: the inventory of a project, turned into the dataset that it came from, byte for byte.

Each node comes as one archive, is written file by file, and is checked against the server's digests as it lands.
Nothing that is already in the output folder is overwritten; what is there and right is not fetched again, so that
an interrupted pull goes on where it was.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import IO, TypeVar

from xnat_bids_push.archive import LISTED_AT_ONCE, Archive
from xnat_bids_push.choosing import EVERYTHING, Choice, Window, kind_of_scan, look, nothing_taken
from xnat_bids_push.errors import ArchiveError, ConfigError, Distressed, MappingError, Rejected, Unavailable
from xnat_bids_push.flow import Incoming
from xnat_bids_push.ground import LEADS_OUT, PARTIAL, Blocked, Ground, Source, ability
from xnat_bids_push.mapping import folder_of, is_manifest, path_of, read_manifest
from xnat_bids_push.model import (
    Address,
    Experiment,
    Finding,
    Holding,
    Mark,
    MarkKind,
    Node,
    Outcome,
    State,
    StoredFile,
)
from xnat_bids_push.names import is_plain
from xnat_bids_push.pacing import Fixed, Lanes, Pace
from xnat_bids_push.planning import LARGE
from xnat_bids_push.portable import Ability, clashes, extended
from xnat_bids_push.report import Report, count
from xnat_bids_push.rereading import DAMAGE, entries_of, most_bytes
from xnat_bids_push.table import Table, default_table

_Told = TypeVar("_Told")

_LONGEST_MANIFEST = 1 << 26

_BATCH = LISTED_AT_ONCE

_LISTINGS = 4
"""Subjects whose own files are listed at a time: XNAT lists them one by one."""

_ALONE = 32
"""So many files are fetched one by one for each large one: no server packs it then, and it lands where it belongs."""


def pull(
    archive: Archive,
    out: str | os.PathLike[str],
    *,
    table: Table | None = None,
    choice: Choice = EVERYTHING,
    jobs: int | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Report:
    """Bring a project's BIDS data back into a folder.

    Only what our table can have written is fetched; other data of the project is left alone.

    Args:
        archive: what `connect` gives.
        out: the folder; made if need be. Files that are there and differ are an error, and stay as they are.
        table: the mapping that the data was pushed with.
        choice: which recordings are fetched.
        jobs: how many subjects are fetched at a time; by default as many as pay.
        on_outcome: told of each node when its files are there.

    Raises:
        ConfigError: the output folder cannot be used, or the choice names what the project does not have.
        ArchiveError: the server cannot be asked what it has.
    """
    inventory = _inventory(archive, table or default_table(), choice)
    folder = _output(Path(out))
    report = Report(archive.server, archive.project, folder_of=lambda node: folder_of(node, inventory.table))
    try:
        for outcome in _outcomes(archive, folder, inventory, jobs):
            report.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    except Distressed as error:
        report.stopped = str(error)
    return report


def _outcomes(archive: Archive, folder: Path, inventory: _Inventory, jobs: int | None) -> Iterator[Outcome]:
    """Node by node what became of it; at the end what became of links and empty folders, if not all is well."""
    ground = Ground(folder)
    empty, taken = True, False
    marks: list[Mark] = []
    with _workplace(folder) as partial, _lanes(jobs) as lanes:
        _check_names(archive, inventory, ability(partial))
        landing = _Landing(archive, ground, partial, inventory.table)
        for fetched in _fetched(archive, inventory, landing, lanes):
            empty = False
            taken = taken or bool(fetched.outcome.node.subject)
            marks += fetched.marks
            lanes.passed(fetched.outcome.sent_bytes)
            yield fetched.outcome
    if empty:
        yield Outcome(Node(), (), failure="the project holds nothing that a dataset can have put there")
    elif inventory.choice and not taken:
        yield Outcome(Node(), (), failure=nothing_taken(inventory.choice, inventory.recordings))
    yield from _restore_marks(ground, marks)


@contextmanager
def _lanes(jobs: int | None) -> Iterator[Lanes]:
    lanes = Lanes(Pace() if jobs is None else Fixed(jobs), is_distress=_are_distressed)
    try:
        yield lanes
    except BaseException:
        lanes.leave()
        raise
    lanes.close()


def _fetched(archive: Archive, inventory: _Inventory, landing: _Landing, lanes: Lanes) -> Iterator[_Fetched]:
    """Everything, in its order: the project's own files first, then subjects side by side."""
    groups = (list(group) for _, group in groupby(_lots(archive, inventory), key=lambda lot: lot.node.subject))
    first, taken = next(groups, []), set[str]()
    if first and not first[0].node.subject:
        yield from landing.fetch_all(first, taken)
        first = []
    for fetched in lanes.each(lambda group: landing.fetch_all(group, set(taken)), chain([first], groups)):
        yield from fetched


_NAMED = 20
"""Names that cannot be had and are told; the rest is counted."""


def _check_names(archive: Archive, inventory: _Inventory, able: Ability) -> None:
    """Whether the folder can hold all names, and tell them apart, where not every folder can. Writes nothing.

    Raises:
        ConfigError: it cannot.
    """
    if able == replace(Ability(), longest=able.longest):
        return  # its names may be too long for some, which is told file by file
    faults = [f"{path}: {why}" for path, why in clashes(_paths(archive, inventory), able)]
    if faults:
        more = [f"… and {count(len(faults) - _NAMED, 'more')}"] if len(faults) > _NAMED else []
        raise ConfigError(
            "\n".join(
                [
                    "the output folder's file system cannot hold all of the project, and nothing was written:",
                    *faults[:_NAMED],
                    *more,
                    "Pull into a folder on another file system, or leave these out by --participant-label and the like",
                ]
            )
        )


def _paths(archive: Archive, inventory: _Inventory) -> Iterator[str]:
    """The paths of all files that are to be fetched, as far as they can be listed."""
    for lot in _lots(archive, inventory):
        if isinstance(lot, _Lot):
            yield from (path for address, path in _wanted(lot.holding, inventory.table) if lot.takes(address))


def _output(folder: Path) -> Path:
    folder = folder.absolute()
    if os.name == "nt":
        folder = Path(extended(str(folder)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made or is no folder: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written to")
    return folder


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    partial = folder / PARTIAL
    try:
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{partial} cannot be made: {error.strerror}") from error
    if partial.is_symlink():
        raise ConfigError(f"{partial} is a link, and is not followed: remove it")
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


_Download = Callable[[IO[bytes], int], None]
"""Writes everything of a node, and no more than so many bytes."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What became of one node.

    Args:
        marks: what its manifest says.
        error: what ended it, if that was the server.
    """

    outcome: Outcome
    marks: tuple[Mark, ...] = ()
    error: ArchiveError | None = None


def _are_distressed(fetched: object) -> bool:
    errors = [one.error for one in fetched if isinstance(one, _Fetched)] if isinstance(fetched, list) else []
    return any(isinstance(error, Unavailable) and error.is_distress for error in errors)


@dataclass(frozen=True, slots=True)
class _Landing:
    """Where a pull's files land."""

    archive: Archive
    ground: Ground
    partial: Path
    table: Table

    def fetch_all(self, lots: Iterable[_Lot | Outcome], taken: set[str]) -> list[_Fetched]:
        """Get the nodes of one subject, in their order: where two have a path of no scan, the first one's counts."""
        return [_Fetched(lot) if isinstance(lot, Outcome) else _fetch(lot, self, taken) for lot in lots]


@dataclass(slots=True)
class _Inventory:
    """Who is in a project, as far as the table knows them and the choice may take them.

    Args:
        folders: the dataset's folder of each subject's label.
        experiments: by the subject's label, a session's first modality first.
        recordings: datatype and suffix of all that were seen.
    """

    table: Table
    choice: Choice
    folders: dict[str, str]
    experiments: dict[str, list[Experiment]]
    recordings: set[tuple[str, str]] = field(default_factory=set)


def _inventory(archive: Archive, table: Table, choice: Choice) -> _Inventory:
    found = ((label, folder_of(Node(label), table)) for label in archive.subjects())
    folders = {label: folder.rstrip("/") for label, folder in found if folder is not None}
    places = (
        (one, folder_of(Node(one.subject, one.label), table))
        for one in archive.experiments().values()
        if one.subject in folders
    )
    ours = [(one, folder.rstrip("/")) for one, folder in places if folder is not None]
    sessions = {folder.partition("/")[2] for one, folder in ours if choice.may_take_subject(folders[one.subject])}
    there = {"sub": sorted(folders.values()), "ses": sorted(sessions - {""}), "datatype": list(table.datatypes)}
    faults = list(choice.lacking(there))
    if faults:
        raise ConfigError("\n".join(faults))
    ours.sort(key=lambda row: (row[1], _rank(row[0], table)))
    experiments: dict[str, list[Experiment]] = {
        label: [] for label, folder in folders.items() if choice.may_take_subject(folder)
    }
    for one, folder in ours:
        if one.subject in experiments and choice.may_take(f"{folder}/", table):
            experiments[one.subject].append(one)
    return _Inventory(table, choice, folders, experiments)


def _rank(experiment: Experiment, table: Table) -> int:
    """Where an experiment comes among those of its session: one of all modalities first."""
    portion = table.naming.portion(experiment.label)
    return list(table.modalities).index(portion.modality) if portion and portion.modality else -1


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the choice takes of a subject.

    Args:
        addresses: of the files that are taken.
        paths: of all files: whether they are taken.
    """

    window: Window
    addresses: frozenset[Address]
    paths: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class _Lot:
    """What there is to fetch of one node, and how to get it.

    Args:
        taken: what the choice takes of the node's subject; None if that is everything.
    """

    holding: Holding
    download: _Download
    taken: _Taken | None = None

    @property
    def node(self) -> Node:
        return self.holding.node

    def takes(self, address: Address) -> bool:
        """Whether a file is taken."""
        return self.taken is None or address in self.taken.addresses

    def takes_mark(self, mark: Mark) -> bool:
        """Whether what a manifest says of a path is taken."""
        if self.taken is None:
            return True
        path = f"{mark.path}/." if mark.kind is MarkKind.FOLDER else mark.path
        return self.taken.paths.get(mark.path, self.taken.window.shows_path(path))

    def is_empty(self, table: Table) -> bool:
        """Whether nothing is taken here."""
        if self.taken is None or not self.taken.addresses.isdisjoint(self.holding.files):
            return False
        return bool(self.node.experiment) or not self.taken.window.shows_path(f"{folder_of(self.node, table)}.")


def _lots(archive: Archive, inventory: _Inventory) -> Iterator[_Lot | Outcome]:
    """Everything that is to be fetched, node by node; where the server cannot be asked, what became of that.

    The order is that in which nodes are the homes of what several could hold: a session's first modality first, and
    the subject last. The first one's copy is the one that a push would look at.
    """
    yield from (_Lot(*one) for one in _node_holding(archive, Node()))
    for labels in _batches(inventory.experiments):
        yield from _lots_of(labels, archive, inventory)


def _lots_of(labels: Sequence[str], archive: Archive, inventory: _Inventory) -> Iterator[_Lot | Outcome]:
    """The lots of some subjects. Where they cannot be listed together, one alone may be why."""
    try:
        listed = archive.holdings(one for label in labels for one in inventory.experiments[label])
        with ThreadPoolExecutor(_LISTINGS, thread_name_prefix="list") as pool:
            nodes = pool.map(lambda label: list(_node_holding(archive, Node(label))), labels)
            own = dict(zip(labels, nodes, strict=True))
    except (Rejected, Unavailable) as error:
        middle = len(labels) // 2
        if middle:
            yield from _lots_of(labels[:middle], archive, inventory)
            yield from _lots_of(labels[middle:], archive, inventory)
        else:
            cause = f"could not be listed: {error.cause}"
            yield Outcome(Node(labels[0]), (), failure=f"could not be listed: {error}", cause=cause)
        return
    for label in labels:
        found = [(listed[one.label], _experiment_download(archive, one)) for one in inventory.experiments[label]]
        yield from _subject_lots([*found, *own[label]], inventory, label)


def _batches(experiments: Mapping[str, Sequence[Experiment]]) -> Iterator[list[str]]:
    """Subjects, so many at a time that their experiments are listed together."""
    batch: list[str] = []
    number = 0
    for label, own in experiments.items():
        if batch and number + len(own) > _BATCH:
            yield batch
            batch, number = [], 0
        batch.append(label)
        number += len(own)
    if batch:
        yield batch


def _subject_lots(nodes: Sequence[tuple[Holding, _Download]], inventory: _Inventory, label: str) -> Iterator[_Lot]:
    if not inventory.choice:
        yield from (_Lot(*one) for one in nodes)
        return
    everything = (address for holding, _ in nodes for address in holding.files)
    found = ((address, path_of(address, inventory.table)) for address in everything)
    paths = {address: path for address, path in found if path is not None}
    window = look(paths.items(), inventory.choice, inventory.table, subject=inventory.folders[label])
    inventory.recordings |= {kind_of_scan(address.scan) for address in paths if address.scan}
    addresses = frozenset(address for address, path in paths.items() if window.shows(address, path))
    shown = {paths[address] for address in addresses}
    taken = _Taken(window, addresses, {path: path in shown for path in paths.values()})
    lots = (_Lot(holding, download, taken) for holding, download in nodes)
    yield from (lot for lot in lots if not lot.is_empty(inventory.table))


def _node_holding(archive: Archive, node: Node) -> Iterator[tuple[Holding, _Download]]:
    holding = archive.node_holding(node)
    if holding.files:
        yield holding, lambda target, most: archive.download_node(node, target, most=most)


def _experiment_download(archive: Archive, experiment: Experiment) -> _Download:
    return lambda target, most: archive.download(experiment, target, most=most)


# ------------------------------------------------------------------ one node


def _fetch(lot: _Lot, landing: _Landing, taken: set[str]) -> _Fetched:
    """Get one node's files that are not here yet, and what its manifest says.

    What is `taken` are paths of files that belong to no scan and have come: an older copy elsewhere does not count.
    """
    holding = lot.holding
    wanted = {
        address: path
        for address, path in _wanted(holding, landing.table)
        if lot.takes(address) and (address.scan or path not in taken)
    }
    taken |= {path for address, path in wanted.items() if not address.scan}
    findings = {address: _already(landing.ground, path, holding.files[address]) for address, path in wanted.items()}
    job = _Job(lot, landing, wanted, findings)
    try:
        marks = tuple(filter(lot.takes_mark, job.run()))
    except (ArchiveError, MappingError, OSError, *DAMAGE) as error:
        if isinstance(error, Distressed):
            raise
        known = error if isinstance(error, ArchiveError) else None
        cause = f"could not be fetched: {known.cause}" if known is not None else ""
        words = f"could not be fetched: {error}"
        return _Fetched(Outcome(holding.node, tuple(findings.values()), failure=words, cause=cause), error=known)
    got = [finding for finding in job.landed if finding.state is State.SAME]
    return _Fetched(
        Outcome(holding.node, tuple(findings.values()), len(got), sum(finding.size for finding in got)), marks
    )


@dataclass(slots=True)
class _Job:
    """The fetching of one node's files.

    Args:
        wanted: where each file belongs.
        findings: what is known of each; it is kept up to date.
        landed: of those that came.
    """

    lot: _Lot
    landing: _Landing
    wanted: Mapping[Address, str]
    findings: dict[Address, Finding]
    landed: list[Finding] = field(default_factory=list)

    @property
    def missing(self) -> dict[Address, StoredFile]:
        """What is not here yet."""
        files = self.lot.holding.files
        return {address: files[address] for address, one in self.findings.items() if one.state is State.MISSING}

    def run(self) -> list[Mark]:
        """Get everything: one by one, where a large file is among few, else as one archive."""
        holding = self.lot.holding
        manifests = [one for one in holding.files.values() if is_manifest(one.address, self.landing.table)]
        missing = self.missing
        if not missing and not manifests:
            return []
        if _go_alone(missing.values(), manifests):
            with suppress(Rejected, Unavailable):  # what does not come alone comes in the archive
                return self._run_alone(manifests)
        with tempfile.TemporaryFile(dir=self.landing.partial) as target:
            self.lot.download(target, most_bytes(holding))
            marks = list(_marks(target, holding, manifests))
            self._leave_out(marks)
            self._note(_unpack(target, holding, self.missing, self.wanted, self.landing.ground))
        return marks

    def _run_alone(self, manifests: Iterable[StoredFile]) -> list[Mark]:
        marks = [mark for stored in manifests for mark in self._fetch(stored, partial(_marks_in, stored=stored))]
        self._leave_out(marks)
        for address, stored in self.missing.items():
            fault = self._fetch(stored, partial(self._write, stored))
            finding = self.findings[address]
            self._note({address: _changed(finding, State.DIFFERS if fault else State.SAME, fault)})
        return marks

    def _fetch(self, stored: StoredFile, take: Callable[[Incoming], _Told]) -> _Told:
        return self.landing.archive.fetch_file(self.lot.holding, stored.address, take)

    def _write(self, stored: StoredFile, source: Incoming) -> str:
        return _written(self.landing.ground, self.wanted[stored.address], source, stored)

    def _leave_out(self, marks: Iterable[Mark]) -> None:
        for address in _generated(marks, self.wanted, self.lot.holding):
            self.findings.pop(address, None)

    def _note(self, findings: Mapping[Address, Finding]) -> None:
        self.findings |= findings
        self.landed += findings.values()


def _go_alone(missing: Collection[StoredFile], manifests: Collection[StoredFile]) -> bool:
    """Whether files are better fetched one by one: a large one among few others, or manifests alone."""
    large = sum(stored.size >= LARGE for stored in missing) if missing else 1
    files = [*missing, *manifests]
    return len(files) <= _ALONE * large and all(is_plain(stored.address.name) for stored in files)


def _generated(marks: Iterable[Mark], wanted: Mapping[Address, str], holding: Holding) -> list[Address]:
    """What the push made and the dataset does not have; not what has taken its place since."""
    made = {(mark.path, mark.target) for mark in marks if mark.kind is MarkKind.GENERATED}
    return [address for address, path in wanted.items() if (path, holding.files[address].md5) in made]


def _wanted(holding: Holding, table: Table) -> Iterator[tuple[Address, str]]:
    """The files of a holding that have a place in the dataset. Where two have the same, the scan's counts."""
    paths: dict[str, Address] = {}
    for address in sorted(holding.files, key=lambda one: (not one.scan, one)):
        path = path_of(address, table)
        if path is not None and paths.setdefault(path, address) == address:
            yield address, path


def _already(ground: Ground, path: str, stored: StoredFile) -> Finding:
    """What the output folder has for a file."""
    finding = Finding(State.MISSING, stored.address, path, max(stored.size, 0))
    target = ground.place(path)
    if target is None:
        return _changed(finding, State.DIFFERS, LEADS_OUT)
    if not os.path.lexists(target):
        return finding
    if target.is_file() and target.stat().st_size == stored.size and stored.md5 in ("", _md5(target)):
        return _changed(finding, State.SAME, "")
    return _changed(finding, State.DIFFERS, "is in the output folder with another content, and was left as it is")


def _changed(finding: Finding, state: State, reason: str) -> Finding:
    return Finding(state, finding.address, finding.path, finding.size, finding.origin, reason)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpack(
    target: IO[bytes],
    holding: Holding,
    missing: Mapping[Address, StoredFile],
    wanted: Mapping[Address, str],
    ground: Ground,
) -> dict[Address, Finding]:
    """Write the missing files from a node's archive; each one's finding."""
    findings: dict[Address, Finding] = {}
    with zipfile.ZipFile(target) as archive:
        entries = dict(entries_of(archive, holding))
        for address, stored in missing.items():
            finding = Finding(State.MISSING, address, wanted[address], max(stored.size, 0))
            entry = entries.get(address)
            if entry is None:
                reason = "the server lists it, and did not send it"
                findings[address] = _changed(finding, State.MISSING, reason)
                continue
            with archive.open(entry) as source:
                fault = _written(ground, wanted[address], source, stored)
            findings[address] = _changed(finding, State.DIFFERS if fault else State.SAME, fault)
    return findings


def _written(ground: Ground, path: str, source: Source, stored: StoredFile) -> str:
    try:
        return ground.write(path, source, size=stored.size, md5=stored.md5)
    except Blocked as error:
        return str(error)
    except DAMAGE as error:
        return f"it arrived damaged ({error}): pull again"
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR):
            raise
        return f"this system cannot have such a file: {error.strerror}"


def _marks(target: IO[bytes], holding: Holding, manifests: Iterable[StoredFile]) -> Iterator[Mark]:
    with zipfile.ZipFile(target) as archive:
        entries = dict(entries_of(archive, holding))
        for stored in manifests:
            entry = entries.get(stored.address)
            if entry is None:
                raise MappingError(f"the server did not send {stored.address}")
            with archive.open(entry) as source:
                yield from _marks_in(source, stored)


def _marks_in(source: Source, stored: StoredFile) -> list[Mark]:
    """What a manifest says; it is read no further than it is listed."""
    size = min(stored.size, _LONGEST_MANIFEST) + 1
    content = b""
    while len(content) < size and (piece := source.read(size - len(content))):
        content += piece
    if len(content) != stored.size:
        raise MappingError(f"{stored.address} arrived with another size than the server's")
    return list(read_manifest(content))


# ------------------------------------------------------------------ what files cannot say


def _restore_marks(ground: Ground, marks: Iterable[Mark]) -> Iterator[Outcome]:
    """Make the empty folders, executable bits and links of the manifests; links last, as they may lead anywhere."""
    marks = sorted(marks)
    others = [mark for mark in marks if mark.kind is not MarkKind.LINK]
    links = _in_order(ground, [mark for mark in marks if mark.kind is MarkKind.LINK])
    findings = []
    for mark in chain(others, links):  # each link is chosen when those before it are there
        fault = _restore(ground, mark)
        if fault:
            findings.append(Finding(State.DIFFERS, Address(Node(), "", "", mark.path), mark.path, 0, reason=fault))
    if findings:
        yield Outcome(Node(), tuple(findings))


def _in_order(ground: Ground, links: list[Mark]) -> Iterator[Mark]:
    """Links so that each comes after those that its way leads through, as far as there are such."""
    while links:
        ready: list[Mark] = []
        waiting: list[Mark] = []
        for mark in links:
            (ready if _leads_somewhere(ground, mark) else waiting).append(mark)
        yield from ready or waiting
        links = waiting if ready else []


def _leads_somewhere(ground: Ground, mark: Mark) -> bool:
    target = ground.place(mark.path)
    try:
        return target is not None and _end(target, mark).exists()
    except (OSError, ValueError):  # no name that this system can have
        return False


def _end(target: Path, mark: Mark) -> Path:
    """Where a link leads, through whatever links are there."""
    return Path(os.path.realpath(target.parent / mark.target))


def _restore(ground: Ground, mark: Mark) -> str:
    """Make one mark true; why that cannot be done, or ""."""
    target = ground.place(mark.path)
    if target is None:
        return LEADS_OUT
    try:
        match mark.kind:
            case MarkKind.FOLDER:
                ground.make_folder(mark.path)
            case MarkKind.EXECUTABLE:
                if target.is_file() and not target.is_symlink():
                    ground.make_executable(mark.path)
            case MarkKind.GENERATED:
                pass  # was left out
            case MarkKind.LINK:
                return _restore_link(ground, target, mark)
    except (OSError, ValueError) as error:  # a name that is too long, or none at all, for this system
        return f"could not be made: {error}"
    return ""


def _restore_link(ground: Ground, target: Path, mark: Mark) -> str:
    """Put a link where its content was written, if it leads to the same content."""
    if target.is_symlink():
        there = os.readlink(target)  # noqa: PTH115  # a Path would tidy it up
        return "" if there == mark.target else "is another link in the output folder"
    end = _end(target, mark)
    if Path(mark.target).is_absolute() or not ground.holds(end):
        return f"is a link out of the dataset (to {mark.target}), and was not made"
    if target.exists() and not end.exists():
        return ""  # the content is here, and what it was a link to is not: a file is the better half
    if target.exists() and not (end.is_file() and filecmp.cmp(target, end, shallow=False)):
        return f"is a link to {mark.target}, which has another content: it was written as a file"
    ground.make_link(mark.path, mark.target, to_folder=end.is_dir())
    return ""
