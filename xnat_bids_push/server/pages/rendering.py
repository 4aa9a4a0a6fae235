"""Rendering: from what a page shows to the answer that a browser gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined

from xnat_bids_push.server import schema
from xnat_bids_push.server.web import Answer, Call, Handler

_HTML: Final = "text/html;charset=UTF-8"
_POLICY: Final = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_ICON: Final = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0b5a8a"/>'
    b'<path d="M3 5h10M3 8h10M3 11h6" stroke="#fff" stroke-width="1.6" stroke-linecap="round"/></svg>'
)


@dataclass(slots=True)
class Page:
    """A page to be rendered: its template, its title, the links of the way to it, and what the template shows."""

    template: str
    title: str
    trail: tuple[tuple[str, str], ...] = ()
    values: dict[str, object] = field(default_factory=dict)
    status: int = 200


class Missing(Exception):
    """The page shows something that is not there, or not for this user: both look the same."""


def shown(make: Callable[..., Page]) -> Handler:
    """A handler that shows a page to those who are logged in, and the way to the login to everybody else."""

    def handler(call: Call, **address: str) -> Answer:
        if call.user.guest:
            return redirect(f"/app/template/Login.vm?next={quote(wanted(call), safe='/')}")
        try:
            page = make(call, **{name: unquote(part) for name, part in address.items()})
        except Missing:
            page = missing(call)
        return render(call, page)

    return handler


def render(call: Call, page: Page) -> Answer:
    """The page as an answer."""
    template = _environment().get_template(page.template)
    text = template.render(title=page.title, trail=page.trail, user=call.user, **page.values)
    return Answer(page.status, text.encode("utf-8", "replace"), _HTML, list(_HEADERS))


def missing(call: Call, rest: str = "") -> Page:
    """The page instead of one that does not exist."""
    return Page("missing.html", "Not found", status=404)


def redirect(place: str) -> Answer:
    """On to a page of this site."""
    return Answer(303, b"", None, [("Location", place), *_HEADERS])


def wanted(call: Call) -> str:
    """The address that was asked for, with its query."""
    return f"{call.raw_path}?{call.query_text}" if call.query_text else call.raw_path


def icon(call: Call) -> Answer:
    """The sign of the site."""
    return Answer(200, _ICON, "image/svg+xml", [("Cache-Control", "max-age=86400"), _HEADERS[0]])


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(visible=visible, size=size, kind=kind, number=number)
    return made


def visible(text: str) -> str:
    r"""A text in which no character hides, or turns the direction of what stands around it.

    >>> visible("a\u202egnp.exe")
    'a‹U+202E›gnp.exe'
    """
    return _HIDDEN.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)


def size(count: int | None) -> str:
    """A number of bytes for people.

    >>> size(999), size(645_800), size(2_000_000_000)
    ('999 B', '645.8 kB', '2.0 GB')
    """
    if count is None:
        return "unknown"
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def number(count: int) -> str:
    """A count with its thousands apart.

    >>> number(10000)
    '10,000'
    """
    return f"{count:,}"


def kind(name: str) -> str:
    """What a type is called.

    >>> kind("xnat:mrSessionData"), kind("xnat:otherDicomScanData")
    ('MR session', 'Other dicom scan')
    """
    found = schema.type_named(name)
    plain = ((found.element if found else None) or name).rpartition(":")[2]
    words = re.sub(r"(?<=[A-Za-z])(?=[A-Z][a-z])", " ", plain).split()
    text = " ".join(word if word.isupper() else word.lower() for word in words)
    return text[:1].upper() + text[1:]
