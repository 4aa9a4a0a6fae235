"""The command line: what each command does. Everything heavy loads when a command runs."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import signal
import sys
import threading
import time
from contextlib import ExitStack, chdir, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from xnat_bids_push import __version__, completing
from xnat_bids_push.model import Validation
from xnat_bids_push.options import (
    Aim,
    Allowed,
    Archive,
    CaBundle,
    Config,
    Executor,
    Guarding,
    Kept,
    OtherProject,
    OtherRoot,
    Output,
    Placing,
    Policies,
    Project,
    Receipt,
    Root,
    Sessions,
    Shown,
    Site,
    Speed,
    Told,
    User,
    Validated,
    Watching,
    What,
    Where,
    Which,
    chosen,
    flat,
    narrowed,
    preferred,
    spread,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from xnat_bids_push.archive import Archive as Opened
    from xnat_bids_push.choosing import Choice, Query
    from xnat_bids_push.config import Goal, Settings
    from xnat_bids_push.connecting import Entrance
    from xnat_bids_push.dataset import Dataset
    from xnat_bids_push.identifying import Guard
    from xnat_bids_push.illustrating import Illustrator
    from xnat_bids_push.keeping import Asked, Keeper
    from xnat_bids_push.model import Experiment, NodePlan, Outcome
    from xnat_bids_push.preflight import Skip
    from xnat_bids_push.pushing import Crew, OnOutcome, Survey
    from xnat_bids_push.receipt import Receipt as Opening
    from xnat_bids_push.removing import Removal
    from xnat_bids_push.report import Report
    from xnat_bids_push.table import Table
    from xnat_bids_push.ui import Screen

OK, DIFFERS, USAGE, BAD_DATASET, DENIED, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
LOOPBACK = "127.0.0.1"

_arguments: ContextVar[Sequence[str]] = ContextVar("arguments", default=())
"""What the command line said: for plans in files, and for the command that goes on."""

app = typer.Typer(
    name="bids2xnat",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Push BIDS datasets into XNAT, prove that they arrived, and bring them back byte for byte.\n\n"
        "bids2xnat ROOT PROJECT is the same as bids2xnat push ROOT PROJECT. Without a server, everything goes to an "
        "archive on this machine.\n\n"
        "Exit codes: 0 the archive equals the dataset, 1 something failed or differs, 2 usage, 3 the dataset cannot "
        "be pushed as it is, 4 access denied, 5 server unreachable."
    ),
)


class Registered(StrEnum):
    """Session types that the embedded archive registers."""

    ALL = "all"
    STOCK = "stock"


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"bids2xnat {__version__}")
        raise typer.Exit


@app.command()
@flat
def push(
    root: Root,
    project: Project,
    where: Where,
    what: What,
    which: Which,
    placing: Placing,
    sessions: Sessions,
    allowed: Allowed,
    aim: Aim,
    guarding: Guarding,
    policies: Policies,
    told: Told,
    shown: Shown,
    kept: Kept,
    watching: Watching,
    speed: Speed,
    *,
    executor: Executor = "",
    output: Output,
) -> None:
    """Push a dataset into a project, and prove that it arrived. To go on after an interruption, push again."""
    from xnat_bids_push.connecting import entering

    screen = _screen(output)
    _check_pictures(shown, kept, executor)
    read = partial(_read, root, what, which, placing, sessions, strict=aim.validation is Validation.REQUIRE)
    options = chosen(what, which, placing, sessions, allowed, aim, guarding, policies, told, shown)
    order = _Order(project, where, allowed, aim, policies, told, shown, kept, speed, executor, options, placing.mapping)
    examine = partial(_healthy, screen, validation=aim.validation, guarding=guarding)
    if watching.watch:
        _watch(screen, order, read, examine, settings=_settings(screen, where, root), watching=watching)
        return
    dataset = _at_rest(screen, read(), watching) if watching.quiet_for else read()
    settings = _settings(screen, where, root)
    with entering(settings) as entrance:
        found = examine(dataset)
        report, keeper = _push(screen, order, settings, dataset, found, entrance=entrance)
    _finish(screen, report, "push", settings, keeper)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a push was asked for, beside the dataset and the archive."""

    project: str
    where: Where
    allowed: Allowed
    aim: Aim
    policies: Policies
    told: Told
    shown: Shown
    kept: Kept
    speed: Speed
    executor: str
    options: Mapping[str, object]
    mapping: Path | None


