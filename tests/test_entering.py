"""Logging in while the dataset is looked at: reading overlaps, and nothing is written before all is well."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.test_cli import run
from xnat_bids_push import pushing
from xnat_bids_push.config import Settings
from xnat_bids_push.connecting import Entrance, entering
from xnat_bids_push.errors import AccessDenied, ConfigError
from xnat_bids_push.server import LocalServer

LOGIN = ("PUT", "/data/services/auth")


@pytest.fixture
def at_home(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    for name, value in (("HOST", server.url), ("USER", server.user), ("PASS", server.password)):
        monkeypatch.setenv(f"XNAT_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    server.request_log.clear()
    return server


def make_bad(root: Path) -> None:
    (root / "sub-01/anat/sub-01_T2w.nii.gz").symlink_to("nothing")


@pytest.mark.parametrize("verb", ["push", "plan"])
def test_the_login_does_not_wait_for_the_look_at_the_dataset(
    verb: str, small_root: Path, project: str, at_home: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def validate(*_given: object, **_named: object) -> tuple[()]:
        moment = threading.Event()
        for _ in range(1000):
            if LOGIN in at_home.request_log:
                break
            moment.wait(0.01)
        seen.append(LOGIN in at_home.request_log)
        seen.append(any(method == "PUT" and "projects" in path for method, path in at_home.request_log))
        return ()

    monkeypatch.setattr(pushing, "validate", validate)
    assert run(verb, small_root, project, "--create-project") == (0 if verb == "push" else 1)
    assert seen == [True, False]
    assert at_home.request_log.count(LOGIN) == 1


def test_a_dataset_that_cannot_be_pushed_ends_it_before_anything_is_written(
    small_root: Path, project: str, at_home: LocalServer
) -> None:
    make_bad(small_root)
    assert run("push", small_root, project, "--create-project") == 3
    assert {one for one in at_home.request_log if one[0] not in ("GET", "DELETE")} <= {LOGIN}
    assert {path for method, path in at_home.request_log if method == "DELETE"} <= {"/data/JSESSION"}


@pytest.mark.parametrize(("bad", "code"), [(False, 4), (True, 3)])
def test_what_is_wrong_with_the_dataset_is_told_first(
    *, bad: bool, code: int, small_root: Path, project: str, at_home: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XNAT_PASS", "wrong")
    if bad:
        make_bad(small_root)
    assert run("push", small_root, project) == code


def test_who_leaves_without_going_in_is_logged_out(at_home: LocalServer, tmp_path: Path) -> None:
    settings = Settings(at_home.url, at_home.user, at_home.password, archive=tmp_path)
    with entering(settings) as entrance:
        assert isinstance(entrance, Entrance)
        entrance._thread.join(10)
    assert at_home.request_log[-1] == ("DELETE", "/data/JSESSION")
    with pytest.raises(ConfigError):
        entrance.go_in()


def test_a_login_that_fails_is_an_error_of_whoever_goes_in(at_home: LocalServer, tmp_path: Path) -> None:
    with entering(Settings(at_home.url, at_home.user, "wrong", archive=tmp_path)) as entrance:
        assert entrance is not None
        with pytest.raises(AccessDenied):
            entrance.go_in()
