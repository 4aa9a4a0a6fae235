"""Files: where they lie, and how they change without a moment at which the archive would be wrong.

A change of files and the change of the database that belongs to it are one step for every other reader. What should
happen is first written to a journal, then files are renamed inside the write transaction. After a crash the next start
reads the journal of the dead process: placements are completed, removals and moves are taken back.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from . import records
from .database import Database
from .records import Entry

_FLUSHERS: Final = 8
LONGEST_NAME: Final = 255
"""A single name may have this many bytes, as on every common file system."""


class UnsafePath(ValueError):
    """A name that would lead outside of its folder, or that no file system can hold."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A received file and where it belongs."""

    staged: Path
    target: Path
    entry: Entry
    overwrite: bool


class Files:
    """The folder of an archive; each process that opens it works in a staging folder of its own."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.archive = root / "archive"
        self._database = database
        self._id = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._staging = root / "staging" / self._id
        self.archive.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(parents=True)
        self._lock = self._announce_life()
        self._recover_all()

    def close(self) -> None:
        """Leave the folder."""
        shutil.rmtree(self._staging, ignore_errors=True)
        (self.root / "staging" / f"{self._id}.lock").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def _announce_life(self) -> IO[bytes] | None:
        """A locked file that tells other processes that this one lives; it gets its name when it is locked already."""
        path = self.root / "staging" / f"{self._id}.starting"
        lock = _locked(path)
        path.replace(path.with_suffix(".lock"))
        return lock

    # Layout

    def project_folder(self, project: str) -> Path:
        """Where a project keeps its files."""
        return self.archive / plain_name(project)

    def subject_folder(self, project: str, label: str) -> Path:
        """Where a subject's resources lie."""
        return self.project_folder(project) / "subjects" / plain_name(label)

    def session_folder(self, project: str, label: str) -> Path:
        """Where a session lies."""
        return self.project_folder(project) / "arc001" / plain_name(label)

    # Changes

    def stage(self) -> Path:
        """A new path for a file or folder that is being received."""
        return self._staging / str(next(self._numbers))

    def place(self, placements: Sequence[Placement]) -> int:
        """Announce that files will be put into place; gives the number of the intent."""
        return self._announce(
            {
                "kind": "place",
                "files": [[str(p.staged), self._relative(p.target), asdict(p.entry), p.overwrite] for p in placements],
            }
        )

    def discard(self, targets: Iterable[Path]) -> int:
        """Announce that new files will appear, which are to vanish if the database does not come to list them."""
        return self._announce({"kind": "discard", "files": [self._relative(target) for target in targets]})

    def restore(self, moves: Sequence[tuple[Path, Path]]) -> int:
        """Announce moves (from, to) that are to be taken back if the database does not follow."""
        return self._announce({"kind": "restore", "files": [[str(a), str(b)] for a, b in moves]})

    @staticmethod
    def done(db: sqlite3.Connection, intent: int) -> None:
        """Cross out an intent, in the transaction that fulfils it."""
        db.execute("DELETE FROM journal WHERE id = ?", (intent,))

    @contextmanager
    def removing(self, paths: Sequence[Path]) -> Iterator[sqlite3.Connection]:
        """A write transaction in which these files and folders vanish; they come back if it fails."""
        moves = [(path, self.stage()) for path in paths]
        with self.moving(moves) as db:
            yield db
        for _, trash in moves:
            remove(trash)

    @contextmanager
    def moving(self, moves: Sequence[tuple[Path, Path]]) -> Iterator[sqlite3.Connection]:
        """A write transaction in which files and folders move; those that do not exist are left out."""
        intent = self.restore(moves)
        made: list[tuple[Path, Path]] = []
        try:
            with self._database.write() as db:
                for source, target in moves:
                    if os.path.lexists(source):
                        target.parent.mkdir(parents=True, exist_ok=True)
                        made.append((source, target))
                        move(source, target)
                yield db
                self.done(db, intent)
        except BaseException:
            for source, target in reversed(made):
                move(target, source)
            with self._database.write() as db:
                self.done(db, intent)
            raise
        for source, _ in made:
            _drop_empty_folders(source.parent, self.archive)

    # Recovery

    def _announce(self, intent: dict[str, object]) -> int:
        with self._database.write() as db:
            row = db.execute(
                "INSERT INTO journal (owner, intent) VALUES (?, ?) RETURNING id", (self._id, json.dumps(intent))
            ).fetchone()
        return int(row[0])

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _recover_all(self) -> None:
        for path in (self.root / "staging").glob("*.lock"):
            if path.stem == self._id:
                continue
            lock = _locked(path)
            if lock is None:
                continue
            with lock:
                self._recover(path.stem)
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink(missing_ok=True)

    def _recover(self, owner: str) -> None:
        with self._database.write() as db:
            rows = db.execute("SELECT id, intent FROM journal WHERE owner = ? ORDER BY id DESC", (owner,)).fetchall()
            for number, text in rows:
                intent = json.loads(text)
                if intent["kind"] == "place":
                    self._complete(db, intent["files"])
                elif intent["kind"] == "discard":
                    self._drop_unlisted(db, intent["files"])
                else:
                    _take_back(intent["files"])
                self.done(db, number)

    def _complete(self, db: sqlite3.Connection, files: list[list[object]]) -> None:
        """Finish a placement of which at least one file got to its place."""
        staged = {str(name): Path(str(name)).exists() for name, *_ in files}
        if all(staged.values()):
            return
        for name, target_name, packed, overwrite in files:
            assert isinstance(packed, dict)
            entry, target = Entry(**packed), self.root / str(target_name)
            if records.resource_by_key(db, entry.resource) is None:
                continue
            if staged[str(name)]:
                if target.exists() and not overwrite:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(str(name)).replace(target)
            records.save_entry(db, entry)
            records.count_files(db, entry.resource)

    def _drop_unlisted(self, db: sqlite3.Connection, files: list[str]) -> None:
        for name in files:
            path = self.root / name
            if path.is_file() and not self._is_listed(db, path):
                path.unlink()
                _drop_empty_folders(path.parent, self.archive)

    def _is_listed(self, db: sqlite3.Connection, path: Path) -> bool:
        project, _, label, *_ = path.relative_to(self.archive).parts
        return records.experiment_by_label(db, project, label) is not None


