"""Memberships: who has which role in which project, and what users can find out about their own."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from . import finding, records, rights
from .accounts import User
from .records import Project
from .tables import table, to_json
from .web import FORBIDDEN, NOT_FOUND, XAPI_JSON, Answer, Call, container_error, failed, not_found, plain_part, refuse

_COLUMNS: Final = ("GROUP_ID", "displayname", "login", "firstname", "lastname", "email")
_TIES: Final = ("accessible", "data", "users", "owner", "member", "collaborator", "prearc_code", "recent", "favorite")
"""Query fields that ask for projects by what the user has to do with them."""
_ROLES: Final = {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}


def users(call: Call, project: str) -> Answer:
    """The people of a project. Who does not manage it is told so by the status alone, beside the table."""
    with call.site.database.read() as db:
        found = _project(call, db, project)
        allowed = rights.in_project(db, call.user, found).manage
        return _table(call, db, found.id, 200 if allowed else 403)


def user(call: Call, project: str, group: str, login: str) -> Answer:
    """The people of a project again, whoever is named in the address, and whoever asks."""
    with call.site.database.read() as db:
        return _table(call, db, _project(call, db, project).id)


def put(call: Call, project: str, group: str, login: str) -> Answer:
    """Give a role to those in a comma list of logins and addresses; unknown ones change nothing."""
    with call.site.database.write() as db:
        found = finding.project(call, db, project)
        role = _role(found, group) if found else None
        if found is None or role is None:
            raise not_found(NOT_FOUND)
        allowed = rights.in_project(db, call.user, found).manage
        for known in _logins(db, login) if allowed else ():
            db.execute("INSERT OR REPLACE INTO role VALUES (?, ?, ?)", (found.id, known, role))
        return _table(call, db, found.id, 200 if allowed else 403)


def delete(call: Call, project: str, group: str, login: str) -> Answer:
    """Take a role away. What is wrong shows in the status alone, beside the table."""
    with call.site.database.write() as db:
        found = finding.project(call, db, project)
        if found is None:
            raise container_error(404)
        role, known = _role(found, group), _logins(db, login)
        if role is None or not known:
            return _table(call, db, found.id, 404)
        if not rights.in_project(db, call.user, found).manage:
            return _table(call, db, found.id, 403)
        for one in known:
            db.execute("DELETE FROM role WHERE project = ? AND login = ? AND role = ?", (found.id, one, role))
        return _table(call, db, found.id)


def groups(call: Call, login: str) -> Answer:
    """The groups of a user, such as ``P_member``."""
    _check_own(call, login)
    with call.site.database.read() as db:
        found = [_group(row["project"], row["role"]) for row in _roles_of(db, login)]
    return Answer(200, to_json(found), XAPI_JSON)


def site_roles(call: Call, login: str) -> Answer:
    """The roles that a user has on the whole site."""
    _check_own(call, login)
    found = call.site.accounts.profile(login)
    return Answer(200, to_json(["Administrator"] if found and found.admin else []), XAPI_JSON)


def access(call: Call, login: str | None = None) -> Answer:
    """The projects in which a user has a role, with that role."""
    if login is not None and not call.user.admin:
        return Answer(403)
    with call.site.database.read() as db:
        found = [_membership(db, row) for row in _roles_of(db, login or call.user.login)]
    return Answer(200, to_json(found), XAPI_JSON)


def listing(call: Call) -> Answer | None:
    """The projects to which the user has the wanted tie; None if no tie is asked for."""
    if call.get("permissions") is not None:
        return _permitted(call)
    if not any(call.get(name) is not None for name in _TIES):
        return None
    if call.get("data") not in (None, "", "readable", "writable"):
        raise failed()
    with call.site.database.read() as db:
        logins = [row[0] for row in db.execute("SELECT login FROM user ORDER BY login")]
        number = str(logins.index(call.user.login) + 1) if call.user.login in logins else "0"
        seen = [one for one in records.all_projects(db) if rights.in_project(db, call.user, one).see]
        rows = [_tied_row(db, call.user, one, number) for one in seen if _is_tied(call, db, one)]
    names = list(_tied_row_names(number))
    return table(call.format, names, rows, title="Projects", xdat_user_id=number)


def _project(call: Call, db: sqlite3.Connection, name: str) -> Project:
    found = finding.project(call, db, name)
    if found is None:
        raise not_found(
            f"The project ID {name} does not appear to be a valid project ID. Please verify your information."
        )
    return found


def _logins(db: sqlite3.Connection, names: str) -> list[str]:
    """The users that are meant by logins and addresses."""
    sql = "SELECT login FROM user WHERE login = :name OR email = :name"
    wanted = [plain_part(name).strip() for name in names.split(",")]
    return [row[0] for name in wanted for row in db.execute(sql, {"name": name})]


def _role(found: Project, group: str) -> str | None:
    """The role that a group is for, by its name, the ending of that, or the name that is shown."""
    names = ((role, (role, ending, f"{found.id}_{ending}")) for role, ending in rights.ROLES.items())
    return next((role for role, known in names if group in known), None)


def _group(project: str, role: str) -> str:
    return f"{project}_{rights.ROLES[role]}"


def _table(call: Call, db: sqlite3.Connection, project: str, status: int = 200) -> Answer:
    sql = "SELECT r.role, u.* FROM role r JOIN user u ON u.login = r.login WHERE r.project = ? AND u.enabled"
    rows = [
        {
            "GROUP_ID": _group(project, row["role"]),
            "displayname": row["role"],
            **{name: row[name] for name in ("login", "firstname", "lastname", "email")},
        }
        for row in db.execute(f"{sql} ORDER BY r.role DESC, u.login", (project,))
    ]
    answer = table(call.format, _COLUMNS, rows, title="Projects")
    answer.status = status
    return answer


def _check_own(call: Call, login: str) -> None:
    if login != call.user.login and not call.user.admin:
        raise refuse(403, FORBIDDEN)
    if call.site.accounts.profile(login) is None:
        raise not_found()


def _roles_of(db: sqlite3.Connection, login: str) -> list[sqlite3.Row]:
    return db.execute("SELECT project, role FROM role WHERE login = ? ORDER BY project", (login,)).fetchall()


def _membership(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, str]:
    found = records.project_by_id(db, row["project"])
    item = found.item if found else None
    return {
        "secondary_ID": (item.text("secondary_ID") if item else None) or "",
        "ID": row["project"],
        "role": row["role"],
        "name": (item.text("name") if item else None) or "",
        "URI": f"/data/projects/{row['project']}",
        "group_id": _group(row["project"], row["role"]),
        "description": (item.text("description") if item else None) or "",
    }


def _permitted(call: Call) -> Answer:
    """The projects in whose sessions the user may change something, or do what a data type and a right name."""
    wanted, kind = call.get("permissions") or "", call.get("dataType")
    if not re.fullmatch("activate|create|delete|edit|read", wanted):
        raise failed()
    # Without a data type it is always the right to edit sessions that counts.
    right = wanted if kind else "edit"
    with call.site.database.read() as db:
        rows = [
            {"id": one.id, "secondary_id": one.item.text("secondary_ID") or ""}
            for one in records.all_projects(db)
            if getattr(rights.in_project(db, call.user, one), "delete" if right == "activate" else right)
        ]
    rows.sort(key=lambda row: row["secondary_id"])
    return table(call.format, ("id", "secondary_id"), rows, total=False)


def _is_tied(call: Call, db: sqlite3.Connection, project: Project) -> bool:
    role = rights.role_of(db, call.user, project.id)
    data, accessible = call.get("data"), call.get("accessible")
    if not call.user.admin:
        if data == "writable" and role not in ("Owners", "Members"):
            return False
        if data == "readable" and role is None and project.accessibility != "public":
            return False
    if accessible is not None and accessible.lower() == "false" and role is not None:
        return False
    ties = [_has_role(call, name, role) for name in ("users", *_ROLES) if call.get(name)]
    return any(ties) or not ties


def _has_role(call: Call, name: str, role: str | None) -> bool:
    if (call.get(name) or "").lower() != "true":
        return name != "users" and role is None
    return role is not None if name == "users" else role == _ROLES[name]


def _tied_row_names(number: str) -> tuple[str, ...]:
    plain = ("id", "name", "description", "secondary_id", "pi", "project_invs", "project_access", "project_access_img")
    return (*plain, "insert_date", "insert_user", f"user_role_{number}", f"last_accessed_{number}", "quarantine_status")


def _tied_row(db: sqlite3.Connection, user: User, project: Project, number: str) -> dict[str, str]:
    item = project.item
    leaders = item.children.get("PI", [])
    return {
        "id": project.id,
        "name": item.text("name") or "",
        "description": item.text("description") or "",
        "secondary_id": item.text("secondary_ID") or "",
        "pi": ", ".join(filter(None, (leaders[0].text("lastname"), leaders[0].text("firstname")))) if leaders else "",
        "project_access": project.accessibility,
        "insert_date": project.inserted,
        "insert_user": project.inserter,
        f"user_role_{number}": rights.role_of(db, user, project.id) or "",
        "quarantine_status": "active",
    }
