"""What .bidsignore names is pushed like everything else, and becomes no scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Connect, make_small
from tests.test_laws import tree
from xnat_bids_push.dataset import Dataset, read
from xnat_bids_push.mapping import place
from xnat_bids_push.model import Node, Origin, Severity
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import push, survey, verify


def ignoring(root: Path, *lines: str, files: tuple[str, ...] = ()) -> Dataset:
    """The small dataset with further files, and a .bidsignore."""
    make_small(root)
    (root / ".bidsignore").write_text("\n".join(lines))
    for path in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return read(root)


def scans(dataset: Dataset) -> dict[str, str]:
    """The scan of every file that is in one."""
    return {
        one.file.path: one.address.scan
        for part in dataset.parts()
        for parcel in place(part, dataset.table).parcels
        for one in parcel.files
        if one.origin is Origin.DATASET and one.address.scan
    }


BOLD = "sub-01/func/sub-01_task-rest_bold.nii.gz"
EVENTS = "sub-01/func/sub-01_task-rest_events.tsv"
T1W = ("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.json")


@pytest.mark.parametrize(
    ("lines", "ignored"),
    [
        ([], ()),
        (["# *"], ()),
        (["*_bold.nii.gz"], (BOLD, EVENTS)),
        (["/sub-01/func/"], (BOLD, EVENTS)),
        (["func/"], (BOLD, EVENTS)),
        (["**/func/**", "!*_bold.nii.gz"], (EVENTS,)),
        (["*_events.tsv", "sub-01/*.nii.gz"], (EVENTS,)),
        (["*_T1w.nii.gz", "!sub-02/**"], T1W),
    ],
)
def test_patterns_are_those_of_gitignore(lines: list[str], ignored: tuple[str, ...], tmp_path: Path) -> None:
    """What goes with an ignored recording has no scan either."""
    everything = scans(ignoring(tmp_path / "a"))

    assert scans(ignoring(tmp_path / "b", *lines)) == {
        path: scan for path, scan in everything.items() if path not in ignored
    }


def test_a_folder_recording_is_ignored_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    inside = tuple(
        f"sub-01/meg/sub-01_{task}_meg.ds/{name}" for task in ("task-a", "task-b") for name in ("x.bak", "y")
    )

    found = scans(ignoring(tmp_path / "a", "*.bak", "sub-*/meg/*task-b*.ds/", files=inside))
    assert {path: found.get(path) for path in inside} == {
        path: "meg_task-a_meg" if "task-a" in path else None for path in inside
    }


def test_lines_that_are_no_patterns_are_warned_of_and_count_for_nothing(tmp_path: Path) -> None:
    dataset = ignoring(tmp_path / "a", "wrong\\", "*_bold.nii.gz")

    assert [(issue.severity, issue.path) for issue in dataset.issues] == [(Severity.WARNING, ".bidsignore")]
    assert BOLD not in scans(dataset)


def test_what_is_ignored_is_not_warned_of(tmp_path: Path) -> None:
    odd = ("sub-01/ct/sub-01_ct.nii.gz", "sub-01/anat/sub-01_rnu-1_T1w.nii.gz", "sub-01/anat/odd name.nii.gz")

    assert len(survey(ignoring(tmp_path / "a", files=odd)).issues) == 3
    assert survey(ignoring(tmp_path / "b", "ct/", "*rnu*", "odd*", files=odd)).issues == []


def test_ignored_files_go_and_come_back(tmp_path: Path, open_project: Connect) -> None:
    dataset = ignoring(tmp_path / "a", "*_bold.nii.gz", "sub-01/ct/", files=("sub-01/ct/sub-01_ct.nii.gz",))
    with open_project() as archive:
        assert push(dataset, archive, pause=0).ok
        assert verify(dataset, archive).ok
        assert archive.scans(Node("sub-01", "sub-01_MR")) == {"anat_T1w"}
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(tmp_path / "a")
