"""Taking back: delete from the archive what a dataset has there, and nothing else.

An experiment or a subject goes as a whole only if everything in it is proven to be the dataset's. Otherwise only the
scans and resources that are wholly the dataset's go, and the rest is named and stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import AccessDenied, ArchiveError, Distressed, Rejected, Unavailable
from xnat_bids_push.fields import Telling
from xnat_bids_push.mapping import folder_of
from xnat_bids_push.model import Address, Deletion, Node, NodePlan, Outcome, Parcel, State
from xnat_bids_push.picturing import is_picture, with_pictures
from xnat_bids_push.pushing import batches, healthy
from xnat_bids_push.report import Report
from xnat_bids_push.running import Run


@dataclass(frozen=True, slots=True)
class Removal:
    """What is deleted at one node, and what stays, with the reason."""

    node: Node
    deletions: tuple[Deletion, ...]
    kept: tuple[str, ...] = ()
    folder: str = ""
    """In the dataset."""


def plan_removal(dataset: Dataset, archive: Archive, *, telling: Telling | None = None) -> Iterator[Removal]:
    """What `remove` would delete, node by node; experiments before their subjects. Deletes nothing.

    Args:
        dataset: what was pushed.
        archive: where to.
        telling: as it was for the push: a subject with other fields than these stays.

    Raises:
        DatasetError: the dataset cannot be read.
        ArchiveError: the server cannot be asked what it has.
    """
    healthy(dataset)
    run = Run(dataset, archive, telling=telling)

    def folder(node: Node) -> str:
        return folder_of(node, dataset.table) or ""

    others = {one.subject for one in run.experiments.values()}
    subjects: set[str] = set()
    for batch in batches(dataset):
        for parcel, plan, holding, spoken in run.compared(batch):
            if holding.id:
                told = (
                    one for one in spoken.files if one.resource != dataset.table.receipts
                )  # those stay, unspoken of
                contents = Contents(tuple(holding.files), frozenset(told))
                yield replace(_node_removal(parcel, plan, contents, archive), folder=folder(parcel.node))
            if holding.id or parcel.node.subject not in others:  # an earlier removal may have ended before the subject
                subjects.add(parcel.node.subject)
    for label in sorted(subjects & archive.subjects().keys() - {""}):
        deletion = Deletion(Node(label), fields=run.subject_fields(label))
        yield Removal(Node(label), (deletion,), folder=folder(Node(label)))


def remove(
    removals: Iterable[Removal], archive: Archive, *, on_outcome: Callable[[Outcome], None] | None = None
) -> Report:
    """Delete what was planned. A subject goes only if by then it has no experiments, resources and fields but ours.

    Raises:
        ArchiveError: the server cannot be asked what it has.
    """
    folders: dict[Node, str] = {}
    report = Report(archive.server, archive.project, folder_of=folders.get)
    for removal in removals:
        folders[removal.node] = removal.folder
        outcome = _remove(removal, archive, report)
        report.add(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return report


def _remove(removal: Removal, archive: Archive, report: Report) -> Outcome:
    try:
        for deletion in removal.deletions:
            archive.delete(deletion)
    except ArchiveError as error:
        report.stopped = str(error) if isinstance(error, Distressed) else report.stopped
        words, denied = f"could not be removed: {error}", isinstance(error, AccessDenied)
        return Outcome(removal.node, (), failure=words, denied=denied, cause=f"could not be removed: {error.cause}")
    return Outcome(removal.node, (), failure="; ".join(removal.kept))


def number_of(removals: Iterable[Removal]) -> int:
    """How many files are deleted in all."""
    return sum(deletion.files for removal in removals for deletion in removal.deletions)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a node holds: all of it, and what of it is spoken of because the filters take it."""

    stored: tuple[Address, ...]
    spoken: frozenset[Address]


def _node_removal(parcel: Parcel, plan: NodePlan, contents: Contents, archive: Archive) -> Removal:
    """What goes at one node: all of an experiment, or the resources that are wholly ours.

    What is shared with what the filters do not take stays.
    """
    if plan.obstacle:
        return Removal(parcel.node, (), (plan.obstacle,))
    same = {finding.address for finding in plan.findings if finding.state is State.SAME} - parcel.shared
    proven = with_pictures(same, contents.stored)
    told = contents.spoken - parcel.shared
    spoken = [address for address in contents.stored if address in told and not is_picture(address)]
    reasons = [f"{address} is not the dataset's, and stays" for address in spoken if address not in proven]
    if parcel.node.experiment:
        unspoken = {address.scan for address in contents.stored if address not in contents.spoken}
        try:
            foreign = archive.foreign_contents(parcel.node, {scan.id for scan in parcel.scans} | unspoken)
        except (Rejected, Unavailable) as error:
            return Removal(parcel.node, (), (f"cannot be looked into: {error}",))
        reasons += [f"{what} is not the dataset's, and stays" for what in foreign]
        if not reasons and proven.issuperset(contents.stored):
            return Removal(parcel.node, (Deletion(parcel.node, files=len(contents.stored)),))
    deletions = tuple(_partial_deletions(contents.stored, proven))
    gone = {(one.scan, one.resource) for one in deletions}
    stuck = [one for one in spoken if one in proven and not {(one.scan, one.resource), (one.scan, "")} & gone]
    reasons += [f"{address} shares its resource with what is not removed, and stays" for address in stuck]
    return Removal(parcel.node, deletions, tuple(reasons))


def _partial_deletions(stored: Sequence[Address], proven: Set[Address]) -> Iterator[Deletion]:
    """What of a node can go if not all of it can: whole scans where all of a scan is ours, else whole resources."""
    mixed = {address.scan for address in stored if address not in proven}
    groups: dict[tuple[str, str], set[Address]] = defaultdict(set)
    for address in stored:
        resource = address.resource if not address.scan or address.scan in mixed else ""
        groups[address.scan, resource].add(address)
    for (scan, resource), files in sorted(groups.items()):
        if files <= proven:
            yield Deletion(stored[0].node, scan, resource, len(files))
