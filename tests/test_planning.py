"""A plan makes equal what is missing, touches nothing that differs, and has nothing to say of what others wrote."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.fitting import Untold
from xnat_bids_push.mapping import place
from xnat_bids_push.model import (
    Address,
    BidsFile,
    CreateScans,
    CreateSubject,
    FillResource,
    Finding,
    Holding,
    ImportSession,
    Mark,
    MarkKind,
    Md5,
    Node,
    NodePlan,
    Origin,
    Parcel,
    Part,
    Placed,
    SendFile,
    SetFields,
    State,
    Step,
    StoredFile,
)
from xnat_bids_push.names import is_plain
from xnat_bids_push.planning import Known, plan_node
from xnat_bids_push.table import default_table

CALM = settings(deadline=None)
TABLE = default_table()
LARGE = 1000
"""What counts as large in these tests, in bytes."""


def made(path: str, size: int | None = None) -> BidsFile:
    """A file that holds its own path, or as many zeros as are asked for."""
    content = path.encode() if size is None else bytes(size)
    return BidsFile(path, len(content), content)


def md5(file: BidsFile) -> Md5:
    assert isinstance(file.content, bytes)
    return Md5(hashlib.md5(file.content).hexdigest())


def digest_of(placed: Placed) -> Md5:
    return md5(placed.file)


def parcels() -> tuple[Parcel, Parcel, Parcel]:
    """A session with two scans and all kinds of files, its subject, and the project."""
    session = "sub-1/ses-a/{}/sub-1_ses-a_{}".format
    files = [
        made(session("anat", "T1w.nii.gz")),
        made(session("anat", "T1w.json")),
        made(session("anat", "T1w.txt"), 0),
        made(session("func", "task-a_bold.nii.gz"), 5000),
        made(session("func", "task-a_bold note #1.txt"), 4000),
        made(session("func", "task-a_events.tsv"), 3000),
        made("sub-1/ses-a/extra/odd name.txt", 2000),
        made("sub-1/ses-a/sub-1_ses-a_scans.tsv"),
        made("sub-1/sub-1_sessions.tsv"),
    ]
    marks = (Mark("sub-1/ses-a/empty", MarkKind.FOLDER), Mark("sub-1/empty", MarkKind.FOLDER))
    description = made("dataset_description.json")
    own = place(Part("sub-1", tuple(files), marks), TABLE, description=description).parcels
    subject, experiment = sorted(own, key=lambda parcel: parcel.node)
    [project] = place(Part("", (description, made("README"), made("code/a b.py", 2000))), TABLE).parcels
    return experiment, subject, project


SESSION, SUBJECT, PROJECT = parcels()
RECORDING, SIDECAR = (
    next(one for one in SESSION.files if one.file.path.endswith(end)) for end in ("T1w.nii.gz", "T1w.json")
)
COPY = next(one for one in SESSION.files if one.origin is Origin.COPY)
MANIFEST = next(one for one in SESSION.files if one.origin is Origin.MANIFEST)


def stored(placed: Placed, size: int | None = None, digest: str | None = None) -> StoredFile:
    """A file on the server: as it was sent, but for what is given."""
    file = placed.file
    return StoredFile(placed.address, file.size if size is None else size, md5(file) if digest is None else digest)


def holding(parcel: Parcel, files: Iterable[StoredFile]) -> Holding:
    """What the server has of a node that exists."""
    return Holding(parcel.node, "XNAT_1", parcel.xsi_type, {one.address: one for one in files})


def planned(
    parcel: Parcel,
    there: Holding,
    *,
    subjects: Iterable[str] = ("sub-1",),
    written: Iterable[Placed] = (),
    hidden: Iterable[Placed] = (),
) -> NodePlan:
    ours, unseen = ({placed.address for placed in some} for some in (written, hidden))
    known = Known(frozenset(subjects), frozenset(ours), frozenset(unseen))
    return plan_node(parcel, there, digest=digest_of, describe=Untold(), table=TABLE, known=known, large=LARGE)


def finding(plan: NodePlan, address: Address) -> Finding:
    [found] = [one for one in plan.findings if one.address == address]
    return found


def carried(steps: Iterable[Step]) -> Iterator[Placed]:
    """All files that steps send."""
    for step in steps:
        match step:
            case ImportSession(_, files) | FillResource(files=files):
                yield from files
            case SendFile(placed=placed):
                yield placed
            case CreateSubject() | CreateScans() | SetFields():
                pass


# ------------------------------------------------------------------ one file

OTHER = Md5("0" * 32)
STATES: dict[str, tuple[int | None, str | None, State]] = {
    "equal": (None, None, State.SAME),
    "shorter": (1, None, State.DIFFERS),
    "shorter, and without digest": (1, "", State.DIFFERS),
    "emptied": (0, None, State.DIFFERS),
    "lost on the server's disk": (-1, None, State.DIFFERS),
    "lost, and without digest": (-1, "", State.DIFFERS),
    "another content": (None, OTHER, State.DIFFERS),
    "without digest": (None, "", State.UNPROVEN),
}


@pytest.mark.parametrize(("size", "digest", "state"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("placed", [RECORDING, COPY, MANIFEST], ids=lambda placed: placed.origin)
def test_a_file_s_state_follows_from_size_and_digest(
    placed: Placed, size: int | None, digest: str | None, state: State
) -> None:
    plan = planned(SESSION, holding(SESSION, [stored(placed, size, digest)]))

    found = finding(plan, placed.address)
    assert (found.state, found.origin) == (state, placed.origin)
    assert (found.path, found.size) == (placed.file.path, placed.file.size)
    assert bool(found.reason) == (state is not State.SAME)
    assert plan.prove == (state is State.UNPROVEN)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (stored(RECORDING, size=-1), "lost its content"),
        (stored(RECORDING, size=7), "7 on the server"),
        (stored(RECORDING, digest=OTHER), "another content"),
        (stored(RECORDING, digest=""), "not computed"),
    ],
)
def test_a_reason_says_what_is_wrong(there: StoredFile, said: str) -> None:
    assert said in finding(planned(SESSION, holding(SESSION, [there])), RECORDING.address).reason


def test_what_is_not_there_is_missing() -> None:
    plan = planned(SESSION, Holding(SESSION.node))

    assert {one.state for one in plan.findings} == {State.MISSING}
    assert [one.address for one in plan.findings] == [placed.address for placed in SESSION.files]
    assert not plan.prove


def test_an_empty_file_that_arrived_is_the_same() -> None:
    [empty] = [placed for placed in SESSION.files if not placed.file.size]
    plan = planned(SESSION, holding(SESSION, [stored(empty)]))

    assert finding(plan, empty.address).state is State.SAME


def test_digests_are_computed_only_where_size_does_not_decide() -> None:
    """The others would be read from disk for nothing."""
    asked: Counter[str] = Counter()

    def digest(placed: Placed) -> Md5:
        asked[placed.file.path] += 1
        return digest_of(placed)

    first, second, third, fourth, fifth, *_ = SESSION.files
    there = [
        stored(first),
        stored(second, size=9),
        stored(third, digest=""),
        stored(fourth, size=-1),
        stored(fifth, digest=OTHER),
    ]
    known = Known(("sub-1",))
    plan_node(SESSION, holding(SESSION, there), digest=digest, describe=Untold(), table=TABLE, known=known)

    assert asked == {first.file.path: 1, fifth.file.path: 1}


# ------------------------------------------------------------------ what is done

CHANGES = st.sampled_from([None, *((size, digest) for size, digest, _ in STATES.values())])


@st.composite
def _situations(draw: st.DrawFn) -> tuple[Parcel, Holding, frozenset[str]]:
    """A parcel, whatever part of it is on the server in whatever state, and which subjects are there."""
    parcel = draw(st.sampled_from([SESSION, SUBJECT, PROJECT]))
    if parcel.xsi_type and draw(st.booleans()):
        return parcel, Holding(parcel.node), draw(st.sampled_from([frozenset(), frozenset({"sub-1"})]))
    choices = [(placed, draw(CHANGES)) for placed in parcel.files]
    there = holding(parcel, [stored(placed, *change) for placed, change in choices if change is not None])
    if parcel.node.subject and not parcel.xsi_type and draw(st.booleans()):
        return parcel, Holding(parcel.node), frozenset()
    return parcel, there, frozenset({"sub-1"})


Situation = tuple[Parcel, Holding, frozenset[str]]


@CALM
@given(_situations())
def test_what_is_missing_is_sent_once_and_nothing_of_the_dataset_that_is_there(situation: Situation) -> None:
    parcel, there, subjects = situation
    plan = planned(parcel, there, subjects=subjects)
    sent = Counter(placed.address for placed in carried(plan.steps))

    for placed in parcel.files:
        state = finding(plan, placed.address).state
        ours = placed.origin is not Origin.DATASET
        assert sent[placed.address] == (state is State.MISSING or (ours and state is State.DIFFERS))
    assert not sent.keys() - {placed.address for placed in parcel.files}


@CALM
@given(_situations())
def test_only_what_the_push_itself_makes_is_replaced(situation: Situation) -> None:
    parcel, there, subjects = situation
    for step in planned(parcel, there, subjects=subjects).steps:
        if isinstance(step, FillResource | SendFile):
            files = list(carried([step]))
            assert {placed.address in there.files for placed in files} == {step.replace}
            assert not step.replace or all(placed.origin is not Origin.DATASET for placed in files)
        if isinstance(step, FillResource):
            assert {(p.address.node, p.address.scan, p.address.resource) for p in step.files} == {
                (step.node, step.scan, step.resource),
            }


def act(there: Holding, steps: Iterable[Step]) -> Holding:
    """What a server would hold after some steps; one that is as strict as XNAT about what must be there first."""
    files = dict(there.files)
    identifier, xsi_type = there.id, there.xsi_type
    scans = {address.scan for address in files}
    for step in steps:
        match step:
            case ImportSession(parcel):
                assert not identifier, "the experiment exists"
                identifier, xsi_type = "XNAT_1", parcel.xsi_type
                scans |= {scan.id for scan in parcel.scans}
            case CreateScans(_, _, new):
                assert identifier, "there is no experiment"
                scans |= {scan.id for scan in new}
            case _:
                pass
        for placed in carried([step]):
            replacing = isinstance(step, FillResource | SendFile) and step.replace
            assert replacing or placed.address not in files, "the file exists"
            assert not placed.address.scan or placed.address.scan in scans, "there is no such scan"
            assert not placed.address.node.experiment or identifier, "there is no experiment"
            files[placed.address] = stored(placed)
    return Holding(there.node, identifier, xsi_type, files)


@CALM
@given(_situations())
def test_after_its_steps_a_plan_has_no_steps(situation: Situation) -> None:
    """Idempotent from anywhere; what is left are the dataset's files that differ, and those to be proven."""
    parcel, there, subjects = situation
    first = planned(parcel, there, subjects=subjects)
    second = planned(parcel, act(there, first.steps))

    assert second.steps == ()
    left = {one.address for one in second.findings if one.state is not State.SAME}
    assert left == {
        one.address
        for one in first.findings
        if one.state is State.UNPROVEN or (one.state is State.DIFFERS and one.origin is Origin.DATASET)
    }
    assert second.settled == (not left)


