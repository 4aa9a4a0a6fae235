"""Undoing one push, by its receipt: what it sent goes, if it is still as it was, and what it created, if it is bare.

What was there before the push stays, and what others have added or changed since; what it replaced cannot come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import groupby

from xnat_bids_push.archive import Archive
from xnat_bids_push.errors import Rejected, Unavailable
from xnat_bids_push.model import Address, Deletion, Node, State
from xnat_bids_push.picturing import with_pictures
from xnat_bids_push.policies import deletions
from xnat_bids_push.receipt import Receipt, Status
from xnat_bids_push.rechecking import Seen, see
from xnat_bids_push.removing import Removal


def plan_undoing(receipt: Receipt, archive: Archive) -> Iterator[Removal]:
    """What `remove` would delete to undo a push, place by place; experiments before their subjects. Deletes nothing.

    Args:
        receipt: what `open_receipt` gives.
        archive: the project of that push.

    Raises:
        ConfigError: the receipt is of another project, or not whole.
        ArchiveError: the server cannot be asked what it has.
    """
    there = archive.subjects()
    for subject, places in groupby(see(receipt, archive), lambda one: one.node.subject):
        created = None
        for seen in places:
            made = seen.place.made
            created = made.subject if made.subject is not None else created
            wrote = made.experiment or any(entry.status in _WRITTEN for entry in seen.place.entries)
            if seen.holding.id and wrote:
                yield _removal(seen, archive)
        if created is not None and subject in there:
            yield Removal(Node(subject), (Deletion(Node(subject), fields=created),))


_WRITTEN = (Status.SENT, Status.REPLACED)


def _removal(seen: Seen, archive: Archive) -> Removal:
    """What goes at one place, and what of the push's stays."""
    if seen.obstacle:
        return Removal(seen.node, (), (seen.obstacle,))
    sent, reasons = _ours(seen)
    stored = seen.holding.files
    ours = with_pictures(sent, stored)
    if seen.place.made.experiment and ours >= stored.keys():
        try:
            foreign = archive.foreign_contents(seen.node, {entry.address.scan for entry in seen.place.entries})
        except (Rejected, Unavailable) as error:
            return Removal(seen.node, (), (f"cannot be looked into: {error}",))
        if not foreign:
            return Removal(seen.node, (Deletion(seen.node, files=len(stored)),))
        reasons += [f"{what} is not of this push, and stays" for what in foreign]
    parts = tuple(deletions(ours, seen.holding, _scans_that_stay(seen)))
    stuck = (one for one in sorted(ours) if not any(_goes_with(one, part) for part in parts))
    reasons += [f"{one} cannot go alone, as XNAT would delete more with it, and stays" for one in stuck]
    return Removal(seen.node, parts, tuple(reasons))


def _ours(seen: Seen) -> tuple[set[Address], list[str]]:
    """What is still as this push sent it; and why the rest of what it sent is left."""
    ours: set[Address] = set()
    reasons = []
    for entry in seen.place.entries:
        state, why = seen.state(entry)
        if entry.status is Status.REPLACED:
            reasons.append(f"{entry.address} replaced what was there before, and stays")
        elif entry.status is Status.SENT and state is State.SAME:
            ours.add(entry.address)
        elif entry.status is Status.SENT and state is not State.MISSING:
            reasons.append(f"{entry.address} is not proven to be as it was sent, and stays ({why})")
    return ours, reasons


def _scans_that_stay(seen: Seen) -> Set[str]:
    """The scans of a place that this push has not created."""
    if seen.place.made.experiment:
        created = {entry.address.scan for entry in seen.place.entries if entry.status is Status.SENT}
    else:
        created = set(seen.place.made.scans)
    return {address.scan for address in seen.holding.files} - created


def _goes_with(address: Address, part: Deletion) -> bool:
    """Whether a file is among what is deleted."""
    where = (part.scan, part.resource or address.resource, part.name or address.name)
    return where == (address.scan, address.resource, address.name)
