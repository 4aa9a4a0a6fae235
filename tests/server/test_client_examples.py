"""What the handbooks of xnatpy and pyxnat show for projects, subjects, sessions, scans, resources and files.

The calls are theirs, the words are ours; the clients are as they are released. What needs DICOM, the prearchive, the
search engine or custom variables is left out: the archive has none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xnat_bids_push.server import LocalServer

from .conftest import PASSWORD, World, make_xar

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def xnatpy_connection(server: LocalServer) -> Iterator[Any]:
    """Connecting takes a second, because the client builds its classes from the server's schema."""
    import xnat

    with xnat.connect(server.url, user="owner", password=PASSWORD) as connection:
        yield connection


@pytest.fixture
def xnatpy(world: World, xnatpy_connection: Any) -> Any:
    """A connection of xnatpy as the owner of the project, which remembers nothing of other tests."""
    xnatpy_connection.clearcache()
    return xnatpy_connection


@pytest.fixture
def pyxnat(world: World) -> Iterator[Any]:
    """A connection of pyxnat, made as its handbook begins."""
    module = pytest.importorskip("pyxnat")
    connection = module.Interface(server=world.server.url, user="owner", password=PASSWORD)
    yield connection
    connection.disconnect()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them in a folder."""
    made = tmp_path / "to-send"
    (made / "deep").mkdir(parents=True)
    (made / "a.nii.gz").write_bytes(b"image")
    (made / "deep" / "b.txt").write_bytes(b"text")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their names."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


BOTH = {"a.nii.gz": b"image", "b.txt": b"text"}


# ------------------------------------------------------------------ xnatpy: looking around


def test_xnatpy_finds_projects_by_id_and_name(world: World, xnatpy: Any) -> None:
    world.owner("PUT", "/data/projects/{P}", name=f"The project {world.project}")
    xnatpy.clearcache()

    assert world.project in xnatpy.projects
    assert xnatpy.projects[f"The project {world.project}"].id == world.project
    assert world.project in {project.id for project in xnatpy.projects.values()}
    assert xnatpy.projects[world.project].name == f"The project {world.project}"


def test_xnatpy_walks_listings_as_dictionaries(world: World, xnatpy: Any) -> None:
    project = xnatpy.projects[world.project]

    assert len(project.subjects) == 1
    assert list(project.subjects.keys()) == [world.subject]
    assert [subject.label for subject in project.subjects.values()] == ["sub-01"]
    assert project.subjects["sub-01"].id == project.subjects[world.subject].id == world.subject
    assert [session.label for session in project.subjects["sub-01"].experiments.values()] == ["ses-01"]
    assert project.subjects["sub-01"].experiments["ses-01"].scans["1"].type == "T1w"
    assert "sub-99" not in project.subjects
    assert project.subjects[0].label == "sub-01"


def test_xnatpy_sees_all_experiments_of_the_site(world: World, xnatpy: Any) -> None:
    assert xnatpy.experiments[world.session].label == "ses-01"
    assert xnatpy.subjects[world.subject].label == "sub-01"


def test_xnatpy_names_the_parents(world: World, xnatpy: Any) -> None:
    session = xnatpy.experiments[world.session]

    assert session.project == world.project
    assert session.subject.label == "sub-01"
    assert session.scans["1"].image_session_id == world.session
    assert session.fulluri.endswith(f"/experiments/{world.session}")


def test_xnatpy_filters_listings(world: World, xnatpy: Any) -> None:
    for label in ("sub-02", "other"):
        world.owner("PUT", f"/data/projects/{{P}}/subjects/{label}")
    subjects = xnatpy.projects[world.project].subjects

    assert sorted(one.label for one in subjects.filter(label="sub-*").values()) == ["sub-01", "sub-02"]
    assert [one.label for one in subjects.filter({"label": "other"}).values()] == ["other"]


def test_xnatpy_filters_sessions_by_type_and_date(world: World, xnatpy: Any) -> None:
    pet = "/data/projects/{P}/subjects/sub-01/experiments/pet-01"
    world.owner("PUT", pet, xsiType="xnat:petSessionData", date="2021-05-06")
    sessions = xnatpy.projects[world.project].experiments

    assert [one.label for one in sessions.filter(xsiType="xnat:petSessionData").values()] == ["pet-01"]
    assert [one.label for one in sessions.filter(date="01/02/2020").values()] == ["ses-01"]


def test_xnatpy_makes_tables(world: World, xnatpy: Any) -> None:
    sessions = xnatpy.projects[world.project].experiments

    [row] = sessions.tabulate(columns=["label", "date"])
    assert (row.label, row.date) == ("ses-01", "2020-01-02")
    assert "ses-01" in sessions.tabulate_csv(columns=["label"])


def test_xnatpy_reads_fields_with_their_types(world: World, xnatpy: Any) -> None:
    session = xnatpy.experiments[world.session]

    assert session.date.isoformat() == "2020-01-02"
    assert session.__xsi_type__ == "xnat:mrSessionData"
    assert session.note is None


def test_xnatpy_asks_for_addresses_directly(world: World, xnatpy: Any) -> None:
    answer = xnatpy.get_json(f"/data/projects/{world.project}/subjects")

    assert [row["label"] for row in answer["ResultSet"]["Result"]] == ["sub-01"]
    assert xnatpy.create_object(f"/data/experiments/{world.session}").label == "ses-01"


# ------------------------------------------------------------------ xnatpy: making and changing


def test_xnatpy_makes_a_project(world: World, xnatpy: Any) -> None:
    name = f"{world.project}-made"
    xnatpy.put(f"/data/projects/{name}")
    xnatpy.clearcache()

    project = xnatpy.projects[name]
    project.description = "made by a test"
    project.keywords = "one two"
    assert world.owner.fields(f"/data/projects/{name}")["description"] == "made by a test"


def test_xnatpy_makes_subjects_sessions_and_scans(world: World, xnatpy: Any) -> None:
    project = xnatpy.projects[world.project]
    subject = xnatpy.classes.SubjectData(parent=project, label="new-subject")
    session = xnatpy.classes.PetSessionData(parent=subject, label="new-session")
    scan = xnatpy.classes.PetScanData(parent=session, id="7", type="pet")

    assert (subject.label, session.label, scan.id, scan.type) == ("new-subject", "new-session", "7", "pet")
    assert "new-subject" in project.subjects
    base = "/data/projects/{P}/subjects/new-subject/experiments/new-session"
    assert world.owner.fields(f"{base}/scans/7")["type"] == "pet"


def test_xnatpy_sets_fields(world: World, xnatpy: Any) -> None:
    session = xnatpy.experiments[world.session]
    scan = session.scans["1"]
    scan.quality = "questionable"
    scan.series_description = "a description"
    scan.parameters.tr = 2300.0
    session.note = "a note"
    session.mset(operator="somebody", acquisition_site="somewhere")
    xnatpy.clearcache()

    again = xnatpy.experiments[world.session]
    assert (again.note, again.operator, again.acquisition_site) == ("a note", "somebody", "somewhere")
    found = again.scans["1"]
    assert (found.quality, found.series_description) == ("questionable", "a description")
    assert found.parameters.tr == 2300.0


def test_xnatpy_sets_demographics(world: World, xnatpy: Any) -> None:
    subject = xnatpy.projects[world.project].subjects["sub-01"]
    subject.demographics.gender = "female"
    subject.demographics.handedness = "left"
    subject.demographics.yob = 1980
    xnatpy.clearcache()

    found = xnatpy.projects[world.project].subjects["sub-01"].demographics
    assert (found.gender, found.handedness, found.yob) == ("female", "left", 1980)


def test_xnatpy_is_told_of_bad_values(world: World, xnatpy: Any) -> None:
    subject = xnatpy.projects[world.project].subjects["sub-01"]
    with pytest.raises(ValueError, match="has to be one of"):
        subject.demographics.gender = "unheard of"


def test_xnatpy_sets_custom_fields(world: World, xnatpy: Any) -> None:
    subject = xnatpy.projects[world.project].subjects["sub-01"]
    subject.fields["favourite"] = "blue"
    xnatpy.clearcache()

    assert dict(xnatpy.projects[world.project].subjects["sub-01"].fields) == {"favourite": "blue"}


def test_xnatpy_relabels(world: World, xnatpy: Any) -> None:
    xnatpy.projects[world.project].subjects["sub-01"].label = "renamed"
    xnatpy.experiments[world.session].label = "session-renamed"
    xnatpy.clearcache()

    assert [one.label for one in xnatpy.projects[world.project].subjects.values()] == ["renamed"]
    assert [one.label for one in xnatpy.projects[world.project].experiments.values()] == ["session-renamed"]


def test_xnatpy_deletes(world: World, xnatpy: Any) -> None:
    world.upload("a.txt")
    session = xnatpy.experiments[world.session]
    session.scans["1"].resources["NIFTI"].files["a.txt"].delete()
    assert world.names() == {}
    session.scans["1"].resources["NIFTI"].delete()
    session.scans["1"].delete()
    assert world.owner.rows(f"/data/experiments/{world.session}/scans") == []
    xnatpy.projects[world.project].subjects["sub-01"].delete()
    assert world.owner.rows("/data/projects/{P}/experiments") == []


def test_xnatpy_shares_a_subject(world: World, xnatpy: Any) -> None:
    other = f"{world.project}-other"
    world.owner("PUT", f"/data/projects/{other}")
    xnatpy.projects[world.project].subjects["sub-01"].share(other)
    xnatpy.clearcache()

    assert [one.id for one in xnatpy.projects[other].subjects.values()] == [world.subject]


def test_xnatpy_knows_who_may(world: World, xnatpy: Any) -> None:
    project = xnatpy.projects[world.project]
    found = {login: one.access_level for login, one in project.users.items()}

    assert found == {"owner": "Owners", "member": "Members", "collaborator": "Collaborators"}


# ------------------------------------------------------------------ xnatpy: resources and files


@pytest.mark.parametrize("level", ["project", "subject", "session", "scan"])
def test_xnatpy_has_resources_everywhere(level: str, world: World, xnatpy: Any, folder: Path) -> None:
    project = xnatpy.projects[world.project]
    subject = project.subjects["sub-01"]
    session = subject.experiments["ses-01"]
    place = {"project": project, "subject": subject, "session": session, "scan": session.scans["1"]}[level]

    resource = place.create_resource("EXTRA")
    resource.upload(str(folder / "a.nii.gz"), "a.nii.gz")
    resource.upload(str(folder / "deep" / "b.txt"), "sub/b.txt")

    assert sorted(resource.files.keys()) == ["a.nii.gz", "sub/b.txt"]
    assert place.resources["EXTRA"].label == "EXTRA"
    file = resource.files["sub/b.txt"]
    assert (int(file.size), file.data["Name"]) == (4, "b.txt")


def test_xnatpy_uploads_data_and_overwrites(world: World, xnatpy: Any) -> None:
    resource = xnatpy.experiments[world.session].create_resource("R")
    resource.upload_data("first", "a.txt")
    resource.upload_data("second", "a.txt", overwrite=True)

    with resource.files["a.txt"].open() as opened:
        assert opened.read() == b"second"


def test_xnatpy_downloads_a_file(world: World, xnatpy: Any, tmp_path: Path) -> None:
    world.upload("a.txt", b"content")
    file = xnatpy.experiments[world.session].scans["1"].resources["NIFTI"].files["a.txt"]
    file.download(str(tmp_path / "copy.txt"), verbose=False)

    assert (tmp_path / "copy.txt").read_bytes() == b"content"
    assert file.digest == "9a0364b9e99bb480dd25e1f0284c8555"


@pytest.mark.parametrize("method", ["tgz_file", "tar_file", "tar_memory", "tgz_memory", "per_file"])
def test_xnatpy_uploads_a_folder(method: str, world: World, xnatpy: Any, folder: Path, tmp_path: Path) -> None:
    resource = xnatpy.experiments[world.session].create_resource("R")
    resource.upload_dir(str(folder), method=method)
    resource.download_dir(str(tmp_path / "out"), verbose=False)

    assert contents(tmp_path / "out") == BOTH
    assert sorted(resource.files.keys()) == ["a.nii.gz", "deep/b.txt"]


def test_xnatpy_downloads_scans_sessions_subjects_and_projects(world: World, xnatpy: Any, tmp_path: Path) -> None:
    world.upload("a.txt", b"content")
    project = xnatpy.projects[world.project]
    session = project.experiments["ses-01"]
    session.scans["1"].download(str(tmp_path / "scan.zip"), verbose=False)
    for number, place in enumerate((session.scans["1"], session, session.subject, project)):
        target = tmp_path / str(number)
        target.mkdir()
        place.download_dir(str(target), verbose=False)
        assert contents(target) == {"a.txt": b"content"}, place
    assert (tmp_path / "scan.zip").read_bytes()[:2] == b"PK"


def test_xnatpy_prints_the_files_of_a_scan_that_match(world: World, xnatpy: Any) -> None:
    """The tool at the end of its tutorial."""
    for name in ("a.dcm", "b.dcm", "c.txt"):
        world.upload(name)
    project = xnatpy.projects[world.project]
    files = project.subjects["sub-01"].experiments["ses-01"].scans["1"].files.values()

    assert sorted(file.name for file in files if re.match(r".*\.dcm", file.name)) == ["a.dcm", "b.dcm"]


def test_xnatpy_imports(world: World, xnatpy: Any, tmp_path: Path) -> None:
    """By `services.import_`, which sends the archive as a form."""
    archive = tmp_path / "session.zip"
    archive.write_bytes(make_xar(world.project, "imported", {"a.txt": b"x"}))
    xnatpy.services.import_(str(archive), import_handler="XAR", project=world.project, subject="sub-01")
    xnatpy.clearcache()

    found = xnatpy.projects[world.project].experiments["imported"].scans["1"].resources["NIFTI"]
    assert list(found.files.keys()) == ["a.txt"]


# ------------------------------------------------------------------ pyxnat: looking around


def test_pyxnat_selects_by_calls_and_by_paths(world: World, pyxnat: Any) -> None:
    select = pyxnat.select
    here = f"/project/{world.project}"

    assert world.project in select.projects().get()
    assert world.project in select("/projects").get()
    assert select.projects(f"*{world.project[1:]}").get()[-1:] == [world.project]
    assert [one.label() for one in select.project(world.project).subjects()] == ["sub-01"]
    assert [one.label() for one in select(f"{here}/subjects/*{world.subject[-3:]}")] == ["sub-01"]
    assert [one.label() for one in select(f"{here}//experiments")] == ["ses-01"]
    assert [one.id() for one in select(f"{here}/subjects/*/experiments/*/scans")] == ["1"]
    assert select(f"{here}/subject/sub-01").exists()
    assert not select(f"{here}/subject/sub-99").exists()


def test_pyxnat_knows_ids_labels_and_types(world: World, pyxnat: Any) -> None:
    session = pyxnat.select(f"/project/{world.project}/subject/sub-01/experiment/ses-01")

    assert (session.id(), session.label()) == (world.session, "ses-01")
    assert session.datatype() == "xnat:mrSessionData"
    assert session.parent().label() == "sub-01"
    assert "scans" in session.children()
    assert session.scan("1").datatype() == "xnat:mrScanData"
    assert session.xpath("//xnat:scan/@ID") == ["1"]


def test_pyxnat_selects_experiments_of_the_site(world: World, pyxnat: Any) -> None:
    rows = pyxnat.array.experiments(project_id=world.project, experiment_type="xnat:mrSessionData").data

    assert [row["ID"] for row in rows] == [world.session]


def test_pyxnat_knows_who_may(world: World, pyxnat: Any) -> None:
    """What its handbook shows as text, `accessibility` gives as bytes, whatever a server answers."""
    project = pyxnat.select.project(world.project)

    assert project.accessibility() == b"private"
    assert sorted(project.users()) == ["collaborator", "member", "owner"]
    assert (project.owners(), project.members(), project.collaborators()) == (["owner"], ["member"], ["collaborator"])
    assert project.user_role("member") == "member"
    project.remove_user("member")
    project.add_user("stranger", "collaborator")
    assert sorted(project.collaborators()) == ["collaborator", "stranger"]
    project.set_accessibility("public")
    assert project.accessibility() == b"public"


# ------------------------------------------------------------------ pyxnat: making and changing


def test_pyxnat_inserts_and_deletes(world: World, pyxnat: Any) -> None:
    project = pyxnat.select.project(f"{world.project}-new")
    assert not project.exists()
    project.insert()
    assert project.exists()
    subject = project.subject("first")
    subject.insert()
    assert subject.exists()
    subject.delete()
    assert not subject.exists()
    project.delete()
    assert not project.exists()


def test_pyxnat_inserts_parents_on_the_way(world: World, pyxnat: Any) -> None:
    scan = pyxnat.select(f"/project/{world.project}/subject/new/experiment/new/scan/4")
    scan.insert(experiments="xnat:petSessionData", scans="xnat:petScanData")

    assert scan.exists()
    assert scan.datatype() == "xnat:petScanData"
    assert scan.parent().datatype() == "xnat:petSessionData"


def test_pyxnat_inserts_with_defaults(world: World, pyxnat: Any) -> None:
    scan = pyxnat.select(f"/project/{world.project}/subject/new/experiment/new/scan/4")
    scan.insert()

    assert scan.datatype() == "xnat:mrScanData"


def test_pyxnat_inserts_with_fields_of_several_levels(world: World, pyxnat: Any) -> None:
    experiment = pyxnat.select(f"/project/{world.project}/subject/new/experiment/new")
    experiment.insert(
        **{
            "experiments": "xnat:mrSessionData",
            "ID": f"{world.project}_my_id",
            "xnat:mrSessionData/age": "42",
            "xnat:subjectData/investigator/lastname": "doe",
            "xnat:subjectData/investigator/firstname": "jane",
            "xnat:subjectData/ID": f"{world.project}_my_subject",
        }
    )

    assert experiment.id() == f"{world.project}_my_id"
    assert float(experiment.attrs.get("xnat:mrSessionData/age")) == 42
    assert experiment.parent().id() == f"{world.project}_my_subject"
    assert experiment.parent().attrs.get("xnat:subjectData/investigator/lastname") == "doe"


def test_pyxnat_gets_and_sets_attributes(world: World, pyxnat: Any) -> None:
    project = pyxnat.select.project(world.project)
    project.attrs.set("secondary_ID", f"{world.project}-title")
    project.attrs.set("xnat:projectData/keywords", "test project")

    assert project.attrs.get("secondary_ID") == f"{world.project}-title"
    assert project.attrs.get("xnat:projectData/keywords") == "test project"
    project.attrs.mset({"xnat:projectData/keywords": "other words", "secondary_ID": f"{world.project}-b"})
    assert project.attrs.mget(["xnat:projectData/keywords", "secondary_ID"]) == ["other words", f"{world.project}-b"]
    scan = project.subject("sub-01").experiment("ses-01").scan("1")
    scan.attrs.mset({"xnat:mrScanData/quality": "usable", "xnat:mrScanData/parameters/tr": "2.5"})
    assert scan.attrs.mget(["quality", "xnat:mrScanData/parameters/tr"]) == ["usable", "2.5"]


def test_pyxnat_sets_demographics(world: World, pyxnat: Any) -> None:
    subject = pyxnat.select.project(world.project).subject("sub-01")
    subject.attrs.mset({"gender": "female", "handedness": "left", "yob": "1980"})

    assert subject.attrs.mget(["gender", "handedness", "yob"]) == ["female", "left", "1980"]


def test_pyxnat_sets_parameters_of_scans(world: World, pyxnat: Any) -> None:
    scan = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").scan("1")
    scan.set_param("threshold", "0.5")

    assert scan.params() == ["threshold"]
    assert scan.get_param("threshold") == "0.5"


def test_pyxnat_shares(world: World, pyxnat: Any) -> None:
    other = f"{world.project}-other"
    pyxnat.select.project(other).insert()
    subject = pyxnat.select.project(world.project).subject("sub-01")
    subject.share(other)

    assert sorted(one.id() for one in subject.shares()) == sorted([world.project, other])
    assert [one.id() for one in pyxnat.select.project(other).subjects()] == [world.subject]
    subject.unshare(other)
    assert list(pyxnat.select.project(other).subjects()) == []


# ------------------------------------------------------------------ pyxnat: resources and files


def test_pyxnat_inserts_files_with_what_they_are(world: World, pyxnat: Any, folder: Path) -> None:
    project = pyxnat.select.project(world.project)
    file = project.resource("NIFTI").file("image.nii")
    file.insert(str(folder / "a.nii.gz"), content="T1", format="NIFTI", tags="image test")

    assert file.exists()
    assert int(file.size()) == 5
    assert (file.content(), file.format(), file.labels()) == ("T1", "NIFTI", "image test")
    assert [one.label() for one in project.resources()] == ["NIFTI"]
    assert project.resource("NIFTI").files().get() == ["image.nii"]


def test_pyxnat_gets_files(world: World, pyxnat: Any, tmp_path: Path) -> None:
    world.upload("a.txt", b"content")
    scan = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").scan("1")
    file = scan.resource("NIFTI").file("a.txt")

    assert Path(file.get()).read_bytes() == b"content"
    assert Path(file.get(str(tmp_path / "one.txt"))).read_bytes() == b"content"
    assert Path(file.get_copy(str(tmp_path / "two.txt"))).read_bytes() == b"content"


@pytest.mark.parametrize("level", ["project", "subject", "experiment", "scan"])
def test_pyxnat_puts_and_gets_folders(level: str, world: World, pyxnat: Any, folder: Path, tmp_path: Path) -> None:
    project = pyxnat.select.project(world.project)
    subject = project.subject("sub-01")
    experiment = subject.experiment("ses-01")
    places = {"project": project, "subject": subject, "experiment": experiment, "scan": experiment.scan("1")}
    resource = places[level].resource("R")
    resource.put_dir(str(folder))

    target = tmp_path / "out"
    target.mkdir()
    resource.get(str(target), extract=True)
    assert contents(target).items() >= BOTH.items()
    assert sorted(Path(name).name for name in resource.files().get()) == ["a.nii.gz", "b.txt"]
    resource.delete()
    assert not resource.exists()


def test_pyxnat_puts_several_files_and_archives(world: World, pyxnat: Any, folder: Path, tmp_path: Path) -> None:
    resource = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").resource("R")
    resource.put([str(folder / "a.nii.gz"), str(folder / "deep" / "b.txt")])

    assert sorted(Path(name).name for name in resource.files().get()) == ["a.nii.gz", "b.txt"]
    assert {Path(name).name for name in resource.get(str(tmp_path), extract=True)} >= set(BOTH)


def test_pyxnat_downloads_scans(world: World, pyxnat: Any, tmp_path: Path) -> None:
    world.upload("a.txt", b"content")
    scans = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").scans()
    scans.download(str(tmp_path), type="ALL", extract=True)

    assert contents(tmp_path)["a.txt"] == b"content"


def test_pyxnat_deletes_files(world: World, pyxnat: Any) -> None:
    world.upload("a.txt")
    resource = pyxnat.select.project(world.project).subject("sub-01").experiment("ses-01").scan("1").resource("NIFTI")
    resource.file("a.txt").delete()

    assert resource.files().get() == []
