"""The traps of a real XNAT: each one is there in the embedded archive."""

from __future__ import annotations

import gzip

import pytest

from .conftest import XNAT, World, make_tar, make_zip

SECOND_SCAN = '<xnat:scans><xnat:scan ID="2" xsi:type="xnat:mrScanData"/></xnat:scans>'
SESSION = "/data/projects/{P}/subjects/sub-01/experiments/ses-01"


# Sessions, subjects and labels


def test_a_label_that_another_subject_has_moves_the_session(world: World) -> None:
    world.upload("a.txt")
    other = world.owner("PUT", "/data/projects/{P}/subjects/sub-02").text

    moved = world.owner("PUT", "/data/projects/{P}/subjects/sub-02/experiments/ses-01", xsiType="xnat:mrSessionData")

    assert (moved.status_code, moved.text) == (200, world.session)
    assert world.owner.fields(f"/data/experiments/{world.session}")["subject_ID"] == other
    assert world.owner.rows("/data/projects/{P}/subjects/sub-01/experiments") == []
    assert world.names() == {"a.txt": "5"}


def test_a_label_that_exists_does_not_move_to_a_subject_that_does_not(world: World) -> None:
    answer = world.owner("PUT", "/data/projects/{P}/subjects/new/experiments/ses-01", xsiType="xnat:mrSessionData")

    assert (answer.status_code, answer.text) == (200, world.session)
    assert [row["label"] for row in world.owner.rows("/data/projects/{P}/subjects")] == ["sub-01"]


