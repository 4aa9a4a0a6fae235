"""The breaker and its gate: decided by counting, acted on without a clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from xnat_bids_push.breaker import ALONE, RESTS, Breaker, Gate
from xnat_bids_push.errors import Distressed, Rejected, Unavailable


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed(breaker.begin())


def test_a_server_that_fails_now_and_then_is_asked_as_before() -> None:
    breaker = Breaker()
    for _ in range(100):
        fail(breaker, ALONE - 1)
        breaker.succeeded()
    assert (breaker.is_alone, breaker.rest, breaker.is_over) == (False, 0, False)


def test_failures_in_a_row_mean_fewer_requests_then_longer_and_longer_rests_then_the_end() -> None:
    breaker = Breaker()
    states = []
    for _ in range(ALONE + len(RESTS) + 1):
        fail(breaker, 1)
        states.append((breaker.is_alone, breaker.rest, breaker.is_over))
    calm = [(False, 0.0, False)] * (ALONE - 1)
    assert states == [*calm, (True, 0.0, False), *((True, rest, False) for rest in RESTS), (True, 0.0, True)]


def test_one_answer_ends_the_distress() -> None:
    breaker = Breaker()
    fail(breaker, ALONE + 2)
    breaker.succeeded()
    assert (breaker.is_alone, breaker.rest) == (False, 0)


def test_requests_that_fail_together_are_one_failure() -> None:
    """A server that goes down takes along all requests that it has at the moment."""
    breaker = Breaker()
    begun = [breaker.begin() for _ in range(64)]
    for one in begun:
        breaker.failed(one)
    assert not breaker.is_alone


class _Story:
    """What a gate says and how long it sleeps."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slept: list[float] = []
        self.gate = Gate(self.lines.append, self.slept.append)

    def fail(self, times: int = 1, status: int = 503) -> None:
        for _ in range(times):
            with pytest.raises(Unavailable), self.gate.request():
                raise Unavailable("no", status=status)

    def answer(self) -> None:
        with self.gate.request():
            pass


def test_a_gate_says_what_the_server_goes_through_rests_and_goes_on() -> None:
    story = _Story()
    story.fail(ALONE + 2)
    story.answer()
    story.answer()
    assert story.slept == list(RESTS[:2])
    assert story.lines == [
        "The server fails again and again: one request goes at a time.",
        "The server is in distress: it is left alone for 10 s.",
        "The server is in distress: it is left alone for 30 s.",
        "The server answers again.",
    ]


def test_a_gate_ends_the_run_when_no_rest_helped() -> None:
    story = _Story()
    story.fail(ALONE + len(RESTS) + 1)
    with pytest.raises(Distressed), story.gate.request():
        raise AssertionError("nothing goes out any more")
    assert story.slept == list(RESTS)


def test_what_is_about_a_single_request_counts_neither_way() -> None:
    story = _Story()
    story.fail(100, status=500)
    for _ in range(ALONE + 1):
        story.fail()
        story.fail(status=500)
    assert story.slept[:1] == [RESTS[0]]


def test_a_refusal_is_an_answer() -> None:
    story = _Story()
    for _ in range(10):
        story.fail()
        with pytest.raises(Rejected), story.gate.request():
            raise Rejected("not this", status=400)
    assert story.lines == []


@contextmanager
def inside(gate: Gate) -> Iterator[threading.Event]:
    """A request that is on its way in another thread until the block ends; the event tells that it has begun."""
    begun, end = threading.Event(), threading.Event()

    def ask() -> None:
        with gate.request():
            begun.set()
            end.wait(10)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield begun
    finally:
        end.set()
        thread.join()


def test_in_distress_one_request_goes_at_a_time() -> None:
    gate = Gate(sleep=lambda _: None)
    with inside(gate) as first, inside(gate) as second:
        assert first.wait(10)
        assert second.wait(10)
    for _ in range(ALONE):
        with pytest.raises(Unavailable), gate.request():
            raise Unavailable("no", status=503)
    with inside(gate) as first:
        assert first.wait(10)
        with inside(gate) as second:
            assert not second.wait(0.05)
            gate.close()
            assert second.wait(10)
