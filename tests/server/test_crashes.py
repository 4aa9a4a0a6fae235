"""Killed at any moment, full, or shared by two processes: what is listed is there, and what is there is whole."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from xnat_bids_push.server import Behaviour, Fault, LocalServer, check

from .conftest import Client, make_tar, make_xar

ROOT = Path(__file__).parents[2]
_SERVE = """
import sys, time
from pathlib import Path
import xnat_bids_push.server.{module} as target
from xnat_bids_push.server import LocalServer
with LocalServer(Path(sys.argv[1]), admin_password="secret") as server:
    {sabotage}
    print(server.url, flush=True)
    sys.stdin.read()
"""
_DIE_BEFORE = "import os, signal; target.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
_DIE_AFTER = (
    "import os, signal; real = target.{name}; "
    "target.{name} = lambda *args: (real(*args), os.kill(os.getpid(), signal.SIGKILL))"
)

IMPORT = "/data/services/import?import-handler=XAR&inbody=true"
SESSION = "/data/projects/P/subjects/S/experiments/E"
FILES = f"{SESSION}/resources/R/files"


@contextmanager
def _process(
    archive: Path, module: str = "files", sabotage: str = "pass"
) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """The server in a process of its own, which may be made to die at a certain point."""
    code = _SERVE.format(module=module, sabotage=sabotage)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(archive)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with Client(url, ("admin", "secret"), "P") as client:
            yield client, process
        process.kill()


def _prepare(archive: Path) -> None:
    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as client:
        client("PUT", "/data/projects/P")
        client("PUT", "/data/projects/P/subjects/S")
        client("PUT", SESSION, xsiType="xnat:mrSessionData")
        client("PUT", f"{FILES}/old.txt", b"old", inbody="true")


def _check(archive: Path) -> dict[str, str]:
    """Every listed file is there with its size and digest; gives what is listed in the resource."""
    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as client:
        listed: dict[str, str] = {}
        for row in client.rows("/data/projects/P/experiments", columns="ID"):
            for file in client.rows(f"/data/experiments/{row['ID']}/files", all="true"):
                answer = client("GET", file["URI"])
                assert answer.status_code == 200
                assert len(answer.content) == int(file["Size"])
                assert file["digest"] in ("", hashlib.md5(answer.content).hexdigest())
                listed[file["URI"].split("/files/")[1]] = answer.text
        leftovers = [path for path in (archive / "staging").rglob("*") if path.is_file() and path.suffix != ".lock"]
        assert leftovers == []
        return listed


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_killed_while_files_are_put_into_place(archive: Path, count: int, overwrite: str) -> None:
    """The process dies when the second, third ... file of an archive is renamed."""
    _prepare(archive)
    sabotage = f"""
    import os, signal
    real, calls = Path.replace, []
    def replace(self, other):
        if "archive/P" in str(other):
            calls.append(other)
            if len(calls) == {count}: os.kill(os.getpid(), signal.SIGKILL)
        return real(self, other)
    Path.replace = replace
