"""Paging: long lists in portions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from xnat_bids_push.server.web import Call

ROWS: Final = 100
"""So many rows make a page."""
_LARGEST: Final = 18


@dataclass(frozen=True, slots=True)
class Paging:
    """One page of a list; pages count from 1."""

    total: int
    page: int = 1
    size: int = ROWS
    find: str = ""

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def offset(self) -> int:
        """How many rows come before this page.

        >>> Paging(250, 3).offset, Paging(250, 3).pages
        (200, 3)
        """
        return (self.page - 1) * self.size

    @property
    def last(self) -> int:
        """The number of the last row on this page."""
        return min(self.offset + self.size, self.total)

    def to(self, page: int) -> str:
        """The link to another page of the same list."""
        return "?" + urlencode({**({"find": self.find} if self.find else {}), "page": page}, errors="replace")


def asked(call: Call, total: int, find: str = "") -> Paging:
    """The page that a query asks for, or the nearest that there is."""
    text = call.get("page") or ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _LARGEST else 1
    return Paging(total, max(1, min(number, Paging(total).pages)), find=find)


def like(find: str) -> str:
    r"""The pattern that finds a text anywhere.

    >>> like("a_1")
    '%a\\_1%'
    """
    text = find
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return f"%{text}%"
