"""What may tell who a participant is: the rules of ``privacy.toml``, and what values look like. Pure.

A value is judged by where it stands and by its shape, and is never quoted.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Issue, Privacy, Severity
from xnat_bids_push.report import count

EARLIEST = 1925
"""Dates of earlier years are shifted ones: that is how BIDS tells them apart."""

SHOWN = 3
"""Files that are named for each kind; the rest is counted."""


class Grade(StrEnum):
    """How much a kind of content tells."""

    IDENTIFYING = "identifying"
    INDIRECT = "indirect"


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of ``[kinds]``."""

    grade: Grade
    says: str


@dataclass(frozen=True, slots=True)
class Hint:
    """Something that may tell who somebody is.

    Args:
        kind: a name of ``[kinds]``.
        place: the key, column or field in which it stands.
    """

    kind: str
    place: str


@dataclass(frozen=True, slots=True)
class PrivacyRules:
    """The table: kinds, and the words of keys and columns that they stand under."""

    kinds: Mapping[str, Kind]
    sidecar: Mapping[str, str]
    columns: Mapping[str, str]


@cache
def privacy_rules() -> PrivacyRules:
    """The rules that come with the package."""
    raw = tomllib.loads(resources.files(__package__).joinpath("privacy.toml").read_text("utf-8"))
    kinds = {name: Kind(Grade(row["grade"]), row["says"]) for name, row in raw["kinds"].items()}
    return PrivacyRules(kinds, _by_word(raw["sidecar"]), _by_word(raw["columns"]))


def _by_word(table: Mapping[str, list[str]]) -> dict[str, str]:
    return {word_of(name): kind for kind, names in table.items() for name in names}


def word_of(name: str) -> str:
    """A key or a column without case and signs.

    >>> word_of("Patient_Name")
    'patientname'
    """
    return re.sub(r"[\W_]", "", name).casefold()


# ------------------------------------------------------------------ what values look like

_NOTHING = frozenset(
    {"na", "nan", "none", "null", "unknown", "anonymous", "anonymized", "anonymised", "anon", "removed", "deidentified"}
    | {"redacted", "hidden", "x", "xx", "xxx", "xxxx", "0", "00", "000", "test", "phantom", "noname"}
)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b")
_PERSON = re.compile(r"[^\W\d_]{2,}\^[^\W\d_]+")
"""A name as DICOM writes it: Doe^John."""
_YEAR_FIRST = re.compile(r"(?<!\d)(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)")
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_IN_WORDS = re.compile(r"(?<!\d)(\d{1,2})[- ]?([A-Za-z]{3})[a-z]*[- ,]{0,2}(\d{4})(?!\d)")
_COMPACT = re.compile(r"(?<![\d.])(\d{4})(\d\d)(\d\d)(?:T?\d{4,6}(?:\.\d+)?)?(?!\d)")
_MONTHS = dict(zip(("jan", "feb", "mar", "apr", "may", "jun"), range(1, 7), strict=True)) | dict(
    zip(("jul", "aug", "sep", "oct", "nov", "dec"), range(7, 13), strict=True)
)
_LONGEST = 4096
"""Characters of a value that are looked at."""


def is_nothing(value: str, own: frozenset[str]) -> bool:
    """Whether a value names nobody: it is empty, says so, or is the participant's own label."""
    word = word_of(value[:_LONGEST])
    return not word or word in _NOTHING or word in own


def has_real_date(text: str) -> bool:
    """Whether a text holds a date that is not shifted.

    >>> [has_real_date(text) for text in ("2011-03-04T10:00:00", "04.03.2011", "1911-03-04", "TE=2011", "20110304")]
    [True, True, False, False, True]
    """
    text = text[:_LONGEST]
    found = [(year, month, day) for year, _, month, day in _YEAR_FIRST.findall(text)]
    found += [(year, month, day) for year, month, day in _COMPACT.findall(text)]
    for one, _, other, year in _YEAR_LAST.findall(text):
        found += [(year, one, other), (year, other, one)]
    found += [(year, str(_MONTHS.get(month.casefold(), 0)), day) for day, month, year in _IN_WORDS.findall(text)]
    return any(_is_real(*map(int, parts)) for parts in found)


def _is_real(year: int, month: int, day: int) -> bool:
    try:
        return EARLIEST <= date(year, month, day).year < 2100
    except ValueError:
        return False


def text_hints(text: str, place: str, own: frozenset[str]) -> Iterator[Hint]:
    """What a free text shows by its shape alone."""
    if is_nothing(text, own):
        return
    if _EMAIL.search(text[:_LONGEST]):
        yield Hint("contact", place)
    if _PERSON.search(text[:_LONGEST]):
        yield Hint("name", place)
    if has_real_date(text):
        yield Hint("date", place)


def name_hints(path: str) -> Iterator[Hint]:
    """What a file's own name tells: sessions may be called by their dates."""
    if any(has_real_date(label) for label in re.findall(r"(?:^|[/_])ses-([^/_]+)", path)):
        yield Hint("date", "the session's label")


