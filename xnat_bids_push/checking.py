"""A dataset taken through everything before it goes anywhere, with an archive that is thrown away at the end.

It is validated, planned, pushed, verified, pulled back and compared: what continuous integration wants to know.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from xnat_bids_push.annotating import Step
from xnat_bids_push.archive import Archive
from xnat_bids_push.config import Settings
from xnat_bids_push.connecting import Access, open_settings
from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import ConfigError, DatasetError, XnatBidsError
from xnat_bids_push.fields import Telling
from xnat_bids_push.identifying import Guard
from xnat_bids_push.mapping import folder_of, read_manifest
from xnat_bids_push.model import Issue, Mark, MarkKind, Origin, Outcome, Privacy, Severity, State, Validation
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import Survey, placements, plan, push, survey, verify
from xnat_bids_push.report import Report, count, finding_words, human_size

PROJECT = "CHECK"

_ROOM = 2
"""How often a dataset must fit on the disk: as the archive has it, and as it comes back."""

_MOST = 1000
"""Problems of one step that are told one by one."""


def check(
    reading: Callable[[], Dataset],
    *,
    validation: Validation = Validation.REQUIRE,
    guard: Guard | None = None,
    telling: Telling | None = None,
    jobs: int | None = None,
) -> Iterator[Step]:
    """Take a dataset through everything, step by step. After a step that fails, the others are skipped.

    Args:
        reading: reads the dataset, as `read` does; nothing is written into its folder.
        validation: whether errors of the official BIDS validator are problems, warnings, or not asked for.
        guard: whether content that may tell who a participant is is a problem, a warning, or not looked for.
        telling: what XNAT's fields tell of people, and how much.
        jobs: how many sessions are sent at a time; by default as many as pays.
    """
    with tempfile.TemporaryDirectory(prefix="bids2xnat-check-") as folder:
        trial = _Trial(reading, Path(folder), validation, guard or Guard(Privacy.WARN), telling, jobs)
        failed = False
        for name, take in _STEPS:
            step = Step(name, skipped=True) if failed else _taken(name, take, trial)
            failed = failed or step.failed
            yield step


@dataclass(slots=True)
class _Found:
    """What a step came to."""

    said: str
    problems: Iterable[Issue] = ()


@dataclass
class _Trial:
    """One dataset on its way, and the folder that is thrown away at the end."""

    reading: Callable[[], Dataset]
    folder: Path
    validation: Validation
    guard: Guard
    telling: Telling | None
    jobs: int | None
    warnings: set[Issue] = field(default_factory=set)

    @cached_property
    def dataset(self) -> Dataset:
        return self.reading()

    @cached_property
    def survey(self) -> Survey:
        return survey(self.dataset, self.validation, guard=self.guard)

    @cached_property
    def settings(self) -> Settings:
        return Settings("", "", "", self.folder / "archive")

    @property
    def back(self) -> Path:
        return self.folder / "back"

    def reported(self, report: Report) -> Iterator[Issue]:
        """The problems of a report, and the warnings that no step before has told."""
        for outcome in report.failed:
            yield from _problems(outcome, folder_of(outcome.node, self.dataset.table) or "")
        if report.stopped:
            yield _error("", report.stopped)
        new = [issue for issue in report.issues if issue not in self.warnings]
        self.warnings.update(new)
        yield from new


def _taken(name: str, take: Callable[[_Trial], _Found], trial: _Trial) -> Step:
    """Take one step, and look at the clock."""
    start = time.perf_counter()
    try:
        found = take(trial)
        said, problems = found.said, _some(found.problems)
    except DatasetError as error:
        said, problems = "", error.issues
    except ConfigError:
        raise
    except (XnatBidsError, OSError) as error:
        said, problems = "", (_error("", str(error)),)
    return Step(name, said, problems, time.perf_counter() - start)


def _some(problems: Iterable[Issue]) -> tuple[Issue, ...]:
    """The first problems, and how many more there are."""
    every = list(problems)
    more = len(every) - _MOST
    return (*every[:_MOST], *([_error("", f"… and {count(more, 'more problem')}")] if more > 0 else ()))


def _error(path: str, message: str) -> Issue:
    return Issue(Severity.ERROR, path, message)


# ------------------------------------------------------------------ the steps


def _validated(trial: _Trial) -> _Found:
    found = trial.survey
    warned = [*found.issues, *(one for one in found.privacy.issues(trial.guard.privacy) if one not in found.issues)]
    trial.warnings.update(warned)
    people = count(found.subjects, "participant")
    return _Found(f"{people}, {count(found.files, 'file')}, {human_size(found.size)}", warned)


def _planned(trial: _Trial) -> _Found:
    _make_room(trial.survey.size, trial.folder)
    with open_settings(trial.settings, PROJECT, Access.PRETEND) as archive:
        plans = plan(trial.dataset, archive, found=trial.survey, telling=trial.telling)
        obstacles: list[Issue] = []
        places = files = 0
        for one in plans:
            places += 1
            files += len(one.findings)
            if one.obstacle:
                obstacles.append(_error(folder_of(one.node, trial.dataset.table) or "", one.obstacle))
    return _Found(f"{count(files, 'file')} at {count(places, 'place')}", obstacles)


def _make_room(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM * size:
        raise ConfigError(
            f"a check needs {human_size(_ROOM * size)} for a while, and {folder.parent} has {human_size(free)}: "
            "set TMPDIR to a folder with more room"
        )


def _pushed(trial: _Trial) -> _Found:
    with _opened(trial, Access.CREATE) as archive:
        report = push(trial.dataset, archive, found=trial.survey, telling=trial.telling, jobs=trial.jobs)
    return _Found(_amount(report), trial.reported(report))


def _verified(trial: _Trial) -> _Found:
    with _opened(trial) as archive:
        report = verify(trial.dataset, archive, found=trial.survey)
    return _Found(_amount(report), trial.reported(report))


def _pulled(trial: _Trial) -> _Found:
    with _opened(trial) as archive:
        report = pull(archive, trial.back, table=trial.dataset.table)
    return _Found(_amount(report), trial.reported(report))


def _opened(trial: _Trial, access: Access = Access.EXISTING) -> AbstractContextManager[Archive]:
    return open_settings(trial.settings, PROJECT, access)


def _amount(report: Report) -> str:
    return f"{count(report.kinds['session'], 'session')}, {count(report.files, 'file')}, {human_size(report.size)}"


def _compared(trial: _Trial) -> _Found:
    problems = [*_differences(trial.dataset, trial.back), *_strangers(trial.dataset.root, trial.back)]
    return _Found("" if problems else "what came back is the dataset, byte for byte", problems)


_STEPS: tuple[tuple[str, Callable[[_Trial], _Found]], ...] = (
    ("validate", _validated),
    ("plan", _planned),
    ("push", _pushed),
    ("verify", _verified),
    ("pull", _pulled),
    ("compare", _compared),
)


# ------------------------------------------------------------------ what is wrong


def _problems(outcome: Outcome, folder: str) -> Iterator[Issue]:
    """What is wrong at a place, file by file."""
    if outcome.failure:
        yield _error(folder.rstrip("/"), outcome.failure)
    for finding in outcome.findings:
        if finding.state not in (State.SAME, State.KEPT):
            yield _error(finding.path or str(finding.address), finding_words(finding))


def _differences(dataset: Dataset, back: Path) -> Iterator[Issue]:
    """Where what came back is not what was taken: contents, empty folders, links and executable bits."""
    for _, chosen in placements(dataset):
        for placed in (one for parcel in chosen.parcels for one in parcel.files):
            if placed.origin is Origin.DATASET:
                yield from _file_difference(placed.file.path, dataset.root, back)
            elif placed.origin is Origin.MANIFEST and isinstance(placed.file.content, bytes):
                for mark in read_manifest(placed.file.content):
                    yield from _mark_difference(mark, back)


def _file_difference(path: str, root: Path, back: Path) -> Iterator[Issue]:
    if not (back / path).is_file():
        yield _error(path, "did not come back")
    elif not filecmp.cmp(root / path, back / path, shallow=False):
        yield _error(path, "came back with another content")


def _mark_difference(mark: Mark, back: Path) -> Iterator[Issue]:
    here = back / mark.path
    match mark.kind:
        case MarkKind.FOLDER if not here.is_dir():
            yield _error(mark.path, "is an empty folder, and did not come back")
        case MarkKind.EXECUTABLE if os.name != "nt" and not os.access(here, os.X_OK):
            yield _error(mark.path, "can be run, and came back as a file that cannot")
        case MarkKind.LINK if not here.is_symlink():
            yield Issue(Severity.WARNING, mark.path, "is a link, and came back as the file that it leads to")
        case MarkKind.GENERATED if here.exists():
            yield _error(mark.path, "is no file of the dataset, and came back as one")
        case _:
            pass


def _strangers(root: Path, back: Path) -> Iterator[Issue]:
    """What came back and was never there."""
    for folder, _, names in os.walk(back):
        for name in names:
            path = Path(folder, name).relative_to(back)
            if not os.path.lexists(root / path):
                yield _error(path.as_posix(), "came back, and was never there")
