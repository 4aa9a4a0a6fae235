"""What a dataset says of its scans, sessions and people: sidecars, headers and tables, read where they are needed.

Nothing here raises for bad content: it costs its facts and a warning. All of it may be used from several threads. What
belongs to one subject is forgotten with it; of the root, the folder is listed, and each file read, once.
"""

from __future__ import annotations

import json
import os
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from threading import RLock

from xnat_bids_push.dataset import Dataset
from xnat_bids_push.fields import ImageHeader, Person, Recording, SignalHeader, Visit
from xnat_bids_push.headers import SIGNALS, HeaderError, read_image, read_signal
from xnat_bids_push.mapping import folder_of, spot
from xnat_bids_push.model import BidsFile, Issue, Node, Parcel, Scan, Severity
from xnat_bids_push.names import BidsName, parse_name
from xnat_bids_push.rules import Fact, Facts

Warn = Callable[[str, str], None]
"""Takes the path of a file, and what is wrong with it."""

_MOST = 1000
"""Issues that are remembered one by one: a bound, should nothing of a large dataset be readable."""


class Metadata:
    """The metadata of one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._lock = RLock()
        self._issues: dict[Issue, None] = {}
        self._others = 0
        self._root = _Folder(dataset.root, "", warn=self.warn)

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What was wrong with what was read so far."""
        with self._lock:
            issues = tuple(self._issues)
            if self._others:
                message = f"{self._others:,} more files have metadata that XNAT gets no fields from"
                issues += (Issue(Severity.WARNING, "", message),)
            return issues

    def warn(self, path: str, message: str) -> None:
        """Note something odd, once."""
        issue = Issue(Severity.WARNING, path, message)
        with self._lock:
            if len(self._issues) < _MOST:
                self._issues[issue] = None
            elif issue not in self._issues:
                self._others += 1

    def recordings(self, parcel: Parcel) -> tuple[Recording, ...]:
        """What there is to know of each scan of an experiment."""
        folders = self._folders()
        files: dict[str, list[BidsFile]] = defaultdict(list)
        for placed in parcel.files:
            if placed.rule == "recording":
                files[placed.address.scan].append(placed.file)
        return tuple(self._recording(scan, files[scan.id], folders) for scan in parcel.scans if files[scan.id])

    def sidecars(self, parcel: Parcel) -> dict[str, tuple[str, dict[str, object]]]:
        """Of each scan: the path that a sidecar of its own would have, and its merged metadata."""
        folders = self._folders()
        found: dict[str, tuple[str, dict[str, object]]] = {}
        for placed in parcel.files:
            if placed.rule == "recording" and placed.address.scan not in found:
                inner = spot(placed.file.path, self._dataset.table).inner
                own = inner.partition("/")[0]
                folder = placed.file.path.removesuffix(inner)
                merged = _merged(f"{folder}{own}", folders)
                path = f"{folder}{own.partition('.')[0]}.json"
                found[placed.address.scan] = path, {key: fact.value for key, fact in merged.items()}
        return found

    def person(self, node: Node) -> Person:
        """A subject's row of ``participants.tsv``."""
        subject = self._path(node)[0]
        row = _row_of(self._root.table("participants.tsv", "participant_id"), subject)
        return Person(row, _columns(self._root.json("participants.json")))

    def visit(self, node: Node) -> Visit:
        """What the tables say of an experiment's session."""
        subject, session = self._path(node)
        person = self.person(node)
        if not session:
            return Visit(person=person)
        folders = self._folders()
        name = f"{subject}_sessions.tsv"
        row = _row_of(folders[subject].table(name, "session_id"), session)
        columns = {key: fact.value for key, fact in _merged(f"{subject}/{name}", folders).items()}
        return Visit(session.removeprefix("ses-"), Person(row, _columns(columns)), person)

    def _path(self, node: Node) -> tuple[str, str]:
        """The folders of a node's subject and session, "" where there is none."""
        subject, _, session = (folder_of(node, self._dataset.table) or "").removesuffix("/").partition("/")
        return subject, session

    def _folders(self) -> _Folders:
        return _Folders(self._dataset.root, self._root, warn=self.warn)

    def _recording(self, scan: Scan, files: Sequence[BidsFile], folders: _Folders) -> Recording:
        where = spot(files[0].path, self._dataset.table)
        own = where.inner.partition("/")[0]
        folder = files[0].path.removesuffix(f"/{where.inner}")
        name = parse_name(own) or BidsName((), "", "")
        sidecar = _merged(f"{folder}/{own}", folders)
        return Recording(
            scan,
            name,
            datatype=where.datatype,
            modality=self._dataset.table.datatypes[where.datatype].modality,
            sidecar=sidecar,
            image=self._image(files[0], name.extension),
            signal=None if _tells_of_signal(sidecar) else self._signal(files),
            bvals=_bvals(f"{folder}/{own}", folders),
            row=_scan_row(files, folder.removesuffix(f"/{where.datatype}"), folders=folders),
            sample=self._sample(name),
        )

    def _image(self, file: BidsFile, extension: str) -> ImageHeader | None:
        if extension not in _IMAGES or isinstance(file.content, bytes):
            return None
        try:
            return read_image(Path(file.content), compressed=extension == ".nii.gz")
        except (HeaderError, OSError) as error:
            self._warn_of_header(file, error)
        return None

    def _signal(self, files: Sequence[BidsFile]) -> SignalHeader | None:
        """The header of the first of a recording's files that is of a format we can read."""
        for file in files:
            name = parse_name(file.path.rpartition("/")[2])
            if name is None or name.extension not in SIGNALS or isinstance(file.content, bytes):
                continue
            try:
                return read_signal(Path(file.content), name.extension)
            except (HeaderError, OSError) as error:
                self._warn_of_header(file, error)
                return None
        return None

    def _warn_of_header(self, file: BidsFile, error: HeaderError | OSError) -> None:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        self.warn(file.path, f"{reason}: XNAT gets no fields from its header")

    def _sample(self, name: BidsName) -> Facts:
        sample = name.get("sample")
        if not sample:
            return {}
        rows = self._root.table("samples.tsv", "sample_id").rows(f"sample-{sample}", sample)
        own = (row for row in rows if _is(row.get("participant_id"), f"sub-{name.get('sub')}"))
        return next(own, {})


