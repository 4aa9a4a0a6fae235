"""What may tell who a participant is is seen before it leaves, is told without being quoted, and can be waived."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Connect, shared_dataset
from tests.test_cli import run
from xnat_bids_push.dataset import read
from xnat_bids_push.errors import ConfigError, DatasetError
from xnat_bids_push.identifying import (
    Findings,
    Grade,
    Guard,
    Hint,
    Waiver,
    has_real_date,
    privacy_rules,
    waiver_of,
)
from xnat_bids_push.model import BidsFile, Privacy, Severity
from xnat_bids_push.privacy import look_into, read_waiver
from xnat_bids_push.pushing import push, survey, verify

NAME, BIRTH, MAIL = "Doe^Jane", "1984-05-06", "jane@example.org"
IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in ("XNAT_HOST", "XNAT_USER", "XNAT_PASS", "XNATPY_HOST", "XNATPY_USER", "XNATPY_PASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("BIDS2XNAT_ARCHIVE", str(tmp_path / "archive"))


def seen(path: str, content: bytes, *, waiver: Waiver | None = None) -> Findings:
    found = Findings(waiver)
    look_into([BidsFile(path, len(content), content)], found)
    return found


def kinds(path: str, content: bytes | str | object) -> set[str]:
    """The kinds of what one file shows."""
    raw = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    return set(seen(path, raw.encode() if isinstance(raw, str) else raw).sums)


def nifti(*, extensions: bytes = b"", order: str = "<", **texts: str) -> bytes:
    head = bytearray(348)
    struct.pack_into(f"{order}i", head, 0, 348)
    head[344:348] = b"n+1\0"
    for name, (start, length) in {
        "db_name": (14, 18), "descrip": (148, 80), "aux_file": (228, 24), "intent_name": (328, 16)
    }.items():  # fmt: skip
        text = texts.get(name, "").encode()[:length]
        head[start : start + len(text)] = text
    return bytes(head) + (b"\1\0\0\0" + extensions if extensions else b"\0\0\0\0")


def extension(code: int, text: bytes) -> bytes:
    body = text + bytes(-(len(text) + 8) % 16)
    return struct.pack("<2i", len(body) + 8, code) + body


def gzipped(content: bytes, *, name: str = "", comment: str = "") -> bytes:
    flags = (8 if name else 0) | (16 if comment else 0)
    plain = gzip.compress(content, mtime=0)
    words = b"".join(word.encode("latin-1") + b"\0" for word in (name, comment) if word)
    return plain[:3] + bytes([flags]) + plain[4:10] + words + plain[10:]


def edf(patient: str = "X X X X", recording: str = "Startdate X X X X", start: str = "01.01.85") -> bytes:
    return f"{'0':8}{patient:80}{recording:80}{start:8}".ljust(256).encode()


def fif(*tags: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">iiii", kind, 10, len(data), 0) + data for kind, data in tags)


# ------------------------------------------------------------------ each kind of place


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"PatientName": NAME}, {"name"}),
        ({"patient_name": "Jane"}, {"name"}),
        ({"PatientID": "H12345"}, {"identifier"}),
        ({"PatientBirthDate": BIRTH}, {"birth"}),
        ({"PatientBirthDate": "19840506"}, {"birth"}),
        ({"AcquisitionDateTime": "2011-03-04T10:11:12.5"}, {"date"}),
        ({"StudyDate": "20110304"}, {"date"}),
        ({"InstitutionAddress": "Street 1"}, {"place"}),
        ({"DeviceSerialNumber": 45027}, {"device"}),
        ({"Contact": f"ask {MAIL}"}, {"contact"}),
        ({"global": {"const": {"OperatorsName": ["smith"]}}}, {"name"}),
        ({"SeriesInstanceUID": "1.2.840.1"}, {"uid"}),
        ({"ImageComments": "left handed"}, {"text"}),
        ({"PatientName": "anonymous", "PatientID": "sub-01", "StudyDate": "1911-03-04"}, set()),
        ({"PatientName": "01", "PatientID": "n/a", "PatientBirthDate": ""}, set()),
        ({"TaskName": "rest", "EchoTime": 0.03, "AcquisitionTime": "10:11:12", "Anonymized": True}, set()),
        ([], set()),
    ],
)
def test_keys_of_sidecars(content: object, expected: set[str]) -> None:
    assert kinds("sub-01/anat/sub-01_T1w.json", content) == expected


@pytest.mark.parametrize(
    ("path", "table", "expected"),
    [
        ("participants.tsv", "participant_id\tage\nsub-01\t30\n", set()),
        ("participants.tsv", f"participant_id\tdate_of_birth\nsub-01\tn/a\nsub-02\t{BIRTH}\n", {"birth"}),
        ("participants.tsv", "participant_id\tfirst_name\nsub-01\tJane\n", {"name"}),
        ("participants.tsv", "participant_id\tage\nsub-01\t93\n", {"age"}),
        ("participants.tsv", "participant_id\tage\nsub-01\t89+\n", set()),
        ("participants.tsv", f"participant_id\tx\nsub-01\t{MAIL}\n", {"contact"}),
        ("participants.tsv", "participant_id\tnotes\nsub-01\tneighbour of Jane\n", {"text"}),
        ("sub-01/sub-01_scans.tsv", "filename\tacq_time\na\t2011-03-04T10:00:00\n", {"date"}),
        ("sub-01/sub-01_scans.tsv", "filename\tacq_time\na\t1911-03-04T10:00:00\n", set()),
        ("sub-01/sub-01_sessions.tsv", "session_id\twhen\nses-1\t04.03.2011\n", {"date"}),
        ("sub-01/sub-01_scans.tsv", "filename\toperator\na\tJD\n", {"staff"}),
        ("phenotype/quiz.tsv", "participant_id\tsurname\nsub-01\tDoe\n", {"name"}),
        ("sub-01/eeg/sub-01_channels.tsv", "name\ttype\nFp1\tEEG\n", set()),
        ("sub-01/eeg/sub-01_events.tsv", f"onset\twho\n1\t{MAIL}\n", {"contact"}),
        ("sub-01/eeg/sub-01_events.tsv", "onset\twhen\n1\t2011-03-04\n", {"date"}),
        ("participants.tsv", "\ufeffparticipant_id\tName\r\nsub-01\tJane\r\n", {"name"}),
        ("participants.tsv", "participant_id\n\tshort\n", set()),
    ],
)
def test_columns_of_tables(path: str, table: str, expected: set[str]) -> None:
    assert kinds(path, table) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (nifti(descrip="TE=2.1;Time=103015.920;phase=1"), set()),
        (nifti(descrip="5.0.11 2011-03-04"), {"date"}),
        (nifti(aux_file=NAME), {"name"}),
        (nifti(db_name="H12345"), {"identifier"}),
        (nifti(db_name="?TR:2000.000 TE:3"), set()),
        (nifti(db_name="01"), set()),
        (nifti(intent_name=MAIL[:16], order=">"), {"contact"}),
        (nifti(extensions=extension(2, b"whatever")), {"dicom"}),
        (nifti(extensions=extension(6, b"a comment")), {"text"}),
        (
            nifti(extensions=extension(4, b"<AFNI>jane@host.example.org</AFNI>") + extension(2, b"x")),
            {"contact", "dicom"},
        ),
        (nifti(extensions=struct.pack("<2i", 0, 2)), set()),
        (b"not an image", set()),
        (b"", set()),
        (nifti()[:100], set()),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_of_images(content: bytes, expected: set[str], *, packed: bool) -> None:
    if packed:
        assert kinds(IMAGE, gzip.compress(content)) == expected
    else:
        assert kinds(IMAGE.removesuffix(".gz"), content) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"name": "sub-01_T1w.nii"}, set()),
        ({"name": "/data/sub-01_T1w.nii.gz"}, set()),
        ({"name": "scan7.nii"}, {"source"}),
        ({"name": "DOE^JANE.nii"}, {"name"}),
        ({"name": "C:\\data\\20110304.nii"}, {"date"}),
        ({"comment": "by hand"}, {"text"}),
    ],
)
def test_headers_of_gzip(words: dict[str, str], expected: set[str]) -> None:
    packed = gzipped(nifti(), **words)
    assert gzip.decompress(packed) == nifti()

    assert kinds(IMAGE, packed) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (edf(), set()),
        (edf("H123 F 06-MAY-1984 Jane_Doe"), {"identifier", "birth", "name"}),
        (edf("01 F X X"), set()),
        (edf("Jane Doe"), {"name"}),
        (edf(recording="Startdate 04-MAR-2011 X X X"), {"date"}),
        (edf(start="04.03.11"), {"date"}),
        (b"x" * 256, set()),
    ],
)
@pytest.mark.parametrize("extension", ["edf", "bdf"])
def test_headers_of_edf_and_bdf(content: bytes, expected: set[str], extension: str) -> None:
    assert kinds(f"sub-01/eeg/sub-01_task-rest_eeg.{extension}", content) == expected


def test_markers_of_brainvision() -> None:
    marked = "Brain Vision\n[Marker Infos]\nMk1=New Segment,,1,1,0,{}\n"

    assert kinds("sub-01/eeg/sub-01_eeg.vmrk", marked.format("20110304101112000000")) == {"date"}
    assert kinds("sub-01/eeg/sub-01_eeg.vmrk", marked.format("00000000000000000000")) == set()


def test_subjects_of_fif(tmp_path: Path) -> None:
    born = (date(1984, 5, 6).toordinal() + 1_721_425).to_bytes(4, "big")
    path = tmp_path / "x.fif"
    path.write_bytes(fif((100, bytes(20)), (401, b"Jane"), (404, born), (204, struct.pack(">ii", 1_299_233_472, 0))))
    found = Findings()

    look_into([BidsFile("sub-01/meg/sub-01_meg.fif", path.stat().st_size, str(path))], found)

    assert set(found.sums) == {"name", "birth", "date"}


def test_dicom_is_told_by_itself() -> None:
    assert kinds("sourcedata/sub-01/1.dcm", bytes(128) + b"DICM") == {"dicom"}
    assert kinds("sourcedata/sub-01/1.dcm", b"no") == set()


def test_a_session_that_is_called_by_its_date() -> None:
    assert kinds("sub-01/ses-20180918/anat/sub-01_ses-20180918_T1w.nii", nifti()) == {"date"}
    assert kinds("sub-01/ses-2018/anat/sub-01_ses-2018_T1w.nii", nifti()) == set()


def test_authors_of_a_dataset_are_no_participants() -> None:
    assert kinds("dataset_description.json", {"Name": "x", "Contact": MAIL, "PatientName": NAME}) == set()
    assert kinds("atlas-X_description.json", {"License": f"ask {MAIL}"}) == set()


# ------------------------------------------------------------------ laws


@given(st.dates(min_value=date(1925, 1, 1), max_value=date(2099, 12, 31)), st.sampled_from(["%Y-%m-%d", "%Y%m%d",
       "%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%b-%Y"]), st.text("abc ;=", max_size=5))  # fmt: skip
def test_a_date_is_known_in_every_form(day: date, form: str, around: str) -> None:
    assert has_real_date(f"{around}{day.strftime(form)}{around}")


@given(st.dates(min_value=date(1800, 1, 1), max_value=date(1924, 12, 31)))
def test_a_shifted_date_is_none(day: date) -> None:
    assert not has_real_date(day.isoformat())


@given(st.binary(max_size=600), st.sampled_from(["json", "tsv", "nii", "nii.gz", "edf", "vmrk", "tsv.gz", "dcm"]))
def test_no_content_whatever_is_an_error(content: bytes, extension: str) -> None:
    kinds(f"sub-01/x/sub-01_x.{extension}", content)


@given(st.text(min_size=4, alphabet=st.characters(categories=["Lu", "Ll"])))
def test_a_value_is_never_quoted(value: str) -> None:
    content = json.dumps({"PatientName": f"{value}^{value}", "PatientID": f"{value}7", "Who": MAIL}).encode()
    found = seen("sub-01/anat/sub-01_T1w.json", content)
    told = " ".join(issue.message for issue in found.issues(Privacy.WARN)) + json.dumps(found.to_json())

    assert f"{value}^{value}" not in told
    assert f"{value}7" not in told
    assert MAIL not in told


def test_deep_and_large_sidecars_end() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    many = json.dumps({"list": [{"PatientName": NAME}] * 100_000}).encode()

    assert kinds("sub-01/anat/sub-01_T1w.json", deep) == set()
    assert kinds("sub-01/anat/sub-01_T1w.json", many[: 1 << 20]) == set()


def test_what_is_found_does_not_grow_with_the_dataset() -> None:
    found = Findings()
    for number in range(10_000):
        content = b'{"PatientName": "Jane"}'
        look_into([BidsFile(f"sub-{number}/anat/sub-{number}_T1w.json", len(content), content)], found)

    [issue] = found.issues(Privacy.WARN)
    assert "9,999 more files" in issue.message
    assert len(found.sums["name"].first) == 3


def test_every_kind_is_a_row() -> None:
    rules = privacy_rules()

    assert {*rules.sidecar.values(), *rules.columns.values()} <= rules.kinds.keys()


# ------------------------------------------------------------------ what becomes of it


@pytest.fixture
def telling_root(small_root: Path) -> Path:
    """A dataset that names somebody, and a device."""
    (small_root / "sub-01/anat/sub-01_T1w.json").write_text(
        json.dumps({"PatientName": NAME, "DeviceSerialNumber": "1"})
    )
    return small_root


def test_it_is_told_before_anything_leaves_and_in_the_report(
    telling_root: Path, open_project: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", telling_root, "DEMO", "--validation", "off") == 0
    said = capsys.readouterr()
    assert "sub-01/anat/sub-01_T1w.json: holds the name of a person (in PatientName) [name]" in said.err
    assert NAME not in said.err + said.out
    assert "device" not in said.err

    with open_project() as archive:
        report = push(read(telling_root), archive, guard=Guard())
        assert report.to_json()["privacy"] == {
            "found": {"device": {"files": 1, "waived": 0}, "name": {"files": 1, "waived": 0}},
            "waiver": None,
        }
        assert verify(read(telling_root), archive).privacy == {"found": {}, "waiver": None}


def test_require_stops_before_the_first_write(
    telling_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], open_project: Connect
) -> None:
    assert run("push", telling_root, "DEMO", "--validation", "off", "--privacy", "require") == 3
    assert "--privacy-waiver" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()

    with open_project() as archive:
        with pytest.raises(DatasetError, match="the name of a person"):
            push(read(telling_root), archive, guard=Guard(Privacy.REQUIRE))
        assert archive.subjects() == {}


def test_what_is_indirect_is_told_and_does_not_stop(telling_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (telling_root / "sub-01/anat/sub-01_T1w.json").write_text('{"DeviceSerialNumber": "1"}')

    assert run("push", telling_root, "DEMO", "--validation", "off", "--privacy", "require") == 0
    assert "warning: sub-01/anat/sub-01_T1w.json: holds the serial number" in capsys.readouterr().err


def test_a_waiver_lets_through_what_it_covers_and_is_recorded(
    telling_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiver = tmp_path / "waiver.toml"
    waiver.write_text(
        'who = "Data manager"\nwhen = "2026-01-31"\nwhy = "consent form B"\nkinds = ["name"]\npaths = ["sub-01/*"]\n'
    )
    options = ("--validation", "off", "--privacy", "require", "--privacy-waiver", waiver)

    assert run("push", telling_root, "DEMO", *options, "--json") == 0
    *_, report = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert report["privacy"]["found"]["name"] == {"files": 0, "waived": 1}
    assert report["privacy"]["waiver"]["who"] == "Data manager"

    (telling_root / "sub-02/anat/sub-02_T1w.json").write_text(json.dumps({"PatientName": NAME}))
    assert run("push", telling_root, "DEMO", *options) == 3
    assert "sub-02/anat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"who": "me", "when": "now"}, "does not say why"),
        ({"who": "me", "when": "now", "why": "so", "kind": ["name"]}, "there is no 'kind'"),
        ({"who": "me", "when": "now", "why": "so", "kinds": ["nmae"]}, "there is no kind 'nmae'"),
        ({"who": "me", "when": "now", "why": "so", "paths": "all"}, "paths is no list"),
    ],
)
def test_a_waiver_says_who_when_and_why(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        waiver_of(content, privacy_rules().kinds)


@pytest.mark.parametrize(
    ("name", "content"), [("a.toml", b"who ="), ("a.json", b"["), ("a.json", b"\xff"), ("no", None)]
)
def test_a_waiver_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="--privacy-waiver"):
        read_waiver(tmp_path / name)


def test_off_looks_into_nothing(telling_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Findings, *what: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Findings, "add", fail)
    survey(read(telling_root), guard=Guard(Privacy.OFF))


def test_real_data_is_told_of_rightly() -> None:
    root = shared_dataset("real-bids")
    found = survey(read(root), guard=Guard()).privacy

    assert set(found.sums) == {"date", "place", "device"}


def test_identifying_is_what_stops() -> None:
    grades = {name for name, kind in privacy_rules().kinds.items() if kind.grade is Grade.IDENTIFYING}
    found = Findings()
    for kind in privacy_rules().kinds:
        found.sums.clear()
        found.add("x", _hints(kind))
        [issue] = found.issues(Privacy.REQUIRE)
        assert bool(list(found.issues(Privacy.WARN))) == (kind in grades)
        assert (issue.severity is Severity.ERROR) == (kind in grades)


def _hints(kind: str) -> Iterator[Hint]:
    yield Hint(kind, "somewhere")
