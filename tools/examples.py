"""Takes whole datasets through the main promise: push, verify, push again, pull, compare.

    python -m tools.examples [--update] FOLDER…

Each folder is a dataset, or holds datasets. There is one row for each; the exit code is 1 if one of them does not
come back as it was, or is worse off than the committed table says (docs/explanation/coverage.json). ``--update``
writes what was found into that table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import requests

from tools.coverage import TABLE, Row, committed, dump, regressions
from tools.trees import differences, files_in, tree
from xnat_bids_push import Dataset, Report, Selection, Validation, XnatBidsError, connect, pull, push, read, verify
from xnat_bids_push.mapping import place
from xnat_bids_push.model import Origin, Severity
from xnat_bids_push.server import LocalServer

DESCRIPTION = "dataset_description.json"

_push = partial(push, validation=Validation.OFF)
"""The images of most examples are empty, which the official validator takes for an error."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one dataset fared."""

    name: str
    row: Row = field(default_factory=Row)
    faults: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        row = self.row
        counts = (row.files, row.placed, row.restored, sum(row.sessions.values()), row.scans, row.fields)
        numbers = "".join(f"{number:9}" for number in counts)
        return f"{self.name:32}{numbers}{self.seconds:9.1f}  {'; '.join(self.faults) or 'identical'}"


_COLUMNS = ("files", "placed", "restored", "sessions", "scans", "fields", "seconds")
HEADER = f"{'dataset':32}" + "".join(f"{name:>9}" for name in _COLUMNS)


def datasets_in(folders: Iterable[Path]) -> Iterator[Path]:
    """The datasets that the folders are, or hold."""
    for folder in folders:
        if (folder / DESCRIPTION).is_file():
            yield folder
        elif folder.is_dir():
            yield from sorted(one for one in folder.iterdir() if one.is_dir())


def everything(root: Path) -> Dataset:
    """A dataset with derivatives and sourcedata."""
    selection = Selection(("all",) if (root / "derivatives").is_dir() else (), sourcedata=True)
    return read(root, selection=selection, validate=(root / DESCRIPTION).is_file())


def check(root: Path, out: Path, *, server: LocalServer, project: str) -> Result:
    """Take one dataset through everything; the project must be new, and the output folder empty."""
    start = time.perf_counter()
    try:
        dataset = everything(root)
        with connect(
            server.url, project=project, user=server.user, password=server.password, create_project=True
        ) as archive:
            reports = _push(dataset, archive), verify(dataset, archive), _push(dataset, archive)
            back = pull(archive, out)
    except XnatBidsError as error:
        return Result(root.name, faults=(f"{type(error).__name__}: {error}",))
    without = _without_address(dataset)
    here, there = tree(root, left_out=without), tree(out)
    restored = {path for path in files_in(here) if there.get(path) == here[path]}
    shown = Shown.by(server, project)
    row = Row(
        files=len(files_in(tree(root))),
        placed=len(_placed(dataset)),
        restored=len(restored),
        sessions=dict(sorted(shown.sessions.items())),
        scans=shown.scans,
        fields=shown.fields,
        left_out=dict(sorted(Counter(without.values()).items())),
    )
    faults = (*_report_faults(*reports, back), *differences(here, there))
    return Result(root.name, row, faults, time.perf_counter() - start)


def _placed(dataset: Dataset) -> set[str]:
    """The files that have an address."""
    placements = (place(part, dataset.table, description=dataset.description) for part in dataset.parts())
    return {
        placed.file.path
        for placement in placements
        for parcel in placement.parcels
        for placed in parcel.files
        if placed.origin is Origin.DATASET
    }


def _without_address(dataset: Dataset) -> dict[str, str]:
    """The paths that have no address, with the reason."""
    parts = list(dataset.parts())
    left_out = [*dataset.left_out, *(left for part in parts for left in part.left_out)]
    refused = [issue for part in parts for issue in part.issues if issue.severity is Severity.ERROR]
    return {left.path: left.reason for left in left_out} | {issue.path: issue.message for issue in refused}


