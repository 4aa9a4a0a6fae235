"""Files as one body: the zip that XNAT imports as a session, and the tar that it unpacks into a resource.

Bodies are made while they are sent, from one pass over each file that also computes its MD5. Nothing is compressed:
images already are, and a level-0 deflate costs nothing. (XNAT refuses *stored* zip entries that carry their
length behind them.)
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator

from xnat_bids_push.dataset import chunks
from xnat_bids_push.documents import catalog_document, resource_folder, session_document
from xnat_bids_push.mapping import files_by_resource
from xnat_bids_push.model import Address, Md5, Parcel, Placed
from xnat_bids_push.schema import Schema
from xnat_bids_push.table import Table

Sent = dict[Address, Md5]
"""The MD5 of the bytes that went out to each address."""

Watch = Callable[[int], None]
"""Told how many bytes of the dataset went out; may raise to stop the sending."""


class Stream:
    """A request's body of unknown length: made anew each time it is read, so that a request can be sent again."""

    def __init__(self, make: Callable[[], Iterator[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return self._make()


class Body(Stream):
    """A stream whose length is known, so that it goes with ``Content-Length``; `requests` asks for that by ``len``."""

    def __init__(self, make: Callable[[], Iterator[bytes]], *, size: int) -> None:
        super().__init__(make)
        self._size = size

    def __len__(self) -> int:
        return self._size


def single_body(placed: Placed, *, sent: Sent, watch: Watch) -> Body:
    """One file, as it is."""
    return Body(lambda: _read(placed, sent, watch), size=placed.file.size)


def _read(placed: Placed, sent: Sent, watch: Watch) -> Iterator[bytes]:
    """A file's bytes; its digest is known once the last one went out."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in chunks(placed.file):
        watch(len(piece))
        digest.update(piece)
        yield piece
    sent[placed.address] = Md5(digest.hexdigest())


# ------------------------------------------------------------------ tar


def resource_body(files: Iterable[Placed], *, sent: Sent, watch: Watch) -> Body:
    """Files of one resource as a tar, whose length is known before its content is read."""
    members = [(_tar_header(placed), placed) for placed in files]
    size = sum(len(header) + _padded(one.file.size) for header, one in members) + 2 * tarfile.BLOCKSIZE

    def make() -> Iterator[bytes]:
        for header, one in members:
            yield header
            yield from _read(one, sent, watch)
            yield bytes(_padded(one.file.size) - one.file.size)
        yield bytes(2 * tarfile.BLOCKSIZE)

    return Body(make, size=size)


def _tar_header(placed: Placed) -> bytes:
    info = tarfile.TarInfo(placed.address.name)
    info.size = placed.file.size
    return info.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


# ------------------------------------------------------------------ zip


def session_archive(
    parcel: Parcel,
    files: Iterable[Placed],
    *,
    project: str,
    schema: Schema,
    table: Table,
    sent: Sent,
    watch: Watch,
) -> Iterator[bytes]:
    """The zip that makes an experiment with scans, resources and files (XNAT's session import, XAR).

    Beside the document lies one folder, which XNAT strips, whatever its name is. Document and folder are named for
    the experiment: should a server ever unpack two imports into one place, it then fails instead of mixing them.

    Args:
        parcel: the experiment and its scans.
        files: those of its files that travel along.
        project: the project's ID.
        schema: the server's data model.
        table: the mapping, for the resources' attributes.
        sent: gets each file's MD5.
        watch: told of progress.
    """
    groups = files_by_resource(tuple(files))
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        document = session_document(parcel, groups, project=project, schema=schema, table=table)
        archive.writestr(f"{parcel.node.experiment}.xml", document)
        for (scan, resource), group in groups.items():
            folder = f"{parcel.node.experiment}/{resource_folder(scan, resource)}"
            archive.writestr(f"{folder}/{resource}_catalog.xml", catalog_document(resource, group))
            for placed in group:
                with archive.open(f"{folder}/{placed.address.name}", "w") as entry:
                    for piece in _read(placed, sent, watch):
                        entry.write(piece)
                        yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """Where a zip writer writes to, and the sender takes from; it cannot be sought."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # the zip writer gives bytes or a view of bytes
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """All that was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
