"""A plan as a file: to be read by people, and to be applied only while nothing has moved since.

One JSON object a line: first what was asked, then each node's plan with a fingerprint of all that it was decided by
(the files' names, sizes and times, and the server's listing), at last the number of nodes. No secret is among it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import NodePlan
from xnat_bids_push.planning import fingerprint
from xnat_bids_push.report import plan_json

_FORMAT = "bids2xnat plan"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a plan was made for.

    Args:
        server: the archive's address, or its folder if it is a local one.
        folder: from which the paths in the arguments are meant.
        arguments: those of the command line.
        tool: the version that made the plan.
    """

    server: str
    project: str
    folder: str
    arguments: tuple[str, ...]
    tool: str


def write_plan(target: IO[str], header: Header, plans: Iterable[NodePlan]) -> Iterator[NodePlan]:
    """Write plans as they are made, and hand them on."""
    head = {"format": _FORMAT, "version": _VERSION, "tool": header.tool, "server": header.server}
    head |= {"project": header.project, "folder": header.folder}
    _line(target, head | {"arguments": list(header.arguments)})
    number = 0
    for one in plans:
        number += 1
        _line(target, plan_json(one) | {"fingerprint": fingerprint(one)})
        yield one
    _line(target, {"nodes": number})


def _line(target: IO[str], content: Mapping[str, object]) -> None:
    target.write(json.dumps(content, ensure_ascii=False) + "\n")


def read_header(path: Path) -> Header:
    """What a plan file was made for.

    Raises:
        ConfigError: it cannot be read, or is no plan, or one of another version.
    """
    for row in _rows(path):
        if row.get("format") != _FORMAT:
            break
        if row.get("version") != _VERSION:
            raise ConfigError(f"{path} was written by another version of bids2xnat ({row.get('tool')}): plan again")
        arguments = row.get("arguments")
        words = tuple(map(str, arguments)) if isinstance(arguments, list) else ()
        return Header(str(row["server"]), str(row["project"]), str(row["folder"]), words, str(row["tool"]))
    raise ConfigError(f"{path} is no plan: make one with bids2xnat plan ROOT PROJECT -o {path.name}")


def check_place(path: Path, place: str) -> None:
    """Compare a plan file's archive with the one at hand, which the settings may name.

    Raises:
        ConfigError: it is another one.
    """
    planned = read_header(path).server
    if planned != place:
        raise ConfigError(f"{path} is a plan for {planned}, and not for {place}: give that one, or plan again")


def check_unmoved(path: Path, plans: Iterable[NodePlan]) -> None:
    """Compare a plan file with the plans of this moment.

    Raises:
        ConfigError: something has moved since, or the file is not whole.
    """
    planned = _fingerprints(path)
    moved = [label for label, was, now in _paired(planned, plans) if was != now]
    if moved:
        some = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
        raise ConfigError(f"the dataset or the archive has changed since this was planned, at {some}: plan again")


def _fingerprints(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    number: object = None
    for row in _rows(path):
        if "fingerprint" in row:
            found[_label(str(row["subject"]), str(row["experiment"]))] = str(row["fingerprint"])
        number = row.get("nodes", number)
    if number != len(found):
        raise ConfigError(f"{path} is not whole: plan again")
    return found


def _paired(planned: Mapping[str, str], plans: Iterable[NodePlan]) -> Iterator[tuple[str, str, str]]:
    waiting = dict(planned)
    for one in plans:
        label = _label(one.node.subject, one.node.experiment)
        yield label, waiting.pop(label, ""), fingerprint(one)
    yield from ((label, was, "") for label, was in waiting.items())


def _label(subject: str, experiment: str) -> str:
    return experiment or subject or "the project itself"


def _rows(path: Path) -> Iterator[dict[str, object]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ConfigError(f"{path} is no plan")
                yield row
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no plan, or not whole: plan again") from error


def without_output(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments of ``plan`` that ``push`` takes, too: all but how it tells, and where it writes.

    >>> without_output(["ROOT", "P", "-o", "plan.json", "--json", "--sourcedata"])
    ('ROOT', 'P', '--sourcedata')
    """
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in ("-o", "--output"):
            next(words, None)
        elif word not in ("--json", "--quiet") and not word.startswith(("--output=", "-o")):
            kept.append(word)
    return tuple(kept)
