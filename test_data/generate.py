"""Make the sample BIDS dataset in `sample/`, and larger or stranger ones for single tests.

Run `python test_data/generate.py [OUT]`. The same bytes come out on every machine, so that the committed dataset can be
compared with what the code makes. Three habits see to that:

- noise is taken from a bit generator, whose stream NumPy promises never to change (that of `Generator` may);
- sines and exponentials are rounded to integers or short fractions, which hides the bit in which processors differ;
- gzip and PNG are packed by `deflate` below, because zlib and zlib-ng pack the same bytes differently.

A dataset is a mapping from each path to what lies there. Making it is pure; `write` alone touches the disk. In order:
writing, text, compression, file formats, phantoms, each datatype, what lies around them, datasets for single tests.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_layout
from nibabel.nifti2 import header_dtype as nifti2_layout
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; `mode` holds its permission bits."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, with its target as it stands in the link."""

    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with nothing in it."""


Entry = File | Link | Folder


def generate(out: Path) -> None:
    """Write the sample dataset to `out`, or restore there what is missing or changed."""
    write(out, sample().items())


def generate_awkward(out: Path) -> None:
    """Write a dataset with names that only a POSIX file system that tells case apart can store."""
    write(out, awkward().items())


def generate_many(out: Path, *, subjects: int, files_per_session: int = 12) -> None:
    """Write a dataset of many subjects with one session each, all files small and distinct."""
    write(out, many(subjects, files_per_session))


def generate_annex(out: Path) -> None:
    """Write a dataset as git-annex keeps it: images are links into `.git/annex`, some without their content."""
    write(out, annexed().items())


def write(out: Path, entries: Iterable[tuple[str, Entry]]) -> None:
    """Write `entries` below `out`. What is right already keeps its time stamp; other files are left alone."""
    made: set[Path] = set()
    for name, entry in entries:
        path = out / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        _write_entry(path, entry)


def _write_entry(path: Path, entry: Entry) -> None:
    match entry:
        case File():
            _write_file(path, entry)
        case Link(target):
            _write_link(path, target)
        case Folder():
            path.mkdir(exist_ok=True)


def _write_file(path: Path, file: File) -> None:
    if path.is_symlink():  # writing would go through the link, to a file that may not be ours
        path.unlink()
    if not path.is_file() or path.read_bytes() != file.data:
        path.write_bytes(file.data)
    if path.stat().st_mode & 0o777 != file.mode:
        path.chmod(file.mode)


def _write_link(path: Path, target: str) -> None:
    if path.is_symlink() and path.readlink() == Path(target):
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def text(*lines: str) -> File:
    """A UTF-8 text file."""
    return File("".join(line + "\n" for line in lines).encode())


def table(*rows: str) -> File:
    """A tsv file; spaces in `rows` part the columns."""
    return text(*("\t".join(row.split()) for row in rows))


def sidecar(*parts: Mapping[str, object], **fields: object) -> File:
    """A JSON file of all fields; later ones win."""
    merged = {key: value for part in (*parts, fields) for key, value in part.items()}
    return text(json.dumps(merged, indent=2, ensure_ascii=False))


def describe(**columns: str) -> File:
    """A JSON file that describes the columns of a table."""
    return sidecar({name: {"Description": description} for name, description in columns.items()})


def gzipped(data: bytes) -> bytes:
    """Pack `data` as gzip, without a name and a time."""
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return header + deflate(data) + struct.pack("<II", zlib.crc32(data), len(data))


def deflate(data: bytes) -> bytes:
    """Pack `data` as one deflate block (RFC 1951) with the fixed Huffman codes, shortening only runs.

    A run repeats what stood two bytes earlier. That catches the zeros around a head in 16-bit voxels without a search.

    >>> zlib.decompress(deflate(bytes(1000)), wbits=-15) == bytes(1000)
    True
    """
    values = np.frombuffer(data, dtype=np.uint8)
    tokens = [_ONLY_BLOCK]
    done = 0
    for start, stop in _runs(values):
        tokens += [_LITERALS[values[done:start]], *(_RUNS[length] for length in _run_lengths(stop - start))]
        done = stop
    tokens += [_LITERALS[values[done:]], _END_OF_BLOCK]
    return _pack(np.concatenate(tokens))


def _runs(values: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """The stretches of three bytes or more in which each byte equals the one two places before."""
    same = np.concatenate(([False], values[2:] == values[:-2], [False]))
    edges = np.flatnonzero(same[1:] != same[:-1]) + 2
    return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist() if stop - start >= 3]


def _run_lengths(length: int) -> list[int]:
    """Cut a run into lengths that have a code, 3 to 258.

    >>> _run_lengths(2 * 258 + 1)
    [258, 256, 3]
    """
    full, rest = divmod(length, 258)
    if rest in {1, 2}:
        return [258] * (full - 1) + [255 + rest, 3]
    return [258] * full + [rest] * (rest > 0)


def _token(bits: str) -> Integers:
    """Bits in the order in which they are sent, as one number: the bits above, how many they are in the lowest five."""
    return np.array([int(bits[::-1], 2) << 5 | len(bits)], dtype=np.int64)


def _literal_bits(value: int) -> str:
    return f"{0x30 + value:08b}" if value < 144 else f"{0x190 + value - 144:09b}"


def _run_bits(length: int) -> str:
    """The code of a length, its extra bits (lowest first) and the code of distance 2."""
    steps = length - 3
    extra = max(0, steps.bit_length() - 3) if length < 258 else 0
    symbol = 257 + 4 * extra + (steps >> extra) if length < 258 else 285
    code = f"{symbol - 256:07b}" if symbol < 280 else f"{0xC0 + symbol - 280:08b}"
    return code + f"{steps:08b}"[::-1][:extra] + "00001"


def _pack(tokens: Integers) -> bytes:
    places = np.arange(18)
    bits = (tokens[:, None] >> 5 >> places) & 1
    return np.packbits(bits[places < (tokens & 31)[:, None]].astype(np.uint8), bitorder="little").tobytes()


_ONLY_BLOCK = _token("110")
_END_OF_BLOCK = _token("0000000")
_LITERALS = np.concatenate([_token(_literal_bits(value)) for value in range(256)])
_RUNS = {length: _token(_run_bits(length)) for length in range(3, 259)}


def nifti(voxels: NDArray[np.generic], zooms: tuple[float, ...], **fields: object) -> bytes:
    """A NIfTI file in RAS orientation with the middle of the volume at the origin; `fields` go into the header."""
    fields = {**_NIFTI_1, **fields}
    rank = voxels.ndim
    header = np.zeros((), dtype=_NIFTI_LAYOUTS[fields["sizeof_hdr"]].newbyteorder(voxels.dtype.byteorder))
    header["dim"] = [rank, *voxels.shape, *[1] * (7 - rank)]
    header["pixdim"] = [1, *zooms, *[1] * (7 - rank)]
    header["datatype"] = _NIFTI_TYPES[voxels.dtype.kind, voxels.dtype.itemsize]
    header["bitpix"] = 8 * voxels.dtype.itemsize
    header["xyzt_units"] = _MM if rank == 3 else _MM | _SEC
    for axis, name in enumerate("xyz"):
        start = -zooms[axis] * (voxels.shape[axis] - 1) / 2
        header[f"qoffset_{name}"] = start
        header[f"srow_{name}"] = [zooms[axis] * (axis == column) for column in range(3)] + [start]
    for name, value in fields.items():
        header[name] = value
    return header.tobytes() + bytes(4) + voxels.tobytes(order="F")


_NIFTI_TYPES = {("u", 1): 2, ("i", 2): 4, ("c", 8): 32}
_MM, _SEC = 2, 8
_NIFTI_1: dict[str, object] = {
    "sizeof_hdr": 348,
    "magic": b"n+1",
    "vox_offset": 352,
    "scl_slope": 1,
    "qform_code": 1,
    "sform_code": 1,
    "descrip": b"phantom",
}
_NIFTI_2: dict[str, object] = {"sizeof_hdr": 540, "magic": b"n+2\x00\r\n\x1a\n", "vox_offset": 544}
_NIFTI_LAYOUTS: dict[object, np.dtype[np.void]] = {348: nifti1_layout, 540: nifti2_layout}


def sagittal(voxels: NDArray[np.int16], zooms: Triple) -> bytes:
    """A NIfTI file stored as a scanner sends sagittal slices: the first voxel axis runs from back to front."""
    shape = voxels.shape
    rows: list[list[float]] = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    for stored, world in enumerate(_SAGITTAL):
        rows[world][stored] = zooms[world]
        rows[world][3] = -zooms[world] * (shape[world] - 1) / 2
    fields: dict[str, object] = dict(zip(("srow_x", "srow_y", "srow_z"), rows, strict=True))
    turned = np.transpose(voxels, _SAGITTAL)
    return nifti(turned, tuple(zooms[world] for world in _SAGITTAL), qform_code=0, **fields)


_SAGITTAL = (1, 2, 0)


def nifti_mrs(signal: NDArray[np.complex64], dwell: float) -> bytes:
    """A NIfTI-MRS file: one voxel, its signal along the fourth axis, a JSON header extension."""
    facts = {"SpectrometerFrequency": [123.2], "ResonantNucleus": ["1H"]}
    content = json.dumps(facts).encode().ljust(120)
    extension = struct.pack("<4BII", 1, 0, 0, 0, len(content) + 8, 44) + content
    plain = nifti(signal.reshape(1, 1, 1, -1), (20, 20, 20, dwell), vox_offset=480, intent_name=b"mrs_v0_2")
    return plain[:348] + extension + plain[352:]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey 8-bit PNG file."""
    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()
    packed = b"\x78\x01" + deflate(lines) + struct.pack(">I", zlib.adler32(lines))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", head) + _png_chunk(b"IDAT", packed) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wav(samples: NDArray[np.int16], rate: int) -> bytes:
    """A mono 16-bit WAV file."""
    data = samples.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def edf(signals: Mapping[str, NDArray[np.int16]], *, rate: int, unit: str = "uV") -> bytes:
    """An EDF file with one-second records; a step of the samples is a tenth of `unit`."""
    n = len(signals)
    records = min(len(signal) for signal in signals.values()) // rate
    head = _padded((8, "0"), (80, "X X X X"), (80, "Startdate X X X X"), (8, "01.01.85"), (8, "00.00.00"))
    head += _padded((8, str(256 * (n + 1))), (44, ""), (8, str(records)), (8, "1"), (4, str(n)))
    head += b"".join(_padded((16, name)) for name in signals)
    head += b"".join(_padded((width, value)) * n for width, value in _edf_signal(rate, unit))
    block = np.stack([signal[: records * rate].reshape(records, rate) for signal in signals.values()], axis=1)
    return head + block.astype("<i2").tobytes()


