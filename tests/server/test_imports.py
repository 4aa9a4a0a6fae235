"""The session import: one archive in, a whole session there."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest

from .conftest import World, make_tar, make_xar, make_zip

IMPORT = "/data/services/import?import-handler=XAR&inbody=true"
ZIP = {"Content-Type": "application/zip"}
FILES = {"a.nii.gz": b"image", "dir/b.json": b"{}", "empty.txt": b""}


def _labels(world: World) -> set[str]:
    return {row["label"] for row in world.owner.rows("/data/projects/{P}/experiments")}


def test_an_import_makes_a_session_and_a_refresh_its_digests(world: World) -> None:
    answer = world.owner("POST", IMPORT, make_xar(world.project, "new", FILES), headers=ZIP)
    session = answer.text.strip().rsplit("/", 1)[-1]
    before = world.owner.rows(f"/data/experiments/{session}/files", all="true")

    world.owner(
        "POST",
        "/data/services/refresh/catalog",
        query={"resource": f"/archive/experiments/{session}", "options": "checksum,populateStats"},
    )

    assert answer.text == f"/data/archive/experiments/{session}\r\n"
    assert {row["digest"] for row in before} == {""}
    after = world.owner.rows(f"/data/experiments/{session}/files", all="true")
    assert {row["Name"]: row["digest"] for row in after} == {
        name.rsplit("/", 1)[-1]: hashlib.md5(content).hexdigest() for name, content in FILES.items()
    }
    assert world.owner.rows(f"/data/experiments/{session}/resources", all="true")[0]["file_count"] == "3"


def test_what_was_imported_comes_back_in_one_archive(world: World) -> None:
    answer = world.owner("POST", IMPORT, make_xar(world.project, "new", FILES), headers=ZIP)
    session = answer.text.strip().rsplit("/", 1)[-1]

    whole = world.owner("GET", f"/data/experiments/{session}/files", all="true", format="zip")

    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        start = "new/scans/1/resources/NIFTI/files/"
        assert {name.removeprefix(start): archive.read(name) for name in archive.namelist()} == FILES


def test_one_refresh_serves_many_sessions(world: World) -> None:
    made = [
        world.owner("POST", IMPORT, make_xar(world.project, f"s{i}", FILES), headers=ZIP).text.strip() for i in range(3)
    ]
    query = "&".join(f"resource={uri.removeprefix('/data')}" for uri in made)

    assert world.owner("POST", f"/data/services/refresh/catalog?options=checksum&{query}").status_code == 200

    ids = ",".join(uri.rsplit("/", 1)[-1] for uri in made)
    assert all(row["digest"] for row in world.owner.rows(f"/data/experiments/{ids}/files", all="true"))


def test_digests_in_catalogs_are_believed(world: World) -> None:
    parcel = make_xar(world.project, "new", {"a.txt": b"x"})
    with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
        members = {
            name: archive.read(name).replace(b'name="a.txt"', b'name="a.txt" digest="abc"')
            for name in archive.namelist()
        }
    session = world.owner("POST", IMPORT, make_zip(members), headers=ZIP).text.strip().rsplit("/", 1)[-1]

    assert world.owner.rows(f"/data/experiments/{session}/files", all="true")[0]["digest"] == "abc"


@pytest.mark.parametrize("subject", ["sub-01", "sub-02"])
def test_a_label_that_exists_is_refused_and_nothing_changes(world: World, subject: str) -> None:
    world.owner("PUT", "/data/projects/{P}/subjects/sub-02")
    world.upload("a.txt")

    answer = world.owner("POST", IMPORT, make_xar(world.project, "ses-01", FILES, subject), headers=ZIP)

    assert answer.status_code == 500
    assert world.names() == {"a.txt": "5"}
    assert world.owner.fields(f"/data/experiments/{world.session}")["subject_ID"] == world.subject


@pytest.mark.parametrize(
    ("who", "status"), [("member", 200), ("collaborator", 500), ("stranger", 400), ("anonymous", 401)]
)
def test_who_may_import(world: World, who: str, status: int) -> None:
    answer = world.clients[who]("POST", IMPORT, make_xar(world.project, "new", FILES), headers=ZIP)

    assert answer.status_code == status
    assert ("new" in _labels(world)) == (status == 200)


def test_unregistered_types_fail_loudly(world: World) -> None:
    answer = world.owner("POST", IMPORT, make_xar(world.project, "new", FILES, kind="EEGSession"), headers=ZIP)

    assert answer.status_code == 500


def test_a_tar_in_a_form_is_as_good(world: World) -> None:
    with zipfile.ZipFile(io.BytesIO(make_xar(world.project, "new", FILES))) as archive:
        parcel = make_tar({name: archive.read(name) for name in archive.namelist()})

    answer = world.owner("POST", IMPORT.partition("&")[0], files={"f": ("x.tar", parcel)})

    assert answer.status_code == 200
    assert "new" in _labels(world)


def _flipped(parcel: bytes) -> bytes:
    place = parcel.index(b"image")
    return parcel[:place] + b"!" + parcel[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda parcel: parcel[: len(parcel) // 2],
        lambda parcel: _flipped(parcel),
        lambda parcel: b"nonsense",
        lambda parcel: make_zip({"x.xml": "<no", "d/a.txt": "a"}),
        lambda parcel: make_zip({"x.xml": '<!DOCTYPE a><a xmlns="b"/>', "d/a.txt": "a"}),
    ],
    ids=["cut", "flipped bit", "no zip", "broken document", "DOCTYPE"],
)
def test_damaged_archives_are_refused_and_nothing_is_made(world: World, damage: object) -> None:
    assert callable(damage)
    stored = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(make_xar(world.project, "new", FILES))) as source,
        zipfile.ZipFile(stored, "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))

    answer = world.owner("POST", IMPORT, damage(stored.getvalue()), headers=ZIP)

    assert answer.status_code == 400
    assert _labels(world) == {"ses-01"}


class _Unseekable(io.RawIOBase):
    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


@pytest.mark.parametrize(("method", "status"), [(zipfile.ZIP_STORED, 400), (zipfile.ZIP_DEFLATED, 200)])
def test_archives_written_while_they_are_sent_must_be_deflated(world: World, method: int, status: int) -> None:
    sink = _Unseekable()
    with (
        zipfile.ZipFile(io.BytesIO(make_xar(world.project, "new", FILES))) as source,
        zipfile.ZipFile(sink, "w", method, compresslevel=0) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))

    answer = world.owner("POST", IMPORT, iter([sink.data[:100], sink.data[100:]]), headers=ZIP)

    assert answer.status_code == status


def test_the_folder_scans_alone_is_taken_for_the_container(world: World) -> None:
    with zipfile.ZipFile(io.BytesIO(make_xar(world.project, "new", FILES))) as archive:
        members = {name.removeprefix("files/"): archive.read(name) for name in archive.namelist()}

    session = world.owner("POST", IMPORT, make_zip(members), headers=ZIP).text.strip().rsplit("/", 1)[-1]

    assert world.owner.rows(f"/data/experiments/{session}/files", all="true") == []


def test_leftovers_of_a_deleted_session_give_way(world: World) -> None:
    world.upload("a.nii.gz", b"old")
    world.owner("DELETE", f"/data/experiments/{world.session}")

    answer = world.owner("POST", IMPORT, make_xar(world.project, "ses-01", FILES), headers=ZIP)
    session = answer.text.strip().rsplit("/", 1)[-1]

    assert world.owner("GET", f"/data/experiments/{session}/scans/1/resources/NIFTI/files/a.nii.gz").content == b"image"
