"""Rights: what a user may do in a project, and with data that other projects share."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from . import records
from .accounts import User
from .records import Experiment, Project, Subject

ROLES: Final = {"Owners": "owner", "Members": "member", "Collaborators": "collaborator"}
"""The roles as XNAT displays them, and the endings of their group names."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights on a project itself (its page and resources) and on the subjects and experiments in it."""

    see: bool = False
    manage: bool = False
    read: bool = False
    create: bool = False
    edit: bool = False
    delete: bool = False


ALL: Final = Rights(True, True, True, True, True, True)
NONE: Final = Rights()
_BY_ROLE: Final = {
    "Owners": ALL,
    "Members": Rights(see=True, read=True, create=True, edit=True),
    "Collaborators": Rights(see=True, read=True),
}
_BY_ACCESSIBILITY: Final = {"public": Rights(see=True, read=True), "protected": Rights(see=True)}


def role_of(db: sqlite3.Connection, user: User, project: str) -> str | None:
    """The role of a user in a project."""
    row = db.execute("SELECT role FROM role WHERE project = ? AND login = ?", (project, user.login)).fetchone()
    return str(row[0]) if row else None


def in_project(db: sqlite3.Connection, user: User, project: Project | None) -> Rights:
    """What a user may do in a project."""
    if project is None or user.guest:
        return NONE
    if user.admin:
        return ALL
    role = role_of(db, user, project.id)
    return _BY_ROLE[role] if role else _BY_ACCESSIBILITY.get(project.accessibility, NONE)


def on_subject(db: sqlite3.Connection, user: User, subject: Subject) -> Rights:
    """What a user may do with a subject, in its own project or as a reader of one that it is shared into."""
    own = in_project(db, user, records.project_by_id(db, subject.project))
    return own if own.read else _as_reader(db, user, own, "subject", subject.id)


def on_experiment(db: sqlite3.Connection, user: User, experiment: Experiment, registered: frozenset[str]) -> Rights:
    """What a user may do with an experiment.

    Types that are not registered pass every check of a real XNAT, even for strangers. Here they pass for those who have
    a role in the project.
    """
    own = in_project(db, user, records.project_by_id(db, experiment.project))
    if experiment.type not in registered and (user.admin or role_of(db, user, experiment.project)):
        return ALL
    return own if own.read else _as_reader(db, user, own, "experiment", experiment.id)


def _as_reader(db: sqlite3.Connection, user: User, own: Rights, kind: str, key: str) -> Rights:
    for row in db.execute("SELECT project FROM share WHERE kind = ? AND id = ?", (kind, key)):
        if in_project(db, user, records.project_by_id(db, row[0])).read:
            return Rights(see=own.see, read=True)
    return own
