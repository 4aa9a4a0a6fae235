"""What the archive shows of what it holds: documents, listings, downloads."""

from __future__ import annotations

import csv
import io
import zipfile

import pytest
import requests
from lxml import etree

from .conftest import World, make_zip

SUBJECT = {
    "gender": "male",
    "dob": "2000-01-01",
    "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/weight": "70.5",
    "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/weight/units": "kg",
    "xnat:subjectData/fields/field[name=a]/field": "v",
    "xnat:subjectData/addID[name=q]/addID": "77",
    "pi_lastname": "Doe",
}
SESSION = {
    "time": "10:00:00",
    "scanner": "Prisma",
    "xnat:mrSessionData/scanner/manufacturer": "S",
    "xnat:mrSessionData/fields/field[name=a]/field": "v",
    "xnat:mrSessionData/delay": "3",
    "validation_method": "m",
}
SCAN = {
    "note": "n",
    "frames": "3",
    "scanTime": "10:11:12",
    "xnat:mrScanData/parameters/tr": "2.5",
    "xnat:mrScanData/parameters/voxelRes/x": "1",
    "xnat:mrScanData/parameters/voxelRes/units": "mm",
    "xnat:mrScanData/parameters/addParam[name=k]/addField": "v",
}


@pytest.fixture
def full(world: World) -> World:
    """A tree in which every kind of field is set."""
    world.owner("PUT", "/data/projects/{P}", description="d", alias=f"alias-{world.project}", pi_lastname="Doe")
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", query=SUBJECT)
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01/experiments/ses-01", query=SESSION)
    world.owner("PUT", world.scan, query=SCAN)
    world.upload("dir/a.txt", b"hello", tags="x,y", content="T1w")
    return world


def _addresses(world: World) -> list[str]:
    session = f"/data/experiments/{world.session}"
    return ["/data/projects/{P}", "/data/projects/{P}/subjects/sub-01", session, world.scan]


def test_documents_keep_to_the_schema_that_is_served(full: World) -> None:
    schema = etree.XMLSchema(etree.fromstring(full.owner("GET", "/xapi/schemas/xnat").content))

    for address in _addresses(full):
        schema.assertValid(etree.fromstring(full.owner("GET", address, format="xml").content))


def test_a_document_can_be_put_back_as_it_came(full: World) -> None:
    address = "/data/projects/{P}/subjects/sub-01/experiments/ses-01"
    before = full.owner("GET", address, format="json").json()

    document = full.owner("GET", address, format="xml").content
    assert full.owner("PUT", address, document, headers={"Content-Type": "text/xml"}).status_code == 200

    assert full.owner("GET", address, format="json").json() == before


def test_a_project_answers_to_its_alias(full: World) -> None:
    assert full.owner.fields(f"/data/projects/alias-{full.project}")["ID"] == full.project


@pytest.mark.parametrize("listing", ["subjects", "experiments", "files", "resources"])
def test_tables_are_the_same_in_every_format(full: World, listing: str) -> None:
    address = f"/data/projects/{{P}}/{listing}"
    rows = full.owner.rows(address)

    text = full.owner("GET", address, format="csv").text

    assert list(csv.DictReader(io.StringIO(text))) == rows
    assert full.owner("GET", address, format="xml").headers["Content-Type"] == "text/xml"
    assert full.owner("GET", address, format="html").headers["Content-Type"] == "text/html"


def test_columns_may_be_short_names_or_paths(full: World) -> None:
    columns = "label,gender,xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/weight,nosuch"

    (row,) = full.owner.rows("/data/projects/{P}/subjects", columns=columns)

    assert (row["label"], row["gender"], row["weight"]) == ("sub-01", "male", "70.5")
    assert set(row) == {"ID", "label", "gender", "weight", "URI"}


@pytest.mark.parametrize("listing", ["projects", "projects/{P}/subjects"])
def test_listings_always_show_the_id(full: World, listing: str) -> None:
    assert "ID" in full.owner.rows(f"/data/{listing}", columns="URI")[0]


def test_listings_can_be_filtered(full: World) -> None:
    full.owner("PUT", "/data/projects/{P}/subjects/other")

    assert [row["label"] for row in full.owner.rows("/data/projects/{P}/subjects", label="sub-*")] == ["sub-01"]
    assert full.owner.rows("/data/projects/{P}/experiments", subject_label="other") == []