def _push(
    screen: Screen,
    order: _Order,
    settings: Settings,
    dataset: Dataset,
    found: Survey,
    *,
    tell: OnOutcome | None = None,
    entrance: Entrance | None = None,
) -> tuple[Report, Keeper | None]:
    """Push; with a listener of its own, as one of many times, which leaves a receipt only if something was done."""
    from xnat_bids_push import planfile, pushing
    from xnat_bids_push.connecting import Access, open_settings
    from xnat_bids_push.keeping import Asked

    aim, policies, told = order.aim, order.policies, order.told
    access = Access.CREATE if aim.create_project or not settings.server else Access.EXISTING
    local = "" if settings.server else str(settings.archive)
    asked = Asked(order.options, order.mapping, local)
    _check_limit(order)
    with (
        _crew(order.executor, settings, order.where, order.project) as crew,
        open_settings(settings, order.project, access, entrance=entrance) as opened,
        screen.running("Pushing", found) as tally,
        _keeper(order.kept, dataset, opened, asked) as keeper,
    ):
        opened.listen(screen.note)
        opened.limit(order.speed.bwlimit)
        if policies.as_planned is not None:
            planfile.check_place(policies.as_planned, settings.server or str(settings.archive))
            planned = pushing.plan(
                dataset,
                opened,
                found=found,
                telling=told.telling(),
                update_fields=aim.update_fields,
                policy=policies.policy(),
            )
            planfile.check_unmoved(policies.as_planned, planned)
        illustrator = _illustrator(order.shown, order.kept, opened, dataset, order.speed.jobs)
        report = pushing.push(
            dataset,
            opened,
            found=found,
            jobs=order.speed.jobs,
            telling=told.telling(),
            update_fields=aim.update_fields,
            skip=_skip(order.allowed),
            policy=policies.policy(),
            max_delete=policies.max_delete,
            on_outcome=_listener(tell or screen.outcome, keeper),
            on_bytes=tally.add,
            on_work=tally.work,
            crew=crew,
            on_settled=illustrator,
        )
        if illustrator is not None and order.shown.snapshots:
            report.pictures = illustrator.pictures
        if keeper is not None and tell is not None and not report.sent_files:
            keeper.discard()
        elif keeper is not None:
            gallery = illustrator.gallery if illustrator is not None else None
            keeper.finish(report, pushing.left_out(dataset, found), gallery)
            _deposit(screen, keeper, dataset, opened)
    return report, keeper


def _at_rest(screen: Screen, dataset: Dataset, watching: Watching) -> Dataset:
    """The participants of a dataset that have been quiet."""
    from xnat_bids_push.resting import due, seen
    from xnat_bids_push.shares import Some
    from xnat_bids_push.watching import look

    (quiet, _), now = watching.rhythm(), time.time()
    standings = seen({}, look(dataset), now)
    ready = due(standings, now, quiet)
    if not ready:
        screen.note(f"Nothing has been quiet for {watching.quiet_for} yet: nothing is sent.")
        raise typer.Exit(OK)
    if "" in standings.keys() - ready:
        screen.note(f"left for later: what belongs to no participant, as it changed in the last {watching.quiet_for}")
    return replace(dataset, share=Some(ready, "--quiet-for"))


def _watch(
    screen: Screen,
    order: _Order,
    read: Callable[[], Dataset],
    examine: Callable[[Dataset], Survey],
    *,
    settings: Settings,
    watching: Watching,
) -> None:
    """Push participants as they come to rest, until somebody ends it."""
    from xnat_bids_push.errors import ConfigError
    from xnat_bids_push.watching import Growing, Rhythm, watch

    if order.policies.delete or order.policies.as_planned is not None:
        raise ConfigError("--watch sends what comes to a dataset: it cannot be had together with --delete or a plan")
    rhythm = Rhythm(*watching.rhythm())

    def push(dataset: Dataset, found: Survey, tell: OnOutcome) -> Report:
        report, keeper = _push(screen, order, settings, dataset, found, tell=tell)
        if keeper is not None and (keeper.trouble or keeper.path):
            screen.moment(keeper.trouble or f"receipt: {keeper.path}")
        return report

    dataset = Growing(read, examine, push, screen)
    place = settings.server or "the local archive"
    try:
        screen.say(f"Watching. Each participant goes to project {order.project} of {place} when it has come to rest.")
        watch(dataset, rhythm)
    except KeyboardInterrupt:
        if dataset.busy:
            raise
        screen.say("Stopped.")


def _check_pictures(shown: Shown, kept: Kept, executor: str) -> None:
    """Before anything else: whether pictures can be made, and where to show them."""
    from xnat_bids_push.errors import ConfigError

    option = "--snapshots" if shown.snapshots else "--previews" if shown.previews else ""
    if option and find_spec("PIL") is None:
        raise ConfigError(f"{option} needs Pillow, which is not installed: pip install 'bids2xnat[snapshots]'")
    if option and executor:
        raise ConfigError(f"{option}: pictures are made on this machine: push without, and again without --executor")
    if shown.previews and kept.no_receipt:
        raise ConfigError("--previews are shown in the receipt's page: leave out --no-receipt")


_PICTURES = 4
"""Pictures that are made at a time, unless the user says how many jobs there are."""


def _illustrator(shown: Shown, kept: Kept, archive: Opened, dataset: Dataset, jobs: int | None) -> Illustrator | None:
    if not (shown.snapshots or shown.previews):
        return None
    from xnat_bids_push.illustrating import Illustrator
    from xnat_bids_push.picturing import Gallery

    gallery = Gallery(most=0) if kept.no_receipt else Gallery()
    return Illustrator(archive, dataset.table, jobs=jobs or _PICTURES, send=shown.snapshots, gallery=gallery)


def _keeper(kept: Kept, dataset: Dataset, archive: Opened, asked: Asked) -> AbstractContextManager[Keeper | None]:
    from xnat_bids_push.keeping import Keeper

    return nullcontext() if kept.no_receipt else Keeper(dataset, archive, folder=kept.receipts, asked=asked)


