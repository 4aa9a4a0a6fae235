"""The laws of the mapping on any tree: nothing lost or mixed, reversible, and stable whatever else is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_data.generate import write
from tests.test_mapping import assert_lawful, everything, parcels_of, placed_in
from tests.trees import Tree, files_of, trees
from xnat_bids_push.mapping import place, spot
from xnat_bids_push.model import Parcel, Severity
from xnat_bids_push.table import default_table

TABLE = default_table()
CALM = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

NewFolder = Callable[[], Path]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="such names cannot be made on Windows")


@pytest.fixture
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> NewFolder:
    """Makes a folder for each example."""
    return lambda: tmp_path_factory.mktemp("tree")


def parcels_below(root: Path) -> list[Parcel]:
    return [parcel for part in everything(root).parts() for parcel in place(part, TABLE).parcels]


@CALM
@given(tree=trees())
def test_any_tree_is_placed_by_the_laws(tree: Tree, new_folder: NewFolder) -> None:
    root = new_folder()
    write(root, tree.items())

    assert_lawful(everything(root))
    assert [
        issue for part in everything(root).parts() for issue in part.issues if issue.severity is Severity.ERROR
    ] == []


@settings(CALM, max_examples=30)
@given(tree=trees())
def test_any_tree_is_placed_alike_wherever_it_lies(tree: Tree, new_folder: NewFolder) -> None:
    """Below a folder, too, that looks like a subject's, and through a link."""
    plain = new_folder()
    odd, link = plain / "sub-9_ses-9_run-9" / "sub-08" / "ses-x" / "anat", plain / "sub-7"
    odd.mkdir(parents=True)
    link.symlink_to(odd)
    write(odd, tree.items())
    write(plain / "x", tree.items())

    assert [_without_disk(parcel) for parcel in parcels_below(plain / "x")] == [
        _without_disk(parcel) for parcel in parcels_below(odd)
    ]
    assert [_without_disk(parcel) for parcel in parcels_below(odd)] == [
        _without_disk(parcel) for parcel in parcels_below(link)
    ]


def _without_disk(parcel: Parcel) -> object:
    files = [(one.address, one.file.path, one.file.size, one.rule) for one in parcel.files]
    return parcel.node, parcel.xsi_type, parcel.scans, files


@CALM
@given(tree=trees(), other=trees(), data=st.data())
def test_no_file_that_comes_or_goes_moves_a_recording(tree: Tree, other: Tree, data: st.DataObject) -> None:
    paths = files_of(tree)
    kept = data.draw(st.lists(st.sampled_from(paths), min_size=1, unique=True))

    before, fewer = placed_in(paths), placed_in(kept)
    more = placed_in(data.draw(st.permutations(list({*paths, *files_of(other)}))))

    for path, placed in before.items():
        if placed.rule == "recording":
            assert more[path].address == placed.address
            assert path not in fewer or fewer[path].address == placed.address


@CALM
@given(tree=trees(), data=st.data())
def test_what_comes_to_one_session_moves_nothing_of_another(tree: Tree, data: st.DataObject) -> None:
    paths = files_of(tree)
    left = data.draw(st.sampled_from([_home(path) for path in paths]))

    before, after = placed_in(paths), placed_in([path for path in paths if _home(path) != left] or paths)

    assert {path: one.address for path, one in after.items()} == {path: before[path].address for path in after}


def _home(path: str) -> tuple[str, str]:
    where = spot(path, TABLE)
    return where.subject, where.session


@CALM
@given(tree=trees(), data=st.data())
def test_a_companion_moves_only_when_its_own_recording_comes_or_goes(tree: Tree, data: st.DataObject) -> None:
    paths = files_of(tree)
    before = placed_in(paths)
    companions = [path for path, one in before.items() if one.address.scan and one.rule != "recording"]
    if not companions:
        return
    companion = data.draw(st.sampled_from(companions))
    scan = before[companion].address.scan
    own = {path for path, one in before.items() if one.address.scan == scan and one.rule == "recording"}
    others = data.draw(st.sets(st.sampled_from(paths))) - own - {companion}

    after = placed_in([path for path in paths if path not in others])

    assert after[companion].address == before[companion].address


@CALM
@given(tree=trees(), data=st.data())
def test_the_order_of_any_files_changes_nothing(tree: Tree, data: st.DataObject) -> None:
    paths = files_of(tree)

    assert parcels_of(data.draw(st.permutations(paths))) == parcels_of(paths)
