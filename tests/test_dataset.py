"""Whatever lies in a folder is read, or is named with the reason why not; and all that is wrong is said at once."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_data.generate import generate, generate_annex, generate_awkward
from xnat_bids_push import dataset as dataset_module
from xnat_bids_push.dataset import Dataset, Selection, chunks, md5_of, read, vocabulary
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.mapping import place
from xnat_bids_push.model import BidsFile, Issue, Mark, MarkKind, Part, Severity
from xnat_bids_push.pushing import healthy, survey

DESCRIPTION = '{"Name": "x", "BIDSVersion": "1.10.0"}'
EVERYTHING = Selection(("all",), sourcedata=True)

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
not_as_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="nothing is unreadable for root: run as another user"
)
any_bytes_in_names = pytest.mark.skipif(sys.platform != "linux", reason="this system has only names that are text")


def write(root: Path, files: Iterable[str] | Mapping[str, str]) -> Path:
    """Make a dataset; a path that ends in "/" is an empty folder, a text that begins with "->" a link."""
    texts = files if isinstance(files, Mapping) else dict.fromkeys(files, "x")
    for path, text in {"dataset_description.json": DESCRIPTION, **texts}.items():
        target = root / path
        (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            target.symlink_to(text.removeprefix("->"))
        elif not path.endswith("/"):
            target.write_text(text)
    return root


def part_of(root: Path, subject: str = "", selection: Selection = EVERYTHING) -> Part:
    return read(root, selection=selection).part(subject)


def paths_of(part: Part) -> list[str]:
    return [file.path for file in part.files]


def everywhere(dataset: Dataset) -> set[str]:
    """The paths of all files whose content is here."""
    return {file.path for part in dataset.parts() for file in part.files if not file.absent}


def errors_in(root: Path) -> dict[str, str]:
    """The errors that a push would report, by path."""
    found = survey(read(root, selection=EVERYTHING))
    for issue in found.issues:
        str(issue).encode()  # whatever the name, the message can be printed
    return {issue.path: issue.message for issue in found.issues if issue.severity is Severity.ERROR}


# ------------------------------------------------------------------ no dataset at all


def refusal(root: Path | str, *, validate: bool = True) -> str:
    with pytest.raises(DatasetError) as caught:
        read(root, validate=validate)
    [issue] = caught.value.issues
    assert issue.severity is Severity.ERROR
    assert issue.path == str(Path(root).absolute())
    assert issue.message in str(caught.value)
    return issue.message


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no such folder" in refusal(tmp_path / "nowhere", validate=False)
    assert "no such folder" in refusal(str(tmp_path / "nowhere" / "deeper"))


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "no such folder" in refusal(tmp_path / "file" / "below")


def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300))


@pytest.mark.parametrize("validate", [True, False])
def test_a_file_as_the_root_is_refused(tmp_path: Path, validate: bool) -> None:
    (tmp_path / "sub-01_T1w.nii").touch()

    assert "this is a file" in refusal(tmp_path / "sub-01_T1w.nii", validate=validate)


def test_a_folder_without_description_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    message = refusal(tmp_path)

    assert "not a BIDS dataset" in message
    assert "dataset_description.json" in message
    assert "--validation warn or off" in message


def test_a_folder_without_description_can_be_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "a").touch()
    found = read(tmp_path, validate=False)

    assert found.description is None
    assert everywhere(found) == {"sub-01/a"}
    assert [(issue.severity, issue.path) for issue in found.issues] == [
        (Severity.WARNING, "dataset_description.json"),
    ]


def test_a_description_whose_content_was_not_fetched_is_no_missing_one(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").symlink_to(".git/annex/objects/x/y/MD5E-s3--0.json/MD5E-s3--0.json")

    assert "datalad get" in refusal(tmp_path)


@not_as_root
def test_a_root_that_cannot_be_looked_into_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "closed", [])
    root.chmod(0)
    try:
        assert "cannot be read" in refusal(root)
        assert refusal(root / "below")
    finally:
        root.chmod(0o700)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ("[]", "lacks Name"),
        ("{}", "lacks Name"),
        ('{"Name": "x"}', "lacks Name"),
        ('{"Name": "", "BIDSVersion": "1.0"}', "lacks Name"),
    ],
)
def test_a_poor_description_is_a_warning(tmp_path: Path, text: str, said: str) -> None:
    """The data is none the worse for it, and XNAT takes it."""
    [issue] = read(write(tmp_path, {"dataset_description.json": text})).issues

    assert issue.severity is Severity.WARNING
    assert issue.path == "dataset_description.json"
    assert said in issue.message


def test_a_description_in_another_encoding_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, [])
    (tmp_path / "dataset_description.json").write_bytes('{"Name": "José"}'.encode("latin-1"))

    assert [issue.severity for issue in read(tmp_path).issues] == [Severity.WARNING]


@not_as_root
def test_an_unreadable_description_is_an_error_and_no_accident(tmp_path: Path) -> None:
    write(tmp_path, ["sub-01/a"])
    (tmp_path / "dataset_description.json").chmod(0)

    assert "cannot be read" in errors_in(tmp_path)["dataset_description.json"]


def test_an_empty_dataset_is_an_error(tmp_path: Path) -> None:
    [(path, message)] = errors_in(write(tmp_path, ["README", "CHANGES"])).items()

    assert path == str(tmp_path)
    assert "is empty" in message


# ------------------------------------------------------------------ bad links and files

BAD_LINKS = {
    ".git/annex/objects/aa/bb/MD5E-s9--00.nii/MD5E-s9--00.nii": "datalad get 'sub-01/link'",
    "../.git/annex/objects/aa/bb/MD5E-s9--00.nii/MD5E-s9--00.nii": "datalad get 'sub-01/link'",
    "nothing": "link to nothing (to nothing)",
    "../../outside": "link out of the dataset",
    "/": "link out of the dataset",
    "/etc": "link out of the dataset",
    "..//../": "link out of the dataset",
    "link": "leads back to itself",
    "other": "leads back to itself",
}


@posix_only
@pytest.mark.parametrize(("target", "said"), BAD_LINKS.items())
def test_a_bad_link_is_an_error_that_says_what_to_do(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "outside").touch()
    root = write(tmp_path / "data", {"sub-01/a": "x", "sub-01/link": f"->{target}", "sub-01/other": "->link"})

    found = errors_in(root)
    assert said in found["sub-01/link"]
    assert "sub-01/other" in found
    assert everywhere(read(root)) == {"dataset_description.json", "sub-01/a"}


@posix_only
def test_a_link_to_the_folder_next_door_is_out_of_the_dataset_though_it_begins_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "data-2").mkdir()
    root = write(tmp_path / "data", {"sub-01/a": "x", "sub-01/link": "->../../data-2"})

    assert set(errors_in(root)) == {"sub-01/link"}


@posix_only
def test_a_pipe_and_a_socket_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is a link to one: opening it would wait for ever."""
    root = write(tmp_path, {"sub-01/a": "x", "sub-01/link": "->../sourcedata/pipe", "sourcedata/a": "x"})
    os.mkfifo(root / "sub-01" / "pipe")
    os.mkfifo(root / "sourcedata" / "pipe")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("sub-01/socket")

    found = errors_in(root)
    assert set(found) == {"sub-01/pipe", "sub-01/socket", "sub-01/link", "sourcedata/pipe"}
    assert all("cannot be pushed" in message for message in found.values())


