"""The database: a pool of SQLite connections, reading in snapshots and writing one transaction at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_BUSY_SECONDS: Final = 60.0

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user (
    login TEXT PRIMARY KEY, password TEXT NOT NULL, firstname TEXT NOT NULL, lastname TEXT NOT NULL,
    email TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 1, admin INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0, locked_until REAL NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS token (
    alias TEXT PRIMARY KEY, secret TEXT NOT NULL, login TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS project (
    id TEXT PRIMARY KEY, fields TEXT NOT NULL, accessibility TEXT NOT NULL, inserted TEXT NOT NULL,
    inserter TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS burnt (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS role (
    project TEXT NOT NULL, login TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (project, login)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS role_login ON role (login);
CREATE TABLE IF NOT EXISTS subject (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, label TEXT NOT NULL, fields TEXT NOT NULL, inserted TEXT NOT NULL,
    inserter TEXT NOT NULL, UNIQUE (project, label)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS experiment (
    id TEXT PRIMARY KEY, project TEXT NOT NULL, label TEXT NOT NULL, subject TEXT NOT NULL, type TEXT NOT NULL,
    fields TEXT NOT NULL, inserted TEXT NOT NULL, inserter TEXT NOT NULL, UNIQUE (project, label)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS experiment_subject ON experiment (subject);
CREATE TABLE IF NOT EXISTS share (
    kind TEXT NOT NULL, id TEXT NOT NULL, project TEXT NOT NULL, label TEXT NOT NULL,
    PRIMARY KEY (kind, id, project)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS share_project ON share (kind, project, label);
CREATE TABLE IF NOT EXISTS scan (
    key INTEGER PRIMARY KEY AUTOINCREMENT, experiment TEXT NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    fields TEXT NOT NULL, inserted TEXT NOT NULL, inserter TEXT NOT NULL, UNIQUE (experiment, id));
CREATE TABLE IF NOT EXISTS resource (
    key INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT, subject TEXT, experiment TEXT, scan INTEGER,
    label TEXT NOT NULL, type TEXT NOT NULL, folder TEXT NOT NULL, catalog TEXT NOT NULL, format TEXT, content TEXT,
    tags TEXT, description TEXT, file_count INTEGER, file_size INTEGER, modified INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS resource_project ON resource (project) WHERE project IS NOT NULL;
CREATE INDEX IF NOT EXISTS resource_subject ON resource (subject) WHERE subject IS NOT NULL;
CREATE INDEX IF NOT EXISTS resource_experiment ON resource (experiment) WHERE experiment IS NOT NULL;
CREATE TABLE IF NOT EXISTS entry (
    resource INTEGER NOT NULL, uri TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, size INTEGER, digest TEXT,
    format TEXT, content TEXT, tags TEXT, description TEXT, PRIMARY KEY (resource, uri)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, intent TEXT NOT NULL);
"""


class Database:
    """One SQLite file in WAL mode; several processes may open it at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._closed = False
        with self.write() as db:
            for statement in _TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one consistent moment."""
        with self._borrow() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that excludes every other writer, in this process and in others."""
        with self._borrow() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def close(self) -> None:
        """Close all connections."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    @contextmanager
    def _borrow(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            db = self._idle.pop() if self._idle else None
        db = db or self._connect()
        try:
            yield db
        except sqlite3.Error:
            # A connection that failed is not used again.
            db.close()
            raise
        except BaseException:
            self._give_back(db)
            raise
        self._give_back(db)

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._guard:
            if not self._closed:
                self._idle.append(db)
                return
        db.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA cache_size=-16000")
        except sqlite3.Error:  # a damaged file
            db.close()
            raise
        return db
