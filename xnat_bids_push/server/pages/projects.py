"""Pages about projects: all of them, and the sessions, subjects and files of one."""

from __future__ import annotations

import sqlite3
from typing import Final

from xnat_bids_push.server import finding, records, resources, rights
from xnat_bids_push.server.records import Project, Resource
from xnat_bids_push.server.resources import Spot
from xnat_bids_push.server.web import Call

from . import listed, places
from .facts import facts, text
from .holdings import holding, holdings, total_of
from .paging import asked
from .rendering import Missing, Page

HOME: Final = ("Projects", "/app/")


def every(call: Call) -> Page:
    """The projects that the user sees."""
    with call.site.database.read() as db:
        seen = [one for one in records.all_projects(db) if rights.in_project(db, call.user, one).see]
        paging = asked(call, len(seen))
        rows = [_row(call, db, one) for one in seen[paging.offset : paging.last]]
    return Page("projects.html", "Projects", values={"rows": rows, "paging": paging})


def sessions(call: Call, project: str) -> Page:
    """A project with its sessions."""
    with call.site.database.read() as db:
        found = find(call, db, project)
        page = _page(call, db, found, "sessions.html", "Sessions")
        if page.values["readable"]:
            page.values["rows"], page.values["paging"] = listed.sessions(call, db, found)
    return page


def subjects(call: Call, project: str) -> Page:
    """A project with its subjects."""
    with call.site.database.read() as db:
        found = find(call, db, project)
        page = _page(call, db, found, "subjects.html", "Subjects")
        if page.values["readable"]:
            page.values["rows"], page.values["paging"] = listed.subjects(call, db, found)
    return page


def files(call: Call, project: str) -> Page:
    """A project with its own resources."""
    with call.site.database.read() as db:
        found = find(call, db, project)
        page = _page(call, db, found, "files.html", "Files")
        page.values["holdings"] = holdings(db, places.of_project(found.id), _resources(call, db, found))
    return page


def resource(call: Call, project: str, resource: str) -> Page:
    """A resource of a project."""
    with call.site.database.read() as db:
        found = find(call, db, project)
        chosen = pick(_resources(call, db, found), resource)
        place = places.of_project(found.id)
        trail = (HOME, (name_of(found), place.page), ("Files", f"{place.page}/resources"))
        return resource_page(call, db, chosen, place, trail)


def find(call: Call, db: sqlite3.Connection, name: str) -> Project:
    """The project, if the user sees it."""
    found = finding.project(call, db, name)
    if found is None:
        raise Missing
    return found


def name_of(project: Project) -> str:
    """What people call a project."""
    return text(project.item, "name") or project.id


def pick(found: list[Resource], number: str) -> Resource:
    """The resource with this number."""
    chosen = next((one for one in found if str(one.key) == number), None)
    if chosen is None:
        raise Missing
    return chosen


def resource_page(
    call: Call, db: sqlite3.Connection, chosen: Resource, place: places.Place, trail: tuple[tuple[str, str], ...]
) -> Page:
    """A page with all files of a resource."""
    paging = asked(call, total_of(db, chosen).count)
    shown = holding(db, place, chosen, paging)
    return Page("resource.html", shown.label, trail, {"holding": shown, "paging": paging})


def _resources(call: Call, db: sqlite3.Connection, project: Project) -> list[Resource]:
    spot = Spot(project=project)
    return resources.resources_at(db, spot) if resources.rights_at(call, db, spot).read else []


def _page(call: Call, db: sqlite3.Connection, project: Project, template: str, part: str) -> Page:
    values: dict[str, object] = {
        "project": project.id,
        "place": places.of_project(project.id),
        "part": part,
        "accessibility": project.accessibility,
        "role": rights.role_of(db, call.user, project.id),
        "facts": [one for one in facts(project.item, "name") if one.value != project.id],
        "readable": rights.in_project(db, call.user, project).read,
    }
    title = name_of(project)
    return Page(template, title if part == "Sessions" else f"{part} of {title}", (HOME,), values)


def _row(call: Call, db: sqlite3.Connection, project: Project) -> dict[str, object]:
    readable = rights.in_project(db, call.user, project).read
    subjects, sessions = listed.counts(call, db, project) if readable else (None, None)
    return {
        "id": project.id,
        "name": name_of(project),
        "page": places.of_project(project.id).page,
        "description": text(project.item, "description"),
        "accessibility": project.accessibility,
        "subjects": subjects,
        "sessions": sessions,
    }
