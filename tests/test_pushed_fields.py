"""What XNAT shows of a pushed dataset in its own fields, and whose word counts afterwards."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
import requests
import xnat
from defusedxml import ElementTree

from tests.conftest import SHARED, Connect
from xnat_bids_push.archive import Archive, _shown
from xnat_bids_push.dataset import read
from xnat_bids_push.fields import Telling
from xnat_bids_push.model import CreateSubject, Dates, Node, SetFields, State
from xnat_bids_push.planning import same_value
from xnat_bids_push.pushing import plan, push
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.schema import Schema
from xnat_bids_push.server import LocalServer
from xnat_bids_push.tailoring import mapping_table

SESSION = Node("sub-01", "sub-01_MR")
SIDECAR = {"RepetitionTime": 2.0, "EchoTime": 0.03, "Manufacturer": "Ä & B <C>", "ImageType": ["ORIGINAL", "M"]}


@pytest.fixture
def told_root(small_root: Path) -> Path:
    """The small dataset, with something to tell."""
    (small_root / "participants.tsv").write_text(
        "participant_id\tsex\tage\tgroup\nsub-01\tF\t34\ta & b\nsub-02\tM\tn/a\tc\n"
    )
    (small_root / "sub-01/sub-01_scans.tsv").write_text(
        "filename\tacq_time\nanat/sub-01_T1w.nii.gz\t2018-09-18T10:11:12\n"
    )
    (small_root / "sub-01/func/sub-01_task-rest_bold.json").write_text(json.dumps(SIDECAR))
    return small_root


def pushed(root: Path, archive: Archive, *, telling: Telling | None = None, update_fields: bool = False) -> None:
    report = push(read(root), archive, telling=telling, update_fields=update_fields, pause=0)
    assert report.ok, report.failed


def scan_fields(archive: Archive, scan: str = "func_task-rest_bold") -> dict[str, str]:
    return dict(archive.shown(SESSION).scans[scan])


def write(server: LocalServer, archive: Archive, path: str, **fields: str) -> None:
    """What a curator writes in XNAT's own pages."""
    url = f"{server.url}/data/projects/{archive.project}/subjects/{path}"
    requests.put(url, params=fields, auth=(server.user, server.password), timeout=30).raise_for_status()


