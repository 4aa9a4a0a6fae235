"""A run, in its parts: what an error means for what is sent again, and what is said of a place that cannot be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Connect
from tests.test_planning import SESSION
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import AccessDenied, Distressed, Rejected, Unavailable
from xnat_bids_push.model import CreateSubject, Node, NodePlan, State
from xnat_bids_push.pushing import batches, push
from xnat_bids_push.running import Run, _is_lost, _judged, _unplanned

LEFT = NodePlan(SESSION.node, (), (CreateSubject("a"),), prove=True)
OTHER = NodePlan(SESSION.node, (), (CreateSubject("b"),))
DONE = NodePlan(SESSION.node, ())


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (Unavailable("cut"), True),
        (Unavailable("x", status=502), True),
        (Unavailable("x", status=500), False),
        (Rejected("x", status=400), False),
        (AccessDenied("x", status=403), False),
    ],
)
def test_a_deed_may_be_done_where_no_answer_of_xnats_came(error: Exception, lost: bool) -> None:
    assert _is_lost(error) is lost


def test_of_a_place_that_cannot_be_compared_every_file_is_unproven() -> None:
    told = _unplanned(SESSION, Unavailable("the server failed"))
    assert told.obstacle == "the server failed"
    assert [(one.state, one.path, one.size) for one in told.findings] == [
        (State.UNPROVEN, one.file.path, one.file.size) for one in SESSION.files
    ]


def test_a_refusal_that_left_all_as_it_was_ends_the_attempts_unless_it_may_have_been_damage() -> None:
    refused = Rejected("x")
    assert _judged(LEFT, LEFT, refused, doubted=False) == (refused, NodePlan(SESSION.node, ()))
    assert _judged(LEFT, LEFT, refused, doubted=True) == (refused, LEFT)
    assert _judged(LEFT, OTHER, refused, doubted=False) == (refused, OTHER)
    assert _judged(LEFT, LEFT, Unavailable("x"), doubted=False)[1] == LEFT


def test_a_failure_counts_until_all_is_well_and_an_obstacle_counts_more() -> None:
    assert _judged(LEFT, DONE, Unavailable("x"), doubted=False) == ("", DONE)
    assert _judged(LEFT, LEFT, None, doubted=False) == ("", LEFT)
    stopped = NodePlan(SESSION.node, (), obstacle="theirs")
    assert _judged(LEFT, stopped, Unavailable("x"), doubted=False) == ("theirs", stopped)


def test_a_refused_subject_is_named_with_the_servers_reason(
    small_root: Path, open_project: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_project() as archive:
        create = archive.create_subject

        def refuse(step: CreateSubject) -> None:
            if step.label == "sub-02":
                raise Rejected("XNAT does not take this subject's label")
            create(step)

        monkeypatch.setattr(archive, "create_subject", refuse)
        report = push(read(small_root), archive, pause=0)
    assert [(one.node, one.failure) for one in report.failed] == [
        (Node("sub-02", "sub-02_MR"), "XNAT does not take this subject's label")
    ]


def test_what_is_not_reached_after_the_end_is_unproven_and_counts_as_failed(
    small_root: Path, open_project: Connect
) -> None:
    dataset = read(small_root)
    [batch] = batches(dataset)
    with open_project() as archive:
        told = Run(dataset, archive).given_up(batch, Distressed("the server fails again and again"))
        assert archive.experiments() == {}
    assert {one.failure for one in told} == {"the server fails again and again"}
    assert {finding.state for one in told for finding in one.findings} == {State.UNPROVEN}
    assert sum(one.sent_files + one.sent_bytes + one.deleted_files for one in told) == 0
