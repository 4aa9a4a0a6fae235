"""A folder that is written into, and nothing else: whatever a name says, and whatever links lie in the folder.

Where the system can, each folder on the way is opened by itself and without following links, so that a link that is put
there in the middle of a pull is not followed either.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import BinaryIO, Protocol

from xnat_bids_push.portable import WINDOWS, Ability

CHUNK = 1 << 20

PARTIAL = ".bids2xnat-partial"
"""Where archives wait to be unpacked, in the folder; gone at the end."""

LEADS_OUT = "its name leads out of the output folder, and was not followed"

_NEVER = frozenset({".git", ".datalad", ".hg", ".svn", "git~1", PARTIAL})
"""Folders that a push leaves out: what lies in them is run by other programs."""

_IGNORED = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Signs that some file systems do not see in a name."""

_BY_FOLDER = {os.open, os.mkdir, os.rename, os.unlink, os.symlink, os.stat} <= os.supports_dir_fd
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Blocked(OSError):
    """A path cannot be followed in the folder; the text says why."""


class Source(Protocol):
    """Something to read from."""

    def read(self, size: int, /) -> bytes:
        """So many bytes at most; none at the end."""


class Ground:
    """The folder.

    Args:
        root: where it is; links that lead to it are the user's own, and fine.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, path: str) -> Path | None:
        """Where a path of the dataset is in the folder; None if that is elsewhere, or behind a link."""
        parts = _parts(path)
        if parts is None:
            return None
        here = self.root
        for part in parts[:-1]:
            here = here / part
            if not _leads_on(here):
                return None
        return here / parts[-1]

    def holds(self, end: Path) -> bool:
        """Whether a place, links resolved, is one in the folder that a dataset may speak of."""
        root = self.root.resolve()
        return end == root or (end.is_relative_to(root) and _parts(end.relative_to(root).as_posix()) is not None)

    def write(self, path: str, source: Source, *, size: int, md5: str) -> str:
        """Write a new file, whole or not at all; why that cannot be, or "".

        No more is read than the size and a byte, however much the source would give.
        """
        digest = hashlib.md5(usedforsecurity=False)
        count = 0
        with self._parent(path) as (folder, name):
            partial = f".{secrets.token_hex(8)}.part"
            try:
                with _create(folder, partial) as sink:
                    while count <= size and (piece := source.read(min(CHUNK, size + 1 - count))):
                        digest.update(piece)
                        count += len(piece)
                        sink.write(piece)
                if count != size:
                    more = "more" if count > size else str(count)
                    return f"{size} bytes on the server, {more} arrived: pull again"
                if md5 and digest.hexdigest() != md5:
                    return "it arrived with another digest than the server's: pull again"
                if folder.exists(name):
                    return "has come into the output folder meanwhile, and was left as it is"
                folder.rename(partial, name)
            finally:
                with suppress(OSError):
                    folder.unlink(partial)
        return ""

    def make_folder(self, path: str) -> None:
        """Make a folder, if it is not there."""
        with self._parent(f"{path}/."):
            pass

    def make_executable(self, path: str) -> None:
        """Let a file be run, by those whom the umask lets."""
        with self._parent(path) as (folder, name):
            folder.make_executable(name)

    def make_link(self, path: str, target: str, *, to_folder: bool) -> None:
        """Put a link in the place of what is there."""
        with self._parent(path) as (folder, name):
            with suppress(FileNotFoundError):
                folder.unlink(name)
            folder.symlink(target, name, to_folder=to_folder)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[_Folder, str]]:
        """The folder that a path lies in, made if need be and held open, and the name in it."""
        lone = path.endswith("/.")
        parts = _parts(path.removesuffix("/."))
        if parts is None:
            raise Blocked(LEADS_OUT)
        folder = _Folder.at(self.root)
        try:
            for part in parts if lone else parts[:-1]:
                folder.enter(part)
            yield folder, parts[-1]
        finally:
            folder.close()


class _Folder:
    """An open folder: by its handle where the system can, else by its path."""

    def __init__(self, path: Path, handle: int | None) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def at(cls, path: Path) -> _Folder:
        """A folder that is trusted."""
        return cls(path, os.open(path, _FOLDER & ~getattr(os, "O_NOFOLLOW", 0)) if _BY_FOLDER else None)

    def enter(self, name: str) -> None:
        """Go into a folder, and make it if need be; a link is none."""
        with suppress(FileExistsError):
            os.mkdir(self._name(name), dir_fd=self._handle)
        self._path = self._path / name
        if self._handle is None:
            if self._path.is_symlink() or not self._path.is_dir():
                raise Blocked(f"{name} is a link or no folder in the output folder, and was not followed")
            return
        try:
            inner = os.open(name, _FOLDER, dir_fd=self._handle)
        except OSError as error:  # ELOOP or ENOTDIR, by the system
            raise Blocked(f"{name} is a link or no folder in the output folder, and was not followed") from error
        self.close()
        self._handle = inner

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def create(self, name: str) -> int:
        return os.open(self._name(name), _NEW, 0o600, dir_fd=self._handle)

    def exists(self, name: str) -> bool:
        try:
            os.stat(self._name(name), dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def rename(self, old: str, new: str) -> None:
        os.rename(self._name(old), self._name(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def unlink(self, name: str) -> None:
        os.unlink(self._name(name), dir_fd=self._handle)

    def symlink(self, target: str, name: str, *, to_folder: bool) -> None:
        os.symlink(target, self._name(name), to_folder, dir_fd=self._handle)

    def make_executable(self, name: str) -> None:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        handle = os.open(self._name(name), flags, dir_fd=self._handle)
        try:
            mode = os.fstat(handle).st_mode
            if stat.S_ISREG(mode) and hasattr(os, "fchmod"):
                os.fchmod(handle, stat.S_IMODE(mode) | (0o111 & ~_UMASK))
        finally:
            os.close(handle)

    def _name(self, name: str) -> str | Path:
        return name if self._handle is not None else self._path / name


def ability(folder: Path) -> Ability:
    """What names a folder can hold, tried out in it: it may lie on another system's disk, whatever this system is."""
    windows = os.name == "nt"  # by its long paths it makes names that its programs cannot open
    with TemporaryDirectory(dir=folder) as inner:
        here = Path(inner)
        return Ability(
            cases=_differ(here, "case", "CASE"),
            forms=_differ(here, "\u00e9", "e\u0301"),
            signs=not windows and _holds(here, "a:b?"),
            ends=not windows and _holds(here, "dot."),
            devices=not windows and _holds(here, "nul"),
            longest=_longest(here),
        )


