"""A user's own file goes over the table key by key, and is refused with every fault named."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.conftest import Connect
from tests.test_laws import tree
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.errors import ConfigError, DatasetError
from xnat_bids_push.model import CreateSubject, Node
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import plan, push, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.table import Table, default_table
from xnat_bids_push.tailoring import mapping_table

PACKAGE = resources.files("xnat_bids_push")
SCHEMA = json.loads(PACKAGE.joinpath("mapping.schema.json").read_text("utf-8"))


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, "utf-8")
    return path


def refusal(file: Path | None = None, *types: str) -> str:
    with pytest.raises(ConfigError) as caught:
        mapping_table(file, session_types=types)
    return str(caught.value)


# ------------------------------------------------------------------ the form


def test_the_schema_is_one_and_our_table_keeps_to_it() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert (
        list(Draft202012Validator(SCHEMA).iter_errors(tomllib.loads(PACKAGE.joinpath("mapping.toml").read_text())))
        == []
    )


def test_a_file_may_hold_one_key(tmp_path: Path) -> None:
    table = mapping_table(written(tmp_path, '[resources]\ncompanion = "WITH"\n'))

    assert table.companion == "WITH"
    assert table.sidecar == default_table().sidecar
    assert table.datatypes == default_table().datatypes


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    table = mapping_table(written(tmp_path, ""))
    assert all(getattr(table, row.name) == getattr(default_table(), row.name) for row in fields(table))


def test_a_row_of_a_field_is_replaced_whole(tmp_path: Path) -> None:
    table = mapping_table(written(tmp_path, '[fields."xnat:mrSessionData"]\ncoil = { is = "head" }\n'))
    rows = {row.path: row for row in table.rules.rows("xnat:mrSessionData")}

    assert (rows["coil"].constant, rows["coil"].sources) == ("head", ())
    assert rows["fieldStrength"].sources == ("MagneticFieldStrength",)


def test_a_list_is_replaced_and_a_new_row_is_added(tmp_path: Path) -> None:
    text = '[companions]\nblood = []\nrating = ["bold"]\n[datatypes.ct]\nmodality = "CT"\nscan = "xnat:ctScanData"\n'
    table = mapping_table(
        written(tmp_path, text + 'formats = "nifti"\n[modalities]\nCT = { session = "xnat:ctSessionData" }')
    )

    assert (table.companions["blood"], table.companions["rating"]) == ((), ("bold",))
    assert table.session_type({"CT"}) == "xnat:ctSessionData"


FAULTS = {
    "version = 2": "[version]: 2 is not 1",
    "[modalitys]": "there is no 'modalitys': did you mean 'modalities'?",
    '[modalities]\nEEG = { sesion = "xnat:eegSessionData" }': "EEG: there is no 'sesion': did you mean 'session'?",
    '[modalities]\neeg = { session = "xnat:eegSessionData" }': "[modalities]: 'eeg' is not a word of capital letters",
    '[modalities]\nEEG = { session = "EEG" }': "EEG session: 'EEG' is not a data type such as xnat:mrSessionData",
    '[modalities]\nEEG = "xnat:eegSessionData"': "[modalities] EEG: 'xnat:eegSessionData' is not a table",
    '[companions]\nevents = "bold"': "[companions] events: 'bold' is not a list of words",
    '[formats.nifti]\nNIFTI = ["nii"]': "[formats] nifti NIFTI: 'nii' is not an extension such as .nii.gz",
    '[datatypes]\nct = { modality = "MR" }': "[datatypes] ct: 'scan' is missing",
    "[trees]\ncode = { optional = 1 }": "[trees] code optional: 1 is not true or false",
    '[datatypes]\nanat = { modality = "XR" }': "[datatypes] anat: there is no modality 'XR': there are MR, PET",
    '[datatypes]\nanat = { formats = "dicom" }': "[datatypes] anat: there is no such table of formats",
    "[trees]\ncode = { optional = true }": "[trees] code: only derivatives and sourcedata can be optional",
    '[combinations]\nX = { of = ["MR"], session = "xnat:mrSessionData" }': "[combinations] X: a combination is of two",
    '[templates]\nexperiment = "{session}"': "[templates] experiment: '{session}': {subject} must be in it",
    '[templates]\nsubject = "{subject}_{modality}"': "[templates] subject: '{subject}_{modality}': {subject}",
    '[fields."xnat:mrScanData"]\ncoil = { form = "Coil" }': "[fields] xnat:mrScanData coil: there is no 'form'",
    '[fields."xnat:mrScanData"]\ncoil = { from = "Coil", as = "word" }': "coil: as 'word': one of",
    "[resources\n": "is no TOML",
}


@pytest.mark.parametrize(("text", "words"), FAULTS.items(), ids=FAULTS.values())
def test_each_fault_is_named_with_its_file_row_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = written(tmp_path, text)
    message = refusal(file)

    assert words in message
    assert str(file) in message


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    shapes = [text for text, words in FAULTS.items() if "EEG" in text and "capital" not in words][:1]
    message = refusal(written(tmp_path, "\n".join(["version = 2", *shapes, '[companions]\nevents = "bold"\n[x]\n[y]'])))

    assert len(message.splitlines()) == 1 + 5


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere.toml cannot be read" in refusal(tmp_path / "nowhere.toml")


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes("# für uns\n".encode("latin-1"))

    assert "is no TOML" in refusal(tmp_path / "latin.toml")


# ------------------------------------------------------------------ types


@pytest.mark.parametrize(
    "texts", [["eeg,meg=xnat:mrSessionData"], ["EEG=xnat:mrSessionData", "meg=xnat:mrSessionData"]]
)
def test_types_are_chosen_by_modality_and_by_datatype(texts: list[str]) -> None:
    modalities = mapping_table(session_types=texts).modalities

    assert {name for name, row in modalities.items() if row.session == "xnat:mrSessionData"} == {"MR", "EEG", "MEG"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eeg", "'eeg' has no type"),
        ("eeg=xnat:mrSessionData,pet", "'pet' has no type"),
        ("=xnat:mrSessionData", "no modality, combination or datatype ''"),
        ("ecg=xnat:mrSessionData", "no modality, combination or datatype 'ecg': there are MR, PET"),
        ("anat=xnat:mrSessionData,func=xnat:petSessionData", "MR would be both"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(text: str, words: str) -> None:
    assert words in refusal(None, text)


# ------------------------------------------------------------------ on the archive


def assert_everything_works(root: Path, out: Path, open_project: Connect, table: Table, *, pulling: Table) -> None:
    """Push, push again, verify, pull and remove, all with the same table but for the pull."""
    dataset = read(root, table=table, selection=Selection(("all",), sourcedata=True))
    with open_project() as archive:
        first, second = push(dataset, archive, pause=0), push(dataset, archive, pause=0)
        verified = verify(dataset, archive)
        pulled = pull(archive, out, table=pulling)
        removed = remove(list(plan_removal(dataset, archive)), archive)
        left = archive.experiments()
    assert [one.failed for one in (first, second, verified, pulled, removed)] == [[], [], [], [], []]
    assert second.sent_files == 0
    assert tree(out) == tree(root)
    assert left == {}


@pytest.mark.parametrize(
    "experiment",
    ["{subject}[_{session}]_{modality}", "{modality}_[v{session}_]p{subject}", "{subject}[_MR{session}]"],
)
def test_any_templates_bring_the_sample_back(
    sample_root: Path, tmp_path: Path, open_project: Connect, experiment: str
) -> None:
    table = mapping_table(
        written(tmp_path, f"[templates]\nsubject = 'p{{subject}}'\nexperiment = '{experiment}'\n"),
        session_types=["petmr=xnat:mrSessionData"],
    )

    assert_everything_works(sample_root, tmp_path / "out", open_project, table, pulling=table)


def test_one_experiment_per_session_brings_the_sample_back_without_an_option(
    sample_root: Path, tmp_path: Path, open_project: Connect
) -> None:
    table = mapping_table(one_experiment_per_session=True)

    assert_everything_works(sample_root, tmp_path / "out", open_project, table, pulling=default_table())


def visit(root: Path, *files: str) -> Dataset:
    """A dataset of one session that holds these files, with one experiment for all of it."""
    for name in ("dataset_description.json", *files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return read(root, table=mapping_table(one_experiment_per_session=True), validate=False)


MR, PET = "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "sub-1/ses-a/pet/sub-1_ses-a_pet.nii"
EEG, MEG = "sub-1/ses-a/eeg/sub-1_ses-a_task-x_eeg.edf", "sub-1/ses-a/meg/sub-1_ses-a_task-x_meg.fif"


@pytest.mark.parametrize(
    ("files", "xsi_type"),
    [
        ((MR,), "xnat:mrSessionData"),
        ((MR, PET), "xnat:petmrSessionData"),
        ((PET, MR, EEG), "xnat:petmrSessionData"),
        ((EEG, MR), "xnat:mrSessionData"),
        ((EEG, PET), "xnat:petSessionData"),
        ((EEG, MEG), "xnat:megSessionData"),
        ((EEG,), "xnat:eegSessionData"),
    ],
)
def test_an_experiment_of_all_of_a_session_has_the_type_of_what_it_holds(
    tmp_path: Path, open_project: Connect, files: tuple[str, ...], xsi_type: str
) -> None:
    with open_project() as archive:
        report = push(visit(tmp_path, *files), archive, pause=0)
        [experiment] = archive.experiments().values()
        scans = archive.scans(Node("sub-1", "sub-1_ses-a"))

    assert report.ok
    assert (experiment.label, experiment.xsi_type) == ("sub-1_ses-a", xsi_type)
    assert len(scans) == len(files)


def test_what_comes_to_a_session_later_leaves_its_type_as_it_is(tmp_path: Path, open_project: Connect) -> None:
    with open_project() as archive:
        first = push(visit(tmp_path, EEG), archive, pause=0)
        second = push(visit(tmp_path, MR, PET), archive, pause=0)
        [experiment] = archive.experiments().values()

    assert (first.ok, second.ok, second.failed) == (True, True, [])
    assert experiment.xsi_type == "xnat:eegSessionData"


@pytest.mark.parametrize("first", [True, False], ids=["whole sessions first", "modalities first"])
def test_sessions_are_never_divided_in_both_ways(small_root: Path, open_project: Connect, first: bool) -> None:
    one, other = (
        read(small_root, table=mapping_table(one_experiment_per_session=whole)) for whole in (first, not first)
    )
    with open_project() as archive:
        push(one, archive, pause=0)
        before = archive.experiments()
        with pytest.raises(DatasetError, match=f"{'give' if first else 'leave out'} --one-experiment-per-session"):
            push(other, archive, pause=0)
        with pytest.raises(DatasetError, match="sub-01"):
            list(plan(other, archive))
        assert archive.experiments() == before


def test_a_session_of_somebody_else_with_such_a_label_is_left_alone(small_root: Path, open_project: Connect) -> None:
    """DICOM sessions are often called sub-01: that alone is no sign of another way to divide."""
    with open_project() as archive:
        archive.create_subject(CreateSubject("sub-01"))
        path = f"/data/projects/{archive.project}/subjects/sub-01/experiments/sub-01"
        archive._session.put(path, {"xsiType": "xnat:mrSessionData"})
        report = push(read(small_root), archive, pause=0)

    assert report.ok


def test_an_experiment_of_another_type_names_the_way_on(small_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        push(read(small_root, table=mapping_table(session_types=["mr=xnat:petSessionData"])), archive, pause=0)
        wrong = push(read(small_root), archive, pause=0)
        right = push(
            read(small_root, table=mapping_table(session_types=["anat=xnat:petSessionData"])), archive, pause=0
        )

    assert "--session-type MR=xnat:petSessionData" in wrong.failed[0].failure
    assert right.ok
