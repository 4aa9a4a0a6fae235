"""What is there and differs, or is there alone: left, replaced, deleted; and plans that are applied from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.conftest import Connect, People
from tests.faults import Fault, wire
from xnat_bids_push.archive import Archive
from xnat_bids_push.choosing import Choice
from xnat_bids_push.cli import main
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Selection, md5_of, read
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Address, Existing, Holding, Node, State
from xnat_bids_push.policies import Policy
from xnat_bids_push.pushing import plan, push, verify
from xnat_bids_push.report import Report
from xnat_bids_push.server import LocalServer

NODE = Node("sub-01", "sub-01_MR")
IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"
PLACE = Address(NODE, "anat_T1w", "NIFTI", "sub-01_T1w.nii.gz")
REPLACE, DELETE = Policy(Existing.REPLACE), Policy(delete=True)
BOTH = Policy(Existing.REPLACE, delete=True)


def pushed(root: Path, archive: Archive, policy: Policy = Policy(), **options: int) -> Report:  # noqa: B008  # frozen
    return push(read(root), archive, policy=policy, pause=0, **options)  # type: ignore[arg-type]


def held(archive: Archive, node: Node = NODE) -> dict[Address, str]:
    """What the server lists at a node: address → digest."""
    return {address: stored.md5 for address, stored in holding(archive, node).files.items()}


def holding(archive: Archive, node: Node) -> Holding:
    experiments = archive.experiments()
    if node.experiment in experiments:
        return archive.holdings([experiments[node.experiment]])[node.experiment]
    return archive.node_holding(Node(node.subject))


def digest(root: Path, path: str) -> str:
    [file] = [one for part in read(root).parts() for one in part.files if one.path == path]
    return md5_of(file)


def test_what_differs_is_left_or_skipped_or_replaced(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        pushed(small_root, archive)
        before = held(archive)
        (small_root / IMAGE).write_text("another image")

        assert not pushed(small_root, archive).ok
        skipped = pushed(small_root, archive, Policy(Existing.SKIP))
        assert (skipped.ok, skipped.states[State.KEPT]) == (True, 1)
        assert held(archive) == before

        assert pushed(small_root, archive, REPLACE).ok
        assert held(archive) == before | {PLACE: digest(small_root, IMAGE)}
        assert verify(read(small_root), archive).ok
        again = pushed(small_root, archive, REPLACE)
        assert (again.ok, again.sent_files) == (True, 0)


def test_files_of_every_level_are_replaced(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        (small_root / "sub-01/sub-01_sessions.tsv").write_text("session_id\n")
        pushed(small_root, archive)
        for path in ("README", "sub-01/sub-01_scans.tsv", "sub-01/anat/sub-01_T1w.json", "dataset_description.json"):
            (small_root / path).write_text('{"Name": "changed", "BIDSVersion": "1.10.0"}')
        assert pushed(small_root, archive, REPLACE).ok
        assert verify(read(small_root), archive).ok


def test_a_replacement_that_is_cut_anywhere_never_leaves_neither(
    small_root: Path, server: LocalServer, open_project: Connect, project: str
) -> None:
    """At each moment the server has the old content, or has proven that it has the new one."""
    number = 0
    done = False
    while not done:
        for cut in (Fault.RESET, Fault.ANSWER_LOST):
            with open_project() as archive:
                (small_root / IMAGE).write_text("the old image")
                pushed(small_root, archive, REPLACE)
                old = digest(small_root, IMAGE)
                (small_root / IMAGE).write_text(f"image {number} {cut.name}")
                new = digest(small_root, IMAGE)
            with wire(server.url, at=number, fault=cut) as line:
                try:
                    with connect(line.url, project=project, user=server.user, password=server.password) as archive:
                        report = pushed(small_root, archive, REPLACE)
                except Exception:  # noqa: BLE001  # whatever a cut does to a client
                    report = None
                done = not line.struck
            with open_project() as archive:
                digests = set(held(archive).values())
                assert old in digests or new in digests
                if report is not None and report.ok:
                    assert held(archive)[PLACE] == new
                assert pushed(small_root, archive, REPLACE).ok
                assert held(archive)[PLACE] == new
                assert not any("NEW" in address.resource for address in held(archive))
        number += 3


def test_what_is_there_alone_is_reported_and_deleted_only_when_told_to(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        (small_root / "sub-01/anat/sub-01_T2w.nii.gz").write_text("another scan")
        (small_root / "sub-01/func/sub-01_task-rest_physio.tsv.gz").write_text("pulse")
        (small_root / "notes.txt").write_text("notes")
        pushed(small_root, archive)
        for gone in ("sub-01/anat/sub-01_T2w.nii.gz", "sub-01/func/sub-01_task-rest_physio.tsv.gz", "notes.txt"):
            (small_root / gone).unlink()

        report = pushed(small_root, archive)
        assert (report.ok, report.states[State.EXTRA]) == (False, 3)
        assert pushed(small_root, archive, DELETE).ok
        assert verify(read(small_root), archive).ok
        assert "anat_T2w" not in archive.scans(NODE)


def test_what_others_put_there_is_never_deleted(
    small_root: Path, open_project: Connect, server: LocalServer, project: str
) -> None:
    with open_project() as archive:
        pushed(small_root, archive)
        url = f"{server.url}/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR"
        auth = (server.user, server.password)
        for path in ("scans/anat_T1w/resources/NIFTI/files/mine.txt", "resources/QC/files/report.pdf"):
            requests.put(f"{url}/{path}?inbody=true", data=b"x", auth=auth, timeout=30).raise_for_status()
        (small_root / "sub-01/anat/sub-01_T1w.json").unlink()
        before = held(archive)
        assert pushed(small_root, archive, BOTH).ok
        assert {one.name for one in before.keys() - held(archive).keys()} == {"sub-01_T1w.json"}


def test_more_than_may_be_deleted_is_not_deleted_at_all(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        pushed(small_root, archive)
        before = held(archive)
        for path in ("sub-01/func/sub-01_task-rest_events.tsv", "README"):
            (small_root / path).unlink()
        with pytest.raises(ConfigError, match="2 files of the archive would be deleted, and --max-delete is 1"):
            pushed(small_root, archive, DELETE, max_delete=1)
        assert held(archive) == before
        assert pushed(small_root, archive, DELETE, max_delete=2).ok


def test_deleting_goes_with_no_filters(small_root: Path, open_project: Connect) -> None:
    """What they hide would be taken for what the dataset does not have."""
    with open_project() as archive:
        pushed(small_root, archive)
        some = read(small_root, selection=Selection(choice=Choice.of(datatypes=["anat"])))
        with pytest.raises(ConfigError, match="filters"):
            push(some, archive, policy=DELETE, pause=0)


def test_a_member_who_may_not_delete_is_told_so(
    small_root: Path, open_project: Connect, people: People, server: LocalServer, project: str
) -> None:
    with open_project() as archive:
        pushed(small_root, archive)
    people.add("replacer", project, "Members")
    (small_root / IMAGE).write_text("another image")
    with connect(server.url, project=project, user="replacer", password=people.password) as archive:
        report = pushed(small_root, archive, REPLACE)
        assert held(archive)[PLACE] == digest(small_root, IMAGE)
        assert not report.ok
        assert report.denied == 1


# ------------------------------------------------------------------ plans in files


@pytest.fixture
def run(small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command in the dataset's parent folder, with a local archive."""
    monkeypatch.chdir(small_root.parent)
    for name in ("XNAT_HOST", "XNATPY_HOST"):
        monkeypatch.delenv(name, raising=False)

    def ran(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        assert isinstance(end.value.code, int)
        return end.value.code

    return ran


LOCAL = ("--archive", "archive")
ARCHIVE = (*LOCAL, "--validation", "off")


def test_a_plan_is_applied_as_it_was_written(run: Callable[..., int], tmp_path: Path, small_root: Path) -> None:
    assert run("plan", "small", "P", *ARCHIVE, "-o", "plan.json") == 1
    rows = [json.loads(line) for line in (tmp_path / "plan.json").read_text().splitlines()]
    assert rows[0]["arguments"] == ["small", "P", *ARCHIVE]
    assert {row["experiment"] for row in rows if row.get("kind") == "session"} == {"sub-01_MR", "sub-02_MR"}

    assert run("apply", "plan.json") == 0
    assert run("verify", "small", "P", *LOCAL) == 0


@pytest.mark.parametrize("moved", ["dataset", "size", "archive"])
def test_a_plan_is_not_applied_when_something_has_moved(
    run: Callable[..., int], small_root: Path, capsys: pytest.CaptureFixture[str], moved: str
) -> None:
    assert run("plan", "small", "P", *ARCHIVE, "-o", "plan.json") == 1
    if moved == "archive":
        assert run("push", "small", "P", *ARCHIVE, "--participant-label", "02") == 0
    else:
        (small_root / IMAGE).write_text("not an image, and sent all the time" if moved == "dataset" else "short")
    capsys.readouterr()

    assert run("apply", "plan.json") == 2
    assert "has changed since this was planned, at " in capsys.readouterr().err
    assert run("verify", "small", "P", *LOCAL, "--quiet") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no plan"),
        ("{}", "is no plan"),
        ("[]", "is no plan"),
        ("not json", "is no plan"),
        ('{"format": "bids2xnat plan", "version": 99, "tool": "9"}', "another version"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_plan_is_not_applied(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    assert run("apply", "plan.json") == 2
    assert words in capsys.readouterr().err


def test_a_plan_that_is_not_whole_is_not_applied(run: Callable[..., int], tmp_path: Path) -> None:
    run("plan", "small", "P", *ARCHIVE, "-o", "plan.json")
    lines = (tmp_path / "plan.json").read_text().splitlines(keepends=True)
    (tmp_path / "plan.json").write_text("".join(lines[:-2]))
    assert run("apply", "plan.json") == 2


def test_a_plan_says_what_is_replaced_and_deleted(
    run: Callable[..., int], small_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("push", "small", "P", *ARCHIVE)
    (small_root / "sub-01/func/sub-01_task-rest_events.tsv").unlink()
    capsys.readouterr()
    assert run("plan", "small", "P", *ARCHIVE, "--delete") == 1
    assert "delete sub-01_MR/func_task-rest_bold/ASSOCIATED" in capsys.readouterr().out


def test_the_api_plans_with_the_same_policy(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        pushed(small_root, archive)
        (small_root / IMAGE).write_text("another image")
        assert any(one.steps for one in plan(read(small_root), archive, policy=REPLACE))
        assert not any(one.steps for one in plan(read(small_root), archive))
