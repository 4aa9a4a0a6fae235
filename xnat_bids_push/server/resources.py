"""Resources: created, listed, shown as catalogs, deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from . import finding, records, rights, views
from .items import Item
from .populate import escaped
from .records import Experiment, Owner, Project, Resource, Scan, Subject
from .rights import Rights
from .tables import table
from .web import FORBIDDEN, Answer, Call, empty, not_found, refuse

COLUMNS: Final = (
    "xnat_abstractresource_id",
    "label",
    "element_name",
    "category",
    "cat_id",
    "cat_desc",
    "file_count",
    "file_size",
    "tags",
    "content",
    "format",
)
NO_RIGHT: Final = "User account doesn't have permission to modify this session."


@dataclass(slots=True)
class Spot:
    """The objects that the address of resources or files means."""

    project: Project | None = None
    subject: Subject | None = None
    experiments: list[Experiment] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    in_session: bool = False
    in_scan: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether the address names a session or scan that the user cannot read or that is not there."""
        return (self.in_session and not self.experiments) or (self.in_scan and not self.scans)

    @property
    def owner(self) -> Owner:
        """The one object that it means."""
        if self.in_scan:
            return Owner(experiment=self.experiments[0].id, scan=self.scans[0].key)
        if self.in_session:
            return Owner(experiment=self.experiments[0].id)
        if self.subject is not None:
            return Owner(subject=self.subject.id)
        assert self.project is not None
        return Owner(project=self.project.id)


def find(
    call: Call,
    db: sqlite3.Connection,
    *,
    project: str | None = None,
    subject: str | None = None,
    experiment: str | None = None,
    scan: str | None = None,
) -> Spot:
    """What an address means. GET may mean several sessions and scans; everything else, HEAD too, exactly one."""
    reading = call.method == "GET" and not call.head
    spot = Spot(in_session=experiment is not None, in_scan=scan is not None)
    if project is not None:
        spot.project = finding.project(call, db, project)
        if spot.project is None:
            raise not_found("Unable to identify project")
    if subject is not None:
        spot.subject = finding.subject(call, db, spot.project, subject)
        if spot.subject is None:
            raise not_found("Unable to identify subject")
    if experiment is not None:
        spot.experiments = _experiments(call, db, spot.project, experiment)
        if len(spot.experiments) != 1 and not reading:
            what = "image session" if scan is not None else "experiment"
            raise not_found(f"Unable to identify {what}")
    if scan is not None and spot.experiments:
        spot.scans = finding.scans(db, spot.experiments, scan)
        if len(spot.scans) != 1 and not reading:
            raise not_found("Unable to identify scan")
    return spot


def _experiments(call: Call, db: sqlite3.Connection, within: Project | None, names: str) -> list[Experiment]:
    """The experiments of a comma list; without a project only IDs work."""
    found = [finding.experiment(call, db, within, name) for name in names.split(",")]
    experiments = list({one.id: one for one in found if one is not None}.values())
    if not experiments and "," in names:
        raise not_found()
    return experiments


def rights_at(call: Call, db: sqlite3.Connection, spot: Spot) -> Rights:
    """What the user may do with the files there; project files belong to those who manage the project."""
    if spot.in_session:
        return finding.rights_on(call, db, spot.experiments[0])
    if spot.subject is not None:
        return rights.on_subject(db, call.user, spot.subject)
    own = rights.in_project(db, call.user, spot.project)
    return Rights(own.see, own.manage, own.see, own.manage, own.manage, own.manage)


def resources_at(db: sqlite3.Connection, spot: Spot, *, everything: bool = False) -> list[Resource]:
    """The resources there; of a session, those of its scans only if everything is wanted."""
    if spot.in_scan:
        keys = {scan.key for scan in spot.scans}
        found = records.resources_of_experiments(db, [one.id for one in spot.experiments])
        return [one for one in found if one.scan in keys]
    if spot.in_session:
        found = records.resources_of_experiments(db, [one.id for one in spot.experiments])
        return found if everything else [one for one in found if one.scan is None]
    return records.resources_of(db, spot.owner)


def chosen(found: Sequence[Resource], name: str) -> list[Resource]:
    """The resources that a part of an address means: a comma list of labels or numbers."""
    wanted = {escaped(part) for part in name.split(",")}
    return [one for one in found if one.label in wanted or str(one.key) in wanted]


def put(call: Call, resource: str, **address: str) -> Answer:
    """Create a resource."""
    with call.site.database.write() as db:
        spot = find(call, db, **address)
        if not rights_at(call, db, spot).edit:
            raise refuse(403, NO_RIGHT)
        label = escaped(resource.split(",")[0])
        if label.isdigit():
            raise not_found()
        if chosen(resources_at(db, spot), label):
            raise refuse(409, "Specified resource already exists.")
        make(call, db, spot, label, explicit=True)
    return empty()


