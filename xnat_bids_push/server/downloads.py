"""Downloads: listings of files, single files and whole archives, and the deletion of files."""

from __future__ import annotations

import io
import re
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from . import records, resources, views
from .files import inside
from .records import Entry, Resource, Scan
from .resources import NO_RIGHT, Spot
from .tables import table
from .uploads import stored_name
from .web import (
    FORBIDDEN,
    PLAIN,
    Answer,
    Call,
    FilePart,
    Refusal,
    container_error,
    empty,
    failed,
    not_found,
    refuse,
)

_COLUMNS: Final = (
    "Name",
    "Size",
    "URI",
    "collection",
    "file_tags",
    "file_format",
    "file_content",
    "cat_ID",
    "digest",
)
_ARCHIVES: Final = {"zip": "application/zip", "tar": "application/x-tar", "tar.gz": "application/x-gtar"}
_TYPES: Final = {
    "bmp": "image/bmp",
    "gif": "image/gif",
    "html": "text/html",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "xml": "text/xml",
}
_INNER_ARCHIVES: Final = ("zip", "jar", "rar", "ear", "gar", "mrb")
_CHUNK: Final = 1024 * 1024
_BUNDLE: Final = 256 * 1024
_LARGE: Final = 0x7FFF_0000


@dataclass(frozen=True, slots=True)
class Listed:
    """A file with everything that listings and archives need to know of it."""

    entry: Entry
    resource: Resource
    path: Path
    base_uri: str
    session: str
    scan: Scan | None

    @property
    def uri(self) -> str:
        """The address of the file."""
        return f"{self.base_uri}/resources/{self.resource.key}/files/{self.entry.uri}"


def listing(call: Call, resource: str | None = None, **address: str) -> Answer:
    """The files of a resource or of an object; of several sessions in one go."""
    found = _filtered(call, _listed(call, resource, address))
    if call.get("index") is not None:
        return _file(call, _by_index(found, call.get("index") or ""))
    if call.format in _ARCHIVES:
        return _archive(call, found, address)
    return _table(call, found)


def get(call: Call, path: str, resource: str | None = None, **address: str) -> Answer:
    """One file, or the files of a folder if the path ends with a slash."""
    if not path:
        return listing(call, resource, **address)
    found = _listed(call, resource, address)
    alone = call.format not in _ARCHIVES and _is_one_resource(call, resource, address)
    outer, member = _inner_archive(path) if alone else (path, "")
    match = _match(found, outer)
    if match is not None and member:
        return _zip_member(call, match, unquote(member))
    if match is not None:
        return _packed(call, {match.entry.name: match}) or _file(call, match)
    inside_folder = [one for one in _filtered(call, found) if _in_folder(one.entry.uri, path, call)]
    if path.endswith("*") and not alone:
        starting = re.compile(re.escape(unquote(path[:-1])) + ".*", re.DOTALL)
        named = {one.entry.uri: one for one in _filtered(call, found) if starting.fullmatch(one.entry.uri)}
        return _packed(call, named) or _nothing_chosen(call, named)
    if path.endswith("/") and not member and (alone or inside_folder):
        return _packed(call, {one.entry.uri: one for one in inside_folder}) or _table(call, inside_folder)
    raise _nothing(call, alone=alone)


def _inner_archive(path: str) -> tuple[str, str]:
    """An archive in the path and the member that is meant; whatever is called like an archive is taken for one.

    >>> _inner_archive("a.zip!/b/c.txt"), _inner_archive("a.txt")
    (('a.zip', '/b/c.txt'), ('a.txt', ''))
    """
    for kind in _INNER_ARCHIVES:
        found = re.search(rf"\.{kind}[!/]", path, re.IGNORECASE)
        if found:
            return path[: found.end() - 1], path[found.end() - 1 :].removeprefix("!")
    return path, ""


def _nothing(call: Call, *, alone: bool) -> Refusal:
    """No such file. In a resource that is there the servlet container says so, elsewhere XNAT."""
    if call.flag("accept-not-found"):
        return Refusal(Answer(204, b"", PLAIN if alone else None))
    return container_error(404) if alone else not_found("Unable to find file.")


