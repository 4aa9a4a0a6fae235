"""What a server's answers mean for whoever wants to push to it: one check, one line, one remedy. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum


class Grade(StrEnum):
    """How good a verdict is."""

    OK = "ok"
    UNKNOWN = "unknown"
    """The server does not say."""
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check says.

    Args:
        check: its name.
        said: what was found.
        remedy: what the user can do.
    """

    check: str
    grade: Grade
    said: str
    remedy: str = ""


class Stop(StrEnum):
    """Where the questions ended, if they did."""

    NOWHERE = ""
    TRUST = "the certificate is not trusted, so that no password went out"
    SERVER = "no XNAT answers"
    LOGIN = "the login fails"
    PROJECT = "the project cannot be seen"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate, as far as it could be looked at.

    Args:
        ends: its last day.
        fault: why it is not trusted.
        self_signed: whether nobody else vouches for it.
    """

    ends: datetime | None = None
    fault: str = ""
    self_signed: bool = False


@dataclass(frozen=True, slots=True)
class Digests:
    """How many of some files in the project have a digest."""

    present: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """What became of a trial.

    Args:
        fault: what went wrong; empty if the digest was right.
        limit: why the larger body did not go through.
        size: of the larger body, in bytes.
        left: what could not be removed.
        untried: why there was no trial.
    """

    fault: str = ""
    limit: str = ""
    size: int = 0
    left: str = ""
    untried: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a local archive, in bytes."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that was asked. What was not, or not answered, is None.

    Args:
        server: the address; empty for a local archive.
        moment: when it was asked.
        stop: where the questions ended, and `reason` why.
        needed: the session types that the mapping can need, and the modalities that need each.
        rights: read, edit, create, delete on sessions; project on the project itself.
    """

    server: str
    project: str
    moment: datetime
    stop: Stop = Stop.NOWHERE
    reason: str = ""
    certificate: Certificate | None = None
    version: str = ""
    date: str = ""
    fronts: tuple[str, ...] = ()
    user: str = ""
    login: str = ""
    login_from: str = ""
    alias: bool = False
    login_ends: datetime | None = None
    groups: frozenset[str] | None = None
    rights: frozenset[str] | None = None
    accessibility: str | None = None
    quarantine: str | None = None
    registered: frozenset[str] | None = None
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    checksums: str | None = None
    digests: Digests = Digests()
    reasons: Mapping[str, str] | None = None
    disk: Disk | None = None
    probe: Probe | None = None

    @property
    def local(self) -> bool:
        """Whether this is an archive on this machine."""
        return not self.server


def verdicts(answers: Answers) -> Iterator[Verdict]:
    """What all checks say, in the order in which a push would run into them."""
    for check in CHECKS:
        yield from check(answers)


# ------------------------------------------------------------------ the way to the server

_SOON = 30
_CLOCK = 60.0


def _reachable(answers: Answers) -> Iterator[Verdict]:
    if answers.local:
        yield Verdict("server", Grade.OK, "a local archive on this machine")
    elif answers.stop is Stop.SERVER:
        yield Verdict("server", Grade.PROBLEM, answers.reason, "check the address, and whether you are in its network")
    elif answers.stop is not Stop.TRUST:
        yield Verdict("server", Grade.OK, f"{answers.server} answers")


def _encrypted(answers: Answers) -> Iterator[Verdict]:
    if answers.local:
        return
    found = answers.certificate
    if answers.server.startswith("http:"):
        remedy = "ask for an address that begins with https://"
        yield Verdict("tls", Grade.WARNING, "not encrypted: password and data can be read on the way", remedy)
    elif found is None:
        yield Verdict("tls", Grade.UNKNOWN, "the certificate could not be looked at: a proxy is in between")
    elif found.fault:
        yield Verdict("tls", Grade.PROBLEM, f"the certificate is not trusted: {found.fault}", _trust_remedy(found))
    elif found.ends is not None:
        days = (found.ends - answers.moment).days
        if days < _SOON:
            remedy = "tell the server's administrator"
            yield Verdict("tls", Grade.WARNING, f"the certificate is valid, for {days} more days", remedy)
        else:
            yield Verdict("tls", Grade.OK, f"the certificate is valid until {found.ends:%Y-%m-%d} ({days} days)")


