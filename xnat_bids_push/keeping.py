"""Keeping receipts: each push leaves three files in a folder, for programs, for ``md5sum -c`` and for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import IO, Self, cast

from xnat_bids_push import __version__, config
from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import Dataset
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.model import Issue, LeftOut, Outcome
from xnat_bids_push.picturing import Gallery
from xnat_bids_push.receipt import Status, md5_line, open_receipt, place_of, write_head, write_left_out, write_place
from xnat_bids_push.receipt import write_tail as end_with
from xnat_bids_push.report import Report
from xnat_bids_push.showing import write_page

_LONGEST = 64 * 1024
"""A mapping file or a description of more bytes is not copied into the receipt; its digest is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a push was asked for, as far as a receipt tells it. No secret is among it.

    Args:
        options: by their names.
        mapping: the user's own mapping file.
        local: the folder of the local archive; empty for a server.
    """

    options: Mapping[str, object] = field(default_factory=dict)
    mapping: Path | None = None
    local: str = ""


class Keeper:
    """Writes the receipt of a push while it goes on. Used in a block; a push that came to nothing leaves none.

    Give `outcome` to the push as its listener, and `finish` what it came to. If the block ends otherwise, the receipt
    says that it is not complete. What the disk refuses is no reason for a push to end: see `trouble`.

    Args:
        folder: where to; by default the project's folder in the user's folder for state.

    Raises:
        ConfigError: the folder cannot be written to, or lies in the dataset.
    """

    def __init__(self, dataset: Dataset, archive: Archive, *, folder: Path | None = None, asked: Asked | None = None):
        self._dataset, self._archive, self._asked = dataset, archive, asked or Asked()
        self._folder = _usable(folder or default_folder(archive.project), dataset.root)
        self._stem: Path | None = None
        self._rows: IO[str] | None = None
        self._sums: IO[str] | None = None
        self._started = _now()
        self._head = self._known()
        self._places = 0
        self._counts: Counter[Status] = Counter()
        self._bytes: Counter[Status] = Counter()
        self._gallery: Gallery | None = None
        self.trouble = ""

    @property
    def path(self) -> Path | None:
        """The receipt, once there is one; beside it are the list of digests and the page."""
        return self._stem.with_name(f"{self._stem.name}.json") if self._stem and not self.trouble else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._rows is not None:
            words = str(error) if isinstance(error, Exception) else "interrupted"
            self._end(None, (), error=words)

    def outcome(self, outcome: Outcome) -> None:
        """Write what became of one node."""
        try:
            if self._rows is None and not self.trouble:
                self._begin()
            if self._rows is not None:
                self._write(outcome)
        except OSError as error:
            self._give_up(error)

    def finish(self, report: Report, left_out: Iterable[LeftOut], gallery: Gallery | None = None) -> None:
        """Write what the push came to; a gallery's thumbnails are for the page."""
        self._gallery = gallery
        if self._rows is None and not self.trouble:
            try:
                self._begin()
            except OSError as error:
                self._give_up(error)
        self._end(report, left_out)

    def discard(self) -> None:
        """Leave no receipt, of a push that had nothing to do."""
        for one, kind in ((self._rows, "json"), (self._sums, "md5")):
            if one is not None:
                one.close()
                self._part(kind).unlink(missing_ok=True)
        self._rows = self._sums = self._stem = None

    def _begin(self) -> None:
        # Others may push into the project in this second, and all receipts come to one place in the archive.
        project = re.sub("[^A-Za-z0-9_-]", "_", self._archive.project)
        self._stem = self._folder / f"{self._started:%Y%m%dT%H%M%SZ}_{project}_{secrets.token_hex(3)}"
        self._rows = _open(self._part("json"), "backslashreplace")
        self._sums = _open(self._part("md5"), "surrogateescape")
        write_head(self._rows, self._head)

    def _part(self, kind: str) -> Path:
        stem = cast("Path", self._stem)
        return stem.with_name(f"{stem.name}.{kind}.part")

    def _known(self) -> Mapping[str, object]:
        """All that is known before the first file. Asked for before anything is written: it takes two requests."""
        archive, asked = self._archive, self._asked
        return {
            "tool": {"bids2xnat": __version__, "python": platform.python_version(), "xnatpy": version("xnat")},
            "server": {"url": "" if asked.local else archive.server, "version": archive.version()},
            "archive": asked.local,
            "project": archive.project,
            "user": archive.login(),
            "started": _written(self._started),
            "dataset": {"root": self._dataset.root.name, "description": _description(self._dataset)},
            "options": dict(asked.options),
            "mapping": _mapping(asked.mapping),
        }

    def _write(self, outcome: Outcome) -> None:
        place = place_of(outcome)
        rows, sums = cast("IO[str]", self._rows), cast("IO[str]", self._sums)
        write_place(rows, place, project=self._archive.project, first=not self._places)
        self._places += 1
        for entry in place.entries:
            self._counts[entry.status] += 1
            self._bytes[entry.status] += entry.size
            sums.write(md5_line(entry))
        rows.flush()

    def _end(self, report: Report | None, left_out: Iterable[LeftOut], *, error: str = "") -> None:
        if self._rows is None or self._sums is None:
            return
        try:
            with self._rows as rows, self._sums:
                write_left_out(rows, self._counted(left_out))
                end_with(rows, self._tail(report, error))
            self._rows = None
            self._publish()
        except OSError as fault:
            self._give_up(fault)

    def _counted(self, left_out: Iterable[LeftOut]) -> Iterator[LeftOut]:
        for one in left_out:
            self._counts[Status.LEFT_OUT] += 1
            yield one

    def _tail(self, report: Report | None, error: str) -> Mapping[str, object]:
        totals = {str(one): {"files": self._counts[one], "bytes": self._bytes[one]} for one in Status}
        tail: dict[str, object] = {"ended": _written(_now()), "complete": report is not None, "error": error}
        tail |= {"ok": report is not None and report.ok, "places_looked_at": self._places, "totals": totals}
        report = report or Report(self._archive.server, self._archive.project)
        survived = report.survived + Counter(self._archive.survived)
        told = report.issues[: len(report.issues) - len(report.unset)]
        if report.pictures is not None:
            tail["pictures"] = report.pictures.to_json()
        return tail | {
            "unchosen": {"participants": report.unchosen.subjects, "files": report.unchosen.files},
            "sent_bytes": report.sent_bytes,
            "survived": [{"what": what, "times": times} for what, times in sorted(survived.items())],
            "stopped": report.stopped,
            "seconds": {phase: round(seconds, 1) for phase, seconds in report.seconds.items()},
            "privacy": dict(report.privacy),
            "fields_not_set": [_issue(one) for one in report.unset],
            "issues": [_issue(one) for one in told],
        }

    def _publish(self) -> None:
        self._part("md5").replace(self._final("md5"))
        part, final = self._part("json"), self._final("json")
        part.replace(final)
        with _open(self._part("html"), "replace") as page:
            write_page(page, open_receipt(final), self._gallery)
        self._part("html").replace(self._final("html"))

    def _final(self, kind: str) -> Path:
        return self._part(kind).with_suffix("")

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"the receipt could not be written to {self._folder}: {error.strerror or error}"
        for one in (self._rows, self._sums):
            with suppress(OSError):
                if one is not None:
                    one.close()
        self._rows = self._sums = None