def _nothing_chosen(call: Call, named: Mapping[str, Listed]) -> Answer:
    """A star stands for one file, or for several in an archive."""
    if len(named) != 1:
        raise _nothing(call, alone=False)
    return _file(call, next(iter(named.values())))


def delete(call: Call, path: str = "", resource: str | None = None, **address: str) -> Answer:
    """Delete all files of a resource whose path begins like this; without a resource, nothing at all."""
    wanted = {path, stored_name(path)}
    if path.endswith("*"):
        wanted = {name.removesuffix("*") for name in wanted}
    with call.site.database.read() as db:
        spot = resources.find(call, db, **address)
        if resource is None or not resources.chosen(resources.resources_at(db, spot), resource):
            return empty()
        if not resources.rights_at(call, db, spot).delete:
            raise refuse(403, NO_RIGHT)
        found = _files_at(call, db, spot, resource, address)
    gone = [one for one in found if one.entry.uri.startswith(tuple(wanted))]
    if not gone:
        raise not_found("No matched files")
    keep = call.get("removeFiles") is not None and not call.flag("removeFiles")
    with call.site.files.removing([] if keep else [one.path for one in gone]) as db:
        for one in gone:
            db.execute("DELETE FROM entry WHERE resource = ? AND uri = ?", (one.resource.key, one.entry.uri))
        for key in {one.resource.key for one in gone}:
            records.touch(db, key)
            records.count_files(db, key)
    return empty()


def _listed(call: Call, resource: str | None, address: dict[str, str]) -> list[Listed]:
    with call.site.database.read() as db:
        spot = resources.find(call, db, **address)
        if spot.is_lost:
            raise failed()
        if not resources.rights_at(call, db, spot).read:
            raise refuse(403, FORBIDDEN)
        return _files_at(call, db, spot, resource, address)


def _is_one_resource(call: Call, resource: str | None, address: dict[str, str]) -> bool:
    """Whether the address leads to one resource, whose files are then addressed like itself."""
    if resource is None:
        return False
    with call.site.database.read() as db:
        spot = resources.find(call, db, **address)
        return len(resources.chosen(resources.resources_at(db, spot), resource)) == 1


def _files_at(
    call: Call, db: sqlite3.Connection, spot: Spot, name: str | None, address: dict[str, str]
) -> list[Listed]:
    found = resources.resources_at(db, spot, everything=call.flag("all") and name is None)
    if name is not None:
        found = resources.chosen(found, name)
    entries = records.entries_of(db, [one.key for one in found])
    sessions = {one.id: one for one in spot.experiments}
    scans = {scan.key: scan for scan in records.scans_of(db, list(sessions))} if sessions else {}
    files: list[Listed] = []
    for one in found:
        scan = scans.get(one.scan) if one.scan is not None else None
        folder = views.resource_folder(call.site.files, db, one)
        base = _base_uri(spot, one, scan, alone=name is not None and len(found) == 1)
        title = sessions[one.experiment].label if one.experiment else _title(spot)
        files += [Listed(entry, one, inside(folder, entry.uri), base, title, scan) for entry in entries[one.key]]
    return files


def _title(spot: Spot) -> str:
    if spot.subject is not None:
        return spot.subject.label
    return spot.project.id if spot.project else ""


def _base_uri(spot: Spot, resource: Resource, scan: Scan | None, *, alone: bool) -> str:
    """The address of what holds the resource; a single resource shows the subject that it was asked for by."""
    start = f"/data/projects/{resource.project}" if resource.project is not None else "/data"
    if spot.subject is not None and (alone or resource.subject is not None):
        project = spot.project.id if spot.project else spot.subject.project
        start = f"/data/projects/{project}/subjects/{spot.subject.id}"
    if resource.experiment is not None:
        start += f"/experiments/{resource.experiment}"
    return f"{start}/scans/{scan.id}" if scan is not None else start


def _filtered(call: Call, found: list[Listed]) -> list[Listed]:
    """The files whose content and format are among the wanted ones; ``NULL`` wants those without."""
    for name, pick in (("file_content", "content"), ("file_format", "format")):
        wanted = [text for key, text in call.values if key == name]
        if wanted:
            found = [one for one in found if (getattr(one.entry, pick) or "NULL") in wanted]
    return found


