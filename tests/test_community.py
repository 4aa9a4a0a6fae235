"""What people meet who come to the repository has the form that it must: how to cite, whom to tell, what to ask."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from xnat_bids_push import __version__

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the tools for the documentation")

CHECKOUT = Path(__file__).parents[1]
FORMS = sorted((CHECKOUT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def loaded(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def test_the_citation_is_of_this_version_and_says_what_the_package_says() -> None:
    citation = loaded(CHECKOUT / "CITATION.cff")

    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= citation.keys()
    assert str(citation["version"]) == __version__
    assert citation["license"] == PROJECT["license"]
    assert [one["name"] for one in citation["authors"]] == [one["name"] for one in PROJECT["authors"]]
    assert all(re.fullmatch(r"10\.\d{4,9}/\S+", one["doi"]) for one in citation["references"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_can_be_filled_in(path: Path) -> None:
    form = loaded(path)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    ids = [part["id"] for part in asked]

    assert form["name"]
    assert form["description"]
    assert {part["type"] for part in form["body"]} <= KINDS
    assert len(ids) == len(set(ids))
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


@pytest.mark.parametrize("name", ["LICENSE", "SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_it_is_where_people_look_and_travels_with_the_source(name: str) -> None:
    content = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))

    assert (CHECKOUT / name).stat().st_size > 200
    assert f"/{name}" in content["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]


def test_the_tests_that_security_names_are_there() -> None:
    named = re.findall(r"(test_[a-z_]+\.py)", (CHECKOUT / "SECURITY.md").read_text("utf-8"))

    assert named
    assert all((CHECKOUT / "tests" / name).is_file() for name in named)
