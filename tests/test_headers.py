"""Headers are read from the first bytes alone, as the libraries that read whole files understand them."""

# mypy: disable-error-code="no-untyped-call"
# nibabel annotates few of its functions.

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import nibabel.nifti1
import nibabel.nifti2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import io_orientation

from tests.conftest import SHARED
from xnat_bids_push.fields import ImageHeader, SignalHeader
from xnat_bids_push.headers import HeaderError, image_header, read_image, read_signal

ANY_BYTES = st.binary(max_size=700)


def image(version: int = 1, *, order: str = "<", **values: object) -> bytes:
    """The first bytes of an image, as nibabel writes them."""
    kind = nibabel.nifti1.Nifti1Header if version == 1 else nibabel.nifti2.Nifti2Header
    header = kind(endianness=order)
    header.set_data_shape((64, 48, 30, 5))
    header.set_zooms((2.0, 2.5, 3.5, 1.5))
    header.set_xyzt_units("mm", "sec")
    for name, value in values.items():
        header[name] = value
    found: bytes = header.binaryblock
    return found


# ------------------------------------------------------------------ images


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_versions_and_both_byte_orders_say_the_same(version: int, order: str) -> None:
    found = image_header(image(version, order=order))

    assert found == ImageHeader((64, 48, 30, 5), (2.0, 2.5, 3.5, 1.5), None)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_image_is_read_from_its_first_bytes(version: int, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "image"
    head = image(version)
    noise = np.random.default_rng(1).bytes(100_000)
    path.write_bytes(gzip.compress(head + noise)[:50_000] if compressed else head)

    assert read_image(path, compressed=compressed).shape == (64, 48, 30, 5)


def test_a_header_behind_a_long_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as raw, gzip.GzipFile("n" * 3000, "wb", fileobj=raw) as stream:
        stream.write(image())

    assert read_image(path, compressed=True).shape == (64, 48, 30, 5)


@pytest.mark.parametrize(
    ("space", "time", "millimetres", "seconds"),
    [
        ("mm", "sec", 2.0, 1.5),
        ("meter", "msec", 2000.0, 0.0015),
        ("micron", "usec", 0.002, 0.0000015),
        ("unknown", "unknown", 2.0, 0.0),
        ("mm", "hz", 2.0, 0.0),
    ],
)
def test_units_are_those_of_the_header(space: str, time: str, millimetres: float, seconds: float) -> None:
    header = nibabel.nifti1.Nifti1Header(image())
    header.set_xyzt_units(space, time)

    spacing = image_header(header.binaryblock).spacing

    assert spacing[0] == pytest.approx(millimetres)
    assert spacing[3] == pytest.approx(seconds)


def test_single_precision_shows_no_digits_that_it_does_not_have() -> None:
    header = nibabel.nifti1.Nifti1Header(image())
    header.set_zooms((5.3, 0.1, 2.4, 2.43537))

    assert image_header(header.binaryblock).spacing == (5.3, 0.1, 2.4, 2.43537)


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9), st.sampled_from(["sform", "qform"]))
def test_slices_lie_as_nibabel_says(numbers: list[float], code: str) -> None:
    rotation, _ = np.linalg.qr(np.array(numbers).reshape(3, 3) + np.eye(3) * 1e-3)
    if np.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([2.0, 2.5, 3.5])
    header = nibabel.nifti1.Nifti1Header(image())
    getattr(header, f"set_{code}")(affine, code=1)

    column = np.sort(abs(rotation[:, 2]))
    expected = int(np.argmax(abs(rotation[:, 2])))
    if column[2] - column[1] > 1e-3:  # else no axis is the dominant one
        assert image_header(header.binaryblock).slices == expected


