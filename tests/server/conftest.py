"""One archive for all tests of the server, with four people in it, and a client for each of them."""

from __future__ import annotations

import io
import itertools
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import requests

from xnat_bids_push.server import LocalServer

PASSWORD = "a-passw0rd"
ROLES = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators", "stranger": ""}
_numbers = itertools.count(1)

XNAT = 'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


class Client:
    """A user's connection; paths may name ``{P}``, the project of the test."""

    def __init__(self, url: str, auth: tuple[str, str] | None, project: str = "") -> None:
        self.url, self.project = url, project
        self.http = requests.Session()
        self.http.trust_env = False
        if auth is not None:
            self.http.auth = auth

    def __call__(self, method: str, path: str, data: Any = None, **options: Any) -> requests.Response:
        """Send one request; keyword arguments that requests does not know are query fields."""
        known = {name: options.pop(name) for name in ("headers", "files", "stream") if name in options}
        query = {name.replace("__", ":").replace("_in_", "/"): value for name, value in options.items()}
        query = {name: str(value) for name, value in (options.get("query") or query).items()}
        url = self.url + path.replace("{P}", self.project)
        return self.http.request(method, url, params=query, data=data, timeout=60, allow_redirects=False, **known)

    def rows(self, path: str, **query: Any) -> list[dict[str, str]]:
        """The rows of a listing."""
        answer = self("GET", path, format="json", **query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, str]] = answer.json()["ResultSet"]["Result"]
        return found

    def fields(self, path: str) -> dict[str, Any]:
        """The fields of one object."""
        answer = self("GET", path, format="json")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["items"][0]["data_fields"]
        return found

    def close(self) -> None:
        """Hang up."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class World:
    """A fresh project with a subject, an MR session and a scan, and the people around it."""

    server: LocalServer
    project: str
    clients: dict[str, Client] = field(default_factory=dict)
    session: str = ""
    subject: str = ""

    def __getattr__(self, name: str) -> Client:
        try:
            return self.clients[name]
        except KeyError as error:
            raise AttributeError(name) from error

    @property
    def scan(self) -> str:
        """The address of the scan."""
        return f"/data/experiments/{self.session}/scans/1"

    @property
    def files(self) -> str:
        """The address of the files of its resource."""
        return f"{self.scan}/resources/NIFTI/files"

    def upload(self, name: str, data: bytes = b"hello", **query: Any) -> requests.Response:
        """Upload one file as the owner."""
        return self.owner("PUT", f"{self.files}/{name}", data, **{"inbody": "true", **query})

    def names(self) -> dict[str, str]:
        """The files of the resource: path and size."""
        listed = self.owner.rows(self.files)
        return {row["URI"].split("/files/", 1)[1]: row["Size"] for row in listed}


def make_zip(members: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_xar(
    project: str, label: str, files: Mapping[str, bytes], subject: str = "sub-01", kind: str = "MRSession"
) -> bytes:
    """An archive for the session import with one scan, whose resource holds the files."""
    entries = "".join(f'<cat:entry URI="{name}" ID="{name}" name="{name}"/>' for name in files)
    catalog = (
        f'<cat:Catalog xmlns:cat="http://nrg.wustl.edu/catalog"><cat:entries>{entries}</cat:entries></cat:Catalog>'
    )
    document = (
        f'<xnat:{kind} {XNAT} label="{label}" project="{project}"><xnat:subject_ID>{subject}</xnat:subject_ID>'
        '<xnat:scans><xnat:scan ID="1" type="T1w" xsi:type="xnat:mrScanData">'
        '<xnat:file xsi:type="xnat:resourceCatalog" label="NIFTI" URI="SCANS/1/NIFTI/NIFTI_catalog.xml"/>'
        f"</xnat:scan></xnat:scans></xnat:{kind}>"
    )
    below = {f"files/SCANS/1/NIFTI/{name}": content for name, content in files.items()}
    return make_zip({"session.xml": document, "files/SCANS/1/NIFTI/NIFTI_catalog.xml": catalog, **below})


def _people(server: LocalServer) -> None:
    with Client(server.url, (server.user, server.password)) as admin:
        for name in ROLES:
            account = {"username": name, "password": PASSWORD, "firstName": name, "lastName": "x", "email": f"{name}@x"}
            assert admin.http.post(f"{server.url}/xapi/users", json=account).status_code == 201


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A site with the types of an untouched installation."""
    with LocalServer(tmp_path_factory.mktemp("stock"), registered="stock") as running:
        _people(running)
        yield running


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A site on which every type is registered."""
    with LocalServer(tmp_path_factory.mktemp("all")) as running:
        _people(running)
        yield running


def make_world(server: LocalServer, accessibility: str = "private") -> World:
    """A fresh project on a server."""
    world = World(server, f"P{next(_numbers)}")
    for name in ROLES:
        world.clients[name] = Client(server.url, (name, PASSWORD), world.project)
    world.clients["admin"] = Client(server.url, (server.user, server.password), world.project)
    world.clients["anonymous"] = Client(server.url, None, world.project)
    world.owner("PUT", "/data/projects/{P}", accessibility=accessibility)
    for name in ("member", "collaborator"):
        world.owner("PUT", f"/data/projects/{{P}}/users/{ROLES[name]}/{name}")
    world.subject = world.owner("PUT", "/data/projects/{P}/subjects/sub-01").text
    session = "/data/projects/{P}/subjects/sub-01/experiments/ses-01"
    world.session = world.owner("PUT", session, xsiType="xnat:mrSessionData", date="2020-01-02").text
    world.owner("PUT", world.scan, xsiType="xnat:mrScanData", type="T1w")
    return world


@pytest.fixture
def world(server: LocalServer) -> Iterator[World]:
    """A fresh private project."""
    made = make_world(server)
    yield made
    for client in made.clients.values():
        client.close()


@pytest.fixture
def admin_of_all(open_server: LocalServer) -> Iterator[World]:
    """A fresh private project on the site on which every type is registered."""
    made = make_world(open_server)
    yield made
    for client in made.clients.values():
        client.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An empty folder for an archive of one's own."""
    return tmp_path / "archive"