def test_a_document_moves_a_session_and_merges_its_scans(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-02")
    document = f"<xnat:MRSession {XNAT}>{SECOND_SCAN}</xnat:MRSession>"

    address = "/data/projects/{P}/subjects/sub-02/experiments/ses-01"
    answer = world.owner("PUT", address, document, headers={"Content-Type": "text/xml"})

    assert answer.text == world.session
    assert [row["ID"] for row in world.owner.rows(f"/data/experiments/{world.session}/scans")] == ["1", "2"]


def test_a_typo_in_the_subject_makes_a_subject(world: World) -> None:
    answer = world.owner("PUT", "/data/projects/{P}/subjects/sub01/experiments/s", xsiType="xnat:mrSessionData")

    assert answer.status_code == 201
    assert {row["label"] for row in world.owner.rows("/data/projects/{P}/subjects")} == {"sub-01", "sub01"}


@pytest.mark.parametrize(("label", "query", "status"), [("x", {"date": "never"}, 400), ("a.b", {}, 500)])
def test_a_subject_that_was_made_for_a_refused_session_stays(
    world: World, label: str, query: dict[str, str], status: int
) -> None:
    address = f"/data/projects/{{P}}/subjects/new/experiments/{label}"

    assert world.owner("PUT", address, xsiType="xnat:mrSessionData", **query).status_code == status

    assert world.owner("GET", "/data/projects/{P}/subjects/new").status_code == 200
    assert len(world.owner.rows("/data/projects/{P}/experiments")) == 1


def test_the_label_in_a_document_beats_the_address(world: World) -> None:
    age = '<xnat:demographics xsi:type="xnat:demographicData"><xnat:age>3</xnat:age></xnat:demographics>'
    document = f'<xnat:Subject {XNAT} label="sub-01">{age}</xnat:Subject>'

    answer = world.owner("PUT", "/data/projects/{P}/subjects/sub-04", document, headers={"Content-Type": "text/xml"})

    assert (answer.status_code, answer.text) == (200, world.subject)
    assert [row["age"] for row in world.owner.rows("/data/projects/{P}/subjects", columns="age")] == ["3"]


def test_the_type_of_a_session_that_exists_is_ignored(world: World) -> None:
    assert world.owner("PUT", SESSION, xsiType="xnat:petSessionData").status_code == 200
    assert world.owner("PUT", world.scan, xsiType="xnat:petScanData").status_code == 409


def test_data_deletion_removes_what_the_document_lacks(world: World) -> None:
    world.upload("a.txt")
    document = f'<xnat:MRSession {XNAT} label="ses-01" project="{world.project}">{SECOND_SCAN}</xnat:MRSession>'

    world.owner("PUT", SESSION + "?allowDataDeletion=true", document, headers={"Content-Type": "text/xml"})

    assert [row["ID"] for row in world.owner.rows(f"/data/experiments/{world.session}/scans")] == ["2"]
    assert "date" not in world.owner.fields(f"/data/experiments/{world.session}")
    assert world.owner.rows(f"/data/experiments/{world.session}/files", all="true") == []


@pytest.mark.parametrize(
    ("document", "query", "status", "kept"),
    [
        (f"<xnat:MRSession {XNAT}/>", "?allowDataDeletion=true", 409, True),
        (None, "?allowDataDeletion=true&note=n", 200, True),
        (None, "?allowDataDeletion=true&xsiType=xnat:mrSessionData&note=n", 409, True),
        (None, "?allowDataDeletion=true&xsiType=xnat:mrSessionData&project={P}", 200, False),
    ],
)
def test_data_is_only_deleted_if_the_project_is_named(
    world: World, document: str | None, query: str, status: int, *, kept: bool
) -> None:
    headers = {"Content-Type": "text/xml"} if document else {}

    assert world.owner("PUT", SESSION + query, document, headers=headers).status_code == status

    fields = world.owner.fields(f"/data/experiments/{world.session}")
    assert ("date" in fields, "note" in fields) == (kept, False)
    assert len(world.owner.rows(f"/data/experiments/{world.session}/scans")) == int(kept)


def test_below_a_project_alone_no_data_is_deleted(world: World) -> None:
    address = "/data/projects/{P}/experiments/ses-01?allowDataDeletion=true"

    world.owner("PUT", address, f"<xnat:MRSession {XNAT}/>", headers={"Content-Type": "text/xml"})

    assert world.owner.fields(f"/data/experiments/{world.session}")["date"] == "2020-01-02"


def test_data_deletion_replaces_the_parts_of_a_subject(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", gender="female", age="3", group="g")
    gender = "<xnat:gender>male</xnat:gender>"
    part = f'<xnat:demographics xsi:type="xnat:demographicData">{gender}</xnat:demographics>'
    document = f"<xnat:Subject {XNAT}>{part}</xnat:Subject>"

    address, headers = "/data/projects/{P}/subjects/sub-01", {"Content-Type": "text/xml"}
    world.owner("PUT", address, document, headers=headers)
    (row,) = world.owner.rows("/data/projects/{P}/subjects", columns="gender,age,group")
    assert (row["gender"], row["age"], row["group"]) == ("male", "3", "g")
    world.owner("PUT", address + "?allowDataDeletion=true", document, headers=headers)
    (row,) = world.owner.rows("/data/projects/{P}/subjects", columns="gender,age,group")
    assert (row["gender"], row["age"], row["group"]) == ("male", "", "g")


def test_a_label_in_the_query_that_is_there_already(world: World) -> None:
    assert world.owner("PUT", "/data/projects/{P}/subjects/new", label="sub-01").text == ""
    other = "/data/projects/{P}/subjects/sub-01/experiments/new"
    assert world.owner("PUT", other, label="ses-01", xsiType="xnat:mrSessionData").status_code == 409


def test_accession_numbers_count_on_the_whole_site(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}B", accessibility="private")

    elsewhere = f"/data/projects/{{P}}B/subjects/{world.subject}"
    assert world.owner.fields(elsewhere)["label"] == "sub-01"
    assert world.owner.fields(f"{elsewhere}/experiments/{world.session}")["label"] == "ses-01"
    assert world.stranger("GET", elsewhere, format="json").status_code == 404


def test_strangers_learn_that_a_session_is_there_by_its_number(world: World) -> None:
    address = f"/data/experiments/{world.session}"

    assert world.stranger("PUT", address, note="x").status_code == 422
    assert world.stranger("PUT", "/data/experiments/NOPE", note="x").status_code == 417
    world.owner("PUT", "/data/projects/{P}/accessibility/protected")
    assert world.stranger("PUT", address, note="x").status_code == 403


def test_a_shared_session_gets_a_new_label_and_a_refusal(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}B", accessibility="private")
    share = f"{SESSION}/projects/{{P}}B"

    assert [world.owner("PUT", share, label=label).status_code for label in ("a", "b")] == [200, 409]
    assert [row["label"] for row in world.owner.rows("/data/projects/{P}B/experiments")] == ["b"]


@pytest.mark.parametrize(("kind", "status"), [("mr", 200), ("pet", 200), ("ct", 200), ("petmr", 417), ("cr", 417)])
def test_scans_that_are_posted_are_of_the_kind_of_their_session(world: World, kind: str, status: int) -> None:
    address = f"/data/projects/{{P}}/subjects/sub-01/experiments/{kind}"
    world.owner("PUT", address, xsiType=f"xnat:{kind}SessionData")

    assert world.owner("POST", f"{address}/scans", type="x").status_code == status
    made = [f"xnat:{kind}ScanData"] if status == 200 else []
    assert [row["xsiType"] for row in world.owner.rows(f"{address}/scans")] == made


@pytest.mark.parametrize("what", ["subject", "session", "scan"])
def test_files_that_were_left_behind_are_duplicates(world: World, what: str) -> None:
    world.upload("a.txt")
    address = {"subject": "/data/projects/{P}/subjects/sub-01", "session": SESSION, "scan": world.scan}[what]
    assert world.owner("DELETE", address).status_code == 200
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01")
    world.session = world.owner("PUT", SESSION, xsiType="xnat:mrSessionData").text
    world.owner("PUT", world.scan, xsiType="xnat:mrScanData", type="T1w")

    assert world.upload("a.txt", b"new").json() == {"duplicates": ["a.txt"]}

    assert world.names() == {}
    assert world.upload("a.txt", b"new", overwrite="true").text == ""
    assert world.names() == {"a.txt": "3"}


def test_a_refresh_lists_what_was_left_behind(world: World) -> None:
    world.upload("a.txt")
    world.owner("DELETE", world.scan)
    world.owner("PUT", world.scan, xsiType="xnat:mrScanData")
    world.upload("a.txt")

    resource = f"/archive/experiments/{world.session}/scans/1/resources/NIFTI"
    world.owner("POST", "/data/services/refresh/catalog", resource=resource, options="append")

    assert world.names() == {"a.txt": "5"}


@pytest.mark.parametrize("how", [{"options": "append,populateStats"}, {"append": "true", "populateStats": "yes"}])
def test_refreshes_take_their_options_together_or_one_by_one(world: World, how: dict[str, str]) -> None:
    world.upload("a.txt")
    world.owner("DELETE", f"{world.files}/a.txt", removeFiles="false")

    address = f"{world.scan}/resources/NIFTI".replace("/data", "/archive")
    assert world.owner("POST", "/data/services/refresh/catalog", resource=address, **how).status_code == 200
    assert world.names() == {"a.txt": "5"}
    assert [row["file_count"] for row in world.owner.rows(f"{world.scan}/resources")] == ["1"]


def test_a_resource_is_always_deleted_with_its_files(world: World) -> None:
    world.upload("a.txt")
    world.owner("DELETE", f"{world.scan}/resources/NIFTI")

    assert world.upload("a.txt", b"new").text == ""


def test_deleting_a_neighbour_touches_nothing_else(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01/experiments/ses-011", xsiType="xnat:mrSessionData")
    world.upload("a.txt")
    world.owner("DELETE", "/data/projects/{P}/subjects/sub-01/experiments/ses-011", removeFiles="true")

    assert world.owner("GET", f"{world.files}/a.txt").text == "hello"


def test_ids_of_deleted_projects_stay_burnt(world: World) -> None:
    world.owner("DELETE", "/data/projects/{P}", removeFiles="true")

    assert world.owner("PUT", "/data/projects/{P}").status_code == 403


def test_names_of_projects_share_one_name_space(world: World) -> None:
    lower = world.project.lower()

    assert world.stranger("PUT", f"/data/projects/{lower}").status_code == 409
    assert world.stranger("PUT", f"/data/projects/X{lower}", name=world.project).status_code == 409


# Scans and fields


def test_a_scan_id_in_the_query_beats_the_address(world: World) -> None:
    world.owner("PUT", world.scan.replace("/1", "/7"), query={"xnat:mrScanData/id": "8"})

    assert [row["ID"] for row in world.owner.rows(f"/data/experiments/{world.session}/scans")] == ["1", "8"]


def test_scans_can_be_listed_by_their_kind(world: World) -> None:
    world.owner("PUT", f"{world.scan}2", xsiType="xnat:petScanData")
    scans = f"/data/experiments/{world.session}/scans"

    assert [row["ID"] for row in world.owner.rows(scans, xsiType="xnat:petScanData")] == ["12"]
    assert world.owner("GET", scans, xsiType="xnat:noData").status_code == 500


def test_there_is_no_address_for_scans_without_a_subject(world: World) -> None:
    address = "/data/projects/{P}/experiments/ses-01/scans/5"

    assert world.owner.fields(address)["label"] == "ses-01"
    assert world.owner("PUT", address, xsiType="xnat:mrScanData").status_code == 400
    assert world.owner("PUT", f"{address}/resources/R/files/a.txt", b"x", inbody="true").status_code == 422
    binary = {"Content-Type": "application/octet-stream"}
    assert world.owner("PUT", f"{address}/resources/R/files/a.txt", b"x", headers=binary).status_code == 400
    assert world.owner("DELETE", address).status_code == 400


def test_an_unknown_field_swallows_what_follows_it(world: World) -> None:
    query = {"xsiType": "xnat:mrScanData", "xnat:mrScanData/parameters/nosuch": "1", "xnat:mrScanData/note": "n"}

    assert world.owner("PUT", world.scan, query=query).status_code == 200
    assert "note" not in world.owner.fields(world.scan)


@pytest.mark.parametrize(
    ("xsi_type", "status"), [("xsiType=xnat:mrScanData&", 200), ("", 417)], ids=["with type", "without type"]
)
def test_an_unencoded_equals_sign_loses_the_field(world: World, xsi_type: str, status: int) -> None:
    path = f"{world.scan}?{xsi_type}xnat:mrScanData/parameters/addParam[name=k]/addField=v"

    assert world.owner("PUT", path).status_code == status
    assert world.owner("GET", world.scan, format="json").json()["items"][0]["children"] == []


def test_text_of_queries_is_escaped_once(world: World) -> None:
    world.owner("PUT", world.scan, series_description="a & b <c>")

    assert world.owner.fields(world.scan)["series_description"] == "a &amp; b &lt;c&gt;"


def test_floats_are_single_precision(world: World) -> None:
    world.owner("PUT", world.scan, query={"xnat:mrScanData/parameters/tr": "2.123456789"})

    assert world.owner.fields(world.scan)["parameters/tr"] == 2.1234567


@pytest.mark.parametrize(("sent", "status"), [("inf", 500), ("Infinity", 500), ("1e400", 500), ("NaN", 200)])
def test_numbers_without_end(world: World, sent: str, status: int) -> None:
    answer = world.owner("PUT", world.scan, query={"xnat:mrScanData/parameters/tr": sent})

    assert answer.status_code == status
    assert world.owner("GET", world.scan, format="json").status_code == 200


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("time", "2020-01-02", 500),
        ("xnat:mrSessionData/duration", "long", 500),
        ("xnat:mrSessionData/duration", "PT1H", 200),
        ("visit", "1", 500),
        ("note", "n" * 1501, 400),
        ("note", "n" * 1500, 200),
        ("scanner", "s" * 256, 400),
        ("xnat:mrSessionData/fields/field[name=k]/field", "v" * 256, 400),
        ("xnat:mrSessionData/delay", "2.5", 400),
        ("xnat:mrSessionData/dcmPatientBirthDate", "20200203", 200),
        ("fieldStrength", "three", 200),
        ("nosuch", "x", 200),
    ],
)
def test_fields_of_sessions_are_checked(world: World, name: str, value: str, status: int) -> None:
    assert world.owner("PUT", SESSION, query={name: value}).status_code == status


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2020-02-30", "2020-03-01"),
        ("02/03/2020", "2020-02-03"),
        ("03.02.2020", "2020-03-02"),
        ("20200203", "2020-02-03"),
        ("2020-02-03T10:00:00", "2020-02-03"),
    ],
)
def test_dates_are_read_leniently(world: World, sent: str, kept: str) -> None:
    world.owner("PUT", SESSION, date=sent)

    assert world.owner.fields(SESSION)["date"] == kept


