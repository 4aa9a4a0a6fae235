"""Sidecars are inherited as pybids does it; tables are found however oddly they are written."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.test_describing import parcels, write
from xnat_bids_push.dataset import read
from xnat_bids_push.fields import Recording
from xnat_bids_push.mapping import spot
from xnat_bids_push.metadata import Metadata, _Table
from xnat_bids_push.model import Node

EXAMPLES = SHARED / "bids-examples"


def recordings(root: Path) -> dict[str, Recording]:
    """What is known of each scan, by the path of its first file, or of the folder that it is."""
    dataset = read(root, validate=False)
    metadata = Metadata(dataset)
    found: dict[str, Recording] = {}
    for parcel in (parcel for parcel in parcels(dataset) if parcel.node.experiment):
        paths: dict[str, str] = {}
        for placed in parcel.files:
            if placed.rule == "recording":
                inner = spot(placed.file.path, dataset.table).inner
                path = placed.file.path.removesuffix(inner) + inner.partition("/")[0]
                paths.setdefault(placed.address.scan, path)
        found |= {paths[recording.scan.id]: recording for recording in metadata.recordings(parcel)}
    return found


def merged(recording: Recording) -> dict[str, object]:
    return {key: fact.value for key, fact in recording.sidecar.items()}


# ------------------------------------------------------------------ inheritance


def differing(root: Path) -> set[str]:
    """The recordings whose merged sidecar is not what pybids makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids import BIDSLayout

        layout = BIDSLayout(root.resolve(), validate=False)
    return {
        path
        for path, recording in recordings(root).items()
        if dict(layout.get_metadata(str(root.resolve() / path))) != merged(recording)
    }


SPACE = "space-MNI152NLin2009cAsym_res-2_desc"
EXCEPTIONS = {
    # Recordings that are folders: pybids has no metadata of them.
    "ds000246": {
        "sub-0001/meg/sub-0001_task-AEF_run-01_meg.ds",
        "sub-0001/meg/sub-0001_task-AEF_run-02_meg.ds",
        "sub-emptyroom/meg/sub-emptyroom_task-noise_run-01_meg.ds",
    },
    # Two sidecars of one folder apply, and the one of the image's own name should win; pybids takes the other.
    "ds000001-fmriprep": {
        f"sub-{label}/anat/sub-{label}_{SPACE}-{rest}.nii.gz"
        for label in ("10", "11", "13", "16")
        for rest in ("brain_mask", "preproc_T1w")
    },
}
SOME = ["asl003", "ds210", "eeg_cbm", "ieeg_visual", "micr_SPIM", "motion_systemvalidation", "pet005", "qmri_mp2rage"]


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="bids-examples are not beside this checkout")
@pytest.mark.parametrize("name", [*SOME, *EXCEPTIONS])
def test_metadata_of_examples_is_inherited_as_pybids_does_it(name: str) -> None:
    assert differing(EXAMPLES / name) == EXCEPTIONS.get(name, set())


def test_metadata_of_the_sample_is_inherited_as_pybids_does_it(sample_root: Path) -> None:
    folders = {path for path in recordings(sample_root) if (sample_root / path).is_dir()}

    assert differing(sample_root) <= folders


def test_what_is_nearer_wins_and_each_key_knows_its_file(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "bold.json": {"A": 0, "Z": 0},
            "task-a_bold.json": {"A": 1, "B": 1},
            "sub-01/sub-01_bold.json": {"B": 2, "C": 2},
            "sub-01/ses-x/sub-01_ses-x_task-b_bold.json": {"C": "of another task"},
            "sub-01/ses-x/func/sub-01_ses-x_bold.json": {"D": 3, "E": 3},
            "sub-01/ses-x/func/sub-01_ses-x_task-a_bold.json": {"E": 4},
            "sub-01/ses-x/func/sub-01_ses-x_task-a_bold.nii": "",
            "sub-02/sub-02_bold.json": {"A": "of another subject"},
        },
    )

    [recording] = recordings(root).values()

    assert merged(recording) == {"A": 1, "Z": 0, "B": 2, "C": 2, "D": 3, "E": 4}
    assert {key: fact.source for key, fact in recording.sidecar.items()} == {
        "A": "A in task-a_bold.json",
        "Z": "Z in bold.json",
        "B": "B in sub-01_bold.json",
        "C": "C in sub-01_bold.json",
        "D": "D in sub-01_ses-x_bold.json",
        "E": "E in sub-01_ses-x_task-a_bold.json",
    }


