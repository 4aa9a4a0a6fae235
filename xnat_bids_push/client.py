"""One login at an XNAT server: its requests, and its answers turned into errors. The door to xnatpy.

Reading is repeated where that can help. Writes never are, because some would act twice: whoever acts looks first, and
plans again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, cast
from urllib.parse import urlsplit

import requests
import requests.adapters
import stamina
import xnat
import xnat.exceptions

from xnat_bids_push.errors import AccessDenied, ConfigError, Rejected, Unavailable
from xnat_bids_push.package import Body, Stream

TIMEOUT = (15.0, 300.0)
"""Seconds to connect, and to wait between two bytes of an answer."""

LONG_TIMEOUT = (15.0, 3600.0)
"""The same for requests after which the server works through gigabytes before it answers."""

_HTML = ("<!doctype", "<html")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where to log in, and as whom. The password appears in no representation."""

    server: str
    user: str
    password: str = field(repr=False)
    verify: bool = True


class Session:
    """A login that is renewed once when the server forgets it, and answers turned into errors."""

    def __init__(self, credentials: Credentials, *, connections: int = 32) -> None:
        self.credentials = credentials
        self._connections = connections
        self._lock = threading.Lock()
        self._xnat = _log_in(credentials, connections)

    def close(self) -> None:
        """Log out; a server that is gone needs no farewell."""
        with suppress(requests.RequestException, xnat.exceptions.XNATError):
            self._xnat.disconnect()

    def get(self, path: str, **query: str) -> requests.Response:
        """An answer; asked for again where that can help."""
        return self._read(path, query)

    @stamina.retry(on=Unavailable, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=600.0)
    def _read(self, path: str, query: dict[str, str]) -> requests.Response:
        return self._request("GET", path, query)

    def rows(self, path: str, **query: str) -> list[dict[str, object]]:
        """The rows of a listing."""
        answer = self.get(path, format="json", **query)
        try:
            return cast("list[dict[str, object]]", json_of(answer)["ResultSet"]["Result"])  # type: ignore[index]
        except (KeyError, TypeError) as error:
            raise Unavailable("the server's listing has an unknown form", method="GET", path=path) from error

    def put(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: Body | None = None,
        document: bytes | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        refusal: str = "",
    ) -> requests.Response:
        """Write once.

        Args:
            path: where to.
            query: the query.
            data: files, or
            document: an XML document.
            timeout: for connecting, and for the answer.
            refusal: what a plain 500 means here, where XNAT says so what others say with 4xx.
        """
        kind = "text/xml" if document is not None else "application/octet-stream"
        body = document if document is not None else data
        headers = {"Content-Type": kind} if body is not None else None
        return self._request("PUT", path, query or {}, data=body, headers=headers, timeout=timeout, refusal=refusal)

    def post(
        self, path: str, query: Mapping[str, str], *, data: Stream | None = None, content_type: str = ""
    ) -> requests.Response:
        """Make the server work, once."""
        headers = {"Content-Type": content_type} if content_type else None
        return self._request("POST", path, query, data=data, headers=headers, timeout=LONG_TIMEOUT)

    def delete(self, path: str) -> None:
        """Delete something with its files, once."""
        self._request("DELETE", path, {"removeFiles": "true"}, timeout=LONG_TIMEOUT)

    @stamina.retry(on=Unavailable, attempts=5, wait_initial=0.5, wait_max=30.0, timeout=None)
    def download(self, path: str, target: IO[bytes]) -> None:
        """A body, written to a file as it comes."""
        target.seek(0)
        target.truncate()
        client = self._xnat
        with _foreign_errors("GET", path):
            url = self.credentials.server.rstrip("/") + path
            with client.interface.get(url, stream=True, timeout=LONG_TIMEOUT) as answer:
                if answer.status_code == 401:
                    self._renew(client)
                    raise Unavailable("the login had expired, and was renewed", method="GET", path=path, status=401)
                _raise_for(answer, "GET", path, "")
                for piece in answer.iter_content(1 << 20):
                    target.write(piece)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        data: Stream | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
        refusal: str = "",
    ) -> requests.Response:
        """One request; another one, if the server had forgotten the login, and so has not acted."""
        client = self._xnat
        with _foreign_errors(method, path):
            answer = _ask(client, method, path, query, data, headers, timeout)
            if answer.status_code == 401:
                self._renew(client)
                answer = _ask(self._xnat, method, path, query, data, headers, timeout)
        _raise_for(answer, method, path, refusal)
        return answer

    def _renew(self, expired: object) -> None:
        """Log in again; one thread does, and the others find it done. A login that fails is an error."""
        with self._lock:
            if self._xnat is expired:
                self._xnat = _log_in(self.credentials, self._connections)


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
    except requests.exceptions.SSLError as error:
        raise ConfigError(f"the server's certificate is not trusted: {error}") from error
    except xnat.exceptions.XNATSSLError as error:
        raise ConfigError("the server's certificate is not trusted, or it does not speak https") from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise Unavailable(_reason(error), method=method, path=path) from error
    except requests.RequestException as error:
        raise Rejected(f"the request could not be made: {type(error).__name__}", method=method, path=path) from error


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    return "the connection to the server failed or was cut"


