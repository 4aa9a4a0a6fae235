"""Deciding: what the dataset has, compared with what the server has, makes a plan. Pure.

The same comparison is the dry run, the resume, the verification and the removal; they differ in what they do with it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from xnat_bids_push.mapping import files_by_resource, is_ours, origin_of, path_of
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
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
from xnat_bids_push.table import Table

LARGE = 256 * 2**20
"""Files from this size on (bytes) travel by themselves: a cut connection then costs one file, not a session."""

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
    """

    subjects: Container[str] = frozenset()
    written: Container[Address] = frozenset()
    hidden: Container[Address] = frozenset()


def plan_node(
    parcel: Parcel,
    holding: Holding,
    *,
    digest: Digest,
    describe: Describe,
    table: Table,
    known: Known,
    large: int = LARGE,
) -> NodePlan:
    """Compare one node, and say what would make the server equal to the dataset there.

    Nothing is deleted, and no file of the dataset that the server holds otherwise is overwritten: that is reported.
    Only what the push itself makes (copies and manifests) is replaced.

    Args:
        parcel: what the dataset has for the node.
        holding: what the server has there.
        digest: gives a local file's MD5.
        describe: gives the fields of what is to be made.
        table: the mapping; it tells our files from those of others.
        known: what the run knows beside.
        large: the size in bytes from which on a file travels by itself.
    """
    findings = (*(_compare(placed, holding, digest) for placed in parcel.files), *_extras(parcel, holding, table))
    obstacle = _obstacle(parcel, holding, table)
    if obstacle:
        return NodePlan(parcel.node, findings, obstacle=obstacle)
    prove = any(finding.state is State.UNPROVEN for finding in findings)
    steps = tuple(_steps(parcel, holding, findings, describe, known, large))
    return NodePlan(parcel.node, findings, steps, prove)


def _compare(placed: Placed, holding: Holding, digest: Digest) -> Finding:
    state, reason = _state(placed, holding.files.get(placed.address), digest)
    return Finding(state, placed.address, placed.file.path, placed.file.size, placed.origin, reason)


def _state(placed: Placed, stored: StoredFile | None, digest: Digest) -> tuple[State, str]:
    if stored is None:
        return State.MISSING, ""
    if stored.size < 0:
        return State.DIFFERS, "the server lists it, and has lost its content"
    if stored.size != placed.file.size:
        return State.DIFFERS, f"{placed.file.size} bytes here, {stored.size} on the server"
    if not stored.md5:
        return State.UNPROVEN, "the server has not computed its digest"
    if stored.md5 != digest(placed):
        return State.DIFFERS, "the same size, another content"
    return State.SAME, ""


def _extras(parcel: Parcel, holding: Holding, table: Table) -> Iterator[Finding]:
    """What our table can have written there, and the dataset does not have. What others wrote is not our business."""
    known = {placed.address for placed in parcel.files}
    homes = {placed.file.path: placed.address for placed in parcel.files if placed.origin is Origin.DATASET}
    for address, stored in holding.files.items():
        if address not in known and is_ours(address, table):
            origin = origin_of(address, table)
            path = path_of(address, table) or ""
            home = homes.get(path)
            reason = f"an older copy: the file's place is {home}" if home else "the dataset has no such file here"
            yield Finding(State.EXTRA, address, path, max(stored.size, 0), origin, reason)


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
    parcel: Parcel, holding: Holding, findings: Iterable[Finding], describe: Describe, known: Known, large: int
) -> Iterator[Step]:
    states = {finding.address: finding.state for finding in findings}
    missing = [placed for placed in parcel.files if states[placed.address] is State.MISSING]
    differing = [placed for placed in parcel.files if states[placed.address] is State.DIFFERS]
    stale = [one for one in differing if one.origin is not Origin.DATASET or one.address in known.written]
    node = parcel.node
    if (missing or parcel.xsi_type) and node.subject and node.subject not in known.subjects:
        yield CreateSubject(node.subject, describe.subject_fields(node.subject))
    if node.experiment and not holding.id:
        # No large file, whatever its name: Java cannot read the length behind a zip's entry of more than 2 GiB.
        yield ImportSession(describe(parcel), tuple(placed for placed in missing if placed.file.size < large))
        missing = [placed for placed in missing if placed.file.size >= large]
    new = {placed.address.scan for placed in missing} - {address.scan for address in holding.files} - {""}
    if holding.id and new:
        scans = tuple(scan for scan in describe(parcel).scans if scan.id in new)
        yield CreateScans(node, holding.xsi_type, scans)
    if holding.shown is not None:
        yield from _corrections(describe(parcel), holding, holding.shown)
    hidden = [placed for placed in missing if placed.address in known.hidden]
    yield from _sendings((one for one in missing if one.address not in known.hidden), large, replace=False)
    yield from _sendings([*hidden, *stale], large, replace=True)


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

    >>> same_value("2000", "2000.0"), same_value("2.123456789", "2.1234567"), same_value("a", "b")
    (True, True, False)
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
