"""What a run has done so far: which files it sent, and what it created. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

from xnat_bids_push.model import (
    NOTHING_MADE,
    Address,
    CreateScans,
    CreateSubject,
    Deed,
    Deletion,
    FillResource,
    Finding,
    ImportSession,
    Made,
    Node,
    Outcome,
    SendFile,
    State,
    Step,
)


class Deeds:
    """The deeds of a run at some nodes."""

    def __init__(self) -> None:
        self._files: dict[Address, str] = {}
        self._made: dict[Node, Made] = {}
        self._cleared: set[Node] = set()

    def did(self, step: Step, sent: Mapping[Address, str], scans: Set[str] = frozenset()) -> None:
        """A step was answered well: files of these digests went out, and these scans were created."""
        self._files |= sent
        match step:
            case ImportSession(parcel):
                self._make(parcel.node, Made(experiment=True))
            case Deletion(node):
                self._cleared.add(node)
            case CreateScans(node) if scans:
                self._make(node, Made(scans=frozenset(scans)))

    def lost(self, step: Step) -> None:
        """No answer came to a step: what is found where nothing was before is its work."""
        self.did(step, dict.fromkeys(files_of(step), ""))

    def created(self, step: CreateSubject, node: Node) -> None:
        """A subject was created, on the way to a node."""
        self._make(node, Made(subject=step.fields))

    def _make(self, node: Node, new: Made) -> None:
        old = self._made.get(node, NOTHING_MADE)
        subject = old.subject if new.subject is None else new.subject
        self._made[node] = Made(old.experiment or new.experiment, old.scans | new.scans, subject)

    def told(self, outcome: Outcome, before: Iterable[Finding]) -> Outcome:
        """An outcome that tells what was done; `before` is how everything was found."""
        was = {finding.address: finding for finding in before}
        findings = tuple(
            one._replace(deed=self._deed(one, was), md5=one.md5 or self._files.get(one.address, ""))
            for one in outcome.findings
        )
        left = {finding.address for finding in findings}
        gone = (one for address, one in was.items() if one.state is State.EXTRA and address not in left)
        deleted = tuple(gone) if outcome.node in self._cleared else ()
        made = self._made.get(outcome.node, NOTHING_MADE)
        return replace(outcome, findings=findings, made=made, deleted=deleted)

    def _deed(self, finding: Finding, was: dict[Address, Finding]) -> Deed:
        if finding.address not in self._files or finding.address not in was:
            return Deed.NONE
        return Deed.SENT if was[finding.address].state is State.MISSING else Deed.REPLACED


def files_of(step: Step) -> Iterator[Address]:
    """The addresses of all files that a step sends."""
    match step:
        case ImportSession(files=files) | FillResource(files=files):
            yield from (placed.address for placed in files)
        case SendFile(placed):
            yield placed.address
