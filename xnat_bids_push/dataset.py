"""A folder of BIDS data as parts, one subject at a time: the files, and what is odd about them.

The reader walks with `os.scandir` and matches *root-relative* names. pybids supplies the vocabulary, its entities;
its `BIDSLayout` is not the way in because it indexes the whole tree first, matches absolute paths, and leaves out
what is not BIDS.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
import shlex
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from io import BytesIO
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from xnat_bids_push.annex import (
    LONGEST_POINTER,
    POINTER_HEAD,
    Key,
    get_content,
    in_objects,
    read_key,
    read_modules,
    read_pointer,
)
from xnat_bids_push.choosing import EVERYTHING, Choice
from xnat_bids_push.errors import DatasetError
from xnat_bids_push.ignoring import Ignores, ignore_nothing, read_ignores
from xnat_bids_push.mapping import DESCRIPTION, Spot, spot, spot_of_folder
from xnat_bids_push.model import BidsFile, Issue, LeftOut, Mark, MarkKind, Md5, Part, Severity
from xnat_bids_push.names import is_session, is_subject, parse_name, to_label
from xnat_bids_push.shares import WHOLE, Share
from xnat_bids_push.table import Table, default_table

CHUNK = 1 << 20
"""How many bytes are read at once."""

_LEFTOVERS = re.compile(
    r"\.git|\.datalad|\.hg|\.svn"  # version control
    r"|.+~|#.+#|\.#.*|\..*\.sw[op]"  # editors
    r"|\.DS_Store|__MACOSX|\._.+|\.(Trashes|Spotlight-V100|fseventsd|TemporaryItems|AppleDouble)"  # macOS
    r"|(?i:thumbs\.db|desktop\.ini|\$recycle\.bin|system volume information)"  # Windows
    r"|\.nfs[0-9a-f]+|\.Trash(-[0-9]+)?|lost\+found"  # file systems
    r"|__pycache__|\.ipynb_checkpoints|\.bids2table_cache\.parquet|\.bids2table|\.bids2xnat-partial"  # caches
)
"""Names that are no data, wherever they are. What is made on purpose stays: .gitattributes, .bidsignore, .heudiconv."""


class HasRoot(Protocol):
    """What we need of a pybids ``BIDSLayout``."""

    root: str


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a dataset is read.

    Args:
        derivatives: names of folders in ``derivatives/``; ``("all",)`` for every one.
        sourcedata: whether ``sourcedata/`` is read.
        choice: which recordings are taken of that; all by default.
        materialise: whether scans that inherit all their metadata get a sidecar, which XNAT's BIDS tools want.
        skip_missing_content: whether files that git-annex has elsewhere are left out; else they are errors.
        share: whose files are read, where several runs push one dataset.
    """

    derivatives: tuple[str, ...] = ()
    sourcedata: bool = False
    choice: Choice = EVERYTHING
    materialise: bool = False
    skip_missing_content: bool = False
    share: Share = WHOLE

    def takes(self, tree: str) -> bool:
        """Whether an optional folder of the root is read at all."""
        return bool(self.derivatives) if tree == "derivatives" else self.sourcedata

    def takes_pipeline(self, name: str) -> bool:
        """Whether a folder of ``derivatives/`` is read."""
        return "all" in self.derivatives or name in self.derivatives


