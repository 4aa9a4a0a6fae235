"""Pictures in the archive: XNAT's pages find them, and no other law of the tool is touched by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import requests

from test_data.generate import packed
from tests.conftest import Connect, People
from tests.faults import Fault, wire
from xnat_bids_push import cli
from xnat_bids_push.archive import Archive
from xnat_bids_push.choosing import Choice
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Selection, read
from xnat_bids_push.errors import Unavailable
from xnat_bids_push.illustrating import PATIENCE, Illustrator
from xnat_bids_push.keeping import Keeper
from xnat_bids_push.model import Address, Deletion, Existing, State
from xnat_bids_push.picturing import Gallery, is_picture
from xnat_bids_push.policies import CAREFUL, Policy
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import left_out, plan, push, survey, verify
from xnat_bids_push.receipt import open_receipt
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.report import Pictures
from xnat_bids_push.server import LocalServer
from xnat_bids_push.table import PICTURES
from xnat_bids_push.undoing import plan_undoing

T1W = "sub-01/anat/sub-01_T1w.nii.gz"
BOLD = "sub-01/func/sub-01_task-rest_bold.nii.gz"


def image(seed: int, *shape: int) -> bytes:
    numbers = np.random.default_rng(seed).integers(0, 200, shape or (8, 9, 10), np.uint8)
    return packed(numbers, (1.0,) * numbers.ndim).data


@pytest.fixture
def root(small_root: Path) -> Path:
    """The small dataset, with images that are images."""
    (small_root / T1W).write_bytes(image(1))
    (small_root / BOLD).write_bytes(image(2, 8, 9, 10, 5))
    (small_root / "sub-02/anat/sub-02_T1w.nii.gz").write_bytes(image(3))
    return small_root


def illustrated(root: Path, archive: Archive, *, policy: Policy = CAREFUL, jobs: int = 4) -> Pictures:
    """Push with pictures."""
    dataset = read(root)
    illustrator = Illustrator(archive, dataset.table, jobs=jobs)
    report = push(dataset, archive, policy=policy, on_settled=illustrator, pause=0)
    assert report.ok
    return illustrator.pictures


def stored(archive: Archive) -> set[Address]:
    """Everything that lies in resources for pictures."""
    holdings = archive.holdings(archive.experiments().values())
    return {address for one in holdings.values() for address in one.files if address.resource == PICTURES}


def scans(addresses: set[Address]) -> list[str]:
    return sorted({f"{one.node.experiment}/{one.scan}" for one in addresses})


def put(archive: Archive, address: str, content: bytes) -> None:
    """A file of somebody else."""
    url = f"{archive.server}/data/projects/{archive.project}/{address}"
    auth = archive._session.credentials  # the tests' own login
    requests.put(url, data=content, params={"inbody": "true"}, auth=(auth.user, auth.password), timeout=30)


def everything_holds(root: Path, archive: Archive, target: Path) -> None:
    """What a push, a verification and a pull without pictures say of an archive that has some."""
    dataset = read(root)
    assert all(one.settled for one in plan(dataset, archive))
    assert push(dataset, archive).sent_files == 0
    assert verify(dataset, archive, deep=True).ok
    assert pull(archive, target).ok
    files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert {path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()} == files


# ------------------------------------------------------------------ what they are for


def test_xnats_pages_find_picture_and_thumbnail_of_each_scan(
    root: Path, open_project: Connect, server: LocalServer
) -> None:
    with open_project() as archive:
        pictures = illustrated(root, archive)
        experiments = archive.experiments()
        project = archive.project
    assert (pictures.made, pictures.there, pictures.causes) == (3, 0, {})
    for label, scan in (("sub-01_MR", "anat_T1w"), ("sub-01_MR", "func_task-rest_bold"), ("sub-02_MR", "anat_T1w")):
        front = f"{server.url}/xapi/projects/{project}/experiments/{experiments[label].id}/scan/{scan}"
        sizes = []
        for kind in ("snapshot", "thumbnail"):
            answer = requests.get(f"{front}/{kind}", auth=(server.user, server.password), timeout=30)
            assert answer.headers["Content-Type"].startswith("image/gif")
            assert answer.content.startswith(b"GIF8")
            sizes.append(len(answer.content))
        assert sizes[0] > sizes[1]


def test_another_push_makes_none_again_and_one_without_does_not_mind(
    root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        before = stored(archive)
        again = illustrated(root, archive)
        everything_holds(root, archive, tmp_path / "back")
        assert stored(archive) == before
    assert (again.made, again.there) == (0, 3)


def test_what_is_there_already_gets_its_pictures_later(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(root), archive)
        assert illustrated(root, archive).made == 3


def test_pictures_that_are_half_there_are_completed(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        before = stored(archive)
        [half, *_] = sorted(one for one in before if one.name.endswith("_t.gif"))
        url = f"{archive.server}/data/projects/{archive.project}/subjects/{half.node.subject}"
        url += f"/experiments/{half.node.experiment}/scans/{half.scan}/resources/{PICTURES}/files/{half.name}"
        auth = archive._session.credentials
        requests.delete(url, auth=(auth.user, auth.password), timeout=30).raise_for_status()
        assert stored(archive) == before - {half}
        pictures = illustrated(root, archive)
        assert stored(archive) == before
    assert (pictures.made, pictures.there) == (1, 2)


def test_a_replaced_image_has_new_pictures_and_no_old_ones(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        before = stored(archive)
        (root / T1W).write_bytes(image(9))
        pictures = illustrated(root, archive, policy=Policy(Existing.REPLACE))
        after = stored(archive)
    assert (pictures.made, pictures.there) == (1, 2)
    assert len(after) == len(before) == 6
    assert {one.scan for one in before - after} == {"anat_T1w"}


def test_an_image_that_differs_there_gets_no_picture_of_the_other(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(root), archive)
        (root / T1W).write_bytes(image(9))
        dataset = read(root)
        illustrator = Illustrator(archive, dataset.table)
        push(dataset, archive, on_settled=illustrator, pause=0)
        assert scans(stored(archive)) == ["sub-01_MR/func_task-rest_bold", "sub-02_MR/anat_T1w"]


# ------------------------------------------------------------------ whose they are


def test_somebody_elses_pictures_stay_and_ours_are_not_put_beside_them(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(root), archive)
        where = f"subjects/sub-01/experiments/sub-01_MR/scans/anat_T1w/resources/{PICTURES}/files/theirs.gif"
        put(archive, where, b"GIF89a")
        pictures = illustrated(root, archive)
        [theirs] = [one for one in stored(archive) if not is_picture(one)]
        assert [one for one in stored(archive) if (one.node, one.scan) == (theirs.node, theirs.scan)] == [theirs]
        report = remove(plan_removal(read(root), archive), archive)
        assert stored(archive) == {theirs}
    assert (pictures.made, pictures.foreign) == (2, 1)
    assert not report.ok


def test_a_removal_takes_them_with_their_scans(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        report = remove(plan_removal(read(root), archive), archive)
        assert report.ok
        assert archive.experiments() == {}
        assert archive.subjects() == {}


def test_a_removal_of_some_scans_leaves_the_pictures_of_the_others(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        some = read(root, selection=Selection(choice=Choice.of(datatypes=["func"])))
        assert remove(plan_removal(some, archive), archive).ok
        assert scans(stored(archive)) == ["sub-01_MR/anat_T1w", "sub-02_MR/anat_T1w"]
        assert "func_task-rest_bold" not in archive.scans(next(iter(stored(archive))).node)


def test_a_scan_that_the_dataset_has_no_more_goes_with_its_pictures(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        for name in (BOLD, "sub-01/func/sub-01_task-rest_events.tsv"):
            (root / name).unlink()
        node = next(iter(stored(archive))).node
        illustrated(root, archive, policy=Policy(delete=True))
        assert scans(stored(archive)) == ["sub-01_MR/anat_T1w", "sub-02_MR/anat_T1w"]
        assert all("func" not in one for one in archive.scans(node))


def test_what_differs_there_stays_and_keeps_its_pictures(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        (root / T1W).write_bytes(image(9))
        remove(plan_removal(read(root), archive), archive)
        assert scans(stored(archive)) == ["sub-01_MR/anat_T1w"]


def kept(root: Path, archive: Archive, folder: Path, gallery: Gallery | None = None) -> Path:
    dataset = read(root)
    illustrator = Illustrator(archive, dataset.table, gallery=gallery)
    with Keeper(dataset, archive, folder=folder) as keeper:
        found = survey(dataset)
        report = push(dataset, archive, found=found, on_outcome=keeper.outcome, on_settled=illustrator)
        report.pictures = illustrator.pictures
        keeper.finish(report, left_out(dataset, found), gallery)
    assert keeper.path is not None
    return keeper.path


def test_a_push_that_is_undone_takes_them_along(root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        receipt = open_receipt(kept(root, archive, tmp_path / "k"))
        assert remove(plan_undoing(receipt, archive), archive).ok
        assert archive.experiments() == {}


# ------------------------------------------------------------------ never a reason to fail


def test_what_cannot_be_drawn_is_told_by_its_cause(root: Path, open_project: Connect) -> None:
    (root / BOLD).write_text("not an image")
    with open_project() as archive:
        pictures = illustrated(root, archive)
    assert pictures.made == 2
    [(why, cause)] = pictures.causes.items()
    assert (why, str(cause)) == ("the file cannot be read: it is damaged", "sub-01_MR/func_task-rest_bold")


def over_the_wire(
    root: Path, server: LocalServer, project: str, *, at: int = -1, fault: Fault = Fault.NONE
) -> list[int]:
    """Push with pictures, one request of which is broken; the numbers of those that concern pictures."""
    with wire(server.url, at=at, fault=fault) as line:
        opened = connect(line.url, project=project, user=server.user, password=server.password)
        with opened as archive:
            illustrated(root, archive, jobs=1)
        return [number for number, exchange in line.exchanges.items() if PICTURES in exchange.path]


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.FAILED])
def test_a_server_that_fails_for_pictures_fails_no_push(
    fault: Fault, root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    """Some requests are broken, one after the other; the next push makes up for it."""
    with open_project() as archive:
        push(read(root), archive)
    numbers = over_the_wire(root, server, project)
    assert len(numbers) == 6
    for number in numbers[:3]:
        with open_project() as archive:
            for one in {one._replace(name="") for one in stored(archive)}:
                archive.delete(Deletion(one.node, one.scan, one.resource))
        assert over_the_wire(root, server, project, at=number, fault=fault)
        with open_project() as archive:
            last = illustrated(root, archive)
            assert (last.made + last.there, last.causes) == (3, {})
            assert len(stored(archive)) == 6


def test_a_server_that_fails_again_and_again_is_asked_for_no_more_pictures(
    root: Path, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(self: Archive, address: Address, *_: object) -> None:
        asked.append(address)
        raise Unavailable("down", method="PUT", path="x", status=503)

    monkeypatch.setattr(Archive, "put_picture", fail)
    with open_project() as archive:
        pictures = illustrated(root, archive, jobs=1)
    assert len(asked) == PATIENCE
    assert "down" in pictures.given_up


def test_who_may_not_write_is_told_once(root: Path, open_project: Connect, server: LocalServer, people: People) -> None:
    with open_project() as archive:
        push(read(root), archive)
        project = archive.project
    people.add("looker", project, "Collaborators")
    with connect(server.url, project=project, user="looker", password=people.password) as archive:
        dataset = read(root)
        illustrator = Illustrator(archive, dataset.table, jobs=1)
        assert push(dataset, archive, on_settled=illustrator).ok
        assert stored(archive) == set()
    assert "may not write" in illustrator.pictures.given_up
    assert illustrator.pictures.made == 0


def test_a_file_that_changes_after_its_proof_gets_no_picture(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        dataset = read(root)
        illustrator = Illustrator(archive, dataset.table)

        def late(*settled: object) -> None:
            (root / T1W).write_bytes(image(9, 12, 12, 12))
            illustrator(*settled)  # type: ignore[arg-type]

        push(dataset, archive, on_settled=late)
        assert "sub-01_MR/anat_T1w" not in scans(stored(archive))
    assert list(illustrator.pictures.causes) == ["the file changed since it was sent"]


# ------------------------------------------------------------------ where they are shown


def test_the_receipt_counts_them_and_its_page_shows_the_first(
    root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        path = kept(root, archive, tmp_path / "k", Gallery(most=2))
        again = kept(root, archive, tmp_path / "k", Gallery())
    page = path.with_suffix(".html").read_text("utf-8")
    assert json.loads(path.read_text("utf-8"))["pictures"]["made"] == 3
    assert page.count("data:image/gif;base64,R0lGOD") == 2
    assert 'alt="anat_T1w of sub-01_MR: planes through its middle"' in page
    assert again.with_suffix(".html").read_text("utf-8").count("<img ") == 3


def test_previews_alone_write_nothing_into_the_archive(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        dataset, gallery = read(root), Gallery()
        push(dataset, archive, on_settled=Illustrator(archive, dataset.table, send=False, gallery=gallery))
        assert stored(archive) == set()
    assert [one.scan for one in gallery.previews] == ["anat_T1w", "func_task-rest_bold", "anat_T1w"]


def test_without_pillow_the_option_says_what_to_install(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xnat_bids_push.cli.find_spec", lambda _: None)
    with pytest.raises(SystemExit) as end:
        cli.main([str(root), "P", "--archive", str(tmp_path / "archive"), "--snapshots"])
    assert end.value.code == cli.USAGE
    assert "bids2xnat[snapshots]" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_the_command_line_makes_them_and_says_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(root), "P", "--archive", str(tmp_path / "archive"), "--receipts", str(tmp_path / "k")]
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--snapshots"])
    assert end.value.code == 0
    assert "Pictures: 3 scans got theirs." in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--previews", "--no-receipt"])
    assert end.value.code == cli.USAGE
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--snapshots", "--executor", "dask:tcp://127.0.0.1:1"])
    assert end.value.code == cli.USAGE


def test_pictures_are_no_part_of_a_plan(root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        illustrated(root, archive)
        findings = [finding for one in plan(read(root), archive) for finding in one.findings]
    assert {one.state for one in findings} == {State.SAME}
    assert not any(is_picture(one.address) for one in findings)
