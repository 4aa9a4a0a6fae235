"""What people see in the terminal. The door to rich."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from xnat_bids_push.doctor import Grade, Verdict
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.model import (
    CreateSubject,
    Deletion,
    ImportSession,
    Issue,
    NodePlan,
    Outcome,
    Privacy,
    SetFields,
    Severity,
    State,
)
from xnat_bids_push.progress import Tally, drawn, duration, told
from xnat_bids_push.report import (
    Report,
    count,
    explanation_json,
    human_size,
    kind_of,
    new_scans,
    new_subjects,
    outcome_json,
    plan_json,
    problem_lines,
    replaced,
    scan_words,
    step_fields,
)

if TYPE_CHECKING:
    from pathlib import Path

    from xnat_bids_push.annotating import Step
    from xnat_bids_push.archive import Archive
    from xnat_bids_push.identifying import Findings
    from xnat_bids_push.model import Explanation, Field
    from xnat_bids_push.preferences import Setting
    from xnat_bids_push.pushing import Survey
    from xnat_bids_push.removing import Removal

_COLOURS = {Grade.OK: "green", Grade.UNKNOWN: "dim", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}

_SIGNS: dict[str, str] = {State.MISSING: "green", State.DIFFERS: "yellow", State.EXTRA: "cyan"}

_GROUPED = 3
"""Places with problems from which on the end of a run groups them by their reasons."""

_MOST = 20
"""Lines of one kind that are shown; the rest is counted."""

_LONGEST = 10_000
"""Characters of one text that are shown."""

_FIELDS = "~"
"""The sign of a place whose fields alone are to be set."""


class Screen:
    """Tells a run: as text for people, or as one JSON object per line for programs."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._json, self._quiet = as_json, quiet
        self._out = Console(highlight=False)
        self._err = Console(stderr=True, highlight=False)
        self._tally = Tally()
        self._problems = 0
        self._fields_shown: deque[tuple[Field, ...]] = deque(maxlen=3)

    # ---------------------------------------------------------------- words

    def say(self, text: str, *, sign: str = "") -> None:
        """A line for people, with a sign before it that is seen at once; programs get none."""
        if not (self._json or self._quiet):
            mark = f"[{_SIGNS.get(sign, 'bold')}]{escape(sign)}[/] " if sign else ""
            _print(self._out, mark + escape(plain(text)))

    def note(self, text: str) -> None:
        """A line beside the results, on stderr."""
        if not self._quiet:
            _print(self._err, escape(plain(text)))

    def moment(self, text: str) -> None:
        """A line of a log."""
        self.note(f"{_now()}  {text}")

    def error(self, error: Exception) -> None:
        """Why a run ended; a dataset's issues come all at once."""
        if self._json:
            issues = error.issues if isinstance(error, DatasetError) else ()
            self._print_json({"event": "error", "message": str(error), "issues": [_issue_json(i) for i in issues]})
        if isinstance(error, DatasetError):
            self._issues(error.issues)
            number = count(len(error.issues), "problem")
            _print(self._err, f"[red]Nothing was written:[/] the dataset has {number}.")
        else:
            _print(self._err, f"[red]error:[/] {escape(plain(str(error), lines=True))}")

    def _issues(self, issues: tuple[Issue, ...], *, most: int = 200) -> None:
        for issue in issues[:most]:
            colour = "red" if issue.severity is Severity.ERROR else "yellow"
            where = f"{issue.path}: " if issue.path else ""
            _print(self._err, f"[{colour}]{issue.severity}:[/] {escape(plain(where + issue.message))}")
        if len(issues) > most:
            _print(self._err, f"… and {len(issues) - most} more")

    # ---------------------------------------------------------------- what would leave

    def privacy(self, findings: Findings, privacy: Privacy) -> None:
        """Show what may tell who participants are, before any of it leaves."""
        if self._json and findings.sums:
            self._print_json({"event": "privacy"} | findings.to_json())
        elif not (self._json or self._quiet):
            self._issues(tuple(findings.issues(privacy)))

    # ---------------------------------------------------------------- a plan

    def plan(self, plans: Iterator[NodePlan], archive: Archive, *, left_out: Sequence[str] = ()) -> bool:
        """Show what a push would do, and what is left out of it; whether there is nothing to do."""
        settled, states, nodes, size = True, dict.fromkeys(State, 0), 0, 0
        replacing = deleting = 0
        new: Counter[str] = Counter()
        subjects: set[str] = set()
        for one in plans:
            nodes += 1
            new["scan"] += len(new_scans(one))
            new["session"] += any(isinstance(step, ImportSession) for step in one.steps)
            subjects |= new_subjects(one)
            settled = settled and one.settled
            replacing += replaced(one)
            deleting += sum(step.files for step in one.steps if isinstance(step, Deletion))
            for finding in one.findings:
                states[finding.state] += 1
                size += finding.size if finding.state is State.MISSING else 0
            if self._json:
                self._print_json({"event": "plan"} | plan_json(one))
            elif not one.settled:
                self._node_plan(one)
        if self._json:
            total = {"settled": settled, "nodes": nodes} | {s.name.lower(): n for s, n in states.items()}
            self._print_json({"event": "summary", "bytes_to_send": size} | total)
            return settled
        for text in filter(None, left_out):
            self.note(f"left out: {text}")
        if settled:
            what = "has all that is taken of" if any(left_out) else "equals"
            self.say(f"Nothing to do: project {archive.project} {what} the dataset.")
        else:
            new["subject"] = len(subjects)
            self._plan_words(states, size, archive, new=new, replacing=replacing, deleting=deleting)
        return settled

    def refusal(self, reason: str) -> None:
        """Why the server would not let the user do what is planned."""
        if self._json:
            self._print_json({"event": "refusal", "message": reason})
        self.note(f"A push would be refused: {reason}")

    def _plan_words(
        self, states: dict[State, int], size: int, archive: Archive, *, new: Counter[str], replacing: int, deleting: int
    ) -> None:
        words = [count(new[kind], f"new {kind}") for kind in ("subject", "session", "scan") if new[kind]]
        words += [f"{count(states[State.MISSING], 'file')} to send ({human_size(size)})"]
        words += [f"{states[State.SAME]:,} there already"] if states[State.SAME] else []
        words += [f"{replacing:,} to be replaced"] if replacing else []
        differing = states[State.DIFFERS] - replacing
        words += [f"{differing:,} with another content, which stay as they are"] if differing else []
        words += [f"{states[State.KEPT]:,} with another content, which stay"] if states[State.KEPT] else []
        words += [f"{states[State.UNPROVEN]:,} to be proven"] if states[State.UNPROVEN] else []
        extra = states[State.EXTRA] - deleting
        words += [f"{deleting:,} to be deleted"] if deleting else []
        words += [f"{extra:,} in the archive only"] if extra > 0 else []
        self.say(f"Project {archive.project}: {', '.join(words)}. Nothing was changed.")

    def _node_plan(self, one: NodePlan) -> None:
        missing = [finding for finding in one.findings if finding.state is State.MISSING]
        others = [finding for finding in one.findings if finding.state not in (State.SAME, State.MISSING)]
        new = any(isinstance(step, ImportSession | CreateSubject) for step in one.steps)
        words = [f"{'new ' if new else ''}{kind_of(one.node)}"] if one.node.subject else []
        words += [scan_words(scans)] if (scans := new_scans(one)) else []
        if missing:
            words += [count(len(missing), "file"), human_size(sum(finding.size for finding in missing))]
        fields = [field for step in one.steps for field in step_fields(step)]
        if fields and not missing:
            words.append(count(len(fields), "field"))
        sign = State.MISSING if missing or new else others[0].state if others else _FIELDS
        text = f"{one.node}  {', '.join(words)}" + (f": {one.obstacle}" if one.obstacle else "")
        self.say(text, sign=sign)
        lines = [f"{f.state} {f.path or f.address}" + (f"  ({f.reason})" if f.reason else "") for f in others]
        changes = [field for step in one.steps if isinstance(step, SetFields) for field in step_fields(step)]
        lines += [f"delete {step}" for step in one.steps if isinstance(step, Deletion)]
        lines += [f"{_FIELDS} {field.path}: {field.value}  ({field.source})" for field in changes]
        for line in lines[:_MOST]:
            self.say(f"    {line}")
        if len(lines) > _MOST:
            self.say(f"    … and {len(lines) - _MOST} more")

    # ---------------------------------------------------------------- a run

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """Show that something goes on which may take minutes, if this is a terminal."""
        if self._json or self._quiet or not self._err.is_terminal:
            yield
            return
        with self._err.status(what):
            yield

    @contextmanager
    def running(self, verb: str, found: Survey | None = None) -> Iterator[Tally]:
        """Show how far a run is while it goes on: live in a terminal, else by a line now and then.

        Args:
            verb: what is done, as in "Pushing".
            found: how much there is to do, if that is known.
        """
        self._tally = Tally(found.sessions if found else None, found.size if found else None)
        with ExitStack() as stack:
            if self._json:
                stack.enter_context(told(self._tally, self._progress_json))
            elif not self._quiet and self._err.is_terminal:
                stack.enter_context(drawn(self._tally, self._err, verb))
            elif not self._quiet:
                stack.enter_context(told(self._tally, self._progress_line))
            yield self._tally

    def _progress_line(self, rate: float) -> None:
        self.note(f"{datetime.now():%H:%M:%S}  {', '.join(self._tally.words(rate=rate))}")  # noqa: DTZ005  # the user's own time

    def _progress_json(self, rate: float) -> None:
        self._print_json({"event": "progress"} | self._tally.to_json(rate=rate))

    def outcome(self, outcome: Outcome) -> None:
        """A node is settled, or given up."""
        self._tally.settle(outcome)
        if self._json:
            self._print_json({"event": "outcome"} | outcome_json(outcome))
        if outcome.done:
            return
        self._problems += 1
        if self._problems <= _MOST:
            for line in problem_lines(outcome):
                self.note(line)

    def arrived(self, outcome: Outcome, problems: Sequence[str]) -> None:
        """A node of a dataset that is watched: what came there, and what is wrong that was not told before."""
        self._tally.settle(outcome)
        if self._json and (outcome.sent_files or outcome.deleted_files or problems):
            self._print_json({"event": "outcome", "time": _now()} | outcome_json(outcome))
            return
        if outcome.sent_files:
            size = human_size(outcome.sent_bytes)
            self.moment(f"{outcome.node}: {count(outcome.sent_files, 'file')} sent ({size})")
        for line in problems:
            self.moment(line)

    def trouble(self, error: Exception) -> None:
        """Why something of a dataset that is watched could not be sent at present."""
        if self._json:
            self._print_json({"event": "trouble", "time": _now(), "message": str(error)})
            return
        for line in str(error).splitlines():
            self.moment(f"not sent: {line}")

    def interrupted(self) -> None:
        """The user, or the system, ended the run."""
        words = "Interrupted. What has arrived is safe in its place; the same command goes on from there."
        if self._json:
            self._print_json({"event": "error", "message": words, "issues": []})
        self.note(words)

    def report(self, report: Report, *, verb: str, place: str, command: str = "", receipt: Path | None = None) -> None:
        """The end of a run: is everything there, what is not, what now?

        Args:
            report: what to tell.
            verb: what was done.
            place: where.
            command: goes on with what was not done; empty if no command can.
            receipt: a push's, if one was written.
        """
        if self._json:
            if receipt is not None:
                kinds = ("json", "md5", "html")
                files: dict[str, object] = {kind: str(receipt.with_suffix(f".{kind}")) for kind in kinds}
                self._print_json({"event": "receipt"} | files)
            self._print_json({"event": "summary"} | report.to_json() | {"again": command})
            return
        self._result(report, verb, place, command)
        if receipt is not None:
            self.say(f"Receipt: {receipt.with_suffix('.html')}")

    def _result(self, report: Report, verb: str, place: str, command: str) -> None:
        if not self._quiet:
            self._issues(tuple(issue for issue in report.issues if issue.severity is Severity.WARNING), most=_MOST)
        self._left_out(report)
        if self._problems > _MOST:
            self.note(f"… and {self._problems - _MOST} more with problems")
        what = f"{count(report.kinds['session'], 'session')}, {count(report.files, 'file')}, {human_size(report.size)}"
        if report.ok:
            words = _ALL_WELL[verb].format(what=what, project=report.project, place=place)
            self.say(words.replace("Everything is", "Everything else is", 1) if str(report.omitted) else words)
            if report.sent_files or verb == "push":
                word = "Sent" if verb == "push" else "Fetched"
                sent = f"{count(report.sent_files, 'file')} ({human_size(report.sent_bytes)})"
                self.say(f"{word} {sent} this time, in {duration(self._tally.elapsed)}.")
        elif report.problems or report.stopped:
            self._causes(report)
            self.note(_not_well(report, verb))
            if command:
                self.note(f"To go on: {command}")
        if report.missing.number:
            here = "" if report.problems else f"What is here is there: {what}. "
            self.note(f"Not everything is there. Left out: {report.missing}. {here}{_GET_IT}")
        if str(report.omitted):
            (self.say if report.ok else self.note)(f"Left out: {report.omitted}.")
        if report.pictures is not None:
            first, *rest = report.pictures.lines()
            self.say(first)
            for line in rest[:_MOST]:
                self.note(line)
        if report.deleted_files:
            self.say(f"Deleted {count(report.deleted_files, 'file')} that the dataset does not have.")
        if report.states[State.KEPT]:
            self.note(f"{count(report.states[State.KEPT], 'file')} with another content there, left as asked.")

    def _causes(self, report: Report) -> None:
        """Why it is not well, each reason once: told where there are too many places to have been read one by one."""
        if report.stopped:
            self.note(f"The run ended before its end: {report.stopped}.")
        if report.problems < _GROUPED:
            return
        for words, cause in sorted(report.causes.items(), key=lambda one: -one[1].number)[:_MOST]:
            self.note(f"{count(cause.number, 'place')}: {words}  ({cause})")

    def _left_out(self, report: Report) -> None:
        for left in report.left_out[:_MOST]:
            self.note(f"left out: {left.path}: {left.reason}")
        if len(report.left_out) > _MOST:
            self.note(f"… and {len(report.left_out) - _MOST} more left out")
        if str(report.unchosen):
            self.note(f"left out: {report.unchosen}")

    # ---------------------------------------------------------------- an explanation

    def explanation(self, one: Explanation, uri: str) -> None:
        """Show why a file lives where it lives."""
        if self._json:
            self._print_json({"event": "explanation"} | explanation_json(one, uri))
            return
        _print(self._out, f"[bold]{escape(plain(one.path))}[/]")
        lines = [("rule", one.rule)]
        if one.address is not None:
            lines += [(kind, word) for kind, word in _places(one) if word]
            lines.append(("address", uri))
        for name, value in lines:
            _print(self._out, f"  {name:11}{escape(plain(value))}")
        if one.scan:
            self._fields("scan's fields", one.scan.fields)
        if one.address:
            self._fields(f"{kind_of(one.address.node)}'s fields", one.fields)
        self._fields("subject's fields", one.subject_fields)

    def _fields(self, title: str, fields: tuple[Field, ...]) -> None:
        if not fields:
            return
        if fields in self._fields_shown:
            _print(self._out, f"  {title}: as above")
            return
        self._fields_shown.append(fields)
        _print(self._out, f"  {title}")
        width = max(len(f"{field.path} = {field.value}") for field in fields)
        for field in fields:
            text = f"{field.path} = {field.value}"
            _print(self._out, f"    {escape(plain(f'{text:{min(width, 60)}}  {field.source}'))}")

    # ---------------------------------------------------------------- an examination

    def verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Show what was found, one line each, and the sum."""
        grades = Counter(one.grade for one in verdicts)
        for one in verdicts:
            if self._json:
                self._print_json({"event": "verdict"} | asdict(one))
            else:
                self._verdict(one)
        if self._json:
            self._print_json({"event": "summary"} | {grade.value: grades[grade] for grade in Grade})
            return
        bad = ", ".join(count(grades[one], one) for one in (Grade.PROBLEM, Grade.WARNING) if grades[one])
        self.say(f"{bad}." if bad else "All is well.")

    def _verdict(self, one: Verdict) -> None:
        if self._quiet and one.grade is not Grade.PROBLEM:
            return
        remedy = f" → {one.remedy}" if one.remedy else ""
        text = f"{one.check:11}{one.said}{remedy}"
        _print(self._out, f"[{_COLOURS[one.grade]}]{one.grade:8}[/] {escape(plain(text))}")

    # ---------------------------------------------------------------- a check

    def step(self, step: Step) -> None:
        """Show how one step of a check went."""
        if self._json:
            self._print_json({"event": "step", "failed": step.failed} | asdict(step))
            return
        self._issues(step.errors if self._quiet else step.problems)
        grade = Grade.PROBLEM if step.failed else Grade.UNKNOWN if step.skipped else Grade.OK
        word = "skipped" if step.skipped else grade.value
        if not self._quiet:
            text = f"{step.name:9}{step.said}".rstrip()
            _print(self._out, f"[{_COLOURS[grade]}]{word:8}[/] {escape(plain(text))}")

    def checked(self, steps: Sequence[Step]) -> None:
        """The end of a check."""
        broken = [step for step in steps if step.failed]
        if self._json:
            self._print_json({"event": "summary", "ok": not broken})
        elif broken:
            [step] = broken
            self.note(f"The dataset does not pass: {count(len(step.errors), 'problem')} at {step.name} (above).")
        else:
            self.say("The dataset passes: it can be pushed, and comes back as it is.")

    # ---------------------------------------------------------------- settings

    def settings(self, settings: Mapping[str, Setting]) -> None:
        """Show what counts, and who says so."""
        if self._json:
            for name, one in settings.items():
                self._print_json({"event": "setting", "name": name, "value": one.value, "origin": one.origin})
            return
        names, values = max(map(len, settings)), max(len(_shown(one.value)) for one in settings.values())
        for name, one in settings.items():
            _print(self._out, escape(plain(f"{name:{names}}  {_shown(one.value):{min(values, 40)}}  {one.origin}")))

    # ---------------------------------------------------------------- a removal

    def removal(self, removals: list[Removal]) -> int:
        """Show what would be deleted; how many things that is."""
        number = 0
        for removal in removals:
            for deletion in removal.deletions:
                number += 1
                if self._json:
                    self._print_json({"event": "delete", "what": str(deletion), "files": deletion.files})
                elif deletion.files:
                    self.say(f"- {deletion}  {count(deletion.files, 'file')}")
                else:
                    self.say(f"- subject {deletion}, if it is bare by then")
            for reason in removal.kept:
                self.note(f"  {reason}")
        return number

    def _print_json(self, content: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(content, default=str) + "\n")
        sys.stdout.flush()


def _now() -> str:
    """The user's own time, with its date: the lines of a watch go on for weeks."""
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"


