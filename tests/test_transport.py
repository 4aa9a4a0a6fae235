"""A login goes to one host, by whatever way a server would lead it; and no answer fills the memory."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import needs_openssl, self_made
from xnat_bids_push import client, transport
from xnat_bids_push.archive import open_archive
from xnat_bids_push.client import Credentials, greet
from xnat_bids_push.errors import ArchiveError, ConfigError, Rejected, Unavailable
from xnat_bids_push.server import LocalServer
from xnat_bids_push.transport import Endless, Misled, Transport

SECRET = "planted-secret-word"

Answer = tuple[int, dict[str, str], bytes]
INFO = b'{"version": "1.8.11"}'


class Host:
    """A server that answers by a function, and remembers everything that it was sent."""

    def __init__(self, answer: Callable[[str, str], Answer], *, host: str = "127.0.0.1") -> None:
        self.seen: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append(f"{self.requestline}\n{self.headers}\n{body!r}")
                status, headers, content = answer(self.command, self.path)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_address[1]}"

    @contextmanager
    def __call__(self) -> Iterator[Host]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


def stranger() -> Host:
    """Another host, which would take anything."""
    return Host(lambda method, path: (200, {"Content-Type": "application/json"}, INFO), host="127.0.0.2")


def leading(goal: str, *, at: str, status: int) -> Host:
    """An XNAT that sends on to somewhere else at one address."""

    def answer(method: str, path: str) -> Answer:
        if path.startswith(at):
            return status, {"Location": f"{goal}{path}"}, b""
        if "buildInfo" in path:
            return 200, {}, INFO
        if path.startswith("/data/auth"):
            return 200, {}, b"User 'alice' is logged in"
        return 200, {"Set-Cookie": f"JSESSIONID={SECRET}-session; Path=/"}, f"{SECRET}-session".encode()

    return Host(answer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "at", ["/xapi/siteConfig/buildInfo", "/data/services/auth", "/data/auth", "/data/JSESSION", "/data/projects"]
)
def test_a_redirect_to_another_host_is_not_followed(at: str, status: int) -> None:
    with (
        stranger()() as other,
        leading(other.url, at=at, status=status)() as server,
        pytest.raises(ConfigError, match=r"the server sends .*on to http://127\.0\.0\.2"),
    ):
        open_archive(Credentials(server.url, "alice", SECRET), "P")

    assert other.seen == []


def test_what_a_redirect_carries_is_not_told() -> None:
    goal = f"http://alice:{SECRET}@127.0.0.1"
    with leading(goal, at="/xapi", status=302)() as server, pytest.raises(ConfigError) as caught:
        greet(server.url)

    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_a_redirect_in_circles_ends() -> None:
    def answer(method: str, path: str) -> Answer:
        return 302, {"Location": path + "x"}, b""

    with Host(answer)() as server, pytest.raises(Rejected, match="TooManyRedirects"):
        greet(server.url)

    assert len(server.seen) <= 7


def test_a_redirected_write_is_an_error_and_no_read() -> None:
    with leading("", at="/data/projects", status=302)() as server, Transport() as session:
        with pytest.raises(Misled, match="sends a write on"):
            session.put(f"{server.url}/data/projects/P", data=b"x", timeout=5)
        assert [one.split()[0] for one in server.seen] == ["PUT"]


@needs_openssl
def test_a_site_that_sends_on_to_its_own_https_is_used_there(tmp_path: Path) -> None:
    pair = self_made(tmp_path / "tls")
    with (
        LocalServer(tmp_path / "site", certificate=pair.certificate, key=pair.key) as site,
        leading(site.url, at="/xapi", status=301)() as front,
    ):
        login = Credentials(front.url, site.user, site.password, str(pair.authority))
        opened = open_archive(login, "NEW", create=True)
        assert opened.server == site.url
        assert opened.subjects() == {}
        opened.close()

    assert len(front.seen) == 1
    assert site.password not in front.seen[0]


def test_a_login_of_netrc_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.2\nlogin alice\npassword {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with stranger()() as server, Transport() as session:
        session.get(server.url, timeout=5)

    assert "Authorization" not in "".join(server.seen)


# ------------------------------------------------------------------ what comes in


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SHORT_ANSWER", 1000)
    with Host(lambda method, path: (200, {}, b"x" * 2000))() as server, Transport() as session:
        with pytest.raises(Endless):
            session.get(f"{server.url}/xapi/anything", timeout=5)
        assert len(session.get(f"{server.url}/data/anything", timeout=5).content) == 2000
        with pytest.raises(Rejected, match="does not end"):
            greet(server.url)


def test_a_compressed_answer_counts_as_what_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(transport, "SHORT_ANSWER", 100_000)
    bomb = gzip.compress(bytes(10_000_000))
    packed = Host(lambda method, path: (200, {"Content-Encoding": "gzip"}, bomb))
    with packed() as server, Transport() as session, pytest.raises(Endless):
        session.get(server.url, timeout=5)


@pytest.mark.parametrize("body", [b"[" * 200_000, b"\xff\xfe", b"NaN", b'{"version": {"a": 1}}'[:-1], b""])
def test_what_is_no_version_is_no_xnat(body: bytes) -> None:
    with Host(lambda method, path: (200, {}, body))() as server, pytest.raises(Unavailable, match="does not answer"):
        greet(server.url)


@pytest.mark.parametrize(
    "schema",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        b"no xml",
    ],
)
def test_a_schema_that_would_do_more_than_say_something_is_refused(schema: bytes) -> None:
    def answer(method: str, path: str) -> Answer:
        if "schemas" in path:
            return 200, {"Content-Type": "application/xml"}, schema
        if path.startswith("/data/projects/"):
            return 200, {"Content-Type": "application/json"}, b'{"items": [{"data_fields": {"ID": "P"}}]}'
        return (200, {}, INFO) if "buildInfo" in path else (200, {}, b"User 'alice' is logged in")

    with Host(answer)() as server:
        opened = open_archive(Credentials(server.url, "alice", SECRET), "P")
        with pytest.raises(ArchiveError, match="schema"):
            opened.schema()
        opened.close()


def test_streamed_answers_are_left_to_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SHORT_ANSWER", 10)
    with (
        Host(lambda method, path: (200, {}, b"x" * 2000))() as server,
        Transport() as session,
        session.get(server.url, stream=True, timeout=5) as answer,
    ):
        assert sum(map(len, answer.iter_content(100))) == 2000


def test_nothing_of_the_client_is_logged(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    opened = open_archive(Credentials(server.url, server.user, server.password), "LOGGED", create=True)
    opened.close()

    assert server.password not in caplog.text
    assert client._SILENT.handlers == []


def test_certificates_are_verified_unless_told_which_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    for verify in (None, True, False):
        found = Transport().merge_environment_settings("https://x.org", {}, False, verify, None)
        assert found["verify"] is True
