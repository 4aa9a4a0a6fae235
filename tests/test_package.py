"""What is sent can be read back by others' readers, holds exactly the files, and never looks whole when it is not."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

import xnat_bids_push
from tests.schemas import SCHEMA
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.mapping import place
from xnat_bids_push.model import Address, BidsFile, Mark, MarkKind, Md5, Node, Parcel, Part, Placed
from xnat_bids_push.package import Body, Sent, Watch, resource_body, session_archive, single_body
from xnat_bids_push.table import default_table

TABLE = default_table()
NAMES = {"xnat": "http://nrg.wustl.edu/xnat", "cat": "http://nrg.wustl.edu/catalog"}
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"


def made(path: str, content: bytes | None = None) -> BidsFile:
    content = path.encode() if content is None else content
    return BidsFile(path, len(content), content)


def session() -> Parcel:
    """An experiment with scans, resources of its own, awkward names, empty files and a manifest."""
    front = "sub-1/ses-a+b/{}/sub-1_ses-a+b_{}".format
    files = [
        made(front("anat", "T1w.nii.gz"), os.urandom(100_000)),
        made(front("anat", "T1w.json"), b""),
        made(front("anat", "T1w.a b"), b"\0" * 5000),
        made(front("anat", f"acq-{'x' * 180}_T2w.nii")),
        made(front("func", "task-r+s_bold.nii"), b""),
        made(front("func", "task-r+s_events.tsv")),
        made("sub-1/ses-a+b/Über #1; 100%=41.txt"),
        made("sub-1/ses-a+b/x_catalog.xml", b"<x/>"),
        made("sub-1/ses-a+b/dataset_description.json", b"{}"),
        made(f"sub-1/ses-a+b/{'deep/' * 60}file"),
    ]
    marks = (Mark("sub-1/ses-a+b/empty", MarkKind.FOLDER),)
    description = made("dataset_description.json")
    [parcel] = place(Part("sub-1", tuple(files), marks), TABLE, description=description).parcels
    return parcel


SESSION = session()


@dataclass
class Sending:
    """Sends things, and remembers what it was told on the way."""

    sent: Sent = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)

    @property
    def watch(self) -> Watch:
        return self.seen.append

    def archive(self, parcel: Parcel, files: Iterable[Placed] | None = None) -> Iterator[bytes]:
        return session_archive(
            parcel,
            parcel.files if files is None else files,
            project="P",
            schema=SCHEMA,
            table=TABLE,
            sent=self.sent,
            watch=self.watch,
        )

    def tar(self, *files: Placed) -> Body:
        return resource_body(files, sent=self.sent, watch=self.watch)

    def single(self, placed: Placed) -> Body:
        return single_body(placed, sent=self.sent, watch=self.watch)


def zipped(parcel: Parcel) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(Sending().archive(parcel))))


def content_of(placed: Placed) -> bytes:
    assert isinstance(placed.file.content, bytes)
    return placed.file.content


def folder_of(address: Address) -> str:
    container = address.node.experiment
    if address.scan:
        return f"{container}/SCANS/{address.scan}/{address.resource}"
    return f"{container}/RESOURCES/{address.resource}"


def digests(files: Iterable[Placed]) -> dict[Address, str]:
    return {placed.address: hashlib.md5(content_of(placed)).hexdigest() for placed in files}


# ------------------------------------------------------------------ the session's zip


def test_the_zip_holds_one_document_and_one_folder_with_exactly_the_files() -> None:
    with zipped(SESSION) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert len(names) == len(set(names))
        assert {name.partition("/")[0] for name in names} == {"sub-1_ses-a-b_MR.xml", "sub-1_ses-a-b_MR"}
        catalogs = {f"{folder_of(p.address)}/{p.address.resource}_catalog.xml" for p in SESSION.files}
        content = {name: archive.read(name) for name in names if "/" in name and name not in catalogs}

    assert catalogs < set(names)
    assert content == {f"{folder_of(p.address)}/{p.address.name}": content_of(p) for p in SESSION.files}


def test_no_file_of_the_zip_can_be_taken_for_a_catalog_or_leads_out_of_it() -> None:
    with zipped(SESSION) as archive:
        names = archive.namelist()

    catalogs = [name for name in names if name.endswith("_catalog.xml")]
    assert len(catalogs) == len({(placed.address.scan, placed.address.resource) for placed in SESSION.files})
    assert not [name for name in names if ".." in name.split("/") or name.startswith("/") or not name.isascii()]


def test_each_entry_is_deflated_without_compression() -> None:
    """XNAT refuses stored entries whose length comes behind them; and images do not get smaller."""
    with zipped(SESSION) as archive:
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_DEFLATED
            assert entry.file_size <= entry.compress_size <= entry.file_size + 5 * (entry.file_size // 16_000 + 2)


def entries_in_order(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Read a zip from front to back, as Java does with what comes over a wire: without its table of contents."""
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        flags, method = struct.unpack_from("<HH", data, at + 6)
        name_size, extra_size = struct.unpack_from("<HH", data, at + 26)
        name = data[at + 30 : at + 30 + name_size].decode()
        assert (method, flags & 8) == (8, 8), "deflated, with the length behind"
        inflater = zlib.decompressobj(-15)
        content = inflater.decompress(data[at + 30 + name_size + extra_size :])
        at = len(data) - len(inflater.unused_data)
        mark, crc, packed_size, size = struct.unpack_from("<4sLLL", data, at)
        assert (mark, crc, size) == (b"PK\x07\x08", zlib.crc32(content), len(content))
        assert packed_size >= size
        at += 16
        yield name, content
    assert data[at : at + 4] == b"PK\x01\x02"


