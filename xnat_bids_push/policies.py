"""What becomes of what is there and differs, and of what is there alone: as the user says. Pure.

Nothing that differs is overwritten before its new content has been proven to be on the server, in a resource of its own
beside it; nothing is deleted while anything at its node is not proven.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from xnat_bids_push.model import Address, Deletion, Existing, Finding, Holding, Md5, Placed, State
from xnat_bids_push.names import is_plain
from xnat_bids_push.table import Table


@dataclass(frozen=True, slots=True)
class Policy:
    """What a push may do to what is there.

    Args:
        delete: whether what our table can have written, and the dataset does not have, is deleted.
    """

    existing: Existing = Existing.FAIL
    delete: bool = False


CAREFUL = Policy()
"""Nothing that differs is touched, and nothing is deleted."""


# ------------------------------------------------------------------ replacing


@dataclass(frozen=True, slots=True)
class Replacement:
    """How far the replacement of some files is.

    Args:
        to_stage: to be sent beside what they replace.
        to_restage: the same, over something wrong that is there.
        to_place: proven to be on the server, and so to be sent to their places.
        unproven: whether the server must first compute digests.
    """

    to_stage: tuple[Placed, ...] = ()
    to_restage: tuple[Placed, ...] = ()
    to_place: tuple[Placed, ...] = ()
    unproven: bool = False


def stage_of(address: Address, table: Table) -> Address:
    """Where a file's new content waits until it is proven.

    >>> from xnat_bids_push.model import Node
    >>> from xnat_bids_push.table import default_table
    >>> stage_of(Address(Node("s", "e"), "anat_T1w", "NIFTI", "x.nii"), default_table()).name
    'NIFTI/x.nii'
    """
    return address._replace(resource=table.staging, name=f"{address.resource}/{address.name}")


def is_stage(address: Address, table: Table) -> bool:
    """Whether an address is one at which new content waits."""
    return address.resource == table.staging


def replacement(
    files: Iterable[Placed], holding: Holding, *, digest: Callable[[Placed], Md5], table: Table
) -> Replacement:
    """What is the next to be done to replace files, by what the server holds."""
    groups: dict[str, list[Placed]] = defaultdict(list)
    for placed in files:
        staged = placed._replace(address=stage_of(placed.address, table))
        stored = holding.files.get(staged.address)
        if stored is None:
            groups["stage"].append(staged)
        elif stored.size == placed.file.size and not stored.md5:
            groups["unproven"].append(placed)
        elif stored.size == placed.file.size and stored.md5 == digest(placed):
            groups["place"].append(placed)
        else:
            groups["restage"].append(staged)
    return Replacement(
        tuple(groups["stage"]), tuple(groups["restage"]), tuple(groups["place"]), bool(groups["unproven"])
    )


# ------------------------------------------------------------------ deleting


def leftovers(holding: Holding, table: Table) -> Iterator[Deletion]:
    """The resources in which new content waited, when it waits no longer."""
    yield from (
        Deletion(holding.node, scan, resource, len(group))
        for (scan, resource), group in sorted(_by_resource(holding.files).items())
        if resource == table.staging
    )


def deletions(extras: Set[Address], holding: Holding, scans: Set[str]) -> Iterator[Deletion]:
    """How to delete what is there alone, and nothing else: scans, resources or files, the largest first.

    XNAT deletes every file whose name begins with the one that is given, so that a name which another one begins with
    can only go with its whole resource.

    Args:
        extras: the addresses that can go.
        holding: all that the server has at the node.
        scans: the scans that the dataset has.
    """
    by_scan: dict[str, set[Address]] = defaultdict(set)
    for address in holding.files:
        by_scan[address.scan].add(address)
    gone = {scan for scan, files in by_scan.items() if scan and scan not in scans and files <= extras}
    yield from (Deletion(holding.node, scan, files=len(by_scan[scan])) for scan in sorted(gone))
    for (scan, resource), group in sorted(_by_resource(holding.files).items()):
        ours = [address for address in group if address in extras]
        if scan in gone or not ours:
            continue
        if len(ours) == len(group):
            yield Deletion(holding.node, scan, resource, len(group))
        else:
            yield from _single(ours, [address for address in group if address not in extras])


def _single(ours: Sequence[Address], others: Sequence[Address]) -> Iterator[Deletion]:
    for address in sorted(ours):
        if can_go_alone(address, others):
            yield Deletion(address.node, address.scan, address.resource, 1, name=address.name)


def can_go_alone(address: Address, others: Iterable[Address]) -> bool:
    """Whether a file can be deleted by its name without taking others along, or being missed."""
    return is_plain(address.name) and not any(other.name.startswith(address.name) for other in others)


def _by_resource(addresses: Iterable[Address]) -> dict[tuple[str, str], list[Address]]:
    groups: dict[tuple[str, str], list[Address]] = defaultdict(list)
    for address in addresses:
        groups[address.scan, address.resource].append(address)
    return groups


def kept(finding: Finding, policy: Policy) -> Finding:
    """A finding as the policy sees it: what differs and may stay is no failure."""
    if finding.state is State.DIFFERS and policy.existing is Existing.SKIP:
        return finding._replace(state=State.KEPT)
    return finding
