"""The entrance: the login page, logging in and logging out."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser

from xnat_bids_push.server import account_pages
from xnat_bids_push.server.web import Answer, Call

from . import projects
from .rendering import Page, redirect, render

_MARK: Final = "LOGIN_FORM"
_MARK_FORM: Final = re.compile("[0-9a-f]{32}")
_HOME: Final = "/app/"
_OWN: Final = re.compile(r"/app/(?!login|logout|template)[^\\\x00-\x20\x7f-\uffff]*")


def door(call: Call) -> Answer:
    """The login page; the projects for those who are logged in. Clients find the site's address by its address."""
    if call.user.guest:
        return _form(call, call.get("next") or "")
    return render(call, projects.every(call))


def log_in(call: Call) -> Answer:
    """Open a session and show what was asked for."""
    form = dict(parse_qsl(call.body.read().decode("utf-8", "replace"), keep_blank_values=True))
    login, password, onward = form.get("username", ""), form.get("password", ""), form.get("next", "")
    if not hmac.compare_digest(form.get("mark", "").encode(), (_mark(call) or "-").encode()):
        return _form(call, onward, 403, "The login form was too old. Please try again.", login)
    accounts = call.site.accounts
    user = accounts.recalled(login, password) or accounts.verify(login, password)
    if user is None:
        return _form(call, onward, 401, "Login and password do not fit together.", login)
    accounts.close_session(call.session)
    name = accounts.open_session(user)
    answer = redirect(onward if _OWN.fullmatch(onward) else _HOME)
    answer.headers += account_pages.session_cookie(call, name)
    return answer


def log_out(call: Call) -> Answer:
    """Close the session. The browser of another site's page does not send the session's cookie here."""
    call.site.accounts.close_session(call.session)
    answer = redirect("/app/template/Login.vm")
    answer.headers.append(("Set-Cookie", "JSESSIONID=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"))
    return answer


def _form(call: Call, onward: str, status: int = 200, problem: str = "", login: str = "") -> Answer:
    """The form, marked by a word that only pages of this site can send back together with its cookie."""
    mark = _mark(call) or secrets.token_hex(16)
    values: dict[str, object] = {
        "mark": mark,
        "next": onward if _OWN.fullmatch(onward) else "",
        "problem": problem,
        "login": login,
    }
    answer = render(call, Page("login.html", "Log in", values=values, status=status))
    answer.headers.append(("Set-Cookie", f"{_MARK}={mark}; Path=/app; HttpOnly; SameSite=Strict"))
    return answer


def _mark(call: Call) -> str | None:
    found = cookie_parser(call.headers.get("cookie", "")).get(_MARK, "")
    return found if _MARK_FORM.fullmatch(found) else None
