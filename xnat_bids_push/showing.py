"""A receipt as a page for people: one file that needs nothing else. The door to jinja2.

However long the receipt is, the page is bounded: so many participants, causes and names are shown; the rest is counted.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from itertools import groupby
from typing import IO, cast

from jinja2 import Environment, Template

from xnat_bids_push.choosing import kind_of_scan
from xnat_bids_push.model import Node
from xnat_bids_push.picturing import Gallery, Preview
from xnat_bids_push.receipt import Entry, Place, Proof, Receipt, Rows, Status
from xnat_bids_push.report import Cause, Pictures, count, human_size
from xnat_bids_push.uris import node_uri

PARTICIPANTS = 2000
"""Participants of which all is well and that are shown."""

TROUBLED = 500
"""Participants with problems that are shown beside them."""

TOGETHER = 100
"""Participants in one table."""

SESSIONS = 12
"""Experiments of one participant that are named and linked; the rest is counted."""

CAUSES = 50
NAMED = 10


def write_page(target: IO[str], receipt: Receipt, gallery: Gallery | None = None) -> None:
    """Write the page of a receipt, with the thumbnails of a gallery.

    Raises:
        ConfigError: the receipt is not whole.
    """
    matrix, causes = _Matrix(receipt), _Causes()
    for subject, places in groupby(receipt.places(), lambda place: place.node.subject):
        matrix.add(subject, causes.seen(places))
    left = _Causes()
    for one in receipt.left_out():
        left.add(one.reason, one.path)
    facts = _facts(receipt, receipt.tail(), matrix, causes, left)
    facts["previews"] = _previews(receipt, gallery or Gallery())
    facts["shown"] = "" if gallery is None or gallery.has_room else count(len(gallery.previews), "scan")
    for piece in _template().generate(facts):
        target.write(piece)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_visible)
    environment.filters |= {"size": human_size, "count": count, "moment": _moment}
    return environment.from_string(resources.files(__package__).joinpath("receipt.html").read_text("utf-8"))


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _visible(value: object) -> object:
    r"""Text with signs that hide, or turn the direction of a text, written out.

    >>> _visible("a\u202eb")
    'a‹U+202E›b'
    """
    if not isinstance(value, str) or value.isprintable() or hasattr(value, "__html__"):
        return value
    return "".join(sign if sign.isprintable() else f"‹U+{ord(sign):04X}›" for sign in value)


# ------------------------------------------------------------------ who has what

_RANKS = (Status.FAILED, Status.MISSING, Status.DIFFERS, Status.EXTRA, Status.KEPT, Status.REPLACED, Status.SENT)
"""What counts of a recording with several files: the first of these that one has; else it was there already."""

SIGNS: Mapping[Status, tuple[str, str]] = {
    Status.SENT: ("✓", "sent by this push"),
    Status.THERE: ("=", "there already"),
    Status.REPLACED: ("↻", "replaced"),
    Status.KEPT: ("≠", "another content there, left as asked"),
    Status.DIFFERS: ("✱", "another content there"),
    Status.MISSING: ("✗", "not in the archive"),
    Status.FAILED: ("✗", "failed"),
    Status.EXTRA: ("+", "in the archive only"),
    Status.DELETED: ("−", "deleted"),
}


def _worst(statuses: Iterable[Status]) -> Status:
    there = set(statuses)
    return next((one for one in _RANKS if one in there), Status.THERE)


@dataclass(frozen=True, slots=True)
class _Cell:
    """Recordings of a kind: the sign of the worst, how many there are, and how many of them are bad."""

    sign: str
    number: int
    kind: str
    bad: int

    def __str__(self) -> str:
        if self.bad and self.number > 1:
            return f"{self.sign} {self.bad} of {self.number}"
        return f"{self.sign} {self.number}" if self.number > 1 else self.sign


@dataclass(frozen=True, slots=True)
class _Row:
    """A participant; the experiments by their names without the participant's, with their pages."""

    subject: str
    link: str
    sessions: Sequence[tuple[str, str]]
    cells: Mapping[str, _Cell]
    bad: bool

    @property
    def name(self) -> str:
        return self.subject or "the dataset itself"


_OTHER = "other files"


