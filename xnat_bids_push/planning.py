"""Deciding: what the dataset has, compared with what the server has, makes a plan. Pure.

The same comparison is the dry run, the resume, the verification and the removal; they differ in what they do with it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

from xnat_bids_push.mapping import Table, files_by_resource, is_manifest, is_ours, path_of
from xnat_bids_push.model import (
    BidsFile,
    CreateScan,
    CreateSubject,
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
    State,
    Step,
    StoredFile,
)
from xnat_bids_push.names import is_plain

LARGE = 256 * 2**20
"""Files from this size on (bytes) travel by themselves: a cut connection then costs one file, not a session."""

Digest = Callable[[BidsFile], Md5]
"""Gives a file's MD5; called only where size does not already decide."""


def plan_node(
    parcel: Parcel,
    holding: Holding,
    *,
    digest: Digest,
    table: Table,
    subjects: Container[str],
    written: Container[str] = (),
    large: int = LARGE,
) -> NodePlan:
    """Compare one node, and say what would make the server equal to the dataset there.

    Nothing is deleted, and no file of the dataset that the server holds otherwise is overwritten: that is reported.
    Only what the push itself makes (copies and manifests) is replaced.

    Args:
        parcel: what the dataset has for the node.
        holding: what the server has there.
        digest: gives a local file's MD5.
        table: the mapping; it tells our files from those of others.
        subjects: the labels of the subjects that the server has.
        written: paths of files that this very run has sent: they are ours to send again if they arrived damaged.
        large: the size in bytes from which on a file travels by itself.
    """
    findings = (*(_compare(placed, holding, digest) for placed in parcel.files), *_extras(parcel, holding, table))
    obstacle = _obstacle(parcel, holding)
    if obstacle:
        return NodePlan(parcel.node, findings, obstacle=obstacle)
    prove = any(finding.state is State.UNPROVEN for finding in findings)
    steps = tuple(_steps(parcel, holding, findings, subjects, written, large))
    return NodePlan(parcel.node, findings, steps, prove)


def _compare(placed: Placed, holding: Holding, digest: Digest) -> Finding:
    state, reason = _state(placed.file, holding.files.get(placed.address), digest)
    return Finding(state, placed.address, placed.file.path, placed.file.size, placed.origin, reason)


def _state(file: BidsFile, stored: StoredFile | None, digest: Digest) -> tuple[State, str]:
    if stored is None:
        return State.MISSING, ""
    if stored.size < 0:
        return State.DIFFERS, "the server lists it, and has lost its content"
    if stored.size != file.size:
        return State.DIFFERS, f"{file.size} bytes here, {stored.size} on the server"
    if not stored.md5:
        return State.UNPROVEN, "the server has not computed its digest"
    if stored.md5 != digest(file):
        return State.DIFFERS, "the same size, another content"
    return State.SAME, ""


def _extras(parcel: Parcel, holding: Holding, table: Table) -> Iterator[Finding]:
    """What our table can have written there, and the dataset does not have. What others wrote is not our business."""
    known = {placed.address for placed in parcel.files}
    homes = {placed.file.path: placed.address for placed in parcel.files if placed.origin is Origin.DATASET}
    for address, stored in holding.files.items():
        if address not in known and is_ours(address, table):
            origin = Origin.MANIFEST if is_manifest(address, table) else Origin.DATASET
            path = path_of(address, table) or ""
            reason = f"an older copy: the file's place is {homes[path]}" if path in homes else "not in the dataset"
            yield Finding(State.EXTRA, address, path, max(stored.size, 0), origin, reason)


def _obstacle(parcel: Parcel, holding: Holding) -> str:
    """Why a node on the server cannot become the parcel's."""
    if holding.id and holding.node != parcel.node:
        return (
            f"{parcel.node.experiment} exists in this project under subject {holding.node.subject}: "
            "rename it there, or push into another project"
        )
    if holding.id and parcel.xsi_type and holding.xsi_type != parcel.xsi_type:
        return (
            f"{parcel.node.experiment} exists as {holding.xsi_type}, and would have to be {parcel.xsi_type}; "
            "XNAT cannot change that: rename or remove it there"
        )
    return ""


def _steps(
    parcel: Parcel,
    holding: Holding,
    findings: Iterable[Finding],
    subjects: Container[str],
    written: Container[str],
    large: int,
) -> Iterator[Step]:
    states = {finding.address: finding.state for finding in findings}
    missing = [placed for placed in parcel.files if states[placed.address] is State.MISSING]
    differing = (placed for placed in parcel.files if states[placed.address] is State.DIFFERS)
    stale = [one for one in differing if one.origin is not Origin.DATASET or one.file.path in written]
    small = tuple(placed for placed in missing if not _is_large(placed, large))
    node = parcel.node
    if (missing or parcel.xsi_type) and node.subject and node.subject not in subjects:
        yield CreateSubject(node.subject)
    if node.experiment and not holding.id:
        yield ImportSession(parcel, small)
    else:
        known = {address.scan for address in holding.files}
        needed = {placed.address.scan for placed in missing}
        yield from (CreateScan(node, scan) for scan in parcel.scans if scan.id in needed - known)
        yield from _fillings(small, replace=False)
    yield from _fillings(stale, replace=True)
    yield from (SendFile(placed) for placed in missing if _is_large(placed, large))


def _fillings(files: Iterable[Placed], *, replace: bool) -> Iterator[FillResource]:
    """One archive for each resource: it has one writer, and its catalog is written once."""
    for (scan, resource), group in files_by_resource(tuple(files)).items():
        yield FillResource(group[0].address.node, scan, resource, tuple(group), replace)


def _is_large(placed: Placed, large: int) -> bool:
    """Whether a file travels by itself: its name must then go through a URL unharmed."""
    return placed.file.size >= large and is_plain(placed.address.name)