def _by_index(found: Sequence[Listed], index: str) -> Listed:
    if not index.isdigit() or int(index) >= len(found):
        raise not_found("Unable to find file.")
    return found[int(index)]


def _location(call: Call, one: Listed, locator: str) -> str:
    """Where a file is, in the words that were asked for."""
    if locator == "absolutePath":
        return str(one.path)
    if locator == "projectPath":
        return str(Path(*one.path.relative_to(call.site.files.archive).parts[1:]))
    return one.uri


def _table(call: Call, found: Sequence[Listed]) -> Answer:
    asked = call.get("locator") or ""
    locator = asked if asked in ("absolutePath", "projectPath") else "URI"
    rows = [
        {
            "Name": one.entry.name,
            "Size": "" if one.entry.size is None else str(one.entry.size),
            locator: _location(call, one, locator),
            "collection": one.resource.label,
            "file_tags": one.entry.tags or "",
            "file_format": one.entry.format or "",
            "file_content": one.entry.content or "",
            "cat_ID": str(one.resource.key),
            "digest": one.entry.digest or "",
        }
        for one in found
    ]
    columns = [locator if name == "URI" else name for name in _COLUMNS]
    return table(call.format, columns, rows, total=False, title="Files")


def _in_folder(uri: str, path: str, call: Call) -> bool:
    names = {path, unquote(path)}
    folder = next((name for name in names if uri.startswith(name) and uri != name), None)
    if folder is None:
        return False
    deep = call.get("recursive") is None or call.flag("recursive")
    return deep or "/" not in uri[len(folder) :]


def _match(found: Sequence[Listed], path: str) -> Listed | None:
    """The file of that name; the name as sent goes first, then what it decodes to."""
    by_name = {one.entry.uri: one for one in found}
    names = (path, stored_name(path), unquote(path), unquote_plus(path))
    return next((by_name[name] for name in names if name in by_name), None)


def _file(call: Call, found: Listed) -> Answer:
    try:
        size = found.path.stat().st_size
    except OSError as error:
        raise container_error(404) from error
    answer = Answer(200, FilePart(found.path, 0, size), _type_of(found.entry.name))
    answer.headers += [
        ("Content-Disposition", _disposition(found.entry.name)),
        ("Accept-Ranges", "bytes"),
    ]
    wanted = _range(call.headers.get("range", ""), size)
    if wanted is not None:
        start, end = wanted
        if start > end:
            return Answer(416, b"", None, [("Content-Range", f"bytes */{size}")])
        answer.status = 206
        answer.body = FilePart(found.path, start, end - start + 1)
        answer.headers.append(("Content-Range", f"bytes {start}-{end}/{size}"))
    return answer