@dataclass(slots=True)
class _Matrix:
    """Participants × recordings."""

    receipt: Receipt
    rows: list[_Row] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    well: int = 0
    bad: int = 0

    def add(self, subject: str, places: Iterable[Place]) -> None:
        """The places of a participant, or of nobody."""
        recordings: dict[tuple[str, str], list[Status]] = {}
        nodes: list[Node] = []
        for place in places:
            if place.node.experiment:
                nodes.append(place.node)
            for one in place.entries:
                kind = "_".join(filter(None, kind_of_scan(one.address.scan))) if one.address.scan else _OTHER
                spot = (kind, f"{place.node.experiment}/{one.address.scan}" if one.address.scan else one.address.name)
                recordings.setdefault(spot, []).append(one.status)
        row = self._row(subject, nodes, recordings)
        self.bad, self.well = self.bad + row.bad, self.well + (not row.bad)
        if (self.bad <= TROUBLED) if row.bad else (self.well <= PARTICIPANTS):
            self.rows.append(row)
            self.columns |= row.cells.keys()

    def _row(self, subject: str, nodes: Iterable[Node], recordings: Mapping[tuple[str, str], list[Status]]) -> _Row:
        kinds: dict[str, list[Status]] = {}
        for (kind, _), statuses in recordings.items():
            kinds.setdefault(kind, []).append(_worst(statuses))
        cells = {kind: _cell(statuses) for kind, statuses in kinds.items()}
        link = page_of(self.receipt, Node(subject))
        sessions = [(node.experiment.removeprefix(f"{subject}_"), page_of(self.receipt, node)) for node in nodes]
        return _Row(subject, link, sessions, cells, any(cell.bad for cell in cells.values()))

    @property
    def hidden(self) -> int:
        """How many participants are counted only."""
        return self.well + self.bad - len(self.rows)

    def ordered(self) -> list[str]:
        """The columns, what belongs to no recording last."""
        return sorted(self.columns, key=lambda kind: (kind == _OTHER, kind))

    def groups(self) -> Iterator[Sequence[_Row]]:
        """The rows, so many together as a page can show at once."""
        yield from (self.rows[start : start + TOGETHER] for start in range(0, len(self.rows), TOGETHER))


def _cell(statuses: Sequence[Status]) -> _Cell:
    worst = _worst(statuses)
    bad = sum(not status.is_well for status in statuses)
    return _Cell(SIGNS[worst][0], len(statuses), "_".join(worst.split()), bad)


def page_of(receipt: Receipt, node: Node) -> str:
    """The page of a node on its server; "" for a local archive, which has no address of its own."""
    if not receipt.server.startswith(("https://", "http://")):
        return ""
    return f"{receipt.server.rstrip('/')}{node_uri(node, receipt.project)}?format=html"


# ------------------------------------------------------------------ what it looks like


@dataclass(frozen=True, slots=True)
class _Picture:
    """A thumbnail, in the page itself, and its size in pixels."""

    scan: str
    shows: str
    data: str
    size: tuple[int, int]


def _previews(receipt: Receipt, gallery: Gallery) -> list[tuple[str, str, list[_Picture]]]:
    """Experiments with their pages and the thumbnails of their scans."""
    return [
        (node.experiment, page_of(receipt, node), [_picture(one) for one in previews])
        for node, previews in groupby(gallery.previews, lambda one: one.node)
    ]


def _picture(one: Preview) -> _Picture:
    width, height = (int.from_bytes(one.image[at : at + 2], "little") for at in (6, 8))
    return _Picture(one.scan, one.shows, f"data:image/gif;base64,{b64encode(one.image).decode()}", (width, height))


# ------------------------------------------------------------------ what went wrong


@dataclass(slots=True)
class _Cause:
    number: int = 0
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Causes:
    """Things with the same reason, counted; the first ones named."""

    found: dict[str, _Cause] = field(default_factory=dict)
    rest: int = 0
    unproven: int = 0

    def add(self, reason: str, name: str) -> None:
        """One more."""
        if reason not in self.found and len(self.found) >= CAUSES:
            self.rest += 1
            return
        cause = self.found.setdefault(reason, _Cause())
        cause.number += 1
        if len(cause.names) < NAMED:
            cause.names.append(name)

    def seen(self, places: Iterable[Place]) -> Iterator[Place]:
        """Note what is wrong with files that pass by."""
        for place in places:
            for one in place.entries:
                self.unproven += one.proof is Proof.SIZE
                if not one.status.is_well:
                    self.add(f"{_words(one)}\n{_WAY_ON[one.status]}", one.path or str(one.address))
            if place.failure and all(one.status.is_well for one in place.entries):
                self.add(f"{place.failure}\n{_WAY_ON[Status.FAILED]}", str(place.node))
            yield place


