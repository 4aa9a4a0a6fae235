"""The official validator before a push: its errors stop it or are told, and it is always clear what happened."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_data.generate import generate_annex, generate_many
from tests.conftest import SHARED, Connect
from tests.faults import Wire, wire
from tests.test_cli import run
from xnat_bids_push import validating
from xnat_bids_push.choosing import Choice
from xnat_bids_push.dataset import Selection, read
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.model import Issue, Severity, Validation
from xnat_bids_push.pushing import healthy, push
from xnat_bids_push.server import LocalServer
from xnat_bids_push.validating import validate

TASK = "task-rest_bold.json"


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    """A dataset of two subjects that the validator accepts."""
    generate_many(tmp_path / "valid", subjects=2)
    return tmp_path / "valid"


@pytest.fixture
def invalid(valid: Path) -> Path:
    """One that lacks a field which BIDS requires of every functional image, and has a table with a ragged row."""
    (valid / TASK).write_text('{"TaskName": "rest"}')
    (valid / "participants.tsv").write_text("participant_id\tage\nsub-00001\t30\textra\nsub-00002\t31\n")
    return valid


@pytest.fixture
def counted(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The server that the settings name, with its requests counted."""
    with wire(server.url) as counting:
        for name, value in (("HOST", counting.url), ("USER", server.user), ("PASS", server.password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        yield counting


def instead(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Let a shell script stand where the validator's runtime is."""
    program = folder / "deno"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(validating, "_deno", lambda: str(program))


# ------------------------------------------------------------------ what the validator says


def test_the_sample_dataset_is_valid(sample_root: Path) -> None:
    """But for its 4D/BTi folder, which the validator does not know, it has no errors."""
    assert validate(sample_root) == ()


def test_the_real_scans_are_valid() -> None:
    root = SHARED / "real-bids"
    if not root.is_dir():
        pytest.skip("there are no ../shared/real-bids")
    assert validate(root) == ()


def test_errors_are_told_by_kind_with_their_files(invalid: Path) -> None:
    issues = {issue.message.split(": ")[1]: issue for issue in validate(invalid)}

    ragged, lacking = issues["TSV_EQUAL_ROWS"], issues["SIDECAR_KEY_REQUIRED (RepetitionTime)"]
    assert ragged.path == "participants.tsv"
    assert lacking.path.startswith("sub-00001/ses-01/func/")
    assert "(also sub-0" in lacking.message
    assert "1 file more" in lacking.message
    assert {issue.severity for issue in issues.values()} == {Severity.ERROR}


def test_what_is_found_where_it_is_of_no_concern_does_not_count(invalid: Path) -> None:
    (invalid / "participants.tsv").unlink()

    lacking = validate(invalid, concerns=lambda path: not path.startswith("sub-00001/"))
    assert lacking
    assert all(issue.path.startswith("sub-00002/") and "sub-00001" not in issue.message for issue in lacking)


def test_errors_of_one_participant_do_not_stop_the_push_of_another(valid: Path, validator: None) -> None:
    (valid / "sub-00001/ses-01/func/sub-00001_ses-01_task-rest_run-1_bold.json").write_text('{"RepetitionTime": "two"}')
    (valid / "sub-00001/ses-01/func/mistyped.nii.gz").write_text("")

    others = Selection(choice=Choice.of(participants=["00002"]))
    assert healthy(read(valid, selection=others), Validation.REQUIRE).issues == []
    with pytest.raises(DatasetError) as refused:
        healthy(read(valid), Validation.REQUIRE)
    assert any("mistyped" in issue.path for issue in refused.value.issues)


def test_absent_content_is_told_once_and_with_the_command_that_gets_it(tmp_path: Path, validator: None) -> None:
    generate_annex(tmp_path)

    with pytest.raises(DatasetError) as refused:
        healthy(read(tmp_path), Validation.REQUIRE)

    assert len(refused.value.issues) == 2
    assert all("datalad get" in issue.message for issue in refused.value.issues)


def test_absent_content_that_is_skipped_does_not_stop_a_push(tmp_path: Path, validator: None) -> None:
    generate_annex(tmp_path)

    assert healthy(read(tmp_path, selection=Selection(skip_missing_content=True)), Validation.REQUIRE).missing.number


def test_files_that_are_not_pushed_do_not_stop_a_push(valid: Path, validator: None) -> None:
    (valid / "sub-00001/ses-01/anat/sub-00001_ses-01_T1w.json~").write_text("{")
    (valid / "derivatives/prep").mkdir(parents=True)
    (valid / "derivatives/prep/odd.json").write_text("{")

    assert not healthy(read(valid), Validation.REQUIRE).errors
    assert not healthy(read(valid, selection=Selection(("all",))), Validation.REQUIRE).errors


def test_a_schema_that_only_the_network_has_is_a_warning(valid: Path) -> None:
    content = {"Name": "HED", "BIDSVersion": "1.10.0", "DatasetType": "raw", "HEDVersion": "sc:score_1.0.0"}
    (valid / "dataset_description.json").write_text(json.dumps(content))
    (valid / "task-rest_events.json").write_text('{"trial_type": {"HED": {"go": "sc:Sleep-spindles"}}}')

    [unchecked] = validate(valid)
    assert unchecked.severity is Severity.WARNING
    assert "kept off the network" in unchecked.message


# ------------------------------------------------------------------ before a push


@pytest.mark.parametrize("command", ["push", "plan"])
def test_an_invalid_dataset_exits_3_before_anything_is_asked_but_who_the_user_is(
    command: str,
    invalid: Path,
    project: str,
    server: LocalServer,
    counted: Wire,
    validator: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The login goes on while the dataset is looked at: of the project nothing is asked, and nothing is written."""
    (invalid / "loop").symlink_to("loop")
    server.request_log.clear()

    assert run(command, invalid, project, "--create-project") == 3

    said = capsys.readouterr().err
    assert all(word in said for word in ("TSV_EQUAL_ROWS", "RepetitionTime", "leads back to itself", "problems"))
    assert {path for _, path in server.request_log} <= {
        "/xapi/siteConfig/buildInfo",
        "/data/services/auth",
        "/data/auth",
        "/data/JSESSION",
    }


def test_with_warn_the_errors_are_told_and_the_push_goes_on(
    invalid: Path, project: str, counted: Wire, validator: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(invalid, project, "--create-project", "--validation", "warn", "--json") == 0

    issues = json.loads(capsys.readouterr().out.splitlines()[-1])["issues"]
    told = [issue for issue in issues if "BIDS validator" in issue["message"]]
    assert {issue["severity"] for issue in told} == {"warning"}
    assert any("RepetitionTime" in issue["message"] for issue in told)


def test_with_off_it_is_not_started(
    invalid: Path, tmp_path: Path, validator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    instead(monkeypatch, tmp_path, f"touch '{tmp_path}/started'")

    assert run("plan", invalid, "DEMO", "--validation", "off") == 1
    assert not (tmp_path / "started").exists()
    assert run("plan", invalid, "DEMO") == 3
    assert (tmp_path / "started").exists()


def test_a_push_from_python_validates_too(
    valid: Path, open_project: Connect, validator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_project() as archive:
        assert push(read(valid), archive, pause=0).ok
        (valid / TASK).unlink()
        with pytest.raises(DatasetError, match="RepetitionTime"):
            push(read(valid), archive, pause=0)
        report = push(read(valid), archive, validation=Validation.WARN, pause=0)
    assert any("RepetitionTime" in issue.message for issue in report.issues)


# ------------------------------------------------------------------ when it cannot run


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "it ended with exit code 3"),
        ("echo 'error: no room' >&2; exit 1", "exit code 1 (error: no room)"),
        ("kill -9 $$", "it was ended by SIGKILL"),
        ("echo nonsense", "its answer is not JSON"),
        ("echo '[]'", "its answer is not the one that is expected"),
        ("echo '{}'", "its answer is not the one that is expected"),
        ("exec sleep 60", "it had not finished after 1 s"),
    ],
)
def test_a_validator_that_fails_is_no_validator(
    script: str, message: str, valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, tmp_path, script)

    [issue] = validate(valid, limit=1)
    assert issue.severity is Severity.ERROR
    assert message in issue.message
    assert "--validation warn or off" in issue.message
    [issue] = validate(valid, Validation.WARN, limit=1)
    assert issue.severity is Severity.WARNING


def _missing() -> str:
    raise ImportError("deno")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("find_deno_bin", "its runtime is not installed"),
        ("find_spec", "bids-validator-deno"),
        ("_deno", "No such file"),
    ],
)
def test_a_validator_that_is_not_there_is_named(
    place: str, message: str, valid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "find_deno_bin":
        monkeypatch.setattr("deno.find_deno_bin", _missing)
    elif place == "find_spec":
        monkeypatch.setattr(validating, "find_spec", lambda _: None)
    else:
        monkeypatch.setattr(validating, "_deno", lambda: str(valid / "nowhere"))

    [issue] = validate(valid)
    assert "could not be run" in issue.message
    assert message in issue.message


def test_the_validator_learns_no_secret(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNAT_PASS", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@proxy")
    instead(monkeypatch, tmp_path, f"env > '{tmp_path}/environment'; echo \"$@\" > '{tmp_path}/arguments'")

    validate(valid)
    assert "hush" not in (tmp_path / "environment").read_text()
    assert f"HOME={os.environ['HOME']}" in (tmp_path / "environment").read_text()
    asked = (tmp_path / "arguments").read_text()
    assert all(leave not in asked for leave in ("--allow-net", "--allow-write", "--allow-run", "--allow-all", " -A "))


def test_an_issue_has_no_other_files_where_there_are_none() -> None:
    """The message ends with the validator's words."""
    one = validating.Complaint("CODE", "", "a.json", "It is wrong")

    assert list(validating._issues([one], Severity.ERROR)) == [
        Issue(Severity.ERROR, "a.json", "BIDS validator: CODE: It is wrong")
    ]
