"""Subjects: created, edited, renamed, shared, listed, deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from . import finding, listings, loading, records, rights, shortcuts, views
from .items import Item
from .populate import Draft
from .projects import forget_experiment, forget_subject
from .records import Project, Subject
from .tables import page, table
from .web import BAD_REQUEST, Answer, Call, empty, failed, not_found, refuse, text

_TYPE: Final = "xnat:subjectData"
_DEFAULT_COLUMNS = ("ID", "project", "label", "insert_date", "insert_user")


@dataclass(frozen=True, slots=True)
class Saved:
    """A subject that has been stored: its ID, and the label that it should get."""

    id: str
    is_new: bool = False
    label: str | None = None


def put(call: Call, subject: str, project: str | None = None) -> Answer:
    """Create, edit or rename a subject."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        existing = finding.subject(call, db, within, subject) if within or project is None else None
    if existing is not None and call.get("label"):
        return _rename(call, existing, within, str(call.query["label"]))
    with call.site.database.write() as db:
        existing = finding.subject(call, db, within, subject) if within or project is None else None
        saved = _save(call, db, subject, within, existing)
    if saved.label is not None and existing is not None:
        _relabel(call, existing, saved.label)
    # Who gives a label that is there already wants to rename, and gets no name back.
    if call.get("label") and not saved.is_new:
        return empty()
    return text(saved.id, 201 if saved.is_new else 200)


def post(call: Call, project: str) -> Answer:
    """Create a subject below its list."""
    with call.site.database.write() as db:
        within = finding.project(call, db, project)
        if within is None:
            raise not_found()
        draft = loading.load(call, shortcuts.SUBJECT, data_type=_TYPE) or Draft(Item(_TYPE))
        if "experiments/experiment" in draft.item.children:
            raise refuse(422, "Submitted subject record must not include subject assessors.")
        label = draft.item.text("label")
        given = records.subject_by_id(db, draft.item.text("ID") or "")
        if given or (label and records.subject_by_label(db, within.id, label)):
            raise refuse(409, "Subject already exists.")
        saved = _create(call, db, draft, within, label).id
    uri = f"{call.base_url}/data/projects/{project}/subjects/{saved}"
    return Answer(200, uri.encode(), text("").type, [("Location", uri)])


def get(call: Call, subject: str, project: str | None = None) -> Answer:
    """One subject."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        # Accession numbers count on the whole site, whatever the project in the address.
        found = finding.subject(call, db, None, subject)
        if found is None and within is not None:
            found = finding.subject(call, db, within, subject)
        if found is None:
            raise not_found(_missing(subject, within))
        return views.represent(call, views.subject_item(call.site.files, db, found), found.inserted)


def delete(call: Call, subject: str, project: str | None = None) -> Answer:
    """Delete a subject with its experiments; its files only if that is asked for."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.subject(call, db, within, subject) if within or project is None else None
        if found is None:
            raise not_found("Unable to find the specified subject.")
        if within is not None and found.project != within.id:
            return unshare(call, "subject", found.id, within)
        sessions = records.experiments_of_subject(db, found.id)
        secured = all(session.type in call.site.registered for session in sessions)
        if not rights.on_subject(db, call.user, found).delete or not secured:
            raise refuse(403, f"User cannot delete subjects for project {found.project}")
    files = call.site.files
    folders: list[Path] = []
    if call.flag("removeFiles"):
        folders = [files.session_folder(one.project, one.label) for one in sessions]
        folders.append(files.subject_folder(found.project, found.label))
    with files.removing(folders) as db:
        for session in sessions:
            forget_experiment(db, session.id)
        forget_subject(db, found.id)
    return empty()


def swallowed(call: Call, subject: str, rest: str, project: str | None = None) -> Answer:
    """What follows the address of a subject is overlooked when reading, and refused when writing."""
    if rest == "status":
        raise not_found()
    if call.method == "PUT":
        loading.load(call, {}, data_type=_TYPE)
    else:
        shown = get(call, subject, project)
        if call.method == "GET":
            return shown
    raise refuse(400, BAD_REQUEST)