@pytest.mark.parametrize(("query", "expected"), [("limit=1", 1), ("limit=2&offset=2", 1), ("limit=*&offset=1", 3)])
def test_listings_can_be_fetched_in_parts(world: World, query: str, expected: int) -> None:
    for name in ("a", "b"):
        world.owner("PUT", f"/data/projects/{{P}}/subjects/{name}/experiments/{name}", xsiType="xnat:mrSessionData")

    subjects = world.owner("GET", f"/data/projects/{{P}}/subjects?{query}").json()["ResultSet"]
    assert (len(subjects["Result"]), subjects["totalRecords"]) == (expected, str(expected))
    experiments = world.owner("GET", f"/data/projects/{{P}}/experiments?{query}").json()["ResultSet"]
    assert (len(experiments["Result"]), "totalRecords" in experiments) == (expected, False)
    assert world.owner("GET", "/data/experiments?limit=few").status_code == 500


def test_the_listing_of_the_site_shows_subjects_of_sessions(world: World) -> None:
    (row,) = world.owner.rows("/data/experiments", project=world.project, xsiType="xnat:mrSessionData")
    assert (row["subject_ID"], row["subject_label"]) == (world.subject, "sub-01")
    (row,) = world.owner.rows("/data/experiments", project=world.project)
    assert "subject_ID" not in row


def test_tags_can_be_given_one_by_one(world: World) -> None:
    world.upload("a.txt?tags=x&tags=y")

    assert [row["file_tags"] for row in world.owner.rows(world.files)] == ["x,y"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9", "text/html"),
        ("text/xml", "text/xml"),
        ("application/json", "application/json"),
    ],
)
def test_the_first_accepted_type_counts(world: World, accept: str, kind: str) -> None:
    assert world.owner("GET", world.scan, headers={"Accept": accept}).headers["Content-Type"] == kind


def test_parts_of_files_can_be_fetched(full: World) -> None:
    part = full.owner("GET", f"{full.files}/dir/a.txt", headers={"Range": "bytes=-3"})

    assert (part.status_code, part.text, part.headers["Content-Range"]) == (206, "llo", "bytes 2-4/5")


def test_files_can_be_found_by_content_and_number(full: World) -> None:
    full.upload("b.txt", b"other")

    assert [row["Name"] for row in full.owner.rows(full.files, file_content="T1w")] == ["a.txt"]
    assert full.owner("GET", full.files, file_content="T1w", index="0").text == "hello"
    assert full.owner("GET", full.files, file_content="T1w", index="1").status_code == 404
    assert full.owner.rows(full.files, locator="projectPath")[0]["projectPath"].startswith(
        "arc001/ses-01/SCANS/1/NIFTI/"
    )


@pytest.mark.parametrize(("form", "kind"), [("zip", "application/zip"), ("tar", "application/x-tar")])
def test_nothing_is_no_archive(world: World, form: str, kind: str) -> None:
    assert world.owner("GET", f"{world.scan}/files", format=form).status_code == 404
    world.upload("a.txt")
    assert world.owner("GET", f"{world.scan}/files", format=form).headers["Content-Type"] == kind


def test_the_counts_of_a_resource_follow_its_files(world: World) -> None:
    def counts() -> tuple[str, str]:
        (row,) = world.owner.rows(f"{world.scan}/resources")
        return row["file_count"], row["file_size"]

    world.owner("PUT", f"{world.scan}/resources/NIFTI")
    assert counts() == ("", "")
    world.upload("a.txt")
    assert counts() == ("1", "5")
    world.upload("a.txt", b"x", overwrite="true")
    assert counts() == ("1", "1")
    world.owner("DELETE", f"{world.files}/a.txt")
    assert counts() == ("0", "0")


@pytest.mark.parametrize("level", ["/data/projects/{P}", "/data/projects/{P}/subjects/sub-01", "session", "scan"])
def test_every_level_has_resources(world: World, level: str) -> None:
    base = {"session": f"/data/experiments/{world.session}", "scan": world.scan}.get(level, level)

    assert world.owner("PUT", f"{base}/resources/R").status_code == 200
    assert world.owner("PUT", f"{base}/resources/R").status_code == 409
    assert world.owner("PUT", f"{base}/resources/R/files/a/b.txt", b"x", inbody="true").status_code == 200
    assert [row["Name"] for row in world.owner.rows(f"{base}/files")] == ["b.txt"]
    assert world.owner("GET", f"{base}/resources/R").headers["Content-Type"] == "text/xml"
    assert world.owner("DELETE", f"{base}/resources/R").status_code == 200
    assert world.owner.rows(f"{base}/resources") == []


def _members(answer: requests.Response) -> set[str]:
    return set(zipfile.ZipFile(io.BytesIO(answer.content)).namelist())


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        ("", "ses-01/scans/1-a__b__/resources/NIFTI/files/files/a.txt"),
        ("simplified", "ses-01/scans/1/NIFTI/a.txt"),
        ("improved", "scans/1_a, b__/NIFTI/files/a.txt"),
        ("legacy", "ses-01/SCANS/1/NIFTI/files/a.txt"),
    ],
)
def test_archives_are_laid_out_as_asked(world: World, structure: str, expected: str) -> None:
    world.owner("PUT", world.scan, type="a, b:?")
    world.upload("files/a.txt")

    found = _members(world.owner("GET", f"{world.scan}/files", format="zip", structure=structure))

    assert found == {expected}


