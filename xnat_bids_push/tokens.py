"""Alias tokens of XNAT: had for a login, and withdrawn."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from xnat_bids_push.client import Credentials, Response, Session, is_alias
from xnat_bids_push.errors import AccessDenied, Rejected, Unavailable
from xnat_bids_push.vault import Token

_ISSUE = "/data/services/tokens/issue"


def issue(credentials: Credentials) -> Token:
    """Log in, and have a token issued.

    Raises:
        ArchiveError: the login is not accepted, or the server does not answer as it should.
    """
    session = Session(credentials, connections=1)
    try:
        token = _token(session.once(_ISSUE))
    finally:
        session.close()
    if token is None:
        raise Unavailable("the server's answer is no alias token", method="GET", path=_ISSUE)
    return token


def withdraw(credentials: Credentials) -> None:
    """Make the token useless that one logs in with here; one that is so already will do.

    Raises:
        Unavailable: the server cannot be reached.
    """
    with suppress(AccessDenied, Rejected):
        session = Session(credentials, connections=1)
        try:
            # XNAT would take the secret in the address, too, and log it: the alias will do.
            session.once(f"/data/services/tokens/invalidate/{credentials.user}")
        finally:
            session.close()


def _token(answer: Response) -> Token | None:
    """The token that an answer is; no error of ours runs through a frame that holds the secret."""
    try:
        content = answer.json()
        alias, secret, user = (str(content[key]) for key in ("alias", "secret", "xdatUserId"))
        ends = content.get("estimatedExpirationTime")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not (is_alias(alias) and secret and user):
        return None
    return Token(user, alias, secret, _moment(ends))


def _moment(milliseconds: object) -> datetime | None:
    """A time as XNAT writes it; None for what is none."""
    try:
        return datetime.fromtimestamp(float(str(milliseconds)) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
