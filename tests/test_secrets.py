"""A password is planted, and looked for in all that a command says, logs or writes, whether it goes well or not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_small
from tests.faults import Fault, wire
from tests.test_archive import portal
from tests.test_cli import PROGRAM, run
from tests.test_transport import leading, stranger
from xnat_bids_push.archive import open_archive
from xnat_bids_push.client import Credentials
from xnat_bids_push.config import resolve
from xnat_bids_push.errors import XnatBidsError
from xnat_bids_push.server import LocalServer

SECRET = "planted-7Qx/+secret"
SHAPES = (SECRET, "planted-7Qx%2F%2Bsecret", "YWRtaW46cGxhbnRlZC03UXgvK3NlY3JldA")
"""As it is, in a query or form, and in basic authentication."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("archive"), admin_password=SECRET) as server:
        yield server


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, in which everything that is written can be searched."""
    for name in ("HOST", "USER", "PASS"):
        monkeypatch.delenv(f"XNATPY_{name}", raising=False)
        monkeypatch.delenv(f"XNAT_{name}", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("TMPDIR", str(home))
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(home / "local"))
    monkeypatch.chdir(home)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Every word that is printed or logged, with debugging on for every library; searched at the end."""
    caplog.set_level(1)
    for name in ("urllib3", "requests", "xnat", "stamina", "xnat_bids_push"):
        logging.getLogger(name).setLevel(1)
    said: list[str] = []
    yield said
    told = capfd.readouterr()
    logged = [f"{record.getMessage()} {record.__dict__}" for record in caplog.get_records("call")]
    assert any("Starting new HTTP" in line for line in logged), "debugging was not on"
    assert leaks("\n".join([*said, *logged, told.out, told.err])) == []


def leaks(text: str) -> list[str]:
    return [shape for shape in SHAPES if shape in text]


def written(folder: Path) -> dict[str, list[str]]:
    """The files below a folder, or their names, that hold the password."""
    found = {}
    for path in folder.rglob("*"):
        content = path.read_bytes().decode("latin-1") if path.is_file() and not path.is_symlink() else ""
        if leaks(content + str(path)):
            found[str(path.relative_to(folder))] = leaks(content + str(path))
    return found


WAYS = ["environment", "netrc", "config"]