@any_bytes_in_names
def test_names_that_are_no_text_are_errors_that_can_be_printed(tmp_path: Path) -> None:
    root = write(tmp_path, ["sub-01/a"])
    for name in (b"caf\xe9.txt", b"caf\xe9"):
        path = os.path.join(os.fsencode(root / "sub-01"), name)
        if name.endswith(b".txt"):
            with open(path, "wb"):
                pass
        else:
            os.mkdir(path)
            with open(os.path.join(path, b"inside"), "wb"):
                pass
    os.symlink(b"caf\xe9.txt", os.fsencode(root / "sub-01" / "good link"))
    os.symlink(b"caf\xe8.txt", os.fsencode(root / "sub-01" / "bad link"))

    found = errors_in(root)
    assert {path for path in found if "UTF-8" in found[path]} >= {r"sub-01/caf\udce9.txt", r"sub-01/caf\udce9"}
    assert "sub-01/bad link" in found


@not_as_root
def test_unreadable_files_and_folders_are_errors(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"sub-01/a": "x", "sub-01/closed": "x", "sub-01/folder/b": "x", "sub-02/a": "x", "code/a": "x"}
    )
    write(root, {"code/link": "->../sub-01/closed"})
    closed = [root / "sub-01/closed", root / "sub-01/folder", root / "sub-02", root / "code/a"]
    for path in closed:
        path.chmod(0)
    try:
        found = errors_in(root)
    finally:
        for path in closed:
            path.chmod(0o700)

    assert set(found) == {"sub-01/closed", "sub-01/folder", "sub-02", "code/a", "code/link"}
    assert all("cannot be read" in message for message in found.values())


