"""git-annex and DataLad: content that is here is pushed, what is not is named with the command that gets it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_data.generate import generate_annex
from tests.conftest import Connect, make_small
from tests.test_laws import tree
from xnat_bids_push.annex import Key, read_key, read_modules, read_pointer
from xnat_bids_push.choosing import Choice
from xnat_bids_push.dataset import Dataset, Selection, md5_of, read
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.mapping import place
from xnat_bids_push.model import Md5, Origin
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import healthy, push, survey, verify
from xnat_bids_push.removing import plan_removal, remove

pytestmark = pytest.mark.skipif(os.name == "nt", reason="git-annex keeps no links on Windows")

SKIP = Selection(("all",), sourcedata=True, skip_missing_content=True)
DIGEST = "900150983cd24fb0d6963f7d28e17f72"


def faults(root: Path, selection: Selection | None = None) -> dict[str, str]:
    found = survey(read(root, selection=selection or Selection(("all",), sourcedata=True)))
    return {issue.path: issue.message for issue in found.errors}


def placed(dataset: Dataset) -> dict[str, str]:
    """The address of every file, here or not."""
    return {
        one.file.path: str(one.address)
        for part in dataset.parts()
        for parcel in place(part, dataset.table).parcels
        for one in parcel.files
        if one.origin is Origin.DATASET
    }


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ------------------------------------------------------------------ keys and pointers


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"MD5E-s3--{DIGEST}.nii.gz", Key(3, Md5(DIGEST))),
        (f"MD5-s3-m1700000000--{DIGEST}", Key(3, Md5(DIGEST))),
        (f"SHA256E-s3--{DIGEST * 2}.nii", Key(3)),
        (f"MD5E-s3-S2-C1--{DIGEST}.nii", Key(3)),
        ("MD5E-s3--tooshort.nii", Key(3)),
        ("URL--http&c%%example.org%x", Key()),
        ("WORM-s3-m1--a--b.nii", Key(3)),
        ("sub-01_T1w.nii.gz", None),
        ("MD5E-s3-", None),
        ("", None),
    ],
)
def test_a_key_says_size_and_digest(text: str, key: Key | None) -> None:
    assert read_key(text) == key


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n/annex/more\n"])
@pytest.mark.parametrize("front", ["/annex/objects/", "../../.git/annex/objects/aa/bb/K/", ".git/annex/objects/"])
def test_a_pointer_file_is_known_by_its_first_line(front: str, end: str) -> None:
    assert read_pointer(f"{front}MD5E-s3--{DIGEST}.nii{end}".encode()) == Key(3, Md5(DIGEST))


@pytest.mark.parametrize("text", ["", "/annex/objects/", "/annex/objects/notes", "see /annex/objects/X-s1--a", "{}"])
def test_other_files_are_no_pointers(text: str) -> None:
    assert read_pointer(text.encode()) is None


def test_subdatasets_are_read_from_gitmodules() -> None:
    text = '[submodule "a b"]\n\tpath = a b\n\turl = x\n[submodule "c"]\npath="c/d"\n#path = e\n'

    assert read_modules(text) == {"a b", "c/d"}


# ------------------------------------------------------------------ hand-made trees


@pytest.fixture
def pointers(tmp_path: Path) -> Path:
    """The small dataset, unlocked, with one image that was not fetched."""
    root = make_small(tmp_path / "small")
    write(root / "sub-01/func/sub-01_task-rest_bold.nii.gz", f"/annex/objects/MD5E-s4--{DIGEST}.nii.gz\n")
    return root


def test_a_pointer_file_is_never_taken_for_data(pointers: Path, open_project: Connect) -> None:
    path = "sub-01/func/sub-01_task-rest_bold.nii.gz"

    assert faults(pointers) == {path: f"its content is not here (git-annex): get it with: datalad get '{path}'"}
    with open_project() as archive:
        with pytest.raises(DatasetError):
            push(read(pointers), archive, pause=0)
        assert archive.subjects() == {}


def test_a_link_to_a_pointer_and_a_link_to_an_absent_link_are_absent(pointers: Path) -> None:
    absent = pointers / "sub-02/anat/sub-02_T2w.nii.gz"
    absent.symlink_to(f"../../.git/annex/objects/aa/bb/K/MD5E-s4--{DIGEST}.nii.gz")
    (pointers / "code").mkdir()
    (pointers / "code/a").symlink_to("../sub-02/anat/sub-02_T2w.nii.gz")
    (pointers / "code/b").symlink_to("../sub-01/func/sub-01_task-rest_bold.nii.gz")

    assert {path for path, message in faults(pointers).items() if "datalad get" in message} == {
        *("code/a", "code/b", "sub-01/func/sub-01_task-rest_bold.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz"),
    }


def test_content_has_its_address_before_it_is_here(tmp_path: Path) -> None:
    """So what belongs to a recording does not move when its content comes."""
    root = make_small(tmp_path / "small")
    there = placed(read(root))
    for image in root.rglob("*.nii.gz"):
        image.write_text(f"/annex/objects/MD5E-s4--{DIGEST}.nii.gz")

    assert placed(read(root)) == there


def test_what_is_not_chosen_need_not_be_here(pointers: Path) -> None:
    assert faults(pointers, Selection(choice=Choice.of(datatypes=["anat"]))) == {}
    assert faults(pointers, Selection(choice=Choice.of(participants=["02"]))) == {}
    assert len(faults(pointers, Selection(choice=Choice.of(suffixes=["bold"])))) == 1


def test_a_description_that_is_not_here_is_said_at_once(tmp_path: Path) -> None:
    root = make_small(tmp_path / "small")
    write(root / "dataset_description.json", f"/annex/objects/MD5E-s4--{DIGEST}.json\n")
    for validate in (True, False):
        with pytest.raises(DatasetError, match=r"datalad get 'dataset_description\.json'"):
            read(root, validate=validate)


def test_content_of_another_size_than_its_key_says_is_an_error(tmp_path: Path) -> None:
    generate_annex(tmp_path)
    image = tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"
    kept = image.resolve()
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-1])

    assert "git annex fsck sub-01/anat/sub-01_T1w.nii.gz" in faults(tmp_path)["sub-01/anat/sub-01_T1w.nii.gz"]


def test_a_digest_in_a_key_saves_reading(tmp_path: Path) -> None:
    generate_annex(tmp_path)
    file = read(tmp_path).part("sub-01").files[0]
    assert isinstance(file.content, str)
    content = Path(file.content)
    truth = hashlib.md5(content.read_bytes()).hexdigest()
    content.chmod(0o644)
    content.write_bytes(bytes(file.size))

    assert md5_of(file) == truth


def test_a_key_s_name_elsewhere_is_no_digest(tmp_path: Path) -> None:
    name = f"MD5E-s3--{DIGEST}.nii.gz"
    root = make_small(tmp_path / "small")
    write(root / "code" / name, "xyz")

    [file] = [file for file in read(root).part("").files if file.path == f"code/{name}"]
    assert md5_of(file) == hashlib.md5(b"xyz").hexdigest() != DIGEST


# ------------------------------------------------------------------ subdatasets


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """A dataset with subdatasets of which none is installed, and one that is, with another in it."""
    root = make_small(tmp_path / "small")
    paths = ("sub-03", "derivatives/prep", "sourcedata", "code/tool", "derivatives/full")
    write(root / ".gitmodules", "".join(f'[submodule "{path}"]\n\tpath = {path}\n' for path in paths))
    write(root / "derivatives/full/.gitmodules", '[submodule "x"]\n\tpath = sub-01/x\n')
    write(root / "derivatives/full/sub-01/y")
    for path in ("sub-03", "derivatives/prep", "sourcedata", "code/tool", "derivatives/full/sub-01/x", "code/empty"):
        (root / path).mkdir(parents=True)
    return root


def test_a_subdataset_that_is_not_installed_is_no_empty_folder(nested: Path) -> None:
    raw = {"sub-03", "code/tool"}
    everything = raw | {"derivatives/prep", "sourcedata", "derivatives/full/sub-01/x"}

    assert faults(nested).keys() == everything
    assert faults(nested, Selection()).keys() == raw
    assert all(f"datalad get -n '{path}'" in message for path, message in faults(nested).items())
    assert faults(nested, Selection(choice=Choice.of(participants=["01"]))).keys() == {"code/tool"}
    assert faults(nested, SKIP) == {}
    assert survey(read(nested, selection=SKIP)).missing.number == len(everything)


# ------------------------------------------------------------------ the rest without it


def test_the_rest_can_be_pushed_and_is_told_from_the_whole(
    pointers: Path, tmp_path: Path, open_project: Connect
) -> None:
    path = pointers / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    with open_project() as archive:
        part = push(read(pointers, selection=SKIP), archive, pause=0)
        assert (part.ok, part.problems, part.missing.number) == (False, 0, 1)
        assert part.missing.first == ("sub-01/func/sub-01_task-rest_bold.nii.gz",)
        assert pull(archive, tmp_path / "part").ok
        assert not (tmp_path / "part/sub-01/func/sub-01_task-rest_bold.nii.gz").exists()

        path.write_text("bold")
        assert push(read(pointers), archive, pause=0).ok
        assert verify(read(pointers), archive).ok
        assert pull(archive, tmp_path / "whole").ok
        assert tree(tmp_path / "whole") == tree(pointers)

        write(path, f"/annex/objects/MD5E-s4--{DIGEST}.nii.gz\n")
        again = verify(read(pointers, selection=SKIP), archive)
        assert (again.problems, again.missing.number) == (0, 1)


def test_what_is_not_here_is_not_removed(pointers: Path, tmp_path: Path, open_project: Connect) -> None:
    """Nothing proves that the archive's is the dataset's."""
    path = pointers / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    pointer = path.read_text()
    path.write_text("bold")
    with open_project() as archive:
        push(read(pointers), archive, pause=0)
        path.write_text(pointer)
        assert remove(list(plan_removal(read(pointers, selection=SKIP), archive)), archive).ok
        assert pull(archive, tmp_path / "left").ok
    left = {name for name, entry in tree(tmp_path / "left").items() if entry[0] == "file"}
    assert "sub-01/func/sub-01_task-rest_bold.nii.gz" in left
    assert not {name for name in left if "T1w" in name}


# ------------------------------------------------------------------ the real git-annex


@pytest.fixture
def annex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The small dataset in a real git-annex; its images are annexed, the rest is git's."""
    if shutil.which("git-annex") is None or shutil.which("git") is None:
        pytest.skip("git-annex is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    root = make_small(tmp_path / "annexed")
    write(
        root / ".gitattributes", "* annex.backend=MD5E annex.largefiles=nothing\n*.nii.gz annex.largefiles=anything\n"
    )
    git(root, "init", "-q", "-b", "main")
    git(root, "annex", "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    yield root
    git(root, "annex", "uninit", check=False)  # else its folders could not be cleared away


def git(root: Path, *words: str, check: bool = True) -> None:
    subprocess.run(["git", *words], cwd=root, check=check, capture_output=True)


def images(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("sub-*.nii.gz"))


def contents(dataset: Dataset) -> dict[str, str]:
    return {file.path: md5_of(file) for part in dataset.parts() for file in part.files if not file.absent}


@pytest.mark.parametrize("how", ["unlocked", "locked", "adjusted"])
def test_real_content_is_followed_and_absent_content_named(how: str, annex: Path, tmp_path: Path) -> None:
    """Whether files are links, or unlocked, or the whole branch is."""
    truth = contents(read(make_small(tmp_path / "plain")))
    if how == "locked":
        git(annex, "annex", "lock", ".")
        assert all((annex / image).is_symlink() for image in images(annex))
    elif how == "adjusted":
        git(annex, "annex", "adjust", "--unlock")
    found = contents(read(annex))
    assert found.pop(".gitattributes")
    assert found == truth
    assert faults(annex) == {}

    git(annex, "annex", "drop", "--force", images(annex)[0])
    assert faults(annex).keys() == {images(annex)[0]}


def test_a_real_clone_without_content_is_all_named(annex: Path, tmp_path: Path) -> None:
    git(annex, "annex", "lock", ".")
    git(annex, "commit", "-q", "-m", "locked")
    subprocess.run(["git", "clone", "-q", str(annex), str(tmp_path / "clone")], check=True, capture_output=True)

    assert faults(tmp_path / "clone").keys() == set(images(annex))
    git(tmp_path / "clone", "annex", "init", "-q")
    git(tmp_path / "clone", "annex", "get", "sub-02")
    assert faults(tmp_path / "clone").keys() == {image for image in images(annex) if "sub-01" in image}
    assert healthy(read(tmp_path / "clone", selection=SKIP)).missing.number == 2
    subprocess.run(["chmod", "-R", "u+w", str(tmp_path / "clone")], check=True)


def test_a_real_dataset_goes_and_comes_back_as_files(annex: Path, tmp_path: Path, open_project: Connect) -> None:
    git(annex, "annex", "lock", ".")
    with open_project() as archive:
        assert push(read(annex), archive, pause=0).ok
        assert verify(read(annex), archive).ok
        assert pull(archive, tmp_path / "out").ok
    assert {path: (tmp_path / "out" / path).read_bytes() for path in images(annex)} == {
        path: (annex / path).read_bytes() for path in images(annex)
    }


def test_a_real_subdataset_that_is_not_installed_is_named(annex: Path, tmp_path: Path) -> None:
    inner = make_small(tmp_path / "inner")
    git(inner, "init", "-q", "-b", "main")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "all")
    git(annex, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sourcedata/inner")
    git(annex, "commit", "-q", "-m", "with a subdataset")
    assert faults(annex) == {}

    git(annex, "submodule", "deinit", "-q", "-f", "sourcedata/inner")
    assert faults(annex).keys() == {"sourcedata/inner"}
