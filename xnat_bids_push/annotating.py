"""The steps of a check as the services of continuous integration show them: a JUnit file, notes of GitHub. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from xnat_bids_push.model import Issue, Severity

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML document may hold, not even escaped (XML 1.0, Char)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check, done or skipped.

    Args:
        name: the verb.
        said: how much it took, for people.
        problems: errors, for which it failed, and warnings.
        seconds: how long it took.
        skipped: whether a step before it failed.
    """

    name: str
    said: str = ""
    problems: tuple[Issue, ...] = ()
    seconds: float = 0.0
    skipped: bool = False

    @property
    def errors(self) -> tuple[Issue, ...]:
        """Why it failed; empty if it did not."""
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Issue, ...]:
        """What is to be looked at, and no reason to fail."""
        return tuple(one for one in self.problems if one.severity is not Severity.ERROR)

    @property
    def failed(self) -> bool:
        """Whether there are errors."""
        return bool(self.errors)


# ------------------------------------------------------------------ JUnit


def junit(steps: Sequence[Step], dataset: str) -> bytes:
    """A JUnit file: a case for each step, and one more, which failed, for each file or folder with an error."""
    suite = ET.Element("testsuite", name=f"bids2xnat check {_xml(dataset)}")
    for step in steps:
        _case(suite, step)
        for path, errors in _by_path(step.errors).items():
            _failed_case(suite, step, path, errors)
    cases = suite.findall("testcase")
    suite.attrib |= {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{sum(step.seconds for step in steps):.3f}",
    }
    root = ET.Element("testsuites", {key: suite.attrib[key] for key in ("tests", "failures", "errors", "time")})
    root.append(suite)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _case(suite: ET.Element, step: Step) -> None:
    """The step as a whole. Its errors have cases of their own, but for those of no file."""
    case = ET.SubElement(suite, "testcase", classname="bids2xnat", name=step.name, time=f"{step.seconds:.3f}")
    if step.skipped:
        ET.SubElement(case, "skipped", message="a step before it failed")
    elif step.failed:
        message = f"{len(step.errors)} {'problem' if len(step.errors) == 1 else 'problems'}"
        general = [one.message for one in step.errors if not one.path]
        ET.SubElement(case, "failure", message=message).text = _xml("\n".join(general)) or None
    out = [step.said, *(str(one) for one in step.warnings)]
    text = _xml("\n".join(filter(None, out)))
    if text:
        ET.SubElement(case, "system-out").text = text


def _failed_case(suite: ET.Element, step: Step, path: str, errors: Sequence[Issue]) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"bids2xnat.{step.name}", name=_xml(path), file=_xml(path))
    failure = ET.SubElement(case, "failure", message=_xml(errors[0].message))
    failure.text = _xml("\n".join(one.message for one in errors))


def _by_path(errors: Iterable[Issue]) -> dict[str, list[Issue]]:
    found: dict[str, list[Issue]] = {}
    for one in errors:
        if one.path:
            found.setdefault(one.path, []).append(one)
    return found


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


# ------------------------------------------------------------------ GitHub


def notes(steps: Iterable[Step], folder: str = "") -> Iterator[str]:
    """Commands of GitHub Actions that show problems at the files that they concern, errors first.

    Args:
        steps: what was done.
        folder: the dataset's folder in the repository; empty if it is the repository.
    """
    every = [(step, problem) for step in steps for problem in step.problems]
    every.sort(key=lambda one: one[1].severity is not Severity.ERROR)  # the service shows few of each kind
    for step, problem in every:
        kind = "error" if problem.severity is Severity.ERROR else "warning"
        file = "/".join(part for part in (folder, problem.path) if part)
        words = {"file": file if problem.path else "", "title": f"bids2xnat {step.name}"}
        given = ",".join(f"{key}={_property(value)}" for key, value in words.items() if value)
        yield f"::{kind} {given}::{_data(problem.message)}"


def _data(text: str) -> str:
    r"""Text that cannot end its line, and so cannot begin a command of its own.

    >>> _data("100%\n::stop")
    '100%25%0A::stop'
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
