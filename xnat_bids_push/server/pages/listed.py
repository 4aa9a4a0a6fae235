"""Listed: the subjects and sessions that a project shows, one page at a time.

What a page does not show is not read: the database sorts and counts by its index, and only the rows of one page are
looked at more closely.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Final

from xnat_bids_push.server import items
from xnat_bids_push.server.records import Experiment, Project
from xnat_bids_push.server.web import Call

from . import places
from .facts import text
from .paging import Paging, asked, like
from .places import Place

_MEMBERS: Final = """
    SELECT id, label AS shown, label AS handle, {columns} FROM {kind} WHERE project = :project
    UNION ALL
    SELECT o.id, coalesce(nullif(h.label, ''), o.label), coalesce(nullif(h.label, ''), o.id), {shared}
    FROM share h JOIN {kind} o ON o.id = h.id WHERE h.kind = '{kind}' AND h.project = :project
"""
"""What a project shows; without a label of its own, a shared object is found by its ID only."""
_FOUND: Final = "SELECT * FROM ({members}) WHERE shown LIKE :find ESCAPE '\\'"
_SUBJECTS: Final = _FOUND.format(members=_MEMBERS.format(kind="subject", columns="project", shared="o.project"))
_SESSIONS: Final = (
    _FOUND  # noqa: S608 - put together from texts of this module
    + " AND type IN (SELECT value FROM json_each(:types)) AND (:subject IS NULL OR subject = :subject)"
).format(members=_MEMBERS.format(kind="experiment", columns="type, subject", shared="o.type, o.subject"))
"""Types that are not registered are in no list."""
_SESSION_PAGE: Final = f"""
    SELECT p.*, x.fields, (SELECT count(*) FROM scan WHERE experiment = p.id) AS scans
    FROM ({_SESSIONS} ORDER BY shown, id LIMIT :size OFFSET :offset) p JOIN experiment x ON x.id = p.id
    ORDER BY p.shown, p.id
"""  # noqa: S608 - put together from texts of this module
_SUBJECT_PAGE: Final = f"""
    SELECT p.*, s.fields, (
        SELECT count(*) FROM experiment x WHERE x.subject = p.id AND type IN (SELECT value FROM json_each(:types)) AND (
            x.project = :project OR EXISTS (
                SELECT 1 FROM share h WHERE h.kind = 'experiment' AND h.id = x.id AND h.project = :project))
    ) AS sessions
    FROM ({_SUBJECTS} ORDER BY shown, id LIMIT :size OFFSET :offset) p JOIN subject s ON s.id = p.id
    ORDER BY p.shown, p.id
"""  # noqa: S608 - put together from texts of this module


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session in a list."""

    label: str
    page: str
    type: str
    date: str
    scans: int
    subject: str
    subject_page: str


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A subject in a list."""

    label: str
    page: str
    group: str
    sessions: int


def sessions(
    call: Call, db: sqlite3.Connection, project: Project, subject: str | None = None
) -> tuple[list[SessionRow], Paging]:
    """The sessions of a project, or of one subject in it."""
    rows, paging = _listed(call, db, _SESSIONS, _SESSION_PAGE, _values(call, project.id) | {"subject": subject})
    names = {row["subject"]: subject_names(db, project.id, row["subject"]) for row in rows}
    return [_session(project.id, row, names[row["subject"]]) for row in rows], paging


def subjects(call: Call, db: sqlite3.Connection, project: Project) -> tuple[list[SubjectRow], Paging]:
    """The subjects of a project."""
    rows, paging = _listed(call, db, _SUBJECTS, _SUBJECT_PAGE, _values(call, project.id))
    return [_subject(project.id, row) for row in rows], paging


def counts(call: Call, db: sqlite3.Connection, project: Project) -> tuple[int, int]:
    """How many subjects and sessions a project shows."""
    values = _values(call, project.id) | {"find": "%", "subject": None}
    return _count(db, _SUBJECTS, values), _count(db, _SESSIONS, values)


def subject_names(db: sqlite3.Connection, project: str, subject: str) -> tuple[str, str] | None:
    """How a project calls a subject: the name in addresses and the one for people; None if it does not show it."""
    row = db.execute("SELECT label FROM subject WHERE id = ? AND project = ?", (subject, project)).fetchone()
    if row is not None:
        return row[0], row[0]
    row = db.execute(
        "SELECT h.label, s.label FROM share h JOIN subject s ON s.id = h.id "
        "WHERE h.kind = 'subject' AND h.id = ? AND h.project = ?",
        (subject, project),
    ).fetchone()
    return (row[0] or subject, row[0] or row[1]) if row else None


def session_place(db: sqlite3.Connection, project: Project, session: Experiment) -> tuple[Place, str]:
    """Where a session is, seen from a project, and how that project calls it."""
    data = f"/data/experiments/{session.id}"
    if session.project == project.id:
        row = db.execute(
            "SELECT label FROM subject WHERE id = ? AND project = ?", (session.subject, project.id)
        ).fetchone()
        if row is not None:
            # Archives are named as their address, and a label says more than a number.
            data = f"{places.of_subject(project.id, row[0]).data}/experiments/{session.label}"
        return places.of_session(project.id, session.label, data), session.label
    row = db.execute(
        "SELECT label FROM share WHERE kind = 'experiment' AND id = ? AND project = ?", (session.id, project.id)
    ).fetchone()
    label = row[0] if row else ""
    return places.of_session(project.id, label or session.id, data), label or session.label


def _values(call: Call, project: str) -> dict[str, object]:
    types = json.dumps(sorted(call.site.registered))
    return {"project": project, "find": like(call.get("find") or ""), "types": types}


def _listed(
    call: Call, db: sqlite3.Connection, everything: str, page: str, values: dict[str, object]
) -> tuple[list[sqlite3.Row], Paging]:
    paging = asked(call, _count(db, everything, values), call.get("find") or "")
    return db.execute(page, values | {"size": paging.size, "offset": paging.offset}).fetchall(), paging


def _count(db: sqlite3.Connection, everything: str, values: dict[str, object]) -> int:
    return int(db.execute(f"SELECT count(*) FROM ({everything})", values).fetchone()[0])  # noqa: S608


def _session(project: str, row: sqlite3.Row, subject: tuple[str, str] | None) -> SessionRow:
    page = places.of_session(project, row["handle"], "").page
    subject_page = places.of_subject(project, subject[0]).page if subject else ""
    date = text(items.load(row["fields"]), "date")
    return SessionRow(row["shown"], page, row["type"], date, row["scans"], subject[1] if subject else "", subject_page)


def _subject(project: str, row: sqlite3.Row) -> SubjectRow:
    page = places.of_subject(project, row["handle"]).page
    return SubjectRow(row["shown"], page, text(items.load(row["fields"]), "group"), row["sessions"])
