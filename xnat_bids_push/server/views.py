"""Views: stored objects put together as clients see them, with everything that belongs to them."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from . import items, records
from .files import Files, plain_name
from .items import Item
from .records import Experiment, Owner, Project, Resource, Scan, Subject
from .tables import to_json
from .web import JSON, Answer, Call, html_text


def represent(call: Call, item: Item, inserted: str) -> Answer:
    """One object in the requested format; a page for people unless another one is asked for."""
    match call.format:
        case "json":
            return Answer(200, to_json({"items": [items.to_json(item, _moment(inserted))]}), JSON)
        case None | "html":
            title = html_text(item.type)
            # Templates of pages begin with empty lines; clients take a page that does not for an error.
            page = f"\n<html><head><title>{title}</title></head><body>{title}</body></html>"
            return Answer(200, page.encode(), "text/html")
        case _:
            return Answer(200, items.to_xml(item).encode(), "text/xml")


def project_item(files: Files, db: sqlite3.Connection, project: Project) -> Item:
    """A project with its resources."""
    item = project.item.copy()
    item.fields["ID"] = project.id
    folder = files.project_folder(project.id)
    _add(item, "resources/resource", [resource_item(one, folder) for one in _resources(db, Owner(project=project.id))])
    return item


def subject_item(files: Files, db: sqlite3.Connection, subject: Subject) -> Item:
    """A subject with its resources and its experiments."""
    item = subject.item.copy()
    item.fields.update({"ID": subject.id, "project": subject.project, "label": subject.label})
    folder = files.subject_folder(subject.project, subject.label)
    _add(item, "resources/resource", [resource_item(one, folder) for one in _resources(db, Owner(subject=subject.id))])
    sessions = records.experiments_of_subject(db, subject.id)
    _add(item, "experiments/experiment", [experiment_item(files, db, session) for session in sessions])
    _add(item, "sharing/share", _shares(db, "subject", subject.id, "xnat:projectParticipant"))
    return item


def experiment_item(files: Files, db: sqlite3.Connection, experiment: Experiment) -> Item:
    """An experiment with its scans and all resources."""
    item = experiment.item.copy()
    item.fields.update(
        {
            "ID": experiment.id,
            "id": experiment.id,
            "project": experiment.project,
            "label": experiment.label,
            "subject_ID": experiment.subject,
        }
    )
    if not experiment.subject:
        del item.fields["subject_ID"]
    folder = files.session_folder(experiment.project, experiment.label)
    resources = records.resources_of_experiments(db, [experiment.id])
    own = [resource_item(one, folder) for one in resources if one.scan is None]
    _add(item, "resources/resource", own)
    found = records.scans_of(db, [experiment.id])
    _add(item, "scans/scan", [scan_item(scan, resources, folder) for scan in found])
    _add(item, "sharing/share", _shares(db, "experiment", experiment.id, "xnat:experimentData_share"))
    return item


def scan_item(scan: Scan, resources: list[Resource], folder: Path) -> Item:
    """A scan with those of the resources that are its own."""
    item = scan.item.copy()
    item.fields.update({"ID": scan.id, "image_session_ID": scan.experiment})
    _add(item, "file", [resource_item(one, folder) for one in resources if one.scan == scan.key])
    return item


def resource_item(resource: Resource, folder: Path) -> Item:
    """A resource, without its files."""
    item = Item(resource.type, {"label": resource.label})
    item.fields["URI"] = str(folder / resource.folder / resource.catalog)
    for name, value in (
        ("file_count", resource.file_count),
        ("file_size", resource.file_size),
        ("format", resource.format),
        ("content", resource.content),
        ("description", resource.description),
    ):
        if value is not None:
            item.fields[name] = value
    tags = [Item("xnat:abstractResource_tag", {"tag": tag}) for tag in (resource.tags or "").split(",") if tag]
    _add(item, "tags/tag", tags)
    return item


def resource_folder(files: Files, db: sqlite3.Connection, resource: Resource) -> Path:
    """Where the files of a resource lie."""
    return owner_folder(files, db, Owner(resource.project, resource.subject, resource.experiment)) / resource.folder


def owner_folder(files: Files, db: sqlite3.Connection, owner: Owner) -> Path:
    """The folder that resource folders of this owner are relative to."""
    if owner.experiment is not None:
        row = db.execute("SELECT project, label FROM experiment WHERE id = ?", (owner.experiment,)).fetchone()
        return files.session_folder(row[0], row[1])
    if owner.subject is not None:
        row = db.execute("SELECT project, label FROM subject WHERE id = ?", (owner.subject,)).fetchone()
        return files.subject_folder(row[0], row[1])
    return files.project_folder(owner.project or "")


def default_folder(db: sqlite3.Connection, owner: Owner, label: str) -> str:
    """Where a resource of this label goes, relative to the folder of its owner."""
    plain_name(label)
    if owner.scan is not None:
        row = db.execute("SELECT id FROM scan WHERE key = ?", (owner.scan,)).fetchone()
        return f"SCANS/{plain_name(row[0])}/{label}"
    if owner.experiment is not None:
        return f"RESOURCES/{label}"
    return label if owner.subject is not None else f"resources/{label}"


def _resources(db: sqlite3.Connection, owner: Owner) -> list[Resource]:
    return records.resources_of(db, owner)


def _add(item: Item, path: str, some: list[Item]) -> None:
    if some:
        item.children[path] = some


def _shares(db: sqlite3.Connection, kind: str, key: str, name: str) -> list[Item]:
    rows = db.execute("SELECT project, label FROM share WHERE kind = ? AND id = ?", (kind, key))
    return [Item(name, {"project": row[0], "label": row[1]}) for row in rows]


def _moment(inserted: str) -> str:
    """The time stamp of an item, in the style of Java."""
    moment = datetime.fromisoformat(inserted.partition(".")[0]).replace(tzinfo=UTC)
    return moment.strftime("%a %b %d %H:%M:%S UTC %Y")
