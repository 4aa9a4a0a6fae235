"""Deciding: what the dataset has, compared with what the server has, makes a plan. Pure.

The same comparison is the dry run, the resume, the verification and the removal; they differ in what they do with it.
"""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from xnat_bids_push.mapping import files_by_resource, is_ours, origin_of, path_of
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
    Deletion,
    Existing,
    Field,
    FillResource,
    Finding,
    Holding,
    ImportSession,
    Md5,
    NodePlan,
    Origin,
    Parcel,
    Placed,
    SendFile,
    SetFields,
    Shown,
    State,
    Step,
    StoredFile,
)
from xnat_bids_push.names import is_plain
from xnat_bids_push.picturing import with_pictures
from xnat_bids_push.policies import (
    CAREFUL,
    Policy,
    deletions,
    is_stage,
    kept,
    leftovers,
    replacement,
)
from xnat_bids_push.table import Table

LARGE = 64_000_000
"""Files from this size on (bytes) travel by themselves: a cut connection then costs one file, not a session, and XNAT
stores what comes as it is in less than half the time of what it has to unpack and to read once more for its digest."""

Digest = Callable[[Placed], Md5]
"""Gives a local file's MD5; called only where size does not already decide."""


class Describe(Protocol):
    """Gives XNAT's own fields; asked only for what is to be made, or whose fields are to be compared."""

    def __call__(self, parcel: Parcel) -> Parcel:
        """A parcel with the fields of its experiment (or subject) and scans."""

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """The fields of a subject."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a run knows of the server beside the node at hand.

    Args:
        subjects: the labels of the subjects that are there.
        written: addresses that this very run has written: ours to write again, should they have arrived damaged.
        hidden: addresses that the server called taken although it lists nothing there (XNAT keeps the files of
            what is deleted without removeFiles): what nobody can see may be written over.
        spoiled: addresses whose files are no longer as they were found, with the reason: they are not sent.
    """

    subjects: Container[str] = frozenset()
    written: Container[Address] = frozenset()
    hidden: Container[Address] = frozenset()
    spoiled: Mapping[Address, str] = field(default_factory=dict)


def plan_node(
    parcel: Parcel,
    holding: Holding,
    *,
    digest: Digest,
    describe: Describe,
    table: Table,
    known: Known,
    policy: Policy = CAREFUL,
    large: int = LARGE,
) -> NodePlan:
    """Compare one node, and say what would make the server equal to the dataset there.

    Unless the policy says so, nothing is deleted, and no file of the dataset that the server holds otherwise is
    overwritten: that is reported. Only what the push itself makes (copies and manifests) is replaced.

    Args:
        parcel: what the dataset has for the node.
        holding: what the server has there.
        digest: gives a local file's MD5.
        describe: gives the fields of what is to be made.
        table: the mapping; it tells our files from those of others.
        known: what the run knows beside.
        policy: what may be done to what is there.
        large: the size in bytes from which on a file travels by itself.
    """
    own = tuple(kept(_compare(placed, holding, digest, known), policy) for placed in parcel.files)
    findings = (*own, *extras(parcel, holding, table))
    obstacle = _obstacle(parcel, holding, table)
    if obstacle:
        return NodePlan(parcel.node, findings, obstacle=obstacle, basis=(parcel, holding))
    files = _by_state(parcel, own, known)
    prove = bool(files[State.UNPROVEN])
    steps = list(_steps(parcel, holding, files, describe, known, large))
    if policy.existing is Existing.REPLACE:
        differing = _of_the_dataset(files[State.DIFFERS], known)
        todo = replacement(differing, holding, digest=digest, table=table)
        steps += _sendings(todo.to_stage, large, replace=False)
        steps += _sendings([*todo.to_restage, *todo.to_place], large, replace=True)
        prove = prove or todo.unproven
    if not steps and not prove:
        steps += _clearings(parcel, holding, findings, policy, table)
    return NodePlan(parcel.node, findings, tuple(steps), prove, basis=(parcel, holding))


_Files = Mapping[State, Sequence[Placed]]
"""The files that may be sent, by how they compare."""


