"""The nouns: what the disk holds, what the server holds, and what lies between. No I/O.

::

    BidsFile ──placed at──▶ Address = (Node, scan, resource, name)
    Part     the files of one subject folder (or of none)
    Parcel   what the dataset has for one Node
    Holding  what the server has at one Node
    Step     one thing to do           Finding  one address, compared

What there are as many of as files is a named tuple: it is made, compared and looked up in a fraction of the time that a
frozen dataclass takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType

Md5 = NewType("Md5", str)
"""An MD5 digest as 32 lower-case hexadecimal digits: what XNAT keeps of each file."""


# ------------------------------------------------------------------ the disk


class Severity(StrEnum):
    """Whether an issue stops the push."""

    ERROR = "error"
    WARNING = "warning"


class Validation(StrEnum):
    """What becomes of the official validator's errors before a push."""

    REQUIRE = "require"
    """They stop it."""
    WARN = "warn"
    """They are told."""
    OFF = "off"
    """The validator is not run."""


class Privacy(StrEnum):
    """What becomes of content that may tell who a participant is, before a push."""

    REQUIRE = "require"
    """It stops it, unless that is waived."""
    WARN = "warn"
    """It is told."""
    OFF = "off"
    """Nothing is looked into."""


class Existing(StrEnum):
    """What becomes of a file of the dataset that the server holds with another content."""

    FAIL = "fail"
    """It is reported, and stays; the run does not succeed."""
    SKIP = "skip"
    """It stays; that is no failure."""
    REPLACE = "replace"
    """It is replaced, once the new content is proven."""


class Dates(StrEnum):
    """Which dates are told."""

    NONE = "none"
    SHIFTED = "shifted"
    """Only those that are marked as shifted, by lying before 1925."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Issue:
    """Something about the dataset that the user should know, and what to do about it."""

    severity: Severity
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}" if self.path else f"{self.severity}: {self.message}"


class BidsFile(NamedTuple):
    """A file of the dataset.

    Args:
        path: relative to the dataset's root, with ``/``; its identity.
        size: in bytes.
        content: where the bytes are: a path on this machine as a text (a `Path` would cost as much as all else here),
            or the bytes themselves for the few small files that the push itself makes.
        stamp: modification time in ns; with the size it tells that a file changed while it was read.
        absent: whether git-annex has the content elsewhere; it has an address all the same.
        ignored: whether ``.bidsignore`` declares it to be no BIDS.
    """

    path: str
    size: int
    content: str | bytes
    stamp: int = 0
    absent: bool = False
    ignored: bool = False


class MarkKind(StrEnum):
    """What XNAT cannot hold, and a manifest carries."""

    LINK = "link"
    FOLDER = "empty folder"
    EXECUTABLE = "executable"
    GENERATED = "generated"
    """A file that the push made, and that is none of the dataset's."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A fact about a path that XNAT has no place for; `target` is a link's, or a generated file's MD5."""

    path: str
    kind: MarkKind
    target: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that is not pushed, on purpose."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one subject, or (`subject` empty) those of no subject.

    Args:
        subject: the folder's name, ``sub-01``.
        files: sorted by path.
        uninstalled: folders of subdatasets that are not installed.
    """

    subject: str
    files: tuple[BidsFile, ...] = ()
    marks: tuple[Mark, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    issues: tuple[Issue, ...] = ()
    uninstalled: tuple[str, ...] = ()


# ------------------------------------------------------------------ between


class Node(NamedTuple):
    """An XNAT object that holds resources: the project, a subject, or an experiment.

    Args:
        subject: the subject's label; empty for the project.
        experiment: the experiment's label; empty for the project and for a subject.
    """

    subject: str = ""
    experiment: str = ""

    def __str__(self) -> str:
        return self.experiment or self.subject or "project"


class Address(NamedTuple):
    """Where one file lives in XNAT.

    Args:
        node: the object.
        scan: the scan's ID within the experiment; empty for the node's own resources.
        resource: the resource's label.
        name: the path below the resource, as XNAT stores it.
    """

    node: Node
    scan: str
    resource: str
    name: str

    def __str__(self) -> str:
        (subject, experiment), scan, resource, name = self
        return "/".join(filter(None, (subject, experiment, scan and f"scans/{scan}", resource, name)))


class Origin(StrEnum):
    """Who made a file's content."""

    DATASET = "dataset"
    COPY = "copy"
    """A further copy of a dataset file, because XNAT's own tools look for it there."""
    GENERATED = "generated"
    """A sidecar made of inherited metadata, for XNAT's own tools."""
    MANIFEST = "manifest"
    """Made by the push: what XNAT cannot hold."""