def listing(call: Call, project: str | None = None) -> Answer:
    """The subjects of a project, or all that the user may read."""
    with call.site.database.read() as db:
        if project is not None:
            within = finding.project(call, db, project)
            if within is None:
                raise not_found()
            if not rights.in_project(db, call.user, within).read:
                raise refuse(403, f"Unable to read subjects for Project: {within.id}")
            found = records.subjects_of(db, within.id)
        else:
            found = [
                pair
                for one in records.all_projects(db)
                if rights.in_project(db, call.user, one).read
                for pair in records.subjects_of(db, one.id)
            ]
    known = listings.paths_of(shortcuts.SUBJECT)
    names = list(dict.fromkeys(["ID", *listings.requested(call.get("columns"), _DEFAULT_COLUMNS, known)]))
    names = [name for name in names if name != "URI"]
    rows = _rows(call, found, names, known)
    columns = list(dict.fromkeys([*(listings.column_name(name, known) for name in names), "URI"]))
    return table(call.format, columns, page(call, rows))


def share(call: Call, subject: str, target: str, project: str | None = None) -> Answer:
    """Show a subject in a further project, or move it there."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.subject(call, db, within, subject) if within or project is None else None
        if found is None:
            raise not_found("Unable to find the specified subject.")
        other = finding.project(call, db, target)
        if other is None:
            raise not_found(f"Unable to identify project: {target}")
    if call.flag("primary"):
        return _move(call, found, other)
    with call.site.database.write() as db:
        add_share(call, db, ("subject", found.id, found.project, found.label), other)
    return get(call, found.id)


def projects_of(call: Call, subject: str, project: str | None = None) -> Answer:
    """The projects that show a subject."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.subject(call, db, within, subject) if within or project is None else None
        if found is None:
            raise not_found(_missing(subject, within))
        return projects_table(call, db, ("subject", found.id, found.project, found.label))


