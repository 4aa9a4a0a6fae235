"""The versions that CI uses are locked, each with its hashes, and the lock is that of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[1]
LOCKS = CHECKOUT / "requirements"


def locked_in(file: str) -> dict[str, list[str]]:
    """The locked versions of each package; there may be one for each Python."""
    found: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (LOCKS / file).read_text("utf-8"), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def declared() -> list[Requirement]:
    """Everything that pyproject.toml and what builds the package ask for."""
    content = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    project = content["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    lines += content["build-system"]["requires"]
    lines += [line for line in (CHECKOUT / "requirements/ci.in").read_text("utf-8").splitlines() if line[:1].isalpha()]
    return [one for one in map(Requirement, lines) if one.name != project["name"]]


@pytest.mark.parametrize("one", declared(), ids=str)
def test_the_lock_is_that_of_the_declared_versions(one: Requirement) -> None:
    if one.marker is not None and not one.marker.evaluate():
        pytest.skip("not for this system")
    versions = locked_in("ci.txt").get(canonicalize_name(one.name), [])

    assert any(one.specifier.contains(version) for version in versions), f"{one}: run make lock"


@pytest.mark.parametrize("file", ["ci.txt", "image.txt", "build.txt"])
def test_every_locked_version_has_its_hashes_and_no_address(file: str) -> None:
    text = (LOCKS / file).read_text("utf-8")
    entries = [part for part in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE) if part.strip()]

    assert len(entries) == sum(map(len, locked_in(file).values()))
    for entry in entries:
        assert re.fullmatch(
            r"[A-Za-z0-9._-]+==[^\s;\\]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n?", entry
        ), entry[:200]
    assert "://" not in text
    assert "index-url" not in text