@dataclass(frozen=True, slots=True)
class Dataset:
    """A BIDS dataset on disk. Make one with `read`.

    Args:
        root: the folder, absolute.
        description: ``dataset_description.json``, if there is one.
        folders: for each subject, the root-relative folders that hold its files.
        left_out: folders that the selection leaves out.
        issues: what is wrong with the dataset as a whole.
        choice: which recordings are taken.
        materialise: whether scans that inherit all their metadata get a sidecar.
        skip_missing_content: whether files that git-annex has elsewhere are left out.
        ignores: tells what ``.bidsignore`` declares to be no BIDS.
        share: whose files are spoken of.
    """

    root: Path
    table: Table
    description: BidsFile | None
    folders: dict[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]
    issues: tuple[Issue, ...]
    choice: Choice = EVERYTHING
    materialise: bool = False
    skip_missing_content: bool = False
    ignores: Ignores = ignore_nothing
    share: Share = WHOLE

    @property
    def subjects(self) -> tuple[str, ...]:
        """The names of the folders of all subjects of which anything can be taken, sorted."""
        return tuple(filter(self.choice.may_take_subject, filter(self.share.has, self.folders)))

    def may_take(self, path: str) -> bool:
        """Whether what lies at a root-relative path can be taken."""
        return self.share.has(spot(path, self.table).subject) and self.choice.may_take(path, self.table)

    def part(self, subject: str) -> Part:
        """Read the files of one subject, or with "" those of no subject."""
        walk = _Walk(self.root, self.table, self.ignores)
        if subject:
            for folder in self.folders[subject]:
                walk.folder(folder)
            walk.issues += _session_issues(subject, walk.files)
        else:
            subjects = {folder for folders in self.folders.values() for folder in folders}
            skipped = subjects | {left.path for left in self.left_out}
            walk.folder("", skipped=skipped)
        return walk.part(subject)

    def parts(self) -> Iterator[Part]:
        """Every part: first that of no subject, then subject by subject. Only one is in memory at a time."""
        if self.share.has(""):
            yield self.part("")
        for subject in self.subjects:
            yield self.part(subject)


def read(
    root: str | os.PathLike[str] | HasRoot,
    *,
    selection: Selection | None = None,
    table: Table | None = None,
    validate: bool = True,
) -> Dataset:
    """Look at a BIDS dataset; its subjects' files are read later, one subject at a time.

    Args:
        root: the dataset's folder, or a pybids ``BIDSLayout``.
        selection: what is read beside the raw data; nothing by default.
        table: the mapping; the package's own by default.
        validate: whether ``dataset_description.json`` must be there.

    Raises:
        DatasetError: there is no such folder, or it is no dataset.
    """
    folder = Path(root if isinstance(root, str | os.PathLike) else root.root).absolute()
    selection = selection or Selection()
    table = table or default_table()
    fault = _root_fault(folder, validate=validate)
    if fault:
        raise DatasetError([Issue(Severity.ERROR, str(folder), fault)])
    folders, left_out = _subject_folders(folder, selection, table)
    ignores, wrong = _ignores(folder / ".bidsignore")
    issues = (
        *(Issue(Severity.WARNING, ".bidsignore", f"{line!r} is no pattern, and counts for nothing") for line in wrong),
        *_description_issues(folder / DESCRIPTION),
        *_twin_issues(folders),
        *_missing_pipelines(folder, selection),
        *_missing_labels(folder, dict(sorted(folders.items())), selection.choice, table),
    )
    description = _description(folder / DESCRIPTION)
    return Dataset(
        folder,
        table,
        description,
        dict(sorted(folders.items())),
        tuple(left_out),
        issues,
        selection.choice,
        selection.materialise,
        selection.skip_missing_content,
        ignores,
        selection.share,
    )


def _root_fault(folder: Path, *, validate: bool) -> str:
    """Why a folder cannot be a dataset at all, or ""."""
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "there is no such folder"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return "this is a file; give the dataset's folder"
    if not os.access(folder, os.R_OK | os.X_OK):
        return "this folder cannot be read"
    description = folder / DESCRIPTION
    if _stands_for_content(description):
        return f"{DESCRIPTION}: its content is not here (git-annex): get it with: {get_content(DESCRIPTION)}"
    if validate and not description.is_file():
        return (
            f"this is not a BIDS dataset: there is no {DESCRIPTION}. Give the dataset's own folder, "
            "or push it as it is with --validation warn or off"
        )
    return ""


def _ignores(path: Path) -> tuple[Ignores, tuple[str, ...]]:
    """What the dataset's ``.bidsignore`` ignores, and its lines that are no patterns."""
    try:
        return read_ignores(path.read_text("utf-8", errors="replace"))
    except OSError:
        return ignore_nothing, ()  # the walk meets the same error, and reports it