@pytest.mark.parametrize(
    ("level", "query", "expected"),
    [
        ("/data/projects/{P}", {"structure": "improved"}, "resources/R/a.txt"),
        ("/data/projects/{P}", {"structure": "legacy"}, "{P}/resources/R/a.txt"),
        ("/data/projects/{P}/subjects/sub-01", {"structure": "simplified"}, "sub-01/R/a.txt"),
        ("/data/projects/{P}/subjects/sub-01", {"structure": "legacy"}, "sub-01/R/a.txt"),
        ("/data/experiments/{E}", {}, "ses-01/resources/R/files/a.txt"),
        ("/data/experiments/{E}", {"structure": "improved"}, "resources/{E}_ /R/a.txt"),
        ("/data/experiments/{E}", {"structure": "improved", "all": "true"}, "resources/R/a.txt"),
        ("/data/experiments/{E}", {"structure": "legacy"}, "ses-01/RESOURCES/R/a.txt"),
    ],
)
def test_archives_of_every_level(world: World, level: str, query: dict[str, str], expected: str) -> None:
    names = {"{P}": world.project, "{E}": world.session}
    for name, value in names.items():
        level, expected = level.replace(name, value), expected.replace(name, value)
    world.owner("PUT", f"{level}/resources/R/files/a.txt", b"x", inbody="true")

    assert _members(world.owner("GET", f"{level}/files", query={"format": "zip", **query})) == {expected}


def test_a_folder_or_a_file_can_be_packed_by_itself(world: World) -> None:
    for name in ("d/a.txt", "d/b.txt", "c.zip"):
        world.upload(name)

    assert _members(world.owner("GET", f"{world.files}/d/", format="zip")) == {"d/a.txt", "d/b.txt"}
    assert _members(world.owner("GET", f"{world.files}/d/a.txt", format="zip")) == {"a.txt"}
    assert world.owner("GET", f"{world.files}/c.zip", format="zip").text == "hello"


def test_a_folder_called_like_an_archive_cannot_be_read(world: World) -> None:
    world.upload("foo.zip/a.txt")
    world.upload("b.zip", make_zip({"in/a.html": "<p>"}))

    assert world.owner("GET", f"{world.files}/foo.zip/a.txt").status_code == 404
    assert _members(world.owner("GET", world.files, format="zip")) > {"ses-01/scans/1-T1w/resources/NIFTI/files/b.zip"}
    inner = world.owner("GET", f"{world.files}/b.zip/in/a.html")
    assert (inner.text, inner.headers["Content-Type"]) == ("<p>", "text/html")
    assert world.owner("GET", f"{world.files}/b.zip!/nope").status_code == 404


def test_who_says_that_there_is_no_file_depends_on_the_address(world: World) -> None:
    world.upload("a.txt")

    assert "Unable to find file." in world.owner("GET", f"{world.scan}/files/b.txt").text
    assert "Unable to find file." not in world.owner("GET", f"{world.files}/b.txt").text
    assert world.owner("GET", f"{world.scan}/resources/NOPE/files/b.txt?accept-not-found=true").status_code == 204
    assert world.owner.rows(f"{world.files}/nothing/") == []


def test_files_without_content_can_be_asked_for(world: World) -> None:
    world.upload("a.txt", content="x")
    world.upload("b.txt")

    assert [row["Name"] for row in world.owner.rows(f"{world.files}?file_content=NULL")] == ["b.txt"]
    assert len(world.owner.rows(f"{world.files}?file_content=NULL&file_content=x")) == 2


