"""Every file has one address, the address leads back, and a recording's address depends on its own name alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_data.generate import Folder, generate, generate_annex, generate_awkward, sample
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.errors import MappingError
from xnat_bids_push.mapping import (
    DESCRIPTION,
    MANIFEST,
    folder_of,
    is_copy,
    is_manifest,
    is_ours,
    path_of,
    place,
    read_manifest,
    spot,
    write_manifest,
)
from xnat_bids_push.model import (
    Address,
    BidsFile,
    Issue,
    Mark,
    MarkKind,
    Node,
    Origin,
    Parcel,
    Part,
    Placed,
    Scan,
    Severity,
)
from xnat_bids_push.names import to_label
from xnat_bids_push.table import default_table

CALM = settings(deadline=None)
EXAMPLES = Path(__file__).parents[1].parent / "shared" / "bids-examples"
TABLE = default_table()


# ------------------------------------------------------------------ ways to place


def parcels_of(paths: Iterable[str], *, marks: Iterable[Mark] = ()) -> list[Parcel]:
    """The parcels of a dataset of empty files with these paths."""
    paths, marks = list(paths), list(marks)
    found: list[Parcel] = []
    for subject in sorted({spot(path, TABLE).subject for path in (*paths, *(mark.path for mark in marks))}):
        files = tuple(BidsFile(path, 0, b"") for path in paths if spot(path, TABLE).subject == subject)
        own = tuple(mark for mark in marks if spot(mark.path, TABLE).subject == subject)
        description = BidsFile(DESCRIPTION, 0, b"") if DESCRIPTION in paths else None
        found += place(Part(subject, files, own), TABLE, description=description).parcels
    return found


def placed_in(paths: Iterable[str]) -> dict[str, Placed]:
    """What becomes of each path."""
    return {one.file.path: one for one in files_of(parcels_of(paths)) if one.origin is Origin.DATASET}


def addresses(*paths: str) -> dict[str, str]:
    """The address of each path, as people read it."""
    return {path: str(one.address) for path, one in placed_in(paths).items()}


def files_of(parcels: Iterable[Parcel]) -> list[Placed]:
    return [placed for parcel in parcels for placed in parcel.files]


def issues_of(paths: Iterable[str]) -> tuple[Issue, ...]:
    files = tuple(BidsFile(path, 0, b"") for path in paths)
    return place(Part("", files), TABLE).issues


# ------------------------------------------------------------------ whole datasets


def everything(root: Path) -> Dataset:
    return read(root, selection=Selection(("all",), sourcedata=True), validate=False)


def assert_lawful(dataset: Dataset) -> None:
    """Nothing lost, nothing mixed, reversible, and valid for XNAT."""
    parts = list(dataset.parts())
    placements = [place(part, dataset.table, description=dataset.description).parcels for part in parts]
    parcels = [parcel for placement in placements for parcel in placement]
    for part, placement in zip(parts, placements, strict=True):
        assert {parcel.node.subject for parcel in placement} <= {to_label(part.subject)}
    ours = [placed for placed in files_of(parcels) if placed.origin is Origin.DATASET]
    assert_nothing_lost(dataset, parts, ours)
    assert max(Counter(parcel.node for parcel in parcels).values()) == 1
    assert max(Counter(placed.address for placed in files_of(parcels)).values()) == 1
    for placed in ours:
        assert path_of(placed.address, dataset.table) == placed.file.path
    for parcel in parcels:
        assert_not_mixed(parcel)
        assert_valid(parcel)


def assert_nothing_lost(dataset: Dataset, parts: Iterable[Part], ours: Iterable[Placed]) -> None:
    """Each file that a plain walk finds is placed once, or is left out or refused by name."""
    excused = {left.path for left in dataset.left_out}
    excused |= {left.path for part in parts for left in part.left_out}
    excused |= {issue.path for part in parts for issue in part.issues if issue.severity is Severity.ERROR}
    there = {
        path for path in walk(dataset.root) if not any(path == one or path.startswith(f"{one}/") for one in excused)
    }
    assert Counter(placed.file.path for placed in ours) == Counter(there)


def walk(root: Path) -> Iterable[str]:
    for path in root.rglob("*"):
        if path.is_file() or (path.is_symlink() and not path.exists()):
            yield path.relative_to(root).as_posix()


def assert_not_mixed(parcel: Parcel) -> None:
    """What lies at a subject's node bears the subject's name, and no other file of a subject lies elsewhere."""
    for placed in parcel.files:
        assert placed.address.node == parcel.node
        if placed.origin is not Origin.DATASET:
            continue
        folders = placed.file.path.split("/")[:-1]
        if folders and re.fullmatch("sub-[A-Za-z0-9+]+", folders[0]):
            assert parcel.node.subject == to_label(folders[0])
        elif parcel.node.subject:
            assert parcel.node.subject in {to_label(folder) for folder in folders}
        if parcel.node.experiment:
            session = re.search(r"_(ses-[^_]+)_", parcel.node.experiment)
            sessions = {to_label(folder) for folder in folders if folder.startswith("ses-")}
            assert session is None or session[1] in sessions


def assert_valid(parcel: Parcel) -> None:
    """Labels, IDs and types are as XNAT takes them and NRG's tools expect them."""
    ids, types = [scan.id for scan in parcel.scans], {scan.type for scan in parcel.scans}
    assert len({one.casefold() for one in ids}) == len(ids)
    assert not types & set(ids)
    assert {placed.address.scan for placed in parcel.files} - {""} == set(ids)
    labels = {placed.address.resource for placed in parcel.files} | set(ids)
    for label in labels | {parcel.node.subject, parcel.node.experiment} - {""}:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", label)
    for kind in types:
        assert re.fullmatch(r"[A-Za-z0-9-]{1,255}", kind)
    assert bool(parcel.xsi_type) == bool(parcel.node.experiment)
    for scan in parcel.scans:
        assert_one_sidecar(scan, parcel)


