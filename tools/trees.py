"""Whether two folders are the same, byte for byte: names, contents, empty files and folders, links, executable bits."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = "folder"

Tree = dict[str, str]
"""Every path below a folder, with what it is: two that are the same are told in the same words."""


def tree(root: Path, *, left_out: Iterable[str] = ()) -> Tree:
    """What lies below a folder, but for the paths that are left out."""
    skipped = frozenset(left_out)
    found: Tree = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in skipped:
                    continue
                found[path] = _what(entry)
                if found[path] == FOLDER:
                    waiting.append(path)
    return found


def _what(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return f"link to {os.readlink(entry.path)}"  # noqa: PTH115  # a Path would tidy the target up
    if entry.is_dir():
        return FOLDER
    status = entry.stat()
    if not stat.S_ISREG(status.st_mode):
        return "neither file nor folder"
    runs = ", executable" if status.st_mode & stat.S_IXUSR else ""
    return f"file of {status.st_size} bytes, MD5 {_md5(Path(entry.path))}{runs}"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def differences(here: Tree, there: Tree) -> Iterator[str]:
    """Where two trees differ, path by path."""
    for path in sorted(here.keys() | there.keys()):
        if here.get(path) != there.get(path):
            yield f"{path}: {here.get(path, 'nothing')} became {there.get(path, 'nothing')}"


def files_in(found: Tree) -> set[str]:
    """The paths that are no folders: files, and links wherever they lead."""
    return {path for path, what in found.items() if what != FOLDER}