def _words(one: Entry) -> str:
    reason = f": {one.reason}" if one.reason else ""
    # Sizes are each file's own, and would make a cause of each.
    return SIGNS[one.status][1] + ("" if one.status is Status.DIFFERS and one.size != one.stored_size else reason)


_WAY_ON = {
    Status.FAILED: "Push again to go on; what is there is not sent again.",
    Status.MISSING: "Push again to go on; what is there is not sent again.",
    Status.DIFFERS: "It was left as it is. To replace it: push with --existing replace; to leave it: --existing skip.",
    Status.EXTRA: "It was left there. To delete it: look at it with plan --delete, then push with --delete.",
}


# ------------------------------------------------------------------ all together


def _facts(receipt: Receipt, tail: Rows, matrix: _Matrix, causes: _Causes, left: _Causes) -> dict[str, object]:
    totals = cast("Mapping[str, Mapping[str, int]]", tail["totals"])
    begun, ended = (datetime.fromisoformat(str(one)) for one in (receipt.head["started"], tail["ended"]))
    seconds = int((ended - begun).total_seconds())
    sent = int(cast("int", tail["sent_bytes"]))
    return {
        "head": receipt.head,
        "tail": tail,
        "name": _name(receipt.head),
        "page": page_of(receipt, Node()),
        "duration": _duration(seconds),
        "phases": _phases(cast("Mapping[str, float]", tail.get("seconds", {})), seconds),
        "pictures": _pictures(tail.get("pictures")),
        "sessions": SESSIONS,
        "rate": f"{human_size(sent // seconds)} a second" if seconds and sent else "",
        "sent": human_size(sent),
        "totals": [(one, SIGNS.get(one, ("", ""))[0], totals[one]) for one in Status if totals[one]["files"]],
        "whole": sum(totals[one]["files"] for one in Status if one.is_there),
        "signs": [(SIGNS[one][0], SIGNS[one][1]) for one in Status if one in SIGNS and totals[one]["files"]],
        "matrix": matrix,
        "causes": _sorted(causes),
        "causes_rest": causes.rest,
        "unproven": causes.unproven,
        "warnings": _sorted(_of_issues(tail["issues"])),
        "fields": _sorted(_of_issues(tail["fields_not_set"])),
        "left": _sorted(left),
    }


def _name(head: Rows) -> str:
    dataset = cast("Rows", head["dataset"])
    return str(cast("Rows", dataset["description"]).get("Name") or dataset["root"])


def _of_issues(issues: object) -> _Causes:
    found = _Causes()
    for one in cast("list[Rows]", issues):
        found.add(str(one["message"]), str(one["path"]))
    return found


def _sorted(causes: _Causes) -> list[tuple[str, str, int, list[str], int]]:
    """Reason, way on, number, names, further names; the most frequent first."""
    order = Counter({reason: cause.number for reason, cause in causes.found.items()}).most_common()
    rows = []
    for reason, number in order:
        words, _, way_on = reason.partition("\n")
        names = causes.found[reason].names
        rows.append((words, way_on, number, names, number - len(names)))
    return rows


def _phases(seconds: Mapping[str, float], all_: int) -> list[tuple[str, str, int]]:
    """What the time went by with: in words, how long, and in how much of the time, in percent."""
    found = [(words, seconds.get(phase, 0.0)) for phase, words in _PHASES.items()]
    return [(words, _duration(round(part)), round(100 * part / max(all_, 1))) for words, part in found if part >= 1]


_PHASES = {
    "reading": "reading the dataset",
    "comparing": "comparing with what is there",
    "sending": "sending",
    "proving": "having the server compute digests",
    "waiting": "waiting for a server in trouble",
    "pictures": "making pictures",
}


def _pictures(told: object) -> Sequence[str]:
    """What was done about pictures, in lines."""
    if not isinstance(told, dict):
        return ()
    causes = {str(one["reason"]): Cause(int(one["scans"]), tuple(one["first"])) for one in told["not_made"]}
    counts = {name: int(told[name]) for name in ("made", "there", "foreign", "without")}
    lines = Pictures(**counts, causes=causes, given_up=str(told["given_up"])).lines()
    return tuple(line.removeprefix("Pictures: ") for line in lines)


def _duration(seconds: int) -> str:
    """A time for people.

    >>> _duration(59), _duration(3700)
    ('59 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds % 60} s"
