"""The mapping table means what it says, or is refused with every fault named."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import pytest

from xnat_bids_push.errors import MappingError
from xnat_bids_push.mapping import path_of, place
from xnat_bids_push.model import BidsFile, Part
from xnat_bids_push.table import default_table, read_table

TABLE = default_table()
TOML = resources.files("xnat_bids_push").joinpath("mapping.toml").read_text("utf-8")


def changed(replacements: Mapping[str, str]) -> str:
    text = TOML
    for old, new in replacements.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


WRONG_ROWS = {
    'anat   = { modality = "MR",  ': ('anat = { modality = "XR",', "anat", "XR"),
    'formats = "nirs"': ('formats = "none"', "nirs", "formats"),
    "\nPET    = {": ("\nPet = {", "Pet"),
    "FIF = [": ('"F IF" = [', "F IF"),
    'beh    = { modality = "BEH",    ': ('beh_1 = { modality = "BEH",', "beh_1"),
    'resource = "SOURCEDATA"': ('resource = "DERIVATIVES_x"', "DERIVATIVES_x"),
    "KRISS = [": ("ASSOCIATED = [", "ASSOCIATED"),
    'stimuli     = { resource = "stimuli" }': ('stimuli = { resource = "code" }', "share a resource"),
    'resource = "phenotype"': ('resource = "pheno/type"', "pheno/type"),
}


def test_a_wrong_table_is_refused_with_every_fault_named() -> None:
    text = changed({old: row[0] for old, row in WRONG_ROWS.items()})

    with pytest.raises(MappingError) as caught:
        read_table(text)

    assert [word for _, *words in WRONG_ROWS.values() for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(("old", "row"), WRONG_ROWS.items(), ids=lambda one: one if isinstance(one, str) else "")
def test_each_fault_alone_is_refused(old: str, row: tuple[str, ...]) -> None:
    with pytest.raises(MappingError, match="wrong"):
        read_table(changed({old: row[0]}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[modalities]", "[modes]"),
        ("[formats.nifti]", "[forms.nifti]"),
        ("version = 1", "version = "),
        ('sidecar = "BIDS"', 'side = "BIDS"'),
        ('suffixes = ["nirs"]', 'suffixes = "nirs"'),
        ('aslcontext   = ["asl"]', 'aslcontext = "asl"'),
        ('ignoring = ["recording", "space"]', 'ignoring = "recording"'),
        ('SNIRF = [".snirf"]', 'SNIRF = ".snirf"'),
    ],
)
def test_a_table_that_cannot_mean_what_it_says_is_refused(old: str, new: str) -> None:
    with pytest.raises(MappingError):
        read_table(changed({old: new}))


def test_a_changed_table_changes_the_places() -> None:
    table = read_table(changed({'companion = "ASSOCIATED"': 'companion = "WITH"', "CTF = [": "MEGDS = ["}))
    files = tuple(BidsFile(f"sub-1/meg/sub-1_{name}", 0, b"") for name in ("channels.tsv", "meg.ds/a"))
    [parcel] = place(Part("sub-1", files), table).parcels

    assert {placed.address.resource for placed in parcel.files} == {"WITH", "MEGDS"}
    assert {path_of(placed.address, table) for placed in parcel.files} == {file.path for file in files}


def test_resources_have_the_format_and_content_that_nrg_s_tools_look_for() -> None:
    assert {label: TABLE.resource_attributes(label) for label in ("NIFTI", "BIDS", "EDF", "DERIVATIVES_prep")} == {
        "NIFTI": ("NIFTI", "NIFTI_RAW"),
        "BIDS": ("BIDS", "BIDS"),
        "EDF": ("EDF", "RAW"),
        "DERIVATIVES_prep": ("DERIVATIVES_prep", "RAW"),
    }