def test_the_zip_can_be_read_as_a_stream() -> None:
    data = b"".join(Sending().archive(SESSION))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert list(entries_in_order(data)) == [(name, archive.read(name)) for name in archive.namelist()]


def test_each_catalog_lists_exactly_the_files_of_its_resource() -> None:
    with zipped(SESSION) as archive:
        for resource in {folder_of(placed.address) for placed in SESSION.files}:
            label = resource.rpartition("/")[2]
            root = ET.fromstring(archive.read(f"{resource}/{label}_catalog.xml"))
            listed = [entry.get("URI") for entry in root.iterfind("cat:entries/cat:entry", NAMES)]
            held = [placed.address.name for placed in SESSION.files if folder_of(placed.address) == resource]
            assert root.tag == f"{{{NAMES['cat']}}}Catalog"
            assert listed == held
            assert not [one for one in root.iter() if "digest" in one.attrib], "the server shall compute its own"


def test_the_document_describes_the_experiment() -> None:
    with zipped(SESSION) as archive:
        root = ET.fromstring(archive.read("sub-1_ses-a-b_MR.xml"))
        names = archive.namelist()

    assert root.tag == f"{{{NAMES['xnat']}}}MRSession"
    assert (root.get("label"), root.get("project")) == ("sub-1_ses-a-b_MR", "P")
    assert root.findtext("xnat:subject_ID", namespaces=NAMES) == "sub-1"
    scans = {scan.get("ID"): scan for scan in root.iterfind("xnat:scans/xnat:scan", NAMES)}
    assert list(scans) == [scan.id for scan in SESSION.scans]
    for scan in SESSION.scans:
        element = scans[scan.id]
        assert (element.get("type"), element.get(XSI_TYPE)) == (scan.type, scan.xsi_type)
        assert element.findtext("xnat:quality", namespaces=NAMES) == "usable"
        assert element.findtext("xnat:series_description", namespaces=NAMES) == scan.series_description
    resources = [*root.iterfind("xnat:resources/xnat:resource", NAMES), *root.iterfind(".//xnat:file", NAMES)]
    catalogs = {f"{SESSION.node.experiment}/{one.get('URI')}" for one in resources}
    assert {one.get(XSI_TYPE) for one in resources} == {"xnat:resourceCatalog"}
    assert catalogs == {name for name in names if name.endswith("_catalog.xml")}
    assert {one.get("label"): (one.get("format"), one.get("content")) for one in resources} == {
        placed.address.resource: TABLE.resource_attributes(placed.address.resource) for placed in SESSION.files
    }


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """The data model that the embedded archive serves, which is XNAT's own."""
    folder = Path(xnat_bids_push.__file__).parent / "server" / "schema"
    return etree.XMLSchema(etree.parse(folder / "xnat.xsd"))


