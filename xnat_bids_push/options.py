"""The options of the command line, each spelled once, in groups that commands share.

A command names the groups that it takes; `flat` shows typer their options one by one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args, get_origin, get_type_hints

import typer

from xnat_bids_push import completing
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Dates, Existing, Privacy, Validation
from xnat_bids_push.preferences import OPTIONS, PATHS, Setting
from xnat_bids_push.resting import seconds

if TYPE_CHECKING:
    from xnat_bids_push.fields import Telling
    from xnat_bids_push.policies import Policy

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The BIDS dataset's folder.", show_default=False)]
Project = Annotated[str, typer.Argument(metavar="PROJECT", help="The XNAT project's ID.", show_default=False)]

Validated = Annotated[
    Validation, typer.Option(help="The official BIDS validator's errors stop it, or are told only; or it is not run.")
]


User = Annotated[
    str,
    typer.Option(help="The login; its password: XNAT_PASS, keyring, netrc or a prompt.", show_default=False),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="Other settings (.toml); or a JSON file with server, user, password. [env: BIDS2XNAT_CONFIG]",
        show_default=False,
    ),
]
CaBundle = Annotated[
    Path | None,
    typer.Option(help="Trust the certificates in this file. [env: REQUESTS_CA_BUNDLE]", show_default=False),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Seconds to wait for the server, 300 by default; twelve times as long after large files.",
        show_default=False,
    ),
]
Site = Annotated[
    str,
    typer.Argument(
        metavar="[SERVER]",
        help="Its address, or its name in the settings.",
        show_default=False,
        autocompletion=completing.servers,
    ),
]


@dataclass(frozen=True, slots=True)
class Where:
    """Which archive, and as whom."""

    server: Annotated[
        str,
        typer.Option(
            help="The XNAT server's address, or its name in the settings. [env: XNAT_HOST]",
            show_default=False,
            autocompletion=completing.servers,
        ),
    ] = ""
    user: User = ""
    config: Config = None
    archive: Annotated[Path | None, typer.Option(help="Use the local archive in this folder.", show_default=False)] = (
        None
    )
    ca_bundle: CaBundle = None
    timeout: Timeout = None


@dataclass(frozen=True, slots=True)
class What:
    """What of the dataset is taken."""

    derivatives: Annotated[
        list[str] | None,
        typer.Option(
            help="Also take this folder of derivatives/, or all; may be repeated.",
            show_default=False,
            autocompletion=completing.derivatives,
        ),
    ] = None
    sourcedata: Annotated[bool, typer.Option("--sourcedata", help="Also take sourcedata/.")] = False
    materialise_sidecars: Annotated[
        bool,
        typer.Option(
            "--materialise-sidecars",
            help="Give scans that inherit all their metadata a sidecar, for XNAT's BIDS tools; a pull leaves it out.",
        ),
    ] = False
    skip_missing_content: Annotated[
        bool, typer.Option("--skip-missing-content", help="Leave out files whose content git-annex has elsewhere.")
    ] = False
    shard: Annotated[
        str,
        typer.Option(
            metavar="K/N",
            help="Take one of N shares of the participants, as in 3/20; the project's own files are in the first. "
            "Or participants: all of them, without the project's own files; or project: those files alone.",
            show_default=False,
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class Which:
    """Which recordings are taken; what belongs to them goes with them."""

    participant_label: Annotated[
        list[str] | None,
        typer.Option(
            help="Take this participant only, with or without sub-; may be repeated.",
            show_default=False,
            autocompletion=completing.participants,
        ),
    ] = None
    session_label: Annotated[
        list[str] | None,
        typer.Option(
            help="Take this session only, with or without ses-; may be repeated.",
            show_default=False,
            autocompletion=completing.sessions,
        ),
    ] = None
    datatype: Annotated[
        list[str] | None,
        typer.Option(
            help="Take recordings of this datatype only; may be repeated.",
            show_default=False,
            autocompletion=completing.datatypes,
        ),
    ] = None
    suffix: Annotated[
        list[str] | None,
        typer.Option(help="Take recordings of this suffix only; may be repeated.", show_default=False),
    ] = None
    bids_filter_file: Annotated[
        Path | None,
        typer.Option(help="Take recordings that one of this JSON file's queries takes.", show_default=False),
    ] = None


@dataclass(frozen=True, slots=True)
class Aim:
    """What a push, or its plan, is to reach."""

    create_project: Annotated[bool, typer.Option("--create-project", help="Create the project if it is missing.")] = (
        False
    )
    update_fields: Annotated[
        bool,
        typer.Option(
            "--update-fields",
            help="Also set XNAT's fields of what exists, where they differ; without, curators' edits stay.",
        ),
    ] = False
    validation: Validated = Validation.REQUIRE


@dataclass(frozen=True, slots=True)
class Guarding:
    """What is done about content that may tell who a participant is."""

    privacy: Annotated[
        Privacy, typer.Option(help="Content that may tell who somebody is stops it, or is told only; or is not sought.")
    ] = Privacy.WARN
    privacy_waiver: Annotated[
        Path | None,
        typer.Option(help="A TOML or JSON file: who waives that, when, why, and for what.", show_default=False),
    ] = None


@dataclass(frozen=True, slots=True)
class Policies:
    """What may be done to what is there."""

    existing: Annotated[
        Existing,
        typer.Option(
            help="What differs there: fail reports it, skip leaves it in peace, replace replaces it; never unproven."
        ),
    ] = Existing.FAIL
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete files of ours that the dataset does not have (any more).")
    ] = False
    max_delete: Annotated[int, typer.Option(min=0, help="If more than this would be deleted, nothing is done.")] = 100
    as_planned: Annotated[Path | None, typer.Option(hidden=True)] = None

    def policy(self) -> Policy:
        """The same in the words of the core."""
        from xnat_bids_push.policies import Policy  # loads when a command runs

        return Policy(self.existing, self.delete)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a push leaves behind."""

    receipts: Annotated[
        Path | None,
        typer.Option(help="The folder for its receipt; else one in your state folder.", show_default=False),
    ] = None
    no_receipt: Annotated[bool, typer.Option("--no-receipt", help="Write no receipt.")] = False