def delete_share(call: Call, subject: str, target: str, project: str | None = None) -> Answer:
    """Stop showing a subject in a further project."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.subject(call, db, within, subject) if within or project is None else None
        other = finding.project(call, db, target)
        if found is None or other is None:
            raise not_found("Unable to find the specified subject.")
    return unshare(call, "subject", found.id, other)


def own_values(subject: Subject, label: str) -> dict[str, str]:
    """What listings show of a subject that is not among its fields."""
    return {
        "id": subject.id,
        "project": subject.project,
        "label": label,
        "meta/insert_date": subject.inserted,
        "meta/insert_user/login": subject.inserter,
        "meta/last_modified": subject.inserted,
    }


def add_share(call: Call, db: sqlite3.Connection, what: tuple[str, str, str, str], other: Project) -> bool:
    """Show an object (kind, ID, project, label) in a further project; says whether it only got another label there."""
    kind, key, owner, _ = what
    # Without a label of its own the object is shown under the one it has, but cannot be found by it.
    wanted = call.query.get("label", "")
    if owner == other.id:
        raise refuse(409, f"Already assigned to project:{other.id}")
    row = db.execute(
        "SELECT label FROM share WHERE kind = ? AND id = ? AND project = ?", (kind, key, other.id)
    ).fetchone()
    if row is not None and wanted in ("", row[0]):
        raise refuse(409, f"Already assigned to project:{other.id}")
    by_label = records.subject_by_label if kind == "subject" else records.experiment_by_label
    taken = by_label(db, other.id, wanted) if wanted else None
    if taken is not None and taken.id != key:
        raise refuse(409, f"Label already in use:{wanted}")
    if not rights.in_project(db, call.user, other).create:
        what_kind = "subjects" if kind == "subject" else "experiments"
        raise refuse(
            403,
            f"Specified user account has insufficient create privileges for {what_kind} in the {other.id} project.",
        )
    if wanted and not finding.LABEL.fullmatch(wanted):
        raise failed()
    db.execute("INSERT OR REPLACE INTO share VALUES (?, ?, ?, ?)", (kind, key, other.id, wanted))
    return row is not None


def unshare(call: Call, kind: str, key: str, other: Project) -> Answer:
    """Take an object out of a project that it is only shared into."""
    with call.site.database.write() as db:
        if not rights.in_project(db, call.user, other).delete:
            raise refuse(403, f"User cannot delete {kind}s for project {other.id}")
        db.execute("DELETE FROM share WHERE kind = ? AND id = ? AND project = ?", (kind, key, other.id))
    return empty()


def projects_table(call: Call, db: sqlite3.Connection, what: tuple[str, str, str, str]) -> Answer:
    """The projects that show an object (kind, ID, project, label), its own first."""
    kind, key, owner, label = what
    shared = db.execute("SELECT project, label FROM share WHERE kind = ? AND id = ?", (kind, key)).fetchall()
    rows = []
    for name, shown in [(owner, label), *((row[0], row[1] or label) for row in shared)]:
        found = records.project_by_id(db, name)
        if found is not None:
            secondary, title = found.item.text("secondary_ID") or "", found.item.text("name") or ""
            rows.append({"label": shown, "ID": found.id, "Secondary_ID": secondary, "Name": title})
    return table(call.format, ("label", "ID", "Secondary_ID", "Name"), rows)


def create_for(call: Call, db: sqlite3.Connection, within: Project, label: str) -> Subject:
    """A subject that a session needs, made on the fly."""
    if not rights.in_project(db, call.user, within).create:
        raise refuse(403, f"User {call.user.login} has insufficient create privileges for subjects in this project.")
    check_label(label)
    made = Subject(records.new_id(db, "S"), within.id, label, Item(_TYPE), records.now(), call.user.login)
    records.save_subject(db, made)
    return made


def check_label(label: str) -> None:
    """Refuse labels as XNAT does: long ones politely, odd characters with a failure."""
    if len(label) > 255:
        raise refuse(400, f"label Must Be Less Than 255 Characters : Current Length ({len(label)})\n")
    if not finding.LABEL.fullmatch(label):
        raise failed()


def _missing(name: str, within: Project | None) -> str:
    start = "Unable to find the specified subject. "
    if within is None:
        return (
            f"{start}When searching by subject ID only, you must specify the accession number and not the subject "
            f"label, which is not unique across the XNAT system. {name} is not a known subject accession ID."
        )
    return f"{start}The project {within.id} does not contain a subject identifiable by the ID or label {name}."


def _save(call: Call, db: sqlite3.Connection, name: str, within: Project | None, existing: Subject | None) -> Saved:
    template = _as_item(existing) if existing else None
    whole = call.flag("allowDataDeletion")
    draft = loading.load(call, shortcuts.SUBJECT, template=template, data_type=_TYPE, replacing=whole)
    draft = draft or Draft(Item(_TYPE))
    item = draft.item
    if item.type != _TYPE:
        raise refuse(422, "Only xnat:Subject documents can be PUT to this address.")
    if within is None and existing is None and item.text("project"):
        within = finding.project(call, db, item.text("project"))
    if within is None and existing is not None:
        within = records.project_by_id(db, existing.project)
    if within is None:
        raise refuse(422, "Submitted subject record must include the project attribute.")
    label = item.text("label") or (existing.label if existing else name)
    if existing is None:
        existing = _matching(call, db, item, within, label)
    if existing is None:
        return _create(call, db, draft, within, label)
    return _change(call, db, draft, existing, label)


def _as_item(subject: Subject) -> Item:
    item = subject.item.copy()
    item.fields.update({"ID": subject.id, "project": subject.project, "label": subject.label})
    return item


def _matching(call: Call, db: sqlite3.Connection, item: Item, within: Project, label: str) -> Subject | None:
    given = item.text("ID")
    found = records.subject_by_id(db, given) if given else None
    found = found or records.subject_by_label(db, within.id, label)
    return found if found and rights.on_subject(db, call.user, found).read else None


def _create(call: Call, db: sqlite3.Connection, draft: Draft, within: Project, label: str | None) -> Saved:
    if not rights.in_project(db, call.user, within).create:
        raise refuse(403, "Specified user account has insufficient create privileges for subjects in this project.")
    loading.check(draft)
    given = draft.item.text("ID")
    if given and (not finding.LABEL.fullmatch(given) or records.subject_by_id(db, given)):
        raise failed()
    subject_id = given or records.new_id(db, "S")
    label = label or subject_id
    check_label(label)
    if records.subject_by_label(db, within.id, label):
        raise refuse(409, "Conflict: Duplicate subject label")
    item = _stripped(draft.item)
    records.save_subject(db, Subject(subject_id, within.id, label, item, records.now(), call.user.login))
    return Saved(subject_id, is_new=True)


def _change(call: Call, db: sqlite3.Connection, draft: Draft, existing: Subject, label: str) -> Saved:
    if draft.item.text("project") not in (None, existing.project):
        raise refuse(409, "Project must be modified through separate URI.")
    if not rights.on_subject(db, call.user, existing).edit:
        raise refuse(403, "Specified user account has insufficient edit privileges for subjects in this project.")
    loading.check(draft)
    if draft.item.text("ID") not in (None, existing.id):
        raise refuse(400, "ID cannot be modified")
    if label != existing.label:
        check_label(label)
        if records.subject_by_label(db, existing.project, label):
            raise refuse(409, "Conflict: Duplicate subject label")
    records.save_subject(db, replace(existing, item=_stripped(draft.item)))
    return Saved(existing.id, label=label if label != existing.label else None)


def _stripped(item: Item) -> Item:
    """The item without what the database keeps in columns of its own."""
    fields = {path: value for path, value in item.fields.items() if path not in ("ID", "project", "label")}
    kept = ("experiments/experiment", "resources/resource", "sharing/share")
    return Item(item.type, fields, {path: some for path, some in item.children.items() if path not in kept})


def _rename(call: Call, existing: Subject, within: Project | None, label: str) -> Answer:
    project = within.id if within else existing.project
    with call.site.database.read() as db:
        if not rights.on_subject(db, call.user, existing).edit:
            raise refuse(403, "Specified user account has insufficient edit privileges for subjects in this project.")
        if label == existing.label:
            return empty()
        if records.subject_by_label(db, project, label):
            raise refuse(409, "Specified label is already in use.")
    check_label(label)
    _relabel(call, existing, label)
    return empty()


def _relabel(call: Call, existing: Subject, label: str) -> None:
    """Change a label, and with it the name of the folder of the subject's files."""
    files = call.site.files
    folders = (files.subject_folder(existing.project, existing.label), files.subject_folder(existing.project, label))
    with files.moving([folders]) as db:
        if records.subject_by_label(db, existing.project, label):
            raise refuse(409, "Specified label is already in use.")
        db.execute("UPDATE subject SET label = ? WHERE id = ?", (label, existing.id))


