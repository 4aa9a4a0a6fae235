"""Nothing is lost under any fault: a sample of what `make faults` goes through as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault_cases import VERBS, Case, World, all_cases, make_world, run_case
from tests.faults import Fault

SAMPLES = {"push": 14, "pull": 5, "remove": 5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def cases(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Case]]:
    return {verb: all_cases(world, verb, tmp_path_factory.mktemp("trace")) for verb in VERBS}


@pytest.mark.parametrize(("verb", "number"), [(verb, number) for verb in VERBS for number in range(SAMPLES[verb])])
def test_a_run_after_a_fault_puts_all_right_and_the_one_that_suffered_was_honest(
    verb: str, number: int, world: World, cases: dict[str, list[Case]], tmp_path: Path
) -> None:
    """Spread over all requests; the step between two of them is no multiple of the number of faults."""
    case = cases[verb][(2 * number + 1) * len(cases[verb]) // (2 * SAMPLES[verb])]
    assert run_case(world, case, tmp_path / "case") == [], str(case)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (Fault.FAILED, "PUT /data/projects/P/subjects/sub-02"),
        (Fault.BODY_SHORT, "PUT /data/projects/P/subjects/sub-02"),
        (Fault.BODY_SHORT, "POST /data/services/import"),
    ],
)
def test_one_failure_costs_no_fields(
    fault: Fault, what: str, world: World, cases: dict[str, list[Case]], tmp_path: Path
) -> None:
    case = next(one for one in cases["push"] if one.fault is fault and one.request == what)
    assert run_case(world, case, tmp_path / "case") == []


def test_the_cases_reach_every_request_and_every_kind_of_write(cases: dict[str, list[Case]]) -> None:
    push = {case.request for case in cases["push"]}
    assert len({case.at for case in cases["push"]}) == max(case.at for case in cases["push"]) + 1
    for what in (
        "PUT /data/projects/P/resources/BIDS/files/bids2xnat.tar",
        "PUT /data/projects/P/subjects/sub-02",
        "PUT /data/projects/P/subjects/sub-02/resources/BIDS/files/bids2xnat.tar",
        "PUT /data/projects/P/subjects/sub-01/experiments/sub-01_MR",
        "PUT /data/projects/P/subjects/sub-01/experiments/sub-01_MR/scans/func_task-rest_bold/resources/NIFTI/files/"
        "sub-01_task-rest_bold.nii.gz",
        "POST /data/services/import",
        "POST /data/services/refresh/catalog",
    ):
        assert what in push
    assert {case.request.partition(" ")[0] for case in cases["remove"]} >= {"DELETE", "GET"}
