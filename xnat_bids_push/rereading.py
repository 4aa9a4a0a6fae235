"""Reading back what the server holds, and digesting it here: the proof that needs no digest of the server's."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import IO

from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import CHUNK
from xnat_bids_push.errors import Unavailable
from xnat_bids_push.model import Address, Experiment, Holding, StoredFile

DAMAGE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, zlib.error)
"""What Python says of archives that are damaged, encrypted or packed in an unknown way."""


def reread(holding: Holding, archive: Archive) -> Holding:
    """The same node, with sizes and digests of what the server sends when it is asked for everything there.

    It comes as one archive, through a file that is gone at the end: in the folder for temporary files (``TMPDIR``).

    Raises:
        ArchiveError: the server does not send it, or sends it damaged.
    """
    if not holding.files:
        return holding
    node, most = holding.node, most_bytes(holding)
    with tempfile.TemporaryFile() as target:
        if node.experiment:
            experiment = Experiment(holding.id, node.experiment, node.subject, holding.xsi_type)
            archive.download(experiment, target, most=most)
        else:
            archive.download_node(node, target, most=most)
        try:
            came = dict(_digested(target, holding))
        except DAMAGE as error:
            raise Unavailable(f"what the server sent of {node} is damaged ({error})") from error
    lost = {address: StoredFile(address, -1, "") for address in holding.files}
    return replace(holding, files=lost | came)


def unproven(holding: Holding) -> Holding:
    """The same node, with no digest believed."""
    return replace(holding, files={address: one._replace(md5="") for address, one in holding.files.items()})


def _digested(target: IO[bytes], holding: Holding) -> Iterator[tuple[Address, StoredFile]]:
    with zipfile.ZipFile(target) as content:
        for address, entry in entries_of(content, holding):
            listed = holding.files.get(address)
            if listed is not None:
                with suppress(*DAMAGE):  # one file's damage is no other's
                    yield address, _digested_entry(content, entry, listed)


def _digested_entry(content: zipfile.ZipFile, entry: zipfile.ZipInfo, listed: StoredFile) -> StoredFile:
    """What came, as far as it is not longer than what the server lists."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with content.open(entry) as source:
        while piece := source.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            if size > listed.size:
                break
    return StoredFile(listed.address, size, digest.hexdigest())


# ------------------------------------------------------------------ a node's archive


def most_bytes(holding: Holding) -> int:
    """How long a node's archive can be at most, by the server's own listing: packing makes little longer."""
    files = holding.files.values()
    if any(stored.size < 0 for stored in files):
        return sys.maxsize  # of those the listing does not tell
    return (1 << 20) + sum(stored.size + stored.size // 100 + 1024 + 8 * len(stored.address.name) for stored in files)


_ENTRY = re.compile(r"[^/]+/(?:scans/(?P<scan>[^/]+)/)?resources/(?P<resource>[^/]+)/files/(?P<name>.+)", re.DOTALL)


def entries_of(archive: zipfile.ZipFile, holding: Holding) -> Iterator[tuple[Address, zipfile.ZipInfo]]:
    """The addresses of an archive's entries. XNAT may write a scan's type behind its ID: ``anat_T1w-T1w``."""
    scans = sorted({address.scan for address in holding.files if address.scan}, key=len, reverse=True)
    for entry in archive.infolist():
        match = _ENTRY.fullmatch(entry.filename)
        if match is None:
            continue
        folder = match["scan"] or ""
        scan = next((one for one in scans if folder == one), None)
        if scan is None:
            scan = next((one for one in scans if folder.startswith(f"{one}-")), "")
        yield Address(holding.node, scan, match["resource"], match["name"]), entry
