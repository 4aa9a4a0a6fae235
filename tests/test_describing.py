"""What XNAT's own fields say, for whole datasets."""

from __future__ import annotations

import json
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import SHARED
from xnat_bids_push.dataset import Dataset, read
from xnat_bids_push.describing import Describer
from xnat_bids_push.fields import Telling
from xnat_bids_push.mapping import place
from xnat_bids_push.model import Dates, Field, Parcel

REAL = SHARED / "real-bids"


def parcels(dataset: Dataset) -> list[Parcel]:
    return [parcel for part in dataset.parts() for parcel in place(part, dataset.table).parcels]


def described(root: Path, telling: Telling | None = None) -> dict[str, Parcel]:
    """The parcels of a dataset with their fields, by experiment or subject."""
    dataset = read(root)
    describe = Describer(dataset, telling)
    return {str(parcel.node): describe(parcel) for parcel in parcels(dataset)}


def values(fields: tuple[Field, ...]) -> dict[str, str]:
    paths = [field.path for field in fields]
    assert len(set(paths)) == len(paths)
    return {field.path: field.value for field in fields}


def scan_values(parcel: Parcel, scan: str) -> dict[str, str]:
    [found] = [one for one in parcel.scans if one.id == scan]
    return values(found.fields)


def write(root: Path, files: dict[str, object]) -> Path:
    files = {"dataset_description.json": {"Name": "x", "BIDSVersion": "1.10.0"}} | files
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        (root / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


# ------------------------------------------------------------------ real scans


@pytest.mark.skipif(not REAL.is_dir(), reason="the real scans are not beside this checkout")
def test_fields_of_real_scans_are_those_that_were_written_down_by_hand() -> None:
    expected = tomllib.loads((Path(__file__).parent / "real_bids_fields.toml").read_text("utf-8"))
    dataset = read(REAL)
    describe = Describer(dataset)
    found = {str(parcel.node): describe(parcel) for parcel in parcels(dataset)}

    for subject, fields in expected["subjects"].items():
        assert values(describe.subject_fields(subject)) == fields
    for label, fields in expected["experiments"].items():
        assert values(found[label].fields) == fields
        scans = expected["scans"][label]
        assert {scan.id for scan in found[label].scans} == scans.keys() - {"all"}
        for scan in found[label].scans:
            assert values(scan.fields) == scans["all"] | scans[scan.id]
    assert describe.issues == ()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real scans are not beside this checkout")
def test_every_field_says_where_it_comes_from() -> None:
    parcel = described(REAL)["sub-ge_ses-20180918_MR"]

    sources = {field.path: field.source for field in parcel.scans[0].fields}
    assert all(sources.values())
    assert sources["parameters/tr"] == "RepetitionTime in sub-ge_ses-20180918_task-rest_run-1_bold.json"
    assert sources["parameters/voxelRes/x"] == "pixdim[1] of the image's header"
    own = {field.path: field.source for field in parcel.fields}
    assert own["age"] == "age in participants.tsv"
    assert own["date"] == "acq_time in sub-ge_ses-20180918_scans.tsv"


# ------------------------------------------------------------------ laws


def test_a_field_of_the_session_is_what_all_scans_agree_on(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "sub-01/anat/sub-01_T1w.nii.gz": "",
            "sub-01/anat/sub-01_T1w.json": {"MagneticFieldStrength": 3, "Manufacturer": "A", "StationName": "S"},
            "sub-01/anat/sub-01_T2w.nii.gz": "",
            "sub-01/anat/sub-01_T2w.json": {"MagneticFieldStrength": 3.0, "Manufacturer": "B"},
        },
    )

    own = values(described(root)["sub-01_MR"].fields)

    assert own == {"modality": "MR", "fieldStrength": "3.0", "scanner": "S"}


def test_bad_metadata_costs_its_fields_and_a_warning_each(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "participants.tsv": "name\tage\n01\t3\n",
            "task-rest_bold.json": "{",
            "sub-01/func/sub-01_task-rest_bold.nii": b"\x00" * 400,
            "sub-01/func/sub-01_task-rest_bold.json": '\ufeff{"EchoTime": 0.03, "FlipAngle": NaN}',
            "sub-01/anat/sub-01_T1w.nii.gz": "",
            "sub-01/anat/sub-01_T1w.json": "[]",
            "sub-01/sub-01_scans.tsv": "file\n",
        },
    )
    dataset = read(root)
    describe = Describer(dataset)

    [parcel] = [describe(parcel) for parcel in parcels(dataset) if parcel.node.experiment]

    assert scan_values(parcel, "func_task-rest_bold")["parameters/te"] == "30"
    assert "parameters/flip" not in scan_values(parcel, "func_task-rest_bold")
    assert sorted((issue.path, issue.message.partition(":")[0].partition(" (")[0]) for issue in describe.issues) == [
        ("participants.tsv", "has no column participant_id"),
        ("sub-01/anat/sub-01_T1w.json", "is JSON, but no object"),
        ("sub-01/anat/sub-01_T1w.nii.gz", "is empty"),
        ("sub-01/func/sub-01_task-rest_bold.nii", "is no NIfTI image"),
        ("sub-01/sub-01_scans.tsv", "has no column filename"),
        ("task-rest_bold.json", "is not JSON"),
    ]


