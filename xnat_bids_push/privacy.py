"""Looking into the heads of files for what may tell who a participant is, before it leaves this machine.

One pass, one bounded read of each file that has a head to look at. What each format may tell is a reader below; what
is not looked into is said in the docs.
"""

from __future__ import annotations

import json
import re
import struct
import tomllib
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.identifying import (
    Findings,
    Hint,
    Waiver,
    has_real_date,
    is_nothing,
    name_hints,
    privacy_rules,
    sidecar_hints,
    table_hints,
    text_hints,
    waiver_of,
    word_of,
)
from xnat_bids_push.model import BidsFile

_DOCUMENT = 1 << 20
"""Bytes of a sidecar that are read; a longer one is a table of its own, and is not looked into."""
_TABLE = 1 << 20
_HEAD = 1 << 16
_IMAGE = 2048
"""Bytes of an image that hold its header, and usually its extensions."""


def read_waiver(path: Path) -> Waiver:
    """A waiver from its file, TOML or JSON.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix.casefold() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"--privacy-waiver {path}: {error.strerror}") from error
    except ValueError as error:  # of either format, and of what is no text
        raise ConfigError(f"--privacy-waiver {path}: it can be read neither as TOML nor as JSON ({error})") from error
    try:
        return waiver_of(content if isinstance(content, dict) else {}, tuple(privacy_rules().kinds))
    except ConfigError as error:
        raise ConfigError(f"--privacy-waiver {path}: {error}") from error


def look_into(files: Iterable[BidsFile], findings: Findings) -> None:
    """Add what files show. What cannot be read shows nothing: the push meets the same error, and tells it."""
    for file in files:
        reader = _reader_of(file.path)
        hints = [*name_hints(file.path), *(_safely(reader, file) if reader is not None and file.size else ())]
        if hints:
            findings.add(file.path, hints)


_Reader = Callable[[BidsFile, frozenset[str]], Iterator[Hint]]


def _safely(reader: _Reader, file: BidsFile) -> Iterator[Hint]:
    try:
        yield from reader(file, _own(file.path))
    except (OSError, ValueError, struct.error, zlib.error, IndexError, RecursionError):
        return  # no such file, after all


def _own(path: str) -> frozenset[str]:
    """The words by which a file's participant is known in the dataset."""
    found = re.search(r"(?:^|/)sub-([^/_]+)", path)
    return frozenset({word_of(found[1]), word_of(f"sub{found[1]}")}) if found else frozenset()


def _head(file: BidsFile, size: int) -> bytes:
    if isinstance(file.content, bytes):
        return file.content[:size]
    with Path(file.content).open("rb", buffering=0) as stream:
        return stream.read(size)


# ------------------------------------------------------------------ text


