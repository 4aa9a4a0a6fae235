"""Proof without the dataset, and without the server's digests: by a receipt, and by reading back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from tests.conftest import Connect
from tests.faults import wire
from tests.test_receipts import IMAGE, checked, pushed
from xnat_bids_push.archive import Archive
from xnat_bids_push.cli import main
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Node, State
from xnat_bids_push.pushing import push, verify
from xnat_bids_push.receipt import open_receipt
from xnat_bids_push.rechecking import recheck
from xnat_bids_push.server import Behaviour, LocalServer


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def stored_file(server: LocalServer, project: str, name: str) -> Path:
    """Where the archive keeps a file."""
    [path] = [one for one in server.site.folder.rglob(name) if project in one.parts]
    return path


@pytest.fixture(params=["asked", "never"])
def lazy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalServer]:
    """A server that computes digests only when it is asked, or not at all."""
    with LocalServer(tmp_path / "lazy", behaviour=Behaviour(checksums=request.param)) as server:
        yield server


def opened(server: LocalServer) -> AbstractContextManager[Archive]:
    return connect(server.url, project="P", user=server.user, password=server.password, create_project=True)


# ------------------------------------------------------------------ by a receipt


def test_what_a_receipt_has_is_verified_without_the_dataset(
    small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        receipt = open_receipt(pushed(small_root, archive, tmp_path / "k"))
        shutil.rmtree(small_root)
        for deep in (False, True):
            report = recheck(receipt, archive, deep=deep)
            assert report.ok
            assert report.files == 9


def test_what_is_gone_or_changed_since_is_named(
    small_root: Path, open_project: Connect, tmp_path: Path, server: LocalServer, project: str
) -> None:
    with open_project() as archive:
        receipt = open_receipt(pushed(small_root, archive, tmp_path / "k"))
        url = f"{server.url}/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR/scans/anat_T1w/resources"
        login = (server.user, server.password)
        requests.put(
            f"{url}/NIFTI/files/sub-01_T1w.nii.gz?inbody=true&overwrite=true", data=b"x", auth=login, timeout=9
        ).raise_for_status()
        requests.delete(f"{url}/BIDS?removeFiles=true", auth=login, timeout=9).raise_for_status()
        report = recheck(receipt, archive)

    assert not report.ok
    found = {finding.path: finding.state for outcome in report.failed for finding in outcome.findings}
    assert found[IMAGE] is State.DIFFERS
    assert found["sub-01/anat/sub-01_T1w.json"] is State.MISSING
    assert found["sub-01/func/sub-01_task-rest_bold.nii.gz"] is State.SAME


def test_a_session_that_has_moved_to_another_subject_is_not_there(
    small_root: Path, open_project: Connect, tmp_path: Path, server: LocalServer, project: str
) -> None:
    with open_project() as archive:
        receipt = open_receipt(pushed(small_root, archive, tmp_path / "k"))
        url = f"{server.url}/data/projects/{project}/subjects"
        login = (server.user, server.password)
        requests.put(f"{url}/other", auth=login, timeout=9).raise_for_status()
        requests.put(f"{url}/other/experiments/sub-01_MR", auth=login, timeout=9).raise_for_status()
        report = recheck(receipt, archive)
    assert [str(one.node) for one in report.failed] == ["sub-01_MR"]


def test_a_receipt_of_another_project_is_refused(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        other = tmp_path / "other.json"
        other.write_text(path.read_text().replace(f'"project": "{archive.project}"', '"project": "OTHER"'))
        with pytest.raises(ConfigError, match="of project OTHER"):
            recheck(open_receipt(other), archive)


def test_the_command_line_verifies_by_a_receipt(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    assert run(small_root, "DEMO", "--receipts", tmp_path / "k") == 0
    [receipt] = (tmp_path / "k").glob("*.json")
    assert run("verify", "--receipt", receipt) == 0
    assert run("verify", "--receipt", receipt, "--deep") == 0
    assert "All that the receipt has is there" in capsys.readouterr().out
    assert run("verify", small_root, "--receipt", receipt) == 2
    assert "leave out ROOT" in capsys.readouterr().err
    assert run("verify", "--receipt", receipt, "--sourcedata") == 2
    assert run("verify") == 2
    assert run("verify", "--receipt", receipt, "--archive", tmp_path / "another") == 2
    assert run("remove", small_root, "DEMO", "--yes") == 0
    assert run("verify", "--receipt", receipt) == 1


def test_no_receipt_says_where_a_password_goes(
    small_root: Path, tmp_path: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))
    assert run(small_root, "DEMO", "--receipts", tmp_path / "k") == 0
    [receipt] = (tmp_path / "k").glob("*.json")
    monkeypatch.setenv("XNAT_USER", server.user)
    monkeypatch.setenv("XNAT_PASS", server.password)
    with wire(server.url) as trap:
        receipt.write_text(receipt.read_text().replace('"url": ""', f'"url": "{trap.url}"'))
        assert run("verify", "--receipt", receipt) == 2
        assert trap.requests == 0


# ------------------------------------------------------------------ by reading back


def test_reading_back_finds_what_the_servers_digests_hide(
    small_root: Path, open_project: Connect, server: LocalServer, project: str
) -> None:
    """The server goes on telling the digest of what it once had."""
    dataset = read(small_root)
    with open_project() as archive:
        push(dataset, archive)
        held = stored_file(server, project, "sub-01_T1w.nii.gz")
        held.write_bytes(held.read_bytes()[::-1])
        assert verify(dataset, archive).ok
        report = verify(dataset, archive, deep=True)
    states = {finding.path: finding.state for outcome in report.failed for finding in outcome.findings}
    assert [path for path, state in states.items() if state is not State.SAME] == [IMAGE]
    assert states[IMAGE] is State.DIFFERS


def test_reading_back_finds_what_the_server_lists_and_has_lost(
    small_root: Path, open_project: Connect, server: LocalServer, project: str
) -> None:
    dataset = read(small_root)
    with open_project() as archive:
        push(dataset, archive)
        stored_file(server, project, "sub-01_T1w.nii.gz").unlink()
        report = verify(dataset, archive, deep=True)
    assert [str(one.node) for one in report.failed] == ["sub-01_MR"]


def test_reading_back_costs_one_download_for_each_place(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(small_root), archive)
        server_log: list[str] = []
        for name in ("download", "download_node"):
            original = getattr(archive, name)

            def counted(*arguments: object, original: object = original, **options: object) -> None:
                server_log.append("x")
                original(*arguments, **options)  # type: ignore[operator]

            setattr(archive, name, counted)
        assert verify(read(small_root), archive, deep=True).ok
    assert len(server_log) == 3


def test_a_server_without_digests_is_told_apart_and_reading_back_proves_it(
    lazy: LocalServer, small_root: Path, tmp_path: Path
) -> None:
    never, dataset = lazy.site.behaviour.checksums == "never", read(small_root)
    with opened(lazy) as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        report = verify(dataset, archive)

        content = checked(path)
        proofs = {one.proof for place in open_receipt(path).places() for one in place.entries}
        assert proofs == {"size" if never else "digest"}
        assert content["ok"] is not never
        assert ("proven by size only" in path.with_suffix(".html").read_text()) is never
        assert report.ok is not never
        assert report.by_size == (11 if never else 0)
        assert not report.can_go_on
        assert verify(dataset, archive, deep=True).ok
        assert recheck(open_receipt(path), archive, deep=True).ok
        assert recheck(open_receipt(path), archive).ok is not never


def test_a_push_to_a_server_without_digests_says_what_is_proven(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalServer(tmp_path / "site", behaviour=Behaviour(checksums="never")) as server:
        for name, value in (("HOST", server.url), ("USER", server.user), ("PASS", server.password)):
            monkeypatch.setenv(f"XNAT_{name}", value)
        assert run(small_root, "P", "--create-project") == 1
        said = capsys.readouterr().err
        assert "11 files there by the size only" in said
        assert "verify --deep" in said
        assert "To go on" not in said
        assert run("verify", small_root, "P", "--deep") == 0
        assert "read back and compared" in capsys.readouterr().out
        held = stored_file(server, "P", "sub-01_T1w.nii.gz")
        held.write_bytes(held.read_bytes()[::-1])
        assert run("verify", small_root, "P", "--deep", "--json") == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines[-1]["states"]["differs"] == 1


def test_what_cannot_be_read_back_fails_alone(
    small_root: Path, open_project: Connect, server: LocalServer, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = read(small_root)
    with open_project() as archive:
        push(dataset, archive)
        broken = archive.download

        def cut(experiment: object, target: object, *, most: int) -> None:
            broken(experiment, target, most=most)  # type: ignore[arg-type]
            if getattr(experiment, "label", "") == "sub-01_MR":
                target.truncate(100)  # type: ignore[attr-defined]

        monkeypatch.setattr(archive, "download", cut)
        report = verify(dataset, archive, deep=True)
    assert [one.node for one in report.failed] == [Node("sub-01", "sub-01_MR")]
    assert "damaged" in report.failed[0].failure
