"""Multipart bodies: their files, each written to a staging file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from .files import flush
from .web import BAD_REQUEST, Call, refuse

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_CHUNK: Final = 1024 * 1024

# Broken bodies are answered with 400; the parser's own words about them are nobody's business.
logging.getLogger("python_multipart").addHandler(logging.NullHandler())


@dataclass(slots=True)
class Part:
    """One file of a form."""

    filename: str
    path: Path
    size: int
    md5: str


@dataclass(slots=True)
class _Reader:
    """Collects the parts while the parser walks through the body."""

    folder: Path
    found: list[Part] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    value: bytes = b""
    file: IO[bytes] | None = None
    digest: hashlib._Hash = field(default_factory=hashlib.md5)

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self.part_begin,
            "on_header_field": self.header_field,
            "on_header_value": self.header_value,
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": self.part_data,
            "on_part_end": self.part_end,
        }

    def part_begin(self) -> None:
        self.headers = {}

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        self.headers[self.name.lower()] = self.value
        self.name = self.value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition", b""))
        filename = options.get(b"filename")
        if filename is None:
            return
        path = self.folder / f"part{len(self.found)}"
        self.found.append(Part(filename.decode("utf-8", "replace").replace("/", "_"), path, 0, ""))
        self.file = path.open("wb")
        self.digest = hashlib.md5(usedforsecurity=False)

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self.file is not None:
            chunk = data[start:end]
            self.file.write(chunk)
            self.digest.update(chunk)
            self.found[-1].size += len(chunk)

    def part_end(self) -> None:
        if self.file is not None:
            flush(self.file)
            self.file.close()
            self.file = None
            self.found[-1].md5 = self.digest.hexdigest()


def parts(call: Call, folder: Path) -> list[Part]:
    """The files of a multipart body; form fields without a file are left out."""
    _, options = parse_options_header(call.headers.get("content-type", ""))
    reader = _Reader(folder)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), reader.callbacks())
        for chunk in _chunks(call):
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        raise refuse(400, BAD_REQUEST) from error
    finally:
        if reader.file is not None:
            reader.file.close()
    return reader.found


def _chunks(call: Call) -> Iterator[bytes]:
    if call.body.path is None:
        yield call.body.data
        return
    with call.body.path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