def assert_one_sidecar(scan: Scan, parcel: Parcel) -> None:
    """The BIDS resource of a scan holds at most one file, named as the recording."""
    own = [placed for placed in parcel.files if placed.address.scan == scan.id]
    sidecars = [placed.address.name for placed in own if placed.address.resource == TABLE.sidecar]
    assert len(sidecars) <= 1
    for name in sidecars:
        stem = name.removesuffix(".json")
        assert stem != name
        recordings = {placed.address.name.partition("/")[0] for placed in own if placed.rule == "recording"}
        assert any(one.startswith(stem) and one[len(stem) : len(stem) + 1] in {".", ""} for one in recordings)


def test_the_sample_is_placed_by_the_laws(tmp_path: Path) -> None:
    generate(tmp_path)

    assert_lawful(everything(tmp_path))


def test_awkward_names_are_placed_by_the_laws(tmp_path: Path) -> None:
    generate_awkward(tmp_path)

    assert_lawful(everything(tmp_path))


def test_an_annexed_dataset_is_placed_by_the_laws(tmp_path: Path) -> None:
    generate_annex(tmp_path)

    assert_lawful(everything(tmp_path))


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the bids-examples collection is not beside this checkout")
@pytest.mark.parametrize("root", sorted(EXAMPLES.glob("*/")), ids=lambda root: root.name)
def test_every_public_example_is_placed_by_the_laws(root: Path) -> None:
    assert_lawful(everything(root))