def test_files_from_several_resources_are_addressed_by_their_session(world: World) -> None:
    world.upload("a.txt")
    session = "/data/projects/{P}/subjects/sub-01/experiments/ses-01"

    (row,) = world.owner.rows(f"{session}/files", all="true")
    assert row["URI"].startswith(f"{world.scan}/resources/")
    (row,) = world.owner.rows(f"{session}/scans/1/resources/NIFTI/files")
    assert row["URI"].startswith(f"/data/projects/{world.project}/subjects/{world.subject}/experiments/")
    assert len(world.owner.rows(f"{session},ses-01/files", all="true")) == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"date": "01/01/2020-12/31/2020"}, ["ses-01"]),
        ({"date": "20200102"}, ["ses-01"]),
        ({"date": "01/03/2020-12/31/2020,01/02/2020"}, ["ses-01"]),
        ({"date": "01/03/2020-12/31/2020"}, []),
        ({"xnat:subjectAssessorData/age": "30-40"}, ["ses-01"]),
        ({"xnat:subjectAssessorData/age": "34.5"}, ["ses-01"]),
        ({"xnat:subjectAssessorData/age": "35-40,1"}, []),
        ({"insert_date": "01/01/2020-01/01/2120"}, ["other", "ses-01"]),
        ({"label": "ses-%"}, ["ses-01"]),
        ({"label": "SES-01"}, []),
        ({"note": "n"}, ["ses-01"]),
        ({"time": "10:00:00"}, ["ses-01"]),
    ],
)
def test_filters_know_ranges_of_numbers_and_dates(world: World, query: dict[str, str], found: list[str]) -> None:
    session = "/data/projects/{P}/subjects/sub-01/experiments"
    world.owner("PUT", f"{session}/other", xsiType="xnat:mrSessionData")
    world.owner("PUT", f"{session}/ses-01", query={"xnat:mrSessionData/age": "34.5", "note": "n", "time": "10:00"})

    rows = world.owner.rows("/data/projects/{P}/experiments", query={"format": "json", "columns": "label", **query})

    assert sorted(row["label"] for row in rows) == found


@pytest.mark.parametrize("query", [{"date": "2020-01-02"}, {"age": "old"}, {"yob": "-5"}, {"dob": "2000-01-01"}])
def test_what_cannot_be_compared_fails(world: World, query: dict[str, str]) -> None:
    listing = "experiments" if "date" in query else "subjects"

    assert world.owner("GET", f"/data/projects/{{P}}/{listing}", query=query).status_code == 500


def test_subjects_can_be_found_by_their_age(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", age="34")
    world.owner("PUT", "/data/projects/{P}/subjects/sub-02", age="50")
    path = "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/age"

    for name in ("age", path):
        query = {"format": "json", "columns": "label", name: "30-40"}
        assert [row["label"] for row in world.owner.rows("/data/projects/{P}/subjects", query=query)] == ["sub-01"]


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=1-2", 206, b"el"),
        ("bytes=3-", 206, b"lo"),
        ("bytes=-2", 206, b"lo"),
        ("bytes=0-99", 206, b"hello"),
        ("bytes=5-9", 416, b""),
        ("bytes=0-1,3-4", 501, b""),
        ("lines=1-2", 200, b"hello"),
    ],
)
def test_ranges_of_a_file(full: World, wanted: str, status: int, body: bytes) -> None:
    answer = full.owner("GET", f"{full.files}/dir/a.txt", headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (status, body)


def test_files_can_be_chosen_by_how_they_begin(world: World) -> None:
    for name in ("run-1.txt", "run-2.txt", "other.txt"):
        world.upload(name)

    packed = world.owner("GET", f"{world.files}/run-*", format="zip").content

    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert sorted(archive.namelist()) == ["run-1.txt", "run-2.txt"]


def test_columns_choose_members_of_lists_by_name(world: World) -> None:
    field = "xnat:subjectData/fields/field[name={}]/field"
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", query={field.format("a"): "1", field.format("b"): "2"})
    names = [field.format(name) for name in ("b", "a", "c")]

    (row,) = world.owner.rows("/data/projects/{P}/subjects", query={"columns": ",".join(["label", *names])})

    assert [row[name.lower()] for name in names] == ["2", "1", ""]


def test_columns_of_experiments_may_be_those_of_their_subjects(world: World) -> None:
    age = "xnat:subjectData/demographics[@xsi:type=xnat:demographicData]/age"
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", age="34", group="g")

    address = "/data/projects/{P}/experiments"
    (row,) = world.owner.rows(address, query={"columns": f"label,subject_label,xnat:subjectData/group,{age}"})

    assert (row["subject_label"], row["xnat:subjectdata/group"], row[age.lower()]) == ("sub-01", "g", "34")
    assert world.owner.rows(address, query={"columns": "label", age: "30-40"}) != []
    assert world.owner.rows(address, query={"columns": "label", age: "35-40"}) == []


def test_columns_may_lead_into_scans_of_one_kind(world: World) -> None:
    world.owner("PUT", world.scan, query={"xnat:mrScanData/parameters/tr": "2.5"})
    world.owner("PUT", f"/data/experiments/{world.session}/scans/2", xsiType="xnat:petScanData")
    start = "xnat:mrSessionData/scans/scan"
    repetition = f"{start}[@xsi:type=xnat:mrScanData]/parameters/tr"

    query = {"xsiType": "xnat:mrSessionData", "columns": f"label,{start}/ID,{repetition}"}
    rows = world.owner.rows("/data/projects/{P}/experiments", query=query)

    found = {row[f"{start}/ID".lower()]: row[repetition.lower()] for row in rows}
    assert found == {"1": "2.5", "2": ""}
