"""Pictures: the same of the same body however it is stored, sensible greys, little memory, and no way to break it."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from test_data.generate import edf, nifti, nifti_mrs, packed, png
from xnat_bids_push import snapshots
from xnat_bids_push.snapshots import HEIGHT, SMALL_HEIGHT, SMALL_WIDTH, WIDTH, Picture, PictureError, draw, drawable

Numbers = NDArray[np.float32]


def body(shape: tuple[int, ...] = (21, 25, 19)) -> Numbers:
    """Something that looks otherwise from every side, stored from left to right, back to front, foot to head."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[:3]), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    return np.asarray(inside * (100 + 60 * (x > 0.3) + 90 * (y > 0.5) + 40 * (z > 0.2)), np.float32)


def saved(path: Path, image: nibabel.Nifti1Image) -> Path:
    nibabel.save(image, path)
    return path


def drawn(path: Path, others: Mapping[str, Path] | None = None) -> Picture:
    return draw(path.name, {path.name: path, **(others or {})})


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def opened(gif: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(gif), formats=["GIF"])
    image.load()
    return image


def grey(gif: bytes) -> NDArray[np.uint8]:
    return np.asarray(opened(gif).convert("L"))


# ------------------------------------------------------------------ volumes


def test_a_picture_does_not_depend_on_how_the_axes_are_stored(tmp_path: Path) -> None:
    """Each order and direction of the axes that a file can have, with an affine that says so."""
    values, affine = body(), np.diag([1.0, 1.0, 2.0, 1.0])
    plain = nibabel.Nifti1Image(values, affine)
    pictures = set()
    for order in itertools.permutations(range(3)):
        for ways in itertools.product((1, -1), repeat=3):
            turn = np.stack([order, ways], axis=1)
            pictures.add(drawn(saved(tmp_path / "x.nii", plain.as_reoriented(turn))))
    assert len(pictures) == 1


def test_the_right_side_and_the_front_are_at_the_left_and_the_head_is_above(tmp_path: Path) -> None:
    values = np.zeros((21, 21, 21), np.float32)
    values[18, 10, 10], values[10, 18, 10], values[10, 10, 18] = 50, 100, 150
    image = nibabel.Nifti1Image(values, np.eye(4))
    pixels = grey(drawn(saved(tmp_path / "x.nii", image)).thumbnail)

    sagittal, coronal, axial = (pixels[:, at : at + SMALL_HEIGHT] for at in (0, SMALL_HEIGHT, 2 * SMALL_HEIGHT))
    middle = SMALL_HEIGHT // 2
    assert sagittal[middle, :middle].max() > 0  # the front
    assert sagittal[middle, middle + 4 :].max() == 0
    assert sagittal[:middle, middle].max() > sagittal[middle, :middle].max()  # the head
    assert coronal[middle, :middle].max() > 0  # the right side
    assert coronal[middle, middle + 6 :].max() == 0
    assert axial[:middle, middle].max() > axial[middle, :middle].max() > 0


def test_voxels_that_are_no_cubes_are_shown_as_they_are(tmp_path: Path) -> None:
    ball = drawn(saved(tmp_path / "a.nii", nibabel.Nifti1Image(body((40, 40, 40)), np.eye(4))))
    flat = drawn(saved(tmp_path / "b.nii", nibabel.Nifti1Image(body((40, 40, 10)), np.diag([1.0, 1, 4, 1]))))

    assert opened(ball.original).size == opened(flat.original).size == (3 * HEIGHT + 4, HEIGHT)
    assert opened(ball.thumbnail).size == (3 * 62 + 4, 62)
    near = np.abs(grey(ball.thumbnail).astype(int) - grey(flat.thumbnail)).mean()
    assert near < 12  # the same ball, but for coarser slices


def test_a_few_bright_voxels_do_not_darken_the_rest(tmp_path: Path) -> None:
    values = body()
    plain = drawn(saved(tmp_path / "a.nii", nibabel.Nifti1Image(values, np.eye(4))))
    values[10, 12, 9] = 1e9
    spoiled = drawn(saved(tmp_path / "b.nii", nibabel.Nifti1Image(values, np.eye(4))))

    assert abs(float(grey(plain.original).mean()) - float(grey(spoiled.original).mean())) < 3


