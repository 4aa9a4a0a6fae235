"""Bytes on their way: the same ones in the same order, gathered, ahead of the wire, and no quicker than allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.flow import AHEAD, Bucket, ahead, gathered

PIECES = st.lists(st.binary(max_size=50))


@given(PIECES, st.integers(1, 100))
def test_gathered_pieces_are_the_same_bytes_and_none_is_small_but_the_last(pieces: list[bytes], least: int) -> None:
    found = list(gathered(iter(pieces), least))
    assert b"".join(found) == b"".join(pieces)
    assert all(len(piece) >= least for piece in found[:-1])
    assert all(found)


@settings(deadline=None)
@given(PIECES)
def test_pieces_made_ahead_are_the_same_in_the_same_order(pieces: list[bytes]) -> None:
    assert list(ahead(iter(pieces))) == pieces


class _Broken(Exception):
    """What ends the making."""


def test_what_ends_the_making_is_raised_in_its_place() -> None:
    def make() -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        raise _Broken

    pieces = ahead(make())
    assert [next(pieces), next(pieces)] == [b"a", b"b"]
    with pytest.raises(_Broken):
        next(pieces)


def test_no_more_is_made_than_a_few_pieces_and_nothing_once_nobody_wants_it() -> None:
    made: list[int] = []
    full = threading.Event()

    def make() -> Iterator[bytes]:
        for number in range(1000):
            made.append(number)
            if number == AHEAD + 1:
                full.set()
            yield b"x"

    pieces = ahead(make())
    next(pieces)
    assert full.wait(10)
    pieces.close()  # type: ignore[attr-defined]  # a generator
    assert len(made) <= AHEAD + 3
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


class _Clock:
    """Time that passes only by waiting for it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.integers(1, 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_never_more_bytes_pass_than_the_rate_allows(rate: int, sizes: list[int]) -> None:
    clock = _Clock()
    bucket = Bucket(rate, clock=clock, sleep=clock.sleep)
    passed = 0
    for size in sizes:
        bucket.take(size)
        passed += size
        assert passed <= rate * (clock.now - 100.0) + 1


def test_a_rate_is_used_to_the_full_and_rests_are_not_saved_up() -> None:
    clock = _Clock()
    bucket = Bucket(1000, clock=clock, sleep=clock.sleep)
    for _ in range(20):
        bucket.take(100)
    assert clock.now == pytest.approx(102.0)
    clock.now += 3600
    for _ in range(20):
        bucket.take(100)
    assert clock.now == pytest.approx(102.0 + 3600 + 2 - 0.25)


@given(PIECES, st.integers(1, 100))
def test_slowed_pieces_are_the_same_bytes_in_small_portions(pieces: list[bytes], rate: int) -> None:
    clock = _Clock()
    bucket = Bucket(rate, clock=clock, sleep=clock.sleep)
    found = list(bucket.slowed(iter(pieces)))
    assert b"".join(found) == b"".join(pieces)
    assert all(len(piece) <= max(1, rate / 4) for piece in found)


def test_all_who_share_a_bucket_share_its_rate() -> None:
    waits: list[float] = []
    bucket = Bucket(1000, clock=lambda: 0.0, sleep=waits.append)
    workers = [threading.Thread(target=bucket.take, args=(500,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(waits) == [0.5, 1.0, 1.5, 2.0]
