"""How far a run is: never more than all, never back, and within the width of the terminal."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from xnat_bids_push.model import Address, Finding, Node, Outcome, State
from xnat_bids_push.progress import Tally, drawn, picture, told
from xnat_bids_push.ui import Screen


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def outcome(number: int, size: int, *, failure: str = "") -> Outcome:
    node = Node(f"sub-{number}", f"sub-{number}_MR")
    finding = Finding(State.MISSING if failure else State.SAME, Address(node, "", "BIDS", "a"), "a", size)
    return Outcome(node, (finding,), 1, size, failure)


def send(tally: Tally, one: Outcome, pieces: Sequence[int]) -> None:
    tally.work(one.node)
    for piece in pieces:
        tally.add(piece)
    tally.work(None)


def test_a_run_is_told_from_its_begin_to_its_end() -> None:
    clock = Clock()
    tally = Tally(2, 10_000_000, clock)
    assert list(tally.words()) == ["0 of 2 sessions", "0 B of 10.0 MB"]

    one = outcome(1, 5_000_000)
    tally.work(one.node)
    assert list(tally.at_work()) == ["sub-1_MR  waiting for the server, 0 s"]
    clock.now += 10
    tally.add(4_000_000)
    assert list(tally.at_work()) == ["sub-1_MR  4.0 MB sent, 10 s"]
    assert list(tally.words()) == ["0 of 2 sessions", "4.0 MB of 10.0 MB", "400.0 kB/s", "20 s left"]
    tally.add(1_000_000)
    tally.work(None)
    assert list(tally.at_work()) == []
    tally.settle(one)
    tally.settle(outcome(2, 5_000_000, failure="the server is on fire"))

    assert list(tally.words()) == ["1 with problems", "2 of 2 sessions", "10.0 MB of 10.0 MB", "500.0 kB/s", "0 s left"]
    assert tally.share == 1.0


def test_nobody_guesses_at_the_end_of_a_run_that_has_just_begun() -> None:
    clock = Clock()
    tally = Tally(1000, 10**9, clock)
    clock.now += 60
    send(tally, outcome(1, 1_000_000), [1_000_000])

    assert tally.left is None


@given(st.lists(st.tuples(st.lists(st.integers(0, 10**9), max_size=4), st.booleans()), min_size=1), st.floats(0.01, 2))
def test_it_is_never_more_than_all_and_never_goes_back(
    sessions: list[tuple[list[int], bool]], announced: float
) -> None:
    """Also where the dataset is larger than it was when it was announced."""
    tally = Tally(len(sessions), int(sum(sum(pieces) for pieces, _ in sessions) * announced))
    shares = [tally.share or 0.0]
    for number, (pieces, fails) in enumerate(sessions):
        one = outcome(number, sum(pieces), failure="no" if fails else "")
        send(tally, one, pieces)
        shares.append(tally.share or 0.0)
        tally.settle(one)
        shares.append(tally.share or 0.0)

    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] <= 1
    assert tally.settled == len(sessions)
    assert tally.problems == sum(fails for _, fails in sessions)


def test_what_is_there_already_counts_as_done() -> None:
    tally = Tally(2, 100)
    tally.settle(Outcome(Node("sub-1", "sub-1_MR"), outcome(1, 50).findings))

    assert tally.share == 0.5
    assert tally.sent == 0


@contextmanager
def working(tally: Tally, labels: Sequence[str]) -> Iterator[None]:
    """Workers, each with a session, for as long as it takes to look at them."""
    begun, seen = threading.Barrier(len(labels) + 1), threading.Event()

    def work(label: str) -> None:
        tally.work(Node(label, label))
        begun.wait()
        seen.wait()

    threads = [threading.Thread(target=work, args=[label]) for label in labels]
    for thread in threads:
        thread.start()
    begun.wait()
    try:
        yield
    finally:
        seen.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_picture_stays_within_the_terminal(width: int) -> None:
    tally = Tally(1200, 5 * 10**12)
    tally.settle(outcome(1, 10**12, failure="no"))
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    with working(tally, [f"sub-{number}{'x' * 90}" for number in range(4)]):
        console.print(picture(tally, "Pushing"))

    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("Pushing ")
    assert lines[0].endswith("20%")
    assert lines[1].startswith("1 with problems · 1 of 1,200 sessions")
    assert [line.strip()[:6] for line in lines[2:]] == ["sub-0x", "sub-1x", "sub-2x", "sub-3x"]


def test_a_terminal_shows_it_live_and_is_left_clean() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with drawn(Tally(2, 100), console, "Pushing"):
        console.print("sub-1_MR: the server is on fire")

    assert "0 of 2 sessions" in file.getvalue()
    assert "the server is on fire" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")  # the last line that was drawn is erased


def test_a_log_gets_a_line_now_and_then_with_the_rate_since_the_last_one() -> None:
    clock = Clock()
    tally = Tally(2, 100, clock)
    rates: list[float] = []
    enough = threading.Event()

    def say(rate: float) -> None:
        rates.append(rate)
        clock.now += 2
        tally.add(100)
        if len(rates) == 3:
            enough.set()

    with told(tally, say, interval=0.001):
        assert enough.wait(30)

    assert rates[:3] == [0, 50, 50]


def test_programs_get_the_counts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xnat_bids_push.progress.INTERVAL", 0.001)
    screen = Screen(as_json=True)
    with screen.running("Pushing") as tally:
        tally.add(7)
        line = ""
        while not line:
            line = capsys.readouterr().out.partition("\n")[0]

    assert json.loads(line).keys() >= {"event", "sessions", "of_sessions", "bytes", "problems", "left"}