@pytest.mark.parametrize("modality", TABLE.modalities)
def test_each_modality_s_document_is_valid_by_xnat_s_schema(modality: str, schema: etree.XMLSchema) -> None:
    datatype = next(one for one in TABLE.datatypes.values() if one.modality == modality)
    suffix = next(iter(datatype.suffixes), "T1w")
    extension = next(iter(datatype.formats))
    recording = f"sub-1/{datatype.name}/sub-1_{suffix}{extension}" + ("data" if extension.endswith("/") else "")
    files = (made(recording), made(f"sub-1/{datatype.name}/sub-1_{suffix}.json"), made("sub-1/notes.txt"))
    [parcel] = place(Part("sub-1", files), TABLE).parcels
    with zipped(parcel) as archive:
        document = etree.fromstring(archive.read(f"{parcel.node.experiment}.xml"))
    document.set("ID", "given by the server")

    assert len(parcel.scans) == 1
    schema.assertValid(document)


def test_a_session_without_files_is_an_archive_too() -> None:
    """Its large files come behind it, one by one."""
    bare = b"".join(Sending().archive(SESSION, []))
    with zipfile.ZipFile(io.BytesIO(bare)) as archive:
        assert archive.namelist() == ["sub-1_ses-a-b_MR.xml"]
        root = ET.fromstring(archive.read("sub-1_ses-a-b_MR.xml"))

    assert len(root.findall("xnat:scans/xnat:scan", NAMES)) == len(SESSION.scans)
    assert not root.findall(".//xnat:file", NAMES)


def test_digests_and_progress_of_a_session_are_those_of_its_files() -> None:
    sending = Sending()
    for _ in sending.archive(SESSION):
        pass

    assert sending.sent == digests(SESSION.files)
    assert sum(sending.seen) == SESSION.size


# ------------------------------------------------------------------ the resource's tar


def placed(name: str, content: bytes) -> Placed:
    return Placed(made(name, content), Address(Node(), "", "BIDS", name), "test")


TAR_NAMES = st.one_of(
    st.text("abc =+'&[](),;-_.", min_size=1, max_size=20).filter(lambda name: name.strip(".")),
    st.integers(90, 254).map("n".__mul__),
    st.integers(2, 100).map(lambda depth: "/".join("d" * depth)),
)
TAR_FILES = st.dictionaries(TAR_NAMES, st.one_of(st.binary(max_size=30), st.sampled_from([b"x" * 511, b"y" * 512])))


@settings(deadline=None)
@given(TAR_FILES)
def test_a_tar_has_the_announced_length_and_exactly_the_files(files: dict[str, bytes]) -> None:
    sending = Sending()
    body = sending.tar(*(placed(name, content) for name, content in files.items()))
    data = b"".join(body)

    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        members = archive.getmembers()
        read = {one.name: stream.read() for one in members if (stream := archive.extractfile(one)) is not None}
    assert len(data) == len(body)
    assert len(data) % tarfile.BLOCKSIZE == 0
    assert all(one.isreg() for one in members)
    assert read == files
    assert len(members) == len(files)


@settings(deadline=None)
@given(TAR_FILES)
def test_a_body_is_the_same_each_time_it_is_read(files: dict[str, bytes]) -> None:
    """Else a request that a redirect or a renewed login repeats would be another."""
    body = Sending().tar(*(placed(name, content) for name, content in files.items()))

    assert b"".join(body) == b"".join(body)


def test_digests_and_progress_of_a_tar_are_those_of_its_files() -> None:
    files = [placed(f"f{size}", os.urandom(size)) for size in (0, 1, 512, 3_000_000)]
    sending = Sending()
    for _ in sending.tar(*files):
        pass

    assert sending.sent == digests(files)
    assert sum(sending.seen) == 3_000_513