def test_subjects_and_sessions_that_differ_only_in_case_are_errors(tmp_path: Path) -> None:
    paths = ["sub-a/x", "sub-A/x", "sub-b/ses-x/anat/y", "sub-b/ses-X/anat/y", "sourcedata/sub-B/z"]
    root = write(tmp_path, paths)
    if len(list(root.glob("sub-*"))) < 3:
        pytest.skip("this file system cannot tell case apart")

    found = errors_in(root)
    assert set(found) == {"sub-a", "sub-b", "sub-b/ses-x"}
    assert "sub-A" in found["sub-a"]
    assert "sub-B" in found["sub-b"]
    assert "sub-b/ses-X" in found["sub-b/ses-x"]


def test_a_pipeline_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, ["derivatives/prep/a"])

    [issue] = read(root, selection=Selection(("prep", "fmriprep"))).issues
    assert (issue.severity, issue.path) == (Severity.ERROR, "derivatives/fmriprep")


@posix_only
def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    """Of the root, of every subject, and of the names that XNAT cannot tell apart; before anything is pushed."""
    root = write(
        tmp_path / "data",
        {
            "sub-01/broken": "->nowhere",
            "sub-02/out": "->../../..",
            "sub-02/func/sub-02_task-a_bold.nii": "x",
            "sub-02/func/sub-02_task-A_bold.nii": "x",
            "code/loop": "->loop",
            "dataset_description.json": "{",
        },
    )
    os.mkfifo(root / "derivatives")

    with pytest.raises(DatasetError) as caught:
        healthy(read(root))

    assert {issue.path for issue in caught.value.issues} == {
        *("sub-01/broken", "sub-02/out", "sub-02_MR", "code/loop", "derivatives"),
    }
    assert len(str(caught.value).splitlines()) == 5


def test_annexed_content_that_is_here_is_read_and_what_is_not_is_named(tmp_path: Path) -> None:
    generate_annex(tmp_path)
    here, absent = part_of(tmp_path, "sub-01"), part_of(tmp_path, "sub-02")

    assert paths_of(here) == ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/func/sub-01_task-rest_bold.nii.gz"]
    assert (here.issues, here.marks) == ((), ())
    assert [md5_of(file) for file in here.files] == [
        hashlib.md5((tmp_path / file.path).read_bytes()).hexdigest() for file in here.files
    ]
    found = errors_in(tmp_path)
    assert sorted(found) == paths_of(absent)
    assert all(f"datalad get '{path}'" in message for path, message in found.items())


# ------------------------------------------------------------------ what XNAT cannot hold


@posix_only
def test_links_are_kept_as_links_and_their_content_travels(tmp_path: Path) -> None:
    root = write(
        tmp_path / "data",
        {
            "sub-01/file": "content",
            "sub-01/near": "->file",
            "code/far": "->../sub-01/file",
            "code/folder": "->../sub-01",
            "code/absolute": f"->{tmp_path}/data/sub-01/file",
            "code/twice": "->absolute",
            "code/around": "->../../data/sub-01/file",
        },
    )
    part = part_of(root)

    assert [mark for mark in part.marks if mark.kind is MarkKind.LINK] == [
        Mark("code/absolute", MarkKind.LINK, "../sub-01/file"),
        Mark("code/around", MarkKind.LINK, "../sub-01/file"),
        Mark("code/far", MarkKind.LINK, "../sub-01/file"),
        Mark("code/folder", MarkKind.LINK, "../sub-01"),
        Mark("code/twice", MarkKind.LINK, "absolute"),
    ]
    assert [path for path in paths_of(part) if path.startswith("code")] == [
        *("code/absolute", "code/around", "code/far", "code/twice"),
    ]
    assert {md5_of(file) for file in part.files if file.path.startswith("code")} == {
        hashlib.md5(b"content").hexdigest(),
    }
    assert part_of(root, "sub-01").marks == (Mark("sub-01/near", MarkKind.LINK, "file"),)
    assert [(issue.path, issue.severity) for issue in part.issues] == [
        ("code/absolute", Severity.WARNING),
        ("code/around", Severity.WARNING),
    ]
    assert "comes back as a link to ../sub-01/file" in part.issues[0].message


