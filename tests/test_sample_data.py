"""The sample dataset is what its generator makes, and what its files claim to be."""

# mypy: disable-error-code="no-untyped-call"
# nibabel annotates few of its functions.

from __future__ import annotations

import configparser
import gzip
import hashlib
import io
import os
import struct
import sys
import wave
import zlib
from pathlib import Path

import nibabel.loadsave
import nibabel.nifti1
import numpy as np
import pytest

from test_data.generate import (
    Folder,
    Link,
    deflate,
    generate,
    generate_annex,
    generate_awkward,
    generate_many,
    png,
    sample,
    wav,
)

SAMPLE = Path(__file__).parent.parent / "test_data" / "sample"
LARGEST = 1_500_000
MM, MM_AND_SECONDS = ("mm", "unknown"), ("mm", "sec")


def tree(root: Path, *, empty_folders: bool = True) -> dict[str, str]:
    """What lies at each path below `root`: a file's digest and whether it may be run, a link's target, or nothing."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for path in (here / name for name in (*folders, *files)):
            kind = _kind(path)
            if kind != "empty" or empty_folders:
                found[path.relative_to(root).as_posix()] = kind
    return {path: kind for path, kind in found.items() if kind != "folder"}


def _kind(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink().as_posix()}"
    if path.is_dir():
        return "folder" if any(path.iterdir()) else "empty"
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {bool(path.stat().st_mode & 0o100)}"


def load(path: Path) -> nibabel.nifti1.Nifti1Image:
    image = nibabel.loadsave.load(path)
    assert isinstance(image, nibabel.nifti1.Nifti1Image)  # also the parent of the second version's class
    return image


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh sample dataset, for reading only."""
    out = tmp_path_factory.mktemp("sample")
    generate(out)
    return out


def test_committed_files_are_those_the_generator_makes(made: Path) -> None:
    """Byte for byte, links and executable bits too; only empty folders cannot be committed."""
    if not SAMPLE.is_dir():
        pytest.skip("a source archive comes without the sample")
    assert tree(SAMPLE, empty_folders=False) == tree(made, empty_folders=False)


def test_each_run_makes_the_same_tree(made: Path, tmp_path: Path) -> None:
    generate(tmp_path)

    assert tree(tmp_path) == tree(made)


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    generate(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}

    generate(tmp_path)

    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_restores_what_is_missing_or_changed(made: Path, tmp_path: Path) -> None:
    generate(tmp_path)
    (tmp_path / "sourcedata/empty/nested").rmdir()
    (tmp_path / "README").unlink()
    (tmp_path / "CHANGES").write_text("other")
    (tmp_path / "code/count_images.sh").chmod(0o644)
    (tmp_path / "code/inputs").unlink()

    generate(tmp_path)

    assert tree(tmp_path) == tree(made)


def test_a_run_leaves_files_of_others_alone(tmp_path: Path) -> None:
    mine = tmp_path / "sub-01" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")

    generate(tmp_path)

    assert mine.read_text() == "mine"


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "README").symlink_to(elsewhere)

    generate(out)

    assert elsewhere.read_text() == "mine"


def test_the_sample_is_small(made: Path) -> None:
    assert sum(path.lstat().st_size for path in made.rglob("*") if path.is_file()) <= LARGEST


def test_the_sample_has_every_kind_of_entry() -> None:
    entries = sample().values()

    assert sum(isinstance(entry, Link) for entry in entries) == 2
    assert sum(isinstance(entry, Folder) for entry in entries) >= 3


def test_links_lead_to_something_inside(made: Path) -> None:
    links = [path for path in made.rglob("*") if path.is_symlink()]

    assert all(link.resolve(strict=True).is_relative_to(made.resolve()) for link in links)