def _trust_remedy(found: Certificate) -> str:
    if found.self_signed:
        return "get the certificate from the server's administrator, and give its file by --ca-bundle"
    return "ask the administrator; if your institution has its own authority, give its file by --ca-bundle"


def _version(answers: Answers) -> Iterator[Verdict]:
    if not answers.version:
        return
    if re.match(r"1\.[89](\.|$|-)", answers.version):
        yield Verdict("version", Grade.OK, f"XNAT {answers.version}")
    else:
        remedy = "rehearse with a small project first, and verify it"
        yield Verdict("version", Grade.WARNING, f"XNAT {answers.version}: bids2xnat knows 1.8 and 1.9", remedy)


def _clock(answers: Answers) -> Iterator[Verdict]:
    if not answers.date or answers.local:
        return
    try:
        theirs = parsedate_to_datetime(answers.date)
        theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
        ahead = (theirs - answers.moment).total_seconds()
    except ValueError:
        yield Verdict("clock", Grade.UNKNOWN, "the server's clock cannot be read")
        return
    if abs(ahead) > _CLOCK:
        direction = "ahead of" if ahead > 0 else "behind"
        remedy = "set the clock that is wrong: logins and tokens end by it"
        said = f"the server's clock is {abs(ahead):,.0f} s {direction} this machine's"
        yield Verdict("clock", Grade.WARNING, said, remedy)
    else:
        yield Verdict("clock", Grade.OK, "the clocks agree")


_LIMITS = {"nginx": "1 MiB unless client_max_body_size is set", "cloudflare": "100 MB on most plans"}


def _proxy(answers: Answers) -> Iterator[Verdict]:
    if answers.local or not answers.version:
        return
    probe = answers.probe
    if probe is not None and probe.limit:
        remedy = "ask the administrator to lift the limit of the proxy (nginx: client_max_body_size 0)"
        said = f"a body of {probe.size / (1 << 20):.0f} MiB did not go through: {probe.limit}"
        yield Verdict("uploads", Grade.PROBLEM, said, remedy)
        return
    if probe is not None and probe.size and not probe.fault:
        yield Verdict("uploads", Grade.OK, f"a body of {probe.size / (1 << 20):.0f} MiB went through")
        return
    fronts = ", ".join(answers.fronts)
    known = next((limit for name, limit in _LIMITS.items() if name in fronts.casefold()), "")
    limit = f"its limit is {known}" if known else "a limit cannot be seen from here"
    before = f"{fronts} stands before it; {limit}" if fronts else "no proxy shows itself; a limit cannot be seen"
    yield Verdict("uploads", Grade.UNKNOWN, before, "--probe-write tells")


# ------------------------------------------------------------------ the user


_LONG_PUSH = 12
"""Hours that a login should last at least."""


def _login(answers: Answers) -> Iterator[Verdict]:
    if answers.stop in (Stop.SERVER, Stop.TRUST) or answers.local:
        return
    origin = f"from {answers.login_from}" if answers.login_from not in ("", "given", "asked for") else ""
    if answers.stop is Stop.LOGIN:
        remedy = f"check user and password{f' ({origin})' if origin else ''}"
        yield Verdict("login", Grade.PROBLEM, answers.reason, remedy)
        return
    if answers.alias and answers.login_ends is not None:
        hours = (answers.login_ends - answers.moment).total_seconds() / 3600
        grade = Grade.OK if hours > _LONG_PUSH else Grade.WARNING
        remedy = "" if grade is Grade.OK else "log in again before a long push: bids2xnat login"
        yield Verdict("login", grade, f"an alias token of {answers.login or '?'}, from {answers.login_from}", remedy)
    elif answers.alias:
        remedy = "issue a new one before a long push"
        said = (
            f"an alias token of {answers.login or '?'}, {origin}: it ends (by default after two days), and XNAT does "
        )
        yield Verdict("login", Grade.WARNING, said.replace(", :", ":") + "not say when", remedy)
    else:
        yield Verdict("login", Grade.OK, " ".join(filter(None, (answers.user, origin))))