_IMAGES = (".nii", ".nii.gz")


def _tells_of_signal(sidecar: Facts) -> bool:
    counted = any(key.endswith("ChannelCount") for key in sidecar)
    return counted and "SamplingFrequency" in sidecar and "RecordingDuration" in sidecar


def _scan_row(files: Sequence[BidsFile], folder: str, *, folders: _Folders) -> Facts:
    """A recording's row of ``scans.tsv``, which names one of its files, or the folder that it is."""
    table = folders[folder].table(f"{folder.replace('/', '_')}_scans.tsv", "filename")
    for file in files:
        parts = file.path.removeprefix(f"{folder}/").split("/")
        for row in table.rows("/".join(parts[:2])):
            return row
    return {}


def _row_of(table: _Table, label: str) -> Facts:
    """The row of a subject or session, with or without its ``sub-`` or ``ses-``."""
    found = next(iter(table.rows(label, label.partition("-")[2])), {})
    return {column.casefold(): fact for column, fact in found.items()}


def _is(fact: Fact | None, label: str) -> bool:
    return fact is not None and fact.value in (label, label.partition("-")[2])


def _columns(described: Mapping[str, object] | None) -> dict[str, Mapping[str, object]]:
    """What a table's ``.json`` says of its columns."""
    rows = (described or {}).items()
    return {column.casefold(): row for column, row in rows if isinstance(row, dict)}


# ------------------------------------------------------------------ inheritance


def _merged(path: str, folders: _Folders) -> dict[str, Fact]:
    """The sidecar of a file, by the inheritance rule: what is nearer wins; at one level, what names more entities."""
    facts: dict[str, Fact] = {}
    for folder, name in _applying(path, ".json", folders=folders):
        facts.update(folder.facts(name))
    return facts


def _bvals(path: str, folders: _Folders) -> Fact | None:
    """The b values of an image, inherited as sidecars are."""
    found = list(_applying(path, ".bval", folders=folders))
    if not found or not path.endswith(_IMAGES):
        return None
    folder, name = found[-1]
    return folder.numbers(name)


def _applying(path: str, extension: str, *, folders: _Folders) -> Iterator[tuple[_Folder, str]]:
    """The files of a kind that apply to a file, the one that wins last."""
    parts = path.split("/")
    name = parse_name(parts[-1])
    if name is None:
        return
    entities = set(name.entities)
    for depth in range(len(parts)):
        folder = folders["/".join(parts[:depth])]
        for own, candidate in folder.kind(name.suffix, extension):
            if entities.issuperset(own.entities):
                yield folder, candidate


class _Folders(dict[str, "_Folder"]):
    """Folders of a dataset by their path, opened when they are asked for."""

    def __init__(self, root: Path, top: _Folder, *, warn: Warn) -> None:
        super().__init__({"": top})
        self._root, self._warn = root, warn

    def __missing__(self, path: str) -> _Folder:
        return self.setdefault(path, _Folder(self._root, path, warn=self._warn))


