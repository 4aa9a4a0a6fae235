"""Why a file lives where it lives, asked by path and by address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xnat_bids_push.cli import main
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.describing import Describer
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.explaining import explain, target_of, uri_of
from xnat_bids_push.model import Experiment, Explanation

BOLD = "sub-01/ses-pre/func/sub-01_ses-pre_task-nback_echo-1_bold.nii.gz"


def explained(dataset: Dataset, *asked: str, experiments: tuple[Experiment, ...] = ()) -> list[Explanation]:
    targets = [target_of(text, dataset.root, experiments) for text in asked]
    return list(explain(dataset, targets, describe=Describer(dataset)))


def test_a_file_is_told_its_scan_its_fields_and_where_they_come_from(sample: Dataset) -> None:
    [found] = explained(sample, BOLD)

    assert found.rule == "recording"
    assert found.scan is not None
    assert (found.scan.id, found.scan.type) == ("func_task-nback_echo-1_bold", "bold")
    [echo] = [field for field in found.scan.fields if field.path == "parameters/te"]
    assert "EchoTime in " in echo.source
    assert any(field.path == "demographics/gender" for field in found.subject_fields)


def test_every_file_is_found_again_by_the_address_that_it_is_told(sample: Dataset) -> None:
    """Path → address → path."""
    everything = explained(sample, str(sample.root))
    placed = [one for one in everything if one.address is not None]
    some = placed[::7]
    by_uri = explained(sample, *(uri_of(one, "P") for one in some))

    assert [(one.path, one.address) for one in by_uri] == [(one.path, one.address) for one in some]
    files = {file.path for part in sample.parts() for file in part.files}
    assert {one.path for one in placed} - {"(manifest)"} == files


def test_an_address_covers_what_lies_below_it(sample: Dataset) -> None:
    subject = "https://xnat.example.org/x/data/archive/projects/P/subjects/sub-01"
    all_of_it = {one.path for one in explained(sample, subject)}
    scan = {one.path for one in explained(sample, f"{subject}/experiments/sub-01_ses-pre_MR/scans/anat_T1w")}

    assert scan == {f"sub-01/ses-pre/anat/sub-01_ses-pre_T1w{end}" for end in (".json", ".nii.gz")}
    assert scan < all_of_it
    assert all("sub-01" in path or path == "dataset_description.json" for path in all_of_it)


def test_an_experiment_s_id_is_found_among_those_of_the_project(sample: Dataset) -> None:
    known = Experiment("XNAT_E00007", "sub-01_ses-pre_MR", "sub-01", "xnat:mrSessionData")
    uri = "/data/experiments/XNAT_E00007/scans/anat_T1w/resources/NIFTI"

    [found] = explained(sample, uri, experiments=(known,))
    assert found.path == "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz"
    with pytest.raises(ConfigError, match="--project"):
        explained(sample, uri)


def test_what_is_not_pushed_is_told_why(sample_root: Path) -> None:
    dataset = read(sample_root, selection=Selection())
    [found] = explained(dataset, "derivatives")

    assert found.address is None
    assert "--derivatives" in found.rule


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sub-01/nosuch", "no such file"),
        ("/elsewhere/file", "does not lie in the dataset"),
        ("/data/projects/P/subjects/sub-99", "nothing of the dataset"),
        (
            "/data/projects/P/subjects/sub-01/experiments/sub-01_ses-pre_MR/scans/anat_T1w/resources/NIFTI/files/"
            "sub-01_ses-pre_T1w.nii",
            "would be sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii",
        ),
    ],
)
def test_what_is_not_there_is_an_error_that_says_so(sample: Dataset, asked: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        explained(sample, asked)


@pytest.fixture
def in_the_dataset(sample_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = sample_root / "sub-01" / "ses-pre"
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("in_the_dataset")
def test_a_path_is_meant_from_here_or_from_the_dataset_s_root(capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("anat/sub-01_ses-pre_T1w.nii.gz", "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz"):
        with pytest.raises(SystemExit) as end:
            main(["explain", asked, "--json"])
        assert end.value.code == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["scan"], told["resource"]) == ("anat_T1w", "NIFTI")


@pytest.mark.usefixtures("in_the_dataset")
def test_people_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "anat", "--no-demographics"])
    told = capsys.readouterr().out

    assert "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.nii.gz\n  rule       recording\n  subject    sub-01\n" in told
    assert "session's fields: as above" in told
    assert "demographics" not in told
