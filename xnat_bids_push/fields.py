"""What a dataset says of a scan, a session or a subject, as facts for the rows of ``[fields]``. Pure.

A row turns one fact into one field. What needs several facts (the difference of two echo times, a date and a time) is a
fact of its own, and a function here makes it. What is not to be told never becomes a fact.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from xnat_bids_push.model import Dates, Field, Scan
from xnat_bids_push.names import BidsName
from xnat_bids_push.rules import Fact, Facts, Row, Rules, as_number, clean, fields_of, made, parameters, write_text

FIRST_REAL_YEAR = 1925
"""BIDS has dates that were shifted for anonymity before this year, so that nobody takes them for real ones."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What XNAT's fields tell of people, and how much.

    Args:
        demographics: whether ``participants.tsv`` becomes demographics, group and age.
        all_metadata: whether every other single value of a sidecar becomes an additional parameter.
        participant_fields: columns of ``participants.tsv`` that become fields of the subject.
    """

    demographics: bool = True
    dates: Dates = Dates.ALL
    all_metadata: bool = False
    participant_fields: tuple[str, ...] = ()


# ------------------------------------------------------------------ evidence


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of an image says.

    Args:
        shape: voxels along each dimension.
        spacing: of the voxels, along each dimension; in mm, then in seconds, or 0 where the file does not say.
        slices: the axis of the body along which the third dimension mostly goes: 0 from left to right, 1 from back to
            front, 2 from foot to head; None where the file does not say.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    slices: int | None = None


@dataclass(frozen=True, slots=True)
class SignalHeader:
    """What the header of a recording of signals says; None where it does not.

    Args:
        rate: samples per second of every channel.
        duration: in seconds.
    """

    rate: float | None = None
    channels: int | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """All that the dataset says of one scan.

    Args:
        name: the recording's, taken apart.
        sidecar: merged by the inheritance rule.
        bvals: the values of its ``.bval`` file.
        row: of ``scans.tsv``.
        sample: the row of ``samples.tsv``.
    """

    scan: Scan
    name: BidsName
    datatype: str
    modality: str
    sidecar: Facts = field(default_factory=dict)
    image: ImageHeader | None = None
    signal: SignalHeader | None = None
    bvals: Fact | None = None
    row: Facts = field(default_factory=dict)
    sample: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """A row of ``participants.tsv`` (or of ``sessions.tsv``), and what the file's ``.json`` says of its columns.

    Args:
        row: by column, in small letters; without ``n/a`` and empty cells.
        columns: for each column, ``Levels`` and ``Units``.
    """

    row: Facts = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def units(self, column: str) -> str:
        """The unit of a column, or ""."""
        units = self.columns.get(column, {}).get("Units")
        return units.strip() if isinstance(units, str) else ""

    def level(self, column: str, value: str) -> str:
        """What a value of a column means, in words, or ""."""
        levels = self.columns.get(column, {}).get("Levels")
        meaning = levels.get(value) if isinstance(levels, dict) else None
        if isinstance(meaning, dict):
            meaning = meaning.get("Description") or meaning.get("LongName")
        return meaning.strip() if isinstance(meaning, str) else ""


# ------------------------------------------------------------------ a scan


def scan_facts(recording: Recording, telling: Telling) -> dict[str, Fact]:
    """All facts of a recording that may be told: those that were found, and those that are made of several."""
    facts = {key: fact for key, fact in recording.sidecar.items() if "." not in key and _says_something(fact.value)}
    for make in (_name, _geometry, _echoes, _diffusion, _frames, _signal, _sample):
        facts.update(make(recording))
    start = _moment(recording.row.get("acq_time"), telling)
    if start is not None:
        facts.update(_start("scan", start))
        facts.update(_pet_times(recording, start))
    return facts


def _says_something(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and not clean(value))


def scan_fields(recording: Recording, facts: Facts, *, rules: Rules, telling: Telling) -> tuple[Field, ...]:
    """XNAT's own fields of a scan; what is a list where XNAT has one number becomes an additional parameter."""
    rows = rules.rows("xnat:imageScanData", recording.scan.xsi_type, recording.datatype)
    results = [made(row, facts) for row in rows]
    used = {key for key, _ in results}
    numeric = dict.fromkeys(key for row in rows if _takes_one_number(row) for key in row.sources)
    more = [key for key in numeric if key in facts and isinstance(facts[key].value, list)]
    if telling.all_metadata:
        others = (key for key in recording.sidecar if key in facts and key not in used)
        more += [
            key for key in others if _is_single(facts[key].value) and _may_be_told(key, rules=rules, telling=telling)
        ]
    fields = {field.path: field for field in parameters(facts, more)}
    fields |= {field.path: field for _, several in results for field in several}
    return tuple(fields.values())