def test_pet_parameters_are_integers(world: World) -> None:
    session = world.owner("PUT", "/data/projects/{P}/subjects/sub-01/experiments/p", xsiType="xnat:petSessionData").text
    scan = f"/data/experiments/{session}/scans/1?xsiType=xnat:petScanData"

    assert world.owner("PUT", scan + "&xnat:petScanData/parameters/acqType=dynamic").status_code == 400
    assert world.owner("PUT", scan + "&xnat:petScanData/parameters/acqType=4").status_code == 200


def test_a_form_is_the_way_around_long_addresses(world: World) -> None:
    many = {f"xnat:mrScanData/parameters/addParam[name=k{i}]/addField": "v" * 60 for i in range(150)}

    assert world.owner("PUT", world.scan, query=many).status_code == 400
    form = world.owner("PUT", f"{world.scan}?req_format=form&xsiType=xnat:mrScanData", many)

    assert form.status_code == 200
    children = world.owner("GET", world.scan, format="json").json()["items"][0]["children"]
    assert len(children[0]["items"]) == 150


# Files


def test_a_file_that_is_there_is_kept_and_reported(world: World) -> None:
    world.upload("dir/a.txt", b"one")
    answer = world.upload("dir/a.txt", b"two")

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.json() == {"duplicates": ["dir/a.txt"]}
    assert world.owner("GET", f"{world.files}/dir/a.txt").text == "one"


