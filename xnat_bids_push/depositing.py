"""A copy of a push's receipt in the archive itself: in a resource of the project, for all who use the data."""

from __future__ import annotations

import random
import time
from pathlib import Path

from xnat_bids_push.archive import Archive
from xnat_bids_push.errors import AccessDenied, ArchiveError, Unavailable
from xnat_bids_push.model import Address, BidsFile, FillResource, Node, Placed
from xnat_bids_push.package import Sent
from xnat_bids_push.table import Table

ATTEMPTS = 4
"""XNAT may lose a file when another push writes into the same resource at that moment; the listing tells."""


def deposit(receipt: Path, archive: Archive, table: Table, *, pause: float = 1.0) -> str:
    """Send a receipt, and the list of digests beside it, to its project.

    Args:
        receipt: the ``.json`` file; its name is no other receipt's.
        archive: the project.
        table: names the resource.
        pause: seconds before another attempt, doubled each time.

    Returns:
        Why there is no copy, for people; "" if there is one. It is no failure of the push.
    """
    try:
        if not archive.may_edit_project():
            return "no copy of the receipt is in the archive: only an owner of the project may write there"
        files = tuple(_placed(path, table) for path in (receipt, receipt.with_suffix(".md5")))
        return _sent(files, archive, table, pause)
    except AccessDenied:
        return "no copy of the receipt is in the archive: you may not write there"
    except (ArchiveError, OSError) as error:
        return f"no copy of the receipt could be put into the archive: {error}"


def _placed(path: Path, table: Table) -> Placed:
    found = path.stat()
    file = BidsFile(path.name, found.st_size, str(path), found.st_mtime_ns)
    return Placed(file, Address(Node(), "", table.receipts, path.name), "receipt")


def _sent(files: tuple[Placed, ...], archive: Archive, table: Table, pause: float) -> str:
    sent = Sent()
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
        step = FillResource(Node(), "", table.receipts, files, replace=attempt > 0)
        try:
            archive.fill_resource(step, table=table, sent=sent, watch=lambda _: None)
            if _are_there(files, sent, archive):
                return ""
        except Unavailable:
            if attempt == ATTEMPTS - 1:
                raise
    return "no copy of the receipt is in the archive: the server took it, and does not list it"


def _are_there(files: tuple[Placed, ...], sent: Sent, archive: Archive) -> bool:
    listed = archive.node_holding(Node()).files
    return all(
        (stored := listed.get(one.address)) is not None
        and stored.size == one.file.size
        and stored.md5 in ("", sent.get(one.address))
        for one in files
    )