def _edf_signal(rate: int, unit: str) -> tuple[tuple[int, str], ...]:
    limits = ((8, "-3276.8"), (8, "3276.7"), (8, "-32768"), (8, "32767"))
    return ((80, "AgAgCl electrode"), (8, unit), *limits, (80, "HP:0.1Hz LP:40Hz"), (8, str(rate)), (32, ""))


def _padded(*fields: tuple[int, str]) -> bytes:
    return b"".join(value.encode("ascii").ljust(width) for width, value in fields)


def brainvision(stem: str, signals: Mapping[str, NDArray[np.int16]], *, rate: int) -> dict[str, File]:
    """The three files of a BrainVision recording, by extension."""
    channels = [f"Ch{i}={name},,0.1,µV" for i, name in enumerate(signals, start=1)]
    marks = [f"Mk{i}=Stimulus,S  1,{i * rate},1,0" for i in range(2, 6)]
    header = text(
        "Brain Vision Data Exchange Header File Version 1.0",
        *("", "[Common Infos]", "Codepage=UTF-8", f"DataFile={stem}.eeg", f"MarkerFile={stem}.vmrk"),
        *("DataFormat=BINARY", "DataOrientation=MULTIPLEXED"),
        *(f"NumberOfChannels={len(signals)}", f"SamplingInterval={1_000_000 // rate}"),
        *("", "[Binary Infos]", "BinaryFormat=INT_16", "", "[Channel Infos]", *channels),
    )
    markers = text(
        "Brain Vision Data Exchange Marker File, Version 1.0",
        *("", "[Common Infos]", "Codepage=UTF-8", f"DataFile={stem}.eeg"),
        *("", "[Marker Infos]", "Mk1=New Segment,,1,1,0,19110105101500000000", *marks),
    )
    samples = np.stack(list(signals.values()), axis=1).astype("<i2")
    return {".vhdr": header, ".vmrk": markers, ".eeg": File(samples.tobytes())}


def fif(signals: NDArray[np.int16], *, part: int) -> bytes:
    """A stub of a FIF file: tags for the file, one block of raw data, and the end."""
    identity = struct.pack(">5i", 0x0001_0003, 0x1234, 0x5678, 1_704_450_000, part)
    tags = [(100, 31, identity), (101, 3, struct.pack(">i", -1)), (104, 3, struct.pack(">i", 102))]
    tags += [(300, 2, signals.astype(">i2").tobytes()), (105, 3, struct.pack(">i", 102))]
    return b"".join(struct.pack(">4i", kind, form, len(data), 0) + data for kind, form, data in tags)


def zarr(pixels: NDArray[np.uint8], chunk: int) -> dict[str, File]:
    """The files of an OME-Zarr image of two axes with one resolution."""
    rows, columns = (size // chunk for size in pixels.shape)
    array = {"zarr_format": 2, "shape": list(pixels.shape), "chunks": [chunk, chunk], "dtype": "|u1", "order": "C"}
    rest = {"compressor": None, "fill_value": 0, "filters": None, "dimension_separator": "/"}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}
    chunks = {
        f"0/{row}/{column}": File(pixels[row * chunk :, column * chunk :][:chunk, :chunk].tobytes())
        for row in range(rows)
        for column in range(columns)
    }
    return {
        ".zgroup": sidecar(zarr_format=2),
        ".zattrs": sidecar(multiscales=[{"version": "0.4", "axes": axes, "datasets": [level]}]),
        "0/.zarray": sidecar(array, rest),
        **chunks,
    }


def noise(seed: str, shape: tuple[int, ...], spread: int) -> Integers:
    """Bell-shaped whole numbers around zero with a standard deviation of about `spread`."""
    words = np.random.PCG64(zlib.crc32(seed.encode())).random_raw(int(np.prod(shape)))
    sums: Integers = words.astype("<u8").view(np.uint8).reshape(*shape, 8).sum(axis=-1, dtype=np.int64)
    return (sums - 1020) * spread // 209  # eight bytes: mean 1020, deviation 209


