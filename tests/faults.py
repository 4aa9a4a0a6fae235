"""A wire that breaks on purpose: forwards to a server, and cuts the n-th request before or after it acts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit


class Cut(StrEnum):
    """Where a request is cut."""

    BEFORE = "the request never arrives"
    AFTER = "the server acts, and its answer is lost"


@dataclass(slots=True)
class Wire:
    """One address in front of another; `url` is the one to use."""

    target: str
    cut_at: int = -1
    cut: Cut = Cut.BEFORE
    url: str = ""
    requests: int = 0
    stall: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sockets: list[socket.socket] = field(default_factory=list)

    def _number(self) -> int:
        with self._lock:
            self.requests += 1
            return self.requests - 1

    def _serve(self, client: socket.socket) -> None:
        """One connection, one request: the answer says that it is the last."""
        number = self._number()
        parts = urlsplit(self.target)
        with client, socket.create_connection((parts.hostname or "", parts.port or 80)) as server:
            self._sockets += [client, server]
            if number == self.cut_at and self.cut is Cut.BEFORE:
                _hang_up(client)
                return
            head = _head(client)
            if self.stall and self.stall.encode() in head.partition(b"\r\n")[0]:
                self.stalled.set()
                client.recv(1)  # until the client gives up
                return
            server.sendall(head.replace(b"Connection: keep-alive\r\n", b"Connection: close\r\n"))
            threading.Thread(target=_pour, args=(client, server), daemon=True).start()
            answer = _all(server)
            if number != self.cut_at:
                client.sendall(answer)
            _hang_up(client)  # a mere close would wait for the thread that still reads from it

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve_quietly, args=(client,), daemon=True).start()

    def _serve_quietly(self, client: socket.socket) -> None:
        with suppress(OSError):
            self._serve(client)
        _hang_up(client)


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(65536)
        if not piece:
            break
        head += piece
    return head


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)


def _all(server: socket.socket) -> bytes:
    answer = b""
    with suppress(OSError):
        while piece := server.recv(65536):
            answer += piece
    return answer


@contextmanager
def wire(target: str, *, cut_at: int = -1, cut: Cut = Cut.BEFORE, stall: str = "") -> Iterator[Wire]:
    """Open a wire on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Wire(target, cut_at, cut, f"http://127.0.0.1:{listener.getsockname()[1]}", stall=stall)
        thread = threading.Thread(target=made._accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in made._sockets:
                _hang_up(one)
            thread.join(5)
