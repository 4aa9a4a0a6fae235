"""Every label says of whom it is: what a template writes, it reads back; and a template that could not is refused."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xnat_bids_push.errors import MappingError
from xnat_bids_push.labels import Labels, Portion, parse_template
from xnat_bids_push.table import default_table

MODALITIES = frozenset(default_table().modalities)
CALM = settings(deadline=None)

VALUES = st.text(string.ascii_letters + string.digits + "+", min_size=1, max_size=6)
LITERALS = st.text(string.ascii_letters + string.digits + "-", max_size=4)


@st.composite
def templates(draw: st.DrawFn) -> str:
    """Texts like templates, most of them good."""

    def word(key: str) -> str:
        return f"{draw(LITERALS)}{{{key}}}{draw(LITERALS)}" if key else draw(LITERALS)

    others = draw(st.sampled_from([[], ["modality"], [""], ["modality", ""]]))
    keys = draw(st.permutations(["subject", *others]))
    words = [word(key) for key in keys]
    at = draw(st.integers(0, len(words)))
    inside = draw(st.sampled_from(["", "[_{}]", "[{}_]", "[{}]", "{}", "[_{}"])).format(word("session"))
    head, tail = "_".join(words[:at]), "_".join(words[at:])
    joint = draw(st.sampled_from(["", "_"]))
    return head + inside + joint + tail


def labels(text: str, subject: str = "sub-{subject}") -> Labels:
    experiment = parse_template(text)
    other = experiment.without_modality() if "modality" in experiment.keys else None
    return Labels(parse_template(subject), experiment, other, MODALITIES)


def refusal(text: str) -> str:
    """Why a template is refused; "" if it is good."""
    try:
        parse_template(text)
    except MappingError as error:
        return str(error)
    return ""


@settings(deadline=None, max_examples=500)
@given(templates(), VALUES, st.just("") | VALUES, st.sampled_from(sorted(MODALITIES)))
@example("{subject}[_{session}]_{modality}", "MR", "MR", "MR")
@example("sub-{subject}[_ses-{session}]_{modality}", "4S+1", "a+b", "PET")
@example("{subject}[_MR{session}]", "01", "2", "MR")
@example("[{session}_]{subject}", "01", "pre", "MR")
def test_what_a_template_writes_it_reads_back(text: str, subject: str, session: str, modality: str) -> None:
    reason = refusal(text)
    if reason:
        assert repr(text) in reason
        return
    naming = labels(text)
    if session and "session" not in naming.experiment.keys:
        session = ""
    portion = Portion(f"sub-{subject}", f"ses-{session}" if session else "", "" if naming.one_per_session else modality)

    label = naming.experiment_label(Portion(portion.subject, portion.session, modality))

    assert naming.portion(label) == portion
    assert set(label) <= set(string.ascii_letters + string.digits + "_-")
    assert naming.subject_folder(naming.subject_label(portion.subject)) == portion.subject


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{subject}_{session}_{modality}", r"{session} must stand in brackets"),
        ("{subject}_MR{session}", r"{session} must stand in brackets"),
        ("{session}_{modality}", "{subject} must be in it"),
        ("[{subject}_{session}_]{modality}", "{subject} must be in it"),
        ("{subject}[_{session}_{modality}]", "{modality} must stand outside"),
        ("{subject}{session}", "two placeholders"),
        ("{subject}[{session}]", "must hold whole words"),
        ("a[_{session}_]{subject}", "must hold whole words"),
        ("{subject}[_{session}", "one pair of brackets"),
        ("{subject}_{session}]", "one pair of brackets"),
        ("{subject}[_{session}][_{modality}]", "one pair of brackets"),
        ("{subject}[]", "nothing between the brackets"),
        ("{subject}[_x]", "{session} must stand in the brackets"),
        ("{subject}_", "there must be a word"),
        ("", "there must be a word"),
        ("{subject}__{modality}", "there must be a word"),
        ("{subject}_{subject}", "once only"),
        ("{Subject}", "letters, digits, _ and - only"),
        ("{subject}.x_{modality}", "letters, digits, _ and - only"),
        ("{subject}_{portion}", "is no placeholder"),
        ("XNAT_S{subject}", "one of its own IDs"),
        ("{subject}[_E{session}]", "one of its own IDs"),
    ],
)
def test_a_template_that_cannot_be_read_backwards_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse_template(text)

    assert reason in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "portion", "label"),
    [
        ("sub-{subject}[_ses-{session}]_{modality}", Portion("sub-01", "ses-a", "MR"), "sub-01_ses-a_MR"),
        ("sub-{subject}[_ses-{session}]_{modality}", Portion("sub-01", "", "MR"), "sub-01_MR"),
        ("{subject}[_{session}]_{modality}", Portion("sub-01", "ses-a", "EEG"), "01_a_EEG"),
        ("{subject}[_MR{session}]", Portion("sub-4S+1", "ses-2", ""), "4S-1_MR2"),
        ("{subject}[_MR{session}]", Portion("sub-01", "", ""), "01"),
        ("study-x_{modality}_[v{session}_]p{subject}", Portion("sub-01", "ses-2", "PET"), "study-x_PET_v2_p01"),
    ],
)
def test_labels_are_as_the_template_says(text: str, portion: Portion, label: str) -> None:
    naming = labels(text)

    assert naming.experiment_label(portion) == label
    assert naming.portion(label) == portion


@pytest.mark.parametrize("label", ["01", "sub-01_ses-a_XR", "sub-01_ses-a_MR_b", "01_MR", "sub-_MR", "sub-01_a_MR", ""])
def test_a_label_of_somebody_else_is_none_of_ours(label: str) -> None:
    naming = labels("sub-{subject}[_ses-{session}]_{modality}")

    assert naming.portion(label) is None


def test_both_ways_to_divide_a_session_are_read_where_they_can_be_told_apart() -> None:
    naming = labels("sub-{subject}[_ses-{session}]_{modality}")
    alike = labels("{subject}[_{session}]_{modality}")

    assert naming.portion("sub-01_ses-a") == Portion("sub-01", "ses-a")
    assert naming.portion("sub-01") == Portion("sub-01")
    assert alike.portion("01_MR") == Portion("sub-01", "", "MR")
    assert alike.portion("01_pre") is None, "session pre of all modalities, or modality pre: nobody can tell"


@CALM
@given(templates(), VALUES, VALUES, st.sampled_from(sorted(MODALITIES)))
def test_what_is_read_as_a_label_of_the_other_way_is_one(text: str, subject: str, session: str, modality: str) -> None:
    if refusal(text) or (naming := labels(text)).other is None:
        return
    portion = Portion(f"sub-{subject}", f"ses-{session}", modality)

    found = naming.portion(naming.experiment_label(portion, other=True))

    whole = Portion(portion.subject, portion.session if "session" in naming.experiment.keys else "")
    assert found in (None, whole)
