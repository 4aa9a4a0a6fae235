"""Whether what ``make dist`` has built is what users should get: looked into, installed afresh, and used.

    python -m tools.dist [PYTHON…]

With each Python the wheel is installed into an environment of its own, with all extras for users, and takes the sample
dataset through a check; the source archive is installed with the first. Needs a package index.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from email.message import Message
from pathlib import Path

from packaging.metadata import Metadata

CHECKOUT = Path(__file__).parents[1]
DIST = CHECKOUT / "dist"
PACKAGE = "xnat_bids_push"
SAMPLE = CHECKOUT / "test_data" / "sample"
EXTRAS = ("server", "dask", "snapshots")
"""For users; the others are for those who develop."""

PROGRAMS = (["bids2xnat", "--version"], ["bids2xnat", "--help"], ["bids2xnat-app", "--version"])


# ------------------------------------------------------------------ looking into it


def wheel_faults(wheel: Path) -> Iterator[str]:
    """What is wrong with a wheel's contents: it must be the package, all of it and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata)
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    here = set(package_files())
    yield from (f"{name} is not in the wheel" for name in sorted(here - names))
    yield from (f"{name} is in the wheel, and not in the package" for name in sorted(names - here))
    if not licences:
        yield "the wheel has no licence"
    yield from metadata_faults(text)


def package_files() -> Iterator[str]:
    """The files of the package, without what Python leaves in it."""
    for path in (CHECKOUT / PACKAGE).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(CHECKOUT).as_posix()


def metadata_faults(text: bytes) -> Iterator[str]:
    """What an index would refuse, or show badly."""
    metadata = Metadata.from_email(text, validate=True)  # raises for all that is not of the form
    message: Message = email.message_from_bytes(text)
    if not str(message["Description-Content-Type"]).startswith("text/markdown"):
        yield "the description is not known to be Markdown"
    if not (metadata.description or "").startswith("# bids2xnat"):
        yield "the description is not the README"
    yield from (f"there is no extra {name}" for name in EXTRAS if name not in (metadata.provides_extra or ()))


def source_faults(source: Path) -> Iterator[str]:
    """What is missing in a source archive: whoever has it must be able to run the checks."""
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)  # noqa: S607
    wanted = {
        name
        for name in filter(None, tracked.stdout.split("\0"))
        if not name.startswith((".gitignore", "test_data/sample/"))
    }
    yield from (f"{name} is not in the source archive" for name in sorted(wanted - names))


# ------------------------------------------------------------------ using it


def tried(file: Path, python: str, *, extras: Sequence[str] = ()) -> Iterator[str]:
    """Install a file into an environment of its own and use it there; what fails."""
    with tempfile.TemporaryDirectory(prefix="bids2xnat-dist-") as folder:
        venv, data = Path(folder, "venv"), Path(folder, "data")
        shutil.copytree(SAMPLE, data, symlinks=True)
        _run([python, "-m", "venv", str(venv)], folder)
        bin_ = venv / ("Scripts" if os.name == "nt" else "bin")
        wanted = f"{file}[{','.join(extras)}]" if extras else str(file)
        steps: list[list[str]] = [
            [str(bin_ / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted],
            [str(bin_ / "python"), "-m", "pip", "check", "--disable-pip-version-check"],
            *([str(bin_ / name), *words] for name, *words in PROGRAMS),
            [str(bin_ / "bids2xnat"), "check", str(data), "--derivatives", "all", "--sourcedata"],
        ]
        for step in steps:
            fault = _run(step, folder)
            if fault:
                yield fault
                return


def _run(command: Sequence[str], folder: str) -> str:
    """Run a program away from the checkout, with nothing of this machine's settings; what it said if it failed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XNAT", "BIDS2XNAT", "PYTHON"))}
    done = subprocess.run(  # noqa: S603  # our own programs
        command, cwd=folder, env=kept | {"HOME": folder}, capture_output=True, text=True, check=False
    )
    return f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}" if done.returncode else ""


def main(pythons: Sequence[str]) -> int:
    """Do it; the exit code."""
    [wheel], [source] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    faults = [*wheel_faults(wheel), *source_faults(source)]
    first, *_ = pythons = list(pythons) or [sys.executable]
    trials = [(wheel, python, EXTRAS) for python in pythons] + [(source, first, ())]
    for file, python, extras in trials:
        start = time.perf_counter()
        found = list(tried(file, python, extras=extras))
        faults += found
        print(
            f"{'failed' if found else 'ok':7} {file.name} with {python}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
