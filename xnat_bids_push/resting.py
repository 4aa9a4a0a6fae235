"""Which participants of a dataset are at rest, by what was seen of their files and when. Pure.

A participant stands for its folders, and "" for what is no participant's. Time is a number of seconds, of any clock
that goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from xnat_bids_push.errors import ConfigError

LONGEST_PAUSE = 3600.0
"""Seconds that a participant waits at most after a failure."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look at a participant shows.

    Args:
        state: a digest of the names, sizes and times of all files.
        changed: when the last of them, or of their folders, changed, by the file system.
    """

    state: bytes
    changed: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a participant.

    Args:
        state: what was seen last.
        since: since when it is so.
        settled: whether it was sent in this state.
        failures: how often that failed in this state.
        not_before: when it is to be tried again.
    """

    state: bytes
    since: float
    settled: bool = False
    failures: int = 0
    not_before: float = 0.0


Standings = Mapping[str, Standing]


def seen(known: Standings, sights: Mapping[str, Sight], now: float) -> dict[str, Standing]:
    """How it stands after another look.

    What is seen for the first time is as old as the file system says. A change that was seen counts from the look on:
    the file system's clock may be wrong, and copies may bring their times along.
    """
    return {name: _seen(known.get(name), sight, now) for name, sight in sights.items()}


def _seen(known: Standing | None, sight: Sight, now: float) -> Standing:
    if known is None:
        return Standing(sight.state, min(sight.changed, now))
    return known if known.state == sight.state else Standing(sight.state, now)


def due(standings: Standings, now: float, quiet: float) -> frozenset[str]:
    """The participants that have been quiet for so many seconds, and are not settled."""
    return frozenset(
        name
        for name, one in standings.items()
        if not one.settled and now - one.since >= quiet and now >= one.not_before
    )


def after(standings: Standings, sent: Set[str], failed: Set[str], now: float, *, pause: float) -> dict[str, Standing]:
    """How it stands after some were sent, of which some failed: those wait, longer each time.

    >>> after({"sub-01": Standing(b"", 0.0)}, {"sub-01"}, {"sub-01"}, 100.0, pause=60.0)["sub-01"].not_before
    160.0
    """
    return dict(standings) | {
        name: _failed(standings[name], now, pause) if name in failed else replace(standings[name], settled=True)
        for name in sent
    }


def _failed(one: Standing, now: float, pause: float) -> Standing:
    wait = min(pause * 2 ** min(one.failures, 20), LONGEST_PAUSE)
    return replace(one, failures=one.failures + 1, not_before=now + wait)


# ------------------------------------------------------------------ spans of time

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """A span of time as people write it: 90, 90s, 10m, 2h or 1d.

    Raises:
        ConfigError: it is none, or no time at all.

    >>> seconds("10m"), seconds("1.5h")
    (600.0, 5400.0)
    """
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([smhd]?)", text.strip())
    found = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not found:
        raise ConfigError(f"{text!r} is no span of time: write 90s, 10m, 2h or 1d")
    return found
