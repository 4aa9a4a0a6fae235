"""Holdings: resources with their files, and what can be fetched of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from xnat_bids_push.server.records import Entry, Resource

from . import places
from .facts import plain
from .paging import Paging
from .places import Place

AT_A_GLANCE: Final = 50
"""A page about something else lists so many files of a resource."""
_PICTURES: Final = (".gif", ".jpeg", ".jpg", ".png")


@dataclass(frozen=True, slots=True)
class File:
    """A file as a page lists it."""

    name: str
    size: int | None
    md5: str
    address: str


@dataclass(frozen=True, slots=True)
class Holding:
    """A resource as a page shows it."""

    label: str
    format: str
    content: str
    count: int
    size: int
    files: tuple[File, ...]
    page: str
    archive: str


@dataclass(frozen=True, slots=True)
class Total:
    """How many files something has, and their size."""

    count: int = 0
    size: int = 0


def holdings(db: sqlite3.Connection, place: Place, resources: Sequence[Resource]) -> list[Holding]:
    """Resources with their first files."""
    return [holding(db, place, one, Paging(AT_A_GLANCE, 1, AT_A_GLANCE)) for one in resources]


def holding(db: sqlite3.Connection, place: Place, resource: Resource, paging: Paging) -> Holding:
    """One resource with one page of its files."""
    within = place.resource(resource.key)
    total = total_of(db, resource)
    return Holding(
        plain(resource.label),
        plain(resource.format or ""),
        plain(resource.content or ""),
        total.count,
        total.size,
        tuple(_files(db, within, resource, paging)),
        within.page,
        place.archive([resource.key]),
    )


def total_of(db: sqlite3.Connection, resource: Resource) -> Total:
    """How much a resource holds."""
    row = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE resource = ?", (resource.key,)
    ).fetchone()
    return Total(row[0], row[1])


def totals_of_scans(db: sqlite3.Connection, session: str) -> dict[int | None, Total]:
    """How much each scan of a session holds; None for what belongs to the session itself."""
    rows = db.execute(
        "SELECT r.scan, count(*), coalesce(sum(e.size), 0) FROM resource r JOIN entry e ON e.resource = r.key "
        "WHERE r.experiment = ? GROUP BY r.scan",
        (session,),
    )
    return {row[0]: Total(row[1], row[2]) for row in rows}


def pictures(db: sqlite3.Connection, place: Place, session: str) -> dict[tuple[int, str], str]:
    """Where the previews of a session's scans are fetched, by scan and ORIGINAL or THUMBNAIL."""
    rows = db.execute(
        "SELECT r.scan, e.content, e.uri, r.key, (SELECT count(*) FROM entry o WHERE o.resource = r.key "
        "AND o.uri < e.uri) FROM resource r JOIN entry e ON e.resource = r.key WHERE r.experiment = ? "
        "AND r.scan IS NOT NULL AND r.label = 'SNAPSHOTS' AND e.content IN ('ORIGINAL', 'THUMBNAIL')",
        (session,),
    )
    return {
        (scan, content): places.of_file(place.resource(key), uri, index)
        for scan, content, uri, key, index in rows
        if uri.endswith(_PICTURES)
    }


def _files(db: sqlite3.Connection, place: Place, resource: Resource, paging: Paging) -> list[File]:
    rows = db.execute(
        "SELECT * FROM entry WHERE resource = ? ORDER BY uri LIMIT ? OFFSET ?",
        (resource.key, paging.size, paging.offset),
    )
    return [_file(db, place, Entry(*row), paging.offset + number) for number, row in enumerate(rows)]


def _file(db: sqlite3.Connection, place: Place, entry: Entry, index: int) -> File:
    name = places.encoded(entry.uri)
    taken = name != entry.uri and _is_there(db, entry.resource, name or "")
    address = places.of_file(place, entry.uri, index, taken=taken)
    return File(entry.uri, entry.size, entry.digest or "", address)


def _is_there(db: sqlite3.Connection, resource: int, uri: str) -> bool:
    return db.execute("SELECT 1 FROM entry WHERE resource = ? AND uri = ?", (resource, uri)).fetchone() is not None
