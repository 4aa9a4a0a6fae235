"""What is built is the whole package and nothing else, in a form that an index takes; `make dist` also installs it."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

import pytest

from tools.dist import CHECKOUT, EXTRAS, metadata_faults, package_files, wheel_faults

wheel_builder = pytest.importorskip("hatchling.builders.wheel", reason="what builds the package is not installed")

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    [built] = wheel_builder.WheelBuilder(str(CHECKOUT)).build(directory=str(folder))
    return Path(built)


def test_the_wheel_is_the_package(wheel: Path) -> None:
    assert list(wheel_faults(wheel)) == []


def test_the_wheel_has_what_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        kinds = {Path(name).suffix for name in archive.namelist()}
    assert {".toml", ".json", ".html", ".xsd"} <= kinds
    assert "xnat_bids_push/py.typed" in set(package_files())


def test_a_wheel_that_lacks_a_file_is_noticed(wheel: Path, tmp_path: Path) -> None:
    less = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(less, "w") as target:
        for name in archive.namelist():
            if not name.endswith("/mapping.toml"):
                target.writestr(name, archive.read(name))
    assert list(wheel_faults(less)) == ["xnat_bids_push/mapping.toml is not in the wheel"]


def test_metadata_that_an_index_would_show_badly_is_noticed() -> None:
    text = b"Metadata-Version: 2.4\nName: bids2xnat\nVersion: 1\n\n# bids2xnat\n"
    assert next(iter(metadata_faults(text))) == "the description is not known to be Markdown"


def test_the_extras_that_users_are_told_of_are_there() -> None:
    assert set(EXTRAS) <= PROJECT["optional-dependencies"].keys()


def test_both_programs_start_where_they_say() -> None:
    for place in PROJECT["scripts"].values():
        module, _, function = place.partition(":")
        text = (CHECKOUT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
        assert f"\ndef {function}(" in text