@CALM
@given(st.sampled_from([SESSION, SUBJECT, PROJECT]), st.data())
def test_a_plan_against_what_the_parcel_itself_made_is_settled(parcel: Parcel, data: st.DataObject) -> None:
    """Whichever of its files are in the dataset."""
    files = tuple(placed for placed in parcel.files if data.draw(st.booleans()))
    some = replace(parcel, files=files)
    plan = planned(some, holding(some, map(stored, files)))

    assert plan.settled
    assert (plan.steps, plan.prove, plan.obstacle) == ((), False, "")


@CALM
@given(_situations())
def test_a_plan_that_is_not_settled_says_why(situation: Situation) -> None:
    parcel, there, subjects = situation
    plan = planned(parcel, there, subjects=subjects)

    assert plan.settled == all(one.state is State.SAME for one in plan.findings)
    assert plan.steps == () or not plan.settled


# ------------------------------------------------------------------ the steps' order


def test_a_new_session_is_its_subject_then_one_import_then_the_large_files() -> None:
    plan = planned(SESSION, Holding(SESSION.node), subjects=())
    subject, session, *rest = plan.steps

    assert subject == CreateSubject("sub-1")
    assert isinstance(session, ImportSession)
    assert session.parcel is SESSION
    assert [type(step) for step in rest] == [FillResource, SendFile, SendFile]


