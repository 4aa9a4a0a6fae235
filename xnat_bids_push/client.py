"""One login at an XNAT server: its requests, and its answers turned into errors. The door to xnatpy.

Reading is repeated where that can help. Writes never are, because some would act twice: whoever acts looks first, and
plans again.
"""

from __future__ import annotations

import logging
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import IO, TypeVar, cast
from urllib.parse import urlsplit

import requests
import stamina
import xnat.exceptions
import xnat.session

from xnat_bids_push.breaker import Gate
from xnat_bids_push.errors import AccessDenied, ConfigError, Rejected, Unavailable, XnatBidsError
from xnat_bids_push.flow import Bucket, Incoming, ahead, gathered
from xnat_bids_push.package import Body, Stream
from xnat_bids_push.transport import Endless, Misled, Transport

LONGEST_PAUSE = 120.0
"""Seconds that a request waits at most before it is repeated, whatever the server's Retry-After says."""

_FAREWELL = 10.0
"""Seconds for the logout, which nobody needs to wait for."""

_PAGE = re.compile(r"\s*<(!doctype|html)", re.IGNORECASE)

_Told = TypeVar("_Told")

Response = requests.Response
"""What a server answers."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, in seconds.

    Args:
        connect: to connect.
        answer: between two bytes of an answer.
        work: the same where the server works through gigabytes before it answers.
    """

    connect: float = 15.0
    answer: float = 300.0
    work: float = 3600.0

    @classmethod
    def of(cls, answer: float) -> Patience:
        """The usual proportions, for a number of seconds between two bytes of an answer."""
        return cls(answer=answer, work=12 * answer)

    @property
    def soon(self) -> tuple[float, float]:
        """As `requests` wants it, for what is answered at once."""
        return self.connect, self.answer

    @property
    def late(self) -> tuple[float, float]:
        """The same for what takes its time."""
        return self.connect, self.work


PATIENT = Patience()
"""Long enough for a server that works."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where to log in, and as whom. The password appears in no representation."""

    server: str
    user: str
    password: str = field(repr=False)
    ca_bundle: str = ""
    """A file of certificates to trust instead of the usual ones; TLS is always verified."""
    patience: Patience = PATIENT


def _worth_repeating(error: Exception) -> bool | float:
    """Whether asking again can help; as a number, after how many seconds."""
    if not isinstance(error, Unavailable):
        return False
    return error.retry_after + random.uniform(0, 1) if error.retry_after else True  # noqa: S311  # jitter, no secret


def _in_trouble(error: Exception) -> bool | float:
    """The same for the first look: an address where nobody answers, or something else than a server, may be wrong."""
    return bool(isinstance(error, Unavailable) and error.status >= 429) and _worth_repeating(error)


