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
from xml.etree import ElementTree as ET

from xnat_bids_push.dataset import chunks
from xnat_bids_push.mapping import files_by_resource
from xnat_bids_push.model import Address, Md5, Parcel, Placed, Scan
from xnat_bids_push.table import Table

_XNAT = "http://nrg.wustl.edu/xnat"
_CATALOG = "http://nrg.wustl.edu/catalog"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
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
    element: str,
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
        element: the XML element of the experiment's type, ``MRSession``.
        table: the mapping, for the resources' attributes.
        sent: gets each file's MD5.
        watch: told of progress.
    """
    groups = files_by_resource(tuple(files))
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as archive:
        document = session_document(parcel, groups, project=project, element=element, table=table)
        archive.writestr(f"{parcel.node.experiment}.xml", document)
        for (scan, resource), group in groups.items():
            folder = f"{parcel.node.experiment}/{_folder(scan, resource)}"
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


def _folder(scan: str, resource: str) -> str:
    return f"SCANS/{scan}/{resource}" if scan else f"RESOURCES/{resource}"


def session_document(
    parcel: Parcel, groups: Iterable[tuple[str, str]], *, project: str, element: str, table: Table
) -> bytes:
    """The experiment's XML: scans and resources, each with the catalog that lists its files."""
    root = ET.Element(f"{{{_XNAT}}}{element}", {"label": parcel.node.experiment, "project": project})
    resources = list(groups)
    own = [resource for scan, resource in resources if not scan]
    if own:
        listing = ET.SubElement(root, f"{{{_XNAT}}}resources")
        for resource in own:
            _resource(listing, "resource", "", resource, table)
    ET.SubElement(root, f"{{{_XNAT}}}subject_ID").text = parcel.node.subject
    if parcel.scans:
        scans = ET.SubElement(root, f"{{{_XNAT}}}scans")
        for scan in parcel.scans:
            _scan(scans, scan, [resource for owner, resource in resources if owner == scan.id], table)
    return _serialised(root)


def _scan(parent: ET.Element, scan: Scan, resources: Iterable[str], table: Table) -> None:
    element = ET.SubElement(
        parent, f"{{{_XNAT}}}scan", {"ID": scan.id, "type": scan.type, f"{{{_XSI}}}type": scan.xsi_type}
    )
    ET.SubElement(element, f"{{{_XNAT}}}quality").text = scan.quality
    ET.SubElement(element, f"{{{_XNAT}}}series_description").text = scan.series_description
    for resource in resources:
        _resource(element, "file", scan.id, resource, table)


def _resource(parent: ET.Element, tag: str, scan: str, label: str, table: Table) -> None:
    kind, content = table.resource_attributes(label)
    ET.SubElement(
        parent,
        f"{{{_XNAT}}}{tag}",
        {
            f"{{{_XSI}}}type": "xnat:resourceCatalog",
            "label": label,
            "URI": f"{_folder(scan, label)}/{label}_catalog.xml",
            "format": kind,
            "content": content,
        },
    )


def catalog_document(label: str, files: Iterable[Placed]) -> bytes:
    """A resource's catalog. It gives no digests: the server shall compute its own."""
    root = ET.Element(f"{{{_CATALOG}}}Catalog", {"ID": label})
    entries = ET.SubElement(root, f"{{{_CATALOG}}}entries")
    for placed in files:
        name = placed.address.name
        attributes = {"URI": name, "ID": name, "name": name.rpartition("/")[2]}
        ET.SubElement(entries, f"{{{_CATALOG}}}entry", attributes)
    return _serialised(root)


for _prefix, _space in (("xnat", _XNAT), ("xsi", _XSI), ("cat", _CATALOG)):
    ET.register_namespace(_prefix, _space)


def _serialised(root: ET.Element) -> bytes:
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document
