"""The application: receives requests, finds out who asks, lets the handlers answer, and sends what they say."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Final, ParamSpec, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from . import account_pages, records
from .accounts import GUEST, User
from .behaviour import MAX_BODY, MAX_GUEST_BODY, MAX_REQUEST_LINE
from .files import UnsafePath
from .listings import BadFilter
from .routes import PUBLIC, ROUTES
from .site import Site
from .web import (
    FAILED,
    NOT_ALLOWED,
    NOT_FOUND,
    Answer,
    Body,
    Call,
    FilePart,
    Refusal,
    Route,
    container_page,
    find,
    status_page,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

_WORKERS: Final = 16
_REMEMBERED: Final = 1_000_000
"""So many requests are remembered; beyond that, memory counts for more than figures."""
_IN_MEMORY: Final = 256 * 1024
_CHUNK: Final = 256 * 1024
_BROWSERS: Final = re.compile("MSIE|Mozilla|AppleWebKit|Opera")
_REJECTED: Final = re.compile(r"//|;|\\|%25|%2e|%2f|%5c|%3b|%00|%0a|%0d|/\.{1,2}(/|$)", re.IGNORECASE)
"""What the firewall in front of XNAT does not let through in a path."""
_CHALLENGE: Final = ("WWW-Authenticate", 'Basic realm="XNAT Protected Area"')
_SAFE: Final = (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN"))


class Archive:
    """The ASGI endpoint for every address of an archive; it remembers its requests only if that is wanted."""

    def __init__(self, site: Site, *, remember: bool = False) -> None:
        self.site = site
        self._remember = remember
        self.request_counts: Counter[str] = Counter()
        self.request_log: list[tuple[str, str]] = []
        self._pool = ThreadPoolExecutor(_WORKERS, "embedded-archive")

    def close(self) -> None:
        """Wait for the work at hand and release the folder."""
        self._pool.shutdown()
        self.site.close()

    async def _run(self, work: Callable[_P, _R], *args: _P.args, **named: _P.kwargs) -> _R:
        """Do work that blocks, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **named))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        path = scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or "/"
        query = scope["query_string"].decode("latin-1")
        method = request.method
        early = _rejected(method, path, query)
        found = None if early else find(ROUTES, _within_reach(_plain_address(path), self.site.behaviour.longest_list))
        if self._remember and len(self.request_log) < _REMEMBERED:
            self.request_log.append((method, path))
            self.request_counts[f"{method} {found[0].name if found else path}"] += 1
        if early is not None:
            await self._send(send, method, early)
            return
        caller = await self._caller(request, path)
        if isinstance(caller, Answer):
            await self._send(send, method, caller)
            return
        user, session, is_new = caller
        body = Body()
        try:
            arrived = await self._run(self._last_change) if method != "GET" else 0
            limit = MAX_GUEST_BODY if user.guest else MAX_BODY
            body = await _receive(request, self.site, limit, digested="/files" in path)
            call = Call(
                self.site,
                "GET" if method == "HEAD" else method,
                path,
                query,
                request.headers,
                user,
                body,
                arrived,
                str(request.base_url).rstrip("/"),
                session,
                head=method == "HEAD",
            )
            answer = await self._run(_answer, call, found)
            if is_new or path == "/data/JSESSION":
                answer.headers += account_pages.session_cookie(call, session)
            elif not user.guest:
                answer.headers.append(account_pages.expiry_cookie(call))
        except _TooLarge:
            answer = container_page(413)
        finally:
            if body.path is not None:
                body.path.unlink(missing_ok=True)
        await self._send(send, method, answer)

    def _last_change(self) -> int:
        if self.site.behaviour.catalog_conflicts == "never":
            return 0
        with self.site.database.read() as db:
            return records.last_change(db)

    async def _caller(self, request: Request, path: str) -> tuple[User, str, bool] | Answer:
        """The user, the name of the session, and whether it is a new one; or the refusal of somebody unknown."""
        accounts = self.site.accounts
        session = request.cookies.get("JSESSIONID", "")
        known = accounts.session_user(session) if session else None
        credentials = _basic(request.headers.get("authorization", ""))
        if credentials is not None and (known is None or known.login != credentials[0]):
            user = accounts.recalled(*credentials) or await self._run(accounts.verify, *credentials)
            if user is None:
                return container_page(401)
            return user, accounts.open_session(user), True
        if known is not None:
            return known, session, False
        fresh = secrets.token_hex(16).upper()
        if path in PUBLIC or path.startswith("/app/"):
            return GUEST, fresh, False
        if _BROWSERS.search(request.headers.get("user-agent", "")):
            return Answer(302, b"", None, [("Location", f"{str(request.base_url).rstrip('/')}/app/template/Login.vm")])
        return container_page(401, headers=[_CHALLENGE])

    async def _send(self, send: Send, method: str, answer: Answer) -> None:
        length = _length(answer)
        headers = [(name.lower().encode(), _header(value)) for name, value in (*answer.headers, *_SAFE)]
        if answer.type is not None:
            headers.append((b"content-type", answer.type.encode()))
        if length is not None and answer.status != 204:
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        await self._send_body(send, answer)

    async def _send_body(self, send: Send, answer: Answer) -> None:
        if isinstance(answer.body, bytes):
            await send({"type": "http.response.body", "body": answer.body})
            return
        chunks = _file_chunks(answer.body) if isinstance(answer.body, FilePart) else answer.body
        while (chunk := await self._run(next, chunks, b"")) != b"":
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def make_app(site: Site, *, remember: bool = False) -> tuple[Starlette, Archive]:
    """The application over an open site, which is closed together with it."""
    archive = Archive(site, remember=remember)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            archive.close()

    return Starlette(routes=[Mount("/", app=archive)], lifespan=lifespan), archive


