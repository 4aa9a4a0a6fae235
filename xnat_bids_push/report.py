"""What a run says at its end: to people, and to programs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_of

from xnat_bids_push.model import (
    CreateScans,
    CreateSubject,
    Deletion,
    Explanation,
    Field,
    FillResource,
    Finding,
    ImportSession,
    Issue,
    LeftOut,
    Node,
    NodePlan,
    Origin,
    Outcome,
    Parcel,
    Scan,
    SendFile,
    SetFields,
    State,
    Step,
)

_KEPT = 1000
"""Outcomes that are not done and stay in memory, however many there are; the counts go on."""


@dataclass(frozen=True, slots=True)
class Unchosen:
    """What the filters did not take, counted.

    Args:
        files: of the subjects that were looked at.
        options: the filters' options.
    """

    subjects: int = 0
    files: int = 0
    options: str = ""

    def __str__(self) -> str:
        counts = ((self.subjects, "participant"), (self.files, "file"))
        what = ", ".join(count(number, noun) for number, noun in counts if number)
        return f"{what} not chosen ({self.options})" if what else ""


_NOTHING = Unchosen()

_NAMED = 5
"""Files without content that are named; all are counted."""


@dataclass(slots=True)
class Missing:
    """Files, and folders of subdatasets, whose content is not here, and which were skipped: how many, and the first."""

    number: int = 0
    first: tuple[str, ...] = ()

    def add(self, path: str) -> None:
        """Count one more."""
        self.number += 1
        if self.number <= _NAMED:
            self.first += (path,)

    def __str__(self) -> str:
        names = ", ".join(self.first) + (", …" if self.number > len(self.first) else "")
        return f"{count(self.number, 'file')} whose content is not here (git-annex): {names}" if self.number else ""


@dataclass(frozen=True, slots=True)
class Omitted:
    """What is left out because of the site, counted.

    Args:
        types: of the experiments that are left out.
        files: in those.
        project_files: of the project itself.
    """

    types: frozenset[str] = frozenset()
    sessions: int = 0
    files: int = 0
    project_files: int = 0

    def has(self, parcel: Parcel) -> bool:
        """Whether a parcel is left out."""
        return parcel.xsi_type in self.types or bool(self.project_files and parcel.node == Node())

    def __str__(self) -> str:
        parts = []
        if self.sessions:
            what = f"{count(self.sessions, 'session')} with {count(self.files, 'file')}"
            parts.append(f"{what}, of types that the site has not set up ({', '.join(sorted(self.types))})")
        if self.project_files:
            parts.append(f"{count(self.project_files, 'file')} of the project itself")
        return "; ".join(parts)


_NO_OMISSION = Omitted()


@dataclass(slots=True)
class Cause:
    """Why something is not done: at how many places, and the first of them."""

    number: int = 0
    first: tuple[str, ...] = ()

    def add(self, name: object) -> None:
        """Count one more."""
        self.number += 1
        if len(self.first) < _EXAMPLES:
            self.first += (str(name),)

    def __str__(self) -> str:
        return ", ".join(self.first) + (", …" if self.number > len(self.first) else "")


_EXAMPLES = 3
_CAUSES = 50
"""Causes that are told apart, and participants whom a command names."""

_OTHER = "other reasons"


@dataclass(slots=True)
class Rest:
    """Whom another run concerns: participants and sessions, by their labels in BIDS.

    Args:
        sessions: empty where what is left is not of sessions only.
        everybody: whether it concerns more than some participants.
    """

    participants: set[str] = made_of(default_factory=set)
    sessions: set[str] = made_of(default_factory=set)
    whole: bool = False
    everybody: bool = False

    def add(self, folder: str) -> None:
        """Take in one place, by its folder in the dataset."""
        subject, _, session = folder.strip("/").partition("/")
        self.everybody = self.everybody or not subject.startswith("sub-") or len(self.participants) >= _CAUSES
        self.participants.add(subject.removeprefix("sub-"))
        self.whole = self.whole or not session.startswith("ses-")
        self.sessions.add(session.removeprefix("ses-"))

    def options(self) -> tuple[str, ...]:
        """The options of a command that concerns these only.

        >>> rest = Rest()
        >>> rest.add("sub-02/ses-a/"), rest.add("sub-01/ses-a/"), rest.options()
        (None, None, ('--participant-label', '01', '02', '--session-label', 'a'))
        """
        if self.everybody or not self.participants:
            return ()
        sessions = () if self.whole else ("--session-label", *sorted(self.sessions))
        return ("--participant-label", *sorted(self.participants), *sessions)


@dataclass(slots=True)
class Pictures:
    """What a push did about pictures, counted in scans.

    Args:
        there: whose pictures were there already.
        foreign: that have somebody else's pictures, which stay.
        without: of formats that no pictures are made of.
        causes: why there are none of some.
        given_up: why no more were sent at some point; empty if that did not happen.
    """

    made: int = 0
    there: int = 0
    foreign: int = 0
    without: int = 0
    causes: dict[str, Cause] = made_of(default_factory=dict)
    given_up: str = ""

    def add(self, reason: str, name: str) -> None:
        """Count one more that there is none of."""
        known = reason if reason in self.causes or len(self.causes) < _CAUSES else _OTHER
        self.causes.setdefault(known, Cause()).add(name)

    def lines(self) -> Iterator[str]:
        """The same for people.

        >>> list(Pictures(made=2, there=1, without=3).lines())
        ['Pictures: 2 scans got theirs, 1 scan had them, 3 scans of formats that there are none of.']
        """
        kinds = {"got theirs": self.made, "had them": self.there, "with somebody else's, which stay": self.foreign}
        kinds["of formats that there are none of"] = self.without
        told = [f"{count(number, 'scan')} {what}" for what, number in kinds.items() if number]
        yield f"Pictures: {', '.join(told) or 'none'}."
        for reason, cause in sorted(self.causes.items(), key=lambda one: -one[1].number):
            yield f"no picture of {count(cause.number, 'scan')}: {reason}  ({cause})"
        if self.given_up:
            yield f"pictures were given up, and the next push with --snapshots goes on: {self.given_up}"

    def to_json(self) -> dict[str, object]:
        """The same for programs."""
        causes = [{"reason": why, "scans": one.number, "first": list(one.first)} for why, one in self.causes.items()]
        counts = {"made": self.made, "there": self.there, "foreign": self.foreign, "without": self.without}
        return counts | {"not_made": causes, "given_up": self.given_up}


@dataclass(slots=True)
class Report:
    """The sum of a run's outcomes. Its size does not grow with the number of sessions that went well.

    Args:
        server: the archive's address.
        project: the project's ID.
        issues: what the dataset's reader had to say.
        left_out: what was not pushed, on purpose.
        unchosen: what the filters left out.
        missing: what was skipped because its content is not here.
        omitted: what is left out because of the site.
        privacy: what may tell who participants are, by kind, and who waived that.
        folder_of: gives a node's folder in the dataset.
        causes: why something is not done, the same reasons together.
        rest: whom another run concerns.
        passing: at how many places the server failed, and may not the next time.
        stopped: why the run ended before its end; empty if it did not.
        by_size: files that are there by their size only, as the server gives no digest.
        unset: what could not be told in XNAT's fields; among the issues, too.
        survived: errors of rounds that were followed by another one, by their words.
        pictures: what was done about pictures, if they were asked for.
        seconds: how long the phases of a push took, if it was done here.
    """

    server: str
    project: str
    issues: tuple[Issue, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unchosen: Unchosen = _NOTHING
    missing: Missing = made_of(default_factory=Missing)
    omitted: Omitted = _NO_OMISSION
    privacy: Mapping[str, object] = made_of(default_factory=dict)
    folder_of: Callable[[Node], str | None] = made_of(default=lambda _: None, compare=False, repr=False)
    unset: tuple[Issue, ...] = ()
    survived: Counter[str] = made_of(default_factory=Counter)
    pictures: Pictures | None = None
    seconds: Mapping[str, float] = made_of(default_factory=dict)
    nodes: int = 0
    files: int = 0
    size: int = 0
    sent_files: int = 0
    sent_bytes: int = 0
    deleted_files: int = 0
    states: Counter[State] = made_of(default_factory=Counter)
    kinds: Counter[str] = made_of(default_factory=Counter)
    problems: int = 0
    denied: int = 0
    failed: list[Outcome] = made_of(default_factory=list)
    causes: dict[str, Cause] = made_of(default_factory=dict)
    rest: Rest = made_of(default_factory=Rest)
    passing: int = 0
    stopped: str = ""
    by_size: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one node's outcome."""
        self.nodes += 1
        self.kinds[kind_of(outcome.node)] += 1
        self.sent_files += outcome.sent_files
        self.sent_bytes += outcome.sent_bytes
        self.deleted_files += outcome.deleted_files
        for finding in outcome.findings:
            self.states[finding.state] += 1
            self.by_size += _is_by_size(finding) and not outcome.failure
            if finding.origin is Origin.DATASET and finding.state is not State.EXTRA:
                self.files += 1
                self.size += finding.size
        if not outcome.done:
            self.problems += 1
            self.denied += outcome.denied
            self.passing += bool(outcome.cause) and not outcome.denied
            if len(self.failed) < _KEPT:
                self.failed.append(outcome)
            words = cause_of(outcome)
            known = words if words in self.causes or len(self.causes) < _CAUSES else _OTHER
            self.causes.setdefault(known, Cause()).add(outcome.node)
            self.rest.add(self.folder_of(outcome.node) or "")

    @property
    def ok(self) -> bool:
        """Whether the archive was seen to equal the dataset, as far as it was chosen."""
        return self.problems == 0 and self.missing.number == 0 and not self.stopped

    @property
    def can_go_on(self) -> bool:
        """Whether the same once more may do what was not done."""
        lacking = self.states[State.MISSING] + self.states[State.UNPROVEN] - self.by_size + self.passing
        return bool(self.stopped) or (lacking > 0 and self.problems > self.denied)

    def to_json(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {
            "server": self.server,
            "project": self.project,
            "ok": self.ok,
            "sessions": self.kinds["session"],
            "files": self.files,
            "bytes": self.size,
            "sent_files": self.sent_files,
            "sent_bytes": self.sent_bytes,
            "deleted_files": self.deleted_files,
            "by_size": self.by_size,
            "states": {state.name.lower(): count for state, count in self.states.items()},
            "problems": self.problems,
            "causes": [
                {"cause": words, "places": one.number, "first": list(one.first)} for words, one in self.causes.items()
            ],
            "stopped": self.stopped,
            "issues": [{"severity": i.severity, "path": i.path, "message": i.message} for i in self.issues],
            "left_out": [{"path": left.path, "reason": left.reason} for left in self.left_out],
            "missing_content": {"files": self.missing.number, "first": list(self.missing.first)},
            "omitted": {
                "sessions": self.omitted.sessions,
                "files": self.omitted.files,
                "project_files": self.omitted.project_files,
                "types": sorted(self.omitted.types),
            },
            "privacy": dict(self.privacy),
            "unchosen": {"participants": self.unchosen.subjects, "files": self.unchosen.files},
        } | ({"pictures": self.pictures.to_json()} if self.pictures is not None else {})


def _is_by_size(finding: Finding) -> bool:
    stored = finding.stored
    return finding.state is State.UNPROVEN and stored is not None and stored.size == finding.size and not stored.md5


def cause_of(outcome: Outcome) -> str:
    """Why something is not done, in words that are the same wherever the reason is.

    >>> cause_of(Outcome(Node("sub-01", "sub-01_MR"), (), failure="sub-01_MR exists under subject X"))
    '… exists under subject X'
    """
    if outcome.cause or outcome.failure:
        words = outcome.cause or outcome.failure
        for label in filter(None, (outcome.node.experiment, outcome.node.subject)):
            words = words.replace(label, "…")
        return words
    finding = max(outcome.findings, key=lambda one: one.state not in (State.SAME, State.KEPT))
    reason = "" if any(char.isdigit() for char in finding.reason) else finding.reason
    return f"{_STATE_WORDS[finding.state]} ({reason})" if reason else _STATE_WORDS[finding.state]


def kind_of(node: Node) -> str:
    """What a node is, in a word."""
    if node.experiment:
        return "session"
    return "subject" if node.subject else "project"


def outcome_json(outcome: Outcome) -> dict[str, object]:
    """One node's outcome as a JSON object."""
    return {
        "kind": kind_of(outcome.node),
        "subject": outcome.node.subject,
        "experiment": outcome.node.experiment,
        "done": outcome.done,
        "failure": outcome.failure,
        "sent_files": outcome.sent_files,
        "sent_bytes": outcome.sent_bytes,
        "findings": [finding_json(f) for f in outcome.findings if f.state is not State.SAME],
    }


def plan_json(plan: NodePlan) -> dict[str, object]:
    """One node's plan as a JSON object."""
    return {
        "kind": kind_of(plan.node),
        "subject": plan.node.subject,
        "experiment": plan.node.experiment,
        "settled": plan.settled,
        "obstacle": plan.obstacle,
        "steps": [type(step).__name__ for step in plan.steps],
        "fields": [field_json(field) for step in plan.steps for field in step_fields(step)],
        "findings": [finding_json(f) for f in plan.findings if f.state is not State.SAME],
    }


def step_fields(step: Step) -> tuple[Field, ...]:
    """All fields that a step sets."""
    match step:
        case ImportSession(parcel):
            return parcel.fields + tuple(field for scan in parcel.scans for field in scan.fields)
        case SetFields(fields=fields, scans=scans):
            return fields + tuple(field for scan in scans for field in scan.fields)
        case CreateScans(scans=scans):
            return tuple(field for scan in scans for field in scan.fields)
        case CreateSubject(fields=fields):
            return fields
        case FillResource() | SendFile() | Deletion():
            return ()


def new_scans(plan: NodePlan) -> tuple[Scan, ...]:
    """The scans that a plan makes."""
    made = (one for one in plan.steps if isinstance(one, ImportSession | CreateScans))
    return tuple(scan for one in made for scan in (one.parcel.scans if isinstance(one, ImportSession) else one.scans))


def new_subjects(plan: NodePlan) -> frozenset[str]:
    """The subjects that a plan makes, if no other one has made them before: each plan of a subject names it."""
    return frozenset(step.label for step in plan.steps if isinstance(step, CreateSubject))


def scan_words(scans: Sequence[Scan], *, most: int = 4) -> str:
    """Scans in a few words: how many, and of which types.

    >>> scan_words([Scan(name, "", name.partition("_")[2], "") for name in ("1_T1w", "2_bold", "3_bold")])
    '3 scans (T1w, 2 bold)'
    >>> scan_words([Scan("1_meg", "", "meg", ""), Scan("2_meg", "", "meg", "")])
    '2 scans (meg)'
    """
    types = Counter(scan.type for scan in scans)
    named = [f"{number} {kind}" if 1 < number < len(scans) else kind for kind, number in list(types.items())[:most]]
    more = ["…"] if len(types) > most else []
    return f"{count(len(scans), 'scan')} ({', '.join(named + more)})"


def explanation_json(one: Explanation, uri: str) -> dict[str, object]:
    """An explanation as a JSON object."""
    node = one.address.node if one.address else Node()
    return {
        "path": one.path,
        "rule": one.rule,
        "uri": uri,
        "subject": node.subject,
        "experiment": node.experiment,
        "xsi_type": one.xsi_type,
        "scan": one.scan.id if one.scan else "",
        "scan_xsi_type": one.scan.xsi_type if one.scan else "",
        "scan_type": one.scan.type if one.scan else "",
        "resource": one.address.resource if one.address else "",
        "scan_fields": [field_json(field) for field in one.scan.fields] if one.scan else [],
        "fields": [field_json(field) for field in one.fields],
        "subject_fields": [field_json(field) for field in one.subject_fields],
    }


def replaced(plan: NodePlan) -> int:
    """How many files with another content a plan replaces, or makes ready to."""
    sent = {
        placed.file.path
        for step in plan.steps
        if isinstance(step, FillResource | SendFile)
        for placed in (step.files if isinstance(step, FillResource) else (step.placed,))
    }
    return sum(finding.state is State.DIFFERS and finding.path in sent for finding in plan.findings)


def field_json(field: Field) -> dict[str, object]:
    """One field as a JSON object."""
    return {"path": field.path, "value": field.value, "source": field.source}


def finding_json(finding: Finding) -> dict[str, object]:
    """One finding as a JSON object."""
    return {
        "state": finding.state.name.lower(),
        "path": finding.path,
        "address": str(finding.address),
        "bytes": finding.size,
        "reason": finding.reason,
    }


def problem_lines(outcome: Outcome, *, most: int = 5) -> Iterator[str]:
    """What is wrong at a node: the failure, and the files it concerns."""
    if outcome.failure:
        yield f"{outcome.node}: {outcome.failure}"
    findings = [finding for finding in outcome.findings if finding.state not in (State.SAME, State.KEPT)]
    for finding in findings[:most]:
        yield f"{finding.state} {finding.path or finding.address}: {finding_words(finding)}"
    if len(findings) > most:
        yield f"  … and {len(findings) - most} more in {outcome.node}"


def finding_words(finding: Finding) -> str:
    """How one address compares, in words."""
    reason = f" ({finding.reason})" if finding.reason else ""
    return f"{_STATE_WORDS[finding.state]}{reason}"


_STATE_WORDS = {
    State.SAME: "in the archive",
    State.MISSING: "not in the archive",
    State.DIFFERS: "differs in the archive, and was left as it is",
    State.KEPT: "differs in the archive, and stays as it is",
    State.EXTRA: "in the archive only, and was left there",
    State.UNPROVEN: "not proven to be in the archive",
}


def human_size(size: int) -> str:
    """Bytes for people, in powers of 1000.

    >>> human_size(999), human_size(1_500_000)
    ('999 B', '1.5 MB')
    """
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if round(value, 1) < 1000 or unit == "TB":
            break
    return f"{value:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "session"), count(1200, "file")
    ('1 session', '1,200 files')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
