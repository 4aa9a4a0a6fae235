"""Finding: which objects a request's address means, among those that its sender may see."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from . import records, rights
from .records import Experiment, Project, Scan, Subject
from .rights import Rights
from .web import Call, plain_part

LABEL: Final = re.compile(r"[A-Za-z0-9_-]+")
"""What labels and IDs may consist of."""


def project(call: Call, db: sqlite3.Connection, name: str | None) -> Project | None:
    """The project, if the user sees it."""
    found = records.project_by_id(db, name) if name else None
    return found if rights.in_project(db, call.user, found).see else None


def subject(call: Call, db: sqlite3.Connection, within: Project | None, name: str) -> Subject | None:
    """The subject by its label in a project or by its ID, if the user may read it."""
    found = records.subject_by_label(db, within.id, name) if within else None
    if found is None:
        found = records.subject_by_id(db, name)
        if found is not None and within is not None and not shows(db, within, "subject", found.id, found.project):
            return None
    return found if found and rights.on_subject(db, call.user, found).read else None


def experiment(call: Call, db: sqlite3.Connection, within: Project | None, name: str) -> Experiment | None:
    """The experiment by its ID or, in a project, by its label, if the user may read it."""
    found = records.experiment_by_label(db, within.id, name) if within else None
    if found is None:
        found = records.experiment_by_id(db, name)
        if found is not None and within is not None and not shows(db, within, "experiment", found.id, found.project):
            return None
    return found if found and rights_on(call, db, found).read else None


def shows(db: sqlite3.Connection, within: Project, kind: str, key: str, owner: str) -> bool:
    """Whether a project owns an object or has it shared in."""
    if owner == within.id:
        return True
    row = db.execute("SELECT 1 FROM share WHERE kind = ? AND id = ? AND project = ?", (kind, key, within.id)).fetchone()
    return row is not None


def rights_on(call: Call, db: sqlite3.Connection, found: Experiment) -> Rights:
    """What the user may do with an experiment."""
    return rights.on_experiment(db, call.user, found, call.site.registered)


def scans(db: sqlite3.Connection, sessions: list[Experiment], name: str) -> list[Scan]:
    """The scans that a part of a resource address means: by ID or by type, a comma list, or all."""
    everything = records.scans_of(db, [session.id for session in sessions])
    name = plain_part(name).replace("[SLASH]", "/")
    if name in ("*", "ALL"):
        return everything
    wanted = {part.replace("[COMMA]", ",") for part in name.split(",")}
    return [scan for scan in everything if scan.id in wanted or (scan.kind or "NULL") in wanted]