def _plain_address(path: str) -> str:
    """The address without the archive's older names for its root, and without a slash at the end."""
    path = re.sub(r"^/(?:data|REST)(?:/archive)?(?=/|$)", "/data", path)
    return path if "/files/" in path else path.rstrip("/") or "/"


def _within_reach(address: str, longest: int) -> str:
    """What is left of an address whose list of experiments is too long for XNAT's router: the listing before it."""
    found = re.match("(/data/.*?experiments)/([^/]+)", address)
    return found[1] if found and len(found[2]) > longest else address


def _rejected(method: str, path: str, query: str) -> Answer | None:
    if len(path) + len(query) > MAX_REQUEST_LINE - 20:
        return container_page(400)
    if _REJECTED.search(path):
        # The firewall's error page itself only knows how to be read.
        return status_page(500, FAILED) if method in ("GET", "HEAD") else Answer(405)
    return None


def _answer(call: Call, found: tuple[Route, dict[str, str]] | None) -> Answer:
    try:
        if found is None:
            return status_page(404, NOT_FOUND)
        handler = found[0].methods.get(call.method)
        if handler is None:
            return status_page(405, NOT_ALLOWED)
        return handler(call, **found[1])
    except Refusal as refusal:
        return refusal.answer
    except (UnsafePath, BadFilter, OSError, sqlite3.Error):
        return status_page(500, FAILED)


def _basic(header: str) -> tuple[str, str] | None:
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return login, password


# Bodies


class _TooLarge(Exception):
    """A body beyond the limit."""


async def _receive(request: Request, site: Site, limit: int, *, digested: bool) -> Body:
    """Take in the body: small ones in memory, others in a staging file; with its digest where it becomes a file."""
    length = request.headers.get("content-length")
    declared = int(length) if length and length.isdigit() else None
    if (declared or 0) > limit:
        raise _TooLarge
    if declared == 0 or (declared is None and "transfer-encoding" not in request.headers):
        return Body(declared=declared)
    body = Body(declared=declared)
    chunks: list[bytes] = []
    file: IO[bytes] | None = None
    digest = hashlib.md5(usedforsecurity=False)
    try:
        async for chunk in request.stream():
            body.size += len(chunk)
            if body.size > limit:
                raise _TooLarge
            if file is None and body.size > _IN_MEMORY:
                body.path = site.files.stage()
                file = body.path.open("wb")
                early = b"".join(chunks)
                file.write(early)
                if digested:
                    digest.update(early)
            if file is None:
                chunks.append(chunk)
            else:
                file.write(chunk)
                if digested:
                    digest.update(chunk)
    except BaseException:
        if body.path is not None:
            body.path.unlink(missing_ok=True)
        raise
    finally:
        if file is not None:
            file.close()
    body.data = b"" if file is not None else b"".join(chunks)
    body.md5 = digest.hexdigest()
    return body


def _length(answer: Answer) -> int | None:
    if isinstance(answer.body, bytes):
        return len(answer.body)
    return answer.body.length if isinstance(answer.body, FilePart) else None


def _header(value: str) -> bytes:
    return "".join(letter for letter in value if letter.isprintable()).encode("latin-1", "replace")


def _file_chunks(part: FilePart) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        file.seek(part.start)
        left = part.length
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
