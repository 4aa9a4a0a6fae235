"""Bad metadata costs its fields, and never the upload of anything."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import struct
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_data.generate import Entry, File, write
from tests.test_laws import assert_round_trip
from xnat_bids_push.connecting import connect
from xnat_bids_push.server import LocalServer

TOML = resources.files("xnat_bids_push").joinpath("mapping.toml").read_text("utf-8")
KEYS = sorted(set(re.findall(r'"([A-Z][A-Za-z0-9]+)"', TOML)) | {"EchoTime1", "EchoTime2", "FrameTimesStart"})
"""What sidecars are asked for, and some resources' labels."""

TEXTS = st.one_of(
    st.sampled_from(
        [
            *("", " \n", "a\x01b", "a\0b", "\ufffe", "\ud800", "é" * 300, "\U0001f9e0" * 200, "<a>&]]>", "1e400", "٣"),
            "n/a",
        ]
    ),
    st.text(max_size=8),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.floats(width=64),
    st.sampled_from([10**400, -(2**31), 2**31, 2**63, 3.5e38, 1e-300, -0.0, 1e22, 0.1 + 0.2]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)


def _for_all_keys(values: Iterable[object]) -> dict[str, object]:
    return dict(zip(KEYS, itertools.cycle(values), strict=False))


SIDECARS = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=30).map(lambda values: json.dumps(values).encode()),
    st.lists(NUMBERS | VALUES, min_size=3, max_size=12).map(lambda values: json.dumps(_for_all_keys(values)).encode()),
    st.sampled_from(
        [b"", b"{", b"[1]", b"null", b"[" * 2_000, b'{"EchoTime": ' + b"9" * 4_400 + b"}", b"\xff\xfe{\0}\0"]
    ),
)
CELLS = st.one_of(
    NUMBERS.map(str), TEXTS, st.sampled_from(["89+", "30-35", "F", "1_0", "2024-02-30T25:61:61", "1800-01-01"])
)
MOMENTS = (
    "0000-00-00T00:00:00",
    "9999-12-31T23:59:59.999999",
    "10000-01-01T00:00:00",
    "2024-01-01T00:00:00+14:00",
    "noon",
)


@st.composite
def _table(draw: st.DrawFn, key: str, value: str, columns: tuple[str, ...]) -> bytes:
    header = "\t".join([key, *columns])
    rows = [
        "\t".join([value, *draw(st.lists(CELLS, max_size=len(columns) + 1))]) for _ in range(draw(st.integers(0, 2)))
    ]
    return "\n".join([header, *rows]).encode(draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), "replace")


@st.composite
def _image(draw: st.DrawFn) -> bytes:
    """An image's header with a few numbers that nobody would write."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *draw(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=8, max_size=8)))
    struct.pack_into("<8f", header, 76, *draw(st.lists(st.floats(width=32), min_size=8, max_size=8)))
    struct.pack_into("<18f", header, 256, *draw(st.lists(st.floats(width=32), min_size=18, max_size=18)))
    header[40:42] = struct.pack("<h", draw(st.sampled_from([0, 3, 4, 4, 7, -1])))
    header[123] = draw(st.integers(0, 255))
    header[252] = header[254] = draw(st.integers(0, 2))
    header[344:348] = b"n+1\0"
    return bytes(header[: draw(st.sampled_from([352] * 5 + [0, 100, 347]))])


@st.composite
def _signal(draw: st.DrawFn) -> bytes:
    """An EDF header whose counts may be anything."""
    records, duration, channels = (
        draw(st.sampled_from([b"1", b"10", b"0", b"-1", b"nan", b"1e308", b"9" * 8, b"x", b""])) for _ in range(3)
    )
    head = b"0".ljust(8) + b"X".ljust(80) * 2 + b"01.01.8500.00.00" + b"512".ljust(8) + b" " * 44
    signal = b"A".ljust(16) + b" " * 80 + b"uV".ljust(8) + b"-1      1       -1      1       " + b" " * 80
    return head + records.ljust(8) + duration.ljust(8) + channels[:4].ljust(4) + signal + b"250".ljust(8) + b" " * 32


@st.composite
def _datasets(draw: st.DrawFn) -> dict[str, Entry]:
    content = {
        "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
        "participants.tsv": draw(
            _table("participant_id", "sub-01", ("age", "sex", "handedness", "weight", "height", "group", "race"))
        ),
        "participants.json": draw(SIDECARS),
        "sub-01/sub-01_scans.tsv": draw(_table("filename", "anat/sub-01_T1w.nii", ("acq_time", "operator"))),
        "sub-01/anat/sub-01_T1w.nii": draw(_image()),
        "sub-01/anat/sub-01_T1w.json": draw(SIDECARS),
        "task-a_bold.json": draw(SIDECARS),
        "sub-01/func/sub-01_task-a_bold.nii.gz": gzip.compress(draw(_image())),
        "sub-01/dwi/sub-01_dwi.nii.gz": draw(st.binary(max_size=20)),
        "sub-01/dwi/sub-01_dwi.bval": draw(st.sampled_from([b"0 1000 nan", b"1e400 -5", b"\xff", b"", b"0 1 " * 300])),
        "sub-01/pet/sub-01_pet.nii": draw(_image()),
        "sub-01/pet/sub-01_pet.json": draw(SIDECARS),
        "sub-01/eeg/sub-01_task-a_eeg.edf": draw(_signal()),
        "sub-01/eeg/sub-01_task-a_eeg.json": draw(SIDECARS),
        "sub-01/meg/sub-01_task-a_meg.fif": draw(st.binary(max_size=200)),
        "sub-01/micr/sub-01_sample-a_SEM.png": b"",
        "sub-01/micr/sub-01_sample-a_SEM.json": draw(SIDECARS),
        "samples.tsv": draw(_table("sample_id", "sample-a", ("participant_id", "sample_type"))),
    }
    return {path: File(data) for path, data in content.items()}


@pytest.mark.skipif(os.name == "nt", reason="links and executable bits are compared")
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(files=_datasets())
def test_bad_metadata_never_costs_an_upload(
    files: dict[str, Entry], server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    write(root, files.items())
    project = f"M{out.name.removeprefix('out')}"

    def open_project() -> object:
        return connect(server.url, project=project, user=server.user, password=server.password, create_project=True)

    assert_round_trip(root, out, open_project)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_odd_moment_never_costs_an_upload(moment: str, server: LocalServer, project: str, tmp_path: Path) -> None:
    rows = f"filename\tacq_time\nanat/sub-01_T1w.nii\t{moment}\n"
    content = {"sub-01/anat/sub-01_T1w.nii": "", "sub-01/sub-01_scans.tsv": rows, "dataset_description.json": "{}"}
    write(tmp_path / "in", {path: File(text.encode()) for path, text in content.items()}.items())

    def open_project() -> object:
        return connect(server.url, project=project, user=server.user, password=server.password, create_project=True)

    assert_round_trip(tmp_path / "in", tmp_path / "out", open_project)  # type: ignore[arg-type]
