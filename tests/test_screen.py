"""What people see is text, whatever a name on disk or a server says; and it stays on its line."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnat_bids_push.doctor import Grade, Verdict
from xnat_bids_push.errors import DatasetError, Rejected
from xnat_bids_push.model import Address, Explanation, Finding, Issue, LeftOut, Node, Outcome, Severity, State
from xnat_bids_push.report import Report
from xnat_bids_push.ui import Screen, plain

HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u2066\r\b\nEverything is there: \x00\u2028end\udcff"


@given(st.text(st.characters(categories=None), max_size=50))
def test_nothing_that_a_terminal_would_obey_is_left(text: str) -> None:
    for sign in plain(text):
        assert unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn") or sign == "\ufffd"


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=50))
def test_words_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_a_very_long_text_is_cut() -> None:
    assert plain("x" * 1_000_000).endswith("x… (990,000 more characters)")
    assert len(plain("x" * 1_000_000)) < 11_000


def tell_everything(screen: Screen) -> None:
    """Hostile words wherever something from outside is shown."""
    finding = Finding(State.DIFFERS, Address(Node(HOSTILE), "", HOSTILE, HOSTILE), HOSTILE, 1, reason=HOSTILE)
    outcome = Outcome(Node(HOSTILE, HOSTILE), (finding,), failure=HOSTILE)
    report = Report("https://x.example.org", HOSTILE)
    report.issues = (Issue(Severity.WARNING, HOSTILE, HOSTILE),)
    report.left_out = (LeftOut(HOSTILE, HOSTILE),)
    report.add(outcome)
    screen.outcome(outcome)
    screen.report(report, verb="push", place=HOSTILE)
    screen.say(HOSTILE)
    screen.note(HOSTILE)
    screen.error(Rejected(HOSTILE))
    screen.error(DatasetError([Issue(Severity.ERROR, HOSTILE, HOSTILE)]))
    screen.explanation(Explanation(HOSTILE, Address(Node(HOSTILE), "", HOSTILE, HOSTILE), HOSTILE), HOSTILE)
    screen.verdicts([Verdict("login", Grade.PROBLEM, HOSTILE, HOSTILE)])


def test_no_screen_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    tell_everything(Screen())

    told = capsys.readouterr()
    text = told.out + told.err
    assert "gnp.exe" in text
    assert re.findall(r"[^\n -\U0010ffff]|[\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text) == []


def test_a_name_cannot_pretend_to_be_a_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.say(HOSTILE)
    screen.note(HOSTILE)
    screen.error(DatasetError([Issue(Severity.ERROR, HOSTILE, "")]))

    told = capsys.readouterr()
    assert not re.search(r"^Everything is there", told.out + told.err, re.MULTILINE)


def test_programs_get_plain_ascii_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell_everything(Screen(as_json=True))

    for line in capsys.readouterr().out.splitlines():
        assert line.isascii()
        json.loads(line)
