"""The coverage table holds, and the comparison behind it can fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.conftest import FAIR_SAMPLE, Connect, shared_dataset
from tools.coverage import Row, committed, dump, load, regressions, total
from tools.examples import Shown, check
from tools.trees import differences, files_in, tree
from xnat_bids_push.dataset import read
from xnat_bids_push.pushing import push
from xnat_bids_push.server import LocalServer

# ------------------------------------------------------------------ the table


@pytest.mark.parametrize("name", FAIR_SAMPLE)
def test_a_dataset_comes_back_as_it_was_and_no_worse_than_the_table_says(
    name: str, tmp_path: Path, server: LocalServer, project: str
) -> None:
    root = shared_dataset(name)

    result = check(root, tmp_path / "out", server=server, project=project)

    assert result.faults == ()
    assert list(regressions(committed().get(root.name), result.row)) == []


def test_the_table_says_that_all_datasets_came_back_but_for_litter_that_is_named() -> None:
    table = committed()

    assert len(table) >= 79
    left_out = {name: sum(row.left_out.values()) for name, row in table.items()}
    assert {name for name, row in table.items() if row.restored + left_out[name] != row.files} == set()
    assert {name for name, row in table.items() if row.placed + left_out[name] < row.files} == set()


def test_a_table_is_read_as_it_was_written() -> None:
    table = committed()

    assert load(dump(table)) == table
    assert dump(dict(reversed(table.items()))) == dump(table)


ROW = Row(files=9, placed=8, restored=8, sessions={"mr": 2, "eeg": 1}, scans=5, fields=40, left_out={"leftover": 1})


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (replace(ROW, files=10), "another dataset"),
        (replace(ROW, placed=7), "placed: 7, 8 in the table"),
        (replace(ROW, restored=0), "restored: 0, 8 in the table"),
        (replace(ROW, scans=4), "scans: 4, 5 in the table"),
        (replace(ROW, fields=39), "fields: 39, 40 in the table"),
        (replace(ROW, sessions={"mr": 2}), "eeg sessions: 0, 1 in the table"),
    ],
)
def test_whatever_gets_worse_is_told(after: Row, said: str) -> None:
    [fault] = regressions(ROW, after)

    assert said in fault


def test_what_is_better_than_the_table_is_no_fault_and_what_is_not_in_it_is() -> None:
    better = replace(ROW, placed=9, restored=9, fields=41, scans=6, sessions={"mr": 2, "eeg": 1, "pet": 1})

    assert list(regressions(ROW, better)) == []
    assert list(regressions(None, ROW)) == ["it is not in the table"]


def test_the_sum_of_rows_adds_each_column() -> None:
    added = total([ROW, ROW])

    assert (added.files, added.fields, added.sessions, added.left_out) == (18, 80, {"mr": 4, "eeg": 2}, {"leftover": 2})


def test_sessions_scans_and_fields_are_counted_as_the_archive_shows_them(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
    before = Shown.by(server, project)
    url = f"{server.url}/data/projects/{project}/subjects/sub-01"
    for path, fields in (
        ("", {"xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/gender": "female", "group": "patients"}),
        ("/experiments/sub-01_MR", {"xnat:mrSessionData/fieldStrength": "3.0"}),
        ("/experiments/sub-01_MR/scans/anat_T1w", {"xnat:mrScanData/parameters/tr": "2300"}),
    ):
        requests.put(url + path, params=fields, auth=(server.user, server.password), timeout=30).raise_for_status()

    after = Shown.by(server, project)

    assert (before.sessions, before.scans) == ({"mr": 2}, 3)
    assert (after.sessions, after.scans, after.fields - before.fields) == ({"mr": 2}, 3, 4)


# ------------------------------------------------------------------ the comparison


def _write(root: Path) -> None:
    (root / "sub-01" / "empty").mkdir(parents=True)
    (root / "sub-01" / "image.nii").write_bytes(b"voxels")
    (root / "sub-01" / "nothing.txt").touch()
    (root / "run.sh").write_text("#!/bin/sh")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("sub-01/image.nii")
    (root / "caf\u00e9.txt").touch()


def _relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _with_target_s_content(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").write_bytes(b"voxels")


def _with_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _kept_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"voxelS")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "other bytes of the same size and time": lambda root: _kept_size_and_time(root / "sub-01/image.nii"),
    "a byte less": lambda root: (root / "sub-01/image.nii").write_bytes(b"voxel"),
    "an empty file is gone": lambda root: (root / "sub-01/nothing.txt").unlink(),
    "an empty file is not empty": lambda root: (root / "sub-01/nothing.txt").write_bytes(b"\0"),
    "an empty folder is gone": lambda root: (root / "sub-01/empty").rmdir(),
    "an empty folder more": lambda root: (root / "sub-02").mkdir(),
    "a file more": lambda root: (root / "sub-01/empty/.hidden").touch(),
    "a file cannot be run": lambda root: (root / "run.sh").chmod(0o644),
    "a file can be run": lambda root: (root / "sub-01/image.nii").chmod(0o755),
    "a link leads elsewhere": lambda root: _relink(root / "link", "run.sh"),
    "a link leads there by another way": lambda root: _relink(root / "link", "./sub-01/image.nii"),
    "a file instead of a link": _with_target_s_content,
    "a folder instead of a file": lambda root: _with_a_folder(root / "run.sh"),
    "another case": lambda root: (root / "sub-01/image.nii").rename(root / "sub-01/Image.nii"),
    "another form of the same letter": lambda root: (root / "caf\u00e9.txt").rename(root / "cafe\u0301.txt"),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bits, and links only for some")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_kind_of_difference_is_noticed(change: Callable[[Path], object], tmp_path: Path) -> None:
    for name in ("here", "there"):
        _write(tmp_path / name)
    assert list(differences(tree(tmp_path / "here"), tree(tmp_path / "there"))) == []

    change(tmp_path / "there")

    assert list(differences(tree(tmp_path / "here"), tree(tmp_path / "there"))) != []


def test_what_is_left_out_is_not_looked_for_and_folders_are_no_files(tmp_path: Path) -> None:
    _write(tmp_path)

    found = tree(tmp_path, left_out=["sub-01"])

    assert files_in(found) == {"run.sh", "link", "caf\u00e9.txt"}
