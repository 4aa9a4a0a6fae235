"""Filters choose recordings; what belongs to a recording goes with it, and no address depends on a filter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Connect
from tests.test_laws import tree
from xnat_bids_push.choosing import EVERYTHING, Choice, Chosen, Query, choose, narrow, read_filter
from xnat_bids_push.dataset import Dataset, Selection, read, vocabulary
from xnat_bids_push.errors import ConfigError, DatasetError
from xnat_bids_push.fitting import Untold
from xnat_bids_push.mapping import place
from xnat_bids_push.model import (
    Address,
    BidsFile,
    Holding,
    Mark,
    MarkKind,
    Md5,
    Node,
    Origin,
    Parcel,
    Part,
    State,
    StoredFile,
)
from xnat_bids_push.planning import Known, plan_node
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import healthy, push, survey, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.report import Unchosen
from xnat_bids_push.table import default_table

TABLE = default_table()
DESCRIPTION = BidsFile("dataset_description.json", 2, b"{}")


def query(text: str) -> tuple[Query, ...]:
    return read_filter(text, vocabulary())


def queries(**named: dict[str, object]) -> tuple[Query, ...]:
    return query(json.dumps(named))


def part_of(paths: Iterable[str], subject: str = "sub-01", marks: Iterable[Mark] = ()) -> Part:
    return Part(subject, tuple(BidsFile(path, 1, b"x") for path in sorted(paths)), tuple(marks))


def chosen_of(part: Part, choice: Choice) -> Chosen:
    return choose(place(part, TABLE, description=DESCRIPTION), choice, TABLE, subject=part.subject)


def taken(paths: Iterable[str], choice: Choice) -> set[str]:
    return files_of(chosen_of(part_of(paths), choice).parcels).keys() & set(paths)


def files_of(parcels: Iterable[Parcel]) -> dict[str, Address]:
    own = (one for parcel in parcels for one in parcel.files if one.origin is Origin.DATASET)
    return {one.file.path: one.address for one in own}


def addresses(parcels: Iterable[Parcel]) -> set[Address]:
    return {placed.address for parcel in parcels for placed in parcel.files}


# ------------------------------------------------------------------ what goes with what

A, B = "sub-01/ses-a", "sub-01/ses-b"
SESSIONS = {
    "sub-01/sub-01_sessions.tsv",
    f"{A}/sub-01_ses-a_scans.tsv",
    f"{A}/anat/sub-01_ses-a_T1w.nii.gz",
    f"{A}/anat/sub-01_ses-a_T1w.json",
    f"{A}/func/sub-01_ses-a_task-rest_run-01_bold.nii.gz",
    f"{A}/func/sub-01_ses-a_task-rest_run-01_events.tsv",
    f"{A}/func/sub-01_ses-a_task-rest_physio.tsv.gz",
    f"{A}/func/sub-01_ses-a_task-rest_run-02_bold.nii.gz",
    f"{A}/dwi/sub-01_ses-a_dwi.nii.gz",
    f"{A}/dwi/sub-01_ses-a_dwi.bval",
    f"{A}/eeg/sub-01_ses-a_task-rest_eeg.edf",
    f"{A}/eeg/sub-01_ses-a_electrodes.tsv",
    f"{B}/sub-01_ses-b_scans.tsv",
    f"{B}/anat/sub-01_ses-b_T1w.nii.gz",
    f"{B}/anat/sub-01_ses-b_acq-fast_T2w.nii.gz",
}
OWN = {"sub-01/sub-01_sessions.tsv"}


def where(*words: str) -> set[str]:
    return {path for path in SESSIONS if any(word in path for word in words)}


def test_a_datatype_is_taken_whole_with_what_describes_its_session_and_subject() -> None:
    assert taken(SESSIONS, Choice.of(datatypes=["eeg"])) == where("/eeg/", "ses-a_scans") | OWN
    assert taken(SESSIONS, Choice.of(datatypes=["anat"])) == where("/anat/", "scans") | OWN


def test_a_suffix_takes_recordings_with_all_that_belongs_to_them() -> None:
    assert taken(SESSIONS, Choice.of(suffixes=["dwi"])) == where("/dwi/", "ses-a_scans") | OWN
    assert taken(SESSIONS, Choice.of(suffixes=["T1w"])) == where("T1w", "scans") | OWN
    assert taken(SESSIONS, Choice.of(suffixes=["eeg"])) == where("/eeg/", "ses-a_scans") | OWN


def test_what_describes_a_datatype_goes_if_any_recording_of_it_goes() -> None:
    one = Choice.of(queries=queries(bold={"run": 1}))

    assert taken(SESSIONS, one) == where("run-01", "rest_physio", "ses-a_scans") | OWN


def test_a_session_is_taken_whole() -> None:
    assert taken(SESSIONS, Choice.of(sessions=["b"])) == where("ses-b") | OWN
    assert taken(SESSIONS, Choice.of(sessions=["ses-a", "b"])) == SESSIONS


def test_filters_are_all_to_be_met() -> None:
    both = Choice.of(sessions=["a"], datatypes=["anat"], queries=queries(x={"suffix": "T1w"}, y={"suffix": "bold"}))

    assert taken(SESSIONS, both) == where("ses-a_T1w", "ses-a_scans") | OWN


def test_a_subject_without_sessions_is_of_no_session() -> None:
    paths = {"sub-01/anat/sub-01_T1w.nii", "sub-01/sub-01_scans.tsv"}

    assert taken(paths, Choice.of(sessions=["a"])) == set()
    assert taken(paths, Choice.of(queries=queries(x={"session": None}))) == paths


def test_a_place_is_taken_without_any_recording_if_nothing_finer_is_asked_for() -> None:
    paths = {"sub-01/ses-a/notes.txt", "sub-01/ses-a/anat/notes.txt", "sub-01/ses-b/notes.txt", "sub-01/notes.txt"}

    assert taken(paths, Choice.of(participants=["01"])) == paths
    assert taken(paths, Choice.of(sessions=["a"])) == paths - {"sub-01/ses-b/notes.txt"}
    assert taken(paths, Choice.of(datatypes=["anat"])) == paths - {"sub-01/ses-b/notes.txt"}
    assert taken(paths, Choice.of(suffixes=["T1w"])) == set()


def test_derivatives_are_chosen_by_subject_and_session_alone() -> None:
    derived = {"derivatives/prep/sub-01/ses-a/func/x_bold.nii", "derivatives/prep/sub-01/ses-b/anat/x_T1w.nii"}
    overall = {"derivatives/prep/sub-01/anat/x.nii"}
    everything = SESSIONS | derived | overall

    assert taken(everything, Choice.of(datatypes=["eeg"])) - SESSIONS == derived | overall
    assert taken(everything, Choice.of(sessions=["a"])) - SESSIONS == {min(derived)} | overall
    assert taken(derived | overall, Choice.of(participants=["01"])) == derived | overall
    assert taken(derived | overall, Choice.of(participants=["02"])) == set()


def test_a_folder_recording_and_split_parts_go_as_one() -> None:
    meg = {
        "sub-01/meg/sub-01_task-a_meg.ds/x/y.meg4",
        "sub-01/meg/sub-01_task-a_meg.ds/z.res4",
        "sub-01/meg/sub-01_task-b_split-01_meg.fif",
        "sub-01/meg/sub-01_task-b_split-02_meg.fif",
    }

    assert taken(meg, Choice.of(queries=queries(x={"task": "a"}))) == {path for path in meg if "task-a" in path}
    assert taken(meg, Choice.of(queries=queries(x={"extension": ".fif"}))) == {path for path in meg if ".fif" in path}


def test_copies_and_manifests_go_with_their_node() -> None:
    marks = [Mark(f"{A}/anat/sub-01_ses-a_T1w.nii.gz", MarkKind.EXECUTABLE)]
    all_of_it = chosen_of(part_of(SESSIONS, marks=marks), EVERYTHING).parcels
    eeg = chosen_of(part_of(SESSIONS, marks=marks), Choice.of(datatypes=["eeg"])).parcels

    made = {placed.address for parcel in all_of_it for placed in parcel.files if placed.origin is not Origin.DATASET}
    nodes = {parcel.node for parcel in eeg}
    assert {node.experiment for node in nodes} == {"", "sub-01_ses-a_MR", "sub-01_ses-a_EEG"}
    assert addresses(eeg) & made == {address for address in made if address.node in nodes}


def test_a_subject_that_is_an_empty_folder_can_be_chosen() -> None:
    empty = part_of([], marks=[Mark("sub-01", MarkKind.FOLDER)])

    assert chosen_of(empty, Choice.of(participants=["01"])).parcels == chosen_of(empty, EVERYTHING).parcels != ()
    assert chosen_of(empty, Choice.of(datatypes=["anat"])).parcels == ()


# ------------------------------------------------------------------ laws

_NAMES = (
    *("anat/{}_T1w.nii.gz", "anat/{}_T1w.json", "anat/{}_acq-a+b_T2w.nii", "anat/notes.txt", "{}_scans.tsv"),
    *("func/{}_task-rest_run-1_bold.nii.gz", "func/{}_task-rest_run-02_bold.nii.gz", "func/{}_task-rest_events.tsv"),
    *("eeg/{}_task-rest_eeg.edf", "eeg/{}_electrodes.tsv", "meg/{}_meg.ds/a/b", "oddity/{}_x.y", "pet/{}_pet.nii"),
)
_SESSIONS = ("", "a", "b+")


@st.composite
def parts(draw: st.DrawFn, sessions: tuple[str, ...] = _SESSIONS) -> Part:
    """Any files of one subject, with derivatives and empty folders."""
    paths = set(draw(st.sets(st.sampled_from(["sub-01/sub-01_sessions.tsv", "derivatives/prep/sub-01/x.nii"]))))
    marks: set[Mark] = set()
    for session in draw(st.sets(st.sampled_from(sessions), min_size=1)):
        folder, stem = ("sub-01", "sub-01") if not session else (f"sub-01/ses-{session}", f"sub-01_ses-{session}")
        names = draw(st.sets(st.sampled_from(_NAMES)))
        paths |= {f"{folder}/{name.format(stem)}" for name in names}
        paths |= draw(st.sampled_from([set(), {f"derivatives/prep/{folder}/anat/y.nii"}]))
        marks |= draw(st.sampled_from([set(), {Mark(f"{folder}/beh", MarkKind.FOLDER)}]))
    return part_of(paths, marks=marks)


_QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "datatype": st.sampled_from(["anat", "func", ["eeg", "meg"], "*"]),
        "session": st.sampled_from(["a", ["b+"], None, "*"]),
        "suffix": st.sampled_from(["T1w", "bold", ["T2w", "pet"]]),
        "run": st.sampled_from([1, "01", 2, None, "*", [1, None]]),
        "acquisition": st.sampled_from([None, "*", "a+b"]),
        "extension": st.sampled_from([".nii.gz", "nii", ".ds"]),
    },
)
CHOICES = st.builds(
    lambda participants, sessions, datatypes, suffixes, named: Choice.of(
        participants=participants,
        sessions=sessions,
        datatypes=datatypes,
        suffixes=suffixes,
        queries=queries(**{str(number): one for number, one in enumerate(named)}) if named else (),
    ),
    st.sampled_from([[], ["01"], ["02"]]),
    st.sampled_from([[], ["a"], ["a", "b+"]]),
    st.sampled_from([[], ["anat"], ["func", "eeg"]]),
    st.sampled_from([[], ["T1w"], ["bold"]]),
    st.lists(_QUERIES, max_size=2),
)


@given(part=parts(), choice=CHOICES)
def test_what_is_chosen_is_a_part_of_the_whole_at_the_same_addresses(part: Part, choice: Choice) -> None:
    whole = place(part, TABLE, description=DESCRIPTION).parcels
    chosen = chosen_of(part, choice)

    assert files_of(chosen.parcels).items() <= files_of(whole).items()
    assert addresses(chosen.parcels) <= addresses(whole)
    assert chosen.unchosen == len(files_of(whole)) - len(files_of(chosen.parcels))
    for parcel in chosen.parcels:
        assert {placed.address.scan for placed in parcel.files} - {""} == {scan.id for scan in parcel.scans}
        assert parcel.shared <= {placed.address for placed in parcel.files}


@given(part=parts())
def test_all_participants_together_are_the_whole(part: Part) -> None:
    assert chosen_of(part, Choice.of(participants=["01"])).parcels == chosen_of(part, EVERYTHING).parcels


@given(part=parts(("a", "b+")))
def test_all_sessions_together_are_the_whole_of_what_lies_in_sessions(part: Part) -> None:
    each = [files_of(chosen_of(part, Choice.of(sessions=[session])).parcels) for session in ("a", "b+")]

    inside = {path for path in files_of(chosen_of(part, EVERYTHING).parcels) if "/ses-" in path}
    assert inside <= set().union(*each)


@given(part=parts(), first=CHOICES, second=CHOICES)
def test_two_filters_take_no_more_than_each(part: Part, first: Choice, second: Choice) -> None:
    both = Choice(first.conditions + second.conditions, first.queries or second.queries)

    assert (
        files_of(chosen_of(part, both).parcels).keys()
        <= files_of(chosen_of(part, Choice(first.conditions)).parcels).keys()
    )


def holding_of(parcel: Parcel, *others: Address) -> Holding:
    files = {one.address: StoredFile(one.address, one.file.size, Md5("0" * 32)) for one in parcel.files}
    files |= {address: StoredFile(address, 1, Md5("0" * 32)) for address in others}
    return Holding(parcel.node, "E1", parcel.xsi_type, files)


@given(part=parts(), choice=CHOICES)
def test_against_an_archive_that_has_everything_a_filtered_plan_is_empty(part: Part, choice: Choice) -> None:
    whole = {parcel.node: parcel for parcel in place(part, TABLE, description=DESCRIPTION).parcels}
    for parcel in chosen_of(part, choice).parcels:
        seen = narrow(holding_of(whole[parcel.node]), parcel, choice, TABLE)
        plan = plan_node(
            parcel, seen, digest=lambda _: Md5("0" * 32), describe=Untold(), table=TABLE, known=Known({"sub-01"})
        )

        assert {finding.state for finding in plan.findings} <= {State.SAME}
        assert plan.steps == ()


def test_what_the_archive_has_beyond_the_dataset_is_reported_if_the_filter_takes_it() -> None:
    [parcel] = chosen_of(
        part_of(["sub-01/func/sub-01_task-a_bold.nii"]), choice := Choice.of(datatypes=["func"])
    ).parcels
    func = Address(parcel.node, "func_task-b_bold", "NIFTI", "sub-01_task-b_bold.nii")
    anat = Address(parcel.node, "anat_T1w", "NIFTI", "sub-01_T1w.nii")
    theirs = Address(parcel.node, "anat_T1w", "SNAPSHOTS", "a.gif")

    seen = narrow(holding_of(parcel, func, anat, theirs), parcel, choice, TABLE)
    assert seen.files.keys() == {placed.address for placed in parcel.files} | {func, theirs}


# ------------------------------------------------------------------ filter files

RUNS = {f"sub-01/func/sub-01_task-rest_{run}bold.nii.gz" for run in ("", "run-1_", "run-02_")}


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ("1", "run-1_"),
        ('"01"', "run-1_"),
        ('["2", "7"]', "run-02_"),
        ("null", ""),
        ('"*"', "run-1_ run-02_"),
        ("[null, 2]", " run-02_"),
        ('[null, "*"]', " run-1_ run-02_"),
        ("3", None),
    ],
)
def test_a_filter_s_values_mean_what_they_mean_in_pybids(asked: str, runs: str | None) -> None:
    found = taken(RUNS, Choice.of(queries=query(f'{{"bold": {{"run": {asked}}}}}')))

    expected = () if runs is None else runs.split(" ")
    assert found == {f"sub-01/func/sub-01_task-rest_{run}bold.nii.gz" for run in expected}


def test_a_filter_file_as_for_fmriprep_takes_what_any_query_takes() -> None:
    filters = queries(
        t1w={"datatype": "anat", "session": ["a"], "acquisition": None, "suffix": "T1w"},
        bold={"datatype": "func", "session": ["a"], "suffix": "bold", "task": "*", "run": "02"},
    )

    assert taken(SESSIONS, Choice.of(queries=filters)) == (
        where("ses-a_T1w", "run-02", "rest_physio", "ses-a_scans") | OWN
    )


def test_padding_counts_where_pybids_compares_texts() -> None:
    echoes = {"sub-01/func/sub-01_task-rest_echo-1_bold.nii.gz"}

    assert taken(echoes, Choice.of(queries=queries(x={"echo": "1"}))) == echoes
    assert taken(echoes, Choice.of(queries=queries(x={"echo": "01"}))) == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 column 2"),
        ("[]", "at least one query"),
        ("{}", "at least one query"),
        ('{"bold": []}', "bold: a query is an object"),
        ('{"bold": {"acq": "x"}}', "bold: there is no entity 'acq'; pybids calls it acquisition"),
        ('{"bold": {"colour": "x"}}', "bold: there is no entity 'colour'; known are acquisition, "),
        ('{"bold": {"split": "1"}}', "go together"),
        ('{"bold": {"run": 1.5}}', "bold: run: a value is"),
        ('{"bold": {"run": [true]}}', "bold: run: a value is"),
        ('{"bold": {"run": {"a": 1}}}', "bold: run: a value is"),
    ],
)
def test_a_wrong_filter_file_is_a_precise_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        query(text)

    assert said in str(caught.value)


def test_all_faults_of_a_filter_file_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        query('{"a": {"x": 1}, "b": {"y": 2, "run": {}}, "c": 3}')

    assert len(str(caught.value).splitlines()) == 5


# ------------------------------------------------------------------ of a dataset


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A dataset of three participants, two of them with sessions, and one in derivatives only."""
    paths = SESSIONS | {path.replace("sub-01", "sub-02") for path in SESSIONS if "ses-b" not in path}
    paths |= {"sub-03/pet/sub-03_pet.nii.gz", "participants.tsv", "code/run"}
    paths |= {"derivatives/prep/sub-01/x", "derivatives/prep/sub-04/ses-a/x", "derivatives/qc/sub-01/x"}
    for path in paths:
        (tmp_path / "study" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "study" / path).write_text(path)
    (tmp_path / "study/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return tmp_path / "study"


def chosen(root: Path, choice: Choice, *, derivatives: tuple[str, ...] = ()) -> Dataset:
    return read(root, selection=Selection(derivatives, choice=choice))


def faults(dataset: Dataset) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        healthy(dataset)
    return [issue.message for issue in caught.value.issues]


def test_a_participant_or_session_that_is_not_there_is_an_error_that_names_what_there_is(study: Path) -> None:
    assert faults(chosen(study, Choice.of(participants=["07", "01"]))) == [
        "there is no sub-07 (--participant-label); there are sub-01, sub-02, sub-03"
    ]
    assert faults(chosen(study, Choice.of(sessions=["c"]))) == [
        "there is no ses-c (--session-label); there are ses-a, ses-b"
    ]
    assert faults(chosen(study, Choice.of(sessions=["b"], participants=["02"]))) == [
        "there is no ses-b (--session-label); there is ses-a"
    ]
    [fault] = faults(chosen(study, Choice.of(datatypes=["fun"])))
    assert fault.startswith("there is no fun (--datatype); there are anat, ")


def test_a_filter_that_takes_nothing_is_an_error_that_names_what_there_is(study: Path) -> None:
    assert faults(chosen(study, Choice.of(participants=["03"], suffixes=["t1w"]))) == [
        "nothing is taken (--participant-label, --suffix): of recordings there is pet (pet)"
    ]
    assert faults(chosen(study, Choice.of(queries=queries(x={"task": "other"})))) == [
        "nothing is taken (--bids-filter-file): of recordings there are anat (T1w, T2w), dwi (dwi), eeg (eeg), "
        "func (bold), pet (pet)"
    ]


def test_participants_who_are_in_derivatives_only_can_be_chosen(study: Path) -> None:
    four = Choice.of(participants=["04"])

    assert "there is no sub-04" in faults(chosen(study, four))[0]
    assert chosen(study, four, derivatives=("all",)).subjects == ("sub-04",)
    assert healthy(chosen(study, four, derivatives=("prep",))).errors == ()


def test_participants_who_are_not_chosen_are_not_read(study: Path) -> None:
    (study / "sub-02/broken").symlink_to("nowhere")

    found = healthy(chosen(study, Choice.of(participants=["01", "03"])))
    assert (found.subjects, found.unchosen) == (2, Unchosen(1, 0, "--participant-label"))


def test_what_is_wrong_where_nothing_is_chosen_stops_nothing(study: Path) -> None:
    (study / A / "dwi" / "broken").symlink_to("nowhere")

    assert survey(chosen(study, Choice.of(datatypes=["anat"]))).errors == ()
    assert survey(chosen(study, Choice.of(sessions=["b"]))).errors == ()
    assert len(survey(chosen(study, Choice.of(datatypes=["dwi"]))).errors) == 1
    assert len(survey(chosen(study, Choice.of(suffixes=["T1w"]))).errors) == 1


def test_what_is_not_chosen_is_counted(study: Path) -> None:
    unchosen = survey(chosen(study, Choice.of(participants=["01"], datatypes=["eeg"]))).unchosen

    assert str(unchosen) == "2 participants, 11 files not chosen (--participant-label, --datatype)"


# ------------------------------------------------------------------ end to end


def test_parts_pushed_one_after_the_other_are_the_whole(study: Path, tmp_path: Path, open_project: Connect) -> None:
    sessions, rest = Choice.of(sessions=["a"]), Choice.of(queries=queries(x={"session": ["b", None]}))
    with open_project() as archive:
        for choice in (Choice.of(datatypes=["eeg"]), sessions, rest):
            report = push(chosen(study, choice, derivatives=("all",)), archive, pause=0)
            assert report.ok, report.failed
        whole = verify(chosen(study, EVERYTHING, derivatives=("all",)), archive)
        assert whole.ok, whole.failed
        assert pull(archive, tmp_path / "out").ok
    assert tree(tmp_path / "out") == tree(study)


TAKEN: dict[str, tuple[Choice, Callable[[str], bool]]] = {
    "participant": (Choice.of(participants=["02"]), lambda path: "sub-02" in path),
    "session": (Choice.of(sessions=["b"]), lambda path: "/ses-b/" in path),
    "datatype": (Choice.of(datatypes=["eeg"]), lambda path: "/eeg/" in path),
    "suffix": (Choice.of(suffixes=["T2w"]), lambda path: "_T2w." in path),
    "queries": (
        Choice.of(queries=queries(x={"run": 2}, y={"datatype": "pet"})),
        lambda path: "_run-02_" in path or "_pet." in path,
    ),
}
"""Filters, and whether a path that they take is shared with nothing that they do not take."""


@pytest.mark.parametrize("name", ["participant", "session", "datatype", "suffix", "queries"])
def test_a_filter_is_the_same_window_in_every_verb(
    name: str, study: Path, tmp_path: Path, open_project: Connect
) -> None:
    """What is verified, pulled and removed with a filter is what is pushed with it; what is shared is not removed."""
    choice, gone = TAKEN[name]
    dataset = chosen(study, choice, derivatives=("all",))
    everything = chosen(study, EVERYTHING, derivatives=("all",))
    with open_project() as archive:
        part = push(dataset, archive, pause=0)
        assert pull(archive, tmp_path / "part").ok
        push(everything, archive, pause=0)
        verified = verify(dataset, archive)
        again = push(dataset, archive, pause=0)
        assert pull(archive, tmp_path / "window", choice=choice).ok
        assert (part.ok, verified.ok, again.ok, again.sent_files) == (True, True, True, 0)
        assert verified.files == part.files
        assert tree(tmp_path / "part") == tree(tmp_path / "window")

        remove(list(plan_removal(dataset, archive)), archive)
        assert pull(archive, tmp_path / "left").ok
    whole, left = files_in(study), files_in(tmp_path / "left")
    assert left <= whole
    assert whole - left == {path for path in files_in(tmp_path / "part") if gone(path)} != set()


def files_in(root: Path) -> set[str]:
    return {path for path, entry in tree(root).items() if entry[0] == "file"}


def test_what_shares_a_resource_with_what_is_not_removed_is_named(study: Path, open_project: Connect) -> None:
    func = chosen(study, Choice.of(datatypes=["func"], participants=["01"]))
    with open_project() as archive:
        push(chosen(study, EVERYTHING), archive, pause=0)
        kept = [reason for removal in plan_removal(func, archive) for reason in removal.kept]
        left = archive.scans(Node("sub-01", "sub-01_ses-a_MR"))
        remove(list(plan_removal(func, archive)), archive)
        assert left - archive.scans(Node("sub-01", "sub-01_ses-a_MR")) == {
            *("func_task-rest_run-01_bold", "func_task-rest_run-02_bold"),
        }
    assert kept == [
        "sub-01/sub-01_ses-a_MR/BIDS/func/sub-01_ses-a_task-rest_physio.tsv.gz "
        "shares its resource with what is not removed, and stays"
    ]
