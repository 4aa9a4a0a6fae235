"""What must not be possible."""

from __future__ import annotations

import io
import socket
import stat
import tarfile
from pathlib import Path

import pytest

from xnat_bids_push.server import Behaviour, LocalServer

from .conftest import XNAT, Client, World, make_tar, make_xar, make_zip

IMPORT = "/data/services/import?import-handler=XAR&inbody=true"
ZIP = {"Content-Type": "application/zip"}


def _all_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "archive").rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/../up.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip", "tgz"])
def test_no_member_leaves_its_resource(world: World, name: str, kind: str) -> None:
    make = {"tar": make_tar, "zip": make_zip, "tgz": lambda members: make_tar(members, "w:gz")}[kind]
    before = _all_files(world.server.site.folder)

    answer = world.upload(f"x.{kind}", make({"good.txt": b"g", name: b"bad"}), extract="true")  # type: ignore[operator]

    assert answer.status_code == 400
    assert _all_files(world.server.site.folder) == before


def test_no_member_of_an_import_leaves_the_session(world: World) -> None:
    before = _all_files(world.server.site.folder)

    answer = world.owner("POST", IMPORT, make_xar(world.project, "new", {"../../../../x": b"bad"}), headers=ZIP)

    assert answer.status_code == 400
    assert _all_files(world.server.site.folder) == before


def test_names_that_are_no_text_are_refused(world: World) -> None:
    before = _all_files(world.server.site.folder)

    answer = world.upload("x.tar", make_tar({"good.txt": b"g", "bad\udcff.txt": b"b"}), extract="true")

    assert answer.status_code == 400
    assert _all_files(world.server.site.folder) == before


def test_links_in_archives_are_not_followed(world: World) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(world.server.site.folder / "admin-password")
        archive.addfile(link)
        inner = tarfile.TarInfo("out/x.txt")
        archive.addfile(inner)

    world.upload("x.tar", out.getvalue(), extract="true")

    assert world.owner("GET", f"{world.files}/out").content == b""
    assert not any(path.is_symlink() for path in world.server.site.folder.rglob("*"))


@pytest.mark.parametrize(
    "path",
    [
        "/data/projects/../../etc/passwd",
        "/data/projects/%2e%2e",
        "/data/projects/..%2f..%2fetc",
        "/data//projects",
        "/a\\b",
    ],
)
def test_addresses_that_are_not_plain_are_rejected(world: World, path: str) -> None:
    host, port = world.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert line.recv(100).split()[1] == b"500"


def test_documents_with_entities_are_refused(world: World) -> None:
    entity = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    bomb = f"{entity}<xnat:MRSession {XNAT}><xnat:note>&x;</xnat:note></xnat:MRSession>"

    answer = world.owner(
        "PUT", "/data/projects/{P}/subjects/sub-01/experiments/n", bomb, headers={"Content-Type": "text/xml"}
    )

    assert answer.status_code == 422
    assert "root:" not in answer.text


def test_bombs_do_not_explode(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnat_bids_push.server.unpacking.MAX_UNPACKED", 1000)
    answer = world.upload("x.zip", make_zip({"a": b"0" * 2000}), extract="true")

    assert answer.status_code == 500
    assert world.names() == {}


def test_members_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnat_bids_push.server.unpacking.MAX_ENTRIES", 2)

    assert world.upload("x.zip", make_zip({"a": b"", "b": b"", "c": b""}), extract="true").status_code == 500
    assert world.names() == {}


def test_texts_of_pages_carry_no_markup(world: World) -> None:
    answer = world.owner("PUT", "/data/projects/{P}/subjects/sub-01", gender="<script>alert(1)</script>")

    assert answer.status_code == 400
    assert "<script>" not in answer.text


def test_files_are_offered_for_saving(world: World) -> None:
    world.upload("a.html", b"<script>alert(1)</script>")
    answer = world.owner("GET", f"{world.files}/a.html")

    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_password_of_the_administrator_is_kept_for_its_owner_only(archive: Path) -> None:
    with LocalServer(archive) as first:
        password = first.password
    with LocalServer(archive) as second:
        assert second.password == password

    assert stat.S_IMODE((archive / "admin-password").stat().st_mode) == 0o600
    assert password.encode() not in (archive / "archive.sqlite3").read_bytes()


def test_the_password_can_be_given(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDS2XNAT_SERVE_PASSWORD", "from outside")
    with LocalServer(archive) as server, Client(server.url, ("admin", "from outside")) as admin:
        assert admin("GET", "/data/auth").status_code == 200
    assert not (archive / "admin-password").exists()


def test_too_many_wrong_passwords_lock_an_account(archive: Path) -> None:
    behaviour = Behaviour(failed_logins=2, lock_seconds=3600)
    with LocalServer(archive, behaviour=behaviour) as server:
        for _ in range(2):
            with Client(server.url, ("admin", "wrong")) as client:
                assert client("GET", "/data/auth").status_code == 401
        with Client(server.url, (server.user, server.password)) as admin:
            assert admin("GET", "/data/auth").status_code == 401


def test_sessions_end(archive: Path) -> None:
    with LocalServer(archive, behaviour=Behaviour(session_seconds=-1)) as server, Client(server.url, None) as client:
        name = client("PUT", "/data/services/auth", {"username": server.user, "password": server.password}).text

        dead = client("GET", "/data/projects")
        assert (dead.status_code, "WWW-Authenticate" in dead.headers) == (401, True)
        fresh = client("GET", "/data/JSESSION")
        assert fresh.status_code == 200
        assert fresh.text != name


def test_alias_tokens(world: World) -> None:
    token = world.owner("GET", "/data/services/tokens/issue").json()
    alias, secret = token["alias"], token["secret"]

    with Client(world.server.url, (alias, secret)) as client:
        assert client("GET", "/data/auth").text == "User 'owner' is logged in"
    address = f"{alias}/{secret}"
    assert world.owner("GET", f"/data/services/tokens/validate/{address}").json() == {"valid": "owner"}
    assert world.owner("GET", f"/data/services/tokens/validate/{alias}/wrong").json() == {}
    assert world.owner("GET", f"/data/services/tokens/validate/{alias}").status_code == 401
    assert world.admin("GET", "/data/services/tokens/issue/user/nobody").status_code == 400
    assert world.owner("GET", "/data/services/tokens/eat").status_code == 400
    assert world.owner("GET", f"/data/services/tokens/invalidate/{address}").status_code == 200
    assert world.owner("GET", f"/data/services/tokens/validate/{address}").status_code == 404
    with Client(world.server.url, (alias, secret)) as client:
        assert client("GET", "/data/auth").status_code == 401


def test_guests_cannot_send_much(world: World) -> None:
    answer = world.anonymous("PUT", "/data/services/auth", b"x" * 100_000)

    assert answer.status_code == 413


def test_only_administrators_make_users(world: World) -> None:
    account = {"username": "new", "password": "x"}

    assert world.owner.http.post(f"{world.server.url}/xapi/users", json=account).status_code == 403
    assert "new" not in world.admin("GET", "/xapi/users").json()


@pytest.mark.parametrize(
    "path", ["{P}", "{P}/subjects", "{P}/experiments", "{P}/files", "{P}/users", "{P}/subjects/sub-01"]
)
def test_strangers_do_not_learn_of_private_projects(world: World, path: str) -> None:
    assert world.stranger("GET", f"/data/projects/{path}", format="json").status_code == 404
    assert world.project not in world.stranger("GET", "/data/projects", format="json").text