def _by_state(parcel: Parcel, findings: Iterable[Finding], known: Known) -> _Files:
    files: dict[State, list[Placed]] = {state: [] for state in State}
    for placed, finding in zip(parcel.files, findings, strict=True):
        if not known.spoiled or placed.address not in known.spoiled:
            files[finding.state].append(placed)
    return files


def fingerprint(plan: NodePlan) -> str:
    """A digest of all that a plan was decided by: the files' names, sizes and times, and the server's listing."""
    if plan.basis is None:
        return ""
    parcel, holding = plan.basis
    files = [(*address[1:], file.path, file.size, file.stamp) for file, address, *_ in parcel.files]
    stored = sorted((*one.address[1:], one.size, one.md5) for one in holding.files.values())
    identifier = holding.id if parcel.node.experiment else ""  # a project that is about to be made holds as little
    everything = (*parcel.node, parcel.xsi_type, files, *holding.node, identifier, holding.xsi_type, stored)
    return hashlib.blake2b(repr(everything).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _compare(placed: Placed, holding: Holding, digest: Digest, known: Known) -> Finding:
    stored = holding.files.get(placed.address)
    spoiled, md5 = known.spoiled.get(placed.address, ""), ""
    if spoiled:
        state, reason = State.UNPROVEN if stored else State.MISSING, spoiled
    else:
        state, reason = _state_by_size(placed, stored)
    if state is State.SAME and stored is not None:
        md5 = digest(placed)
        state, reason = (state, "") if md5 == stored.md5 else (State.DIFFERS, "the same size, another content")
    return Finding(
        state, placed.address, placed.file.path, placed.file.size, placed.origin, reason, md5=md5, stored=stored
    )


def _state_by_size(placed: Placed, stored: StoredFile | None) -> tuple[State, str]:
    if stored is None:
        return State.MISSING, ""
    if stored.size < 0:
        return State.DIFFERS, "the server lists it, and has lost its content"
    if stored.size != placed.file.size:
        return State.DIFFERS, f"{placed.file.size} bytes here, {stored.size} on the server"
    if not stored.md5:
        return State.UNPROVEN, "the server has not computed its digest"
    return State.SAME, ""


def extras(parcel: Parcel, holding: Holding, table: Table) -> Iterator[Finding]:
    """What our table can have written there, and the dataset does not have. What others wrote is not our business."""
    if not holding.files:
        return
    known = {placed.address for placed in parcel.files}
    homes = {placed.file.path: placed.address for placed in parcel.files if placed.origin is Origin.DATASET}
    for address, stored in holding.files.items():
        if address not in known and is_ours(address, table):
            origin = origin_of(address, table)
            path = path_of(address, table) or ""
            home = homes.get(path)
            reason = f"an older copy: the file's place is {home}" if home else "the dataset has no such file here"
            if is_stage(address, table):
                reason = "left of a replacement that was not completed"
            yield Finding(State.EXTRA, address, path, max(stored.size, 0), origin, reason, stored=stored)


def _obstacle(parcel: Parcel, holding: Holding, table: Table) -> str:
    """Why a node on the server cannot become the parcel's."""
    if holding.id and holding.node != parcel.node:
        return (
            f"{parcel.node.experiment} exists in this project under subject {holding.node.subject}: "
            "rename it there, or push into another project"
        )
    if holding.id and parcel.xsi_type and holding.xsi_type not in {parcel.xsi_type, *parcel.accepts}:
        choice = f"--session-type {_kind(parcel, table)}={holding.xsi_type}"
        return (
            f"{parcel.node.experiment} exists as {holding.xsi_type}, and would have to be {parcel.xsi_type}; XNAT "
            f"cannot change that: go on with its type ({choice}), or rename or remove it there"
        )
    return ""


def _kind(parcel: Parcel, table: Table) -> str:
    """The name by which ``--session-type`` knows the type of an experiment."""
    portion = table.naming.portion(parcel.node.experiment)
    return portion.modality if portion and portion.modality else table.name_of_type(parcel.xsi_type)


def _steps(
    parcel: Parcel, holding: Holding, files: _Files, describe: Describe, known: Known, large: int
) -> Iterator[Step]:
    missing = files[State.MISSING]
    differing = [*files[State.DIFFERS], *files[State.KEPT]]
    theirs = set(_of_the_dataset(differing, known))
    stale = [one for one in differing if one not in theirs]
    node = parcel.node
    if (missing or parcel.xsi_type) and node.subject and node.subject not in known.subjects:
        yield CreateSubject(node.subject, describe.subject_fields(node.subject))
    if node.experiment and not holding.id:
        # No large file, whatever its name: Java cannot read the length behind a zip's entry of more than 2 GiB. And
        # nothing that shares its resource: for the digests of what it imports, XNAT reads resources as a whole.
        heavy = {_home(placed) for placed in missing if placed.file.size >= large}
        yield ImportSession(describe(parcel), tuple(placed for placed in missing if _home(placed) not in heavy))
        missing = [placed for placed in missing if _home(placed) in heavy]
    new = {placed.address.scan for placed in missing} - {address.scan for address in holding.files} - {""}
    if holding.id and new:
        scans = tuple(scan for scan in describe(parcel).scans if scan.id in new)
        yield CreateScans(node, holding.xsi_type, scans)
    if holding.shown is not None:
        yield from _corrections(describe(parcel), holding, holding.shown)
    hidden = [placed for placed in missing if placed.address in known.hidden]
    yield from _sendings((one for one in missing if one.address not in known.hidden), large, replace=False)
    yield from _sendings([*hidden, *stale], large, replace=True)


def _home(placed: Placed) -> tuple[str, str]:
    """Scan and resource."""
    return placed.address.scan, placed.address.resource


def _of_the_dataset(files: Iterable[Placed], known: Known) -> list[Placed]:
    """Those that the push has neither made itself nor written in this run, which are ours to write again."""
    return [one for one in files if one.origin is Origin.DATASET and one.address not in known.written]


def _clearings(
    parcel: Parcel, holding: Holding, findings: Sequence[Finding], policy: Policy, table: Table
) -> Iterator[Deletion]:
    """What is to be deleted, once all of the dataset is proven to be there."""
    if any(finding.state not in (State.SAME, State.KEPT, State.EXTRA) for finding in findings):
        return
    if policy.delete and not parcel.aside:
        alone = {finding.address for finding in findings if finding.state is State.EXTRA}
        yield from deletions(with_pictures(alone, holding.files), holding, {scan.id for scan in parcel.scans})
    elif policy.existing is Existing.REPLACE:
        yield from leftovers(holding, table)


def _corrections(parcel: Parcel, holding: Holding, shown: Shown) -> Iterator[SetFields]:
    """What would make the server's fields those of the dataset; fields that the dataset does not give stay."""
    own = _differing(parcel.fields, shown.own)
    scans = [
        replace(scan, fields=_differing(scan.fields, shown.scans[scan.id]))
        for scan in parcel.scans
        if scan.id in shown.scans
    ]
    changed = tuple(scan for scan in scans if scan.fields)
    if own or changed:
        yield SetFields(parcel.node, holding.xsi_type, own, changed)


def _differing(fields: Iterable[Field], shown: Mapping[str, str]) -> tuple[Field, ...]:
    return tuple(field for field in fields if not same_value(field.value, shown.get(field.path, "")))


def same_value(ours: str, theirs: str) -> bool:
    """Whether a field's value is the one that the server shows, which keeps numbers in single precision.

    >>> same_value("2000", "2000.0"), same_value("2.123456789", "2.1234567"), same_value("a & b", "a &amp; b")
    (True, True, True)
    >>> same_value("2.12345", "2.1235"), same_value("a", "b")
    (False, False)
    """
    if ours == theirs or ours == html.unescape(theirs):
        return True
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-6)
    except ValueError:
        return False


def _sendings(files: Iterable[Placed], large: int, *, replace: bool) -> Iterator[FillResource | SendFile]:
    """One archive for each resource, which so has one writer; then the large files by themselves.

    A file that travels by itself needs a name that goes through a URL unharmed; others stay in an archive.
    """
    files = tuple(files)
    alone = [placed for placed in files if placed.file.size >= large and is_plain(placed.address.name)]
    together = [placed for placed in files if placed not in alone]
    for (scan, resource), group in files_by_resource(together).items():
        yield FillResource(group[0].address.node, scan, resource, tuple(group), replace)
    yield from (SendFile(placed, replace) for placed in alone)