def test_b_values_are_inherited_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "dwi.bval": "0 1000 1000\n",
            "sub-01/dwi/sub-01_dwi.nii": "",
            "sub-02/dwi/sub-02_dwi.nii": "",
            "sub-02/dwi/sub-02_dwi.bval": "0\n2000\n",
            "sub-03/dwi/sub-03_dwi.nii": "",
            "sub-03/dwi/sub-03_dwi.bval": "not numbers",
        },
    )

    found = {path[:6]: recording.bvals for path, recording in recordings(root).items()}

    assert {subject: fact and fact.value for subject, fact in found.items()} == {
        "sub-01": [0, 1000, 1000],
        "sub-02": [0, 2000],
        "sub-03": None,
    }


def test_the_parts_of_a_folder_do_not_mislead(tmp_path: Path) -> None:
    folder = "sub-01/meg/sub-01_task-a_meg.ds"
    root = write(
        tmp_path,
        {
            f"{folder}/sub-01_task-a_meg.meg4": "",
            f"{folder}/BadChannels": "",
            "sub-01/meg/sub-01_task-a_meg.json": {"SamplingFrequency": 1200},
            "sub-01/sub-01_scans.tsv": f"filename\tacq_time\nmeg/{Path(folder).name}\t2001-02-03T04:05:06\n",
        },
    )

    [(path, recording)] = recordings(root).items()

    assert path == folder
    assert merged(recording) == {"SamplingFrequency": 1200}
    assert recording.row["acq_time"].value == "2001-02-03T04:05:06"


def test_a_sample_is_that_of_its_participant(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "samples.tsv": "sample_id\tparticipant_id\tsample_type\nsample-A\tsub-02\tcell\nsample-A\tsub-01\ttissue\n",
            "sub-01/micr/sub-01_sample-A_BF.png": "",
        },
    )

    [recording] = recordings(root).values()

    assert recording.sample["sample_type"].value == "tissue"


def test_headers_are_read_only_where_the_sidecar_is_silent(tmp_path: Path) -> None:
    told = {"SamplingFrequency": 1, "RecordingDuration": 2, "EEGChannelCount": 3}
    root = write(
        tmp_path,
        {
            "sub-01/eeg/sub-01_task-a_eeg.edf": "no recording",
            "sub-01/eeg/sub-01_task-a_eeg.json": told,
            "sub-01/eeg/sub-01_task-b_eeg.edf": "no recording",
        },
    )
    dataset = read(root)
    metadata = Metadata(dataset)

    for parcel in parcels(dataset):
        metadata.recordings(parcel)

    assert [issue.path for issue in metadata.issues] == ["sub-01/eeg/sub-01_task-b_eeg.edf"]


# ------------------------------------------------------------------ tables


def cells(text: str, key: str, column: str = "age") -> list[object]:
    return [row[column].value for row in _Table(text, "participant_id", name="x.tsv").rows(key) if column in row]


@pytest.mark.parametrize(
    "text",
    [
        "participant_id\tage\nsub-01\t34\n",
        "participant_id\tage\r\nsub-02\t1\r\nsub-01\t34\r\n",
        "age\tparticipant_id\n34\tsub-01",
        "participant_id\tsex\tage\nsub-02\nsub-01\tM\t34\textra\n\n",
        " participant_id \t age \n sub-01 \t 34 \n",
    ],
    ids=["plain", "CRLF", "no last line end", "short and long rows", "blanks"],
)
def test_rows_are_found_however_they_are_written(text: str) -> None:
    assert cells(text, "sub-01") == ["34"]


@pytest.mark.parametrize(
    "text", ["", "\n", "participant_id\tage\n", "id\tage\nsub-01\t3\n", "participant_id\nsub-01\n"]
)
def test_what_is_not_there_is_not_found(text: str) -> None:
    assert cells(text, "sub-01") == []