@dataclass(frozen=True, slots=True)
class Shown:
    """Pictures of scans; they need bids2xnat[snapshots]."""

    snapshots: Annotated[
        bool,
        typer.Option("--snapshots", help="Give scans the previews that XNAT's own pages show, where they lack them."),
    ] = False
    previews: Annotated[
        bool, typer.Option("--previews", help="Show the first of such pictures in the receipt's page only.")
    ] = False


@dataclass(frozen=True, slots=True)
class Watching:
    """When participants go."""

    quiet_for: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Only participants whose folders have not changed for this long (90s, 10m, 2h); with --watch, 10m.",
            show_default=False,
        ),
    ] = ""
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: send each participant when it has been quiet, until Ctrl-C.")
    ] = False
    interval: Annotated[str, typer.Option(metavar="TIME", help="How long to wait between two looks, with --watch.")] = (
        "60s"
    )

    def rhythm(self) -> tuple[float, float]:
        """For how many seconds a participant must have been quiet, and how many are between two looks."""
        return seconds(self.quiet_for or "10m"), seconds(self.interval)


@dataclass(frozen=True, slots=True)
class Told:
    """What XNAT's own fields tell."""

    no_demographics: Annotated[
        bool, typer.Option("--no-demographics", help="Keep age, sex and the like of participants.tsv out of fields.")
    ] = False
    dates: Annotated[
        Dates, typer.Option(help="Which dates become fields: none, only those shifted to before 1925, or all.")
    ] = Dates.ALL
    all_metadata: Annotated[
        bool, typer.Option("--all-metadata", help="Every single value of a sidecar becomes an additional parameter.")
    ] = False
    participant_fields: Annotated[
        str,
        typer.Option(help="Columns of participants.tsv that become fields of the subject: a,b,c", show_default=False),
    ] = ""

    def telling(self) -> Telling:
        """The same in the words of the core."""
        from xnat_bids_push.fields import Telling  # loads when a command runs

        columns = tuple(filter(None, self.participant_fields.split(",")))
        return Telling(not self.no_demographics, self.dates, self.all_metadata, columns)


@dataclass(frozen=True, slots=True)
class Placing:
    """By which table files find their places."""

    mapping: Annotated[
        Path | None,
        typer.Option(help="A TOML file of your own, laid over the mapping table key by key.", show_default=False),
    ] = None