def _project(answers: Answers) -> Iterator[Verdict]:
    if answers.stop is not Stop.PROJECT:
        return
    if answers.local:
        yield Verdict("project", Grade.OK, f"there is no project {answers.project} yet: a push makes it")
        return
    remedy = "check its ID, ask an owner to add you, or create it with --create-project"
    yield Verdict("project", Grade.PROBLEM, f"there is no project {answers.project}, or you may not see it", remedy)


def _accessible(answers: Answers) -> Iterator[Verdict]:
    if answers.accessibility is None or answers.local:
        return
    remedy = "an owner can make it private: Project → Access → private"
    match answers.accessibility:
        case "private":
            yield Verdict("access", Grade.OK, f"project {answers.project} is private")
        case "protected":
            said = (
                "the project is protected: all users of the site can read its own files (participants.tsv among them)"
            )
            yield Verdict("access", Grade.WARNING, said, remedy)
        case "public":
            yield Verdict("access", Grade.WARNING, "the project is public: everybody can read what is pushed", remedy)
        case other:
            yield Verdict("access", Grade.UNKNOWN, f"the project is {other!r}")


_ROLES = {"owner": "Owner", "member": "Member", "collaborator": "Collaborator"}


def role(answers: Answers) -> str:
    """The user's role in the project, or on the site; "" if there is none that has a name."""
    groups = answers.groups or frozenset()
    for ending, name in _ROLES.items():
        if f"{answers.project}_{ending}" in groups:
            return name
    return "Administrator" if groups & {"Administrator", "ALL_DATA_ADMIN"} else ""


def _role(answers: Answers) -> Iterator[Verdict]:
    """By the rights themselves; a role only gives them a name, and sites have roles of their own."""
    if answers.rights is None:
        return
    who, rights = role(answers) or "no role that has a name", answers.rights
    ask = "ask an owner of the project to make you"
    if "create" not in rights or "edit" not in rights:
        said = f"{who}: you may read, and write nothing" if "read" in rights else f"{who}: you may read no sessions"
        yield Verdict("role", Grade.PROBLEM, said, f"{ask} a Member, or an Owner")
    elif "project" not in rights:
        said = f"{who}: you may push sessions, but no files of the project itself, such as participants.tsv"
        yield Verdict("role", Grade.WARNING, said, f"{ask} an Owner for the first push of a dataset")
    elif "delete" not in rights:
        yield Verdict("role", Grade.WARNING, f"{who}: you may push everything, and remove nothing", f"{ask} an Owner")
    else:
        yield Verdict("role", Grade.OK, f"{who}: you may push, and remove what was pushed")


# ------------------------------------------------------------------ the site and the project


def _types(answers: Answers) -> Iterator[Verdict]:
    if answers.registered is None:
        return
    lacking = {kind: who for kind, who in answers.needed.items() if kind not in answers.registered}
    if not lacking:
        yield Verdict("types", Grade.OK, f"all {len(answers.needed)} session types that BIDS data can need are set up")
        return
    names = "; ".join(f"{kind} ({', '.join(who)})" for kind, who in sorted(lacking.items()))
    remedy = "if you have such data, ask the administrator: Administer → Data Types → Set Up Additional Data Type"
    yield Verdict("types", Grade.WARNING, f"not set up here: {names}", remedy)


