"""A check takes a dataset through everything, leaves nothing behind, and says what is wrong where CI shows it."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_small
from tests.test_cli import run
from tests.test_laws import tree
from xnat_bids_push import checking, pulling
from xnat_bids_push.annotating import Step, junit, notes
from xnat_bids_push.checking import check
from xnat_bids_push.dataset import Selection, read
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Issue, Severity

CHECKOUT = Path(__file__).parents[1]
NAMES = ["validate", "plan", "push", "verify", "pull", "compare"]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, a check goes nowhere else."""
    monkeypatch.setenv("XNAT_HOST", "https://xnat.invalid")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def error(path: str, message: str = "is wrong") -> Issue:
    return Issue(Severity.ERROR, path, message)


# ------------------------------------------------------------------ the check


def test_a_dataset_passes_with_everything_in_it(sample_root: Path, tmp_path: Path) -> None:
    before = tree(sample_root)

    steps = list(check(partial(read, sample_root, selection=Selection(("all",), sourcedata=True))))

    assert [step.name for step in steps] == NAMES
    assert [step.errors for step in steps] == [()] * len(NAMES)
    assert tree(sample_root) == before
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_told_once(sample_root: Path) -> None:
    steps = list(check(partial(read, sample_root)))

    told = [str(issue) for step in steps for issue in step.warnings]
    assert any("is empty" in one for one in told)
    assert len(told) == len(set(told))


def test_after_a_step_that_fails_the_others_are_skipped(small_root: Path, tmp_path: Path) -> None:
    (small_root / "sub-01/anat/sub-01_run-1_T1w.nii.gz").symlink_to("nowhere")

    steps = list(check(partial(read, small_root)))

    assert [issue.path for issue in steps[0].errors] == ["sub-01/anat/sub-01_run-1_T1w.nii.gz"]
    assert [step.skipped for step in steps] == [False, True, True, True, True, True]


def test_a_folder_that_cannot_be_read_fails_at_the_first_step(tmp_path: Path) -> None:
    steps = list(check(partial(read, tmp_path / "nowhere")))

    assert "there is no such folder" in steps[0].errors[0].message
    assert all(step.skipped for step in steps[1:])


def damage(back: Path) -> None:
    (back / "sub-01/anat/sub-01_T1w.json").unlink()
    (back / "sub-02/anat/sub-02_T1w.nii.gz").write_text("OTHER")
    (back / "sub-02/stranger").write_text("")
    (back / "code").rmdir()


def test_whatever_comes_back_otherwise_is_named(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_root / "code").mkdir()
    pull = pulling.pull

    def damaging(archive: object, out: Path, **given: object) -> object:
        report = pull(archive, out, **given)  # type: ignore[arg-type]
        damage(out)
        return report

    monkeypatch.setattr(checking, "pull", damaging)
    steps = list(check(partial(read, small_root)))

    assert [step.failed for step in steps] == [False] * 5 + [True]
    assert {issue.path: issue.message for issue in steps[-1].errors} == {
        "sub-01/anat/sub-01_T1w.json": "did not come back",
        "sub-02/anat/sub-02_T1w.nii.gz": "came back with another content",
        "sub-02/stranger": "came back, and was never there",
        "code": "is an empty folder, and did not come back",
    }


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    small_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(small_root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3))

    with pytest.raises(ConfigError, match="TMPDIR"):
        list(check(partial(read, small_root)))


# ------------------------------------------------------------------ what CI reads


def test_junit_has_a_case_for_each_step_and_for_each_file_with_errors() -> None:
    steps = [
        Step("validate", "2 participants", (Issue(Severity.WARNING, "a", "is odd"),), 1.5),
        Step("plan", problems=(error("sub-1/x"), error("sub-1/x", "is missing"), error("", "all is lost"))),
        Step("push", skipped=True),
    ]

    suite = ET.fromstring(junit(steps, "study"))[0]
    cases = {f"{case.get('classname')}.{case.get('name')}": case for case in suite}

    counts = {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "4", "failures": "2", "skipped": "1", "errors": "0"}
    assert list(cases) == ["bids2xnat.validate", "bids2xnat.plan", "bids2xnat.plan.sub-1/x", "bids2xnat.push"]
    assert cases["bids2xnat.validate"].findtext("system-out") == "2 participants\nwarning: a: is odd"
    assert cases["bids2xnat.plan"].findtext("failure") == "all is lost"
    assert cases["bids2xnat.plan.sub-1/x"].findtext("failure") == "is wrong\nis missing"


@given(text=st.text(), path=st.text())
def test_junit_is_xml_whatever_names_and_messages_hold(text: str, path: str) -> None:
    content = junit([Step("push", text, (error(path, text),))], path)

    suite = ET.fromstring(content)[0]
    assert len(suite) == (2 if path else 1)


@given(text=st.text(), path=st.text(), folder=st.text())
def test_an_annotation_is_one_line_and_one_command(text: str, path: str, folder: str) -> None:
    """Else a file's name could tell the service anything."""
    [line] = notes([Step("push", problems=(error(path, text),))], folder)

    assert "\n" not in line
    assert "\r" not in line
    head, _, message = line.removeprefix("::").partition("::")
    assert head.startswith("error ")
    assert message.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == text


def test_annotations_name_the_file_in_the_repository_and_bring_errors_first() -> None:
    steps = [Step("validate", problems=(Issue(Severity.WARNING, "a", "odd"),)), Step("push", problems=(error("b,c"),))]

    assert list(notes(steps, "data/study")) == [
        "::error file=data/study/b%2Cc,title=bids2xnat push::is wrong",
        "::warning file=data/study/a,title=bids2xnat validate::odd",
    ]


# ------------------------------------------------------------------ the command


def test_the_command_tells_people_and_exits_0(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", small_root) == 0
    said = capsys.readouterr().out
    assert [line.split()[:2] for line in said.splitlines()[:-1]] == [["ok", name] for name in NAMES]
    assert "The dataset passes" in said


def test_the_command_marks_problems_on_github_and_writes_junit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_small(tmp_path / "repository/data")
    (root / "sub-01/anat/sub-01_run-1_T1w.nii.gz").symlink_to("nowhere")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "repository"))

    assert run("check", root, "--junit", tmp_path / "new/junit.xml") == 3

    said = capsys.readouterr()
    assert "::error file=data/sub-01/anat/sub-01_run-1_T1w.nii.gz,title=bids2xnat validate::" in said.err
    assert "does not pass: 1 problem at validate" in said.err
    suite = ET.parse(tmp_path / "new/junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("2", "5")


def test_the_command_tells_programs(small_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", small_root, "--json", "--github") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines if line["event"] == "step"] == NAMES
    assert lines[-1] == {"event": "summary", "ok": True}


def test_what_is_wrong_with_a_push_is_no_fault_of_the_dataset(
    small_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "verify", lambda *_, **__: _raise(OSError("the disk is full")))

    assert run("check", small_root) == 1


def _raise(error: Exception) -> None:
    raise error
