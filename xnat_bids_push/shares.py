"""Shares of a dataset: whose files a run speaks of, where several runs push one dataset. Pure.

Subjects stay whole, so that each is created, filled and cleared by one run alone, whatever the others do meanwhile.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from xnat_bids_push.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several shares of about the same size, by number. Which one a subject is in depends on its name alone.

    What is no subject's is in the first.

    Args:
        number: from 1 on, as Slurm numbers the tasks of a job array.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def read(cls, text: str) -> Shard:
        """A shard as the command line names it.

        Raises:
            ConfigError: there is no such shard.

        >>> Shard.read("3/20")
        Shard(number=3, of=20)
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        number, of = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise ConfigError(
                f"--shard {text}: it must be like 3/20, and go from 1/20 to 20/20; or participants; or project"
            )
        return cls(number, of)

    def has(self, subject: str) -> bool:
        """Whether a subject, by its folder's name, is in it; "" stands for what is no subject's.

        >>> [number for number in (1, 2, 3) if Shard(number, 3).has("sub-01")]
        [2]
        """
        return _place(subject, self.of) == self.number - 1

    @property
    def option(self) -> str:
        """The option that it was made of, for people."""
        return "--shard" if self.of > 1 else ""


def _place(subject: str, of: int) -> int:
    if not subject:
        return 0
    digest = hashlib.blake2b(subject.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest) % of


WHOLE = Shard()
"""The share that has everything."""


@dataclass(frozen=True, slots=True)
class Some:
    """Some subjects, by the names of their folders.

    Args:
        option: the option that it was made of, for people.
    """

    subjects: Set[str]
    option: str = ""

    def has(self, subject: str) -> bool:
        """Whether a subject is in it; what is no subject's never is, unless "" is among them."""
        return subject in self.subjects


class Side(StrEnum):
    """Whose files, where some users may write those of participants only: those, or what is no subject's."""

    PARTICIPANTS = "participants"
    PROJECT = "project"

    def has(self, subject: str) -> bool:
        """Whether a subject, by its folder's name, is on this side; "" stands for what is no subject's."""
        return bool(subject) == (self is Side.PARTICIPANTS)

    @property
    def option(self) -> str:
        """The option that it was made of, for people."""
        return "--shard"


Share = Shard | Some | Side


def read_share(text: str) -> Share:
    """A share as the command line names it; everything, if it does not.

    Raises:
        ConfigError: there is no such share.

    >>> read_share("participants").has("sub-01"), read_share("project").has("sub-01"), read_share("1/1").has("sub-01")
    (True, False, True)
    """
    sides = {side.value: side for side in Side}
    return sides.get(text) or (Shard.read(text) if text else WHOLE)