def _check_limit(order: _Order) -> None:
    from xnat_bids_push.errors import ConfigError

    if order.executor and order.speed.bwlimit is not None:
        raise ConfigError("--bwlimit bounds one process, and cannot be had with --executor: set fewer --jobs")


@contextmanager
def _crew(executor: str, settings: Settings, where: Where, project: str) -> Iterator[Crew | None]:
    """Who does the work; None for this process."""
    from xnat_bids_push.errors import ConfigError

    if not executor:
        yield None
        return
    from xnat_bids_push.executing import Login, open_cluster

    kind, _, address = executor.partition(":")
    if kind != "dask" or not address:
        raise ConfigError(f"--executor {executor}: it must be like dask:tcp://host:8786, or dask:scheduler.json")
    if not settings.server:
        raise ConfigError("--executor: a cluster needs a server that all its machines can reach: give --server")
    config = where.config.expanduser().absolute() if where.config is not None else None
    login = Login(settings.server, where.user, project, config, settings.ca_bundle, settings.timeout)
    with open_cluster(address, login) as cluster:
        yield cluster


def _deposit(screen: Screen, keeper: Keeper, dataset: Dataset, archive: Opened) -> None:
    """Put a copy of the receipt into the archive, where the user may."""
    from xnat_bids_push.depositing import deposit

    words = deposit(keeper.path, archive, dataset.table) if keeper.path is not None else ""
    if words:
        screen.note(words)


def _listener(show: OnOutcome, keeper: Keeper | None) -> OnOutcome:
    """Tells screen and receipt."""
    if keeper is None:
        return show

    def tell(outcome: Outcome) -> None:
        show(outcome)
        keeper.outcome(outcome)

    return tell


@app.command()
@flat
def plan(
    root: Root,
    project: Project,
    where: Where,
    what: What,
    which: Which,
    placing: Placing,
    sessions: Sessions,
    allowed: Allowed,
    aim: Aim,
    guarding: Guarding,
    policies: Policies,
    told: Told,
    *,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write it to a file, for apply.", show_default=False)
    ] = None,
    output: Output,
) -> None:
    """Show what a push would do; change nothing. Exit code 0 if there is nothing to do, 4 if you may not, else 1."""
    from xnat_bids_push import pushing
    from xnat_bids_push.connecting import Access, entering, open_settings

    screen = _screen(output)
    dataset = _read(root, what, which, placing, sessions, strict=aim.validation is Validation.REQUIRE)
    settings = _settings(screen, where, root)
    access = Access.PRETEND if aim.create_project or not settings.server else Access.EXISTING
    refusals: list[str] = []
    with ExitStack() as stack:
        entrance = stack.enter_context(entering(settings))
        found = _healthy(screen, dataset, aim.validation, guarding)
        opened = stack.enter_context(open_settings(settings, project, access, entrance=entrance))
        opened.listen(screen.note)
        plans = pushing.plan(
            dataset,
            opened,
            found=found,
            telling=told.telling(),
            update_fields=aim.update_fields,
            skip=_skip(allowed),
            policy=policies.policy(),
            on_refusal=refusals.append,
        )
        with _plan_file(file, plans, project, settings, _arguments.get()) as written:
            settled = screen.plan(written, opened, left_out=(str(found.unchosen), str(found.missing)))
        if str(found.omitted):
            screen.note(f"left out: {found.omitted}")
    if file is not None:
        screen.say(f"Written to {file}; to do it: bids2xnat apply {file}")
    for refusal in refusals:
        screen.refusal(refusal)
    raise typer.Exit(DENIED if refusals else OK if settled else DIFFERS)


@contextmanager
def _plan_file(
    file: Path | None, plans: Iterator[NodePlan], project: str, settings: Settings, arguments: Sequence[str]
) -> Iterator[Iterator[NodePlan]]:
    """Write plans to a file as they pass by; a plan that was not made to its end leaves none."""
    from xnat_bids_push import planfile
    from xnat_bids_push.errors import ConfigError

    if file is None:
        yield plans
        return
    place = settings.server or str(settings.archive)
    header = planfile.Header(place, project, str(Path.cwd()), planfile.without_output(arguments[1:]), __version__)
    partial = file.with_name(f".{file.name}.part")
    try:
        with partial.open("w", encoding="utf-8") as target:
            yield planfile.write_plan(target, header, plans)
        partial.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


