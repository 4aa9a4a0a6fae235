"""Imports: a new session with its scans, resources and files in one archive (XAR)."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from lxml import etree

from . import finding, populate, records, rights, schema
from .behaviour import MAX_DOCUMENT
from .experiments import save_scans
from .files import UnsafePath, flush_all, flush_path, inside, move, remove
from .items import Item
from .multipart import parts
from .populate import BadDocument, Draft
from .records import Entry, Experiment, Owner
from .unpacking import BadArchive, Kind, UnsafeMember, unpack_tree
from .web import BAD_REQUEST, Answer, Call, failed, refuse

_CATALOG: Final = "{http://nrg.wustl.edu/catalog}"
_SESSION: Final = "xnat:imageSessionData"
_URI_LIST: Final = "text/uri-list;charset=ISO-8859-1"


@dataclass(frozen=True, slots=True)
class Parcel:
    """An unpacked archive: the document of a session, and the folder that becomes the session's."""

    draft: Draft
    folder: Path


def run(call: Call) -> Answer:
    """Import an archive."""
    handler = call.get("import-handler")
    if handler != "XAR":
        raise refuse(400, f"Unsupported import-handler: {handler}")
    with _unpacked(call) as folder:
        parcel = _open(folder)
        experiment = _store(call, parcel)
    return Answer(200, f"/data/archive/experiments/{experiment}\r\n".encode(), _URI_LIST)


# Opening the archive