class Session:
    """A login that is renewed once when the server forgets it, and answers turned into errors."""

    def __init__(self, credentials: Credentials, *, connections: int = 32) -> None:
        self.credentials = credentials
        self._connections = connections
        self._patience = credentials.patience
        self.gate = Gate()
        self.bucket: Bucket | None = None
        """What all bytes of bodies and downloads pass through, if the user wants them to go slowly."""
        self._lock = threading.Lock()
        self.survived: Counter[str] = Counter()
        """Reads that failed and may have been repeated, by their causes; and logins that were renewed."""
        self._xnat = _log_in(credentials, connections)

    def close(self) -> None:
        """Log out; a server that is gone needs no farewell."""
        self.gate.close()
        interface = self._xnat.interface
        with suppress(requests.RequestException, xnat.exceptions.XNATError):
            self._xnat.disconnect()
        interface.close()

    def get(self, path: str, **query: str) -> requests.Response:
        """An answer; asked for again where that can help."""
        return self.read(path, lambda answer: answer, **query)

    def rows(self, path: str, *columns: str, **query: str) -> list[dict[str, object]]:
        """The rows of a listing, which have certain columns."""
        return self.read(path, partial(rows_of, columns=columns), format="json", **query)

    def read(self, path: str, understand: Callable[[requests.Response], _Told], **query: str) -> _Told:
        """What an answer tells; asked for again where that can help, and so where it makes no sense."""
        return self._read(path, query, understand)

    def once(self, path: str) -> requests.Response:
        """An answer of what acts although it is a GET: it is not repeated."""
        return self._request("GET", path, {})

    @stamina.retry(on=_worth_repeating, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=600.0)
    def _read(self, path: str, query: dict[str, str], understand: Callable[[requests.Response], _Told]) -> _Told:
        try:
            answer = self._request("GET", path, query)
        except Unavailable as error:
            self.survived[error.cause] += 1
            raise
        try:
            return understand(answer)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            words = "the server's answer is not of the form that is known"
            raise Unavailable(words, method="GET", path=path, status=answer.status_code) from error

    def put(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: Body | None = None,
        document: bytes | None = None,
        refusal: str = "",
    ) -> requests.Response:
        """Write once.

        Args:
            path: where to.
            query: the query.
            data: files, or
            document: an XML document.
            refusal: what a plain 500 means here, where XNAT says so what others say with 4xx.
        """
        kind = "text/xml" if document is not None else "application/octet-stream"
        body = document if document is not None else data
        headers = {"Content-Type": kind} if body is not None else None
        timeout = self._patience.soon if data is None else self._patience.late
        return self._request("PUT", path, query or {}, data=body, headers=headers, timeout=timeout, refusal=refusal)

    def post(
        self, path: str, query: Mapping[str, str], *, data: Stream | None = None, content_type: str = ""
    ) -> requests.Response:
        """Make the server work, once."""
        headers = {"Content-Type": content_type} if content_type else None
        return self._request("POST", path, query, data=data, headers=headers, timeout=self._patience.late)

    def delete(self, path: str) -> None:
        """Delete something with its files, once."""
        self._request("DELETE", path, {"removeFiles": "true"}, timeout=self._patience.late)

    def download(self, path: str, target: IO[bytes], *, most: int = sys.maxsize) -> None:
        """A body, written to a file as it comes; an error, if it is longer than it can be."""

        def write(source: Incoming) -> None:
            target.seek(0)
            target.truncate()
            while piece := source.read(1 << 20):
                target.write(piece)
                if target.tell() > most:
                    raise Rejected("the server sends more than it lists", method="GET", path=path)

        self.fetch(path, write)

    @stamina.retry(on=_worth_repeating, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=None)
    def fetch(self, path: str, take: Callable[[Incoming], _Told]) -> _Told:
        """What is made of a body while it comes; it comes from its beginning once more where that can help."""
        client = self._xnat
        with self.gate.request(), _foreign_errors("GET", path):
            url, head = self.credentials.server.rstrip("/") + path, {"Accept-Encoding": "identity"}
            with client.interface.get(url, stream=True, timeout=self._patience.late, headers=head) as answer:
                if answer.status_code == 401:
                    self._renew(client)
                    raise Unavailable("the login had expired, and was renewed", method="GET", path=path, status=401)
                _raise_for(answer, "GET", path, "")
                pieces = answer.iter_content(1 << 20 if self.bucket is None else self.bucket.portion)
                return take(Incoming(pieces if self.bucket is None else self.bucket.slowed(pieces)))

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        data: Stream | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
        refusal: str = "",
    ) -> requests.Response:
        """One request; another one, if the server had forgotten the login, and so has not acted."""
        client = self._xnat
        timeout = timeout or self._patience.soon
        data = self._flowing(data) if isinstance(data, Stream) else data
        with self.gate.request():
            with _foreign_errors(method, path):
                answer = _ask(client, method, path, query, data, headers, timeout)
                if answer.status_code == 401:
                    self._renew(client)
                    answer = _ask(self._xnat, method, path, query, data, headers, timeout)
            _raise_for(answer, method, path, refusal)
        return answer

    def _flowing(self, body: Stream) -> Stream:
        """A body that is made a little ahead of its sending, and sent no quicker than it may be."""

        def make() -> Iterator[bytes]:
            pieces = ahead(gathered(iter(body)))
            return pieces if self.bucket is None else self.bucket.slowed(pieces)

        return Body(make, size=len(body)) if isinstance(body, Body) else Stream(make)

    def _renew(self, expired: object) -> None:
        """Log in again; one thread does, and the others find it done. A login that fails is an error."""
        with self._lock:
            if self._xnat is expired:
                self._xnat = _log_in(self.credentials, self._connections)
                self.survived["the login had expired, and was renewed"] += 1