def test_a_known_subject_is_not_created_again() -> None:
    plan = planned(SESSION, Holding(SESSION.node), subjects=["sub-1"])

    assert not [step for step in plan.steps if isinstance(step, CreateSubject)]


def test_a_subject_is_created_for_its_own_files() -> None:
    plan = planned(SUBJECT, Holding(SUBJECT.node), subjects=[])

    assert plan.steps[0] == CreateSubject("sub-1")
    assert {type(step) for step in plan.steps[1:]} == {FillResource}


def test_the_project_needs_no_creating() -> None:
    plan = planned(PROJECT, Holding(PROJECT.node), subjects=[])

    assert {type(step) for step in plan.steps} == {FillResource}


def test_an_experiment_without_files_is_imported_for_its_scans() -> None:
    bare = replace(SESSION, files=())

    assert planned(bare, Holding(bare.node)).steps == (ImportSession(bare, ()),)
    assert planned(bare, holding(bare, [])).steps == ()


def test_scans_that_are_missing_are_created_before_their_files() -> None:
    """Those that have some of their files are there."""
    _, *anat = [placed for placed in SESSION.files if placed.address.scan == "anat_T1w"]
    func = next(scan for scan in SESSION.scans if scan.id == "func_task-a_bold")
    plan = planned(SESSION, holding(SESSION, map(stored, anat)))

    assert plan.steps[0] == CreateScans(SESSION.node, SESSION.xsi_type, (func,))
    assert [step for step in plan.steps if isinstance(step, CreateScans)] == [plan.steps[0]]


