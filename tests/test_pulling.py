"""Bringing back: nothing leaves the output folder, nothing there is overwritten, nothing damaged is believed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from test_data.generate import generate_many
from tests.conftest import Connect, make_small
from tests.test_laws import tree
from xnat_bids_push import pulling
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Dataset, read
from xnat_bids_push.errors import ConfigError, MappingError
from xnat_bids_push.ground import Ground
from xnat_bids_push.mapping import read_manifest, write_manifest
from xnat_bids_push.model import Mark, MarkKind, Node, State
from xnat_bids_push.pulling import _restore, pull
from xnat_bids_push.pushing import push
from xnat_bids_push.server import LocalServer


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "..", "", "a/\0b", ".bids2xnat-partial/x"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    assert Ground(tmp_path).place(name) is None


def test_no_link_in_the_folder_leads_out_of_it(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "sub-01").symlink_to(other)
    assert Ground(out).place("sub-01/x") is None
    assert Ground(out).place("sub-02/x") == out / "sub-02/x"


@pytest.mark.parametrize("target", ["../../x", "/etc/passwd", "a/../../../x"])
def test_no_link_of_a_manifest_leads_out_of_the_folder(target: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fault = _restore(Ground(tmp_path / "out"), Mark("sub-01/link", MarkKind.LINK, target))
    assert "out of the dataset" in fault
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows makes links only for some")
def test_links_come_back_as_they_were_written_and_through_other_links(
    small_root: Path, tmp_path: Path, open_project: Connect
) -> None:
    """Each is made after those on its way, or it would lead nowhere yet, and its content would stay in its place."""
    (small_root / "code").mkdir()
    links = {
        "a": "b/sub-01_T1w.json",
        "b": "c/anat/",
        "c": "d",
        "d": "../sub-01",
        "around": ".//./../README",
        "back": "d/../README",
    }
    for name, target in links.items():
        (small_root / "code" / name).symlink_to(target)
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        assert pull(archive, tmp_path / "out").ok
        again = pull(archive, tmp_path / "out")
    assert (again.ok, again.sent_files) == (True, 0)
    assert {name: os.readlink(tmp_path / "out/code" / name) for name in links} == links


def test_a_manifest_tells_its_marks_again() -> None:
    marks = (Mark("a", MarkKind.EXECUTABLE), Mark("b/c", MarkKind.FOLDER), Mark("d", MarkKind.LINK, "a"))
    assert read_manifest(write_manifest(reversed(marks))) == marks
    with pytest.raises(MappingError):
        read_manifest(b"[]")
    with pytest.raises(MappingError):
        read_manifest(json.dumps({"marks": [{"path": "a", "kind": "no such kind"}]}).encode())


def test_what_is_in_the_folder_and_differs_stays(small_root: Path, tmp_path: Path, open_project: Connect) -> None:
    out = tmp_path / "out"
    (out / "sub-01/anat").mkdir(parents=True)
    mine = out / "sub-01/anat/sub-01_T1w.nii.gz"
    mine.write_text("mine")
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        report = pull(archive, out)
    assert mine.read_text() == "mine"
    assert [f.path for one in report.failed for f in one.findings if f.state is State.DIFFERS] == [
        "sub-01/anat/sub-01_T1w.nii.gz"
    ]
    mine.unlink()
    with open_project() as archive:
        assert pull(archive, out).ok
    assert tree(out) == tree(small_root)


def test_of_a_file_that_moved_the_newer_place_counts(small_root: Path, tmp_path: Path, open_project: Connect) -> None:
    """The session's table moves to its MR experiment, which comes later than its EEG; the old copy stays behind."""
    for folder in ("anat", "func"):
        shutil.move(small_root / "sub-01" / folder, tmp_path / folder)
    (small_root / "sub-01/eeg").mkdir()
    (small_root / "sub-01/eeg/sub-01_task-a_eeg.edf").write_text("EDF")
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        for folder in ("anat", "func"):
            shutil.move(tmp_path / folder, small_root / "sub-01" / folder)
        (small_root / "sub-01/sub-01_scans.tsv").write_text("filename\nmore\n")
        [behind] = push(read(small_root), archive, pause=0).failed
        assert [f.reason for f in behind.findings if f.state is not State.SAME] == ["the dataset has no such file here"]
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(small_root)


