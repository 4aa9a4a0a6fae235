"""What reading and planning cost is counted, not timed: `make bench` times it."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from test_data.generate import generate_many
from xnat_bids_push import dataset as dataset_module
from xnat_bids_push import mapping as mapping_module
from xnat_bids_push.dataset import read
from xnat_bids_push.fitting import Untold
from xnat_bids_push.metadata import Metadata
from xnat_bids_push.model import Holding, Md5, Placed
from xnat_bids_push.planning import Known, plan_node
from xnat_bids_push.pushing import placements


def no_digest(placed: Placed) -> Md5:
    raise AssertionError(f"{placed.file.path} was digested, and the archive is empty")


def plan_all(root: Path) -> int:
    """Plan a push into an empty archive, and merge all sidecars; how many files that were."""
    dataset, found = read(root), 0
    metadata = Metadata(dataset)
    for _, chosen in placements(dataset):
        for parcel in chosen.parcels:
            metadata.sidecars(parcel)
            holding = Holding(parcel.node)
            plan = plan_node(parcel, holding, digest=no_digest, describe=Untold(), table=dataset.table, known=Known())
            found += len(plan.findings)
    return found


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object, str], Counter[str]]]:
    """Counts the calls of a function by their first argument."""

    def counting(module: object, name: str) -> Counter[str]:
        calls: Counter[str] = Counter()
        real = getattr(module, name)

        def counted(first: str, *args: object, **kwargs: object) -> object:
            calls[str(first)] += 1
            return real(first, *args, **kwargs)

        monkeypatch.setattr(module, name, counted)
        return calls

    yield counting
    for remembered in (mapping_module._sense, mapping_module.spot_of_folder, dataset_module._unknown_entities):
        remembered.cache_clear()


@pytest.fixture(params=[3, 30])
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> int:
    number: int = request.param
    generate_many(tmp_path, subjects=number)
    return number


def test_a_name_is_read_once_however_many_sessions_have_it(
    tmp_path: Path, sessions: int, count: Callable[[object, str], Counter[str]]
) -> None:
    mapping_module._sense.cache_clear()
    dataset_module._unknown_entities.cache_clear()
    placing, walking = count(mapping_module, "parse_name"), count(dataset_module, "parse_name")

    assert plan_all(tmp_path) == 5 + 13 * sessions  # each session has a copy of the description
    assert len(placing) == len(walking) == 12
    assert placing.total() == walking.total() == 12


def test_each_folder_is_listed_once_and_each_file_opened_once(
    tmp_path: Path, sessions: int, count: Callable[[object, str], Counter[str]]
) -> None:
    listed, opened = count(os, "scandir"), count(os, "open")

    files = sum(len(part.files) for part in read(tmp_path).parts())

    folders, contents = ([number for path, number in calls.items() if "/sub-" in path] for calls in (listed, opened))
    assert files == 5 + 12 * sessions
    assert folders == [1] * 5 * sessions
    assert contents == [1] * 12 * sessions


def test_of_a_session_that_is_planned_no_more_is_kept_than_its_names(tmp_path: Path) -> None:
    """Its files alone would be three times as much."""
    few, many = tmp_path / "few", tmp_path / "many"
    generate_many(few, subjects=60)
    generate_many(many, subjects=120)
    plan_all(many)  # fills what is remembered, which is bounded

    assert peak(many) - peak(few) < 60 * 3000


def peak(root: Path) -> int:
    """The most memory that planning takes at once, in bytes."""
    tracemalloc.start()
    try:
        plan_all(root)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
