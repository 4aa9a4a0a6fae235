"""Pages about a session and its scans."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from xnat_bids_push.server import finding, records
from xnat_bids_push.server.records import Experiment, Project, Resource, Scan
from xnat_bids_push.server.web import Call

from . import listed, places, projects
from .facts import facts, text
from .holdings import Total, holdings, pictures, totals_of_scans
from .places import Place
from .rendering import Missing, Page

_COLUMNS = ("ID", "type", "series_description", "quality", "frames")


@dataclass(frozen=True, slots=True)
class Visit:
    """A session, seen from a project."""

    project: Project
    session: Experiment
    place: Place
    name: str
    resources: tuple[Resource, ...]
    subject: tuple[str, str] | None

    @property
    def trail(self) -> tuple[tuple[str, str], ...]:
        """The way to the session's page."""
        start = (projects.HOME, (projects.name_of(self.project), places.of_project(self.project.id).page))
        if self.subject is None:
            return start
        handle, name = self.subject
        return (*start, (name, places.of_subject(self.project.id, handle).page))

    def of(self, scan: int | None) -> list[Resource]:
        """The resources of one scan, or with None those of the session itself."""
        return [one for one in self.resources if one.scan == scan]


@dataclass(frozen=True, slots=True)
class ScanRow:
    """A scan in the table of its session."""

    id: str
    page: str
    kind: str
    series: str
    quality: str
    frames: str
    more: str
    total: Total
    archive: str
    picture: str


def session(call: Call, project: str, experiment: str) -> Page:
    """A session with its scans and resources."""
    with call.site.database.read() as db:
        visit = _visit(call, db, project, experiment)
        totals = totals_of_scans(db, visit.session.id)
        previews = pictures(db, Place("", f"{visit.place.data}/scans/ALL"), visit.session.id)
        scans = [_row(visit, one, totals, previews) for one in records.scans_of(db, [visit.session.id])]
        values: dict[str, object] = {
            "id": visit.session.id,
            "type": visit.session.type,
            "facts": facts(visit.session.item),
            "scans": scans,
            "whole": Total(sum(one.count for one in totals.values()), sum(one.size for one in totals.values())),
            "archive": f"{visit.place.data}/files?format=zip&all=true",
            "holdings": holdings(db, visit.place, visit.of(None)),
        }
    return Page("session.html", visit.name, visit.trail, values)


def scan(call: Call, project: str, experiment: str, scan: str) -> Page:
    """A scan with its previews and resources."""
    with call.site.database.read() as db:
        visit = _visit(call, db, project, experiment)
        found = records.scan_by_id(db, visit.session.id, scan)
        if found is None:
            raise Missing
        place = places.of_scan(visit.place, found.id)
        own = visit.of(found.key)
        previews = pictures(db, place, visit.session.id)
        values: dict[str, object] = {
            "type": found.type,
            "facts": facts(found.item),
            "pictures": [
                (name, previews[found.key, name]) for name in ("ORIGINAL", "THUMBNAIL") if (found.key, name) in previews
            ],
            "total": totals_of_scans(db, visit.session.id).get(found.key, Total()),
            "archive": place.archive(one.key for one in own),
            "holdings": holdings(db, Place(visit.place.page, place.data), own),
        }
    return Page("scan.html", f"Scan {found.id}", (*visit.trail, (visit.name, visit.place.page)), values)


def resource(call: Call, project: str, experiment: str, resource: str) -> Page:
    """A resource of a session or of one of its scans."""
    with call.site.database.read() as db:
        visit = _visit(call, db, project, experiment)
        chosen = projects.pick(list(visit.resources), resource)
        trail = (*visit.trail, (visit.name, visit.place.page))
        place = visit.place
        if chosen.scan is not None:
            found = next(one for one in records.scans_of(db, [visit.session.id]) if one.key == chosen.scan)
            of_scan = places.of_scan(place, found.id)
            trail = (*trail, (f"Scan {found.id}", of_scan.page))
            place = Place(place.page, of_scan.data)
        return projects.resource_page(call, db, chosen, place, trail)


def _visit(call: Call, db: sqlite3.Connection, project: str, name: str) -> Visit:
    within = projects.find(call, db, project)
    found = finding.experiment(call, db, within, name)
    if found is None:
        raise Missing
    place, shown = listed.session_place(db, within, found)
    held = tuple(records.resources_of_experiments(db, [found.id]))
    return Visit(within, found, place, shown, held, listed.subject_names(db, within.id, found.subject))


def _row(visit: Visit, scan: Scan, totals: dict[int | None, Total], previews: dict[tuple[int, str], str]) -> ScanRow:
    place = places.of_scan(visit.place, scan.id)
    return ScanRow(
        scan.id,
        place.page,
        text(scan.item, "type"),
        text(scan.item, "series_description"),
        text(scan.item, "quality"),
        text(scan.item, "frames"),
        " · ".join(f"{one.name} {' '.join(one.lines)}" for one in facts(scan.item, *_COLUMNS)),
        totals.get(scan.key, Total()),
        place.archive(one.key for one in visit.of(scan.key)),
        previews.get((scan.key, "THUMBNAIL")) or previews.get((scan.key, "ORIGINAL")) or "",
    )
