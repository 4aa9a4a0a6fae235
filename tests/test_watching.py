"""A dataset that grows is sent as it comes to rest: whatever happens to one participant, the others go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.test_cli import PROGRAM, run
from xnat_bids_push import watching
from xnat_bids_push.dataset import Dataset, read
from xnat_bids_push.errors import AccessDenied, ArchiveError, DatasetError, Rejected, Unavailable
from xnat_bids_push.model import Finding, Issue, Node, Outcome, Severity, State
from xnat_bids_push.pushing import OnOutcome, Survey, survey
from xnat_bids_push.report import Report
from xnat_bids_push.resting import Sight
from xnat_bids_push.server import LocalServer
from xnat_bids_push.watching import Clock, Growing, look

UNCHECKED = ("--validation", "off")


@pytest.fixture(autouse=True)
def _login(tmp_path: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "USER", "PASS"):
        monkeypatch.delenv(f"XNATPY_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    words = {"HOST": server.url, "USER": server.user, "PASS": server.password}
    for name, value in words.items():
        monkeypatch.setenv(f"XNAT_{name}", value)


def add(root: Path, subject: str, text: str = "image") -> None:
    path = root / subject / "anat" / f"{subject}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@dataclass
class Days:
    """A time in which something happens whenever the watch waits; in the end somebody presses Ctrl-C.

    What is there at the beginning is old; what changes later is of its time.
    """

    happenings: Iterator[Callable[[], object]]
    moment: float = 10_000.0
    changes: dict[tuple[str, bytes], float] = field(default_factory=dict)

    def look(self, dataset: Dataset) -> dict[str, Sight]:
        first = not self.changes
        seen = {name: (name, sight.state) for name, sight in look(dataset).items()}
        for one in seen.values():
            self.changes.setdefault(one, 0.0 if first else self.moment)
        return {name: Sight(one[1], self.changes[one]) for name, one in seen.items()}

    def wait(self, span: float) -> None:
        happening = next(self.happenings, None)
        if happening is None:
            raise KeyboardInterrupt
        self.moment += span
        happening()


def watched(
    monkeypatch: pytest.MonkeyPatch, root: Path, project: str, *options: object, during: Sequence[Callable[[], object]]
) -> int:
    """The exit code of a watch that looks once a minute for what has been quiet for two, while something happens."""
    days = Days(iter(during))
    monkeypatch.setattr(watching, "Clock", lambda: Clock(lambda: days.moment, days.wait))
    monkeypatch.setattr(watching, "look", days.look)
    command = ("push", root, project, "--watch", "--quiet-for", "2m", "--create-project", *UNCHECKED, *options)
    return run(*command)


def nothing() -> None:
    """A minute in which nothing happens."""


def sent(server: LocalServer, since: int) -> list[str]:
    """The writes that a server was asked for, but for logins."""
    quiet = ("/data/services/auth", "/data/JSESSION")
    return [path for method, path in server.request_log[since:] if method != "GET" and path not in quiet]


# ------------------------------------------------------------------ what goes when


def test_who_has_come_to_rest_goes_and_who_moves_does_not(
    small_root: Path,
    project: str,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moving = [lambda number=number: add(small_root, "sub-04", "x" * number) for number in range(1, 5)]
    days = [lambda: add(small_root, "sub-03"), *moving, nothing]

    assert watched(monkeypatch, small_root, project, "--receipts", tmp_path / "kept", during=days) == 0

    said = capsys.readouterr()
    lines = [line.partition("  ")[2] for line in said.err.splitlines()]
    told = [line.partition(":")[0] for line in lines if "sent" in line]
    assert told == ["project", "sub-01_MR", "sub-02_MR", "sub-03_MR"]
    assert said.out.splitlines()[-1] == "Stopped."
    receipts = [json.loads(path.read_text()) for path in (tmp_path / "kept").glob("*.json")]
    places = sorted([place["experiment"] for place in one["places"]] for one in receipts)
    assert places == [["", "sub-01_MR", "sub-02_MR"], ["sub-03_MR"]]
    assert run("verify", small_root, project) == 1
    assert "sub-04" in capsys.readouterr().err


def test_a_watch_that_starts_anew_sends_nothing_twice_and_leaves_no_receipt(
    small_root: Path, project: str, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("--receipts", tmp_path / "kept")
    assert watched(monkeypatch, small_root, project, *kept, during=[]) == 0
    receipts, before = set((tmp_path / "kept").iterdir()), len(server.request_log)

    assert watched(monkeypatch, small_root, project, *kept, during=[nothing, nothing]) == 0

    assert sent(server, before) == []
    assert set((tmp_path / "kept").iterdir()) == receipts


def test_nobody_is_asked_while_nothing_changes(
    small_root: Path, project: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[int] = []

    watched(monkeypatch, small_root, project, during=[lambda: marks.append(len(server.request_log))] * 5)

    assert len(set(marks)) == 1


@pytest.mark.parametrize("policy", ["fail", "replace"])
def test_what_is_sent_and_changes_is_told_once_or_replaced(
    policy: str, small_root: Path, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [lambda: (small_root / "README").write_text("longer"), *[nothing] * 4, lambda: add(small_root, "sub-03")]
    days += [lambda: (small_root / "CHANGES").write_text("new"), *[nothing] * 4]

    assert watched(monkeypatch, small_root, project, "--existing", policy, during=days) == 0

    said = capsys.readouterr().err
    assert said.count("README: differs in the archive") == (policy == "fail")
    assert "project: 1 file sent (3 B)" in said
    assert (run("verify", small_root, project) == 0) is (policy == "replace")


def test_one_participant_with_an_error_holds_up_no_other_and_goes_when_it_is_mended(
    small_root: Path, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = small_root / "sub-02/anat/sub-02_inplaneT2.nii.gz"
    broken.symlink_to("nowhere")

    assert watched(monkeypatch, small_root, project, during=[nothing] * 3) == 0
    said = capsys.readouterr().err
    assert "sub-01_MR: 6 files sent" in said
    assert "not sent: error: sub-02/anat/sub-02_inplaneT2.nii.gz" in said
    assert "sub-02_MR" not in said
    broken.unlink()
    assert watched(monkeypatch, small_root, project, during=[]) == 0
    assert "sub-02_MR: 3 files sent" in capsys.readouterr().err


def test_programs_get_a_line_for_what_came_and_for_what_is_wrong(
    small_root: Path, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [lambda: (small_root / "README").write_text("longer"), *[nothing] * 4]

    assert watched(monkeypatch, small_root, project, "--json", during=days) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outcomes = [row for row in rows if row["event"] == "outcome"]
    assert [row["experiment"] for row in outcomes] == ["", "sub-01_MR", "sub-02_MR", ""]
    assert all(row["time"] for row in outcomes)


# ------------------------------------------------------------------ trouble


@dataclass
class Listener:
    """Hears what a watch tells."""

    heard: list[object] = field(default_factory=list)

    def arrived(self, outcome: Outcome, problems: object) -> None:
        self.heard.append((outcome.node.subject, problems))

    def trouble(self, error: Exception) -> None:
        self.heard.append(str(error))


def growing(root: Path, listener: Listener, *ends: Exception | Outcome | None) -> Growing:
    """A dataset whose pushes end as told."""
    endings = iter(ends)

    def push(dataset: Dataset, found: Survey, tell: OnOutcome) -> Report:
        end = next(endings)
        if isinstance(end, Exception):
            raise end
        if end is not None:
            tell(end)
        return Report("", "")

    return Growing(lambda: read(root), survey, push, listener)


ALL = frozenset({"", "sub-01", "sub-02"})


def test_a_server_that_is_away_is_waited_for_even_at_the_start(small_root: Path) -> None:
    listener = Listener()
    dataset = growing(small_root, listener, Unavailable("away"), Unavailable("away"), None)

    assert [dataset.send(ALL), dataset.send(ALL), dataset.send(ALL)] == [ALL, ALL, set()]
    assert listener.heard == ["away", "away"]


@pytest.mark.parametrize(
    "error", [Rejected("no such project"), DatasetError([Issue(Severity.ERROR, "", "no EEG here")])]
)
def test_what_is_wrong_from_the_first_ends_the_watch_and_what_comes_later_is_borne(
    error: ArchiveError | DatasetError, small_root: Path
) -> None:
    with pytest.raises(type(error)):
        growing(small_root, Listener(), error).send(ALL)
    listener = Listener()
    dataset = growing(small_root, listener, None, error)

    assert [dataset.send(ALL), dataset.send(ALL)] == [set(), ALL]
    assert len(listener.heard) == 1


def test_a_login_that_is_refused_ends_the_watch_before_the_account_is_locked(small_root: Path) -> None:
    dataset = growing(small_root, Listener(), None, AccessDenied("no"))
    dataset.send(ALL)

    with pytest.raises(AccessDenied):
        dataset.send(ALL)


def test_only_what_may_go_better_is_tried_again(small_root: Path) -> None:
    failed = Outcome(Node("sub-01", "sub-01_MR"), (), failure="cut off")
    missing = Outcome(Node("sub-02", "sub-02_MR"), (Finding(State.MISSING, None, "x", 1),))  # type: ignore[arg-type]  # of no matter
    differs = Outcome(Node(), (Finding(State.DIFFERS, None, "x", 1),))  # type: ignore[arg-type]  # of no matter
    dataset = growing(small_root, Listener(), failed, missing, differs)

    assert [dataset.send(ALL) for _ in range(3)] == [{"sub-01"}, {"sub-02"}, set()]


def test_a_problem_is_told_when_it_changes(small_root: Path) -> None:
    one, other = (Outcome(Node("sub-01"), (), failure=word) for word in ("a", "b"))
    listener = Listener()
    dataset = growing(small_root, listener, one, one, other, Outcome(Node("sub-01"), ()), other)
    for _ in range(5):
        dataset.send(ALL)

    told = [("sub-01: a",), (), ("sub-01: b",), (), ("sub-01: b",)]
    assert listener.heard == [("sub-01", problems) for problems in told]


def test_a_dataset_that_cannot_be_read_for_a_while_is_waited_for(small_root: Path, tmp_path: Path) -> None:
    listener = Listener()
    dataset = growing(small_root, listener, None)
    dataset.send(ALL)
    small_root.rename(tmp_path / "away")

    assert dataset.look() is None
    assert "there is no such folder" in str(listener.heard)
    (tmp_path / "away").rename(small_root)
    assert dataset.look() is not None
    with pytest.raises(DatasetError):
        growing(tmp_path / "nowhere", listener).look()


# ------------------------------------------------------------------ looking


def states(root: Path) -> dict[str, bytes]:
    return {name: sight.state for name, sight in look(read(root)).items()}


@pytest.mark.parametrize(
    ("change", "who"),
    [
        (lambda root: add(root, "sub-02", "longer than before"), "sub-02"),
        (lambda root: os.utime(root / "sub-02/anat/sub-02_T1w.json", (1, 1)), "sub-02"),
        (lambda root: (root / "sub-02/anat/sub-02_T1w.json").rename(root / "sub-02/anat/sub-02_T2w.json"), "sub-02"),
        (lambda root: (root / "sub-02/ses-1").mkdir(), "sub-02"),
        (lambda root: (root / "sub-01/anat/sub-01_T1w.json").unlink(), "sub-01"),
        (lambda root: (root / "participants.tsv").write_text("participant_id\n"), ""),
        (lambda root: (root / "code").mkdir(), ""),
        (lambda root: (root / "sub-01/.DS_Store").write_text("x"), None),
        (lambda root: (root / ".git").mkdir(), None),
        (lambda root: (root / "sub-01/anat/sub-01_T1w.nii.gz").chmod(0o400), None),
    ],
)
def test_a_change_is_seen_where_it_is_and_nowhere_else(
    change: Callable[[Path], object], who: str | None, small_root: Path
) -> None:
    before = states(small_root)

    change(small_root)

    after = states(small_root)
    assert {name for name in after if after[name] != before[name]} == ({who} if who is not None else set())


def test_a_copy_with_old_times_is_as_old_as_its_coming(small_root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    add(old, "sub-03")
    os.utime(old / "sub-03/anat/sub-03_T1w.nii.gz", (1000, 1000))
    began = time.time() - 1  # a file system's clock is coarse

    shutil.copytree(old / "sub-03", small_root / "sub-03", copy_function=shutil.copy2)

    assert look(read(small_root))["sub-03"].changed >= began


# ------------------------------------------------------------------ the command line


def test_quiet_for_alone_takes_what_is_at_rest_and_ends(
    small_root: Path, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", small_root, project, "--create-project", "--quiet-for", "1h", *UNCHECKED) == 0
    assert "Nothing has been quiet for 1h yet" in capsys.readouterr().err
    old = {"sub-01": Sight(b"", 0.0), "sub-02": Sight(b"", time.time()), "": Sight(b"", time.time())}
    with monkeypatch.context() as patch:
        patch.setattr(watching, "look", lambda dataset: old)
        assert run("push", small_root, project, "--create-project", "--quiet-for", "1h", *UNCHECKED) == 0
    said = capsys.readouterr()
    assert "1 participant not chosen (--quiet-for)" in said.err
    assert "what belongs to no participant, as it changed in the last 1h" in said.err
    assert "Everything is there: 1 session, 5 files" in said.out
    assert run("push", small_root, project, "--quiet-for", "0.001s", *UNCHECKED) == 0
    assert run("verify", small_root, project) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--watch", "--delete"], "cannot be had together with --delete"),
        (["--watch", "--quiet-for", "soon"], "'soon' is no span of time"),
        (["--watch", "--interval", "0"], "'0' is no span of time"),
        (["--quiet-for", "soon"], "'soon' is no span of time"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: list[str], said: str, small_root: Path, project: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", small_root, project, *options, *UNCHECKED) == 2
    assert said in capsys.readouterr().err


def test_sigterm_ends_a_watch_that_waits_and_that_is_no_failure(small_root: Path, project: str) -> None:
    command = [*PROGRAM, "push", str(small_root), project, "--watch", *UNCHECKED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)

    assert first.startswith("Watching. Each participant goes to project")
    assert process.returncode == 0
    assert said.endswith("Stopped.\n")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_unit_of_the_docs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/howto/watch.md").read_text("utf-8")
    unit = page.partition("```{code-block} ini\n")[2].partition("```")[0]
    assert "/opt/bids2xnat/bin/bids2xnat push" in unit
    file = tmp_path / "bids2xnat-study.service"
    file.write_text(unit.replace("/opt/bids2xnat/bin/bids2xnat", sys.executable))

    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