def _stands_for_content(path: Path) -> bool:
    """Whether a path is a link or a pointer of git-annex without content."""
    if path.is_symlink() and not path.exists():
        return in_objects(str(path.readlink()))
    return path.is_file() and os.access(path, os.R_OK) and _pointer(str(path), path.stat().st_size) is not None


def _pointer(path: str, size: int) -> Key | None:
    """The key that a file points to; None if it is no pointer file.

    Raises:
        OSError: it cannot be read.
    """
    if not 0 < size <= LONGEST_POINTER:
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return None
    descriptor = os.open(path, os.O_RDONLY | _BINARY)
    try:
        return read_pointer(os.read(descriptor, POINTER_HEAD))
    finally:
        os.close(descriptor)


_BINARY = getattr(os, "O_BINARY", 0)


def _description(path: Path) -> BidsFile | None:
    if not path.is_file():
        return None
    status = path.stat()
    return BidsFile(DESCRIPTION, status.st_size, str(path), status.st_mtime_ns)


def _description_issues(path: Path) -> Iterator[Issue]:
    if not path.is_file():
        yield Issue(Severity.WARNING, DESCRIPTION, "is missing; XNAT's own BIDS tools will not take this data")
        return
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        yield Issue(Severity.WARNING, DESCRIPTION, f"is not JSON: {error}")
        return
    except OSError:
        return  # the walk meets the same error, and reports it
    if not (isinstance(content, dict) and content.get("Name") and content.get("BIDSVersion")):
        yield Issue(Severity.WARNING, DESCRIPTION, "lacks Name or BIDSVersion, which BIDS requires")


def _twin_issues(folders: Iterable[str]) -> Iterator[Issue]:
    seen: dict[str, str] = {}
    for folder in sorted(folders):
        twin = seen.setdefault(to_label(folder).casefold(), folder)
        if twin != folder:
            reason = f"{twin} and {folder} differ only in case, and may share a folder in the archive: rename one"
            yield Issue(Severity.ERROR, folder, reason)


def _missing_pipelines(root: Path, selection: Selection) -> Iterator[Issue]:
    for name in selection.derivatives:
        if name != "all" and not (root / "derivatives" / name).is_dir():
            yield Issue(Severity.ERROR, f"derivatives/{name}", "was asked for, and is not there")


def _missing_labels(root: Path, folders: Mapping[str, Sequence[str]], choice: Choice, table: Table) -> Iterator[Issue]:
    """Participants, sessions and datatypes that were asked for by name, and are not there."""
    there = {"sub": list(folders), "ses": [], "datatype": list(table.datatypes)}
    if choice.asked("ses"):
        taken = [folder for subject in filter(choice.may_take_subject, folders) for folder in folders[subject]]
        there["ses"] = sorted({name for folder in taken for name in _folders_in(root / folder) if is_session(name)})
    yield from (Issue(Severity.ERROR, "", fault) for fault in choice.lacking(there))


