"""Sidecars for scans that inherit all their metadata: there for XNAT's tools, and not in the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from tests.conftest import Connect
from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import Selection, read
from xnat_bids_push.model import Node, State
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import push, verify
from xnat_bids_push.server import LocalServer

SESSION = Node("sub-01", "sub-01_MR")


@pytest.fixture
def root(small_root: Path) -> Path:
    """The small dataset; its bold inherits all its metadata from two files."""
    (small_root / "task-rest_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "Ruhe – rest"}')
    (small_root / "sub-01/sub-01_task-rest_bold.json").write_text('{"RepetitionTime": 1.5}')
    return small_root


def files(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def stored(archive: Archive, scan: str) -> dict[str, str]:
    """The names and digests in a scan's resource BIDS."""
    [one] = [one for one in archive.experiments().values() if one.label == SESSION.experiment]
    held = archive.holdings([one])[SESSION.experiment].files.values()
    return {one.address.name: one.md5 for one in held if (one.address.scan, one.address.resource) == (scan, "BIDS")}


def test_every_scan_has_one_sidecar_and_the_dataset_comes_back_without_them(
    root: Path, tmp_path: Path, open_project: Connect, server: LocalServer
) -> None:
    dataset = read(root, selection=Selection(materialise=True))
    with open_project() as archive:
        assert push(dataset, archive, pause=0).ok
        assert list(stored(archive, "func_task-rest_bold")) == ["sub-01_task-rest_bold.json"]
        assert list(stored(archive, "anat_T1w")) == ["sub-01_T1w.json"]
        url = f"{server.url}/data/projects/{archive.project}/subjects/sub-01/experiments/sub-01_MR/scans"
        answer = requests.get(
            f"{url}/func_task-rest_bold/resources/BIDS/files/sub-01_task-rest_bold.json",
            auth=(server.user, server.password),
            timeout=30,
        )
        assert json.loads(answer.content) == {"RepetitionTime": 1.5, "TaskName": "Ruhe – rest"}

        again = push(dataset, archive, pause=0)
        assert (again.ok, again.sent_files) == (True, 0)
        assert pull(archive, tmp_path / "back").ok
        assert files(tmp_path / "back") == files(root)


def test_a_push_without_them_neither_loses_nor_adopts_them(root: Path, tmp_path: Path, open_project: Connect) -> None:
    with open_project() as archive:
        assert push(read(root, selection=Selection(materialise=True)), archive, pause=0).ok
        plain = push(read(root), archive, pause=0)
        extras = {f.address.name for one in plain.failed for f in one.findings if f.state is State.EXTRA}
        assert extras == {"sub-01_task-rest_bold.json", "generated.json"}
        pull(archive, tmp_path / "back")
        assert files(tmp_path / "back") == files(root)


def test_a_sidecar_of_the_dataset_s_own_comes_back_whatever_it_says(
    root: Path, tmp_path: Path, open_project: Connect
) -> None:
    """Also when somebody has taken over what was generated."""
    own = root / "sub-01/func/sub-01_task-rest_bold.json"
    with open_project() as archive:
        own.write_text(
            json.dumps({"RepetitionTime": 1.5, "TaskName": "Ruhe – rest"}, indent=2, ensure_ascii=False) + "\n"
        )
        assert push(read(root, selection=Selection(materialise=True)), archive, pause=0).ok
        assert verify(read(root, selection=Selection(materialise=True)), archive).ok
        assert pull(archive, tmp_path / "back").ok
        assert files(tmp_path / "back") == files(root)