"""
    members = {"old.txt": b"newer", "b.txt": b"bb", "c.txt": b"ccc", "d.txt": b"dddd"}
    with _process(archive, sabotage=sabotage.strip()) as (client, process):
        with pytest.raises(requests.ConnectionError):
            client("PUT", f"{FILES}/x.tar", make_tar(members), inbody="true", extract="true", overwrite=overwrite)
        assert process.wait(10) == -signal.SIGKILL

    listed = _check(archive)

    whole = {name: content.decode() for name, content in members.items()} | (
        {} if overwrite == "true" else {"old.txt": "old"}
    )
    nothing = {"old.txt": "old"}
    assert listed in (whole, nothing)
    assert (listed == nothing) == (count == 1)


@pytest.mark.parametrize("point", ["before", "after"])
def test_killed_during_an_import(archive: Path, point: str) -> None:
    _prepare(archive)
    sabotage = (_DIE_BEFORE if point == "before" else _DIE_AFTER).format(name="_move_in")
    parcel = make_xar("P", "new", {"a.txt": b"a", "b.txt": b"b"}, subject="S")
    with _process(archive, "imports", sabotage) as (client, process):
        with pytest.raises(requests.ConnectionError):
            client("POST", IMPORT, parcel, headers={"Content-Type": "application/zip"})
        assert process.wait(10) == -signal.SIGKILL

    assert _check(archive) == {"old.txt": "old"}
    assert not (archive / "archive/P/arc001/new").exists()
    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as client:
        assert client("POST", IMPORT, parcel, headers={"Content-Type": "application/zip"}).status_code == 200
    assert _check(archive) == {"old.txt": "old", "a.txt": "a", "b.txt": "b"}


@pytest.mark.parametrize("address", [f"{FILES}/old.txt", f"{SESSION}/resources/R", f"{SESSION}?removeFiles=true"])
def test_killed_while_something_is_deleted(archive: Path, address: str) -> None:
    _prepare(archive)
    sabotage = _DIE_AFTER.format(name="move")
    with _process(archive, "files", sabotage) as (client, process):
        with pytest.raises(requests.ConnectionError):
            client("DELETE", address)
        assert process.wait(10) == -signal.SIGKILL

    assert _check(archive) == {"old.txt": "old"}


def test_killed_while_a_body_comes_in(archive: Path) -> None:
    _prepare(archive)
    with _process(archive) as (client, process):

        def body() -> Iterator[bytes]:
            yield b"x" * 500_000
            process.kill()
            yield b"x" * 500_000

        with pytest.raises(requests.ConnectionError):
            client("PUT", f"{FILES}/big.bin", body(), headers={"Content-Type": "application/zip"})

    assert _check(archive) == {"old.txt": "old"}


def test_a_full_disk_leaves_everything_as_it_was(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _prepare(archive)

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as client:
        with monkeypatch.context() as patch:
            patch.setattr("xnat_bids_push.server.uploads.flush", full)
            patch.setattr("xnat_bids_push.server.imports.flush_all", full)
            assert client("PUT", f"{FILES}/new.txt", b"new", inbody="true").status_code == 500
            answer = client(
                "POST", IMPORT, make_xar("P", "n", {"a": b"a"}, "S"), headers={"Content-Type": "application/zip"}
            )
            assert answer.status_code >= 400
        assert client("PUT", f"{FILES}/new.txt", b"new", inbody="true").status_code == 200

    assert _check(archive) == {"old.txt": "old", "new.txt": "new"}


def test_two_processes_share_an_archive(archive: Path) -> None:
    """Both write sessions at the same time; nothing is lost, no ID is given out twice."""
    _prepare(archive)
    with (
        _process(archive) as (first, _),
        LocalServer(archive, admin_password="secret") as server,
        Client(server.url, ("admin", "secret")) as second,
    ):
        made: list[str] = []

        def work(client: Client, name: str) -> None:
            for number in range(10):
                parcel = make_xar("P", f"{name}{number}", {"a.txt": b"a"}, "S")
                answer = client("POST", IMPORT, parcel, headers={"Content-Type": "application/zip"})
                assert answer.status_code == 200
                made.append(answer.text)
                client("PUT", f"{FILES}/{name}{number}.txt", b"x", inbody="true")

        threads = [threading.Thread(target=work, args=pair) for pair in ((first, "a"), (second, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(set(made)) == 20
        assert len(first.rows(FILES)) == 21
        assert len(second.rows("/data/projects/P/experiments")) == 21


def test_a_dead_process_is_recovered_while_another_one_lives(archive: Path) -> None:
    _prepare(archive)
    sabotage = _DIE_AFTER.format(name="move")
    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as living:
        with _process(archive, "files", sabotage) as (client, process):
            with pytest.raises(requests.ConnectionError):
                client("DELETE", f"{FILES}/old.txt")
            process.wait(10)
        with LocalServer(archive, admin_password="secret"):
            assert living("GET", f"{FILES}/old.txt").text == "old"


def test_conflicting_writers_of_one_catalog(archive: Path) -> None:
    """Of requests that overlap, all but the first fail and leave their files unlisted."""
    _prepare(archive)
    behaviour = Behaviour(catalog_conflicts="overlapping")
    with LocalServer(archive, admin_password="secret", behaviour=behaviour) as server:
        go, sent = threading.Event(), threading.Event()
        answers: list[int] = []

        def slow_body() -> Iterator[bytes]:
            yield b"slow"
            sent.set()
            go.wait(10)
            yield b"ly"

        def slow() -> None:
            with Client(server.url, ("admin", "secret")) as client:
                client("GET", "/data/auth")
                kind = {"Content-Type": "application/zip"}
                answers.append(client("PUT", f"{FILES}/slow.txt", slow_body(), headers=kind).status_code)

        thread = threading.Thread(target=slow)
        thread.start()
        sent.wait(10)
        with Client(server.url, ("admin", "secret")) as client:
            answers.append(client("PUT", f"{FILES}/quick.txt", b"quick", inbody="true").status_code)
            go.set()
            thread.join()
            names = {row["Name"] for row in client.rows(FILES)}

            assert answers == [200, 500]
            assert names == {"old.txt", "quick.txt"}
            repeated = client("PUT", f"{FILES}/slow.txt", b"slowly", inbody="true")
            assert repeated.json() == {"duplicates": ["slow.txt"]}
            assert client("PUT", f"{FILES}/slow.txt", b"slowly", inbody="true", overwrite="true").text == ""


def test_a_check_finds_what_is_wrong(archive: Path) -> None:
    _prepare(archive)
    with LocalServer(archive, admin_password="secret") as server, Client(server.url, ("admin", "secret")) as client:
        for name in ("gone", "cut", "changed", "good"):
            client("PUT", f"{FILES}/{name}.txt", b"content", inbody="true")
    folder = archive / "archive/P/arc001/E/RESOURCES/R"
    (folder / "gone.txt").unlink()
    (folder / "cut.txt").write_text("con")
    (folder / "changed.txt").write_text("CONTENT")
    (folder / "stray.txt").write_text("x")

    found = {problem.path.name: problem.fault for problem in check(archive)}

    assert found == {
        "gone.txt": Fault.MISSING,
        "cut.txt": Fault.SIZE,
        "changed.txt": Fault.DIGEST,
        "stray.txt": Fault.UNLISTED,
    }


def test_stopping_is_quick_and_complete(archive: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        with LocalServer(archive) as server, Client(server.url, (server.user, server.password)) as client:
            client("GET", "/data/projects")
    assert threading.active_count() <= before


def test_requests_are_counted(archive: Path) -> None:
    with LocalServer(archive) as server, Client(server.url, (server.user, server.password)) as client:
        client("GET", "/data/projects")
        client("PUT", "/data/projects/A")
        client("PUT", "/data/projects/B")

    assert server.request_log == [("GET", "/data/projects"), ("PUT", "/data/projects/A"), ("PUT", "/data/projects/B")]
    assert server.request_counts["PUT /data/projects/{project}"] == 2
