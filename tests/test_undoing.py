"""A push taken back by its receipt: all that it sent, and nothing that anybody else has there."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Connect, make_small
from tests.test_existing import held
from tests.test_receipts import IMAGE, pushed
from tests.test_rechecking import run
from xnat_bids_push.archive import Archive
from xnat_bids_push.model import Address, Existing, Node
from xnat_bids_push.policies import Policy
from xnat_bids_push.receipt import open_receipt
from xnat_bids_push.removing import remove
from xnat_bids_push.report import Report
from xnat_bids_push.server import Behaviour, LocalServer
from xnat_bids_push.undoing import plan_undoing

NODE = Node("sub-01", "sub-01_MR")
SCAN = "subjects/sub-01/experiments/sub-01_MR/scans/anat_T1w"


def undone(path: Path, archive: Archive) -> Report:
    return remove(list(plan_undoing(open_receipt(path), archive)), archive)


def put(server: LocalServer, project: str, address: str, data: bytes = b"", **query: str) -> None:
    url = f"{server.url}/data/projects/{project}/{address}"
    login = (server.user, server.password)
    requests.put(url, params=query, data=data, auth=login, timeout=9).raise_for_status()


def everything(archive: Archive) -> tuple[object, ...]:
    """All that a project holds."""
    experiments = archive.experiments()
    nodes = [Node(), *map(Node, archive.subjects()), *(Node(one.subject, one.label) for one in experiments.values())]
    files = {address: digest for node in nodes for address, digest in held(archive, node).items()}
    scans = {node: archive.scans(node) for node in nodes if node.experiment}
    return files, scans, set(archive.subjects())


def test_a_first_push_leaves_nothing_behind(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        assert undone(path, archive).ok
        assert everything(archive) == ({}, {}, set())
        assert undone(path, archive).ok, "what is gone is no fault"


def test_a_second_push_goes_and_the_first_one_stays(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        pushed(small_root, archive, tmp_path / "k")
        before = everything(archive)
        (small_root / "sub-01/anat/sub-01_T2w.nii.gz").write_text("a new scan")
        (small_root / "sub-01/anat/sub-01_T1w.bval").write_text("one more file of a scan")
        (small_root / "sub-01/sub-01_sessions.tsv").write_text("session_id\n")
        (small_root / "sub-02/eeg").mkdir()
        (small_root / "sub-02/eeg/sub-02_task-rest_eeg.edf").write_text("a new session")
        (small_root / "sub-03/anat").mkdir(parents=True)
        (small_root / "sub-03/anat/sub-03_T1w.nii.gz").write_text("a new subject")
        (small_root / "code").mkdir()
        (small_root / "code/run").write_text("a new resource")
        second = pushed(small_root, archive, tmp_path / "k")
        assert everything(archive) != before
        assert undone(second, archive).failed == []
        assert everything(archive) == before


def test_the_first_push_goes_and_the_second_one_stays(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        first = pushed(small_root, archive, tmp_path / "k")
        (small_root / "sub-01/anat/sub-01_T2w.nii.gz").write_text("a new scan")
        pushed(small_root, archive, tmp_path / "k")
        assert undone(first, archive).failed == []
        files, scans, subjects = everything(archive)
    new = Address(NODE, "anat_T2w", "NIFTI", "sub-01_T2w.nii.gz")
    assert isinstance(files, dict)
    assert set(files) == {new}
    assert scans == {NODE: frozenset({"anat_T2w"})}
    assert subjects == {"sub-01"}


def test_what_was_changed_since_stays_and_is_named(
    small_root: Path, open_project: Connect, server: LocalServer, project: str, tmp_path: Path
) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        put(server, project, f"{SCAN}/resources/NIFTI/files/sub-01_T1w.nii.gz", b"x", inbody="true", overwrite="true")
        report = undone(path, archive)
        files, _, _ = everything(archive)
    assert [one.node for one in report.failed] == [NODE]
    assert "sub-01_T1w.nii.gz is not proven to be as it was sent" in report.failed[0].failure
    assert isinstance(files, dict)
    assert [str(one) for one in files] == ["sub-01/sub-01_MR/scans/anat_T1w/NIFTI/sub-01_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("address", "query"),
    [
        (f"{SCAN}/resources/OTHER/files/x", {"inbody": "true"}),
        (f"{SCAN}/resources/NIFTI/files/sub-01_T1w.nii.gz.note", {"inbody": "true"}),
        ("subjects/sub-01/experiments/sub-01_MR/scans/7", {"xsiType": "xnat:mrScanData"}),
        ("subjects/sub-01/experiments/sub-01_MR/resources/NOTES/files/x", {"inbody": "true"}),
        ("subjects/sub-01/resources/NOTES/files/x", {"inbody": "true"}),
        ("subjects/sub-01/experiments/theirs", {"xsiType": "xnat:mrSessionData"}),
        ("resources/BIDS/files/theirs", {"inbody": "true"}),
    ],
)
def test_what_others_have_added_stays_where_it_is(
    address: str,
    query: dict[str, str],
    small_root: Path,
    open_project: Connect,
    server: LocalServer,
    project: str,
    tmp_path: Path,
) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        put(server, project, address, b"theirs", **query)
        undone(path, archive)
        files, scans, subjects = everything(archive)
        experiments = archive.experiments()
    assert isinstance(files, dict)
    assert isinstance(scans, dict)
    assert isinstance(subjects, set)
    if "/files/" in address:
        assert any(one.name == address.partition("/files/")[2] for one in files)
    if address.endswith("/7"):
        assert "7" in scans[NODE]
    if address.endswith("theirs") and "experiments" in address:
        assert "theirs" in experiments
    assert subjects == ({"sub-01"} if "sub-01" in address else set())
    assert "sub-02_MR" not in experiments


def test_a_name_that_another_one_begins_with_is_never_deleted_alone(
    small_root: Path, open_project: Connect, server: LocalServer, project: str, tmp_path: Path
) -> None:
    """XNAT would delete ``x.nii.gz.note`` together with ``x.nii.gz``."""
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        put(server, project, f"{SCAN}/resources/NIFTI/files/sub-01_T1w.nii.gz.note", b"theirs", inbody="true")
        report = undone(path, archive)
        files = held(archive)
    assert "cannot go alone" in report.failed[0].failure
    assert {one.name for one in files} == {"sub-01_T1w.nii.gz", "sub-01_T1w.nii.gz.note"}


def test_what_was_replaced_stays(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        pushed(small_root, archive, tmp_path / "k")
        (small_root / IMAGE).write_text("another image")
        second = pushed(small_root, archive, tmp_path / "k", policy=Policy(Existing.REPLACE))
        before = everything(archive)
        report = undone(second, archive)
        assert everything(archive) == before
    assert "replaced what was there before" in report.failed[0].failure


def test_without_a_digest_nothing_goes(small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer(tmp_path / "site", behaviour=Behaviour(checksums="never")) as server:
        for name, value in (("HOST", server.url), ("USER", server.user), ("PASS", server.password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        run(small_root, "P", "--create-project", "--receipts", tmp_path / "k")
        [receipt] = (tmp_path / "k").glob("*.json")
        assert run("remove", "--receipt", receipt, "--yes") == 1
        assert run("verify", small_root, "P", "--deep") == 0


def test_the_command_line_undoes_a_push_and_is_bounded(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    for number in range(100):
        (small_root / "code").mkdir(exist_ok=True)
        (small_root / f"code/{number}").touch()
    assert run(small_root, "DEMO", "--receipts", tmp_path / "k") == 0
    [receipt] = (tmp_path / "k").glob("*.json")
    assert run("remove", "--receipt", receipt) == 2, "nobody is there to be asked"
    capsys.readouterr()
    assert run("remove", "--receipt", receipt, "--yes") == 2
    assert "--max-delete is 100: nothing was done" in capsys.readouterr().err
    assert run("remove", small_root, "DEMO", "--yes", "--max-delete", "10") == 2
    assert run("verify", small_root, "DEMO") == 0
    assert run("remove", "--receipt", receipt, "--yes", "--max-delete", "1000") == 0
    assert run("verify", small_root, "DEMO") == 1
    assert run("remove", small_root, "--receipt", receipt) == 2


CHANGES = {
    "scan": "sub-01/anat/sub-01_T2w.nii.gz",
    "file": "sub-01/anat/sub-01_T1w.nii",
    "companion": "sub-01/func/sub-01_task-rest_physio.tsv.gz",
    "session": "sub-02/eeg/sub-02_task-rest_eeg.edf",
    "subject": "sub-03/anat/sub-03_T1w.nii.gz",
    "prefix": "code/a",
    "longer": "code/a.b",
    "root": "CHANGES",
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.sets(st.sampled_from(sorted(CHANGES))), second=st.sets(st.sampled_from(sorted(CHANGES)), min_size=1))
def test_undoing_a_push_gives_back_what_was_before(
    first: set[str],
    second: set[str],
    tmp_path_factory: pytest.TempPathFactory,
    open_project: Connect,
) -> None:
    """But for files that XNAT cannot delete without more than them, which are named."""
    folder = tmp_path_factory.mktemp("undo")
    root = make_small(folder / "root")
    with open_project() as archive:
        wipe = pushed(root, archive, folder / "k")
        for name in first:
            add(root, CHANGES[name])
        middle = pushed(root, archive, folder / "k")
        before = everything(archive)
        for name in second:
            add(root, CHANGES[name])
        last = pushed(root, archive, folder / "k")
        report = undone(last, archive)
        if not report.failed:
            assert everything(archive) == before
        else:
            assert all("cannot go alone" in one.failure for one in report.failed)
        for path in (last, middle, wipe) * 2:
            undone(path, archive)
        assert everything(archive) == ({}, {}, set())


def add(root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(f"content of {path}")