def _is_single(value: object) -> bool:
    return isinstance(value, str | int | float)


def _takes_one_number(row: Row) -> bool:
    return row.kind == "number" and row.path.startswith("parameters/") and "{n}" not in row.path


def _may_be_told(key: str, *, rules: Rules, telling: Telling) -> bool:
    told = {"always": False, "people": telling.demographics, "dates": telling.dates == Dates.ALL}
    return all(
        told.get(reason, False) or not any(fnmatchcase(key, pattern) for pattern in patterns)
        for reason, patterns in rules.withheld.items()
    )


_NAME = "the file's name"


def _name(recording: Recording) -> Iterator[tuple[str, Fact]]:
    yield "name.datatype", Fact(recording.datatype, "the file's folder")
    yield "name.modality", Fact(recording.modality, "the file's folder")
    for key, value in recording.name.entities:
        yield f"name.{key}", Fact(value, _NAME)


_ORIENTATIONS = ("Sag", "Cor", "Tra")
_AXES = "xyz"


def _geometry(recording: Recording) -> Iterator[tuple[str, Fact]]:
    """What an image's header says of voxels, frames and repetition."""
    image = recording.image
    if image is None:
        return
    where = "of the image's header"
    for number, (axis, size, spacing) in enumerate(zip(_AXES, image.shape, image.spacing, strict=False), 1):
        yield f"image.size_{axis}", Fact(size, f"dim[{number}] {where}")
        yield f"image.voxel_{axis}", Fact(spacing, f"pixdim[{number}] {where}")
        yield f"image.view_{axis}", Fact(math.floor(size * spacing + 0.5), f"dim[{number}] · pixdim[{number}] {where}")
    volumes = image.shape[3] if len(image.shape) > 3 else 1
    if volumes > 1:
        yield "image.frames", Fact(volumes, f"dim[4] {where}")
    elif len(image.shape) > 2:
        yield "image.frames", Fact(image.shape[2], f"dim[3] {where}")
    yield "image.volumes", Fact(volumes, f"dim[4] {where}")
    if volumes > 1 and image.spacing[3] > 0:
        yield "image.repetition", Fact(image.spacing[3], f"pixdim[4] {where}")
    if image.slices is not None:
        yield "image.orientation", Fact(_ORIENTATIONS[image.slices], f"the orientation {where}")


def _echoes(recording: Recording) -> Iterator[tuple[str, Fact]]:
    """The difference of the two echo times of a phase difference."""
    first, second = (recording.sidecar.get(key) for key in ("EchoTime1", "EchoTime2"))
    if first is None or second is None:
        return
    numbers = as_number(first.value), as_number(second.value)
    if numbers[0] is not None and numbers[1] is not None:
        yield "echo.difference", Fact(abs(numbers[1] - numbers[0]), f"EchoTime2 - {first.source}")


_WEIGHTED = 50
"""From this b value on, in s/mm², a volume has a direction."""


def _diffusion(recording: Recording) -> Iterator[tuple[str, Fact]]:
    fact = recording.bvals
    if fact is None or not isinstance(fact.value, list):
        return
    values = [round(value) for value in map(as_number, fact.value) if value is not None]
    if values:
        yield "diffusion.values", Fact(",".join(map(str, sorted(set(values)))), fact.source)
        yield "diffusion.maximum", Fact(max(values), fact.source)
        yield "diffusion.directions", Fact(sum(value > _WEIGHTED for value in values), fact.source)