def test_deleting_a_file_deletes_all_that_begin_like_it(world: World) -> None:
    for name in ("a.nii", "a.nii.gz", "c/x.txt", "cc/z.txt", "d.txt"):
        world.upload(name)

    assert world.owner("DELETE", f"{world.files}/a.nii").status_code == 200
    assert world.owner("DELETE", f"{world.files}/c").status_code == 200
    assert world.names() == {"d.txt": "5"}
    assert world.owner("DELETE", world.files).status_code == 200
    assert world.names() == {}
    assert world.owner("DELETE", f"{world.files}/d.txt").status_code == 404


def test_extracting_a_packed_image_unpacks_it_beside_its_folder(world: World) -> None:
    answer = world.upload("d/c.nii.gz", gzip.compress(b"image"), extract="true")

    assert answer.status_code == 200
    assert world.names() == {"c.nii": "5"}


@pytest.mark.parametrize(("headers", "status"), [({}, 500), ({"Content-Type": "application/zip"}, 200)])
def test_empty_bodies_are_refused_except_for_archives(world: World, headers: dict[str, str], status: int) -> None:
    answer = world.owner("PUT", f"{world.files}/e.txt", b"", headers=headers, inbody="true")

    assert answer.status_code == status
    assert world.names() == ({"e.txt": "0"} if status == 200 else {})


