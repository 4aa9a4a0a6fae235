"""Pictures of scans for XNAT's own pages: which there should be, and which are ours. Pure.

A picture is named for the digest of what it shows. So a listing alone tells whether there is one of what is there.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from xnat_bids_push.model import Address, Finding, Holding, Node, Origin, Parcel, Placed, State
from xnat_bids_push.table import PICTURES, Table


class Content(StrEnum):
    """What XNAT calls the two pictures that its pages show of a scan."""

    ORIGINAL = "ORIGINAL"
    THUMBNAIL = "THUMBNAIL"


_ENDINGS = {Content.ORIGINAL: ".gif", Content.THUMBNAIL: "_t.gif"}
_OURS = re.compile(r"bids2xnat_[0-9a-f]{16}(_t)?\.gif")


@dataclass(frozen=True, slots=True)
class Pictured:
    """A recording, and what the archive has and lacks of pictures of it.

    Args:
        files: of the recording, by their names; what lies in a folder recording is none.
        lacking: the addresses of the pictures that are not there; all if none is.
        stale: pictures of ours that show something else.
        foreign: whether somebody else's pictures are there; they stay, and ours are not put beside them.
    """

    node: Node
    scan: str
    files: Mapping[str, Placed]
    lacking: tuple[tuple[Content, Address], ...]
    stale: tuple[Address, ...] = ()
    foreign: bool = False

    @property
    def names(self) -> Collection[str]:
        """The names of its files."""
        return self.files.keys()


@dataclass(frozen=True, slots=True)
class Preview:
    """A thumbnail, of which scan, and what it shows in words."""

    node: Node
    scan: str
    image: bytes
    shows: str


SHOWN, SHOWN_BYTES = 120, 2**20
"""How many thumbnails, of how many bytes together, a gallery has room for."""


@dataclass(slots=True)
class Gallery:
    """The first thumbnails of a push."""

    most: int = SHOWN
    previews: list[Preview] = field(default_factory=list)
    size: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more would be kept."""
        return len(self.previews) < self.most and self.size < SHOWN_BYTES

    def add(self, preview: Preview) -> None:
        """Keep one more, if there is room for it."""
        if self.has_room:
            self.previews.append(preview)
            self.size += len(preview.image)


def is_picture(address: Address) -> bool:
    """Whether an address is that of a picture that a push has made.

    >>> from xnat_bids_push.model import Node
    >>> is_picture(Address(Node("s", "e"), "anat_T1w", "SNAPSHOTS", "bids2xnat_0123456789abcdef_t.gif"))
    True
    >>> is_picture(Address(Node("s", "e"), "anat_T1w", "SNAPSHOTS", "anat_T1w_qc.gif"))
    False
    """
    return bool(address.scan) and address.resource == PICTURES and _OURS.fullmatch(address.name) is not None


def pictured(parcel: Parcel, findings: Iterable[Finding], holding: Holding, table: Table) -> Iterator[Pictured]:
    """What there should be pictures of: each recording whose files are all proven to be in the archive."""
    known = {finding.address: finding for finding in findings}
    there: dict[str, list[Address]] = defaultdict(list)
    for address in holding.files:
        if address.resource == PICTURES:
            there[address.scan].append(address)
    for scan, files in _recordings(parcel, table).items():
        proven = [known[one.address].md5 for one in files if _is_proven(known.get(one.address))]
        if len(proven) == len(files):
            yield _pictured(scan, files, proven, there[scan])


def _recordings(parcel: Parcel, table: Table) -> dict[str, list[Placed]]:
    """The files of each recording, without sidecar and companions."""
    found: dict[str, list[Placed]] = defaultdict(list)
    for one in parcel.files:
        datatype = table.datatypes.get(one.address.scan.partition("_")[0])
        if one.origin is Origin.DATASET and datatype and one.address.resource in datatype.formats.values():
            found[one.address.scan].append(one)
    return found


def _is_proven(finding: Finding | None) -> bool:
    return finding is not None and finding.state is State.SAME and bool(finding.md5)


def _pictured(scan: str, files: list[Placed], digests: list[str], there: list[Address]) -> Pictured:
    stamp = hashlib.md5(" ".join(sorted(digests)).encode(), usedforsecurity=False).hexdigest()[:16]
    node = files[0].address.node
    wanted = {
        content: Address(node, scan, PICTURES, f"bids2xnat_{stamp}{ending}") for content, ending in _ENDINGS.items()
    }
    return Pictured(
        node,
        scan,
        {one.address.name: one for one in files if "/" not in one.address.name},
        lacking=tuple((content, address) for content, address in wanted.items() if address not in there),
        stale=tuple(one for one in there if is_picture(one) and one not in wanted.values()),
        foreign=not all(map(is_picture, there)),
    )


def with_pictures(going: Set[Address], stored: Iterable[Address]) -> frozenset[Address]:
    """What goes of a node, with our pictures of each scan of which nothing else stays.

    >>> from xnat_bids_push.model import Node
    >>> image = Address(Node("s", "e"), "anat_T1w", "NIFTI", "a.nii")
    >>> picture = Address(Node("s", "e"), "anat_T1w", "SNAPSHOTS", "bids2xnat_0123456789abcdef.gif")
    >>> len(with_pictures({image}, [image, picture])), len(with_pictures(set(), [image, picture]))
    (2, 0)
    """
    stored = tuple(stored)
    staying = {one.scan for one in stored if one not in going and not is_picture(one)}
    scans = {one.scan for one in going} - staying
    return frozenset(going) | {one for one in stored if is_picture(one) and one.scan in scans}
