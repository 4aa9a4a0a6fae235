"""The account side of the web: logging in and out, alias tokens, users."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from .accounts import Profile, User
from .tables import table, to_json
from .web import BAD_REQUEST, FORBIDDEN, JSON, XAPI_JSON, Answer, Call, empty, not_found, refuse, text

_COOKIE: Final = "JSESSIONID"
_ALIAS: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def session_cookie(call: Call, name: str) -> list[tuple[str, str]]:
    """The headers that give a client its session, and say how long it lasts; what came by TLS stays with TLS."""
    return [("Set-Cookie", f"{_COOKIE}={name}; Path=/; HttpOnly; SameSite=Lax{_secure(call)}"), expiry_cookie(call)]


def expiry_cookie(call: Call) -> tuple[str, str]:
    """The header that says how long the session lasts from this moment on."""
    lifetime = call.site.behaviour.session_seconds * 1000
    expiry = f'"{int(time.time() * 1000)},{lifetime}"'
    return "Set-Cookie", f"SESSION_EXPIRATION_TIME={expiry}; Path=/; SameSite=Lax{_secure(call)}"


def _secure(call: Call) -> str:
    return "; Secure" if call.base_url.startswith("https:") else ""


def log_in(call: Call) -> Answer:
    """Open a session with a form."""
    form = dict(parse_qsl(call.body.read().decode("utf-8", "replace"), keep_blank_values=True))
    login, password = form.get("username") or call.get("username"), form.get("password") or call.get("password")
    if not login or password is None:
        raise not_found()
    accounts = call.site.accounts
    user = accounts.recalled(login, password) or accounts.verify(login, password)
    if user is None:
        raise refuse(401, "Authentication failed.")
    name = accounts.open_session(user)
    answer = text(name)
    answer.headers += session_cookie(call, name)
    return answer


def log_out(call: Call) -> Answer:
    """Close the session."""
    call.site.accounts.close_session(call.session)
    return empty()


def session_name(call: Call) -> Answer:
    """The name of the session; for a guest a fresh one that is good for nothing."""
    if call.flag("CSRF"):
        return text(f"{call.session}; XNAT_CSRF={call.session}")
    return text(call.session)


def who(call: Call) -> Answer:
    """Who is logged in."""
    return text(f"User '{call.user.login}' is logged in")


# Alias tokens


def issue_token(call: Call, login: str | None = None) -> Answer:
    """A pair of words to log in with for some days."""
    owner = login or call.user.login
    _only_for(call, owner)
    if call.site.accounts.profile(owner) is None:
        raise refuse(400, f"An error occurred retrieving the user: {owner}")
    alias, secret, expires = call.site.accounts.issue_token(owner)
    expiration = datetime.fromtimestamp(expires, UTC)
    token = {
        "alias": alias,
        "secret": secret,
        "xdatUserId": owner,
        "singleUse": False,
        "estimatedExpirationTime": int(expiration.timestamp() * 1000),
        "enabled": True,
    }
    return Answer(200, to_json(token), JSON)


def validate_token(call: Call, alias: str, secret: str = "") -> Answer:
    """Whose token it is; nobody's, if the secret is wrong."""
    _own_token(call, alias)
    if not secret:
        raise refuse(401, "You must specify both token and secret to validate a token.")
    owner = call.site.accounts.token_user(alias, secret)
    return Answer(200, to_json({} if owner is None else {"valid": owner}), JSON)


def invalidate_token(call: Call, alias: str, secret: str = "") -> Answer:
    """Make a token useless."""
    _own_token(call, alias)
    call.site.accounts.invalidate_token(alias)
    return Answer(200, to_json({"result": "OK"}), JSON)


def unknown_operation(call: Call, operation: str) -> Answer:
    """Nothing else can be done with tokens."""
    raise refuse(400, f"Unknown operation: {operation}")


def _own_token(call: Call, alias: str) -> None:
    owner = call.site.accounts.token_owner(alias)
    if owner is None:
        what = "alias" if _ALIAS.fullmatch(alias) else "ID"
        raise not_found(f"Can't find an alias token with the {what} {alias}")
    _only_for(call, owner)


def _only_for(call: Call, owner: str) -> None:
    if owner != call.user.login and not call.user.admin:
        raise refuse(403, "Non-admin users can only request operations on alias tokens for their own account")


# Users


def users(call: Call) -> Answer:
    """All logins."""
    return Answer(200, to_json([one.login for one in call.site.accounts.profiles()]), XAPI_JSON)


def user(call: Call, login: str) -> Answer:
    """One user; others only for administrators."""
    if login != call.user.login and not call.user.admin:
        return Answer(403)
    found = call.site.accounts.profile(login)
    if found is None:
        return Answer(404)
    return Answer(200, to_json(_shown(found)), XAPI_JSON)


def current(call: Call) -> Answer:
    """The login of the sender."""
    return Answer(200, call.user.login.encode(), "text/plain;charset=UTF-8")


def create_user(call: Call) -> Answer:
    """Add a user."""
    _administrators_only(call.user)
    sent = _object(call)
    profile = _profile(sent, str(sent.get("username", "")))
    if call.site.accounts.profile(profile.login) is not None:
        return Answer(409)
    if not call.site.accounts.create(profile, str(sent.get("password", ""))):
        return Answer(400)
    return Answer(201, to_json(_shown(profile)), XAPI_JSON)


def change_user(call: Call, login: str) -> Answer:
    """Change a user, or one's own password."""
    if login != call.user.login:
        _administrators_only(call.user)
    known = call.site.accounts.profile(login)
    if known is None:
        return Answer(404)
    sent = _object(call)
    call.site.accounts.update(_profile({**_shown(known), **sent}, login))
    if sent.get("password"):
        call.site.accounts.set_password(login, str(sent["password"]))
    return Answer(200, to_json(_shown(known)), XAPI_JSON)


def data_users(call: Call) -> Answer:
    """All users as a table."""
    rows = [
        {"login": one.login, "firstname": one.firstname, "lastname": one.lastname, "email": one.email}
        for one in call.site.accounts.profiles()
    ]
    return table(call.format, ("login", "firstname", "lastname", "email"), rows)


def _administrators_only(found: User) -> None:
    if not found.admin:
        raise refuse(403, FORBIDDEN)


def _object(call: Call) -> dict[str, object]:
    try:
        sent = json.loads(call.body.read() or b"{}")
    except ValueError as error:
        raise refuse(400, BAD_REQUEST) from error
    if not isinstance(sent, dict):
        raise refuse(400, BAD_REQUEST)
    return sent


def _profile(sent: dict[str, object], login: str) -> Profile:
    first, last = str(sent.get("firstName", "")), str(sent.get("lastName", ""))
    return Profile(login, first, last, str(sent.get("email", "")), bool(sent.get("enabled", True)))


def _shown(profile: Profile) -> dict[str, object]:
    return {
        "username": profile.login,
        "firstName": profile.firstname,
        "lastName": profile.lastname,
        "email": profile.email,
        "enabled": profile.enabled,
        "verified": True,
    }
