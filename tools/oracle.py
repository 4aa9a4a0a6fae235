"""Asks pybids: are the names and sidecars of whole datasets read as its ``BIDSLayout`` reads them?

    python -m tools.oracle FOLDER…

Each folder is a dataset, or holds datasets. The exit code is 1 if the two readings differ somewhere and no row of
docs/explanation/pybids.toml says why.
"""

from __future__ import annotations

import json
import re
import sys
import time
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.examples import datasets_in
from xnat_bids_push.dataset import read, vocabulary
from xnat_bids_push.mapping import place, spot
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.model import Parcel
from xnat_bids_push.names import parse_name
from xnat_bids_push.table import default_table

GAPS = Path(__file__).parents[1] / "docs" / "explanation" / "pybids.toml"

Layout = Any
"""pybids' ``BIDSLayout``, which has no types."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A known difference, with its reason; one without keys concerns them all."""

    where: str
    example: str
    reason: str
    keys: tuple[str, ...] = ()
    sidecars: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def explains(self, difference: Difference) -> bool:
        """Whether a difference is this one."""
        return difference.key in (self.keys or (difference.key,)) and bool(re.search(self.where, difference.path))


@dataclass(frozen=True, slots=True)
class Difference:
    """One word about one file that is read in two ways; None where one reading does not have it."""

    path: str
    key: str
    ours: str | None
    theirs: str | None

    def __str__(self) -> str:
        return f"{self.path}: {self.key} is {self.ours!r}, by pybids {self.theirs!r}"


def known_gaps(kind: str) -> tuple[Gap, ...]:
    """The rows of pybids.toml."""
    rows = tomllib.loads(GAPS.read_text("utf-8"))[kind]
    return tuple(Gap(**row | {"keys": tuple(row.get("keys", ()))}) for row in rows)


def layout_of(root: Path) -> Layout:
    """A dataset as pybids sees it, with files whose names its validator does not know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies warn of each other's age
        from bids import BIDSLayout

        return BIDSLayout(root.resolve(), validate=False)


def parse_by_pybids(path: str) -> dict[str, str]:
    """The entities of a path below the root of a raw dataset, by pybids."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids.layout import parse_file_entities

        return {key: str(value) for key, value in parse_file_entities(f"/{path}", config=["bids"]).items()}


def entities_of(path: str) -> dict[str, str] | None:
    """A path's entities in pybids' words, by our own reading; None for what is not of the BIDS form."""
    where = spot(path, default_table())
    name = parse_name(where.inner.partition("/")[0] if where.datatype else where.inner)
    if name is None:
        return {"datatype": where.datatype} if where.datatype else None
    words = {vocabulary().get(key, key): value for key, value in name.entities}
    said = {"suffix": name.suffix, "extension": name.extension, "datatype": where.datatype}
    return words | {key: value for key, value in said.items() if value}


def compare(path: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[Difference]:
    """Where two readings of one path differ."""
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            yield Difference(path, key, ours.get(key), theirs.get(key))


@dataclass(slots=True)
class Comparison:
    """One dataset, read in both ways."""

    files: int = 0
    differences: tuple[Difference, ...] = ()

    def unexplained(self, gaps: Iterable[Gap]) -> list[Difference]:
        """The differences that no gap explains."""
        gaps = tuple(gaps)
        return [one for one in self.differences if not any(gap.explains(one) for gap in gaps)]


def compare_entities(layout: Layout) -> Comparison:
    """All files of subjects' folders that say something by their names."""
    root = Path(layout.root)
    files = {Path(path).relative_to(root).as_posix(): file for path, file in layout.files.items()}
    ours = {path: entities_of(path) for path in sorted(files) if path.startswith("sub-")}
    found: list[Difference] = []
    for path, said in ours.items():
        if said is not None:
            theirs = {key: str(value) for key, value in files[path].get_entities().items()}
            found += compare(path, said, theirs)
    return Comparison(sum(said is not None for said in ours.values()), tuple(found))


def compare_metadata(layout: Layout) -> Comparison:
    """The merged sidecars of all files of recordings."""
    dataset = read(layout.root, validate=False)
    metadata = Metadata(dataset)
    files = 0
    found: list[Difference] = []
    for part in dataset.parts():
        for parcel in place(part, dataset.table).parcels:
            for path, ours in _merged_sidecars(parcel, metadata):
                if str(dataset.root / path) in layout.files:
                    files += 1
                    found += compare(path, ours, _written(layout.get_metadata(str(dataset.root / path))))
    return Comparison(files, tuple(found))


def _merged_sidecars(parcel: Parcel, metadata: Metadata) -> Iterator[tuple[str, dict[str, str]]]:
    """Each file of each recording, with what its sidecars say."""
    if not parcel.node.experiment:
        return
    said = {one.scan.id: one.sidecar for one in metadata.recordings(parcel)}
    for placed in parcel.files:
        if placed.rule == "recording":
            facts = said[placed.address.scan]
            yield placed.file.path, _written({key: fact.value for key, fact in facts.items()})


def _written(values: Mapping[str, object]) -> dict[str, str]:
    return {key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def main(arguments: list[str]) -> int:
    """Print one row for each dataset; the exit code."""
    unexplained = files = 0
    for root in datasets_in(Path(argument) for argument in arguments):
        start = time.perf_counter()
        layout = layout_of(root)
        names, sidecars = compare_entities(layout), compare_metadata(layout)
        faults = [*names.unexplained(known_gaps("entities")), *sidecars.unexplained(known_gaps("metadata"))]
        counts = f"{names.files:7} names {sidecars.files:7} merged sidecars {time.perf_counter() - start:8.1f} s"
        print(f"{root.name:32}{counts}", *faults[:9], sep="\n  ", flush=True)
        unexplained += len(faults)
        files += names.files
    print(f"{files} files, {unexplained} unexplained differences.")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
