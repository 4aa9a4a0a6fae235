"""Give parcels XNAT's own fields, from what the dataset says."""

from __future__ import annotations

from dataclasses import replace

from xnat_bids_push.dataset import Dataset
from xnat_bids_push.fields import (
    Telling,
    person_facts,
    scan_facts,
    scan_fields,
    session_facts,
    session_fields,
    subject_fields,
)
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.model import Field, Issue, Node, Parcel


class Describer:
    """Describes the parcels of one dataset; it may be called from several threads.

    Args:
        telling: what of people is told, and how much of the rest.
    """

    def __init__(self, dataset: Dataset, telling: Telling | None = None) -> None:
        self._metadata = Metadata(dataset)
        self._telling = telling or Telling()
        self._rules = dataset.table.rules

    @property
    def issues(self) -> tuple[Issue, ...]:
        """What was wrong with the metadata of what was described so far."""
        return self._metadata.issues

    def __call__(self, parcel: Parcel) -> Parcel:
        """The parcel with the fields of its node and of its scans."""
        if parcel.node.experiment:
            return self._experiment(parcel)
        if parcel.node.subject:
            return replace(parcel, fields=self.subject_fields(parcel.node.subject))
        return parcel

    def subject_fields(self, label: str) -> tuple[Field, ...]:
        """XNAT's own fields of a subject, also of one that has no files of its own."""
        person = self._metadata.person(Node(label))
        facts, notes = person_facts(person, rules=self._rules, telling=self._telling)
        for note in notes:
            self._metadata.warn("participants.tsv", f"{label}: {note}")
        return subject_fields(facts, person, rules=self._rules, telling=self._telling)

    def _experiment(self, parcel: Parcel) -> Parcel:
        recordings = self._metadata.recordings(parcel)
        facts = [scan_facts(recording, self._telling) for recording in recordings]
        fields = {
            recording.scan.id: scan_fields(recording, known, rules=self._rules, telling=self._telling)
            for recording, known in zip(recordings, facts, strict=True)
        }
        own = session_facts(facts, self._metadata.visit(parcel.node), telling=self._telling)
        return replace(
            parcel,
            scans=tuple(replace(scan, fields=fields.get(scan.id, ())) for scan in parcel.scans),
            fields=session_fields(parcel.xsi_type, own, scans=facts, rules=self._rules),
        )