def test_bytes_that_rot_in_the_archive_are_noticed(tmp_path: Path) -> None:
    """The listing still shows the digest of what arrived; only the bytes tell."""
    root = make_small(tmp_path / "small")
    with LocalServer(tmp_path / "archive") as server:
        login = {"user": server.user, "password": server.password}
        with connect(server.url, project="P", create_project=True, **login) as archive:
            push(read(root), archive, pause=0)
            [stored] = (tmp_path / "archive").rglob("sub-01_T1w.nii.gz")
            content = stored.read_bytes()
            stored.write_bytes(b"X" + content[1:])
            report = pull(archive, tmp_path / "out")
    assert [(str(one.node), f.path) for one in report.failed for f in one.findings if f.state is not State.SAME] == [
        ("sub-01_MR", "sub-01/anat/sub-01_T1w.nii.gz")
    ]
    assert not (tmp_path / "out/sub-01/anat/sub-01_T1w.nii.gz").exists()
    assert (tmp_path / "out/sub-01/anat/sub-01_T1w.json").exists()


def test_an_empty_project_is_no_success(tmp_path: Path, open_project: Connect) -> None:
    with open_project() as archive:
        report = pull(archive, tmp_path / "out")
    assert [(one.node, one.failure) for one in report.failed] == [
        (Node(), "the project holds nothing that a dataset can have put there")
    ]


def test_a_file_is_no_output_folder(tmp_path: Path, open_project: Connect) -> None:
    (tmp_path / "out").write_text("")
    with open_project() as archive, pytest.raises(ConfigError):
        pull(archive, tmp_path / "out")


# ------------------------------------------------------------------ one by one, and side by side


def paths_asked_for(server: LocalServer) -> list[str]:
    return [path for method, path in server.request_log if method == "GET"]


def test_what_is_large_is_fetched_by_itself_and_no_archive_is_packed_for_it(
    sample: Dataset,
    sample_root: Path,
    tmp_path: Path,
    server: LocalServer,
    open_project: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With links, empty folders and executable files, which manifests tell of."""
    monkeypatch.setattr(pulling, "LARGE", 1)
    with open_project() as archive:
        push(sample, archive, pause=0)
        server.request_log.clear()
        report = pull(archive, tmp_path / "out")
    assert report.ok, report.failed
    assert tree(tmp_path / "out") == tree(sample_root)
    alone = [path for path in paths_asked_for(server) if re.search("/resources/[^/]+/files/", path)]
    assert len(alone) > report.sent_files / 2


def test_what_does_not_come_by_itself_comes_in_the_archive(
    small_root: Path, tmp_path: Path, server: LocalServer, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNAT takes a folder that is called like an archive for one, and finds nothing in it."""
    monkeypatch.setattr(pulling, "LARGE", 1)
    (small_root / "code/old.zip").mkdir(parents=True)
    (small_root / "code/old.zip/run.py").write_text("pass")
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        server.request_log.clear()
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(small_root)
    assert any(path.endswith("/code/files/old.zip/run.py") for path in paths_asked_for(server)), paths_asked_for(server)


def test_a_pull_that_finds_all_but_manifests_fetches_no_archive(
    tmp_path: Path, server: LocalServer, open_project: Connect
) -> None:
    root = make_small(tmp_path / "small")
    (root / "code/empty").mkdir(parents=True)
    with open_project() as archive:
        push(read(root), archive, pause=0)
        pull(archive, tmp_path / "out")
        (tmp_path / "out/code/empty").rmdir()
        server.request_log.clear()
        assert pull(archive, tmp_path / "out").ok
    assert (tmp_path / "out/code/empty").is_dir()
    assert (
        sum(path.endswith("/files") for path in paths_asked_for(server)) == 4
    )  # listings: project, sessions, subjects


@pytest.mark.parametrize("jobs", [None, 1, 5])
def test_subjects_side_by_side_come_back_as_they_were(jobs: int | None, tmp_path: Path, open_project: Connect) -> None:
    root, told = tmp_path / "many", list[str]()
    generate_many(root, subjects=8, files_per_session=2)
    with open_project() as archive:
        push(read(root), archive, pause=0)
        report = pull(archive, tmp_path / "out", jobs=jobs, on_outcome=lambda one: told.append(one.node.subject))
    assert report.ok, report.failed
    assert tree(tmp_path / "out") == tree(root)
    assert told == sorted(told)