def _ask(
    client: xnat.session.XNATSession,
    method: str,
    path: str,
    query: Mapping[str, str],
    data: Stream | bytes | None,
    headers: Mapping[str, str] | None,
    timeout: tuple[float, float],
) -> requests.Response:
    """A request by xnatpy's own verbs."""
    options = {"query": dict(query), "timeout": timeout, "headers": headers}
    if method in ("GET", "DELETE"):
        ask = client.get if method == "GET" else client.delete
        return cast("requests.Response", ask(path, **options))
    ask = client.put if method == "PUT" else client.post
    return cast("requests.Response", ask(path, data=data, **options))


@contextmanager
def _foreign_errors(method: str, path: str) -> Iterator[None]:
    """What `requests` and xnatpy raise, in our words."""
    try:
        yield
    except Misled as error:
        raise ConfigError(str(error)) from error
    except Endless as error:
        raise Rejected(str(error), method=method, path=path) from error
    except requests.exceptions.SSLError as error:
        raise ConfigError(f"{_NOT_TRUSTED} ({_ssl_words(error)})") from error
    except xnat.exceptions.XNATSSLError as error:
        raise ConfigError(f"{_NOT_TRUSTED}, or it does not speak https") from error
    except xnat.exceptions.XNATError as error:
        raise Unavailable("the server does not answer as XNAT does", method=method, path=path) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unavailable(_reason(error), method=method, path=path) from error
    except requests.RequestException as error:
        raise Rejected(f"the request could not be made: {type(error).__name__}", method=method, path=path) from error


_NOT_TRUSTED = "the server's certificate is not trusted: if it is your institution's own, give its file by --ca-bundle"


def _ssl_words(error: Exception) -> str:
    """What OpenSSL says, without the connection's address and representation around it."""
    found = re.search(r"(?:verify failed: |\[SSL[^]]*\] )([^(]*)", str(error))
    return found[1].strip() if found else "TLS failed"


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if "NameResolutionError" in str(error):
        return "nobody knows a server of that name"
    if "Connection refused" in str(error) or "[WinError 10061]" in str(error):
        return "the server refuses connections"
    return "the connection to the server failed or was cut"


def _raise_for(answer: requests.Response, method: str, path: str, refusal: str) -> None:
    """The one table of what a status means."""
    status = answer.status_code
    if status < 400:
        if answer.headers.get("Content-Type", "").startswith("text/html") and _PAGE.match(answer.text):
            words = "the server answered with a web page, not as XNAT does"
            raise Unavailable(words, method=method, path=path, status=status)
        return
    message = _server_words(answer)
    if status in (401, 403):
        words = message or ("the login is not accepted" if status == 401 else "you do not have the right to do this")
        raise AccessDenied(words, method=method, path=path, status=status)
    if status == 500 and refusal:
        raise Rejected(f"{refusal}; {message}" if message else refusal, method=method, path=path, status=status)
    if status in (408, 425, 429) or status >= 500:
        words, pause = message or "the server failed", _retry_after(answer)
        raise Unavailable(words, method=method, path=path, status=status, retry_after=pause)
    raise Rejected(message or "the server refused this", method=method, path=path, status=status)


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the server asks to be left alone: it gives a number, or a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), LONGEST_PAUSE)
    try:
        wait = parsedate_to_datetime(text) - datetime.now(UTC)
    except (TypeError, ValueError):
        return 0.0
    return min(max(wait.total_seconds(), 0.0), LONGEST_PAUSE)


