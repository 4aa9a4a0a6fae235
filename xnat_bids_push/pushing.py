"""The verbs that make the archive equal to a dataset, or tell whether it is: plan, push, verify.

The dataset is read twice: once to find everything that is wrong with it before the first write, and once to push it,
a batch of nodes at a time, so that memory does not grow with the number of sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Protocol

from xnat_bids_push.annex import get_content, get_subdataset
from xnat_bids_push.archive import LISTED_AT_ONCE, Archive
from xnat_bids_push.choosing import Chosen, choose, nothing_taken
from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import ArchiveError, ConfigError, DatasetError
from xnat_bids_push.fields import Telling
from xnat_bids_push.identifying import Findings, Guard
from xnat_bids_push.labels import Portion
from xnat_bids_push.mapping import folder_of, is_copy, place
from xnat_bids_push.materialising import materialise
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.model import (
    Experiment,
    Issue,
    LeftOut,
    Node,
    NodePlan,
    Origin,
    Outcome,
    Parcel,
    Part,
    Privacy,
    Severity,
    Validation,
)
from xnat_bids_push.planning import LARGE
from xnat_bids_push.policies import CAREFUL, Policy
from xnat_bids_push.preflight import Skip, Wanted, omitted, some, type_faults
from xnat_bids_push.privacy import look_into
from xnat_bids_push.report import Missing, Omitted, Report, Unchosen, count
from xnat_bids_push.running import OnBytes, OnWork, Run
from xnat_bids_push.shares import WHOLE, Side
from xnat_bids_push.table import Table, default_table
from xnat_bids_push.validating import lies_in, validate

BATCH = LISTED_AT_ONCE
"""Experiments that are planned, sent and proven together: so many fit into one listing."""

_FILES = 100 * BATCH
"""Files in a batch, about: a bound for memory, where sessions have thousands of files."""

LOOKED_INTO = 10
"""How many experiments with the labels of another push are looked into, to see whether they are of one."""

MAX_DELETE = 100
"""How many files may be deleted at most, unless the user says otherwise."""

OnOutcome = Callable[[Outcome], None]

OnSettled = Callable[[Sequence[Parcel], Sequence[Outcome], Mapping[str, Experiment]], None]
"""Told of parcels that have been pushed together, what became of them, and which experiments there are by now."""

UNGUARDED = Guard(Privacy.OFF)
WARNING = Guard(Privacy.WARN)


# ------------------------------------------------------------------ before the first write


@dataclass(slots=True)
class Survey:
    """What a dataset holds, and all that is wrong with it."""

    issues: list[Issue] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    portions: set[Portion] = field(default_factory=set)
    subjects: int = 0
    sessions: int = 0
    files: int = 0
    size: int = 0
    unchosen: Unchosen = field(default_factory=Unchosen)
    missing: Missing = field(default_factory=Missing)
    project_files: int = 0
    omitted: Omitted = field(default_factory=Omitted)
    privacy: Findings = field(default_factory=Findings)

    @property
    def errors(self) -> tuple[Issue, ...]:
        """The issues that stop a push."""
        return tuple(issue for issue in self.issues if issue.severity is Severity.ERROR)


def survey(dataset: Dataset, validation: Validation = Validation.OFF, *, guard: Guard = UNGUARDED) -> Survey:
    """Read all names of a dataset once, and say everything that is wrong with it. Content is left to the validator.

    What the validator says of files that are not pushed, or that cannot be, does not count. With a guard, files are
    looked into for what may tell who somebody is.
    """
    found = Survey(issues=list(dataset.issues), left_out=list(dataset.left_out), privacy=Findings(guard.waiver))
    deep = taken = unchosen = 0
    recordings: set[tuple[str, str]] = set()
    for part, chosen in placements(dataset):
        files = [one.file for parcel in chosen.parcels for one in parcel.files if one.origin is Origin.DATASET]
        found.issues += [issue for issue in part.issues if dataset.may_take(issue.path)]
        found.issues += chosen.issues
        found.left_out += part.left_out
        _note_missing(found, part, chosen, dataset)
        found.subjects += bool(part.subject)
        found.sessions += sum(bool(parcel.node.experiment) for parcel in chosen.parcels)
        found.files += len(files)
        found.size += sum(file.size for file in files)
        if guard.privacy is not Privacy.OFF:
            look_into(files, found.privacy)
        deep += sum("/" in file.path for file in part.files)
        taken += len(files) if part.subject else 0
        unchosen += chosen.unchosen
        recordings |= chosen.recordings
        for parcel in chosen.parcels:
            portion = dataset.table.naming.portion(parcel.node.experiment)
            if portion is not None:
                found.portions.add(portion)
                name = portion.modality or dataset.table.name_of_type(parcel.xsi_type)
                found.wanted.setdefault(parcel.xsi_type, Wanted()).add(parcel, name)
            elif parcel.node == Node():
                found.project_files = len(parcel.files)
    if not deep and not dataset.folders and dataset.share.has(""):
        reason = "the dataset is empty: it has no folder sub-*, and no file in any other folder"
        found.issues.append(Issue(Severity.ERROR, str(dataset.root), reason))
    if dataset.choice and not taken and not found.errors and dataset.share is not Side.PROJECT:
        # Of what others push, the filters may take something.
        severity = Severity.ERROR if dataset.share in (WHOLE, Side.PARTICIPANTS) else Severity.WARNING
        found.issues.append(Issue(severity, "", nothing_taken(dataset.choice, recordings)))
    options = ", ".join(filter(None, (dataset.choice.options, dataset.share.option)))
    found.unchosen = Unchosen(len(dataset.folders) - len(dataset.subjects), unchosen, options)
    found.issues += (one for one in found.privacy.issues(guard.privacy) if one.severity is Severity.ERROR)
    found.issues += validate(dataset.root, validation, concerns=_pushed(dataset, found))
    found.issues.sort(key=lambda issue: (issue.severity, issue.path))
    return found


def _note_missing(found: Survey, part: Part, chosen: Chosen, dataset: Dataset) -> None:
    """What is not here is an error that names the command to get it; or is counted, if that was asked for."""
    folders = [path for path in part.uninstalled if dataset.may_take(path)]
    if dataset.skip_missing_content:
        for path in (*chosen.absent, *folders):
            found.missing.add(path)
        return
    for path in chosen.absent:
        reason = f"its content is not here (git-annex): get it with: {get_content(path)}"
        found.issues.append(Issue(Severity.ERROR, path, reason))
    for path in folders:
        reason = f"is a subdataset that is not installed: install it with: {get_subdataset(path)}"
        found.issues.append(Issue(Severity.ERROR, path, reason))


def _pushed(dataset: Dataset, found: Survey) -> Callable[[str], bool]:
    """Whether what lies at a path is to be pushed, and can be."""
    passed_over = {issue.path for issue in found.errors} | {left.path for left in found.left_out}

    def pushed(path: str) -> bool:
        here = dataset.root / path
        skipped = here.is_symlink() and not here.exists()  # its content is elsewhere
        return not (skipped or lies_in(path, passed_over)) and dataset.may_take(path)

    return pushed


def placements(dataset: Dataset) -> Iterator[tuple[Part, Chosen]]:
    """Every part of a dataset, and what of it is taken, at its address."""
    metadata = Metadata(dataset) if dataset.materialise else None
    for part in dataset.parts():
        placement = place(part, dataset.table, description=dataset.description)
        chosen = choose(placement, dataset.choice, dataset.table, subject=part.subject)
        if metadata is not None:
            parcels = (materialise(one, metadata.sidecars(one), dataset.table) for one in chosen.parcels)
            chosen = replace(chosen, parcels=tuple(parcels))
        yield part, chosen


def healthy(dataset: Dataset, validation: Validation = Validation.OFF, *, guard: Guard = UNGUARDED) -> Survey:
    """The survey of a dataset that can be read and placed.

    Raises:
        DatasetError: with all that is wrong with the dataset.
    """
    found = survey(dataset, validation, guard=guard)
    if found.errors:
        raise DatasetError(found.errors)
    return found


def check(
    dataset: Dataset,
    archive: Archive,
    found: Survey | None = None,
    *,
    run: Run | None = None,
    skip: Skip | None = None,
) -> Survey:
    """Everything that must be right before the first write.

    Args:
        dataset: what is to be pushed.
        archive: where to.
        found: the dataset's survey, if it is at hand.
        run: what the archive is known to hold, if that is at hand.
        skip: what is left out where the site does not allow it.

    Raises:
        DatasetError: with all that stops the push, of the dataset and of the site.
    """
    found = found or survey(dataset)
    run = run or Run(dataset, archive)
    errors = [
        *found.errors,
        *_unusable(found, archive, skip or Skip()),
        *_divided_otherwise(found, dataset.table, run, archive),
    ]
    if errors:
        raise DatasetError(errors)
    return found


def _unusable(found: Survey, archive: Archive, skip: Skip) -> Iterator[Issue]:
    """Types that experiments cannot have here; what may be left out is noted, and is no issue."""
    registered = archive.registered_types() if found.wanted else frozenset()
    found.omitted = omitted(found.wanted, found.project_files, registered, skip)
    left = {xsi_type: what for xsi_type, what in found.wanted.items() if xsi_type not in found.omitted.types}
    if left.keys() - (registered & default_table().session_types):
        yield from type_faults(left, registered, archive.schema())


def _divided_otherwise(found: Survey, table: Table, run: Run, archive: Archive) -> Iterator[Issue]:
    """Sessions that the project holds in the other way: one experiment for each modality, or one for all."""
    naming = table.naming
    if naming.other is None:
        return
    modalities = table.modalities if naming.one_per_session else [""]
    others = (replace(portion, modality=modality) for portion in found.portions for modality in modalities)
    labels = {naming.experiment_label(other, other=True) for other in others}
    taken = sorted(label for label in labels if label in run.experiments)
    if any(_is_pushed(run.experiments[label], archive, table) for label in taken[:LOOKED_INTO]):
        there, here = ("modality", "session") if naming.one_per_session else ("session", "modality")
        way_on = "leave out" if naming.one_per_session else "give"
        yield Issue(
            Severity.ERROR,
            "",
            f"the project holds one experiment for each {there} ({some(taken, len(taken))}), and would get one for "
            f"each {here} beside them: {way_on} --one-experiment-per-session, or push into another project",
        )


def _is_pushed(experiment: Experiment, archive: Archive, table: Table) -> bool:
    """Whether an experiment is of a dataset; others may have chosen the same label for something else."""
    files = archive.holdings([experiment])[experiment.label].files
    return any(is_copy(one, table) or one.scan.partition("_")[0] in table.datatypes for one in files)


# ------------------------------------------------------------------ the work


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with a dataset in rounds, be it here or elsewhere.

    Args:
        make: makes a run of a dataset over an archive, and may be told what that holds.
        examines: whether it is only looked at.
        subjects: whether subjects without files count, too.
        omitted: what is left out because of the site.
        on_settled: told of each batch when its outcomes have been told; for work that is done here.
    """

    make: Callable[..., Run]
    examines: bool = False
    subjects: bool = False
    omitted: Omitted = field(default_factory=Omitted)
    on_settled: OnSettled | None = None

    def on(self, dataset: Dataset, run: Run) -> Iterator[list[Outcome]]:
        """What comes of it, batch by batch."""
        do = run.examined if self.examines else run.settled
        read = batches(dataset, subjects=self.subjects, omitted=self.omitted)
        for batch, outcomes in do(run.stopwatch.each("reading", read)):
            yield outcomes
            if self.on_settled is not None:
                with run.stopwatch.phase("pictures"):
                    self.on_settled(batch, outcomes, run.experiments)

    def given_up(self, dataset: Dataset, run: Run, error: ArchiveError) -> Iterator[Outcome]:
        """What is told where it could not be done."""
        for batch in batches(dataset, subjects=self.subjects, omitted=self.omitted):
            yield from run.given_up(batch, error)


