"""A pytest plugin: an archive that answers as XNAT does, for the tests of anything that talks to one.

    pytest -p xnat_bids_push.pytest_plugin

Everything heavier loads when a test asks for a fixture.

Nothing is asserted here, so that pytest need not rewrite the module, nor complain if somebody has imported it before:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

import pytest

if TYPE_CHECKING:
    from xnat_bids_push.server import LocalServer

    _Registered = Literal["all", "stock"]

_ROLES = ("Owners", "Members", "Collaborators", "")
_MARKER = (
    "xnat(project='', user='', role='Owners', registered=''): what the fixture xnat_archive is; a project by name "
    "or other registered session types get a server of their own"
)


@dataclass(frozen=True, slots=True)
class XnatArchive:
    """A project of one's own on a server that answers as XNAT does, and somebody who may work in it."""

    server: LocalServer = field(repr=False)
    user: str
    password: str = field(repr=False)
    project: str
    _begin: int = field(repr=False)

    @property
    def url(self) -> str:
        """The server's address, for example ``http://127.0.0.1:41233``."""
        return self.server.url

    @property
    def request_log(self) -> list[tuple[str, str]]:
        """Method and path of each request that came in since the test began, in order."""
        return self.server.request_log[self._begin :]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a test asks for."""

    project: str
    user: str
    password: str
    role: str
    registered: _Registered
    alone: bool


def pytest_addoption(parser: pytest.Parser) -> None:
    """Settings that hold for a whole run."""
    parser.addini(
        "xnat_user", "who owns the project of the fixture xnat_archive; admin may do everything", default="owner"
    )
    parser.addini("xnat_password", "the password of that user", default="owner-Passw0rd")
    parser.addini("xnat_registered", "session types that the site has set up: all or stock", default="all")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def xnat_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server for the whole run, on a free port of this machine; with its administrator's user and password."""
    registered = _registered(str(pytestconfig.getini("xnat_registered")))
    with _started(tmp_path_factory, registered) as server:
        yield server


@pytest.fixture
def xnat_archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[XnatArchive]:
    """A fresh, private project for this test, and a user who owns it; the marker xnat asks for something else."""
    wish = _wish(request)
    with ExitStack() as stack:
        if wish.alone:
            server = stack.enter_context(_started(tmp_path_factory, wish.registered))
        else:
            server = request.getfixturevalue("xnat_server")
        archive = _furnish(server, wish)
        yield archive
        if not wish.alone:
            # The test may have removed it already.
            _status(server, "DELETE", f"/data/projects/{quote(archive.project)}?removeFiles=true")


_PROJECTS = itertools.count(1)


def _wish(request: pytest.FixtureRequest) -> _Wish:
    marker = request.node.get_closest_marker("xnat")
    given = marker.kwargs if marker is not None else {}
    if (marker is not None and marker.args) or not given.keys() <= {"project", "user", "role", "registered"}:
        raise pytest.UsageError(f"the marker is {_MARKER.partition(':')[0]}")
    ini = request.config.getini
    return _Wish(
        project=str(given.get("project", "")),
        user=str(given.get("user", ini("xnat_user"))),
        password=str(ini("xnat_password")),
        role=_role(str(given.get("role", "Owners"))),
        registered=_registered(str(given.get("registered", ini("xnat_registered")))),
        alone=bool(given.keys() & {"project", "registered"}),
    )


def _registered(text: str) -> _Registered:
    if text not in ("all", "stock"):
        raise pytest.UsageError(f"xnat: registered is all or stock, not {text!r}")
    return "stock" if text == "stock" else "all"


def _role(text: str) -> str:
    if text not in _ROLES:
        raise pytest.UsageError(f"xnat: role is one of {', '.join(map(repr, _ROLES))}, not {text!r}")
    return text


def _started(folders: pytest.TempPathFactory, registered: _Registered) -> LocalServer:
    from xnat_bids_push.server import LocalServer

    return LocalServer(folders.mktemp("xnat"), registered=registered)


def _furnish(server: LocalServer, wish: _Wish) -> XnatArchive:
    """Make the project and the user."""
    project = wish.project or f"TEST{next(_PROJECTS):04d}"
    _ask(server, "PUT", f"/data/projects/{quote(project)}?accessibility=private")
    if wish.user == server.user:
        return XnatArchive(server, server.user, server.password, project, len(server.request_log))
    _make_user(server, wish.user, wish.password)
    if wish.role:
        _ask(server, "PUT", f"/data/projects/{quote(project)}/users/{wish.role}/{quote(wish.user)}")
    return XnatArchive(server, wish.user, wish.password, project, len(server.request_log))


def _make_user(server: LocalServer, login: str, password: str) -> None:
    if _status(server, "GET", f"/xapi/users/{quote(login)}") == 200:
        return
    account: dict[str, object] = {"username": login, "password": password, "enabled": True, "verified": True}
    account |= {"firstName": login, "lastName": "Test", "email": f"{login}@example.org"}
    _ask(server, "POST", "/xapi/users", json.dumps(account))


def _ask(server: LocalServer, method: str, path: str, body: str = "") -> None:
    status = _status(server, method, path, body)
    if status >= 300:
        raise pytest.UsageError(f"xnat: the archive answered {method} {path} with {status}")


def _status(server: LocalServer, method: str, path: str, body: str = "") -> int:
    """Ask the server as its administrator; by the plainest client, so that no proxy comes in between."""
    login = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
        connection.request(method, path, body or None, headers)
        return connection.getresponse().status
