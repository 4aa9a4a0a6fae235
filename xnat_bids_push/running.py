"""One pass of a dataset over an archive: send what is missing, and believe nothing but the server's own listing.

A batch of nodes goes in rounds of plan → act → prove → plan again; what an interrupted run leaves is just what the
next plan finds.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from xnat_bids_push.archive import Archive
from xnat_bids_push.choosing import narrow
from xnat_bids_push.client import LONGEST_PAUSE
from xnat_bids_push.dataset import Dataset, change_of, md5_of
from xnat_bids_push.deeds import Deeds
from xnat_bids_push.describing import Describer
from xnat_bids_push.errors import AccessDenied, ArchiveError, DatasetError, Distressed, Rejected, Unavailable
from xnat_bids_push.fields import Telling
from xnat_bids_push.fitting import Fitted
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
    Deletion,
    Experiment,
    Field,
    FillResource,
    Finding,
    Holding,
    ImportSession,
    Issue,
    Md5,
    Node,
    NodePlan,
    Outcome,
    Parcel,
    Placed,
    SendFile,
    SetFields,
    State,
    Step,
)
from xnat_bids_push.pacing import MOMENT, Fixed, Lanes, Pace, result_of
from xnat_bids_push.package import Sent, Watch
from xnat_bids_push.planning import LARGE, Known, extras, plan_node
from xnat_bids_push.policies import CAREFUL, Policy
from xnat_bids_push.preflight import project_refusal, reader_refusal, unlisted_refusal
from xnat_bids_push.rereading import reread, unproven
from xnat_bids_push.stopwatch import Stopwatch

ROUNDS = 6
"""How often a batch is planned and run before what is left is called a failure."""

TOGETHER = 2
"""Batches on their way at a time: while one is planned or proven, files of the other go out."""

_MOST_KINDS = 100
"""Kinds of errors that are counted."""

_Item = TypeVar("_Item")

_Settled = tuple[Sequence[Parcel], list[Outcome]]

OnBytes = Callable[[int], None]
OnWork = Callable[[Node | None], None]


class _Stopped(Exception):
    """Raised inside the transfers of the other threads when the user interrupts."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a project is known to hold: the labels of its subjects, and its experiments by label."""

    subjects: Set[str]
    experiments: Mapping[str, Experiment]


@dataclass(slots=True)
class _Trail:
    """What a batch has been through in this run.

    Args:
        sent: what went out.
        hidden: what the server called taken.
        spoiled: why files are no longer as they were found.
        deeds: all that was done.
    """

    sent: Sent = field(default_factory=dict)
    hidden: set[Address] = field(default_factory=set)
    spoiled: dict[Address, str] = field(default_factory=dict)
    deeds: Deeds = field(default_factory=Deeds)

    def spoil(self, files: Iterable[Placed], error: DatasetError) -> bool:
        """Note which files are no longer as they were found; whether any came to that."""
        told = {issue.path: issue.message for issue in error.issues}
        found = ((one.address, told.get(one.file.path) or change_of(one.file)) for one in files)
        new = {address: change for address, change in found if change and address not in self.spoiled}
        self.spoiled |= new
        return bool(new)

    def digest(self, placed: Placed) -> Md5:
        """A file's MD5: that of the bytes that went out, if they did in this run."""
        sent = self.sent.get(placed.address)
        return sent if sent is not None else md5_of(placed.file)

    def refused(self, sent: Sent, taken: set[Address]) -> None:
        """What the server called taken has not been written; the next plan sees whether it is listed."""
        self.hidden |= taken
        for address in taken:
            sent.pop(address, None)