def test_subjects_folders_in_code_and_stimuli_are_no_subjects(tmp_path: Path) -> None:
    """They belong to the project, or two readings of one subject would push each other's files out."""
    for path in ("sub-01/anat/sub-01_T1w.nii", "stimuli/sub-01/face.png", "code/tools/sub-01/run.sh"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()

    assert_lawful(everything(tmp_path))


# ------------------------------------------------------------------ stability

SAMPLE_PATHS = sorted(path for path, entry in sample().items() if not isinstance(entry, Folder))
RECORDINGS = {path: one.address for path, one in placed_in(SAMPLE_PATHS).items() if one.rule == "recording"}


@CALM
@given(st.permutations(SAMPLE_PATHS), st.integers(1, len(SAMPLE_PATHS)))
def test_a_recording_s_address_does_not_depend_on_other_files(paths: list[str], number: int) -> None:
    present = paths[:number]
    placed = placed_in(present)

    assert len(placed) == number
    assert {path: placed[path].address for path in present if path in RECORDINGS} == {
        path: address for path, address in RECORDINGS.items() if path in present
    }


@settings(CALM, max_examples=30)
@given(st.permutations(SAMPLE_PATHS))
def test_the_order_of_files_changes_nothing(paths: list[str]) -> None:
    assert parcels_of(paths) == parcels_of(SAMPLE_PATHS)


def test_the_place_of_the_dataset_changes_nothing(tmp_path: Path) -> None:
    """Not even if it looks like a subject, a session and a run."""
    plain, odd = tmp_path / "plain", tmp_path / "sub-9_ses-9_run-9" / "sub-08" / "ses-x" / "anat"
    for root in (plain, odd):
        generate(root)

    here, there = ([place(part, TABLE).parcels for part in everything(root).parts()] for root in (plain, odd))

    assert [[placed.address for placed in files_of(parcels)] for parcels in here] == [
        [placed.address for placed in files_of(parcels)] for parcels in there
    ]
    assert [[parcel.scans for parcel in parcels] for parcels in here] == [
        [parcel.scans for parcel in parcels] for parcels in there
    ]


# ------------------------------------------------------------------ arbitrary names

ENTITIES = st.lists(
    st.sampled_from(
        ["task-a", "task-b+c", "run-1", "split-01", "split-02", "part-phase", "recording-x", "acq-crosstalk"]
    ),
    max_size=2,
)
EXTENSIONS = st.sampled_from(
    [".nii", ".json", ".tsv", ".bval", ".fif", ".ds/a.meg4", "/config", ".ome.zarr/.zgroup", ".vhdr", ".png", ".", ""]
)
STEMS = st.sampled_from(["{}"] * 6 + ["sub-2", "sub-1", "ses-1_sub-1", "sub-1_ses-2", "x"])
TOPS = st.sampled_from(
    ["sub-1", "sub-1/ses-1", "sub-2", "derivatives/p/sub-1/ses-1", "derivatives/sub-1", "sourcedata/sub-1", "code", "x"]
)


@st.composite
def _siblings(draw: st.DrawFn) -> list[str]:
    """A recording, its sidecars and its companions, or what is nearly that."""
    top, datatype = draw(TOPS), draw(st.sampled_from([*TABLE.datatypes, "oddity"]))
    stem = draw(STEMS).format("_".join(part for part in top.split("/") if part.startswith(("sub-", "ses-"))))
    front = "_".join([f"{top}/{datatype}/{stem}", *draw(ENTITIES)])
    suffixes = st.sampled_from([datatype] * 3 + ["bold", "events", "channels", "photo", "electrodes"])
    ends = draw(st.lists(st.builds("{}{}".format, suffixes, EXTENSIONS), min_size=1, max_size=6, unique=True))
    return [f"{front}_{end}" for end in ends]


@st.composite
def _trees(draw: st.DrawFn) -> list[str]:
    """Paths that can be together on one disk: none is a file in one and a folder in another."""
    groups = draw(st.lists(_siblings(), min_size=1, max_size=4))
    paths = {path for group in groups for path in group}
    folders = {"/".join(path.split("/")[:end]) for path in paths for end in range(1, path.count("/") + 1)}
    return sorted(paths - folders)


@settings(CALM, max_examples=200)
@given(_trees())
def test_any_names_are_placed_once_and_lead_back(paths: list[str]) -> None:
    parcels = parcels_of(paths)
    ours = files_of(parcels)

    assert sorted(placed.file.path for placed in ours) == sorted(paths)
    assert len({placed.address for placed in ours}) == len(ours)
    assert {path_of(placed.address, TABLE): placed.file.path for placed in ours} == {path: path for path in paths}
    assert len({parcel.node for parcel in parcels}) == len(parcels)


# ------------------------------------------------------------------ the rules, one by one

GOLDEN = {
    DESCRIPTION: f"BIDS/{DESCRIPTION}",
    "README": "BIDS/README",
    "dwi.bval": "BIDS/dwi.bval",
    "task-a_bold.json": "BIDS/task-a_bold.json",
    "code/a/b.py": "code/a/b.py",
    "stimuli/sub-01/x #.png": "stimuli/sub-01/x =23.png",
    "phenotype/mood.tsv": "phenotype/mood.tsv",
    "notes/sub-01_T1w.nii": "BIDS/notes/sub-01_T1w.nii",
    "sub-01/sub-01_sessions.tsv": "sub-01/BIDS/sub-01_sessions.tsv",
    "sub-01/sub-01_task-a_bold.json": "sub-01/BIDS/sub-01_task-a_bold.json",
    # a session with several modalities: what describes all of it goes to the first experiment
    "sub-01/ses-a/sub-01_ses-a_scans.tsv": "sub-01/sub-01_ses-a_MR/BIDS/sub-01_ses-a_scans.tsv",
    f"sub-01/ses-a/{DESCRIPTION}": f"sub-01/sub-01_ses-a_MR/BIDS/={ord('d'):02X}{DESCRIPTION[1:]}",
    "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz": (
        "sub-01/sub-01_ses-a_MR/scans/anat_T1w/NIFTI/sub-01_ses-a_T1w.nii.gz"
    ),
    "sub-01/ses-a/anat/sub-01_ses-a_T1w.json": "sub-01/sub-01_ses-a_MR/scans/anat_T1w/BIDS/sub-01_ses-a_T1w.json",
    "sub-01/ses-a/anat/sub-01_ses-a_T1w.txt": "sub-01/sub-01_ses-a_MR/scans/anat_T1w/ASSOCIATED/sub-01_ses-a_T1w.txt",
    "sub-01/ses-a/anat/sub-02_ses-a_T1w.nii": "sub-01/sub-01_ses-a_MR/BIDS/anat/sub-02_ses-a_T1w.nii",
    "sub-01/ses-a/anat/sub-01_ses-b_T1w.nii": "sub-01/sub-01_ses-a_MR/BIDS/anat/sub-01_ses-b_T1w.nii",
    "sub-01/ses-a/anat/sub-01_T1w.nii": "sub-01/sub-01_ses-a_MR/BIDS/anat/sub-01_T1w.nii",
    "sub-01/ses-a/anat/more/sub-01_ses-a_T1w.nii": "sub-01/sub-01_ses-a_MR/BIDS/anat/more/sub-01_ses-a_T1w.nii",
    "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii": "sub-01/sub-01_ses-a_MR/scans/dwi_dwi/NIFTI/sub-01_ses-a_dwi.nii",
    "sub-01/ses-a/dwi/sub-01_ses-a_dwi.bvec": "sub-01/sub-01_ses-a_MR/scans/dwi_dwi/NIFTI/sub-01_ses-a_dwi.bvec",
    # companions
    "sub-01/ses-a/func/sub-01_ses-a_task-a_bold.nii": (
        "sub-01/sub-01_ses-a_MR/scans/func_task-a_bold/NIFTI/sub-01_ses-a_task-a_bold.nii"
    ),
    "sub-01/ses-a/func/sub-01_ses-a_task-a_recording-pulse_physio.tsv.gz": (
        "sub-01/sub-01_ses-a_MR/scans/func_task-a_bold/ASSOCIATED/sub-01_ses-a_task-a_recording-pulse_physio.tsv.gz"
    ),
    "sub-01/ses-a/func/sub-01_ses-a_task-e_echo-1_bold.nii": (
        "sub-01/sub-01_ses-a_MR/scans/func_task-e_echo-1_bold/NIFTI/sub-01_ses-a_task-e_echo-1_bold.nii"
    ),
    "sub-01/ses-a/func/sub-01_ses-a_task-e_events.tsv": (
        "sub-01/sub-01_ses-a_MR/BIDS/func/sub-01_ses-a_task-e_events.tsv"
    ),
    "sub-01/ses-a/perf/sub-01_ses-a_asl.nii": "sub-01/sub-01_ses-a_MR/scans/perf_asl/NIFTI/sub-01_ses-a_asl.nii",
    "sub-01/ses-a/perf/sub-01_ses-a_aslcontext.tsv": (
        "sub-01/sub-01_ses-a_MR/scans/perf_asl/ASSOCIATED/sub-01_ses-a_aslcontext.tsv"
    ),
    "sub-01/ses-a/perf/sub-01_ses-a_asllabeling.jpg": "sub-01/sub-01_ses-a_MR/BIDS/perf/sub-01_ses-a_asllabeling.jpg",
    "sub-01/ses-a/pet/sub-01_ses-a_pet.nii": "sub-01/sub-01_ses-a_PET/scans/pet_pet/NIFTI/sub-01_ses-a_pet.nii",
    "sub-01/ses-a/pet/sub-01_ses-a_recording-manual_blood.tsv": (
        "sub-01/sub-01_ses-a_PET/scans/pet_pet/ASSOCIATED/sub-01_ses-a_recording-manual_blood.tsv"
    ),
    # MEG: folders whole, dot files too; parts of a split recording in one scan
    "sub-02/meg/sub-02_acq-ctf_meg.ds/a.meg4": (
        "sub-02/sub-02_MEG/scans/meg_acq-ctf_meg/CTF/sub-02_acq-ctf_meg.ds/a.meg4"
    ),
    "sub-02/meg/sub-02_acq-ctf_meg.ds/hz.ds/.bins": (
        "sub-02/sub-02_MEG/scans/meg_acq-ctf_meg/CTF/sub-02_acq-ctf_meg.ds/hz.ds/.bins"
    ),
    "sub-02/meg/sub-02_acq-bti_meg/c,rfDC": "sub-02/sub-02_MEG/scans/meg_acq-bti_meg/BTI/sub-02_acq-bti_meg/c,rfDC",
    "sub-02/meg/sub-02_acq-n_split-01_meg.fif": (
        "sub-02/sub-02_MEG/scans/meg_acq-n_meg/FIF/sub-02_acq-n_split-01_meg.fif"
    ),
    "sub-02/meg/sub-02_acq-n_split-02_meg.fif": (
        "sub-02/sub-02_MEG/scans/meg_acq-n_meg/FIF/sub-02_acq-n_split-02_meg.fif"
    ),
    "sub-02/meg/sub-02_acq-n_split-01_meg.json": (
        "sub-02/sub-02_MEG/scans/meg_acq-n_meg/ASSOCIATED/sub-02_acq-n_split-01_meg.json"
    ),
    "sub-02/meg/sub-02_acq-n_meg.json": "sub-02/sub-02_MEG/scans/meg_acq-n_meg/BIDS/sub-02_acq-n_meg.json",
    "sub-02/meg/sub-02_acq-n_channels.tsv": (
        "sub-02/sub-02_MEG/scans/meg_acq-n_meg/ASSOCIATED/sub-02_acq-n_channels.tsv"
    ),
    "sub-02/meg/sub-02_acq-crosstalk_meg.fif": "sub-02/sub-02_MEG/BIDS/meg/sub-02_acq-crosstalk_meg.fif",
    "sub-02/meg/sub-02_acq-calibration_meg.dat": "sub-02/sub-02_MEG/BIDS/meg/sub-02_acq-calibration_meg.dat",
    "sub-02/ieeg/sub-02_ieeg.mefd/a.timd/a.tdat": (
        "sub-02/sub-02_IEEG/scans/ieeg_ieeg/MEFD/sub-02_ieeg.mefd/a.timd/a.tdat"
    ),
    "sub-02/ieeg/sub-02_space-x_electrodes.tsv": "sub-02/sub-02_IEEG/BIDS/ieeg/sub-02_space-x_electrodes.tsv",
    "sub-02/eeg/sub-02_eeg.vhdr": "sub-02/sub-02_EEG/scans/eeg_eeg/BRAINVISION/sub-02_eeg.vhdr",
    "sub-02/eeg/sub-02_eeg.eeg": "sub-02/sub-02_EEG/scans/eeg_eeg/BRAINVISION/sub-02_eeg.eeg",
    "sub-02/eeg/sub-02_eeg.bval": "sub-02/sub-02_EEG/scans/eeg_eeg/ASSOCIATED/sub-02_eeg.bval",
    "sub-02/micr/sub-02_sample-A_BF.ome.zarr/.zattrs": (
        "sub-02/sub-02_MICR/scans/micr_sample-A_BF/OMEZARR/sub-02_sample-A_BF.ome.zarr/.zattrs"
    ),
    "sub-02/micr/sub-02_sample-A_BF.ome.zarr/0/1": (
        "sub-02/sub-02_MICR/scans/micr_sample-A_BF/OMEZARR/sub-02_sample-A_BF.ome.zarr/0/1"
    ),
    "sub-02/micr/sub-02_sample-A_photo.png": "sub-02/sub-02_MICR/BIDS/micr/sub-02_sample-A_photo.png",
    "sub-02/sub-02_scans.tsv": "sub-02/sub-02_MEG/BIDS/sub-02_scans.tsv",
    "sub-02/extra/a.txt": "sub-02/sub-02_MEG/BIDS/extra/a.txt",
    # labels with +
    "sub-x+y/ses-a+b/anat/sub-x+y_ses-a+b_acq-p+q_T1w.nii": (
        "sub-x-y/sub-x-y_ses-a-b_MR/scans/anat_acq-p-q_T1w/NIFTI/sub-x+y_ses-a+b_acq-p+q_T1w.nii"
    ),
    # derivatives and sourcedata
    "derivatives/prep/logs/a.txt": "DERIVATIVES_prep/logs/a.txt",
    "derivatives/README": "DERIVATIVES/README",
    "derivatives/a pipeline/x": "DERIVATIVES/a pipeline/x",
    "derivatives/prep/sub-01.html": "DERIVATIVES_prep/sub-01.html",
    "derivatives/prep/sub-01/ses-a/anat/x.nii": (
        "sub-01/sub-01_ses-a_MR/DERIVATIVES_prep/sub-01/ses-a/anat/x.nii"
    ),
    "derivatives/prep/sub-01/ses-new/x.nii": "sub-01/DERIVATIVES_prep/sub-01/ses-new/x.nii",
    "derivatives/sub-01/anat/x.nii": "sub-01/DERIVATIVES/sub-01/anat/x.nii",
    "sourcedata/sub-01/a_catalog.xml": "sub-01/SOURCEDATA/sub-01/a=5Fcatalog.xml",
    "sourcedata/x/sub-01/ses-a/b": "sub-01/sub-01_ses-a_MR/SOURCEDATA/x/sub-01/ses-a/b",
    "sourcedata/a": "SOURCEDATA/a",
}  # fmt: skip


def test_each_kind_of_file_has_its_place() -> None:
    assert addresses(*GOLDEN) == GOLDEN


def test_every_place_leads_back() -> None:
    assert {path_of(one.address, TABLE): one.file.path for one in placed_in(GOLDEN).values()} == {
        path: path for path in GOLDEN
    }


def scan_of(*paths: str) -> Scan:
    """The only scan that the files make."""
    [scan] = [scan for parcel in parcels_of(paths) for scan in parcel.scans]
    return scan


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("", "T2starw"),
        ("mag", "T2starw"),
        ("phase", "T2starw-phase"),
        ("real", "T2starw-real"),
        ("imag", "T2starw-imag"),
    ],
)
def test_a_phase_image_is_of_another_type_than_the_magnitude(part: str, kind: str) -> None:
    entity = f"part-{part}_" if part else ""
    scan = scan_of(f"sub-1/anat/sub-1_{entity}T2starw.nii")

    assert scan == Scan(f"anat_{entity}T2starw", "xnat:mrScanData", kind, f"{entity}T2starw", "usable")