@posix_only
def test_links_are_the_same_through_a_link_to_the_dataset(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"code/a": "x", "code/b": f"->{tmp_path}/data/code/a", "code/c": "->a"})
    (tmp_path / "alias").symlink_to("data")

    assert part_of(tmp_path / "alias").marks == part_of(root).marks
    assert errors_in(tmp_path / "alias") == errors_in(root) == {}


@posix_only
def test_a_dataset_in_a_folder_like_that_of_git_annex_keeps_its_links(tmp_path: Path) -> None:
    root = write(tmp_path / "annex" / "objects" / "data", {"code/a": "x", "code/b": "->a"})

    assert part_of(root).marks == (Mark("code/b", MarkKind.LINK, "a"),)


@posix_only
def test_a_link_to_a_subject_stays_a_link_and_makes_no_subject(tmp_path: Path) -> None:
    root = write(tmp_path, {"sub-01/a": "x", "sub-02": "->sub-01"})
    found = read(root)
    part = found.part("")

    assert found.subjects == ("sub-01",)
    assert part.marks == (Mark("sub-02", MarkKind.LINK, "sub-01"),)
    assert [(issue.severity, issue.path) for issue in part.issues] == [(Severity.WARNING, "sub-02")]


@posix_only
def test_executable_bits_are_marked(tmp_path: Path) -> None:
    root = write(tmp_path, ["code/run", "code/text", "sub-01/run"])
    for path in ("code/run", "sub-01/run"):
        (root / path).chmod(0o755)
    (root / "code/text").chmod(0o644)

    assert part_of(root).marks == (Mark("code/run", MarkKind.EXECUTABLE),)
    assert part_of(root, "sub-01").marks == (Mark("sub-01/run", MarkKind.EXECUTABLE),)


def test_folders_without_content_are_marked(tmp_path: Path) -> None:
    """Only the innermost; with those that hold nothing but leftovers."""
    folders = ["code/a/b/c/", "code/d/", "sub-01/anat/", "sub-02/", "derivatives/prep/sub-03/"]
    root = write(tmp_path, [*folders, "code/e/.DS_Store", "code/f/g/.git/", "code/h/.hidden/"])
    found = read(root, selection=EVERYTHING)
    marks = [mark for part in found.parts() for mark in part.marks]

    assert {mark.kind for mark in marks} == {MarkKind.FOLDER}
    assert [mark.path for mark in marks] == [
        *("code/a/b/c", "code/d", "code/e", "code/f/g", "code/h/.hidden"),
        *("sub-01/anat", "sub-02", "derivatives/prep/sub-03"),
    ]


LEFTOVERS = [
    *(".git", ".datalad", ".DS_Store", "__MACOSX", "a.nii~", "#a#", ".#a", ".a.swp", ".bids2table_cache.parquet"),
    *("._a.nii.gz", ".Trashes", ".Spotlight-V100", ".fseventsd", "Thumbs.db", "Desktop.ini", "$RECYCLE.BIN"),
    *("System Volume Information", ".nfs00000000058a0f2c00000001", ".Trash-1000", "lost+found", ".svn", ".hg"),
    *("__pycache__", ".ipynb_checkpoints", ".bids2table", ".bids2xnat-partial"),
]
KEPT = [
    *(".gitattributes", ".gitmodules", ".gitignore", ".bidsignore", ".heudiconv"),
    *(".nfs", "._", "thumbs", "desktop", "trash"),
    ".a",
    ".git2",
    "a~b",
    "#a",
    "a#",
    "DS_Store",
    "swp",
    ".zattrs",
    "~",
]


@pytest.mark.parametrize("folder", ["", "code/", "sub-01/", "sub-01/meg/sub-01_meg.ds/", "derivatives/prep/sub-01/"])
def test_leftovers_are_left_out_by_name_and_all_else_is_kept(tmp_path: Path, folder: str) -> None:
    root = write(tmp_path, [folder + name for name in (*LEFTOVERS, *KEPT)])
    parts = list(read(root, selection=EVERYTHING).parts())

    left = {left.path for part in parts for left in part.left_out}
    files = {file.path for part in parts for file in part.files}
    assert left == {folder + name for name in LEFTOVERS}
    assert files == {folder + name for name in KEPT} | {"dataset_description.json"}


