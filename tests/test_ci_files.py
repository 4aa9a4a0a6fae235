"""What CI services are given does what it says: the action's steps and the snippets of the page, parsed and run."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import make_small
from tests.test_docs import blocks_of

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the tools for the documentation")

CHECKOUT = Path(__file__).parents[1]
PAGE = (CHECKOUT / "docs/howto/ci.md").read_text("utf-8")


def loaded(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


ACTION = loaded((CHECKOUT / "action.yml").read_text("utf-8"))
GITHUB, GITLAB = (loaded(block.text) for block in blocks_of(PAGE) if block.language == "yaml")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that is a dataset, and the program on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "bids2xnat"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from xnat_bids_push.cli import main; main()" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return make_small(tmp_path / "repository")


def given(inputs: Mapping[str, str]) -> dict[str, str]:
    """The inputs of the action, with the defaults of those that are not given."""
    assert inputs.keys() <= ACTION["inputs"].keys()
    return {name: inputs.get(name, str(one["default"])) for name, one in ACTION["inputs"].items()}


def run_in(folder: Path, script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, env=os.environ | dict(environment), text=True, capture_output=True, check=False
    )


def act(folder: Path, inputs: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the last step of the action as the service does."""
    step, values = ACTION["runs"]["steps"][-1], given(inputs)
    environment = {
        key: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda match: values[match[1]], text)
        for key, text in step["env"].items()
    }
    return run_in(folder, step["run"], environment | {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder)})


def test_the_action_checks_the_dataset_and_writes_junit(repository: Path) -> None:
    done = act(repository, {"options": "--validation off --participant-label 01"})

    assert done.returncode == 0, done.stderr
    assert "The dataset passes" in done.stdout
    assert ET.parse(repository / "bids2xnat-junit.xml").getroot()[0].get("tests") == "6"


def test_the_action_fails_and_marks_the_file(repository: Path) -> None:
    (repository / "sub-01/anat/sub-01_run-1_T1w.nii.gz").symlink_to("nowhere")

    done = act(repository, {"options": "--validation off"})

    assert done.returncode == 3
    assert "::error file=sub-01/anat/sub-01_run-1_T1w.nii.gz," in done.stderr


def test_no_input_of_the_action_is_run(repository: Path) -> None:
    """A value stands in the environment only, never in a script."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
    act(repository, {"dataset": "$(touch run)", "options": "; touch run `touch run`"})
    assert not (repository / "run").exists()


def test_the_snippet_for_github_gives_the_action_inputs_that_it_has() -> None:
    [step] = [one for one in GITHUB["jobs"]["check"]["steps"] if "bids2xnat@" in one["uses"]]

    assert given(step["with"])["junit"] == "bids2xnat-junit.xml"


def test_the_snippet_for_gitlab_checks_the_dataset_and_writes_what_it_reports(repository: Path) -> None:
    (repository / "derivatives").mkdir()
    install, check = GITLAB["bids"]["script"]
    assert install.startswith("python -m pip install")

    done = run_in(repository, f"{check} --validation off", {})

    assert done.returncode == 0, done.stderr
    assert (repository / GITLAB["bids"]["artifacts"]["reports"]["junit"]).is_file()


def test_our_own_ci_runs_what_contributors_run_and_uses_the_action() -> None:
    jobs = loaded((CHECKOUT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]

    assert {"run": ".ci/run"} in steps
    [own] = [step for step in steps if step.get("uses") == "./"]
    assert given(own["with"])["dataset"] == "test_data/sample"