def test_a_tar_of_a_file_beyond_8_gib_has_its_length() -> None:
    huge = placed("huge", b"")
    huge = huge._replace(file=huge.file._replace(size=9 * 2**30))
    body = Sending().tar(huge)
    header = next(iter(body))

    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == 9 * 2**30
    assert len(body) == 9 * 2**30 + 3 * tarfile.BLOCKSIZE


# ------------------------------------------------------------------ a single file


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_single_file_goes_as_it_is(size: int) -> None:
    one = placed("x", os.urandom(size))
    sending = Sending()
    body = sending.single(one)

    assert b"".join(body) == b"".join(body) == content_of(one)
    assert len(body) == size
    assert sending.sent == digests([one])


# ------------------------------------------------------------------ what goes wrong on the way


def on_disk(folder: Path, size: int) -> Placed:
    """A file of the sample session that lies on the disk, of some chunks' length."""
    path = folder / "file"
    path.write_bytes(os.urandom(size))
    status = path.stat()
    recording = SESSION.files[-1]
    return recording._replace(file=BidsFile(recording.file.path, size, str(path), status.st_mtime_ns))


Send = Callable[[Sending, Placed], Iterator[bytes]]
WAYS: dict[str, Send] = {
    "alone": lambda sending, one: iter(sending.single(one)),
    "in a tar": lambda sending, one: iter(sending.tar(one, SESSION.files[0])),
    "in a session": lambda sending, one: sending.archive(SESSION, [one, SESSION.files[0]]),
}


def shrink(path: Path) -> None:
    os.truncate(path, 1_500_000)


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


@pytest.mark.parametrize("change", [shrink, grow])
@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
def test_a_file_that_changes_on_the_way_never_makes_a_whole_body(
    tmp_path: Path, send: Send, change: Callable[[Path], None]
) -> None:
    """The server must see a request that breaks off, not a short file; and no digest is kept for it."""
    one = on_disk(tmp_path, 3_000_000)
    assert isinstance(one.file.content, str)
    whole = sum(map(len, send(Sending(), one)))
    sending = Sending()
    pieces = send(sending, one)
    got: list[bytes] = []
    while sum(map(len, got)) < 1_000_000:
        got.append(next(pieces))
    change(Path(one.file.content))

    with pytest.raises(DatasetError):
        got.extend(pieces)

    assert sending.sent == {}
    assert not zipfile.is_zipfile(io.BytesIO(b"".join(got)))
    assert sum(map(len, got)) < whole


class _Stop(Exception):
    """What a watcher raises to stop the sending."""


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
def test_a_watcher_can_stop_the_sending(tmp_path: Path, send: Send) -> None:
    class Stopping(Sending):
        @property
        def watch(self) -> Watch:
            def stop(_: int) -> None:
                raise _Stop

            return stop

    one = on_disk(tmp_path, 10)
    sending = Stopping()
    got: list[bytes] = []

    with pytest.raises(_Stop):
        got.extend(send(sending, one))

    assert sending.sent == {}
    assert not zipfile.is_zipfile(io.BytesIO(b"".join(got)))


def test_a_zip_that_is_given_up_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    one = on_disk(tmp_path, 3_000_000)
    sending = Sending()
    pieces = sending.archive(SESSION, [one])
    next(pieces)
    del pieces

    assert sending.sent == {}


# ------------------------------------------------------------------ memory


def sparse(path: Path, size: int) -> BidsFile:
    with path.open("wb") as stream:
        stream.truncate(size)
    status = path.stat()
    return BidsFile("big", size, str(path), status.st_mtime_ns)


@pytest.mark.parametrize("send", WAYS.values(), ids=WAYS)
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path: Path, send: Send) -> None:
    size = 300 * 10**6
    one = SESSION.files[-1]._replace(file=sparse(tmp_path / "big", size))
    sending = Sending()
    pieces = send(sending, one)
    next(pieces)
    tracemalloc.start()
    try:
        length = sum(len(piece) for piece in pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert length > size - 3 * 2**20
    assert peak < 8 * 2**20
    assert sending.sent[one.address] == zeros_md5(size)


def zeros_md5(size: int) -> Md5:
    digest = hashlib.md5()
    block = bytes(10**6)
    for _ in range(size // len(block)):
        digest.update(block)
    return Md5(digest.hexdigest())
