"""Uploads: files that clients send into resources, one by one or as archives."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

from . import records, resources, unpacking, views
from .files import Placement, UnsafePath, flush, flush_path, inside
from .multipart import parts
from .populate import escaped
from .records import Entry, Resource
from .resources import Spot
from .tables import to_json
from .unpacking import BadArchive, UnsafeMember
from .web import PLAIN, Answer, Call, Refusal, empty, failed, not_found, refuse

_IN_BODY: Final = re.compile(
    r"text/(plain|xml|csv)|application/(octet-stream|zip|x-tar|x-gtar|x-gzip|pdf|dicom|msword|vnd\.[\w.-]+)"
    r"|(image|video)/.*"
)
_MULTIPART: Final = "multipart/form-data"
_ZIP: Final = "application/zip"


@dataclass(frozen=True, slots=True)
class Received:
    """A file that has come in: under which name it was sent, and where it waits."""

    sent_as: str
    staged: Path
    size: int
    md5: str


def put(call: Call, path: str, resource: str | None = None, **address: str) -> Answer:
    """Store what came with the request in a resource, which is made if it is not there.

    Without the right to do so nothing happens, and the answer is 200 all the same.
    """
    with call.site.database.read() as db:
        spot = resources.find(call, db, **address)
        if not resources.rights_at(call, db, spot).edit:
            return empty()
        _check_numeric(db, spot, resource)
    path = stored_name(path)
    with _received(call, path) as found:
        duplicates = _store(call, spot, resource, path, found)
    if duplicates:
        return Answer(200, to_json({"duplicates": duplicates}), "text/html")
    return Answer(200, b"", PLAIN)


def stored_name(path: str) -> str:
    """The name under which XNAT stores a percent-encoded path: decoded only if it holds ``%20`` or ``%2B``.

    >>> stored_name("a%20b+c"), stored_name("k%C3%A9")
    ('a b c', 'k%C3%A9')
    """
    return unquote_plus(path) if re.search("%20|%2B", path) else path


def _check_numeric(db: sqlite3.Connection, spot: Spot, resource: str | None) -> None:
    """A number is taken for the key of a resource, which must be there."""
    if resource is not None and resource.isdigit() and not resources.chosen(resources.resources_at(db, spot), resource):
        raise not_found()


# Receiving


@contextmanager
def _received(call: Call, path: str) -> Iterator[list[Received]]:
    """The files of the request, unpacked if that is wanted, on their way into the archive."""
    folder = call.site.files.stage()
    folder.mkdir()
    try:
        files = [_from_body(call, folder, path)] if _is_in_body(call) else _from_parts(call, folder)
        yield [one for file in files for one in _unpacked(call, file, folder)] if call.flag("extract") else files
    except UnsafeMember as error:
        raise refuse(400, f"Archive member outside of its resource: {error}") from error
    except (BadArchive, UnsafePath) as error:
        raise failed() from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_in_body(call: Call) -> bool:
    return call.flag("inbody") or _IN_BODY.fullmatch(call.media_type) is not None


def _from_body(call: Call, folder: Path, path: str) -> Received:
    if call.media_type == _MULTIPART:
        raise _no_data(call)
    if not call.body.declared and call.media_type != _ZIP:
        raise failed()
    staged = folder / "body"
    _adopt(call, staged)
    return Received(path, staged, call.body.size, call.body.md5)


def _from_parts(call: Call, folder: Path) -> list[Received]:
    if call.media_type != _MULTIPART:
        raise _no_data(call)
    found = [Received(part.filename, part.path, part.size, part.md5) for part in parts(call, folder)]
    if not found:
        raise _no_data(call)
    return found


def _no_data(call: Call) -> Refusal:
    method, size = call.method, call.body.size
    if not size:
        return refuse(
            400,
            f"You tried to {method} to this service, but didn't provide any data (found request entity size of 0). "
            "Please check the format of your service request.",
        )
    return refuse(
        400,
        f"You tried to {method} a payload of {_human_size(size)} to this service, but didn't provide any data. "
        f"If you think you sent data to upload, you can try to {method} with the query-string parameter inbody=true "
        "or use multipart/form-data encoding.",
    )


def _human_size(size: int) -> str:
    """A size with its unit.

    >>> _human_size(182), _human_size(2048)
    ('182 B', '2.0 KB')
    """
    if size < 1024:
        return f"{size} B"
    amount, unit = size / 1024, "KB"
    for larger in ("MB", "GB", "TB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f} {unit}"


def _adopt(call: Call, staged: Path) -> None:
    """Make the body a file of its own."""
    body = call.body
    if body.path is not None:
        with body.path.open("rb+") as file:
            flush(file)
        body.path.replace(staged)
        return
    body.md5 = hashlib.md5(body.data, usedforsecurity=False).hexdigest()
    with staged.open("wb") as file:
        file.write(body.data)
        flush(file)


def _unpacked(call: Call, file: Received, folder: Path) -> Iterator[Received]:
    name = file.sent_as.rsplit("/", 1)[-1]
    kind = unpacking.kind_of(name)
    if kind is None:
        yield file
        return
    target = folder / f"{file.staged.name}-members"
    for member in unpacking.unpack(file.staged, kind, target, name):
        yield Received(f"/{member.name}", member.staged, member.size, member.md5)


# Storing


def _store(call: Call, spot: Spot, resource: str | None, path: str, found: list[Received]) -> list[str]:
    site = call.site
    with site.database.write() as db:
        target = _resource(call, db, spot, resource)
        folder = views.resource_folder(site.files, db, target)
    if call.site.behaviour.catalog_conflicts == "overlapping" and target.modified > call.arrived:
        _leave_unlisted(found, folder, path)
        raise failed()
    plan = [_placement(call, target, folder, file, _name(file, path, found)) for file in found]
    intent = site.files.place(plan)
    with site.database.write() as db:
        placed, duplicates = _place(plan)
        if placed:
            _list(call, db, target, placed)
        site.files.done(db, intent)
    return duplicates


def _resource(call: Call, db: sqlite3.Connection, spot: Spot, name: str | None) -> Resource:
    there = resources.resources_at(db, spot)
    if name is None:
        if not there:
            raise not_found()
        return there[0]
    matching = resources.chosen(there, name)
    if matching:
        return matching[0]
    if name.isdigit():
        raise not_found()
    return resources.make(call, db, spot, escaped(name.split(",")[0]))


def _name(file: Received, path: str, found: list[Received]) -> str:
    """The path below the resource: of a member its own, of a single file the one in the address."""
    if file.sent_as.startswith("/"):
        return file.sent_as.lstrip("/").removeprefix("./")
    if path and (len(found) == 1 or not path.endswith("/")):
        return path
    return path + file.sent_as


def _placement(call: Call, resource: Resource, folder: Path, file: Received, name: str) -> Placement:
    try:
        target = inside(folder, name)
    except UnsafePath as error:
        raise failed() from error
    if target == folder / resource.catalog:
        raise failed()
    entry = Entry(
        resource.key,
        name,
        target.name,
        name,
        file.size,
        file.md5 if call.site.behaviour.checksums == "always" else "",
        call.query.get("format") or None,
        call.query.get("content") or None,
        call.joined("tags") or None,
        call.query.get("description") or None,
    )
    return Placement(file.staged, target, entry, call.flag("overwrite"))


def _place(plan: list[Placement]) -> tuple[list[Placement], list[str]]:
    """Rename the files into place; what is on the disk already is a duplicate, listed or not."""
    placed: list[Placement] = []
    duplicates: list[str] = []
    for one in plan:
        if os.path.lexists(one.target) and (not one.overwrite or one.target.is_dir()):
            duplicates.append(one.entry.uri)
            continue
        try:
            one.target.parent.mkdir(parents=True, exist_ok=True)
            one.staged.replace(one.target)
        except (NotADirectoryError, FileExistsError):
            duplicates.append(one.entry.uri)
            continue
        placed.append(one)
    for folder in {one.target.parent for one in placed}:
        flush_path(folder)
    return placed, duplicates


def _list(call: Call, db: sqlite3.Connection, resource: Resource, placed: list[Placement]) -> None:
    for one in placed:
        records.save_entry(db, one.entry)
    records.touch(db, resource.key)
    # What was said of the latest file is said of its resource too; tags add up.
    db.execute(
        "UPDATE resource SET format = coalesce(?, format), content = coalesce(?, content), "
        "description = coalesce(?, description) WHERE key = ?",
        (*(call.query.get(name) or None for name in ("format", "content", "description")), resource.key),
    )
    if call.joined("tags"):
        _add_tags(db, resource, call.joined("tags"))
    if call.flag("update-stats", default=True):
        records.count_files(db, resource.key)


def _add_tags(db: sqlite3.Connection, resource: Resource, tags: str) -> None:
    row = db.execute("SELECT tags FROM resource WHERE key = ?", (resource.key,)).fetchone()
    known = [tag for tag in (row[0] or "").split(",") if tag]
    merged = ",".join(dict.fromkeys([*known, *tags.split(",")]))
    db.execute("UPDATE resource SET tags = ? WHERE key = ?", (merged, resource.key))


def _leave_unlisted(found: list[Received], folder: Path, path: str) -> None:
    """What a lost race leaves behind: the files, without their entries."""
    for file in found:
        target = inside(folder, _name(file, path, found))
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            file.staged.replace(target)
