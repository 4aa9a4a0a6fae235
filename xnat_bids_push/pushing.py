"""Running a plan: send what is missing, and believe nothing but the server's own listing.

The dataset is read twice: once to find everything that is wrong with it before the first write, and once to push it,
a batch of nodes at a time, so that memory does not grow with the number of sessions. Each batch goes in rounds of
plan → act → prove → plan again; what an interrupted run leaves is just what the next plan finds.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from xnat_bids_push.archive import Archive
from xnat_bids_push.choosing import Chosen, choose, narrow, nothing_taken
from xnat_bids_push.dataset import Dataset, md5_of
from xnat_bids_push.describing import Describer
from xnat_bids_push.errors import (
    AccessDenied,
    ArchiveError,
    DatasetError,
    Unavailable,
)
from xnat_bids_push.fields import Telling
from xnat_bids_push.fitting import Fitted
from xnat_bids_push.labels import Portion
from xnat_bids_push.mapping import is_copy, place
from xnat_bids_push.materialising import materialise
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
    Experiment,
    Field,
    FillResource,
    Finding,
    Holding,
    ImportSession,
    Issue,
    LeftOut,
    Md5,
    Node,
    NodePlan,
    Origin,
    Outcome,
    Parcel,
    Part,
    Placed,
    SendFile,
    SetFields,
    Severity,
    State,
    Step,
)
from xnat_bids_push.package import Sent
from xnat_bids_push.planning import LARGE, Known, plan_node
from xnat_bids_push.report import Report, Unchosen, count
from xnat_bids_push.table import Table

BATCH = 50
"""Nodes that are planned, sent and proven together."""

ROUNDS = 4
"""How often a batch is planned and run before what is left is called a failure."""

LOOKED_INTO = 10
"""How many experiments with the labels of another push are looked into, to see whether they are of one."""

OnOutcome = Callable[[Outcome], None]
OnBytes = Callable[[int], None]


# ------------------------------------------------------------------ before the first write


@dataclass(slots=True)
class Survey:
    """What a dataset holds, and all that is wrong with it."""

    issues: list[Issue] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    types: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    portions: set[Portion] = field(default_factory=set)
    subjects: int = 0
    files: int = 0
    size: int = 0
    unchosen: Unchosen = field(default_factory=Unchosen)

    @property
    def errors(self) -> tuple[Issue, ...]:
        """The issues that stop a push."""
        return tuple(issue for issue in self.issues if issue.severity is Severity.ERROR)


def survey(dataset: Dataset) -> Survey:
    """Read all names of a dataset once, and say everything that is wrong with it. No content is read."""
    found = Survey(issues=list(dataset.issues), left_out=list(dataset.left_out))
    deep = taken = unchosen = 0
    recordings: set[tuple[str, str]] = set()
    for part, chosen in placements(dataset):
        files = [one.file for parcel in chosen.parcels for one in parcel.files if one.origin is Origin.DATASET]
        found.issues += [issue for issue in part.issues if dataset.choice.may_take(issue.path, dataset.table)]
        found.issues += chosen.issues
        found.left_out += part.left_out
        found.subjects += bool(part.subject)
        found.files += len(files)
        found.size += sum(file.size for file in files)
        deep += sum("/" in file.path for file in part.files)
        taken += len(files) if part.subject else 0
        unchosen += chosen.unchosen
        recordings |= chosen.recordings
        for parcel in chosen.parcels:
            portion = dataset.table.naming.portion(parcel.node.experiment)
            if portion is not None:
                found.portions.add(portion)
                found.types[parcel.xsi_type] += 1
                found.kinds.setdefault(parcel.xsi_type, set()).add(portion.modality or "one for each session")
    if not deep and not dataset.folders:
        reason = "the dataset is empty: it has no folder sub-*, and no file in any other folder"
        found.issues.append(Issue(Severity.ERROR, str(dataset.root), reason))
    if dataset.choice and not taken and not found.errors:
        found.issues.append(Issue(Severity.ERROR, "", nothing_taken(dataset.choice, recordings)))
    found.unchosen = Unchosen(len(dataset.folders) - len(dataset.subjects), unchosen, dataset.choice.options)
    found.issues.sort(key=lambda issue: (issue.severity, issue.path))
    return found


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


def healthy(dataset: Dataset) -> Survey:
    """The survey of a dataset that can be read and placed.

    Raises:
        DatasetError: with all that is wrong with the dataset.
    """
    found = survey(dataset)
    if found.errors:
        raise DatasetError(found.errors)
    return found


def check(dataset: Dataset, archive: Archive, found: Survey | None = None, *, run: Run | None = None) -> Survey:
    """Everything that must be right before the first write.

    Args:
        dataset: what is to be pushed.
        archive: where to.
        found: the dataset's survey, if it is at hand.
        run: what the archive is known to hold, if that is at hand.

    Raises:
        DatasetError: with all that stops the push, of the dataset and of the site.
    """
    found = found or survey(dataset)
    run = run or Run(dataset, archive)
    errors = [*found.errors, *_unregistered(found, archive), *_divided_otherwise(found, dataset.table, run, archive)]
    if errors:
        raise DatasetError(errors)
    return found


def _unregistered(found: Survey, archive: Archive) -> Iterator[Issue]:
    """Session types that the site does not know. XNAT would take them, and make them invisible."""
    if not found.types:
        return
    registered = archive.registered_types()
    for xsi_type, number in sorted(found.types.items()):
        if xsi_type not in registered:
            yield Issue(
                Severity.ERROR,
                "",
                f"this site has not set up {xsi_type}, which {count(number, 'session')} "
                f"({', '.join(sorted(found.kinds[xsi_type]))}) need: ask its administrator to add it "
                "(Administer → Data Types → Set Up Additional Data Type)",
            )


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
            f"the project holds one experiment for each {there} ({_some(taken)}), and would get one for each {here} "
            f"beside them: {way_on} --one-experiment-per-session, or push into another project",
        )


def _is_pushed(experiment: Experiment, archive: Archive, table: Table) -> bool:
    """Whether an experiment is of a dataset; others may have chosen the same label for something else."""
    files = archive.holdings([experiment])[experiment.label].files
    return any(is_copy(one, table) or one.scan.partition("_")[0] in table.datatypes for one in files)


def _some(labels: Sequence[str], most: int = 3) -> str:
    """The first of some labels, and how many more there are."""
    more = f" and {len(labels) - most:,} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


# ------------------------------------------------------------------ the verbs


def plan(
    dataset: Dataset,
    archive: Archive,
    *,
    found: Survey | None = None,
    telling: Telling | None = None,
    update_fields: bool = False,
) -> Iterator[NodePlan]:
    """What a push would do, node by node; with `update_fields` to fields of what exists, too. Changes nothing.

    Raises:
        DatasetError: the dataset cannot be pushed as it is.
        ArchiveError: the server cannot be asked what it has.
    """
    run = Run(dataset, archive, telling=telling, update_fields=update_fields)
    check(dataset, archive, found, run=run)
    for batch in batches(dataset, subjects=update_fields):
        yield from run.plan(batch)


def push(
    dataset: Dataset,
    archive: Archive,
    *,
    found: Survey | None = None,
    jobs: int = 4,
    telling: Telling | None = None,
    update_fields: bool = False,
    on_outcome: OnOutcome | None = None,
    on_bytes: OnBytes | None = None,
    pause: float = 1.0,
) -> Report:
    """Make the archive equal to the dataset, and prove it.

    Nothing is deleted, and what differs in the archive is reported and left as it is. A failure at one node does not
    stop the others. To go on after an interruption, push again.

    Args:
        dataset: what `read` gives.
        archive: what `connect` gives.
        found: the dataset's survey, if it is at hand.
        jobs: how many nodes are sent at a time.
        telling: what XNAT's fields tell of people, and how much.
        update_fields: whether fields of what exists are set, too, where they differ from the dataset's. Without, only
            what is made is given fields, and what curators wrote since stays.
        on_outcome: told of each node when it is settled or given up.
        on_bytes: told, from several threads, how many bytes of the dataset went out.
        pause: seconds before a failed round is tried again, doubled each time.

    Raises:
        DatasetError: the dataset cannot be pushed as it is; nothing was written.
        ArchiveError: the server cannot be asked what it has.
    """
    run = Run(dataset, archive, jobs=jobs, telling=telling, update_fields=update_fields, on_bytes=on_bytes, pause=pause)
    found = check(dataset, archive, found, run=run)
    report = _report(archive, found)
    for batch in batches(dataset, subjects=update_fields):
        _add_all(report, run.settle(batch), on_outcome)
    report.issues += tuple(run.issues())
    return report


def verify(
    dataset: Dataset, archive: Archive, *, found: Survey | None = None, on_outcome: OnOutcome | None = None
) -> Report:
    """Whether the archive equals the dataset, by the server's own listing and digests.

    Where the server has a file's size only, it is asked to compute the digest; nothing else is written.

    Raises:
        DatasetError: the dataset cannot be read.
        ArchiveError: the server cannot be asked what it has.
    """
    found = found or healthy(dataset)
    run = Run(dataset, archive)
    report = _report(archive, found)
    for batch in batches(dataset):
        _add_all(report, run.examine(batch), on_outcome)
    return report


def _report(archive: Archive, found: Survey) -> Report:
    return Report(archive.server, archive.project, tuple(found.issues), tuple(found.left_out), found.unchosen)


def _add_all(report: Report, outcomes: Iterable[Outcome], on_outcome: OnOutcome | None) -> None:
    for outcome in outcomes:
        report.add(outcome)
        if on_outcome is not None:
            on_outcome(outcome)


def batches(dataset: Dataset, *, subjects: bool = False) -> Iterator[list[Parcel]]:
    """All parcels of a dataset, some at a time; with `subjects`, one for each subject, even without files."""
    batch: list[Parcel] = []
    for _, chosen in placements(dataset):
        parcels = chosen.parcels
        batch += parcels
        if subjects:
            there = {parcel.node for parcel in parcels}
            nodes = {Node(parcel.node.subject) for parcel in parcels if parcel.node.subject}
            batch += [Parcel(node, "", (), ()) for node in sorted(nodes - there)]
        while len(batch) >= BATCH:
            yield batch[:BATCH]
            batch = batch[BATCH:]
    if batch:
        yield batch


# ------------------------------------------------------------------ one run


class _Stopped(Exception):
    """Raised inside the transfers of the other threads when the user interrupts."""


class Run:
    """One pass of a dataset over an archive: what the server is known to have, and what was sent."""

    def __init__(
        self,
        dataset: Dataset,
        archive: Archive,
        *,
        jobs: int = 1,
        telling: Telling | None = None,
        update_fields: bool = False,
        on_bytes: OnBytes | None = None,
        pause: float = 1.0,
        large: int = LARGE,
    ) -> None:
        self._table = dataset.table
        self._choice = dataset.choice
        self._archive = archive
        self._jobs = jobs
        self._on_bytes = on_bytes
        self._pause = pause
        self._large = large
        self._stop = threading.Event()
        self._describer = Describer(dataset, telling)
        self._describe = Fitted(self._describer, archive.schema)
        self._update_fields = update_fields
        self._sent: Sent = {}
        self._hidden: set[Address] = set()
        self._subjects = set(archive.subjects())
        self._experiments = archive.experiments()

    def issues(self) -> Iterator[Issue]:
        """What could not be told in XNAT's fields."""
        yield from self._describer.issues
        yield from self._describe.issues()

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """The fields that a subject of the dataset is given."""
        return self._describe.subject_fields(label)

    @property
    def experiments(self) -> Mapping[str, Experiment]:
        """What the project holds, by label."""
        return self._experiments

    # -------------------------------------------------- deciding

    def plan(self, batch: Sequence[Parcel]) -> list[NodePlan]:
        """The plans of some parcels against what the server has at this moment."""
        holdings = self._holdings([parcel.node for parcel in batch])
        known = Known(self._subjects, self._sent, self._hidden)
        return [
            plan_node(
                parcel,
                narrow(holdings[parcel.node], parcel, self._choice, self._table),
                digest=self._digest,
                describe=self._describe,
                table=self._table,
                known=known,
                large=self._large,
            )
            for parcel in batch
        ]

    def _holdings(self, nodes: Sequence[Node]) -> dict[Node, Holding]:
        known = {node: self._experiments.get(node.experiment) for node in nodes if node.experiment}
        listed = self._archive.holdings(experiment for experiment in known.values() if experiment is not None)
        found: dict[Node, Holding] = {}
        for node in nodes:
            if node.experiment:
                found[node] = listed.get(node.experiment, Holding(node))
            elif node.subject and node.subject not in self._subjects:
                found[node] = Holding(node)
            else:
                found[node] = self._archive.node_holding(node)
            if self._update_fields and node.subject and found[node].id:
                found[node] = replace(found[node], shown=self._archive.shown(node))
        return found

    def _digest(self, placed: Placed) -> Md5:
        """A file's MD5: that of the bytes that went out, if they did in this run."""
        sent = self._sent.get(placed.address)
        return sent if sent is not None else md5_of(placed.file)

    # -------------------------------------------------- acting

    def settle(self, batch: Sequence[Parcel]) -> list[Outcome]:
        """Push some parcels, in rounds, until the server's listing proves them or nothing more can be done.

        What failed is tried again by one worker alone: a server in trouble is not helped by several.
        """
        self._sent.clear()
        self._hidden.clear()
        parcels = {parcel.node: parcel for parcel in batch}
        plans = {one.node: one for one in self._safely_planned(batch)}
        failures: dict[Node, Exception | str] = {node: one.obstacle for node, one in plans.items()}
        tallies: dict[Node, Counter[str]] = {node: Counter() for node in plans}
        for attempt in range(ROUNDS):
            busy = [one for one in plans.values() if one.steps or one.prove]
            if not busy:
                break
            errors = self._act_all(busy, tallies, jobs=1 if attempt else self._jobs)
            self._prove([one for one in busy if one.prove or _imports(one)], errors)
            for new in self._safely_planned([parcels[one.node] for one in busy]):
                failures[new.node], plans[new.node] = _judged(plans[new.node], new, errors.get(new.node))
            if any(_may_pass(error) for error in errors.values()):
                self._wait(attempt)
        return [_outcome(one, failures[node], tallies[node]) for node, one in plans.items()]

    def examine(self, batch: Sequence[Parcel]) -> list[Outcome]:
        """Compare some parcels; ask the server for digests that it lacks."""
        return [_outcome(one, one.obstacle, Counter()) for one in self.proven(batch)]

    def proven(self, batch: Sequence[Parcel]) -> list[NodePlan]:
        """The plans of some parcels, with the digests that the server lacked computed."""
        plans = self._safely_planned(batch)
        unproven = [one for one in plans if one.prove]
        if unproven:
            self._prove(unproven, {})
            plans = self._safely_planned(batch)
        return plans

    def compared(self, batch: Sequence[Parcel]) -> Iterator[tuple[Parcel, NodePlan, Holding, Holding]]:
        """Each parcel with its proven plan, all that its node holds, and what of that is spoken of."""
        plans = {one.node: one for one in self.proven(batch)}
        holdings = self._holdings([parcel.node for parcel in batch])
        for parcel in batch:
            holding = holdings[parcel.node]
            yield parcel, plans[parcel.node], holding, narrow(holding, parcel, self._choice, self._table)

    def _safely_planned(self, batch: Sequence[Parcel]) -> list[NodePlan]:
        """Plans; a file that cannot be read for its digest spoils its own node only."""
        try:
            return self.plan(batch)
        except DatasetError as error:
            if len(batch) == 1:
                node = batch[0].node
                missing = (Finding(State.UNPROVEN, p.address, p.file.path, p.file.size) for p in batch[0].files)
                return [NodePlan(node, tuple(missing), obstacle=str(error))]
            return [one for parcel in batch for one in self._safely_planned([parcel])]

    def _act_all(
        self, plans: Sequence[NodePlan], tallies: dict[Node, Counter[str]], *, jobs: int
    ) -> dict[Node, Exception]:
        """Run the plans' steps: subjects first, each once; then nodes side by side, the steps of one in their order."""
        errors: dict[Node, Exception] = {}
        with self._workers(jobs) as workers:
            new = {step.label: step for one in plans for step in one.steps if isinstance(step, CreateSubject)}
            refused = dict(zip(new, workers.map(self._create_subject, new.values()), strict=True))
            able = [one for one in plans if refused.get(one.node.subject) is None]
            errors |= {one.node: err for one in plans if (err := refused.get(one.node.subject)) is not None}
            results = workers.map(lambda one: self._act_on(one, tallies[one.node]), able)
            errors |= {one.node: error for one, error in zip(able, results, strict=True) if error is not None}
        if any(_imports(one) for one in plans if one.node in errors):
            self._experiments = self._archive.experiments()  # an import may succeed although its answer is lost
        return errors

    @contextmanager
    def _workers(self, jobs: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that let go of their transfers when the user interrupts; one that waits for an answer is left."""
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="push")
        try:
            yield pool
        except BaseException:
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _create_subject(self, step: CreateSubject) -> Exception | None:
        try:
            self._archive.create_subject(step)
        except ArchiveError as error:
            return error
        self._subjects.add(step.label)
        return None

    def _act_on(self, one: NodePlan, tally: Counter[str]) -> Exception | None:
        """The steps of one node; the error that ended them, if one did."""
        try:
            for step in one.steps:
                self._act(step, tally)
        except (ArchiveError, DatasetError) as error:
            return error
        except _Stopped:
            return Unavailable("interrupted")
        return None

    def _act(self, step: Step, tally: Counter[str]) -> None:
        archive, table, sent = self._archive, self._table, Sent()

        def watch(size: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            tally["bytes"] += size
            if self._on_bytes is not None:
                self._on_bytes(size)

        match step:
            case CreateSubject():
                pass  # created before, once for all its nodes
            case CreateScans():
                archive.create_scans(step)
            case SetFields():
                archive.set_fields(step)
            case ImportSession(parcel):
                identifier = archive.import_session(step, table=table, sent=sent, watch=watch)
                self._know(parcel, identifier)
            case FillResource(node, scan, resource):
                taken = archive.fill_resource(step, table=table, sent=sent, watch=watch)
                self._refused(sent, {Address(node, scan, resource, name) for name in taken})
            case SendFile(placed):
                taken = archive.send_file(step, table=table, sent=sent, watch=watch)
                self._refused(sent, {placed.address} if taken else set())
        self._sent |= sent
        tally["files"] += len(sent)

    def _refused(self, sent: Sent, taken: set[Address]) -> None:
        """What the server called taken has not been written; the next plan sees whether it is listed."""
        self._hidden |= taken
        for address in taken:
            sent.pop(address, None)

    def _know(self, parcel: Parcel, identifier: str) -> None:
        node = parcel.node
        self._experiments[node.experiment] = Experiment(identifier, node.experiment, node.subject, parcel.xsi_type)

    # -------------------------------------------------- proving

    def _prove(self, plans: Sequence[NodePlan], errors: dict[Node, Exception]) -> None:
        """Make the server compute the digests of what it holds at some nodes: all in one request."""
        paths = {path: one.node for one in plans for path in self._to_prove(one)}
        try:
            if paths:
                self._archive.compute_digests(paths)
        except ArchiveError as error:
            errors |= {node: error for node in paths.values() if node not in errors}

    def _to_prove(self, one: NodePlan) -> Iterator[str]:
        if not one.node.experiment:
            unproven = {finding.address.resource for finding in one.findings if finding.state is State.UNPROVEN}
            yield from (self._archive.resource_path(one.node, resource) for resource in sorted(unproven))
        elif one.node.experiment in self._experiments:
            yield self._archive.experiment_path(self._experiments[one.node.experiment].id)

    def _wait(self, attempt: int) -> None:
        self._stop.wait(self._pause * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret


def _imports(one: NodePlan) -> bool:
    return any(isinstance(step, ImportSession) for step in one.steps)


def _judged(old: NodePlan, new: NodePlan, error: Exception | None) -> tuple[Exception | str, NodePlan]:
    """What a round came to at one node: the failure that counts, and what is left to do.

    An error that cannot pass, and left everything as it was, ends the attempts.
    """
    failure = new.obstacle or (error if error is not None and not new.settled else "")
    if error is not None and not _may_pass(error) and new.steps == old.steps:
        new = replace(new, steps=(), prove=False)
    return failure, new


def _may_pass(error: Exception) -> bool:
    return isinstance(error, Unavailable)


def _outcome(one: NodePlan, failure: Exception | str, tally: Counter[str]) -> Outcome:
    unkept = [step for step in one.steps if isinstance(step, SetFields)]
    if unkept and not failure:
        fields = [step.fields + tuple(field for scan in step.scans for field in scan.fields) for step in unkept]
        failure = f"the server did not keep {', '.join(sorted({one.path for some in fields for one in some}))}"
    denied = isinstance(failure, AccessDenied)
    return Outcome(one.node, one.findings, tally["files"], tally["bytes"], str(failure), denied)
