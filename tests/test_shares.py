"""Shares of a dataset: disjoint, complete, the same whoever else is in it; side by side they push all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Connect
from tests.test_laws import tree
from xnat_bids_push.choosing import Choice
from xnat_bids_push.config import Settings
from xnat_bids_push.connecting import Access, open_settings
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.errors import ConfigError, DatasetError
from xnat_bids_push.policies import Policy
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import placements, plan, push, survey, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.server import LocalServer
from xnat_bids_push.shares import Shard, Side, Some, read_share

SUBJECTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map("sub-{}".format)


def shards(of: int) -> list[Shard]:
    return [Shard(number, of) for number in range(1, of + 1)]


# ------------------------------------------------------------------ by name alone


@given(SUBJECTS, st.integers(1, 50))
def test_a_subject_is_in_exactly_one_share(subject: str, of: int) -> None:
    assert sum(shard.has(subject) for shard in shards(of)) == 1


@given(st.integers(1, 50))
def test_what_is_no_subjects_is_in_the_first_share(of: int) -> None:
    assert [shard.has("") for shard in shards(of)] == [True] + [False] * (of - 1)


@given(SUBJECTS)
def test_the_sides_of_a_dataset_are_its_participants_and_the_rest(subject: str) -> None:
    people, project = read_share("participants"), read_share("project")
    assert (people.has(subject), project.has(subject)) == (True, False)
    assert (people.has(""), project.has("")) == (False, True)


def test_a_filter_that_takes_nothing_of_the_participants_is_an_error_on_their_side_only(small_root: Path) -> None:
    choice = Choice.of(suffixes=["dwi"])
    people, project = (survey(read(small_root, selection=Selection(choice=choice, share=side))) for side in Side)
    assert "nothing is taken" in people.errors[0].message
    assert project.issues == []


def test_a_share_is_the_same_on_every_machine_and_in_every_version() -> None:
    """A job array that goes on after an update must not send to two places at a time."""
    names = [f"sub-{number:02}" for number in range(1, 13)]
    assert [[name[4:] for name in names if shard.has(name)] for shard in shards(3)] == [
        ["04", "06", "11"],
        ["01", "02", "03", "09", "10"],
        ["05", "07", "08", "12"],
    ]


def test_shares_are_of_about_the_same_size() -> None:
    names = [f"sub-{number:04}" for number in range(10_000)]
    sizes = [sum(map(shard.has, names)) for shard in shards(20)]
    assert min(sizes) > 400
    assert max(sizes) < 600


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "a/b", "1/2/3", "-1/2", "1/-2", "1.0/2", " 1/2", "٣/٤"])
def test_what_is_no_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="like 3/20"):
        Shard.read(text)


# ------------------------------------------------------------------ of a dataset


def share_of(root: Path, share: Shard | Some, choice: Choice | None = None) -> Dataset:
    selection = Selection(("all",), sourcedata=True, choice=choice or Choice(), share=share)
    return read(root, selection=selection, validate=False)


def paths_in(dataset: Dataset) -> list[str]:
    return [one.file.path for _, chosen in placements(dataset) for parcel in chosen.parcels for one in parcel.files]


def test_all_shares_together_are_the_dataset(sample_root: Path) -> None:
    whole = share_of(sample_root, Shard())
    parts = [path for shard in shards(4) for path in paths_in(share_of(sample_root, shard))]
    assert sorted(parts) == sorted(paths_in(whole))


def test_a_share_without_anybody_is_no_fault(small_root: Path) -> None:
    found = [survey(share_of(small_root, shard)) for shard in shards(9)]
    assert not any(one.errors for one in found)
    assert sorted(one.subjects for one in found) == [0] * 7 + [1] * 2


def test_a_dataset_without_anybody_is_the_first_shares(tmp_path: Path) -> None:
    (tmp_path / "phenotype").mkdir()
    (tmp_path / "phenotype/tool.tsv").write_text("participant_id\n")
    first, second = (survey(share_of(tmp_path, shard)) for shard in shards(2))
    assert (first.errors, second.errors) == ((), ())
    assert (first.files, second.files) == (1, 0)


def test_a_filter_that_takes_nothing_of_one_share_is_no_fault(small_root: Path) -> None:
    nothing = Choice.of(suffixes=["bold"])  # only sub-01 has one
    found = [survey(share_of(small_root, shard, nothing)) for shard in shards(9)]
    assert not any(one.errors for one in found)
    assert sum("nothing is taken" in issue.message for one in found for issue in one.issues) == 8
    with pytest.raises(DatasetError, match="there is no sub-77"):
        raise DatasetError(survey(share_of(small_root, Shard(1, 9), Choice.of(participants=["77"]))).errors)


def test_what_is_wrong_with_others_stops_no_share(small_root: Path) -> None:
    (small_root / "sub-02/anat/sub-02_T2w.nii.gz").symlink_to("nowhere")
    assert [bool(survey(share_of(small_root, shard)).errors) for shard in (Some({"sub-01"}), Some({"sub-02"}))] == [
        False,
        True,
    ]


# ------------------------------------------------------------------ in an archive


def test_a_share_is_verified_deleted_from_and_removed_within_its_bounds(
    small_root: Path, tmp_path: Path, open_project: Connect
) -> None:
    ours, theirs = Some({"", "sub-01"}), Some({"sub-02"})
    with open_project() as archive:
        assert push(share_of(small_root, ours), archive, pause=0).ok
        assert verify(share_of(small_root, ours), archive).ok
        assert not verify(share_of(small_root, theirs), archive).ok
        assert {one.node.subject for one in plan(share_of(small_root, theirs), archive)} == {"sub-02"}
        assert push(share_of(small_root, theirs), archive, pause=0).ok
        (small_root / "sub-01/anat/sub-01_T1w.json").unlink()
        (small_root / "sub-02/anat/sub-02_T1w.json").unlink()
        report = push(share_of(small_root, ours), archive, pause=0, policy=Policy(delete=True))
        assert (report.ok, report.deleted_files) == (True, 1)
        remove(list(plan_removal(share_of(small_root, ours), archive)), archive)
        assert pull(archive, tmp_path / "left").ok
        assert not verify(share_of(small_root, theirs), archive).ok
    assert {path for path, entry in tree(tmp_path / "left").items() if entry[0] == "file"} == {
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.json",
    }


def test_all_shares_at_once_push_all_of_it(
    sample_root: Path, tmp_path: Path, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a job array does, each task a process of its own; the project is created by whoever comes first."""
    monkeypatch.setenv("XNAT_HOST", server.url)
    monkeypatch.setenv("XNAT_USER", server.user)
    monkeypatch.setenv("XNAT_PASS", server.password)
    options = ["--create-project", "--validation", "off", "--derivatives", "all", "--sourcedata", "--json"]
    tasks = [start(sample_root, project, "--shard", f"{number}/4", *options) for number in range(1, 5)]
    reports = [json.loads(task.communicate()[0].splitlines()[-1]) for task in tasks]
    assert [task.returncode for task in tasks] == [0] * 4

    settings = Settings(server.url, server.user, server.password, Path())
    whole = share_of(sample_root, Shard())
    with open_settings(settings, project, Access.EXISTING) as archive:
        report = verify(whole, archive)
        assert pull(archive, tmp_path / "out").ok
    assert report.ok
    assert sum(one["files"] for one in reports) == report.files
    assert tree(tmp_path / "out") == tree(sample_root)


def start(root: Path, project: str, *options: str) -> subprocess.Popen[str]:
    program = "from xnat_bids_push.cli import main; main()"
    command: Sequence[str] = [sys.executable, "-c", program, "push", str(root), project, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
