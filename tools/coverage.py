"""The coverage table: what becomes of each public dataset, as it is committed, and as it is on this day. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

TABLE = Path(__file__).parents[1] / "docs" / "explanation" / "coverage.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one dataset.

    Args:
        files: files and links in its folder.
        placed: those that have an address in XNAT.
        restored: those that came back as they were.
        sessions: how many experiments the archive has of each type.
        scans: how many scans the archive has.
        fields: how many of XNAT's own fields are set on subjects, experiments and scans.
        left_out: why files have no address, with how many they are.
    """

    files: int = 0
    placed: int = 0
    restored: int = 0
    sessions: Mapping[str, int] = field(default_factory=dict)
    scans: int = 0
    fields: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


Table = Mapping[str, Row]


def load(text: str) -> dict[str, Row]:
    """A table from its text."""
    return {name: Row(**row) for name, row in json.loads(text).items()}


def dump(table: Table) -> str:
    """A table's text, one line a dataset, so that a diff shows which one has changed."""
    rows = (f" {json.dumps(name)}: {json.dumps(asdict(row))}" for name, row in sorted(table.items()))
    return "{\n" + ",\n".join(rows) + "\n}\n"


def committed() -> dict[str, Row]:
    """The table that belongs to this state of the code."""
    return load(TABLE.read_text("utf-8"))


GROWING = ("placed", "restored", "scans", "fields")


def regressions(before: Row | None, after: Row) -> Iterator[str]:
    """What is worse than in the committed table."""
    if before is None:
        yield "it is not in the table"
        return
    if after.files != before.files:
        yield f"it is another dataset than that of the table: {after.files} files, {before.files} there"
    for name in GROWING:
        then, here = getattr(before, name), getattr(after, name)
        if here < then:
            yield f"{name}: {here}, {then} in the table"
    yield from _lost_sessions(before.sessions, after.sessions)


def _lost_sessions(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for kind, then in before.items():
        here = after.get(kind, 0)
        if here < then:
            yield f"{kind} sessions: {here}, {then} in the table"


def total(rows: Iterable[Row]) -> Row:
    """All rows in one."""
    rows = list(rows)
    sums = {name: sum(getattr(row, name) for row in rows) for name in ("files", *GROWING)}
    return Row(**sums, sessions=_added(row.sessions for row in rows), left_out=_added(row.left_out for row in rows))


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for some in counts:
        for key, number in some.items():
            found[key] = found.get(key, 0) + number
    return dict(sorted(found.items()))
