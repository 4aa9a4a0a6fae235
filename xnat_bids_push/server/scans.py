"""Scans: created, edited, listed, deleted."""

from __future__ import annotations

import itertools
import sqlite3
from typing import Final

from . import finding, items, listings, loading, populate, records, schema, shortcuts, views
from .items import Item
from .populate import Draft
from .records import Experiment, Project, Scan
from .subjects import add_share
from .tables import table
from .web import BAD_REQUEST, Answer, Call, empty, failed, not_found, refuse, text

_TYPE: Final = "xnat:imageScanData"
_USUAL_KINDS: Final = frozenset(f"xnat:{kind}ScanData" for kind in ("ct", "ecg", "eeg", "es", "mr", "pet", "xc"))
"""The kinds of scans that XNAT makes in a session of their kind if none is named."""
_DEFAULT_COLUMNS: Final = (
    "xnat_imagescandata_id",
    "ID",
    "type",
    "quality",
    "xsiType",
    "note",
    "series_description",
)


def put(call: Call, experiment: str, scan: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Create or edit a scan."""
    with call.site.database.write() as db:
        within, session = _session(call, db, project, experiment)
        existing = records.scan_by_id(db, session.id, scan) if session else None
        draft = _load(call, existing.type if existing else None)
        session = session or _session_of_document(call, db, draft.item, within)
        if session is None:
            raise refuse(417, "Specified scan must reference a valid image session.")
        scan_id = draft.item.text("ID") or scan
        _save(call, db, session, existing, draft, scan_id, within)
    return empty()


def post(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Create a scan below the list of scans."""
    with call.site.database.write() as db:
        within, session = _session(call, db, project, experiment)
        if session is None:
            raise not_found()
        draft = _load_new(call, session)
        scan_id = draft.item.text("ID") or _free_id(db, session)
        if records.scan_by_id(db, session.id, scan_id):
            raise refuse(409, "Specified scan already exists.")
        _save(call, db, session, None, draft, scan_id, within)
    uri = f"{call.base_url}{call.raw_path.rstrip('/')}/{scan_id}"
    return Answer(200, uri.encode(), text("").type, [("Location", uri)])


def get(call: Call, experiment: str, scan: str, project: str | None = None, subject: str | None = None) -> Answer:
    """One scan."""
    with call.site.database.read() as db:
        _, session = _session(call, db, project, experiment)
        found = records.scan_by_id(db, session.id, scan) if session else None
        if session is None or found is None:
            raise not_found("Unable to find the specified scan.")
        folder = call.site.files.session_folder(session.project, session.label)
        resources = records.resources_of_experiments(db, [session.id])
        return views.represent(call, views.scan_item(found, resources, folder), found.inserted)


def delete(call: Call, experiment: str, scan: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Delete a scan with its resources; the files only if that is asked for."""
    with call.site.database.read() as db:
        _, session = _session(call, db, project, experiment)
        found = records.scan_by_id(db, session.id, scan) if session else None
        if session is None or found is None:
            raise not_found("Unable to find the specified scan.")
        if not finding.rights_on(call, db, session).delete:
            raise refuse(403, "User account doesn't have permission to modify this session.")
    folder = call.site.files.session_folder(session.project, session.label) / "SCANS" / found.id
    with call.site.files.removing([folder] if call.flag("removeFiles") else []) as db:
        forget(db, session.id, found)
    return empty()


def listing(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """The scans of a session."""
    with call.site.database.read() as db:
        within, session = _session(call, db, project, experiment)
        if within is not None and (session is None or not _has_subject(call, db, within, subject)):
            raise not_found()
        if session is None:
            raise failed()
        found = records.scans_of(db, [session.id])
    known = {**listings.paths_of(shortcuts.SCAN), "xnat_imagescandata_id": f"{_TYPE}/xnat_imagescandata_id"}
    names = [name for name in listings.requested(call.get("columns"), _DEFAULT_COLUMNS, known) if name != "URI"]
    # Short names of special kinds of scans do not narrow the listing; full paths do.
    kind = call.get("xsiType") or ""
    full_paths = [name for name in names if "/" in name]
    root = kind if kind and "," not in kind else listings.root_of(_TYPE, full_paths, known)
    if schema.type_named(root) is None:
        raise failed()
    key = "xnat_imagescandata_id" if root == _TYPE else f"{root.lower()}/xnat_imagescandata_id"
    names = list(dict.fromkeys([key, *names]))
    rows = [row for scan in found if schema.extends(scan.type, root) for row in _rows(session, scan, names, known)]
    columns = list(dict.fromkeys([*(listings.column_name(name, known) for name in names), "URI"]))
    return table(call.format, columns, rows)


def swallowed(
    call: Call, experiment: str, scan: str, rest: str, project: str | None = None, subject: str | None = None
) -> Answer:
    """What follows the address of a scan is overlooked when reading, and refused when writing."""
    if call.method != "PUT":
        shown = get(call, experiment, scan, project)
        if call.method == "GET":
            return shown
    raise refuse(400, BAD_REQUEST)


def share(
    call: Call, experiment: str, scan: str, target: str, project: str | None = None, subject: str | None = None
) -> Answer:
    """Show a scan, and with it its session, in a further project."""
    with call.site.database.write() as db:
        _, session = _session(call, db, project, experiment)
        found = records.scan_by_id(db, session.id, scan) if session else None
        other = finding.project(call, db, target)
        if other is None:
            raise not_found(f"Unable to identify project: {target}")
        if session is None or found is None:
            raise refuse(417, "Could not load session" if session is None else "Could not load scan")
        if not finding.shows(db, other, "experiment", session.id, session.project):
            add_share(call, db, ("experiment", session.id, session.project, session.label), other)
        shares = found.item.children.setdefault("sharing/share", [])
        if any(one.fields.get("project") == other.id for one in shares):
            raise refuse(409, f"Already assigned to project: {other.id}")
        shares.append(Item("xnat:imageScanData_share", {"project": other.id}))
        records.save_scan(db, session.id, found.item, call.user.login)
    return get(call, experiment, scan, project)


def forget(db: sqlite3.Connection, experiment: str, scan: Scan) -> None:
    """Remove a scan and its resources from the database."""
    for resource in records.resources_of(db, records.Owner(experiment=experiment, scan=scan.key)):
        records.drop_resource(db, resource.key)
    db.execute("DELETE FROM scan WHERE key = ?", (scan.key,))


def _session(
    call: Call, db: sqlite3.Connection, project: str | None, experiment: str
) -> tuple[Project | None, Experiment | None]:
    within = finding.project(call, db, project)
    if project is not None and within is None:
        return None, None
    found = finding.experiment(call, db, within, experiment)
    if found is not None and not schema.extends(found.type, "xnat:imageSessionData"):
        found = None
    return within, found


def _load(call: Call, existing_type: str | None) -> Draft:
    draft = loading.load(call, shortcuts.SCAN, data_type=existing_type)
    if draft is None and call.get("xsiType"):
        draft = Draft(loading.new_item(str(call.get("xsiType"))))
    if draft is None:
        raise refuse(417, "Need PUT Contents")
    if not schema.extends(draft.item.type, _TYPE):
        raise refuse(
            400,
            f"Only Scan documents can be PUT to this address. Expected: xnat:imageScanData Received: {draft.item.type}",
        )
    if draft.item.type == _TYPE:
        raise refuse(
            400,
            "Multiple scan modalities can be associated here.  "
            "Please retry with the specification of a particular modality (i.e. ?xsiType=xnat:mrScanData).",
        )
    kind = call.query.get("type")
    known = schema.field_of(draft.item.type, "type")
    if kind and known:
        draft.put(draft.item, known, kind)
    return draft


def _load_new(call: Call, session: Experiment) -> Draft:
    """A scan for the list of scans, of the kind that goes with the session unless another one is named."""
    usual = session.type.replace("SessionData", "ScanData")
    draft = loading.load(call, shortcuts.SCAN, data_type=usual if usual in _USUAL_KINDS else None)
    if draft is None:
        raise refuse(417, "Need POST Contents")
    if not schema.extends(draft.item.type, _TYPE):
        raise refuse(422, "Only Scan documents can be PUT to this address.")
    return draft


def _has_subject(call: Call, db: sqlite3.Connection, within: Project, subject: str | None) -> bool:
    return subject is None or finding.subject(call, db, within, subject) is not None


def _session_of_document(call: Call, db: sqlite3.Connection, item: Item, within: Project | None) -> Experiment | None:
    name = item.text("image_session_ID")
    return finding.experiment(call, db, within, name) if name else None


def _save(
    call: Call,
    db: sqlite3.Connection,
    session: Experiment,
    existing: Scan | None,
    draft: Draft,
    scan_id: str,
    within: Project | None,
) -> None:
    if existing is not None and existing.id != scan_id:
        existing = None
    existing = existing or records.scan_by_id(db, session.id, scan_id)
    if not finding.rights_on(call, db, session).edit:
        what = "create" if existing is None else "edit"
        raise refuse(403, f"Specified user account has insufficient {what} privileges for sessions in this project.")
    if existing is not None and existing.type != draft.item.type:
        raise refuse(409, "Specified xsiType differs from existing xsiType")
    loading.check(draft)
    # Saving a scan asks for the right on the type of its session, which an unregistered type never gives.
    if session.type not in call.site.registered and not call.user.admin:
        raise failed()
    if len(scan_id) > 255:
        raise refuse(400, f"ID Must Be Less Than 255 Characters : Current Length ({len(scan_id)})\n")
    if not finding.LABEL.fullmatch(scan_id):
        raise failed()
    item = existing.item.copy() if existing else Item(draft.item.type)
    for path in draft.removed:
        populate.remove(item, path)
    items.merge(item, draft.item)
    item.fields.pop("image_session_ID", None)
    item.fields.update({"ID": scan_id, "project": within.id if within else session.project})
    item.children.pop("file", None)
    records.save_scan(db, session.id, item, call.user.login)


def _free_id(db: sqlite3.Connection, session: Experiment) -> str:
    return next(str(i) for i in itertools.count(1) if records.scan_by_id(db, session.id, str(i)) is None)


def _rows(session: Experiment, scan: Scan, names: list[str], known: dict[str, str]) -> list[dict[str, str]]:
    source = listings.Source(
        scan.item,
        {
            "id": scan.id,
            "xnat_imagescandata_id": str(scan.key),
            "image_session_id": session.id,
            "meta/insert_date": scan.inserted,
            "meta/last_modified": scan.inserted,
            "extension_item/element_name": scan.type,
        },
    )
    uri = {"URI": f"/data/experiments/{session.id}/scans/{scan.id}"}
    return [row | uri for row in listings.expand_rows(source, names, known)]
