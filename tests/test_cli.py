"""The command line as people and programs meet it: words, exit codes, and no password anywhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import People, make_small
from tests.faults import wire
from tests.test_laws import tree
from xnat_bids_push.cli import main
from xnat_bids_push.server import LocalServer

PROGRAM = [sys.executable, "-c", "from xnat_bids_push.cli import main; main()"]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in ("HOST", "USER", "PASS"):
        monkeypatch.delenv(f"XNAT_{name}", raising=False)
        monkeypatch.delenv(f"XNATPY_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_the_plain_form_pushes_into_the_local_archive_and_says_so(
    small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_root, "DEMO") == 0
    said = capsys.readouterr()
    assert f"local archive in {tmp_path / 'archive'}" in said.err
    assert "Everything is there: 2 sessions, 9 files" in said.out
    assert "bids2xnat serve" in said.out


def test_a_misspelt_command_is_no_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verfy", "study", "DEMO") == 2
    assert "did you mean bids2xnat verify?" in capsys.readouterr().err


def test_a_folder_named_like_a_command_is_pushed(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_root.rename(small_root.parent / "plans")
    monkeypatch.chdir(small_root.parent)

    assert run("plans", "DEMO", "--quiet") == 0


@pytest.mark.parametrize("command", ["push", "plan"])
def test_a_new_project_needs_an_id_that_xnat_takes(
    command: str, small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, small_root, "my study") == 2
    assert "'my study' cannot be a project's ID" in capsys.readouterr().err


def test_nothing_is_pulled_into_the_archive_itself(
    small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_root, "DEMO", "--quiet") == 0
    before = sorted((tmp_path / "archive").rglob("*"))

    assert run("pull", "DEMO", tmp_path / "archive" / "out") == 2
    assert "lies in the local archive" in capsys.readouterr().err
    assert sorted((tmp_path / "archive").rglob("*")) == before


def test_a_server_that_is_not_there_is_told_by_its_address(
    small_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XNAT_PASS", "secret")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    assert run(small_root, "DEMO", "--server", f"http://127.0.0.1:{port}", "--user", "alice") == 5
    said = capsys.readouterr().err
    assert f"http://127.0.0.1:{port} cannot be reached: the server refuses connections" in said
    assert "doctor" in said


def test_the_help_shows_no_value_for_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("push", "--help") == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "--sourcedata" in line]
    assert line.split()[1:4] == ["--sourcedata", "Also", "take"]


def test_plan_push_verify_pull_remove(small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", small_root, "DEMO") == 1
    assert "new session" in capsys.readouterr().out
    assert not (tmp_path / "archive").exists()
    assert run("push", small_root, "DEMO") == 0
    assert run("plan", small_root, "DEMO") == 0
    assert run("verify", small_root, "DEMO") == 0
    assert run("pull", "DEMO", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == tree(small_root)
    assert run("remove", small_root, "DEMO", "--yes") == 0
    capsys.readouterr()
    assert run("verify", small_root, "DEMO") == 1
    assert "not in the archive" in capsys.readouterr().err


def test_verify_names_what_differs_and_exits_1(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(small_root, "DEMO")
    (small_root / "sub-02/anat/sub-02_T1w.nii.gz").write_text("OTHER")
    capsys.readouterr()
    assert run("verify", small_root, "DEMO") == 1
    assert "sub-02/anat/sub-02_T1w.nii.gz: differs in the archive" in capsys.readouterr().err


def test_the_command_that_goes_on_concerns_only_what_is_left(
    small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(small_root / "sub-02", small_root / "sub-03")
    for file in (small_root / "sub-03").rglob("sub-02*"):
        file.rename(file.with_name(file.name.replace("sub-02", "sub-03")))
    run("push", small_root, "DEMO", "--participant-label", "01")
    capsys.readouterr()
    assert run("verify", small_root, "DEMO", "--json") == 1
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])

    words = shlex.split(summary["again"])
    assert words[:2] == ["bids2xnat", "push"]
    assert words[-3:] == ["--participant-label", "02", "03"]
    assert [(one["places"], one["first"]) for one in summary["causes"]] == [(2, ["sub-02_MR", "sub-03_MR"])]
    assert run(*(word for word in words[1:] if word != "--json")) == 0
    assert run("verify", small_root, "DEMO") == 0


def test_many_failures_of_one_cause_are_told_once(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3, 9):
        path = small_root / f"sub-0{number}/anat/sub-0{number}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_text(f"image {number}")
    run(small_root, "DEMO")
    for path in small_root.glob("sub-0*/anat/*_T1w.nii.gz"):
        path.write_text("another image, and longer")
    capsys.readouterr()
    assert run(small_root, "DEMO") == 1
    said = capsys.readouterr().err
    assert "8 places: differs in the archive, and was left as it is  (sub-01_MR, sub-02_MR, sub-03_MR, …)" in said
    assert "To go on:" not in said


def test_json_is_one_object_a_line_and_nothing_else(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small_root, "DEMO", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["outcome"] * 3 + ["receipt", "summary"]
    assert lines[-1]["ok"] is True
    assert lines[-1]["files"] == 9
    assert run("plan", small_root, "DEMO", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["settled"] is True
    assert run(small_root / "nowhere", "DEMO", "--json") == 3
    assert json.loads(capsys.readouterr().out)["issues"][0]["message"] == "there is no such folder"


def test_nothing_is_removed_unless_somebody_says_yes(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(small_root, "DEMO")
    assert run("remove", small_root, "DEMO") == 2
    assert "--yes" in capsys.readouterr().err
    assert run("verify", small_root, "DEMO") == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (lambda root: (root / "dataset_description.json").unlink(), "--validation warn or off"),
        (lambda root: list(map(shutil.rmtree, root.glob("sub-*"))), "the dataset is empty"),
        (lambda root: (root / "loop").symlink_to("loop"), "leads back to itself"),
        (lambda root: (root / "out").symlink_to("/etc/passwd"), "a link out of the dataset"),
    ],
)
def test_bad_datasets_exit_3_before_anything_is_written(
    make: object, message: str, small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(small_root)  # type: ignore[operator]
    assert run(small_root, "DEMO") == 3
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "archive").exists()


def test_all_problems_of_a_dataset_are_told_at_once(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_root / "loop").symlink_to("loop")
    (small_root / "broken").symlink_to("nowhere")
    (small_root / "SUB-01").mkdir()
    (small_root / "sub-0A").mkdir()
    (small_root / "sub-0a").mkdir()
    assert run(small_root, "DEMO") == 3
    said = capsys.readouterr().err
    assert all(word in said for word in ("loop", "broken", "sub-0a", "3 problems"))


def test_validation_off_pushes_any_folder(small_root: Path) -> None:
    (small_root / "dataset_description.json").unlink()
    assert run(small_root, "DEMO", "--validation", "off") == 0


# ------------------------------------------------------------------ servers and people


def _environment(server: str, user: str, password: str) -> dict[str, str]:
    return {"XNAT_HOST": server, "XNAT_USER": user, "XNAT_PASS": password}


def test_a_server_and_its_login_come_from_the_environment(
    small_root: Path, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _environment(server.url, server.user, server.password).items():
        monkeypatch.setenv(name, value)
    assert run(small_root, project) == 1  # there is no such project
    assert run(small_root, project, "--create-project") == 0
    assert run("verify", small_root, project) == 0


def test_a_config_file_of_pyxnats_form_will_do(
    small_root: Path, server: LocalServer, project: str, tmp_path: Path
) -> None:
    config = tmp_path / "xnat.json"
    config.write_text(json.dumps({"server": server.url, "user": server.user, "password": server.password}))
    assert run(small_root, project, "--config", config, "--create-project") == 0


def test_netrc_will_do(small_root: Path, server: LocalServer, project: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    netrc = tmp_path / "home" / "netrc"
    host = server.url.removeprefix("http://")
    netrc.write_text(f"machine {host} login {server.user} password {server.password}\n")
    netrc.chmod(0o600)
    assert run(small_root, project, "--server", server.url, "--create-project") == 0


def test_an_alias_token_will_do(
    small_root: Path, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = (server.user, server.password)
    token = requests.get(f"{server.url}/data/services/tokens/issue", auth=auth, timeout=30).json()
    for name, value in _environment(server.url, token["alias"], token["secret"]).items():
        monkeypatch.setenv(name, value)
    assert run(small_root, project, "--create-project") == 0


def test_no_credentials_is_a_usage_error(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small_root, "P", "--server", "http://127.0.0.1:9") == 2
    assert "XNAT_USER" in capsys.readouterr().err


def test_access_denied_exits_4_and_an_unreachable_server_5(
    small_root: Path, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch, people: People
) -> None:
    for name, value in _environment(server.url, server.user, "wrong").items():
        monkeypatch.setenv(name, value)
    assert run(small_root, project) == 4
    monkeypatch.setenv("XNAT_PASS", server.password)
    assert run(small_root, project, "--create-project") == 0
    people.add("collab3", project, "Collaborators")
    run("remove", small_root, project, "--yes")
    monkeypatch.setenv("XNAT_USER", "collab3")
    monkeypatch.setenv("XNAT_PASS", people.password)
    assert run(small_root, project) == 4
    assert run(small_root, project, "--server", "http://127.0.0.1:9", "--user", "x") == 2  # no password of that one
    monkeypatch.setenv("XNAT_HOST", "http://127.0.0.1:9")
    assert run(small_root, project) == 5


def test_no_output_holds_the_password(
    small_root: Path,
    server: LocalServer,
    project: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in _environment(server.url, server.user, server.password).items():
        monkeypatch.setenv(name, value)
    for arguments in (
        ("push", small_root, project, "--create-project", "--json"),
        ("plan", small_root, project, "--json"),
        ("verify", small_root, "NOSUCH"),
        ("push", small_root, project, "--server", "http://127.0.0.1:9"),
    ):
        run(*arguments)
    said = capfd.readouterr()
    assert server.password not in said.out + said.err


# ------------------------------------------------------------------ processes


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_ends_cleanly_and_the_same_command_goes_on(
    word: signal.Signals, tmp_path: Path, server: LocalServer, project: str
) -> None:
    root = make_small(tmp_path / "small")
    with wire(server.url, stall="/data/services/import") as stalled:
        environment = os.environ | _environment(stalled.url, server.user, server.password)
        command = [*PROGRAM, str(root), project, "--create-project", "--validation", "off"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            assert stalled.stalled.wait(60)
            process.send_signal(word)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    environment = os.environ | _environment(server.url, server.user, server.password)
    again = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert again.returncode == 0


def test_serve_prints_address_and_login_and_keeps_the_password_to_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    command = [*PROGRAM, "serve", "--archive", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert url
        assert "admin" in second
        password_file = folder / "admin-password"
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
        auth = ("admin", password_file.read_text().strip())
        assert requests.get(f"{url[0]}/data/projects", auth=auth, timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_port_that_is_taken_is_a_clear_error(
    tmp_path: Path, server: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    port = server.url.rpartition(":")[2]
    assert run("serve", "--archive", tmp_path / "other", "--port", port) == 2
    assert "already in use: give another --port" in capsys.readouterr().err


def test_help_and_version_come_at_once_and_load_no_client() -> None:
    code = (
        "import sys\nfrom xnat_bids_push.cli import main\n"
        "try:\n main(['--version'])\nexcept SystemExit as end:\n assert end.code == 0\n"
        "assert not {'xnat', 'pandas', 'bids', 'nibabel', 'starlette'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bids2xnat ")


def test_a_folder_that_holds_something_else_becomes_no_archive(
    small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_small(tmp_path / "other")
    before = tree(other)
    assert run(small_root, "P", "--archive", other) == 2
    assert run("serve", "--archive", other) == 2
    assert "holds something else" in capsys.readouterr().err
    assert run(small_root, "P", "--archive", small_root / "archive") == 2
    assert "lies in the dataset" in capsys.readouterr().err
    assert tree(other) == before


# ------------------------------------------------------------------ choosing


@pytest.mark.parametrize(
    "arguments",
    [
        ["--participant-label", "01", "02"],
        ["--participant-label", "sub-01", "--participant-label", "02"],
        ["--participant-label", "01,sub-02"],
        ["--participant-label", "01 02", "--quiet"],
        ["--participant-label=01", "--participant-label", "02", "--datatype", "anat", "func"],
    ],
)
def test_lists_may_be_written_in_every_usual_way(arguments: list[str], small_root: Path) -> None:
    assert run(small_root, "DEMO", *arguments) == 0
    assert run("plan", small_root, "DEMO") == 0


def test_a_value_before_the_arguments_is_one_value(small_root: Path) -> None:
    assert run("--participant-label", "02", small_root, "DEMO") == 0
    assert run("push", "--suffix", "T1w", small_root, "DEMO", "--suffix", "bold") == 0
    assert run("--participant-label", "01", "02", small_root, "DEMO") == 2


def test_every_command_takes_the_same_filters(small_root: Path, tmp_path: Path) -> None:
    filters = tmp_path / "filters.json"
    filters.write_text('{"t1w": {"suffix": "T1w", "subject": "02"}}')
    only = ("--bids-filter-file", filters)
    assert run("plan", small_root, "DEMO", *only) == 1
    assert run("push", small_root, "DEMO", *only) == 0
    assert run("plan", small_root, "DEMO", *only) == 0
    assert run("verify", small_root, "DEMO") == 1
    assert run("verify", small_root, "DEMO", *only) == 0
    assert run(small_root, "DEMO") == 0
    assert run("pull", "DEMO", tmp_path / "out", *only) == 0
    assert {path.name for path in (tmp_path / "out").glob("sub-*")} == {"sub-02"}
    assert run("remove", small_root, "DEMO", "--yes", *only) == 0
    assert run("verify", small_root, "DEMO", "--participant-label", "01") == 0
    assert run("verify", small_root, "DEMO", "--participant-label", "02") == 1


def test_what_is_not_chosen_is_counted_for_people_and_programs(
    small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small_root, "DEMO", "--participant-label", "01", "--suffix", "bold")
    assert "left out: 1 participant, 2 files not chosen (--participant-label, --suffix)" in capsys.readouterr().err
    run(small_root, "DEMO", "--participant-label", "01", "--suffix", "bold", "--json")
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["unchosen"] == {"participants": 1, "files": 2}


@pytest.mark.parametrize("option", ["--participant-label", "--session-label", "--datatype", "--suffix"])
def test_an_empty_filter_takes_nothing_for_granted(
    option: str, small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable of a script must not mean everything, least of all to `remove`."""
    assert run("remove", small_root, "DEMO", option, "", "--yes") == 2
    assert f"{option} has an empty value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ('{"a": {"acq": 1}}', "pybids calls it acquisition"),
        ("\xff", "utf-8"),
    ],
)
def test_a_wrong_filter_file_is_said_before_anything_else(
    text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filters = tmp_path / "filters.json"
    if text is not None:
        filters.write_bytes(text.encode("latin-1"))
    for command in (("push", tmp_path / "nowhere", "DEMO"), ("pull", "DEMO", tmp_path / "out")):
        assert run(*command, "--bids-filter-file", filters) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pulling_what_the_project_does_not_have_is_an_error_that_names_what_there_is(
    small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small_root, "DEMO")
    capsys.readouterr()
    assert run("pull", "DEMO", tmp_path / "out", "--participant-label", "07") == 2
    assert "there is no sub-07 (--participant-label); there are sub-01, sub-02" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("pull", "DEMO", tmp_path / "out", "--suffix", "dwi") == 1
    assert "nothing is taken (--suffix): of recordings there are anat (T1w), func (bold)" in capsys.readouterr().err


def test_a_push_without_some_content_says_so_last_and_exits_1(
    small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The archive does not equal the dataset; `plan` has nothing more to do all the same."""
    image = small_root / "sub-02/anat/sub-02_T1w.nii.gz"
    image.write_text("/annex/objects/MD5E-s4--900150983cd24fb0d6963f7d28e17f72.nii.gz\n")
    assert run(small_root, "DEMO") == 3
    assert "datalad get 'sub-02/anat/sub-02_T1w.nii.gz'" in capsys.readouterr().err
    for command in ("push", "verify"):
        assert run(command, small_root, "DEMO", "--skip-missing-content") == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("Not everything is there. Left out: 1 file whose content is not here")
        assert "sub-02/anat/sub-02_T1w.nii.gz. What is here is there: 2 sessions, 8 files" in last
    assert run("plan", small_root, "DEMO", "--skip-missing-content") == 0
    assert "has all that is taken of the dataset" in capsys.readouterr().out
