"""Watching a dataset that grows: what has come to rest is sent, again and again.

There is no file of what was sent: the archive tells, and so a watch that starts anew goes on where another one ended.
It looks at the folders from time to time, because network file systems tell nobody of their changes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from xnat_bids_push.dataset import Dataset, is_leftover
from xnat_bids_push.errors import AccessDenied, ArchiveError, DatasetError, Distressed, Unavailable
from xnat_bids_push.mapping import folder_of, spot
from xnat_bids_push.model import Issue, Node, Outcome, State
from xnat_bids_push.names import is_subject
from xnat_bids_push.pushing import OnOutcome, Survey
from xnat_bids_push.report import Report, problem_lines
from xnat_bids_push.resting import Sight, Standing, after, due, seen
from xnat_bids_push.shares import Some
from xnat_bids_push.table import Table, default_table

_HOPELESS = frozenset({State.SAME, State.KEPT, State.DIFFERS, State.EXTRA})
"""How files can stand of which nothing changes by trying again."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How long a participant must have been quiet, and how often one looks, in seconds."""

    quiet: float = 600.0
    interval: float = 60.0


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and waiting; tests have their own."""

    now: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep


class Watched(Protocol):
    """A dataset that is looked at, and sent from."""

    def look(self) -> Mapping[str, Sight] | None:
        """What is to be seen of each participant; None if nothing can be seen at present."""

    def send(self, ready: frozenset[str]) -> Set[str]:
        """Send some participants; gives those that are to be tried again."""


def watch(watched: Watched, rhythm: Rhythm, *, clock: Clock | None = None) -> None:
    """Send what is at rest and was not sent in this state, for ever. What `watched` raises ends it."""
    clock = clock or Clock()
    standings: dict[str, Standing] = {}
    while True:
        sights = watched.look()
        if sights is not None:
            standings = seen(standings, sights, clock.now())
        ready = due(standings, clock.now(), rhythm.quiet)
        if ready:
            again = watched.send(ready)
            standings = after(standings, ready, again, clock.now(), pause=rhythm.interval)
        clock.wait(rhythm.interval)


# ------------------------------------------------------------------ looking


def look(dataset: Dataset) -> dict[str, Sight]:
    """What is to be seen of a dataset's participants, without opening a file."""
    others = {folder for folders in dataset.folders.values() for folder in folders}
    others |= {left.path for left in dataset.left_out}
    found = {name: _sight(dataset.root, dataset.folders[name]) for name in dataset.subjects}
    return found | ({"": _sight(dataset.root, ("",), others)} if dataset.share.has("") else {})


def _sight(root: Path, folders: Iterable[str], skipped: Set[str] = frozenset()) -> Sight:
    digest, changed = hashlib.blake2b(digest_size=16), 0.0
    for path in sorted(_below(root, folders, skipped)):
        told, when = _status(root / path)
        digest.update(f"{path}\0{told}\0".encode(errors="surrogateescape"))
        changed = max(changed, when)
    return Sight(digest.digest(), changed)


def _status(path: Path) -> tuple[str, float]:
    """Size and time of a file, and when it last changed or came. Of a folder its name says enough."""
    try:
        status = path.lstat()
    except OSError:
        return "gone", 0.0
    # Copies bring the times of their contents along: when they came is what the second one says.
    changed = max(status.st_mtime, status.st_ctime)
    is_folder = stat.S_ISDIR(status.st_mode)
    return "" if is_folder else f"{status.st_size} {status.st_mtime_ns}", changed


def _below(root: Path, folders: Iterable[str], skipped: Set[str]) -> Iterator[str]:
    """Some folders, and all that lies below; what cannot be read shows nothing, and the push tells of it."""
    waiting = list(folders)
    while waiting:
        folder = waiting.pop()
        if folder:
            yield folder
        try:
            with os.scandir(root / folder) as found:
                entries = [(one.name, one.is_dir(follow_symlinks=False)) for one in found if not is_leftover(one.name)]
        except OSError:
            continue
        for name, is_folder in entries:
            path = f"{folder}/{name}" if folder else name
            if path in skipped:
                continue
            if is_folder:
                waiting.append(path)
            else:
                yield path


# ------------------------------------------------------------------ sending


class Told(Protocol):
    """Somebody who is told what a watch does."""

    def arrived(self, outcome: Outcome, problems: Sequence[str]) -> None:
        """What became of a node, and what is wrong there, unless that was told before."""

    def trouble(self, error: Exception) -> None:
        """Why something could not be sent at present."""


@dataclass(slots=True)
class Growing:
    """A dataset that grows, and how its participants are sent.

    Args:
        read: reads the dataset, whose folders may be new.
        examine: the survey of what is to be sent; an error, if that cannot be.
        push: sends it.
        told: is told.
    """

    read: Callable[[], Dataset]
    examine: Callable[[Dataset], Survey]
    push: Callable[[Dataset, Survey, OnOutcome], Report]
    told: Told
    busy: bool = False
    _started: bool = False
    _known: dict[Node, tuple[str, ...]] = field(default_factory=dict)

    def look(self) -> Mapping[str, Sight] | None:
        """What is to be seen of each participant; None if the dataset cannot be read at present."""
        try:
            return look(self.read())
        except DatasetError as error:
            self._bear(error)
            return None

    def send(self, ready: frozenset[str]) -> Set[str]:
        """Send some participants; those that cannot go at present hold up no others."""
        self.busy = True
        again = self._send(ready)
        self.busy, self._started = False, True
        return again

    def _send(self, ready: frozenset[str]) -> Set[str]:
        again: set[str] = set()
        table = default_table()
        try:
            dataset = replace(self.read(), share=Some(ready))
            table = dataset.table
            self.push(dataset, self.examine(dataset), partial(self._outcome, again, table))
        except DatasetError as error:
            return self._held(error, ready, table)
        except ArchiveError as error:
            self._bear(error)
            return ready
        return again

    def _held(self, error: DatasetError, ready: frozenset[str], table: Table) -> Set[str]:
        """Send all but those with errors."""
        found = concerned(error.issues, table)
        held = ready & {name for name in found if name is not None}
        if None in found or not held:
            self._bear(error)
            return ready
        self.told.trouble(error)
        return held | (self._send(ready - held) if ready - held else set())

    def _bear(self, error: Exception) -> None:
        """Tell of what may pass; what cannot, or was wrong from the first, ends the watch."""
        passing = isinstance(error, Unavailable | Distressed) or self._started
        if isinstance(error, AccessDenied) or not passing:
            raise error
        self.told.trouble(error)

    def _outcome(self, again: set[str], table: Table, outcome: Outcome) -> None:
        problems = tuple(problem_lines(outcome))
        if outcome.failure or not {one.state for one in outcome.findings} <= _HOPELESS:
            again.add((folder_of(outcome.node, table) or "").partition("/")[0])
        self.told.arrived(outcome, problems if problems != self._known.get(outcome.node) else ())
        self._known[outcome.node] = problems
        if not problems:
            del self._known[outcome.node]


def concerned(issues: Iterable[Issue], table: Table) -> set[str | None]:
    """The participants that some issues concern, "" for what is no participant's; None for what concerns all."""
    return {spot(issue.path, table).subject or _folder(issue.path) if issue.path else None for issue in issues}


def _folder(path: str) -> str:
    """A participant's folder itself, of which `spot` knows nothing."""
    return path if is_subject(path) else ""