@pytest.mark.parametrize(
    ("path", "shape", "units"),
    [
        ("sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz", (48, 56, 48), MM),
        ("sub-02/ses-pre/anat/sub-02_ses-pre_T1w.nii", (28, 34, 28), MM),
        ("sub-03/anat/sub-03_T1w.nii.gz", (38, 32, 32), MM),
        ("sub-03/anat/sub-03_T2w.nii.gz", (24, 28, 24), MM),
        ("sub-01/ses-pre/func/sub-01_ses-pre_task-nback_echo-2_bold.nii.gz", (20, 20, 12, 8), MM_AND_SECONDS),
        ("sub-01/ses-pre/dwi/sub-01_ses-pre_dwi.nii.gz", (18, 18, 10, 8), MM_AND_SECONDS),
        ("sub-01/ses-pre/fmap/sub-01_ses-pre_phasediff.nii.gz", (20, 20, 12), MM),
        ("sub-01/ses-pre/perf/sub-01_ses-pre_asl.nii.gz", (18, 18, 10, 4), MM_AND_SECONDS),
        ("sub-01/ses-pre/mrs/sub-01_ses-pre_svs.nii.gz", (1, 1, 1, 256), MM_AND_SECONDS),
        ("sub-01/ses-post/pet/sub-01_ses-post_trc-FDG_pet.nii.gz", (18, 20, 12, 5), MM_AND_SECONDS),
    ],
)
def test_images_have_the_expected_shape(made: Path, path: str, shape: tuple[int, ...], units: tuple[str, str]) -> None:
    image = load(made / path)

    assert image.shape == shape
    assert image.header.get_xyzt_units() == units
    assert np.ptp(np.abs(image.dataobj)) > 0


def test_every_image_loads_and_is_placed_by_its_qform_as_by_its_sform(made: Path) -> None:
    for path in made.rglob("*.nii*"):
        if path.suffix == ".txt":
            continue
        image = load(path)
        assert np.asanyarray(image.dataobj).shape == image.shape
        if image.header["qform_code"]:
            np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)


@pytest.mark.parametrize(("folder", "axes"), [("sub-01/ses-pre/anat", [0, 1, 2]), ("sub-03/anat", [1, 2, 0])])
def test_images_are_stored_in_more_than_one_orientation(made: Path, folder: str, axes: list[int]) -> None:
    (path,) = (made / folder).glob("*T1w.nii.gz")

    assert np.argmax(abs(load(path).affine[:3, :3]), axis=0).tolist() == axes


def test_white_matter_is_bright_in_t1_and_dark_in_t2(made: Path) -> None:
    """Contrast as in a real head: grey against white turns over between the two images."""
    anat = made / "sub-01/ses-pre/anat"
    middle = {}
    for contrast in ("T1w", "T2w"):
        voxels = np.asanyarray(load(anat / f"sub-01_ses-pre_{contrast}.nii.gz").dataobj)
        x, y, z = voxels.shape
        middle[contrast] = {
            "white": voxels[x * 2 // 3, y // 2, z * 5 // 8],
            "csf": voxels[x * 11 // 20, y // 2, z * 9 // 16],
        }

    assert middle["T1w"]["white"] > middle["T1w"]["csf"]
    assert middle["T2w"]["white"] < middle["T2w"]["csf"]


def test_gradients_have_one_entry_per_volume(made: Path) -> None:
    for stem in ("sub-01/ses-pre/dwi/sub-01_ses-pre_dwi", "sub-02/sub-02_dwi"):
        values, vectors = np.loadtxt(made / f"{stem}.bval"), np.loadtxt(made / f"{stem}.bvec")
        assert (values.shape, vectors.shape) == ((8,), (3, 8))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), values > 0, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "channels", "rate"),
    [
        ("sub-03/ieeg/sub-03_task-rest_ieeg.edf", ["A1", "A2", "A3"], 200),
        ("sub-02/ses-post/emg/sub-02_ses-post_task-walk_emg.edf", ["tibialis", "soleus"], 200),
    ],
)
def test_edf_headers_describe_their_samples(made: Path, path: str, channels: list[str], rate: int) -> None:
    data = (made / path).read_bytes()
    n = len(channels)

    def fields(start: int, width: int) -> list[str]:
        return [data[start + i * width : start + (i + 1) * width].decode("ascii").strip() for i in range(n)]

    header_size, records, seconds = int(data[184:192]), int(data[236:244]), int(data[244:252])
    assert (data[:8], int(data[252:256]), header_size) == (b"0       ", n, 256 * (n + 1))
    assert fields(256, 16) == channels
    assert fields(256 + n * 96, 8) == ["uV"] * n
    assert fields(256 + n * 216, 8) == [str(rate * seconds)] * n
    assert len(data) == header_size + 2 * records * n * rate * seconds
    assert np.frombuffer(data, "<i2", offset=header_size).std() > 100


