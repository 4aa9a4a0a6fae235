"""Pictures of images and recordings, as XNAT's own pages want them: GIF. The door to numpy and Pillow.

An image is read in one pass, a plane at a time, so that no volume is ever in memory; of a recording some seconds are
read. The same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin, TiffImagePlugin

from xnat_bids_push.headers import LONGEST, Geometry, HeaderError, geometry
from xnat_bids_push.waves import Waves, read_waves

MOST_READ = 512 * 2**20
"""Bytes of a volume, or of what has to be decompressed before one, that are read for a picture."""

MOST_PIXELS = 32 * 2**20
"""Pixels of a microscope's picture that are read."""

HEIGHT, SMALL_HEIGHT = 192, 64
"""Of the planes in a picture and in a thumbnail, in pixels."""

WIDTH, SMALL_WIDTH = 640, 192
"""What pictures and thumbnails are not wider than."""

VOLUMES = 12
"""Volumes of a series in one picture."""

Floats: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8]


class PictureError(ValueError):
    """There is no picture; the text says why, in words that are the same wherever the reason is."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What XNAT shows of a scan: the larger picture and the smaller one, both GIF; and what they show, in words."""

    original: bytes
    thumbnail: bytes
    shows: str


def drawable(names: Iterable[str]) -> str:
    """The first of a recording's files that there is a picture of; "" if there is none."""
    return next((name for name in sorted(names) if _artist(name) is not None), "")


def draw(name: str, files: Mapping[str, Path]) -> Picture:
    """A picture of a recording.

    Args:
        name: which of its files to begin with.
        files: all of them, by their names.

    Raises:
        PictureError: there is none.
    """
    artist = _artist(name)
    if artist is None:
        raise PictureError("there are no pictures of this format")
    try:
        with np.errstate(all="ignore"):
            large, small, shows = artist(name, files)
        return Picture(_gif(large), _gif(small), shows)
    except HeaderError as error:
        raise PictureError(f"the file {error}") from error
    except OSError as error:
        raise PictureError(f"the file cannot be read: {error.strerror or 'it is damaged'}") from error
    except (ValueError, ArithmeticError, LookupError, TypeError, SyntaxError, EOFError, MemoryError) as error:
        # What a damaged file leads to in numpy and Pillow is not for them to say.
        raise error if isinstance(error, PictureError) else PictureError("the file is damaged") from error
    except (zlib.error, struct.error) as error:
        raise PictureError("the file is damaged") from error


_Drawn: TypeAlias = tuple[Image.Image, Image.Image, str]


def _artist(name: str) -> Callable[[str, Mapping[str, Path]], _Drawn] | None:
    return next((artist for ending, artist in _ARTISTS.items() if name.endswith(ending)), None)


def _gif(image: Image.Image) -> bytes:
    target = BytesIO()
    image.save(target, "GIF")
    return target.getvalue()


# ------------------------------------------------------------------ volumes


@dataclass(frozen=True, slots=True)
class _View:
    """A plane as it is shown: rows from above, values or colours; how large a pixel is, and what is at its left."""

    values: NDArray[np.generic]
    spacing: tuple[float, float]
    left: str = ""

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, in the unit of the spacing."""
        rows, columns = self.values.shape[:2]
        return columns * self.spacing[0], rows * self.spacing[1]


def _draw_volume(name: str, files: Mapping[str, Path]) -> _Drawn:
    path, packed = files[name], name.endswith(".gz")
    with _voxels(path, packed=packed) as (stream, known):
        volumes = math.prod(known.shape[3:])
        if math.prod(known.shape[:3]) == 1:
            return _draw_spectrum(stream, known)
        chosen = _chosen(known, volumes, packed=packed)
        middle = chosen[len(chosen) // 2]
        planes: list[_View] = []
        series: list[_View] = []
        for number in chosen:
            if number == middle:
                planes, level = _three_planes(stream, known, number)
            else:
                level = _plane(stream, known, number, (known.shape[2] - 1) // 2)
            if len(chosen) > 1:
                series.append(_view(level, (0, 1), known))
    limits = _limits(planes)
    sheet = _beside(planes, limits, HEIGHT, WIDTH, marked=known.oriented)
    if series:
        sheet = _above(sheet, _mosaic(series, _limits(series)))
    shows = ("its middle", "planes through its middle")[len(planes) > 1]
    over = f", and {len(series)} of {volumes} volumes" if series else ""
    return sheet, _beside(planes, limits, SMALL_HEIGHT, SMALL_WIDTH), shows + over


class _Pass:
    """A file's bytes, forwards only; what is compressed is decompressed on the way."""

    def __init__(self, stream: BinaryIO, *, packed: bool) -> None:
        self._stream = stream
        self._packed = packed
        self._at = 0

    def at(self, start: int, size: int) -> bytes:
        """So many bytes from there on."""
        if not self._packed:
            self._stream.seek(start)
            return self._taken(size)
        while self._at < start:
            self._taken(min(start - self._at, 1 << 20))
        return self._taken(size)

    def _taken(self, size: int) -> bytes:
        found = self._stream.read(size)
        self._at += len(found)
        if len(found) < size:
            raise PictureError("the file ends before its middle")
        return found