class Placed(NamedTuple):
    """A file, its one address, and the rule that put it there."""

    file: BidsFile
    address: Address
    rule: str
    origin: Origin = Origin.DATASET


@dataclass(frozen=True, slots=True, order=True)
class Field:
    """One of XNAT's own fields of an item, and where its value comes from.

    Args:
        path: below the item's type, as XNAT's schema has it: ``parameters/tr``. One of several elements of a kind is
            named by an attribute: ``parameters/addParam[name=EchoTrainLength]``.
        value: as XNAT wants it, in XNAT's unit.
        source: for people: ``RepetitionTime in task-rest_bold.json``.
    """

    path: str
    value: str
    source: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Scan:
    """A scan to be.

    Args:
        fields: XNAT's own fields of it, beside type, description and quality.
    """

    id: str
    xsi_type: str
    type: str
    series_description: str
    quality: str = "usable"
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """What the dataset has for one node.

    Args:
        xsi_type: the experiment's type; empty for project and subject.
        fields: the experiment's own fields, or the subject's.
        aside: addresses of dataset files that are not spoken of, because they are not chosen, or absent.
        shared: addresses in `files` that belong to what is set aside, too.
        accepts: types of an experiment that is there already which will do as well.
    """

    node: Node
    xsi_type: str
    scans: tuple[Scan, ...]
    files: tuple[Placed, ...]
    fields: tuple[Field, ...] = ()
    aside: frozenset[Address] = frozenset()
    shared: frozenset[Address] = frozenset()
    accepts: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """All bytes of the files."""
        return sum(placed.file.size for placed in self.files)


# ------------------------------------------------------------------ the server


class StoredFile(NamedTuple):
    """A file as the server's listing tells it.

    Args:
        size: in bytes; -1 where the server does not say (the file is missing on its disk).
        md5: as the server computed it; empty where it has not.
    """

    address: Address
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment that the server lists."""

    id: str
    label: str
    subject: str
    xsi_type: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The fields that the server shows of a node: path → value; and those of its scans, by the scan's ID."""

    own: Mapping[str, str]
    scans: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holding:
    """What the server has at one node; `id` is empty where the node does not exist.

    Args:
        shown: its fields, where they were asked for.
    """

    node: Node
    id: str = ""
    xsi_type: str = ""
    files: dict[Address, StoredFile] = field(default_factory=dict)
    shown: Shown | None = None


# ------------------------------------------------------------------ deciding


class State(StrEnum):
    """How one address compares; the values are the signs that a plan shows."""

    SAME = "="
    MISSING = "+"
    DIFFERS = "*"
    EXTRA = "-"
    KEPT = "≠"
    """Another content on the server, which stays because the user said so."""
    UNPROVEN = "?"
    """The size is right, but the server has no digest yet."""


class Deed(StrEnum):
    """What a run did about one address."""

    NONE = ""
    SENT = "sent"
    """Nothing was there before."""
    REPLACED = "replaced"


class Finding(NamedTuple):
    """One address, compared: the plan's smallest statement.

    Args:
        path: the dataset path that belongs there.
        reason: for people, where the state alone does not explain itself.
        md5: of the dataset's file, where it had to be computed.
        stored: what the server lists there.
        deed: what this run has done about it.
    """

    state: State
    address: Address
    path: str
    size: int
    origin: Origin = Origin.DATASET
    reason: str = ""
    md5: str = ""
    stored: StoredFile | None = None
    deed: Deed = Deed.NONE


