"""Measures reading and planning beside `os.walk`, and beside other readers of BIDS: one table of times and memory.

    python -m tools.bench_reading [--sessions 1000 10000] [--pybids 100] [--repeat 3] [--only TEXT]

Each row is the best of a few runs, each in a process of its own. Times are those of the processor, user and system
together, with all names in the system's cache: what others do on the machine counts little. A ratio is to `os.walk`
over the same tree, which reads names alone and asks for no file's size. Memory is the most that the process ever had,
with its interpreter and libraries. pybids is measured on a smaller tree: the ratio is to `os.walk` over that.

A session has twelve files: five images, sparse and of 1 MiB with true headers, and seven small files.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from test_data.generate import generate_many

IMAGE = 1 << 20

Reader = Callable[[Path], int]
"""Reads a tree, and says how many things it came upon."""


# ------------------------------------------------------------------ readers


def walk(root: Path) -> int:
    """All names, by the standard library."""
    return sum(len(names) for _, _, names in os.walk(root))


def walk_and_stat(root: Path) -> int:
    """All names, and the size of each file."""
    return sum(os.stat(f"{top}/{name}").st_size >= 0 for top, _, names in os.walk(root) for name in names)  # noqa: PTH116  # fastest


def ours_files(root: Path) -> int:
    """Files with their sizes and times: whether each can be read, is content or stands for it, and is data at all."""
    from xnat_bids_push.dataset import read

    return sum(len(part.files) for part in read(root).parts())


def ours_placed(root: Path) -> int:
    """The same, each at its address."""
    from xnat_bids_push.dataset import read
    from xnat_bids_push.pushing import placements

    return sum(len(parcel.files) for _, chosen in placements(read(root)) for parcel in chosen.parcels)


def ours_planned(root: Path) -> int:
    """The same, compared with an archive that holds nothing."""
    return _planned(root)


def ours_with_sidecars(root: Path) -> int:
    """The same, with the merged sidecars of each scan."""
    return _planned(root, sidecars=True)


def ours_with_fields(root: Path) -> int:
    """The same, with all of XNAT's own fields: of merged sidecars, headers and tables."""
    return _planned(root, fields=True)


def _planned(root: Path, *, sidecars: bool = False, fields: bool = False) -> int:
    from xnat_bids_push.dataset import md5_of, read
    from xnat_bids_push.describing import Describer
    from xnat_bids_push.fitting import Untold
    from xnat_bids_push.metadata import Metadata
    from xnat_bids_push.model import Holding
    from xnat_bids_push.planning import Known, plan_node
    from xnat_bids_push.pushing import placements

    dataset = read(root)
    metadata, describe, known = Metadata(dataset), Describer(dataset) if fields else Untold(), Known()
    found = 0
    for _, chosen in placements(dataset):
        for parcel in chosen.parcels:
            if sidecars:
                metadata.sidecars(parcel)
            plan = plan_node(
                parcel,
                Holding(parcel.node),
                digest=lambda placed: md5_of(placed.file),
                describe=describe,
                table=dataset.table,
                known=known,
            )
            found += len(plan.findings)
    return found


def ours_surveyed(root: Path) -> int:
    """What a push and its plan do before the first request: all that is wrong with the dataset, but for its content."""
    from xnat_bids_push.dataset import read
    from xnat_bids_push.pushing import survey

    return survey(read(root)).files


def ours_whole(root: Path) -> int:
    """The program from its start to its end: checked, compared with an embedded archive, and printed."""
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as archive:
        command = ["plan", str(root), "BENCH", "--archive", archive, "--validation", "off", "--privacy", "off"]
        program = [sys.executable, "-c", "from xnat_bids_push.cli import main; main()"]
        return subprocess.run([*program, *command], stdout=subprocess.DEVNULL, check=False).returncode  # noqa: S603


def pybids(root: Path) -> int:
    """`BIDSLayout` without metadata, and its loop: the files of each session."""
    return _loop(root, metadata=False)


def pybids_with_sidecars(root: Path) -> int:
    """`BIDSLayout` with metadata, and its loop: the files of each session, and the metadata of each image."""
    return _loop(root, metadata=True)


def _loop(root: Path, *, metadata: bool) -> int:
    from bids import BIDSLayout
    from bids.layout import BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(validate=False, index_metadata=metadata)
    layout = BIDSLayout(root, validate=False, indexer=indexer)
    found = 0
    for subject in layout.get_subjects():
        for session in layout.get_sessions(subject=subject):
            for file in layout.get(subject=subject, session=session):
                found += 1
                if metadata and file.path.endswith(".nii.gz"):
                    file.get_metadata()
    return found


def bids2table(root: Path) -> int:
    """`index_dataset`: entities of each file, no sizes."""
    from bids2table import index_dataset

    return len(index_dataset(root))


