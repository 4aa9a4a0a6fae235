"""When a server is in distress: fewer requests at a time, then a pause, then an honest end.

Deciding is pure, and knows no clock; the gate that all requests pass through acts on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xnat_bids_push.errors import ArchiveError, Distressed, Unavailable

ALONE = 3
"""Failures in a row from which on one request goes at a time."""

RESTS = (10.0, 30.0, 60.0, 120.0)
"""Seconds that the server is left alone after each further failure; after the last one, the run ends."""

Say = Callable[[str], None]


class Breaker:
    """Counts a server's failures in a row, and says what follows from them.

    Failures of requests that were on their way together are one: a server that goes down once takes along all
    requests that it has at the moment.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._events = 0

    def begin(self) -> int:
        """A request goes out; the answer belongs to how it ends."""
        return self._events

    def failed(self, begun: int) -> None:
        """The request failed as if the server were in distress."""
        if begun == self._events:
            self._events += 1
            self._failures += 1

    def succeeded(self) -> None:
        """The server answered."""
        self._failures = 0

    @property
    def is_alone(self) -> bool:
        """Whether one request goes at a time."""
        return self._failures >= ALONE

    @property
    def rest(self) -> float:
        """Seconds that the server is to be left alone before the next request."""
        return RESTS[self._failures - ALONE - 1] if ALONE < self._failures <= ALONE + len(RESTS) else 0.0

    @property
    def is_over(self) -> bool:
        """Whether no request should go out any more."""
        return self._failures > ALONE + len(RESTS)


class Gate:
    """What each request passes through; it holds requests back while the server is in distress.

    Args:
        say: told what the server goes through.
        sleep: waits so many seconds.
    """

    def __init__(self, say: Say | None = None, sleep: Callable[[float], object] | None = None) -> None:
        self.say: Say = say or (lambda _: None)
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._breaker = Breaker()
        self._changed = threading.Condition()
        self._inside = 0

    def close(self) -> None:
        """Let all who wait go on."""
        self._closed.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold a request back as long as must be, and note how it ends.

        Raises:
            Distressed: the server was left alone several times, and is in distress still.
        """
        begun, rest = self._enter()
        failed: bool | None = None
        try:
            if rest:
                self.say(f"The server is in distress: it is left alone for {rest:.0f} s.")
                self._sleep(rest)
            yield
            failed = False
        except Unavailable as error:
            failed = True if error.is_distress else None
            raise
        except ArchiveError:
            failed = False
            raise
        finally:
            self._leave(begun, failed)

    def _enter(self) -> tuple[int, float]:
        with self._changed:
            while self._breaker.is_alone and self._inside and not self._closed.is_set():
                self._changed.wait(1.0)
            if self._breaker.is_over:
                raise Distressed("the server failed again and again, also after it was left alone for a while")
            self._inside += 1
            return self._breaker.begin(), self._breaker.rest

    def _leave(self, begun: int, failed: bool | None) -> None:
        with self._changed:
            was_alone = self._breaker.is_alone
            self._inside -= 1
            if failed:
                self._breaker.failed(begun)
            elif failed is not None:
                self._breaker.succeeded()
            is_alone = self._breaker.is_alone
            self._changed.notify_all()
        if is_alone and not was_alone:
            self.say("The server fails again and again: one request goes at a time.")
        elif was_alone and not is_alone:
            self.say("The server answers again.")