@app.command()
def apply(
    plan: Annotated[Path, typer.Argument(help="A file that plan -o has written.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Do what was planned, if neither dataset nor archive has changed since; else do nothing."""
    from xnat_bids_push import planfile
    from xnat_bids_push.errors import ConfigError

    file = plan.absolute()
    header = planfile.read_header(file)
    if not Path(header.folder).is_dir():
        raise ConfigError(f"{plan} was made in {header.folder}, which is not there: plan again")
    words = [word for word, on in (("--json", as_json), ("--quiet", quiet)) if on]
    arguments = ["push", *header.arguments, "--as-planned", str(file), *words]
    with chdir(header.folder):
        _arguments.set(arguments)
        app(spread(arguments, app), prog_name="bids2xnat")


@app.command()
@flat
def verify(
    root: OtherRoot = None,
    project: OtherProject = "",
    *,
    receipt: Receipt = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Believe no digest of the server's: read everything back, and digest it here."),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option("--report", help="Also write the result to this file, as one JSON object.", show_default=False),
    ] = None,
    executor: Executor = "",
    where: Where,
    what: What,
    which: Which,
    placing: Placing,
    sessions: Sessions,
    allowed: Allowed,
    output: Output,
) -> None:
    """Tell whether the archive equals the dataset, by the server's own listing and digests."""
    from xnat_bids_push import pushing
    from xnat_bids_push.connecting import open_settings

    screen = _screen(output)
    if receipt is not None:
        _alone(root, project, what, which, placing, sessions, allowed)
        _recheck(screen, receipt, where, deep=deep, to=to)
    root, project = _both(root, project)
    dataset = _read(root, what, which, placing, sessions)
    found = pushing.healthy(dataset)
    settings = _settings(screen, where, root)
    with (
        _crew(executor, settings, where, project) as crew,
        open_settings(settings, project) as opened,
        screen.running("Comparing", found),
    ):
        opened.listen(screen.note)
        report = pushing.verify(
            dataset, opened, found=found, skip=_skip(allowed), deep=deep, on_outcome=screen.outcome, crew=crew
        )
    _write_report(to, report)
    _finish(screen, report, "verify --deep" if deep else "verify", settings)


def _recheck(screen: Screen, path: Path, where: Where, *, deep: bool, to: Path | None) -> NoReturn:
    """Compare the archive with a receipt."""
    from xnat_bids_push.connecting import open_settings
    from xnat_bids_push.receipt import open_receipt
    from xnat_bids_push.rechecking import recheck

    receipt = open_receipt(path)
    settings = _settings_of(screen, receipt, where)
    with open_settings(settings, receipt.project) as opened:
        opened.listen(screen.note)
        report = recheck(receipt, opened, deep=deep, on_outcome=screen.outcome)
    _write_report(to, report)
    _finish(screen, report, "verify --receipt", settings)


def _write_report(file: Path | None, report: Report) -> None:
    if file is not None:
        _write(file, json.dumps(report.to_json(), indent=1, default=str).encode())


def _settings_of(screen: Screen, receipt: Opening, where: Where) -> Settings:
    """Where a receipt's archive is, which must be what the user says: nobody's receipt says where a password goes."""
    from xnat_bids_push.errors import ConfigError

    settings = _settings(screen, where)
    if (settings.server.rstrip("/") or "") != receipt.server.rstrip("/"):
        there = receipt.server or "a local archive"
        way_on = f"give --server {receipt.server}" if receipt.server else "give --archive"
        raise ConfigError(f"the receipt is of {there}, and not of {settings.server or 'the local archive'}: {way_on}")
    return settings


def _alone(root: Path | None, project: str, *groups: object) -> None:
    """A receipt says all by itself."""
    given = [name for name, value in (("ROOT", root), ("PROJECT", project)) if value]
    given += [f"--{name.replace('_', '-')}" for name in chosen(*groups) if name not in preferred.get()]
    if given:
        raise typer.BadParameter(f"with --receipt there is nothing to choose: leave out {', '.join(given)}")


def _both(root: Path | None, project: str) -> tuple[Path, str]:
    if root is None or not project:
        raise typer.BadParameter("a dataset's folder and a project's ID are needed, or --receipt")
    return root, project


@app.command()
@flat
def pull(
    project: Project,
    out: Annotated[Path, typer.Argument(help="The folder to bring the dataset back into.", show_default=False)],
    where: Where,
    which: Which,
    placing: Placing,
    speed: Speed,
    output: Output,
) -> None:
    """Bring a project's BIDS data back into a folder, byte for byte. To go on after an interruption, pull again."""
    from xnat_bids_push import pulling
    from xnat_bids_push.connecting import open_settings
    from xnat_bids_push.errors import ConfigError

    screen = _screen(output)
    choice, table = _choice(which), _table(placing)
    settings = _settings(screen, where)
    if not settings.server and out.absolute().is_relative_to(settings.archive.absolute()):
        raise ConfigError(f"{out} lies in the local archive {settings.archive}: give a folder outside of it")
    with open_settings(settings, project) as opened, screen.running("Fetching"):
        opened.listen(screen.note)
        opened.limit(speed.bwlimit)
        report = pulling.pull(opened, out, table=table, choice=choice, jobs=speed.jobs, on_outcome=screen.outcome)
    _finish(screen, report, "pull", settings)


@app.command()
@flat
def remove(
    root: OtherRoot = None,
    project: OtherProject = "",
    *,
    receipt: Receipt = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    max_delete: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="If more files than this would go, nothing is done. By default any number; with --receipt --yes, 100.",
            show_default=False,
        ),
    ] = None,
    where: Where,
    what: What,
    which: Which,
    placing: Placing,
    sessions: Sessions,
    told: Told,
    output: Output,
) -> None:
    """Delete from the archive what a dataset has there, or what one push sent, and nothing else. Shows it, and asks."""
    from xnat_bids_push import removing
    from xnat_bids_push.connecting import open_settings

    screen = _screen(output)
    if receipt is not None:
        _alone(root, project, what, which, placing, sessions, told)
        _undo(screen, receipt, where, yes=yes, most=max_delete)
    root, project = _both(root, project)
    dataset = _read(root, what, which, placing, sessions)
    settings = _settings(screen, where, root)
    with open_settings(settings, project) as opened:
        opened.listen(screen.note)
        removals = list(removing.plan_removal(dataset, opened, telling=told.telling()))
        _ask_to_remove(screen, removals, opened, yes=yes, most=max_delete)
        report = removing.remove(removals, opened, on_outcome=screen.outcome)
    _finish(screen, report, "remove", settings)