def _sidecar(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    if file.size <= _DOCUMENT:
        yield from sidecar_hints(json.loads(_head(file, _DOCUMENT)), own)


_PEOPLE = re.compile(r"(?:^|/)(?:participants|[^/]*_(?:sessions|scans)|samples)\.tsv$|^phenotype/[^/]*\.tsv$")
_ISO = re.compile(rb"(?<!\d)(?:19[2-9]\d|20\d\d)-\d\d-\d\d(?!\d)")


def _table(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    """Tables of people column by column; of others, which may be long, the beginning as a text."""
    if not _PEOPLE.search(file.path):
        head = _head(file, _HEAD)
        if b"@" in head or _ISO.search(head):
            lines = head.decode("utf-8", "replace").splitlines()
            hints = (hint for line in lines for hint in text_hints(line, "a value", own))
            yield from dict.fromkeys(hints)
        return
    lines = _head(file, _TABLE).decode("utf-8-sig", "replace").splitlines()
    if lines:
        names = lines[0].split("\t")
        rows = [line.split("\t") for line in lines[1:]]
        columns = {name: (row[place] for row in rows if place < len(row)) for place, name in enumerate(names)}
        columns.pop("participant_id", None)
        columns.pop("filename", None)
        yield from table_hints(columns, own)


# ------------------------------------------------------------------ images

_TEXTS = {
    348: (("db_name", 14, 18), ("descrip", 148, 80), ("aux_file", 228, 24), ("intent_name", 328, 16)),
    540: (("descrip", 240, 80), ("aux_file", 320, 24), ("intent_name", 508, 16)),
}
_DICOM, _AFNI, _COMMENT = 2, 4, 6
"""Codes of NIfTI's extensions that hold a DICOM header, AFNI's history, and a comment."""


def _image(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    head = _head(file, _IMAGE)
    if file.path.endswith(".gz"):
        yield from _gzip(head, file.path, own)
        unzip = zlib.decompressobj(wbits=31)
        head = unzip.decompress(head, _HEAD)
    yield from _nifti(head, own)


def _gzip(head: bytes, path: str, own: frozenset[str]) -> Iterator[Hint]:
    """The name and the comment that gzip keeps: often those of the file before it was renamed."""
    if head[:3] != b"\x1f\x8b\x08":
        return
    flags, rest = head[3], head[10:]
    if flags & 4:
        rest = rest[2 + int.from_bytes(rest[:2], "little") :]
    if flags & 8:
        name, _, rest = rest.partition(b"\0")
        text = PurePosixPath(name.decode("latin-1").replace("\\", "/")).name
        if text.removesuffix(".gz") != PurePosixPath(path).name.removesuffix(".gz"):
            hints = list(text_hints(text, "gzip's file name", own))
            yield from hints or [Hint("source", "gzip's file name")]
    if flags & 16:
        comment = rest.partition(b"\0")[0].decode("latin-1")
        yield from text_hints(comment, "gzip's comment", own)
        if not is_nothing(comment, own):
            yield Hint("text", "gzip's comment")


def _nifti(head: bytes, own: frozenset[str]) -> Iterator[Hint]:
    order = next((sign for sign in "<>" if struct.unpack_from(f"{sign}i", head)[0] in _TEXTS), "")
    if not order:
        return
    size = struct.unpack_from(f"{order}i", head)[0]
    for name, start, length in _TEXTS[size]:
        text = head[start : start + length].partition(b"\0")[0].decode("latin-1").strip()
        if name == "db_name" and not is_nothing(text, own) and not text.startswith("?"):  # "?TR:…" are parameters
            yield Hint("identifier", "db_name")
        else:
            yield from text_hints(text, name, own)
    yield from _extensions(head, size, order, own)


def _extensions(head: bytes, start: int, order: str, own: frozenset[str]) -> Iterator[Hint]:
    if not head[start : start + 1].strip(b"\0"):
        return
    place = start + 4
    while place + 8 <= len(head):
        size, code = struct.unpack_from(f"{order}2i", head, place)
        if size < 16 or size % 16 or code < 0:
            return
        text = head[place + 8 : place + size].decode("latin-1").strip("\0 ")
        if code == _DICOM:
            yield Hint("dicom", "an extension of the header")
        elif code in (_AFNI, _COMMENT):
            yield from text_hints(text, "an extension of the header", own)
            if code == _COMMENT and not is_nothing(text, own):
                yield Hint("text", "an extension of the header")
        place += size


def _dicom(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    if _head(file, 132)[128:] == b"DICM":
        yield Hint("dicom", "the file itself")


# ------------------------------------------------------------------ signals


def _edf(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    """EDF and BDF: who, and when, in fields of fixed width. 1985-01-01 is how EDF+ says that it does not tell."""
    head = _head(file, 256).decode("latin-1")
    if head[:8] not in ("0       ", "\xffBIOSEMI"):
        return
    patient, recording, start = head[8:88].strip(), head[88:168].strip(), head[168:176]
    words = patient.split()
    if len(words) >= 4 and words[1] in ("X", "M", "F"):
        yield from (Hint("identifier", "patient's code") for word in words[:1] if not is_nothing(word, own))
        yield from (Hint("birth", "patient") for word in words[2:3] if has_real_date(word))
        yield from (Hint("name", "patient") for word in words[3:4] if not is_nothing(word, own))
    elif not is_nothing(patient, own) and set(patient) - set("X "):
        yield Hint("name", "patient")
    if has_real_date(recording) or (re.fullmatch(r"\d\d\.\d\d\.\d\d", start) and start not in ("01.01.85", "00.00.00")):
        yield Hint("date", "startdate")


def _brainvision(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    """The time of the first segment stands behind its marker."""
    found = re.search(r"^Mk\d+=New Segment,.*,(\d{8})\d*\s*$", _head(file, _HEAD).decode("latin-1"), re.MULTILINE)
    if found and has_real_date(found[1]):
        yield Hint("date", "New Segment")


_FIRST, _MIDDLE, _LAST, _BORN, _MEASURED, _HISTORY = 401, 402, 403, 404, 204, 406
_NAMES = {_FIRST: "first name", _MIDDLE: "middle name", _LAST: "last name"}
_BLOCK_END, _MEASUREMENT_INFO = 105, 101
_MOST_TAGS = 5000
_JULIAN = 1_721_425
"""The Julian day before the first one of Python's calendar."""


def _fif(file: BidsFile, own: frozenset[str]) -> Iterator[Hint]:
    """FIF: the subject's block, and the date, among the first tags."""
    if isinstance(file.content, bytes):
        return
    with Path(file.content).open("rb") as stream:
        for _ in range(_MOST_TAGS):
            head = stream.read(16)
            if len(head) < 16:
                return
            kind, _, size, following = struct.unpack(">iiii", head)
            data = stream.read(size) if 0 < size <= 4096 else b""
            text = data.decode("latin-1")
            if kind in _NAMES and not is_nothing(text, own):
                yield Hint("name", _NAMES[kind])
            elif kind == _HISTORY and not is_nothing(text, own):
                yield Hint("text", "comment on the subject")
            elif kind == _BORN and size == 4 and _year(int.from_bytes(data, "big") - _JULIAN) >= 1925:
                yield Hint("birth", "birthday")
            elif kind == _MEASURED and size >= 4:
                seconds = int.from_bytes(data[:4], "big", signed=True)
                if (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).year >= 1925:
                    yield Hint("date", "date of the measurement")
            elif (kind == _BLOCK_END and data == _MEASUREMENT_INFO.to_bytes(4, "big")) or following < 0:
                return
            if following > 0:
                stream.seek(following)
            elif size > 4096:
                stream.seek(size, 1)


def _year(days: int) -> int:
    return datetime.fromordinal(days).year if 0 < days < 3_650_000 else 0


# ------------------------------------------------------------------ which reader

_READERS: dict[str, _Reader] = {
    ".json": _sidecar,
    ".tsv": _table,
    ".nii": _image,
    ".nii.gz": _image,
    ".tsv.gz": lambda file, own: _gzip(_head(file, _IMAGE), file.path, own),
    ".edf": _edf,
    ".bdf": _edf,
    ".vmrk": _brainvision,
    ".fif": _fif,
    ".dcm": _dicom,
    ".ima": _dicom,
}
_NOT_OF_PEOPLE = frozenset({"dataset_description.json", "genetic_info.json"})


def _reader_of(path: str) -> _Reader | None:
    name = PurePosixPath(path).name.casefold()
    if name in _NOT_OF_PEOPLE:
        return None
    parts = name.rsplit(".", 2)
    ending = f".{parts[-1]}" if len(parts) > 1 else ""
    return _READERS.get(f".{parts[-2]}{ending}") if ending == ".gz" and len(parts) > 2 else _READERS.get(ending)
