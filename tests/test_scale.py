"""The model of what pushes cost: it finds what is there, and what the page says of it is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.scale import Model, fit

PAGE = Path(__file__).parents[1] / "docs/explanation/scale.md"
FOUND = json.loads(PAGE.with_suffix(".json").read_text("utf-8"))

POINTS = ((10, 0), (50, 0), (200, 0), (10, 100), (50, 300))


@given(st.floats(0.5, 100), st.floats(0, 10), st.floats(0, 1))
def test_a_model_is_found_from_what_it_gives(fixed: float, per_session: float, per_megabyte: float) -> None:
    model = Model(fixed, per_session, per_megabyte)
    found = fit((sessions, megabytes, model.at(sessions, megabytes)) for sessions, megabytes in POINTS)
    for sessions, megabytes in POINTS:
        assert found.at(sessions, megabytes) == pytest.approx(model.at(sessions, megabytes), rel=0.01)


def test_nothing_in_a_model_is_negative() -> None:
    """Measurements that scatter must not make a push of many megabytes cheaper."""
    found = fit([(10, 0, 1.0), (20, 0, 2.0), (10, 100, 0.9), (20, 100, 1.9)])
    assert min(found.fixed, found.per_session, found.per_megabyte) == 0


@pytest.mark.parametrize(
    ("quantity", "close"),
    [("requests", 0.03), ("client_cpu_seconds", 0.3), ("server_cpu_seconds", 0.3)],
)
def test_the_model_foresaw_one_more_size(quantity: str, close: float) -> None:
    check = FOUND["check"]
    assert check["modelled"][quantity] == pytest.approx(check["measured"][quantity], rel=close)
    largest = max(row["sessions"] for row in FOUND["measured"])
    assert check["measured"]["sessions"] > largest


def test_memory_hardly_grows_after_the_first_sessions() -> None:
    first, *_, last = FOUND["memory"][1:]
    grown = (last["megabytes"] - first["megabytes"]) / (last["sessions"] - first["sessions"])
    assert grown < 0.003
    assert last["megabytes"] < 200


def test_the_page_says_what_the_model_says() -> None:
    assert "some 200,000 requests" in PAGE.read_text("utf-8")
    assert FOUND["large"]["requests"] == pytest.approx(200_000, rel=0.03)
