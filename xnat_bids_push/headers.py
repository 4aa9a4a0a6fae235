"""The first bytes of images and recordings: size, spacing, rate. Nothing here reads more than a header.

nibabel reads those of images. HDF5 has a library of its own, and SNIRF files are read only where that is installed.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xnat_bids_push.fields import ImageHeader, SignalHeader

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header


class HeaderError(ValueError):
    """A file's header is not what its name says; the text says how, to follow the file's name."""


# ------------------------------------------------------------------ images


_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_SECONDS = {8: 1.0, 16: 0.001, 24: 0.000001}
_TOO_LARGE = 1e6
"""No voxel is as large, in mm."""
LONGEST = 540
"""Bytes of the longest header of an image."""

_ENOUGH = 1024
"""Bytes of a compressed file that hold its header, but for files with much before it."""
_TOO_MUCH = 1 << 16


def read_image(path: Path, *, compressed: bool) -> ImageHeader:
    """The header of a NIfTI image.

    Raises:
        HeaderError: it is none.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        head = _inflate(stream) if compressed else stream.read(LONGEST)
    return image_header(head)


def _inflate(stream: BinaryIO) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    head, count = b"", 0
    try:
        while len(head) < LONGEST and not unzip.eof and count < _TOO_MUCH and (piece := stream.read(_ENOUGH)):
            head += unzip.decompress(piece, LONGEST - len(head))
            count += len(piece)
    except zlib.error as error:
        raise HeaderError("is not compressed as its name says" if not count else "is damaged") from error
    return head


def image_header(head: bytes) -> ImageHeader:
    """The header of a NIfTI image, from its first bytes.

    Raises:
        HeaderError: they are none, or not possible.
    """
    if not head:
        raise HeaderError("is empty")
    header = _parsed(head)
    count, *shape = (int(size) for size in header["dim"])
    _, *spacing = (float(step) for step in header["pixdim"])
    if not 1 <= count <= 7 or min(shape[:count]) < 1:
        raise HeaderError(f"has a header with impossible sizes {shape[: max(0, min(count, 7))]}")
    units = int(header["xyzt_units"])
    millimetres, seconds = _MILLIMETRES.get(units & 7, 1.0), _SECONDS.get(units & 56, 0.0)
    steps = [_single(step) * millimetres for step in spacing[: min(count, 3)]]
    if not all(0 < step < _TOO_LARGE for step in steps):
        raise HeaderError(f"has a header with impossible voxels {steps}")
    if count > 3:
        steps.append(_single(spacing[3]) * seconds if math.isfinite(spacing[3]) and spacing[3] > 0 else 0.0)
    return ImageHeader(tuple(shape[:count]), tuple(steps), _slice_axis(header) if count > 2 else None)


def _parsed(head: bytes) -> Nifti1Header:
    """The header as nibabel reads it, in either version and byte order."""
    from nibabel.nifti1 import Nifti1Header  # loads when the first image is met: it takes a while
    from nibabel.nifti2 import Nifti2Header

    kind = {348: Nifti1Header, 540: Nifti2Header}.get(_SIZES.get(head[:4], 0))
    if kind is None:
        raise HeaderError("is no NIfTI image")
    if len(head) < kind.sizeof_hdr:
        raise HeaderError("ends within its header")
    order = "<" if head[:4] == kind.sizeof_hdr.to_bytes(4, "little") else ">"
    header = kind(head[: kind.sizeof_hdr], order, check=False)
    if bytes(header["magic"])[:3] not in _MAGIC:
        raise HeaderError("is no NIfTI image")
    return header


_SIZES = {size.to_bytes(4, order): size for size in (348, 540) for order in ("little", "big")}
"""How long a header is, by its first four bytes."""

_MAGIC = (b"n+1", b"ni1", b"n+2", b"ni2")


def _single(value: float) -> float:
    """A number of single precision without the digits that it cannot have: 5.3, not 5.300000190734863."""
    return float(f"{value:.7g}")


