"""The archive's door: what servers say, turned into values and errors."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from tests.conftest import Connect, People
from xnat_bids_push.client import Credentials
from xnat_bids_push.config import Settings
from xnat_bids_push.connecting import Access, connect, open_settings
from xnat_bids_push.dataset import Selection, read
from xnat_bids_push.errors import AccessDenied, ConfigError, DatasetError, Rejected, Unavailable
from xnat_bids_push.model import CreateSubject, Node
from xnat_bids_push.pulling import pull
from xnat_bids_push.pushing import batches, push, verify
from xnat_bids_push.removing import plan_removal, remove
from xnat_bids_push.running import Run
from xnat_bids_push.server import LocalServer


class _Page(http.server.BaseHTTPRequestHandler):
    """A server that answers everything with a page and 200, as proxies and portals do."""

    logins: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.logins.append(self.headers.get("Authorization"))
        body = b"<!DOCTYPE html><html><body>Welcome</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815  # the name that the library calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Say nothing."""


@contextmanager
def portal() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_is_no_xnat_is_told_before_the_password_goes_out() -> None:
    with portal() as url, pytest.raises(Unavailable, match="does not answer as an XNAT server"):  # noqa: SIM117
        with connect(url, project="P", user="me", password="secret-word"):
            pass


def test_the_first_look_at_a_server_sends_no_login_of_netrc_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret-word\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    _Page.logins.clear()
    with portal() as url, pytest.raises(Unavailable):  # noqa: SIM117
        with connect(url, project="P"):
            pass
    assert _Page.logins == [None]


def test_nobody_answers() -> None:
    with (
        pytest.raises(Unavailable, match="connection"),
        connect("http://127.0.0.1:9", project="P", user="me", password="secret-word"),
    ):
        pass


def test_a_wrong_password_is_access_denied_and_not_told(server: LocalServer) -> None:
    with (
        pytest.raises(AccessDenied) as caught,
        connect(server.url, project="P", user=server.user, password="wrong-secret-word"),
    ):
        pass
    assert "wrong-secret-word" not in str(caught.value)
    assert server.user in str(caught.value)


def test_credentials_show_no_password() -> None:
    assert "secret-word" not in repr(Credentials("https://x.example.org", "me", "secret-word"))
    assert "secret-word" not in repr(Settings("https://x.example.org", "me", "secret-word", Path()))


def test_an_unknown_project_is_refused_with_the_way_on(server: LocalServer, project: str) -> None:
    with (
        pytest.raises(Rejected, match="--create-project"),
        connect(server.url, project=project, user=server.user, password=server.password),
    ):
        pass


def test_a_project_that_xnat_refuses_is_an_error(server: LocalServer, project: str) -> None:
    """Here because another project has the name."""
    login = (server.user, server.password)
    taken = requests.put(f"{server.url}/data/projects/{project}?name={project}_name", auth=login, timeout=30)
    assert taken.status_code == 200
    with (
        pytest.raises(Rejected),
        connect(server.url, project=f"{project}_name", user=login[0], password=login[1], create_project=True),
    ):
        pass


def test_a_created_project_is_private(server: LocalServer, project: str, open_project: Connect) -> None:
    """XNAT's own default lets every user of the site see it."""
    with open_project():
        pass
    url = f"{server.url}/data/projects/{project}/accessibility"
    assert requests.get(url, auth=(server.user, server.password), timeout=30).text.strip() == "private"


def test_a_project_named_by_its_alias_is_found_by_its_id(server: LocalServer, project: str) -> None:
    auth = (server.user, server.password)
    url = f"{server.url}/data/projects/{project}"
    requests.put(url, params={"alias": f"{project}alias"}, auth=auth, timeout=30).raise_for_status()
    if requests.get(f"{url}alias", params={"format": "json"}, auth=auth, timeout=30).status_code != 200:
        pytest.skip("this archive does not take an alias that way")
    with connect(server.url, project=f"{project}alias", user=auth[0], password=auth[1]) as archive:
        assert archive.project == project


def test_an_expired_login_is_renewed(server: LocalServer, open_project: Connect) -> None:
    with open_project() as archive:
        archive.create_subject(CreateSubject("sub-01"))
        archive._session._xnat.interface.delete(f"{server.url}/data/JSESSION", timeout=30)
        assert set(archive.subjects()) == {"sub-01"}


def test_a_login_that_expires_before_a_download_is_renewed(
    small_root: Path, tmp_path: Path, server: LocalServer, open_project: Connect
) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        download = archive.download

        def expired_download(*given: object, **named: object) -> None:
            archive._session._xnat.interface.delete(f"{server.url}/data/JSESSION", timeout=30)
            download(*given, **named)  # type: ignore[arg-type]

        archive.download = expired_download  # type: ignore[method-assign]
        assert pull(archive, tmp_path / "out").ok


def test_a_login_that_expires_in_the_middle_of_a_push_costs_nothing(
    small_root: Path, server: LocalServer, open_project: Connect
) -> None:
    with open_project() as archive:
        client = archive._session._xnat
        ended: list[bool] = []

        def end_session(_: int) -> None:
            if not ended:
                ended.append(True)
                requests.delete(
                    f"{server.url}/data/JSESSION", cookies=dict(client.interface.cookies), timeout=30
                ).raise_for_status()

        report = push(read(small_root), archive, jobs=1, pause=0, on_bytes=end_session)
    assert ended
    assert report.ok, report.failed