def _frames(recording: Recording) -> Iterator[tuple[str, Fact]]:
    """The frames of a PET recording: only if starts and lengths go together."""
    starts, lengths = (recording.sidecar.get(key) for key in ("FrameTimesStart", "FrameDuration"))
    if starts is None or lengths is None or not (isinstance(starts.value, list) and isinstance(lengths.value, list)):
        return
    count = len(lengths.value)
    numbers = [as_number(value) for value in (*starts.value, *lengths.value)]
    if count and len(starts.value) == count and all(number is not None and number >= 0 for number in numbers):
        yield "frames.count", Fact(count, lengths.source)
        yield "frames.starts", starts
        yield "frames.lengths", lengths
        yield "frames.units", Fact(["sec"] * count, lengths.source)


_COUNT = re.compile(r"[A-Za-z]+ChannelCount")
_TOTAL = "MotionChannelCount"
"""BIDS counts channels by type, but for this one, which counts all."""


def _signal(recording: Recording) -> Iterator[tuple[str, Fact]]:
    """Rate, channels and duration, from the header where the sidecar is silent."""
    sidecar, header = recording.sidecar, recording.signal or SignalHeader()
    where = "the recording's header"
    rate = _first_number(sidecar.get("SamplingFrequency"), header.rate, where)
    if rate is not None and rate.value:
        yield "signal.rate", rate
        yield "signal.interval", Fact(1 / (as_number(rate.value) or 1), f"1 / {rate.source}")
    duration = _first_number(sidecar.get("RecordingDuration"), header.duration, where)
    if duration is not None:
        yield "signal.duration", duration
    channels = _channel_count(sidecar) or (Fact(header.channels, where) if header.channels else None)
    if channels is not None:
        yield "signal.channels", channels


def _first_number(told: Fact | None, measured: float | None, where: str) -> Fact | None:
    if told is not None and (as_number(told.value) or 0) > 0:
        return told
    return Fact(measured, where) if measured and measured > 0 else None


def _channel_count(sidecar: Facts) -> Fact | None:
    """The number of all channels, from the numbers of each type."""
    keys = [_TOTAL] if _TOTAL in sidecar else [key for key in sidecar if _COUNT.fullmatch(key)]
    counts = {key: count for key in keys if (count := as_number(sidecar[key].value)) is not None and count > 0}
    if not counts:
        return None
    *others, last = counts
    return Fact(sum(counts.values()), " + ".join([*others, sidecar[last].source]))


def _sample(recording: Recording) -> Iterator[tuple[str, Fact]]:
    for column, fact in recording.sample.items():
        yield f"sample.{column}", fact


