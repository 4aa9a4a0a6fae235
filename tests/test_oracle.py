"""Names and sidecars are read as pybids reads them, but for what pybids.toml explains; and that is still so."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_data.generate import tiny_image
from tests.conftest import FAIR_SAMPLE, shared_dataset
from tools.oracle import (
    Comparison,
    Difference,
    Gap,
    Layout,
    compare,
    compare_entities,
    compare_metadata,
    entities_of,
    known_gaps,
    layout_of,
    parse_by_pybids,
)
from xnat_bids_push.dataset import read
from xnat_bids_push.mapping import place
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.table import default_table

CALM = settings(deadline=None)
ENTITIES, METADATA = known_gaps("entities"), known_gaps("metadata")

layout = cache(layout_of)
"""Each dataset is indexed once."""


@pytest.mark.parametrize("name", FAIR_SAMPLE)
def test_entities_are_those_of_pybids_on_public_examples(name: str) -> None:
    comparison = compare_entities(layout(shared_dataset(name)))

    assert list(map(str, comparison.unexplained(ENTITIES))) == []


def test_entities_are_those_of_pybids_on_the_sample(sample_root: Path) -> None:
    comparison = compare_entities(layout(sample_root))

    assert comparison.files > 100
    assert list(map(str, comparison.unexplained(ENTITIES))) == []


@pytest.mark.parametrize("name", FAIR_SAMPLE)
def test_merged_sidecars_are_those_of_pybids_on_public_examples(name: str) -> None:
    comparison = compare_metadata(layout(shared_dataset(name)))

    assert list(map(str, comparison.unexplained(METADATA))) == []


def test_merged_sidecars_are_those_of_pybids_on_the_sample(sample_root: Path) -> None:
    comparison = compare_metadata(layout(sample_root))

    assert comparison.files > 40
    assert list(map(str, comparison.unexplained(METADATA))) == []


NUMBERS = st.from_regex(r"[0-9]{1,3}", fullmatch=True)
LABELS = st.from_regex(r"[A-Za-z0-9]{1,6}", fullmatch=True)
VALUES = {
    **dict.fromkeys(("run", "echo", "flip", "inv", "chunk"), NUMBERS),
    "mt": st.sampled_from(["on", "off"]),
    "part": st.sampled_from(["mag", "phase", "real", "imag"]),
}
RAW_KEYS = ["task", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", *VALUES, "recording", "space"]


@st.composite
def _schema_names(draw: st.DrawFn) -> str:
    datatype = draw(st.sampled_from([*default_table().datatypes]))
    words = [f"{key}-{draw(VALUES.get(key, LABELS))}" for key in RAW_KEYS if draw(st.integers(0, 3)) == 0]
    subject, session = f"sub-{draw(LABELS)}", draw(st.sampled_from(["", "ses-a", "ses-01"]))
    end = draw(st.sampled_from(["bold.nii.gz", "T1w.json", "events.tsv", "physio.tsv.gz", "eeg.edf", "phase1.nii"]))
    folder = "/".join(part for part in (subject, session, datatype) if part)
    return f"{folder}/" + "_".join(part for part in (subject, session, *words, end) if part)


@CALM
@given(path=_schema_names())
def test_entities_are_those_of_pybids_on_any_schema_valid_name(path: str) -> None:
    found = Comparison(1, tuple(compare(path, entities_of(path) or {}, parse_by_pybids(path))))

    assert list(map(str, found.unexplained(ENTITIES))) == []


# ------------------------------------------------------------------ the gaps


@pytest.mark.parametrize("gap", ENTITIES, ids=lambda gap: gap.example)
def test_every_gap_is_still_there(gap: Gap) -> None:
    """When pybids learns it, its row can go."""
    ours, theirs = entities_of(gap.example), parse_by_pybids(gap.example)
    assert ours is not None

    found = list(compare(gap.example, ours, theirs))

    assert found
    assert all(gap.explains(one) for one in found)


@pytest.mark.parametrize("gap", METADATA, ids=lambda gap: gap.example)
def test_every_gap_of_the_metadata_is_still_there(gap: Gap, tmp_path: Path) -> None:
    for path, content in gap.sidecars.items():
        _write(tmp_path, path, json.dumps(content).encode())

    comparison = compare_metadata(_dataset(tmp_path, gap.example))

    assert comparison.differences
    assert all(gap.explains(one) for one in comparison.differences)


def test_what_no_gap_explains_is_told() -> None:
    path = "sub-01/meg/sub-01_task-rest_split-01_meg.fif"
    wrong = Difference(path, "task", "rest", "nap")

    assert Comparison(1, (wrong, Difference(path, "split", "01", None))).unexplained(ENTITIES) == [wrong]
    assert str(wrong) == f"{path}: task is 'rest', by pybids 'nap'"


# ------------------------------------------------------------------ why names are not taken from a layout

DESCRIPTION = b'{"Name": "x", "BIDSVersion": "1.10.0"}'


def _write(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def _dataset(root: Path, *paths: str) -> Layout:
    _write(root, "dataset_description.json", DESCRIPTION)
    for path in paths:
        _write(root, path, tiny_image(path).data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return layout_of(root)


def test_a_layout_is_misled_by_a_parent_folder_and_we_are_not(tmp_path: Path) -> None:
    root = tmp_path / "sub-9" / "ses-9"
    found = _dataset(root, "sub-01/anat/sub-01_T1w.nii.gz", "task-rest_bold.nii.gz")

    theirs = found.get_file(str(root / "task-rest_bold.nii.gz")).get_entities()
    ours = entities_of("task-rest_bold.nii.gz")

    assert (theirs["subject"], theirs["session"]) == ("9", "9")
    assert ours == {"task": "rest", "suffix": "bold", "extension": ".nii.gz"}


def test_a_layout_takes_runs_for_numbers_and_we_keep_them_apart(tmp_path: Path) -> None:
    paths = ("sub-01/func/sub-01_task-a_run-1_bold.nii.gz", "sub-01/func/sub-01_task-a_run-01_bold.nii.gz")
    found = _dataset(tmp_path, *paths)

    placement = place(read(tmp_path).part("sub-01"), default_table())

    one, other = (found.get_file(str(tmp_path / path)).get_entities()["run"] for path in paths)
    assert one == other
    assert [scan.id for parcel in placement.parcels for scan in parcel.scans] == [
        "func_task-a_run-01_bold",
        "func_task-a_run-1_bold",
    ]


def test_a_layout_loses_hidden_files_of_a_recording_and_we_do_not(tmp_path: Path) -> None:
    hidden = "sub-01/micr/sub-01_sample-a_SPIM.ome.zarr/.zattrs"
    found = _dataset(tmp_path, hidden)

    assert not [path for path in found.files if path.endswith(".zattrs")]
    assert hidden in {file.path for file in read(tmp_path).part("sub-01").files}


def test_a_layout_cannot_be_made_beside_a_broken_sidecar_and_we_warn(tmp_path: Path) -> None:
    image = "sub-01/anat/sub-01_T1w.nii.gz"
    _write(tmp_path, "T1w.json", b"{")

    with pytest.raises(OSError, match="JSON"):
        _dataset(tmp_path, image)

    dataset = read(tmp_path)
    metadata = Metadata(dataset)
    [parcel] = [one for one in place(dataset.part("sub-01"), dataset.table).parcels if one.node.experiment]
    [recording] = metadata.recordings(parcel)
    assert recording.sidecar == {}
    assert [issue.path for issue in metadata.issues] == ["T1w.json"]