class Crew(Protocol):
    """Others who do a run's work."""

    def outcomes(self, dataset: Dataset, run: Run, work: Work) -> Iterator[Outcome]:
        """What comes of it."""


def _outcomes(dataset: Dataset, run: Run, work: Work, crew: Crew | None) -> Iterator[Outcome]:
    if crew is not None:
        return crew.outcomes(dataset, run, work)
    return chain.from_iterable(work.on(dataset, run))


# ------------------------------------------------------------------ the verbs


def plan(
    dataset: Dataset,
    archive: Archive,
    *,
    found: Survey | None = None,
    telling: Telling | None = None,
    update_fields: bool = False,
    skip: Skip | None = None,
    policy: Policy = CAREFUL,
    on_refusal: Callable[[str], None] | None = None,
) -> Iterator[NodePlan]:
    """What a push would do, node by node; with `update_fields` to fields of what exists, too. Changes nothing.

    `on_refusal` is told why the user may not do it, if that is so; a push would end there, before its first write.

    Raises:
        DatasetError: the dataset cannot be pushed as it is.
        ArchiveError: the server cannot be asked what it has.
    """
    run = Run(dataset, archive, telling=telling, update_fields=update_fields, policy=policy)
    found = check(dataset, archive, found, run=run, skip=skip)
    for batch in batches(dataset, subjects=update_fields, omitted=found.omitted):
        plans = run.plan(batch)
        refusal = run.refusal(plans) if on_refusal is not None else ""
        if refusal and on_refusal is not None:
            on_refusal(refusal)
        yield from plans