def _shown(value: object) -> str:
    """A setting as the settings file has it; a number without its empty decimals."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "-"


def _places(one: Explanation) -> Iterator[tuple[str, str]]:
    """The nouns of an address, one by one."""
    if one.address is None:
        return
    node, scan = one.address.node, one.scan
    yield "subject", node.subject
    yield "experiment", f"{node.experiment} ({one.xsi_type})" if node.experiment else ""
    yield "scan", f"{scan.id} ({scan.xsi_type}), type {scan.type}" if scan else ""
    yield "resource", one.address.resource
    yield "file", one.address.name


_GET_IT = "Get it with datalad get, and push again."

_ALL_WELL = {
    "push": "Everything is there: {what} in project {project} of {place}, proven by the server's own digests.",
    "verify": "Everything is there: {what} in project {project} of {place}, by the server's own digests.",
    "verify --deep": "Everything is there: {what} in project {project} of {place}, read back and compared.",
    "verify --receipt": "All that the receipt has is there: {what} in project {project} of {place}.",
    "pull": "Everything is here: {what} from project {project}, each checked against the server's digest.",
    "remove": "Removed from project {project} what is listed above.",
    "remove --receipt": "Removed from project {project} what is listed above.",
}

_NOT_WELL = {
    "push": "Not everything is as in the dataset",
    "verify": "The archive is not equal to the dataset",
    "verify --deep": "The archive is not equal to the dataset",
    "verify --receipt": "The archive has not all that the receipt has",
    "pull": "Not everything could be brought back",
    "remove": "Not everything was removed",
    "remove --receipt": "Not everything that the push sent was removed",
}


def _not_well(report: Report, verb: str) -> str:
    """The end of a run that did not reach its aim: how much is wrong, what was not done, and what now."""
    states = report.states
    counts = (
        (states[State.MISSING], "missing"),
        (states[State.UNPROVEN], "not proven"),
        (states[State.DIFFERS], "with another content"),
        (states[State.EXTRA], "in the archive only"),
    )
    files = ", ".join(f"{count(number, 'file')} {what}" for number, what in counts if number)
    where = f"{report.problems} of {count(report.nodes, 'place')} in project {report.project}"
    words = [f"{_NOT_WELL[verb]}: {where} {'has' if report.problems == 1 else 'have'} problems (above)"]
    words[0] += f": {files}." if files else "."
    if report.by_size:
        number = count(report.by_size, "file")
        words.append(f"{number} there by the size only, as this server gives no digests: to prove more, verify --deep.")
    if (states[State.DIFFERS] or states[State.EXTRA]) and verb != "verify --receipt":
        words.append("What differs, or is not the dataset's, was left as it is (see --existing and --delete).")
    if report.denied:
        words.append("For some of it you lack the right: ask an owner of the project.")
    return " ".join(words).rstrip()


def _print(console: Console, markup: str) -> None:
    """A text, broken between words in a terminal. Paths and commands stay whole, so that they can be copied."""
    text = Text.from_markup(markup)
    if console.is_terminal:
        pieces = [piece for line in text.split("\n") for piece in line.divide(_breaks(line.plain, console.width))]
        for piece in pieces:
            piece.rstrip()
        text = Text("\n").join(pieces)
    console.print(text, soft_wrap=True)


def _breaks(line: str, width: int) -> Iterator[int]:
    """Where a line is to be broken, so that as few words as can be are too long.

    >>> list(_breaks("a bb ccc /a/long/path d", 6))
    [5, 9, 22]
    """
    start = 0
    for word in re.finditer(r"\S+", line):
        if word.start() > start and cell_len(line[start : word.end()]) > width:
            start = word.start()
            yield start


def _issue_json(issue: Issue) -> dict[str, object]:
    return {"severity": issue.severity, "path": issue.path, "message": issue.message}


def plain(text: str, *, lines: bool = False) -> str:
    r"""Text that a terminal only shows: names on disk and words of a server may hold signs that move its cursor.

    Signs that turn the direction of writing are among them, and the ends of lines, unless there may be several.

    >>> plain("a\x1b[2Jb\u202ec\nd")
    'a�[2Jb�c�d'
    """
    shown = "".join(char if char.isprintable() or (lines and char == "\n") else "�" for char in text[:_LONGEST])
    more = len(text) - len(shown)
    return shown + (f"… ({more:,} more characters)" if more else "")
