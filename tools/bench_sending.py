"""Measures how quickly large recordings go out, beside `curl -T` of the same bytes to the same server.

    python -m tools.bench_sending [--megabytes 256] [--files 3] [--rounds 3] [--sparse 0]

Then the same for a pull beside `curl -o`. The server runs in a process of its own, over loopback. Both ways take turns,
so that what else the machine does hits both; the ratio of the sums counts. With `--sparse 20`, a file of 20 GB that is
all holes is pushed, too, by a process of its own, whose memory is what Linux says of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from test_data.generate import generate_many
from xnat_bids_push import Validation, connect, pull, push, read

Server = tuple[str, str, str]
"""Address, login, password."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "tools.bench_server", "--serve", str(folder)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url, user, password = process.stdout.readline().split()
        yield url, user, password
        process.stdin.close()


def curl(server: Server, file: Path, path: str) -> None:
    """Send one file, as one would by hand."""
    url, user, password = server
    command = ["curl", "-sS", "--fail", "-u", f"{user}:{password}", "-T", str(file), "-H", "Expect:", f"{url}{path}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # no shell, our own words


def ask(server: Server, method: str, path: str) -> None:
    """A request without a body."""
    url, user, password = server
    command = ["curl", "-sS", "--fail", "-u", f"{user}:{password}", "-X", method, f"{url}{path}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def with_curl(server: Server, files: list[Path], project: str) -> float:
    """Seconds for all files, one after the other; what they need is there before."""
    front = f"/data/projects/{project}/subjects/curl/experiments/curl"
    ask(server, "PUT", f"/data/projects/{project}")
    ask(server, "PUT", f"{front}?xsiType=xnat:mrSessionData")
    for number, _ in enumerate(files):
        ask(server, "PUT", f"{front}/scans/{number}?xsiType=xnat:mrScanData&type=T1w")
    start = time.perf_counter()
    for number, file in enumerate(files):
        curl(server, file, f"{front}/scans/{number}/resources/NIFTI/files/{quote(file.name)}?inbody=true")
    return time.perf_counter() - start


def with_bids2xnat(server: Server, root: Path, project: str) -> float:
    """Seconds for a push of the same files, proof included."""
    url, user, password = server
    with connect(url, project=project, user=user, password=password, create_project=True) as archive:
        start = time.perf_counter()
        report = push(read(root), archive, validation=Validation.OFF)
        seconds = time.perf_counter() - start
    if not report.ok:
        raise SystemExit(f"the push failed: {report.failed[0]}")
    return seconds


def with_pull(server: Server, project: str, out: Path) -> float:
    """Seconds for bringing a project back."""
    url, user, password = server
    with connect(url, project=project, user=user, password=password) as archive:
        start = time.perf_counter()
        report = pull(archive, out)
        seconds = time.perf_counter() - start
    if not report.ok:
        raise SystemExit(f"the pull failed: {report.failed[0]}")
    shutil.rmtree(out)
    return seconds


def with_curl_back(server: Server, number: int, project: str, out: Path) -> float:
    """Seconds for getting the same number of files back one by one."""
    url, user, password = server
    front = f"{url}/data/projects/{project}/subjects/curl/experiments/curl/scans"
    start = time.perf_counter()
    for one in range(number):
        command = ["curl", "-sS", "--fail", "-u", f"{user}:{password}", "-o", str(out)]
        subprocess.run([*command, f"{front}/{one}/resources/NIFTI/files?index=0"], check=True)  # noqa: S603
    seconds = time.perf_counter() - start
    out.unlink()
    return seconds


def make_large(root: Path, *, files: int, size: int) -> list[Path]:
    """A dataset of so many sessions with one image each, which nothing can compress."""
    generate_many(root, subjects=files, files_per_session=1)
    images = sorted(root.glob("sub-*/ses-*/anat/*.nii.gz"))
    for image in images:
        with image.open("wb") as target:
            for _ in range(size >> 20):
                target.write(os.urandom(1 << 20))
    return images


def compare(folder: Path, *, files: int, size: int, rounds: int) -> None:
    """Measure both ways in turns."""
    root = folder / "data"
    images = make_large(root, files=files, size=size)
    amount = files * size / 1e6
    sums = dict.fromkeys(("curl -T", "push", "curl -o", "pull"), 0.0)
    for number in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place, serving(Path(place)) as server:
            sums["curl -T"] += with_curl(server, images, f"C{number}")
            sums["push"] += with_bids2xnat(server, root, f"P{number}")
            sums["curl -o"] += with_curl_back(server, files, f"C{number}", folder / "back")
            sums["pull"] += with_pull(server, f"P{number}", folder / "out")
    for name, seconds in sums.items():
        print(f"{files} files of {size / 1e6:.0f} MB, {name:8} {amount * rounds / seconds:8.0f} MB/s", flush=True)
    print(
        f"  push / curl -T: {sums['curl -T'] / sums['push']:.2f}   pull / curl -o: {sums['curl -o'] / sums['pull']:.2f}"
    )


def sparse(folder: Path, gigabytes: int) -> None:
    """Push a file of holes by a process of its own, and say how much memory that held at most."""
    root = folder / "sparse"
    generate_many(root, subjects=1, files_per_session=1)
    image = next(root.glob("sub-*/ses-*/anat/*.nii.gz"))
    os.truncate(image, gigabytes * 10**9)
    with tempfile.TemporaryDirectory(dir=folder) as place, serving(Path(place)) as server:
        command = [sys.executable, "-m", "tools.bench_sending", "--alone", str(root), *server]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    print(f"one file of {gigabytes} GB, all holes: {done.stdout.strip()}", flush=True)


def alone(root: Path, server: Server) -> None:
    """Push, and say how long it took and how much memory was held at most."""
    seconds = with_bids2xnat(server, root, "SPARSE")
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    peak = int(found[1]) / 1024 if found else float("nan")
    print(f"{seconds:.0f} s, {peak:.0f} MB of memory at most")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256, help="the size of a file")
    parser.add_argument("--files", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sparse", type=int, default=0, help="also push a sparse file of so many GB")
    parser.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        alone(Path(given.alone[0]), (given.alone[1], given.alone[2], given.alone[3]))
        return
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder:
        if given.rounds:
            compare(Path(folder), files=given.files, size=given.megabytes << 20, rounds=given.rounds)
        if given.sparse:
            sparse(Path(folder), given.sparse)


if __name__ == "__main__":
    main()
