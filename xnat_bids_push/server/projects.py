"""Projects: created, edited, listed, opened to others, deleted."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

from . import finding, listings, loading, memberships, records, rights, shortcuts, views
from .items import Item
from .populate import Draft
from .records import Project
from .tables import table
from .web import (
    BAD_REQUEST,
    FORBIDDEN,
    HTML,
    Answer,
    Call,
    empty,
    not_found,
    refuse,
    text,
)

_TYPE = "xnat:projectData"
_DEFAULT_COLUMNS = ("ID", "secondary_ID", "name", "description", "pi_firstname", "pi_lastname")
_ACCESSIBILITY = ("public", "protected", "private")
_SETTINGS = {"quarantine_code": "0", "prearchive_code": "4", "current_arc": "arc001", "scan_type_mapping": ""}
"""What can be set below a project, with what it is at first; nothing of it has an effect here."""
_NOT_HERE = (
    "pipelines",
    "archive_spec",
    "searches",
    "groups",
    "scan_types",
    "protocols",
    "pars",
    "config",
    "automation",
)
"""What a real XNAT has below a project, and this archive has not."""


def put(call: Call, project: str, setting: str = "") -> Answer:
    """Create or edit a project, or change one of its settings."""
    with call.site.database.write() as db:
        found = finding.project(call, db, project)
        if setting and found is None:
            name = setting.partition("/")[0]
            raise refuse(400, f"You can't set the '{name}' attribute without specifying the project.")
        if found is not None:
            _check_edit(call, db, found)
        if setting and found is not None:
            _set(db, found, *setting.split("/", 1))
            return empty()
        _save(call, db, project, found)
    return empty()


def post(call: Call) -> Answer:
    """Create a project below the list of projects."""
    draft = loading.load(call, shortcuts.PROJECT, data_type=_TYPE)
    name = draft.item.text("ID") if draft else None
    if name is None:
        raise refuse(417, "Requires XNAT ProjectData ID")
    with call.site.database.write() as db:
        if records.project_by_id(db, name) is not None:
            raise refuse(409, "Project already exists.")
        _save(call, db, name, None)
    uri = f"{call.base_url}/data/projects/{name}"
    return Answer(200, uri.encode(), text("").type, [("Location", uri)])


def get(call: Call, project: str) -> Answer:
    """One project."""
    with call.site.database.read() as db:
        found = finding.project(call, db, project)
        if found is None:
            raise not_found("Unable to find the specified experiment.")
        return views.represent(call, views.project_item(call.site.files, db, found), found.inserted)


def get_setting(call: Call, project: str, setting: str) -> Answer:
    """One of the settings of a project."""
    name = setting.partition("/")[0]
    if name in _NOT_HERE:
        raise not_found()
    with call.site.database.read() as db:
        found = finding.project(call, db, project)
        if found is None:
            raise not_found("Unable to find the specified experiment.")
        if not _SETTINGS.get(name):
            raise refuse(400, BAD_REQUEST)
        row = db.execute("SELECT value FROM setting WHERE name = ?", (f"{found.id}/{name}",)).fetchone()
    return text(row[0] if row else _SETTINGS[name], kind=HTML)


def delete_setting(call: Call, project: str, setting: str) -> Answer:
    """Settings cannot be deleted."""
    raise refuse(400, BAD_REQUEST)


def delete(call: Call, project: str) -> Answer:
    """Delete a project; its ID is never given out again."""
    with call.site.database.read() as db:
        found = finding.project(call, db, project)
        if found is None:
            raise refuse(400, BAD_REQUEST)
        if not rights.in_project(db, call.user, found).manage:
            raise refuse(403, FORBIDDEN)
    folder = call.site.files.project_folder(found.id)
    with call.site.files.removing([folder] if call.flag("removeFiles") else []) as db:
        _forget(db, found.id)
    return empty()


def listing(call: Call) -> Answer:
    """All projects that the user sees, or those to which there is some other tie."""
    special = memberships.listing(call)
    if special is not None:
        return special
    known = listings.paths_of(shortcuts.PROJECT)
    names = ["ID", *listings.requested(call.get("columns"), _DEFAULT_COLUMNS, known)]
    with call.site.database.read() as db:
        seen = [one for one in records.all_projects(db) if _is_listed(call, db, one)]
    rows = []
    for one in seen:
        source = listings.Source(one.item, {"meta/insert_date": one.inserted, "id": one.id})
        row = {name: source.look(listings.full_path(name, known)) for name in names}
        rows.append(row | {"URI": f"/data/projects/{one.id}"})
    return table(call.format, _with_uri(names), rows)


def _is_listed(call: Call, db: sqlite3.Connection, project: Project) -> bool:
    """Whether the user sees a project or, if the listing is restricted so, manages it."""
    allowed = rights.in_project(db, call.user, project)
    return allowed.manage if call.get("restrict") in ("edit", "delete") else allowed.see


def get_accessibility(call: Call, project: str, wanted: str = "") -> Answer:
    """Who sees a project."""
    with call.site.database.read() as db:
        found = finding.project(call, db, project)
    if found is None:
        raise not_found(f"Could not find the project with ID '{project}'")
    return text(found.accessibility)


def put_accessibility(call: Call, project: str, wanted: str) -> Answer:
    """Open or close a project; a word that is none closes it."""
    with call.site.database.write() as db:
        found = finding.project(call, db, project)
        if found is None:
            raise not_found(f"Could not find the project with ID '{project}'")
        if not rights.in_project(db, call.user, found).manage:
            raise refuse(403, FORBIDDEN)
        chosen = wanted if wanted in _ACCESSIBILITY else "private"
        records.save_project(db, replace(found, accessibility=chosen))
    return text(chosen)


def _set(db: sqlite3.Connection, found: Project, name: str, value: str = "") -> None:
    """Change a setting; codes are numbers."""
    if name not in _SETTINGS or not value:
        raise refuse(400, BAD_REQUEST)
    if name.endswith("_code"):
        value = {"true": "1", "false": "0"}.get(value, value)
        if not re.fullmatch(r"-?\d+", value, re.ASCII):
            raise refuse(400, f"The submitted code {value} is invalid: must be an integer.")
    db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (f"{found.id}/{name}", value))


def _check_edit(call: Call, db: sqlite3.Connection, found: Project) -> None:
    # Those who may edit something in the project are told apart from those who may not only by the text.
    allowed = rights.in_project(db, call.user, found)
    if allowed.manage:
        return
    if allowed.edit:
        raise refuse(403, "User account doesn't have permission to edit this project.")
    raise refuse(403, f"User {call.user.login} doesn't have permission to edit the project {found.id}")


def _save(call: Call, db: sqlite3.Connection, name: str, found: Project | None) -> None:
    draft = loading.load(call, shortcuts.PROJECT, template=found.item if found else None, data_type=_TYPE) or Draft(
        Item(_TYPE)
    )
    item = draft.item
    if item.type != _TYPE:
        raise refuse(422, "Only xnat:Project documents can be PUT to this address.")
    project_id = found.id if found else item.text("ID") or name
    asked = project_id if found else name
    if (item.text("ID") or project_id).lower() != asked.lower():
        raise refuse(417, "The project ID for the REST call must match the value in submitted request body.")
    if not finding.LABEL.fullmatch(project_id):
        raise refuse(417, "Invalid character in project ID.")
    if found is None:
        _check_new(db, project_id)
    item.fields["ID"] = project_id
    item.fields.setdefault("secondary_ID", project_id)
    item.fields.setdefault("name", project_id)
    _check_conflicts(db, project_id, item)
    loading.check(draft)
    _store(call, db, project_id, item, found)


def _check_new(db: sqlite3.Connection, project_id: str) -> None:
    if records.project_by_id(db, project_id) is not None:
        raise refuse(403, "User account doesn't have permission to edit this project.")
    if db.execute("SELECT 1 FROM burnt WHERE id = ?", (project_id,)).fetchone():
        raise refuse(403, f"Project '{project_id}' was used in a previously deleted project and cannot be reused.")


def _names(item: Item) -> set[str]:
    own = (item.text("ID"), item.text("secondary_ID"), item.text("name"), *records.aliases(item))
    return {name.lower() for name in own if name}


def _check_conflicts(db: sqlite3.Connection, project_id: str, item: Item) -> None:
    mine = _names(item)
    for other in records.all_projects(db):
        shared = mine & _names(other.item) if other.id != project_id else set()
        if shared:
            found = ", ".join(sorted(shared))
            raise refuse(409, f"Requested new project conflicts with existing projects: {found}")


def _store(call: Call, db: sqlite3.Connection, project_id: str, item: Item, found: Project | None) -> None:
    wanted = call.get("accessibility")
    if found is None:
        chosen = (wanted if wanted in _ACCESSIBILITY else "private") if wanted else "protected"
        records.save_project(db, Project(project_id, item, chosen, records.now(), call.user.login))
        db.execute("INSERT OR REPLACE INTO role VALUES (?, ?, 'Owners')", (project_id, call.user.login))
        return
    chosen = (wanted if wanted in _ACCESSIBILITY else "private") if wanted else found.accessibility
    records.save_project(db, replace(found, item=item, accessibility=chosen))


def _forget(db: sqlite3.Connection, project: str) -> None:
    for row in db.execute("SELECT id FROM experiment WHERE project = ?", (project,)).fetchall():
        forget_experiment(db, row[0])
    for row in db.execute("SELECT id FROM subject WHERE project = ?", (project,)).fetchall():
        forget_subject(db, row[0])
    for row in db.execute("SELECT key FROM resource WHERE project = ?", (project,)).fetchall():
        records.drop_resource(db, row[0])
    db.execute("DELETE FROM share WHERE project = ?", (project,))
    db.execute("DELETE FROM role WHERE project = ?", (project,))
    db.executemany("DELETE FROM setting WHERE name = ?", [(f"{project}/{name}",) for name in _SETTINGS])
    db.execute("DELETE FROM project WHERE id = ?", (project,))
    db.execute("INSERT OR IGNORE INTO burnt VALUES (?)", (project,))


def forget_subject(db: sqlite3.Connection, subject: str) -> None:
    """Remove a subject and its resources from the database."""
    for row in db.execute("SELECT key FROM resource WHERE subject = ?", (subject,)).fetchall():
        records.drop_resource(db, row[0])
    db.execute("DELETE FROM share WHERE kind = 'subject' AND id = ?", (subject,))
    db.execute("DELETE FROM subject WHERE id = ?", (subject,))


def forget_experiment(db: sqlite3.Connection, experiment: str) -> None:
    """Remove an experiment, its scans and resources from the database."""
    db.execute("DELETE FROM entry WHERE resource IN (SELECT key FROM resource WHERE experiment = ?)", (experiment,))
    db.execute("DELETE FROM resource WHERE experiment = ?", (experiment,))
    db.execute("DELETE FROM scan WHERE experiment = ?", (experiment,))
    db.execute("DELETE FROM share WHERE kind = 'experiment' AND id = ?", (experiment,))
    db.execute("DELETE FROM experiment WHERE id = ?", (experiment,))


def _with_uri(names: list[str]) -> list[str]:
    return [*(name for name in dict.fromkeys(names) if name != "URI"), "URI"]