def _raise_for(answer: requests.Response, method: str, path: str, refusal: str) -> None:
    """The one table of what a status means."""
    status = answer.status_code
    if status < 400:
        if answer.headers.get("Content-Type", "").startswith("text/html") and _is_page(answer):
            raise Rejected("the server answered with a web page, not as XNAT does", method=method, path=path)
        return
    message = _server_words(answer)
    if status in (401, 403):
        words = message or ("the login is not accepted" if status == 401 else "you do not have the right to do this")
        raise AccessDenied(words, method=method, path=path, status=status)
    if status == 500 and refusal:
        raise Rejected(f"{refusal}; {message}" if message else refusal, method=method, path=path, status=status)
    if status in (408, 425, 429) or status >= 500:
        raise Unavailable(message or "the server failed", method=method, path=path, status=status)
    raise Rejected(message or "the server refused this", method=method, path=path, status=status)


def _is_page(answer: requests.Response) -> bool:
    return answer.text.lstrip()[:9].lower().startswith(_HTML)


def _server_words(answer: requests.Response) -> str:
    """What an error page says in its heading, in plain characters."""
    if "html" not in answer.headers.get("Content-Type", ""):
        return ""
    found = re.search(r"<h3>(.*?)</h3>", answer.text, re.DOTALL)
    words = re.sub(r"<[^>]*>|\s+|[^\x20-\x7e]", " ", found[1]).strip() if found else ""
    return re.sub(r" +", " ", words)[:300]


def json_of(answer: requests.Response) -> dict[str, object]:
    """The JSON object that an answer is."""
    try:
        content = answer.json()
    except ValueError as error:
        raise Unavailable("the server's answer is not JSON", method="GET", path=urlsplit(answer.url).path) from error
    if not isinstance(content, dict):
        raise Unavailable("the server's answer is no object", method="GET", path=urlsplit(answer.url).path)
    return content


# ------------------------------------------------------------------ logging in


def check_is_xnat(credentials: Credentials) -> None:
    """Look before the password goes out: every XNAT tells its version to everybody."""
    server = credentials.server
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
        raise ConfigError(f"{server!r} is no server's address: it must begin with https:// or http://")
    path = "/xapi/siteConfig/buildInfo"
    with _foreign_errors("GET", path):
        answer = requests.get(server.rstrip("/") + path, timeout=TIMEOUT, verify=credentials.verify, auth=_nobody)
    if answer.status_code in (502, 503, 504):
        raise Unavailable("the server is not ready", method="GET", path=path, status=answer.status_code)
    try:
        version = answer.json()["version"]
    except (ValueError, KeyError, TypeError):
        version = ""
    if answer.status_code != 200 or not version:
        message = f"{server} does not answer as an XNAT server does: check the address"
        raise Unavailable(message, method="GET", path=path, status=answer.status_code)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No login: without being told so, `requests` would send the one that netrc has for the host."""
    return request


_SILENT = logging.getLogger(f"{__package__}.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
logging.getLogger("stamina").addHandler(logging.NullHandler())  # retries are news for those who ask for them


def _log_in(credentials: Credentials, connections: int) -> xnat.session.XNATSession:
    """A connection of xnatpy's: without its object model, which takes dozens of requests."""
    try:
        with _foreign_errors("PUT", "/data/services/auth"):
            session = xnat.connect(
                credentials.server,
                user=credentials.user,
                password=credentials.password,
                verify=credentials.verify,
                logger=_SILENT,
                no_parse_model=True,
            )
    except xnat.exceptions.XNATLoginFailedError as error:
        raise AccessDenied(f"the login of {credentials.user} failed: check user and password") from error
    except xnat.exceptions.XNATExpiredCredentialsError as error:
        raise AccessDenied(f"the password of {credentials.user} has expired: renew it on the server") from error
    except xnat.exceptions.XNATError as error:
        raise Unavailable("the server does not answer a login as XNAT does") from error
    session.skip_response_check = True
    session.keepalive = False  # its thread dies at the first slow answer; an expired login is renewed instead
    adapter = requests.adapters.HTTPAdapter(pool_connections=connections, pool_maxsize=connections)
    session.interface.mount("http://", adapter)
    session.interface.mount("https://", adapter)
    return session
