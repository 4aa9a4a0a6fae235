"""Measures pushing beside the other ways to send BIDS to XNAT: one archive, one dataset, one run.

    python -m tools.bench [--sessions 60] [--slow-sessions 6] [--files 12] [--megabytes 64] [--rounds 2] [--json FILE]

Each way is a process of its own, and so is the archive; both are told apart in what they cost. The other ways need not
log in while the clock runs, and prove nothing; ours does both. Many small files first, then few large ones. Of several
rounds the fastest counts. On a busy machine the work, which is CPU seconds of both, tells more than the rates.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pyxnat
import xnat

from test_data.generate import generate_many
from xnat_bids_push import Validation, connect, push, read
from xnat_bids_push.server import LocalServer

RECIPE = "pyxnat, file by file"


# ------------------------------------------------------------------ the archive


@dataclass(frozen=True, slots=True)
class Cost:
    """What the archive has had to do so far."""

    requests: int
    cpu: float


class Place:
    """The archive, in a process of its own."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url, self.user, self.password = pipe.recv()

    def cost(self) -> Cost:
        """What was asked of it, and what it spent."""
        self._pipe.send("cost")
        return Cost(*self._pipe.recv())


def _serve(folder: Path, pipe: Connection) -> None:
    with LocalServer(folder) as server:
        pipe.send((server.url, server.user, server.password))
        while pipe.recv() == "cost":
            pipe.send((server.request_counts.total(), time.process_time()))


@contextmanager
def archive() -> Iterator[Place]:
    """An empty archive."""
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(Path(folder), there))
        process.start()
        try:
            yield Place(here)
        finally:
            here.send("end")
            process.join()


# ------------------------------------------------------------------ the ways


@dataclass(frozen=True, slots=True)
class Task:
    """What is sent, and where to."""

    sessions: tuple[Path, ...]
    project: str
    url: str
    user: str
    password: str

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.sessions[0].parents[1]


@contextmanager
def started() -> Iterator[Callable[[], float]]:
    """A clock that runs from here."""
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def by_pyxnat(task: Task) -> float:
    """The recipe that bids2xnat replaces: object by object, file by file."""
    config = task.root.parent / f"{task.project}.json"
    config.write_text(json.dumps({"server": task.url, "user": task.user, "password": task.password}))
    interface = pyxnat.Interface(config=str(config))
    interface.put(f"/data/projects/{task.project}")
    project = interface.select.project(task.project)
    with started() as clock:
        for folder in task.sessions:
            subject = project.subject(folder.parent.name)
            if not subject.exists():
                subject.create()
            experiment = subject.experiment(f"{folder.parent.name}_MR1")
            experiment.create(experiments="xnat:mrSessionData")
            for number, (stem, files) in enumerate(recordings(folder).items(), start=1):
                scan = experiment.scan(str(number))
                fields = {"type": stem.rpartition("_")[2], "series_description": stem, "quality": "usable"}
                scan.create(scans="xnat:mrScanData")
                scan.attrs.mset({f"xnat:mrScanData/{name}": value for name, value in fields.items()})
                target = scan.resource("NIFTI")
                target.create()
                for file in files:
                    sending = {"format": "NIFTI", "content": "NIFTI", "extract": False, "overwrite": True}
                    target.file(file.name).put(str(file), **sending)
        return clock()


def by_objects(task: Task) -> float:
    """Xnatpy as its documentation shows it: objects, and `upload` for each file."""

    def send(target: xnat.core.XNATBaseObject, files: list[Path]) -> None:
        for file in files:
            target.upload(str(file), file.name)

    return _by_xnatpy(task, send)


def by_folders(task: Task) -> float:
    """Xnatpy's `upload_dir`: objects, and one archive for each resource. The files of a scan need a folder first."""

    def send(target: xnat.core.XNATBaseObject, files: list[Path]) -> None:
        with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
            for file in files:
                shutil.copy2(file, folder)
            target.upload_dir(folder)

    return _by_xnatpy(task, send)


def _by_xnatpy(task: Task, send: Callable[[xnat.core.XNATBaseObject, list[Path]], None]) -> float:
    with xnat.connect(task.url, user=task.user, password=task.password) as connection:
        connection.put(f"/data/projects/{task.project}")
        project, classes = connection.projects[task.project], connection.classes
        with started() as clock:
            for folder in task.sessions:
                subject = classes.SubjectData(parent=project, label=folder.parent.name)
                experiment = classes.MrSessionData(parent=subject, label=f"{folder.parent.name}_MR1")
                for number, (stem, files) in enumerate(recordings(folder).items(), start=1):
                    fields = {"type": stem.rpartition("_")[2], "series_description": stem, "quality": "usable"}
                    scan = classes.MrScanData(parent=experiment, id=str(number), **fields)
                    send(scan.create_resource("NIFTI"), files)
            return clock()


def by_us(task: Task, *, jobs: int) -> float:
    """Everything that ``bids2xnat push`` does on the wire, login and proof included."""
    with started() as clock:
        login = {"user": task.user, "password": task.password}
        with connect(task.url, project=task.project, create_project=True, **login) as opened:
            report = push(read(task.root), opened, validation=Validation.OFF, jobs=jobs)
        if not report.ok:
            raise SystemExit(f"the push failed: {report.failed[0]}")
        return clock()