def test_scans_sessions_and_subjects_show_what_the_dataset_says(told_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        pushed(told_root, archive)
        shown, person = archive.shown(SESSION), archive.shown(Node("sub-01")).own

    bold = shown.scans["func_task-rest_bold"]
    assert (bold["parameters/tr"], bold["parameters/te"]) == ("2000.0", "30.0")
    assert bold["scanner/manufacturer"] == "Ä & B <C>"
    assert bold["parameters/imageType"] == "ORIGINAL\\M"
    assert (shown.own["date"], shown.own["time"]) == ("2018-09-18", "10:11:12")
    assert (person["demographics/gender"], person["demographics/age"], person["group"]) == ("female", "34", "a & b")


def test_xnatpy_reads_them_as_attributes(
    told_root: Path, open_project: Connect, server: LocalServer, project: str
) -> None:
    with open_project() as archive:
        pushed(told_root, archive)
    with xnat.connect(server.url, user=server.user, password=server.password) as client:
        session = client.projects[project].subjects["sub-01"].experiments["sub-01_MR"]
        scan = session.scans["func_task-rest_bold"]
        assert (scan.parameters.tr, scan.parameters.te) == (2000.0, 30.0)
        assert str(session.date) == "2018-09-18"
        assert client.projects[project].subjects["sub-01"].demographics.gender == "female"


def test_a_scan_that_comes_later_has_its_fields_too(told_root: Path, open_project: Connect) -> None:
    bold, sidecar = (told_root / f"sub-01/func/sub-01_task-rest_bold.{end}" for end in ("nii.gz", "json"))
    content, told = bold.read_bytes(), sidecar.read_text()
    bold.unlink()
    sidecar.unlink()
    with open_project() as archive:
        pushed(told_root, archive)
        bold.write_bytes(content)
        sidecar.write_text(told)
        report = push(read(told_root), archive, pause=0)
        # The events had no recording to go with before; that older copy is all that is left over.
        assert {finding.state for one in report.failed for finding in one.findings} <= {State.SAME, State.EXTRA}
        assert scan_fields(archive)["parameters/tr"] == "2000.0"


def test_what_a_curator_wrote_stays(told_root: Path, open_project: Connect, server: LocalServer) -> None:
    with open_project() as archive:
        pushed(told_root, archive)
        write(server, archive, "sub-01/experiments/sub-01_MR/scans/func_task-rest_bold", quality="questionable")
        write(server, archive, "sub-01/experiments/sub-01_MR", note="seen", date="2018-09-19")
        pushed(told_root, archive)
        assert scan_fields(archive)["quality"] == "questionable"
        assert archive.shown(SESSION).own["date"] == "2018-09-19"


def test_update_fields_sets_what_differs_and_nothing_else(
    told_root: Path, open_project: Connect, server: LocalServer
) -> None:
    with open_project() as archive:
        pushed(told_root, archive)
        write(server, archive, "sub-01/experiments/sub-01_MR/scans/func_task-rest_bold", quality="questionable")
        write(server, archive, "sub-01/experiments/sub-01_MR", note="seen", date="2018-09-19")
        write(server, archive, "sub-02", group="d")
        plans = list(plan(read(told_root), archive, update_fields=True))
        steps = [step for one in plans for step in one.steps]

        assert all(isinstance(step, SetFields) for step in steps)
        assert not any(one.settled for one in plans if one.steps)
        pushed(told_root, archive, update_fields=True)
        shown = archive.shown(SESSION)
        assert (shown.own["date"], shown.own["note"]) == ("2018-09-18", "seen")
        assert shown.scans["func_task-rest_bold"]["quality"] == "questionable"
        assert archive.shown(Node("sub-02")).own["group"] == "c"
        assert all(one.settled for one in plan(read(told_root), archive, update_fields=True))


def test_a_changed_sidecar_changes_fields_only_when_told_to(told_root: Path, open_project: Connect) -> None:
    table = told_root / "participants.tsv"
    with open_project() as archive:
        pushed(told_root, archive)
        table.write_text(table.read_text().replace("34", "35"))
        push(read(told_root), archive, pause=0)
        assert archive.shown(Node("sub-01")).own["demographics/age"] == "34"
        push(read(told_root), archive, update_fields=True, pause=0)
        assert archive.shown(Node("sub-01")).own["demographics/age"] == "35"


def test_what_does_not_fit_is_told_and_costs_nothing_else(told_root: Path, open_project: Connect) -> None:
    sidecar = told_root / "sub-01/func/sub-01_task-rest_bold.json"
    sidecar.write_text(json.dumps(SIDECAR | {"ProtocolName": "p" * 256, "ReceiveCoilName": "a\u0001b"}))
    with open_project() as archive:
        report = push(read(told_root), archive, pause=0)
        fields = scan_fields(archive)

    assert report.ok
    assert fields["parameters/tr"] == "2000.0"
    assert "protocolName" not in fields
    [issue] = [issue for issue in report.issues if issue.path.endswith("/protocolName")]
    assert "256 characters, and 255 are allowed" in issue.message
    assert "ProtocolName in sub-01_task-rest_bold.json" in issue.message


def test_people_are_told_of_only_as_far_as_wanted(told_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        pushed(told_root, archive, telling=Telling(demographics=False, dates=Dates.NONE))
        shown, person = archive.shown(SESSION), archive.shown(Node("sub-01")).own

    assert "date" not in shown.own
    assert not any(path.startswith("demographics") for path in person)
    assert "group" not in person


def test_a_subject_with_our_demographics_goes_and_one_with_others_stays(
    told_root: Path, open_project: Connect, server: LocalServer
) -> None:
    with open_project() as archive:
        pushed(told_root, archive)
        write(server, archive, "sub-02", gender="female")
        remove(plan_removal(read(told_root), archive), archive)
        assert set(archive.subjects()) == {"sub-02"}


def test_fields_cost_no_request(told_root: Path, open_project: Connect, server: LocalServer) -> None:
    with open_project() as archive:
        before = len(server.request_log)
        pushed(told_root, archive)
        requested = server.request_log[before:]
    made = re.compile(r"/data/projects/[^/]+/subjects/[^/]+")
    assert sum(method == "PUT" and made.fullmatch(path) is not None for method, path in requested) == 2
    assert sum("/schemas/" in path for _, path in requested) == 1
    assert sum("/import" in path for _, path in requested) == 2
    assert sum(method == "PUT" and "/experiments/" in path for method, path in requested) == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real scans of ../shared/real-bids")
def test_the_fields_of_real_scans_are_those_written_down_by_hand(
    open_project: Connect, server: LocalServer, project: str
) -> None:
    """Read back through xnatpy; the table was made from sidecars and headers with other tools."""
    expected = tomllib.loads((Path(__file__).parent / "real_bids_fields.toml").read_text("utf-8"))
    with open_project() as archive:
        report = push(read(SHARED / "real-bids"), archive)
        [told] = [one.message for one in report.issues if "data model does not have" in one.message]
        unknown = set(told.partition(" have ")[2].partition(": such")[0].split(", "))
    with xnat.connect(server.url, user=server.user, password=server.password) as client:
        for label, subject in client.projects[project].subjects.key_map.items():
            assert_shows(subject, expected["subjects"][label], unknown)
        for label, experiment in client.projects[project].experiments.key_map.items():
            assert_shows(experiment, expected["experiments"][label], unknown)
            scans = dict(expected["scans"][label])
            common = scans.pop("all")
            assert set(scans) == {scan.id for scan in experiment.scans.values()}
            for scan in experiment.scans.values():
                assert_shows(scan, common | scans[scan.id], unknown)


def assert_shows(item: object, expected: dict[str, str], unknown: set[str]) -> None:
    """Whether an object of xnatpy's has the expected fields, but for those that its server was said not to know."""
    shown = _shown(item.fulldata).own  # type: ignore[attr-defined]
    differing = {path: (value, shown.get(path)) for path, value in expected.items()}
    assert {
        path: pair for path, pair in differing.items() if path not in unknown and not same_value(pair[0], pair[1] or "")
    } == {}


def test_fields_that_the_server_refuses_all_the_same_do_not_cost_the_files(
    told_root: Path, open_project: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the server did not know what its own data model has."""
    document = resources.files("xnat_bids_push.server").joinpath("schema/xnat.xsd").read_text("utf-8")
    for kind in ("imageScanData", "subjectData"):
        front, begin, rest = document.partition(f'<xs:complexType name="{kind}">')
        document = front + begin + rest.replace("<xs:sequence>", '<xs:sequence><xs:element name="nosuch"/>', 1)
    monkeypatch.setattr(Archive, "schema", lambda _: Schema(ElementTree.fromstring(document)))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        '[fields."xnat:mrScanData"]\nnosuch = { from = "EchoTime" }\n'
        '[fields."xnat:subjectData"]\nnosuch = { from = "participant.group" }\n'
    )
    dataset = read(told_root, table=mapping_table(mapping))
    with open_project() as archive:
        report = push(dataset, archive, pause=0)
        assert report.ok, report.failed
        assert "date" not in archive.shown(SESSION).own

    told = {issue.path: issue.message for issue in report.issues if "refused" in issue.message}
    assert set(told) == {"sub-01", "sub-02", "sub-01_MR"}


def test_a_plan_tells_no_more_of_people_than_the_push_would(told_root: Path, open_project: Connect) -> None:
    with open_project() as archive:
        for telling, told in ((None, True), (Telling(demographics=False), False)):
            steps = [step for one in plan(read(told_root), archive, telling=telling) for step in one.steps]
            assert any(step.fields for step in steps if isinstance(step, CreateSubject)) == told