class _Folder:
    """The metadata files directly in one folder: listed once, each read once."""

    _KINDS = (".json", ".bval")

    def __init__(self, root: Path, path: str, *, warn: Warn) -> None:
        self._root, self._path, self._warn = root, path, warn
        self._lock = RLock()
        self._listed: dict[tuple[str, str], list[tuple[BidsName, str]]] | None = None
        self._values: dict[str, dict[str, object] | None] = {}
        self._facts: dict[str, Facts] = {}
        self._tables: dict[str, _Table] = {}

    def kind(self, suffix: str, extension: str) -> Sequence[tuple[BidsName, str]]:
        """The files with a suffix and an extension, those with more entities last."""
        with self._lock:
            if self._listed is None:
                self._listed = self._list()
            return self._listed.get((suffix, extension), ())

    def _list(self) -> dict[tuple[str, str], list[tuple[BidsName, str]]]:
        found: dict[tuple[str, str], list[tuple[BidsName, str]]] = defaultdict(list)
        try:
            names = [name for name in os.listdir(self._place("")) if name.endswith(self._KINDS)]  # noqa: PTH208  # fastest
        except OSError:
            return found  # the walk meets the same error, and reports it
        for name in sorted(names):
            parsed = parse_name(name)
            if parsed is not None:
                found[parsed.suffix, parsed.extension].append((parsed, name))
        for files in found.values():
            files.sort(key=lambda file: len(file[0].entities))
        return found

    def json(self, name: str) -> dict[str, object] | None:
        """The object in a JSON file; None if there is none."""
        with self._lock:
            if name not in self._values:
                self._values[name] = self._read_json(name)
            return self._values[name]

    def facts(self, name: str) -> Facts:
        """What a JSON file says: of one high up, the same facts go to all that inherit it."""
        with self._lock:
            if name not in self._facts:
                values = self.json(name) or {}
                self._facts[name] = {key: Fact(value, f"{key} in {name}") for key, value in values.items()}
            return self._facts[name]

    def table(self, name: str, key: str) -> _Table:
        """The table in a file, found by a column; empty if there is none."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = _Table(self._text(name) or "", key, name=name)
                fault = self._tables[name].fault
                if fault:
                    self._warn(self._full(name), fault)
            return self._tables[name]

    def numbers(self, name: str) -> Fact | None:
        """The numbers in a text file."""
        words = (self._text(name) or "").split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            self._warn(self._full(name), "holds something that is no number: XNAT gets no b values")
            return None
        return Fact(numbers, name) if numbers else None

    def _read_json(self, name: str) -> dict[str, object] | None:
        text = self._text(name)
        if text is None:
            return None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = "is empty" if not text.strip() else f"is not JSON ({error})"
            self._warn(self._full(name), f"{reason}: XNAT gets no fields from it")
            return None
        if not isinstance(values, dict):
            self._warn(self._full(name), "is JSON, but no object: XNAT gets no fields from it")
            return None
        return values

    def _text(self, name: str) -> str | None:
        """A file's text: UTF-8, with or without a mark, else Latin-1; None if there is no such file."""
        try:
            with FileIO(self._place(name)) as stream:
                content = stream.readall()
        except FileNotFoundError:
            if Path(self._place(name)).is_symlink():
                self._warn(self._full(name), "is a link to nothing here: XNAT gets no fields from it")
            return None
        except OSError as error:
            self._warn(self._full(name), f"cannot be read: {error.strerror}")
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return content.decode("latin-1")

    def _place(self, name: str) -> str:
        """Where a file is on this machine; joining texts takes a tenth of the time that joining a `Path` takes."""
        return f"{self._root}/{self._path}/{name}"

    def _full(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name


class _Table:
    """A table of tab-separated values, kept as its text: 100,000 participants take a few megabytes.

    Args:
        key: the column by which rows are found.
        name: of the file, for people.
    """

    def __init__(self, text: str, key: str, *, name: str) -> None:
        self._name = name
        self._text = text.replace("\r\n", "\n").replace("\r", "\n")
        end = self._end(0)
        self._header = [column.strip() for column in self._text[:end].split("\t")]
        self._column = self._header.index(key) if key in self._header else -1
        self.fault = f"has no column {key}" if self._text.strip() and self._column < 0 else ""
        self._starts = array("Q", sorted(self._lines(end + 1), key=self._key) if self._column >= 0 else ())

    def rows(self, *keys: str) -> Iterator[dict[str, Fact]]:
        """The rows of any of some keys, without their empty cells."""
        for key in keys:
            at = bisect_left(self._starts, key, key=self._key)
            while at < len(self._starts) and self._key(self._starts[at]) == key:
                yield self._row(self._starts[at])
                at += 1

    def _lines(self, start: int) -> Iterator[int]:
        while start < len(self._text):
            yield start
            start = self._end(start) + 1

    def _end(self, start: int) -> int:
        end = self._text.find("\n", start)
        return end if end >= 0 else len(self._text)

    def _cells(self, start: int) -> list[str]:
        return [cell.strip() for cell in self._text[start : self._end(start)].split("\t")]

    def _key(self, start: int) -> str:
        cells = self._cells(start)
        return cells[self._column] if self._column < len(cells) else ""

    def _row(self, start: int) -> dict[str, Fact]:
        cells = zip(self._header, self._cells(start), strict=False)  # rows may be short
        return {
            column: Fact(cell, f"{column} in {self._name}")
            for column, cell in cells
            if cell and cell.casefold() != "n/a"
        }
