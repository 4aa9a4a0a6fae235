"""The archive, compared with the receipt of a push instead of a dataset: is all that it took still there?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from xnat_bids_push.archive import LISTED_AT_ONCE, Archive
from xnat_bids_push.errors import ArchiveError, ConfigError, Distressed, Rejected, Unavailable
from xnat_bids_push.model import Experiment, Finding, Holding, Node, Outcome, State
from xnat_bids_push.receipt import Entry, Place, Receipt
from xnat_bids_push.report import Report
from xnat_bids_push.rereading import reread, unproven

BATCH = LISTED_AT_ONCE
"""Places that are looked at together."""


def recheck(
    receipt: Receipt,
    archive: Archive,
    *,
    deep: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Report:
    """Whether the archive still holds every file that it held at the end of a push, by its receipt.

    Args:
        receipt: what `open_receipt` gives.
        archive: the project of that push.
        deep: believe no digest of the server's, but read everything back.
        on_outcome: told of each place.

    Raises:
        ConfigError: the receipt is of another project, or not whole.
        ArchiveError: the server cannot be asked what it has.
    """
    report = Report(archive.server, archive.project)
    try:
        for seen in see(receipt, archive, deep=deep):
            outcome = seen.outcome()
            report.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    except Distressed as error:
        report.stopped = str(error)
    return report


class Seen:
    """A place of a receipt, and what the archive has there by now."""

    def __init__(self, place: Place, holding: Holding, error: Exception | None = None) -> None:
        self.place, self.holding, self._error = place, holding, error

    @property
    def node(self) -> Node:
        """The place's node."""
        return self.place.node

    @property
    def obstacle(self) -> str:
        """Why nothing here can be believed."""
        if self._error is not None:
            return str(self._error)
        if self.holding.id and self.holding.node != self.node:
            return f"{self.node.experiment} is of subject {self.holding.node.subject} by now"
        return ""

    def state(self, entry: Entry) -> tuple[State, str]:
        """How a file of the receipt compares with what is there."""
        stored = self.holding.files.get(entry.address)
        if stored is None:
            return State.MISSING, "the receipt has it"
        if stored.size != entry.size:
            return State.DIFFERS, f"{entry.size} bytes by the receipt, {max(stored.size, 0)} on the server"
        known = entry.md5 or entry.stored_md5
        if not stored.md5 or not known:
            return State.UNPROVEN, "the server has not computed its digest" if known else "the receipt has no digest"
        return (State.SAME, "") if stored.md5 == known else (State.DIFFERS, "the same size, another content")

    def findings(self) -> Iterator[Finding]:
        """What is to be said of all files that the receipt says were there."""
        for entry in self.place.entries:
            if entry.status.is_there:
                state, reason = self.state(entry)
                stored = self.holding.files.get(entry.address)
                yield Finding(state, entry.address, entry.path, entry.size, entry.origin, reason, entry.md5, stored)

    def outcome(self) -> Outcome:
        """The same as an outcome."""
        cause = self._error.cause if isinstance(self._error, ArchiveError) else ""
        return Outcome(self.node, tuple(self.findings()), failure=self.obstacle, cause=cause)


def see(receipt: Receipt, archive: Archive, *, deep: bool = False) -> Iterator[Seen]:
    """Every place of a receipt, beside what the archive has there; the server is asked for digests that it lacks.

    Raises:
        ConfigError: the receipt is of another project, or not whole.
        ArchiveError: the server cannot be asked what it has.
    """
    if receipt.project != archive.project:
        raise ConfigError(f"the receipt is of project {receipt.project}, not of {archive.project}")
    experiments, subjects = archive.experiments(), archive.subjects()
    for batch in _batches(receipt.places()):
        nodes = [place.node for place in batch]

        def look(nodes: Sequence[Node] = nodes) -> dict[Node, Holding]:
            return archive.holdings_at(nodes, experiments=experiments, subjects=subjects)

        if deep:
            yield from (_reread(place, holding, archive) for place, holding in _pairs(batch, look()))
            continue
        seen = [Seen(place, holding) for place, holding in _pairs(batch, look())]
        paths = [path for one in seen for path in _to_prove(one, archive, experiments)]
        if paths:
            error = _proven(paths, archive)
            seen = [Seen(place, holding) for place, holding in _pairs(batch, look())]
            seen = [_with_error(one, error) for one in seen]
        yield from seen


def _batches(places: Iterable[Place]) -> Iterator[list[Place]]:
    places = iter(places)
    while batch := list(islice(places, BATCH)):
        yield batch


def _pairs(batch: Iterable[Place], holdings: Mapping[Node, Holding]) -> Iterator[tuple[Place, Holding]]:
    yield from ((place, holdings[place.node]) for place in batch)


def _reread(place: Place, holding: Holding, archive: Archive) -> Seen:
    if not any(entry.status.is_there for entry in place.entries):
        return Seen(place, holding)
    try:
        return Seen(place, reread(holding, archive))
    except (Rejected, Unavailable) as error:
        return Seen(place, unproven(holding), error)


def _to_prove(seen: Seen, archive: Archive, experiments: Mapping[str, Experiment]) -> Iterator[str]:
    """What the server must read for digests that it lacks."""
    lacking = {one.address.resource for one in seen.findings() if one.state is State.UNPROVEN}
    if lacking and seen.node.experiment:
        yield archive.experiment_path(experiments[seen.node.experiment].id)
    elif lacking:
        yield from (archive.resource_path(seen.node, resource) for resource in sorted(lacking))


def _proven(paths: Sequence[str], archive: Archive) -> Exception | None:
    try:
        archive.compute_digests(paths)
    except Distressed:
        raise
    except ArchiveError as error:
        return error
    return None


def _with_error(seen: Seen, error: Exception | None) -> Seen:
    """The same; an error counts where digests are still lacking."""
    lacking = error is not None and any(one.state is State.UNPROVEN for one in seen.findings())
    return Seen(seen.place, seen.holding, error) if lacking else seen
