"""Places: the addresses of an object, that of its page and that under which its data can be fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

_AS_IT_IS: Final = re.compile(r"(?:[A-Za-z0-9_.~!$&'()*+,=:@/-]|%[0-9A-F]{2})+")
_FORBIDDEN: Final = re.compile(r"//|;|\\|%25|%2e|%2f|%5c|%3b|%00|%0a|%0d|(?:^|/)\.{1,2}(?:/|$)|^/|/$", re.IGNORECASE)
"""What the firewall lets through in no path, and what is no name."""
_LONGEST: Final = 4000


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is shown, and where its data is."""

    page: str
    data: str

    def resource(self, key: int) -> Place:
        """A resource there. Its number is used because labels may need characters that addresses cannot have."""
        return Place(f"{self.page}/resources/{key}", f"{self.data}/resources/{key}")

    def archive(self, keys: Iterable[int]) -> str:
        """Where some resources are fetched as one zip archive."""
        return f"{self.data}/resources/{','.join(map(str, keys))}/files?format=zip"


def of_project(project: str) -> Place:
    """A project's place."""
    return Place(f"/app/projects/{quote(project)}", f"/data/projects/{quote(project)}")


def of_subject(project: str, handle: str) -> Place:
    """A subject's place, by its label or ID."""
    within = of_project(project)
    return Place(f"{within.page}/subjects/{quote(handle)}", f"{within.data}/subjects/{quote(handle)}")


def of_session(project: str, handle: str, data: str) -> Place:
    """A session's place, by its label or ID."""
    return Place(f"{of_project(project).page}/experiments/{quote(handle)}", data)


def of_scan(session: Place, scan_id: str) -> Place:
    """A scan's place.

    Its data is looked for in all scans, by the numbers of its resources, since an ID may equal the type of another.
    """
    return Place(f"{session.page}/scans/{quote(scan_id)}", f"{session.data}/scans/ALL")


def of_file(resource: Place, uri: str, index: int, *, taken: bool = False) -> str:
    """Where a file is fetched: by its name, or by its number where its encoded name is taken or cannot be asked for.

    >>> [of_file(Place("", "/r"), name, 3) for name in ("a b.txt", "k%C3%A9", "50%")]
    ['/r/files/a%20b.txt', '/r/files/k%C3%A9', '/r/files?index=3']
    """
    name = encoded(uri)
    usable = name is not None and not taken and len(name) <= _LONGEST and not _FORBIDDEN.search(name)
    return f"{resource.data}/files/{name}" if usable else f"{resource.data}/files?index={index}"


def encoded(uri: str) -> str | None:
    """The part of an address that means a file; None if there is none. Names may be stored as they were sent."""
    if _AS_IT_IS.fullmatch(uri):
        return uri
    return None if "%" in uri else quote(uri, errors="replace")