def _undo(screen: Screen, path: Path, where: Where, *, yes: bool, most: int | None) -> NoReturn:
    """Take back one push. Its dataset may be gone, so that nobody could push again what nobody looked at."""
    from xnat_bids_push import removing
    from xnat_bids_push.connecting import open_settings
    from xnat_bids_push.pushing import MAX_DELETE
    from xnat_bids_push.receipt import open_receipt
    from xnat_bids_push.undoing import plan_undoing

    receipt = open_receipt(path)
    settings = _settings_of(screen, receipt, where)
    with open_settings(settings, receipt.project) as opened:
        opened.listen(screen.note)
        removals = list(plan_undoing(receipt, opened))
        most = MAX_DELETE if most is None and yes else most
        _ask_to_remove(screen, removals, opened, yes=yes, most=most)
        report = removing.remove(removals, opened, on_outcome=screen.outcome)
    _finish(screen, report, "remove --receipt", settings)


def _ask_to_remove(screen: Screen, removals: list[Removal], archive: Opened, *, yes: bool, most: int | None) -> None:
    from xnat_bids_push.errors import ConfigError
    from xnat_bids_push.removing import number_of
    from xnat_bids_push.report import count

    steps, files = screen.removal(removals), number_of(removals)
    if most is not None and files > most:
        raise ConfigError(
            f"{count(files, 'file')} would be deleted, and --max-delete is {most}: nothing was done. "
            "Look at the list, and give a higher --max-delete if they can go"
        )
    if steps and not yes:
        _confirm(f"Delete this from project {archive.project} at {archive.server}?")


@app.command()
@flat
def check(
    root: Root,
    what: What,
    which: Which,
    placing: Placing,
    sessions: Sessions,
    guarding: Guarding,
    told: Told,
    *,
    validation: Validated = Validation.REQUIRE,
    junit: Annotated[
        Path | None, typer.Option(help="Also write the result to this file, as JUnit does.", show_default=False)
    ] = None,
    github: Annotated[
        bool | None,
        typer.Option(
            "--github/--no-github",
            help="Mark problems at their files on GitHub; by default where GITHUB_ACTIONS is true.",
            show_default=False,
        ),
    ] = None,
    output: Output,
) -> None:
    """Try everything with an archive that is thrown away: validate, plan, push, verify, pull back, compare. For CI."""
    from xnat_bids_push.annotating import junit as as_junit
    from xnat_bids_push.annotating import notes
    from xnat_bids_push.checking import check

    screen, steps = _screen(output), []
    strict = validation is Validation.REQUIRE
    reading = partial(_read, root, what, which, placing, sessions, strict=strict)
    for step in check(reading, validation=validation, guard=_guard(guarding), telling=told.telling()):
        steps.append(step)
        screen.step(step)
    if junit is not None:
        _write(junit, as_junit(steps, root.absolute().name))
    if os.environ.get("GITHUB_ACTIONS") == "true" if github is None else github:
        for line in notes(steps, _folder_in_repository(root)):
            typer.echo(line, err=True)  # the service reads both streams, and programs the other one
    screen.checked(steps)
    broken = [step for step in steps if step.failed]
    raise typer.Exit((BAD_DATASET if broken[0].name in ("validate", "plan") else DIFFERS) if broken else OK)


def _write(file: Path, content: bytes) -> None:
    """Write what a run came to into a file that the user has named."""
    from xnat_bids_push.errors import ConfigError

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _folder_in_repository(root: Path) -> str:
    """Where a dataset lies in the checkout that CI works in; empty if it is the checkout, or lies elsewhere."""
    checkout = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    root = root.resolve()
    return root.relative_to(checkout).as_posix().removeprefix(".") if root.is_relative_to(checkout) else ""


