"""A login is kept as a token, by the system's keyring, until it ends; no password is stored, and nothing tells it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import keyring
import pytest
import requests
from keyring.backend import KeyringBackend
from keyring.backends import fail

from tests.conftest import make_small
from tests.faults import Fault, wire
from tests.keyrings import InAFile, Locked
from tests.test_cli import run
from tests.test_secrets import SECRET, leaks, locals_of
from xnat_bids_push import tokens, vault
from xnat_bids_push.client import Credentials
from xnat_bids_push.config import resolve
from xnat_bids_push.doctor import Answers, Grade, verdicts
from xnat_bids_push.errors import ConfigError, XnatBidsError
from xnat_bids_push.server import LocalServer
from xnat_bids_push.vault import Token

A = "https://a.org"
ALIAS = "01234567-89ab-cdef-0123-456789abcdef"
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("archive"), admin_password=SECRET) as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a keyring that keeps what it is given there."""
    for family in ("XNATPY", "XNAT"):
        for name in ("HOST", "USER", "PASS"):
            monkeypatch.delenv(f"{family}_{name}", raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    use(InAFile(), monkeypatch)
    return folder


def use(backend: KeyringBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)


def kept(home: Path) -> dict[str, dict[str, str]]:
    path = home / "keyring.json"
    return {key: json.loads(text) for key, text in json.loads(path.read_text()).items()} if path.exists() else {}


def log_in(url: str, monkeypatch: pytest.MonkeyPatch, *options: object, password: str = SECRET) -> int:
    monkeypatch.setattr("sys.stdin", StringIO(f"{password}\n"))
    return run("login", url, "--user", "admin", "--password-stdin", *options)


def is_valid(url: str, token: dict[str, str]) -> bool:
    login = (token["alias"], token["secret"])
    return requests.get(f"{url}/data/auth", auth=login, timeout=30).status_code == 200


# ------------------------------------------------------------------ in and out


def test_who_has_logged_in_needs_no_password_until_logged_out(
    guarded: LocalServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_small(home / "small")

    assert log_in(guarded.url, monkeypatch) == 0
    assert f"Logged in at {guarded.url} as admin, until " in capsys.readouterr().out
    assert run("push", root, "LOGIN", "--server", guarded.url, "--create-project") == 0
    assert run("verify", root, "LOGIN", "--server", guarded.url, "--user", "admin") == 0
    [token] = kept(home).values()
    assert is_valid(guarded.url, token)
    assert run("logout", guarded.url) == 0
    assert "withdrawn" in capsys.readouterr().out
    assert not is_valid(guarded.url, token)
    assert kept(home) == {}
    assert run("verify", root, "LOGIN", "--server", guarded.url) == 2
    assert "run bids2xnat login" in capsys.readouterr().err
    assert run("logout", guarded.url) == 0


def test_a_server_s_name_will_do_and_so_will_the_configured_one(
    guarded: LocalServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "config.toml"
    file.write_text(f'[defaults]\nserver = "lab"\n[server.lab]\nurl = "{guarded.url}"\nuser = "admin"\n')
    monkeypatch.setenv("BIDS2XNAT_CONFIG", str(file))
    monkeypatch.setattr("sys.stdin", StringIO(SECRET))

    assert run("login", "--password-stdin") == 0
    assert run("config", "show", "--json") == 0
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines()[1:])}
    assert rows["password"]["value"] == "(not shown)"
    assert rows["password"]["origin"].startswith("keyring, until 20")
    assert run("logout", "lab") == 0


def test_a_wrong_password_is_refused_and_nothing_is_kept(
    guarded: LocalServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log_in(guarded.url, monkeypatch, password="wrong") == 4
    assert "the login of admin failed" in capsys.readouterr().err
    assert kept(home) == {}


def test_login_asks_and_so_wants_somebody_there(
    guarded: LocalServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("login") == 2
    assert "no server is named" in capsys.readouterr().err
    assert run("login", guarded.url, "--user", "admin") == 2
    assert "--password-stdin reads it" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = {f"User at {guarded.url}: ": "admin", f"Password of admin at {guarded.url}: ": SECRET}
    monkeypatch.setattr("getpass.getpass", answers.pop)
    monkeypatch.setattr("typer.prompt", lambda question, err: answers.pop(f"{question}: "))
    assert run("login", guarded.url) == 0
    assert answers == {}


def test_logging_out_without_the_server_leaves_no_token_here(
    guarded: LocalServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with wire(guarded.url) as way:
        assert log_in(way.url, monkeypatch) == 0
        gone = way.url
    assert run("logout", gone) == 5
    assert "The server could not be told, so that it ends by itself" in capsys.readouterr().err
    assert kept(home) == {}


# ------------------------------------------------------------------ whose it is, and for how long


def found(**words: object) -> tuple[str, str]:
    settings = resolve(server=A, environment={"NETRC": "/no/such"}, **words)  # type: ignore[arg-type]  # as the tests give
    return settings.user, settings.password


def test_a_token_is_used_for_its_server_and_its_user_alone(home: Path) -> None:
    vault.keep(A, Token("alice", ALIAS, "s", TOMORROW))

    assert found() == (ALIAS, "s")
    assert found(user="alice") == (ALIAS, "s")
    assert found(user="bob", ask=lambda question, secret: "asked") == ("bob", "asked")
    with pytest.raises(ConfigError, match="no user is known"):
        resolve(server="https://b.org", environment={"NETRC": "/no/such"})


def test_the_environment_comes_before_it_and_netrc_after(home: Path) -> None:
    vault.keep(A, Token("alice", ALIAS, "s", TOMORROW))
    (home / "netrc").write_text("machine a.org login n password p\n")
    words = {"NETRC": str(home / "netrc"), "XNAT_HOST": A, "XNAT_USER": "e", "XNAT_PASS": "pe"}

    assert resolve(environment=words).user == "e"
    assert resolve(server=A, environment={"NETRC": words["NETRC"]}).user == ALIAS
    assert resolve(server=A, user="n", environment={"NETRC": words["NETRC"]}).password == "p"


def test_a_token_that_has_ended_is_not_sent_and_that_is_told(home: Path) -> None:
    vault.keep(A, Token("alice", ALIAS, "s", datetime.now(UTC) - timedelta(minutes=1)))
    asked: list[str] = []

    with pytest.raises(ConfigError, match=r"the login kept in the keyring ended 20.*: run bids2xnat login"):
        found()
    assert found(ask=lambda question, secret: asked.append(question) or "asked") == ("asked", "asked")  # type: ignore[func-returns-value]
    assert all("the login kept in the keyring ended" in question for question in asked)


def test_a_token_of_an_unknown_end_is_good_until_the_server_says_otherwise(
    guarded: LocalServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.keep(guarded.url, Token("admin", ALIAS, "s"))

    assert run("doctor", "P", "--server", guarded.url) == 4
    assert "has ended, or was withdrawn. Get a new one: bids2xnat login" in capsys.readouterr().out


@pytest.mark.parametrize(("hours", "grade"), [(40, Grade.OK), (2, Grade.WARNING)])
def test_the_doctor_tells_when_a_login_ends_before_a_long_push(hours: int, grade: Grade) -> None:
    moment = datetime.now(UTC)
    answers = Answers(A, "P", moment, login="alice", alias=True, login_from="keyring, until then")
    answers = replace(answers, login_ends=moment + timedelta(hours=hours))
    told = [one for one in verdicts(answers) if one.check == "login"]

    assert [one.grade for one in told] == [grade]
    assert "an alias token of alice, from keyring, until then" in told[0].said


# ------------------------------------------------------------------ keyrings that are none


def test_without_a_keyring_login_says_what_else_can_be_done_and_asks_nothing(
    guarded: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(guarded.request_log)
    use(fail.Keyring(), monkeypatch)  # type: ignore[no-untyped-call]  # keyring annotates no constructors

    assert log_in(guarded.url, monkeypatch) == 2
    assert "no keyring on this machine that could keep a login: put the login into ~/.netrc" in capsys.readouterr().err
    monkeypatch.setattr(vault, "_keyring", lambda: None)
    assert log_in(guarded.url, monkeypatch) == 2
    assert "pip install 'bids2xnat[keyring]'" in capsys.readouterr().err
    assert run("logout", guarded.url) == 0
    assert len(guarded.request_log) == before


def test_a_locked_keyring_is_no_end_and_quotes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.keep(A, Token("alice", ALIAS, "planted", TOMORROW))
    use(Locked(), monkeypatch)
    (home / "netrc").write_text("machine a.org login n password p\n")

    assert resolve(server=A, environment={"NETRC": str(home / "netrc")}).user == "n"
    with pytest.raises(ConfigError, match="it may be locked") as caught:
        found()
    assert "planted" not in locals_of(caught.value)
    with pytest.raises(ConfigError, match="it may be locked") as caught:
        vault.find(A)
    assert "planted" not in locals_of(caught.value)


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"user": "u"}', '{"user": 1, "ends": "never"}'])
def test_what_somebody_else_has_put_there_is_no_login(text: str, home: Path) -> None:
    InAFile().set_password("bids2xnat", A, text)

    assert vault.find(A) is None


# ------------------------------------------------------------------ secrets


def test_neither_password_nor_token_is_told_logged_or_written(
    guarded: LocalServer,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(1)
    for name in ("urllib3", "requests", "xnat", "stamina", "keyring", "xnat_bids_push"):
        logging.getLogger(name).setLevel(1)

    assert log_in(guarded.url, monkeypatch) == 0
    [token] = kept(home).values()
    assert run("doctor", "P", "--server", guarded.url) == 1
    assert run("config", "show", "--server", guarded.url, "--json") == 0
    assert run("logout", guarded.url) == 0

    told = capfd.readouterr()
    logged = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.get_records("call"))
    assert "Starting new HTTP" in logged, "debugging was not on"
    everything = logged + told.out + told.err + "".join(path for _, path in guarded.request_log)
    assert token["secret"] not in everything
    assert leaks(everything) == []
    assert leaks((home / "keyring.json").read_text()) == []


@pytest.mark.parametrize("cut", [Fault.RESET, Fault.ANSWER_LOST])
@pytest.mark.parametrize("number", range(5))
def test_no_frame_of_a_login_that_breaks_holds_the_password(number: int, cut: Fault, guarded: LocalServer) -> None:
    with wire(guarded.url, at=number, fault=cut) as broken:
        try:
            token = tokens.issue(Credentials(broken.url, "admin", SECRET))
            told = f"{token} {token!r} {[token]}".replace(token.secret, SECRET)
        except XnatBidsError as error:
            told = locals_of(error)
    assert leaks(told) == []


@pytest.mark.parametrize(
    "answer",
    ["planted", "[]", "{}", '{"alias": "x", "secret": "planted", "xdatUserId": "u"}', '{"secret": "planted"}', "null"],
)
def test_an_answer_that_is_no_token_is_an_error_that_does_not_quote_it(
    answer: str, guarded: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = requests.Response()
    response._content = answer.encode()
    monkeypatch.setattr("xnat_bids_push.client.Session.once", lambda self, path: response)

    with pytest.raises(XnatBidsError, match="no alias token") as caught:
        tokens.issue(Credentials(guarded.url, "admin", SECRET))

    assert "planted" not in locals_of(caught.value)


@pytest.mark.parametrize(("ends", "known"), [(1_800_000_000_000, True), (None, False), ("soon", False), (1e300, False)])
def test_the_end_of_a_token_may_be_unknown(
    ends: object, known: bool, guarded: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = requests.Response()
    content = {"alias": ALIAS, "secret": "s", "xdatUserId": "u", "estimatedExpirationTime": ends}
    response._content = json.dumps(content).encode()
    monkeypatch.setattr("xnat_bids_push.client.Session.once", lambda self, path: response)

    assert (tokens.issue(Credentials(guarded.url, "admin", SECRET)).ends is not None) is known