def shown(tmp_path: Path, values: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Picture:
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    return drawn(saved(tmp_path / "x.nii.gz", image))


def test_what_is_no_number_is_black_and_what_is_constant_is_grey(tmp_path: Path) -> None:
    holes = body()
    holes[:10] = np.nan
    holes[10, 12, 9] = np.inf
    assert grey(shown(tmp_path, holes).original).max() > 150
    assert set(np.unique(grey(shown(tmp_path, np.full((9, 9, 9), np.nan, np.float32)).thumbnail))) == {0}
    assert grey(shown(tmp_path, np.full((9, 9, 9), 7, np.int16)).thumbnail)[30, 30] == 128
    assert grey(shown(tmp_path, np.zeros((9, 9, 9), np.int16)).thumbnail).max() == 0


def test_a_mask_of_few_voxels_is_seen(tmp_path: Path) -> None:
    mask = np.zeros((41, 41, 41), np.uint8)
    mask[20, 20, 20] = 1
    assert grey(shown(tmp_path, mask).original).max() > 200


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8", "<c8", "<c16"])
def test_every_kind_of_number_is_drawn(kind: str, tmp_path: Path) -> None:
    values = (body() / 4).astype(kind)
    header = nibabel.Nifti1Header(endianness=">" if kind[0] == ">" else "<")
    header.set_data_dtype(np.dtype(kind))
    image = nibabel.Nifti1Image(values, np.eye(4), header)
    plain = shown(tmp_path, (body() / 4).astype(np.float32))

    there = grey(drawn(saved(tmp_path / "y.nii", image)).original).astype(int)
    assert np.abs(there - grey(plain.original)).max() <= 12


def test_a_scale_that_turns_the_values_round_turns_the_picture_round(tmp_path: Path) -> None:
    plain = nibabel.Nifti1Image((body() / 2).astype(np.int16), np.eye(4))
    plain.header.set_slope_inter(1, 0)
    straight = grey(drawn(saved(tmp_path / "a.nii", plain)).thumbnail)
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = struct.pack("<ff", -1, 100)
    turned = grey(drawn(written(tmp_path / "b.nii", bytes(raw))).thumbnail)
    assert straight[32, 32] > straight[32, 1]
    assert turned[32, 32] < turned[32, 1]


def test_colours_stay_colours(tmp_path: Path) -> None:
    values = np.zeros((9, 9, 9), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    values["R"] = 250
    image = opened(shown(tmp_path, values).original).convert("RGB")
    red, green, _ = image.getpixel((90, 30))  # type: ignore[misc]  # three, as the mode says
    assert red > 200 > 50 > green


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (1, 20, 30), (20, 1, 30)])
def test_a_single_slice_is_shown_alone(shape: tuple[int, ...], tmp_path: Path) -> None:
    found = shown(tmp_path, np.arange(600, dtype=np.int16).reshape(shape))
    assert opened(found.original).size in {(HEIGHT * 20 // 30, HEIGHT), (HEIGHT * 30 // 20, HEIGHT)}
    assert found.shows == "its middle"


def test_a_slab_is_shown_as_thin_as_it_is(tmp_path: Path) -> None:
    found = shown(tmp_path, np.ones((64, 64, 3), np.int16))
    assert opened(found.original).size == (3 * HEIGHT + 4, HEIGHT)
    assert opened(shown(tmp_path, np.ones((2000, 2, 2), np.int16)).original).width <= WIDTH


@pytest.mark.parametrize(("count", "tiles"), [(2, 2), (7, 7), (12, 12), (300, 12)])
def test_a_series_has_a_row_of_volumes_below_the_planes(count: int, tiles: int, tmp_path: Path) -> None:
    series = np.stack([body((8, 8, 8)) * (1 + number) for number in range(count)], axis=-1)
    found = shown(tmp_path, series)

    assert found.shows == f"planes through its middle, and {tiles} of {count} volumes"
    rows = -(-tiles // 6)
    assert opened(found.original).height == HEIGHT + rows * (HEIGHT // 2 + 2)
    first, last = (grey(found.original)[HEIGHT + 40, at] for at in (60, 60 + (tiles > 5) * 490 or 60))
    assert first <= last  # one scale for all: they get brighter


def test_a_packed_series_is_read_as_far_as_the_limit_and_a_plain_one_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = np.stack([body((8, 8, 8)) for _ in range(40)], axis=-1)
    monkeypatch.setattr(snapshots, "MOST_READ", 8**3 * 4 * 5)
    assert "5 of 40 volumes" in shown(tmp_path, series).shows
    plain = drawn(saved(tmp_path / "x.nii", nibabel.Nifti1Image(series, np.eye(4))))
    assert "12 of 40 volumes" in plain.shows
    monkeypatch.setattr(snapshots, "MOST_READ", 8**3 * 4 - 1)
    with pytest.raises(PictureError, match="a volume of more than"):
        shown(tmp_path, series)


def test_no_volume_is_in_memory(tmp_path: Path) -> None:
    values = np.zeros((192, 192, 192, 2), np.int16)
    values[100:150] = 7
    path = written(tmp_path / "x.nii.gz", gzip.compress(nifti(values, (1.0, 1.0, 1.0, 1.0)), 1))
    drawn(path)
    tracemalloc.start()
    try:
        drawn(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert values.nbytes > 28e6
    assert peak < 5e6


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    assert shown(tmp_path, body()) == shown(tmp_path, body())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "the file is no NIfTI image"),
        (nifti(np.zeros((9, 9, 9), np.int16), (1.0, 1.0, 1.0))[:900], "the file ends before its middle"),
        (nifti(np.zeros((1, 1, 1), np.int16), (1.0, 1.0, 1.0)), "the image is a single voxel"),
        (nifti(np.zeros((1, 1, 9), np.int16), (1.0, 1.0, 1.0)), "the image is a single line"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words_that_are_no_files_own(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(PictureError, match=f"^{reason}$"):
        drawn(written(tmp_path / "x.nii", content))
    with pytest.raises(PictureError):
        drawn(written(tmp_path / "x.nii.gz", gzip.compress(content)[:-9]))


def test_a_file_that_is_gone_is_no_accident(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="cannot be read: No such file"):
        drawn(tmp_path / "x.nii")


def test_spectroscopy_of_a_voxel_is_a_spectrum(tmp_path: Path) -> None:
    time = np.arange(512) * 0.0005
    signal = np.exp(2j * np.pi * 200 * time - time * 20).astype(np.complex64)
    found = drawn(written(tmp_path / "x.nii", nifti_mrs(signal, 0.0005)))
    assert found.shows == "its spectrum"
    ink = np.argwhere(grey(found.original)[:20] < 100)
    assert abs(ink[:, 1].mean() / WIDTH - (0.5 + 200 / 2000)) < 0.02


# ------------------------------------------------------------------ signals


def waves(channels: int = 3, seconds: int = 20, rate: int = 200) -> dict[str, NDArray[np.int16]]:
    time = np.arange(seconds * rate) / rate
    return {f"E{n}": (1000 * np.sin(2 * np.pi * (10 + 5 * n) * time)).astype(np.int16) for n in range(channels)}


def test_a_recording_shows_traces_and_their_power(tmp_path: Path) -> None:
    found = drawn(written(tmp_path / "x.edf", edf(waves(), rate=200)))
    assert opened(found.original).size == (WIDTH, 2 * HEIGHT + 2 + HEIGHT // 2)
    assert opened(found.thumbnail).size == (SMALL_WIDTH, SMALL_HEIGHT)
    assert found.shows == "10 s of 3 of 3 channels, and their power by frequency"
    peaks = np.argwhere(grey(found.original)[2 * HEIGHT + 2 : 2 * HEIGHT + 12] < 210)[:, 1]
    assert {round(float(peak) / WIDTH * 100 / 5) for peak in peaks} == {2, 3, 4}  # 10, 15 and 20 Hz


def test_at_most_sixteen_channels_are_drawn_and_a_dead_one_is_a_line(tmp_path: Path) -> None:
    signals = waves(40)
    signals["E1"][:] = 0
    found = drawn(written(tmp_path / "x.edf", edf(signals, rate=200)))
    assert "16 of 40 channels" in found.shows
    assert (grey(found.original)[36, 10:600] < 100).all()


def bdf(signals: Mapping[str, NDArray[np.int16]]) -> bytes:
    content = bytearray(edf(signals, rate=200))
    head = 256 * (len(signals) + 1)
    content[:8] = b"\xffBIOSEMI"
    steps = np.frombuffer(bytes(content[head:]), "<i2").astype("<i4").tobytes()
    return bytes(content[:head]) + b"".join(steps[i : i + 3] for i in range(0, len(steps), 4))


def vhdr(channels: int, kind: str, orientation: str, name: str = "x.eeg") -> bytes:
    rows = "".join(f"Ch{n + 1}=E{n},,0.1,µV\r\n" for n in range(channels))
    return (
        "Brain Vision Data Exchange Header File Version 1.0\r\n[Common Infos]\r\n"
        f"DataFile={name}\r\nDataOrientation={orientation}\r\nNumberOfChannels={channels}\r\nSamplingInterval=5000\r\n"
        f"[Binary Infos]\r\nBinaryFormat={kind}\r\n[Channel Infos]\r\n{rows}"
    ).encode()


def test_the_same_signals_give_the_same_picture_in_every_format(tmp_path: Path) -> None:
    signals = waves()
    together = np.stack(list(signals.values()), axis=1)
    files = {
        "a.edf": edf(signals, rate=200),
        "b.bdf": bdf(signals),
        "c.vhdr": vhdr(3, "INT_16", "MULTIPLEXED"),
        "d.vhdr": vhdr(3, "IEEE_FLOAT_32", "VECTORIZED", "y.eeg"),
        "x.eeg": together.astype("<i2").tobytes(),
        "y.eeg": together.T.astype("<f4").tobytes(),
    }
    paths = {name: written(tmp_path / name, content) for name, content in files.items()}
    assert len({draw(name, paths) for name in sorted(files)[:4]}) == 1


def test_only_the_files_of_the_recording_are_read(tmp_path: Path) -> None:
    written(tmp_path / "secret.eeg", bytes(60_000))
    path = written(tmp_path / "x.vhdr", vhdr(3, "INT_16", "MULTIPLEXED", "../secret.eeg"))
    with pytest.raises(PictureError, match="names no data file beside it"):
        drawn(path, {"x.eeg": tmp_path / "x.eeg"})


# ------------------------------------------------------------------ microscopes


def test_a_photograph_fits_into_the_picture_and_is_not_blown_up(tmp_path: Path) -> None:
    large = drawn(written(tmp_path / "a.png", png(np.tile(np.arange(250, dtype=np.uint8), (500, 8)))))
    assert opened(large.original).size == (WIDTH, 160)
    small = drawn(written(tmp_path / "b.png", png(np.zeros((20, 30), np.uint8))))
    assert opened(small.original).size == opened(small.thumbnail).size == (30, 20)


def test_sixteen_bits_and_colours_of_a_microscope(tmp_path: Path) -> None:
    deep = (np.arange(10_000, dtype=np.uint16) + 3000).reshape(100, 100)
    Image.fromarray(deep).save(tmp_path / "a.ome.tif", format="TIFF")
    pixels = grey(drawn(tmp_path / "a.ome.tif").original)
    assert (pixels.min(), pixels.max()) == (0, 252)
    Image.new("RGBA", (20, 20), (250, 0, 0, 9)).save(tmp_path / "b.tif")
    assert opened(drawn(tmp_path / "b.tif").original).convert("RGB").getpixel((9, 9)) == (250, 0, 0)


def test_a_picture_of_too_many_pixels_is_not_unpacked(tmp_path: Path) -> None:
    head = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    chunk = b"IDAT" + zlib.compress(bytes(1000))
    content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(PictureError, match="more than 32 million pixels"):
        drawn(written(tmp_path / "x.png", content))


# ------------------------------------------------------------------ whatever comes


def small(make: Callable[[], bytes]) -> st.SearchStrategy[bytes]:
    """A sound file with some bytes changed, and cut somewhere."""
    content = make()
    changes = st.dictionaries(st.integers(0, min(len(content), 800) - 1), st.integers(0, 255), max_size=8)

    def spoil(changed: dict[int, int], end: int) -> bytes:
        found = bytearray(content)
        for at, value in changed.items():
            found[at] = value
        return bytes(found[:end])

    return st.builds(spoil, changes, st.integers(len(content) // 3, len(content)))


SOUND: Mapping[str, Callable[[], bytes]] = {
    "x.nii": lambda: nifti(np.arange(240, dtype=np.int16).reshape(4, 5, 6, 2), (1.0, 1.0, 1.0, 1.0)),
    "x.nii.gz": lambda: gzip.compress(nifti(np.arange(120, dtype=np.int16).reshape(4, 5, 6), (1.0, 1.0, 1.0)), 0),
    "x.edf": lambda: edf(waves(2, 2, 20), rate=20),
    "x.bdf": lambda: bdf(waves(2, 1, 200)),
    "x.vhdr": lambda: vhdr(2, "INT_16", "MULTIPLEXED"),
    "x.png": lambda: png(np.arange(200, dtype=np.uint8).reshape(10, 20)),
    "x.tif": lambda: _tif(),
}


def _tif() -> bytes:
    target = io.BytesIO()
    Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(target, "TIFF")
    return target.getvalue()


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged files
@pytest.mark.parametrize("name", sorted(SOUND))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_has_a_picture_or_a_reason(name: str, data: st.DataObject, tmp_path: Path) -> None:
    path = written(tmp_path / name, data.draw(small(SOUND[name])))
    eeg = written(tmp_path / "x.eeg", bytes(4000))
    try:
        found = drawn(path, {"x.eeg": eeg})
    except PictureError:
        return  # the only error that there is
    assert opened(found.original).width <= WIDTH
    assert opened(found.thumbnail).width <= SMALL_WIDTH


def test_of_several_files_the_first_that_can_be_drawn_is_drawn() -> None:
    assert drawable(["x.vmrk", "x.eeg", "x.vhdr"]) == "x.vhdr"
    assert drawable(["x_split-02.fif", "x.set"]) == ""
    assert drawable(["a.nii.gz", "a.bval"]) == "a.nii.gz"


def test_the_sample_images_are_drawn(tmp_path: Path) -> None:
    image = packed(np.ones((8, 9, 10), np.uint8), (1.0, 1.0, 1.0)).data
    assert drawn(written(tmp_path / "x.nii.gz", image)).thumbnail.startswith(b"GIF8")
