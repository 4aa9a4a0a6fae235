"""What a site must allow before the first write: the types of sessions, and the user's rights. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from xnat_bids_push.model import Issue, NodePlan, Parcel, Severity, State
from xnat_bids_push.report import Omitted, count
from xnat_bids_push.schema import Schema

IMAGE_SESSION = "xnat:imageSessionData"


@dataclass(frozen=True, slots=True)
class Skip:
    """What is left out of a push where the site does not allow it, and would else stop the push.

    Args:
        unregistered: sessions of types that the site has not set up.
        project_files: files of the project itself.
    """

    unregistered: bool = False
    project_files: bool = False


@dataclass(slots=True)
class Wanted:
    """What a dataset has for experiments of one type.

    Args:
        names: the words by which ``--session-type`` knows it.
        labels: the first of the experiments.
    """

    names: set[str] = field(default_factory=set)
    labels: list[str] = field(default_factory=list)
    sessions: int = 0
    files: int = 0

    def add(self, parcel: Parcel, name: str) -> None:
        """Count one experiment."""
        self.names.add(name)
        self.sessions += 1
        self.files += len(parcel.files)
        if len(self.labels) < 3:
            self.labels.append(parcel.node.experiment)


def some(labels: Sequence[str], number: int, most: int = 3) -> str:
    """The first of some labels, and how many more there are.

    >>> some(["sub-01_MR", "sub-02_MR"], 12)
    'sub-01_MR, sub-02_MR and 10 more'
    """
    more = number - len(labels[:most])
    return ", ".join(labels[:most]) + (f" and {more:,} more" if more else "")


# ------------------------------------------------------------------ types


def omitted(wanted: Mapping[str, Wanted], project_files: int, registered: Container[str], skip: Skip) -> Omitted:
    """What is left out, by what is wanted and what the site has."""
    types = frozenset(one for one in wanted if skip.unregistered and one not in registered)
    return Omitted(
        types,
        sum(wanted[one].sessions for one in types),
        sum(wanted[one].files for one in types),
        project_files if skip.project_files else 0,
    )


def type_faults(wanted: Mapping[str, Wanted], registered: Iterable[str], schema: Schema) -> Iterator[Issue]:
    """Types that experiments cannot have here, and what can be done. XNAT would take some, and show them to nobody."""
    known = frozenset(registered)
    usable = sorted(one for one in known if schema.extends(one, IMAGE_SESSION) and one != IMAGE_SESSION)
    for xsi_type, what in sorted(wanted.items()):
        fault = _type_fault(xsi_type, known, schema)
        if fault:
            yield Issue(Severity.ERROR, "", f"{fault.format(what=_amount(what))} {_alternatives(what, usable)}")


def _type_fault(xsi_type: str, registered: Container[str], schema: Schema) -> str:
    if not schema.element(xsi_type):
        return f"this server has no type {xsi_type}, which {{what}} need:"
    if not schema.extends(xsi_type, IMAGE_SESSION) or xsi_type == IMAGE_SESSION:
        return f"{xsi_type} is no type of an imaging session, which {{what}} need:"
    if xsi_type not in registered:
        return (
            f"this site has not set up {xsi_type}, which {{what}} need: ask its administrator to add it "
            "(Administer → Data Types → Set Up Additional Data Type),"
        )
    return ""


def _amount(what: Wanted) -> str:
    names = ", ".join(sorted(what.names))
    return (
        f"{count(what.sessions, 'session')} ({names}: {some(what.labels, what.sessions)}; {count(what.files, 'file')})"
    )


def _alternatives(what: Wanted, usable: Sequence[str]) -> str:
    """What a user can do without an administrator; the choice of another type is theirs."""
    names = ",".join(sorted(name.lower() for name in what.names))
    choice = (
        f"choose a type that is set up (--session-type {names}=TYPE; here: {', '.join(usable)}), " if usable else ""
    )
    return f"{choice}or leave these sessions out (--skip-unregistered)"


# ------------------------------------------------------------------ rights


def reader_refusal(project: str) -> str:
    """Why somebody who may only read cannot push."""
    return f"you may not write into project {project}, and nothing was written: ask an owner to make you a Member"


def project_refusal(plan: NodePlan, project: str) -> str:
    """Why somebody who may write subjects and sessions, but not the project itself, cannot push these files."""
    files = [one.path for one in plan.findings if one.state in (State.MISSING, State.DIFFERS, State.UNPROVEN)]
    return (
        f"the files of the project itself can only be written by an owner of {project}, and nothing was written: "
        f"{some(files, len(files))}. Let an owner push them, or go on without them (--skip-project-files)"
    )


def unlisted_refusal(parcel: Parcel, xsi_type: str) -> str:
    """Why an experiment cannot be made where one is that no listing shows."""
    return (
        f"{parcel.node.experiment} exists already as {xsi_type}, a type that this site has not set up, so that XNAT "
        f"shows it in no list and lets nobody delete it: ask the administrator to set up {xsi_type}, then rename it or "
        "delete it"
    )