@pytest.mark.parametrize(("kind", "status"), [("application/octet-stream", 500), ("application/zip", 200)])
def test_bodies_without_length_are_refused_except_for_archives(world: World, kind: str, status: int) -> None:
    answer = world.owner(
        "PUT", f"{world.files}/e.zip", iter([b"content"]), headers={"Content-Type": kind}, inbody="true"
    )

    assert answer.status_code == status


def test_an_upload_without_the_right_is_a_silent_no(world: World) -> None:
    world.upload("a.txt")
    for query in ({}, {"overwrite": "true"}, {"extract": "true"}):
        answer = world.collaborator("PUT", f"{world.files}/b.tar", make_tar({"x": b"x"}), inbody="true", **query)
        assert (answer.status_code, answer.text, answer.headers.get("Content-Type")) == (200, "", None)

    assert world.names() == {"a.txt": "5"}
    assert world.collaborator("PUT", f"{world.scan}/resources/NEW").status_code == 403


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("a%20b.txt", "a b.txt"),
        ("o%20p+q.txt", "o p q.txt"),
        ("e%2Bf.txt", "e+f.txt"),
        ("c+d.txt", "c+d.txt"),
        ("g%23h.txt", "g%23h.txt"),
        ("k%C3%A9.txt", "k%C3%A9.txt"),
        ("s%20%C3%A9.txt", "s é.txt"),
    ],
)
def test_names_are_mangled_and_can_be_fetched_by_the_same_address(world: World, sent: str, stored: str) -> None:
    world.upload(sent)

    assert list(world.names()) == [stored]
    assert world.owner("GET", f"{world.files}/{sent}").text == "hello"


def test_a_percent_sign_cannot_be_sent(world: World) -> None:
    assert world.upload("a%25b.txt").status_code == 405
    world.upload("t.tar", make_tar({"a%b.txt": b"x", "g#h.txt": b"y"}), extract="true")

    assert set(world.names()) == {"a%b.txt", "g#h.txt"}
    assert world.owner("GET", f"{world.files}/a%25b.txt").status_code == 500
    assert world.owner("DELETE", f"{world.files}/g%23h.txt").status_code == 404


def test_numbers_are_taken_for_keys_of_resources(world: World) -> None:
    world.upload("a.txt")
    key = world.owner.rows(f"{world.scan}/resources")[0]["xnat_abstractresource_id"]

    assert world.owner("PUT", f"{world.scan}/resources/{key}/files/b.txt", b"x", inbody="true").text == ""
    assert set(world.names()) == {"a.txt", "b.txt"}
    assert world.owner("PUT", f"{world.scan}/resources/12345").status_code == 404
    assert world.owner("PUT", f"{world.scan}/resources/12345/files/b.txt", b"x", inbody="true").status_code == 404


