"""What is there and differs, or is there alone, under each policy. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.test_planning import OTHER, SESSION, TABLE, digest_of, holding, md5, stored
from xnat_bids_push.fitting import Untold
from xnat_bids_push.model import (
    Address,
    Deletion,
    Existing,
    FillResource,
    Holding,
    NodePlan,
    SendFile,
    State,
    StoredFile,
)
from xnat_bids_push.names import is_plain
from xnat_bids_push.planning import Known, plan_node
from xnat_bids_push.policies import Policy, can_go_alone, deletions, stage_of

IMAGE = next(one for one in SESSION.files if one.address.resource == "NIFTI" and one.file.size)
STAGE = stage_of(IMAGE.address, TABLE)
REPLACE, SKIP, DELETE = Policy(Existing.REPLACE), Policy(Existing.SKIP), Policy(delete=True)


def planned(there: Holding, policy: Policy) -> NodePlan:
    known = Known(frozenset({SESSION.node.subject}))
    return plan_node(SESSION, there, digest=digest_of, describe=Untold(), table=TABLE, known=known, policy=policy)


def there(*more: StoredFile, image: StoredFile | None = None) -> Holding:
    """All of the session, with another image, and more."""
    files = [stored(one) for one in SESSION.files if one is not IMAGE]
    return holding(SESSION, [*files, image or stored(IMAGE, digest=OTHER), *more])


def staged(digest: str) -> StoredFile:
    return StoredFile(STAGE, IMAGE.file.size, digest)


def targets(plan: NodePlan) -> list[tuple[Address, bool]]:
    """Where the plan's steps write, and whether over something."""
    sent = [step for step in plan.steps if isinstance(step, FillResource | SendFile)]
    return [
        (one.address, step.replace)
        for step in sent
        for one in (step.files if isinstance(step, FillResource) else (step.placed,))
    ]


def test_what_differs_is_left_unless_the_user_says_otherwise() -> None:
    assert planned(there(), Policy()).steps == ()
    [finding] = [one for one in planned(there(), SKIP).findings if one.state is not State.SAME]
    assert (finding.state, finding.address) == (State.KEPT, IMAGE.address)


def test_new_content_is_first_sent_beside_what_it_replaces() -> None:
    assert targets(planned(there(), REPLACE)) == [(STAGE, False)]


def test_nothing_is_overwritten_before_the_new_content_is_proven() -> None:
    assert planned(there(staged("")), REPLACE).prove
    assert targets(planned(there(staged("")), REPLACE)) == []
    assert targets(planned(there(staged(OTHER)), REPLACE)) == [(STAGE, True)]
    assert targets(planned(there(staged(md5(IMAGE.file))), REPLACE)) == [(IMAGE.address, True)]


def test_what_waited_goes_when_all_is_proven() -> None:
    done = planned(there(staged(md5(IMAGE.file)), image=stored(IMAGE)), REPLACE)

    assert done.steps == (Deletion(SESSION.node, STAGE.scan, STAGE.resource, 1),)
    assert planned(there(staged(md5(IMAGE.file)), image=stored(IMAGE)), Policy()).steps == ()


def test_nothing_is_deleted_while_something_is_not_proven() -> None:
    extra = StoredFile(IMAGE.address._replace(name="sub-1_ses-a+b_acq-x_T1w.nii"), 1, OTHER)
    for image in (stored(IMAGE, digest=OTHER), stored(IMAGE, digest="")):
        steps = planned(there(extra, image=image), DELETE).steps
        assert not any(isinstance(step, Deletion) for step in steps)


NAMES = st.sampled_from(["a", "a.nii", "a.nii.gz", "b", "b/c", "b/c.x", "x y", "é"])
FILES = st.sets(st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from(["NIFTI", "BIDS"]), NAMES))


def deleted(step: Deletion, address: Address) -> bool:
    """Whether XNAT deletes a file along: by the beginning of its name."""
    named = ((step.scan, address.scan), (step.resource, address.resource))
    same = all(want in ("", have) for want, have in named) and (
        bool(step.scan) or not address.scan or not step.resource
    )
    return same and address.name.startswith(step.name)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a machine that has much else to do
@given(FILES, st.data())
def test_what_goes_is_extra_whatever_xnat_takes_along(
    files: Iterable[tuple[str, str, str]], data: st.DataObject
) -> None:
    addresses = sorted(Address(SESSION.node, *one) for one in files)
    extras = data.draw(st.sets(st.sampled_from(addresses))) if addresses else set()
    scans = data.draw(st.sets(st.sampled_from(["1", "2"])))
    held = holding(SESSION, (StoredFile(one, 1, OTHER) for one in addresses))

    steps = list(deletions(extras, held, scans))

    gone = {address for address in addresses for step in steps if deleted(step, address)}
    assert gone <= extras
    assert not any(step.scan in scans and not step.resource for step in steps)
    single = {one for one in extras if can_go_alone(one, set(addresses) - extras)}
    assert single <= gone


def test_a_scan_that_is_alone_goes_as_one_and_each_deletion_says_how_many_files_go_with_it() -> None:
    """The user is asked for leave by that number."""
    gone = {Address(SESSION.node, "1", resource, name) for resource in ("NIFTI", "BIDS") for name in ("a.nii", "b")}
    whole = {Address(SESSION.node, "2", "NIFTI", name) for name in ("a", "b", "c")}
    alone, beside = (Address(SESSION.node, "2", "BIDS", name) for name in ("a.json", "theirs"))
    held = holding(SESSION, (StoredFile(one, 1, OTHER) for one in {*gone, *whole, alone, beside}))

    assert list(deletions(gone, holding(SESSION, (StoredFile(one, 1, OTHER) for one in gone)), {"2"})) == [
        Deletion(SESSION.node, "1", files=4)
    ]
    assert list(deletions({*gone, *whole, alone}, held, {"2"})) == [
        Deletion(SESSION.node, "1", files=4),
        Deletion(SESSION.node, "2", "BIDS", 1, name="a.json"),
        Deletion(SESSION.node, "2", "NIFTI", 3),
    ]


@given(NAMES, st.sets(NAMES))
def test_a_name_that_another_begins_with_does_not_go_alone(name: str, others: Iterable[str]) -> None:
    found = can_go_alone(
        Address(SESSION.node, "1", "NIFTI", name), [Address(SESSION.node, "1", "NIFTI", one) for one in others]
    )
    assert found == (is_plain(name) and not any(one.startswith(name) for one in others))