def test_a_series_description_keeps_the_words_of_bids() -> None:
    scan = scan_of("sub-1/func/sub-1_task-a+b_run-01_bold.nii")

    assert (scan.id, scan.series_description) == ("func_task-a-b_run-01_bold", "task-a+b_run-01_bold")


@pytest.mark.parametrize(
    ("datatype", "name", "session", "scan"),
    [
        ("anat", "T1w.nii", "xnat:mrSessionData", "xnat:mrScanData"),
        ("mrs", "svs.nii.gz", "xnat:mrSessionData", "xnat:mrsScanData"),
        ("pet", "pet.nii", "xnat:petSessionData", "xnat:petScanData"),
        ("meg", "meg.con", "xnat:megSessionData", "xnat:megScanData"),
        ("eeg", "eeg.set", "xnat:eegSessionData", "xnat:eegScanData"),
        ("ieeg", "ieeg.nwb", "xnat:eegSessionData", "xnat:eegScanData"),
        ("emg", "emg.bdf", "xnat:otherDicomSessionData", "xnat:otherDicomScanData"),
        ("nirs", "nirs.snirf", "xnat:otherDicomSessionData", "xnat:otherDicomScanData"),
        ("motion", "tracksys-a_motion.tsv", "xnat:otherDicomSessionData", "xnat:otherDicomScanData"),
        ("micr", "sample-A_SEM.ome.tif", "xnat:gmSessionData", "xnat:gmScanData"),
        ("beh", "task-a_beh.tsv", "xnat:otherDicomSessionData", "xnat:otherDicomScanData"),
    ],
)
def test_each_datatype_has_its_types(datatype: str, name: str, session: str, scan: str) -> None:
    [parcel] = parcels_of([f"sub-1/{datatype}/sub-1_{name}"])

    assert (parcel.xsi_type, [one.xsi_type for one in parcel.scans]) == (session, [scan])


