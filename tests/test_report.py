"""A report counts everything, says "ok" of nothing that is not, and stays small however long the run."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.model import (
    Address,
    CreateSubject,
    Field,
    Finding,
    Issue,
    LeftOut,
    Node,
    NodePlan,
    Origin,
    Outcome,
    Severity,
    State,
)
from xnat_bids_push.report import (
    Omitted,
    Report,
    Unchosen,
    count,
    finding_json,
    human_size,
    kind_of,
    outcome_json,
    plan_json,
    problem_lines,
)

CALM = settings(deadline=None)
NODES = st.sampled_from([Node(), Node("sub-1"), Node("sub-1", "sub-1_MR"), Node("sub-2", "sub-2_EEG")])
FINDINGS = st.builds(
    lambda state, node, path, size, origin, reason: Finding(
        state, Address(node, "", "BIDS", path or "x"), path, size, origin, reason
    ),
    st.sampled_from(State),
    NODES,
    st.text(max_size=8),
    st.integers(0, 10**6),
    st.sampled_from(Origin),
    st.sampled_from(["", "because"]),
)
OUTCOMES = st.builds(
    Outcome,
    NODES,
    st.lists(FINDINGS, max_size=8).map(tuple),
    st.integers(0, 9),
    st.integers(0, 999),
    st.sampled_from(["", "", "it failed"]),
    st.booleans(),
)


def reported(outcomes: list[Outcome]) -> Report:
    report = Report("https://xnat.example.org", "P")
    for outcome in outcomes:
        report.add(outcome)
    return report


def finding(state: State, path: str = "a/b", reason: str = "") -> Finding:
    return Finding(state, Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "NIFTI", "b"), path, 1, reason=reason)


def outcome(*findings: Finding, failure: str = "", denied: bool = False) -> Outcome:
    return Outcome(Node("sub-1", "sub-1_MR"), findings, failure=failure, denied=denied)


# ------------------------------------------------------------------ counting


FINE = {State.SAME, State.KEPT}


@CALM
@given(st.lists(OUTCOMES, max_size=6))
def test_a_report_is_the_sum_of_its_outcomes(outcomes: list[Outcome]) -> None:
    report = reported(outcomes)
    findings = [one for each in outcomes for one in each.findings]
    own = [one for one in findings if one.origin is Origin.DATASET and one.state is not State.EXTRA]

    assert report.nodes == sum(report.kinds.values()) == len(outcomes)
    assert report.kinds == Counter(kind_of(each.node) for each in outcomes)
    assert report.states == Counter(one.state for one in findings)
    assert (report.files, report.size) == (len(own), sum(one.size for one in own))
    assert report.sent_files == sum(each.sent_files for each in outcomes)
    assert report.sent_bytes == sum(each.sent_bytes for each in outcomes)


@CALM
@given(st.lists(OUTCOMES, max_size=6))
def test_ok_is_said_only_if_every_file_is_the_same_or_stays_as_asked(outcomes: list[Outcome]) -> None:
    report = reported(outcomes)

    fine = [each for each in outcomes if not each.failure and {one.state for one in each.findings} <= FINE]
    assert report.ok == (len(fine) == len(outcomes))
    assert report.problems == len(outcomes) - len(fine)
    assert report.failed == [each for each in outcomes if each not in fine]
    assert report.denied == sum(each.denied for each in report.failed)


@pytest.mark.parametrize("state", State)
def test_an_outcome_is_done_only_if_all_is_the_same_or_stays_as_asked(state: State) -> None:
    assert outcome(finding(State.SAME), finding(state)).done == (state in FINE)
    assert not outcome(finding(State.SAME), failure="it failed").done


def test_a_report_stays_small_and_goes_on_counting() -> None:
    report = Report("", "P")
    bad = outcome(finding(State.MISSING))
    for _ in range(5000):
        report.add(bad)
        report.add(outcome(finding(State.SAME)))

    assert report.problems == 5000
    assert report.nodes == 10_000
    assert len(report.failed) <= 1000
    assert sys.getsizeof(report.failed) < 20_000


# ------------------------------------------------------------------ for programs


@CALM
@given(st.lists(OUTCOMES, max_size=4))
def test_the_json_of_a_report_says_what_the_report_says(outcomes: list[Outcome]) -> None:
    report = reported(outcomes)
    report.issues = (Issue(Severity.WARNING, "a", "is odd"),)
    report.left_out = (LeftOut("b", "not asked for"),)
    report.unchosen = Unchosen(2, 3, "--suffix")
    for number in range(7):
        report.missing.add(f"f{number}")
    report.omitted = Omitted(frozenset({"xnat:eegSessionData"}), 4, 5, 6)

    assert json.loads(json.dumps(report.to_json())) == {
        "server": "https://xnat.example.org",
        "project": "P",
        "ok": report.ok,
        "sessions": report.kinds["session"],
        "files": report.files,
        "bytes": report.size,
        "sent_files": report.sent_files,
        "sent_bytes": report.sent_bytes,
        "deleted_files": report.deleted_files,
        "by_size": report.by_size,
        "causes": [
            {"cause": words, "places": one.number, "first": list(one.first)} for words, one in report.causes.items()
        ],
        "stopped": "",
        "states": {state.name.lower(): number for state, number in report.states.items()},
        "omitted": {"sessions": 4, "files": 5, "project_files": 6, "types": ["xnat:eegSessionData"]},
        "problems": report.problems,
        "issues": [{"severity": "warning", "path": "a", "message": "is odd"}],
        "left_out": [{"path": "b", "reason": "not asked for"}],
        "missing_content": {"files": 7, "first": ["f0", "f1", "f2", "f3", "f4"]},
        "privacy": {},
        "unchosen": {"participants": 2, "files": 3},
    }


@CALM
@given(OUTCOMES)
def test_the_json_of_an_outcome_names_each_finding_that_is_not_the_same(one: Outcome) -> None:
    told = json.loads(json.dumps(outcome_json(one)))

    assert told["findings"] == [finding_json(each) for each in one.findings if each.state is not State.SAME]
    assert (told["done"], told["failure"]) == (one.done, one.failure)
    assert (told["kind"], told["subject"], told["experiment"]) == (
        *(kind_of(one.node), one.node.subject, one.node.experiment),
    )
    assert (told["sent_files"], told["sent_bytes"]) == (one.sent_files, one.sent_bytes)


def test_the_json_of_a_plan_names_its_steps_and_findings() -> None:
    missing = finding(State.MISSING)
    plan = NodePlan(
        Node("sub-1"),
        (missing, finding(State.SAME)),
        (CreateSubject("sub-1", (Field("group", "control", "group in participants.tsv"),)),),
    )

    assert json.loads(json.dumps(plan_json(plan))) == {
        "kind": "subject",
        "subject": "sub-1",
        "experiment": "",
        "settled": False,
        "obstacle": "",
        "steps": ["CreateSubject"],
        "fields": [{"path": "group", "value": "control", "source": "group in participants.tsv"}],
        "findings": [
            {
                "state": "missing",
                "path": "a/b",
                "address": "sub-1/sub-1_MR/scans/anat_T1w/NIFTI/b",
                "bytes": 1,
                "reason": "",
            }
        ],
    }
    assert plan_json(replace(plan, obstacle="in the way"))["obstacle"] == "in the way"
    assert plan_json(replace(plan, findings=(finding(State.SAME),), steps=()))["settled"] is True


@pytest.mark.parametrize(
    ("node", "kind"), [(Node(), "project"), (Node("sub-1"), "subject"), (Node("sub-1", "sub-1_MR"), "session")]
)
def test_a_node_s_kind_is_a_word(node: Node, kind: str) -> None:
    assert kind_of(node) == kind


# ------------------------------------------------------------------ for people


@CALM
@given(OUTCOMES, st.integers(1, 4))
def test_lines_on_a_problem_name_the_failure_and_the_first_files(one: Outcome, most: int) -> None:
    lines = list(problem_lines(one, most=most))
    wrong = [each for each in one.findings if each.state not in FINE]

    assert len(lines) == bool(one.failure) + min(len(wrong), most) + (len(wrong) > most)
    assert bool(lines) == (not one.done)
    if one.failure:
        assert lines[0] == f"{one.node}: {one.failure}"
    for line, each in zip(lines[bool(one.failure) :], wrong[:most], strict=False):
        assert line.startswith(f"{each.state} ")
        assert (each.path or str(each.address)) in line
        assert each.reason in line
    if len(wrong) > most:
        assert f" {len(wrong) - most} more" in lines[-1]


@pytest.mark.parametrize("state", [state for state in State if state not in FINE])
def test_each_state_is_explained(state: State) -> None:
    [line] = problem_lines(outcome(finding(state, reason="because")))

    assert re.fullmatch(rf"{re.escape(state)} a/b: [a-z ,]+ \(because\)", line)


# ------------------------------------------------------------------ words


@CALM
@given(st.integers(0, 10**15 - 10**11))
def test_a_size_is_short_and_right_to_a_digit(size: int) -> None:
    number, unit = human_size(size).split()
    value = float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]

    assert len(number) <= 5
    assert abs(value - size) <= max(0.0501 * {"B": 0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit], 0)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**15, "1000.0 TB")],
)
def test_sizes_change_their_unit_in_time(size: int, words: str) -> None:
    assert human_size(size) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1_234_567, "1,234,567 files")]
)
def test_a_number_goes_with_its_noun(number: int, words: str) -> None:
    assert count(number, "file") == words
