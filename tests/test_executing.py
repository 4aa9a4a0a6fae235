"""Work on a Dask cluster, which is real: processes that may die, and that find their own login."""

from __future__ import annotations

import json
import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, KilledWorker, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from test_data.generate import generate_many
from tests.test_cli import run
from xnat_bids_push import cli, executing
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import AccessDenied, ConfigError, DatasetError, Distressed
from xnat_bids_push.executing import (
    SUBJECTS,
    Account,
    Cluster,
    Errand,
    Login,
    carry_out,
    open_cluster,
    shares_for,
)
from xnat_bids_push.model import Issue, Outcome, Severity, State
from xnat_bids_push.pushing import Work, push, verify
from xnat_bids_push.report import Report
from xnat_bids_push.running import Listing, Run
from xnat_bids_push.server import LocalServer

Capture = pytest.CaptureFixture[str]

SECRET = "planted-7Qx/+secret"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("archive"), admin_password=SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def workers(guarded: LocalServer) -> Iterator[LocalCluster]:
    """Two processes, with a login in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XNAT_USER", guarded.user)
        patch.setenv("XNAT_PASS", SECRET)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            yield cluster


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNAT_PASS", SECRET)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generate_many(tmp_path / "many", subjects=8, files_per_session=3)
    return tmp_path / "many"


def test_a_cluster_pushes_and_verifies_also_if_a_worker_is_killed(
    root: Path, guarded: LocalServer, workers: LocalCluster, project: str
) -> None:
    """The other workers go on with what the dead one had; nothing is lost, and nothing is there twice."""
    dataset, login = read(root), Login(guarded.url, guarded.user, project)
    killed: list[int] = []

    def kill(outcome: Outcome) -> None:
        if outcome.node.experiment and not killed:
            killed.append(kill_a_busy_one(workers))

    with (
        connect(guarded.url, project=project, user=guarded.user, password=SECRET, create_project=True) as archive,
        open_cluster(workers.scheduler_address, login) as crew,
    ):
        pushed = push(dataset, archive, on_outcome=kill, crew=crew)
        verified = verify(dataset, archive, crew=crew)
        again = verify(dataset, archive)
        logs = str(crew._client.get_scheduler_logs()) + str(crew._client.get_worker_logs())
    assert killed
    assert (pushed.ok, verified.ok, again.ok) == (True, True, True), pushed.failed
    assert pushed.files == verified.files == again.files
    assert pushed.nodes == verified.nodes
    assert verified.states.keys() == {State.SAME}
    assert SECRET not in logs


def test_the_command_line_takes_the_file_of_a_scheduler(
    small_root: Path, tmp_path: Path, guarded: LocalServer, workers: LocalCluster, project: str, capsys: Capture
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": workers.scheduler_address}))
    login = tmp_path / "login.json"
    login.write_text(json.dumps({"server": guarded.url, "user": guarded.user, "password": SECRET}))
    command = [str(small_root), project, "--config", str(login), "--executor", f"dask:{file}"]
    assert run("push", *command, "--create-project") == 0
    assert run("verify", *command) == 0
    assert "2 sessions" in capsys.readouterr().out


def kill_a_busy_one(workers: LocalCluster) -> int:
    """Kill a worker that does something; its process number."""
    with Client(workers, set_as_default=False) as client:
        pids = client.run(os.getpid)
        busy = next((name for name, tasks in client.processing().items() if tasks), next(iter(pids)))
        os.kill(pids[busy], signal.SIGKILL)
        return int(pids[busy])


# ------------------------------------------------------------------ what a worker is told


@pytest.fixture
def errand(small_root: Path, guarded: LocalServer, project: str) -> Errand:
    dataset = read(small_root)
    there = Listing(frozenset(), {})
    return Errand("run", Login(guarded.url, guarded.user, project), dataset, Work(partial(Run, jobs=1)), there)


def test_no_secret_is_told_to_a_worker(
    small_root: Path, guarded: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what travels, nor in what logs and a dashboard show of it; nor are names of subjects shown."""

    def work(errand: Errand) -> Account:
        told = (repr(errand), pickle.dumps(errand).hex())
        return Account((), tuple(Issue(Severity.WARNING, "", one) for one in told), Counter(), None)

    report = pushed_by(work, small_root, guarded, project, monkeypatch)
    assert len(report.unset) == 3  # both are shown by the same words
    for issue in report.unset:
        assert SECRET not in issue.message
        assert SECRET.encode().hex() not in issue.message
        assert "sub-0" not in issue.message


