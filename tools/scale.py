"""Measures pushes of several sizes, fits a model to them, and checks it against one more size.

    python -m tools.scale [--rounds 2] [--output docs/explanation/scale.json]

What a push costs is `a + b · sessions + c · megabytes`, each number of its own: seconds, CPU of client and archive,
requests. Memory is no such sum: it is full with the first batch of sessions, and is followed through a longer push. Of
several rounds the fastest counts. The measurements and the model are written as JSON; the page
`docs/explanation/scale.md` shows them, and says what they do not tell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from test_data.generate import generate_many
from tools.bench import Measure, archive, measure
from xnat_bids_push import Outcome, Validation, connect, push, read

WAY = "bids2xnat, four workers"
FILES = 12
SIZES = ((20, 0.0), (60, 0.0), (180, 0.0), (20, 8.0), (60, 4.0))
"""Sessions, and megabytes in each beside its small files."""
CHECK = (240, 1.0)
LARGE = 100_000

QUANTITIES: Mapping[str, Callable[[Measure], float]] = {
    "seconds": lambda one: one.seconds,
    "client_cpu_seconds": lambda one: one.cpu,
    "server_cpu_seconds": lambda one: one.server_cpu,
    "requests": lambda one: one.requests,
    "peak_megabytes": lambda one: one.peak / 1e6,
}


@dataclass(frozen=True, slots=True)
class Model:
    """What a quantity is by the number of sessions, and of megabytes."""

    fixed: float
    per_session: float
    per_megabyte: float

    def at(self, sessions: float, megabytes: float) -> float:
        """The quantity of a push of some size."""
        return self.fixed + self.per_session * sessions + self.per_megabyte * megabytes


def fit(points: Iterable[tuple[float, float, float]]) -> Model:
    """The model nearest to some points (sessions, megabytes, quantity), by relative errors; nothing in it is negative.

    >>> fit([(1, 0, 3.0), (2, 0, 5.0), (1, 2, 4.0), (2, 2, 6.0)])
    Model(fixed=1.0, per_session=2.0, per_megabyte=0.5)
    """
    sessions, megabytes, values = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    terms = np.stack([np.ones_like(values), sessions, megabytes], axis=1) / values[:, None]
    fitted = [_fit(terms, chosen) for number in (1, 2, 3) for chosen in combinations(range(3), number)]
    possible = [one for one in fitted if (one >= 0).all()]
    best = min(possible, key=lambda one: float(((terms @ one - 1) ** 2).sum()))
    return Model(*(round(float(one), 6) for one in best))


def _fit(terms: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    found = np.zeros(3)
    found[list(chosen)] = np.linalg.lstsq(terms[:, list(chosen)], np.ones(len(terms)), rcond=None)[0]
    return found


# ------------------------------------------------------------------ measuring


def measured(sessions: int, megabytes: float, *, rounds: int) -> Measure:
    """The cost of a push of some size into an empty archive."""
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        root = Path(folder, "dataset")
        generate_many(root, subjects=sessions, files_per_session=FILES)
        if megabytes:
            for image in root.glob("sub-*/ses-*/anat/*_T1w.nii.gz"):
                image.write_bytes(os.urandom(round(megabytes * 1e6)))
        found = [_measured(root) for _ in range(rounds)]
        shutil.rmtree(root)
    return min(found, key=lambda one: one.seconds)


def _measured(root: Path) -> Measure:
    with archive() as place:
        return measure(WAY, place, tuple(sorted(root.glob("sub-*/ses-*"))), project="SCALE")


def row(one: Measure) -> dict[str, float]:
    """A measurement as JSON."""
    told = {name: round(value(one), 3) for name, value in QUANTITIES.items()}
    return {"sessions": one.sessions, "megabytes": round(one.size / 1e6, 3), **told}


def memory(sessions: int, *, each: int) -> list[dict[str, float]]:
    """The memory of this process while it pushes, after every so many sessions."""
    found: list[dict[str, float]] = []

    def look(outcome: Outcome) -> None:
        found.append({"sessions": len(found), "megabytes": resident() / 1e6})

    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder, archive() as place:
        root = Path(folder, "dataset")
        generate_many(root, subjects=sessions, files_per_session=3)
        login = {"user": place.user, "password": place.password}
        with connect(place.url, project="MEMORY", create_project=True, **login) as opened:
            push(read(root), opened, validation=Validation.OFF, jobs=4, on_outcome=look)
    return found[each::each]


def resident() -> int:
    """What this process occupies, in bytes; known on Linux only."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def modelled(model: Mapping[str, Model], sessions: float, megabytes: float) -> dict[str, float]:
    """The same by the model."""
    told = {name: round(one.at(sessions, megabytes), 3) for name, one in model.items()}
    return {"sessions": sessions, "megabytes": megabytes, **told}


def main() -> None:
    """Measure, fit, check, and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/explanation/scale.json"))
    given = parser.parse_args()
    found = []
    for sessions, megabytes in SIZES:
        found.append(row(measured(sessions, megabytes, rounds=given.rounds)))
        print(found[-1], flush=True)
    summed = [name for name in QUANTITIES if name != "peak_megabytes"]
    model = {name: fit((one["sessions"], one["megabytes"], one[name]) for one in found) for name in summed}
    check = row(measured(*CHECK, rounds=given.rounds))
    told = modelled(model, check["sessions"], check["megabytes"])
    print(check, told, sep="\n")
    content = {
        "files_per_session": FILES,
        "workers": 4,
        "measured": found,
        "model": {name: {k: getattr(one, k) for k in Model.__slots__} for name, one in model.items()},
        "check": {"measured": check, "modelled": told},
        "large": modelled(model, LARGE, 0.0),
        "memory": memory(1000, each=100),
    }
    given.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