@pytest.mark.parametrize(("sent", "label"), [("a,b", "a"), ("a'b", "a&apos;b"), ("a%20b", "a%20b"), ("a.b", "a.b")])
def test_labels_of_resources_are_taken_as_they_come(world: World, sent: str, label: str) -> None:
    world.owner("PUT", f"{world.scan}/resources/{sent}")

    assert [row["label"] for row in world.owner.rows(f"{world.scan}/resources")] == [label]


def test_the_catalog_of_a_resource_cannot_be_uploaded(world: World) -> None:
    world.owner("PUT", f"{world.scan}/resources/NIFTI")

    assert world.upload("1_catalog.xml").status_code == 500
    assert world.upload("NIFTI_catalog.xml").status_code == 200


def test_a_resource_with_a_second_catalog_is_not_refreshed(world: World) -> None:
    for name in ("a.txt", "x_catalog.xml"):
        world.upload(name, b"hello", **{"update-stats": "false"})
    resource = f"/archive/experiments/{world.session}"

    world.owner("POST", "/data/services/refresh/catalog", resource=resource, options="populateStats")

    assert world.owner.rows(f"{world.scan}/resources")[0]["file_count"] == ""


def test_a_broken_zip_is_accepted_if_it_does_not_look_like_one(world: World) -> None:
    whole = make_zip({"a.txt": b"content" * 100})

    assert world.upload("a.zip", b"no zip", extract="true").status_code == 200
    assert world.upload("a.zip", whole[:-30], extract="true").status_code == 500
    assert world.names() == {}


# Listings


def test_a_long_comma_list_answers_another_question(world: World) -> None:
    world.upload("a.txt")
    some, many = ",".join([world.session] * 100), ",".join([world.session] * 300)

    assert "Name" in world.owner.rows(f"/data/experiments/{some}/files", all="true")[0]
    for rest in ("/files", "/resources", "/scans/ALL/files", ""):
        assert "label" in world.owner.rows(f"/data/experiments/{many}{rest}", all="true")[0]
    assert world.owner("GET", f"/data/experiments/{many * 4}/files", all="true").status_code == 400


def test_unknown_ids_of_a_list_are_skipped(world: World) -> None:
    world.upload("a.txt")

    assert len(world.owner.rows(f"/data/experiments/{world.session},NOPE/files", all="true")) == 1
    assert world.owner("GET", "/data/experiments/NOPE/files", all="true").status_code == 500
    assert world.owner("GET", "/data/experiments/NOPE/resources").status_code == 404


@pytest.mark.parametrize("rest", ["scans/ALL/files", "scans/*/resources/NIFTI/files", "scans/9/files"])
def test_head_needs_exactly_one_scan(world: World, rest: str) -> None:
    world.upload("a.txt")
    world.owner("PUT", f"/data/experiments/{world.session}/scans/2", xsiType="xnat:mrScanData")

    assert world.owner("HEAD", f"/data/experiments/{world.session}/{rest}").status_code == 404
    assert world.owner("HEAD", f"/data/experiments/NOPE/{rest}").status_code == 404
    assert world.owner("HEAD", f"{world.files}/a.txt").status_code == 200


def test_scan_columns_give_a_row_for_each_scan(world: World) -> None:
    world.owner("PUT", f"/data/experiments/{world.session}/scans/2", xsiType="xnat:mrScanData", type="bold")
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01/experiments/none", xsiType="xnat:mrSessionData")
    columns = "ID,label,xnat:mrSessionData/scans/scan/ID,xnat:mrSessionData/scans/scan/type"

    rows = world.owner.rows("/data/projects/{P}/experiments", xsiType="xnat:mrSessionData", columns=columns)

    found = {(row["label"], row["xnat:mrsessiondata/scans/scan/id"]) for row in rows}
    assert found == {("ses-01", "1"), ("ses-01", "2"), ("none", "")}


def test_a_new_project_is_protected(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}OPEN")
    world.owner("PUT", "/data/projects/{P}OPEN/resources/R/files/a.txt", b"x", inbody="true")

    assert world.stranger("GET", "/data/projects/{P}OPEN/resources/R/files/a.txt").text == "x"
    assert world.stranger("GET", "/data/projects/{P}OPEN/subjects").status_code == 403


# Unregistered types