def test_leftovers_are_not_looked_into(tmp_path: Path) -> None:
    root = write(tmp_path, {".git/annex/x": "x", "sub-01/.git/broken": "->nowhere", "sub-01/a": "x"})

    assert errors_in(root) == {}
    assert everywhere(read(root)) == {"dataset_description.json", "sub-01/a"}


def test_empty_files_are_files(tmp_path: Path) -> None:
    root = write(tmp_path, {"sub-01/anat/sub-01_T1w.nii.gz": ""})

    [file] = part_of(root, "sub-01").files
    assert (file.size, b"".join(chunks(file))) == (0, b"")


# ------------------------------------------------------------------ what is read

TREE = [
    *("README", "code/a", "stimuli/a", "phenotype/a", "other/a", "sub-01/a", "sub-02/ses-a/a"),
    *("sourcedata/a", "sourcedata/sub-01/a", "sourcedata/raw/sub-02/a", "sourcedata/raw/deep/sub-02/a"),
    *("derivatives/a", "derivatives/prep/a", "derivatives/prep/sub-01/a", "derivatives/prep/logs/sub-01/a"),
    *("derivatives/qc/a", "derivatives/qc/sub-03/a", "derivatives/sub-01/a", "code/sub-01/a"),
]
RAW = {path for path in TREE if not path.startswith(("sourcedata", "derivatives"))} | {"dataset_description.json"}


def below(folder: str) -> set[str]:
    return {path for path in TREE if path.startswith(f"{folder}/")}


@pytest.mark.parametrize(
    ("selection", "read_too", "left_out"),
    [
        (None, set(), {"sourcedata", "derivatives"}),
        (Selection(), set(), {"sourcedata", "derivatives"}),
        (Selection(sourcedata=True), below("sourcedata"), {"derivatives"}),
        (Selection(("all",)), below("derivatives"), {"sourcedata"}),
        (
            Selection(("prep",)),
            {"derivatives/a"} | below("derivatives/prep"),
            {"sourcedata", "derivatives/qc", "derivatives/sub-01"},
        ),
        (
            Selection(("prep", "qc"), sourcedata=True),
            {"derivatives/a"} | below("derivatives/prep") | below("derivatives/qc") | below("sourcedata"),
            {"derivatives/sub-01"},
        ),
        (Selection(("all", "prep"), sourcedata=True), below("derivatives") | below("sourcedata"), set()),
    ],
)
def test_derivatives_and_sourcedata_are_read_when_asked_for(
    tmp_path: Path, selection: Selection | None, read_too: set[str], left_out: set[str]
) -> None:
    found = read(write(tmp_path, TREE), selection=selection)

    assert everywhere(found) == RAW | read_too
    assert {left.path for left in found.left_out} == left_out
    assert all("not asked for" in left.reason for left in found.left_out)


def test_each_file_is_in_the_part_of_its_subject(tmp_path: Path) -> None:
    found = read(write(tmp_path, TREE), selection=EVERYTHING)
    parts = {part.subject: set(paths_of(part)) for part in found.parts()}

    assert parts == {
        "": {path for path in TREE if "sub-0" not in path}
        | {
            "derivatives/prep/logs/sub-01/a",
            "sourcedata/raw/deep/sub-02/a",
            "code/sub-01/a",
            "dataset_description.json",
        },
        "sub-01": {"sub-01/a", "sourcedata/sub-01/a", "derivatives/prep/sub-01/a", "derivatives/sub-01/a"},
        "sub-02": {"sub-02/ses-a/a", "sourcedata/raw/sub-02/a"},
        "sub-03": {"derivatives/qc/sub-03/a"},
    }
    for part in found.parts():
        assert paths_of(part) == sorted(paths_of(part))
        placements = place(part, found.table).parcels
        assert {parcel.node.subject for parcel in placements} == {part.subject}


def test_the_sample_has_no_issue(tmp_path: Path) -> None:
    generate(tmp_path)

    assert survey(read(tmp_path, selection=EVERYTHING)).issues == []


@posix_only
def test_awkward_names_have_no_error(tmp_path: Path) -> None:
    generate_awkward(tmp_path)

    assert errors_in(tmp_path) == {}


