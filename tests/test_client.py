"""The client: what is worth repeating, after how long, and how long is waited at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from tests.conftest import Connect
from tests.faults import Fault, wire
from xnat_bids_push.archive import open_archive
from xnat_bids_push.client import (
    LONGEST_PAUSE,
    Credentials,
    Patience,
    _in_trouble,
    _raise_for,
    _retry_after,
    _worth_repeating,
)
from xnat_bids_push.errors import AccessDenied, Distressed, Rejected, Unavailable
from xnat_bids_push.model import CreateSubject
from xnat_bids_push.server import LocalServer


def answer(status: int, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    made._content = b""
    return made


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("86400", LONGEST_PAUSE, LONGEST_PAUSE),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("", 0, 0),
    ],
)
def test_what_a_server_asks_for_is_granted_within_reason(told: str, least: float, most: float) -> None:
    assert least <= _retry_after(answer(503, Retry_After=told)) <= most


@pytest.mark.parametrize(("ahead", "least", "most"), [(60, 1, 60), (-60, 0, 0), (10**6, LONGEST_PAUSE, LONGEST_PAUSE)])
def test_a_date_is_as_good_as_seconds(ahead: float, least: float, most: float) -> None:
    assert least <= _retry_after(answer(503, Retry_After=in_seconds(ahead))) <= most


@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_travels_with_the_error(status: int) -> None:
    with pytest.raises(Unavailable) as caught:
        _raise_for(answer(status, Retry_After="9"), "GET", "/data/x", "")
    assert caught.value.retry_after == 9
    pause = _worth_repeating(caught.value)
    assert not isinstance(pause, bool)
    assert 9 <= pause <= 10


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (Unavailable("x"), True),
        (Unavailable("x", status=500), True),
        (Rejected("x", status=400), False),
        (AccessDenied("x", status=403), False),
        (Distressed("x"), False),
        (ValueError("x"), False),
    ],
)
def test_whether_a_read_is_repeated_is_the_errors_type(error: Exception, repeated: bool) -> None:
    assert _worth_repeating(error) is repeated


def test_the_first_look_is_repeated_only_where_a_server_says_that_it_is_in_trouble() -> None:
    """A wrong address should be told at once."""
    assert not _in_trouble(Unavailable("nobody answers"))
    assert not _in_trouble(Unavailable("a page", status=200))
    assert _in_trouble(Unavailable("starting", status=503))


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_every_request_has_a_timeout_from_the_first_look_on(
    at: int, server: LocalServer, project: str, open_project: Connect
) -> None:
    with open_project():
        pass
    with wire(server.url, at=at, fault=Fault.STALL) as stalled:
        credentials = Credentials(stalled.url, server.user, server.password, patience=Patience(answer=0.5))
        try:
            open_archive(credentials, project).close()
        except Unavailable as error:
            assert at == 0
            assert "did not answer in time" in str(error)  # noqa: PT017  # whether it is raised depends on the request
        assert stalled.stalled.is_set()


def test_a_write_whose_answer_is_lost_is_not_repeated(server: LocalServer, project: str, open_project: Connect) -> None:
    with open_project():
        pass
    with wire(server.url, at=5, fault=Fault.ANSWER_LOST) as line:
        archive = open_archive(Credentials(line.url, server.user, server.password), project)
        with pytest.raises(Unavailable):
            archive.create_subject(CreateSubject("sub-01"))
        assert str(line.exchanges[5]) == f"PUT /data/projects/{project}/subjects/sub-01"
        assert line.requests == 6
        archive.close()
