"""Rows turn facts into fields: the right unit, the right type, or nothing."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnat_bids_push.errors import MappingError
from xnat_bids_push.model import Field
from xnat_bids_push.rules import KINDS, Fact, Row, as_number, clean, fields_of, made, read_rules
from xnat_bids_push.schema import Schema
from xnat_bids_push.table import default_table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def facts(**values: object) -> dict[str, Fact]:
    return {key: Fact(value, f"{key} in x.json") for key, value in values.items()}


@pytest.mark.parametrize(
    ("kind", "value", "times", "text"),
    [
        ("number", 2.43537, 1000, "2435.37"),
        ("number", 0.00246, 1000, "2.46"),
        ("number", 0.1 + 0.2, 1, "0.3"),
        ("number", "2.5", 1, "2.5"),
        ("number", 0, 1000, "0"),
        ("number", -1, 1, None),
        ("number", True, 1, None),
        ("number", math.inf, 1, None),
        ("number", math.nan, 1, None),
        ("number", 1e308, 1000, None),
        ("number", 10**400, 1, None),
        ("number", [2.0], 1, None),
        ("number", "n/a", 1, None),
        ("number", 21.45, 0.1, "2.145"),
        ("integer", 64.0, 1, "64"),
        ("integer", "64", 1, "64"),
        ("integer", 64.5, 1, None),
        ("integer", 1e300, 1, None),
        ("tesla", 3, 1, "3.0"),
        ("tesla", 1.5, 1, "1.5"),
        ("tesla", 2.89362, 1, "2.89362"),
        ("text", "  a \n b\x00c ", 1, "a b c"),
        ("text", "N/A", 1, None),
        ("text", "", 1, None),
        ("text", ["ORIGINAL", "PRIMARY", 3], 1, "ORIGINAL\\PRIMARY\\3"),
        ("text", [], 1, None),
        ("text", {"a": 1}, 1, None),
        ("text", True, 1, "true"),
        ("text", math.nan, 1, None),
        ("object", {"Lowpass": {"Hz": 350}}, 1, '{"Lowpass": {"Hz": 350}}'),
        ("object", {"Lowpass": math.inf}, 1, None),
        ("object", {}, 1, None),
        ("object", "n/a", 1, None),
        ("axis", "j-", 1, "j"),
        ("axis", "AP", 1, None),
        ("positive", "j-", 1, "0"),
        ("positive", "j", 1, "1"),
        ("positive", "i+", 1, "1"),
        ("positive", 1, 1, None),
    ],
)
def test_a_value_becomes_text_of_the_right_type_or_nothing(
    kind: str, value: object, times: float, text: str | None
) -> None:
    assert KINDS[kind](value, times) == text


@settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), JSON, st.sampled_from([1, 1000, 0.1]))
def test_no_value_of_json_is_too_odd(kind: str, value: object, times: float) -> None:
    text = KINDS[kind](value, times)

    assert text is None or text == clean(text) != ""
    if text is not None and kind in ("number", "integer"):
        assert math.isfinite(float(text))
        assert kind == "number" or text.isdecimal()


@settings(deadline=None)
@given(st.text())
def test_clean_text_survives_xml(text: str) -> None:
    cleaned = clean(text)

    assert cleaned == clean(cleaned)
    cleaned.encode()
    assert all(char == " " or not char.isspace() for char in cleaned)
    assert all(ord(char) >= 32 and ord(char) not in (0xFFFE, 0xFFFF) for char in cleaned)


def test_the_first_fact_that_gives_a_value_counts() -> None:
    row = Row("parameters/tr", ("RepetitionTime", "RepetitionTimeExcitation"), "number", 1000)

    key, found = made(row, facts(RepetitionTime=[1, 2], RepetitionTimeExcitation=0.5))

    assert (key, found) == (
        "RepetitionTimeExcitation",
        [Field("parameters/tr", "500", "RepetitionTimeExcitation in x.json")],
    )


def test_a_list_becomes_a_field_each_or_none_at_all() -> None:
    row = Row("frame[number={n}]/length", ("FrameDuration",), "number")

    assert [(field.path, field.value) for field in fields_of(facts(FrameDuration=[10, 20]), [row])] == [
        ("frame[number=1]/length", "10"),
        ("frame[number=2]/length", "20"),
    ]
    assert fields_of(facts(FrameDuration=[10, "x"]), [row]) == ()


def test_a_constant_needs_its_facts() -> None:
    row = Row("parameters/voxelRes/units", constant="mm", needs=("image.voxel_x",))

    assert fields_of({}, [row]) == ()
    assert fields_of({"image.voxel_x": Fact(1.0, "pixdim[1]")}, [row]) == (Field(row.path, "mm", "pixdim[1]"),)


def test_a_later_row_for_a_field_wins_and_likes_come_first() -> None:
    rules = read_rules(
        tomllib.loads('[fields.a]\nx = {from="A"}\ny = {from="A"}\n[fields.b]\nlike = "a"\ny = {from="B"}\n')
    )

    assert {row.path: row.sources for row in rules.rows("b")} == {"x": ("A",), "y": ("B",)}
    assert rules.rows("unknown") == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('x = "Echo"', "is no row"),
        ('x = {from="A", unit="s"}', "there is no unit"),
        ("x = {times=3}", "one of `from` and `is`"),
        ('x = {from="A", is="B"}', "one of `from` and `is`"),
        ('x = {from="A", as="seconds"}', "one of text, number"),
        ('x = {from="A", times="many"}', "is no number"),
        ("x = {from=3}", "neither a word nor a list"),
        ('like = "b"', r"no \[fields.b\]"),
    ],
)
def test_a_row_that_is_wrong_is_named(row: str, reason: str) -> None:
    with pytest.raises(MappingError, match=rf"\[fields.a\].*{reason}"):
        read_rules(tomllib.loads(f"[fields.a]\n{row}\n"))


def test_the_groups_of_our_own_table_are_types_or_datatypes() -> None:
    table = default_table()
    groups = {group for group in table.rules.groups if not group.startswith("xnat:")}

    assert groups <= table.datatypes.keys()


def test_numbers_are_read_from_text_but_not_from_truth() -> None:
    assert as_number(" 3 ") == 3
    assert as_number(None) is None
    assert as_number(False) is None


NOT_EVERYWHERE = {"subjectPosition", "readoutSampleSpacing", "echoSpacing", "diffusion/bMax"}
"""Newer fields of magnetic resonance, which the embedded archive lacks as the XNAT that it follows does."""


def test_every_row_leads_to_a_field_of_xnats_data_model() -> None:
    table = default_table()
    model = Schema(fromstring(resources.files("xnat_bids_push.server.schema").joinpath("xnat.xsd").read_bytes()))
    lost = {
        row.path
        for group, types in _types_by_group().items()
        for row in table.rules.rows(group)
        for xsi_type in types
        if model.route(xsi_type, row.path.replace("{n}", "1")) is None
    }

    assert lost == {f"parameters/{path}" for path in NOT_EVERYWHERE}


def _types_by_group() -> dict[str, set[str]]:
    table = default_table()
    by_group = {group: {group} for group in table.rules.groups if group.startswith("xnat:")}
    by_group |= {name: {row.scan} for name, row in table.datatypes.items()}
    by_group["xnat:imageScanData"] = {row.scan for row in table.datatypes.values()}
    by_group["xnat:imageSessionData"] = {row.session for row in table.modalities.values()}
    return by_group