def test_every_datatype_of_the_sample_makes_a_scan() -> None:
    made = {scan.id.partition("_")[0] for parcel in parcels_of(SAMPLE_PATHS) for scan in parcel.scans}

    assert made == set(TABLE.datatypes)


def test_events_go_with_the_recording_and_not_with_its_reference() -> None:
    stem = "sub-1/func/sub-1_task-a"
    found = placed_in([f"{stem}_sbref.nii", f"{stem}_bold.nii", f"{stem}_events.tsv", f"{stem}_events.json"])

    assert {found[f"{stem}_events.{ext}"].address.scan for ext in ("tsv", "json")} == {"func_task-a_bold"}


def test_each_experiment_has_a_copy_of_the_description_and_no_other_node_has() -> None:
    parcels = parcels_of([DESCRIPTION, "sub-1/anat/sub-1_T1w.nii", "sub-1/eeg/sub-1_eeg.edf", "sub-1/a.txt"])
    copies = [placed for placed in files_of(parcels) if placed.origin is Origin.COPY]

    assert [str(copy.address) for copy in copies] == [
        f"sub-1/sub-1_{kind}/BIDS/{DESCRIPTION}" for kind in ("EEG", "MR")
    ]
    assert all(is_copy(copy.address, TABLE) and path_of(copy.address, TABLE) is None for copy in copies)


