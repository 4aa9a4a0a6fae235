"""The settings file says what is always the same; what is wrong with it is said at once, and no secret is quoted."""

from __future__ import annotations

import inspect
import json
import tomllib
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_small
from tests.test_cli import run
from xnat_bids_push import cli
from xnat_bids_push.config import Settings, find_goal, resolve
from xnat_bids_push.connecting import connect
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.preferences import DEFAULTS, OPTIONS, PATHS, SERVER, faults
from xnat_bids_push.server import LocalServer

LAB, CLINIC = "https://lab.example.org", "https://clinic.example.org"
FILE = f"""
[defaults]
server = "lab"
jobs = 2
timeout = 60

[server.lab]
url = "{LAB}/"
user = "alice"
jobs = 8
mapping = "lab.toml"

[server.clinic]
url = "{CLINIC}"
privacy = "require"
"""


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file, which counts; and nothing else of the person who runs the test."""
    for name in ("XNAT_HOST", "XNAT_USER", "XNAT_PASS", "XNATPY_HOST", "XNATPY_USER", "XNATPY_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/no/such/netrc")
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    monkeypatch.setenv("BIDS2XNAT_CONFIG", str(path))
    return path


def found(**words: object) -> Settings:
    return resolve(**words, ask=lambda question, secret: "asked")  # type: ignore[arg-type]  # each test gives the right ones


# ------------------------------------------------------------------ what it says


def test_a_server_has_a_name_and_with_it_its_login_and_its_values(settings_file: Path) -> None:
    by_default, by_name, by_address = found(), found(server="clinic"), found(server=f"{CLINIC}/")

    assert (by_default.server, by_default.user, by_default.timeout) == (LAB, "alice", 60)
    assert (by_name.server, by_name.user) == (CLINIC, "asked")
    assert by_name == by_address


def test_what_is_given_beats_the_environment_which_beats_the_file(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(user="bob", timeout=5).user == "bob"
    assert found(user="bob", timeout=5).timeout == 5
    monkeypatch.setenv("XNAT_HOST", CLINIC)
    assert found().server == CLINIC
    assert found(server="lab").server == LAB
    monkeypatch.setenv("XNAT_USER", "carol")
    assert found(server="lab").user == "alice"  # carol is a user of the clinic
    monkeypatch.delenv("XNAT_HOST")
    assert found(server="lab").user == "carol"


def test_a_table_of_one_server_beats_the_defaults(settings_file: Path) -> None:
    said = {server: find_goal(server=server).setting("jobs") for server in ("lab", "clinic")}

    assert {server: one.value for server, one in said.items() if one} == {"lab": 8, "clinic": 2}
    assert {server: one.origin for server, one in said.items() if one} == {
        "lab": f"[server.lab] in {settings_file}",
        "clinic": f"[defaults] in {settings_file}",
    }


def test_paths_are_meant_from_the_file_s_folder(settings_file: Path) -> None:
    said = find_goal(server="lab").setting("mapping")

    assert said is not None
    assert said.value == str(settings_file.parent / "lab.toml")


def test_another_file_takes_its_place(settings_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(f'[server.lab]\nurl = "{CLINIC}"')

    assert found(server="lab", config=other).server == CLINIC
    assert found(config=other).server == ""


def test_a_file_of_pyxnat_s_form_goes_with_it(settings_file: Path, tmp_path: Path) -> None:
    saved = tmp_path / "xnat.json"
    saved.write_text(json.dumps({"server": CLINIC, "user": "u", "password": "p"}))

    assert (found(config=saved).server, found(config=saved).password) == (CLINIC, "p")
    assert found(server="lab", config=saved).password == "asked"


def test_a_server_s_certificates_are_checked_where_they_are_named(settings_file: Path) -> None:
    settings_file.write_text(f'[server.lab]\nurl = "{LAB}"\nca_bundle = "config.toml"')

    with pytest.raises(ConfigError, match=r"\[server.lab\] in .*: it holds no certificates"):
        found(server="lab")


def test_without_a_file_nothing_is_said() -> None:
    assert found(environment={"NETRC": "/no/such"}).server == ""


def test_a_file_that_is_named_must_be_there(settings_file: Path) -> None:
    settings_file.unlink()

    with pytest.raises(ConfigError, match=r"BIDS2XNAT_CONFIG: .* cannot be read: No such file"):
        found()
    with pytest.raises(ConfigError, match=r"--config: .* cannot be read: No such file"):
        found(config=Path("nowhere.toml"))


# ------------------------------------------------------------------ what is wrong with it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = 2", "there is no 'jobs': there are defaults, server"),
        ("[default]\njobs = 2", "there is no 'default': did you mean 'defaults'?"),
        ("[servers.lab]\nurl = 'https://a.org'", "there is no 'servers': did you mean 'server'?"),
        ("[defaults]\nJobs = 2", "[defaults] there is no 'Jobs': did you mean 'jobs'?"),
        ("[defaults]\nno-demographics = true", "did you mean 'no_demographics'?"),
        ("[defaults]\njobs = 0", "[defaults] jobs: it must be a whole number from 1 to 64"),
        ("[defaults]\njobs = 2.5", "[defaults] jobs: it must be a whole number from 1 to 64"),
        ("[defaults]\njobs = true", "[defaults] jobs: it must be a whole number from 1 to 64"),
        ("[defaults]\ntimeout = '9'", "[defaults] timeout: it must be a number, at least 1"),
        ("[defaults]\nprivacy = 'on'", "[defaults] privacy: it must be one of require, warn, off"),
        ("[defaults]\nno_demographics = 1", "[defaults] no_demographics: it must be true or false"),
        ("[defaults]\nserver = ''", "[defaults] server: it must be a text"),
        ("[defaults]\nserver = 'a'\n[server.ab]\nurl = 'https://a.org'", "there is no [server.a]: did you mean 'ab'?"),
        ("[server.lab]\nuser = 'u'", "[server.lab] url is missing"),
        ("[server.lab]\nurl = 'a.org'", "[server.lab] url: 'a.org' is no server's address"),
        ("[server.lab]\nurl = 'https://u:secret@a.org'", "[server.lab] url: the server's address holds a user"),
        ("[server.'a.b']\nurl = 'https://a.org'", "made of letters, digits, - and _"),
        ("[server]\nlab = 'https://a.org'", "[server] lab: it must be a table: write [server.lab]"),
        ("server = 'lab'", "server: it must be a table"),
        ("[server.lab]\nurl = 'https://a.org'\nserver = 'x'", "[server.lab] there is no 'server'"),
        ("[server.lab", "is no TOML"),
    ],
)
def test_what_is_wrong_is_told_with_a_remedy(settings_file: Path, text: str, said: str) -> None:
    settings_file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        found()

    assert said in str(caught.value)
    assert str(settings_file) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["password", "pass", "Passwd", "secret", "token", "xnat_pass", "alias_token", "pwd"])
@pytest.mark.parametrize("table", ["defaults", "server.lab"])
def test_a_secret_is_refused_and_not_quoted(settings_file: Path, table: str, key: str) -> None:
    settings_file.write_text(f"[{table}]\n{key} = 'the planted word'\n")

    with pytest.raises(ConfigError, match=f"{key}: no secret is ever read from this file") as caught:
        found()

    assert "planted" not in str(caught.value)


def test_a_value_is_never_quoted() -> None:
    rows = tomllib.loads("[server.lab]\nurl = ['planted']\nuser = ['planted']\n[defaults]\nprivacy = 'planted'")

    assert len(list(faults(rows))) == 3
    assert "planted" not in " ".join(faults(rows))


def test_all_is_told_at_once(settings_file: Path) -> None:
    settings_file.write_text("[defaults]\njobs = 0\nx = 1\n[server.lab]\nurl = 'lab'\n[server.clinic]\npassword = 'p'")

    with pytest.raises(ConfigError) as caught:
        found()

    assert len(str(caught.value).splitlines()) == 6


def test_a_name_that_nobody_knows_is_an_error_that_names_those_there_are(settings_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"'labb' is no server's address.*no server's name: .* has lab, clinic"):
        found(server="labb")
    settings_file.write_text("")
    with pytest.raises(ConfigError, match="no settings file names any"):
        found(server="lab")


ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", "https://a.org", [], {}, {"url": 1}, {"url": {}}]
)


@settings(max_examples=50)
@given(ODD | st.dictionaries(st.text(max_size=3), ODD))
def test_whatever_the_file_holds_there_is_an_answer(value: object) -> None:
    for rows in (
        {"server": value},
        {"defaults": value},
        {"server": {"lab": value}},
        {"server": {"lab": {"url": value}}},
    ):
        list(faults(rows))


# ------------------------------------------------------------------ the options of commands


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_what_the_file_may_say_is_what_the_option_takes(name: str) -> None:
    annotation = inspect.signature(cli.push).parameters[name].annotation
    kind, (info,) = OPTIONS[name], annotation.__metadata__
    taken = next(one for one in (*get_args(annotation.__origin__), annotation.__origin__) if one is not NoneType)

    if taken is bool:
        assert kind.fits(True)
    elif taken is Path:
        assert name in PATHS
    elif issubclass(taken, StrEnum):
        assert kind.words == f"one of {', '.join(taken)}"
    else:
        assert kind.fits(taken(info.min))
        assert not kind.fits(taken(info.min - 1))
        assert kind.fits(taken((info.max or 1_000_000) - 1))
        assert info.max is None or not kind.fits(taken(info.max + 1))


def test_every_key_stands_in_one_of_the_tables() -> None:
    assert OPTIONS.keys() < DEFAULTS.keys()
    assert OPTIONS.keys() < SERVER.keys()


def test_options_are_as_the_file_says_unless_they_are_given(
    settings_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, kept = make_small(tmp_path / "small"), tmp_path / "kept"
    (root / "sub-01/anat/sub-01_T1w.json").write_text('{"PatientName": "Jane Doe"}')
    settings_file.write_text("[defaults]\nprivacy = 'require'\nreceipts = 'kept'\nno_demographics = true")

    assert run(root, "P") == 3
    assert "Jane" not in capsys.readouterr().err
    assert run(root, "P", "--privacy", "off") == 0
    [receipt] = kept.glob("*.json")
    assert json.loads(receipt.read_text())["options"] == {"no_demographics": True, "privacy": "off"}
    assert run("verify", "--receipt", receipt) == 0  # what the file says was not asked for here
    assert run("remove", "--receipt", receipt, "--yes") == 0


def test_a_server_s_name_will_do_for_commands_and_for_python(
    settings_file: Path, server: LocalServer, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_file.write_text(f'[server.here]\nurl = "{server.url}"\nuser = "{server.user}"')
    monkeypatch.setenv("XNAT_PASS", server.password)

    assert run(make_small(tmp_path / "small"), project, "--server", "here", "--create-project") == 0
    with connect("here", project=project) as opened:
        assert opened.server == server.url


def test_a_plan_is_applied_to_the_archive_that_it_was_made_for(
    settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_file.write_text("[defaults]\narchive = 'one'")
    monkeypatch.delenv("BIDS2XNAT_ARCHIVE")
    assert run("plan", make_small(tmp_path / "small"), "P", "-o", tmp_path / "plan.json") == 1
    settings_file.write_text("[defaults]\narchive = 'other'")

    assert run("apply", tmp_path / "plan.json") == 2
    assert f"is a plan for {tmp_path / 'one'}" in capsys.readouterr().err
    settings_file.write_text("[defaults]\narchive = 'one'")
    assert run("apply", tmp_path / "plan.json") == 0


# ------------------------------------------------------------------ config show


def test_config_show_tells_where_each_value_came_from_and_no_password(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XNAT_PASS", "planted")

    assert run("config", "show", "--timeout", 7, "--json") == 0
    said = capsys.readouterr().out
    rows = {row["name"]: (row["value"], row["origin"]) for row in map(json.loads, said.splitlines())}
    there = f"[server.lab] in {settings_file}"
    assert rows["config"] == (str(settings_file), "BIDS2XNAT_CONFIG")
    assert rows["server"] == (LAB, f"[defaults] in {settings_file}, {there}")
    assert rows["user"] == ("alice", there)
    assert rows["password"] == ("(not shown)", "XNAT_PASS")
    assert rows["jobs"] == (8, there)
    assert rows["timeout"] == (7, "--timeout")
    assert rows["validation"] == ("require", "by default")
    assert "planted" not in said
    assert set(OPTIONS) < set(rows)


def test_config_show_asks_nobody_and_names_the_local_archive(
    settings_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "show", "--server", "clinic") == 0
    assert "asked for" in capsys.readouterr().out
    settings_file.write_text("")
    assert run("config", "show") == 0
    assert str(tmp_path / "archive") in capsys.readouterr().out


def test_serve_needs_no_login_of_the_configured_server(settings_file: Path, tmp_path: Path) -> None:
    assert run(make_small(tmp_path / "small"), "P", "--archive", tmp_path / "archive") == 0
    assert run("serve", "--check") == 0


def test_config_path_is_where_the_file_is_or_would_be(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("config", "path") == 0
    assert capsys.readouterr().out.strip() == str(settings_file)
    monkeypatch.delenv("BIDS2XNAT_CONFIG")
    assert run("config", "path") == 0
    assert capsys.readouterr().out.strip().endswith("config.toml")