@pytest.mark.parametrize(
    ("direction", "slices"), [((0, 0, 1), 2), ((1, 0, 0), 0), ((0, -1, 0), 1)], ids=["axial", "sagittal", "coronal"]
)
def test_an_image_along_the_axes_of_the_body_is_as_io_orientation_says(
    direction: tuple[int, int, int], slices: int
) -> None:
    third = np.array(direction)
    others = [axis for axis in np.eye(3) if abs(axis @ third) < 0.5]
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*others, third])
    header = nibabel.nifti1.Nifti1Header(image())
    header.set_sform(affine, code=2)

    assert image_header(header.binaryblock).slices == slices == int(io_orientation(affine)[2, 0])


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "is empty"),
        (b"\x00" * 348, "no NIfTI"),
        (b"not an image, but text " * 30, "no NIfTI"),
        (image()[:200], "ends within"),
        (image(2)[:400], "ends within"),
        (image(dim=[0, 1, 1, 1, 1, 1, 1, 1]), "impossible sizes"),
        (image(dim=[3, -4, 1, 1, 1, 1, 1, 1]), "impossible sizes"),
        (image(dim=[9, 4, 1, 1, 1, 1, 1, 1]), "impossible sizes"),
        (image(pixdim=[1, 0, 1, 1, 1, 1, 1, 1]), "impossible voxels"),
        (image(pixdim=[1, math.nan, 1, 1, 1, 1, 1, 1]), "impossible voxels"),
        (image(pixdim=[1, math.inf, 1, 1, 1, 1, 1, 1]), "impossible voxels"),
        (image(pixdim=[1, -2, 1, 1, 1, 1, 1, 1]), "impossible voxels"),
        (image(2, pixdim=[1, 1e300, 1, 1, 1, 1, 1, 1]), "impossible voxels"),
    ],
)
def test_headers_that_cannot_be_are_refused(head: bytes, reason: str) -> None:
    with pytest.raises(HeaderError, match=reason):
        image_header(head)


def test_a_repetition_time_that_cannot_be_is_none() -> None:
    for step in (0, -1, math.nan, math.inf):
        assert image_header(image(pixdim=[1, 2, 2, 2, step, 1, 1, 1])).spacing[3] == 0


def test_what_is_not_compressed_as_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(image())
    with pytest.raises(HeaderError, match="not compressed"):
        read_image(path, compressed=True)

    damaged = bytearray(gzip.compress(image()))
    damaged[12:60] = b"\xff" * 48
    path.write_bytes(damaged)
    with pytest.raises(HeaderError):
        read_image(path, compressed=True)


@settings(deadline=None)
@given(ANY_BYTES, st.sampled_from([1, 2]), st.integers(0, 500))
def test_garbage_gives_finite_numbers_or_is_refused(garbage: bytes, version: int, start: int) -> None:
    head = bytearray(image(version))
    head[start : start + len(garbage)] = garbage
    try:
        found = image_header(bytes(head))
    except HeaderError:
        return
    assert all(size > 0 for size in found.shape)
    assert all(math.isfinite(step) and step >= 0 for step in found.spacing)


@pytest.mark.skipif(not (SHARED / "real-bids").is_dir(), reason="the real scans are not beside this checkout")
def test_real_images_are_as_nibabel_reads_them() -> None:
    for path in (SHARED / "real-bids").rglob("*.nii*"):
        whole = nibabel.nifti1.load(path)
        found = read_image(path, compressed=path.suffix == ".gz")
        assert found.shape == whole.shape
        assert found.spacing == pytest.approx([float(step) for step in whole.header.get_zooms()])
        assert found.slices == io_orientation(whole.affine)[2, 0]


# ------------------------------------------------------------------ signals


