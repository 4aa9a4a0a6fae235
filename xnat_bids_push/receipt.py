"""The receipt of a push: what went where, file by file.

It is one JSON document, and at the same time a file of lines: one for each file of the dataset, below one for its place
in the archive. So it can be written while the push goes on, searched with ``grep``, and read a place at a time, however
long it is. The form is described in ``receipt.schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, cast

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import (
    NOTHING_MADE,
    Address,
    Deed,
    Field,
    Finding,
    LeftOut,
    Made,
    Node,
    Origin,
    Outcome,
    State,
)
from xnat_bids_push.uris import file_uri, node_uri

FORMAT = "bids2xnat receipt"
VERSION = 1

Rows = Mapping[str, object]


class Status(StrEnum):
    """What became of a file; each has exactly one."""

    SENT = "sent"
    THERE = "there already"
    REPLACED = "replaced"
    DIFFERS = "differs"
    KEPT = "kept"
    MISSING = "missing"
    EXTRA = "extra"
    DELETED = "deleted"
    LEFT_OUT = "left out"
    FAILED = "failed"

    @property
    def is_well(self) -> bool:
        """Whether the file is where it should be, or where the user wants it."""
        return self not in (Status.DIFFERS, Status.MISSING, Status.EXTRA, Status.FAILED)

    @property
    def is_there(self) -> bool:
        """Whether the archive held the dataset's content at the end of the push."""
        return self in (Status.SENT, Status.THERE, Status.REPLACED)


class Proof(StrEnum):
    """How far it is proven that the archive holds a file's content."""

    DIGEST = "digest"
    """The server has computed the digest of what it holds, and it is that of the dataset's file."""
    SIZE = "size"
    """The server gives no digest; the size is right."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a receipt.

    Args:
        path: the dataset's; empty for what the push made itself, or what the dataset cannot hold.
        md5: of the dataset's file; empty where it was not computed.
        stored_size: in bytes, as the server lists it; -1 if it lists none.
        stored_md5: as the server computed it.
    """

    path: str
    status: Status
    address: Address
    size: int
    origin: Origin = Origin.DATASET
    md5: str = ""
    stored_size: int = -1
    stored_md5: str = ""
    proof: Proof = Proof.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A node in a receipt, with its files.

    Args:
        made: what the push created there, beside files.
        failure: why it could not be completed.
    """

    node: Node
    entries: tuple[Entry, ...]
    made: Made = NOTHING_MADE
    failure: str = ""


# ------------------------------------------------------------------ from an outcome


def place_of(outcome: Outcome) -> Place:
    """What a receipt says of an outcome."""
    entries = [_entry(one, outcome.failure) for one in outcome.findings]
    entries += [_entry(one, "", status=Status.DELETED) for one in outcome.deleted]
    return Place(outcome.node, tuple(entries), outcome.made, outcome.failure)


def _entry(one: Finding, failure: str, *, status: Status | None = None) -> Entry:
    status = status or _status(one, failure)
    return Entry(
        path="" if one.origin is Origin.MANIFEST else one.path,
        status=status,
        address=one.address,
        size=one.size,
        origin=one.origin,
        md5=one.md5,
        stored_size=one.stored.size if one.stored else -1,
        stored_md5=one.stored.md5 if one.stored else "",
        proof=_proof(one, status),
        reason=(one.reason or failure) if status is Status.FAILED else one.reason,
    )


def _status(one: Finding, failure: str) -> Status:
    match one.state:
        case State.DIFFERS:
            return Status.DIFFERS
        case State.KEPT:
            return Status.KEPT
        case State.EXTRA:
            return Status.EXTRA
        case State.MISSING:
            return Status.FAILED if failure else Status.MISSING
        case State.SAME | State.UNPROVEN:
            # Where the server has a digest and nothing is proven, the dataset's file could not be read.
            readable = one.stored is not None and (one.state is State.SAME or not one.stored.md5)
            return _DONE[one.deed] if readable else Status.FAILED


_DONE = {Deed.NONE: Status.THERE, Deed.SENT: Status.SENT, Deed.REPLACED: Status.REPLACED}


def _proof(one: Finding, status: Status) -> Proof:
    if not status.is_there:
        return Proof.NONE
    return Proof.DIGEST if one.state is State.SAME else Proof.SIZE


# ------------------------------------------------------------------ writing

_PLACES, _FILES, _LEFT_OUT = '"places": [', '"files": [', '"left_out": ['


def write_head(target: IO[str], head: Rows) -> None:
    """The beginning: all that is known before the first file."""
    target.write(_open({"format": FORMAT, "version": VERSION} | dict(head), _PLACES))


def write_place(target: IO[str], place: Place, *, project: str, first: bool) -> None:
    """One place with its files."""
    made = place.made
    rows: dict[str, object] = {
        "subject": place.node.subject,
        "experiment": place.node.experiment,
        "uri": node_uri(place.node, project),
        "created": {"subject": made.subject is not None, "experiment": made.experiment, "scans": sorted(made.scans)},
        "failure": place.failure,
    }
    if made.subject is not None:
        rows["subject_fields"] = {field.path: field.value for field in made.subject}
    target.write(("" if first else ",") + "\n" + _open(rows, _FILES))
    target.write(",".join(f"\n{_dump(_entry_json(one, project))}" for one in place.entries))
    target.write("\n]}")


def write_left_out(target: IO[str], left: Iterator[LeftOut]) -> None:
    """The end of the places, and what was left out, with the reasons."""
    target.write(f"\n],\n{_LEFT_OUT}")
    mark = ""
    for one in left:
        row = {"path": one.path, "status": Status.LEFT_OUT, "reason": one.reason}
        target.write(f"{mark}\n{_dump(row)}")
        mark = ","
    target.write("\n],\n")


def write_tail(target: IO[str], tail: Rows) -> None:
    """The end: all that is known after the last file, one line for each key."""
    target.write(",\n".join(f"{_dump(key)}: {_dump(value)}" for key, value in tail.items()) + "}\n")


def _open(rows: Rows, end: str) -> str:
    return f"{_dump(rows)[:-1]}, {end}"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _entry_json(one: Entry, project: str) -> Rows:
    return {
        "path": one.path,
        "status": one.status,
        "origin": one.origin,
        "bytes": one.size,
        "md5": one.md5,
        "server_bytes": one.stored_size,
        "server_md5": one.stored_md5,
        "proof": one.proof,
        "reason": one.reason,
        "scan": one.address.scan,
        "resource": one.address.resource,
        "name": one.address.name,
        "uri": file_uri(one.address, project),
    }


# ------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt on disk: its beginning, and where to read the rest."""

    path: Path
    head: Rows

    @property
    def project(self) -> str:
        """The project's ID."""
        return str(self.head["project"])

    @property
    def server(self) -> str:
        """The server's address; empty for a local archive."""
        return str(cast("Rows", self.head["server"])["url"])

    def places(self) -> Iterator[Place]:
        """Place by place.

        Raises:
            ConfigError: the receipt is not whole, or not as it was written.
        """
        with _lines(self.path) as lines:
            next(lines)
            yield from _read_places(lines)

    def left_out(self) -> Iterator[LeftOut]:
        """What was left out, with the reasons."""
        with _lines(self.path) as lines:
            _skip_to(lines, _LEFT_OUT)
            for line in lines:
                if line == "],":
                    return
                row = _object(line.removesuffix(","))
                yield LeftOut(str(row["path"]), str(row["reason"]))

    def tail(self) -> Rows:
        """The end of the receipt."""
        with _lines(self.path) as lines:
            _skip_to(lines, _LEFT_OUT)
            _skip_to(lines, "],")
            return _object("{" + "".join(lines))


