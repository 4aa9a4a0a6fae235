"""Takes whole datasets through the main promise: push, verify, push again, pull, compare.

    python -m tools.examples FOLDER…

Each folder is a dataset, or holds datasets. There is one row for each; the exit code is 1 if one of
them does not come back as it was.
"""

from __future__ import annotations

import filecmp
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xnat_bids_push import Dataset, Report, Selection, XnatBidsError, connect, pull, push, read, verify

DESCRIPTION = "dataset_description.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one dataset."""

    name: str
    files: int = 0
    sessions: int = 0
    scans: int = 0
    seconds: float = 0.0
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        verdict = "ok" if not self.faults else "; ".join(self.faults)
        return f"{self.name:32} {self.files:7} {self.sessions:8} {self.scans:6} {self.seconds:8.1f}  {verdict}"


def datasets_in(folders: Iterable[Path]) -> Iterator[Path]:
    """The datasets that the folders are, or hold."""
    for folder in folders:
        if (folder / DESCRIPTION).is_file():
            yield folder
        elif folder.is_dir():
            yield from sorted(one for one in folder.iterdir() if one.is_dir())


def check(root: Path, work: Path) -> Row:
    """Take one dataset through everything, in a folder that is empty."""
    start = time.perf_counter()
    selection = Selection(("all",) if (root / "derivatives").is_dir() else (), sourcedata=True)
    try:
        dataset = read(root, selection=selection, validate=(root / DESCRIPTION).is_file())
        with connect(archive=work / "archive", project="EXAMPLE") as archive:
            reports = push(dataset, archive), verify(dataset, archive), push(dataset, archive)
            back = pull(archive, work / "back")
    except XnatBidsError as error:
        return Row(root.name, seconds=time.perf_counter() - start, faults=(f"{type(error).__name__}: {error}",))
    left_out = {left.path for left in reports[0].left_out}
    faults = (*_report_faults(*reports, back), *differences(root, work / "back", left_out))
    seconds = time.perf_counter() - start
    return Row(root.name, reports[0].files, reports[0].kinds["session"], _scans(dataset), seconds, faults)


def _report_faults(pushed: Report, verified: Report, again: Report, back: Report) -> Iterator[str]:
    for name, report in (("push", pushed), ("verify", verified), ("second push", again), ("pull", back)):
        if not report.ok:
            yield f"{name}: {report.problems} problems, first {report.failed[0]}"
    if again.sent_files:
        yield f"the second push sent {again.sent_files} files"


def _scans(dataset: Dataset) -> int:
    from xnat_bids_push.mapping import place

    placements = (place(part, dataset.table) for part in dataset.parts())
    return sum(len(parcel.scans) for placement in placements for parcel in placement.parcels)


# ------------------------------------------------------------------ comparing trees


def differences(left: Path, right: Path, left_out: Iterable[str] = ()) -> Iterator[str]:
    """Where two trees differ: in names, kinds, links, executable bits or bytes."""
    here, there = _tree(left, frozenset(left_out)), _tree(right, frozenset())
    for path in sorted(here.keys() | there.keys()):
        if here.get(path) != there.get(path):
            yield f"{path}: {here.get(path, 'nothing')} became {there.get(path, 'nothing')}"
        elif here[path].startswith("file") and not filecmp.cmp(left / path, right / path, shallow=False):
            yield f"{path}: its bytes differ"


def _tree(root: Path, left_out: frozenset[str]) -> dict[str, str]:
    """Every path below a folder, with what it is."""
    found: dict[str, str] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in left_out:
                    continue
                found[path] = _kind(entry)
                if found[path] == "folder":
                    waiting.append(path)
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return f"link to {Path(entry.path).readlink()}"
    if entry.is_dir():
        return "folder"
    return "file, executable" if entry.stat().st_mode & stat.S_IXUSR else "file"


def main(arguments: list[str]) -> int:
    """Print the table; the exit code."""
    folders = [Path(argument) for argument in arguments]
    roots = list(datasets_in(folders))
    for folder in folders:
        if not folder.is_dir():
            print(f"{folder} is not there: skipped")
    if not roots:
        print("No datasets to try: give a folder that holds some.")
        return 0
    print(f"{'dataset':32} {'files':>7} {'sessions':>8} {'scans':>6} {'seconds':>8}  ")
    failed = 0
    for root in roots:
        with tempfile.TemporaryDirectory(prefix="bids2xnat-") as work:
            row = check(root, Path(work))
        print(row, flush=True)
        failed += bool(row.faults)
    print(f"{len(roots) - failed} of {len(roots)} datasets came back as they were.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