def push(
    dataset: Dataset,
    archive: Archive,
    *,
    found: Survey | None = None,
    validation: Validation = Validation.REQUIRE,
    guard: Guard = WARNING,
    jobs: int | None = None,
    telling: Telling | None = None,
    update_fields: bool = False,
    skip: Skip | None = None,
    policy: Policy = CAREFUL,
    max_delete: int = MAX_DELETE,
    on_outcome: OnOutcome | None = None,
    on_bytes: OnBytes | None = None,
    on_work: OnWork | None = None,
    on_settled: OnSettled | None = None,
    pause: float = 1.0,
    large: int = LARGE,
    crew: Crew | None = None,
) -> Report:
    """Make the archive equal to the dataset, and prove it.

    Unless the policy says so, nothing is deleted, and what differs in the archive is left as it is. A failure at one
    node does not stop the others. To go on after an interruption, push again.

    Args:
        dataset: what `read` gives.
        archive: what `connect` gives.
        found: the dataset's survey, if it is at hand; it is believed, and nothing is validated again.
        validation: whether errors of the official BIDS validator stop the push, are only told, or are not asked for.
        guard: whether content that may tell who a participant is stops the push, is only told, or is not looked for.
        jobs: how many nodes are sent at a time; by default as many as pays.
        telling: what XNAT's fields tell of people, and how much.
        update_fields: whether fields of what exists are set, too, where they differ from the dataset's. Without, only
            what is made is given fields, and what curators wrote since stays.
        skip: what is left out where the site does not allow it.
        policy: what may be done to what is there and differs, or is there alone.
        max_delete: how many files the policy may delete at most; if they are more, nothing is done at all.
        on_outcome: told of each node when it is settled or given up.
        on_bytes: told, from several threads, how many bytes of the dataset went out.
        on_work: told, by each thread, which node it begins with, and None when it has done what it can there.
        on_settled: told of each batch of nodes when its outcomes have been told; an `Illustrator`, for example.
        pause: seconds before a failed round is tried again, doubled each time.
        large: the size in bytes from which on a file travels by itself.
        crew: others who do the work, with as many jobs each.

    Raises:
        DatasetError: the dataset cannot be pushed as it is; nothing was written.
        AccessDenied: the user lacks the right to write what is to be written; nothing was written.
        ConfigError: more would be deleted than may be, or a crew were to be listened to; nothing was written.
        ArchiveError: the server cannot be asked what it has.
    """
    if crew is not None and on_settled is not None:
        raise ConfigError("pictures are made on this machine only: push without them, and then here with --snapshots")
    found = found or survey(dataset, validation, guard=guard)
    make = partial(
        Run, jobs=jobs, telling=telling, update_fields=update_fields, policy=policy, pause=pause, large=large
    )
    run = make(dataset, archive, on_bytes=on_bytes, on_work=on_work)
    found = check(dataset, archive, found, run=run, skip=skip)
    if policy.delete:
        _check_deletions(dataset, found, run, max_delete)
    report = _report(archive, found, dataset.table)
    work = Work(make, subjects=update_fields, omitted=found.omitted, on_settled=on_settled)
    _add_all(report, _outcomes(dataset, run, work, crew), on_outcome)
    _finish(report, run, found, on_outcome)
    report.unset = tuple(run.issues())
    report.issues += report.unset
    report.survived = run.survived
    report.seconds = run.stopwatch.seconds if crew is None else {}
    return report


