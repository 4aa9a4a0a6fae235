"""Unpacking: archives that clients send, into a staging folder and never out of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from .behaviour import MAX_ENTRIES, MAX_RATIO, MAX_UNPACKED, RATIO_FROM
from .files import UnsafePath, flush_all, inside

Kind = Literal["tar", "tgz", "zip", "gz"]

_CHUNK: Final = 1024 * 1024
_TAR_BLOCK: Final = 512
_BROKEN: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError)


class BadArchive(ValueError):
    """An archive that cannot be read, or that is too large."""


class UnsafeMember(BadArchive):
    """A member that would be written outside of the folder."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive, after it has been written to a staging file."""

    name: str
    staged: Path
    size: int
    md5: str


@dataclass(slots=True)
class _Budget:
    """What may still be unpacked."""

    packed: int
    entries: int = 0
    size: int = 0

    def entry(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise BadArchive(f"more than {MAX_ENTRIES} members")

    def spend(self, size: int) -> None:
        self.size += size
        if self.size > MAX_UNPACKED or (self.size > RATIO_FROM and self.size > self.packed * MAX_RATIO):
            raise BadArchive(f"unpacks to more than {self.size} bytes")


def kind_of(name: str) -> Kind | None:
    """What XNAT takes a file for by its name; the case of the letters counts.

    >>> kind_of("x.nii.gz"), kind_of("A.ZIP")
    ('gz', None)
    """
    if name.endswith((".tgz", ".tar.gz")):
        return "tgz"
    if name.endswith((".tar", ".xar")):
        return "tar"
    if name.endswith((".zip", ".zar")):
        return "zip"
    return "gz" if name.endswith(".gz") else None


def unpack(archive: Path, kind: Kind, folder: Path, name: str) -> Iterator[Member]:
    """Write each file of an archive below a folder, by number, and say what it is called."""
    folder.mkdir(parents=True)
    budget = _Budget(archive.stat().st_size)
    try:
        for number, (member, source) in enumerate(_members(archive, kind, name)):
            budget.entry()
            _check(member)
            yield _write(member, source, folder / str(number), budget)
        flush_all(folder)
    except _BROKEN as error:
        raise BadArchive(str(error)) from error


def unpack_tree(archive: Path, kind: Kind, folder: Path) -> None:
    """Write an archive below a folder under the names of its members; the disk may still be busy with them."""
    folder.mkdir(parents=True)
    budget = _Budget(archive.stat().st_size)
    made: set[Path] = set()
    try:
        for member, source in _members(archive, kind, "archive"):
            budget.entry()
            target = _place(folder, member)
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            _copy(source, target, budget)
    except (*_BROKEN, OSError) as error:
        raise BadArchive(str(error)) from error


def _check(name: str) -> None:
    _place(Path("/"), name)


def _place(folder: Path, name: str) -> Path:
    try:
        return inside(folder, name.lstrip("/"))
    except UnsafePath as error:
        raise UnsafeMember(name) from error


def _members(archive: Path, kind: Kind, name: str) -> Iterator[tuple[str, IO[bytes] | None]]:
    if kind == "zip":
        yield from _zip_members(archive)
    elif kind == "gz":
        with gzip.open(archive) as source:
            yield name.removesuffix(".gz"), io.BufferedReader(source)
    else:
        yield from _tar_members(archive, kind)


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with archive.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # a reader of streams finds no member in such a file, and does not complain
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            if info.flag_bits & 0x8 and info.compress_type != zipfile.ZIP_DEFLATED:
                raise BadArchive("only deflated members can have a data descriptor")
            if info.is_dir():
                continue
            with source.open(info) as member:
                yield info.filename, member


def _tar_members(archive: Path, kind: Kind) -> Iterator[tuple[str, IO[bytes] | None]]:
    if kind == "tar":
        stray = _stray_name(archive)
        if stray is not None:
            yield stray, None
            return
    with tarfile.open(archive, "r:gz" if kind == "tgz" else "r:") as source:
        for info in source:
            if not info.isdir():
                # Links and devices become empty files.
                yield info.name, source.extractfile(info) if info.isreg() else None


def _stray_name(archive: Path) -> str | None:
    """The name that the first bytes of something that is no tar are taken for."""
    with archive.open("rb") as file:
        block = file.read(_TAR_BLOCK)
    if not block.strip(b"\0"):
        return None  # the end of an empty archive
    try:
        tarfile.TarInfo.frombuf(block.ljust(_TAR_BLOCK, b"\0"), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return block[:100].split(b"\0")[0].decode("utf-8", "replace")
    return None


def _write(name: str, source: IO[bytes] | None, target: Path, budget: _Budget) -> Member:
    digest = hashlib.md5(usedforsecurity=False)
    size = _copy(source, target, budget, digest.update)
    return Member(name, target, size, digest.hexdigest())


def _copy(
    source: IO[bytes] | None, target: Path, budget: _Budget, see: Callable[[bytes], object] = lambda chunk: None
) -> int:
    """Write a member to its place, and show each piece to whoever wants to see it."""
    size = 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with os.fdopen(handle, "wb") as file:
        while source is not None and (chunk := source.read(_CHUNK)):
            budget.spend(len(chunk))
            see(chunk)
            size += len(chunk)
            file.write(chunk)
    return size
