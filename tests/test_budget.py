"""How many requests a run takes, counted on the server."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from test_data.generate import generate_many
from tests.conftest import Connect
from tests.test_cli import run
from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import read
from xnat_bids_push.pushing import push
from xnat_bids_push.server import LocalServer

SESSIONS = 130
"""More than one listing holds."""

ONCE = 20
"""Requests that any run may take beside what grows with the dataset."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    generate_many(root, subjects=SESSIONS, files_per_session=1)
    return root


@pytest.fixture(scope="module")
def pushed(many: Path, server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """What a push of new sessions asks; its project is there for other tests."""
    return asked(server, tmp_path_factory, "push", many, "BUDGET", "--create-project", "--jobs", "2")


def asked(
    server: LocalServer, factory: pytest.TempPathFactory, verb: str, *arguments: object, code: int = 0
) -> Counter[str]:
    """The requests of one command, by what they are for."""
    home = factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOST", server.url), ("USER", server.user), ("PASS", server.password)):
            patch.setenv(f"XNAT_{name}", value)
        patch.setenv("HOME", str(home))
        patch.setenv("BIDS2XNAT_ARCHIVE", str(home / "archive"))
        server.request_log.clear()
        assert run(verb, *arguments) == code
    return Counter(kind(method, path) for method, path in server.request_log)


def kind(method: str, path: str) -> str:
    """What a request is for."""
    kinds = {
        r"PUT /data/services/auth": "logins",
        r"PUT /data/projects/\w+/subjects/[^/]+": "subjects",
        r"POST /data/services/import": "imports",
        r"POST /data/services/refresh/catalog": "digests",
        r"GET /data/experiments/[^/]+/files": "listings",
        r"GET /data/projects/\w+/subjects/[^/]+/files": "listings of subjects",
    }
    return next((name for pattern, name in kinds.items() if re.fullmatch(pattern, f"{method} {path}")), "others")


def test_a_new_session_is_one_request_and_so_is_a_new_subject(pushed: Counter[str]) -> None:
    assert (pushed["subjects"], pushed["imports"]) == (SESSIONS, SESSIONS)
    assert pushed["digests"] == pushed["listings"] == 2
    assert pushed["others"] + pushed["logins"] <= ONCE


@pytest.mark.parametrize("verb", ["push", "verify", "plan"])
def test_finding_nothing_to_do_takes_few_requests(
    verb: str, many: Path, pushed: Counter[str], server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert pushed
    counts = asked(server, tmp_path_factory, verb, many, "BUDGET")
    assert counts["listings"] == 2
    assert counts.total() <= ONCE + 2
    assert counts["logins"] == 1


def test_a_pull_is_one_download_for_each_session(
    many: Path, pushed: Counter[str], server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And one listing for each subject: XNAT lists the files of subjects one by one."""
    assert pushed
    counts = asked(server, tmp_path_factory, "pull", "BUDGET", tmp_path_factory.mktemp("out") / "out")
    assert counts["listings of subjects"] == SESSIONS
    assert counts["listings"] == SESSIONS + 2
    assert counts["others"] + counts["logins"] <= ONCE


def test_the_server_reads_no_large_file_once_more_for_its_digest(small_root: Path, open_project: Connect) -> None:
    image = small_root / "sub-01/anat/sub-01_T1w.nii.gz"
    image.write_bytes(b"large" * 1000)
    with open_project() as archive:
        compute, asked_for = archive.compute_digests, list[str]()

        def computed(paths: Iterable[str]) -> None:
            asked_for.extend(paths)
            compute(asked_for)

        archive.compute_digests = computed  # type: ignore[method-assign]
        report = push(read(small_root), archive, pause=0, large=3000)
        [one, other] = archive.experiments().values()
    assert (report.ok, report.sent_files) == (True, 11)
    front = f"/archive/experiments/{one.id}"
    assert [path for path in asked_for if path.startswith(front)] == [
        f"{front}/resources/BIDS",
        f"{front}/scans/anat_T1w/resources/BIDS",
        f"{front}/scans/func_task-rest_bold/resources/ASSOCIATED",
        f"{front}/scans/func_task-rest_bold/resources/NIFTI",
    ]
    assert [path for path in asked_for if other.id in path] == [f"/archive/experiments/{other.id}"]


def test_a_request_for_digests_is_never_longer_than_a_server_takes() -> None:
    sent: list[str] = []

    class _Session:
        def post(self, path: str, _: object) -> None:
            sent.append(path)

    paths = [f"/archive/projects/{'P' * 60}/subjects/sub-{n:03}/resources/BIDS" for n in range(200)]
    Archive(_Session(), "P").compute_digests(paths)  # type: ignore[arg-type]
    assert max(map(len, sent)) < 8000
    assert [path for one in sent for path in re.findall("resource=([^&]+)", one)] == paths
    assert min(one.count("resource=") for one in sent[:-1]) >= 20