def test_a_session_s_own_description_is_not_the_copy() -> None:
    own = f"sub-01/{DESCRIPTION}"
    [parcel] = [one for one in parcels_of([DESCRIPTION, own, "sub-01/anat/sub-01_T1w.nii"]) if one.xsi_type]
    in_bids = {placed.file.path: placed.address for placed in parcel.files if not placed.address.scan}

    assert set(in_bids) == {DESCRIPTION, own}
    assert in_bids[DESCRIPTION] != in_bids[own]
    assert path_of(in_bids[own], TABLE) == own


# ------------------------------------------------------------------ marks


def test_marks_go_to_a_manifest_of_the_node_that_has_the_folder() -> None:
    marks = [
        Mark("code/run", MarkKind.EXECUTABLE),
        Mark("sub-1/empty", MarkKind.FOLDER),
        Mark("sub-1/ses-a/func", MarkKind.FOLDER),
        Mark("sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", MarkKind.LINK, "../x.nii"),
        Mark("sub-2", MarkKind.FOLDER),
        Mark("derivatives/p/sub-3", MarkKind.FOLDER),
    ]
    files = ["sub-1/ses-a/anat/sub-1_ses-a_T1w.nii"]
    parts = {"": marks[:1], "sub-1": marks[1:4], "sub-2": marks[4:5], "sub-3": marks[5:]}
    found: dict[str, tuple[Mark, ...]] = {}
    for subject, own in parts.items():
        inside = tuple(BidsFile(path, 0, b"") for path in files if spot(path, TABLE).subject == subject)
        for placed in files_of(place(Part(subject, inside, tuple(own)), TABLE).parcels):
            if placed.origin is Origin.MANIFEST:
                assert isinstance(placed.file.content, bytes)
                assert is_manifest(placed.address, TABLE)
                assert path_of(placed.address, TABLE) is None
                found[str(placed.address)] = read_manifest(placed.file.content)

    assert found == {
        f"BIDS2XNAT/{MANIFEST}": (marks[0],),
        f"sub-1/BIDS2XNAT/{MANIFEST}": (marks[1],),
        f"sub-1/sub-1_ses-a_MR/BIDS2XNAT/{MANIFEST}": (marks[3], marks[2]),
        f"sub-2/BIDS2XNAT/{MANIFEST}": (marks[4],),
        f"sub-3/BIDS2XNAT/{MANIFEST}": (marks[5],),
    }


