"""The rows of ``[fields]`` in ``mapping.toml``: facts of a dataset turned into XNAT's own fields, one by one. Pure.

::

    {"RepetitionTime": Fact(2.5, "RepetitionTime in task-rest_bold.json")}
    ──the row "parameters/tr" = { from = "RepetitionTime", as = "number", times = 1000 }──▶
    Field("parameters/tr", "2500", "RepetitionTime in task-rest_bold.json")
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xnat_bids_push.errors import MappingError
from xnat_bids_push.model import Field


@dataclass(frozen=True, slots=True)
class Fact:
    """A value of the dataset, and for people, where it was found."""

    value: object
    source: str


Facts = Mapping[str, Fact]
"""Facts by their key: a sidecar's own keys, and with a dot those of other origin, ``image.voxel_x``."""


# ------------------------------------------------------------------ the rows


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``[fields]``: one field, and the fact that it is made from.

    Args:
        path: below the item's type; with ``{n}`` in it, the fact is a list, and the row makes a field of each element.
        sources: keys of facts; of several, the first that gives a value counts.
        kind: one of `KINDS`.
        times: what a number is multiplied with.
        needs: keys of facts that must be known too.
        constant: the value itself, in place of sources.
    """

    path: str
    sources: tuple[str, ...] = ()
    kind: str = "text"
    times: float = 1
    needs: tuple[str, ...] = ()
    constant: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The whole of ``[fields]``, ``[words]`` and ``[withheld]``, checked.

    Args:
        groups: rows by XNAT type, or by datatype.
        like: for a type, further types whose rows hold for it too.
        withheld: patterns of sidecar keys that are never sent of themselves (``always``), or only as far as people and
            dates are told (``people``, ``dates``).
        words: for gender and handedness, XNAT's words, and what datasets write for them.
    """

    groups: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    like: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def rows(self, *groups: str) -> tuple[Row, ...]:
        """The rows of some groups; of two for one field, the later."""
        names = [name for group in groups for name in (*self.like.get(group, ()), group)]
        return tuple({row.path: row for name in names for row in self.groups.get(name, ())}.values())


def read_rules(raw: Mapping[str, object]) -> Rules:
    """The rules in a mapping table's TOML.

    Raises:
        MappingError: naming every row that is wrong.
    """
    groups: dict[str, tuple[Row, ...]] = {}
    like: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for group, rows in _tables(raw, "fields").items():
        good: list[Row] = []
        for path, row in rows.items():
            try:
                if path == "like":
                    like[group] = _words(row)
                else:
                    good.append(_row(path, row))
            except (TypeError, ValueError) as error:
                faults.append(f"[fields.{group}] {path}: {error}")
        groups[group] = tuple(good)
    faults += [
        f"[fields.{name}] like: no [fields.{other}]" for name in like for other in like[name] if other not in groups
    ]
    if faults:
        raise MappingError("\n".join(faults))
    words: dict[str, Mapping[str, tuple[str, ...]]] = {"gender": {}, "handedness": {}}
    for name, meanings in _tables(raw, "words").items():
        words[name] = {word: _words(written) for word, written in meanings.items()}
    withheld = {reason: _words(row) for reason, row in _table(raw, "withheld").items()}
    return Rules(groups, like, withheld, words)


def _tables(raw: Mapping[str, object], name: str) -> Mapping[str, Mapping[str, object]]:
    section = _table(raw, name)
    return {group: _table(section, group) for group in section}