def plain_name(name: str) -> str:
    """A name that is safe as the name of one folder or file; UnsafePath otherwise."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise UnsafePath(ascii(name)) from error
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(encoded) > LONGEST_NAME:
        raise UnsafePath(name)
    return name


def inside(folder: Path, relative: str) -> Path:
    """A path below a folder; UnsafePath if it would leave it.

    >>> inside(Path("/a"), "b/./c.txt").as_posix()
    '/a/b/c.txt'
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if not parts or relative.startswith("/"):
        raise UnsafePath(relative)
    return folder.joinpath(*(plain_name(part) for part in parts))


def move(source: Path, target: Path) -> None:
    """Rename; into a folder that exists already, entry by entry, replacing what is there."""
    if target.is_dir() and source.is_dir() and not source.is_symlink():
        for child in list(source.iterdir()):
            move(child, target / child.name)
        source.rmdir()
    else:
        source.replace(target)


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(file: IO[bytes]) -> None:
    """See to it that the bytes of a file are on the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_all(folder: Path) -> None:
    """See to it that the files below a folder are on the disk; side by side, because a disk can join requests.

    The journals of common file systems take the names of a new file's folders along with it.
    """
    with ThreadPoolExecutor(_FLUSHERS) as pool:
        for _ in pool.map(flush_path, [path for path in folder.rglob("*") if path.is_file()]):
            pass


def flush_path(path: Path) -> None:
    """See to it that the bytes of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_back(moves: list[list[str]]) -> None:
    for source, target in reversed(moves):
        if os.path.lexists(target):
            Path(source).parent.mkdir(parents=True, exist_ok=True)
            move(Path(target), Path(source))


def _drop_empty_folders(folder: Path, stop: Path) -> None:
    with suppress(OSError):
        while folder != stop and stop in folder.parents:
            folder.rmdir()
            folder = folder.parent


def _locked(path: Path) -> IO[bytes] | None:
    """Open and lock a file; None if another process has it."""
    with suppress(OSError):
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file
    return None