def test_a_worker_without_a_login_says_so(errand: Errand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XNAT_PASS", raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    with pytest.raises(ConfigError, match=r"a worker on .* says: no password is known"):
        carry_out(errand)


def test_a_worker_that_does_not_see_the_dataset_says_so(errand: Errand, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must be at the same place on all machines"):
        carry_out(replace(errand, dataset=replace(errand.dataset, root=tmp_path / "elsewhere")))


@given(st.integers(0, 300), st.integers(0, 40))
def test_shares_for_workers_are_all_subjects_each_once(number: int, threads: int) -> None:
    subjects = [f"sub-{one:03}" for one in range(number)]
    found = list(shares_for(subjects, threads))
    assert sorted(one for share in found for one in share.subjects) == sorted(subjects)
    assert all(1 <= len(share.subjects) <= SUBJECTS for share in found)


# ------------------------------------------------------------------ what becomes of it


@contextmanager
def in_this_process(login: Login) -> Iterator[Cluster]:
    """A cluster whose worker is a thread, so that what it does can be replaced."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        open_cluster(cluster.scheduler_address, login) as crew,
    ):
        yield crew


def one_by_one(errand: Errand) -> str:
    """What the replaced workers do by their subject."""
    [subject] = errand.dataset.folders
    return subject


def pushed_by(
    work: Callable[[Errand], Account], root: Path, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> Report:
    monkeypatch.setattr(executing, "carry_out", work)
    with (
        connect(server.url, project=project, user=server.user, password=SECRET, create_project=True) as archive,
        in_this_process(Login(server.url, server.user, project)) as crew,
    ):
        return push(read(root), archive, crew=crew)


def test_what_kills_every_worker_fails_alone(
    small_root: Path, guarded: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XNAT_PASS", SECRET)

    def work(errand: Errand, real: Callable[[Errand], Account] = carry_out) -> Account:
        if one_by_one(errand) == "sub-01":
            raise KilledWorker("task", SimpleNamespace(address="tcp://gone"), 3)  # type: ignore[arg-type]  # all it tells
        return real(errand)

    report = pushed_by(work, small_root, guarded, project, monkeypatch)
    assert {outcome.node.subject for outcome in report.failed} == {"sub-01"}
    assert "the workers of the cluster that were to do this ended" in report.failed[0].failure
    assert report.can_go_on


def test_a_server_in_distress_ends_the_work_of_all(
    small_root: Path, guarded: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(errand: Errand) -> Account:
        issue = Issue(Severity.WARNING, "participants.tsv", "odd")
        return Account((), (issue,), Counter({"reset": 2}), Distressed("the server is in distress"))

    report = pushed_by(work, small_root, guarded, project, monkeypatch)
    assert report.stopped == "the server is in distress"
    assert [issue.message for issue in report.unset] == ["odd"]
    assert report.survived["reset"] == 2
    assert report.failed[0].failure == "the server is in distress"


def test_an_error_that_ends_a_run_ends_it_here(
    small_root: Path, guarded: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(errand: Errand) -> Account:
        raise AccessDenied("you may not", method="PUT", path="/data", status=403)

    with pytest.raises(AccessDenied, match="you may not") as caught:
        pushed_by(work, small_root, guarded, project, monkeypatch)
    assert (caught.value.status, caught.value.cause) == (403, "you may not (403)")


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("threads", "must be like dask:tcp://host:8786"),
        ("dask:", "must be like dask:tcp://host:8786"),
        ("dask:nothing://host:1", "there is no Dask scheduler at nothing://host:1"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(
    executor: str,
    message: str,
    small_root: Path,
    guarded: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setenv("XNAT_PASS", SECRET)
    options = ["--server", guarded.url, "--user", guarded.user, "--executor", executor]
    assert run("push", str(small_root), "P", *options) == cli.USAGE
    assert message in capsys.readouterr().err


def test_a_limit_that_no_worker_would_keep_is_refused(
    small_root: Path, guarded: LocalServer, password: None, capsys: Capture
) -> None:
    options = ["--server", guarded.url, "--user", guarded.user, "--bwlimit", "1M"]
    assert run("push", str(small_root), "P", *options, "--executor", "dask:tcp://127.0.0.1:1") == cli.USAGE
    assert "--bwlimit bounds one process" in capsys.readouterr().err


def test_a_cluster_needs_a_server(small_root: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ["--archive", str(tmp_path / "archive"), "--executor", "dask:tcp://127.0.0.1:1"]
    assert run("push", str(small_root), "P", *options) == cli.USAGE
    assert "give --server" in capsys.readouterr().err
