"""How bytes come and go: in pieces worth a system call, some of them ahead of the wire, and no quicker than allowed.

Files are opened, read and digested by a thread that is a few pieces ahead, so that a slow disk and a slow wire do not
wait for each other; it is ahead over the ends of files, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

PIECE = 1 << 18
"""Smaller pieces are put together before they are sent."""

AHEAD = 4
"""So many pieces are made before they can be sent."""

_BURST = 0.25
"""Seconds' worth of bytes that may go at once."""


class Bucket:
    """Bytes that may pass, so many a second, whoever asks: all who share it share the rate.

    Args:
        rate: bytes a second.
        clock: gives seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = clock()

    @property
    def portion(self) -> int:
        """How many bytes are best taken at once."""
        return max(1, int(self._rate * _BURST))

    def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now - _BURST) + size / self._rate
            wait = self._free - now
        if wait > 0:
            self._sleep(wait)

    def slowed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes, as quickly as they may pass."""
        for piece in pieces:
            for start in range(0, len(piece), self.portion):
                part = piece[start : start + self.portion]
                self.take(len(part))
                yield part


class Incoming:
    """Bytes that come in pieces, as something to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """So many bytes at most; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        found, self._rest = self._rest[:size], self._rest[size:]
        return bytes(found)


def gathered(pieces: Iterator[bytes], least: int = PIECE) -> Iterator[bytes]:
    """The same bytes, in no smaller pieces than that but the last; larger ones stay as they are."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(waiting)
            waiting, size = [], 0
    if size:
        yield b"".join(waiting)


def ahead(pieces: Iterator[bytes], number: int = AHEAD) -> Iterator[bytes]:
    """The same pieces, made by a thread of their own that is so many ahead; what ends it is raised in its place."""
    queue = _Queue(number)
    maker = threading.Thread(target=queue.fill, args=(pieces,), name="ahead", daemon=True)
    maker.start()
    try:
        yield from queue
    finally:
        queue.give_up()
        maker.join()


class _Queue:
    """Pieces on their way from one thread to another."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._is_over = False
        self._error: BaseException | None = None

    def fill(self, pieces: Iterator[bytes]) -> None:
        """Make all pieces, as there is room for them."""
        error: BaseException | None = None
        try:
            for piece in pieces:
                if not self._put(piece):
                    break
        except BaseException as caught:  # noqa: BLE001  # whatever it is, it belongs to whoever takes the pieces
            error = caught
        with self._changed:
            self._is_over, self._error = True, error
            self._changed.notify_all()

    def _put(self, piece: bytes) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._pieces) < self._room or self._is_over)
            self._pieces.append(piece)
            self._changed.notify_all()
            return not self._is_over

    def give_up(self) -> None:
        """No piece is wanted any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._get()) is not None:
            yield piece

    def _get(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._pieces) or self._is_over)
            if self._pieces:
                self._changed.notify_all()
                return self._pieces.popleft()
        if self._error is not None:
            raise self._error
        return None