def default_folder(project: str) -> Path:
    """Where a project's receipts are kept unless the user says otherwise."""
    return config.state_folder() / "receipts" / project


def _usable(folder: Path, root: Path) -> Path:
    folder = folder.expanduser().absolute()
    if folder.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"receipts are never written into the dataset: give another folder than {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made, for the receipt: {error.strerror} (or --no-receipt)") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written to: give another one by --receipts, or --no-receipt")
    return folder


def _open(path: Path, errors: str) -> IO[str]:
    """A new file that only its owner may read. A lone surrogate, escaped by a backslash, is what JSON has for it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", errors=errors, newline="\n")


def _now() -> datetime:
    return datetime.now(UTC)


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _issue(one: Issue) -> Mapping[str, object]:
    return {"severity": one.severity, "path": one.path, "message": one.message}


def _description(dataset: Dataset) -> object:
    """``dataset_description.json``, if it is an object of reasonable size."""
    file = dataset.description
    if file is None or isinstance(file.content, bytes) or file.size > _LONGEST:
        return {}
    try:
        found = json.loads(Path(file.content).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(own: Path | None) -> Mapping[str, object]:
    """By which table files found their places: the package's, and the user's file over it."""
    table = resources.files(__package__).joinpath("mapping.toml").read_bytes()
    found: dict[str, object] = {"table_sha256": _sha256(table), "file": "", "file_sha256": "", "file_text": ""}
    if own is not None:
        content = own.read_bytes()
        found |= {"file": own.name, "file_sha256": _sha256(content)}
        found["file_text"] = content.decode("utf-8-sig", "replace") if len(content) <= _LONGEST else ""
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
