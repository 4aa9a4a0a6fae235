"""The laws of the design, on a real socket: nothing lost, nothing mixed, reversible, idempotent, resumable, modest."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import requests
import xnat
from hypothesis import HealthCheck, given, settings

from test_data.generate import generate_annex, generate_awkward, generate_many, write
from tests.conftest import Connect
from tests.fault_cases import tree as tree
from tests.trees import Tree, trees
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Dataset, Selection, md5_of, read
from xnat_bids_push.mapping import place
from xnat_bids_push.model import FillResource, Node, State
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import batches, healthy, plan, push, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.report import Report
from xnat_bids_push.running import Run
from xnat_bids_push.server import LocalServer


def everything(root: Path) -> Dataset:
    return read(root, selection=Selection(("all",), sourcedata=True), validate=False)


def annexed(root: Path) -> None:
    generate_annex(root)
    for link in root.glob("sub-02/**/*"):
        if link.is_symlink():
            link.unlink()


# ------------------------------------------------------------------ identity and idempotence


def assert_round_trip(root: Path, out: Path, open_project: Connect) -> None:
    dataset = everything(root)
    with open_project() as archive:
        first = push(dataset, archive, pause=0)
        second = push(dataset, archive, pause=0)
        verified = verify(dataset, archive)
        pulled = pull(archive, out)
    assert (first.ok, verified.ok, pulled.ok) == (True, True, True), (first.failed, verified.failed, pulled.failed)
    assert second.ok
    assert second.sent_files == 0
    assert tree(out) == tree(root)


def test_pull_after_push_is_the_identity_on_the_sample(
    sample_root: Path, tmp_path: Path, open_project: Connect
) -> None:
    assert_round_trip(sample_root, tmp_path / "out", open_project)


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made on Windows")
def test_pull_after_push_is_the_identity_on_awkward_names(tmp_path: Path, open_project: Connect) -> None:
    """Also below a folder that itself looks like a subject's."""
    root = tmp_path / "sub-9_ses-9_run-9"
    generate_awkward(root)
    (root / "sourcedata" / "~").unlink()  # an editor's backup, left out on purpose
    assert_round_trip(root, tmp_path / "out", open_project)


def test_a_link_into_what_was_not_asked_for_comes_back_as_a_link(
    small_root: Path, tmp_path: Path, open_project: Connect
) -> None:
    (small_root / "sourcedata/raw").mkdir(parents=True)
    (small_root / "sourcedata/raw/a.txt").write_text("raw")
    (small_root / "code").mkdir()
    (small_root / "code/folder").symlink_to("../sourcedata/raw")
    (small_root / "code/file").symlink_to("../sourcedata/raw/a.txt")
    with open_project() as archive:
        assert push(read(small_root), archive, pause=0).ok
        assert pull(archive, tmp_path / "out").ok
    came = tree(tmp_path / "out")
    assert came["code/folder"] == ("link", "../sourcedata/raw", False)
    assert came["code/file"] == ("file", b"raw", False)  # its content is here, and what it led to is not


