"""How many are at work: laws of the decision, and lanes that keep to it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnat_bids_push.pacing import FIRST, LOOK, LOOKED_AT, MOST, REST, Fixed, Lanes, Pace

EVENTS = st.lists(st.one_of(st.none(), st.floats(0, 1e12)))


@given(EVENTS)
def test_there_is_always_one_at_least_and_never_more_than_the_most(events: list[float | None]) -> None:
    pace = Pace()
    for rate in events:
        before = pace.jobs
        if rate is None:
            pace.distressed()
            assert pace.jobs <= max(1, before / 2)
        else:
            pace.saw(rate)
            assert abs(pace.jobs - before) <= 1
        assert 1 <= pace.jobs <= MOST


@pytest.mark.parametrize("useful", [FIRST, 3, 5, 10, MOST, 40])
def test_it_settles_at_as_many_as_the_server_can_use(useful: int) -> None:
    """A server that does so many things at a time, and lets others wait."""
    pace = Pace()
    seen = []
    for _ in range(30 * REST):
        pace.saw(100.0 * min(pace.jobs, useful))
        seen.append(pace.jobs)
    late = seen[20 * REST :]
    assert max(late) <= min(useful + 1, MOST)
    assert late.count(min(useful, MOST)) >= 0.7 * len(late)


def test_a_server_that_more_workers_slow_down_gets_fewer() -> None:
    pace = Pace()
    for _ in range(100):
        pace.saw(100.0 * min(pace.jobs, 3) / max(1, pace.jobs - 2))
    assert pace.jobs <= 4


def test_after_distress_it_rests_before_it_grows_again() -> None:
    pace = Pace()
    while pace.jobs < 8:
        pace.saw(100.0 * pace.jobs)
    pace.distressed()
    for _ in range(REST):
        pace.saw(1e9)
        assert pace.jobs == 4
    pace.saw(1e9)
    assert pace.jobs == 5


class _Crowd:
    """Work that waits until it is let go, and tells how much of it goes on."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self._changed = threading.Condition()
        self._open = False

    def work(self, _: object) -> str:
        with self._changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, 10)
            self.inside -= 1
        return "done"

    def wait_for(self, number: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.inside == number, 10)

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()


@pytest.mark.parametrize(("pacing", "number"), [(Fixed(3), 3), (Pace(), FIRST)])
def test_as_many_are_at_work_as_the_pacing_says(pacing: Fixed | Pace, number: int) -> None:
    crowd = _Crowd()
    lanes = Lanes(pacing, clock=lambda: 0.0)
    results = lanes.map(crowd.work, range(10))
    assert crowd.wait_for(number)
    crowd.open()
    assert list(results) == ["done"] * 10
    assert crowd.most == number
    lanes.close()


def test_lanes_tell_the_pacing_how_quickly_things_go() -> None:
    now = [0.0]
    pace = Pace()
    lanes = Lanes(pace, clock=lambda: now[0])
    for _ in range(LOOKED_AT * FIRST):
        lanes.do(lambda _: None, None)
    assert pace.jobs == FIRST
    now[0] = 2 * LOOK
    lanes.passed(10**9)
    assert pace.jobs == FIRST + 1
    lanes.close()


def test_failures_of_what_was_on_its_way_together_halve_once() -> None:
    pace = Pace(first=8)
    lanes = Lanes(pace, is_distress=lambda result: result == "distress", clock=lambda: 0.0)
    together = threading.Barrier(8)

    def work(_: object) -> str:
        together.wait(10)
        return "distress"

    assert set(lanes.map(work, range(8))) == {"distress"}
    assert pace.jobs == 4
    lanes.do(lambda _: "distress", None)
    assert pace.jobs == 2
    lanes.close()