def _slice_axis(header: Nifti1Header) -> int | None:
    """The axis of the body that the third dimension goes along; None where the file does not say."""
    try:
        affine = header.get_sform() if header["sform_code"] > 0 else header.get_qform(coded=True)[0]
    except ValueError:  # a rotation that is none
        return None
    if affine is None:
        return None
    sizes = [abs(float(part)) for part in affine[:3, 2]]
    return sizes.index(max(sizes)) if all(map(math.isfinite, sizes)) and max(sizes) > 0 else None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the voxels of an image lie: in its file, and in the body.

    Args:
        shape: the sizes of all dimensions, three at least.
        spacing: of the voxels, in the file's unit of length.
        offset: of the first voxel, in bytes.
        kind: a voxel's numpy dtype.
        slope: what stored values are multiplied with.
        intercept: what is added to them then.
        axes: for each of the first three dimensions, the body's axis (0 right, 1 anterior, 2 superior) that it goes
            along, and whether towards it (1) or away from it (-1).
        oriented: whether the file itself says so.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    offset: int
    kind: object
    slope: float
    intercept: float
    axes: tuple[tuple[int, int], ...]
    oriented: bool


def geometry(head: bytes) -> Geometry:
    """The geometry of a NIfTI image in one file, from its first bytes.

    Raises:
        HeaderError: they are none, or not possible.
    """
    from nibabel.orientations import io_orientation
    from nibabel.spatialimages import HeaderDataError

    known, header = image_header(head), _parsed(head)
    try:
        axes = [(int(axis), int(way)) for axis, way in io_orientation(header.get_best_affine())]
        slope, intercept = header.get_slope_inter()
        offset, kind = int(header.get_data_offset()), header.get_data_dtype()
    except (HeaderDataError, ValueError, ArithmeticError) as error:
        raise HeaderError("has a header that cannot be made sense of") from error
    x, y, z = (*known.spacing[:3], *[known.spacing[0]] * 2)[:3]
    return Geometry(
        shape=(*known.shape, *[1] * (3 - len(known.shape))),
        spacing=(x, y, z),
        offset=offset,
        kind=kind,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        axes=tuple(axes),
        oriented=int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0,
    )


# ------------------------------------------------------------------ signals


def read_signal(path: Path, extension: str) -> SignalHeader | None:
    """The header of a recording of signals; None for formats without a light reader.

    Raises:
        HeaderError: it is none.
        OSError: it cannot be read.
    """
    reader = _READERS.get(extension)
    found = reader(path) if reader is not None else None
    if found is None:
        return None
    channels = found.channels if found.channels and 0 < found.channels <= _MOST_CHANNELS else None
    return SignalHeader(_sound(found.rate), channels, _sound(found.duration))


def _sound(number: float | None) -> float | None:
    return number if number and math.isfinite(number) and number > 0 else None


_MOST_CHANNELS = 9999
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


def _read_edf(path: Path) -> SignalHeader:
    """EDF and BDF: all text, in columns of fixed width."""
    with path.open("rb", buffering=0) as stream:
        head = stream.read(256)
        if len(head) < 256 or head[:8] not in (b"0       ", b"\xffBIOSEMI"):
            raise HeaderError("is no EDF or BDF recording" if head else "is empty")
        text = head.decode("latin-1")
        records, seconds, count = (figure(text[start:end]) for start, end in ((236, 244), (244, 252), (252, 256)))
        channels = int(count or 0)
        if not 0 < channels <= _MOST_CHANNELS:
            raise HeaderError("has a header without channels")
        columns = stream.read(256 * channels).decode("latin-1")
    if len(columns) < 256 * channels:
        raise HeaderError("ends within its header")
    labels = [columns[16 * i : 16 * i + 16].strip() for i in range(channels)]
    start = 216 * channels
    samples = [figure(columns[start + 8 * i : start + 8 * i + 8]) for i in range(channels)]
    counts = {number for label, number in zip(labels, samples, strict=True) if label not in ANNOTATIONS}
    own = sum(label not in ANNOTATIONS for label in labels)
    samples_per_record = counts.pop() if len(counts) == 1 else None
    rate = samples_per_record / seconds if samples_per_record and seconds else None
    duration = records * seconds if records and seconds and records > 0 else None
    return SignalHeader(rate, own, duration)


