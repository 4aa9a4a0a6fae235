"""Records: what the database holds about projects, subjects, experiments, scans and resources."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from . import items
from .items import Item

Database = sqlite3.Connection

SITE_ID: Final = "XNAT"

_Key = TypeVar("_Key", str, int)


@dataclass(frozen=True, slots=True)
class Project:
    """A project."""

    id: str
    item: Item
    accessibility: str
    inserted: str
    inserter: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of a project."""

    id: str
    project: str
    label: str
    item: Item
    inserted: str
    inserter: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment, usually an imaging session."""

    id: str
    project: str
    label: str
    subject: str
    type: str
    item: Item
    inserted: str
    inserter: str


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of a session; its key is unique over the whole archive."""

    key: int
    experiment: str
    id: str
    type: str
    item: Item
    inserted: str

    @property
    def kind(self) -> str:
        """What users call the type of a scan, for example ``T1w``."""
        return self.item.text("type") or ""


@dataclass(frozen=True, slots=True)
class Resource:
    """A named folder of files at one of four levels; its folder is relative to the folder of its owner."""

    key: int
    project: str | None
    subject: str | None
    experiment: str | None
    scan: int | None
    label: str
    type: str
    folder: str
    catalog: str
    format: str | None
    content: str | None
    tags: str | None
    description: str | None
    file_count: int | None
    file_size: int | None
    modified: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a resource, as its catalog lists it."""

    resource: int
    uri: str
    name: str
    id: str
    size: int | None = None
    digest: str | None = None
    format: str | None = None
    content: str | None = None
    tags: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """What a resource belongs to: exactly one level, named by its keys."""

    project: str | None = None
    subject: str | None = None
    experiment: str | None = None
    scan: int | None = None


def now() -> str:
    """This moment as listings write it."""
    moment = datetime.now(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000}"


def next_number(db: Database, counter: str) -> int:
    """The next number of a series, never used before."""
    row = db.execute(
        "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        (counter,),
    ).fetchone()
    return int(row[0])


def new_id(db: Database, letter: str) -> str:
    """A new accession number, ``S`` for subjects and ``E`` for experiments."""
    return f"{SITE_ID}_{letter}{next_number(db, letter):05}"


# Projects


def project_by_id(db: Database, name: str) -> Project | None:
    """The project with this ID or alias."""
    row = db.execute("SELECT * FROM project WHERE id = ?", (name,)).fetchone()
    if row is not None:
        return _project(row)
    # Aliases are rare: only projects that have any are looked at.
    rows = db.execute("SELECT * FROM project WHERE fields LIKE '%\"aliases/alias\"%'").fetchall()
    return next((found for found in map(_project, rows) if name in aliases(found.item)), None)


def aliases(item: Item) -> tuple[str, ...]:
    """The further names of a project."""
    return tuple(str(one.fields["alias"]) for one in item.children.get("aliases/alias", ()) if "alias" in one.fields)


def all_projects(db: Database) -> list[Project]:
    """Every project, by ID."""
    return [_project(row) for row in db.execute("SELECT * FROM project ORDER BY id")]


def save_project(db: Database, project: Project) -> None:
    """Store a new or changed project."""
    db.execute(
        "INSERT OR REPLACE INTO project VALUES (?, ?, ?, ?, ?)",
        (project.id, items.dump(project.item), project.accessibility, project.inserted, project.inserter),
    )


def _project(row: sqlite3.Row) -> Project:
    return Project(row["id"], items.load(row["fields"]), row["accessibility"], row["inserted"], row["inserter"])


# Subjects


def subject_by_id(db: Database, subject_id: str) -> Subject | None:
    """The subject with this accession number."""
    row = db.execute("SELECT * FROM subject WHERE id = ?", (subject_id,)).fetchone()
    return _subject(row) if row else None


def subject_by_label(db: Database, project: str, label: str) -> Subject | None:
    """The subject that a project, its own or one it is shared into, calls so."""
    row = db.execute("SELECT * FROM subject WHERE project = ? AND label = ?", (project, label)).fetchone()
    if row is None:
        row = db.execute(
            "SELECT s.* FROM share h JOIN subject s ON s.id = h.id "
            "WHERE h.kind = 'subject' AND h.project = ? AND h.label = ?",
            (project, label),
        ).fetchone()
    return _subject(row) if row else None


def subjects_of(db: Database, project: str) -> list[tuple[Subject, str]]:
    """The subjects that a project shows, with the labels it shows them under."""
    own = db.execute("SELECT * FROM subject WHERE project = ? ORDER BY id", (project,)).fetchall()
    shared = db.execute(
        "SELECT s.*, h.label AS shown FROM share h JOIN subject s ON s.id = h.id "
        "WHERE h.kind = 'subject' AND h.project = ? ORDER BY s.id",
        (project,),
    ).fetchall()
    return [(_subject(row), row["label"]) for row in own] + [
        (_subject(row), row["shown"] or row["label"]) for row in shared
    ]


def save_subject(db: Database, subject: Subject) -> None:
    """Store a new or changed subject."""
    db.execute(
        "INSERT INTO subject VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET project = excluded.project, "
        "label = excluded.label, fields = excluded.fields",
        (subject.id, subject.project, subject.label, items.dump(subject.item), subject.inserted, subject.inserter),
    )


def _subject(row: sqlite3.Row) -> Subject:
    item = items.load(row["fields"])
    return Subject(row["id"], row["project"], row["label"], item, row["inserted"], row["inserter"])


# Experiments


def experiment_by_id(db: Database, experiment_id: str) -> Experiment | None:
    """The experiment with this accession number."""
    row = db.execute("SELECT * FROM experiment WHERE id = ?", (experiment_id,)).fetchone()
    return _experiment(row) if row else None


def experiment_by_label(db: Database, project: str, label: str) -> Experiment | None:
    """The experiment that a project, its own or one it is shared into, calls so."""
    row = db.execute("SELECT * FROM experiment WHERE project = ? AND label = ?", (project, label)).fetchone()
    if row is None:
        row = db.execute(
            "SELECT e.* FROM share h JOIN experiment e ON e.id = h.id "
            "WHERE h.kind = 'experiment' AND h.project = ? AND h.label = ?",
            (project, label),
        ).fetchone()
    return _experiment(row) if row else None


def experiments_of(db: Database, project: str) -> list[tuple[Experiment, str]]:
    """The experiments that a project shows, with the labels it shows them under."""
    own = db.execute("SELECT * FROM experiment WHERE project = ? ORDER BY id", (project,)).fetchall()
    shared = db.execute(
        "SELECT e.*, h.label AS shown FROM share h JOIN experiment e ON e.id = h.id "
        "WHERE h.kind = 'experiment' AND h.project = ? ORDER BY e.id",
        (project,),
    ).fetchall()
    return [(_experiment(row), row["label"]) for row in own] + [
        (_experiment(row), row["shown"] or row["label"]) for row in shared
    ]


def experiments_of_subject(db: Database, subject: str) -> list[Experiment]:
    """All experiments of a subject."""
    rows = db.execute("SELECT * FROM experiment WHERE subject = ? ORDER BY id", (subject,))
    return [_experiment(row) for row in rows]


def save_experiment(db: Database, experiment: Experiment) -> None:
    """Store a new or changed experiment."""
    db.execute(
        "INSERT INTO experiment VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "project = excluded.project, label = excluded.label, subject = excluded.subject, fields = excluded.fields",
        (
            experiment.id,
            experiment.project,
            experiment.label,
            experiment.subject,
            experiment.type,
            items.dump(experiment.item),
            experiment.inserted,
            experiment.inserter,
        ),
    )


def _experiment(row: sqlite3.Row) -> Experiment:
    return Experiment(
        row["id"],
        row["project"],
        row["label"],
        row["subject"],
        row["type"],
        items.load(row["fields"]),
        row["inserted"],
        row["inserter"],
    )


# Scans


def scans_of(db: Database, experiments: Sequence[str]) -> list[Scan]:
    """The scans of some sessions, in the order in which they were made."""
    found: list[Scan] = []
    for some in _portions(experiments):
        rows = db.execute(_in("SELECT * FROM scan WHERE experiment IN (?) ORDER BY key", some), some)
        found += map(_scan, rows)
    return found


def scan_by_id(db: Database, experiment: str, scan_id: str) -> Scan | None:
    """The scan of a session with this ID."""
    row = db.execute("SELECT * FROM scan WHERE experiment = ? AND id = ?", (experiment, scan_id)).fetchone()
    return _scan(row) if row else None


def save_scan(db: Database, experiment: str, item: Item, inserter: str) -> None:
    """Store a new or changed scan under the ID that the item carries."""
    db.execute(
        "INSERT INTO scan (experiment, id, type, fields, inserted, inserter) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (experiment, id) DO UPDATE SET fields = excluded.fields",
        (experiment, item.text("ID"), item.type, items.dump(item), now(), inserter),
    )


def _scan(row: sqlite3.Row) -> Scan:
    item = items.load(row["fields"])
    return Scan(row["key"], row["experiment"], row["id"], row["type"], item, row["inserted"])


# Resources and their entries


def resources_of(db: Database, owner: Owner) -> list[Resource]:
    """The resources of one owner, without those of its scans."""
    if owner.scan is not None:
        sql, keys = (
            "SELECT * FROM resource WHERE experiment = ? AND scan = ? ORDER BY key",
            [owner.experiment, owner.scan],
        )
    elif owner.experiment is not None:
        sql, keys = "SELECT * FROM resource WHERE experiment = ? AND scan IS NULL ORDER BY key", [owner.experiment]
    elif owner.subject is not None:
        sql, keys = "SELECT * FROM resource WHERE subject = ? ORDER BY key", [owner.subject]
    else:
        sql, keys = "SELECT * FROM resource WHERE project = ? ORDER BY key", [owner.project]
    return [_resource(row) for row in db.execute(sql, keys)]


def resources_of_experiments(db: Database, experiments: Sequence[str]) -> list[Resource]:
    """All resources of some experiments, those of their scans included."""
    found: list[Resource] = []
    for some in _portions(experiments):
        rows = db.execute(_in("SELECT * FROM resource WHERE experiment IN (?) ORDER BY key", some), some)
        found += map(_resource, rows)
    return found


def resource_by_key(db: Database, key: int) -> Resource | None:
    """The resource with this number."""
    row = db.execute("SELECT * FROM resource WHERE key = ?", (key,)).fetchone()
    return _resource(row) if row else None


def add_resource(db: Database, owner: Owner, item: Item, folder: str, catalog: str) -> Resource:
    """A new, empty resource."""
    row = db.execute(
        "INSERT INTO resource (project, subject, experiment, scan, label, type, folder, catalog, format, content, "
        "tags, description, modified) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) RETURNING *",
        (
            owner.project,
            owner.subject,
            owner.experiment,
            owner.scan,
            item.text("label"),
            item.type,
            folder,
            catalog,
            item.text("format"),
            item.text("content"),
            item.text("tags"),
            item.text("description"),
        ),
    ).fetchone()
    return _resource(row)


def _resource(row: sqlite3.Row) -> Resource:
    return Resource(*row)


def entries_of(db: Database, resources: Iterable[int]) -> dict[int, list[Entry]]:
    """The entries of some resources, by resource."""
    keys = list(resources)
    found: dict[int, list[Entry]] = {key: [] for key in keys}
    for some in _portions(keys):
        for row in db.execute(_in("SELECT * FROM entry WHERE resource IN (?) ORDER BY resource, uri", some), some):
            found[row[0]].append(Entry(*row))
    return found


def save_entry(db: Database, entry: Entry) -> None:
    """List a file, or replace what is listed of it."""
    db.execute(
        "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.resource,
            entry.uri,
            entry.name,
            entry.id,
            entry.size,
            entry.digest,
            entry.format,
            entry.content,
            entry.tags,
            entry.description,
        ),
    )


def count_files(db: Database, resource: int, *, only_present: bool = False) -> None:
    """Bring the counts of a resource up to date with its entries, perhaps only those whose file was there."""
    db.execute(
        "UPDATE resource SET (file_count, file_size) = (SELECT CASE WHEN ? THEN count(size) ELSE count(*) END, "
        "coalesce(sum(size), 0) FROM entry WHERE resource = ?) WHERE key = ?",
        (only_present, resource, resource),
    )


def touch(db: Database, resource: int) -> None:
    """Note that a catalog has changed."""
    db.execute("UPDATE resource SET modified = ? WHERE key = ?", (next_number(db, "change"), resource))


def last_change(db: Database) -> int:
    """The number of the latest change of any catalog."""
    row = db.execute("SELECT value FROM counter WHERE name = 'change'").fetchone()
    return int(row[0]) if row else 0


def drop_resource(db: Database, resource: int) -> None:
    """Forget a resource and its entries."""
    db.execute("DELETE FROM entry WHERE resource = ?", (resource,))
    db.execute("DELETE FROM resource WHERE key = ?", (resource,))


def _portions(keys: Sequence[_Key], size: int = 500) -> Iterable[Sequence[_Key]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _in(sql: str, keys: Sequence[str | int]) -> str:
    """A statement with one question mark for each key of its list."""
    return sql.replace("(?)", f"({','.join('?' * len(keys))})")
