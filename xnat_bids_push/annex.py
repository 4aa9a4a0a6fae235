"""What git-annex keeps in a working tree: links and pointer files that stand for content, named by keys. Pure.

See git-annex's internals: `key format <https://git-annex.branchable.com/internals/key_format/>`_ and
`pointer file <https://git-annex.branchable.com/internals/pointer_file/>`_.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from xnat_bids_push.model import Md5

LONGEST_POINTER = 32 * 1024
"""Files larger than this (bytes) are no pointer files to git-annex."""

POINTER_HEAD = 512
"""As many bytes of a file tell whether it is a pointer file: a key is a file's name, and no longer than one."""

_OBJECTS = re.compile(r"[/\\]annex[/\\]objects[/\\]")
_KEY = re.compile(r"[A-Z0-9_]+(?P<fields>(?:-[a-zA-Z][0-9]+)*)--(?P<name>[^/\\\r\n]+)")
_POINTER = re.compile(rb"(?:(?:\.\./)*\.git)?/annex/objects/(?:[^\r\n]*/)?(?P<key>[^/\r\n]+)(?:\r?\n|\Z)")
_MODULE = re.compile(r"^[ \t]*path[ \t]*=[ \t]*\"?(.+?)\"?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Key:
    """The name of some content: how it was made, with the size in bytes (-1 if it does not say) and the MD5, if any."""

    size: int = -1
    md5: Md5 | None = None


def in_objects(path: str) -> bool:
    """Whether a path leads into the folder where git-annex keeps content.

    >>> in_objects("../.git/annex/objects/aa/bb/K/K"), in_objects("annex/objects")
    (True, False)
    """
    return _OBJECTS.search(path) is not None


def read_key(text: str) -> Key | None:
    """What a key says; None if the text is none.

    >>> read_key("MD5E-s3--900150983cd24fb0d6963f7d28e17f72.nii.gz")
    Key(size=3, md5='900150983cd24fb0d6963f7d28e17f72')
    >>> read_key("URL--http&c%%example.org%a"), read_key("README")
    (Key(size=-1, md5=None), None)
    """
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    sizes = re.findall(r"-s([0-9]+)", match["fields"])
    # A chunk's key (-C) has the whole's digest, and not its content.
    digest = (
        match["name"].partition(".")[0] if text.startswith(("MD5-", "MD5E-")) and "-C" not in match["fields"] else ""
    )
    md5 = Md5(digest) if re.fullmatch(r"[0-9a-f]{32}", digest) else None
    return Key(int(sizes[0]) if sizes else -1, md5)


def read_pointer(head: bytes) -> Key | None:
    r"""The key that a file points to, by its first bytes; None if it is no pointer file.

    An unlocked file without content is such a file, and so is a link where links cannot be made.

    >>> read_pointer(b"/annex/objects/MD5E-s3--900150983cd24fb0d6963f7d28e17f72.nii").size
    3
    >>> read_pointer(b"onset\tduration") is None
    True
    """
    match = _POINTER.match(head)
    return read_key(match["key"].decode(errors="replace")) if match else None


def read_modules(text: str) -> frozenset[str]:
    r"""The paths of the subdatasets that a ``.gitmodules`` names.

    >>> read_modules('[submodule "a"]\n\tpath = derivatives/a\n\turl = ./a\n')
    frozenset({'derivatives/a'})
    """
    return frozenset(_MODULE.findall(text))


def get_content(path: str) -> str:
    """The command that gets a file's content.

    >>> get_content("sub-01/a b.nii")
    "datalad get 'sub-01/a b.nii'"
    """
    return f"datalad get {_quoted(path)}"


def get_subdataset(path: str) -> str:
    """The command that installs a subdataset, without its content."""
    return f"datalad get -n {_quoted(path)}"


def _quoted(path: str) -> str:
    word = shlex.quote(path)
    return word if word.startswith("'") else f"'{word}'"
