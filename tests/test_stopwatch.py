"""How long the phases of a run take: what goes on side by side counts once."""

from __future__ import annotations

from collections.abc import Iterator

from xnat_bids_push.stopwatch import Stopwatch


def test_a_phase_takes_as_long_as_anybody_is_in_it() -> None:
    watch = Stopwatch(iter([0.0, 5.0, 20.0, 21.0]).__next__)
    with watch.phase("sending"), watch.phase("sending"):  # from 0 to 5, by two at a time
        pass
    with watch.phase("sending"):
        pass

    assert watch.seconds == {"sending": 6.0}


def test_finding_the_next_item_is_a_phase_and_using_it_is_none() -> None:
    now = [0.0]

    def slow() -> Iterator[int]:
        for number in (1, 2):
            now[0] += 3
            yield number

    watch = Stopwatch(lambda: now[0])
    found = []
    for item in watch.each("reading", slow()):
        now[0] += 100
        found.append(item)

    assert found == [1, 2]
    assert watch.seconds == {"reading": 6.0}
