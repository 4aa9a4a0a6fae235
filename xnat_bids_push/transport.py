"""One HTTP session with one server: what may leave it, and how much may come in.

A login belongs to one host. So redirects are followed to that host only, never from https to http, and never for a
write, whose body cannot be sent twice and which `requests` would turn into a read. What an answer may hold is bounded.
The second door to `requests`: `client` asks, and this is what it asks through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import requests.utils

LONGEST_ANSWER = 1 << 30
"""Bytes of an answer that is held in memory: the listing of a hundred sessions with tens of thousands of files each."""

SHORT_ANSWER = 1 << 25
"""The same for what tells of the site: its version, its types, its schema."""

_REDIRECTS = 5
_PIECE = 1 << 20


class Misled(requests.RequestException):
    """A redirect that is not followed; the text says where it leads."""


class Endless(requests.RequestException):
    """An answer that is longer than any honest one."""


class Transport(requests.Session):
    """A session that keeps to one server.

    Args:
        ca_bundle: a file of certificates to trust instead of the usual ones.
        connections: how many are kept open.
    """

    def __init__(self, *, ca_bundle: str = "", connections: int = 32) -> None:
        super().__init__()
        self._ca_bundle = ca_bundle
        self.max_redirects = _REDIRECTS
        self.auth = nobody
        adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def merge_environment_settings(self, *given: Any, **named: Any) -> Any:
        """What `requests` takes from the environment; a bundle that was given goes before one of the environment."""
        found = super().merge_environment_settings(*given, **named)
        found["verify"] = self._ca_bundle or found["verify"] or True
        return found

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where a redirect leads; an error, if a login must not go there."""
        target = super().get_redirect_target(resp)
        if target is None:
            return None
        goal = urljoin(resp.url, target)
        if not same_place(resp.url, goal):
            raise Misled(f"the server sends on to {_place(goal)}: if that is right, give that address", response=resp)
        if resp.request.method not in ("GET", "HEAD"):
            raise Misled(f"the server sends a write on to {_place(goal)}: give that address", response=resp)
        _read(resp, SHORT_ANSWER)
        return target

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """One request; unless it is streamed, its answer is read here, as far as is sane."""
        streamed = bool(kwargs.get("stream"))
        try:
            answer = super().send(request, **kwargs | {"stream": True})
        except requests.RequestException as error:
            if error.response is not None:
                error.response.close()
            raise
        if not streamed:
            short = "/data/" not in urlsplit(answer.url).path
            _read(answer, SHORT_ANSWER if short else LONGEST_ANSWER)
        return answer


def nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login: without being told so, `requests` would send the one that netrc has for the host."""
    return request


def same_place(origin: str, goal: str) -> bool:
    """Whether what was meant for one address may go to another: the same host, no less guarded.

    >>> same_place("http://x.org/a", "https://x.org/b"), same_place("https://x.org", "https://y.org")
    (True, False)
    >>> same_place("https://x.org", "http://x.org"), same_place("https://x.org", "https://x.org:8443")
    (False, False)
    """
    try:
        one, other = urlsplit(origin), urlsplit(goal)
        ports = one.port or _PORTS.get(one.scheme), other.port or _PORTS.get(other.scheme)
    except ValueError:
        return False
    if not other.hostname or one.hostname != other.hostname or other.username is not None:
        return False
    return (one.scheme, other.scheme) == ("http", "https") or (one.scheme == other.scheme and ports[0] == ports[1])


_PORTS: Mapping[str, int] = {"http": 80, "https": 443}


def trusted_certificates(ca_bundle: str = "") -> str:
    """The file or folder of the certificates that are trusted."""
    found = Transport(ca_bundle=ca_bundle).merge_environment_settings("https://localhost", {}, False, None, None)[
        "verify"
    ]
    return found if isinstance(found, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH


def _place(url: str) -> str:
    """Scheme and host of an address, without whatever else is in it."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "a place that is none"


def _read(answer: requests.Response, most: int) -> None:
    """Read an answer whole, as `Response.content` does, but not for ever."""
    if getattr(answer, "_content_consumed", False):
        return
    pieces: list[bytes] = []
    size = 0
    for piece in answer.iter_content(_PIECE):
        size += len(piece)
        if size > most:
            answer.close()
            raise Endless("the answer does not end", response=answer)
        pieces.append(piece)
    answer._content = b"".join(pieces)  # where `Response.content` keeps it
