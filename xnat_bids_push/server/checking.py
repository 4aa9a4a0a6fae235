"""Checking: whether all that an archive lists is on the disk, whole and unchanged, and what lies there unlisted."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from . import records, views
from .files import Files
from .records import Entry, Resource
from .site import Site

_CHUNK: Final = 1024 * 1024


class Fault(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    SIZE = "wrong size"
    DIGEST = "wrong digest"
    UNLISTED = "not listed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One file with which something is wrong; its path is relative to the archive's folder."""

    fault: Fault
    path: Path

    def __str__(self) -> str:
        return f"{self.fault}: {self.path}"


def check(folder: Path) -> Iterator[Problem]:
    """Compare every entry of every catalog with its file, and every file with the entries."""
    site = Site(folder)
    try:
        with site.database.read() as db:
            yield from _check(site.files, db)
    finally:
        site.close()


def _check(files: Files, db: sqlite3.Connection) -> Iterator[Problem]:
    listed: set[Path] = set()
    for row in db.execute("SELECT key FROM resource ORDER BY key").fetchall():
        resource = records.resource_by_key(db, row[0])
        assert resource is not None
        for path, entry in _entries(files, db, resource):
            listed.add(path)
            fault = _fault(path, entry)
            if fault is not None:
                yield Problem(fault, path.relative_to(files.root))
    for path in sorted(files.archive.rglob("*")):
        if path.is_file() and path not in listed:
            yield Problem(Fault.UNLISTED, path.relative_to(files.root))


def _entries(files: Files, db: sqlite3.Connection, resource: Resource) -> Iterator[tuple[Path, Entry]]:
    folder = views.resource_folder(files, db, resource)
    for entry in records.entries_of(db, [resource.key])[resource.key]:
        yield folder.joinpath(*(part for part in entry.uri.split("/") if part)), entry


def _fault(path: Path, entry: Entry) -> Fault | None:
    if not path.is_file():
        return Fault.MISSING
    if entry.size is not None and path.stat().st_size != entry.size:
        return Fault.SIZE
    if entry.digest and _md5(path) != entry.digest.lower():
        return Fault.DIGEST
    return None


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