def test_an_unknown_entity_is_a_warning(tmp_path: Path) -> None:
    names = ["sub-01/anat/sub-01_rnu-1_T1w.nii", "sub-01/meg/sub-01_split-01_meg.fif", "sub-01/oddity/sub-01_rnu-1_x.y"]
    [issue] = part_of(write(tmp_path, names), "sub-01").issues

    assert (issue.severity, issue.path) == (Severity.WARNING, names[0])
    assert "rnu" in issue.message


def test_the_vocabulary_is_that_of_pybids() -> None:
    words = vocabulary()

    assert {key: words[key] for key in ("sub", "ses", "acq", "ce", "rec", "run", "trc")} == {
        "sub": "subject",
        "ses": "session",
        "acq": "acquisition",
        "ce": "ceagent",
        "rec": "reconstruction",
        "run": "run",
        "trc": "tracer",
    }
    assert {"split", "scale"} <= words.keys()
    assert words["seg"] == "segmentation"


def test_only_one_part_is_in_memory_at_a_time(tmp_path: Path) -> None:
    root = write(tmp_path, [f"sub-{number:02}/a" for number in range(12)])
    most = 0
    for part in read(root).parts():
        assert part.files
        most = max(most, sum(isinstance(one, Part) for one in gc.get_objects()))

    assert most == 1


def test_a_layout_of_pybids_is_a_root(tmp_path: Path) -> None:
    """Loading pybids brings warnings of its dependencies about each other; they are not our concern."""
    root = write(tmp_path, ["sub-01/anat/sub-01_T1w.nii.gz"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids import BIDSLayout

        layout = BIDSLayout(root, validate=False)
        found = read(layout)
        layout.session.close()
        layout.connection_manager.engine.dispose()

    assert everywhere(found) == everywhere(read(root))


# ------------------------------------------------------------------ content


def found_file(path: Path, content: bytes) -> BidsFile:
    """A file as the walk finds it."""
    path.write_bytes(content)
    status = path.stat()
    return BidsFile("a/b.nii", status.st_size, str(path), status.st_mtime_ns)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read four bytes at once, so that a small file takes several steps."""
    monkeypatch.setattr(dataset_module, "CHUNK", 4)


@settings(deadline=None)
@given(content=st.binary(max_size=50))
def test_chunks_are_the_content_and_md5_is_its_digest(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    on_disk = found_file(tmp_path_factory.getbasetemp() / "content", content)
    in_memory = BidsFile("x", len(content), content)

    for file in (on_disk, in_memory):
        assert b"".join(chunks(file)) == content
        assert md5_of(file) == hashlib.md5(content).hexdigest()


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 5)


def rewrite(path: Path) -> None:
    path.write_bytes(b"9876543210")
    os.utime(path, ns=(1, 1))


def remove(path: Path) -> None:
    path.unlink()


CHANGES = (grow, shrink, rewrite, remove)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.usefixtures("small_chunks")
def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, change: Callable[[Path], None], steps: int
) -> None:
    """At whichever step; and never do more bytes come out than the file had."""
    if change is remove and os.name == "nt":
        pytest.skip("Windows keeps open files")
    path = tmp_path / "file"
    pieces = chunks(found_file(path, b"0123456789"))
    got = [next(pieces) for _ in range(steps)]
    change(path)

    with pytest.raises(DatasetError) as caught:
        got += pieces

    [issue] = caught.value.issues
    assert (issue.severity, issue.path) == (Severity.ERROR, "a/b.nii")
    assert len(b"".join(got)) <= 10


@pytest.mark.parametrize("change", CHANGES)
def test_a_digest_is_not_made_of_a_file_that_has_changed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    file = found_file(tmp_path / "file", b"0123456789")
    change(tmp_path / "file")

    with pytest.raises(DatasetError):
        md5_of(file)


def test_a_folder_in_a_file_s_place_is_an_error(tmp_path: Path) -> None:
    file = found_file(tmp_path / "file", b"x")
    (tmp_path / "file").unlink()
    (tmp_path / "file").mkdir()

    with pytest.raises(DatasetError):
        md5_of(file)


def test_an_issue_says_where_and_how_grave() -> None:
    assert str(Issue(Severity.ERROR, "a/b", "is bad")) == "error: a/b: is bad"
    assert str(Issue(Severity.WARNING, "", "all is odd")) == "warning: all is odd"