def test_sessions_of_unregistered_types_are_half_there(world: World) -> None:
    address = "/data/projects/{P}/subjects/sub-01/experiments/eeg"
    session = world.owner("PUT", address, xsiType="xnat:eegSessionData").text

    assert world.owner("PUT", f"/data/experiments/{session}/scans/1", xsiType="xnat:eegScanData").status_code == 500
    assert "eeg" not in [row["label"] for row in world.owner.rows("/data/projects/{P}/experiments")]
    assert "eeg" not in [row["label"] for row in world.admin.rows("/data/experiments", project=world.project)]
    assert world.owner("DELETE", address).status_code == 403
    assert world.owner("DELETE", "/data/projects/{P}/subjects/sub-01").status_code == 403
    assert world.owner("DELETE", "/data/projects/{P}", removeFiles="true").status_code == 200


def test_where_all_types_are_registered_nothing_is_half_there(admin_of_all: World) -> None:
    world = admin_of_all
    address = "/data/projects/{P}/subjects/sub-01/experiments/eeg"
    session = world.owner("PUT", address, xsiType="xnat:eegSessionData").text

    assert world.owner("PUT", f"/data/experiments/{session}/scans/1", xsiType="xnat:eegScanData").status_code == 200
    assert "eeg" in [row["label"] for row in world.owner.rows("/data/projects/{P}/experiments")]
    assert world.owner("DELETE", address).status_code == 200


def test_strangers_do_not_see_unregistered_sessions(world: World) -> None:
    session = world.owner(
        "PUT", "/data/projects/{P}/subjects/sub-01/experiments/eeg", xsiType="xnat:eegSessionData"
    ).text

    assert world.stranger("GET", f"/data/experiments/{session}", format="json").status_code == 404
    assert world.stranger("PUT", f"/data/experiments/{session}", note="x").status_code != 200


# Sharing and addresses without a project


def test_a_shared_subject_is_shown_under_its_second_label(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}B", accessibility="private")
    share = "/data/projects/{P}/subjects/sub-01/projects/{P}B"

    assert world.owner("PUT", share, label="guest").status_code == 200
    assert world.owner("PUT", share).status_code == 409
    assert [row["label"] for row in world.owner.rows("/data/projects/{P}B/subjects")] == ["guest"]
    assert world.owner.fields("/data/projects/{P}B/subjects/guest")["label"] == "sub-01"
    assert world.member("PUT", share).status_code == 404

    assert world.owner("DELETE", "/data/projects/{P}B/subjects/guest").status_code == 200
    assert world.owner.rows("/data/projects/{P}B/subjects") == []
    assert len(world.owner.rows("/data/projects/{P}/subjects")) == 1


def test_a_session_moves_to_another_project_with_its_files(world: World) -> None:
    world.upload("a.txt")
    world.owner("PUT", "/data/projects/{P}B", accessibility="private")

    assert world.owner("PUT", f"{SESSION}/projects/{{P}}B", primary="true").status_code == 200

    assert world.owner.fields(f"/data/experiments/{world.session}")["project"] == f"{world.project}B"
    assert world.owner("GET", f"{world.files}/a.txt").text == "hello"
    assert world.owner.rows("/data/projects/{P}/experiments") == []


def test_renaming_a_subject_moves_its_files(world: World) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-01/resources/R/files/a.txt", b"x", inbody="true")

    world.owner("PUT", "/data/projects/{P}/subjects/sub-01", label="sub-9")

    assert world.owner("GET", "/data/projects/{P}/subjects/sub-9/resources/R/files/a.txt").text == "x"
    assert (world.server.site.folder / "archive" / world.project / "subjects" / "sub-9" / "R" / "a.txt").exists()


def test_fields_of_a_session_need_its_project_in_the_address(world: World) -> None:
    address = f"/data/experiments/{world.session}"

    assert world.owner("PUT", address, note="n").status_code == 200
    assert "note" not in world.owner.fields(address)
    assert world.owner("PUT", address, xsiType="xnat:mrSessionData", note="n").status_code == 422


def test_files_are_only_deleted_through_their_resource(world: World) -> None:
    world.upload("a.txt")

    assert world.owner("DELETE", f"{world.scan}/files").status_code == 200
    assert world.owner("DELETE", f"{world.scan}/resources/NIFTI/more").status_code == 400
    assert world.names() == {"a.txt": "5"}