@contextmanager
def _voxels(path: Path, *, packed: bool) -> Iterator[tuple[_Pass, Geometry]]:
    """An image's file, and where in it the voxels lie."""
    with path.open("rb") as file:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
        with closing(stream):
            head = stream.read(LONGEST)
            known = geometry(head)
            stream.seek(0)
            yield _Pass(stream, packed=packed), known


def _kind(known: Geometry) -> np.dtype[np.generic]:
    return np.dtype(cast("np.dtype[np.generic]", known.kind))


def _chosen(known: Geometry, volumes: int, *, packed: bool) -> list[int]:
    """Evenly spread volumes, as far into the file as it is read."""
    size = math.prod(known.shape[:3]) * _kind(known).itemsize
    if size > MOST_READ:
        raise PictureError(f"a volume of more than {MOST_READ >> 20} MiB is not read for a picture")
    reached = min(volumes, MOST_READ // size) if packed else volumes
    number = min(reached, VOLUMES)
    return sorted({(2 * i + 1) * reached // (2 * number) for i in range(number)})


def _plane(stream: _Pass, known: Geometry, volume: int, number: int) -> NDArray[np.generic]:
    """A plane of the file's third dimension: first dimension × second dimension."""
    kind = _kind(known)
    columns, rows, planes = known.shape[:3]
    size = columns * rows * kind.itemsize
    data = stream.at(known.offset + (volume * planes + number) * size, size)
    return _values(np.frombuffer(data, kind).reshape((columns, rows), order="F"), known)


def _values(raw: NDArray[np.generic], known: Geometry) -> NDArray[np.generic]:
    """What stored values mean: numbers, or colours with an axis of their own."""
    if raw.dtype.names:
        return raw.T.view(np.uint8).reshape((*raw.T.shape, -1)).swapaxes(0, 1)[..., :3]
    values = np.abs(raw.astype(np.complex128)) if np.iscomplexobj(raw) else raw.astype(np.float64)
    return (values * known.slope + known.intercept).astype(np.float32)


def _three_planes(stream: _Pass, known: Geometry, volume: int) -> tuple[list[_View], NDArray[np.generic]]:
    """The planes through a volume's middle, seen from the body's side, front and above; and that of the file itself."""
    x, y, z = known.shape[:3]
    planes = (_plane(stream, known, volume, number) for number in range(z))
    across, along = [], []
    for number, plane in enumerate(planes):
        across.append(plane[(x - 1) // 2].copy())  # a view would keep all of the plane
        along.append(plane[:, (y - 1) // 2].copy())
        if number == (z - 1) // 2:
            level = plane
    found = ((np.stack(across, 1), (1, 2), 0), (np.stack(along, 1), (0, 2), 1), (level, (0, 1), 2))
    seen = [
        (known.axes[normal][0], _view(values, dimensions, known))
        for values, dimensions, normal in found
        if values.shape[0] > 1 and values.shape[1] > 1
    ]
    if not seen:
        raise PictureError("the image is a single line")
    return [view for _, view in sorted(seen, key=lambda one: one[0])], level


_NAMES = ("R", "A", "S")
"""The ends of the body's axes, which are shown at the left and above: so radiologists look at the body."""


def _view(values: NDArray[np.generic], dimensions: tuple[int, int], known: Geometry) -> _View:
    """A plane of two of the file's dimensions, turned as a body is looked at."""
    (first, way), (second, other) = (known.axes[dimension] for dimension in dimensions)
    # Each axis is shown with its positive end first: right, front and head are at the left and above.
    turned = values[:: -1 if way > 0 else 1, :: -1 if other > 0 else 1]
    width, height = (known.spacing[dimension] for dimension in dimensions)
    if first > second:
        return _View(turned, (height, width), _NAMES[second])
    return _View(np.swapaxes(turned, 0, 1), (width, height), _NAMES[first])


def _limits(views: Iterable[_View]) -> tuple[float, float]:
    """What is black and what is white: a few outliers, bright vessels or spikes, shall not darken all the rest."""
    values = np.concatenate([view.values.ravel() for view in views])
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(one) for one in np.percentile(finite, (1, 99.5)))
    if low >= high:
        low, high = float(finite.min()), float(finite.max())
    return low, high


def _grey(values: NDArray[np.generic], limits: tuple[float, float]) -> Pixels:
    """Grey values; what is no number is black, and an image of one value grey."""
    low, high = limits
    if low >= high:
        return np.full(values.shape, 128 if low else 0, np.uint8)
    scaled = (values.astype(np.float64) - low) / (high - low)
    # 64 levels: the eye sees no more, and the file is a third smaller.
    return (np.clip(np.nan_to_num(scaled, nan=0.0), 0, 1) * 63).astype(np.uint8) * np.uint8(4)


def _image(view: _View, limits: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    colours = view.values.ndim == 3
    pixels = view.values.astype(np.uint8) if colours else _grey(view.values, limits)
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    return image if colours else image.point(_coarser)


_coarser = [level & 0xFC for level in range(256)]


def _sizes(views: Sequence[_View], height: int, width: int) -> list[tuple[int, int]]:
    """In pixels, all on one scale, so that the highest has the height and all together not more than the width."""
    extents = [view.extent for view in views]
    gaps = _GAP * (len(views) - 1)
    scale = min(height / max(h for _, h in extents), (width - gaps) / sum(w for w, _ in extents))
    return [(max(1, int(w * scale + 0.01)), max(1, int(h * scale + 0.01))) for w, h in extents]


_GAP = 2


def _beside(
    views: Sequence[_View], limits: tuple[float, float], height: int, width: int, *, marked: bool = False
) -> Image.Image:
    """Planes side by side; the first letter of a direction at the left edge of each, where it is known."""
    sizes = _sizes(views, height, width)
    total = sum(w for w, _ in sizes) + _GAP * (len(sizes) - 1)
    colours = any(view.values.ndim == 3 for view in views)
    sheet = Image.new("RGB" if colours else "L", (total, max(h for _, h in sizes)))
    pen, left = ImageDraw.Draw(sheet), 0
    for view, size in zip(views, sizes, strict=True):
        sheet.paste(_image(view, limits, size), (left, (sheet.height - size[1]) // 2))
        if marked:
            white, black = ((230,) * 3, (0,) * 3) if colours else (230, 0)
            spot = (left + 4, sheet.height // 2 - 6)
            pen.text(spot, view.left, fill=white, stroke_width=1, stroke_fill=black)
        left += size[0] + _GAP
    return sheet


def _mosaic(views: Sequence[_View], limits: tuple[float, float]) -> Image.Image:
    """Slices in rows of six."""
    in_row = 6
    rows = [views[start : start + in_row] for start in range(0, len(views), in_row)]
    [size] = set(_sizes(views[:1], HEIGHT // 2, (WIDTH - _GAP * (in_row - 1)) // in_row))
    across = min(in_row, len(views))
    colours = views[0].values.ndim == 3
    sheet = Image.new(
        "RGB" if colours else "L", ((size[0] + _GAP) * across - _GAP, (size[1] + _GAP) * len(rows) - _GAP)
    )
    for row, some in enumerate(rows):
        for column, view in enumerate(some):
            sheet.paste(_image(view, limits, size), (column * (size[0] + _GAP), row * (size[1] + _GAP)))
    return sheet


def _above(first: Image.Image, second: Image.Image) -> Image.Image:
    sheet = Image.new(first.mode, (max(first.width, second.width), first.height + _GAP + second.height))
    sheet.paste(first, ((sheet.width - first.width) // 2, 0))
    sheet.paste(second, ((sheet.width - second.width) // 2, first.height + _GAP))
    return sheet


# ------------------------------------------------------------------ signals

CHANNELS, SMALL_CHANNELS = 16, 5
"""Channels in a picture and in a thumbnail, evenly spread over all."""

SECONDS = 10.0

_PAPER, _INK, _PALE = 252, 40, 190


def _draw_waves(name: str, files: Mapping[str, Path]) -> _Drawn:
    """Some seconds from the middle of a recording, and the power of all these channels by frequency."""
    waves = read_waves(name, files, seconds=SECONDS, channels=CHANNELS)
    traces = np.stack([np.asarray(one, np.float32) for one in _numbers(waves)])
    large = _above(_traces(traces, (WIDTH, 2 * HEIGHT)), _power(traces, waves.rate, (WIDTH, HEIGHT // 2)))
    few = traces[:: -(-len(traces) // SMALL_CHANNELS)]
    seconds = traces.shape[1] / waves.rate
    shows = f"{seconds:.3g} s of {len(traces)} of {waves.channels} channels, and their power by frequency"
    return large, _traces(few, (SMALL_WIDTH, SMALL_HEIGHT)), shows


def _numbers(waves: Waves) -> Iterator[Floats]:
    """The channels as numbers, each around its own middle."""
    for data, kind, scale in waves.samples:
        if kind == "int24":
            bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
            raw = (bytes_[:, 0] << 8 | bytes_[:, 1] << 16 | bytes_[:, 2] << 24) >> 8
        else:
            raw = np.frombuffer(data, np.dtype(kind))
        values = np.nan_to_num(raw.astype(np.float64) * scale, nan=0.0, posinf=0.0, neginf=0.0)
        yield (values - np.median(values)).astype(np.float32)


def _traces(channels: Floats, size: tuple[int, int]) -> Image.Image:
    """Lines below each other, all on one scale: that of the channel in the middle by its strength."""
    sheet = Image.new("L", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    step = size[1] / len(channels)
    strengths = np.percentile(np.abs(channels), 98, axis=1)
    strength = float(np.median(strengths[strengths > 0])) if (strengths > 0).any() else 1.0
    for number, channel in enumerate(channels):
        middle = (number + 0.5) * step
        low, high = _envelope(channel, size[0])
        for x in range(len(low)):
            reach = [middle - max(-1.2, min(1.2, float(y) / strength)) * step / 2 for y in (high[x], low[x])]
            pen.line([(x, round(reach[0])), (x, round(reach[1]))], fill=_INK)
    return sheet


def _envelope(channel: Floats, width: int) -> tuple[Floats, Floats]:
    """The lowest and the highest value in each column of a picture; neighbours share one, so that lines hang on."""
    edges = np.linspace(0, len(channel) - 1, width + 1).astype(int)
    pieces = [channel[start : end + 1] for start, end in pairwise(edges)]
    return np.array([piece.min() for piece in pieces]), np.array([piece.max() for piece in pieces])


def _power(channels: Floats, rate: float, size: tuple[int, int]) -> Image.Image:
    """Each channel's power by frequency, up to 100 Hz, on a scale of decades; what all have in common in black."""
    window = min(channels.shape[1], max(8, round(2 * rate)))
    starts = range(0, channels.shape[1] - window + 1, max(1, window // 2))
    taper = np.hanning(window)
    spectra = np.mean([np.abs(np.fft.rfft(channels[:, s : s + window] * taper)) ** 2 for s in starts], axis=0)
    kept = max(3, min(spectra.shape[1], 1 + int(100 * window / rate)))
    decades = np.log10(np.maximum(spectra[:, 1:kept], 1e-30))
    lines = np.vstack([decades, np.median(decades, axis=0, keepdims=True)])
    low, high = (
        float(one) for one in np.percentile(decades[decades > -30] if (decades > -30).any() else lines, (0, 100))
    )
    sheet = Image.new("L", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for hertz in range(10, 101, 10):
        x = round((hertz * window / rate - 1) / max(1, lines.shape[1] - 1) * (size[0] - 1))
        if 0 < x < size[0]:
            pen.line([(x, 0), (x, size[1])], fill=230)
            pen.text((x + 2, size[1] - 12), f"{hertz} Hz", fill=140)
    across = np.linspace(0, size[0] - 1, lines.shape[1])
    for number, line in enumerate(lines):
        down = (high - np.clip(line, low, high)) / max(high - low, 1e-9) * (size[1] - 5) + 2
        points = [(float(x), float(y)) for x, y in zip(across, down, strict=True)]
        pen.line(points, fill=_INK if number == len(channels) else _PALE)
    return sheet


def _draw_spectrum(stream: _Pass, known: Geometry) -> _Drawn:
    """Spectroscopy of one place: the spectrum of the first signal there is."""
    if len(known.shape) < 4 or known.shape[3] < 8 or not np.iscomplexobj(np.empty(0, _kind(known))):
        raise PictureError("the image is a single voxel")
    kind = _kind(known)
    points = min(known.shape[3], 1 << 16)
    signal = np.frombuffer(stream.at(known.offset, points * kind.itemsize), kind)
    spectrum = np.abs(np.fft.fftshift(np.fft.fft(np.nan_to_num(signal)))).astype(np.float32)[np.newaxis]
    return _curve(spectrum[0], (WIDTH, HEIGHT)), _curve(spectrum[0], (SMALL_WIDTH, SMALL_HEIGHT)), "its spectrum"


def _curve(values: Floats, size: tuple[int, int]) -> Image.Image:
    sheet = Image.new("L", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    low, high = _envelope(values, size[0])
    top = float(high.max()) or 1.0
    for x in range(size[0]):
        ends = [(x, round((1 - float(one) / top) * (size[1] - 9)) + 4) for one in (high[x], low[x])]
        pen.line(ends, fill=_INK)
    return sheet


# ------------------------------------------------------------------ microscopes


def _draw_photograph(name: str, files: Mapping[str, Path]) -> _Drawn:
    reader = PngImagePlugin.PngImageFile if name.endswith(".png") else TiffImagePlugin.TiffImageFile
    with closing(reader(files[name])) as image:
        if image.width * image.height > MOST_PIXELS:
            raise PictureError(f"a picture of more than {MOST_PIXELS >> 20} million pixels is not read")
        plain = _plain(image)
    sizes = ((WIDTH, 2 * HEIGHT), (SMALL_WIDTH, SMALL_HEIGHT))
    large, small = (_fitted(plain, size) for size in sizes)
    return large, small, "the whole picture"


def _plain(image: Image.Image) -> Image.Image:
    """Eight bits of grey, or colours."""
    if image.mode.startswith(("I", "F")):
        view = _View(np.asarray(image).astype(np.float32), (1, 1))
        return Image.fromarray(_grey(view.values, _limits([view])))
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scale = min(1.0, size[0] / image.width, size[1] / image.height)
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(fitted, Image.Resampling.BILINEAR, reducing_gap=3.0)


_ARTISTS: Mapping[str, Callable[[str, Mapping[str, Path]], _Drawn]] = {
    ".nii.gz": _draw_volume,
    ".nii": _draw_volume,
    ".edf": _draw_waves,
    ".bdf": _draw_waves,
    ".vhdr": _draw_waves,
    ".png": _draw_photograph,
    ".tif": _draw_photograph,
    ".ome.btf": _draw_photograph,
}
