"""Some seconds of a recording of signals, for a picture: EDF, BDF and BrainVision, which are plain numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xnat_bids_push.headers import ANNOTATIONS, HeaderError, figure

MOST_READ = 32 * 2**20
"""Bytes that are read at most."""


@dataclass(frozen=True, slots=True)
class Waves:
    """Some channels, over the same time.

    Args:
        rate: samples per second.
        channels: how many the recording has.
        samples: of each of the chosen channels: the bytes, their numpy dtype (or ``int24``), and the unit of one step.
    """

    rate: float
    channels: int
    samples: tuple[tuple[bytes, str, float], ...]


def read_waves(name: str, files: Mapping[str, Path], *, seconds: float, channels: int) -> Waves:
    """So many seconds from the middle of a recording, of so many channels, evenly spread over all.

    Args:
        name: the file to begin with.
        files: those of the recording, by their names; no other file is ever read.
        seconds: how long.
        channels: how many.

    Raises:
        HeaderError: it cannot be understood.
        OSError: it cannot be read.
    """
    if name.endswith(".vhdr"):
        return _read_brainvision(files[name], files, seconds, channels)
    return _read_edf(files[name], seconds, channels, width=3 if name.endswith(".bdf") else 2)


def _spread(all_: Sequence[int], number: int) -> list[int]:
    """Some of many, evenly spread.

    >>> _spread(range(10), 4)
    [1, 3, 6, 8]
    """
    number = min(number, len(all_))
    return [all_[(2 * i + 1) * len(all_) // (2 * number)] for i in range(number)]


def _exactly(stream: BinaryIO, start: int, size: int) -> bytes:
    if size > MOST_READ:
        raise HeaderError("has more in a few seconds than is read for a picture")
    stream.seek(start)
    found = stream.read(size)
    if len(found) < size:
        raise HeaderError("ends before its middle")
    return found


# ------------------------------------------------------------------ EDF and BDF


def _read_edf(path: Path, seconds: float, channels: int, *, width: int) -> Waves:
    with path.open("rb") as stream:
        head = _exactly(stream, 0, 256).decode("latin-1")
        records, length, count = (figure(head[start:end]) for start, end in ((236, 244), (244, 252), (252, 256)))
        number = int(count or 0)
        if not number or not length:
            raise HeaderError("has a header without channels, or without time")
        rows = _exactly(stream, 256, 256 * number).decode("latin-1")
        sizes = [int(figure(one) or 0) for one in _column(rows, 216, 8, number)]
        labels = [one.strip() for one in _column(rows, 0, 16, number)]
        own = [at for at, label in enumerate(labels) if label not in ANNOTATIONS and sizes[at] > 1]
        common = Counter(sizes[at] for at in own).most_common(1)
        if not common:
            raise HeaderError("has no signals")
        usual, size = common[0][0], sum(sizes) * width
        there = (path.stat().st_size - 256 * (number + 1)) // size
        records = min(int(records or there), there)
        wanted = max(1, min(records, round(seconds / length) or 1, MOST_READ // size))
        first = max(0, (records - wanted) // 2)
        data = _exactly(stream, 256 * (number + 1) + first * size, wanted * size)
    chosen = _spread([at for at in own if sizes[at] == usual], channels)
    units = _units(rows, number)
    kind = "int24" if width == 3 else "<i2"
    samples = tuple((_of_channel(data, at, sizes, width), kind, units[at]) for at in chosen)
    return Waves(usual / length, len(own), samples)


def _column(rows: str, start: int, width: int, number: int) -> list[str]:
    """One of the header's columns, which are as wide as the standard says, one after the other for all channels."""
    return [rows[start * number + width * i : start * number + width * (i + 1)] for i in range(number)]


def _units(rows: str, number: int) -> list[float]:
    """What one step of each channel is worth."""
    ends = [[_signed(one) for one in _column(rows, start, 8, number)] for start in (104, 112, 120, 128)]
    return [(b - a) / (d - c) if d > c and b != a else 1.0 for a, b, c, d in zip(*ends, strict=True)]


def _signed(text: str) -> float:
    text = text.strip()
    return -(figure(text[1:]) or 0.0) if text.startswith("-") else figure(text) or 0.0


def _of_channel(data: bytes, at: int, sizes: Sequence[int], width: int) -> bytes:
    record = sum(sizes) * width
    start, size = sum(sizes[:at]) * width, sizes[at] * width
    return b"".join(data[i + start : i + start + size] for i in range(0, len(data), record))


# ------------------------------------------------------------------ BrainVision

_KINDS = {"INT_16": "<i2", "UINT_16": "<u2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}


def _read_brainvision(path: Path, files: Mapping[str, Path], seconds: float, channels: int) -> Waves:
    with path.open("rb") as stream:
        text = stream.read(1 << 20).decode("latin-1")
    keys = dict(re.findall(r"^([A-Za-z]+)=[ \t]*(.*?)[ \t]*\r?$", text, re.MULTILINE))
    number, interval = int(figure(keys.get("NumberOfChannels", "")) or 0), figure(keys.get("SamplingInterval", ""))
    kind = _KINDS.get(keys.get("BinaryFormat", "").upper(), "")
    if not number or not interval or not kind:
        raise HeaderError("has a header without channels, or of numbers in an unknown form")
    named = keys.get("DataFile", "").replace("$b", path.name.removesuffix(".vhdr"))
    if named not in files:
        raise HeaderError("names no data file beside it")
    found = dict(re.findall(r"^Ch(\d+)=[^,\r\n]*,[^,\r\n]*,[ \t]*([0-9.eE+-]+)", text, re.MULTILINE))
    chosen, width = _spread(range(number), channels), int(kind[-1])
    points = files[named].stat().st_size // (number * width)
    wanted = min(points, round(seconds * 1_000_000 / interval))
    first = (points - wanted) // 2
    with files[named].open("rb") as stream:
        if keys.get("DataOrientation", "").upper() == "VECTORIZED":
            pieces = [_exactly(stream, (at * points + first) * width, wanted * width) for at in chosen]
        else:
            data = memoryview(_exactly(stream, first * number * width, wanted * number * width))
            pieces = [_every(data, at, number, width) for at in chosen]
    units = [figure(found.get(str(at + 1), "")) or 1.0 for at in chosen]
    samples = tuple((piece, kind, unit) for piece, unit in zip(pieces, units, strict=True))
    return Waves(1_000_000 / interval, number, samples)


def _every(data: memoryview, at: int, number: int, width: int) -> bytes:
    """One channel of samples that are written together."""
    return b"".join(data[i + at * width : i + (at + 1) * width] for i in range(0, len(data), number * width))
