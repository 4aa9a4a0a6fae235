"""Experiments, above all imaging sessions: created, edited, renamed, re-assigned, shared, listed, deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from . import finding, listings, loading, records, rights, schema, shortcuts, views
from .items import Item, merge
from .populate import Draft
from .projects import forget_experiment
from .records import Experiment, Project, Subject
from .subjects import add_share, check_label, create_for, own_values, projects_table, unshare
from .tables import is_paged, page, table
from .web import BAD_REQUEST, NOT_FOUND, Answer, Call, Refusal, empty, failed, not_found, refuse, text

_MISSING: Final = "Unable to find the specified experiment."
_NO_EDIT: Final = "Specified user account has insufficient edit privileges for experiments in this project."
_NOT_HERE: Final = ("assessors", "reconstructions", "DIR", "XAR", "status", "history")
"""What a real XNAT has below an experiment, and this archive has not."""
_ASSESSOR: Final = "xnat:subjectAssessorData"
_DEFAULT_COLUMNS: Final = ("ID", "project", "date", "xsiType", "label", "insert_date")
_JOINED: Final = {
    "subject_label": "xnat:subjectData/label",
    "subject_project": "xnat:subjectData/project",
    "session_ID": "xnat:imageSessionData/ID",
    "session_label": "xnat:imageSessionData/label",
    "session_project": "xnat:imageSessionData/project",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request wants an experiment: the names in its address."""

    experiment: str
    project: str | None = None
    subject: str | None = None


