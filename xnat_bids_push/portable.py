"""Names that not every file system can hold, or tell apart. Pure: what a folder can hold is found out in `ground`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SIGNS = re.compile(r'[\\:*?"<>|\x00-\x1f]')
"""Windows takes them for another folder, a stream or a pattern."""

_DEVICE = re.compile(r"(?i:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.DOTALL)
"""Windows takes them for a device, whatever the extension."""

_EXTENDED, _SHARE = "\\\\?\\", "\\\\"


@dataclass(frozen=True, slots=True)
class Ability:
    """What names a folder can hold.

    Args:
        cases: whether it tells ``a`` from ``A``.
        forms: whether it tells a letter with an accent from the letter and the accent.
        signs: whether a name may hold any sign.
        ends: whether a name may end with a dot or a space.
        devices: whether no name is that of a device.
        longest: the length of a name, in bytes; 0 where nothing is known.
    """

    cases: bool = True
    forms: bool = True
    signs: bool = True
    ends: bool = True
    devices: bool = True
    longest: int = 0

    def fault(self, name: str) -> str:
        """Why a name cannot be had there; "" if it can.

        >>> WINDOWS.fault("nul.txt"), WINDOWS.fault("sub-01_T1w.nii.gz")
        ('a device of Windows has this name', '')
        """
        if not self.signs and _SIGNS.search(name):
            return "has a sign that cannot be in a name there"
        if not self.ends and name[-1:] in (".", " "):
            return "ends with a dot or a space, which would be lost there"
        if not self.devices and _DEVICE.fullmatch(name):
            return "a device of Windows has this name"
        if self.longest and len(name.encode(errors="surrogateescape")) > self.longest:
            return f"is longer than the {self.longest} bytes that a name can have there"
        return ""

    def key(self, path: str) -> str:
        r"""The same for all paths that are one place there.

        >>> MACOS.key("sub-01/Café") == MACOS.key("sub-01/Cafe\u0301"), Ability().key("a") == Ability().key("A")
        (True, False)
        """
        if not self.forms:
            path = unicodedata.normalize("NFC", path)
        return path if self.cases else "".join(map(_folded, path))


def _folded(sign: str) -> str:
    """One sign without its case. No file system takes ß for ss."""
    upper = sign.upper()
    return upper if len(upper) == 1 else sign


WINDOWS = Ability(cases=False, signs=False, ends=False, devices=False)
MACOS = Ability(cases=False, forms=False)


def clashes(paths: Iterable[str], ability: Ability) -> Iterator[tuple[str, str]]:
    """Paths that a folder cannot hold, or not beside those before them, and why.

    >>> list(clashes(["a/x", "A/X", "b/aux"], WINDOWS))
    [('A/X', 'is one place there with a/x'), ('b/aux', 'a device of Windows has this name')]
    """
    taken: dict[str, str] = {}
    for path in paths:
        fault = next(filter(None, map(ability.fault, path.split("/"))), "")
        other = next((one for part in _upwards(path) if (one := taken.setdefault(ability.key(part), part)) != part), "")
        if fault or other:
            yield path, fault or f"is one place there with {other}"


def _upwards(path: str) -> Iterator[str]:
    """A path, and the folders that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def extended(path: str) -> str:
    r"""An absolute path of Windows in the form that may be longer than 260 signs, and is taken as it is written.

    >>> print(extended(r"C:\data\out"), extended(r"\\host\share\out"), extended("\\\\?\\C:\\out"))
    \\?\C:\data\out \\?\UNC\host\share\out \\?\C:\out
    """
    if path.startswith(_EXTENDED):
        return path
    return f"{_EXTENDED}UNC\\{path.removeprefix(_SHARE)}" if path.startswith(_SHARE) else f"{_EXTENDED}{path}"
