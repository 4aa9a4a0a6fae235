"""Take every verb through every fault at every request; one plain run after it must put all right.

python -m tools.faults [VERB …] [--jobs N] [--only TEXT]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.fault_cases import VERBS, Case, World, all_cases, make_world, run_case


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; 0 if all is well after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", default=VERBS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="cases that have this in their name")
    asked = parser.parse_args(arguments)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        world = make_world(Path(folder) / "world")
        cases = [case for verb in asked.verbs for case in all_cases(world, verb, Path(folder) / "trace")]
        cases = [case for case in cases if asked.only in str(case)]
        failures = list(_failures(world, cases, jobs=asked.jobs))
    numbers = ", ".join(f"{number} of {verb}" for verb, number in Counter(case.verb for case in cases).items())
    print(f"{len(cases)} cases ({numbers}), {len(failures)} failures, {time.perf_counter() - start:.0f} s")
    return bool(failures)


def _failures(world: World, cases: Sequence[Case], *, jobs: int) -> Iterator[Case]:
    with ProcessPoolExecutor(jobs) as workers:
        results = workers.map(partial(_run, world), cases, itertools.count())
        for case, wrong in zip(cases, results, strict=True):
            if wrong:
                print(f"{case}:", *wrong, sep="\n    ", flush=True)
                yield case


def _run(world: World, case: Case, number: int) -> list[str]:
    try:
        return run_case(world, case, world.folder / f"case-{number % 1000}")
    except Exception as error:  # noqa: BLE001  # a case that breaks is a failure like others
        return [f"{type(error).__name__}: {error}"]


if __name__ == "__main__":
    sys.exit(main())