@dataclass(frozen=True, slots=True)
class CreateSubject:
    """Create the subject of the node, with its fields."""

    label: str
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportSession:
    """Create an experiment with its scans and `files` in one request."""

    parcel: Parcel
    files: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class CreateScans:
    """Create scans in an experiment that exists, of type `xsi_type`."""

    node: Node
    xsi_type: str
    scans: tuple[Scan, ...]


@dataclass(frozen=True, slots=True)
class SetFields:
    """Set fields of a subject, or of an experiment of type `xsi_type` and its scans.

    Args:
        scans: with the fields that are to be set, and no others.
    """

    node: Node
    xsi_type: str
    fields: tuple[Field, ...]
    scans: tuple[Scan, ...] = ()


@dataclass(frozen=True, slots=True)
class FillResource:
    """Send files into one resource as one archive; `replace` what is there and ours."""

    node: Node
    scan: str
    resource: str
    files: tuple[Placed, ...]
    replace: bool = False


@dataclass(frozen=True, slots=True)
class SendFile:
    """Send one large file by itself, so that a cut connection costs one file; `replace` what is there and ours."""

    placed: Placed
    replace: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Deletion:
    """One thing to delete. What is empty is not named: a file, a resource, a scan, or the whole node.

    Args:
        files: how many files go with it.
        fields: those that a subject was given; it goes only if it has no others.
    """

    node: Node
    scan: str = ""
    resource: str = ""
    files: int = 0
    fields: tuple[Field, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        parts = [str(self.node), self.scan, self.resource, self.name]
        return "/".join(part for part in parts if part)


Step = CreateSubject | ImportSession | CreateScans | SetFields | FillResource | SendFile | Deletion


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What is to be done at one node, and why.

    Args:
        steps: in the order in which they must run.
        prove: whether the server must compute digests before the node can be believed.
        obstacle: why nothing can be done here, for people; empty if all is well.
        basis: all that this was decided by; None where nothing could be compared.
    """

    node: Node
    findings: tuple[Finding, ...]
    steps: tuple[Step, ...] = ()
    prove: bool = False
    obstacle: str = ""
    basis: tuple[Parcel, Holding] | None = field(default=None, compare=False, repr=False)

    @property
    def settled(self) -> bool:
        """Whether the server's own listing proves that everything is there, and nothing else of ours."""
        well = all(finding.state in (State.SAME, State.KEPT) for finding in self.findings)
        return well and not self.obstacle and not self.steps


# ------------------------------------------------------------------ telling


@dataclass(frozen=True, slots=True)
class Made:
    """What a run created at a node, beside files.

    Args:
        experiment: whether it created the experiment.
        scans: the IDs of scans that it created in an experiment that was there.
        subject: the fields with which it created the subject; None if it did not.
    """

    experiment: bool = False
    scans: frozenset[str] = frozenset()
    subject: tuple[Field, ...] | None = None


NOTHING_MADE = Made()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one node: the findings after acting, and the failure if there was one.

    Args:
        denied: whether the failure was a right that the user lacks.
        deleted_files: how many files went because the dataset does not have them.
        cause: the failure without what is of this node alone; empty if that is all of it.
        made: what was created, beside files.
        deleted: what was there alone, and was deleted.
    """

    node: Node
    findings: tuple[Finding, ...]
    sent_files: int = 0
    sent_bytes: int = 0
    failure: str = ""
    denied: bool = False
    deleted_files: int = 0
    cause: str = ""
    made: Made = NOTHING_MADE
    deleted: tuple[Finding, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the archive was seen to equal the dataset here, but for what stays because the user said so."""
        return not self.failure and all(finding.state in (State.SAME, State.KEPT) for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is to be said of one file.

    Args:
        path: relative to the dataset's root.
        address: where it lives in XNAT; None if it is not pushed.
        rule: why there, or why not at all.
        xsi_type: the experiment's type; empty for subject and project.
        scan: the scan that the file belongs to, with its fields.
        fields: the experiment's or the subject's own fields.
        subject_fields: those of the experiment's subject.
    """

    path: str
    address: Address | None
    rule: str
    xsi_type: str = ""
    scan: Scan | None = None
    fields: tuple[Field, ...] = ()
    subject_fields: tuple[Field, ...] = ()