def _type_of(name: str) -> str:
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def _disposition(name: str) -> str:
    plain = name.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "_")
    plain = "".join(letter if letter.isprintable() else "_" for letter in plain)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The first and the last byte that are wanted; the first comes after the last where there are none."""
    if re.fullmatch(r"bytes=[\d\s,-]+,[\d\s,-]+", header.strip()):
        raise Refusal(Answer(501))
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size - 1
    else:
        start, end = int(match[1]), min(int(match[2] or size - 1), size - 1)
    return start, end


def _zip_member(call: Call, outer: Listed, name: str) -> Answer:
    """A member of an archive that lies in a resource."""
    name = name.removeprefix("/")
    try:
        with zipfile.ZipFile(outer.path) as archive:
            archive.getinfo(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise _nothing(call, alone=True) from error

    def chunks() -> Iterator[bytes]:
        with zipfile.ZipFile(outer.path) as archive, archive.open(name) as member:
            while chunk := member.read(_CHUNK):
                yield chunk

    return Answer(200, chunks(), _type_of(name))


# Archives


def _archive(call: Call, found: Sequence[Listed], address: dict[str, str]) -> Answer:
    """Files from all over, each under a name that says where it belongs."""
    if not found:
        raise Refusal(Answer(204)) if call.flag("accept-not-found") else not_found()
    title = address.get("experiment") or address.get("subject") or address.get("project") or "files"
    return _pack(call, {_member_name(call, one, address): one for one in found}, title)


def _packed(call: Call, named: Mapping[str, Listed]) -> Answer | None:
    """Files of one resource under short names, if an archive is wanted and they are not one themselves."""
    wanted = call.format in _ARCHIVES and named
    if not wanted or any(one.entry.name.lower().endswith(f".{call.format}") for one in named.values()):
        return None
    return _pack(call, named, "files")


def _pack(call: Call, named: Mapping[str, Listed], title: str) -> Answer:
    kind = call.format or "zip"
    members = [(name, one.path) for name, one in named.items()]
    stream = _zip_stream(members) if kind == "zip" else _tar_stream(members, packed=kind == "tar.gz")
    answer = Answer(200, stream, _ARCHIVES[kind])
    answer.headers.append(("Content-Disposition", _disposition(f"{title}.{kind}")))
    return answer


def _member_name(call: Call, one: Listed, address: dict[str, str]) -> str:
    """Where a file lies in an archive; scans show their type if the address leads to scans."""
    scan = f"/scans/{one.scan.id}" if one.scan else ""
    usual = f"{one.session}{scan}/resources/{one.resource.label}/files/{one.entry.uri}"
    match call.get("structure"):
        case "improved":
            return f"{_improved_folder(call, one)}/{one.resource.label}/{one.entry.uri}"
        case "simplified":
            return usual.replace("/resources", "").replace("/files", "")
        case "legacy":
            return "/".join(one.path.relative_to(call.site.files.archive).parts[0 if one.resource.project else 2 :])
    if one.scan is None or not one.scan.kind or "scan" not in address:
        return usual
    kind = re.sub(r"\W", "_", one.scan.kind, flags=re.ASCII)
    return usual.replace(f"/{one.scan.id}/", f"/{one.scan.id}-{kind}/")


def _improved_folder(call: Call, one: Listed) -> str:
    """The columns ``category``, ``cat_id`` and ``cat_desc`` of the listing of resources; tar lacks the last."""
    if one.scan is not None:
        kind = re.sub(r'[/\\:*?"<>|]', "_", one.scan.kind)
        folder = f"scans/{one.scan.id}"
    elif one.resource.experiment is not None and not call.flag("all"):
        kind = " "
        folder = f"resources/{one.resource.experiment}"
    else:
        return "resources"
    return f"{folder}_{kind}" if kind and call.format == "zip" else folder


class _Sink(io.RawIOBase):
    """Takes what an archiver writes until it is fetched."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]  # any buffer, as RawIOBase says
        self.chunks.append(chunk)
        self.size += len(chunk)
        return len(chunk)

    def fetch(self) -> bytes:
        chunk = b"".join(self.chunks)
        self.chunks, self.size = [], 0
        return chunk


def _zip_stream(members: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    """A zip archive, made while it is sent. What is compressed already stays as it is."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        for name, path in members:
            try:
                source = path.open("rb")
            except OSError:
                continue
            with source:
                large = path.stat().st_size >= _LARGE
                with archive.open(name, "w", force_zip64=large) as member:
                    while chunk := source.read(_CHUNK):
                        member.write(chunk)
                        if sink.size >= _BUNDLE:
                            yield sink.fetch()
            if sink.size >= _BUNDLE:
                yield sink.fetch()
    yield sink.fetch()


def _tar_stream(members: Iterable[tuple[str, Path]], *, packed: bool) -> Iterator[bytes]:
    """A tar archive, made while it is sent."""
    sink = _Sink()
    with tarfile.open(fileobj=sink, mode="w|gz" if packed else "w|") as archive:
        for name, path in members:
            try:
                source = path.open("rb")
            except OSError:
                continue
            with source:
                info = tarfile.TarInfo(name)
                info.size = path.stat().st_size
                header = info.tobuf(archive.format, archive.encoding or "utf-8", archive.errors or "strict")
                archive.fileobj.write(header)  # from Python 3.13 on, `addfile` takes no header without its content
                archive.offset += len(header)
                written = 0
                while written < info.size and (chunk := source.read(min(_CHUNK, info.size - written))):
                    archive.fileobj.write(chunk)
                    written += len(chunk)
                    if sink.size >= _BUNDLE:
                        yield sink.fetch()
                padding = -info.size % tarfile.BLOCKSIZE
                archive.fileobj.write(b"\0" * padding)
                archive.offset += info.size + padding
    yield sink.fetch()
