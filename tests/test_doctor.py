"""`bids2xnat doctor` says what a push would run into, to whoever asks, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from tests.certificates import Certified, needs_openssl, self_made
from tests.conftest import Connect, People
from tests.test_archive import portal
from tests.test_cli import run
from xnat_bids_push.archive import Archive
from xnat_bids_push.config import Settings
from xnat_bids_push.dataset import read
from xnat_bids_push.doctor import (
    Answers,
    Certificate,
    Digests,
    Disk,
    Grade,
    Probe,
    Stop,
    Verdict,
    verdicts,
)
from xnat_bids_push.errors import Rejected
from xnat_bids_push.examining import Trial, examine
from xnat_bids_push.model import Deletion, Node
from xnat_bids_push.pushing import push
from xnat_bids_push.server import LocalServer

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WELL = Answers("https://x.example.org", "P", NOW, version="1.8.11", user="alice")


def judged(answers: Answers) -> dict[str, Verdict]:
    return {one.check: one for one in verdicts(answers)}


def grades(answers: Answers) -> dict[str, str]:
    return {name: str(one.grade) for name, one in judged(answers).items()}


def asked(server: LocalServer, project: str, user: str, *, password: str = People.password) -> Answers:
    return examine(Settings(server.url, user, password, Path("unused")), project)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in ("XNAT_HOST", "XNAT_USER", "XNAT_PASS", "XNATPY_HOST", "XNATPY_USER", "XNATPY_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))


@pytest.fixture
def filled(open_project: Connect, small_root: Path) -> None:
    """The project holds a dataset."""
    with open_project() as archive:
        push(read(small_root), archive)


# ------------------------------------------------------------------ who asks


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("role", "grade", "words"),
    [
        ("Owners", Grade.OK, "Owner: you may push, and remove"),
        ("Members", Grade.WARNING, "Member: you may push sessions, but no files of the project itself"),
        ("Collaborators", Grade.PROBLEM, "Collaborator: you may read, and write nothing"),
    ],
)
def test_everybody_is_told_their_own_role_and_rights(
    role: str, grade: Grade, words: str, server: LocalServer, project: str, people: People
) -> None:
    people.add(f"doctor-{role}", project, role)

    found = judged(asked(server, project, f"doctor-{role}"))

    assert found["role"].grade is grade
    assert words in found["role"].said
    assert found["login"].said == f"doctor-{role}"
    assert found["checksums"].grade is Grade.OK
    assert found["access"].grade is Grade.OK
    assert found["types"].grade is Grade.OK
    assert found["quarantine"].grade is Grade.OK
    assert found["clock"].grade is Grade.OK


def test_a_stranger_is_told_that_the_project_cannot_be_seen(
    server: LocalServer, project: str, people: People, open_project: Connect
) -> None:
    with open_project():
        people.add("doctor-stranger", project, "Members")
    requests.put(f"{server.url}/data/projects/{project}x", auth=(server.user, server.password), timeout=30)
    requests.put(
        f"{server.url}/data/projects/{project}x/accessibility/private",
        auth=(server.user, server.password),
        timeout=30,
    )

    found = judged(asked(server, f"{project}x", "doctor-stranger"))

    assert found["project"].grade is Grade.PROBLEM
    assert "--create-project" in found["project"].remedy
    assert "role" not in found


def test_quarantine_and_openness_are_told(server: LocalServer, project: str, open_project: Connect) -> None:
    with open_project():
        for setting in ("quarantine_code/1", "accessibility/public"):
            url = f"{server.url}/data/projects/{project}/{setting}"
            requests.put(url, auth=(server.user, server.password), timeout=30).raise_for_status()

    found = grades(asked(server, project, server.user, password=server.password))

    assert found["quarantine"] == found["access"] == "warning"


def test_a_stock_site_is_told_by_the_types_that_it_lacks(tmp_path: Path) -> None:
    with LocalServer(tmp_path / "site", registered="stock") as server:
        login = (server.user, server.password)
        requests.put(f"{server.url}/data/projects/P", auth=login, timeout=30).raise_for_status()
        found = judged(asked(server, "P", server.user, password=server.password))

    assert found["types"].grade is Grade.WARNING
    assert "xnat:eegSessionData (EEG, IEEG)" in found["types"].said
    assert "xnat:mrSessionData" not in found["types"].said
    assert found["role"].said.startswith("Owner")


def test_an_alias_token_is_told_from_a_password(server: LocalServer, project: str, open_project: Connect) -> None:
    issue = f"{server.url}/data/services/tokens/issue"
    token = requests.get(issue, auth=(server.user, server.password), timeout=30).json()
    with open_project():
        found = judged(asked(server, project, token["alias"], password=token["secret"]))

    assert found["login"].grade is Grade.WARNING
    assert "an alias token of admin" in found["login"].said
    assert token["secret"] not in str(found)
    assert found["role"].grade is Grade.OK


def test_it_writes_nothing(server: LocalServer, project: str, open_project: Connect) -> None:
    with open_project():
        before = len(server.request_log)
        asked(server, project, server.user, password=server.password)

    methods = {(method, path) for method, path in server.request_log[before:] if method != "GET"}
    assert methods <= {("PUT", "/data/services/auth"), ("DELETE", "/data/JSESSION")}


# ------------------------------------------------------------------ the way there


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return self_made(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def guarded(tmp_path: Path, certified: Certified) -> Iterator[LocalServer]:
    """A server whose certificate is by an authority that nobody knows."""
    with LocalServer(tmp_path / "guarded", certificate=certified.certificate, key=certified.key) as server:
        login = (server.user, server.password)
        url = f"{server.url}/data/projects/P"
        requests.put(url, auth=login, verify=str(certified.authority), timeout=30).raise_for_status()
        yield server


@needs_openssl
def test_an_unknown_authority_is_a_problem_and_no_password_goes_out(
    guarded: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XNAT_USER", guarded.user)
    monkeypatch.setenv("XNAT_PASS", guarded.password)
    before = len(guarded.request_log)

    assert run("doctor", "P", "--server", guarded.url) == 1

    assert "--ca-bundle" in capsys.readouterr().out
    assert len(guarded.request_log) == before


@needs_openssl
@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_bundle_of_ones_own_is_trusted(
    way: str,
    guarded: LocalServer,
    certified: Certified,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XNAT_USER", guarded.user)
    monkeypatch.setenv("XNAT_PASS", guarded.password)
    bundle: list[object] = ["--ca-bundle", certified.authority]
    if way == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certified.authority))
        bundle = []

    assert run("doctor", "P", "--server", guarded.url, *bundle) == 0

    said = capsys.readouterr().out
    assert "the certificate is valid until" in said
    assert "admin from XNAT_PASS" in said


@needs_openssl
def test_a_bundle_that_is_given_goes_before_one_of_the_environment(
    guarded: LocalServer, certified: Certified, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = self_made(tmp_path / "other")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.authority))
    settings = Settings(guarded.url, guarded.user, guarded.password, tmp_path)

    assert examine(settings, "P").stop is Stop.TRUST
    assert examine(replace(settings, ca_bundle=str(certified.authority)), "P").stop is Stop.NOWHERE


def test_a_file_without_certificates_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.pem").write_text("nothing")

    assert run("doctor", "P", "--server", "https://localhost:1", "--ca-bundle", tmp_path / "empty.pem") == 2
    assert "holds no certificates" in capsys.readouterr().err


def test_what_is_no_xnat_ends_with_5(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XNAT_USER", "alice")
    monkeypatch.setenv("XNAT_PASS", "secret")
    with portal() as url:
        assert run("doctor", "P", "--server", url) == 5
    assert "does not answer as an XNAT server does" in capsys.readouterr().out
    assert run("doctor", "P", "--server", "http://127.0.0.1:9") == 5


def test_a_wrong_password_ends_with_4(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XNAT_USER", server.user)
    monkeypatch.setenv("XNAT_PASS", "not-the-password")
    assert run("doctor", "P", "--server", server.url) == 4
    said = capsys.readouterr()
    assert "XNAT_PASS" in said.out
    assert "not-the-password" not in said.out + said.err


def test_the_local_archive_is_examined_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("doctor", "DEMO", "--json") == 0

    *lines, total = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["check"] for line in lines} >= {"server", "project", "types", "disk"}
    assert total == {"event": "summary", "ok": len(lines), "unknown": 0, "warning": 0, "problem": 0}
    assert not (tmp_path / "archive").exists()


# ------------------------------------------------------------------ the trial


@pytest.mark.usefixtures("filled")
def test_a_trial_proves_that_writing_works_and_leaves_nothing(
    server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch, open_project: Connect
) -> None:
    monkeypatch.setenv("XNAT_USER", server.user)
    monkeypatch.setenv("XNAT_PASS", server.password)
    before = len(server.request_log)

    assert run("doctor", project, "--server", server.url, "--probe-write", "--probe-size", 1) == 0

    written = {path for method, path in server.request_log[before:] if method == "PUT" and "subjects" in path}
    assert len({path.split("/")[5] for path in written}) == 1
    with open_project() as archive:
        assert sorted(archive.subjects()) == ["sub-01", "sub-02"]
        assert len(archive.experiments()) == 2


def test_who_could_not_remove_a_trial_makes_none(
    server: LocalServer, project: str, open_project: Connect, people: People
) -> None:
    with open_project() as archive:
        people.add("doctor-Members", project, "Members")
        settings = Settings(server.url, "doctor-Members", People.password, Path("unused"))
        found = judged(examine(settings, project, trial=Trial(10)))

        assert found["trial"].grade is Grade.WARNING
        assert archive.subjects() == {}


def test_what_a_trial_leaves_is_told(
    server: LocalServer, project: str, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Archive, thing: object) -> None:
        raise Rejected("not today")

    with open_project() as archive:
        with monkeypatch.context() as patched:
            patched.setattr(Archive, "delete", refuse)
            settings = Settings(server.url, server.user, server.password, Path("unused"))
            found = [one for one in verdicts(examine(settings, project, trial=Trial(10))) if one.check == "trial"]

        [left] = archive.subjects()
        assert found[-1].grade is Grade.PROBLEM
        assert left in found[-1].said
        archive.delete(Deletion(Node(left, f"{left}_TRIAL")))
        archive.delete(Deletion(Node(left)))


def test_a_body_that_does_not_go_through_is_a_limit(
    server: LocalServer, project: str, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Archive, *step: object, **how: object) -> tuple[str, ...]:
        raise Rejected("too large", status=413)

    monkeypatch.setattr(Archive, "send_file", refuse)
    with open_project() as archive:
        settings = Settings(server.url, server.user, server.password, Path("unused"))
        found = judged(examine(settings, project, trial=Trial(1 << 21)))

        assert found["uploads"].grade is Grade.PROBLEM
        assert "2 MiB did not go through" in found["uploads"].said
        assert archive.subjects() == {}


# ------------------------------------------------------------------ judging


@pytest.mark.parametrize(
    ("answers", "check", "grade"),
    [
        (replace(WELL, version="1.9.2"), "version", Grade.OK),
        (replace(WELL, version="1.10.0"), "version", Grade.WARNING),
        (replace(WELL, version="1.7.6"), "version", Grade.WARNING),
        (replace(WELL, certificate=Certificate(NOW + timedelta(days=200))), "tls", Grade.OK),
        (replace(WELL, certificate=Certificate(NOW + timedelta(days=5))), "tls", Grade.WARNING),
        (replace(WELL, certificate=Certificate(fault="expired")), "tls", Grade.PROBLEM),
        (WELL, "tls", Grade.UNKNOWN),
        (replace(WELL, server="http://x.example.org"), "tls", Grade.WARNING),
        (replace(WELL, date="Sat, 31 Jan 2026 12:00:10 GMT"), "clock", Grade.OK),
        (replace(WELL, date="Sat, 31 Jan 2026 13:00:00 GMT"), "clock", Grade.WARNING),
        (replace(WELL, date="yesterday"), "clock", Grade.UNKNOWN),
        (replace(WELL, checksums="true"), "checksums", Grade.OK),
        (replace(WELL, checksums="false"), "checksums", Grade.WARNING),
        (replace(WELL, digests=Digests(3, 0)), "checksums", Grade.OK),
        (replace(WELL, digests=Digests(3, 1)), "checksums", Grade.WARNING),
        (WELL, "checksums", Grade.UNKNOWN),
        (replace(WELL, probe=Probe()), "checksums", Grade.OK),
        (WELL, "reasons", Grade.UNKNOWN),
        (replace(WELL, reasons={"requireEventName": "true"}), "reasons", Grade.PROBLEM),
        (replace(WELL, reasons={"requireChangeJustification": "true"}), "reasons", Grade.OK),
        (
            replace(WELL, reasons={"requireChangeJustification": "true", "showChangeJustification": "true"}),
            "reasons",
            Grade.PROBLEM,
        ),
        (replace(WELL, accessibility="protected"), "access", Grade.WARNING),
        (replace(WELL, accessibility="odd"), "access", Grade.UNKNOWN),
        (replace(WELL, fronts=("nginx/1.24",)), "uploads", Grade.UNKNOWN),
        (replace(WELL, server="", disk=Disk(10**9, 10**12)), "disk", Grade.WARNING),
        (replace(WELL, rights=frozenset({"read", "edit", "create", "project"})), "role", Grade.WARNING),
        (replace(WELL, rights=frozenset()), "role", Grade.PROBLEM),
        (replace(WELL, probe=Probe(fault="it failed")), "trial", Grade.PROBLEM),
    ],
)
def test_each_answer_is_judged(answers: Answers, check: str, grade: Grade) -> None:
    assert judged(answers)[check].grade is grade


def test_what_is_wrong_has_a_remedy() -> None:
    for stop in Stop:
        for one in verdicts(replace(WELL, stop=stop, reason="so it is", certificate=Certificate(fault="expired"))):
            assert one.remedy or one.grade in (Grade.OK, Grade.UNKNOWN), one
