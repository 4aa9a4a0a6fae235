"""Asks pybids: are the names of whole datasets read as its ``BIDSLayout`` reads them?

    python -m tools.oracle FOLDER…

Each folder is a dataset, or holds datasets. The exit code is 1 if the two readings differ somewhere and no row of
docs/explanation/pybids.toml says why.
"""

from __future__ import annotations

import re
import sys
import time
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.examples import datasets_in
from xnat_bids_push.dataset import vocabulary
from xnat_bids_push.mapping import spot
from xnat_bids_push.names import parse_name
from xnat_bids_push.table import default_table

GAPS = Path(__file__).parents[1] / "docs" / "explanation" / "pybids.toml"

Layout = Any
"""pybids' ``BIDSLayout``, which has no types."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A known difference, with its reason."""

    keys: tuple[str, ...]
    where: str
    example: str
    reason: str

    def explains(self, difference: Difference) -> bool:
        """Whether a difference is this one."""
        return difference.key in self.keys and re.search(self.where, difference.path) is not None


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
    return tuple(Gap(tuple(row["keys"]), row["where"], row["example"], row["reason"]) for row in rows)


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


def main(arguments: list[str]) -> int:
    """Print one row for each dataset; the exit code."""
    gaps = known_gaps("entities")
    unexplained = files = 0
    for root in datasets_in(Path(argument) for argument in arguments):
        start = time.perf_counter()
        comparison = compare_entities(layout_of(root))
        faults = comparison.unexplained(gaps)
        print(
            f"{root.name:32} {comparison.files:7} files {time.perf_counter() - start:8.1f} s", *faults[:9], sep="\n  "
        )
        unexplained += len(faults)
        files += comparison.files
    print(f"{files} files, {unexplained} unexplained differences.")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
