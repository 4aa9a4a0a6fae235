"""What the site does not allow is said before the first write, with every way on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import People, make_small
from tests.test_laws import tree
from xnat_bids_push.archive import Archive, open_archive
from xnat_bids_push.client import Credentials
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Dataset, read
from xnat_bids_push.errors import AccessDenied, DatasetError, Rejected
from xnat_bids_push.model import CreateSubject
from xnat_bids_push.preflight import Skip
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import plan, push, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.server import LocalServer
from xnat_bids_push.tailoring import mapping_table

EVERYTHING = ["pet,meg,eeg,ieeg,emg,nirs,motion,micr,beh=xnat:mrSessionData"]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A site as XNAT is installed: MR, PET, PET/MR, CT and CR sessions only."""
    with LocalServer(tmp_path_factory.mktemp("stock"), registered="stock") as server:
        yield server


def opened(server: LocalServer, project: str, role: str = "Owners") -> Archive:
    """The project, as somebody with a role in it."""
    with connect(server.url, project=project, user=server.user, password=server.password, create_project=True):
        People(server).add(role.lower(), project, role)
    return open_archive(Credentials(server.url, role.lower(), People.password), project)


def writes(server: LocalServer) -> list[str]:
    return [path for method, path in server.request_log if method not in ("GET", "HEAD")]


def refusal(dataset: Dataset, archive: Archive) -> str:
    with pytest.raises(DatasetError) as caught:
        push(dataset, archive, pause=0)
    return str(caught.value)


# ------------------------------------------------------------------ types


def test_missing_types_are_named_with_what_needs_them_and_every_way_on(
    stock: LocalServer, project: str, sample_root: Path
) -> None:
    archive = opened(stock, project)
    stock.request_log.clear()
    message = refusal(read(sample_root), archive)

    assert writes(stock) == []
    [eeg] = [line for line in message.splitlines() if "xnat:eegSessionData" in line]
    for words in ("session", "EEG, IEEG", "_EEG", "file", "Set Up Additional Data Type", "--skip-unregistered"):
        assert words in eeg
    assert "--session-type eeg,ieeg=TYPE; here: xnat:crSessionData, xnat:ctSessionData, xnat:mrSessionData" in eeg
    assert "xnat:mrSessionData, which" not in message


@pytest.mark.parametrize("whole", [False, True], ids=["by modality", "by session"])
def test_other_types_make_every_datatype_pushable_on_a_stock_site(
    stock: LocalServer, project: str, sample_root: Path, tmp_path: Path, whole: bool
) -> None:
    archive = opened(stock, project)
    dataset = read(sample_root, table=mapping_table(session_types=EVERYTHING, one_experiment_per_session=whole))
    first, second, verified = push(dataset, archive, pause=0), push(dataset, archive, pause=0), verify(dataset, archive)
    pulled = pull(archive, tmp_path / "out")
    types = {one.xsi_type for one in archive.experiments().values()}
    removed = remove(list(plan_removal(dataset, archive)), archive)

    assert [one.failed for one in (first, second, verified, pulled, removed)] == [[], [], [], [], []]
    assert second.sent_files == 0
    assert types <= {"xnat:mrSessionData", "xnat:petmrSessionData"}
    assert {path for path in tree(sample_root) if path.startswith("sub-")} <= tree(tmp_path / "out").keys()


def test_a_scan_of_another_kind_can_be_added_to_a_session_of_a_chosen_type(
    stock: LocalServer, project: str, tmp_path: Path
) -> None:
    (tmp_path / "sub-1/eeg").mkdir(parents=True)
    table = mapping_table(session_types=EVERYTHING)
    archive = opened(stock, project)
    for name in ("sub-1_task-a_eeg.edf", "sub-1_task-b_eeg.edf"):
        (tmp_path / "sub-1/eeg" / name).write_text(name)
        assert push(read(tmp_path, table=table, validate=False), archive, pause=0).ok


def test_sessions_of_missing_types_can_be_left_out(stock: LocalServer, project: str, sample_root: Path) -> None:
    archive, dataset, skip = opened(stock, project), read(sample_root), Skip(unregistered=True)
    report = push(dataset, archive, pause=0, skip=skip)
    verified = verify(dataset, archive, skip=skip)
    settled = all(one.settled for one in plan(dataset, archive, skip=skip))

    assert (report.ok, verified.ok, settled) == (True, True, True)
    assert report.omitted == verified.omitted
    assert report.omitted.sessions > 0
    assert "xnat:eegSessionData" in str(report.omitted)
    assert {one.xsi_type for one in archive.experiments().values()} <= {"xnat:mrSessionData", "xnat:petSessionData"}
    assert not verify(dataset, archive).ok, "what was left out is missing, unless it may be"


@pytest.mark.parametrize(
    ("xsi_type", "words"),
    [
        ("xnat:mrSesionData", "this server has no type xnat:mrSesionData"),
        ("xnat:subjectData", "is no type of an imaging session"),
        ("xnat:imageSessionData", "is no type of an imaging session"),
        ("xnat:opSessionData", "has not set up xnat:opSessionData"),
    ],
)
def test_a_chosen_type_must_be_one_of_the_site_s_session_types(
    stock: LocalServer, project: str, small_root: Path, xsi_type: str, words: str
) -> None:
    dataset = read(small_root, table=mapping_table(session_types=[f"mr={xsi_type}"]))
    message = refusal(dataset, opened(stock, project))

    assert words in message
    assert "xnat:mrSessionData" in message