@app.command()
@flat
def explain(
    targets: Annotated[
        list[str], typer.Argument(help="Files or folders of a dataset, or addresses in XNAT.", show_default=False)
    ],
    root: Annotated[
        Path | None, typer.Option(help="The dataset; else the one that the paths lie in.", show_default=False)
    ] = None,
    project: Annotated[
        str, typer.Option(help="The project, where an experiment is named by its ID.", show_default=False)
    ] = "",
    *,
    where: Where,
    placing: Placing,
    sessions: Sessions,
    told: Told,
    output: Output,
) -> None:
    """Tell why a file lives where it lives: the rule, the address, XNAT's fields and where each value comes from."""
    from xnat_bids_push import explaining
    from xnat_bids_push.connecting import open_settings
    from xnat_bids_push.dataset import Selection, read
    from xnat_bids_push.describing import Describer

    screen = _screen(output)
    found = root or explaining.root_of(targets)
    selection, table = Selection(("all",), sourcedata=True), _table(placing, sessions)
    dataset = read(found, selection=selection, table=table, validate=False)
    experiments: tuple[Experiment, ...] = ()
    if project and any(explaining.is_uri(text) for text in targets):
        with open_settings(_settings(screen, where), project) as opened:
            experiments = tuple(opened.experiments().values())
    asked = [explaining.target_of(text, dataset.root, experiments) for text in targets]
    for explanation in explaining.explain(dataset, asked, describe=Describer(dataset, told.telling())):
        screen.explanation(explanation, explaining.uri_of(explanation, project or "PROJECT"))


@app.command()
@flat
def doctor(
    project: Project,
    where: Where,
    placing: Placing,
    sessions: Sessions,
    *,
    probe_write: Annotated[
        bool,
        typer.Option("--probe-write", help="Also write a subject with a session and two files, and remove it again."),
    ] = False,
    probe_size: Annotated[
        int, typer.Option(min=1, max=4096, help="The size of the larger of the two files, in MiB.")
    ] = 16,
    output: Output,
) -> None:
    """Check everything that a push depends on, and say what to do about what is wrong. Writes nothing."""
    from xnat_bids_push.doctor import Grade, Stop, verdicts
    from xnat_bids_push.examining import Trial, examine

    screen = _screen(output)
    settings = _settings(screen, where)
    trial = Trial(probe_size << 20) if probe_write else None
    answers = examine(settings, project, table=_table(placing, sessions), trial=trial)
    found = list(verdicts(answers))
    screen.verdicts(found)
    stopped = {Stop.SERVER: UNREACHABLE, Stop.LOGIN: DENIED}.get(answers.stop, DIFFERS)
    raise typer.Exit(stopped if any(one.grade is Grade.PROBLEM for one in found) else OK)


@app.command()
def login(
    server: Site = "",
    *,
    user: User = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
    ] = False,
    config: Config = None,
    ca_bundle: CaBundle = None,
) -> None:
    """Have an alias token issued, and keep it in the system's keyring until it ends. No password is stored."""
    from xnat_bids_push import tokens, vault
    from xnat_bids_push.config import find_login, resolve, when
    from xnat_bids_push.connecting import credentials_of

    goal = _server_goal(server, config)
    place = vault.keyring_name()
    name = user or find_login(goal).user or _answer(f"User at {goal.address}", "--user names one")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = _answer(f"Password of {name} at {goal.address}", "--password-stdin reads it", secret=True)
    settings = resolve(server=goal.address, user=name, password=password, config=config, ca_bundle=ca_bundle)
    token = tokens.issue(credentials_of(settings))
    vault.keep(goal.address, token)
    until = f", until {when(token.ends)}" if token.ends is not None else ""
    _screen(Output()).say(f"Logged in at {goal.address} as {token.user}{until}. The token is kept in: {place}.")


@app.command()
def logout(server: Site = "", *, config: Config = None, ca_bundle: CaBundle = None) -> None:
    """Withdraw the token that login has kept, and take it out of the keyring."""
    from xnat_bids_push import tokens, vault
    from xnat_bids_push.config import resolve
    from xnat_bids_push.connecting import credentials_of
    from xnat_bids_push.errors import Unavailable

    goal, screen = _server_goal(server, config), _screen(Output())
    token = vault.find(goal.address)
    if token is None:
        screen.say(f"Nobody is logged in at {goal.address}.")
        return
    vault.forget(goal.address)
    settings = resolve(server=goal.address, user=token.alias, password=token.secret, config=config, ca_bundle=ca_bundle)
    try:
        tokens.withdraw(credentials_of(settings))
    except Unavailable as error:
        screen.note(
            f"The token is gone from the keyring. The server could not be told, so that it ends by itself: {error}"
        )
        raise typer.Exit(UNREACHABLE) from error
    screen.say(f"Logged out at {goal.address}: the token is withdrawn, and gone from the keyring.")


def _server_goal(server: str, config: Path | None) -> Goal:
    """Where to log in or out."""
    from xnat_bids_push.config import find_goal
    from xnat_bids_push.errors import ConfigError

    goal = find_goal(server=server, config=config)
    if not goal.address:
        raise ConfigError("no server is named, and none is configured: give its address, or its name in the settings")
    return goal


config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.command("show")
@flat
def config_show(where: Where, *, output: Output) -> None:
    """Show what counts for a server, and who says so. No password is shown."""
    from xnat_bids_push.config import find_goal, settings_file, settings_used

    goal = find_goal(server=where.server, config=where.config, archive=where.archive)
    given = {"user": where.user, "ca_bundle": where.ca_bundle, "timeout": where.timeout}
    used = settings_used(goal, given, defaults=_defaults("push"), file=settings_file(where.config))
    _screen(output).settings(used)


def _defaults(command: str) -> dict[str, object]:
    """What the options of a command are if nobody says anything."""
    group = typer.main.get_command(app)
    found = group.commands[command] if isinstance(group, typer.core.TyperGroup) else group
    return {str(one.name): one.default for one in found.params}