def _holds(folder: Path, name: str) -> bool:
    """Whether a file of this name can be made, and is there by this name."""
    with suppress(OSError):
        (folder / name).touch()
    return any(entry.name == name for entry in folder.iterdir())


def _differ(folder: Path, name: str, other: str) -> bool:
    with suppress(OSError):
        (folder / name).touch()
    return not (folder / other).exists()


def _longest(folder: Path) -> int:
    """How many bytes a name may have; Windows counts otherwise, and does not say."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 0
    except (OSError, ValueError):
        return 0


@contextmanager
def _create(folder: _Folder, name: str) -> Iterator[BinaryIO]:
    """A new file, which others may read as the umask lets them once it is whole."""
    with os.fdopen(folder.create(name), "wb") as sink:
        yield sink
        if hasattr(os, "fchmod"):
            os.fchmod(sink.fileno(), 0o666 & ~_UMASK)


def _leads_on(folder: Path) -> bool:
    """Whether the way goes on through a folder: it is one and no link to one, or is not there."""
    try:
        return stat.S_ISDIR(folder.lstat().st_mode)
    except (OSError, ValueError):  # whoever makes it meets what else is wrong with its name
        return True


def _parts(path: str) -> tuple[str, ...] | None:
    """The names that a path is made of; None if one of them leads elsewhere, or where nothing of ours belongs."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or parts[0] == "//" or ".." in parts or "\0" in path:
        return None
    if any(_plain(part) in _NEVER for part in parts):
        return None
    if os.name == "nt" and any(map(WINDOWS.fault, parts)):
        return None
    return parts


def _plain(name: str) -> str:
    """A name as the least careful file system sees it."""
    return _IGNORED.sub("", name).rstrip(". ").casefold()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK = _umask()
"""Read once: reading it means setting it, which other threads would see."""
