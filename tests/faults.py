"""A wire that breaks on purpose: forwards to a server, and does one thing wrong with the n-th request.

Each connection carries one request, so that requests can be counted; bodies travel with their length.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from typing import IO
from urllib.parse import urlsplit


class Fault(StrEnum):
    """What goes wrong with one request."""

    NONE = "nothing"
    RESET = "the connection is reset before the request arrives"
    BODY_CUT = "the connection is reset in the middle of the request's body"
    ANSWER_LOST = "the server acts, and the connection is reset before its answer"
    ANSWER_CUT = "the server acts, and its answer ends in the middle"
    ANSWER_SHORT = "the server acts, and half of its answer comes as if it were all"
    ANSWER_BENT = "the server acts, and a byte of its answer comes as another"
    BODY_SHORT = "half of the request's body arrives as if it were all"
    BODY_BENT = "a byte of the request's body arrives as another"
    EXPIRED = "401: the login is forgotten"
    TOO_MANY = "429 with Retry-After in seconds"
    DOWN = "503 with Retry-After as a date"
    FAILED = "500 before the server acts"
    FAILED_AFTER = "500 although the server acts"
    BAD_GATEWAY = "502 before the server acts"
    GATEWAY_TIMEOUT = "504 although the server acts"
    PAGE = "a web page with 200, before the server acts"
    STALL = "the request does not arrive, and no answer comes"
    STALL_AFTER = "the server acts, and no answer comes"
    TRICKLE = "the answer comes in drops"
    KILL_BEFORE = "somebody is killed when the request has not arrived"
    KILL_DURING = "somebody is killed when half of the request has arrived"
    KILL_AMID = "somebody is killed when the request has arrived, while the server acts"
    KILL_AFTER = "somebody is killed when the server has acted, before its answer arrives"


KILLS = (Fault.KILL_BEFORE, Fault.KILL_DURING, Fault.KILL_AMID, Fault.KILL_AFTER)
WIRE_FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE and fault not in KILLS)

_NEEDS_BODY = {Fault.BODY_CUT, Fault.BODY_SHORT, Fault.BODY_BENT, Fault.KILL_DURING}
_NEEDS_ANSWER = {Fault.ANSWER_CUT, Fault.ANSWER_SHORT, Fault.ANSWER_BENT, Fault.TRICKLE}
_STATUSES = {
    Fault.EXPIRED: b"401 Unauthorized",
    Fault.TOO_MANY: b"429 Too Many Requests",
    Fault.DOWN: b"503 Service Unavailable",
    Fault.FAILED: b"500 Internal Server Error",
    Fault.FAILED_AFTER: b"500 Internal Server Error",
    Fault.BAD_GATEWAY: b"502 Bad Gateway",
    Fault.GATEWAY_TIMEOUT: b"504 Gateway Timeout",
    Fault.PAGE: b"200 OK",
}
_ACTS = {Fault.FAILED_AFTER, Fault.GATEWAY_TIMEOUT}
_PAGE = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body><h3>Under maintenance</h3></body></html>"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that went over the wire, and the sizes of its body and of its answer's body."""

    method: str
    path: str
    body: int
    answer: int

    def suffers(self, fault: Fault) -> bool:
        """Whether a fault makes a difference here."""
        if fault in _NEEDS_BODY:
            return self.body > 1
        return self.answer > 1 if fault in _NEEDS_ANSWER else True

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Wire:
    """One address in front of another; `url` is the one to use.

    Args:
        at: the number of the request that suffers; -1 for none.
        fault: what it suffers.
        stall: requests whose first line holds this are never answered.
        kill: kills whom the fault wants killed.
    """

    target: str
    at: int = -1
    fault: Fault = Fault.NONE
    stall: str = ""
    kill: Callable[[], None] = lambda: None
    url: str = ""
    exchanges: dict[int, Exchange] = field(default_factory=dict)
    stalled: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sockets: list[socket.socket] = field(default_factory=list)

    @property
    def struck(self) -> bool:
        """Whether the fault happened."""
        return self.requests > self.at >= 0

    def _serve(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        head = _head(stream)
        if not head:
            return
        with self._lock:
            number = self.requests
            self.requests += 1
        fault = self.fault if number == self.at else Fault.NONE
        if fault is Fault.KILL_BEFORE:
            self.kill()
        if fault in (Fault.RESET, Fault.KILL_BEFORE):
            _reset(client)
            return
        if fault is Fault.STALL or (self.stall and self.stall.encode() in head.partition(b"\r\n")[0]):
            _wait_for_the_end(client, self.stalled)
            return
        head, body = _framed(head, _body(stream, head))
        if fault in _STATUSES and fault not in _ACTS:
            client.sendall(_answer(fault))
            return
        answer = self._ask(head, body, fault)
        method, path, _ = head.split(b" ", 2)
        sizes = len(body), len(answer.partition(b"\r\n\r\n")[2])
        self.exchanges[number] = Exchange(method.decode(), urlsplit(path.decode()).path, *sizes)
        if fault in (Fault.BODY_CUT, Fault.ANSWER_LOST, *KILLS):
            if fault is Fault.KILL_AFTER:
                self.kill()
            _reset(client)
        elif fault is Fault.STALL_AFTER:
            _wait_for_the_end(client, self.stalled)
        elif fault in _STATUSES:
            client.sendall(_answer(fault))
        else:
            _pass_on(client, answer, fault)

    def _ask(self, head: bytes, body: bytes, fault: Fault) -> bytes:
        """The server's answer; nothing where the wire breaks on the way to it."""
        parts = urlsplit(self.target)
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as server:
            self._sockets.append(server)
            if fault in (Fault.BODY_CUT, Fault.KILL_DURING):
                server.sendall(head + body[: len(body) // 2])
                if fault is Fault.KILL_DURING:
                    self.kill()
                _reset(server)
                return b""
            if fault is Fault.BODY_SHORT:
                head, body = _framed(head, body[: len(body) // 2])
            elif fault is Fault.BODY_BENT:
                body = _bent(body)
            server.sendall(head + body)
            if fault is Fault.KILL_AMID:
                self.kill()
            return _all(server)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve_quietly, args=(client,), daemon=True).start()

    def _serve_quietly(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self._serve(client)
            _hang_up(client)


def _pass_on(client: socket.socket, answer: bytes, fault: Fault) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    if fault in (Fault.ANSWER_CUT, Fault.ANSWER_SHORT):
        half = body[: len(body) // 2]
        if fault is Fault.ANSWER_SHORT:
            head, half = _framed(head, half)
        else:
            head, _ = _framed(head, body)
        client.sendall(head + half)
    elif fault is Fault.ANSWER_BENT:
        client.sendall(head + _bent(body))
    elif fault is Fault.TRICKLE:
        step = max(1, len(body) // 20)
        client.sendall(head)
        for start in range(0, len(body), step):
            client.sendall(body[start : start + step])
            time.sleep(0.002)
    else:
        client.sendall(answer)


def _answer(fault: Fault) -> bytes:
    """The answer of something that stands before the server."""
    lines = [b"HTTP/1.1 " + _STATUSES[fault], b"Content-Type: text/html", b"Content-Length: %d" % len(_PAGE)]
    lines += [b"Connection: close"]
    if fault is Fault.TOO_MANY:
        lines.append(b"Retry-After: 0")
    if fault is Fault.DOWN:
        lines.append(b"Retry-After: " + formatdate(usegmt=True).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + _PAGE


def _bent(body: bytes) -> bytes:
    """With another byte in its middle; a body that has none stays as it is."""
    middle = len(body) // 2
    return body[:middle] + bytes(byte ^ 1 for byte in body[middle : middle + 1]) + body[middle + 1 :]


def _head(stream: IO[bytes]) -> bytes:
    head = b""
    while line := stream.readline():
        head += line
        if line == b"\r\n":
            return head
    return b""


def _body(stream: IO[bytes], head: bytes) -> bytes:
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is not None:
        return stream.read(int(length[1]))
    body = b""
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while size := int(stream.readline() or b"0", 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    return body


def _framed(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """A head that tells the body's length, and that no other request follows."""
    lines = [
        line
        for line in head.rstrip(b"\r\n").split(b"\r\n")
        if not re.match(rb"(?i)(content-length|transfer-encoding|connection):", line)
    ]
    bodiless = not body and head.startswith((b"GET", b"DELETE"))
    lines += [b"Connection: close"] if bodiless else [b"Connection: close", b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n", body


def _all(server: socket.socket) -> bytes:
    answer = b""
    with suppress(OSError):
        while piece := server.recv(65536):
            answer += piece
    return answer


def _wait_for_the_end(client: socket.socket, stalled: threading.Event) -> None:
    stalled.set()
    while client.recv(65536):  # until the client gives up
        pass


def _reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire(
    target: str,
    *,
    at: int = -1,
    fault: Fault = Fault.NONE,
    stall: str = "",
    kill: Callable[[], None] = lambda: None,
) -> Iterator[Wire]:
    """Open a wire on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        made = Wire(target, at, fault, stall, kill, f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=made._accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in made._sockets:
                _hang_up(one)
            thread.join(5)