def make(call: Call, db: sqlite3.Connection, spot: Spot, label: str, *, explicit: bool = False) -> Resource:
    """A new resource with the attributes that the query gives.

    The first resource of a scan counts as its raw data, and its catalog is named after the scan if it was asked for.
    """
    owner = spot.owner
    item = Item("xnat:resourceCatalog", {"label": label})
    for name in ("format", "content", "description"):
        if call.query.get(name):
            item.fields[name] = call.query[name]
    if call.joined("tags"):
        item.fields["tags"] = call.joined("tags")
    if owner.scan is not None and not records.resources_of(db, owner):
        item.fields.setdefault("content", "RAW")
    stem = spot.scans[0].id if explicit and spot.in_scan else label
    return records.add_resource(db, owner, item, views.default_folder(db, owner, label), f"{stem}_catalog.xml")


def get(call: Call, resource: str, **address: str) -> Answer:
    """The catalog of a resource, always as XML."""
    with call.site.database.read() as db:
        spot = find(call, db, **address)
        found = [] if spot.is_lost else chosen(resources_at(db, spot), resource)
        if not found:
            raise not_found("Unable to find the specified catalog.")
        entries = records.entries_of(db, [found[0].key])[found[0].key]
    return Answer(200, _catalog(found[0], entries).encode(), "text/xml")


def no_path(call: Call, resource: str, rest: str, **address: str) -> Answer:
    """Nothing but files lies below a resource."""
    raise refuse(
        400,
        "This resource works at the catalog level only and does not accept file paths.  "
        "To work with the resource files, append '/files' after the resource ID.",
    )


def delete(call: Call, resource: str, **address: str) -> Answer:
    """Delete a resource with its files; it does not have to exist."""
    with call.site.database.read() as db:
        spot = find(call, db, **address)
        found = chosen(resources_at(db, spot), resource)
        if found and not rights_at(call, db, spot).delete:
            raise refuse(403, NO_RIGHT)
        folders = [views.resource_folder(call.site.files, db, one) for one in found]
    with call.site.files.removing(folders) as db:
        for one in found:
            records.drop_resource(db, one.key)
    return empty()


def listing(call: Call, **address: str) -> Answer:
    """The resources of an object."""
    everything = call.flag("all")
    with call.site.database.read() as db:
        spot = find(call, db, **address)
        if spot.is_lost:
            raise not_found()
        if not rights_at(call, db, spot).read:
            raise refuse(403, FORBIDDEN)
        found = resources_at(db, spot, everything=everything)
        scans = {scan.key: scan for scan in records.scans_of(db, [one.id for one in spot.experiments])}
    rows = [_row(one, scans, in_list=everything) for one in found]
    return table(call.format, COLUMNS, rows)


def _row(resource: Resource, scans: dict[int, Scan], *, in_list: bool) -> dict[str, str]:
    row = {
        "xnat_abstractresource_id": str(resource.key),
        "label": resource.label,
        "element_name": resource.type,
        "category": "resources",
        "cat_id": "",
        "cat_desc": " ",
        "file_count": "" if resource.file_count is None else str(resource.file_count),
        "file_size": "" if resource.file_size is None else str(resource.file_size),
        "tags": resource.tags or "",
        "content": resource.content or "",
        "format": resource.format or "",
    }
    if resource.scan is not None:
        scan = scans[resource.scan]
        row |= {"category": "scans", "cat_id": scan.id, "cat_desc": scan.kind}
    elif in_list and resource.experiment is not None:
        row["cat_desc"] = ""
    elif resource.experiment is not None:
        row["cat_id"] = resource.experiment
    return row


def _catalog(resource: Resource, entries: Sequence[records.Entry]) -> str:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<cat:Catalog'
        f" ID={quoteattr(str(resource.key))} name={quoteattr(resource.label)}"
        ' xmlns:cat="http://nrg.wustl.edu/catalog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
    ]
    if entries:
        lines.append("<cat:entries>\n")
        lines += [_entry(entry) for entry in entries]
        lines.append("</cat:entries>\n")
    lines.append("</cat:Catalog>\n")
    return "".join(lines)


def _entry(entry: records.Entry) -> str:
    if not entry.tags:
        return f"<cat:entry{_attributes(entry)}/>\n"
    tags = "".join(f"<cat:tag>{escape(tag)}</cat:tag>" for tag in entry.tags.split(","))
    return f"<cat:entry{_attributes(entry)}>\n<cat:tags>\n{tags}\n</cat:tags>\n</cat:entry>\n"


def _attributes(entry: records.Entry) -> str:
    values = (
        ("URI", entry.uri),
        ("ID", entry.id),
        ("name", entry.name),
        ("digest", entry.digest),
        ("size", None if entry.size is None else str(entry.size)),
        ("format", entry.format),
        ("content", entry.content),
        ("description", entry.description),
    )
    return "".join(f" {name}={quoteattr(value)}" for name, value in values if value)
