"""How long the phases of a run take. Several of them, and several of a kind, may go on side by side."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


class Stopwatch:
    """Counts the seconds in which anybody is in a phase: however many are at a time, they count once.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the phases that have ended took."""
        return dict(self._seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A block that belongs to a phase."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave(name)

    def each(self, name: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; finding the next one belongs to a phase."""
        rest = iter(items)
        while True:
            with self.phase(name):
                found = next(rest, self)
            if found is self:
                return
            yield found  # type: ignore[misc]  # what is not this object itself came from the items

    def _enter(self, name: str) -> None:
        with self._lock:
            if not self._inside[name]:
                self._since[name] = self._clock()
            self._inside[name] += 1

    def _leave(self, name: str) -> None:
        with self._lock:
            self._inside[name] -= 1
            if not self._inside[name]:
                self._seconds[name] += self._clock() - self._since[name]
