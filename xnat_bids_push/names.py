"""File names: a BIDS name taken apart, and any name made safe for XNAT. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"((?:[A-Za-z0-9]+-[A-Za-z0-9+]+_)*)([A-Za-z0-9]+)((?:\..*)?)", re.DOTALL)
_SUBJECT = re.compile(r"sub-[A-Za-z0-9+]+")
_SESSION = re.compile(r"ses-[A-Za-z0-9+]+")


@dataclass(frozen=True, slots=True)
class BidsName:
    """A name of the form ``key-value_key-value_suffix.extension`` (BIDS: Filenames).

    Args:
        entities: in the order of the name, with values as they are written (``run-01`` ≠ ``run-1``).
        extension: from the first dot on; ``.nii.gz``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    def get(self, key: str) -> str:
        """The value of an entity by its short key, or "".

        >>> parse_name("sub-01_task-rest_bold.json").get("task")
        'rest'
        """
        return dict(self.entities).get(key, "")

    def without(self, *keys: str) -> tuple[tuple[str, str], ...]:
        """The entities but for those with the given keys."""
        return tuple(entity for entity in self.entities if entity[0] not in keys)


def parse_name(name: str) -> BidsName | None:
    """Take a file name apart; None if it is not of the BIDS form.

    >>> parse_name("sub-01_run-02_T1w.nii.gz")
    BidsName(entities=(('sub', '01'), ('run', '02')), suffix='T1w', extension='.nii.gz')
    >>> parse_name("sub-01_run_02.nii") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    pairs = [pair.split("-", 1) for pair in match[1].split("_") if pair]
    entities = tuple((key, value) for key, value in pairs)
    if len(dict(entities)) != len(entities):
        return None
    return BidsName(entities, match[2], match[3])


def is_subject(folder: str) -> bool:
    """Whether a folder's name is that of a BIDS subject.

    >>> is_subject("sub-01"), is_subject("sub-01_old")
    (True, False)
    """
    return _SUBJECT.fullmatch(folder) is not None


def is_session(folder: str) -> bool:
    """Whether a folder's name is that of a BIDS session."""
    return _SESSION.fullmatch(folder) is not None


def to_label(text: str) -> str:
    """BIDS words as an XNAT label or scan ID, which know only letters, digits, ``_`` and ``-``.

    A BIDS value may hold ``+`` and never ``-``, so that one can stand for the other, and be turned back.

    >>> to_label("sub-4S+1_ses-a"), from_value("4S-1")
    ('sub-4S-1_ses-a', '4S+1')
    """
    return text.replace("+", "-")


def from_label(label: str) -> str:
    """The words of a label of the form ``key-value_key-value``, a scan's ID: the inverse of `to_label`."""
    words = (word.partition("-") for word in label.split("_"))
    return "_".join(key + dash + from_value(value) for key, dash, value in words)


def from_value(value: str) -> str:
    """A BIDS value from its form in a label: the inverse of `to_label` for values."""
    return value.replace("-", "+")


# ------------------------------------------------------------------ names that XNAT can store

_ODD = re.compile(r"[^A-Za-z0-9 ._\-+,:&'\[\]()@/]")
_CATALOG = re.compile(r"_catalog\.xml(?=/|$)")
_ESCAPED = re.compile(r"(?:=[0-9A-F]{2})+")
_CONTINUED = "=/"
_LONGEST, _PIECE = 255, 200


def escape(name: str) -> str:
    r"""A path below a resource as XNAT can store, list, download and delete it.

    XNAT stores, decodes or loses ``% ; \ # ?`` depending on the way a file travels, takes ``*_catalog.xml``
    for its own, and depends on the server's locale beyond ASCII. These are written as ``=XX``, byte by byte. A name
    that grows too long for a file system is continued in a folder: ``…=/…``.

    >>> escape("a b/é#1.txt"), escape("x_catalog.xml"), escape("a=b")
    ('a b/=C3=A9=231.txt', 'x=5Fcatalog.xml', 'a=3Db')
    """
    safe = _ODD.sub(_bytes, name)
    if "_catalog.xml" in safe:
        safe = _CATALOG.sub("=5Fcatalog.xml", safe)
    return safe if len(safe) <= _LONGEST else "/".join(_short(part) for part in safe.split("/"))


def _bytes(odd: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in odd[0].encode())


def _short(part: str) -> str:
    if len(part) <= _LONGEST:
        return part
    # Cut from the end: an odd piece there could be "..", which leads out of the resource.
    ends = range(len(part), 0, -_PIECE)
    return _CONTINUED.join(part[max(0, end - _PIECE) : end] for end in reversed(ends))


def unescape(name: str) -> str:
    """The path that `escape` was given.

    >>> unescape("a b/=C3=A9=231.txt")
    'a b/é#1.txt'
    """
    whole = name.replace(_CONTINUED, "")
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[0].replace("=", "")).decode(errors="replace"), whole)


def hide(name: str) -> str:
    """An escaped name whose first letter is escaped too: for a file that must not be taken for another.

    >>> hide("dataset_description.json")
    '=64ataset_description.json'
    """
    return f"={ord(name[0]):02X}{name[1:]}"


def is_plain(name: str) -> bool:
    """Whether a path means the same in a URL, escaped or not.

    >>> is_plain("sub-01_T1w.nii.gz"), is_plain("a b.nii")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z0-9._/-]+", name) is not None