def test_empty_cells_say_nothing() -> None:
    text = "participant_id\tage\tsex\nsub-01\tn/a\t\nsub-02\tN/A\tM\n"

    assert cells(text, "sub-01") == cells(text, "sub-02") == []
    assert cells(text, "sub-02", "sex") == ["M"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab01+-é ", max_size=4), st.text(max_size=5)), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_every_row_of_any_table_is_found(rows: list[tuple[str, str]], end: str) -> None:
    text = end.join(["participant_id\tage", *("\t".join(row) for row in rows)])
    table = _Table(text, "participant_id", name="x.tsv")

    for key, value in rows:
        found = [row.get("age") for row in table.rows(key.strip())]
        if key.strip() and value.strip() and not set(value) & set("\t\r\n") and value.strip().casefold() != "n/a":
            assert value.strip() in [fact.value for fact in found if fact is not None]


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_are_too_odd(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    names = ("participants.tsv", "participants.json", "samples.tsv", "bold.json", "sub-01/sub-01_scans.tsv")
    image = {"sub-01/func/sub-01_task-a_bold.nii": content, "sub-01/func/sub-01_task-a_bold.bval": content}
    files: dict[str, object] = {**dict.fromkeys(names, content), **image}
    root = write(tmp_path_factory.mktemp("odd"), files)
    dataset = read(root)
    metadata = Metadata(dataset)

    for parcel in parcels(dataset):
        metadata.recordings(parcel)
        metadata.visit(parcel.node)


def test_marks_and_older_encodings_are_understood(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "participants.tsv": "\ufeffparticipant_id\tgroup\nsub-01\tm\u00fcde\n",
            "participants.json": "\ufeff{}",
            "sub-01/anat/sub-01_T1w.nii": "",
            "sub-01/anat/sub-01_T1w.json": '{"InstitutionName": "K\u00f6ln"}'.encode("latin-1"),
        },
    )
    metadata = Metadata(read(root))

    assert metadata.person(Node("sub-01")).row["group"].value == "müde"
    [recording] = recordings(root).values()
    assert merged(recording) == {"InstitutionName": "Köln"}


def test_a_sidecar_whose_content_is_absent_is_warned_of(tmp_path: Path) -> None:
    root = write(tmp_path, {"sub-01/anat/sub-01_T1w.nii": ""})
    (root / "T1w.json").symlink_to("../.git/annex/objects/nothing")
    dataset = read(root)
    metadata = Metadata(dataset)

    for parcel in parcels(dataset):
        metadata.recordings(parcel)

    assert [issue.path for issue in metadata.issues] == ["T1w.json", "sub-01/anat/sub-01_T1w.nii"]


def test_issues_are_bounded_and_none_is_lost_count_of(tmp_path: Path) -> None:
    metadata = Metadata(read(write(tmp_path, {})))

    for number in range(1500):
        metadata.warn(f"{number}.json", "is empty")
        metadata.warn("0.json", "is empty")

    *first, last = metadata.issues
    assert len(first) == 1000
    assert last.message.startswith("500 more files")


def test_a_hundred_thousand_participants_take_a_few_megabytes() -> None:
    text = "participant_id\tage\tsex\n" + "".join(f"sub-{number:06}\t{number % 90}\tF\n" for number in range(100_000))

    tracemalloc.start()
    try:
        table = _Table(text, "participant_id", name="participants.tsv")
        [row] = table.rows("sub-054321")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert row["age"].value == "51"
    assert kept < 5_000_000


def test_a_subject_is_found_with_or_without_its_prefix(tmp_path: Path) -> None:
    root = write(tmp_path, {"participants.tsv": "participant_id\tage\n01\t3\nsub-4S+1\t4\n", "sub-01/anat/x": ""})
    metadata = Metadata(read(root))

    assert metadata.person(Node("sub-01")).row["age"].value == "3"
    assert metadata.person(Node("sub-4S-1")).row["age"].value == "4"
    assert metadata.person(Node("sub-02")).row == {}