# ------------------------------------------------------------------ dates


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, and the time of day if it is known."""

    when: datetime
    has_time: bool
    source: str

    @property
    def shifted(self) -> bool:
        """Whether the date was shifted for anonymity."""
        return self.when.year < FIRST_REAL_YEAR


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d?:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


def _moment(fact: Fact | None, telling: Telling) -> Moment | None:
    """A table's date and time, as local as it is written; None if it is none, or is not to be told."""
    match = _MOMENT.fullmatch(fact.value.strip()) if fact is not None and isinstance(fact.value, str) else None
    if fact is None or match is None:
        return None
    try:
        when = datetime.strptime(f"{match[1]} {match[2] or '00:00:00'}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # local
    except ValueError:
        return None
    moment = Moment(when, match[2] is not None, fact.source)
    told = telling.dates == Dates.ALL or (telling.dates == Dates.SHIFTED and moment.shifted)
    return moment if told else None


def _start(whose: str, moment: Moment) -> Iterator[tuple[str, Fact]]:
    yield f"{whose}.date", Fact(moment.when.date().isoformat(), moment.source)
    if moment.has_time:
        yield f"{whose}.time", Fact(moment.when.time().isoformat(), moment.source)
    if moment.shifted:
        yield f"{whose}.shifted", Fact("true", moment.source)


_CLOCK = re.compile(r"(\d\d?):(\d\d):(\d\d)(?:\.\d+)?", re.ASCII)


def _pet_times(recording: Recording, start: Moment) -> Iterator[tuple[str, Fact]]:
    """Time zero of a PET recording, and when it and the injection began, on the day of the recording."""
    zero = recording.sidecar.get("TimeZero")
    match = _CLOCK.fullmatch(zero.value) if zero is not None and isinstance(zero.value, str) else None
    if zero is None or match is None:
        return
    hours, minutes, seconds = (int(word) for word in match.groups())
    midnight = start.when.replace(hour=0, minute=0, second=0)
    for key, offset in (
        ("zero", 0.0),
        ("scan", _offset(recording, "ScanStart")),
        ("injection", _offset(recording, "InjectionStart")),
    ):
        if offset is not None and hours < 24 and minutes < 60 and seconds < 60:
            try:
                when = midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds + round(offset))
            except OverflowError:
                continue
            yield f"pet.{key}", Fact(when.isoformat(), f"{zero.source}, and {start.source}")


def _offset(recording: Recording, key: str) -> float | None:
    fact = recording.sidecar.get(key)
    return as_number(fact.value) if fact is not None else None


# ------------------------------------------------------------------ a session


@dataclass(frozen=True, slots=True)
class Visit:
    """What the tables say of one BIDS session.

    Args:
        label: of the session, without ``ses-``; "" if there is none.
        row: of ``sessions.tsv``.
        person: whose session it is.
    """

    label: str = ""
    row: Person = field(default_factory=Person)
    person: Person = field(default_factory=Person)


def session_facts(scans: Sequence[Facts], visit: Visit, *, telling: Telling) -> dict[str, Fact]:
    """The facts of an experiment alone that may be told: of its session, and of the participant then."""
    facts: dict[str, Fact] = {}
    if visit.label:
        facts["session.label"] = Fact(visit.label, "the session's folder")
    facts.update(_session_start(scans, visit, telling=telling))
    if telling.demographics:
        age = _age(visit.row)[0] or _age(visit.person)[0]
        if age is not None:
            facts["session.age"] = age
    return facts


def session_fields(xsi_type: str, own: Facts, *, scans: Sequence[Facts], rules: Rules) -> tuple[Field, ...]:
    """XNAT's own fields of an experiment: from its own facts, and from what its scans agree on."""
    rows = rules.rows("xnat:imageSessionData", xsi_type)
    keys = {key for row in rows for key in (*row.sources, *row.needs)}
    agreed = {key: fact for key in keys if (fact := _agreed(key, scans)) is not None}
    return fields_of(agreed | dict(own), rows)


def _agreed(key: str, scans: Sequence[Facts]) -> Fact | None:
    """The fact that all scans that have it agree on."""
    found = [facts[key] for facts in scans if key in facts]
    if not found or any(fact.value != found[0].value for fact in found):
        return None
    source, others = found[0].source, len(found) - 1
    return Fact(found[0].value, f"{source} (and {others} more)" if others else source)


def _session_start(scans: Sequence[Facts], visit: Visit, *, telling: Telling) -> Iterator[tuple[str, Fact]]:
    """The start of the first of the scans, or what ``sessions.tsv`` says."""
    dated = [facts for facts in scans if "scan.date" in facts]
    if dated:
        first = min(
            dated, key=lambda facts: [str(facts[key].value) for key in ("scan.date", "scan.time") if key in facts]
        )
        for key in ("date", "time", "shifted"):
            if f"scan.{key}" in first:
                yield f"session.{key}", first[f"scan.{key}"]
        return
    moment = _moment(visit.row.row.get("acq_time"), telling)
    if moment is not None:
        yield from _start("session", moment)


# ------------------------------------------------------------------ a person


