"""What a run did is told of each file, and of each place."""

from __future__ import annotations

import pytest

from tests.test_planning import OTHER, PROJECT, SESSION, SUBJECT, md5
from xnat_bids_push.deeds import Deeds, files_of
from xnat_bids_push.model import (
    Address,
    CreateScans,
    CreateSubject,
    Deed,
    Deletion,
    Field,
    FillResource,
    Finding,
    ImportSession,
    Made,
    Node,
    Outcome,
    SendFile,
    State,
    Step,
)

ONE, TWO, THREE = SESSION.files[:3]
NODE = SESSION.node
FIELDS = (Field("demographics/age", "30"),)
FILL = FillResource(NODE, ONE.address.scan, ONE.address.resource, (ONE,))


def found(state: State, address: Address = ONE.address, md5: str = "") -> Finding:
    return Finding(state, address, "path", 3, md5=md5)


def told(deeds: Deeds, *before: Finding, after: tuple[Finding, ...] | None = None, node: Node = NODE) -> Outcome:
    left = after if after is not None else tuple(one._replace(state=State.SAME) for one in before)
    return deeds.told(Outcome(node, left), before)


def test_what_was_sent_is_new_or_replaces_what_was_there_and_the_rest_was_not_touched() -> None:
    deeds = Deeds()
    deeds.did(FILL, {ONE.address: md5(ONE.file), TWO.address: md5(TWO.file)})

    before = (found(State.MISSING), found(State.DIFFERS, TWO.address), found(State.SAME, THREE.address, OTHER))
    outcome = told(deeds, *before)

    assert [one.deed for one in outcome.findings] == [Deed.SENT, Deed.REPLACED, Deed.NONE]
    assert [one.md5 for one in outcome.findings] == [md5(ONE.file), md5(TWO.file), OTHER]
    assert told(Deeds(), *before).findings[0].deed is Deed.NONE


def test_what_the_plan_did_not_speak_of_was_not_sent() -> None:
    deeds = Deeds()
    deeds.did(FILL, {ONE.address: OTHER})
    assert told(deeds, after=(found(State.SAME),)).findings[0].deed is Deed.NONE


@pytest.mark.parametrize("step", [ImportSession(SESSION, (ONE,)), FILL, SendFile(ONE)])
def test_what_is_found_after_a_lost_answer_was_sent_and_has_no_digest_of_ours(step: Step) -> None:
    deeds = Deeds()
    deeds.lost(step)
    [one] = told(deeds, found(State.MISSING)).findings
    assert (one.deed, one.md5) == (Deed.SENT, "")


def test_the_files_of_a_step_are_all_that_it_sends() -> None:
    assert list(files_of(ImportSession(SESSION, (ONE, TWO)))) == [ONE.address, TWO.address]
    assert list(files_of(FILL)) == list(files_of(SendFile(ONE))) == [ONE.address]
    assert list(files_of(CreateSubject("s"))) == list(files_of(Deletion(NODE))) == []


def test_what_was_created_is_told_once_it_was_and_at_its_place() -> None:
    deeds = Deeds()
    deeds.did(CreateScans(NODE, SESSION.xsi_type, SESSION.scans), {}, frozenset({"a"}))
    deeds.did(CreateScans(NODE, SESSION.xsi_type, SESSION.scans), {}, frozenset({"b"}))
    deeds.did(CreateScans(NODE, SESSION.xsi_type, SESSION.scans), {})
    assert told(deeds).made == Made(scans=frozenset({"a", "b"}))

    deeds.created(CreateSubject(NODE.subject, FIELDS), NODE)
    deeds.did(ImportSession(SESSION, ()), {})
    deeds.did(FILL, {})
    assert told(deeds).made == Made(True, frozenset({"a", "b"}), FIELDS)
    assert told(deeds, node=PROJECT.node).made == Made()


def test_what_was_there_alone_and_is_no_more_was_deleted_if_anything_was_at_its_place() -> None:
    alone, stays = found(State.EXTRA), found(State.EXTRA, TWO.address)
    deeds = Deeds()
    assert told(deeds, alone, stays, after=(stays,)).deleted == ()
    deeds.did(Deletion(SUBJECT.node), {})
    assert told(deeds, alone, stays, after=(stays,)).deleted == ()
    deeds.did(Deletion(NODE), {})
    assert told(deeds, alone, stays, found(State.MISSING, THREE.address), after=(stays,)).deleted == (alone,)
