"""Does what the Dockerfile says in a bare Debian root folder, and runs the result as a container would be run.

    python -m tools.image

For machines that have nothing to build images with, or no way to a registry of them. It needs root, mmdebstrap,
unshare and a mirror of Debian; where one of them is missing it says so, and exits with 0. All goes on in the folder
``.image``, which keeps the bare root for the next time.

    python -m tools.image label

prints the command for XNAT's Container Service in the form of the label ``org.nrg.commands``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
DOCKERFILE = CHECKOUT / "Dockerfile"
COMMAND = CHECKOUT / "containers" / "xnat-command.json"
WORK = CHECKOUT / ".image"
SUITE = "trixie"
PACKAGES = "python3,python3-venv,ca-certificates"
"""What the official Python image has, and a bare Debian has not."""

SAMPLE = CHECKOUT / "test_data" / "sample"

_PLAIN = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
_OUTSIDE = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")
"""How pip reaches its index on this machine; a builder hands such on as build arguments."""


class Skip(Exception):
    """This machine cannot do it; the message says why."""


# ------------------------------------------------------------------ the Dockerfile


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    rest: str


@dataclass(slots=True)
class Stage:
    """A stage of a Dockerfile: what it begins with, and its instructions."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


def stages(text: str) -> list[Stage]:
    r"""Take a Dockerfile apart. Arguments before the first stage are filled in.

    >>> [stage] = stages("ARG B=bare\nFROM ${B} AS one\n# no\nRUN a && \\\n  b")
    >>> stage.base, stage.name, [(step.word, step.rest) for step in stage.steps]
    ('bare', 'one', [('RUN', 'a && b')])
    """
    found: list[Stage] = []
    known: dict[str, str] = {}
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = filled(rest, known).partition(" AS ")
            found.append(Stage(base, name))
        elif word == "ARG" and not found:
            known |= dict([rest.split("=", 1)])
        elif word:
            found[-1].steps.append(Step(word, rest.strip()))
    return found


def filled(text: str, known: Mapping[str, str]) -> str:
    """A text with its variables filled in."""
    return re.sub(r"\$\{(\w+)\}", lambda match: known.get(match[1], ""), text)


def pairs(text: str) -> dict[str, str]:
    """The settings of ENV, ARG and LABEL."""
    words = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in words}


# ------------------------------------------------------------------ doing it


