"""Refresh: catalogs brought up to date with the files on the disk."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from . import records, resources, views
from .files import inside
from .records import Entry, Resource
from .web import BAD_REQUEST, Answer, Call, empty, not_found, refuse

_CHUNK: Final = 1024 * 1024
_OPTIONS: Final = ("append", "checksum", "delete", "populateStats")
_ADDRESS: Final = re.compile(
    r"(?:/data)?(?:/archive)?"
    r"(?:/projects/(?P<project>[^/]+))?(?:/subjects/(?P<subject>[^/]+))?(?:/experiments/(?P<experiment>[^/]+))?"
    r"(?:/scans/(?P<scan>[^/]+))?(?:/resources/(?P<resource>[^/]+))?/?"
)


def run(call: Call) -> Answer:
    """Refresh the catalogs of one or several objects."""
    values = [*call.values, *_form(call)]
    wanted = [text for key, text in values if key == "resource"]
    options = {name for key, text in values if key == "options" for name in text.split(",") if name}
    options |= {key for key, text in values if key in _OPTIONS and text.lower() not in ("false", "0")}
    if not wanted:
        raise refuse(400, BAD_REQUEST)
    if call.site.behaviour.checksums == "never":
        options.discard("checksum")
    for found in [found for address in wanted for found in _found(call, address)]:
        _refresh(call, found, options)
    return empty()


def _form(call: Call) -> list[tuple[str, str]]:
    if call.media_type != "application/x-www-form-urlencoded":
        return []
    return parse_qsl(call.body.read().decode("utf-8", "replace"), keep_blank_values=True)


def _found(call: Call, address: str) -> list[Resource]:
    match = _ADDRESS.fullmatch(address)
    names = {name: text for name, text in match.groupdict().items() if text} if match else {}
    if not names:
        raise refuse(400, f"The URI {address} doesn't seem to be a valid archive URI.")
    resource = names.pop("resource", None)
    with call.site.database.read() as db:
        spot = resources.find(call, db, **names)
        if not resources.rights_at(call, db, spot).edit:
            item = next(iter(reversed(names.values())))
            raise refuse(
                403,
                f"The user {call.user.login} does not have permission to edit the resource {address} for item {item}",
            )
        there = resources.resources_at(db, spot, everything=True)
    if resource is None:
        return there
    matching = resources.chosen(there, resource)
    if not matching:
        raise not_found()
    return matching


def _refresh(call: Call, resource: Resource, options: set[str]) -> None:
    with call.site.database.read() as db:
        folder = views.resource_folder(call.site.files, db, resource)
        entries = {entry.uri: entry for entry in records.entries_of(db, [resource.key])[resource.key]}
    # XNAT refuses, without a word, to refresh a resource that holds the catalog of another one.
    if any(folder.rglob("*_catalog.xml")):
        return
    changed = _examined(resource, folder, entries, options)
    with call.site.database.write() as db:
        if records.resource_by_key(db, resource.key) is None:
            return
        _save(db, resource, entries, changed)
        if "populateStats" in options:
            records.count_files(db, resource.key, only_present=True)


def _examined(
    resource: Resource, folder: Path, entries: dict[str, Entry], options: set[str]
) -> dict[str, Entry | None]:
    """The entries as they should be; None for those that should go."""
    wanted = dict(entries)
    if "append" in options:
        for path in sorted(folder.rglob("*")):
            uri = path.relative_to(folder).as_posix()
            if path.is_file() and uri not in wanted:
                wanted[uri] = Entry(resource.key, uri, path.name, uri)
    changed: dict[str, Entry | None] = {}
    for uri, entry in wanted.items():
        path = inside(folder, uri)
        if not path.is_file():
            if "delete" in options:
                changed[uri] = None
            continue
        fresh = replace(entry, size=path.stat().st_size)
        if "checksum" in options:
            fresh = replace(fresh, digest=_md5(path))
        if fresh != entries.get(uri):
            changed[uri] = fresh
    return changed


def _save(
    db: sqlite3.Connection, resource: Resource, entries: dict[str, Entry], changed: dict[str, Entry | None]
) -> None:
    """Store what was found, except for entries that somebody else has changed meanwhile."""
    present = {entry.uri: entry for entry in records.entries_of(db, [resource.key])[resource.key]}
    for uri, entry in changed.items():
        if present.get(uri) != entries.get(uri):
            continue
        if entry is None:
            db.execute("DELETE FROM entry WHERE resource = ? AND uri = ?", (resource.key, uri))
        else:
            records.save_entry(db, entry)
    if changed:
        records.touch(db, resource.key)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