def test_subjects_without_files_of_their_own_have_demographics_too(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "participants.tsv": "participant_id\tsex\tage\r\nsub-01\tM\t30.9\r\n02\tF\t89+\r\n",
            "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz": "",
            "sub-02/anat/sub-02_T1w.nii.gz": "",
        },
    )
    describe = Describer(read(root))

    assert values(describe.subject_fields("sub-01")) == {"demographics/gender": "male", "demographics/age": "30"}
    assert values(describe.subject_fields("sub-02")) == {"demographics/gender": "female", "demographics/age": "89"}
    assert [issue.message for issue in describe.issues] == ["sub-02: the age '89+' is sent as 89"]


def test_without_demographics_nothing_of_participants_is_told_but_what_was_asked_for(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "participants.tsv": "participant_id\tsex\tage\tgroup\tStrain ID\nsub-01\tM\t30\tpatient\tC57\n",
            "sub-01/anat/sub-01_T1w.nii.gz": "",
            "sub-01/anat/sub-01_T1w.json": {"PatientSex": "M", "PatientName": "N", "EchoTrainLength": 4},
        },
    )
    telling = Telling(demographics=False, all_metadata=True, participant_fields=("Strain ID",))
    dataset = read(root)
    describe = Describer(dataset, telling)

    [parcel] = [describe(parcel) for parcel in parcels(dataset) if parcel.node.experiment]

    assert values(describe.subject_fields("sub-01")) == {"fields/field[name=strain_id]": "C57"}
    assert values(parcel.fields) == {"modality": "MR"}
    assert scan_values(parcel, "anat_T1w") == {
        "modality": "MR",
        "series_class": "anat",
        "parameters/addParam[name=EchoTrainLength]": "4",
    }


@pytest.mark.parametrize(
    ("dates", "told"),
    [(Dates.ALL, {"sub-01", "sub-02"}), (Dates.SHIFTED, {"sub-02"}), (Dates.NONE, set())],
)
def test_dates_are_told_as_far_as_wished_and_old_ones_are_marked(dates: Dates, told: set[str], tmp_path: Path) -> None:
    files: dict[str, object] = {}
    for subject, date in (("sub-01", "2020-01-02T03:04:05.600Z"), ("sub-02", "1877-06-15T13:45:30")):
        files[f"{subject}/anat/{subject}_T1w.nii.gz"] = ""
        files[f"{subject}/{subject}_scans.tsv"] = f"filename\tacq_time\nanat/{subject}_T1w.nii.gz\t{date}\n"
    found = described(write(tmp_path, files), Telling(dates=dates))

    expected = {
        "sub-01": {"date": "2020-01-02", "time": "03:04:05"},
        "sub-02": {"date": "1877-06-15", "time": "13:45:30", "fields/field[name=bids_date_shifted]": "true"},
    }
    for subject, fields in expected.items():
        own = values(found[f"{subject}_MR"].fields)
        assert own == {"modality": "MR"} | (fields if subject in told else {})
        scan = scan_values(found[f"{subject}_MR"], "anat_T1w")
        assert scan.get("start_date") == (fields["date"] if subject in told else None)


def test_the_session_starts_with_its_first_scan_or_as_its_table_says(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "sub-01/sub-01_sessions.tsv": "session_id\tacq_time\tage\n"
            "ses-a\t2020-05-01T08:00:00\t31.5\nb\t2021-05-01\t32\n",
            "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz": "",
            "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz": "",
            "sub-01/ses-a/sub-01_ses-a_scans.tsv": "filename\tacq_time\n"
            "anat/sub-01_ses-a_T1w.nii.gz\t2020-05-01T10:30:00\nanat/sub-01_ses-a_T2w.nii.gz\t2020-05-01T09:30:00\n",
            "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz": "",
        },
    )
    found = described(root)

    first, second = (values(found[f"sub-01_ses-{session}_MR"].fields) for session in "ab")
    assert (first["date"], first["time"], first["age"]) == ("2020-05-01", "09:30:00", "31.5")
    assert (second["date"], second.get("time"), second["age"]) == ("2021-05-01", None, "32")
    assert (first["fields/field[name=bids_session]"], second["fields/field[name=bids_session]"]) == ("a", "b")


def test_describing_in_several_threads_gives_what_one_gives(sample: Dataset) -> None:
    alone = Describer(sample)
    together = Describer(sample)
    work = parcels(sample) * 4

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(together, work))

    assert found == [alone(parcel) for parcel in work]
    assert set(together.issues) == set(alone.issues)