def edf(
    labels: list[str], samples: list[int], *, records: str = "30", seconds: str = "2", magic: bytes = b"0       "
) -> bytes:
    count = len(labels)
    head = magic + b" " * 228 + f"{records:8}{seconds:8}{count:<4}".encode()
    columns = "".join(f"{label:16}" for label in labels) + " " * 200 * count
    return head + (columns + "".join(f"{number:<8}" for number in samples) + " " * 32 * count).encode()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (edf(["C3", "C4", "EDF Annotations"], [512, 512, 60]), SignalHeader(256, 2, 60)),
        (edf(["C3", "Temp"], [512, 2]), SignalHeader(None, 2, 60)),
        (edf(["C3"], [512], records="-1"), SignalHeader(256, 1, None)),
        (edf(["C3"], [512], seconds="0"), SignalHeader(None, 1, None)),
        (edf(["A1", "Status"], [4096, 4096], magic=b"\xffBIOSEMI"), SignalHeader(2048, 2, 60)),
        (edf(["C3"], [512], seconds="nan"), SignalHeader(None, 1, None)),
        (edf(["C3"], [512], records="1", seconds="1e-307"), SignalHeader(None, 1, 1e-307)),
        (edf(["C3"], [512], records="1e200", seconds="1e200"), SignalHeader(5.12e-198, 1, None)),
    ],
    ids=["annotations", "two rates", "unknown length", "no time", "bdf", "not a number", "too short", "too long"],
)
def test_edf_headers_give_rate_channels_and_duration(head: bytes, expected: SignalHeader, tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(head)

    assert read_signal(path, ".edf") == expected


def test_brainvision_headers_give_rate_and_channels(tmp_path: Path) -> None:
    path = tmp_path / "x.vhdr"
    path.write_bytes(
        b"Brain Vision Data Exchange Header File Version 1.0\r\n; \xb5V\r\n[Common Infos]\r\nDataFile=x.eeg\r\n"
        b"NumberOfChannels=32\r\n; in microseconds\r\nSamplingInterval=2000\r\nDataPoints=5000\r\n"
        b"[Comment]\r\nfree text\r\n"
    )

    assert read_signal(path, ".vhdr") == SignalHeader(500, 32, 10)


def tag(kind: int, data: bytes = b"", *, following: int = 0) -> bytes:
    return struct.pack(">iiii", kind, 3, len(data), following) + data


def word(number: int) -> bytes:
    return struct.pack(">i", number)


def fif(*, rate: float = 600.0, rest: bytes = b"") -> bytes:
    """A recording whose projections have a number of channels too."""
    return (
        tag(100, b"\0" * 20)
        + tag(104, word(100))
        + tag(104, word(101))
        + tag(104, word(313)) + tag(200, word(7)) + tag(105, word(313))
        + tag(200, word(306))
        + tag(201, struct.pack(">f", rate))
        + tag(105, word(101))
        + rest
    )  # fmt: skip


def test_fif_headers_give_rate_and_channels_of_the_measurement(tmp_path: Path) -> None:
    path = tmp_path / "x.fif"
    path.write_bytes(fif(rest=b"data"))

    assert read_signal(path, ".fif") == SignalHeader(600, 306, None)


def test_a_chain_of_tags_that_leads_back_to_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.fif"
    path.write_bytes(tag(100, b"\0" * 20) + tag(104, word(101), following=36))

    assert read_signal(path, ".fif") == SignalHeader()


def test_snirf_headers_give_rate_channels_and_duration(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for name, times in (("whole", np.arange(50) / 10), ("start and step", np.array([0.0, 0.1]))):
        path = tmp_path / f"{name}.snirf"
        with h5py.File(path, "w") as file:
            data = file.create_group("nirs/data1")
            data["dataTimeSeries"] = np.zeros((50, 4))
            data["time"] = times
            for number in range(1, 5):
                data.create_group(f"measurementList{number}")

        found = read_signal(path, ".snirf")

        assert found is not None
        assert (found.rate, found.channels, found.duration) == pytest.approx((10, 4, 5))


def test_formats_without_a_light_reader_say_nothing(tmp_path: Path) -> None:
    assert read_signal(tmp_path / "nothing.set", ".set") is None


@pytest.mark.parametrize("extension", [".edf", ".bdf", ".vhdr", ".fif", ".snirf"])
def test_recordings_that_are_none_are_refused(extension: str, tmp_path: Path) -> None:
    if extension == ".snirf":
        pytest.importorskip("h5py")
    path = tmp_path / "x"
    for content in (b"", b"something else", b"\0" * 3000):
        path.write_bytes(content)
        with pytest.raises(HeaderError):
            read_signal(path, extension)


MAKERS: dict[str, Callable[[], bytes]] = {
    ".edf": lambda: edf(["C3", "C4"], [512, 512]),
    ".fif": fif,
    ".vhdr": lambda: b"Brain Vision\nNumberOfChannels=3\nSamplingInterval=5\nDataPoints=7\n",
}


@settings(deadline=None)
@given(st.sampled_from(sorted(MAKERS)), ANY_BYTES, st.integers(0, 800))
def test_damaged_recordings_give_finite_numbers_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, extension: str, garbage: bytes, start: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x"
    content = bytearray(MAKERS[extension]())
    content[start : start + len(garbage)] = garbage
    path.write_bytes(content)
    try:
        found = read_signal(path, extension)
    except HeaderError:
        return
    assert found is not None
    for number in (found.rate, found.channels, found.duration):
        assert number is None or (math.isfinite(number) and number > 0)
