"""Roles: given, taken, and found out by those who have them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import World

ROLES = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}


def _json(world: World, who: str, path: str) -> Any:
    answer = getattr(world, who)("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("who", "status"), [("owner", 200), ("admin", 200), ("member", 403), ("collaborator", 403)])
def test_only_who_manages_a_project_may_list_its_people(world: World, who: str, status: int) -> None:
    """The refusal is in the status alone."""
    answer = getattr(world, who)("GET", "/data/projects/{P}/users", format="json")

    assert answer.status_code == status
    assert {row["login"]: row["displayname"] for row in answer.json()["ResultSet"]["Result"]} == ROLES


@pytest.mark.parametrize("who", ROLES)
def test_everybody_can_find_out_about_their_own_role(world: World, who: str) -> None:
    ending = ROLES[who].lower().removesuffix("s")

    assert f"{world.project}_{ending}" in _json(world, who, f"/xapi/users/{who}/groups")
    (found,) = (one for one in _json(world, who, "/xapi/access/projects") if one["ID"] == world.project)
    assert (found["role"], found["group_id"]) == (ROLES[who], f"{world.project}_{ending}")
    listed = _json(world, who, "/data/projects?accessible=true&format=json")["ResultSet"]
    role = f"user_role_{listed['xdat_user_id']}"
    assert {row["id"]: row[role] for row in listed["Result"]}[world.project] == ROLES[who]


@pytest.mark.parametrize("what", ["groups", "roles"])
def test_nobody_finds_out_about_others(world: World, what: str) -> None:
    assert world.member("GET", f"/xapi/users/owner/{what}").status_code == 403
    assert world.member("GET", "/xapi/access/owner/projects").status_code == 403
    assert world.admin("GET", f"/xapi/users/owner/{what}").status_code == 200
    assert world.admin("GET", f"/xapi/users/nobody/{what}").status_code == 404
    assert _json(world, "admin", "/xapi/users/admin/roles") == ["Administrator"]


@pytest.mark.parametrize(
    ("query", "seeing"),
    [
        ("accessible=true", {"owner", "member", "collaborator", "admin"}),
        ("accessible=false", {"admin"}),
        ("data=writable", {"owner", "member", "admin"}),
        ("data=readable", {"owner", "member", "collaborator", "admin"}),
        ("owner=true", {"owner"}),
        ("member=true", {"member"}),
        ("member=true&owner=true", {"owner", "member"}),
        ("users=true", {"owner", "member", "collaborator"}),
        ("permissions=edit", {"owner", "member", "admin"}),
        ("permissions=delete&dataType=xnat:mrSessionData", {"owner", "admin"}),
        ("permissions=read&dataType=xnat:mrSessionData", {"owner", "member", "collaborator", "admin"}),
        ("restrict=edit", {"owner", "admin"}),
    ],
)
def test_projects_are_listed_by_what_one_may_do_there(world: World, query: str, seeing: set[str]) -> None:
    found = set()
    for who in (*ROLES, "stranger", "admin"):
        rows = _json(world, who, f"/data/projects?format=json&{query}")["ResultSet"]["Result"]
        if world.project in {row.get("id", row.get("ID")) for row in rows}:
            found.add(who)

    assert found == seeing


@pytest.mark.parametrize("query", ["data=some", "permissions=all", "permissions="])
def test_words_that_are_none_fail(world: World, query: str) -> None:
    assert world.owner("GET", f"/data/projects?{query}").status_code == 500