def test_an_experiment_that_no_listing_shows_is_named(tmp_path: Path, project: str, small_root: Path) -> None:
    """XNAT takes sessions of types that are not set up by PUT, lists them nowhere, and refuses an import."""
    with LocalServer(tmp_path / "site", registered="stock") as server:
        with connect(
            server.url, project=project, user=server.user, password=server.password, create_project=True
        ) as archive:
            archive.create_subject(CreateSubject("sub-01"))
            path = f"{server.url}/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR"
            login = (server.user, server.password)
            requests.put(path, params={"xsiType": "xnat:eegSessionData"}, auth=login, timeout=30).raise_for_status()
            report = push(read(small_root), archive, pause=0)

        [failed] = report.failed
        assert "exists already as xnat:eegSessionData" in failed.failure
        assert "ask the administrator to set up xnat:eegSessionData" in failed.failure


# ------------------------------------------------------------------ rights


def test_a_member_is_told_of_the_project_files_before_the_first_write(
    server: LocalServer, project: str, small_root: Path
) -> None:
    archive = opened(server, project, "Members")
    server.request_log.clear()
    with pytest.raises(AccessDenied) as caught:
        push(read(small_root), archive, pause=0)

    assert writes(server) == []
    assert "README, dataset_description.json" in str(caught.value)
    assert "--skip-project-files" in str(caught.value)


@pytest.mark.parametrize(("group", "skip"), [("Members", Skip()), ("Collaborators", Skip(project_files=True))])
def test_a_plan_tells_that_the_user_may_not(
    server: LocalServer, project: str, small_root: Path, group: str, skip: Skip
) -> None:
    archive, dataset = opened(server, project, group), read(small_root)
    refusals: list[str] = []
    plans = list(plan(dataset, archive, skip=skip, on_refusal=refusals.append))

    assert any(one.steps for one in plans)
    with pytest.raises(AccessDenied) as caught:
        push(dataset, archive, pause=0, skip=skip)
    assert refusals == [str(caught.value)]


def test_a_plan_of_what_a_member_may_do_tells_of_no_refusal(
    server: LocalServer, project: str, small_root: Path
) -> None:
    archive = opened(server, project, "Members")

    refusals: list[str] = []
    assert list(plan(read(small_root), archive, skip=Skip(project_files=True), on_refusal=refusals.append))
    assert refusals == []


def test_a_member_can_go_on_without_the_project_files(server: LocalServer, project: str, small_root: Path) -> None:
    archive, dataset, skip = opened(server, project, "Members"), read(small_root), Skip(project_files=True)
    report, verified = push(dataset, archive, pause=0, skip=skip), verify(dataset, archive, skip=skip)

    assert (report.ok, verified.ok) == (True, True)
    assert report.omitted.project_files == verified.omitted.project_files == 2
    assert "2 files of the project itself" in str(report.omitted)
    assert set(archive.experiments()) == {"sub-01_MR", "sub-02_MR"}


@pytest.mark.parametrize("fault", [None, Rejected("nothing of that name", status=404)])
def test_a_server_that_does_not_know_the_question_of_rights_is_simply_written_to(
    server: LocalServer, project: str, small_root: Path, fault: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened(server, project, "Members")
    rows = archive._session.rows

    def answer(path: str, *columns: str, **query: str) -> list[dict[str, object]]:
        if "permissions" not in query:
            return rows(path, *columns, **query)
        if fault is not None:
            raise fault
        return []

    monkeypatch.setattr(archive._session, "rows", answer)
    assert push(read(small_root), archive, pause=0, skip=Skip(project_files=True)).ok


def test_a_member_adds_participants_where_the_project_files_are_there(
    server: LocalServer, project: str, small_root: Path
) -> None:
    push(read(small_root), opened(server, project), pause=0)
    (small_root / "sub-03/anat").mkdir(parents=True)
    (small_root / "sub-03/anat/sub-03_T1w.nii.gz").write_text("new")

    assert push(read(small_root), opened(server, project, "Members"), pause=0).ok


def test_a_collaborator_is_told_before_the_first_write(server: LocalServer, project: str, small_root: Path) -> None:
    archive = opened(server, project, "Collaborators")
    server.request_log.clear()
    with pytest.raises(AccessDenied, match="you may not write into project"):
        push(read(small_root), archive, pause=0, skip=Skip(project_files=True))

    assert writes(server) == []


def test_a_collaborator_s_push_of_what_is_there_needs_no_right(
    server: LocalServer, project: str, small_root: Path
) -> None:
    push(read(small_root), opened(server, project), pause=0)

    assert push(read(small_root), opened(server, project, "Collaborators"), pause=0).ok


@pytest.mark.parametrize(
    ("access", "kind"), [("private", Rejected), ("protected", AccessDenied), ("public", AccessDenied)]
)
def test_a_stranger_is_told_before_the_first_write(
    server: LocalServer, project: str, tmp_path: Path, access: str, kind: type[Exception]
) -> None:
    opened(server, project)
    login = (server.user, server.password)
    path = f"{server.url}/data/projects/{project}/accessibility/{access}"
    requests.put(path, auth=login, timeout=30).raise_for_status()
    opened(server, f"{project}B", "Collaborators")
    server.request_log.clear()
    with (
        pytest.raises(kind),
        connect(server.url, project=project, user="collaborators", password=People.password) as archive,
    ):
        push(read(make_small(tmp_path / "small")), archive, pause=0)

    assert [path for path in writes(server) if "auth" not in path and "JSESSION" not in path] == []
