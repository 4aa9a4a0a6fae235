"""What is told of a dataset in XNAT's own fields, as far as the server at hand can take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xnat_bids_push.model import Field, Issue, Node, Parcel, Severity
from xnat_bids_push.planning import Describe
from xnat_bids_push.schema import SUBJECT, UNKNOWN, Misfit, Schema, fit, fitting

_MOST = 1000
"""Fields and reasons that are remembered: a bound, should each value have a reason of its own."""


class Untold:
    """Tells nothing but what is in the names."""

    def __call__(self, parcel: Parcel) -> Parcel:
        """The parcel as it is."""
        return parcel

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """Nothing."""
        return ()


class Fitted:
    """Gives the fields that another gives, but for those that the server's data model cannot hold; these it remembers.

    Args:
        describe: gives all fields.
        schema: gives the server's data model; asked only when there are fields to be checked.
    """

    def __init__(self, describe: Describe, schema: Callable[[], Schema]) -> None:
        self._describe = describe
        self._schema = schema
        self._misfits: dict[tuple[str, str, str], _Told] = {}
        self._refused: set[Node] = set()
        self._bare: set[Node] = set()

    def refused(self, node: Node) -> None:
        """Give no fields of a node any more: the server seems to refuse them, although its data model has them."""
        self._refused.add(node)

    def made(self, node: Node) -> None:
        """The server has made a node."""
        if node in self._refused and len(self._bare) < _MOST:
            self._bare.add(node)

    def __call__(self, parcel: Parcel) -> Parcel:
        """A parcel with the fields that fit."""
        if parcel.node in self._refused:
            return parcel
        described = self._describe(parcel)
        if not described.fields and not any(scan.fields for scan in described.scans):
            return described
        fitted, misfits = fit(described, self._schema())
        self._remember(misfits)
        return fitted

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """The fields of a subject that fit."""
        fields = self._describe.subject_fields(label) if Node(label) not in self._refused else ()
        if not fields:
            return ()
        fitted, misfits = fitting(SUBJECT, fields, self._schema())
        self._remember(misfits)
        return fitted

    def _remember(self, misfits: tuple[Misfit, ...]) -> None:
        for one in misfits:
            key = one.xsi_type, one.field.path, one.reason
            if key in self._misfits:
                self._misfits[key].number += 1
            elif len(self._misfits) < _MOST:
                self._misfits[key] = _Told(one.field.source)

    def issues(self) -> Iterator[Issue]:
        """What did not fit: one line for all that the server does not know, and one for each other field and reason."""
        for node in sorted(self._bare):
            yield Issue(Severity.WARNING, str(node), "was made without fields, which the server refused")
        unknown = sorted({path for _, path, reason in self._misfits if reason == UNKNOWN})
        if unknown:
            message = f"the server's data model does not have {', '.join(unknown)}: such values stay in their files"
            yield Issue(Severity.WARNING, "", message)
        for (xsi_type, path, reason), told in sorted(self._misfits.items()):
            if reason == UNKNOWN:
                continue
            more = f", and {told.number - 1:,} more" if told.number > 1 else ""
            message = f"is not set, and stays in its file ({told.source}{more}): {reason}"
            yield Issue(Severity.WARNING, f"{xsi_type}/{path}", message)


@dataclass(slots=True)
class _Told:
    """The first item that a field did not fit into, and how many there were."""

    source: str
    number: int = 1