def figure(text: str) -> float | None:
    """A number that is none below zero, as headers have it; None if it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _read_brainvision(path: Path) -> SignalHeader:
    """BrainVision's header: lines of key=value, and an interval in microseconds."""
    with path.open("rb", buffering=0) as stream:
        text = stream.read(_TOO_MUCH).decode("latin-1")
    if "brain" not in text[:64].casefold():
        raise HeaderError("is no BrainVision header" if text else "is empty")
    keys = dict(re.findall(r"^(SamplingInterval|NumberOfChannels|DataPoints)=[ \t]*(\S+)\s*$", text, re.MULTILINE))
    interval, channels, points = (
        figure(keys.get(key, "")) for key in ("SamplingInterval", "NumberOfChannels", "DataPoints")
    )
    rate = 1_000_000 / interval if interval else None
    return SignalHeader(rate, int(channels) if channels else None, points / rate if points and rate else None)


_FILE, _BLOCK, _END, _CHANNELS, _RATE = 100, 104, 105, 200, 201
_MEASUREMENT = 101
_MOST_TAGS = 20_000


def _read_fif(path: Path) -> SignalHeader:
    """FIF: a chain of tags in nested blocks. The measurement's own count and rate, not those of its projections."""
    found: dict[int, bytes] = {}
    blocks: list[int] = []
    with path.open("rb") as stream:
        for kind, data in _tags(stream):
            code = int.from_bytes(data, "big")
            if kind == _BLOCK:
                blocks.append(code)
            elif kind == _END and (blocks.pop() if blocks else 0) == _MEASUREMENT:
                break
            elif kind in (_CHANNELS, _RATE) and blocks[-1:] == [_MEASUREMENT]:
                found[kind] = data
    rate = struct.unpack(">f", found[_RATE])[0] if len(found.get(_RATE, b"")) == 4 else None
    return SignalHeader(rate, int.from_bytes(found.get(_CHANNELS, b""), "big"))


def _tags(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The tags that hold four bytes, one after the other."""
    kind, size, following = _tag(stream)
    if kind != _FILE:
        raise HeaderError("is no FIF recording")
    for _ in range(_MOST_TAGS):
        start = stream.tell()
        if size == 4:
            yield kind, stream.read(4)
        if following < 0 or kind < 0:
            return
        stream.seek(following or start + size)
        kind, size, following = _tag(stream)


def _tag(stream: BinaryIO) -> tuple[int, int, int]:
    head = stream.read(16)
    if len(head) < 16:
        raise HeaderError("ends within its header" if head else "is empty")
    kind, _, size, following = struct.unpack(">iiii", head)
    if size < 0:
        raise HeaderError("is damaged")
    return kind, size, following


def _read_snirf(path: Path) -> SignalHeader | None:
    """SNIRF: HDF5, of which only the names and the axis of time are read."""
    try:
        import h5py
    except ImportError:
        return None
    try:
        with h5py.File(path, "r") as file:
            group = file[next(name for name in sorted(file) if re.fullmatch(r"nirs\d*", name))]
            data = group[next(name for name in sorted(group) if re.fullmatch(r"data\d*", name))]
            channels = sum(name.startswith("measurementList") and name != "measurementLists" for name in data)
            samples = int(data["dataTimeSeries"].shape[0])
            first, second = (float(time) for time in data["time"][:2])
            step = second if len(data["time"]) == 2 and samples != 2 else second - first
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError, StopIteration, RuntimeError) as error:
        raise HeaderError("is no SNIRF recording") from error
    return SignalHeader(1 / step if step else None, channels, samples * step)


_READERS: Mapping[str, Callable[[Path], SignalHeader | None]] = {
    ".edf": _read_edf,
    ".bdf": _read_edf,
    ".vhdr": _read_brainvision,
    ".fif": _read_fif,
    ".snirf": _read_snirf,
}

SIGNALS = frozenset(_READERS)
"""The extensions of recordings that there is a reader for."""