def _subject_folders(
    root: Path, selection: Selection, table: Table
) -> tuple[dict[str, tuple[str, ...]], list[LeftOut]]:
    """Each subject's folders, and the optional folders that were not asked for."""
    found: dict[str, list[str]] = defaultdict(list)
    left_out: list[LeftOut] = []
    for name in _folders_in(root):
        if is_subject(name):
            found[name].append(name)
    for tree, row in table.trees.items():
        if not (row.optional and (root / tree).is_dir()):
            continue
        if not selection.takes(tree):
            left_out.append(LeftOut(tree, f"not asked for (--{tree})"))
            continue
        for name in _folders_in(root / tree):
            if row.parts and not selection.takes_pipeline(name):
                left_out.append(LeftOut(f"{tree}/{name}", f"not asked for (--{tree})"))
            elif is_subject(name):
                found[name].append(f"{tree}/{name}")
            else:
                for inner in filter(is_subject, _folders_in(root / tree / name)):
                    found[inner].append(f"{tree}/{name}/{inner}")
    return {subject: tuple(folders) for subject, folders in found.items()}, left_out


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is no data, wherever it is."""
    return _LEFTOVERS.fullmatch(name) is not None


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # the walk meets the same error, and reports it
    return sorted(name for name in names if not is_leftover(name))


def _session_issues(subject: str, files: Iterable[BidsFile]) -> list[Issue]:
    folders = {file.path.split("/", 2)[1] for file in files if file.path.startswith(f"{subject}/")}
    return list(_twin_issues(f"{subject}/{folder}" for folder in folders if is_session(folder)))


# ------------------------------------------------------------------ the walk


_ROOT = Spot()


@dataclass(slots=True)
class _Walk:
    """Collects what lies below folders of one dataset."""

    root: Path
    table: Table
    ignores: Ignores
    here: Spot = _ROOT
    files: list[BidsFile] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    uninstalled: list[str] = field(default_factory=list)
    modules: dict[str, frozenset[str]] = field(default_factory=dict)

    def part(self, subject: str) -> Part:
        self.files.sort(key=_path)
        return Part(
            subject,
            tuple(self.files),
            tuple(sorted(self.marks)),
            tuple(self.left_out),
            tuple(self.issues),
            tuple(self.uninstalled),
        )

    def folder(self, top: str, *, skipped: Iterable[str] = ()) -> None:
        """Walk a root-relative folder ("" is the root), but for the folders to be skipped."""
        skip = frozenset(skipped)
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            front = f"{folder}/" if folder else ""
            self.here = spot_of_folder(front, self.table)
            entries = self._entries(folder)
            kept = 0
            for entry in entries:
                path = front + entry.name
                if path in skip or self._entry(entry, path, waiting):
                    kept += 1
            if not kept and folder and entries is not _UNREADABLE:
                self._empty(folder, bare=not entries)

    def _empty(self, folder: str, *, bare: bool) -> None:
        """A folder without anything: it may be the place of a subdataset."""
        if bare and self._is_subdataset(folder):
            self.uninstalled.append(folder)
        else:
            self.marks.append(Mark(folder, MarkKind.FOLDER))

    def _is_subdataset(self, folder: str) -> bool:
        outer = [parent.as_posix() for parent in PurePosixPath(folder).parents]
        return any(PurePosixPath(folder).relative_to(one).as_posix() in self._modules_of(one) for one in outer)

    def _modules_of(self, folder: str) -> frozenset[str]:
        """The subdatasets of a dataset, this one or one in it."""
        if folder not in self.modules:
            try:
                text = (self.root / folder / ".gitmodules").read_text("utf-8", errors="replace")
            except OSError:
                text = ""
            self.modules[folder] = read_modules(text)
        return self.modules[folder]

    def _entries(self, folder: str) -> Sequence[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self.root}/{folder}") as entries:
                return sorted(entries, key=_name)
        except OSError as error:
            self._error(folder or ".", f"cannot be read: {error.strerror}")
            return _UNREADABLE

    def _entry(self, entry: os.DirEntry[str], path: str, waiting: list[str]) -> bool:
        """Take one entry in; False if it is left out on purpose."""
        if is_leftover(entry.name):
            self.left_out.append(LeftOut(path, "version control, or an editor's or a system's leftover"))
            return False
        if not (entry.name.isascii() or _is_text(entry.name)):
            self._error(path, "its name is not UTF-8: rename it")
        elif entry.is_symlink():
            self._link(path)
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(path)
        else:
            self._stat_and_file(path, entry)
        return True

    def _stat_and_file(self, path: str, entry: os.DirEntry[str]) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._error(path, f"vanished while the dataset was read ({error.strerror}): try again when it is at rest")
            return
        self._file(path, status, entry.path)

    def _file(self, path: str, status: os.stat_result, content: str) -> None:
        if self._take(path, status, content) and status.st_mode & stat.S_IXUSR:
            self.marks.append(Mark(path, MarkKind.EXECUTABLE))

    def _take(self, path: str, status: os.stat_result, content: str) -> bool:
        """Take a file's content in; False if that cannot be."""
        if not stat.S_ISREG(status.st_mode):
            self._error(path, "is neither a file nor a folder, and cannot be pushed: remove it")
            return False
        try:
            pointed = _pointer(content, status.st_size)
        except PermissionError:
            self._error(path, "cannot be read: change its permissions")
            return False
        except OSError as error:
            self._error(path, f"cannot be read: {error.strerror}")
            return False
        if pointed is not None:
            self._absent(path, pointed)
            return False
        self._keep(BidsFile(path, status.st_size, content, status.st_mtime_ns))
        return True

    def _keep(self, file: BidsFile) -> None:
        here = self.here
        if here.subject and not here.tree and self.ignores is not ignore_nothing and self.ignores(self._thing(file)):
            file = file._replace(ignored=True)
        elif here.datatype and not here.inner:
            self._name_check(file.path)
        self.files.append(file)

    def _thing(self, file: BidsFile) -> str:
        """What a file is judged by: a folder recording is ignored as a whole, or not at all."""
        where = spot(file.path, self.table)
        _, slash, inner = where.inner.partition("/")
        return file.path[: len(file.path) - len(inner)] if where.datatype and slash else file.path

    def _absent(self, path: str, key: Key | None) -> None:
        """A file whose content git-annex has elsewhere. It has its place in the archive all the same."""
        self._keep(BidsFile(path, max(key.size, 0) if key else 0, b"", absent=True))

    def _link(self, path: str) -> None:
        """A link: its content travels as a file, and the manifest makes it a link again."""
        link = self.root / path
        target = os.readlink(link)  # noqa: PTH115  # a Path would tidy it up
        try:
            real = link.resolve(strict=True)
            status = real.stat()
        except OSError as error:
            end = os.path.relpath(link.resolve(), self.root.resolve())
            if error.errno == errno.ENOENT and in_objects(f"/{end}"):
                self._absent(path, read_key(os.path.basename(end)))  # noqa: PTH119  # it is no Path
            else:
                self._error(path, _broken_link(target, error))
            return
        except RuntimeError:  # pathlib's word for a loop before Python 3.13
            self._error(path, _broken_link(target, OSError(errno.ELOOP, "")))
            return
        root = self.root.resolve()
        inside = real.is_relative_to(root)
        if in_objects(f"/{real.relative_to(root) if inside else real}"):
            self._annexed(path, status, real)
            return
        if not inside:
            self._error(path, f"is a link out of the dataset (to {target}): put the data itself in its place")
            return
        if Path(target).is_absolute() or _leaves(path, target):
            target = os.path.relpath(real, (root / path).parent)
            reason = f"is a link by way of folders outside of the dataset: it comes back as a link to {target}"
            self.issues.append(Issue(Severity.WARNING, path, reason))
        self.marks.append(Mark(path, MarkKind.LINK, target.replace(os.sep, "/")))
        if not stat.S_ISDIR(status.st_mode):
            self._take(path, status, str(real))
        elif is_subject(path):
            reason = "is a link to a folder: it stays a link, and XNAT gets no subject for it"
            self.issues.append(Issue(Severity.WARNING, path, reason))

    def _annexed(self, path: str, status: os.stat_result, content: Path) -> None:
        """A link to content that is here. Its key says how large it is."""
        key = read_key(content.name)
        if key is not None and key.size not in (-1, status.st_size):
            reason = f"git-annex has {status.st_size} bytes of it, and should have {key.size}"
            self._error(path, f"{reason}: have it checked with: git annex fsck {shlex.quote(path)}")
        else:
            self._file(path, status, str(content))

    def _name_check(self, path: str) -> None:
        """Warn of entities that BIDS does not know: they often are typing errors."""
        unknown = _unknown_entities(path.rpartition("/")[2].removeprefix(self.here.front))
        if unknown:
            self.issues.append(Issue(Severity.WARNING, path, f"BIDS knows no entity {', '.join(unknown)}"))

    def _error(self, path: str, message: str) -> None:
        self.issues.append(Issue(Severity.ERROR, _printable(path), _printable(message)))