def test_the_brainvision_header_describes_its_samples(made: Path) -> None:
    folder = made / "sub-01/ses-post/eeg"
    (path,) = folder.glob("*.vhdr")
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    header = configparser.ConfigParser(interpolation=None)
    header.read_string(rest)
    common = header["Common Infos"]

    assert first == "Brain Vision Data Exchange Header File Version 1.0"
    assert (folder / common["MarkerFile"]).is_file()
    samples = np.frombuffer((folder / common["DataFile"]).read_bytes(), "<i2").reshape(
        -1, int(common["NumberOfChannels"])
    )
    assert header["Binary Infos"]["BinaryFormat"] == "INT_16"
    assert len(header["Channel Infos"]) == samples.shape[1] == 4
    assert samples.shape[0] * int(common["SamplingInterval"]) == 8_000_000


def test_gzip_headers_hold_neither_name_nor_time(made: Path) -> None:
    for path in made.rglob("*.gz"):
        assert path.read_bytes()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        gzip.decompress(path.read_bytes())


def test_text_has_no_carriage_returns_and_no_byte_order_mark(made: Path) -> None:
    for path in (path for end in ("tsv", "json", "bval", "vhdr") for path in made.rglob(f"*.{end}")):
        data = path.read_bytes()
        assert b"\r" not in data
        assert not data.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("run", [*range(12), *range(255, 265), 516, 517, 518, 519, 1000])
def test_deflate_is_undone_by_zlib(run: int) -> None:
    data = b"start" + b"ab" * (run // 2) + b"\xff" * run + bytes(range(256))

    assert zlib.decompress(deflate(data), wbits=-15) == data
    assert zlib.decompress(deflate(data[:run]), wbits=-15) == data[:run]


def test_png_holds_its_pixels() -> None:
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)

    data = png(pixels)

    assert struct.unpack(">II", data[16:24]) == (7, 5)
    (size,) = struct.unpack(">I", data[33:37])
    lines = np.frombuffer(zlib.decompress(data[41 : 41 + size]), np.uint8).reshape(5, 8)
    np.testing.assert_array_equal(lines[:, 1:], pixels)


def test_wav_holds_its_samples() -> None:
    samples = np.arange(-50, 50, dtype=np.int16)

    with wave.open(io.BytesIO(wav(samples, 8000))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (8000, 1, 2)
        assert np.frombuffer(sound.readframes(100), "<i2").tolist() == samples.tolist()


def test_many_makes_distinct_files_for_each_session(tmp_path: Path) -> None:
    generate_many(tmp_path, subjects=3, files_per_session=12)

    files = [path for path in tmp_path.glob("sub-*/ses-01/*/*") if path.is_file()]
    assert len(files) == 3 * 12
    assert len({path.read_bytes() for path in files}) == len(files)
    assert all(load(path).shape for path in files if path.name.endswith(".nii.gz"))


def test_many_adds_runs_for_longer_sessions(tmp_path: Path) -> None:
    generate_many(tmp_path, subjects=1, files_per_session=18)

    assert len(list(tmp_path.glob("sub-*/ses-01/func/*_bold.nii.gz"))) == 4


def test_annex_has_links_with_and_without_content(tmp_path: Path) -> None:
    generate_annex(tmp_path)

    present = [path for path in tmp_path.glob("sub-01/*/*") if path.exists()]
    absent = [path for path in tmp_path.glob("sub-02/*/*") if not path.exists()]
    assert (len(present), len(absent)) == (2, 2)
    assert all(path.is_symlink() for path in (*present, *absent))
    for path in present:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert path.readlink().name == f"MD5E-s{path.stat().st_size}--{digest}.nii.gz"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot store these names")
def test_awkward_names_are_all_stored(tmp_path: Path) -> None:
    generate_awkward(tmp_path)

    names = {path.name for path in tmp_path.rglob("*")}
    assert {"what?.txt", "back\\slash.txt", "Twin.txt", "twin.txt", "dot.", "x" * 255} <= names
    assert any("+" in name for name in names if name.startswith("sub-"))