@pytest.mark.parametrize("level", ["/data/projects/{P}/subjects/sub-01", SESSION, "/data/experiments/{E}", "scan"])
def test_what_follows_an_address_is_overlooked_when_reading(world: World, level: str) -> None:
    address = world.scan if level == "scan" else level.replace("{E}", world.session)

    assert world.owner.fields(f"{address}/nonsense/5") == world.owner.fields(address)
    for method in ("PUT", "DELETE"):
        assert world.owner(method, f"{address}/nonsense/5").status_code == 400
        assert world.owner("GET", address).status_code == 200
    assert world.owner("POST", f"{address}/nonsense").status_code == 405
    assert world.owner("DELETE", f"{address}x/nonsense").status_code == 404


def test_only_settings_follow_the_address_of_a_project(world: World) -> None:
    code = "/data/projects/{P}/quarantine_code"

    assert world.owner("GET", code).text == "0"
    assert world.owner("PUT", f"{code}/true").status_code == 200
    assert world.owner("GET", code).text == "1"
    assert world.member("PUT", f"{code}/0").status_code == 403
    assert world.owner("PUT", f"{code}/often").status_code == 400
    for method in ("GET", "PUT", "DELETE"):
        assert world.owner(method, "/data/projects/{P}/nonsense/1").status_code == 400
    assert world.owner("GET", "/data/projects/{P}/accessibility/public").text == "private"


def test_there_is_nothing_to_put_beside_an_experiment_that_is_not_there(world: World) -> None:
    address = "/data/projects/{P}/experiments/nope/scans/5"

    assert world.owner("PUT", address).status_code == 417
    assert world.owner("PUT", address, xsiType="xnat:mrScanData").status_code == 422
    assert world.owner("GET", f"/data/experiments/{world.session}/assessors").status_code == 404


def test_a_session_is_not_renamed_to_where_files_were_left_behind(world: World) -> None:
    old = "/data/projects/{P}/subjects/sub-01/experiments/old"
    world.owner("PUT", old, xsiType="xnat:mrSessionData")
    world.owner("PUT", f"{old}/resources/R/files/a.txt", b"x", inbody="true")
    world.owner("DELETE", old)

    assert world.owner("PUT", SESSION, label="old").status_code == 409
    assert world.owner("GET", SESSION).status_code == 200


def test_roles_are_given_by_any_name_of_a_group(world: World) -> None:
    users = "/data/projects/{P}/users"
    for group in ("member", "Members", f"{world.project}_member"):
        assert world.owner("PUT", f"{users}/{group}/stranger@x,collaborator").status_code == 200
        rows = {row["login"]: row["displayname"] for row in world.owner.rows(users)}
        assert (rows["stranger"], rows["collaborator"]) == ("Members", "Members")
        assert world.owner("DELETE", f"{users}/{group}/stranger").status_code == 200
    assert "stranger" not in {row["login"] for row in world.owner.rows(f"{users}/Members/member")}


@pytest.mark.parametrize(
    ("who", "method", "rest", "status", "kind"),
    [
        ("member", "PUT", "Owners/stranger", 403, "application/json"),
        ("member", "DELETE", "Owners/owner", 403, "application/json"),
        ("owner", "PUT", "Nobodies/stranger", 404, "text/html;charset=ISO-8859-1"),
        ("owner", "DELETE", "Members/nobody", 404, "application/json"),
        ("stranger", "DELETE", "Members/member", 404, "text/html;charset=utf-8"),
    ],
)
def test_refused_roles(world: World, who: str, method: str, rest: str, status: int, kind: str) -> None:
    answer = world.clients[who](method, f"/data/projects/{{P}}/users/{rest}")

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, kind)
    assert {row["login"] for row in world.owner.rows("/data/projects/{P}/users")} == {"owner", "member", "collaborator"}


def test_projects_can_be_posted(world: World) -> None:
    name = f"{world.project}-posted"
    headers = {"Content-Type": "text/xml"}

    assert world.owner("POST", "/data/projects").status_code == 417
    assert world.owner("POST", "/data/projects", ID="a.b").status_code == 417
    made = world.owner("POST", "/data/projects", f'<xnat:Project {XNAT} ID="{name}"/>', headers=headers)
    assert (made.status_code, made.headers["Location"]) == (200, f"{world.server.url}/data/projects/{name}")
    world.owner("PUT", f"/data/projects/{name}/accessibility/private")
    assert world.stranger("POST", "/data/projects", ID=name).status_code == 409


def test_every_answer_says_how_long_the_session_lasts(world: World) -> None:
    for _ in range(2):
        answer = world.owner("GET", "/data/projects/{P}", format="json")
        assert answer.cookies["SESSION_EXPIRATION_TIME"].strip('"').endswith(",900000")