def random_bytes(seed: str, size: int) -> bytes:
    """Bytes that nothing can pack."""
    return np.random.PCG64(zlib.crc32(seed.encode())).random_raw(-(-size // 8)).astype("<u8").tobytes()[:size]


def waves(seed: str, names: str, *, seconds: int, rate: int) -> dict[str, NDArray[np.int16]]:
    """One sine with noise per channel, each of another frequency."""
    time = np.arange(seconds * rate) / rate
    sines = {name: np.sin(2 * np.pi * (3 + 2 * i) * time + 0.1 * i) for i, name in enumerate(names.split())}
    return {
        name: (np.rint(400 * sine).astype(np.int64) + noise(seed + name, time.shape, 40)).astype(np.int16)
        for name, sine in sines.items()
    }


# Tissue, centre and radii as fractions of half the field of view, depth of folding. Later ones lie inside earlier ones.
TISSUES = ("air", "scalp", "skull", "csf", "grey", "white")
ELLIPSOIDS: tuple[tuple[str, Triple, Triple, float], ...] = (
    ("scalp", (0, 0, 0), (0.84, 0.95, 0.88), 0),
    ("scalp", (0, 0.93, -0.2), (0.09, 0.07, 0.14), 0),  # the nose tells front from back
    ("skull", (0, 0, 0), (0.77, 0.88, 0.81), 0),
    ("csf", (0, 0, 0), (0.70, 0.81, 0.74), 0),
    ("grey", (0, 0, 0.02), (0.65, 0.76, 0.69), 0.15),
    ("white", (0, 0, 0.04), (0.54, 0.64, 0.56), 0.40),
    ("grey", (-0.16, 0, -0.06), (0.09, 0.15, 0.10), 0),
    ("grey", (0.16, 0, -0.06), (0.09, 0.15, 0.10), 0),
    ("csf", (-0.09, 0.02, 0.12), (0.06, 0.30, 0.12), 0),
    ("csf", (0.10, 0.02, 0.12), (0.07, 0.32, 0.13), 0),  # the right one is larger: left and right differ
)
CONTRASTS = {
    "T1w": (0, 900, 110, 190, 520, 800),
    "T2w": (0, 320, 60, 990, 580, 420),
    "T2starw": (0, 260, 30, 800, 560, 470),
    "bold": (0, 220, 30, 760, 620, 540),
    "dwi": (0, 150, 20, 900, 520, 480),
    "asl": (0, 120, 20, 600, 500, 380),
    "pet": (0, 40, 20, 30, 400, 130),
    "perfusion": (0, 0, 0, 0, 24, 8),
    "diffusion": (0, 1000, 500, 3000, 900, 750),  # square micrometres per second
}
HEADS = {"01": (1.0, 1.0, 1.0), "02": (0.95, 0.98, 1.02), "03": (1.02, 0.94, 0.96)}


def grid(shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Coordinates of the voxels' centres, from -1 to 1 along each axis."""
    x, y, z = np.meshgrid(*((2 * np.arange(size) + 1) / size - 1 for size in shape), indexing="ij")
    return x, y, z


def anatomy(subject: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """The number of the tissue in each voxel of a head."""
    at = grid(shape)
    folds = np.sin(17 * at[0]) * np.sin(16 * at[1] + 0.3) * np.sin(15 * at[2] + 0.2)
    labels = np.zeros(shape, dtype=np.int8)
    for tissue, centre, radii, depth in ELLIPSOIDS:
        reach = zip(at, centre, radii, HEADS[subject], strict=True)
        distance = sum(((place - middle) / (radius * size)) ** 2 for place, middle, radius, size in reach)
        labels[distance + depth * folds < 1] = TISSUES.index(tissue)
    return labels


def paint(labels: NDArray[np.int8], contrast: str) -> Integers:
    """Give each voxel the brightness of its tissue."""
    return np.array(CONTRASTS[contrast], dtype=np.int64)[labels]


def scan(clean: Integers, seed: str, spread: int) -> NDArray[np.int16]:
    """Add a scanner's noise inside the head, and keep the air empty."""
    noisy = np.maximum(clean + noise(seed, clean.shape, spread), 1)
    return np.where(clean > 0, noisy, 0).astype(np.int16)


def series(volumes: Iterable[Integers], seed: str, spread: int) -> NDArray[np.int16]:
    """Stack volumes in time and add noise."""
    return scan(np.stack(list(volumes), axis=-1), seed, spread)


def rounded(values: NDArray[np.number]) -> Integers:
    """The nearest whole numbers."""
    whole: Integers = np.rint(values).astype(np.int64)
    return whole


@dataclass(frozen=True, slots=True)
class Visit:
    """A subject, at one session or without any."""

    subject: str
    session: str = ""

    @property
    def stem(self) -> str:
        """What every file name of the visit begins with."""
        return f"sub-{self.subject}" + f"_ses-{self.session}" * bool(self.session)

    @property
    def folder(self) -> str:
        """Where the visit's files lie."""
        return self.stem.replace("_", "/")

    def path(self, datatype: str, name: str) -> str:
        """The path of a file of this visit, whose name is given without subject and session."""
        return f"{self.folder}/{datatype}/{self.stem}_{name}"

    def place(self, datatype: str, files: Mapping[str, Entry]) -> dict[str, Entry]:
        """Give `files` of one datatype their paths."""
        return {self.path(datatype, name): entry for name, entry in files.items()}


PRE = Visit("01", "pre")
POST = Visit("01", "post")
SECOND_PRE = Visit("02", "pre")
SECOND_POST = Visit("02", "post")
THIRD = Visit("03")

SCANNER = {
    "Manufacturer": "Phantom Works",
    "ManufacturersModelName": "Ellipsoid 3T",
    "DeviceSerialNumber": "0001",
    "StationName": "MR1",
    "SoftwareVersions": "1.0",
    "InstitutionName": "Institute of Ellipsoids",
    "MagneticFieldStrength": 3.0,
    "ReceiveCoilName": "Head_32",
}
EPI = {"PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.0123, "EffectiveEchoSpacing": 0.00065}


def packed(voxels: NDArray[np.generic], zooms: tuple[float, ...], **fields: object) -> File:
    """A `.nii.gz` file."""
    return File(gzipped(nifti(voxels, zooms, **fields)))


def anat() -> dict[str, Entry]:
    """Structural images: RAS and sagittal, packed and plain, NIfTI-1 of both byte orders and NIfTI-2, phase too."""
    return {
        **PRE.place("anat", {"T1w.nii.gz": _structural(PRE, "T1w", (48, 56, 48)), "T1w.json": _T1W_JSON}),
        **PRE.place("anat", {"T2w.nii.gz": _structural(PRE, "T2w", (36, 44, 24)), "T2w.json": _T2W_JSON}),
        **POST.place("anat", {"T1w.nii.gz": _structural(POST, "T1w", (32, 38, 32))}),
        **SECOND_PRE.place("anat", {"T1w.nii": _big_endian(SECOND_PRE, (28, 34, 28)), **_t2starw(SECOND_PRE)}),
        **THIRD.place("anat", {"T1w.nii.gz": _sagittal_t1w(THIRD, (32, 38, 32)), "T1w.json": _T1W_JSON}),
        **THIRD.place("anat", {"T2w.nii.gz": _nifti2(THIRD, (24, 28, 24)), "T2w.json": _T2W_JSON}),
    }


_T1W_JSON = sidecar(RepetitionTime=2.3, EchoTime=0.00298, InversionTime=0.9, FlipAngle=9, MRAcquisitionType="3D")
_T2W_JSON = sidecar(RepetitionTime=3.2, EchoTime=0.408, FlipAngle=120, MRAcquisitionType="3D")


def _zooms(shape: tuple[int, ...]) -> Triple:
    """Voxel sizes at which a shape covers a head of 170 x 204 x 170 mm, in tenths of a millimetre."""
    x, y, z = (round(extent / size, 1) for extent, size in zip((170, 204, 170), shape, strict=False))
    return x, y, z


def _head(visit: Visit, contrast: str, shape: tuple[int, ...]) -> NDArray[np.int16]:
    return scan(paint(anatomy(visit.subject, shape), contrast), visit.stem + contrast, 25)


def _structural(visit: Visit, contrast: str, shape: tuple[int, ...]) -> File:
    return packed(_head(visit, contrast, shape), _zooms(shape))


def _big_endian(visit: Visit, shape: tuple[int, ...]) -> File:
    return File(nifti(_head(visit, "T1w", shape).astype(">i2"), _zooms(shape)))


def _nifti2(visit: Visit, shape: tuple[int, ...]) -> File:
    return packed(_head(visit, "T2w", shape), _zooms(shape), **_NIFTI_2)


def _sagittal_t1w(visit: Visit, shape: tuple[int, ...]) -> File:
    return File(gzipped(sagittal(_head(visit, "T1w", shape), _zooms(shape))))


def _t2starw(visit: Visit) -> dict[str, Entry]:
    shape = (24, 28, 12)
    fields = sidecar(RepetitionTime=0.5, EchoTime=0.02, FlipAngle=20)
    return {
        "part-mag_T2starw.nii.gz": _structural(visit, "T2starw", shape),
        "part-mag_T2starw.json": fields,
        "part-phase_T2starw.nii.gz": packed(_phase(visit, shape, 0.02), _zooms(shape)),
        "part-phase_T2starw.json": sidecar(RepetitionTime=0.5, EchoTime=0.02, FlipAngle=20, Units="arbitrary"),
    }


def _phase(visit: Visit, shape: tuple[int, ...], echo: float) -> NDArray[np.int16]:
    """A phase image, -4096 to 4095 for one turn, of a field that bends towards the front."""
    x, y, z = grid(shape)
    turns = 40 * echo * (0.3 * x + y * y - 0.5 * z * z + 0.21)
    wrapped = rounded(8192 * turns) + noise(f"{visit.stem}{echo}", shape, 30)
    return np.where(anatomy(visit.subject, shape) > 0, (wrapped + 4096) % 8192 - 4096, 0).astype(np.int16)


def func() -> dict[str, Entry]:
    """Functional images: runs, echoes, a reference, events, physiology; sidecars at three levels; an empty folder."""
    return {
        "task-rest_bold.json": sidecar(SCANNER, _BOLD, TaskName="rest", EchoTime=0.03),
        "task-nback_bold.json": sidecar(SCANNER, _BOLD, TaskName="nback"),
        "task-nback_events.json": describe(trial_type="How many letters to look back", response="Button pressed"),
        "sub-01/sub-01_task-rest_bold.json": sidecar(FlipAngle=77, Instructions="Keep your eyes open."),
        **PRE.place("func", {**_rest(PRE), **_nback(PRE)}),
        **SECOND_PRE.place("func", {"task-rest_bold.nii.gz": _bold(SECOND_PRE, "rest")}),
        f"{THIRD.folder}/func": Folder(),
    }


_BOLD = {**EPI, "RepetitionTime": 2.0, "FlipAngle": 80, "SliceTiming": [round(2 * i / 12, 3) for i in range(12)]}
_BOLD_SHAPE = (20, 20, 12)
_BOLD_ZOOMS = (9.0, 10.5, 14.0, 2.0)


def _bold(visit: Visit, seed: str, *, echo: float = 0.03, volumes: int = 8) -> File:
    """Volumes that dim with echo time, and in which one region rises every other time."""
    labels = anatomy(visit.subject, _BOLD_SHAPE)
    base = rounded(paint(labels, "bold") * np.exp(0.6 - 20 * echo))
    x, y, _ = grid(_BOLD_SHAPE)
    active = (labels == TISSUES.index("grey")) & (y < -0.2) & (abs(x) < 0.4)
    times = (base + active * base * (volume // 2 % 2) // 30 for volume in range(volumes))
    return packed(series(times, visit.stem + seed, 6), _BOLD_ZOOMS)


def _rest(visit: Visit) -> dict[str, Entry]:
    reference = scan(paint(anatomy(visit.subject, _BOLD_SHAPE), "T2starw"), "sbref", 4)
    fields = sidecar(SCANNER, EPI, TaskName="rest", RepetitionTime=2.0, EchoTime=0.03, FlipAngle=77)
    return {
        "task-rest_run-1_bold.nii.gz": _bold(visit, "rest1"),
        "task-rest_run-1_sbref.nii.gz": packed(reference, _BOLD_ZOOMS[:3]),
        "task-rest_run-1_sbref.json": fields,
        "task-rest_run-1_physio.tsv.gz": _physio(),
        "task-rest_run-1_physio.json": _PHYSIO_JSON,
        "task-rest_run-2_bold.nii.gz": _bold(visit, "rest2", echo=0.035),
        "task-rest_run-2_bold.json": sidecar(EchoTime=0.035),
    }


def _physio() -> File:
    """Pulse and breath at 25 Hz, a table without a header as BIDS wants it."""
    signals = waves("physio", "cardiac respiratory", seconds=16, rate=25)
    rows = zip(*(signal.tolist() for signal in signals.values()), strict=True)
    return File(gzipped(table(*(f"{cardiac} {breath}" for cardiac, breath in rows)).data))


_PHYSIO_JSON = sidecar(
    SamplingFrequency=25,
    StartTime=-1.5,
    Columns=["cardiac", "respiratory"],
    PhysioType="generic",
    cardiac={"Description": "Pulse at the finger", "Units": "mV"},
    respiratory={"Description": "Belt around the chest", "Units": "mV"},
)


def _nback(visit: Visit) -> dict[str, Entry]:
    images = {f"task-nback_echo-{n}_bold.nii.gz": _bold(visit, f"e{n}", echo=te) for n, te in _ECHOES.items()}
    fields = {f"task-nback_echo-{n}_bold.json": sidecar(EchoTime=te) for n, te in _ECHOES.items()}
    return {**images, **fields, "task-nback_events.tsv": _NBACK_EVENTS}


_ECHOES = {1: 0.013, 2: 0.0299}
_NBACK_EVENTS = table(
    "onset duration trial_type response",
    "0.0 1.0 zero-back n/a",
    "3.5 1.0 two-back left",
    "7.25 1.0 zero-back n/a",
    "11.0 1.0 two-back right",
)


def dwi() -> dict[str, Entry]:
    """Diffusion images: one with its own gradients, one that inherits those of its subject."""
    return {
        "dwi.json": sidecar(SCANNER, EPI, RepetitionTime=4.0, EchoTime=0.08, FlipAngle=90),
        **PRE.place("dwi", {"dwi.nii.gz": _diffusion(PRE), "dwi.bval": _BVAL, "dwi.bvec": _BVEC}),
        "sub-02/sub-02_dwi.bval": _BVAL,
        "sub-02/sub-02_dwi.bvec": _BVEC,
        **SECOND_PRE.place("dwi", {"dwi.nii.gz": _diffusion(SECOND_PRE)}),
    }


_BVALUES = (0, 1000, 1000, 1000, 0, 1000, 1000, 1000)
_DIRECTIONS: tuple[Triple, ...] = (
    *((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    *((0, 0, 0), (0.707107, 0.707107, 0), (0.707107, 0, 0.707107), (0, 0.707107, 0.707107)),
)
_BVAL = text(" ".join(str(value) for value in _BVALUES))
_BVEC = text(*(" ".join(f"{direction[axis]:g}" for direction in _DIRECTIONS) for axis in range(3)))


def _diffusion(visit: Visit) -> File:
    """White matter lets water pass along the first axis, all other tissue alike in each direction."""
    labels = anatomy(visit.subject, (18, 18, 10))
    base = paint(labels, "dwi")
    mean = paint(labels, "diffusion") * 1e-6
    along = np.where(labels == TISSUES.index("white"), 1.2, 0.0)
    losses = (
        b * mean * (1 + along * (direction[0] ** 2 - 1 / 3)) for b, direction in zip(_BVALUES, _DIRECTIONS, strict=True)
    )
    volumes = (rounded(base * np.exp(-loss)) for loss in losses)
    return packed(series(volumes, visit.stem + "dwi", 5), (10.0, 11.5, 17.0, 4.0))


def fmap() -> dict[str, Entry]:
    """Field maps of all three kinds that a scanner gives: a difference of phases, two phases, opposite encoding."""
    return {
        **PRE.place("fmap", _magnitudes(PRE)),
        **PRE.place("fmap", {"phasediff.nii.gz": packed(_phase(PRE, _FMAP, 0.00246), _zooms(_FMAP))}),
        **PRE.place("fmap", {"phasediff.json": _PHASEDIFF_JSON, **_opposite(PRE)}),
        **SECOND_PRE.place("fmap", {**_magnitudes(SECOND_PRE), **_phases(SECOND_PRE)}),
    }


_FMAP = (20, 20, 12)
_FIELDMAP_ECHOES = {1: 0.00492, 2: 0.00738}
_PHASEDIFF_JSON = sidecar(
    SCANNER,
    EchoTime1=_FIELDMAP_ECHOES[1],
    EchoTime2=_FIELDMAP_ECHOES[2],
    IntendedFor=[f"bids::{PRE.path('func', f'task-rest_run-{run}_bold.nii.gz')}" for run in (1, 2)],
)


def _magnitudes(visit: Visit) -> dict[str, Entry]:
    clean = paint(anatomy(visit.subject, _FMAP), "T2starw")
    images = {n: scan(clean * (10 - n) // 9, f"{visit.stem}magnitude{n}", 5) for n in _FIELDMAP_ECHOES}
    return {f"magnitude{n}.nii.gz": packed(image, _zooms(_FMAP)) for n, image in images.items()}


def _phases(visit: Visit) -> dict[str, Entry]:
    target = f"bids::{visit.path('func', 'task-rest_bold.nii.gz')}"
    images = {f"phase{n}.nii.gz": packed(_phase(visit, _FMAP, te), _zooms(_FMAP)) for n, te in _FIELDMAP_ECHOES.items()}
    fields = {f"phase{n}.json": sidecar(SCANNER, EchoTime=te, IntendedFor=target) for n, te in _FIELDMAP_ECHOES.items()}
    return {**images, **fields}


def _opposite(visit: Visit) -> dict[str, Entry]:
    voxels = scan(paint(anatomy(visit.subject, (18, 18, 10)), "dwi"), "epi", 5)
    fields = sidecar(SCANNER, EPI, PhaseEncodingDirection="j", IntendedFor="ses-pre/dwi/sub-01_ses-pre_dwi.nii.gz")
    return {"dir-AP_epi.nii.gz": packed(voxels, (10.0, 11.5, 17.0)), "dir-AP_epi.json": fields}


def perf() -> dict[str, Entry]:
    """Arterial spin labelling: pairs of label and control, and the reference they are scaled with."""
    labels = anatomy("01", (18, 18, 10))
    still, flow = paint(labels, "asl"), paint(labels, "perfusion")
    pairs = series([still, still - flow, still, still - flow], "asl", 2)
    reference = scan(2 * still, "m0scan", 5)
    return PRE.place(
        "perf",
        {
            "asl.nii.gz": packed(pairs, (10.0, 11.5, 17.0, 4.5)),
            "asl.json": sidecar(SCANNER, _ASL),
            "aslcontext.tsv": table("volume_type", "control", "label", "control", "label"),
            "m0scan.nii.gz": packed(reference, (10.0, 11.5, 17.0)),
            "m0scan.json": _M0SCAN_JSON,
        },
    )


_ASL = {
    "ArterialSpinLabelingType": "PCASL",
    "MRAcquisitionType": "3D",
    "PulseSequenceType": "3D GRASE",
    "PostLabelingDelay": 1.8,
    "LabelingDuration": 1.8,
    "BackgroundSuppression": False,
    "M0Type": "Separate",
    "TotalAcquiredPairs": 2,
    "RepetitionTimePreparation": 4.5,
    "EchoTime": 0.014,
    "FlipAngle": 90,
    "AcquisitionVoxelSize": [10, 11.5, 17],
}
_M0SCAN_JSON = sidecar(
    SCANNER,
    RepetitionTimePreparation=6.0,
    EchoTime=0.014,
    FlipAngle=90,
    IntendedFor=f"bids::{PRE.path('perf', 'asl.nii.gz')}",
)


def mrs() -> dict[str, Entry]:
    """A spectrum of one voxel: three decaying lines."""
    time = np.arange(256) / 2000
    lines = ((1.0, 60.0, 12.0), (0.7, -180.0, 15.0), (0.5, 310.0, 18.0))
    signal = sum(size * np.exp((2j * np.pi * shift - decay) * time) for size, shift, decay in lines)
    short = np.rint(np.asarray(signal) * 1024) / 1024
    fields = {"WaterSuppression": True, "PulseSequenceType": "PRESS", "NumberOfTransients": 64}
    return PRE.place(
        "mrs",
        {
            "svs.nii.gz": File(gzipped(nifti_mrs(short.astype("<c8"), 0.0005))),
            "svs.json": sidecar(SCANNER, _SPECTRUM, fields),
        },
    )


_SPECTRUM = {
    "ResonantNucleus": ["1H"],
    "SpectrometerFrequency": [123.2],
    "SpectralWidth": 2000,
    "EchoTime": 0.035,
    "RepetitionTime": 2.0,
    "NumberOfSpectralPoints": 256,
    "AcquisitionVoxelSize": [20, 20, 20],
}


def pet() -> dict[str, Entry]:
    """Frames of growing length in which the tracer washes in, stored with a scale factor; and blood samples."""
    base = paint(anatomy("01", (18, 20, 12)), "pet")
    frames = series([base * uptake // 10 for uptake in (2, 7, 10, 9, 8)], "pet", 3)
    return POST.place(
        "pet",
        {
            "trc-FDG_pet.nii.gz": packed(frames, (9.5, 10.0, 14.0, 60.0), scl_slope=0.5),
            "trc-FDG_pet.json": sidecar(_PET),
            "trc-FDG_recording-manual_blood.tsv": _BLOOD,
            "trc-FDG_recording-manual_blood.json": _BLOOD_JSON,
        },
    )


_PET = {
    "Manufacturer": "Phantom Works",
    "ManufacturersModelName": "Ring",
    "InstitutionName": "Institute of Ellipsoids",
    "BodyPart": "BRAIN",
    "Units": "Bq/mL",
    "TracerName": "FDG",
    "TracerRadionuclide": "F18",
    "InjectedRadioactivity": 185.5,
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": 0.5,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": 371.0,
    "SpecificRadioactivityUnits": "MBq/ug",
    "ModeOfAdministration": "bolus",
    "TimeZero": "10:15:00",
    "ScanStart": 0,
    "InjectionStart": 0,
    "FrameTimesStart": [0, 60, 120, 300, 600],
    "FrameDuration": [60, 60, 180, 300, 600],
    "AcquisitionMode": "list mode",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "ReconMethodName": "3D-OSEM",
    "ReconMethodParameterLabels": ["subsets", "iterations"],
    "ReconMethodParameterUnits": ["none", "none"],
    "ReconMethodParameterValues": [16, 10],
    "ReconFilterType": "none",
    "AttenuationCorrection": "transmission scan",
}
_BLOOD = table(
    "time plasma_radioactivity whole_blood_radioactivity",
    *("0 0 0", "30 41.5 33.25", "90 28.75 24.5", "300 14.0 12.125", "900 6.5 5.75"),
)
_BLOOD_JSON = sidecar(
    PlasmaAvail=True,
    WholeBloodAvail=True,
    MetaboliteAvail=False,
    DispersionCorrected=False,
    time={"Description": "Time after TimeZero of the image", "Units": "s"},
    plasma_radioactivity={"Description": "Radioactivity in plasma", "Units": "kBq/mL"},
    whole_blood_radioactivity={"Description": "Radioactivity in whole blood", "Units": "kBq/mL"},
)


def micr() -> dict[str, Entry]:
    """Microscopy: an OME-Zarr folder, a plain picture, and a photo of the sample."""
    pixels = (noise("micr", (64, 64), 30) + 128 + np.indices((64, 64)).sum(axis=0) // 2).clip(0, 255).astype(np.uint8)
    fields = sidecar(PixelSize=[0.5, 0.5], PixelSizeUnits="um", BodyPart="BRAIN", SampleEnvironment="ex vivo")
    photo = sidecar(PhotoDescription="The block", IntendedFor=f"bids::{THIRD.path('micr', 'sample-A_SEM.png')}")
    return {
        "samples.tsv": table("sample_id participant_id sample_type", "sample-A sub-03 tissue"),
        "samples.json": describe(sample_type="Kind of sample as named by ENCODE"),
        **THIRD.place("micr", _inside("sample-A_BF.ome.zarr", zarr(pixels, 32))),
        **THIRD.place("micr", {"sample-A_BF.json": fields, "sample-A_SEM.json": fields}),
        **THIRD.place("micr", {"sample-A_SEM.png": File(png(pixels[:48, :40])), "sample-A_photo.json": photo}),
        **THIRD.place("micr", {"sample-A_photo.png": File(png(pixels[::4, ::4]))}),
    }


def _inside(folder: str, files: Mapping[str, Entry]) -> dict[str, Entry]:
    return {f"{folder}/{name}": entry for name, entry in files.items()}


def eeg() -> dict[str, Entry]:
    """A BrainVision recording with all its tables."""
    name = "task-oddball_eeg"
    files = brainvision(f"{POST.stem}_{name}", waves("eeg", "Fp1 Fp2 Cz Oz", seconds=8, rate=250), rate=250)
    return POST.place(
        "eeg",
        {
            **{name + extension: file for extension, file in files.items()},
            "task-oddball_eeg.json": sidecar(_ELECTRO, TaskName="oddball", SamplingFrequency=250, **_EEG),
            "task-oddball_channels.tsv": table("name type units", *(f"{c} EEG uV" for c in ("Fp1", "Fp2", "Cz", "Oz"))),
            "task-oddball_events.tsv": table("onset duration trial_type", *(f"{t} 0.1 tone" for t in (2, 3, 4, 5))),
            "electrodes.tsv": _EEG_ELECTRODES,
            "coordsystem.json": sidecar(EEGCoordinateSystem="CapTrak", EEGCoordinateUnits="mm"),
        },
    )


_ELECTRO = {
    "Manufacturer": "Phantom Works",
    "PowerLineFrequency": 50,
    "SoftwareFilters": "n/a",
    "RecordingDuration": 8,
    "RecordingType": "continuous",
}
_EEG = {"EEGReference": "FCz", "EEGChannelCount": 4, "EEGPlacementScheme": "10-20"}
_EEG_ELECTRODES = table("name x y z", "Fp1 -27 83 -3", "Fp2 27 83 -3", "Cz 0 0 100", "Oz 0 -92 32")


def ieeg() -> dict[str, Entry]:
    """Intracranial recordings: an EDF file and a MEF 3 folder, and contacts in two spaces."""
    signals = waves("ieeg", "A1 A2 A3", seconds=8, rate=200)
    channels = table("name type units low_cutoff high_cutoff", *(f"{name} SEEG uV 40 0.1" for name in signals))
    fields = sidecar(_ELECTRO, SamplingFrequency=200, iEEGReference="A8", SEEGChannelCount=3, TaskName="rest")
    return THIRD.place(
        "ieeg",
        {
            "task-rest_ieeg.edf": File(edf(signals, rate=200)),
            "task-rest_ieeg.json": fields,
            "task-rest_channels.tsv": channels,
            **_inside("task-rest_run-2_ieeg.mefd", _mef(signals)),
            "task-rest_run-2_ieeg.json": fields,
            "task-rest_run-2_channels.tsv": channels,
            **_contacts("ACPC", "-31 12 8", "-34 12 8", "-37 13 9"),
            **_contacts("MNI152NLin2009cAsym", "-29 11 9", "-33 11 9", "-36 12 10"),
        },
    )


def _mef(channels: Iterable[str]) -> dict[str, Entry]:
    """The folders of a MEF 3 session: one per channel, in it one per segment; the bytes mean nothing."""
    return {
        f"{name}.timd/{name}-000000.segd/{name}-000000.{kind}": File(random_bytes(f"{name}{kind}", size))
        for name in channels
        for kind, size in (("tdat", 400), ("tidx", 120), ("tmet", 200))
    }


def _contacts(space: str, *places: str) -> dict[str, Entry]:
    rows = (f"A{i} {place} 2" for i, place in enumerate(places, start=1))
    system = {"iEEGCoordinateSystem": space, "iEEGCoordinateUnits": "mm"}
    return {
        f"space-{space}_electrodes.tsv": table("name x y z size", *rows),
        f"space-{space}_coordsystem.json": sidecar(system, IntendedFor=f"bids::{THIRD.path('anat', 'T1w.nii.gz')}"),
    }


def meg() -> dict[str, Entry]:
    """Three makers' recordings: a CTF folder, a FIF file in two parts, a BTi folder without extension."""
    ctf, bti = "task-rest_acq-ctf_meg", "task-rest_acq-bti_meg"
    split = "task-rest_acq-neuromag_split-{:02}_meg"
    fields = sidecar(_ELECTRO, _MEG, TaskName="rest")
    return SECOND_POST.place(
        "meg",
        {
            **_inside(f"{ctf}.ds", _ctf(f"{SECOND_POST.stem}_{ctf}")),
            f"{ctf}.json": fields,
            **{f"{split.format(part)}.fif": File(fif(_squid(part), part=part)) for part in (1, 2)},
            **{f"{split.format(part)}.json": fields for part in (1, 2)},
            **_inside(bti, _BTI),
            f"{bti}.json": fields,
            "coordsystem.json": sidecar(MEGCoordinateSystem="CTF", MEGCoordinateUnits="cm"),
        },
    )


_MEG = {"SamplingFrequency": 200, "DewarPosition": "upright", "DigitizedLandmarks": False, "DigitizedHeadPoints": False}
_BTI = {
    "config": File(random_bytes("config", 600)),
    "c,rfDC": File(random_bytes("c,rfDC", 2000)),
    "hs_file": File(random_bytes("hs_file", 240)),
}


def _squid(part: int) -> NDArray[np.int16]:
    return np.stack(list(waves(f"meg{part}", "MEG0111 MEG0112 MEG0113", seconds=2, rate=200).values()), axis=1)


def _ctf(stem: str) -> dict[str, Entry]:
    """A CTF dataset: data, header and positions with the right first bytes, an empty list, a hidden file, a folder."""
    return {
        f"{stem}.meg4": File(b"MEG41CP\x00" + _squid(3).astype(">i4").tobytes()),
        f"{stem}.res4": File(b"MEG42RS\x00" + random_bytes("res4", 800)),
        f"{stem}.hc": text("standard nasion coil position relative to dewar (cm):", "\tx = 7.5", "\ty = 7.1"),
        "BadChannels": File(b""),
        ".bins": text("1 200"),
        "hz.ds/hz.meg4": File(b"MEG41CP\x00"),
    }


def emg() -> dict[str, Entry]:
    """Two muscles in an EDF file."""
    signals = waves("emg", "tibialis soleus", seconds=8, rate=200)
    names = [f"{name} EMG uV {name}" for name in signals]
    return SECOND_POST.place(
        "emg",
        {
            "task-walk_emg.edf": File(edf(signals, rate=200)),
            "task-walk_emg.json": sidecar(_ELECTRO, _EMG, TaskName="walk"),
            "task-walk_channels.tsv": table("name type units target_muscle", *names),
            "electrodes.tsv": table("name x y z", "tibialis 0.10 0.02 0.30", "soleus 0.11 -0.03 0.25"),
            "coordsystem.json": sidecar(_EMG_COORDINATES),
        },
    )


_EMG = {
    "SamplingFrequency": 200,
    "EMGChannelCount": 2,
    "EMGPlacementScheme": "Measured",
    "EMGReference": "ChannelSpecific",
    "EMGGround": "n/a",
}
_EMG_COORDINATES = {
    "EMGCoordinateSystem": "Other",
    "EMGCoordinateUnits": "m",
    "EMGCoordinateSystemDescription": "From the knee: to the right, to the front, down",
}


def nirs() -> dict[str, Entry]:
    """Near-infrared spectroscopy; the SNIRF file has only the first bytes of HDF5."""
    snirf = b"\x89HDF\r\n\x1a\n" + random_bytes("snirf", 1024)
    channels = (f"S1_D1_{wave} NIRSCWAMPLITUDE S1 D1 {wave} V" for wave in (760, 850))
    return SECOND_POST.place(
        "nirs",
        {
            "task-tapping_nirs.snirf": File(snirf),
            "task-tapping_nirs.json": sidecar(_ELECTRO, _NIRS, TaskName="tapping"),
            "task-tapping_channels.tsv": table("name type source detector wavelength_nominal units", *channels),
            "task-tapping_events.tsv": table("onset duration trial_type", "1.5 3 left", "5 3 right"),
            "optodes.tsv": table("name type x y z", "S1 source -0.04 0.03 0.13", "D1 detector -0.04 0.06 0.12"),
            "coordsystem.json": sidecar(NIRSCoordinateSystem="CapTrak", NIRSCoordinateUnits="m"),
        },
    )


_NIRS = {"SamplingFrequency": 10, "NIRSChannelCount": 2, "NIRSSourceOptodeCount": 1, "NIRSDetectorOptodeCount": 1}


def motion() -> dict[str, Entry]:
    """The path of one tracked point."""
    place = waves("motion", "x y z", seconds=2, rate=50)
    rows = zip(*(signal.tolist() for signal in place.values()), strict=True)
    return SECOND_POST.place(
        "motion",
        {
            "task-walk_tracksys-imu_motion.tsv": table(*(" ".join(f"{v / 10:.1f}" for v in row) for row in rows)),
            "task-walk_tracksys-imu_motion.json": sidecar(_MOTION),
            "task-walk_tracksys-imu_channels.tsv": table(
                "name component type tracked_point units", *(f"head_{axis} {axis} POS head mm" for axis in place)
            ),
        },
    )


_MOTION = {"TaskName": "walk", "TrackingSystemName": "imu", "SamplingFrequency": 50, "POSChannelCount": 3}


def beh() -> dict[str, Entry]:
    """A test without a recording."""
    rows = ("red red 0.512", "red green 0.734", "blue blue 0.498", "blue red n/a")
    fields = {"colour": {"Description": "Colour of the ink"}, "word": {"Description": "The word"}}
    time = {"Description": "Time to answer", "Units": "s"}
    return THIRD.place(
        "beh",
        {
            "task-stroop_beh.tsv": table("colour word response_time", *rows),
            "task-stroop_beh.json": sidecar(fields, TaskName="stroop", response_time=time),
        },
    )


def sample() -> dict[str, Entry]:
    """The whole sample dataset."""
    parts: tuple[Callable[[], dict[str, Entry]], ...] = (
        *(root, tables, phenotype, code, stimuli, sourcedata, derivatives, notes),
        *(anat, func, dwi, fmap, perf, mrs, pet, micr, eeg, ieeg, meg, emg, nirs, motion, beh),
    )
    return {path: entry for part in parts for path, entry in part().items()}


def root() -> dict[str, Entry]:
    """What describes the dataset."""
    return {
        "dataset_description.json": description("Sample of every BIDS datatype", "raw"),
        "README": text("Phantoms and sines, made by a program: nobody was scanned for this dataset.", "", *_README),
        "CHANGES": text("1.0.0 2024-01-05", "  - First version."),
        "LICENSE": text("This dataset is in the public domain (CC0 1.0)."),
        ".bidsignore": text("extra_notes"),
        "T1w.json": sidecar(SCANNER, RepetitionTime=2.3, EchoTime=0.00298, FlipAngle=9),
        "T2w.json": sidecar(SCANNER),
        "T2starw.json": sidecar(SCANNER),
    }


_README = (
    "Subjects 01 and 02 come twice, subject 03 once, without a session. Sidecars, gradients and tables are",
    "spread over the levels of the dataset as BIDS allows it.",
)


def description(name: str, kind: str, **fields: object) -> File:
    """A dataset_description.json."""
    common = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": kind, "License": "CC0"}
    return sidecar(common, Authors=["Ada Ellipse", "José Kugel"], **fields)


def tables() -> dict[str, Entry]:
    """Who took part, when, and in what."""
    return {
        "participants.tsv": table(
            "participant_id age sex handedness group weight",
            *("sub-01 34.5 F R patient 61.2", "sub-02 27 M L control 80", "sub-03 n/a n/a n/a control n/a"),
        ),
        "participants.json": sidecar(
            age={"Description": "Age at the first session", "Units": "year"},
            sex={"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
            handedness={"Description": "Hand used to write", "Levels": {"R": "right", "L": "left"}},
            group={"Description": "Arm of the study", "Levels": {"patient": "treated", "control": "waiting"}},
            weight={"Description": "Body weight", "Units": "kg"},
        ),
        **{f"sub-{n}/sub-{n}_sessions.tsv": _sessions(times) for n, times in _SESSION_TIMES.items()},
        **{f"sub-{n}/sub-{n}_sessions.json": _SESSIONS_JSON for n in _SESSION_TIMES},
        "scans.json": describe(operator="Initials of the operator"),
        **{f"{visit.folder}/{visit.stem}_scans.tsv": _scans(visit) for visit in _SCANS},
    }


_SESSION_TIMES = {
    "01": ("2024-01-05T09:00:00 34.5", "2024-03-08T09:30:00 34.7"),
    "02": ("2024-01-09T14:00:00 27", "2024-03-12T14:00:00 n/a"),
}
_SESSIONS_JSON = sidecar(age={"Description": "Age at the session", "Units": "year"})
_SCANS: dict[Visit, dict[str, str]] = {
    PRE: {
        "anat/T1w.nii.gz": "2024-01-05T09:05:12",
        "func/task-rest_run-1_bold.nii.gz": "2024-01-05T09:15:30.125000",
        "func/task-rest_run-2_bold.nii.gz": "2024-01-05T09:25:00",
        "dwi/dwi.nii.gz": "n/a",
    },
    POST: {"pet/trc-FDG_pet.nii.gz": "2024-03-08T10:15:00Z", "eeg/task-oddball_eeg.vhdr": "2024-03-08T13:00:00"},
    SECOND_POST: {
        "meg/task-rest_acq-ctf_meg.ds": "2024-03-12T14:10:00",
        "emg/task-walk_emg.edf": "2024-03-12T15:00:00",
    },
    THIRD: {"anat/T1w.nii.gz": "1896-11-02T08:30:00", "ieeg/task-rest_ieeg.edf": "1896-11-04T08:30:00"},
}


def _sessions(times: tuple[str, str]) -> File:
    return table("session_id acq_time age", f"ses-pre {times[0]}", f"ses-post {times[1]}")


def _scans(visit: Visit) -> File:
    rows = (f"{name.replace('/', f'/{visit.stem}_')} {time} AE" for name, time in _SCANS[visit].items())
    return table("filename acq_time operator", *rows)


def phenotype() -> dict[str, Entry]:
    """A questionnaire."""
    return {
        "phenotype/mood.tsv": table("participant_id session_id score", "sub-01 ses-pre 12", "sub-02 ses-pre n/a"),
        "phenotype/mood.json": sidecar(
            MeasurementToolMetadata={"Description": "Ten questions about mood"},
            score={"Description": "Sum of the answers", "Units": "points"},
        ),
    }


def code() -> dict[str, Entry]:
    """A program that may be run, an empty file, a hidden one, a link to a folder of the dataset."""
    script = ("#!/bin/sh", "# Count the images of the dataset.", "find \"${1:-.}\" -name '*.nii*' | wc -l")
    return {
        "code/count_images.sh": File(text(*script).data, mode=0o755),
        "code/lib/__init__.py": File(b""),
        "code/.settings": text("verbose = no"),
        "code/inputs": Link("../sourcedata/sub-01"),
        "code/tmp": Folder(),
    }


def stimuli() -> dict[str, Entry]:
    """A tone, a checkerboard, a link to it, names with marks that matter in addresses."""
    tone = waves("tone", "tone", seconds=1, rate=1000)["tone"]
    board = ((np.indices((32, 32)) // 8).sum(axis=0) % 2 * 255).astype(np.uint8)
    return {
        "stimuli/tone.wav": File(wav(tone, 1000)),
        "stimuli/board.png": File(png(board)),
        "stimuli/board copy.png": Link("board.png"),
        "stimuli/a+b.txt": text("plus"),
        "stimuli/number #1.txt": text("hash"),
        "stimuli/%41.txt": text("percent"),
        "stimuli/A.txt": text("what %41 would be, were it decoded"),
        "stimuli/50% & more; (really), 'yes' = [no].txt": text("marks"),
    }


def sourcedata() -> dict[str, Entry]:
    """Files as they came, with names that nobody would have chosen."""
    return {
        "sourcedata/sub-01/dicom/IM0001": File(bytes(128) + b"DICM" + random_bytes("dicom", 300)),
        "sourcedata/sub-01/scan_catalog.xml": text("<catalog/>"),
        "sourcedata/sub-01/foo.zip/inside.txt": text("A folder, whatever its name says."),
        "sourcedata/sub-01/README": File(b""),
        "sourcedata/Übersicht é 日本.txt": text("Grüße, こんにちは"),
        "sourcedata/with space/two  spaces.txt": text("one", "two"),
        "sourcedata/.hidden/.file": text("hidden"),
        "sourcedata/a/b/c/d/e/f/g/h/deep.txt": text("deep"),
        f"sourcedata/{'long_name_' * 19}200.tsv.gz": File(gzipped(b"1\t2\n")),
        "sourcedata/empty/nested": Folder(),
    }


def derivatives() -> dict[str, Entry]:
    """What a pipeline left: an image, its report, a folder that stayed empty."""
    made_by: list[dict[str, str]] = [{"Name": "fakeprep", "Version": "0.1.0"}]
    head = scan(paint(anatomy("01", (24, 28, 24)), "T1w"), "preproc", 6)
    here = "derivatives/fakeprep/"
    return {
        here + "dataset_description.json": description("Fakeprep", "derivative", GeneratedBy=made_by),
        here + PRE.path("anat", "desc-preproc_T1w.nii.gz"): packed(head, _zooms(head.shape)),
        here + PRE.path("anat", "desc-preproc_T1w.json"): sidecar(SkullStripped=False),
        here + "sub-01.html": text("<!doctype html>", "<title>sub-01</title>", "<p>All well."),
        here + "logs": Folder(),
    }


def notes() -> dict[str, Entry]:
    """Files outside BIDS, in a folder that `.bidsignore` names."""
    return {
        "extra_notes/2024-01-05 first visit.md": text("# First visit", "", "All went well."),
        "extra_notes/sub-01_T1w.nii.gz.txt": text("Not an image."),
    }


def awkward() -> dict[str, Entry]:
    """Names that many systems refuse, and labels with `+`."""
    plus = Visit("x+y", "a+b").path("anat", "acq-p+q_T1w.nii.gz")
    names = (
        *("what?.txt", "10:15.txt", 'say "hi".txt', "back\\slash.txt", "less<more>.txt", "pipe|.txt", "star*.txt"),
        *("dot.", "space ", " space", "tab\there.txt", "line\nbreak.txt", "~", "-rf", "%2F.txt", "%20.txt", "%2B.txt"),
        *("Twin.txt", "twin.txt", "TWIN/inside.txt", "twin/inside.txt", "cafe\u0301.txt", "caf\u00e9.txt"),
        *("con", "nul.txt", "\U0001f9e0.txt", "x" * 255, "ü" * 127, "a,b.txt", "[SLASH].txt", "..txt", "..."),
    )
    return {
        "dataset_description.json": description("Awkward names", "raw"),
        "participants.tsv": table("participant_id age", "sub-x+y 30"),
        plus: tiny_image(plus),
        **{f"sourcedata/{name}": text(repr(name)) for name in names},
    }


def many(subjects: int, files_per_session: int) -> Iterator[tuple[str, Entry]]:
    """A dataset of `subjects`, one after the other, so that its size costs no memory."""
    yield "dataset_description.json", description("Many subjects", "raw")
    for suffix, fields in _MANY_SIDECARS.items():
        yield f"{suffix}.json", sidecar(fields)
    for number in range(1, subjects + 1):
        visit = Visit(f"{number:05}", "01")
        for datatype, name in islice(_session_files(), files_per_session):
            path = visit.path(datatype, name)
            yield path, _tiny(path)


_MANY_SIDECARS: dict[str, dict[str, object]] = {
    "T1w": {"MagneticFieldStrength": 3},
    "T2w": {"EchoTime": 0.4},
    "dwi": {"EchoTime": 0.08},
    "task-rest_bold": {"TaskName": "rest", "RepetitionTime": 2.0},
}


def _session_files() -> Iterator[tuple[str, str]]:
    """Datatypes and names of a session's files: five recordings in twelve files, then runs without end."""
    anatomical = (("anat", "T1w.nii.gz"), ("anat", "T1w.json"))
    rest = (("dwi", f"dwi.{kind}") for kind in ("nii.gz", "bval", "bvec"))
    runs = chain.from_iterable(_run_files(run) for run in count(3))
    return chain(anatomical, _run_files(1), _run_files(2), rest, [("anat", "T2w.nii.gz")], runs)


def _run_files(run: int) -> tuple[tuple[str, str], ...]:
    return tuple(("func", f"task-rest_run-{run}_{end}") for end in ("bold.nii.gz", "bold.json", "events.tsv"))


def _tiny(path: str) -> File:
    """A small valid file of the kind its name says, unlike every other."""
    return next(make for end, make in _TINY.items() if path.endswith(end))(path)


def tiny_image(path: str) -> File:
    """A NIfTI file of 32 voxels, which are a digest of `path`."""
    head = _TINY_3D if path.endswith("w.nii.gz") else _TINY_4D
    return File(gzipped(head + hashlib.sha256(path.encode()).digest()))


def _tiny_number(path: str) -> int:
    return zlib.crc32(path.encode())


_TINY_3D = nifti(np.zeros((4, 4, 2), dtype=np.uint8), (3.0, 3.0, 3.0))[:352]
_TINY_4D = nifti(np.zeros((2, 2, 2, 4), dtype=np.uint8), (3.0, 3.0, 3.0, 2.0))[:352]
_TINY: dict[str, Callable[[str], File]] = {
    ".nii.gz": tiny_image,
    ".json": lambda path: sidecar(EchoTime=0.03, AcquisitionNumber=_tiny_number(path)),
    ".tsv": lambda path: table("onset duration", f"{_tiny_number(path) / 1000:.3f} 1"),
    ".bval": lambda path: text(f"0 1000 1000 {_tiny_number(path) % 1000 + 1000}"),
    ".bvec": lambda path: text(f"0 1 0 {_tiny_number(path) % 1000 / 1000}", "0 0 1 0", "0 0 0 0"),
}


def annexed() -> dict[str, Entry]:
    """A DataLad dataset of which `sub-01` was fetched and `sub-02` was not."""
    present = [Visit("01").path("anat", "T1w.nii.gz"), Visit("01").path("func", "task-rest_bold.nii.gz")]
    absent = [path.replace("sub-01", "sub-02") for path in present]
    return {
        "dataset_description.json": description("Annexed", "raw"),
        "participants.tsv": table("participant_id age", "sub-01 30", "sub-02 31"),
        "task-rest_bold.json": sidecar(TaskName="rest", RepetitionTime=2.0),
        ".datalad/config": text('[datalad "dataset"]', "\tid = 00000000-0000-4000-8000-000000000000"),
        ".gitattributes": text("* annex.backend=MD5E", "**/.git* annex.largefiles=nothing"),
        ".git/HEAD": text("ref: refs/heads/main"),
        ".git/config": text("[core]", "\trepositoryformatversion = 0", "[annex]", "\tversion = 10"),
        **{_annex_object(tiny_image(path).data): File(tiny_image(path).data, mode=0o444) for path in present},
        **{path: _annex_link(path) for path in (*present, *absent)},
    }


def _annex_object(data: bytes) -> str:
    """Where git-annex keeps `data`: two folders by the key's digest (its "mixed" hash), then the key twice."""
    key = f"MD5E-s{len(data)}--{hashlib.md5(data, usedforsecurity=False).hexdigest()}.nii.gz"
    word = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest()[:4], "little")
    a, b, c, d = ("0123456789zqjxkmvwgpfZQJXKMVWGPF"[word >> 6 * place & 31] for place in range(4))
    return f".git/annex/objects/{b}{a}/{d}{c}/{key}/{key}"


def _annex_link(path: str) -> Link:
    return Link(posixpath.relpath(_annex_object(tiny_image(path).data), posixpath.dirname(path)))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "sample")