WAYS: dict[str, Callable[[Task], float]] = {
    RECIPE: by_pyxnat,
    "xnatpy, objects and upload": by_objects,
    "xnatpy, upload_dir": by_folders,
    "bids2xnat, one worker": lambda task: by_us(task, jobs=1),
    "bids2xnat, four workers": lambda task: by_us(task, jobs=4),
}


def recordings(folder: Path) -> dict[str, list[Path]]:
    """The files of a session by the stem of the image that they go with."""
    images = [path.name.partition(".")[0] for path in folder.rglob("*.nii.gz")]
    found: dict[str, list[Path]] = {image: [] for image in sorted(images)}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        stem = path.name.partition(".")[0]
        # Events have the name of their image but for the suffix.
        home = stem if stem in found else next(one for one in found if one.startswith(stem.rpartition("_")[0]))
        found[home].append(path)
    return found


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class Measure:
    """What one way of pushing cost.

    Args:
        cpu: seconds of the client's processor.
        server_cpu: seconds of the archive's processor.
        peak: the client's memory at most, in bytes.
    """

    name: str
    sessions: int
    size: int
    requests: int
    seconds: float
    cpu: float
    server_cpu: float
    peak: int

    @property
    def rate(self) -> float:
        """Sessions per second."""
        return self.sessions / self.seconds

    @property
    def work(self) -> float:
        """Seconds of both processors for one session."""
        return (self.cpu + self.server_cpu) / self.sessions

    def line(self, recipe: Measure) -> str:
        """A row of the table; the last columns compare with the recipe."""
        times = self.rate / recipe.rate
        less = recipe.work / self.work
        return (
            f"{self.name:27} {self.sessions:8} {self.rate:10.2f} {self.requests / self.sessions:12.1f} "
            f"{self.size / 1e6 / self.seconds:7.2f} {1e3 * self.cpu / self.sessions:10.0f} "
            f"{1e3 * self.server_cpu / self.sessions:10.0f} {self.peak / 1e6:8.0f} {times:6.1f} × {less:6.1f} ×"
        )


HEAD = (
    f"{'':27} {'sessions':>8} {'sessions/s':>10} {'req./session':>12} {'MB/s':>7} {'CPU ms':>10} {'server ms':>10} "
    f"{'peak MB':>8} {'rate':>8} {'work':>8}"
)
"""CPU of client and server are for one session. The last columns say how many times better than the recipe: how much
faster, and with how much less work of both processors."""


def measure(name: str, place: Place, sessions: tuple[Path, ...], *, project: str) -> Measure:
    """Push some sessions in one of the ways, into a project of its own."""
    before = place.cost()
    task = {"sessions": [str(one) for one in sessions], "project": project, "url": place.url, "user": place.user}
    answer = subprocess.run(  # noqa: S603  # this very file
        [sys.executable, "-m", "tools.bench", "--way", name],
        input=json.dumps(task | {"password": place.password}),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(f"{name}: {answer.stderr}")
    after = place.cost()
    told = json.loads(answer.stdout.splitlines()[-1])
    size = sum(path.stat().st_size for folder in sessions for path in folder.rglob("*") if path.is_file())
    requests, server_cpu = after.requests - before.requests, after.cpu - before.cpu
    return Measure(name, len(sessions), size, requests, server_cpu=server_cpu, **told)


def work(name: str) -> None:
    """Do the work of one way, and tell what it took."""
    task = json.load(sys.stdin)
    cpu = time.process_time()
    seconds = WAYS[name](Task(tuple(map(Path, task.pop("sessions"))), **task))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - cpu, "peak": peak}))


def compare(title: str, root: Path, *, slow: int, rounds: int) -> list[Measure]:
    """Measure all ways, and print a table. The other ways take the first sessions only: they would take too long."""
    print(f"\n{title}\n{HEAD}", flush=True)
    found: list[Measure] = []
    everything = tuple(sorted(root.glob("sub-*/ses-*")))
    with archive() as place:
        for number, name in enumerate(WAYS):
            sessions = everything if name.startswith("bids2xnat") else everything[:slow]
            projects = [f"BENCH{number}R{one}" for one in range(rounds)]
            measures = [measure(name, place, sessions, project=project) for project in projects]
            found.append(min(measures, key=lambda one: one.seconds))
            print(found[-1].line(found[0]), flush=True)
    return found


def make_large(root: Path, *, subjects: int, size: int) -> None:
    """Write a dataset of few large images; nothing reads what is in them."""
    generate_many(root, subjects=subjects, files_per_session=1)
    for image in root.glob("sub-*/ses-*/anat/*.nii.gz"):
        image.write_bytes(os.urandom(size))


def main() -> None:
    """Measure all ways, with small files and with large ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--slow-sessions", type=int, default=6, help="how many of them the other ways send")
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--megabytes", type=int, default=64, help="the size of each of four large images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the measurements to this file, too")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        work(given.way)
        return
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        many, large = Path(folder, "many"), Path(folder, "large")
        generate_many(many, subjects=given.sessions, files_per_session=given.files)
        small = compare(f"{given.files} small files a session", many, slow=given.slow_sessions, rounds=given.rounds)
        make_large(large, subjects=4, size=given.megabytes * 10**6)
        few = compare(f"One file of {given.megabytes} MB a session", large, slow=4, rounds=given.rounds)
    if given.json:
        given.json.write_text(
            json.dumps({"small": [*map(asdict, small)], "large": [*map(asdict, few)]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