def way_in(way: str, url: str, user: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Save the login in one of the ways; the options that lead to it."""
    home = Path.home()
    if way == "environment":
        monkeypatch.setenv("XNAT_USER", user)
        monkeypatch.setenv("XNAT_PASS", SECRET)
    elif way == "netrc":
        (home / "netrc").write_text(f"machine {url.removeprefix('http://')} login {user} password {SECRET}\n")
    else:
        (home / "xnat.json").write_text(f'{{"server": "{url}", "user": "{user}", "password": "{SECRET}"}}')
        return ["--config", home / "xnat.json"]
    return ["--server", url]


SAVED = {"netrc", "xnat.json"}
"""Where the user has put it."""


@pytest.mark.parametrize("way", WAYS)
def test_no_command_tells_or_writes_it(
    way: str, guarded: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    where, project, root = (
        way_in(way, guarded.url, guarded.user, monkeypatch),
        f"S{way}",
        make_small(tmp_path / "small"),
    )
    unchecked = ("--validation", "off")

    assert run("push", root, project, *where, *unchecked, "--create-project") == 0
    assert run("doctor", project, *where) == 0
    assert run("doctor", project, *where, "--json", "--probe-write", "--probe-size", 1) == 0
    (root / "CHANGES").write_text("new")
    assert run("plan", root, project, *where, *unchecked, "-o", "plan.json") == 1
    assert run("apply", "plan.json") == 0
    assert run("verify", root, project, *where, "--json") == 0
    assert run("explain", root / "README", "--project", project, *where) == 0
    assert run("pull", project, "out", *where) == 0
    (root / "README").write_text("other")
    assert run("push", root, project, *where, *unchecked, "--json") == 1
    assert run("remove", root, project, *where, "--yes") in (0, 1)

    assert written(Path.home()).keys() <= SAVED
    assert written(root) == {}
    assert written(guarded.site.folder) == {}


@pytest.mark.parametrize("way", WAYS)
def test_no_failure_tells_or_writes_it(
    way: str, guarded: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    root = make_small(tmp_path / "small")
    where = way_in(way, guarded.url, "nobody", monkeypatch)
    for command in (("push", root), ("plan", root), ("verify", root), ("remove", root), ("doctor",)):
        assert run(*command, "P", *where) == 4
    assert run("pull", "P", "out", *where) == 4
    where = way_in(way, guarded.url, guarded.user, monkeypatch)
    for command in (("verify", root), ("pull",), ("doctor",)):
        rest = ("out",) if command == ("pull",) else ()
        assert run(*command, "NOPROJECT", *rest, *where) == 1
    with portal() as url:
        assert run("verify", root, "P", *way_in(way, url, guarded.user, monkeypatch)) == 5
    assert run("verify", root, "P", *way_in(way, "http://127.0.0.1:9", guarded.user, monkeypatch)) == 5
    with stranger()() as other, leading(other.url, at="/data/services/auth", status=307)() as server:
        assert run("verify", root, "P", *way_in(way, server.url, guarded.user, monkeypatch)) == 2
        assert leaks("".join(other.seen)) == []

    assert written(Path.home()).keys() <= SAVED
    assert written(root) == {}


@pytest.mark.parametrize("cut", [Fault.RESET, Fault.ANSWER_LOST])
@pytest.mark.parametrize("number", range(6))
def test_no_broken_connection_tells_it(
    number: int, cut: Fault, guarded: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> None:
    root = make_small(tmp_path / "small")
    with wire(guarded.url, at=number, fault=cut) as broken:
        where = way_in("environment", broken.url, guarded.user, monkeypatch)
        run("push", root, "BROKEN", *where, "--validation", "off", "--create-project", "--json")

    assert written(tmp_path) == {}


@pytest.mark.parametrize("address", [f"https://admin:{SECRET}@x.example.org", f"https://{SECRET}@x.example.org"])
def test_an_address_that_holds_it_is_refused_without_telling_it(
    address: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("doctor", "P", "--server", address) == 2
    monkeypatch.setenv("XNAT_HOST", address)
    assert run("pull", "P", "out", "--json") == 2
    told = capfd.readouterr()
    assert leaks(told.out + told.err) == []


def locals_of(error: BaseException) -> str:
    """What a program that prints the values of all frames would print, but for the frames of the tests."""
    told = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        frames = traceback.walk_tb(one.__traceback__)
        told += [repr(frame.f_locals) for frame, _ in frames if "/tests/" not in frame.f_code.co_filename]
        told += [repr(one), *traceback.format_exception_only(one)]
    return "\n".join(told)


@pytest.mark.parametrize("user", ["admin", "nobody", "01234567-89ab-cdef-0123-456789abcdef"])
@pytest.mark.parametrize("cut_at", [-1, 0, 1, 2])
def test_no_frame_of_a_failed_login_holds_it(user: str, cut_at: int, guarded: LocalServer) -> None:
    if (user, cut_at) == ("admin", -1):
        pytest.skip("that goes well")
    with wire(guarded.url, at=cut_at, fault=Fault.RESET) as broken, pytest.raises(XnatBidsError) as caught:
        open_archive(Credentials(broken.url, user, SECRET), "NOPROJECT")

    assert leaks(locals_of(caught.value)) == []


def test_no_representation_of_what_holds_it_shows_it(guarded: LocalServer) -> None:
    settings = resolve(server=guarded.url, user=guarded.user, password=SECRET, environment={"NETRC": "/no/such"})
    opened = open_archive(Credentials(guarded.url, guarded.user, SECRET), "SHOWN", create=True)
    held = [settings, opened, opened.__dict__, opened._session.__dict__, opened._session._xnat.interface.__dict__]
    shown = [repr(one) for one in held]
    opened.close()

    assert leaks("".join(shown)) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="there is no /proc here")
def test_the_command_line_of_no_process_shows_it(
    guarded: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ours, nor one that we start: each is looked at while it runs, until the end."""
    root = make_small(tmp_path / "small")
    where = way_in("netrc", guarded.url, guarded.user, monkeypatch)
    command = [*PROGRAM, "push", root, "SHOWN", *where, "--create-project", "--validation", "warn"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    seen: set[bytes] = set()
    with subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            seen |= _command_lines(process.pid)

    assert any(sys.executable.encode() in line for line in seen)
    assert leaks(b"\n".join(seen).decode("latin-1")) == []


def _command_lines(pid: int) -> set[bytes]:
    found = set()
    try:
        found.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    return found.union(*(_command_lines(int(child)) for child in children))
