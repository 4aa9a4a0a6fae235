"""Break the code that decides and sends, a little at a time, and see whether tests notice: a sample of all mutants.

    python -m tools.mutate [AREA …] [--number N] [--seed S] [--jobs N]

mutmut makes the mutants, in the folder ``mutants``, and runs for each the tests that reach it; pyproject.toml says
which tests. A sample of each area is drawn; `--number 0` takes all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

AREAS = {
    "plan": ("planning", "policies", "deeds"),
    "push": ("running", "pushing", "package"),
    "archive": ("archive", "documents", "uris", "client"),
}
SURVIVED, UNTESTED = 0, 33
"""mutmut's codes for a mutant: no test failed, no test reaches it."""

_MADE = Path("mutants/xnat_bids_push")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sample, and print the figures and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("areas", nargs="*", default=list(AREAS), metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--number", type=int, default=100, help="mutants of each area")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    asked = parser.parse_args(arguments)
    run = ("run", "--max-children", str(asked.jobs))
    _mutmut(*run, "xnat_bids_push.uris.x__path__mutmut_1")  # makes all, and runs one
    samples = {area: _sample(area, asked.number, asked.seed) for area in asked.areas}
    _mutmut(*run, *(name for sample in samples.values() for name in sample))
    survivors = [_told(area, sample) for area, sample in samples.items()]
    for name in (name for some in survivors for name in some):
        _mutmut("show", name)
    return 0


def _mutmut(*words: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(["mutmut", *words], env=os.environ | {"PATH": path}, check=True)  # noqa: S603, S607


def _sample(area: str, number: int, seed: int) -> list[str]:
    """Mutants of an area, drawn for a seed."""
    mutants = sorted(_codes(area))
    chosen = mutants if not number else random.Random(seed).sample(mutants, min(number, len(mutants)))  # noqa: S311
    print(f"{area}: {len(chosen)} of {len(mutants)} mutants", flush=True)
    return sorted(chosen)


def _codes(area: str) -> dict[str, int | None]:
    """What became of each mutant of an area."""
    found: dict[str, int | None] = {}
    for module in AREAS[area]:
        found |= json.loads((_MADE / f"{module}.py.meta").read_text("utf-8"))["exit_code_by_key"]
    return found


def _told(area: str, sample: Sequence[str]) -> list[str]:
    codes = _codes(area)
    survivors = [name for name in sample if codes[name] in (SURVIVED, UNTESTED)]
    print(f"{area}: {len(sample) - len(survivors)} of {len(sample)} killed", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
