"""Counts the requests of a push as the server sees them, and measures its rate, beside the same done with pyxnat.

    python -m tools.bench [--sessions 200] [--files 12] [--pyxnat-sessions 10] [--jobs 4] [--megabytes 64]

First many small files, then few large ones. Both ways send to an embedded archive of their own on this machine, so
that the ratios mean more than the rates.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from test_data.generate import generate_many
from xnat_bids_push import Validation, connect, push, read
from xnat_bids_push.server import LocalServer


@dataclass(frozen=True, slots=True)
class Measure:
    """What one way of pushing cost."""

    name: str
    sessions: int
    size: int
    requests: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name:30} {self.sessions:8} {self.requests / self.sessions:17.1f} "
            f"{self.sessions / self.seconds:10.1f} {self.size / 1e6 / self.seconds:8.2f} {self.seconds:9.1f}"
        )


def measure(name: str, root: Path, send: Callable[[Path, LocalServer], None]) -> Measure:
    """Push a dataset into an empty archive."""
    files = [path for path in root.rglob("sub-*/**/*") if path.is_file()]
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder, LocalServer(Path(folder)) as server:
        start = time.perf_counter()
        send(root, server)
        seconds = time.perf_counter() - start
        requests = server.request_counts.total()
    size = sum(path.stat().st_size for path in files)
    return Measure(name, sum(1 for _ in root.glob("sub-*/ses-*")), size, requests, seconds)


def with_bids2xnat(root: Path, server: LocalServer, *, jobs: int) -> None:
    """Everything that `bids2xnat push` does on the wire, proof included."""
    options = {"user": server.user, "password": server.password}
    with connect(server.url, project="BENCH", create_project=True, **options) as archive:
        report = push(read(root), archive, validation=Validation.OFF, jobs=jobs)
    if not report.ok:
        raise SystemExit(f"the push failed: {report.failed[0]}")


def with_pyxnat(root: Path, server: LocalServer) -> None:
    """The recipe that bids2xnat replaces: object by object, file by file, nothing proven."""
    from pyxnat import Interface

    config = root.parent / "pyxnat.json"
    config.write_text(json.dumps({"server": server.url, "user": server.user, "password": server.password}))
    interface = Interface(config=str(config))
    interface.put("/data/projects/BENCH")
    project = interface.select.project("BENCH")
    for folder in sorted(root.glob("sub-*/ses-*")):
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
            resource = scan.resource("NIFTI")
            resource.create()
            for file in files:
                target = resource.file(file.name)
                target.put(str(file), format="NIFTI", content="NIFTI", extract=False, overwrite=True)
    interface.disconnect()


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


def main() -> None:
    """Measure both, and print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--pyxnat-sessions", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=64, help="the size of each of four large images")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        many, few, large = (Path(folder, name) for name in ("many", "few", "large"))
        generate_many(many, subjects=given.sessions, files_per_session=given.files)
        generate_many(few, subjects=given.pyxnat_sessions, files_per_session=given.files)
        compare(f"{given.files} small files a session", many, few, jobs=given.jobs)
        make_large(large, subjects=4, size=given.megabytes * 10**6)
        compare(f"one file of {given.megabytes} MB a session", large, large, jobs=given.jobs)


def compare(title: str, ours: Path, theirs: Path, *, jobs: int) -> None:
    """Measure both ways, and print rates and ratios."""
    print(f"{title:30} {'sessions':>8} {'requests/session':>17} {'sessions/s':>10} {'MB/s':>8} {'seconds':>9}")
    one = measure("bids2xnat", ours, lambda root, server: with_bids2xnat(root, server, jobs=jobs))
    print(one, flush=True)
    other = measure("pyxnat", theirs, with_pyxnat)
    print(other)
    fewer = (other.requests / other.sessions) / (one.requests / one.sessions)
    faster = (one.sessions / one.seconds) / (other.sessions / other.seconds)
    print(f"  1/{fewer:.0f} of the requests, {faster:.1f} times the rate, proof included", flush=True)


def make_large(root: Path, *, subjects: int, size: int) -> None:
    """Write a dataset of few large images; nothing reads what is in them."""
    generate_many(root, subjects=subjects, files_per_session=1)
    for image in root.glob("sub-*/ses-*/anat/*.nii.gz"):
        image.write_bytes(os.urandom(size))


if __name__ == "__main__":
    main()