def person_facts(person: Person, *, rules: Rules, telling: Telling) -> tuple[dict[str, Fact], tuple[str, ...]]:
    """All facts of a participant that may be told, and notes on what could not be understood."""
    if not telling.demographics:
        return {}, ()
    facts = {f"participant.{column}": fact for column, fact in person.row.items()}
    facts.update(_measures(person))
    age, age_note = _age(person)
    gender, gender_note = _in_words(person, ("sex", "gender"), words=rules.words["gender"])
    hand, hand_note = _in_words(person, ("handedness", "dominant_hand", "hand"), words=rules.words["handedness"])
    if age is not None:
        facts["person.age"] = Fact(math.floor(as_number(age.value) or 0), age.source)
    if gender is not None:
        facts["person.gender"] = gender
    if hand is not None:
        facts["person.handedness"] = hand
    return facts, tuple(note for note in (age_note, gender_note, hand_note) if note)


def subject_fields(facts: Facts, person: Person, *, rules: Rules, telling: Telling) -> tuple[Field, ...]:
    """XNAT's own fields of a subject, and the columns of ``participants.tsv`` that were asked for."""
    asked = ((column, person.row.get(column.casefold())) for column in telling.participant_fields)
    more = (_column_field(column, fact) for column, fact in asked if fact is not None)
    return fields_of(facts, rules.rows("xnat:subjectData")) + tuple(more)


def _column_field(column: str, fact: Fact) -> Field:
    """A field for a column; XNAT's names of fields hold small letters, digits and ``_``."""
    name = re.sub(r"[^a-z0-9_]", "_", column.casefold())
    return Field(f"fields/field[name={name}]", write_text(fact.value) or "", fact.source)


def _measures(person: Person) -> Iterator[tuple[str, Fact]]:
    """The units of height and weight."""
    for column, usual in (("height", "cm"), ("weight", "kg")):
        fact = person.row.get(column)
        if fact is not None and as_number(fact.value) is not None:
            yield f"participant.{column}.units", Fact(person.units(column) or usual, fact.source)


_Understood = tuple[Fact | None, str]
"""A fact, and a note if the value was not what BIDS expects."""

_IN_A_YEAR = {"": 1, "y": 1, "yr": 1, "year": 1, "mo": 12, "month": 12, "w": 52.1775, "wk": 52.1775, "week": 52.1775}
_IN_A_YEAR |= {"d": 365.25, "day": 365.25}
_AND_OLDER = re.compile(r"(\d+(?:\.\d+)?) *\+")


def _age(person: Person) -> _Understood:
    """The age in years. BIDS writes 89+ for all who are older."""
    fact = person.row.get("age")
    if fact is None:
        return None, ""
    text, units = str(fact.value), person.units("age")
    older = _AND_OLDER.fullmatch(text)
    number = as_number(older[1] if older else text)
    in_a_year = _IN_A_YEAR.get(re.split(r"[^a-z]", units.casefold(), maxsplit=1)[0].removesuffix("s"))
    if number is None or number < 0:
        return None, f"the age {text!r} is no number, and is not sent"
    if in_a_year is None:
        return None, f"the age {text!r} is in an unknown unit, {units!r}, and is not sent"
    return Fact(number / in_a_year, fact.source), f"the age {text!r} is sent as {older[1]}" if older else ""


def _in_words(person: Person, columns: Iterable[str], *, words: Mapping[str, tuple[str, ...]]) -> _Understood:
    """XNAT's word for a code: by what the column's Levels say that it means, else as it is commonly meant.

    A meaning that has no word of its own is XNAT's word for ``*``.
    """
    column = next((column for column in columns if column in person.row), "")
    if not column:
        return None, ""
    fact = person.row[column]
    code = str(fact.value)
    level = person.level(column, code).casefold()
    for text in (level, code.casefold(), "*" if level else ""):
        for word, written in words.items():
            if text in written:
                return Fact(word, fact.source), ""
    return None, f"the {column} {code!r} means nothing that XNAT has a word for, and is not sent"