def test_git_annex_content_that_is_here_is_pushed_and_comes_back_as_files(
    tmp_path: Path, open_project: Connect
) -> None:
    root, out = tmp_path / "annexed", tmp_path / "out"
    annexed(root)
    with open_project() as archive:
        assert push(everything(root), archive, pause=0).ok
        assert pull(archive, out).ok
    there = {path: entry[1] for path, entry in tree(out).items() if entry[0] == "file"}
    here = [path for path in root.rglob("*") if path.is_file() and not {".git", ".datalad"} & set(path.parts)]
    assert there == {path.relative_to(root).as_posix(): path.read_bytes() for path in here}


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be made on Windows")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=trees())
def test_pull_after_push_is_the_identity_on_any_tree(
    files: Tree, server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    write(root, files.items())
    project = f"H{out.name.removeprefix('out')}"

    def open_project() -> object:
        return connect(server.url, project=project, user=server.user, password=server.password, create_project=True)

    assert_round_trip(root, out, open_project)  # type: ignore[arg-type]


def test_a_second_push_asks_little_and_writes_nothing(
    small_root: Path, server: LocalServer, open_project: Connect
) -> None:
    dataset = read(small_root)
    with open_project() as archive:
        push(dataset, archive, pause=0)
        server.request_log.clear()
        push(dataset, archive, pause=0)
    assert len(server.request_log) <= 20
    assert all(method in ("GET", "DELETE") for method, _ in server.request_log)


# ------------------------------------------------------------------ what XNAT shows


def test_the_server_lists_every_file_at_its_address_with_the_digest_on_disk(
    sample: Dataset, server: LocalServer, open_project: Connect
) -> None:
    with open_project() as archive:
        push(sample, archive, pause=0)
        listed = archive.holdings(archive.experiments().values())
    for part in sample.parts():
        for parcel in place(part, sample.table, description=sample.description).parcels:
            if parcel.node.experiment:
                stored = listed[parcel.node.experiment]
                assert stored.node == parcel.node
                assert {address: one.md5 for address, one in stored.files.items()} == {
                    placed.address: md5_of(placed.file) for placed in parcel.files
                }


@pytest.mark.filterwarnings("ignore:'count' is passed as positional:DeprecationWarning")  # xnatpy's, on Python 3.13
def test_xnatpy_shows_subjects_sessions_scans_and_files(
    sample: Dataset, sample_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    with open_project() as archive:
        push(sample, archive, pause=0)
    with xnat.connect(server.url, user=server.user, password=server.password, loglevel="ERROR") as client:
        subjects = client.projects[project].subjects
        assert {one.label for one in subjects.values()} == {"sub-01", "sub-02", "sub-03"}
        sessions = {one.label: one for one in subjects["sub-01"].experiments.values()}
        mr = sessions["sub-01_ses-pre_MR"]
        assert mr.__xsi_type__ == "xnat:mrSessionData"
        scan = {one.id: one for one in mr.scans.values()}["anat_T1w"]
        assert (scan.__xsi_type__, scan.type, scan.quality) == ("xnat:mrScanData", "T1w", "usable")
        assert scan.series_description == "T1w"
        digests = {file.id: file.digest for file in scan.resources["NIFTI"].files.values()}
        name = "sub-01_ses-pre_T1w.nii.gz"
        content = (sample_root / "sub-01/ses-pre/anat" / name).read_bytes()
        assert digests == {name: hashlib.md5(content, usedforsecurity=False).hexdigest()}
        kinds = {
            one.label.rpartition("_")[2]: one.__xsi_type__ for one in client.projects[project].experiments.values()
        }
    assert kinds["PET"] == "xnat:petSessionData"
    assert kinds["EEG"] == "xnat:eegSessionData"
    assert kinds["MEG"] == "xnat:megSessionData"


def test_new_sessions_cost_three_requests_at_most(tmp_path: Path, server: LocalServer, open_project: Connect) -> None:
    generate_many(tmp_path / "many", subjects=60, files_per_session=12)
    with open_project() as archive:
        server.request_log.clear()
        report = push(read(tmp_path / "many"), archive, pause=0)
    assert (report.ok, report.kinds["session"]) == (True, 60)
    assert len(server.request_log) <= 60 * 3 + 30


# ------------------------------------------------------------------ resuming


def test_an_interrupted_pull_goes_on(small_root: Path, tmp_path: Path, open_project: Connect) -> None:
    out = tmp_path / "out"
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        pull(archive, out)
        (out / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
        again = pull(archive, out)
    assert (again.ok, again.sent_files) == (True, 1)
    assert tree(out) == tree(small_root)


def test_files_added_later_complete_a_session_that_exists(small_root: Path, open_project: Connect) -> None:
    dataset = read(small_root)
    with open_project() as archive:
        push(dataset, archive, pause=0)
        later = {
            "sub-01/anat/sub-01_T2w.nii.gz": "T2",
            "sub-01/func/sub-01_task-rest_bold.json": "{}",
            "sub-01/eeg/sub-01_task-rest_eeg.edf": "EDF",
            "sub-03/anat/sub-03_T1w.nii.gz": "third",
            "CHANGES": "1.0.1",
        }
        for path, text in later.items():
            (small_root / path).parent.mkdir(parents=True, exist_ok=True)
            (small_root / path).write_text(text)
        report = push(read(small_root), archive, pause=0)
        assert report.ok, report.failed
        assert report.sent_files == len(later) + 2  # and the new experiments' copies of the description
        assert archive.scans(Node("sub-01", "sub-01_MR")) == {"anat_T1w", "func_task-rest_bold", "anat_T2w"}


def wrong(report: Report) -> dict[str, str]:
    """The files of a report that are not as they should be, with the reasons."""
    return {f.path: f.reason for one in report.failed for f in one.findings if f.state is not State.SAME}


def test_a_file_that_vanishes_fails_alone(small_root: Path, tmp_path: Path, open_project: Connect) -> None:
    dataset = read(small_root)
    victim = small_root / "sub-02/anat/sub-02_T1w.nii.gz"

    def change(_: int) -> None:
        if victim.exists():
            victim.unlink()

    with open_project() as archive:
        report = push(dataset, archive, jobs=1, pause=0, on_bytes=change)
        assert [str(one.node) for one in report.failed] == ["sub-02_MR"]
        assert wrong(report) == {"sub-02/anat/sub-02_T1w.nii.gz": "cannot be read: No such file or directory"}
        assert (report.ok, set(archive.experiments())) == (False, {"sub-01_MR", "sub-02_MR"})
        assert verify(dataset, archive).states[State.MISSING] == 1
        victim.write_text("back again, and longer")
        assert push(read(small_root), archive, pause=0).ok
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(small_root)


@pytest.mark.parametrize("size", [3, 20, 5000], ids=["shorter", "of the same length", "longer"])
@pytest.mark.parametrize("name", ["sub-02_T1w.nii.gz", "sub-02_T1w.json"])
def test_a_file_that_changes_fails_alone(
    size: int, name: str, tmp_path: Path, small_root: Path, open_project: Connect
) -> None:
    """Before it is read; of the same length, its time alone has changed."""
    victim = small_root / "sub-02/anat" / name
    victim.write_text("x" * 20)
    (small_root / "sub-02/anat/sub-02_T2w.nii.gz").write_text("another recording")
    dataset = read(small_root)

    def change(_: int) -> None:
        victim.write_text("y" * size)
        os.utime(victim, ns=(1, 1))

    with open_project() as archive:
        report = push(dataset, archive, jobs=1, pause=0, on_bytes=change)
        assert wrong(report) == {f"sub-02/anat/{name}": "changed while it was read: push again when it is at rest"}
        again = push(read(small_root), archive, pause=0)
        assert (again.ok, again.sent_files) == (True, 1)
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(small_root)


def test_a_file_that_changes_before_its_digest_is_taken_fails_alone(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        dataset = read(small_root)
        [batch] = batches(dataset)
        os.utime(small_root / "sub-01/anat/sub-01_T1w.nii.gz", ns=(1, 1))
        outcomes = Run(dataset, archive).examine(batch)
    findings = [finding for one in outcomes for finding in one.findings if finding.state is not State.SAME]
    assert [(one.state, one.path) for one in findings] == [(State.UNPROVEN, "sub-01/anat/sub-01_T1w.nii.gz")]


def test_a_subject_that_vanishes_while_others_are_pushed_is_told(small_root: Path, open_project: Connect) -> None:
    """Its folder was there at the first look at the dataset, and is not at the second."""
    (small_root / "sub-03/anat").mkdir(parents=True)
    (small_root / "sub-03/anat/sub-03_T1w.nii.gz").write_text("third")
    dataset = read(small_root)
    found = healthy(dataset)
    shutil.rmtree(small_root / "sub-02")
    (small_root / "sub-03/anat/sub-03_T1w.nii.gz").unlink()
    with open_project() as archive:
        report = push(dataset, archive, found=found, pause=0)
        checked = verify(dataset, archive, found=found)
        assert set(archive.experiments()) == {"sub-01_MR"}
    for one in (report, checked):
        assert not one.ok
        assert "the dataset changed" in " ".join(outcome.failure for outcome in one.failed)


# ------------------------------------------------------------------ modesty


def _upload(server: LocalServer, path: str, body: bytes, **query: str) -> None:
    answer = requests.put(
        f"{server.url}{path}",
        params={"inbody": "true"} | query,
        data=body,
        auth=(server.user, server.password),
        timeout=30,
    )
    answer.raise_for_status()


def _session_url(project: str, rest: str) -> str:
    return f"/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR/{rest}"


def test_what_differs_in_the_archive_is_reported_and_left(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    path = _session_url(project, "scans/anat_T1w/resources/NIFTI/files/sub-01_T1w.nii.gz")
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        _upload(server, path, b"a curator's own", overwrite="true")
        report = push(read(small_root), archive, pause=0)
        checked = verify(read(small_root), archive)
    assert (report.ok, checked.ok, report.sent_files) == (False, False, 0)
    assert [f.path for one in report.failed for f in one.findings if f.state is State.DIFFERS] == [
        "sub-01/anat/sub-01_T1w.nii.gz"
    ]
    content = requests.get(f"{server.url}{path}", auth=(server.user, server.password), timeout=30).content
    assert content == b"a curator's own"


def test_a_description_edited_in_the_archive_stays_when_copies_of_ours_go_out(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    path = f"/data/projects/{project}/resources/BIDS/files/dataset_description.json"
    with open_project() as archive:
        _upload(server, path, b'{"Name": "edited by hand"}')
        report = push(read(small_root), archive, pause=0)
    assert [str(one.node) for one in report.failed] == ["project"]
    content = requests.get(f"{server.url}{path}", auth=(server.user, server.password), timeout=30).content
    assert content == b'{"Name": "edited by hand"}'


def test_a_file_that_appears_in_the_archive_between_plan_and_push_is_not_overwritten(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    path = f"/data/projects/{project}/resources/BIDS/files/README"
    with open_project() as archive:
        fill = archive.fill_resource

        def overtaken(step: FillResource, **options: object) -> tuple[str, ...]:
            if not step.node.subject:
                _upload(server, path, b"somebody was quicker")
            return fill(step, **options)  # type: ignore[arg-type]

        archive.fill_resource = overtaken  # type: ignore[method-assign]
        report = push(read(small_root), archive, pause=0)
    assert [f.path for one in report.failed for f in one.findings if f.state is not State.SAME] == ["README"]
    content = requests.get(f"{server.url}{path}", auth=(server.user, server.password), timeout=30).content
    assert content == b"somebody was quicker"


def test_other_peoples_data_is_neither_reported_nor_removed(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    theirs = _session_url(project, "scans/anat_T1w/resources/SNAPSHOTS/files/a.gif")
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        _upload(server, theirs, b"GIF", content="ORIGINAL")
        assert verify(read(small_root), archive).ok
        removals = list(plan_removal(read(small_root), archive))
        [partial] = [one for one in removals if one.node.experiment == "sub-01_MR"]
        assert sum(deletion.files for deletion in partial.deletions) == 6  # five of the dataset, one copy
        report = remove(removals, archive)
        assert not report.ok
        assert set(archive.experiments()) == {"sub-01_MR"}
        left = archive.holdings(archive.experiments().values())["sub-01_MR"].files
        assert [(address.resource, address.name) for address in left] == [("SNAPSHOTS", "a.gif")]
        assert archive.scans(Node("sub-01", "sub-01_MR")) == {"anat_T1w"}


def test_removal_leaves_nothing_of_the_dataset_and_the_subjects_that_are_more_than_a_label(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        requests.put(
            f"{server.url}/data/projects/{project}/subjects/sub-02",
            params={"group": "patients"},
            auth=(server.user, server.password),
            timeout=30,
        ).raise_for_status()
        report = remove(plan_removal(read(small_root), archive), archive)
        assert report.ok, report.failed
        assert archive.experiments() == {}
        assert set(archive.subjects()) == {"sub-02"}
        assert archive.node_holding(Node()).files == {}


def test_what_is_removed_is_on_the_servers_disk_no_more(small_root: Path, tmp_path: Path) -> None:
    """Without being told so, XNAT keeps the files of what it deletes."""
    site = tmp_path / "site"
    with LocalServer(site) as server:
        login = {"user": server.user, "password": server.password}
        with connect(server.url, project="P", create_project=True, **login) as archive:
            push(read(small_root), archive, pause=0)
            assert list(site.rglob("sub-02_T1w.nii.gz"))
            assert remove(plan_removal(read(small_root), archive), archive).ok
    assert list(site.rglob("sub-0*_*.*")) == []


def test_what_differs_is_not_removed(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        (small_root / "sub-01/anat/sub-01_T1w.nii.gz").write_text("newer")
        remove(plan_removal(read(small_root), archive), archive)
        left = archive.holdings(archive.experiments().values())["sub-01_MR"].files
    assert [address.name for address in left] == ["sub-01_T1w.nii.gz"]


def test_a_session_of_another_subject_is_never_moved(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    """XNAT would move a session whose label is put under another subject, with 200."""
    auth = (server.user, server.password)
    with open_project() as archive:
        url = f"{server.url}/data/projects/{project}/subjects/other/experiments/sub-01_MR"
        requests.put(url, params={"xsiType": "xnat:mrSessionData"}, auth=auth, timeout=30).raise_for_status()
        report = push(read(small_root), archive, pause=0)
        assert archive.experiments()["sub-01_MR"].subject == "other"
    assert [str(one.node) for one in report.failed] == ["sub-01_MR"]
    assert "under subject other" in report.failed[0].failure


def test_a_plan_changes_nothing(small_root: Path, server: LocalServer, open_project: Connect) -> None:
    with open_project() as archive:
        server.request_log.clear()
        plans = list(plan(read(small_root), archive))
    assert {str(one.node) for one in plans if one.steps} == {"project", "sub-01_MR", "sub-02_MR"}
    assert {method for method, _ in server.request_log} <= {"GET", "DELETE"}
