"""The command line of a BIDS App, in the words of ours: ``bids2xnat-app BIDS_DIR OUTPUT_DIR {participant,group}``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xnat_bids_push import __version__, cli
from xnat_bids_push.options import Option, options_of

PROJECT = "XNAT_PROJECT"

_ARCHIVE = "BIDS2XNAT_ARCHIVE"
_OURS = frozenset({"shard", "receipts", "no_receipt"})
"""Options of a push that the level and the output folder stand for."""

_ABOUT = """\
Push a BIDS dataset into an XNAT project, as a BIDS App. The input folder is only read.

participant: pushes the participants, and proves that they arrived.
group: pushes what belongs to nobody alone (participants.tsv, code/, ...), and verifies everything.
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a BIDS App was asked for.

    Args:
        options: of a push, by their names.
    """

    bids_dir: str
    output_dir: Path
    level: str
    project: str
    work: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the BIDS App; the exit codes are those of bids2xnat."""
    asked = read_arguments(sys.argv[1:] if arguments is None else arguments, os.environ)
    _prepare(asked)
    code = cli.OK
    for command in commands(asked):
        if code in (cli.OK, cli.DIFFERS):
            code = max(code, cli.run(command))
    cli.leave(code)


def read_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> Asked:
    """Take a command line apart. Ends the program if it is wrong, or asks for help or the version."""
    parser = _parser()
    given = vars(parser.parse_args([_dashed(word) for word in arguments]))
    project = given.pop("project", None) or environment.get(PROJECT, "")
    if not project:
        parser.error(f"--project is needed (or {PROJECT} in the environment): the XNAT project's ID")
    jobs = given.pop("n_cpus", None)
    given |= {"jobs": min(jobs, 64)} if jobs and "jobs" not in given else {}
    given |= {"validation": "off"} if given.pop("skip_bids_validation", False) else {}
    given.pop("mem_mb", None)
    places = {name: given.pop(name, None) for name in ("bids_dir", "output_dir", "analysis_level", "work_dir")}
    work = Path(places["work_dir"]) if places["work_dir"] else None
    return Asked(places["bids_dir"], Path(places["output_dir"]), places["analysis_level"], project, work, given)


def commands(asked: Asked) -> Iterator[list[str]]:
    """The commands of bids2xnat that do what was asked for, one after the other."""
    reports = ["--receipts", str(asked.output_dir)]
    if asked.level == "participant":
        yield [*_command("push", asked), "--shard", "participants", *reports]
    else:
        yield [*_command("push", asked, without=_FILTERS), "--shard", "project", *reports]
        yield [*_command("verify", asked), "--report", str(asked.output_dir / "verify.json")]


_FILTERS = frozenset({"participant_label", "session_label", "datatype", "suffix", "bids_filter_file"})
"""Options that choose participants' recordings."""


def _command(verb: str, asked: Asked, *, without: frozenset[str] = frozenset()) -> list[str]:
    """One command, with those of the options that it knows."""
    words = [verb, asked.bids_dir, asked.project]
    for option in options_of(cli.app, verb):
        if option.name in asked.options and option.name not in without:
            words += option.words(asked.options[option.name])
    return words


def _prepare(asked: Asked) -> None:
    """Make the folders, and say where an archive of its own is kept, should no server be configured."""
    try:
        for folder in (asked.output_dir, asked.work):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"error: {error.filename} cannot be made: {error.strerror}", file=sys.stderr)
        sys.exit(cli.USAGE)
    os.environ.setdefault(_ARCHIVE, str(asked.output_dir.absolute() / "archive"))
    if asked.work is not None:
        tempfile.tempdir = os.environ["TMPDIR"] = str(asked.work.absolute())


# ------------------------------------------------------------------ the form


def _dashed(word: str) -> str:
    """An option as we write it, however it was written.

    >>> _dashed("--participant_label"), _dashed("--n_cpus=2"), _dashed("my_data")
    ('--participant-label', '--n-cpus=2', 'my_data')
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bids2xnat-app",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", help="The BIDS dataset's folder.")
    parser.add_argument("output_dir", help="The folder for reports; and for the archive, if there is no server.")
    parser.add_argument("analysis_level", choices=("participant", "group"), help="What to do.")
    parser.add_argument("--version", action="version", version=f"bids2xnat-app {__version__}")
    parser.add_argument("--project", help=f"The XNAT project's ID. [env: {PROJECT}]")
    parser.add_argument("--skip-bids-validation", action="store_true", help="The same as --validation off.")
    parser.add_argument("--n-cpus", "--nprocs", type=int, metavar="N", help="The same as --jobs.")
    parser.add_argument("--mem-mb", type=int, metavar="MB", help="Taken, and not needed: memory does not grow.")
    parser.add_argument("-w", "--work-dir", metavar="DIR", help="The folder for temporary files.")
    others = parser.add_argument_group("as for bids2xnat push")
    for option in options_of(cli.app, "push"):
        if option.name not in _OURS:
            _add(others, option)
    return parser


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    text = option.help.replace("; may be repeated", "").replace("%", "%%")
    if option.flag:
        group.add_argument(*option.spellings, dest=option.name, action="store_true", help=text)
    elif option.multiple:
        group.add_argument(*option.spellings, dest=option.name, nargs="+", action="extend", metavar="VALUE", help=text)
    else:
        group.add_argument(*option.spellings, dest=option.name, metavar=option.metavar, help=text)
