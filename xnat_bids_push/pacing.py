"""How many are at work at a time: few at first, more while that pays, half as many when the server is in distress.

Deciding is pure, and knows no clock; the lanes that all work goes through act on it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol, TypeVar

FIRST = 2
"""So many begin."""

MOST = 16
"""So many are never too few for one server."""

PAYS = 0.25
"""What part of the gain that one more could bring at best it must bring to stay."""

REST = 8
"""So many looks pass before another one is tried again."""

LOOK = 1.0
"""Seconds between two looks, at least."""

LOOKED_AT = 4
"""So many pieces of work for each lane are finished between two looks, or"""

LOOKED_AT_BYTES = 1 << 25
"""so many bytes for each."""

REQUEST = 1 << 20
"""Bytes that could go in the time that a server needs for a piece of work without any, about."""

MOMENT = 0.5
"""Seconds after which somebody who waits looks up."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Pacing(Protocol):
    """How many may be at work, by what was seen."""

    @property
    def jobs(self) -> int:
        """So many at this moment."""

    @property
    def most(self) -> int:
        """So many ever."""

    def saw(self, rate: float) -> None:
        """So much was done in a second."""

    def distressed(self) -> None:
        """The server failed as if it were in distress."""


class Fixed:
    """As many as the user says."""

    def __init__(self, jobs: int) -> None:
        self.jobs = self.most = jobs

    def saw(self, rate: float) -> None:
        """Changes nothing."""

    def distressed(self) -> None:
        """Changes nothing: the breaker does what must be done."""


class Pace:
    """As many as pays: one more at a time, half as many in distress."""

    def __init__(self, first: int = FIRST, most: int = MOST) -> None:
        self.jobs, self.most = first, most
        self._rate = 0.0
        self._tried = False
        self._rest = 0

    def saw(self, rate: float) -> None:
        """So much was done in a second since the last look."""
        if self._rest:
            self._rest -= 1
            self._rate = rate
            return
        if self._tried and rate < self._rate * (1 + PAYS / max(1, self.jobs - 1)):
            self.jobs, self._tried, self._rest = self.jobs - 1, False, REST
        elif self.jobs < self.most:
            self.jobs, self._tried = self.jobs + 1, True
        else:
            self._tried = False
        self._rate = rate

    def distressed(self) -> None:
        """The server failed as if it were in distress."""
        self.jobs, self._tried, self._rest = max(1, self.jobs // 2), False, REST


def result_of(future: Future[_Result]) -> _Result:
    """What comes of work in another thread. A signal that comes just before the waiting would not be seen in it."""
    while not wait([future], MOMENT).done:
        pass
    return future.result()


class Lanes:
    """Workers, as many at a time as the pacing says.

    Args:
        pacing: says how many.
        is_distress: whether a result means that the server is in distress.
        clock: gives seconds.
    """

    def __init__(
        self,
        pacing: Pacing,
        *,
        is_distress: Callable[[object], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pacing = pacing
        self._is_distress = is_distress
        self._clock = clock
        self._changed = threading.Condition()
        self._inside = 0
        self._halvings = 0
        self._begun = clock()
        self._bytes = self._done = 0
        self._pool = ThreadPoolExecutor(pacing.most, thread_name_prefix="lane")

    def map(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """The results of work, in order; it is done side by side."""
        return self._pool.map(lambda item: self.do(work, item), items)

    def each(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """The same for items without end: only so many are taken at a time as keep the lanes busy."""
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            if len(waiting) == 2 * self._pacing.most:
                yield result_of(waiting.popleft())
            waiting.append(self._pool.submit(self.do, work, item))
        while waiting:
            yield result_of(waiting.popleft())

    def do(self, work: Callable[[_Item], _Result], item: _Item) -> _Result:
        """The result of work that is done by the caller, in a lane."""
        with self._lane() as halvings:
            result = work(item)
        if self._is_distress(result):
            self._halve(halvings)
        return result

    def passed(self, size: int) -> None:
        """So many bytes went out or came in."""
        with self._changed:
            self._bytes += size
            self._look()

    def close(self) -> None:
        """Wait for all work."""
        self._pool.shutdown()

    def leave(self) -> None:
        """Begin no work any more, and wait for none."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _lane(self) -> Iterator[int]:
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._pacing.jobs)
            self._inside += 1
            halvings = self._halvings
        try:
            yield halvings
        finally:
            with self._changed:
                self._inside -= 1
                self._done += 1
                self._look()
                self._changed.notify_all()

    def _look(self) -> None:
        """See how quickly things go, if there is enough to be seen."""
        seconds, jobs = self._clock() - self._begun, self._pacing.jobs
        if seconds < LOOK or (self._done < LOOKED_AT * jobs and self._bytes < LOOKED_AT_BYTES * jobs):
            return
        self._pacing.saw((self._bytes + REQUEST * self._done) / seconds)
        self._begin_look()

    def _begin_look(self) -> None:
        self._begun, self._bytes, self._done = self._clock(), 0, 0
        self._changed.notify_all()

    def _halve(self, halvings: int) -> None:
        """What was on its way together fails together, and counts once."""
        with self._changed:
            if halvings == self._halvings:
                self._halvings += 1
                self._pacing.distressed()
                self._begin_look()