@contextmanager
def _unpacked(call: Call) -> Iterator[Path]:
    work = call.site.files.stage()
    work.mkdir()
    try:
        archive, kind = _archive(call, work)
        unpack_tree(archive, kind, work / "tree")
        yield work / "tree"
    except UnsafeMember as error:
        raise refuse(400, f"Archive member outside of the session: {error}") from error
    except BadArchive as error:
        raise refuse(400, "Archive file is corrupt or not a valid archive file type.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _archive(call: Call, work: Path) -> tuple[Path, Kind]:
    if call.media_type == "multipart/form-data":
        found = parts(call, work)
        if not found:
            raise refuse(400, BAD_REQUEST)
        return found[0].path, _kind(found[0].filename)
    if call.body.path is not None:
        return call.body.path, "zip"
    path = work / "body"
    path.write_bytes(call.body.data)
    return path, "zip"


def _kind(name: str) -> Kind:
    lower = name.lower()
    if lower.endswith(".tar"):
        return "tar"
    return "tgz" if lower.endswith((".gz", ".tgz")) else "zip"


def _open(folder: Path) -> Parcel:
    top = list(folder.iterdir())
    if not top:
        raise refuse(400, "Archive file contains no files.")
    if len(top) == 1 and top[0].is_dir():
        folder = top[0]
    drafts = {path: draft for path in sorted(folder.iterdir()) if (draft := _document(path)) is not None}
    if not drafts:
        raise refuse(400, "Unable to locate XNAT xml document.")
    if len(drafts) > 1:
        raise refuse(400, "XAR can only include data for one imaging session.")
    (path, draft), *_ = drafts.items()
    path.unlink()
    return Parcel(draft, _contents(folder))


def _document(path: Path) -> Draft | None:
    if path.is_dir() or not path.name.lower().endswith(".xml"):
        return None
    if path.stat().st_size > MAX_DOCUMENT:
        return None
    try:
        draft = populate.read_document(path.read_bytes())
    except BadDocument:
        return None
    return draft if schema.extends(draft.item.type, _SESSION) else None


def _contents(folder: Path) -> Path:
    """A single folder beside the document is a container, whatever its name: its contents are the session's."""
    children = list(folder.iterdir())
    return children[0] if len(children) == 1 and children[0].is_dir() else folder


# Storing the session


def _store(call: Call, parcel: Parcel) -> str:
    item = parcel.draft.item
    project, subject = _checked_owner(call, item)
    _check_draft(call, parcel.draft, project)
    label = item.text("label") or ""
    catalogs = _catalogs(item, parcel.folder)
    for found in catalogs.values():
        if found.file is not None:
            remove(found.file)
    flush_all(parcel.folder)
    target = call.site.files.session_folder(project, label)
    moved = [path.relative_to(parcel.folder) for path in parcel.folder.rglob("*") if path.is_file()]
    sizes = {path.as_posix(): (parcel.folder / path).stat().st_size for path in moved}
    intent = call.site.files.discard(target / path for path in moved)
    with call.site.database.write() as db:
        if records.experiment_by_label(db, project, label) is not None:
            call.site.files.done(db, intent)
            conflict = True
        else:
            conflict = False
            made = _made(call, db, item, project, subject, label)
            records.save_experiment(db, made)
            save_scans(call, db, made, item)
            _add_resources(db, made, item, catalogs, sizes)
            _move_in(parcel.folder, target)
            call.site.files.done(db, intent)
    if conflict:
        raise failed()
    return made.id


def _checked_owner(call: Call, item: Item) -> tuple[str, str]:
    name = item.text("project")
    if name is None:
        raise refuse(400, "Could not process XAR file - Invalid project tag.")
    with call.site.database.read() as db:
        project = finding.project(call, db, name)
        wanted = item.text("subject_ID")
        subject = finding.subject(call, db, project, wanted) if project and wanted else None
        if project is None or subject is None:
            raise refuse(400, "Could not process XAR file - Invalid subject.")
        if not rights.in_project(db, call.user, project).create:
            raise failed()
    return project.id, subject.id


def _check_draft(call: Call, draft: Draft, project: str) -> None:
    """What PUT refuses politely makes an import fail."""
    item = draft.item
    label = item.text("label")
    wrong = draft.errors or draft.fatal or populate.missing(item)
    if wrong or label is None or not finding.LABEL.fullmatch(label):
        raise failed()
    if item.type not in call.site.registered and not call.user.admin:
        raise failed()
    scans = [scan.text("ID") for scan in item.children.get("scans/scan", [])]
    if any(scan is None or not finding.LABEL.fullmatch(scan) for scan in scans):
        raise failed()
    with call.site.database.read() as db:
        if records.experiment_by_label(db, project, label) is not None:
            raise failed()


def _made(call: Call, db: records.Database, item: Item, project: str, subject: str, label: str) -> Experiment:
    own = ("ID", "project", "label", "subject_ID")
    fields = {path: value for path, value in item.fields.items() if path not in own}
    kept = ("scans/scan", "resources/resource", "sharing/share")
    children = {path: some for path, some in item.children.items() if path not in kept}
    return Experiment(
        records.new_id(db, "E"),
        project,
        label,
        subject,
        item.type,
        Item(item.type, fields, children),
        records.now(),
        call.user.login,
    )


def _move_in(source: Path, target: Path) -> None:
    merged = target.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    move(source, target)
    flush_path(target.parent)
    if merged:
        flush_all(target)


# Resources and their catalogs


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the archive says of one resource: where its catalog should be, and what is in it if it is there."""

    folder: str
    name: str
    file: Path | None
    entries: tuple[dict[str, str], ...]


def _resource_items(item: Item) -> Iterable[Item]:
    yield from item.children.get("resources/resource", [])
    for scan in item.children.get("scans/scan", []):
        yield from scan.children.get("file", [])


def _catalogs(item: Item, folder: Path) -> dict[int, Catalog]:
    found: dict[int, Catalog] = {}
    for resource in _resource_items(item):
        uri = PurePosixPath((resource.text("URI") or "").lstrip("/"))
        try:
            path = inside(folder, str(uri))
        except UnsafePath as error:
            raise refuse(400, f"Resource outside of the session: {uri}") from error
        entries = _entries(path) if path.is_file() else ()
        found[id(resource)] = Catalog(str(uri.parent), uri.name, path if path.is_file() else None, entries)
    return found


def _entries(path: Path) -> tuple[dict[str, str], ...]:
    if path.stat().st_size > MAX_DOCUMENT:
        raise refuse(400, f"Catalog of more than {MAX_DOCUMENT} bytes: {path.name}")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.parse(path, parser).getroot()
    except etree.XMLSyntaxError:
        return ()
    if root.getroottree().docinfo.internalDTD is not None:
        return ()
    found = []
    for element in root.iter(f"{_CATALOG}entry"):
        entry = {str(name): str(value) for name, value in element.attrib.items()}
        tags = [tag.text or "" for tag in element.iter(f"{_CATALOG}tag")]
        if entry.get("URI"):
            found.append({**entry, "tags": ",".join(tags)})
    return tuple(found)


def _add_resources(
    db: records.Database, made: Experiment, item: Item, catalogs: dict[int, Catalog], sizes: dict[str, int]
) -> None:
    for resource in item.children.get("resources/resource", []):
        _add_resource(db, Owner(experiment=made.id), resource, catalogs[id(resource)], sizes)
    scans = {scan.id: scan.key for scan in records.scans_of(db, [made.id])}
    for scan in item.children.get("scans/scan", []):
        owner = Owner(experiment=made.id, scan=scans[scan.text("ID") or ""])
        for resource in scan.children.get("file", []):
            _add_resource(db, owner, resource, catalogs[id(resource)], sizes)


def _add_resource(db: records.Database, owner: Owner, resource: Item, catalog: Catalog, sizes: dict[str, int]) -> None:
    if resource.text("label") is None:
        resource.fields["label"] = PurePosixPath(catalog.folder).name
    made = records.add_resource(db, owner, resource, catalog.folder, catalog.name)
    for entry in catalog.entries:
        uri = entry["URI"]
        try:
            relative = inside(Path(catalog.folder), uri).as_posix()
        except UnsafePath:
            continue  # an entry outside of its resource is not listed
        name = entry.get("name") or PurePosixPath(uri).name
        records.save_entry(
            db,
            Entry(
                made.key,
                uri,
                PurePosixPath(name).name,
                entry.get("ID") or uri,
                sizes.get(relative),
                entry.get("digest") or None,
                entry.get("format") or None,
                entry.get("content") or None,
                entry.get("tags") or None,
                entry.get("description") or None,
            ),
        )