def _digests(answers: Answers) -> Iterator[Verdict]:
    if answers.stop is not Stop.NOWHERE:
        return
    remedy = "ask the administrator to switch on checksums (Administer → Site Administration → File System)"
    found, setting = answers.digests, answers.checksums
    if answers.probe is not None and not answers.probe.fault and not answers.probe.untried:
        yield Verdict("checksums", Grade.OK, "the server computed the right digest of a trial file")
    elif setting == "true":
        yield Verdict("checksums", Grade.OK, "the site computes digests of its files")
    elif setting == "false":
        said = "the site does not compute digests by itself; a push asks for them, which takes longer"
        yield Verdict("checksums", Grade.WARNING, said, remedy)
    elif found.present and not found.missing:
        yield Verdict("checksums", Grade.OK, f"{found.present:,} files looked at have digests")
    elif found.present or found.missing:
        said = f"{found.missing:,} of {found.present + found.missing:,} files looked at have no digest"
        yield Verdict("checksums", Grade.WARNING, said, remedy)
    else:
        yield Verdict("checksums", Grade.UNKNOWN, "the project holds no file to judge by", "--probe-write tells")


def _quarantine(answers: Answers) -> Iterator[Verdict]:
    if answers.quarantine == "1":
        remedy = "an owner activates them on their pages, or switches quarantine off: Project → Manage"
        yield Verdict("quarantine", Grade.WARNING, "new sessions wait in quarantine", remedy)
    elif answers.quarantine == "0":
        yield Verdict("quarantine", Grade.OK, "new sessions are not put in quarantine")


def _reasons(answers: Answers) -> Iterator[Verdict]:
    """XNAT demands a reason if both settings of the justification are on, or the event's name is required."""
    if answers.stop is not Stop.NOWHERE or answers.local:
        return
    found = answers.reasons
    tried = answers.probe is not None and not answers.probe.fault and not answers.probe.untried
    if found is None and tried:
        yield Verdict("reasons", Grade.OK, "the site took a change without a reason")
    elif found is None:
        said = "only an administrator can see whether the site demands a reason for each change"
        yield Verdict("reasons", Grade.UNKNOWN, said, "--probe-write tells")
    elif found.get("requireEventName") == "true" or (
        found.get("requireChangeJustification") == "true" and found.get("showChangeJustification") == "true"
    ):
        remedy = "an administrator switches it off: Administer → Site Administration → Audit Trail"
        yield Verdict("reasons", Grade.PROBLEM, "the site demands a reason for each change; none is sent", remedy)
    else:
        yield Verdict("reasons", Grade.OK, "the site demands no reasons for changes")


_LITTLE = 10 * 1000**3


def _disk(answers: Answers) -> Iterator[Verdict]:
    if answers.disk is None:
        return
    free, total = answers.disk.free / 1000**3, answers.disk.total / 1000**3
    if answers.disk.free < _LITTLE:
        remedy = "make room, or give another folder by --archive"
        yield Verdict("disk", Grade.WARNING, f"{free:,.1f} GB of {total:,.0f} GB are free", remedy)
    else:
        yield Verdict("disk", Grade.OK, f"{free:,.0f} GB of {total:,.0f} GB are free")


def _trial(answers: Answers) -> Iterator[Verdict]:
    probe = answers.probe
    if probe is None:
        return
    if probe.untried:
        yield Verdict(
            "trial", Grade.WARNING, f"nothing was written: {probe.untried}", "let an owner of the project try"
        )
    elif probe.fault:
        yield Verdict("trial", Grade.PROBLEM, probe.fault, "see the lines above")
    else:
        yield Verdict("trial", Grade.OK, "a subject, a session and a file were written, proven and removed again")
    if probe.left:
        yield Verdict("trial", Grade.PROBLEM, f"{probe.left} could not be removed", "ask an owner to delete it")


Check = Callable[[Answers], Iterator[Verdict]]

CHECKS: tuple[Check, ...] = (
    _reachable,
    _encrypted,
    _version,
    _clock,
    _login,
    _project,
    _accessible,
    _role,
    _types,
    _digests,
    _quarantine,
    _reasons,
    _proxy,
    _disk,
    _trial,
)
