"""Sidecars for scans that inherit all their metadata, for XNAT's own BIDS tools. Pure.

XNAT's ``xnat2bids`` takes a scan only if its resource ``BIDS`` holds one ``.json``. A scan whose metadata lie higher up
gets one here, merged by the inheritance rule. It is no file of the dataset: a list beside it says so, with its digest,
and a pull leaves it out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from xnat_bids_push.mapping import GENERATED, write_manifest
from xnat_bids_push.model import Address, BidsFile, Mark, MarkKind, Origin, Parcel, Placed
from xnat_bids_push.table import Table

Merged = Mapping[str, tuple[str, Mapping[str, object]]]
"""Of scans by their IDs: the path that a sidecar of their own would have, and what it would say."""


def materialise(parcel: Parcel, merged: Merged, table: Table) -> Parcel:
    """A parcel with a sidecar for each scan that has none, and the list of those."""
    made = tuple(_sidecars(parcel, merged, table))
    if not made:
        return parcel
    content = write_manifest(Mark(one.file.path, MarkKind.GENERATED, _md5(one.file.content)) for one in made)
    file = BidsFile(f"{table.manifest}/{parcel.node}/{GENERATED}", len(content), content)
    address = Address(parcel.node, "", table.manifest, GENERATED)
    files = (*parcel.files, *made, Placed(file, address, "list of generated sidecars", Origin.MANIFEST))
    return replace(parcel, files=tuple(sorted(files, key=lambda one: one.address)))


def _sidecars(parcel: Parcel, merged: Merged, table: Table) -> Iterator[Placed]:
    have = {one.address.scan for one in parcel.files if one.address.resource == table.sidecar}
    for scan in parcel.scans:
        path, values = merged.get(scan.id, ("", {}))
        if values and scan.id not in have:
            content = json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n"
            address = Address(parcel.node, scan.id, table.sidecar, path.rpartition("/")[2])
            yield Placed(BidsFile(path, len(content), content), address, "generated sidecar", Origin.GENERATED)


def _md5(content: object) -> str:
    assert isinstance(content, bytes)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