def _table(raw: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = raw.get(name, {})
    if not isinstance(section, Mapping):
        raise TypeError(f"[{name}] is no table")
    return section


_COLUMNS = frozenset({"from", "as", "times", "needs", "is"})


def _row(path: str, row: object) -> Row:
    if not isinstance(row, Mapping):
        raise TypeError("is no row")
    if unknown := row.keys() - _COLUMNS:
        raise ValueError(f"there is no {', '.join(sorted(unknown))}")
    if ("from" in row) == ("is" in row):
        raise ValueError("one of `from` and `is` is needed")
    kind, times = row.get("as", "text"), row.get("times", 1)
    if kind not in KINDS:
        raise ValueError(f"as {kind!r}: one of {', '.join(KINDS)}")
    if not isinstance(times, int | float) or not math.isfinite(times):
        raise ValueError(f"times {times!r}: is no number")
    return Row(path, _words(row.get("from", [])), kind, times, _words(row.get("needs", [])), str(row.get("is", "")))


def _words(value: object) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise TypeError(f"{value!r} is neither a word nor a list of words")
    return tuple(words)


# ------------------------------------------------------------------ one value


def as_number(value: object) -> float | None:
    """A finite number, also where it is written as text; None for anything else.

    >>> as_number("2.5"), as_number(True), as_number(float("inf")), as_number("n/a")
    (2.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def write_number(value: float) -> str:
    """A number as XNAT takes it, as exact as its single precision, and without the noise of binary fractions.

    >>> write_number(0.00246 * 1000), write_number(2.0), write_number(3e-06)
    ('2.46', '2', '3e-06')
    """
    return f"{value:.9g}" if value else "0"


def _number(value: object, times: float) -> str | None:
    number = as_number(value)
    if number is None or number < 0 or not math.isfinite(number * times):
        return None
    return write_number(number * times)


_LARGEST = 2**31 - 1
"""XNAT keeps integers in 32 bits."""


def _integer(value: object, times: float) -> str | None:
    number = as_number(value)
    if number is None or not (0 <= number * times <= _LARGEST) or number * times != round(number * times):
        return None
    return str(round(number * times))


def _tesla(value: object, times: float) -> str | None:
    """Scanners write whole numbers with a decimal, and people search for what scanners write."""
    text = _number(value, times)
    return f"{text}.0" if text and text.isdecimal() else text


def write_text(value: object, _times: float = 1) -> str | None:
    """Words as they are, and of several the list as DICOM writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return write_number(value) if as_number(value) is not None else None
        case str():
            return clean(value) or None
        case [*items] if items and all(isinstance(item, str | int | float) for item in items):
            words = [write_text(item) for item in items]
            return "\\".join(word for word in words if word) or None
        case _:
            return None


_UNFIT = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Text without what XML cannot hold or would change; "" for BIDS's ``n/a``."""
    words = " ".join((text if text.isprintable() else _UNFIT.sub(" ", text)).split())
    return "" if words.casefold() == "n/a" else words


_DIRECTION = re.compile(r"([ijkxyz])([+-]?)")


def _object(value: object, _times: float) -> str | None:
    """A value with parts of its own, as JSON."""
    if not isinstance(value, dict | list):
        return write_text(value)
    try:
        return clean(json.dumps(value, allow_nan=False, ensure_ascii=False)) if value else None
    except ValueError:
        return None


def _axis(value: object, _times: float) -> str | None:
    match = _DIRECTION.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def _positive(value: object, _times: float) -> str | None:
    match = _DIRECTION.fullmatch(value) if isinstance(value, str) else None
    return str(int(match[2] != "-")) if match else None


KINDS: Mapping[str, Callable[[object, float], str | None]] = {
    "text": write_text,
    "number": _number,
    "integer": _integer,
    "tesla": _tesla,
    "object": _object,
    "axis": _axis,
    "positive": _positive,
}
"""How a fact's value becomes a field's: a function each, which answers None where the value is not of that kind."""


# ------------------------------------------------------------------ rows applied


def fields_of(facts: Facts, rows: Iterable[Row]) -> tuple[Field, ...]:
    """The fields that rows make of facts."""
    return tuple(field for row in rows for field in made(row, facts)[1])


def made(row: Row, facts: Facts) -> tuple[str, Sequence[Field]]:
    """The fields that a row makes, and the key of the fact that it made them of."""
    if not all(key in facts for key in row.needs):
        return "", ()
    if row.constant:
        source = facts[row.needs[0]].source if row.needs else "the mapping table"
        return "", [Field(row.path, row.constant, source)]
    for key in row.sources:
        if key in facts and (fields := _converted(row, facts[key])):
            return key, fields
    return "", ()


def _converted(row: Row, fact: Fact) -> Sequence[Field]:
    convert = KINDS[row.kind]
    if "{n}" in row.path and isinstance(fact.value, list):
        values = [convert(item, row.times) for item in fact.value]
        paths = (row.path.replace("{n}", str(number)) for number in range(1, len(values) + 1))
        fields = [
            Field(path, value, fact.source) for path, value in zip(paths, values, strict=True) if value is not None
        ]
        return fields if len(fields) == len(values) else []
    value = convert(fact.value, row.times)
    return [Field(row.path, value, fact.source)] if value is not None else []


PARAMETER = "parameters/addParam[name={}]"
"""Where XNAT keeps what it has no field for."""


def parameters(facts: Facts, keys: Iterable[str]) -> Iterator[Field]:
    """Additional parameters, named as in BIDS and in BIDS's units."""
    for key in keys:
        value = facts[key].value
        text = _list_text(value) if isinstance(value, list) else write_text(value)
        if text and re.fullmatch(r"[A-Za-z0-9_]+", key):
            yield Field(PARAMETER.format(key), text, facts[key].source)


def _list_text(values: list[object]) -> str | None:
    numbers = [as_number(value) for value in values]
    return json.dumps(numbers) if numbers and None not in numbers else None