@lru_cache(maxsize=1 << 12)
def _unknown_entities(name: str) -> tuple[str, ...]:
    """The entities of a name that BIDS does not know. Without subject and session it is the same in every session."""
    parsed = parse_name(name)
    return tuple(key for key, _ in parsed.entities if key not in vocabulary()) if parsed else ()


_UNREADABLE: Sequence[os.DirEntry[str]] = ()

_name = attrgetter("name")
_path = attrgetter("path")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _leaves(path: str, target: str) -> bool:
    """Whether a link's relative target goes through the folder that the dataset lies in."""
    return Path(os.path.normpath(Path(path).parent / target)).parts[:1] == (os.pardir,)


def _broken_link(target: str, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"is a link that leads back to itself (to {target}): remove it"
    return f"is a link to nothing (to {target}): restore its target, or remove it"


# ------------------------------------------------------------------ content


@contextmanager
def open_content(file: BidsFile) -> Iterator[BinaryIO]:
    """A file's bytes, as a stream."""
    if isinstance(file.content, bytes):
        yield BytesIO(file.content)
    else:
        with Path(file.content).open("rb", buffering=0) as stream:
            yield cast("BinaryIO", stream)


def chunks(file: BidsFile) -> Iterator[bytes]:
    """A file's bytes, piece by piece.

    Raises:
        DatasetError: the file is gone, cannot be read, or is not as long as it was when it was found.
    """
    count = 0
    try:
        with open_content(file) as stream:
            while piece := stream.read(CHUNK):
                count += len(piece)
                if count > file.size:
                    break
                yield piece
            changed = count != file.size or change_of(file)
    except OSError as error:
        raise DatasetError([Issue(Severity.ERROR, file.path, f"cannot be read: {error.strerror}")]) from error
    if changed:
        raise DatasetError([Issue(Severity.ERROR, file.path, _CHANGED)])


_CHANGED = "changed while it was read: push again when it is at rest"


def change_of(file: BidsFile) -> str:
    """Why a file is no longer what it was when it was found, for people; empty if it is."""
    if isinstance(file.content, bytes):
        return ""
    try:
        status = Path(file.content).stat()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if (status.st_size, status.st_mtime_ns) == (file.size, file.stamp) else _CHANGED


def md5_of(file: BidsFile) -> Md5:
    """The MD5 of a file's content, read once; not even that where git-annex has it in the content's name.

    Raises:
        DatasetError: as `chunks`.
    """
    known = _annexed_md5(file)
    if known:
        return known
    digest = hashlib.md5(usedforsecurity=False)
    for piece in chunks(file):
        digest.update(piece)
    return Md5(digest.hexdigest())


def _annexed_md5(file: BidsFile) -> Md5 | None:
    """The digest in the key of what git-annex keeps, if that is as large as the key says."""
    if isinstance(file.content, bytes) or not in_objects(file.content):
        return None
    key = read_key(Path(file.content).name)
    return key.md5 if key is not None and key.size == file.size else None


# ------------------------------------------------------------------ the vocabulary

_BEYOND_PYBIDS = ("split", "scale", "tpl", "cohort")


@cache
def vocabulary() -> dict[str, str]:
    """The entities of BIDS: short key → pybids' name, ``{"sub": "subject", …}``.

    Read from pybids' own definitions without importing pybids, which takes a second.
    """
    found = importlib.util.find_spec("bids")
    if found is None or found.origin is None:
        raise ImportError("pybids is not installed")
    folder = Path(found.origin).parent / "layout" / "config"
    entities = [one for kind in ("derivatives", "bids") for one in _entities(folder / f"{kind}.json")]
    keys = ((re.search(r"([a-z]+)-\(", entity["pattern"]), entity["name"]) for entity in entities)
    return {key: key for key in _BEYOND_PYBIDS} | {match[1]: name for match, name in keys if match}


def _entities(config: Path) -> list[dict[str, str]]:
    return cast("list[dict[str, str]]", json.loads(config.read_text("utf-8"))["entities"])