def bids2table_with_sidecars(root: Path) -> int:
    """The same, and `load_bids_metadata` of each image."""
    from bids2table import index_dataset, load_bids_metadata

    table = index_dataset(root)
    for path in table["path"].to_pylist():
        if path.endswith(".nii.gz"):
            load_bids_metadata(root / path)
    return len(table)


def ancpbids(root: Path) -> int:
    """`load_dataset`, and its query for all files' names."""
    from ancpbids import load_dataset
    from ancpbids.query import query

    return len(list(query(load_dataset(str(root)), return_type="filename")))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Args:
        needs: the library that is measured.
        small: whether the tree must be small, or the row would take hours.
    """

    title: str
    reader: Reader
    needs: str = ""
    small: bool = False


ROWS = (
    Row("os.walk", walk),
    Row("os.walk, os.stat of each file", walk_and_stat),
    Row("bids2xnat: files", ours_files),
    Row("bids2xnat: placed", ours_placed),
    Row("bids2xnat: planned", ours_planned),
    Row("bids2xnat: with merged sidecars", ours_with_sidecars),
    Row("bids2xnat: with all fields", ours_with_fields),
    Row("bids2xnat: survey", ours_surveyed),
    Row("bids2xnat plan, the program", ours_whole),
    Row("bids2table", bids2table, "bids2table"),
    Row("bids2table, metadata", bids2table_with_sidecars, "bids2table"),
    Row("ancpbids", ancpbids, "ancpbids"),
    Row("pybids", pybids, "bids", small=True),
    Row("pybids, metadata", pybids_with_sidecars, "bids", small=True),
)


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class Measure:
    """What one row cost on one tree: processor seconds, and MiB at most."""

    seconds: float
    memory: float


def measure(row: Row, root: Path, warm: Path, *, repeat: int) -> Measure:
    """The best of some runs; what a reader imports and computes once is loaded before, on a tree of two sessions."""
    command = [sys.executable, "-m", "tools.bench_reading", "--measure", row.reader.__name__, str(root), str(warm)]
    runs = []
    for _ in range(repeat):
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        runs.append(Measure(**json.loads(done.stdout.splitlines()[-1])))
    return Measure(min(run.seconds for run in runs), min(run.memory for run in runs))


def measure_here(name: str, root: Path, warm: Path) -> None:
    """One run in this process; prints its figures as JSON."""
    warnings.simplefilter("ignore")  # of libraries about each other's age
    reader = next(row.reader for row in ROWS if row.reader.__name__ == name)
    reader(warm)
    start = _seconds()
    reader(root)
    seconds = _seconds() - start
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    memory = max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    print(json.dumps({"seconds": seconds, "memory": memory}))


def _seconds() -> float:
    used = [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


# ------------------------------------------------------------------ the table


def make_tree(root: Path, sessions: int) -> Path:
    """A dataset of subjects with one session each."""
    generate_many(root, subjects=sessions)
    for image in root.glob("sub-*/ses-*/*/*.nii.gz"):
        os.truncate(image, IMAGE)
    return root


def rows(titles: str) -> Iterator[Row]:
    """The rows whose titles hold a text, and whose libraries are there; `os.walk` always comes first."""
    for row in ROWS:
        if row is ROWS[0] or titles in row.title:
            if row.needs and importlib.util.find_spec(row.needs) is None:
                print(f"{row.title:34} is not installed: pip install -r requirements/bench.txt")
            else:
                yield row


def compare(sessions: list[int], pybids_sessions: int, *, repeat: int, titles: str) -> None:
    """Print the table: a row for each reader, three columns for each tree."""
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        warm, *trees, small = (make_tree(Path(folder, str(n)), n) for n in (2, *sessions, pybids_sessions))
        walked = {tree: measure(ROWS[0], tree, warm, repeat=2 * repeat + 1) for tree in (*trees, small)}
        print(f"{'':34}", *(f"{12 * n:14,} files {'':11}" for n in sessions), sep="")
        print(f"{'':34}", f"{'seconds':>10} {'os.walk':>9} {'MiB':>9}   " * len(trees), sep="")
        for row in rows(titles):
            print(f"{row.title:34}", end="", flush=True)
            for tree in [small] if row.small else trees:
                one = walked[tree] if row is ROWS[0] else measure(row, tree, warm, repeat=repeat)
                ratio = one.seconds / walked[tree].seconds
                print(f"{one.seconds:10.2f} {ratio:8.1f}× {one.memory:9.0f}", end="   ", flush=True)
            print(f"({12 * pybids_sessions:,} files)" if row.small else "")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--pybids", type=int, default=100, help="sessions of the tree for pybids")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="", help="only rows whose titles hold this text")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, root, warm = given.measure
        measure_here(name, Path(root), Path(warm))
    else:
        compare(given.sessions, given.pybids, repeat=given.repeat, titles=given.only)


if __name__ == "__main__":
    main()