@dataclass(frozen=True, slots=True)
class Sessions:
    """What a BIDS session becomes."""

    one_experiment_per_session: Annotated[
        bool,
        typer.Option("--one-experiment-per-session", help="Not one for each modality, but one for all of a session."),
    ] = False
    session_type: Annotated[
        list[str] | None,
        typer.Option(
            help="Other types for some experiments, as in eeg,meg=xnat:mrSessionData; may be repeated.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be left out where the site does not allow it."""

    skip_unregistered: Annotated[
        bool,
        typer.Option("--skip-unregistered", help="Leave out sessions of types that the site has not set up."),
    ] = False
    skip_project_files: Annotated[
        bool,
        typer.Option("--skip-project-files", help="Leave out what only an owner of the project may write."),
    ] = False


@dataclass(frozen=True, slots=True)
class Output:
    """How a run is told."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, for programs.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False


MOST_JOBS = 64
LEAST_RATE = 1024


def jobs_of(text: str) -> int | None:
    """How many jobs a word stands for; None for as many as pay.

    >>> jobs_of("auto"), jobs_of("8")
    (None, 8)
    """
    if text == "auto":
        return None
    if not re.fullmatch(r"\d{1,4}", text) or not 1 <= int(text) <= MOST_JOBS:
        raise typer.BadParameter(f"{text} is neither auto nor a number from 1 to {MOST_JOBS}")
    return int(text)


def rate_of(text: str) -> float:
    """Bytes a second, with K, M and G as `curl` and `rsync` take them.

    >>> rate_of("1.5M"), rate_of("2048")
    (1572864.0, 2048.0)
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([KMG]?)", text, re.IGNORECASE)
    rate = float(found[1]) * 1024 ** " KMG".index(found[2].upper() or " ") if found else 0.0
    if rate < LEAST_RATE:
        raise typer.BadParameter(f"{text} is no number of bytes a second, 1K at least, as in 500K, 10M or 1.5G")
    return rate


@dataclass(frozen=True, slots=True)
class Speed:
    """How quickly it may go."""

    jobs: Annotated[
        int | None,
        typer.Option(
            parser=jobs_of,
            min=1,
            max=MOST_JOBS,
            metavar="N|auto",
            help="How many sessions are on their way at a time; by default as many as pay.",
            show_default=False,
        ),
    ] = None
    bwlimit: Annotated[
        float | None,
        typer.Option(
            parser=rate_of,
            metavar="RATE",
            help="Bytes a second at most, all together, as in 500K, 10M or 1.5G.",
            show_default=False,
        ),
    ] = None


OtherRoot = Annotated[
    Path | None, typer.Argument(help="The BIDS dataset's folder; left out with --receipt.", show_default=False)
]
OtherProject = Annotated[
    str, typer.Argument(help="The XNAT project's ID; left out with --receipt.", show_default=False)
]
Receipt = Annotated[
    Path | None, typer.Option(help="The receipt (.json) of a push, instead of a dataset.", show_default=False)
]
Executor = Annotated[
    str,
    typer.Option(
        metavar="dask:ADDRESS",
        help="Let a Dask cluster do the work: its scheduler's address, or the file that the scheduler wrote.",
        show_default=False,
    ),
]
Archive = Annotated[Path | None, typer.Option("--archive", help="The local archive's folder.", show_default=False)]


def chosen(*groups: object) -> dict[str, object]:
    """The options that are not as they are by default, by their names; of files and folders, the name alone.

    >>> chosen(What(sourcedata=True), Which())
    {'sourcedata': True}
    """
    return {
        one.name: value.name if isinstance(value, Path) else value
        for group in groups
        if is_dataclass(group)
        for one in fields(group)
        if (value := getattr(group, one.name)) != one.default
    }


def words(values: Sequence[str] | None, option: str) -> tuple[str, ...]:
    """The values of a repeated option, each of which may be a list with commas or spaces.

    Raises:
        ConfigError: a value is empty: it would take everything where something was meant.

    >>> words(["01,02", "03 04"], "--suffix")
    ('01', '02', '03', '04')
    """
    found = [value.replace(",", " ").split() for value in values or ()]
    if not all(found):
        raise ConfigError(f"{option} has an empty value: leave the option out to take everything")
    return tuple(word for words in found for word in words)


def spread(arguments: Sequence[str], app: typer.Typer) -> list[str]:
    """Lists as BIDS Apps take them: ``--suffix T1w T2w`` becomes one option for each value.

    That is so only behind all arguments that have a place of their own: in ``--suffix T1w ROOT PROJECT`` the two are
    root and project.
    """
    command = _command(app, arguments[0]) if arguments else None
    if command is None:
        return list(arguments)
    options = {flag: one for one in command.params if one.param_type_name == "option" for flag in one.opts}
    places = sum(one.param_type_name == "argument" for one in command.params)
    found, current, waiting = [arguments[0]], "", False
    for word in arguments[1:]:
        if waiting:
            waiting = False
        elif word.startswith("-"):
            option = options.get(word)
            current = word if option is not None and getattr(option, "multiple", False) else ""
            waiting = option is not None and not getattr(option, "is_flag", False)
        elif current and not places:
            found.append(current)
        else:
            places, current = places - 1, ""
        found.append(word)
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command, for another front."""

    name: str
    spellings: tuple[str, ...]
    help: str
    metavar: str | None
    flag: bool
    multiple: bool

    def words(self, value: object) -> list[str]:
        """How it is written with a value, or with several.

        >>> Option("suffix", ("--suffix",), "", None, flag=False, multiple=True).words(["T1w", "bold"])
        ['--suffix', 'T1w', '--suffix', 'bold']
        """
        if self.flag:
            return [self.spellings[0]]
        values = value if isinstance(value, list) else [value]
        return [word for one in values for word in (self.spellings[0], str(one))]


def options_of(app: typer.Typer, name: str) -> Iterator[Option]:
    """The options of a command, but for those that are hidden, and for help."""
    command = _command(app, name)
    for one in command.params if command is not None else ():
        if isinstance(one, typer.core.TyperOption) and not one.hidden and one.name != "help":
            yield Option(one.name or "", tuple(one.opts), one.help or "", one.metavar, one.is_flag, one.multiple)


def _command(app: typer.Typer, name: str) -> typer.core.TyperCommand | None:
    group = typer.main.get_command(app)
    command = group.commands.get(name) if isinstance(group, typer.core.TyperGroup) else None
    return command if isinstance(command, typer.core.TyperCommand) else None


def narrowed(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The same command for some participants and sessions only, instead of those that it named.

    >>> narrowed(["push", "study", "P", "--participant-label", "01", "--jobs", "2"], ["--participant-label", "07"])
    ['push', 'study', 'P', '--jobs', '2', '--participant-label', '07']
    """
    found: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if options and word in _NARROWING:
            next(rest, None)
        elif not (options and word.partition("=")[0] in _NARROWING):
            found.append(word)
    return [*found, *options]


_NARROWING = ("--participant-label", "--session-label")


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """A command as typer wants it: each parameter that is a group stands for the options in it."""
    signature = inspect.signature(command, eval_str=True)
    kinds = {one.name: one.annotation for one in signature.parameters.values()}
    groups = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)}

    @wraps(command)
    def run(context: typer.Context, **given: object) -> None:
        if Where in groups.values():
            given |= _preferred(context, given)
        grouped = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **grouped)

    parameters = [
        option
        for one in signature.parameters.values()
        for option in (_options(one.annotation) if one.name in groups else [one])
    ]
    for one in parameters:
        _show_kind(one.annotation)
    parameters.append(inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect reads
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


_KINDS = {bool: "", int: "N", float: "N", Path: "PATH", list[str]: "NAME", str: "TEXT"}
"""What the help shows of an option's value; a flag has none."""


def _show_kind(annotation: object) -> None:
    if get_origin(annotation) is Annotated:
        kind, *infos = get_args(annotation)
        shown = next((_KINDS[one] for one in (kind, *get_args(kind)) if one in _KINDS), None)
        for info in infos:
            if isinstance(info, typer.models.OptionInfo) and info.metavar is None:
                info.metavar = shown


preferred: ContextVar[Mapping[str, Setting]] = ContextVar("preferred", default={})  # noqa: B039  # nobody changes it
"""Options of the command at hand that are as the settings file says, by their names."""


def _preferred(context: typer.Context, given: Mapping[str, object]) -> Mapping[str, object]:
    """What the settings file says of options that were not given."""
    from xnat_bids_push.config import find_goal

    where = {name: given[name] for name in ("server", "config", "archive")}
    goal = find_goal(**where)  # type: ignore[arg-type]  # typer has seen to that
    said = {name: goal.setting(name) for name in OPTIONS.keys() & given.keys() - {"timeout"} if _is_free(context, name)}
    preferred.set({name: one for name, one in said.items() if one is not None})
    return {name: _typed(one.value, given[name], name) for name, one in preferred.get().items()}


def _is_free(context: typer.Context, name: str) -> bool:
    """Whether an option was given neither on the command line nor by the environment."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT"


def _typed(value: object, default: object, name: str) -> object:
    """A value of the settings file, as a command takes it."""
    if isinstance(default, Enum):
        return type(default)(value)
    return Path(str(value)) if name in PATHS else value


def _options(group: type) -> Iterator[inspect.Parameter]:
    """A group's options; the help shows them in a panel of its own, under the first words of the docstring."""
    hints = get_type_hints(group, include_extras=True)
    title = (group.__doc__ or "").partition("\n")[0].rstrip(".")
    for field in fields(group):
        for info in hints[field.name].__metadata__:
            info.rich_help_panel = title
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