def _move(call: Call, found: Subject, other: Project) -> Answer:
    with call.site.database.read() as db:
        if not rights.on_subject(db, call.user, found).delete:
            raise refuse(403, "Specified user account has insufficient privileges for subjects in this project.")
        label = call.query.get("label") or found.label
        taken = records.subject_by_label(db, other.id, label)
        if taken is not None and taken.id != found.id:
            raise refuse(409, f"Label already in use:{label}")
        if not rights.in_project(db, call.user, other).create:
            raise refuse(403, "Specified user account has insufficient create privileges for subjects in this project.")
    check_label(label)
    files = call.site.files
    folders = (files.subject_folder(found.project, found.label), files.subject_folder(other.id, label))
    with files.moving([folders]) as db:
        db.execute("DELETE FROM share WHERE kind = 'subject' AND id = ? AND project = ?", (found.id, other.id))
        db.execute("UPDATE subject SET project = ?, label = ? WHERE id = ?", (other.id, label, found.id))
    return get(call, found.id)


def _rows(
    call: Call, found: Sequence[tuple[Subject, str]], names: Sequence[str], known: dict[str, str]
) -> list[dict[str, str]]:
    conditions = listings.conditions(call.query, known)
    rows = []
    for subject, label in found:
        source = listings.Source(subject.item, own_values(subject, label))
        if all(fits(source.look(path)) for path, fits in conditions):
            rows += [
                row | {"URI": f"/data/subjects/{subject.id}"} for row in listings.expand_rows(source, names, known)
            ]
    return rows
