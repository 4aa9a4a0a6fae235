"""Batches that are settled side by side, by as many workers as pay, and no quicker than the user allows."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from test_data.generate import generate_many
from tests.conftest import Connect, People
from tests.test_cli import run
from xnat_bids_push import pushing
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import AccessDenied
from xnat_bids_push.flow import Bucket
from xnat_bids_push.model import ImportSession, Outcome
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import push, verify
from xnat_bids_push.server import LocalServer


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "BATCH", 2)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    generate_many(tmp_path / "many", subjects=9, files_per_session=2)
    return tmp_path / "many"


def test_batches_side_by_side_come_to_their_end_and_are_told_in_their_order(many: Path, open_project: Connect) -> None:
    told: list[Outcome] = []
    with open_project() as archive:
        report = push(read(many), archive, pause=0, on_outcome=told.append)
        again = push(read(many), archive, pause=0)
        checked = verify(read(many), archive)
    assert (report.ok, again.ok, again.sent_files, checked.ok) == (True, True, 0, True), report.failed
    assert [one.node.subject for one in told] == ["", *(f"sub-{number:05}" for number in range(1, 10))]


def test_while_one_batch_is_proven_files_of_another_go_out(many: Path, open_project: Connect) -> None:
    with open_project() as archive:
        compute, imported = archive.compute_digests, archive.import_session
        went_on = threading.Event()
        waited: list[bool] = []

        def import_session(step: ImportSession, **given: object) -> str:
            if step.parcel.node.subject > "sub-00002":
                went_on.set()
            return imported(step, **given)  # type: ignore[arg-type]

        def compute_digests(paths: Iterable[str]) -> None:
            waited.append(went_on.wait(10))
            compute(paths)

        archive.import_session, archive.compute_digests = import_session, compute_digests  # type: ignore[method-assign]
        assert push(read(many), archive, pause=0).ok
    assert waited[0]


def test_no_batch_writes_before_the_rights_to_the_first_one_s_project_files_are_known(
    many: Path, server: LocalServer, project: str, people: People, open_project: Connect
) -> None:
    with open_project():
        people.add("member", project, "Members")
    with connect(server.url, project=project, user="member", password=people.password) as archive:
        server.request_log.clear()
        with pytest.raises(AccessDenied, match="the project itself"):
            push(read(many), archive, pause=0)
    assert [path for method, path in server.request_log if method not in ("GET", "DELETE")] == []


def test_all_bytes_of_a_push_and_a_pull_pass_through_the_one_bucket(
    many: Path, tmp_path: Path, open_project: Connect
) -> None:
    passed: list[int] = []

    class _Counting(Bucket):
        def take(self, size: int) -> None:
            passed.append(size)

    with open_project() as archive:
        archive.limit(10_000)
        archive._session.bucket = _Counting(10_000)
        size = sum(path.stat().st_size for path in many.rglob("*") if path.is_file())
        assert push(read(many), archive, pause=0).ok
        assert sum(passed) > size
        passed.clear()
        assert pull(archive, tmp_path / "out").ok
        assert sum(passed) > size
    assert max(passed) <= 10_000 / 4


@pytest.mark.parametrize("options", [("--jobs", "0"), ("--jobs", "65"), ("--jobs", "many"), ("--bwlimit", "fast")])
def test_what_is_no_number_of_jobs_and_no_rate_is_refused_before_anything(
    options: tuple[str, str], small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    assert run(small_root, "DEMO", *options) == 2
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("options", [("--jobs", "3"), ("--jobs", "auto", "--bwlimit", "1G")])
def test_jobs_and_rate_are_the_user_s(
    options: tuple[str, ...], small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    assert run(small_root, "DEMO", *options) == 0