def test_each_resource_is_filled_by_one_archive() -> None:
    plan = planned(replace(SESSION, files=tuple(p for p in SESSION.files if p.file.size < LARGE)), holding(SESSION, []))
    filled = [(step.scan, step.resource) for step in plan.steps if isinstance(step, FillResource)]

    assert len(filled) == len(set(filled)) > 3


# ------------------------------------------------------------------ large files


@CALM
@given(_situations())
def test_large_files_travel_alone_if_a_url_can_say_their_name(situation: Situation) -> None:
    parcel, there, subjects = situation
    for step in planned(parcel, there, subjects=subjects).steps:
        for placed in carried([step]):
            alone = placed.file.size >= LARGE and is_plain(placed.address.name) and placed.address not in there.files
            assert isinstance(step, SendFile) == alone


@CALM
@given(_situations())
def test_no_large_file_is_in_the_import_of_a_session(situation: Situation) -> None:
    """A zip's entry that is longer than 2 GiB is written in a way that Java cannot read as a stream."""
    parcel, there, subjects = situation
    for step in planned(parcel, there, subjects=subjects).steps:
        if isinstance(step, ImportSession):
            assert all(placed.file.size < LARGE for placed in step.files)


@CALM
@given(_situations())
def test_what_shares_a_resource_with_a_large_file_is_not_imported(situation: Situation) -> None:
    """The server digests what was imported by reading its whole resource."""
    parcel, there, subjects = situation
    steps = planned(parcel, there, subjects=subjects).steps
    large = {step.placed.address for step in steps if isinstance(step, SendFile)}
    imported = {placed.address for step in steps if isinstance(step, ImportSession) for placed in step.files}
    assert {(one.scan, one.resource) for one in large}.isdisjoint((one.scan, one.resource) for one in imported)