@dataclass(slots=True)
class Root:
    """A root folder, and what the instructions so far have set."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    place: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)

    def inner(self, path: str) -> Path:
        """Where a path of the root is outside of it."""
        return self.folder / os.path.normpath(f"/{path}" if path.startswith("/") else f"{self.place}/{path}").lstrip(
            "/"
        )

    def do(self, step: Step, others: Mapping[str, Root]) -> None:
        """Do what an instruction says."""
        match step.word:
            case "ENV":
                self.environment |= pairs(filled(step.rest, self.arguments))
            case "ARG":
                self.arguments |= pairs(step.rest)
            case "WORKDIR":
                self.place = step.rest
                self.inner("").mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(step.rest.split(), others)
            case "RUN":
                self.run(["/bin/sh", "-c", f"cd {self.place} && {step.rest}"], self.arguments | _outside())
            case "USER":
                self.user = step.rest
            case "ENTRYPOINT":
                self.entry = json.loads(step.rest)
            case "LABEL":
                pass
            case _:
                raise ValueError(f"no way is known to do {step.word}")

    def _copy(self, words: Sequence[str], others: Mapping[str, Root]) -> None:
        source, ignore = CHECKOUT, _caches
        if words[0].startswith("--from="):
            source, ignore, words = others[words[0].removeprefix("--from=")].folder, _nothing, words[1:]
        *names, target = words
        for name in names:
            here, there = source / name.lstrip("/"), self.inner(target)
            there = there / here.name if target.endswith("/") else there
            there.parent.mkdir(parents=True, exist_ok=True)
            if here.is_dir():
                shutil.copytree(here, there, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copy2(here, there)

    def run(self, command: Sequence[str], environment: Mapping[str, str], *, before: str = "") -> str:
        """Run a program inside, with mounts of its own that end with it; what it printed."""
        chroot = ["chroot", f"--userspec={self.user}", str(self.folder), "/usr/bin/env", "-i"]
        settings = [f"{name}={value}" for name, value in (_PLAIN | self.environment | dict(environment)).items()]
        mounts = before or f"mount -t proc proc {self.folder / 'proc'}"
        script = f"set -e; {mounts}; exec {shlex.join([*chroot, *settings, *command])}"
        done = subprocess.run(  # noqa: S603  # the Dockerfile's own steps
            ["unshare", "--mount", "--pid", "--fork", "--ipc", "/bin/sh", "-c", script],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}exit code {done.returncode}")
        return done.stdout + done.stderr


def _caches(_: str, names: Sequence[str]) -> set[str]:
    """What .dockerignore keeps from the builder."""
    return {name for name in names if name == "__pycache__"}


def _nothing(_: str, names: Sequence[str]) -> set[str]:
    return set()


def _outside() -> dict[str, str]:
    return {name: os.environ[name] for name in _OUTSIDE if name in os.environ}


def built(bare: Path) -> Root:
    """The last stage, done."""
    done: dict[str, Root] = {}
    for number, stage in enumerate(stages(DOCKERFILE.read_text("utf-8"))):
        root = Root(_fresh(bare, WORK / (stage.name or f"stage-{number}")))
        for step in stage.steps:
            start = time.perf_counter()
            root.do(step, done)
            print(f"{time.perf_counter() - start:7.1f} s  {step.word} {step.rest[:90]}", flush=True)
        done[stage.name] = root
    return root


def _fresh(bare: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(bare) as archive:
        archive.extractall(folder, filter=lambda member, _: None if member.isdev() else member)  # noqa: S202  # our own
    for name in ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).is_file():  # how names are found here, and whom this machine trusts
            shutil.copyfile(Path("/", name), folder / name)
    (folder / "dev/null").touch()
    return folder


def bare_root() -> Path:
    """A bare Debian with Python, as a tar; fetched once."""
    if os.geteuid() != 0:
        raise Skip("only root may do it")
    for program in ("mmdebstrap", "unshare", "chroot"):
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")
    bare = WORK / f"{SUITE}.tar"
    if not bare.exists():
        WORK.mkdir(exist_ok=True)
        partial = bare.with_suffix(".part.tar")
        command = [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={PACKAGES}",
            SUITE,
            str(partial),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise Skip(f"no bare Debian could be had: {done.stderr.strip().splitlines()[-1:]}")
        partial.rename(bare)
    return bare


# ------------------------------------------------------------------ trying it


def tried(root: Root) -> Iterator[str]:
    """Run the image as a container is run: as nobody, with root and input read-only. What is not as it should be."""
    here, data, out = root.folder, root.folder / "data", root.folder / "out"
    for folder in (data, out):
        folder.mkdir()
    os.chown(out, *map(int, root.user.split(":")))
    before = "; ".join(
        [
            f"mount --bind {here} {here}",  # the root first: a mount on a folder hides those below it
            f"mount --bind {SAMPLE} {data}",
            f"mount -o remount,ro,bind {data}",
            f"mount --bind {out} {out}",
            f"mount -t tmpfs tmpfs {here / 'tmp'}",
            f"mount --bind /dev/null {here / 'dev/null'}",
            f"mount -t proc proc {here / 'proc'}",
            f"mount -o remount,ro,bind {here}",
        ]
    )

    def run(*words: str) -> str:
        return root.run(words, {}, before=before)

    print(run(*root.entry, "--version"), end="", flush=True)
    options = ("--project", "P", "--derivatives", "all", "--sourcedata", "-w", "/tmp/work")  # noqa: S108  # in there
    for level in ("participant", "group"):
        print(run(*root.entry, "/data", "/out", level, *options), flush=True)
    if json.loads((out / "verify.json").read_text("utf-8"))["ok"] is not True:
        yield "the group's report is not well"
    for path in ("/data/x", "/opt/x", "/x"):
        if "refused" not in run("/bin/sh", "-c", f"touch {path} 2>/dev/null || echo refused"):
            yield f"{path} could be written"
    if run("/usr/bin/id", "-u").strip() == "0":
        yield "it runs as root"


def label() -> str:
    """The commands for XNAT's Container Service, as the label that it reads off an image."""
    return json.dumps([json.loads(COMMAND.read_text("utf-8"))], separators=(",", ":"))


def main(arguments: Sequence[str]) -> int:
    """Do it; the exit code."""
    if list(arguments) == ["label"]:
        print(label())
        return 0
    try:
        bare = bare_root()
    except Skip as reason:
        print(f"Skipped: {reason}.")
        return 0
    faults = list(tried(built(bare)))
    print(*faults, sep="\n", end="\n" if faults else "")
    for folder in WORK.iterdir() if not faults else ():
        if folder.is_dir():
            shutil.rmtree(folder)
    print("The image does not do what it should." if faults else "The image's steps work, and so does what they make.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
