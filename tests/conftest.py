"""What most tests need: a running archive, a project of one's own, and the sample dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests
import stamina

from test_data.generate import generate
from xnat_bids_push import config, pushing
from xnat_bids_push.archive import Archive
from xnat_bids_push.connecting import connect
from xnat_bids_push.dataset import Dataset, Selection, read
from xnat_bids_push.server import LocalServer
from xnat_bids_push.validating import validate

_NUMBERS = itertools.count(1)

SHARED = Path(__file__).parents[1].parent / "shared"
"""Material beside the checkout that not everybody has; tests that need it are skipped without."""

FAIR_SAMPLE = (
    "real-bids",
    *(
        f"bids-examples/{name}"
        for name in (
            "asl001",
            "atlas-AAL",
            "ds000246",
            "ds114",
            "ds210",
            "eeg_rest_fmri",
            "emg_Multimodal",
            "eyetracking_binocular",
            "fnirs_tapping",
            "ieeg_epilepsyNWB",
            "micr_SEM",
            "micr_XPCTzarr",
            "motion_systemvalidation",
            "mrs_2dmrsi",
            "pet001",
            "qmri_mp2rage",
        )
    ),
)
"""Datasets of the shared material, one or two of each datatype."""

Connect = Callable[..., AbstractContextManager[Archive]]


@pytest.fixture(scope="session", autouse=True)
def _impatient() -> Iterator[None]:
    """Retries do not wait in tests, and give up soon."""
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture(scope="session", autouse=True)
def _receipts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Receipts of tests are kept nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "state_folder", lambda: tmp_path_factory.getbasetemp() / "state")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))  # for programs
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the settings file of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BIDS2XNAT_CONFIG", raising=False)
        patch.setattr(config, "config_folder", lambda: tmp_path_factory.getbasetemp() / "config")
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))  # for programs
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_keyring() -> Iterator[None]:
    """No test sees the keyring of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        yield


@pytest.fixture(scope="session", autouse=True)
def _unvalidated() -> Iterator[None]:
    """Most tests push files that only have the right names: the official validator would refuse them, in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushing, "validate", lambda *_, **__: ())
        yield


@pytest.fixture
def validator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official validator runs in this test, as it does outside of tests."""
    monkeypatch.setattr(pushing, "validate", validate)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """An embedded archive on a real socket, with every session type registered."""
    with LocalServer(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest.fixture
def project() -> str:
    """The ID of a project that nobody else has."""
    return f"T{next(_NUMBERS):04d}"


@pytest.fixture
def open_project(server: LocalServer, project: str) -> Connect:
    """Opens this test's project as the administrator; it is created if need be."""

    def opened() -> AbstractContextManager[Archive]:
        return connect(server.url, project=project, user=server.user, password=server.password, create_project=True)

    return opened


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample dataset's folder; read only."""
    root = tmp_path_factory.mktemp("sample")
    generate(root)
    return root


@pytest.fixture(scope="session")
def sample(sample_root: Path) -> Dataset:
    """The sample dataset with everything in it."""
    return read(sample_root, selection=Selection(("all",), sourcedata=True))


@pytest.fixture
def small_root(tmp_path: Path) -> Path:
    """A dataset of two subjects, small enough to count its requests."""
    return make_small(tmp_path / "small")


def make_small(root: Path) -> Path:
    """Write a dataset of two subjects with one session each."""
    files = {
        "dataset_description.json": '{"Name": "small", "BIDSVersion": "1.10.0"}',
        "README": "small",
        "sub-01/anat/sub-01_T1w.nii.gz": "not an image, and sent all the same",
        "sub-01/anat/sub-01_T1w.json": "{}",
        "sub-01/func/sub-01_task-rest_bold.nii.gz": "bold",
        "sub-01/func/sub-01_task-rest_events.tsv": "onset\tduration\n",
        "sub-01/sub-01_scans.tsv": "filename\n",
        "sub-02/anat/sub-02_T1w.nii.gz": "other",
        "sub-02/anat/sub-02_T1w.json": "",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def shared_dataset(name: str) -> Path:
    """A dataset's folder; the test is skipped where it is absent."""
    root = SHARED / name
    if not root.is_dir():
        pytest.skip(f"{name} is not beside the checkout")
    return root


class People:
    """Accounts of the archive, and their roles."""

    password = "Test-Passw0rd-1"

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def add(self, login: str, project: str, role: str) -> None:
        """Give somebody a role (Owners, Members, Collaborators) in a project; make the account if need be."""
        admin = (self._server.user, self._server.password)
        known = requests.get(f"{self._server.url}/xapi/users", auth=admin, timeout=30).json()
        if login not in known:
            account: dict[str, object] = {"username": login, "password": self.password, "enabled": True}
            account |= {"firstName": "T", "lastName": "T", "email": f"{login}@example.org", "verified": True}
            requests.post(f"{self._server.url}/xapi/users", json=account, auth=admin, timeout=30).raise_for_status()
        url = f"{self._server.url}/data/projects/{project}/users/{role}/{login}"
        requests.put(url, auth=admin, timeout=30).raise_for_status()


@pytest.fixture
def people(server: LocalServer) -> People:
    """Makes accounts."""
    return People(server)