MARKS = st.builds(Mark, st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from(MarkKind), st.text())


@CALM
@given(st.sets(MARKS))
def test_a_manifest_says_what_was_written_in_any_order(marks: set[Mark]) -> None:
    written = write_manifest(marks)

    assert read_manifest(written) == tuple(sorted(marks))
    assert write_manifest(sorted(marks, reverse=True)) == written


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"marks": [{}]}', b'{"marks": [{"path": "a", "kind": "b"}]}', b"\xff", b'{"marks": 1}'],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(MappingError, match="manifest"):
        read_manifest(content)


# ------------------------------------------------------------------ what our table cannot have written


@pytest.mark.parametrize(
    "address",
    [
        Address(Node("sub-1", "sub-1_MR"), "1", "DICOM", "a.dcm"),
        Address(Node("sub-1", "sub-1_MR"), "1", "NIFTI", "a.nii"),
        Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "SNAPSHOTS", "a.gif"),
        Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "NIFTI", "qc.nii"),
        Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "NIFTI", "sub-1_T2w.nii"),
        Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "ASSOCIATED", "notes.txt"),
        Address(Node("sub-1", "sub-1_MR"), "anat_T1w", "EDF", "sub-1_T1w.edf"),
        Address(Node("sub-1", "sub-1_MR"), "eeg_eeg", "EDF", "sub-1_eeg.edf"),
        Address(Node("sub-1", "sub-2_MR"), "anat_T1w", "NIFTI", "sub-1_T1w.nii"),
        Address(Node("sub-1", "sub-1_MR_2"), "anat_T1w", "NIFTI", "sub-1_T1w.nii"),
        Address(Node("sub-1", "sub-1_CT"), "", "BIDS", "x"),
        Address(Node("XNAT_S0001", "sub-1_MR"), "anat_T1w", "NIFTI", "sub-1_T1w.nii"),
        Address(Node("john"), "", "BIDS", "x"),
        Address(Node("sub-1"), "", "LOGS", "x"),
        Address(Node("sub-1"), "", "BIDS2XNAT", "other.json"),
        Address(Node(), "", "SOURCE", "x"),
    ],
    ids=str,
)  # fmt: skip
def test_what_others_wrote_is_not_ours(address: Address) -> None:
    assert not is_ours(address, TABLE)


