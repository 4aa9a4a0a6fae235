"""The pytest plugin, as other people's tests use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import xnat_bids_push.server  # noqa: F401  # in-process runs forget what they were the first to import
from tests.test_docs import blocks_of, commands_of, says

pytest_plugins = ["pytester"]

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs" / "howto" / "test-with-it.md"
PLUGIN = ("-p", "xnat_bids_push.pytest_plugin", "-p", "no:cacheprovider")

HEAD = """
    import pytest, requests

    def ask(archive, method, path, **query):
        login = (archive.user, archive.password)
        url = archive.url + path.replace("{P}", archive.project)
        return requests.request(method, url, auth=login, params=query, timeout=60)
"""


def run(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    """Run a file of tests with the plugin."""
    pytester.makepyfile(dedent(HEAD) + dedent(code))
    return pytester.runpytest_inprocess(*PLUGIN, "-W", "error", "--strict-markers", *options)


def test_each_test_has_a_project_of_its_own_on_one_server(pytester: pytest.Pytester) -> None:
    code = """
    seen = []

    @pytest.mark.parametrize("number", [1, 2])
    def test_it(number, xnat_archive, xnat_server):
        assert xnat_archive.url == xnat_server.url
        assert xnat_archive.project not in seen
        seen.append(xnat_archive.project)
        listed = ask(xnat_archive, "GET", "/data/projects", format="json").json()["ResultSet"]["Result"]
        assert [row["ID"] for row in listed] == [xnat_archive.project]
        assert ask(xnat_archive, "PUT", "/data/projects/{P}/subjects/s").status_code == 201
    """
    run(pytester, code).assert_outcomes(passed=2)


def test_the_request_log_begins_with_the_test(pytester: pytest.Pytester) -> None:
    code = """
    def test_it(xnat_archive):
        assert xnat_archive.request_log == []
        ask(xnat_archive, "GET", "/data/projects/{P}/subjects")
        assert xnat_archive.request_log == [("GET", f"/data/projects/{xnat_archive.project}/subjects")]
    """
    run(pytester, code).assert_outcomes(passed=1)


def test_a_marker_chooses_role_user_project_and_types(pytester: pytest.Pytester) -> None:
    code = """
    @pytest.mark.xnat(role="Collaborators", user="carol")
    def test_role(xnat_archive):
        assert xnat_archive.user == "carol"
        assert ask(xnat_archive, "GET", "/data/projects/{P}/subjects").status_code == 200
        assert ask(xnat_archive, "PUT", "/data/projects/{P}/subjects/s").status_code == 403

    @pytest.mark.xnat(role="")
    def test_stranger(xnat_archive):
        assert ask(xnat_archive, "GET", "/data/projects/{P}").status_code == 404

    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.xnat(project="STUDY", registered="stock")
    def test_project_and_types(number, xnat_archive, xnat_server):
        assert xnat_archive.project == "STUDY"
        assert xnat_archive.url != xnat_server.url
        rows = ask(xnat_archive, "GET", "/data/search/elements", format="json").json()["ResultSet"]["Result"]
        assert "xnat:eegSessionData" not in {row["ELEMENT_NAME"] for row in rows}

    @pytest.mark.xnat(user="admin")
    def test_admin(xnat_archive):
        assert xnat_archive.password == xnat_archive.server.password
        assert ask(xnat_archive, "GET", "/xapi/users").status_code == 200
    """
    run(pytester, code).assert_outcomes(passed=5)


def test_settings_choose_for_the_whole_run(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nxnat_user = dora\nxnat_password = dora-Passw0rd\nxnat_registered = stock\n")
    code = """
    def test_it(xnat_archive):
        assert (xnat_archive.user, xnat_archive.password) == ("dora", "dora-Passw0rd")
        rows = ask(xnat_archive, "GET", "/data/search/elements", format="json").json()["ResultSet"]["Result"]
        assert "xnat:eegSessionData" not in {row["ELEMENT_NAME"] for row in rows}
    """
    run(pytester, code, "--strict-config").assert_outcomes(passed=1)


def test_a_project_that_the_test_removed_is_no_error(pytester: pytest.Pytester) -> None:
    code = """
    def test_it(xnat_archive):
        assert ask(xnat_archive, "DELETE", "/data/projects/{P}").status_code == 200
    """
    run(pytester, code).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("role='Owner'", "role is one of"),
        ("registered='some'", "registered is all or stock"),
        ("server='x'", "the marker is xnat("),
        ("'STUDY'", "the marker is xnat("),
        ("project='a b'", "answered PUT"),
    ],
)
def test_a_wrong_wish_is_a_clear_error(marker: str, said: str, pytester: pytest.Pytester) -> None:
    result = run(pytester, f"@pytest.mark.xnat({marker})\ndef test_it(xnat_archive): pass")

    result.assert_outcomes(errors=1)
    assert said in result.stdout.str()


def test_no_password_is_shown_when_a_test_fails(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(xnat_archive): assert not xnat_archive")

    result.assert_outcomes(failed=1)
    assert "owner-Passw0rd" not in result.stdout.str()


def test_those_who_use_no_fixture_load_no_server() -> None:
    code = "import sys, xnat_bids_push.pytest_plugin; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )

    heavy = {"uvicorn", "starlette", "lxml", "argon2", "asyncio", "xnat", "pandas", "requests", "sqlite3"}
    assert heavy.isdisjoint(done.stdout.split())


def test_the_page_does_what_it_shows(tmp_path: Path) -> None:
    example, shell = blocks_of(PAGE.read_text("utf-8"))
    (tmp_path / "test_my_tool.py").write_text(example.text)
    [command] = commands_of(shell.text)
    program, *arguments = command.text.split()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment | {"PYTHONPATH": str(CHECKOUT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert program == "python"
    assert done.returncode == 0, done.stdout + done.stderr
    assert says(done.stdout, command.shown)
    assert len(re.findall(r"\S.*\n", example.text)) <= 10