def left_out(dataset: Dataset, found: Survey) -> Iterator[LeftOut]:
    """Everything that a push leaves out, but for what the filters do not take; reads the dataset if need be."""
    yield from found.left_out
    if not found.missing.number and not str(found.omitted):
        return
    for part, chosen in placements(dataset):
        for path in (*chosen.absent, *part.uninstalled):
            yield LeftOut(path, "its content is not here (git-annex)")
        for parcel in chosen.parcels:
            if found.omitted.has(parcel):
                what = parcel.xsi_type or "what belongs to the project itself"
                reason = f"the site does not allow it: {what}"
                yield from (LeftOut(one.file.path, reason) for one in parcel.files if one.origin is Origin.DATASET)


def _check_deletions(dataset: Dataset, found: Survey, run: Run, most: int) -> None:
    """Count what would be deleted, before anything is."""
    if dataset.choice or found.missing.number:
        raise ConfigError(
            "--delete compares with the whole dataset: it cannot be had together with filters or missing content"
        )
    number = sum(map(run.extras, batches(dataset, omitted=found.omitted)))
    if number > most:
        raise ConfigError(
            f"{count(number, 'file')} of the archive would be deleted, and --max-delete is {most}: nothing was done. "
            "Look at them with plan --delete, and give a higher --max-delete if they can go"
        )


