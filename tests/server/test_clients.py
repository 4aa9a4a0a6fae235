"""Unmodified clients: xnatpy and pyxnat against the embedded archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PASSWORD, World, make_xar

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def xnatpy(world: World) -> Iterator[Any]:
    """A connection of xnatpy as the owner of the project."""
    import xnat

    with xnat.connect(world.server.url, user="owner", password=PASSWORD) as connection:
        yield connection


@pytest.fixture
def pyxnat(world: World, tmp_path: Path) -> Iterator[Any]:
    """A connection of pyxnat from its configuration file."""
    module = pytest.importorskip("pyxnat")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"server": world.server.url, "user": "owner", "password": PASSWORD}))
    connection = module.Interface(config=str(config))
    yield connection
    connection.disconnect()


def test_xnatpy_makes_and_reads_a_tree(world: World, xnatpy: Any, tmp_path: Path) -> None:
    project = xnatpy.projects[world.project]
    subject = xnatpy.classes.SubjectData(parent=project, label="sub-07")
    subject.demographics.gender = "female"
    session = xnatpy.classes.MrSessionData(parent=subject, label="sub-07_MR")
    session.date = "2020-01-02"
    scan = xnatpy.classes.MrScanData(parent=session, id="3", type="bold", quality="usable")
    scan.parameters.tr = 800.5
    resource = scan.create_resource("NIFTI")
    (tmp_path / "a.nii.gz").write_bytes(b"image")
    resource.upload(str(tmp_path / "a.nii.gz"), "a.nii.gz", overwrite=True)
    xnatpy.clearcache()

    found = xnatpy.projects[world.project].subjects["sub-07"].experiments["sub-07_MR"]

    assert found.__xsi_type__ == "xnat:mrSessionData"
    assert [(one.id, one.type, one.parameters.tr) for one in found.scans.values()] == [("3", "bold", 800.5)]
    assert found.scans["3"].resources["NIFTI"].files["a.nii.gz"].digest == "78805a221a988e79ef3f42d7c5bfd418"
    assert found.subject.demographics.gender == "female"


def test_xnatpy_uploads_and_downloads_folders(world: World, xnatpy: Any, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.txt").write_text("a")
    (source / "b.txt").write_text("b")
    session = xnatpy.projects[world.project].experiments["ses-01"]

    session.create_resource("R").upload_dir(str(source))
    session.resources["R"].download_dir(str(tmp_path / "out"), verbose=False)

    found = {path.name: path.read_text() for path in (tmp_path / "out").rglob("*.txt")}
    assert found == {"a.txt": "a", "b.txt": "b"}


def test_xnatpy_imports_refreshes_and_deletes(world: World, xnatpy: Any) -> None:
    parcel = make_xar(world.project, "new", {"a.txt": b"x"})
    answer = xnatpy.post(
        "/data/services/import",
        query={"import-handler": "XAR", "inbody": "true"},
        data=parcel,
        headers={"Content-Type": "application/zip"},
    )
    session = xnatpy.projects[world.project].experiments["new"]
    xnatpy.services.refresh_catalog(session.scans["1"].resources["NIFTI"], checksum=True)
    xnatpy.clearcache()

    assert answer.text.strip().endswith(session.id)
    assert session.scans["1"].resources["NIFTI"].files["a.txt"].digest == "9dd4e461268c8034f5c8564e155c67a6"
    xnatpy.projects[world.project].experiments["new"].delete()
    assert {row["label"] for row in world.owner.rows("/data/projects/{P}/experiments")} == {"ses-01"}


def test_xnatpy_connects_with_a_token(world: World) -> None:
    import xnat

    token = world.owner("GET", "/data/services/tokens/issue").json()
    with xnat.connect(world.server.url, user=token["alias"], password=token["secret"]) as connection:
        assert world.project in connection.projects


def test_the_recipe_for_pyxnat(world: World, pyxnat: Any, tmp_path: Path) -> None:
    image = tmp_path / "sub-02_T1w.nii.gz"
    image.write_bytes(b"image")
    project = world.project

    made = pyxnat.put(f"/data/projects/{project}/subjects/sub-02")
    assert made.status_code == 201
    assert made.text == world.owner.fields("/data/projects/{P}/subjects/sub-02")["ID"]
    subject = pyxnat.select(f"/project/{project}/subject/sub-02")
    experiment = subject.experiment("sub-02_MR2")
    experiment.create(experiments="xnat:mrSessionData")
    scan = experiment.scan("1")
    scan.create(scans="xnat:mrScanData")
    scan.attrs.mset(
        {
            "xnat:mrScanData/type": "T1w",
            "xnat:mrScanData/series_description": "mprage",
            "xnat:mrScanData/quality": "usable",
        }
    )
    resource = scan.resource("NIFTI")
    resource.create()
    resource.file(image.name).put(str(image), format="NIFTI", content="NIFTI", extract=False, overwrite=True)

    uri = f"/data/projects/{project}/subjects/sub-02/experiments/sub-02_MR2"
    assert world.owner.fields(f"{uri}/scans/1")["quality"] == "usable"
    rows = world.owner.rows(f"{uri}/scans/1/resources/NIFTI/files")
    assert [(row["Name"], row["Size"], row["file_format"], row["file_content"]) for row in rows] == [
        (image.name, "5", "NIFTI", "NIFTI")
    ]
    assert pyxnat.delete(f"{uri}?removeFiles=true").status_code == 200
    assert world.owner("GET", uri).status_code == 404


def test_pyxnat_makes_a_scan_with_its_fields_in_one_go(world: World, pyxnat: Any, tmp_path: Path) -> None:
    project = pyxnat.select.project(world.project)
    subject = project.subject("sub-03").create()
    experiment = subject.experiment("sub-03_MR2").create(experiments="xnat:mrSessionData")
    experiment.scan("1").create(scans="xnat:mrScanData", type="T1w", series_description="mprage", quality="usable")

    assert world.owner.fields("/data/projects/{P}/subjects/sub-03/experiments/sub-03_MR2/scans/1")["type"] == "T1w"
    assert {subject.label() for subject in project.subjects()} == {"sub-01", "sub-03"}
    assert experiment.scans().get() == ["1"]


def test_pyxnat_puts_folders_and_reads_files(world: World, pyxnat: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    resource = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").resource("R")
    resource.put_dir(str(folder), overwrite=True, extract=True)

    assert resource.files().get() == ["a.txt"]
    assert Path(resource.file("a.txt").get(str(tmp_path / "copy.txt"))).read_text() == "a"
    resource.delete()
    assert world.owner.rows(f"/data/experiments/{world.session}/resources") == []