@config_app.command("path")
def config_path() -> None:
    """Print where the settings file is, or would be."""
    from xnat_bids_push.config import settings_file

    typer.echo(settings_file().value)


@app.command()
def serve(
    archive: Archive = None,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine need TLS.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    registered: Annotated[Registered, typer.Option(help="Session types that the site has set up.")] = Registered.ALL,
    certificate: Annotated[
        Path | None, typer.Option(help="A certificate in PEM form, for TLS.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key.", show_default=False)] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let other machines in without TLS.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing: compare what the archive lists with its files.")
    ] = False,
) -> None:
    """Open the local archive to browsers and other clients on this machine, until Ctrl-C."""
    from xnat_bids_push.config import local_archive
    from xnat_bids_push.connecting import open_local
    from xnat_bids_push.serving import IN_THE_CLEAR, Door, starting

    folder = archive or local_archive()
    if check:
        raise typer.Exit(_examine(folder))
    door = Door(host, port, certificate, key, insecure)
    with open_local(folder, starting(door, registered.value)) as server, suppress(KeyboardInterrupt):
        if door.is_in_the_clear:
            typer.echo(IN_THE_CLEAR, err=True)
        typer.echo(f"Local archive {folder} at {server.url}")
        typer.echo(f"Login: {server.user}; its password is {_where_the_password_is(folder)}")
        typer.echo("Stop with Ctrl-C.")
        threading.Event().wait()


def _examine(folder: Path) -> int:
    """Say what is wrong with an archive; the exit code."""
    from xnat_bids_push.report import count
    from xnat_bids_push.serving import problems
    from xnat_bids_push.ui import plain

    wrong = 0
    for problem in problems(folder):
        typer.echo(plain(str(problem)), err=True)
        wrong += 1
    if wrong:
        typer.echo(f"Something is wrong with the local archive {folder}: {count(wrong, 'problem')}", err=True)
        return DIFFERS
    typer.echo(f"The local archive {folder} is whole: every file that it lists is there, unchanged")
    return OK


def _where_the_password_is(folder: Path) -> str:
    if os.environ.get("BIDS2XNAT_SERVE_PASSWORD"):
        return "the one in BIDS2XNAT_SERVE_PASSWORD"
    return f"in {folder / 'admin-password'}"


# ------------------------------------------------------------------ what commands share


def _screen(output: Output) -> Screen:
    from xnat_bids_push.ui import Screen

    return Screen(as_json=output.as_json, quiet=output.quiet)


def _read(
    root: Path, what: What, which: Which, placing: Placing, sessions: Sessions, *, strict: bool = False
) -> Dataset:
    from xnat_bids_push.dataset import Selection, read
    from xnat_bids_push.shares import read_share

    names = tuple(name for text in what.derivatives or () for name in text.split(",") if name)
    selection = Selection(
        names,
        what.sourcedata,
        _choice(which),
        what.materialise_sidecars,
        what.skip_missing_content,
        read_share(what.shard),
    )
    table = _table(placing, sessions)
    return read(root, selection=selection, table=table, validate=strict)


def _table(placing: Placing, sessions: Sessions | None = None) -> Table:
    from xnat_bids_push.tailoring import mapping_table

    sessions = sessions or Sessions()
    return mapping_table(
        placing.mapping,
        session_types=sessions.session_type or (),
        one_experiment_per_session=sessions.one_experiment_per_session,
    )


def _healthy(screen: Screen, dataset: Dataset, validation: Validation, guarding: Guarding) -> Survey:
    from xnat_bids_push.pushing import healthy

    guard = _guard(guarding)
    with screen.busy("Checking the dataset"):
        found = healthy(dataset, validation, guard=guard)
    screen.privacy(found.privacy, guarding.privacy)
    return found


def _guard(guarding: Guarding) -> Guard:
    from xnat_bids_push.identifying import Guard
    from xnat_bids_push.privacy import read_waiver

    waiver = read_waiver(guarding.privacy_waiver) if guarding.privacy_waiver is not None else None
    return Guard(guarding.privacy, waiver)


def _choice(which: Which) -> Choice:
    from xnat_bids_push.choosing import Choice

    return Choice.of(
        participants=words(which.participant_label, "--participant-label"),
        sessions=words(which.session_label, "--session-label"),
        datatypes=words(which.datatype, "--datatype"),
        suffixes=words(which.suffix, "--suffix"),
        queries=_queries(which.bids_filter_file) if which.bids_filter_file else (),
    )


def _queries(file: Path) -> Sequence[Query]:
    from xnat_bids_push.choosing import read_filter
    from xnat_bids_push.dataset import vocabulary
    from xnat_bids_push.errors import ConfigError

    try:
        return read_filter(file.read_text("utf-8"), vocabulary())
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--bids-filter-file {file}: {reason}") from error


def _skip(allowed: Allowed) -> Skip:
    from xnat_bids_push.preflight import Skip

    return Skip(allowed.skip_unregistered, allowed.skip_project_files)