def verify(
    dataset: Dataset,
    archive: Archive,
    *,
    found: Survey | None = None,
    skip: Skip | None = None,
    deep: bool = False,
    on_outcome: OnOutcome | None = None,
    crew: Crew | None = None,
) -> Report:
    """Whether the archive equals the dataset, by the server's own listing and digests.

    Where the server has a file's size only, it is asked to compute the digest; nothing else is written. If `deep`,
    its digests count for nothing: everything is read back, and digested here. What `skip` left out of a push is left
    out here too. Others may do the work: see `push`.

    Raises:
        DatasetError: the dataset cannot be read.
        ArchiveError: the server cannot be asked what it has.
    """
    found = found or healthy(dataset)
    make = partial(Run, deep=deep)
    run = make(dataset, archive)
    if skip is not None:
        registered = archive.registered_types() if skip.unregistered else frozenset()
        found.omitted = omitted(found.wanted, found.project_files, registered, skip)
    report = _report(archive, found, dataset.table)
    work = Work(make, examines=True, omitted=found.omitted)
    _add_all(report, _outcomes(dataset, run, work, crew), on_outcome)
    _finish(report, run, found, on_outcome)
    return report


def _report(archive: Archive, found: Survey, table: Table) -> Report:
    return Report(
        archive.server,
        archive.project,
        tuple(found.issues),
        tuple(found.left_out),
        found.unchosen,
        missing=found.missing,
        omitted=found.omitted,
        privacy=found.privacy.to_json(),
        folder_of=lambda node: folder_of(node, table),
    )


def _add_all(report: Report, outcomes: Iterable[Outcome], on_outcome: OnOutcome | None) -> None:
    for outcome in outcomes:
        report.add(outcome)
        if on_outcome is not None:
            on_outcome(outcome)


def _finish(report: Report, run: Run, found: Survey, on_outcome: OnOutcome | None) -> None:
    """Tell at the end what is of no node alone."""
    report.stopped = "" if run.stopped is None else str(run.stopped)
    _add_all(report, _changes(report, found), on_outcome)


def _changes(report: Report, found: Survey) -> Iterator[Outcome]:
    """Whether the dataset has other files than at the first look at it: some may have vanished, and nobody noticed."""
    if report.files != found.files and not str(found.omitted):
        change = f"{found.files:,} files at the first look at it, {report.files:,} at the second"
        yield Outcome(Node(), (), failure=f"the dataset changed meanwhile: {change}. Push again when it is at rest")


def batches(dataset: Dataset, *, subjects: bool = False, omitted: Omitted | None = None) -> Iterator[list[Parcel]]:
    """All parcels of a dataset, those of some subjects at a time; with `subjects`, one for each, even without files.

    A subject's parcels stay together, so that batches have nothing in common: they may be settled side by side.
    """
    batch: list[Parcel] = []
    for _, chosen in placements(dataset):
        parcels = [parcel for parcel in chosen.parcels if omitted is None or not omitted.has(parcel)]
        if subjects:
            there = {parcel.node for parcel in parcels}
            nodes = {Node(parcel.node.subject) for parcel in parcels if parcel.node.subject}
            parcels += [Parcel(node, "", (), ()) for node in sorted(nodes - there)]
        if batch and _is_too_much([*batch, *parcels]):
            yield batch
            batch = []
        batch += parcels
    if batch:
        yield batch


def _is_too_much(parcels: Sequence[Parcel]) -> bool:
    experiments = sum(bool(parcel.node.experiment) for parcel in parcels)
    return experiments > BATCH or len(parcels) > 2 * BATCH or sum(len(parcel.files) for parcel in parcels) > _FILES
