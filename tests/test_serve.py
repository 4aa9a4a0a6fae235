"""`bids2xnat serve`: where it listens, how it is guarded, and how it examines an archive."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import make_small
from tests.test_cli import PROGRAM, run
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.server import LocalServer
from xnat_bids_push.serving import Door, starting

CHECKOUT = Path(__file__).parents[1]
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that this machine signed itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
    )
    return certificate, key


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The program as it runs until Ctrl-C, and the address that it says."""
    command = [*PROGRAM, "serve", "--port", "0", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"https?://\S+", process.stdout.readline())
            assert url, process.communicate(timeout=60)
            yield url[0], process
        finally:
            process.send_signal(signal.SIGINT)


# ------------------------------------------------------------------ where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_needs_no_certificate(host: str) -> None:
    door = Door(host)

    assert door.is_private
    assert not door.is_in_the_clear
    starting(door, "all")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7", "xnat.example.org", "127.0.0.1.example.org"])
def test_other_machines_come_in_over_tls_or_by_an_explicit_word(host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        starting(Door(host), "all")

    starting(Door(host, insecure=True), "all")
    assert Door(host, insecure=True).is_in_the_clear


def test_refusing_to_listen_makes_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--archive", tmp_path / "archive", "--host", "0.0.0.0") == 2
    assert "can be reached from other machines" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_insecure_is_served_with_a_warning(tmp_path: Path) -> None:
    with serving("--archive", tmp_path / "archive", "--host", "0.0.0.0", "--insecure") as (url, process):
        port = url.rpartition(":")[2]
        assert requests.get(f"http://127.0.0.1:{port}/xapi/siteConfig/buildInfo", timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "Passwords and data travel in the clear" in said
    assert process.returncode == 0


def test_this_machine_alone_is_served_without_a_warning(tmp_path: Path) -> None:
    with serving("--archive", tmp_path / "archive") as (url, process):
        assert url.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == ""


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_an_address_of_ipv6_is_a_url_that_works(tmp_path: Path) -> None:
    try:
        server = LocalServer(tmp_path / "archive", host="::1").__enter__()
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    try:
        assert re.fullmatch(r"http://\[::1\]:\d+", server.url)
        assert requests.get(f"{server.url}/xapi/siteConfig/buildInfo", timeout=30).status_code == 200
    finally:
        server.__exit__(None, None, None)


# ------------------------------------------------------------------ TLS


@needs_openssl
def test_tls_is_spoken_with_the_given_certificate(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    folder = tmp_path / "archive"
    options = ("--host", "0.0.0.0", "--certificate", certificate, "--key", key)
    with serving("--archive", folder, *options) as (url, process):
        port = url.rpartition(":")[2]
        auth = ("admin", (folder / "admin-password").read_text().strip())
        answer = requests.get(f"https://localhost:{port}/data/projects", auth=auth, verify=str(certificate), timeout=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert url.startswith("https://")
    assert answer.status_code == 200
    assert said == ""


@needs_openssl
def test_a_server_with_a_certificate_speaks_nothing_else(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    with LocalServer(tmp_path / "archive", certificate=certificate, key=key) as server:
        auth = (server.user, server.password)
        answer = requests.get(f"{server.url}/data/projects", auth=auth, verify=str(certificate), timeout=30)
        with pytest.raises(requests.ConnectionError):
            requests.get(server.url.replace("https:", "http:"), timeout=30)

    assert answer.status_code == 200


@needs_openssl
def test_xnatpy_connects_over_tls(
    tmp_path: Path, pair: tuple[Path, Path], small_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push too: nothing in the client or the server takes plain HTTP for granted."""
    certificate, key = pair
    with LocalServer(tmp_path / "archive", certificate=certificate, key=key) as server:
        for name, value in {"HOST": server.url, "USER": server.user, "PASS": server.password}.items():
            monkeypatch.setenv(f"XNAT_{name}", value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert run(small_root, "P", "--create-project") == 0
        assert run("verify", small_root, "P") == 0


@needs_openssl
def test_certificates_that_cannot_be_used_are_found_before_anything_starts(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    certificate, key = pair
    for door, reason in (
        (Door(certificate=certificate), "both --certificate and --key"),
        (Door(key=key), "both --certificate and --key"),
        (Door(certificate=certificate, key=tmp_path / "nowhere"), "there is no file"),
        (Door(certificate=key, key=certificate), "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=reason):
            starting(door, "all")


@needs_openssl
def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)

    with pytest.raises(ConfigError, match="without a passphrase"):
        starting(Door(certificate=certificate, key=locked), "all")


@needs_openssl
def test_a_server_that_cannot_start_leaves_its_folder_free(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    with pytest.raises(ssl.SSLError), LocalServer(tmp_path / "archive", certificate=key, key=certificate):
        pass

    with LocalServer(tmp_path / "archive") as server:
        assert server.url.startswith("http://")


# ------------------------------------------------------------------ --check


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive with a small dataset in it."""
    folder = tmp_path / "archive"
    for name in ("XNAT_HOST", "XNATPY_HOST", "BIDS2XNAT_SERVE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    assert run(make_small(tmp_path / "small"), "P", "--archive", folder) == 0
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `serve --check` says; it ends by itself."""
    command = [*PROGRAM, "serve", "--check", "--archive", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_an_archive_that_is_whole_passes(kept: Path) -> None:
    done = check(kept)

    assert (done.returncode, done.stderr) == (0, "")
    assert "is whole" in done.stdout


def test_everything_that_is_wrong_is_said(kept: Path) -> None:
    files = sorted(path for path in (kept / "archive").rglob("*") if path.is_file() and path.stat().st_size > 2)
    gone, cut, changed = files[:3]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    changed.write_bytes(changed.read_bytes()[::-1])
    strange = changed.with_name("strange")
    strange.write_text("nobody knows me")

    done = check(kept)

    assert done.returncode == 1
    assert set(done.stderr.splitlines()[:-1]) == {
        f"missing: {gone.relative_to(kept)}",
        f"wrong size: {cut.relative_to(kept)}",
        f"wrong digest: {changed.relative_to(kept)}",
        f"not listed: {strange.relative_to(kept)}",
    }
    assert "4 problems" in done.stderr


def test_a_damaged_database_is_said_too(kept: Path) -> None:
    database = kept / "archive.sqlite3"
    for beside in kept.glob("archive.sqlite3-*"):
        beside.unlink()
    database.write_bytes(b"no database at all" * 1000)

    done = check(kept)

    assert done.returncode == 1
    assert "damaged: archive.sqlite3" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_archive_that_cannot_be_read_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "archive.sqlite3").write_bytes(b"no database at all" * 1000)
    assert run("serve", "--archive", tmp_path / "archive") == 2
    assert "cannot be opened" in re.sub(r"\s+", " ", capsys.readouterr().err)


def test_checking_makes_no_archive(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        done = check(folder)
        assert done.returncode == 2
        assert "there is no local archive" in re.sub(r"\s+", " ", done.stderr)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_checking_opens_no_socket_and_needs_no_certificate(kept: Path) -> None:
    """It can look at an archive that is being served: no port is taken, no option about listening matters."""
    command = [*PROGRAM, "serve", "--check", "--archive", str(kept), "--host", "0.0.0.0"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with LocalServer(kept):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