def test_the_limit_itself_is_large() -> None:
    path = "sub-1/anat/sub-1_T1w.nii"
    for size, kind in ((LARGE - 1, FillResource), (LARGE, SendFile)):
        [parcel] = place(Part("sub-1", (made(path, size),)), TABLE).parcels
        steps = planned(parcel, holding(parcel, [])).steps
        assert isinstance(steps[-1], kind)


# ------------------------------------------------------------------ what this run itself has sent


def test_what_this_run_sent_and_arrived_damaged_is_sent_again() -> None:
    there = [stored(placed, digest=OTHER) for placed in (RECORDING, SIDECAR)]
    again = planned(SESSION, holding(SESSION, there), written=[RECORDING])
    replaced = [step for step in again.steps if isinstance(step, FillResource) and step.replace]

    assert [step.files for step in replaced] == [(RECORDING,)]
    assert SIDECAR not in carried(again.steps)


def test_what_this_run_sent_and_arrived_is_not_sent_again() -> None:
    plan = planned(SESSION, holding(SESSION, map(stored, SESSION.files)), written=SESSION.files)

    assert plan.steps == ()


def test_what_the_server_hides_is_written_over_and_nothing_else_is() -> None:
    """Small files in one archive for each resource, large ones alone."""
    plan = planned(SESSION, holding(SESSION, []), hidden=SESSION.files[::2])
    replaced = {
        placed: step.replace
        for step in plan.steps
        if isinstance(step, FillResource | SendFile)
        for placed in carried([step])
    }

    assert replaced == {placed: placed in SESSION.files[::2] for placed in SESSION.files}


def test_a_hidden_file_that_came_to_light_and_differs_stays() -> None:
    plan = planned(SESSION, holding(SESSION, [stored(RECORDING, digest=OTHER)]), hidden=[RECORDING])

    assert RECORDING not in carried(plan.steps)


# ------------------------------------------------------------------ extras, and what others wrote


def extra(node: Node, scan: str, resource: str, name: str) -> StoredFile:
    return StoredFile(Address(node, scan, resource, name), 3, OTHER)


EXPERIMENT = SESSION.node
OURS = [
    extra(EXPERIMENT, "anat_T1w", "NIFTI", "sub-1_ses-a_T1w.nii"),
    extra(EXPERIMENT, "func_task-b_bold", "NIFTI", "sub-1_ses-a_task-b_bold.nii.gz"),
    extra(EXPERIMENT, "", "BIDS", "eeg/gone.txt"),
    extra(EXPERIMENT, "", "DERIVATIVES_prep", "sub-1/ses-a/x"),
]
THEIRS = [
    extra(EXPERIMENT, "anat_T1w", "SNAPSHOTS", "anat_T1w_qc.gif"),
    extra(EXPERIMENT, "anat_T1w", "NIFTI", "defaced.nii.gz"),
    extra(EXPERIMENT, "1", "DICOM", "1.dcm"),
    extra(EXPERIMENT, "1", "NIFTI", "sub-1_ses-a_T1w.nii"),
    extra(EXPERIMENT, "", "LOGS", "pipeline.log"),
    extra(EXPERIMENT, "", "BIDS2XNAT", "notes.txt"),
]


@pytest.mark.parametrize("one", OURS, ids=lambda one: str(one.address))
def test_what_only_our_table_can_have_written_is_an_extra_and_stays(one: StoredFile) -> None:
    plan = planned(SESSION, holding(SESSION, [*map(stored, SESSION.files), one]))

    found = finding(plan, one.address)
    assert (found.state, found.size) == (State.EXTRA, 3)
    assert found.path
    assert plan.steps == ()
    assert not plan.settled