def _server_words(answer: requests.Response) -> str:
    """What an error page says in its heading, in plain characters."""
    if "html" not in answer.headers.get("Content-Type", ""):
        return ""
    found = re.search(r"<h3>(.*?)</h3>", answer.text, re.DOTALL)
    words = re.sub(r"<[^>]*>|\s+|[^\x20-\x7e]", " ", found[1]).strip() if found else ""
    return re.sub(r" +", " ", words)[:300]


def rows_of(answer: requests.Response, columns: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """The rows of the listing that an answer is.

    Raises:
        ValueError: a row lacks a column: this is the answer to another question.
    """
    rows = cast("list[dict[str, object]]", json_of(answer)["ResultSet"]["Result"])  # type: ignore[index]
    if not all(row.keys() >= set(columns) for row in rows):
        raise ValueError("columns are missing")
    return rows


def json_of(answer: requests.Response) -> dict[str, object]:
    """The JSON object that an answer is."""
    try:
        content = answer.json()
    except (ValueError, RecursionError) as error:
        raise Unavailable("the server's answer is not JSON", method="GET", path=urlsplit(answer.url).path) from error
    if not isinstance(content, dict):
        raise Unavailable("the server's answer is no object", method="GET", path=urlsplit(answer.url).path)
    return content


def list_of(answer: requests.Response) -> list[object]:
    """The JSON list that an answer is; empty if it is something else."""
    try:
        content = answer.json()
    except (ValueError, RecursionError) as error:
        raise Unavailable("the server's answer is not JSON", method="GET", path=urlsplit(answer.url).path) from error
    return content if isinstance(content, list) else []


# ------------------------------------------------------------------ logging in


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says to everybody.

    Args:
        server: its address, after redirects.
        version: of XNAT; empty where something else answers.
        date: its clock, as HTTP writes it.
        fronts: what calls itself the server, or a proxy before it.
    """

    server: str
    version: str
    date: str = ""
    fronts: tuple[str, ...] = ()


_BUILD_INFO = "/xapi/siteConfig/buildInfo"


@stamina.retry(on=_in_trouble, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=600.0)
def greet(server: str, *, ca_bundle: str = "", patience: Patience = PATIENT) -> Greeting:
    """Look before the password goes out: every XNAT tells its version to everybody.

    Raises:
        ConfigError: the address is no URL, leads to another host, or its certificate is not trusted.
        Unavailable: nothing answers there, or what answers is no XNAT.
    """
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
        raise ConfigError(f"{server!r} is no server's address: it must begin with https:// or http://")
    try:
        with _foreign_errors("GET", _BUILD_INFO), Transport(ca_bundle=ca_bundle, connections=1) as session:
            answer = session.get(server.rstrip("/") + _BUILD_INFO, timeout=patience.soon)
    except Unavailable as error:
        advice = "check the address and your network; bids2xnat doctor looks closer"
        raise Unavailable(f"{server} cannot be reached: {error.cause}: {advice}") from error
    if answer.status_code == 429 or answer.status_code >= 500:
        _raise_for(answer, "GET", _BUILD_INFO, "")
    try:
        version = str(answer.json()["version"])
    except (ValueError, KeyError, TypeError, RecursionError):
        version = ""
    address = answer.url.partition("?")[0]
    if answer.status_code != 200 or not version or not address.endswith(_BUILD_INFO):
        message = f"{server} does not answer as an XNAT server does: check the address"
        raise Unavailable(message, method="GET", path=_BUILD_INFO, status=answer.status_code)
    heads = (answer.headers.get(name, "") for name in ("Server", "Via"))
    return Greeting(
        address.removesuffix(_BUILD_INFO), version, answer.headers.get("Date", ""), tuple(filter(None, heads))
    )


class _Silent(logging.Logger):
    """A log that nobody reads: xnatpy's lines name addresses, and its debugging shows what is sent."""

    def verbose(self, message: str, *values: object) -> None:
        """The level that xnatpy adds to Python's own."""


_SILENT = _Silent(f"{__package__}.client", logging.CRITICAL + 1)
logging.getLogger("stamina").addHandler(logging.NullHandler())  # retries are news for those who ask for them


@stamina.retry(on=_worth_repeating, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=600.0)
def _log_in(credentials: Credentials, connections: int) -> xnat.session.XNATSession:
    """A connection of xnatpy's, without its object model, which takes dozens of requests.

    The login is made here: xnatpy's own follows redirects to any host, and takes no certificates but the environment's.
    """
    session = Transport(ca_bundle=credentials.ca_bundle, connections=connections)
    try:
        client = _logged_in(session, credentials)
    except XnatBidsError as error:
        session.close()
        # What led to it ran through frames that hold the password, and some programs print what frames hold.
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None) from None
    client.skip_response_check = True
    return client