ADDRESSES = st.builds(
    Address,
    st.builds(Node, st.sampled_from(["", "sub-1", "sub-x", "s"]), st.sampled_from(["", "sub-1_MR", "sub-1_ses-a_EEG"])),
    st.one_of(st.just(""), st.sampled_from(["anat_T1w", "eeg_eeg", "1", "anat_"]), st.text(max_size=8)),
    st.one_of(st.sampled_from(["BIDS", "NIFTI", "ASSOCIATED", "DERIVATIVES_p", "BIDS2XNAT"]), st.text(max_size=8)),
    st.one_of(st.just("sub-1_T1w.nii"), st.text(min_size=1, max_size=12)),
)


@settings(CALM, max_examples=300)
@given(ADDRESSES)
def test_any_address_of_a_server_can_be_asked_about(address: Address) -> None:
    """Whoever wrote it; and where it is ours, the path belongs to the node's own folder or to a tree."""
    path, folder = path_of(address, TABLE), folder_of(address.node, TABLE)

    if path is not None:
        assert folder is not None
        assert is_ours(address, TABLE)
        assert path.startswith(folder) or path.partition("/")[0] in TABLE.trees


# ------------------------------------------------------------------ issues


def severities(paths: Iterable[str]) -> dict[str, Severity]:
    return {issue.path: issue.severity for issue in issues_of(paths)}


def test_scans_that_differ_only_in_case_are_an_error() -> None:
    [issue] = issues_of(["sub-1/func/sub-1_task-a_bold.nii", "sub-1/func/sub-1_task-A_bold.nii"])

    assert issue.severity is Severity.ERROR
    assert "func_task-a_bold" in issue.message
    assert "func_task-A_bold" in issue.message


def test_a_name_that_makes_too_long_an_id_is_an_error() -> None:
    path = f"sub-1/micr/sub-1_sample-{'x' * 255}_BF.png"

    assert severities([path]) == {path: Severity.ERROR}


def test_a_subject_whose_session_s_document_has_too_long_a_name_is_an_error() -> None:
    """XNAT stores it as <label>.xml; the copy of the description is not to blame."""
    paths = [f"sub-{'x' * length}/anat/a.txt" for length in (244, 245)]

    assert severities([*paths, DESCRIPTION]) == {paths[1]: Severity.ERROR}


def test_a_folder_whose_name_would_make_too_long_a_resource_shares_that_of_all() -> None:
    """XNAT stores the resource's catalog as <label>_catalog.xml."""
    fits, too_long = (f"derivatives/{'x' * length}/a.txt" for length in (231, 232))

    assert addresses(fits, too_long) == {
        fits: f"DERIVATIVES_{'x' * 231}/a.txt",
        too_long: f"DERIVATIVES/{'x' * 232}/a.txt",
    }
    assert {path_of(one.address, TABLE) for one in placed_in([fits, too_long]).values()} == {fits, too_long}


def test_data_that_becomes_no_scan_is_a_warning() -> None:
    paths = ["sub-1/anat/T1w.nii", "sub-1/sub-1_T1w.nii.gz", "sub-1/odd/sub-1_T1w.nii"]

    assert severities(paths) == dict.fromkeys(paths, Severity.WARNING)


def test_what_is_no_data_or_well_placed_is_no_issue() -> None:
    assert issues_of(path for path in SAMPLE_PATHS if path.startswith(("sub-", "derivatives/"))) == ()


def test_an_empty_folder_makes_no_experiment_of_its_own() -> None:
    """An empty ``func`` beside EEG alone would else become an MR session that holds nothing."""
    recording = BidsFile("sub-1/eeg/sub-1_task-a_eeg.edf", 0, b"")
    placement = place(Part("sub-1", (recording,), (Mark("sub-1/func", MarkKind.FOLDER),)), TABLE)
    assert [parcel.node for parcel in placement.parcels] == [Node("sub-1", "sub-1_EEG")]


def test_a_name_whose_subject_does_not_come_first_is_no_recording() -> None:
    """It would share a scan with the well-formed name."""
    names = ("sub-1_ses-a_T1w.nii", "ses-a_sub-1_T1w.nii")
    files = tuple(BidsFile(f"sub-1/ses-a/anat/{name}", 0, b"") for name in names)
    [parcel] = place(Part("sub-1", files), TABLE).parcels
    assert {placed.address.name: placed.address.scan for placed in parcel.files} == {
        names[0]: "anat_T1w",
        f"anat/{names[1]}": "",
    }
