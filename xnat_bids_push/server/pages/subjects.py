"""Pages about a subject."""

from __future__ import annotations

import sqlite3

from xnat_bids_push.server import finding, records
from xnat_bids_push.server.records import Owner, Project, Subject
from xnat_bids_push.server.web import Call

from . import listed, places, projects
from .facts import facts
from .holdings import holdings
from .places import Place
from .rendering import Missing, Page


def subject(call: Call, project: str, subject: str) -> Page:
    """A subject with its sessions and resources."""
    with call.site.database.read() as db:
        within, found = _find(call, db, project, subject)
        place, name = _place(db, within, found)
        own = records.resources_of(db, Owner(subject=found.id))
        rows, paging = listed.sessions(call, db, within, found.id)
        values: dict[str, object] = {
            "id": found.id,
            "facts": facts(found.item),
            "rows": rows,
            "paging": paging,
            "holdings": holdings(db, place, own),
        }
    return Page("subject.html", name, _trail(within), values)


def resource(call: Call, project: str, subject: str, resource: str) -> Page:
    """A resource of a subject."""
    with call.site.database.read() as db:
        within, found = _find(call, db, project, subject)
        place, name = _place(db, within, found)
        chosen = projects.pick(records.resources_of(db, Owner(subject=found.id)), resource)
        return projects.resource_page(call, db, chosen, place, (*_trail(within), (name, place.page)))


def _find(call: Call, db: sqlite3.Connection, project: str, name: str) -> tuple[Project, Subject]:
    within = projects.find(call, db, project)
    found = finding.subject(call, db, within, name)
    if found is None:
        raise Missing
    return within, found


def _place(db: sqlite3.Connection, within: Project, found: Subject) -> tuple[Place, str]:
    handle, name = listed.subject_names(db, within.id, found.id) or (found.id, found.label)
    return places.of_subject(within.id, handle), name


def _trail(within: Project) -> tuple[tuple[str, str], ...]:
    page = places.of_project(within.id).page
    return (projects.HOME, (projects.name_of(within), page), ("Subjects", f"{page}/subjects"))