def sidecar_hints(content: object, own: frozenset[str]) -> Iterator[Hint]:
    """What a sidecar's keys and values tell, at any depth."""
    rules, waiting, number = privacy_rules().sidecar, [("", content)], 0
    while waiting and number < _MOST_VALUES:
        key, value = waiting.pop()
        number += 1
        if isinstance(value, dict):
            waiting += [(str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value[:_MOST_ITEMS]]
        elif isinstance(value, str | int) and not isinstance(value, bool):
            yield from _keyed(rules, key, str(value), own)


_MOST_VALUES = 20_000
_MOST_ITEMS = 20
"""Of a list: the rest of it is of the same kind."""


def _keyed(rules: Mapping[str, str], key: str, value: str, own: frozenset[str]) -> Iterator[Hint]:
    word = word_of(key)
    kind = rules.get(word)
    if kind in ("birth", "age"):
        if _tells(kind, value):
            yield Hint(kind, key)
    elif kind is not None:
        if not is_nothing(value, own):
            yield Hint(kind, key)
    elif word.endswith(("date", "datetime")):
        if has_real_date(value):
            yield Hint("date", key)
    elif own and _EMAIL.search(value[:_LONGEST]):  # elsewhere, it is whom to ask about the dataset
        yield Hint("contact", key)


def _tells(kind: str, value: str) -> bool:
    if kind == "birth":
        return has_real_date(value)
    try:
        return float(value) > 89
    except ValueError:
        return False


def table_hints(columns: Mapping[str, Iterable[str]], own: frozenset[str]) -> Iterator[Hint]:
    """What the columns of a table of people tell: by their names, and by the shape of their values."""
    rules = privacy_rules().columns
    for name, values in columns.items():
        kind = rules.get(word_of(name))
        for value in values:
            hints = [*_keyed(rules, name, value, own)] if kind else [*text_hints(value, name, own)]
            yield from hints
            if hints:
                break


# ------------------------------------------------------------------ waivers


@dataclass(frozen=True, slots=True)
class Waiver:
    """Somebody's word that content may leave.

    Args:
        kinds: what it covers; empty for every kind.
        paths: patterns of the files that it covers; empty for all.
    """

    who: str
    when: str
    why: str
    kinds: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def covers(self, kind: str, path: str) -> bool:
        """Whether a finding is covered."""
        by_kind = not self.kinds or kind in self.kinds
        return by_kind and (not self.paths or any(fnmatchcase(path, pattern) for pattern in self.paths))

    def to_json(self) -> dict[str, object]:
        """For the report."""
        return {"who": self.who, "when": self.when, "why": self.why, "kinds": self.kinds, "paths": self.paths}


def waiver_of(content: Mapping[str, object], known: Iterable[str]) -> Waiver:
    """A waiver from what a file says.

    Raises:
        ConfigError: it does not say who, when and why, or names what there is not.
    """
    texts = {name: str(content.get(name, "")).strip() for name in ("who", "when", "why")}
    lists = {name: content.get(name, []) for name in ("kinds", "paths")}
    faults = [f"it does not say {name}" for name, text in texts.items() if not text]
    faults += [f"there is no {name!r}" for name in content if name not in texts | lists]
    faults += [f"{name} is no list of words" for name, value in lists.items() if not _are_words(value)]
    if not faults and isinstance(lists["kinds"], list):
        names = ", ".join(known)
        faults += [f"there is no kind {kind!r} (there are {names})" for kind in lists["kinds"] if kind not in known]
    if faults:
        raise ConfigError("; ".join(faults))
    kinds, paths = (tuple(value) for value in lists.values() if isinstance(value, list))
    return Waiver(texts["who"], texts["when"], texts["why"], kinds, paths)


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


@dataclass(frozen=True, slots=True)
class Guard:
    """What is done about content that may tell who somebody is."""

    privacy: Privacy = Privacy.WARN
    waiver: Waiver | None = None


# ------------------------------------------------------------------ the sum


@dataclass(slots=True)
class _Sum:
    """What was found of one kind."""

    files: int = 0
    waived: int = 0
    first: list[str] = field(default_factory=list)
    places: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Findings:
    """Everything that was found in a dataset, by kind. Its size does not grow with the dataset."""

    waiver: Waiver | None = None
    sums: dict[str, _Sum] = field(default_factory=dict)

    def add(self, path: str, hints: Iterable[Hint]) -> None:
        """Count what one file shows: each kind once."""
        places: dict[str, str] = {}
        for hint in hints:
            places.setdefault(hint.kind, hint.place)
        for kind, place in places.items():
            known = self.sums.setdefault(kind, _Sum())
            if self.waiver is not None and self.waiver.covers(kind, path):
                known.waived += 1
                continue
            known.files += 1
            if len(known.first) < SHOWN:
                known.first.append(path)
                known.places.setdefault(place)

    def issues(self, privacy: Privacy) -> Iterator[Issue]:
        """One for each kind that is not waived. Most datasets hold something indirect: `warn` leaves it out."""
        kinds = privacy_rules().kinds
        for kind in (one for one in kinds if one in self.sums and self.sums[one].files):
            known = self.sums[kind]
            strict, identifies = privacy is Privacy.REQUIRE, kinds[kind].grade is Grade.IDENTIFYING
            if not (strict or identifies):
                continue
            stops = strict and identifies
            more = known.files - 1
            where = f" (in {', '.join(known.places)})" if known.places else ""
            message = f"holds {kinds[kind].says}{where}" + (f"; so do {count(more, 'more file')}" if more else "")
            way_on = ": remove it, or waive it with --privacy-waiver" if stops else ""
            severity = Severity.ERROR if stops else Severity.WARNING
            yield Issue(severity, known.first[0], f"{message} [{kind}]{way_on}")

    def to_json(self) -> dict[str, object]:
        """For the report: counts by kind, and the waiver."""
        found = {kind: {"files": one.files, "waived": one.waived} for kind, one in sorted(self.sums.items())}
        return {"found": found, "waiver": self.waiver.to_json() if self.waiver else None}