def test_a_member_may_remove_nothing_and_is_told(
    small_root: Path, server: LocalServer, project: str, open_project: Connect, people: People
) -> None:
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        people.add("member2", project, "Members")
    with connect(server.url, project=project, user="member2", password=people.password) as archive:
        report = remove(plan_removal(read(small_root), archive), archive)
        assert set(archive.experiments()) == {"sub-01_MR", "sub-02_MR"}
    assert report.denied >= 3


def test_a_site_without_the_session_type_is_told_before_the_first_write(tmp_path: Path, sample_root: Path) -> None:
    """XNAT would take such sessions from an Owner, and make them invisible."""
    with LocalServer(tmp_path, registered="stock") as stock:
        with (
            connect(stock.url, project="P", user=stock.user, password=stock.password, create_project=True) as archive,
            pytest.raises(DatasetError) as caught,
        ):
            push(read(sample_root), archive)
        text = str(caught.value)
        for kind in ("xnat:eegSessionData", "xnat:megSessionData", "xnat:otherDicomSessionData", "xnat:gmSessionData"):
            assert kind in text
        assert "not set up xnat:mrSessionData" not in text
        written = [path for method, path in stock.request_log if method in ("PUT", "POST")]
        assert all("auth" in path or path.endswith("/P") for path in written)


def test_listings_of_many_sessions_are_asked_for_in_pieces(
    tmp_path: Path, server: LocalServer, open_project: Connect
) -> None:
    """A long list of IDs is answered by XNAT with another question's answer, and 200."""
    root = tmp_path / "many"
    root.mkdir()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for number in range(130):
        folder = root / f"sub-{number:03d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{number:03d}_T1w.nii.gz").write_text(str(number))
    with open_project() as archive:
        assert push(read(root), archive, pause=0).ok
        server.request_log.clear()
        held = archive.holdings(archive.experiments().values())
        listings = [path for _, path in server.request_log if path.endswith("/files")]
    assert len(held) == 130
    assert all(len(holding.files) == 2 for holding in held.values())
    assert 2 <= len(listings) <= 4
    assert all(len(path) < 1400 for path in listings)


def test_large_files_travel_by_themselves(sample_root: Path, server: LocalServer, open_project: Connect) -> None:
    dataset = read(sample_root)
    with open_project() as archive:
        run = Run(dataset, archive, large=5_000)
        server.request_log.clear()
        outcomes = [outcome for batch in batches(dataset) for outcome in run.settle(batch)]
        single = [path for method, path in server.request_log if method == "PUT" and path.endswith(".nii.gz")]
        assert verify(dataset, archive).ok
    assert all(outcome.done for outcome in outcomes)
    assert single


def test_bytes_that_arrive_damaged_are_sent_again(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    """Whoever changes a file that this very run sent, and be it the wire: it is ours to put right."""
    dataset = read(small_root)
    path = f"/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR/scans/anat_T1w/resources/NIFTI/files/"
    with open_project() as archive:
        compute = archive.compute_digests
        damaged: list[bool] = []

        def damage_then_compute(paths: object) -> None:
            if not damaged:
                damaged.append(True)
                requests.put(
                    f"{server.url}{path}sub-01_T1w.nii.gz",
                    params={"inbody": "true", "overwrite": "true"},
                    data=b"x",
                    auth=(server.user, server.password),
                    timeout=30,
                ).raise_for_status()
            compute(paths)  # type: ignore[arg-type]

        archive.compute_digests = damage_then_compute  # type: ignore[method-assign]
        report = push(dataset, archive, pause=0)
    assert damaged
    assert report.ok, report.failed


def test_a_file_that_lies_on_the_servers_disk_unlisted_is_replaced(
    small_root: Path, server: LocalServer, project: str, open_project: Connect
) -> None:
    """XNAT keeps the files of a session that is deleted without removeFiles, and later calls them duplicates."""
    auth = (server.user, server.password)
    session = f"{server.url}/data/projects/{project}/subjects/sub-01/experiments/sub-01_MR"
    with open_project() as archive:
        push(read(small_root), archive, pause=0)
        requests.delete(session, auth=auth, timeout=30).raise_for_status()
        requests.put(session, params={"xsiType": "xnat:mrSessionData"}, auth=auth, timeout=30).raise_for_status()
        report = push(read(small_root), archive, pause=0)
    assert report.ok, report.failed


def test_pretending_sees_an_empty_project_and_makes_none(server: LocalServer, project: str, small_root: Path) -> None:
    settings = Settings(server.url, server.user, server.password, Path())
    with open_settings(settings, project, Access.PRETEND) as archive:
        assert (archive.subjects(), archive.experiments()) == ({}, {})
        run = Run(read(small_root), archive)
        plans = [one for batch in batches(read(small_root)) for one in run.plan(batch)]
        assert any(isinstance(step, CreateSubject) for one in plans for step in one.steps)
    with pytest.raises(Rejected), open_settings(settings, project, Access.EXISTING):
        pass


def test_a_local_archive_that_is_not_there_is_not_made_by_looking(tmp_path: Path, sample_root: Path) -> None:
    folder = tmp_path / "none"
    settings = Settings("", "", "", folder)
    with pytest.raises(ConfigError, match="no local archive"), open_settings(settings, "P", Access.EXISTING):
        pass
    with open_settings(settings, "P", Access.PRETEND) as archive:
        assert archive.node_holding(Node()).files == {}
    assert not folder.exists()


def test_a_collaborators_verify_works_on_what_is_proven(
    small_root: Path, server: LocalServer, project: str, open_project: Connect, people: People
) -> None:
    with open_project() as archive:
        push(read(small_root, selection=Selection()), archive, pause=0)
        people.add("collab2", project, "Collaborators")
    with connect(server.url, project=project, user="collab2", password=people.password) as archive:
        assert verify(read(small_root), archive).ok