def _logged_in(session: Transport, credentials: Credentials) -> xnat.session.XNATSession:
    server = credentials.server.rstrip("/")
    with _foreign_errors("PUT", _LOGIN):
        token = _token(session, server, credentials)
        answer = session.get(f"{server}/data/auth", timeout=credentials.patience.soon)
        _check_login(answer, credentials.user)
        return xnat.session.XNATSession(
            server, _SILENT, interface=session, keepalive=False, jsession=token, default_timeout=_FAREWELL
        )


_LOGIN = "/data/services/auth"
_ALIAS = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
"""An alias token's name: it logs in by basic authentication, and not by the form."""


def _token(session: Transport, server: str, credentials: Credentials) -> str:
    """The name of a new login session, which is set as a cookie, too."""
    login = (credentials.user, credentials.password)
    if is_alias(credentials.user):
        answer = session.get(f"{server}/data/JSESSION", auth=login, timeout=credentials.patience.soon)
    else:
        form = {"username": login[0], "password": login[1]}
        answer = session.put(server + _LOGIN, data=form, timeout=credentials.patience.soon)
    if answer.status_code in (401, 403):
        raise AccessDenied(_refusal(credentials.user))
    _raise_for(answer, "PUT", _LOGIN, "")
    token = answer.text.strip()
    if not session.cookies.get("JSESSIONID"):
        session.cookies.set("JSESSIONID", token, domain=_cookie_domain(server), path="/")
    return token


def _refusal(user: str) -> str:
    if is_alias(user):
        return "the alias token is not accepted: it has ended, or was withdrawn. Get a new one: bids2xnat login"
    return f"the login of {user} failed: check user and password"


def is_alias(user: str) -> bool:
    """Whether a login is an alias token's."""
    return _ALIAS.fullmatch(user) is not None


def _cookie_domain(server: str) -> str:
    """What a cookie is kept for; a name without a dot is kept with ``.local`` behind it."""
    host = urlsplit(server).hostname or ""
    return host if "." in host else f"{host}.local"


def _check_login(answer: requests.Response, user: str) -> None:
    """Whether the server knows who we are."""
    if answer.status_code == 401:
        raise AccessDenied(_refusal(user))
    if "password has expired" in answer.text or answer.status_code == 403:
        raise AccessDenied(f"the password of {user} has expired: renew it on the server")
    if answer.status_code >= 500:
        raise Unavailable("the server failed", method="GET", path="/data/auth", status=answer.status_code)
    found = re.search(r"User '([^<']+)' is logged in", answer.text)
    if found is None:
        raise Unavailable("the server does not answer a login as XNAT does", method="GET", path="/data/auth")
    if found[1] == "guest":
        raise AccessDenied(f"the login of {user} failed: the server takes it for a guest")