def _settings(screen: Screen, where: Where, root: Path | None = None) -> Settings:
    from xnat_bids_push.config import resolve
    from xnat_bids_push.errors import ConfigError

    ask = _ask if sys.stdin.isatty() else None
    settings = resolve(
        server=where.server,
        user=where.user,
        config=where.config,
        archive=where.archive,
        ca_bundle=where.ca_bundle,
        timeout=where.timeout,
        ask=ask,
    )
    if not settings.server:
        if root is not None and settings.archive.is_relative_to(root.absolute()):
            raise ConfigError(f"the local archive {settings.archive} lies in the dataset: give another --archive")
        why = "Using" if where.archive is not None else "No server is configured: using"
        screen.note(f"{why} the local archive in {settings.archive}")
    return settings


def _answer(question: str, otherwise: str, *, secret: bool = False) -> str:
    """What somebody says who must be there."""
    from xnat_bids_push.errors import ConfigError

    answer = _ask(question, secret) if sys.stdin.isatty() else ""
    if not answer:
        raise ConfigError(f"nobody is there to be asked, or nothing was answered: {otherwise}")
    return answer


def _ask(question: str, secret: bool) -> str:
    return getpass.getpass(f"{question}: ") if secret else str(typer.prompt(question, err=True))


def _confirm(question: str) -> None:
    """Ask before something is deleted; a run without a terminal must say --yes."""
    from xnat_bids_push.errors import ConfigError
    from xnat_bids_push.ui import plain

    if not sys.stdin.isatty():
        raise ConfigError("nothing was deleted: nobody is there to be asked, so say --yes")
    typer.confirm(plain(question), abort=True, err=True)


def _finish(screen: Screen, report: Report, verb: str, settings: Settings, keeper: Keeper | None = None) -> NoReturn:
    receipt, command = keeper.path if keeper is not None else None, _way_on(report, verb)
    place = settings.server or "the local archive"
    screen.report(report, verb=verb, place=place, command=command, receipt=receipt)
    if keeper is not None and keeper.trouble:
        screen.note(keeper.trouble)
    if verb == "push" and report.ok and not settings.server:
        screen.say(f"Look at it: bids2xnat serve --archive '{settings.archive}'")
    if report.ok:
        raise typer.Exit(OK)
    if report.stopped:
        raise typer.Exit(UNREACHABLE)
    raise typer.Exit(DENIED if report.problems and report.denied == report.problems else DIFFERS)


def _way_on(report: Report, verb: str) -> str:
    """The command that goes on with what was not done, and with nothing else; a push, where verifying found a lack."""
    given = _arguments.get()
    if not report.can_go_on or "--as-planned" in given or "--receipt" in verb:
        return ""
    command = [word for word in narrowed(given, report.rest.options()) if word != "--deep"]
    return shlex.join(["bids2xnat", "push" if verb.startswith("verify") else verb, *command[1:]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the exit code is the documented one."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = _commands()
    if completing.VARIABLE in os.environ:
        os.environ |= completing.plain_form(os.environ, commands)
        app([], prog_name="bids2xnat")  # answers the shell, and ends
    if arguments and arguments[0] not in commands and not _asks_for_itself(arguments[0]):
        meant = get_close_matches(arguments[0], commands, 1, 0.75)
        if meant and not Path(arguments[0]).exists():
            _screen(_output_of(arguments)).error(
                LookupError(f"there is no command and no folder {arguments[0]}: did you mean bids2xnat {meant[0]}?")
            )
            sys.exit(USAGE)
        arguments = ["push", *arguments]
    leave(run(spread(arguments, app)))


def leave(code: int) -> NoReturn:
    """End the program."""
    if code == INTERRUPTED:
        # A worker may still wait for a server's answer; nobody waits for it any more.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _output_of(arguments: Sequence[str]) -> Output:
    """How to tell what is told before the options are read."""
    return Output("--json" in arguments, "--quiet" in arguments)


def _commands() -> set[str]:
    names = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    return names | {str(group.name) for group in app.registered_groups}


def _asks_for_itself(argument: str) -> bool:
    return argument in ("--help", "--version") or argument.startswith(("--install-", "--show-"))


def run(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    from xnat_bids_push.errors import (
        AccessDenied,
        ConfigError,
        DatasetError,
        Distressed,
        MappingError,
        Unavailable,
        XnatBidsError,
    )

    _arguments.set(arguments)
    codes = ((DatasetError, BAD_DATASET), (MappingError, BAD_DATASET), (ConfigError, USAGE), (AccessDenied, DENIED))
    try:
        with _interruptible():
            app(arguments, prog_name="bids2xnat")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else USAGE
        if code == INTERRUPTED:
            _screen(_output_of(arguments)).interrupted()
        return code
    except XnatBidsError as error:
        _screen(_output_of(arguments)).error(error)
        unreachable = UNREACHABLE if isinstance(error, Unavailable | Distressed) else DIFFERS
        return next((code for kind, code in codes if isinstance(error, kind)), unreachable)
    return OK


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a run in good order; the second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def at_once(*_: object) -> None:
        os._exit(INTERRUPTED)

    def in_order(*_: object) -> None:
        for one in before:
            signal.signal(one, at_once)
        raise KeyboardInterrupt

    before = {one: signal.signal(one, in_order) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