def _report_faults(pushed: Report, verified: Report, again: Report, back: Report) -> Iterator[str]:
    for name, report in (("push", pushed), ("verify", verified), ("second push", again), ("pull", back)):
        if not report.ok:
            yield f"{name}: {report.problems} problems, first {report.failed[0]}"
    if again.sent_files:
        yield f"the second push sent {again.sent_files} files"


# ------------------------------------------------------------------ what XNAT shows

_IDENTITY = frozenset({"ID", "id", "label", "project", "subject_ID", "image_session_ID"})
_ALWAYS = frozenset({"type", "quality", "series_description"})
_RESOURCES = frozenset({"file", "resources/resource"})
_Item = Mapping[str, object]


@dataclass(slots=True)
class Shown:
    """What the archive shows of a project: sessions by type, scans, and fields beside identity, type and quality."""

    sessions: Counter[str] = field(default_factory=Counter)
    scans: int = 0
    fields: int = 0

    @classmethod
    def by(cls, server: LocalServer, project: str) -> Shown:
        """Ask the server itself: what was planned is no proof."""
        found = cls()
        auth = (server.user, server.password)
        url = f"{server.url}/data/projects/{project}/subjects"
        listed = requests.get(url, {"format": "json"}, auth=auth, timeout=60).json()["ResultSet"]["Result"]
        for subject in listed:
            answer = requests.get(f"{url}/{subject['ID']}", {"format": "json"}, auth=auth, timeout=60)
            found._item(answer.json()["items"][0])
        return found

    def _item(self, item: _Item) -> None:
        kind = str(cast("_Item", item["meta"])["xsi:type"]).removeprefix("xnat:")
        if kind.endswith("SessionData"):
            self.sessions[kind.removesuffix("SessionData")] += 1
        self.scans += kind.endswith("ScanData")
        self.fields += _fields(cast("_Item", item["data_fields"]))
        for child in cast("list[_Item]", item["children"]):
            if child["field"] not in _RESOURCES:
                for inner in cast("list[_Item]", child["items"]):
                    self._item(inner)


def _fields(data: _Item) -> int:
    """How many of an item's fields say something; one of several of a kind (addParam) has a name beside its value."""
    named = "name" in data and ("addField" in data or "field" in data)
    return len(data.keys() - _IDENTITY - _ALWAYS) - named


# ------------------------------------------------------------------ the table


def main(arguments: list[str]) -> int:
    """Print the table; the exit code."""
    folders = [Path(argument) for argument in arguments if argument != "--update"]
    for folder in folders:
        if not folder.is_dir():
            print(f"{folder} is not there: skipped")
    roots = list(datasets_in(folders))
    if not roots:
        print("No datasets to try: give a folder that holds some.")
        return 0
    results = list(_results(roots))
    whole = sum(not result.faults for result in results)
    print(f"{whole} of {len(roots)} datasets came back as they were.")
    found = {result.name: result.row for result in results}
    if "--update" in arguments:
        before = committed() if TABLE.exists() else {}
        TABLE.write_text(dump(before | found), "utf-8")
        print(f"Wrote {TABLE.name}: git diff shows what has changed.")
        return 0 if whole == len(roots) else 1
    return 0 if _held(found) and whole == len(roots) else 1


def _results(roots: Iterable[Path]) -> Iterator[Result]:
    print(HEADER)
    for number, root in enumerate(roots):
        with (
            tempfile.TemporaryDirectory(prefix="bids2xnat-") as work,
            LocalServer(Path(work, "archive")) as server,
        ):
            result = check(root, Path(work, "back"), server=server, project=f"EXAMPLE{number}")
        print(result, flush=True)
        yield result


def _held(found: Mapping[str, Row]) -> bool:
    """Whether nothing is worse than the committed table has it; what is not so, printed."""
    table = committed()
    worse = [f"{name}: {fault}" for name, row in found.items() for fault in regressions(table.get(name), row)]
    print(*worse, sep="\n", end="\n" if worse else "")
    if not worse and any(table[name] != row for name, row in found.items()):
        print("More than the table says: make examples UPDATE=1 writes it down.")
    return not worse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
