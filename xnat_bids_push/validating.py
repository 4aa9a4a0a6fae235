"""The official BIDS validator, run as a program: what it finds wrong with a dataset, as issues. The door to it.

It runs in Deno, which lets a program do only what it was allowed to: this one may read, and may not write, start
programs or reach the network. So it stays off the net even for annexed content and for HED schemas that it lacks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from xnat_bids_push.model import Issue, Severity, Validation
from xnat_bids_push.report import count

LIMIT = 3600.0
"""Seconds that the validator gets. 120,000 files take it minutes."""

SHOWN = 3
"""Files that are named for each kind of error; the rest is counted."""

_VALID, _INVALID = 0, 16
"""The validator's exit codes; all others mean that it has not done its work."""

_FLAGS = (
    "run",
    "--no-prompt",
    "--no-remote",
    "--cached-only",
    "--no-config",
    "--no-lock",
    "--allow-read",
    "--allow-env",
)
_OPTIONS = ("--format", "json", "--ignoreWarnings")
_HANDED_ON = (
    "HOME",
    "USERPROFILE",
    "LOCALAPPDATA",
    "XDG_CACHE_HOME",
    "DENO_DIR",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
)
_QUIET = {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1", "DENO_NO_PROMPT": "1"}

_WAY_ON = "; to go on without it: --validation warn or off"


class _CannotRun(Exception):
    """The validator gave no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One error that the validator found.

    Args:
        code: the validator's name for its kind: ``SIDECAR_KEY_REQUIRED``.
        about: what it concerns in the file: a key, a column; may be empty.
        path: root-relative; empty for the dataset. A folder's ends with ``/``.
        message: in the validator's words.
    """

    code: str
    about: str
    path: str
    message: str


def validate(
    root: Path,
    validation: Validation = Validation.REQUIRE,
    *,
    concerns: Callable[[str], bool] = lambda _: True,
    limit: float = LIMIT,
) -> tuple[Issue, ...]:
    """Run the validator on a dataset.

    Args:
        root: the dataset's folder.
        validation: whether what is found are errors or warnings, or nothing is run at all.
        concerns: whether what is found at a root-relative path counts; what concerns the whole dataset does.
        limit: seconds after which the validator is stopped.
    """
    if validation is Validation.OFF:
        return ()
    severity = Severity.ERROR if validation is Validation.REQUIRE else Severity.WARNING
    try:
        answer = _run(_command(root), limit)
        found = [one for one in _complaints(answer) if not one.path or concerns(one.path.rstrip("/"))]
    except _CannotRun as fault:
        way_on = _WAY_ON if severity is Severity.ERROR else ""
        return (Issue(severity, "", f"the official BIDS validator could not be run: {fault}{way_on}"),)
    return tuple(_issues(_without_mistakes(found), severity))


def lies_in(path: str, folders: Collection[str]) -> bool:
    """Whether a path is one of some paths, or below one.

    >>> lies_in("sub-01/anat/x.json", {"sub-01"}), lies_in("sub-012/x.json", {"sub-01"})
    (True, False)
    """
    name = PurePosixPath(path)
    return any(str(one) in folders for one in (name, *name.parents))


# ------------------------------------------------------------------ the program


def _command(root: Path) -> list[str]:
    return [_deno(), *_FLAGS, _script(), *_OPTIONS, str(root)]


def _deno() -> str:
    try:
        from deno import find_deno_bin

        return os.fsdecode(find_deno_bin())
    except (ImportError, FileNotFoundError) as error:
        raise _CannotRun("its runtime is not installed (the package deno)") from error


def _script() -> str:
    """The validator itself. Its own command would start it too, but with leave to use the network."""
    package = find_spec("bids_validator_deno")
    if package is None or package.origin is None:
        raise _CannotRun("it is not installed (the package bids-validator-deno)")
    return str(Path(package.origin).with_name("bids-validator.js"))


def _run(command: list[str], limit: float) -> Mapping[str, object]:
    try:
        done = subprocess.run(  # noqa: S603  # the program is the installed validator
            command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _CannotRun(f"it had not finished after {limit:.0f} s") from error
    except OSError as error:
        raise _CannotRun(f"{command[0]}: {error.strerror}") from error
    if done.returncode not in (_VALID, _INVALID):
        raise _CannotRun(_last_words(done.returncode, done.stderr))
    return _parsed(done.stdout)


def _environment() -> dict[str, str]:
    """What a program of others needs to know: no login, no server, no proxy."""
    return {name: os.environ[name] for name in _HANDED_ON if name in os.environ} | _QUIET


def _last_words(code: int, said: bytes) -> str:
    how = f"it was ended by {_signal_name(-code)}" if code < 0 else f"it ended with exit code {code}"
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = next((line for line in lines if "error" in line.casefold()), lines[-1] if lines else "")
    return f"{how} ({telling})" if telling else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _parsed(said: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise _CannotRun("its answer is not JSON") from error
    if not isinstance(answer, dict):
        raise _CannotRun("its answer is not the one that is expected")
    return answer


# ------------------------------------------------------------------ its answer


def _complaints(answer: Mapping[str, object]) -> Iterator[Complaint]:
    """The errors of an answer; warnings were not asked for."""
    match answer:
        case {"issues": {"issues": list(issues), "codeMessages": dict(messages)}}:
            for issue in issues:
                if issue.get("severity") == "error":
                    yield _complaint(issue, messages)
        case _:
            raise _CannotRun("its answer is not the one that is expected")


def _complaint(issue: Mapping[str, object], messages: Mapping[str, object]) -> Complaint:
    code, about = str(issue.get("code", "")), str(issue.get("subCode", ""))
    said = str(issue.get("issueMessage", "")).partition("Field description:")[0]
    words = (
        _first_sentence(str(messages.get(code, ""))),
        f"line {issue['line']}" if issue.get("line") else "",
        " ".join(said.split()),
    )
    return Complaint(code, about, str(issue.get("location", "")).removeprefix("/"), ": ".join(filter(None, words)))


def _first_sentence(text: str) -> str:
    """The validator's explanations run to ten lines.

    >>> _first_sentence("The name is wrong. Perhaps it was mistyped.")
    'The name is wrong'
    """
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def _without_mistakes(complaints: Iterable[Complaint]) -> list[Complaint]:
    """Without what the validator is known to be wrong about.

    A 4D/BTi recording is a folder without extension, by BIDS's appendix on MEG file formats; the validator's schema
    has no such entry, and so calls the folder unknown, and its sidecar lonely.
    """
    found = list(complaints)
    folders = {one.path for one in found if one.code == "NOT_INCLUDED" and one.path.endswith("_meg/")}
    sidecars = {folder.removesuffix("/") + ".json" for folder in folders}
    mistakes = {("NOT_INCLUDED", path) for path in folders} | {("SIDECAR_WITHOUT_DATAFILE", path) for path in sidecars}
    return [one for one in found if (one.code, one.path) not in mistakes]


def _issues(complaints: Iterable[Complaint], severity: Severity) -> Iterator[Issue]:
    """One issue for each kind of complaint, however many files it is about."""
    kinds: defaultdict[tuple[str, str], list[Complaint]] = defaultdict(list)
    for one in complaints:
        kinds[one.code, one.about].append(one)
    for (code, about), alike in sorted(kinds.items()):
        if about == "SCHEMA_LOAD_FAILED":
            yield Issue(Severity.WARNING, alike[0].path, _UNCHECKED_HED)
        else:
            paths = sorted({one.path for one in alike})
            first = min(alike, key=lambda one: one.path)
            kind = f"{code} ({about})" if about else code
            yield Issue(severity, first.path, f"BIDS validator: {kind}: {first.message}{_others(paths)}")


_UNCHECKED_HED = (
    "its HED annotations were not checked: their schema is no part of the validator, which is kept off the network"
)


def _others(paths: list[str]) -> str:
    """The further files of a kind.

    >>> _others(["a", "b"]), _others(["a", "b", "c", "d", "e"])
    (' (also b)', ' (also b, c and 2 files more)')
    """
    named, rest = paths[1:SHOWN], len(paths) - SHOWN
    if not named:
        return ""
    more = f" and {count(rest, 'file')} more" if rest > 0 else ""
    return f" (also {', '.join(named)}{more})"
