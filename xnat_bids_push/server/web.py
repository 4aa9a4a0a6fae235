"""The web side: one request, its answers in XNAT's words, and the table of addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

from .behaviour import MAX_DOCUMENT
from .populate import escaped

if TYPE_CHECKING:
    from pathlib import Path

    from .accounts import User
    from .site import Site

NOT_FOUND: Final = "The server has not found anything matching the request URI"
BAD_REQUEST: Final = "The request could not be understood by the server due to malformed syntax"
FORBIDDEN: Final = "The server understood the request, but is refusing to fulfill it"
NOT_ALLOWED: Final = "The method specified in the request is not allowed for the resource identified by the request URI"
FAILED: Final = "The server encountered an unexpected condition which prevented it from fulfilling the request"

PLAIN: Final = "text/plain;charset=ISO-8859-1"
HTML: Final = "text/html;charset=ISO-8859-1"
CONTAINER_HTML: Final = "text/html;charset=utf-8"
JSON: Final = "application/json"
XAPI_JSON: Final = "application/json;charset=UTF-8"


@dataclass(slots=True)
class Answer:
    """What goes back: a status, and a body that is bytes, a stream or a part of a file."""

    status: int = 200
    body: bytes | Iterator[bytes] | FilePart = b""
    type: str | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A range of bytes of a file."""

    path: Path
    start: int
    length: int


@dataclass(slots=True)
class Body:
    """What came with a request: kept in memory while it is small, else in a file."""

    size: int = 0
    declared: int | None = None
    data: bytes = b""
    path: Path | None = None
    md5: str = ""

    def read(self) -> bytes:
        """All of it, which must be little enough to be a document or a form."""
        if self.size > MAX_DOCUMENT:
            raise refuse(413, BAD_REQUEST)
        return self.path.read_bytes() if self.path is not None else self.data


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(slots=True)
class Call:
    """One request with what is known of its sender."""

    site: Site
    method: str
    raw_path: str
    query_text: str
    headers: Mapping[str, str]
    user: User
    body: Body
    arrived: int = 0
    """The number of the latest catalog change when the request came in."""
    base_url: str = ""
    session: str = ""
    """The name of the login session."""
    head: bool = False
    """Whether only the headers of what GET answers are wanted."""
    _fields: dict[str, str] | None = None
    _values: list[tuple[str, str]] | None = None

    @property
    def values(self) -> list[tuple[str, str]]:
        """The query as it was sent."""
        if self._values is None:
            self._values = parse_qsl(self.query_text, keep_blank_values=True)
        return self._values

    @property
    def query(self) -> dict[str, str]:
        """The query with texts as XNAT stores them; the first of several values counts."""
        if self._fields is None:
            self._fields = {}
            for key, text in self.values:
                self._fields.setdefault(key, escaped(text))
        return self._fields

    def get(self, name: str) -> str | None:
        """A query value as it was sent."""
        return next((text for key, text in self.values if key == name), None)

    def joined(self, name: str) -> str:
        """All values of a query field as XNAT stores them, with commas between them."""
        return ",".join(escaped(text) for key, text in self.values if key == name and text)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A switch in the query: everything but ``false`` and ``0`` is true."""
        text = self.get(name)
        return default if text is None else text.lower() not in ("false", "0")

    @property
    def media_type(self) -> str:
        """The content type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def format(self) -> str | None:
        """The requested format, from the query or else from the Accept header."""
        named = self.get("format")
        if named is not None:
            return named.lower()
        accept = self.headers.get("accept", "").lower()
        found = {accept.find(part): name for part, name in _ACCEPTED if part in accept}
        return found[min(found)] if found else None


_ACCEPTED: Final = (
    ("text/html", "html"),
    ("application/json", "json"),
    ("text/csv", "csv"),
    ("text/xml", "xml"),
    ("application/xml", "xml"),
)
Handler = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """An address and what answers there, by method."""

    pattern: re.Pattern[str]
    methods: Mapping[str, Handler]
    name: str


def route(path: str, **methods: Handler) -> Route:
    """A route from a path with ``{names}``; ``{names:rest}`` takes everything that follows, slashes included."""
    pattern = re.sub(r"\{(\w+):rest\}", r"(?P<\1>.*)", path)
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
    return Route(re.compile(pattern), methods, path)


def find(routes: Iterable[Route], path: str) -> tuple[Route, dict[str, str]] | None:
    """The first route that fits, with the parts of the path by name, still percent-encoded."""
    for candidate in routes:
        match = candidate.pattern.fullmatch(path)
        if match:
            return candidate, match.groupdict()
    return None


def refuse(status: int, text: str) -> Refusal:
    """XNAT's status page with a text."""
    return Refusal(status_page(status, text))


def not_found(text: str = NOT_FOUND) -> Refusal:
    """404."""
    return refuse(404, text)


def failed() -> Refusal:
    """The 500 that XNAT answers where it should have checked."""
    return refuse(500, FAILED)


def container_error(status: int) -> Refusal:
    """An error page of the servlet container rather than of XNAT."""
    return Refusal(container_page(status))


def status_page(status: int, text: str) -> Answer:
    """The page around a status text. Only markup is neutralised, because clients look for the text as it is."""
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    page = (
        "<html>\n<head>\n   <title>Status page</title>\n</head>\n<body>\n"
        f"<h3>{shown}</h3><p>The request was answered with status {status}.</p>\n</body>\n</html>\n"
    )
    return Answer(status, page.encode("latin-1", "replace"), HTML)


def container_page(status: int, *, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """The servlet container's own page."""
    page = f'<!doctype html><html lang="en"><head><title>HTTP Status {status}</title></head><body></body></html>'
    return Answer(status, page.encode(), CONTAINER_HTML, list(headers))


def text(content: str, status: int = 200, kind: str = PLAIN) -> Answer:
    """Plain text, in the one-byte encoding that its label promises."""
    return Answer(status, content.encode("latin-1", "replace"), kind)


def empty(status: int = 200) -> Answer:
    """No body and no content type."""
    return Answer(status)


def plain_part(part: str) -> str:
    """A part of a path, decoded."""
    return unquote(part)


def html_text(content: str) -> str:
    """Text for a page."""
    return escape(content)