def put(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Create or edit an experiment; move it to another subject; rename it."""
    place = Place(experiment, project, subject)
    if call.get("label"):
        renamed = _rename(call, place, str(call.query["label"]))
        if renamed is not None:
            return renamed
    refused = None
    with call.site.database.write() as db:
        db.execute("SAVEPOINT owner")
        try:
            saved, is_new, gone = _save(call, db, place)
        except Refusal as refusal:
            # A subject that was made for the experiment stays, whatever becomes of the latter.
            db.execute("ROLLBACK TO owner")
            refused = refusal
    if refused is not None:
        raise refused
    if gone:
        with call.site.files.removing(gone):
            pass
    return text(saved, 201 if is_new else 200)


def post(call: Call, project: str, subject: str | None = None) -> Answer:
    """Create an experiment below a list."""
    with call.site.database.write() as db:
        within = finding.project(call, db, project)
        if within is None:
            raise not_found(f"Unable to identify project {project}")
        owner = finding.subject(call, db, within, subject) if subject else None
        if subject and owner is None:
            raise not_found(f"Unable to identify subject {subject}")
        draft = loading.load(call, shortcuts.EXPERIMENT) or _typed(call)
        if draft is None:
            raise refuse(417, "Need POST Contents")
        _check_kind(draft)
        label = draft.item.text("label")
        if label and records.experiment_by_label(db, within.id, label):
            raise refuse(409, "Specified experiment already exists.")
        owner = owner or _subject_of_document(call, db, draft.item, within, None)
        if owner is None:
            raise refuse(422, "Submitted experiment record must include the subject.")
        saved = _create(call, db, draft, within, owner, label or "")
    uri = f"{call.base_url}{call.raw_path.rstrip('/')}/{saved}"
    return Answer(200, uri.encode(), text("").type, [("Location", uri)])


def get(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """One experiment with its scans and resources; the subject in the address does not matter."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        if project is not None and within is None:
            raise not_found(_MISSING if not call.user.guest else NOT_FOUND)
        # Accession numbers count on the whole site, whatever the project in the address.
        found = finding.experiment(call, db, None, experiment) or finding.experiment(call, db, within, experiment)
        if found is None:
            raise not_found(_MISSING)
        return views.represent(call, views.experiment_item(call.site.files, db, found), found.inserted)


def swallowed(call: Call, experiment: str, rest: str, project: str | None = None, subject: str | None = None) -> Answer:
    """What follows the address of an experiment is overlooked when reading, and refused when writing.

    So are scans below an experiment without a subject.
    """
    if rest.partition("/")[0] in _NOT_HERE:
        raise not_found()
    if call.method == "PUT":
        _check_contents(call, Place(experiment, project, subject))
    else:
        shown = get(call, experiment, project, subject)
        if call.method == "GET":
            return shown
    raise refuse(400, BAD_REQUEST)


def delete(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Delete an experiment; its files only if that is asked for."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.experiment(call, db, within, experiment) if within or project is None else None
        if found is None:
            raise not_found(_MISSING)
        if within is not None and found.project != within.id:
            return unshare(call, "experiment", found.id, within)
        # Nobody may delete an experiment of an unregistered type, not even an administrator.
        if found.type not in call.site.registered or not finding.rights_on(call, db, found).delete:
            raise refuse(403, f"User cannot delete experiments for project {found.project}")
    folder = call.site.files.session_folder(found.project, found.label)
    with call.site.files.removing([folder] if call.flag("removeFiles") else []) as db:
        forget_experiment(db, found.id)
    return empty()


def listing(call: Call, project: str | None = None, subject: str | None = None) -> Answer:
    """The experiments of a project, of a subject, or all that the user may read."""
    if project is None:
        return all_experiments(call)
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        if within is None:
            raise not_found(f"Unable to identify project {project}")
        owner = finding.subject(call, db, within, subject) if subject else None
        if subject and owner is None:
            raise not_found(f"Unable to identify subject {subject}")
        if not rights.in_project(db, call.user, within).read:
            raise refuse(403, f"Unable to read experiments for Project: {within.id}")
        found = records.experiments_of(db, within.id)
        if owner is not None:
            found = [pair for pair in found if pair[0].subject == owner.id]
        return _table(call, db, found, _ASSESSOR)


def all_experiments(call: Call) -> Answer:
    """All experiments that the user may read."""
    with call.site.database.read() as db:
        found = [
            pair
            for one in records.all_projects(db)
            if rights.in_project(db, call.user, one).read
            for pair in records.experiments_of(db, one.id)
            if pair[0].project == one.id
        ]
        return _table(call, db, found, "xnat:experimentData")


def share(call: Call, experiment: str, target: str, project: str | None = None, subject: str | None = None) -> Answer:
    """Show an experiment in a further project, or move it there."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.experiment(call, db, within, experiment) if within or project is None else None
        if found is None:
            raise not_found(_MISSING)
        other = finding.project(call, db, target)
        if other is None:
            raise not_found(f"Unable to identify project: {target}")
    if call.flag("primary"):
        return _move(call, found, other)
    with call.site.database.write() as db:
        relabelled = add_share(call, db, ("experiment", found.id, found.project, found.label), other)
    # The new label of an experiment that is shared already is stored, and refused all the same.
    if relabelled:
        raise refuse(409, f"Already assigned to project:{other.id}")
    return get(call, found.id)


def projects_of(call: Call, experiment: str, project: str | None = None, subject: str | None = None) -> Answer:
    """The projects that show an experiment."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.experiment(call, db, within, experiment) if within or project is None else None
        if found is None:
            raise not_found(_MISSING)
        return projects_table(call, db, ("experiment", found.id, found.project, found.label))


def delete_share(
    call: Call, experiment: str, target: str, project: str | None = None, subject: str | None = None
) -> Answer:
    """Stop showing an experiment in a further project."""
    with call.site.database.read() as db:
        within = finding.project(call, db, project)
        found = finding.experiment(call, db, within, experiment) if within or project is None else None
        other = finding.project(call, db, target)
        if found is None or other is None:
            raise not_found(_MISSING)
    return unshare(call, "experiment", found.id, other)


def _typed(call: Call) -> Draft | None:
    kind = call.get("xsiType")
    return Draft(loading.new_item(kind)) if kind else None


def _check_contents(call: Call, place: Place) -> None:
    """Refuse contents that are none, before the address is found to be wrong."""
    with call.site.database.read() as db:
        within = finding.project(call, db, place.project)
        existing = finding.experiment(call, db, within, place.experiment)
        draft = loading.load(call, {}, template=_as_item(existing) if existing else None) or _typed(call)
        if draft is None:
            raise _nothing_said(call, db, place)
    _check_kind(draft)


def _check_kind(draft: Draft) -> None:
    if not schema.extends(draft.item.type, _ASSESSOR):
        raise refuse(422, "Only xnat:Subject documents can be PUT to this address.")


def _as_item(experiment: Experiment) -> Item:
    item = experiment.item.copy()
    item.fields.update(
        {
            "ID": experiment.id,
            "project": experiment.project,
            "label": experiment.label,
            "subject_ID": experiment.subject,
        }
    )
    return item


def _save(call: Call, db: sqlite3.Connection, place: Place) -> tuple[str, bool, list[Path]]:
    within = finding.project(call, db, place.project)
    if place.project is not None and within is None:
        raise not_found()
    existing = finding.experiment(call, db, within, place.experiment)
    # Below a project alone, what is stored stands behind every request, so that nothing can be missing in it.
    whole = call.flag("allowDataDeletion") and (place.subject is not None or place.project is None)
    stored = _as_item(existing) if existing else None
    # Without a project in the address nothing that is stored stands behind the fields of the request.
    template = stored if within is not None and not whole else None
    draft = loading.load(call, shortcuts.EXPERIMENT, template=template) or _typed(call)
    if draft is None and stored is not None:
        draft, whole = Draft(stored), False
    if draft is None:
        raise _nothing_said(call, db, place)
    _check_kind(draft)
    within = within or _project_of_document(call, db, draft.item)
    label = draft.item.text("label") or (existing.label if existing else place.experiment)
    existing = existing or _matching(call, db, draft.item, within, label)
    owner = _subject_for(call, db, place, draft.item, within, existing)
    db.execute("SAVEPOINT owner")
    if existing is None:
        # Only the addresses below a subject insist on one.
        if owner is None and place.subject is not None:
            raise refuse(422, "Submitted experiment record must include the subject.")
        return _create(call, db, draft, within, owner, label), True, []
    # XNAT compares the project before it fills it in, except at the addresses without a subject.
    if place.subject is not None and draft.item.text("project") != existing.project:
        raise refuse(409, "Project must be modified through separate URI.")
    gone = _change(call, db, draft, existing, label, owner, whole=whole)
    return existing.id, False, gone


def _nothing_said(call: Call, db: sqlite3.Connection, place: Place) -> Refusal:
    """A request without contents needs an experiment that is there; at its own address even if it cannot be read."""
    hidden = records.experiment_by_id(db, place.experiment) if place.project is None else None
    if hidden is None:
        return refuse(417, "Need PUT Contents")
    _project_of_document(call, db, _as_item(hidden))
    return refuse(403, _NO_EDIT)


def _project_of_document(call: Call, db: sqlite3.Connection, item: Item) -> Project:
    found = finding.project(call, db, item.text("project"))
    if found is None:
        raise refuse(422, "Submitted experiment record must include the project attribute.")
    return found


def _matching(call: Call, db: sqlite3.Connection, item: Item, within: Project, label: str) -> Experiment | None:
    given = item.text("ID")
    found = records.experiment_by_id(db, given) if given else None
    found = found or records.experiment_by_label(db, within.id, label)
    return found if found and finding.rights_on(call, db, found).read else None


def _subject_for(
    call: Call,
    db: sqlite3.Connection,
    place: Place,
    item: Item,
    within: Project,
    existing: Experiment | None,
) -> Subject | None:
    """The subject in the address, else the one in the document, else a new one.

    For an experiment that exists, a subject in the address that does not exist is ignored.
    """
    if place.subject is not None:
        found = finding.subject(call, db, within, place.subject)
        if found is not None and not (existing and call.get("subject_ID")):
            return found
        if existing is None and not item.text("subject_ID"):
            return create_for(call, db, within, place.subject)
    return _subject_of_document(call, db, item, within, existing)


def _subject_of_document(
    call: Call, db: sqlite3.Connection, item: Item, within: Project, existing: Experiment | None
) -> Subject | None:
    name = call.get("subject_ID") or item.text("subject_ID")
    found = finding.subject(call, db, within, name) if name else None
    if found is None and existing is not None and not call.get("subject_ID"):
        return records.subject_by_id(db, existing.subject)
    if found is None and name:
        return create_for(call, db, within, name)
    return found


def _check_create(call: Call, db: sqlite3.Connection, within: Project) -> None:
    if not rights.in_project(db, call.user, within).create:
        raise refuse(403, "Specified user account has insufficient create privileges for experiments in this project.")


def _create(
    call: Call, db: sqlite3.Connection, draft: Draft, within: Project, owner: Subject | None, label: str
) -> str:
    unregistered = draft.item.type not in call.site.registered
    # A type without security set up passes every check for those who have a role in the project.
    if not (unregistered and rights.role_of(db, call.user, within.id)):
        _check_create(call, db, within)
    loading.check(draft)
    given = draft.item.text("ID")
    if given and (not finding.LABEL.fullmatch(given) or records.experiment_by_id(db, given)):
        raise refuse(417, "Invalid character in experiment label.")
    experiment_id = given or records.new_id(db, "E")
    label = label or experiment_id
    check_label(label)
    made = Experiment(
        experiment_id,
        within.id,
        label,
        owner.id if owner else "",
        draft.item.type,
        _stripped(draft.item),
        records.now(),
        call.user.login,
    )
    records.save_experiment(db, made)
    save_scans(call, db, made, draft.item)
    return experiment_id


def _change(
    call: Call,
    db: sqlite3.Connection,
    draft: Draft,
    existing: Experiment,
    label: str,
    owner: Subject | None,
    *,
    whole: bool,
) -> list[Path]:
    if draft.item.text("project") not in (None, existing.project):
        raise refuse(409, "Project must be modified through separate URI.")
    if not finding.rights_on(call, db, existing).edit:
        raise refuse(403, _NO_EDIT)
    loading.check(draft)
    if draft.item.text("ID") not in (None, existing.id):
        raise refuse(400, "ID cannot be modified")
    if label != existing.label:
        raise refuse(400, "Label must be modified through separate URI.")
    item = _stripped(draft.item)
    item.type = existing.type
    records.save_experiment(db, replace(existing, item=item, subject=owner.id if owner else existing.subject))
    save_scans(call, db, existing, draft.item, whole=whole)
    return _drop_missing(call, db, existing, draft.item) if whole else []


def save_scans(call: Call, db: sqlite3.Connection, experiment: Experiment, item: Item, *, whole: bool = False) -> None:
    """Store the scans of a document; those that exist are merged with it, unless it is to be the whole truth."""
    for scan in item.children.get("scans/scan", []):
        scan_id = scan.text("ID")
        if scan_id is None or not finding.LABEL.fullmatch(scan_id):
            raise failed()
        known = records.scan_by_id(db, experiment.id, scan_id)
        target = known.item.copy() if known and not whole else Item(scan.type)
        merge(target, Item(scan.type, scan.fields, {k: v for k, v in scan.children.items() if k != "file"}))
        target.fields["ID"] = scan_id
        records.save_scan(db, experiment.id, target, call.user.login)


def _drop_missing(call: Call, db: sqlite3.Connection, existing: Experiment, item: Item) -> list[Path]:
    """Forget the scans and resources that an authoritative document does not name; gives the folders to remove."""
    named = {scan.text("ID"): _labels(scan, "file") for scan in item.children.get("scans/scan", [])}
    own = _labels(item, "resources/resource")
    scans = {scan.key: scan for scan in records.scans_of(db, [existing.id])}
    folders = []
    for resource in records.resources_of_experiments(db, [existing.id]):
        kept = own if resource.scan is None else named.get(scans[resource.scan].id, set())
        if resource.label not in kept:
            folders.append(views.resource_folder(call.site.files, db, resource))
            records.drop_resource(db, resource.key)
    for scan in scans.values():
        if scan.id not in named:
            db.execute("DELETE FROM scan WHERE key = ?", (scan.key,))
    return folders


def _labels(item: Item, path: str) -> set[str | None]:
    return {resource.text("label") for resource in item.children.get(path, [])}


def _stripped(item: Item) -> Item:
    """The item without what the database keeps elsewhere."""
    own = ("ID", "project", "label", "subject_ID")
    fields = {path: value for path, value in item.fields.items() if path not in own}
    kept = ("scans/scan", "resources/resource", "sharing/share")
    return Item(item.type, fields, {path: some for path, some in item.children.items() if path not in kept})


def _rename(call: Call, place: Place, label: str) -> Answer | None:
    """Rename an experiment that exists; None if there is none yet."""
    with call.site.database.read() as db:
        within = finding.project(call, db, place.project)
        if place.project is not None and within is None:
            raise not_found()
        existing = finding.experiment(call, db, within, place.experiment)
        if existing is None:
            return None
        if not finding.rights_on(call, db, existing).edit:
            raise refuse(403, _NO_EDIT)
        if label == existing.label:
            return empty()
        if records.experiment_by_label(db, existing.project, label):
            raise refuse(409, "Specified label is already in use.")
    check_label(label)
    files = call.site.files
    folders = (files.session_folder(existing.project, existing.label), files.session_folder(existing.project, label))
    if any(path.is_file() for path in folders[1].rglob("*")):
        raise refuse(409, "File system destination contains pre-existing files")
    with files.moving([folders]) as db:
        if records.experiment_by_label(db, existing.project, label):
            raise refuse(409, "Specified label is already in use.")
        db.execute("UPDATE experiment SET label = ? WHERE id = ?", (label, existing.id))
    return empty()


def _move(call: Call, found: Experiment, other: Project) -> Answer:
    label = call.query.get("label") or found.label
    with call.site.database.read() as db:
        if not finding.rights_on(call, db, found).delete or not rights.in_project(db, call.user, other).create:
            raise refuse(403, "Specified user account has insufficient privileges for experiments in this project.")
        taken = records.experiment_by_label(db, other.id, label)
        if taken is not None and taken.id != found.id:
            raise refuse(409, f"Label already in use:{label}")
    check_label(label)
    files = call.site.files
    folders = (files.session_folder(found.project, found.label), files.session_folder(other.id, label))
    with files.moving([folders]) as db:
        db.execute("DELETE FROM share WHERE kind = 'experiment' AND id = ? AND project = ?", (found.id, other.id))
        db.execute("UPDATE experiment SET project = ?, label = ? WHERE id = ?", (other.id, label, found.id))
    return get(call, found.id)


def _table(call: Call, db: sqlite3.Connection, found: Sequence[tuple[Experiment, str]], default: str) -> Answer:
    known = {**listings.paths_of(shortcuts.EXPERIMENT), **_JOINED}
    asked = call.get("columns")
    names = [name for name in listings.requested(asked, _DEFAULT_COLUMNS, known) if name != "URI"]
    if call.get("xsiType") is None:
        names = [name for name in names if not _needs_type(name)]
    filters = listings.conditions(call.query, known)
    kind = call.get("xsiType")
    root = kind if kind and "," not in kind else listings.root_of(default, [*names, *dict(filters)], known)
    if schema.type_named(root) is None:
        raise failed()
    # The listing of the whole site shows the subject as soon as it is known that there is one.
    if asked in (None, "DEFAULT") and default == "xnat:experimentData" and schema.extends(root, _ASSESSOR):
        names += ["subject_ID", "subject_label"]
    names = _with_internal(names, root, default, known, typed=kind is not None)
    rows = [
        row
        for experiment, label in found
        if experiment.type in call.site.registered and _is_kind(experiment, root, kind)
        for row in _rows(db, experiment, label, names, filters, known)
    ]
    columns = list(dict.fromkeys([*(listings.column_name(name, known) for name in names), "URI"]))
    return table(call.format, columns, page(call, rows), total=not is_paged(call))


def _needs_type(name: str) -> bool:
    """Whether a column leads into the scans of a special kind of session, which only works if that kind is listed."""
    return "/scans/" in name and not name.lower().startswith("xnat:imagesessiondata/")


def _is_kind(experiment: Experiment, root: str, kind: str | None) -> bool:
    if kind and "," in kind:
        return experiment.type in kind.split(",")
    return schema.extends(experiment.type, root)


def _with_internal(names: list[str], root: str, default: str, known: dict[str, str], *, typed: bool) -> list[str]:
    """The columns that XNAT adds of its own accord: the ID of the listed type, and the kind and project of a row."""
    internal = f"{root}/ID".lower()
    added = ["ID"] if default == root == "xnat:experimentData" else [internal]
    extra = [] if typed else ["xsiType", "project"]
    return list(dict.fromkeys([*added, *names, *extra]))


def _rows(
    db: sqlite3.Connection,
    experiment: Experiment,
    label: str,
    names: Sequence[str],
    filters: Sequence[tuple[str, Callable[[str], bool]]],
    known: dict[str, str],
) -> list[dict[str, str]]:
    paths = [path.lower() for path in (*(known.get(name, name) for name in names), *dict(filters))]
    owner = _subject_source(db, experiment) if any(path.startswith("xnat:subjectdata/") for path in paths) else None
    item = experiment.item
    if any("/scans/" in path for path in paths):
        item = item.copy()
        item.children["scans/scan"] = [_listed_scan(scan) for scan in records.scans_of(db, [experiment.id])]
    source = listings.Source(
        item,
        {
            "id": experiment.id,
            "project": experiment.project,
            "label": label,
            "subject_id": experiment.subject,
            "meta/insert_date": experiment.inserted,
            "meta/insert_user/login": experiment.inserter,
            "meta/last_modified": experiment.inserted,
            "extension_item/element_name": experiment.type,
        },
        owner,
    )
    if not all(fits(source.look(path)) for path, fits in filters):
        return []
    uri = {"URI": f"/data/experiments/{experiment.id}"}
    return [row | uri for row in listings.expand_rows(source, names, known)]


def _listed_scan(scan: records.Scan) -> Item:
    item = scan.item.copy()
    item.fields["ID"] = scan.id
    return item


def _subject_source(db: sqlite3.Connection, experiment: Experiment) -> listings.Source | None:
    found = records.subject_by_id(db, experiment.subject)
    return listings.Source(found.item, own_values(found, found.label)) if found else None