@pytest.mark.parametrize("one", THEIRS, ids=lambda one: str(one.address))
def test_what_others_wrote_is_not_our_business(one: StoredFile) -> None:
    everything = holding(SESSION, [*map(stored, SESSION.files), one])
    nothing_else = holding(SESSION, [one])

    assert planned(SESSION, everything).settled
    assert planned(SESSION, nothing_else).findings == planned(SESSION, holding(SESSION, [])).findings


def test_extras_are_never_sent_and_never_in_the_way() -> None:
    with_extras, without = (planned(SESSION, holding(SESSION, files)) for files in ([*OURS, *THEIRS], []))

    assert list(carried(with_extras.steps)) == list(carried(without.steps))


def test_a_file_that_the_server_lists_without_content_is_an_extra_of_no_size() -> None:
    lost = OURS[0]._replace(size=-1)

    assert finding(planned(SESSION, holding(SESSION, [lost])), lost.address).size == 0


def test_a_copy_or_a_manifest_that_is_not_needed_any_more_says_what_it_is() -> None:
    bare = replace(SESSION, files=tuple(placed for placed in SESSION.files if placed.origin is Origin.DATASET))
    plan = planned(bare, holding(bare, map(stored, SESSION.files)))
    extras = {one.address: one.origin for one in plan.findings if one.state is State.EXTRA}

    assert extras == {COPY.address: Origin.COPY, MANIFEST.address: Origin.MANIFEST}


# ------------------------------------------------------------------ obstacles


def test_a_label_under_another_subject_is_an_obstacle() -> None:
    other = Holding(Node("john", EXPERIMENT.experiment), "XNAT_1", SESSION.xsi_type)
    plan = planned(SESSION, other)

    assert "sub-1_ses-a_MR" in plan.obstacle
    assert "john" in plan.obstacle
    assert (plan.steps, plan.prove, plan.settled) == ((), False, False)


def test_an_experiment_of_another_type_is_an_obstacle() -> None:
    """Even if every file is there."""
    other = replace(holding(SESSION, map(stored, SESSION.files)), xsi_type="xnat:petSessionData")
    plan = planned(SESSION, other)

    assert "xnat:petSessionData" in plan.obstacle
    assert "xnat:mrSessionData" in plan.obstacle
    assert "(--session-type MR=xnat:petSessionData)" in plan.obstacle
    assert (plan.steps, plan.prove, plan.settled) == ((), False, False)


def test_the_way_on_from_another_type_names_the_modality_and_not_another_one_of_its_type() -> None:
    files = (made("dataset_description.json"), made("sub-1/ieeg/sub-1_task-a_ieeg.edf"))
    [_, parcel] = sorted(place(Part("sub-1", files), TABLE).parcels, key=lambda one: one.node)
    other = Holding(parcel.node, "XNAT_1", "xnat:petSessionData")
    assert "(--session-type IEEG=xnat:petSessionData)" in planned(parcel, other).obstacle


def test_no_obstacle_makes_steps_or_asks_for_proof() -> None:
    unproven = [stored(placed, digest="") for placed in SESSION.files[:3]]
    for there in (
        replace(holding(SESSION, unproven), xsi_type="xnat:ctSessionData"),
        replace(holding(SESSION, unproven), node=Node("john", EXPERIMENT.experiment)),
    ):
        plan = planned(SESSION, there, subjects=())
        assert plan.obstacle
        assert (plan.steps, plan.prove) == ((), False)


def test_files_under_another_subject_are_not_called_ours() -> None:
    """What lies there is somebody's own, whatever it is called."""
    elsewhere = Node("john", EXPERIMENT.experiment)
    files = [stored(one)._replace(address=one.address._replace(node=elsewhere)) for one in SESSION.files]
    there = Holding(elsewhere, "XNAT_1", SESSION.xsi_type, {one.address: one for one in files})

    assert {one.state for one in planned(SESSION, there).findings} == {State.MISSING}
