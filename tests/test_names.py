"""Names taken apart, and names made safe: nothing is lost on the way there and back."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xnat_bids_push.names import (
    BidsName,
    escape,
    from_label,
    from_value,
    hide,
    is_plain,
    is_session,
    is_subject,
    parse_name,
    to_label,
    unescape,
)

CALM = settings(deadline=None)
ALNUM = string.ascii_letters + string.digits
WORDS = st.text(ALNUM, min_size=1, max_size=8)
VALUES = st.text(ALNUM + "+", min_size=1, max_size=8)
Entities = list[tuple[str, str]]
ENTITIES = st.lists(st.tuples(WORDS, VALUES), max_size=4, unique_by=lambda entity: entity[0])

TEMPTING = st.sampled_from([*"= .%+;\\#?&é日\n", "=/", "%41", "=41", "=5F", "..", "_catalog.xml"])
COMPONENTS = (
    st.lists(st.one_of(TEMPTING, st.text(st.characters(exclude_categories=["Cs"]), max_size=6)), min_size=1, max_size=5)
    .map("".join)
    .map(lambda text: text.replace("/", "").replace("\0", ""))
    .filter(lambda text: text not in {"", ".", ".."})
)
"""Whatever a POSIX folder can hold as one name; above all what an escaping could trip over."""
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)


# ------------------------------------------------------------------ names that XNAT can store


@CALM
@given(PATHS)
@example("=5Fcatalog.xml")
@example("a=/b")
@example("é=C3=A9")
@example("x_catalog.xml/y_catalog.xml")
@example("=" * 100)
@example("ü" * 127)
def test_unescape_undoes_escape(name: str) -> None:
    assert unescape(escape(name)) == name


@CALM
@given(COMPONENTS, COMPONENTS, st.integers(30, 130))
def test_unescape_undoes_escape_of_names_that_grow_long(first: str, last: str, times: int) -> None:
    name = first + "ü" * times + last

    assert unescape(escape(name)) == name


@CALM
@given(st.sets(PATHS, min_size=2, max_size=6))
@example({"a=b", "a=3Db"})
@example({"é", "=C3=A9", "e\u0301"})
@example({"x_catalog.xml", "x=5Fcatalog.xml"})
def test_no_two_names_share_an_escaped_name(names: set[str]) -> None:
    assert len({escape(name) for name in names}) == len(names)


@CALM
@given(PATHS)
def test_escaped_names_hold_nothing_that_xnat_decodes_or_loses(name: str) -> None:
    assert re.fullmatch(r"(?:[A-Za-z0-9 ._\-+,:&'\[\]()@/]|=[0-9A-F]{0,2})+", escape(name))


@CALM
@given(PATHS)
@example("_catalog.xml")
@example("a_catalog.xml/b_catalog.xml")
@example("a_catalog.xml\n")
def test_no_part_of_an_escaped_name_is_that_of_a_catalog(name: str) -> None:
    assert not [part for part in escape(name).split("/") if part.endswith("_catalog.xml")]


@CALM
@given(COMPONENTS, st.sampled_from(["..", ".", "...", "_catalog.xml", "x"]), st.integers(60, 100))
@example("ü", "..", 99)
@example("ü", ".", 99)
def test_every_part_of_an_escaped_name_can_be_a_file_s_name(first: str, last: str, times: int) -> None:
    """Not too long for a file system, and none that leads to another folder."""
    parts = escape(first + "ü" * times + last).split("/")

    assert [part for part in parts if part in {"", ".", ".."} or len(part) > 255] == []


@CALM
@given(st.text(ALNUM + " ._-+,:&'[]()@", min_size=1, max_size=40))
def test_names_that_xnat_keeps_stay_as_they_are(name: str) -> None:
    assert escape(name + "x") == name + "x"


@CALM
@given(st.text(st.characters(codec="ascii", exclude_characters="=\0"), max_size=30))
def test_unescape_leaves_names_alone_that_hold_no_escape(name: str) -> None:
    assert unescape(name) == name


@CALM
@given(st.text(max_size=30))
@example("=")
@example("=G1")
@example("=FF=FE")
@example("=/=/")
def test_unescape_takes_whatever_a_server_lists(name: str) -> None:
    unescape(name)


@CALM
@given(COMPONENTS)
def test_a_hidden_name_is_another_one_that_still_means_the_same(name: str) -> None:
    if not name[0].isascii() or not name[0].isalnum():
        name = f"d{name}"
    hidden = hide(escape(name))

    assert hidden != escape(name)
    assert unescape(hidden) == name


@CALM
@given(st.text(max_size=20))
def test_a_plain_name_is_not_changed_by_escaping(name: str) -> None:
    if is_plain(name) and not re.search(r"_catalog\.xml(/|$)", name):
        assert escape(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a%41", "é", "a+b", "a;b", "a\n", "a=41", "a#b", "a?b", "a\\b"])
def test_names_that_a_url_would_change_are_not_plain(name: str) -> None:
    assert not is_plain(name)


# ------------------------------------------------------------------ labels


@CALM
@given(ENTITIES, st.lists(WORDS, max_size=2), WORDS)
def test_a_label_is_valid_and_can_be_turned_back(entities: Entities, before: list[str], after: str) -> None:
    words = "_".join([*before, *(f"{key}-{value}" for key, value in entities), after])

    assert re.fullmatch(r"[A-Za-z0-9_-]+", to_label(words))
    assert from_label(to_label(words)) == words
    assert [from_value(to_label(value)) for _, value in entities] == [value for _, value in entities]


@CALM
@given(st.sets(VALUES, min_size=2, max_size=5))
def test_no_two_subjects_share_a_label(values: set[str]) -> None:
    assert len({to_label(f"sub-{value}") for value in values}) == len(values)


# ------------------------------------------------------------------ BIDS names


@CALM
@given(ENTITIES, WORDS, st.sampled_from(["", ".nii.gz", ".json", ".", ".ds", ".tar.gz", ".a b"]))
def test_parse_name_finds_what_a_name_was_made_of(entities: Entities, suffix: str, extension: str) -> None:
    name = "_".join([*(f"{key}-{value}" for key, value in entities), suffix]) + extension

    assert parse_name(name) == BidsName(tuple(entities), suffix, extension)


@CALM
@given(st.text(max_size=40))
@example("")
@example(".")
@example("_")
@example("-_-")
@example("sub-_T1w")
@example("sub-01_sub-02_T1w.nii")
@example("sub-01_T1w.nii\n")
@example("\udcff")
@example("a" * 5000 + "_")
def test_parse_name_takes_any_name(name: str) -> None:
    """What it takes apart can be put together again."""
    parsed = parse_name(name)

    if parsed is not None:
        words = [*(f"{key}-{value}" for key, value in parsed.entities), parsed.suffix]
        assert "_".join(words) + parsed.extension == name


@pytest.mark.parametrize(
    "name", ["", "sub-01", "sub-01_", "_T1w", "sub-01__T1w", "sub-01_sub-02_T1w", "sub-é_T1w", "sub-1_T 1", ".hidden"]
)
def test_parse_name_knows_what_is_no_bids_name(name: str) -> None:
    assert parse_name(name) is None


def test_values_keep_their_leading_zeros() -> None:
    first, second = parse_name("sub-01_run-01_T1w"), parse_name("sub-01_run-1_T1w")

    assert first is not None
    assert second is not None
    assert first.get("run") != second.get("run")


@CALM
@given(ENTITIES, WORDS, st.sets(WORDS))
def test_without_drops_the_named_entities_alone(entities: Entities, suffix: str, dropped: set[str]) -> None:
    name = BidsName(tuple(entities), suffix, "")

    assert name.without(*dropped) == tuple(entity for entity in entities if entity[0] not in dropped)
    assert all(name.get(key) == value for key, value in entities)
    assert name.get("no-key") == ""


@pytest.mark.parametrize(
    ("folder", "subject", "session"),
    [
        ("sub-01", True, False),
        ("ses-a+b", False, True),
        ("sub-", False, False),
        ("sub-01_old", False, False),
        ("Sub-01", False, False),
        ("sub-01\n", False, False),
        ("sub-é", False, False),
        ("ses-1 copy", False, False),
    ],
)
def test_subjects_and_sessions_are_known_by_their_names(folder: str, subject: bool, session: bool) -> None:
    assert (is_subject(folder), is_session(folder)) == (subject, session)
