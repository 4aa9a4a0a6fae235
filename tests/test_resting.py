"""What changes is left in peace, and what has come to rest goes: each participant, once, in the end."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.resting import LONGEST_PAUSE, Sight, Standing, after, due, seconds, seen
from xnat_bids_push.watching import Clock, Rhythm, watch

END = 30_000.0


class Enough(Exception):
    """The end of a test's time."""


@dataclass
class Scanner:
    """A site that converts: what changes when, and what was sent in which state. It is the clock, too."""

    changes: Mapping[str, list[float]]
    rhythm: Rhythm
    sending: float
    failing: Set[int]
    now: float = 0.0
    sent: list[tuple[float, str, int, bool]] = field(default_factory=list)

    def state(self, name: str, moment: float) -> int:
        return sum(one <= moment for one in self.changes[name])

    def look(self) -> Mapping[str, Sight]:
        there = [name for name, times in self.changes.items() if times[0] <= self.now]
        last = {name: max(one for one in self.changes[name] if one <= self.now) for name in there}
        return {name: Sight(bytes([self.state(name, self.now)]), last[name]) for name in there}

    def send(self, ready: frozenset[str]) -> Set[str]:
        failed = {name for number, name in enumerate(sorted(ready), len(self.sent)) if number in self.failing}
        for name in sorted(ready):
            self.sent.append((self.now, name, self.state(name, self.now), name in failed))
        self.now += self.sending
        return failed

    def wait(self, span: float) -> None:
        self.now += span
        if self.now > END:
            raise Enough

    def run(self) -> None:
        with pytest.raises(Enough):
            watch(self, self.rhythm, clock=Clock(lambda: self.now, self.wait))


TIMES = st.lists(st.floats(-2000, 3000), min_size=1, max_size=4).map(sorted)
SCANNERS = st.builds(
    Scanner,
    st.dictionaries(st.sampled_from(["", "sub-01", "sub-02", "sub-03"]), TIMES, min_size=1),
    st.builds(Rhythm, st.sampled_from([30.0, 600.0, 3600.0]), st.sampled_from([60.0, 250.0, 700.0])),
    st.sampled_from([0.0, 50.0, 500.0]),
    st.frozensets(st.integers(0, 6), max_size=3),
)


@settings(deadline=None, max_examples=50)
@given(SCANNERS)
def test_nothing_is_sent_that_changed_within_the_time_it_must_be_quiet(site: Scanner) -> None:
    site.run()

    for moment, name, _, _ in site.sent:
        assert moment - max(one for one in site.changes[name] if one <= moment) >= site.rhythm.quiet


@settings(deadline=None, max_examples=50)
@given(SCANNERS)
def test_everything_goes_in_the_end_as_it_is_and_once(site: Scanner) -> None:
    site.run()

    for name, times in site.changes.items():
        done = [state for _, other, state, failed in site.sent if other == name and not failed]
        assert done[-1] == len(times)
        assert len(done) == len(set(done))


@given(st.integers(1, 40))
def test_who_fails_waits_longer_each_time_and_never_too_long(failures: int) -> None:
    standings, now, waits = {"sub-01": Standing(b"", 0.0)}, 0.0, []
    for _ in range(failures):
        standings = after(standings, {"sub-01"}, {"sub-01"}, now, pause=60)
        waits.append(standings["sub-01"].not_before - now)
        assert not due(standings, now, 0)
        now = standings["sub-01"].not_before
        assert due(standings, now, 0)

    assert waits == sorted(waits)
    assert max(waits) <= LONGEST_PAUSE


def test_a_change_ends_the_waiting_after_a_failure() -> None:
    standings = after({"sub-01": Standing(b"a", 0.0)}, {"sub-01"}, {"sub-01"}, 100, pause=3000)
    standings = seen(standings, {"sub-01": Sight(b"b", 110.0)}, 120)

    assert not due(standings, 129, 10)
    assert due(standings, 130, 10) == {"sub-01"}


def test_a_clock_of_the_files_that_is_ahead_makes_nobody_wait_for_ever() -> None:
    standings = seen({}, {"sub-01": Sight(b"", 1e9)}, 100)

    assert due(standings, 160, 60) == {"sub-01"}


def test_who_has_gone_is_forgotten() -> None:
    assert seen({"sub-01": Standing(b"", 0.0)}, {}, 1) == {}


@pytest.mark.parametrize(
    ("text", "span"), [("90", 90), ("90s", 90), (" 10 m ", 600), ("1.5h", 5400), ("1d", 86400), ("0.5", 0.5)]
)
def test_a_span_of_time_is_written_as_people_do(text: str, span: float) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "ten", "10 min", "1w", "m", "1e3", "1.m", "∞", "٣", "9" * 9])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no span of time"):
        seconds(text)
