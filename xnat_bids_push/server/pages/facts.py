"""Facts: the fields of an object as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Final

from xnat_bids_push.server.items import Item, show

_ACRONYMS: Final = frozenset(["id", "te", "ti", "tr", "uid", "dob", "yob", "fov", "pi"])
_SILENT: Final = frozenset({"parameters", "fields", "field", "addparam", "demographics"})
_ELSEWHERE: Final = frozenset({"ID", "id", "label", "project", "subject_ID", "image_session_ID"})


@dataclass(frozen=True, slots=True)
class Fact:
    """A field that is set; its value may have several lines."""

    name: str
    value: str

    @property
    def lines(self) -> list[str]:
        """The lines of the value."""
        return self.value.splitlines()


def facts(item: Item, *without: str) -> list[Fact]:
    """What is known of an object, but for its name and place and the fields that are shown elsewhere."""
    return list(_facts(item, "", _ELSEWHERE.union(without)))


def text(item: Item, path: str) -> str:
    """A field as people read it, empty if it is not set."""
    return plain(item.text(path) or "")


def plain(stored: str) -> str:
    """A text as it was meant: what comes by a query is stored with its markup escaped.

    >>> plain("a &amp; b")
    'a & b'
    """
    return unescape(stored)


def _facts(item: Item, before: str, without: frozenset[str]) -> Iterator[Fact]:
    named = "name" in item.fields and len(item.fields) > 1 and bool(before)
    own = plain(show(item.fields["name"])) if named else ""
    for path, value in item.fields.items():
        if path in without or (named and path == "name"):
            continue
        name = own if named and len(item.fields) == 2 else " ".join(filter(None, (before, own, readable(path))))
        yield Fact(name, plain(show(value)))
    for path, some in item.children.items():
        for child in some:
            yield from _facts(child, readable(path) or "Further", frozenset())


def readable(path: str) -> str:
    """The name of a field in words.

    >>> readable("parameters/tr"), readable("fieldStrength"), readable("series_description")
    ('TR', 'Field strength', 'Series description')
    """
    words: list[str] = []
    for part in path.split("/"):
        if part.lower() not in _SILENT:
            words += re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", part).split()
    if not words:
        return ""
    spelled = [
        word.upper() if word.lower() in _ACRONYMS else word if word.isupper() else word.lower() for word in words
    ]
    text = " ".join(dict.fromkeys(spelled))
    return text[:1].upper() + text[1:]
