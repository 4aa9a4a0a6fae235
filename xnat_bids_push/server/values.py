"""Typed values: what a field accepts, and what it makes of it.

XNAT is lenient with dates and strict with numbers; a few values make it fail instead of refusing.

>>> from xnat_bids_push.server.schema import field_of
>>> parse(field_of("xnat:experimentData", "date"), "02/03/2020")
'2020-02-03'
>>> parse(field_of("xnat:mrScanData", "parameters/tr"), "2.123456789")
2.1234567
"""

from __future__ import annotations

import math
import re
import struct
from datetime import date, timedelta
from typing import Final

from .schema import Field

Value = str | int | float

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")
_FLOAT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DATES: Final = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})"), (1, 2, 3)),
    (re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})"), (3, 1, 2)),
    (re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})"), (3, 1, 2)),
    (re.compile(r"(\d{4})(\d{2})(\d{2})"), (1, 2, 3)),
)
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?")
_DURATION: Final = re.compile(r"-?P(?=.)(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
_LARGEST_INTEGER: Final = 2**31 - 1
_LARGEST_FLOAT: Final = 3.4028235e38


class BadValue(ValueError):
    """A value that XNAT refuses with 400 and this text."""


class FatalValue(ValueError):
    """A value that makes XNAT fail with 500."""


def parse(field: Field, text: str) -> Value:
    """The value that XNAT keeps for a text; BadValue or FatalValue if it keeps none."""
    # What numbers may be called in Java passes every check, and fails when it is stored.
    odd = field.kind not in ("text", "boolean", "float", "double") and text.lower() in ("inf", "nan")
    if odd or field.path == "visit":
        raise FatalValue(text)
    match field.kind:
        case "integer":
            return _integer(field, text)
        case "float" | "double":
            return _float(field, text)
        case "date":
            return _date(field, text)
        case "time":
            return _time(field, text)
        case "dateTime":
            return _moment(field, text)
        case "duration":
            if _DURATION.fullmatch(text) is None:
                raise FatalValue(text)
            return text
        case "boolean":
            return _boolean(field, text)
        case "text":
            return _text(field, text)


def required_field(field: Field) -> str:
    """What XNAT says of a field that must not be empty."""
    return str(_refused(field, "Required Field"))


def single_precision(number: float) -> float:
    """The shortest decimal that the nearest single-precision number is written as."""
    stored: float = struct.unpack("f", struct.pack("f", number))[0]
    for digits in range(1, 10):
        shortest = float(f"{stored:.{digits}g}")
        if struct.unpack("f", struct.pack("f", shortest))[0] == stored:
            return shortest
    return stored


def _refused(field: Field, reason: str, times: int = 1) -> BadValue:
    line = (
        f"The content of element '{field.owner}' is not complete. "
        f"'{{\"http://nrg.wustl.edu/xnat\":{field.path}}}' {reason}\n"
    )
    return BadValue(line * times)


def _integer(field: Field, text: str) -> int:
    # Each bound is a rule of its own, and checks the kind of the value again.
    bounds = [bound for bound in (field.lowest, field.highest) if bound is not None]
    if _INTEGER.fullmatch(text) is None or abs(int(text)) > _LARGEST_INTEGER:
        raise _refused(field, "Must Be A Valid Integer", len(bounds) or 1)
    number = int(text)
    _check_bounds(field, number)
    return number


def _check_bounds(field: Field, number: float) -> None:
    """Refuse what lies outside, as far as its whole part tells."""
    if field.lowest is not None and int(number) < field.lowest:
        raise _refused(field, f"Must Be More Than {field.lowest}")
    if field.highest is not None and int(number) > field.highest:
        raise _refused(field, f"Must Be Less Than {field.highest}")


def _float(field: Field, text: str) -> Value:
    if text.lower() == "nan":
        return "NaN"
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        raise FatalValue(text)
    if _FLOAT.fullmatch(text.strip()) is None:
        raise _refused(field, f"Must Be A Valid {field.kind.title()}")
    number = float(text)
    if math.isinf(number) or (field.kind == "float" and abs(number) > _LARGEST_FLOAT):
        raise FatalValue(text)
    _check_bounds(field, number)
    return number if field.kind == "double" else single_precision(number)


def _date(field: Field, text: str) -> str:
    day = _lenient_day(re.split(r"[T ]", text.strip(), maxsplit=1)[0])
    if day is None:
        raise _refused(field, "Must Be A Valid Date")
    return day.isoformat()


def _lenient_day(text: str) -> date | None:
    """Days and months beyond the calendar carry over, as a lenient parser does it.

    >>> _lenient_day("2020-02-30")
    datetime.date(2020, 3, 1)
    """
    for pattern, order in _DATES:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        year, month, day = (int(found.group(group)) for group in order)
        try:
            return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1) + timedelta(days=day - 1)
        except (ValueError, OverflowError):
            return None
    return None


def _time(field: Field, text: str) -> str:
    found = _TIME.fullmatch(re.split(r"[T ]", text.strip())[-1])
    if found is None and _lenient_day(text) is not None:
        raise FatalValue(text)
    if found is None:
        raise _refused(field, "Must Be A Valid Date")
    hours, minutes, seconds = int(found[1]) % 24, int(found[2]) % 60, int(found[3] or 0) % 60
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def _moment(field: Field, text: str) -> str:
    day_text, _, time_text = text.strip().replace("T", " ").partition(" ")
    day = _lenient_day(day_text)
    found = _TIME.fullmatch(time_text.removesuffix("Z")) if time_text else None
    if day is None or (time_text and found is None):
        raise _refused(field, "Must Be A Valid Date")
    clock = (int(found[1]) % 24, int(found[2]) % 60, int(found[3] or 0) % 60) if found else (0, 0, 0)
    return f"{day.isoformat()} {clock[0]:02}:{clock[1]:02}:{clock[2]:02}.0"


def _boolean(field: Field, text: str) -> int:
    if text.lower() not in ("true", "false", "1", "0"):
        raise _refused(field, "Must Be A Valid Boolean")
    return int(text.lower() in ("true", "1"))


def _text(field: Field, text: str) -> str:
    if field.choices and text.lower() not in {choice.lower() for choice in field.choices}:
        raise _refused(field, f"'{text}' Must Match Pre-Defined Values...({','.join(field.choices)})")
    length = len(text.encode("utf-16-le", "surrogatepass")) // 2  # as Java counts
    if field.max_length is not None and length > field.max_length:
        reason = f"Must Be Less Than {field.max_length} Characters : Current Length ({length})"
        raise _refused(field, reason)
    return text
