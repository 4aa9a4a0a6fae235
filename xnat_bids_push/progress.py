"""How far a run is, for people who watch it: the counts, and their picture in a terminal or in lines of a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xnat_bids_push.model import Node, Origin, Outcome, State
from xnat_bids_push.report import count, human_size, kind_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

INTERVAL = 30.0
"""Seconds between two lines of a log."""

_SESSION = 1_000_000
"""Bytes that take about as long as what a session costs beside its bytes."""

_SENT = 0.8
"""The part of a session's costs beside its bytes that is over when it is sent; the rest is its proof."""

_SOON = 5.0
_LITTLE = 0.02
"""Seconds, and the share that is done, from which on the time that is left can be told."""


@dataclass(slots=True)
class _Work:
    """What one thread does."""

    node: Node
    since: float
    sent: int = 0


@dataclass(slots=True)
class Tally:
    """The counts of a run. Several threads tell; whoever draws them reads.

    Args:
        sessions: how many there will be; None if that is not known.
        size: how many bytes of the dataset there will be; None if that is not known.
        clock: seconds, of any beginning.
    """

    sessions: int | None = None
    size: int | None = None
    clock: Callable[[], float] = time.monotonic
    settled: int = 0
    settled_size: int = 0
    sent: int = 0
    problems: int = 0
    began: float = field(init=False)
    _at_work: dict[int, _Work] = field(default_factory=dict)
    _on_the_way: dict[Node, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.began = self.clock()

    # -------------------------------------------------- telling

    def work(self, node: Node | None) -> None:
        """This thread begins with a node; or has done what it can there."""
        with self._lock:
            self._at_work.pop(threading.get_ident(), None)
            if node is not None:
                self._at_work[threading.get_ident()] = _Work(node, self.clock())

    def add(self, size: int) -> None:
        """Bytes went out, from this thread."""
        with self._lock:
            self.sent += size
            work = self._at_work.get(threading.get_ident())
            if work is not None:
                work.sent += size
                self._on_the_way[work.node] = self._on_the_way.get(work.node, 0) + size

    def settle(self, outcome: Outcome) -> None:
        """A node is settled, or given up."""
        with self._lock:
            self._on_the_way.pop(outcome.node, None)
            self.settled += kind_of(outcome.node) == "session"
            self.problems += not outcome.done
            ours = (one for one in outcome.findings if one.origin is Origin.DATASET and one.state is not State.EXTRA)
            self.settled_size += sum(one.size for one in ours)

    # -------------------------------------------------- reading

    @property
    def done_size(self) -> int:
        """Bytes of the dataset that are done with, or have been sent."""
        done = self.settled_size + sum(self._on_the_way.copy().values())
        return done if self.size is None else min(done, self.size)

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1; None if nobody knows how much there is."""
        if self.size is None or self.sessions is None:
            return None
        whole = self.size + _SESSION * self.sessions
        done = self.done_size + _SESSION * (self.settled + _SENT * self._unproven)
        return min(1.0, done / whole) if whole else 1.0

    @property
    def _unproven(self) -> int:
        """How many sessions have been sent, and wait for their proof."""
        at_work = {work.node for work in self._at_work.copy().values()}
        return sum(1 for node in self._on_the_way.copy() if node.experiment and node not in at_work)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self.began

    @property
    def left(self) -> float | None:
        """How many seconds it may still take, if all goes on as it went; None if that cannot be told."""
        elapsed, share = self.elapsed, self.share
        if share is None or share < _LITTLE or elapsed < _SOON:
            return None
        return elapsed * (1 - share) / share

    def words(self, *, rate: float | None = None) -> Iterator[str]:
        """The counts, in the order of their interest.

        Args:
            rate: bytes a second; else those of the whole run.
        """
        if self.problems:
            yield f"{self.problems:,} with problems"
        whole = count(self.sessions or self.settled, "session")
        yield f"{self.settled:,} of {whole}" if self.sessions is not None else whole
        done = human_size(self.done_size)
        yield f"{done} of {human_size(self.size)}" if self.size is not None else done
        rate = self._rate if rate is None else rate
        if rate >= 1:
            yield f"{human_size(round(rate))}/s"
        if self.left is not None:
            yield f"{duration(self.left)} left"

    def to_json(self, *, rate: float) -> dict[str, object]:
        """The counts for programs; times in seconds, sizes in bytes."""
        return {
            "sessions": self.settled,
            "of_sessions": self.sessions,
            "bytes": self.done_size,
            "of_bytes": self.size,
            "sent_bytes": self.sent,
            "bytes_per_second": round(rate),
            "problems": self.problems,
            "elapsed": round(self.elapsed, 1),
            "left": None if self.left is None else round(self.left),
        }

    @property
    def _rate(self) -> float:
        return self.sent / self.elapsed if self.elapsed > 0 else 0.0

    def at_work(self) -> Iterator[str]:
        """What each worker does, those first that began first."""
        for work in sorted(self._at_work.copy().values(), key=lambda one: one.since):
            sent = f"{human_size(work.sent)} sent" if work.sent else "waiting for the server"
            yield f"{work.node}  {sent}, {duration(self.clock() - work.since)}"


def duration(seconds: float) -> str:
    """A time for people, who do not care for seconds in hours.

    >>> duration(0.4), duration(12), duration(59.6), duration(150)
    ('0 s', '12 s', '1 min', '2 min 30 s')
    >>> duration(3599), duration(5400), duration(100_000)
    ('1 h', '1 h 30 min', '1 d 4 h')
    """
    for unit, part, size in (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1)):
        parts, whole = round(seconds / size), 24 if unit == "d" else 60
        if parts >= whole:
            number, rest = divmod(parts, whole)
            return f"{number} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{round(seconds)} s"


# ------------------------------------------------------------------ showing


@contextmanager
def drawn(tally: Tally, console: Console, verb: str) -> Iterator[None]:
    """Show a run in a terminal while it goes on: a bar, the counts, and a line for each worker."""
    from rich.live import Live

    with Live(get_renderable=lambda: picture(tally, verb), console=console, transient=True):
        yield


def picture(tally: Tally, verb: str) -> RenderableType:
    """A run at this moment."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True)
    share, colour = tally.share, "yellow" if tally.problems else "green"
    bar = ProgressBar(
        total=1.0 if share is not None else None,
        completed=share or 0.0,
        pulse=share is None,
        complete_style=colour,
        finished_style=colour,
    )
    head.add_row(verb, bar, f"{share:4.0%}" if share is not None else "")
    counts = Text(" · ".join(tally.words()), style="red" if tally.problems else "", no_wrap=True, overflow="ellipsis")
    workers = (Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in tally.at_work())
    return Group(head, counts, *workers)


@contextmanager
def told(tally: Tally, say: Callable[[float], None], *, interval: float | None = None) -> Iterator[None]:
    """Call for a line again and again while a run goes on, with the rate in bytes a second since the last one."""
    over = threading.Event()

    def tell() -> None:
        before, then = 0, tally.clock()
        while not over.wait(INTERVAL if interval is None else interval):
            now, sent = tally.clock(), tally.sent
            say((sent - before) / max(now - then, 1e-9))
            before, then = sent, now

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
