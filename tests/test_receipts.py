"""What a push leaves behind: a receipt for programs, a list for md5sum, and a page for people."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import cast

import pytest
from defusedxml import ElementTree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.conftest import Connect, People
from tests.faults import Fault, wire
from tests.trees import ODD_NAMES, TEMPTING
from xnat_bids_push.archive import Archive
from xnat_bids_push.choosing import Choice
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.depositing import deposit
from xnat_bids_push.errors import ConfigError, XnatBidsError
from xnat_bids_push.keeping import Asked, Keeper
from xnat_bids_push.model import (
    Address,
    Existing,
    FillResource,
    Finding,
    Issue,
    LeftOut,
    Node,
    Outcome,
    Severity,
    State,
)
from xnat_bids_push.picturing import Gallery, Preview
from xnat_bids_push.policies import CAREFUL, Policy
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import left_out, push, survey, verify
from xnat_bids_push.receipt import (
    Entry,
    Place,
    Receipt,
    Status,
    open_receipt,
    write_head,
    write_left_out,
    write_place,
    write_tail,
)
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.report import Cause, Pictures, Report
from xnat_bids_push.server import Behaviour, LocalServer
from xnat_bids_push.showing import PARTICIPANTS, SESSIONS, write_page
from xnat_bids_push.table import default_table

SCHEMA = json.loads(resources.files("xnat_bids_push").joinpath("receipt.schema.json").read_text("utf-8"))
IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"
Rows = Mapping[str, object]


def pushed(root: Path, archive: Archive, folder: Path, *, policy: Policy = CAREFUL, **selection: object) -> Path:
    """Push, and give the receipt."""
    dataset = read(root, selection=Selection(**selection), validate=False)  # type: ignore[arg-type]
    return kept(dataset, archive, folder, policy=policy)


def kept(dataset: Dataset, archive: Archive, folder: Path, *, policy: Policy = CAREFUL) -> Path:
    with Keeper(dataset, archive, folder=folder) as keeper:
        found = survey(dataset)
        report = push(dataset, archive, found=found, policy=policy, on_outcome=keeper.outcome, pause=0)
        keeper.finish(report, left_out(dataset, found))
    assert keeper.path is not None
    checked(keeper.path)
    return keeper.path


def checked(path: Path) -> Rows:
    """A receipt, as its schema wants it; read by lines, it says the same."""
    content = cast("Rows", json.loads(path.read_text("utf-8")))
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(content)] == []
    receipt = open_receipt(path)
    rows = [row for place in cast("list[Rows]", content["places"]) for row in cast("list[Rows]", place["files"])]
    assert [(entry.path, entry.status) for place in receipt.places() for entry in place.entries] == [
        (row["path"], row["status"]) for row in rows
    ]
    assert receipt.tail()["ended"] == content["ended"]
    page = path.with_suffix(".html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    return content


def statuses(path: Path) -> dict[str, str]:
    """The status of each file of the dataset."""
    receipt = open_receipt(path)
    found = {one.path: str(Status.LEFT_OUT) for one in receipt.left_out()}
    for place in receipt.places():
        for entry in place.entries:
            if entry.origin == "dataset" and "older copy" not in entry.reason:
                assert entry.path not in found, "a file has one status"
                found[entry.path] = str(entry.status)
    return found


# ------------------------------------------------------------------ what it says


def test_every_file_has_one_status_and_both_digests(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    (small_root / ".DS_Store").touch()
    (small_root / "sourcedata").mkdir()
    (small_root / "sourcedata/x").touch()
    with open_project() as archive:
        first = pushed(small_root, archive, tmp_path / "kept")
        second = pushed(small_root, archive, tmp_path / "kept")

    files = {str(path.relative_to(small_root)) for path in small_root.rglob("*") if path.is_file()}
    assert statuses(first).keys() == files - {"sourcedata/x"} | {"sourcedata"}
    assert set(statuses(first).values()) == {"sent", "left out"}
    assert set(statuses(second).values()) == {"there already", "left out"}
    entries = [one for place in open_receipt(first).places() for one in place.entries]
    assert all(one.md5 == one.stored_md5 != "" and one.proof == "digest" for one in entries)


def test_it_says_what_was_created(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        first = pushed(small_root, archive, tmp_path / "kept")
        (small_root / "sub-01/anat/sub-01_T2w.nii.gz").write_text("new")
        second = pushed(small_root, archive, tmp_path / "kept")

    made = {str(place.node): place.made for place in open_receipt(first).places()}
    assert made["sub-01_MR"].experiment
    assert made["sub-01_MR"].subject is not None
    later = {str(place.node): place.made for place in open_receipt(second).places()}
    assert later["sub-01_MR"].scans == {"anat_T2w"}
    assert not later["sub-01_MR"].experiment
    assert later["sub-01_MR"].subject is None
    assert statuses(second)["sub-01/anat/sub-01_T2w.nii.gz"] == "sent"


def test_it_tells_what_differs_is_kept_replaced_alone_and_deleted(
    small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        pushed(small_root, archive, tmp_path / "kept")
        (small_root / IMAGE).write_text("another image")
        (small_root / "sub-01/func/sub-01_task-rest_bold.nii.gz").unlink()
        careful = statuses(pushed(small_root, archive, tmp_path / "kept"))
        skip = statuses(pushed(small_root, archive, tmp_path / "kept", policy=Policy(Existing.SKIP)))
        bold = statuses(pushed(small_root, archive, tmp_path / "kept", policy=Policy(Existing.REPLACE, delete=True)))

    alone = "sub-01/func/sub-01_task-rest_bold.nii.gz"
    assert (careful[IMAGE], careful[alone]) == ("differs", "extra")
    assert skip[IMAGE] == "kept"
    assert (bold[IMAGE], bold[alone]) == ("replaced", "deleted")


def test_what_is_left_out_is_named_with_the_reason(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    (small_root / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to(
        "../../.git/annex/objects/0/0/MD5E-s9--0123456789abcdef0123456789abcdef.nii.gz/"
        "MD5E-s9--0123456789abcdef0123456789abcdef.nii.gz"
    )
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "kept", skip_missing_content=True)

    [absent] = [one for one in open_receipt(path).left_out() if one.path.endswith("T2w.nii.gz")]
    assert "git-annex" in absent.reason


def test_a_failure_is_told_with_its_cause_and_a_lost_answer_does_not_hide_what_was_sent(
    small_root: Path, server: LocalServer, open_project: Connect, project: str, tmp_path: Path
) -> None:
    """The answer to each request is lost once; the receipt of that push says what it did all the same."""
    with wire(server.url) as counting, counting_push(counting.url, server, project, small_root, tmp_path / "n"):
        number = counting.requests
    posts = 0
    for cut_at in range(number):
        with wire(server.url, at=cut_at, fault=Fault.ANSWER_LOST) as broken:
            try:
                with counting_push(broken.url, server, f"{project}x{cut_at}", small_root, tmp_path / "n") as path:
                    found = statuses(path)
            except XnatBidsError:  # the cut hit the login, or another request without which there is no push
                continue
        assert set(found.values()) <= {"sent"}, cut_at
        posts += bool(open_receipt(path).tail()["survived"])
    assert posts


class counting_push:  # noqa: N801  # used like a function
    """A push over a wire, and its receipt."""

    def __init__(self, url: str, server: LocalServer, project: str, root: Path, folder: Path) -> None:
        self._open = connect(url, project=project, user=server.user, password=server.password, create_project=True)
        self._root, self._folder = root, folder

    def __enter__(self) -> Path:
        with self._open as archive:
            return pushed(self._root, archive, self._folder)

    def __exit__(self, *_: object) -> None: ...


def test_a_push_that_is_interrupted_leaves_a_receipt_that_says_so(
    small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    dataset = read(small_root)
    with open_project() as archive, suppress(KeyboardInterrupt), Keeper(dataset, archive, folder=tmp_path) as one:

        def stop(outcome: Outcome) -> None:
            one.outcome(outcome)
            raise KeyboardInterrupt

        push(dataset, archive, on_outcome=stop)
    assert one.path is not None
    content = checked(one.path)
    assert (content["complete"], content["error"], content["ok"]) == (False, "interrupted", False)
    assert "did not come to its end" in one.path.with_suffix(".html").read_text("utf-8")


def test_a_push_that_never_began_leaves_none(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with (
        open_project() as archive,
        pytest.raises(ConfigError),
        Keeper(read(small_root), archive, folder=tmp_path / "k"),
    ):
        raise ConfigError("x")
    assert list((tmp_path / "k").iterdir()) == []


def test_receipts_of_one_second_have_names_of_their_own(
    small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        paths = {pushed(small_root, archive, tmp_path / "k") for _ in range(3)}
    assert len(paths) == 3
    assert sorted(path.suffix for path in (tmp_path / "k").iterdir()) == [".html"] * 3 + [".json"] * 3 + [".md5"] * 3
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "k").iterdir())


def test_it_never_lies_in_the_dataset(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(small_root)
    with open_project() as archive:
        for folder in (small_root / "receipts", small_root, tmp_path / "link" / "x"):
            with pytest.raises(ConfigError, match="never written into the dataset"):
                Keeper(read(small_root), archive, folder=folder)
    assert not (small_root / "receipts").exists()


def test_a_full_disk_ends_no_push(
    small_root: Path, open_project: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xnat_bids_push.keeping.write_place", full)
    dataset = read(small_root)
    with open_project() as archive, Keeper(dataset, archive, folder=tmp_path / "k") as keeper:
        report = push(dataset, archive, on_outcome=keeper.outcome)
        keeper.finish(report, ())
    assert report.ok
    assert keeper.path is None
    assert "No space left" in keeper.trouble


def test_no_secret_is_in_it(small_root: Path, server: LocalServer, open_project: Connect, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[resources]\n")
    with open_project() as archive:
        dataset = read(small_root)
        with Keeper(dataset, archive, folder=tmp_path / "k", asked=Asked({"x": [1]}, own)) as keeper:
            keeper.finish(push(dataset, archive, on_outcome=keeper.outcome), ())
    everything = "".join(path.read_text("utf-8") for path in (tmp_path / "k").iterdir())
    assert server.password not in everything
    assert str(tmp_path) not in everything
    content = json.loads(next((tmp_path / "k").glob("*.json")).read_text())
    assert content["mapping"]["file_text"] == "[resources]\n"


def test_filters_are_counted(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k", choice=Choice.of(participants=["01"]))
    assert checked(path)["unchosen"] == {"participants": 1, "files": 0}


# ------------------------------------------------------------------ the list


def test_md5sum_finds_every_file_in_the_list(tmp_path: Path, open_project: Connect) -> None:
    root = tmp_path / "root"
    names = [name for name in TEMPTING if "\r" not in name and len(name) < 200]
    (root / "code").mkdir(parents=True)
    (root / "sub-01/anat").mkdir(parents=True)
    (root / "sub-01/anat/sub-01_T1w.nii.gz").write_text("image")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for number, name in enumerate(names):
        (root / f"code/{number}").mkdir()
        (root / f"code/{number}/{name}").write_text(name)
    with open_project() as archive:
        path = pushed(root, archive, tmp_path / "k")

    sums = path.with_suffix(".md5")
    assert len(sums.read_text("utf-8").splitlines()) == len(names) + 2
    done = subprocess.run(["md5sum", "-c", "--quiet", str(sums)], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# ------------------------------------------------------------------ its size


def outcomes(sessions: int) -> Iterator[Outcome]:
    for number in range(sessions):
        node = Node(f"sub-{number:06}", f"sub-{number:06}_MR")
        yield Outcome(
            node,
            tuple(
                Finding(State.MISSING, Address(node, "anat_T1w", "NIFTI", f"{name}.nii.gz"), f"{node}/{name}.nii.gz", 9)
                for name in ("a", "b", "c")
            ),
        )


def peak(sessions: int, dataset: Dataset, archive: Archive, folder: Path) -> int:
    tracemalloc.start()
    try:
        with Keeper(dataset, archive, folder=folder) as keeper:
            for outcome in outcomes(sessions):
                keeper.outcome(outcome)
            keeper.finish(Report("", ""), ())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_its_memory_does_not_grow_with_the_dataset(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        dataset = read(small_root)
        peak(10, dataset, archive, tmp_path / "warm")
        some = peak(3_000, dataset, archive, tmp_path / "some")
        more = peak(9_000, dataset, archive, tmp_path / "more")
    assert more < some * 1.3
    page = next((tmp_path / "more").glob("*.html"))
    assert page.stat().st_size < 2_000_000
    assert page.read_text().count("<tr>") < PARTICIPANTS + 1000


# ------------------------------------------------------------------ the page


def test_the_page_is_whole_and_needs_nothing_else(sample: Dataset, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = kept(sample, archive, tmp_path / "k")
    page = path.with_suffix(".html").read_text("utf-8")

    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!http://127\.0\.0\.1)', page)
    assert "Everything is there" in page
    for kind in ("anat_T1w", "func_bold", "eeg_eeg", "other files"):
        assert f'<th scope="col">{kind}</th>' in page
    assert "subjects/sub-01?format=html" in page


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "\u202egnp.exe", "a\x1b[31mb")


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_comes_from_disk_or_server_is_only_text(
    name: str, small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    (small_root / "dataset_description.json").write_text(json.dumps({"Name": name, "BIDSVersion": "1.10.0"}))
    dataset = read(small_root)
    node = Node(name, name)
    with open_project() as archive, Keeper(dataset, archive, folder=tmp_path / "k", asked=Asked(local=name)) as keeper:
        finding = Finding(State.MISSING, Address(node, f"anat_{name}", name, name), name, 1)
        keeper.outcome(Outcome(node, (finding,), failure=name))
        issues = tuple(Issue(Severity.WARNING, name, name) for _ in range(2))
        report = Report("", "", issues, unset=issues[:1])
        report.survived[name] = 1
        report.stopped = name
        keeper.finish(report, [LeftOut(name, name)])
    assert keeper.path is not None
    checked(keeper.path)
    page = keeper.path.with_suffix(".html").read_text("utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    body = page[page.index("<body>") : page.index("</html>")]
    assert ElementTree.fromstring(body.replace("<br>", "<br/>").replace("<details open>", "<details>")) is not None


GIF = b"GIF89a" + bytes([64, 0, 32, 0]) + bytes(90)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_said_of_pictures_is_only_text(
    name: str, small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    dataset, node = read(small_root), Node(name, name)
    gallery = Gallery()
    gallery.add(Preview(node, name, GIF, name))
    report = Report("", "", seconds={name: 12.0})
    report.pictures = Pictures(causes={name: Cause(1, (name,))}, given_up=name)
    with open_project() as archive, Keeper(dataset, archive, folder=tmp_path / "k") as keeper:
        keeper.outcome(Outcome(node, ()))
        keeper.finish(report, (), gallery)
    assert keeper.path is not None
    checked(keeper.path)
    page = keeper.path.with_suffix(".html").read_text("utf-8")
    body = page[page.index("<body>") : page.index("</html>")]
    tree = ElementTree.fromstring(body.replace("<br>", "<br/>").replace("<details open>", "<details>"))
    [image] = tree.iter("img")
    assert image.get("src", "").startswith("data:image/gif;base64,")
    assert (image.get("width"), image.get("height")) == ("64", "32")
    assert "<script" not in page
    assert not {"\u202e", "\x1b"} & set(page)


def places(*entries: tuple[str, Status]) -> list[Place]:
    """One subject with an experiment of these scans."""
    node = Node("sub-1", "sub-1_ses-a_MR")
    rows = (Entry(scan, status, Address(node, scan, "NIFTI", f"{scan}.nii"), 1) for scan, status in entries)
    return [Place(node, tuple(rows))]


def test_the_page_leads_to_each_session_and_tells_how_many_recordings_are_bad(tmp_path: Path) -> None:
    scans = [("anat_T1w", Status.SENT), ("func_run-1_bold", Status.FAILED), ("func_run-2_bold", Status.SENT)]
    page = page_of_places(tmp_path / "x.json", places(*scans), server="https://xnat.example.org")

    uri = "https://xnat.example.org/data/projects/P/subjects/sub-1/experiments/sub-1_ses-a_MR?format=html"
    assert f'<a href="{uri}">ses-a_MR</a>' in page
    assert '<td class="failed">✗ 1 of 2</td>' in page
    assert '<td class="sent">✓</td>' in page


def page_of_places(path: Path, found: list[Place], *, server: str = "", **tail: object) -> str:
    """The page of a receipt that is made up."""
    totals = {str(one): {"files": 0, "bytes": 0} for one in Status}
    dataset = {"root": "study", "description": {}}
    head = {"tool": {}, "server": {"url": server, "version": ""}, "archive": "", "project": "P", "user": "u"}
    with path.open("w", encoding="utf-8") as target:
        write_head(target, head | {"started": "2026-01-01T00:00:00Z", "dataset": dataset})
        for number, place in enumerate(found):
            write_place(target, place, project="P", first=not number)
        write_left_out(target, iter(()))
        end = {"ended": "2026-01-01T01:00:00Z", "complete": True, "error": "", "ok": True, "totals": totals}
        end |= {"unchosen": {"participants": 0, "files": 0}, "sent_bytes": 0, "survived": [], "stopped": ""}
        write_tail(target, end | {"fields_not_set": [], "issues": []} | tail)
    page = io.StringIO()
    write_page(page, open_receipt(path))
    return page.getvalue()


def test_the_page_tells_what_the_time_went_by_with(tmp_path: Path) -> None:
    page = page_of_places(
        tmp_path / "x.json", places(), seconds={"comparing": 300.0, "sending": 3000.0, "waiting": 0.1}
    )

    assert "comparing with what is there: 5 min 0 s (8 %)" in page
    assert "sending: 50 min 0 s (83 %)" in page
    assert "waiting" not in page


def test_a_push_measures_its_phases(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        report = push(read(small_root), archive)
    assert {"reading", "comparing", "sending", "proving"} <= report.seconds.keys()
    assert all(seconds >= 0 for seconds in report.seconds.values())


def test_the_page_is_bounded_for_thousands_of_sessions(tmp_path: Path) -> None:
    """Rows, sessions of a row and thumbnails are bounded, each by its own number."""
    node = [Node("sub-1", f"sub-1_ses-{number}_MR") for number in range(40)]
    page = page_of_places(tmp_path / "x.json", [Place(one, ()) for one in node], server="https://xnat.example.org")
    assert page.count("?format=html") == SESSIONS + 2
    assert f"and {40 - SESSIONS} more" in page


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(ODD_NAMES, min_size=1, max_size=3))
def test_odd_names_come_back_from_a_receipt(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], small_root: Path, open_project: Connect
) -> None:
    folder = tmp_path_factory.mktemp("k")
    node = Node("s", "e")
    findings = tuple(Finding(State.MISSING, Address(node, "", "BIDS", name), f"x/{name}", 1) for name in names)
    with open_project() as archive, Keeper(read(small_root), archive, folder=folder) as keeper:
        keeper.outcome(Outcome(node, findings))
        keeper.finish(Report("", ""), [LeftOut(name, "odd") for name in names])
    assert keeper.path is not None
    receipt = open_receipt(keeper.path)
    [place] = receipt.places()
    assert [one.path for one in place.entries] == [f"x/{name}" for name in names]
    assert [one.path for one in receipt.left_out()] == names


# ------------------------------------------------------------------ reading


def test_what_is_no_whole_receipt_is_refused(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
    text = path.read_text()
    for number, broken in enumerate(("", "{}", "x", text[: len(text) // 2], text.replace('"sent"', '"lost"'))):
        other = tmp_path / f"{number}.json"
        other.write_text(broken)
        with pytest.raises(ConfigError, match="is no receipt"):
            list(open_receipt(other).places())
    with pytest.raises(ConfigError, match="cannot be read"):
        open_receipt(tmp_path / "nothing")


def test_a_page_can_be_made_anew_from_a_receipt(small_root: Path, open_project: Connect, tmp_path: Path) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
    again = io.StringIO()
    receipt: Receipt = open_receipt(path)
    write_page(again, receipt)
    assert again.getvalue() == path.with_suffix(".html").read_text("utf-8")


# ------------------------------------------------------------------ the copy in the archive


def deposited(archive: Archive) -> set[str]:
    files = archive.node_holding(Node()).files
    return {one.name for one in files if one.resource == default_table().receipts}


def test_a_copy_goes_into_the_project_and_is_no_file_of_the_dataset(
    small_root: Path, open_project: Connect, tmp_path: Path
) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        assert deposit(path, archive, default_table()) == ""
        assert deposited(archive) == {path.name, path.with_suffix(".md5").name}
        dataset = read(small_root)
        assert verify(dataset, archive).ok
        assert verify(dataset, archive, deep=True).ok
        assert statuses(pushed(small_root, archive, tmp_path / "k", policy=Policy(delete=True))).keys() == (
            statuses(path).keys()
        )
        assert pull(archive, tmp_path / "out").ok
        assert remove(list(plan_removal(dataset, archive)), archive).ok
        assert deposited(archive) == {path.name, path.with_suffix(".md5").name}
    assert not list((tmp_path / "out").rglob("*_T0*"))
    assert read(tmp_path / "out").subjects == dataset.subjects


def test_a_member_gets_none_and_no_failure(
    small_root: Path, open_project: Connect, server: LocalServer, project: str, people: People, tmp_path: Path
) -> None:
    with open_project() as archive:
        pushed(small_root, archive, tmp_path / "k")
    people.add("rita", project, "Members")
    with connect(server.url, project=project, user="rita", password=people.password) as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        assert "only an owner" in deposit(path, archive, default_table())
        assert deposited(archive) == set()


def test_a_receipt_that_another_push_made_the_server_lose_is_sent_again(
    small_root: Path, open_project: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_project() as archive:
        path = pushed(small_root, archive, tmp_path / "k")
        original, calls = archive.fill_resource, []

        def lossy(step: FillResource, **options: object) -> tuple[str, ...]:
            calls.append(step.replace)
            return original(step, **options) if len(calls) > 2 else ()  # type: ignore[arg-type]

        monkeypatch.setattr(archive, "fill_resource", lossy)
        assert deposit(path, archive, default_table(), pause=0) == ""
        assert calls == [False, True, True]
        monkeypatch.setattr(archive, "fill_resource", lambda *_, **__: ())
        other = path.rename(path.with_stem("other"))
        path.with_suffix(".md5").rename(other.with_suffix(".md5"))
        assert "does not list it" in deposit(other, archive, default_table(), pause=0)


def test_pushes_at_once_lose_no_receipt(small_root: Path, tmp_path: Path) -> None:
    """In this archive, all but the first of the requests that meet in one catalog fail, and leave files unlisted."""
    with LocalServer(tmp_path / "site", behaviour=Behaviour(catalog_conflicts="overlapping")) as server:

        def once(number: int) -> Path:
            login = {"user": server.user, "password": server.password}
            with connect(server.url, project="P", create_project=True, **login) as archive:
                path = pushed(small_root, archive, tmp_path / "k")
                assert deposit(path, archive, default_table(), pause=0.05) == "", number
                return path

        once(0)
        with ThreadPoolExecutor(3) as workers:
            paths = list(workers.map(once, range(3)))
        with connect(server.url, project="P", user=server.user, password=server.password) as archive:
            assert {path.name for path in paths} <= deposited(archive)
