"""Pictures of scans, made once their data is proven to be in the archive. Nothing here makes a push fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from xnat_bids_push.archive import Archive
from xnat_bids_push.dataset import change_of
from xnat_bids_push.errors import AccessDenied, ArchiveError, Rejected
from xnat_bids_push.model import Address, Deletion, Experiment, Holding, Outcome, Parcel
from xnat_bids_push.picturing import Content, Gallery, Pictured, Preview, pictured
from xnat_bids_push.policies import can_go_alone
from xnat_bids_push.report import Pictures
from xnat_bids_push.snapshots import Picture, PictureError, draw, drawable
from xnat_bids_push.table import Table

PATIENCE = 2
"""Failures of the server after which no more pictures are sent: they must not be what brings it into distress."""


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one recording: its thumbnail, if it was drawn; what was sent, with the sizes; why not."""

    one: Pictured
    preview: Preview | None = None
    sent: Mapping[Address, int] | None = None
    reason: str = ""


class Illustrator:
    """Gives scans the pictures that XNAT's own pages show. Give it to a push as what is told of settled batches.

    Args:
        archive: where to.
        table: the mapping.
        jobs: how many scans at a time.
        send: whether pictures go to the archive; else they are for the gallery only.
        gallery: keeps the first thumbnails, to be shown elsewhere.
    """

    def __init__(
        self, archive: Archive, table: Table, *, jobs: int = 4, send: bool = True, gallery: Gallery | None = None
    ) -> None:
        self._archive, self._table = archive, table
        self._jobs, self._send = jobs, send
        self.gallery = gallery or Gallery(most=0)
        self.pictures = Pictures()
        self._failures = 0

    def __call__(
        self, parcels: Sequence[Parcel], outcomes: Sequence[Outcome], experiments: Mapping[str, Experiment]
    ) -> None:
        """Make the pictures of some parcels, which have been settled."""
        if not self._send and not self.gallery.has_room:
            return
        try:
            self._illustrate(parcels, outcomes, experiments)
        except ArchiveError as error:
            self._note(error)

    def _illustrate(
        self, parcels: Sequence[Parcel], outcomes: Sequence[Outcome], experiments: Mapping[str, Experiment]
    ) -> None:
        settled = {one.node: one for one in outcomes if one.node.experiment in experiments}
        old = [experiments[node.experiment] for node, one in settled.items() if not one.made.experiment]
        there = self._archive.holdings(old) if self._sends else {}
        todo = [
            one
            for parcel in parcels
            if parcel.node in settled
            for one in self._pictured(parcel, settled[parcel.node], there.get(parcel.node.experiment))
        ]
        made = list(self._made(todo))
        touched = {one.one.node.experiment for one in made if one.sent}
        self._prove(made, self._archive.holdings(experiments[label] for label in sorted(touched)))

    @property
    def _sends(self) -> bool:
        return self._send and not self.pictures.given_up

    def _pictured(self, parcel: Parcel, outcome: Outcome, there: Holding | None) -> Iterator[Pictured]:
        for one in pictured(parcel, outcome.findings, there or Holding(parcel.node), self._table):
            if drawable(one.names):
                yield one
            else:
                self.pictures.without += 1

    def _made(self, todo: Iterable[Pictured]) -> Iterator[_Made]:
        """What was made, in order; thumbnails of it go into the gallery as long as there is room."""
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="pictures") as pool:
            found = pool.map(self._make, todo)
            with closing(found):  # type: ignore[type-var]  # a generator, which cancels what has not begun
                for one in found:
                    if one.preview is not None:
                        self.gallery.add(one.preview)
                    yield one

    def _make(self, one: Pictured) -> _Made:
        """Draw and send the pictures of one recording, in a thread of its own: a scan has one writer."""
        sends = self._sends and bool(one.lacking) and not one.foreign
        if not sends and not self.gallery.has_room:
            return _Made(one)
        try:
            picture = _draw(one)
        except PictureError as error:
            return _Made(one, reason=str(error) if sends else "")
        preview = Preview(one.node, one.scan, picture.thumbnail, picture.shows)
        try:
            return _Made(one, preview, self._put(one, picture) if sends else None)
        except ArchiveError as error:
            self._note(error)
            return _Made(one, preview, reason=error.cause)

    def _put(self, one: Pictured, picture: Picture) -> Mapping[Address, int]:
        images = {Content.ORIGINAL: picture.original, Content.THUMBNAIL: picture.thumbnail}
        for content, address in one.lacking:
            self._archive.put_picture(address, content, images[content])
        for address in one.stale:
            if can_go_alone(address, (other for other in one.stale if other != address)):
                self._archive.delete(Deletion(address.node, address.scan, address.resource, 1, name=address.name))
        return {address: len(images[content]) for content, address in one.lacking}

    def _note(self, error: ArchiveError) -> None:
        """Give up when a right is lacking, or when the server fails once more."""
        self._failures += not isinstance(error, Rejected)
        if isinstance(error, AccessDenied) or self._failures >= PATIENCE:
            self.pictures.given_up = str(error)

    def _prove(self, made: Iterable[_Made], there: Mapping[str, Holding]) -> None:
        """Count; what was sent counts as made if the server lists it."""
        for one in made:
            if one.reason:
                self.pictures.add(one.reason, f"{one.one.node}/{one.one.scan}")
            elif one.one.foreign:
                self.pictures.foreign += 1
            elif not one.one.lacking:
                self.pictures.there += 1
            elif one.sent is not None:
                files = there[one.one.node.experiment].files
                listed = all(at in files and files[at].size == size for at, size in one.sent.items())
                self.pictures.made += listed
                if not listed:
                    self.pictures.add("the server took it, and does not list it", f"{one.one.node}/{one.one.scan}")


def _draw(one: Pictured) -> Picture:
    """A picture of what is in the archive: of files that have not changed since."""
    contents = {name: placed.file.content for name, placed in one.files.items()}
    paths = {name: Path(content) for name, content in contents.items() if isinstance(content, str)}
    picture = draw(drawable(one.names), paths)
    if any(change_of(placed.file) for placed in one.files.values()):
        raise PictureError("the file changed since it was sent")
    return picture