def open_receipt(path: Path) -> Receipt:
    """A receipt that a push has left.

    Raises:
        ConfigError: it cannot be read, is no receipt, or one of another version.
    """
    with _lines(path) as lines:
        first = next(lines, "")
        if not first.endswith(_PLACES):
            raise ValueError
        head = _object(first + "]}")
        if head.get("format") != FORMAT or not {"project", "server"} <= head.keys():
            raise ValueError
        if head["version"] != VERSION:
            raise ConfigError(f"{path} was written by another version of bids2xnat")
        return Receipt(path, head)


class _lines:  # noqa: N801  # used like a function
    """The lines of a receipt, in a block; whatever goes wrong with them there is one error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Iterator[str]:
        try:
            self._file = self._path.open(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        return (line.removesuffix("\n") for line in self._file)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._file.close()
        if isinstance(error, (ValueError, KeyError, TypeError, StopIteration)):
            words = "is no receipt of a push, or not as it was written: give the .json file itself"
            raise ConfigError(f"{self._path} {words}") from error


def _skip_to(lines: Iterator[str], wanted: str) -> None:
    if not any(line == wanted for line in lines):
        raise ValueError


def _object(text: str) -> Rows:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _read_places(lines: Iterator[str]) -> Iterator[Place]:
    for line in lines:
        if line == "],":
            return
        if not line.endswith(_FILES):
            raise ValueError
        yield _read_place(_object(line + "]}"), lines)
    raise ValueError  # it ends too early


def _read_place(row: Rows, lines: Iterator[str]) -> Place:
    node = Node(str(row["subject"]), str(row["experiment"]))
    entries = []
    for line in lines:
        if line in ("]}", "]},"):
            break
        entries.append(_read_entry(node, _object(line.removesuffix(","))))
    created = cast("Rows", row["created"])
    subject = None
    if created["subject"]:
        subject = tuple(Field(path, str(value)) for path, value in cast("Rows", row["subject_fields"]).items())
    scans = frozenset(map(str, cast("list[object]", created["scans"])))
    return Place(node, tuple(entries), Made(bool(created["experiment"]), scans, subject), str(row["failure"]))


def _read_entry(node: Node, row: Rows) -> Entry:
    return Entry(
        path=str(row["path"]),
        status=Status(str(row["status"])),
        address=Address(node, str(row["scan"]), str(row["resource"]), str(row["name"])),
        size=int(cast("int", row["bytes"])),
        origin=Origin(str(row["origin"])),
        md5=str(row["md5"]),
        stored_size=int(cast("int", row["server_bytes"])),
        stored_md5=str(row["server_md5"]),
        proof=Proof(str(row["proof"])),
        reason=str(row["reason"]),
    )


# ------------------------------------------------------------------ beside it


def md5_line(entry: Entry) -> str:
    r"""A line as ``md5sum -c`` reads it; "" for what is no file of the dataset, or was not digested.

    >>> md5_line(Entry("a\nb", Status.SENT, Address(Node(), "", "BIDS", "x"), 1, md5="0" * 32))
    '\\00000000000000000000000000000000  a\\nb\n'
    """
    if entry.origin is not Origin.DATASET or not entry.md5 or not entry.status.is_there:
        return ""
    escaped = entry.path.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{chr(92) if escaped != entry.path else ''}{entry.md5}  {escaped}\n"
