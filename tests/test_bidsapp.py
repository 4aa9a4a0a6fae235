"""The BIDS App takes what BIDS Apps take, in any order and spelling, and does what the plain command does."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from tests.conftest import make_small
from tests.test_laws import tree
from xnat_bids_push import bidsapp, cli
from xnat_bids_push.bidsapp import commands, read_arguments

PROJECT = ["--project", "P"]
FIRST = ["--participant-label", "01"]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it, or changes them."""
    for name in ("XNAT_HOST", "XNATPY_HOST", "XNAT_PROJECT", "BIDS2XNAT_ARCHIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def translated(*arguments: str, **environment: str) -> list[list[str]]:
    return list(commands(read_arguments(arguments, environment)))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        bidsapp.main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


# ------------------------------------------------------------------ the form


def test_the_level_of_participants_is_a_push_of_participants() -> None:
    [command] = translated("in", "out", "participant", *PROJECT)
    assert command == ["push", "in", "P", "--shard", "participants", "--receipts", "out"]


def test_the_level_of_the_group_is_the_projects_own_files_and_the_proof_of_everything() -> None:
    push, verify = translated("in", "out", "group", *PROJECT, "--create-project", "--participant-label", "1")
    assert push == ["push", "in", "P", "--create-project", "--shard", "project", "--receipts", "out"]
    assert verify == ["verify", "in", "P", "--participant-label", "1", "--report", str(Path("out/verify.json"))]


@pytest.mark.parametrize(
    "arguments",
    [
        ["in", "out", "participant", *PROJECT, "--participant-label", "01", "02", "-w", "work", "--n-cpus", "2"],
        ["in", "out", "participant", *PROJECT, "--participant_label", "01", "02", "--work_dir=work", "--n_cpus=2"],
        [*FIRST, *PROJECT, "-w", "work", "in", "out", "participant", "--participant-label", "02", "--nprocs", "2"],
    ],
)
def test_options_are_taken_in_any_order_and_spelling(arguments: list[str]) -> None:
    asked = read_arguments(arguments, {})
    [command] = commands(asked)
    assert asked.work == Path("work")
    assert command[:3] == ["push", "in", "P"]
    assert command[3:-4] == ["--participant-label", "01", "--participant-label", "02", "--jobs", "2"]


@pytest.mark.parametrize("option", ["--skip-bids-validation", "--skip_bids_validation"])
def test_validation_is_skipped_where_that_is_asked_for(option: str) -> None:
    [command] = translated("in", "out", "participant", *PROJECT, option, "--mem_mb", "4000")
    assert command[3:5] == ["--validation", "off"]
    assert "4000" not in command


def test_the_project_may_come_from_the_environment() -> None:
    [command] = translated("in", "out", "participant", XNAT_PROJECT="E")
    assert command[2] == "E"


def test_without_a_project_nothing_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("in", "out", "participant") == cli.USAGE
    assert "--project is needed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["in", "out", "all"], ["in", "out"], ["in", "out", "group", "--what"]])
def test_what_no_bids_app_takes_is_a_wrong_command_line(arguments: list[str]) -> None:
    assert run(*arguments, *PROJECT) == cli.USAGE


def test_help_and_version_answer_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("bids2xnat-app ")
    assert run("--help") == 0
    assert "{participant,group}" in capsys.readouterr().out


# ------------------------------------------------------------------ what it does


def test_participants_one_by_one_and_the_group_at_the_end_are_the_whole_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = make_small(tmp_path / "in"), tmp_path / "new/out"
    before = tree(root)
    options = ["--project", "P", "-w", tmp_path / "work"]
    for label in ("01", "sub-02"):
        assert run(root, out, "participant", "--participant-label", label, *options) == 0
    assert cli.run(["verify", str(root), "P"]) == 1, "the project's own files belong to the group"
    assert run(root, out, "group", *options) == 0

    assert cli.run(["verify", str(root), "P"]) == 0
    assert json.loads((out / "verify.json").read_text())["ok"] is True
    assert len(list(out.glob("*_P_*.json"))) == 3
    assert (out / "archive/archive.sqlite3").is_file()
    assert tree(root) == before


def test_what_fails_fails_with_the_same_code(tmp_path: Path) -> None:
    root = make_small(tmp_path / "in")
    assert run(root, tmp_path / "out", "group", *PROJECT) == cli.DIFFERS, "nobody has pushed the participants"
    assert run(tmp_path / "nowhere", tmp_path / "out", "participant", *PROJECT) == cli.BAD_DATASET
    assert run(root, tmp_path / "out", "participant", *PROJECT, "--participant-label", "9") == cli.BAD_DATASET
    (tmp_path / "file").write_text("")
    assert run(root, tmp_path / "file/out", "participant", *PROJECT) == cli.USAGE
