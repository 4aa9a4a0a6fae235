"""Measures the embedded archive itself: imports, listings, and how much memory its process holds.

    python -m tools.bench_server [--sessions 3000]

The server runs in a process of its own, and is asked over one connection by the plainest client there is, so that the
figures are the server's. Its memory is what Linux says of it.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from xnat_bids_push.server import Behaviour, LocalServer

PROJECT = "BENCH"
FILES = 12
SCANS = 5
LISTED = 400
PORTION = 100
"""So many accession numbers fit into one list before XNAT answers another question."""
_NAMES = 'xmlns:xnat="http://nrg.wustl.edu/xnat" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


class Connection:
    """One connection to a server, as its administrator."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._cookie = ""

    def __call__(self, method: str, path: str, body: bytes | None = None, kind: str = "application/zip") -> bytes:
        """Send one request; whatever is not a success ends the run."""
        headers = {"Authorization": f"Basic {self._login}", "Content-Type": kind}
        if self._cookie:
            headers["Cookie"] = self._cookie
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path[:80]} was answered with {answer.status}")
        found = re.search(r"JSESSIONID=\w+", answer.headers.get("Set-Cookie", ""))
        self._cookie = found[0] if found else self._cookie
        return content


def parcel(label: str, size: int) -> bytes:
    """A session of five scans and twelve files as one archive, its files `size` bytes together."""
    names: dict[int, list[str]] = {}
    for number in range(FILES):
        names.setdefault(number % SCANS + 1, []).append(f"file-{number}.nii.gz")
    scans = "".join(
        f'<xnat:scan ID="{scan}" type="T1w" xsi:type="xnat:mrScanData"><xnat:quality>usable</xnat:quality>'
        f'<xnat:file xsi:type="xnat:resourceCatalog" label="NIFTI" URI="SCANS/{scan}/NIFTI/NIFTI_catalog.xml"/>'
        "</xnat:scan>"
        for scan in names
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(
            "session.xml",
            f'<xnat:MRSession {_NAMES} label="{label}" project="{PROJECT}"><xnat:subject_ID>sub-01</xnat:subject_ID>'
            f"<xnat:scans>{scans}</xnat:scans></xnat:MRSession>",
        )
        for scan, files in names.items():
            folder = f"files/SCANS/{scan}/NIFTI"
            archive.writestr(f"{folder}/NIFTI_catalog.xml", _catalog(files))
            for file in files:
                archive.writestr(f"{folder}/{file}", os.urandom(size // FILES))
    return out.getvalue()


def _catalog(files: Sequence[str]) -> str:
    entries = "".join(f'<cat:entry URI="{name}" ID="{name}" name="{name}"/>' for name in files)
    return f'<cat:Catalog xmlns:cat="http://nrg.wustl.edu/catalog"><cat:entries>{entries}</cat:entries></cat:Catalog>'


def send(ask: Connection, labels: Sequence[str], size: int) -> list[float]:
    """Import sessions; the seconds that each took."""
    taken = []
    for label in labels:
        body = parcel(label, size)
        start = time.perf_counter()
        ask("POST", "/data/services/import?import-handler=XAR&inbody=true", body)
        taken.append(time.perf_counter() - start)
    return taken


def list_files(ask: Connection, sessions: Sequence[str], portion: int) -> float:
    """Seconds for the files of all these sessions, so many sessions in a request; medians of five."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        found = 0
        for first in range(0, len(sessions), portion):
            some = ",".join(sessions[first : first + portion])
            answer = json.loads(ask("GET", f"/data/experiments/{some}/files?all=true&format=json"))
            found += len(answer["ResultSet"]["Result"])
        taken.append(time.perf_counter() - start)
        if found != len(sessions) * FILES:
            raise SystemExit(f"{found} files were listed instead of {len(sessions) * FILES}")
    return statistics.median(taken)


def resident(process: int) -> float:
    """The memory that a process holds, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this system does not tell how much memory a process holds")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Connection, int]]:
    """A server in a process of its own, and a connection to it."""
    command = [sys.executable, "-m", "tools.bench_server", "--serve", str(folder)]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url, user, password = process.stdout.readline().split()
        yield Connection(url, user, password), process.pid
        process.stdin.close()


def serve(folder: Path) -> None:
    """Be the server until standard input ends; it takes longer lists than XNAT does, for one of the figures."""
    with LocalServer(folder, behaviour=Behaviour(longest_list=100_000), remember=False) as server:
        print(server.url, server.user, server.password, flush=True)
        sys.stdin.read()


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=3000, help="so many sessions in the end, at least 1000")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
        return
    with tempfile.TemporaryDirectory(prefix="bids2xnat-") as folder, serving(Path(folder)) as (ask, process):
        measure(ask, process, max(given.sessions, 1000))


def measure(ask: Connection, process: int, sessions: int) -> None:
    """Fill an archive, and look at it on the way."""
    ask("PUT", f"/data/projects/{PROJECT}")
    ask("PUT", f"/data/projects/{PROJECT}/subjects/sub-01")
    labels = [f"s{number:06d}" for number in range(sessions)]
    report("memory with no session", resident(process), "MB")
    send(ask, labels[:10], 10**6)
    taken = send(ask, labels[10:60], 10**6)
    report("import of 12 files, 1 MB, median", statistics.median(taken) * 1000, "ms")
    # On a machine with other work, the quick ones say what the server needs.
    report("import of 12 files, 1 MB, quickest tenth", statistics.quantiles(taken, n=10)[0] * 1000, "ms")
    send(ask, labels[60:LISTED], 1200)
    known = numbers(ask)
    report(f"listing {LISTED} sessions' files, {PORTION} a request", list_files(ask, known, PORTION), "s")
    report(f"listing {LISTED} sessions' files, one request", list_files(ask, known, LISTED), "s")
    report("  memory then", resident(process), "MB")
    send(ask, labels[LISTED:1000], 1200)
    report("memory with 1,000 sessions", resident(process), "MB")
    send(ask, labels[1000:-50], 1200)
    report(f"memory with {sessions:,} sessions", resident(process), "MB")
    last = statistics.median(send(ask, labels[-50:] if sessions > 1050 else [f"t{n}" for n in range(50)], 10**6))
    report("import of 12 files, 1 MB, median, at the end", last * 1000, "ms")
    report("listing again, one request", list_files(ask, known, LISTED), "s")


def numbers(ask: Connection) -> list[str]:
    """The accession numbers of the sessions that are there."""
    answer = json.loads(ask("GET", f"/data/projects/{PROJECT}/experiments?format=json&columns=ID"))
    return [row["ID"] for row in answer["ResultSet"]["Result"]]


def report(what: str, value: float, unit: str) -> None:
    """One figure."""
    print(f"{what:48} {value:9.2f} {unit}", flush=True)


if __name__ == "__main__":
    main()