class Run:
    """One pass of a dataset over an archive: what the server is known to have, and what was sent.

    Batches of parcels that have no node in common may be settled side by side.
    """

    def __init__(
        self,
        dataset: Dataset,
        archive: Archive,
        *,
        jobs: int | None = 1,
        telling: Telling | None = None,
        update_fields: bool = False,
        policy: Policy = CAREFUL,
        on_bytes: OnBytes | None = None,
        on_work: OnWork | None = None,
        pause: float = 1.0,
        large: int = LARGE,
        deep: bool = False,
        there: Listing | None = None,
    ) -> None:
        self._deep = deep
        self._unread: dict[Node, Exception] = {}
        self._table = dataset.table
        self._choice = dataset.choice
        self._archive = archive
        self._lanes = Lanes(Pace() if jobs is None else Fixed(jobs), is_distress=_is_distress)
        self._on_bytes = on_bytes
        self._on_work = on_work or (lambda _: None)
        self._pause = pause
        self._large = large
        self._stop = threading.Event()
        self._describer = Describer(dataset, telling)
        self._describe = Fitted(self._describer, archive.schema)
        self._update_fields = update_fields
        self._policy = policy
        self._failed: Counter[Node] = Counter()
        self.stopped: Distressed | None = None
        self._deciding = threading.Lock()
        self._counting = threading.Lock()
        self._admitting = threading.Lock()
        self._begun = threading.Event()
        self.survived: Counter[str] = Counter()
        self.stopwatch = Stopwatch()
        self._admitted = False
        self._refused = ""
        there = there or Listing(archive.subjects().keys(), archive.experiments())
        self._subjects = set(there.subjects)
        self._experiments = dict(there.experiments)
        self._heard: dict[Issue, None] = {}

    def listing(self, labels: Container[str]) -> Listing:
        """What the project is known to hold of some subjects."""
        subjects = frozenset(label for label in self._subjects if label in labels)
        return Listing(subjects, {name: one for name, one in self._experiments.items() if one.subject in labels})

    def hear(self, issues: Iterable[Issue], survived: Mapping[str, int], size: int) -> None:
        """Take in what another run, which does a part of this one's work, has to tell beside outcomes."""
        self._heard |= dict.fromkeys(issues)
        self.survived.update(survived)
        if self._on_bytes is not None:
            self._on_bytes(size)

    def issues(self) -> Iterator[Issue]:
        """What could not be told in XNAT's fields."""
        own = (*self._describer.issues, *self._describe.issues())
        yield from dict.fromkeys(own) | self._heard

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """The fields that a subject of the dataset is given."""
        return self._describe.subject_fields(label)

    @property
    def experiments(self) -> Mapping[str, Experiment]:
        """What the project holds, by label."""
        return self._experiments

    # -------------------------------------------------- deciding

    def plan(self, batch: Sequence[Parcel], trail: _Trail | None = None) -> list[NodePlan]:
        """The plans of some parcels against what the server has at this moment."""
        trail = trail or _Trail()
        holdings = self._holdings([parcel.node for parcel in batch])
        known = Known(self._subjects, trail.sent, trail.hidden, trail.spoiled)
        with self._deciding:
            return [
                plan_node(
                    parcel,
                    narrow(holdings[parcel.node], parcel, self._choice, self._table),
                    digest=trail.digest,
                    describe=self._describe,
                    table=self._table,
                    known=known,
                    policy=self._policy,
                    large=self._large,
                )
                for parcel in batch
            ]

    def extras(self, batch: Sequence[Parcel]) -> int:
        """How many files the server has at some nodes that can be ours, and that the dataset does not have."""
        holdings = self._holdings([parcel.node for parcel in batch])
        return sum(1 for parcel in batch for _ in extras(parcel, holdings[parcel.node], self._table))

    def _holdings(self, nodes: Sequence[Node]) -> dict[Node, Holding]:
        found = self._archive.holdings_at(nodes, experiments=self._experiments, subjects=self._subjects)
        if self._deep:
            found = {node: self._reread(holding) for node, holding in found.items()}
        if self._update_fields:
            there = [node for node, holding in found.items() if node.subject and holding.id]
            found |= {node: replace(found[node], shown=self._archive.shown(node)) for node in there}
        return found

    def _reread(self, holding: Holding) -> Holding:
        """A holding with digests of what the server sends; without, where it does not."""
        try:
            return reread(holding, self._archive)
        except (Rejected, Unavailable) as error:
            self._unread[holding.node] = error
            return unproven(holding)

    # -------------------------------------------------- acting

    def settled(self, batches: Iterable[Sequence[Parcel]]) -> Iterator[_Settled]:
        """Push batches, some at a time; each one with what became of its nodes, in their order."""
        return self._together(self.settle, self._after_the_first(batches))

    def examined(self, batches: Iterable[Sequence[Parcel]]) -> Iterator[_Settled]:
        """Compare batches, some at a time."""
        return self._together(self.examine, batches)

    def _after_the_first(self, batches: Iterable[Sequence[Parcel]]) -> Iterator[Sequence[Parcel]]:
        """The batches; the second one when the rights to write are known: the first one has the project's own files."""
        for number, batch in enumerate(batches):
            while number == 1 and not self._begun.wait(MOMENT):
                pass
            yield batch

    def _together(
        self, treat: Callable[[Sequence[Parcel]], list[Outcome]], batches: Iterable[Sequence[Parcel]]
    ) -> Iterator[_Settled]:
        """Treat batches side by side, while the next one is read."""
        pool = ThreadPoolExecutor(TOGETHER, thread_name_prefix="batch")
        waiting: deque[tuple[Sequence[Parcel], Future[list[Outcome]]]] = deque()
        try:
            for batch in batches:
                if len(waiting) == TOGETHER:
                    first, future = waiting.popleft()
                    yield first, result_of(future)
                waiting.append((batch, pool.submit(treat, batch)))
            for first, future in waiting:
                yield first, result_of(future)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self._give_up()
            raise
        pool.shutdown()

    def _give_up(self) -> None:
        """Let go of all transfers; a thread that waits for an answer is left."""
        self._stop.set()
        self._lanes.leave()

    def settle(self, batch: Sequence[Parcel]) -> list[Outcome]:
        """Push some parcels, in rounds, until the server's listing proves them or nothing more can be done."""
        try:
            return self._settle(batch) if self.stopped is None else self.given_up(batch, self.stopped)
        finally:
            self._begun.set()

    def _settle(self, batch: Sequence[Parcel]) -> list[Outcome]:
        """What failed is tried again by one worker alone: a server in trouble is not helped by several."""
        trail = _Trail()
        parcels = {parcel.node: parcel for parcel in batch}
        with self.stopwatch.phase("comparing"):
            plans = {one.node: one for one in self._safely_planned(batch, trail)}
        before = {node: one.findings for node, one in plans.items()}
        failures: dict[Node, Exception | str] = {node: one.obstacle for node, one in plans.items()}
        tallies: dict[Node, Counter[str]] = {node: Counter() for node in plans}
        for attempt in range(ROUNDS):
            busy = [one for one in plans.values() if one.steps or one.prove]
            if not busy or self.stopped is not None or self._stop.is_set():
                break
            self._check_rights(busy)
            with self.stopwatch.phase("sending"):
                errors = self._act_all(busy, tallies, trail, alone=attempt > 0)
            with self.stopwatch.phase("proving"):
                self._prove([one for one in busy if one.prove or _imports(one)], errors)
            with self.stopwatch.phase("comparing"):
                again = self._safely_planned([parcels[one.node] for one in busy], trail)
            for new in again:
                node, doubted = new.node, self._failed[new.node] == 1
                failures[node], plans[node] = _judged(plans[node], new, errors.get(node), doubted=doubted)
            self._count(errors.values())
            with self.stopwatch.phase("waiting"):
                self._wait(attempt, errors.values())
        outcomes = [_outcome(one, failures[node], tallies[node]) for node, one in plans.items()]
        return [trail.deeds.told(one, before[one.node]) for one in outcomes]

    def _count(self, errors: Iterable[Exception]) -> None:
        """Remember the errors of a round, by their kinds."""
        with self._counting:
            for error in errors:
                kind = error.cause if isinstance(error, ArchiveError) else "a file could not be read"
                if kind in self.survived or len(self.survived) < _MOST_KINDS:
                    self.survived[kind] += 1

    def refusal(self, plans: Sequence[NodePlan]) -> str:
        """Before the first write: why the user may not do what is planned, or "". Asked for once.

        XNAT takes some of what it then does not store.
        """
        if self._admitted or not any(one.steps for one in plans):
            return ""
        found = self._ask_for_rights(plans)
        self._admitted = True
        return found

    def _ask_for_rights(self, plans: Sequence[NodePlan]) -> str:
        if self._archive.may_edit_project():
            return ""
        if not self._archive.may_create_subjects():
            return reader_refusal(self._archive.project)
        # The project's own files come first, so that they are among the first that are written.
        refused = (project_refusal(one, self._archive.project) for one in plans if one.node == Node() and one.steps)
        return next(refused, "")

    def _check_rights(self, plans: Sequence[NodePlan]) -> None:
        with self._admitting:
            self._refused = self._refused or self.refusal(plans)
        if self._refused:
            raise AccessDenied(self._refused)
        self._begun.set()

    def given_up(self, batch: Sequence[Parcel], error: ArchiveError) -> list[Outcome]:
        """What is said of parcels that nothing is done about, and why."""
        return [_outcome(_unplanned(parcel, error), error, Counter()) for parcel in batch]

    def examine(self, batch: Sequence[Parcel]) -> list[Outcome]:
        """Compare some parcels; ask the server for digests that it lacks."""
        if self.stopped is not None:
            return self.given_up(batch, self.stopped)
        errors: dict[Node, Exception] = {}
        plans = self.proven(batch, errors)
        errors |= self._unread
        failures = {one.node: one.obstacle or (errors.get(one.node, "") if one.prove else "") for one in plans}
        return [_outcome(one, failures[one.node], Counter()) for one in plans]

    def proven(self, batch: Sequence[Parcel], errors: dict[Node, Exception] | None = None) -> list[NodePlan]:
        """The plans of some parcels, with the digests that the server lacked computed; errors in that are noted."""
        plans = self._safely_planned(batch)
        lacking = [one for one in plans if one.prove]
        if lacking and not self._deep:
            self._prove(lacking, {} if errors is None else errors)
            plans = self._safely_planned(batch)
        return plans

    def compared(self, batch: Sequence[Parcel]) -> Iterator[tuple[Parcel, NodePlan, Holding, Holding]]:
        """Each parcel with its proven plan, all that its node holds, and what of that is spoken of."""
        plans = {one.node: one for one in self.proven(batch)}
        holdings = self._holdings([parcel.node for parcel in batch])
        for parcel in batch:
            holding = holdings[parcel.node]
            yield parcel, plans[parcel.node], holding, narrow(holding, parcel, self._choice, self._table)

    def _safely_planned(self, batch: Sequence[Parcel], trail: _Trail | None = None) -> list[NodePlan]:
        """Plans; what cannot be read, here or there, spoils what it concerns only."""
        trail = trail or _Trail()
        try:
            return self.plan(batch, trail)
        except DatasetError as error:
            if trail.spoil((placed for parcel in batch for placed in parcel.files), error):
                return self._safely_planned(batch, trail)
            failure: Exception = error
        except Distressed as error:
            self.stopped = error
            return [_unplanned(parcel, error) for parcel in batch]
        except (Unavailable, Rejected) as error:
            failure = error
        if len(batch) == 1:
            return [_unplanned(batch[0], failure)]
        middle = len(batch) // 2
        return [one for half in (batch[:middle], batch[middle:]) for one in self._safely_planned(half, trail)]

    def _act_all(
        self, plans: Sequence[NodePlan], tallies: dict[Node, Counter[str]], trail: _Trail, *, alone: bool
    ) -> dict[Node, Exception]:
        """Run the plans' steps: subjects first, each once; then nodes side by side, the steps of one in their order."""
        new = {step.label: step for one in plans for step in one.steps if isinstance(step, CreateSubject)}
        refused = dict(zip(new, self._done(self._create_subject, new.values(), alone=alone), strict=True))
        firsts = {one.node.subject: one.node for one in reversed(plans)}
        for label, error in refused.items():
            if error is None:
                trail.deeds.created(new[label], firsts[label])
        able = [one for one in plans if refused.get(one.node.subject) is None]
        errors = {one.node: err for one in plans if (err := refused.get(one.node.subject)) is not None}
        results = self._done(lambda one: self._act_on(one, tallies[one.node], trail), able, alone=alone)
        errors |= {one.node: error for one, error in zip(able, results, strict=True) if error is not None}
        if any(_imports(one) for one in plans if one.node in errors):
            self._look_again()
        self.stopped = self.stopped or next((one for one in errors.values() if isinstance(one, Distressed)), None)
        return errors

    def _done(
        self, work: Callable[[_Item], Exception | None], items: Iterable[_Item], *, alone: bool
    ) -> list[Exception | None]:
        """The results of work on items: side by side, or by this thread alone."""
        try:
            return [self._lanes.do(work, item) for item in items] if alone else list(self._lanes.map(work, items))
        except BaseException:
            self._give_up()
            raise

    def _look_again(self) -> None:
        """List the experiments once more: an import may succeed although its answer is lost."""
        known = set(self._experiments)
        with suppress(ArchiveError):
            listed = self._archive.experiments()
            others = {label: one for label, one in self._experiments.items() if label not in known}  # made meanwhile
            self._experiments = listed | others

    def _create_subject(self, step: CreateSubject) -> Exception | None:
        node = Node(step.label)
        try:
            self._archive.create_subject(step)
        except Rejected as error:
            if not step.fields:
                return error
            self._failed[node] += 1
            if self._failed[node] == 1:  # what was damaged on its way is refused, too
                return self._create_subject(step)
            self._describe.refused(node)
            return self._create_subject(CreateSubject(step.label))
        except ArchiveError as error:
            return error
        self._describe.made(node)
        self._subjects.add(step.label)
        return None

    def _act_on(self, one: NodePlan, tally: Counter[str], trail: _Trail) -> Exception | None:
        """The steps of one node; the error that ended them, if one did."""
        self._on_work(one.node)
        try:
            for step in one.steps:
                self._act(step, tally, trail)
        except DatasetError as error:
            trail.spoil(_files(one.steps), error)
            return error
        except ArchiveError as error:
            self._doubt_fields(one, error)
            if _is_lost(error):
                trail.deeds.lost(step)
            return error
        except _Stopped:
            return Unavailable("interrupted")
        finally:
            self._on_work(None)
        return None

    def _doubt_fields(self, one: NodePlan, error: Exception) -> None:
        """Let an import that fails, or is refused, again go without fields: they must not cost the files."""
        if _imports(one) and isinstance(error, ArchiveError) and error.status in (400, 422, 500):
            self._failed[one.node] += 1
            if self._failed[one.node] > 1:
                self._describe.refused(one.node)

    def _act(self, step: Step, tally: Counter[str], trail: _Trail) -> None:
        archive, table, sent = self._archive, self._table, Sent()
        scans: frozenset[str] = frozenset()

        def watch(size: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            tally["bytes"] += size
            self._lanes.passed(size)
            if self._on_bytes is not None:
                self._on_bytes(size)

        match step:
            case CreateSubject():
                pass  # created before, once for all its nodes
            case CreateScans():
                scans = archive.create_scans(step)
            case SetFields():
                archive.set_fields(step)
            case ImportSession(parcel):
                identifier = self._imported(step, sent, watch)
                self._know(parcel, identifier)
            case Deletion():
                archive.delete(step)
                tally["deleted"] += step.files if step.resource != table.staging else 0
            case FillResource(node, scan, resource):
                taken = archive.fill_resource(step, table=table, sent=sent, watch=watch)
                trail.refused(sent, {Address(node, scan, resource, name) for name in taken})
            case SendFile(placed):
                taken = archive.send_file(step, table=table, sent=sent, watch=watch)
                trail.refused(sent, {placed.address} if taken else set())
        trail.sent |= sent
        trail.deeds.did(step, sent, scans)
        tally["files"] += len(sent)

    def _imported(self, step: ImportSession, sent: Sent, watch: Watch) -> str:
        """The ID of a new experiment. One of its label may be there and in no listing, if the site lacks its type."""
        try:
            return self._archive.import_session(step, table=self._table, sent=sent, watch=watch)
        except Unavailable as error:
            there = self._archive.type_of(step.parcel.node) if error.status == 500 else ""
            if there and there not in self._archive.registered_types():
                raise Rejected(unlisted_refusal(step.parcel, there)) from error
            raise

    def _know(self, parcel: Parcel, identifier: str) -> None:
        node = parcel.node
        self._describe.made(node)
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
        lacking = {_home(finding.address) for finding in one.findings if finding.state is State.UNPROVEN}
        lacking |= {
            _home(placed.address) for step in one.steps if isinstance(step, ImportSession) for placed in step.files
        }
        if not one.node.experiment:
            yield from (self._archive.resource_path(one.node, resource) for _, resource in sorted(lacking))
        elif one.node.experiment in self._experiments:
            known = self._experiments[one.node.experiment]
            if any(finding.size >= self._large and _home(finding.address) not in lacking for finding in one.findings):
                # The server would read what is large once more, and has its digest.
                yield from (self._archive.experiment_path(known.id, *home) for home in sorted(lacking))
            else:
                yield self._archive.experiment_path(known.id)

    def _wait(self, attempt: int, errors: Collection[Exception]) -> None:
        """Give a server in trouble some time: longer each round, and as long as it asks for."""
        pauses = [error.retry_after for error in errors if isinstance(error, Unavailable)]
        if pauses:
            own = min(self._pause * 2**attempt, LONGEST_PAUSE)
            self._stop.wait(max(own, *pauses) * random.uniform(1, 1.5))  # noqa: S311  # jitter, no secret


def _unplanned(parcel: Parcel, error: Exception) -> NodePlan:
    """What is said of a node that could not be compared."""
    files = (Finding(State.UNPROVEN, p.address, p.file.path, p.file.size, p.origin) for p in parcel.files)
    return NodePlan(parcel.node, tuple(files), obstacle=str(error))


def _files(steps: Iterable[Step]) -> Iterator[Placed]:
    """All files that steps send."""
    for step in steps:
        match step:
            case ImportSession(files=files) | FillResource(files=files):
                yield from files
            case SendFile(placed):
                yield placed


def _home(address: Address) -> tuple[str, str]:
    return address.scan, address.resource


def _imports(one: NodePlan) -> bool:
    return any(isinstance(step, ImportSession) for step in one.steps)


def _judged(
    old: NodePlan, new: NodePlan, error: Exception | None, *, doubted: bool
) -> tuple[Exception | str, NodePlan]:
    """What a round came to at one node: the failure that counts, and what is left to do.

    An error that cannot pass, and left everything as it was, ends the attempts; but not if what was sent may have
    been damaged on its way, and refused for that.
    """
    failure = new.obstacle or (error if error is not None and not new.settled else "")
    if error is not None and not _may_pass(error) and not doubted and new.steps == old.steps:
        new = replace(new, steps=(), prove=False)
    return failure, new


def _is_distress(error: object) -> bool:
    return isinstance(error, Unavailable) and error.is_distress


def _is_lost(error: Exception) -> bool:
    """Whether a request may have been acted upon although it failed; by a plain 500 XNAT says that it was not."""
    return isinstance(error, Unavailable) and error.status != 500


def _may_pass(error: Exception) -> bool:
    return isinstance(error, Unavailable)


def _outcome(one: NodePlan, failure: Exception | str, tally: Counter[str]) -> Outcome:
    unkept = [step for step in one.steps if isinstance(step, SetFields)]
    if unkept and not failure:
        fields = [step.fields + tuple(field for scan in step.scans for field in scan.fields) for step in unkept]
        failure = f"the server did not keep {', '.join(sorted({one.path for some in fields for one in some}))}"
    denied = isinstance(failure, AccessDenied)
    cause = failure.cause if isinstance(failure, ArchiveError) else ""
    return Outcome(
        one.node, one.findings, tally["files"], tally["bytes"], str(failure), denied, tally["deleted"], cause
    )
