"""Random BIDS trees: each datatype and format, companions, folder recordings, odd names, links, empty folders."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from hypothesis import strategies as st

from test_data.generate import Entry, File, Folder, Link
from xnat_bids_push.mapping import DESCRIPTION
from xnat_bids_push.table import Datatype, default_table

TABLE = default_table()
Tree = dict[str, Entry]

SUBJECTS = st.sampled_from(["01", "2", "x+y", "emptyroom"])
SESSIONS = st.sampled_from(["", "a", "01", "p+q"])

TEMPTING = (
    *("SCANS", "RESOURCES", "NIFTI_catalog.xml", "BIDS", "BIDS2XNAT", "manifest.json", DESCRIPTION, "sub-01", "ses-a"),
    *("..hidden", "...", "dot.", "space ", " space", "tab\t", "line\nbreak", "\x01", "\x7f", "%41", "=41", "="),
    *("cafe\u0301", "caf\u00e9", "a;b", "a#b?c", "back\\slash", "'quoted\"", "ü" * 127, "n" * 255, "files", "out.zip"),
    *("sub-01_T1w.nii.gz", "sub-01.json", "derivatives", "participants.tsv", ".bidsignore", "anat", "x_catalog.xml"),
)
"""Names over which a path, a URL, a zip, a tar, an XML document or XNAT itself could trip."""

ODD_NAMES = st.one_of(
    st.sampled_from(TEMPTING),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=9),
).filter(lambda name: name not in {".", ".."} and not _leftover(name) and len(name.encode()) <= 255)


def _leftover(name: str) -> bool:
    """Whether a name is one that is left out on purpose."""
    return name.endswith("~") or name.startswith((".#", "#")) or name in {".git", ".datalad", ".DS_Store", "__MACOSX"}


FILES = st.builds(File, st.binary(max_size=9), st.sampled_from([0o644] * 4 + [0o755]))

ENTITIES = {
    **dict.fromkeys(("task", "acq", "dir", "rec", "ce", "space", "recording"), ("rest", "x", "0", "a+b")),
    **dict.fromkeys(("run", "echo", "inv", "split"), ("1", "01", "2")),
    "part": ("mag", "phase"),
}
SUFFIXES = {
    "anat": ["T1w", "T2starw", "MESE"],
    "func": ["bold", "sbref"],
    "dwi": ["dwi", "sbref"],
    "fmap": ["phasediff", "phase1", "magnitude1", "epi"],
    "perf": ["asl", "m0scan"],
    "mrs": ["svs"],
    "micr": ["SEM", "SPIM"],
}
COMPANIONS = ("events.tsv", "events.json", "channels.tsv", "physio.tsv.gz", "electrodes.tsv", "blood.tsv", "photo.jpg")


@st.composite
def recordings(draw: st.DrawFn, folder: str, stem: str, datatype: Datatype) -> Tree:
    """One recording in all its files, with some of what may go with it; or only the latter."""
    keys = draw(st.lists(st.sampled_from(list(ENTITIES)), max_size=3, unique=True))
    front = "_".join([stem, *(f"{key}-{draw(st.sampled_from(ENTITIES[key]))}" for key in sorted(keys))])
    suffix = draw(st.sampled_from(SUFFIXES.get(datatype.name, [datatype.name])))
    here = f"{folder}/{datatype.name}/{front}_"
    found: Tree = {}
    for extension in draw(st.lists(st.sampled_from(list(datatype.formats)), max_size=2, unique=True)):
        for inner in draw(st.lists(ODD_NAMES, min_size=1, max_size=3, unique=True)) if extension[-1] == "/" else [""]:
            found[f"{here}{suffix}{extension}{inner}"] = draw(FILES)
    for end in draw(st.lists(st.sampled_from([".json", ".bval", ".bvec", ".tsv"]), max_size=2, unique=True)):
        found[f"{here}{suffix}{end}"] = draw(FILES)
    for end in draw(st.lists(st.sampled_from(COMPANIONS), max_size=2, unique=True)):
        found[f"{here}{end}"] = draw(FILES)
    return found


@st.composite
def visits(draw: st.DrawFn, subject: str, session: str) -> Tree:
    """What a subject's session holds: recordings of a few datatypes, its table, and what nobody expected there."""
    folder = "/".join(part for part in (f"sub-{subject}", session and f"ses-{session}") if part)
    stem = folder.replace("/", "_")
    datatypes = draw(st.lists(st.sampled_from(list(TABLE.datatypes)), min_size=1, max_size=3, unique=True))
    found: Tree = {}
    for name in datatypes:
        for _ in range(draw(st.integers(1, 2))):
            found |= draw(recordings(folder, stem, TABLE.datatypes[name]))
    tops = [
        folder,
        f"{folder}/{datatypes[0]}",
        f"derivatives/p/{folder}",
        f"sourcedata/{folder}",
        f"derivatives/{folder}",
    ]
    if draw(st.booleans()):
        found[f"{folder}/{stem}_scans.tsv"] = draw(FILES)
    for top in draw(st.lists(st.sampled_from(tops), max_size=2)):
        found[f"{top}/{draw(ODD_NAMES)}"] = draw(FILES)
    return found


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A dataset that can be on a disk that tells case and forms of letters apart; it has no fault that stops a push."""
    found: Tree = {DESCRIPTION: File(b'{"Name": "x", "BIDSVersion": "1.10.0"}'), "code/run": draw(FILES)}
    for subject in draw(st.lists(SUBJECTS, min_size=1, max_size=2, unique=True)):
        for session in draw(st.lists(SESSIONS, min_size=1, max_size=2, unique=True)):
            found |= draw(visits(subject, session))
    for top in draw(st.lists(st.sampled_from(["code", "stimuli", "sourcedata", "derivatives/p", "x/y"]), max_size=3)):
        found[f"{top}/{draw(ODD_NAMES)}"] = draw(FILES)
    found = _possible(found)
    for folder in draw(st.lists(st.sampled_from(_folders(found)), max_size=2)):
        found[f"{folder}/{draw(ODD_NAMES)}"] = Folder()
    found = _possible(found)
    for folder in draw(st.lists(st.sampled_from(_folders(found)), max_size=2)):
        target = draw(st.sampled_from([*found, *_folders(found)]))
        # In the place of something else it could be a link to itself, or leave another one without its end.
        found.setdefault(f"{folder}/{draw(ODD_NAMES)}", Link(posixpath.relpath(target, folder)))
    return _possible(found)


def _folders(tree: Tree) -> list[str]:
    return sorted({path.rpartition("/")[0] for path in tree} - {""}) or ["code"]


def _possible(tree: Tree) -> Tree:
    """Without what could not be there at the same time: a file where another path needs a folder."""
    folders = {"/".join(parts[:end]) for parts in (path.split("/") for path in tree) for end in range(1, len(parts))}
    return {path: entry for path, entry in tree.items() if path not in folders}


def files_of(tree: Tree) -> list[str]:
    """The paths of a tree's files and links."""
    return [path for path, entry in tree.items() if not isinstance(entry, Folder)]


def without(tree: Tree, paths: Iterable[str]) -> Tree:
    """A tree but for some paths."""
    gone = set(paths)
    return {path: entry for path, entry in tree.items() if path not in gone}
