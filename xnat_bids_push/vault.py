"""Logins kept by the system's keyring: for each server an alias token, and never a password. The door to keyring.

macOS, Windows and the desktops of Linux have a keyring; servers and clusters mostly have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from xnat_bids_push.errors import ConfigError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_Told = TypeVar("_Told")

_SERVICE = "bids2xnat"

_INSTEAD = "put the login into ~/.netrc, which nobody else may read, or set XNAT_USER and XNAT_PASS"


@dataclass(frozen=True, slots=True)
class Token:
    """What XNAT takes instead of a login for some days. The secret appears in no representation.

    Args:
        user: whose it is.
        alias: what it is called; the user's name, for a login.
        secret: the password, for a login.
        ends: when; None if that is not known.
    """

    user: str
    alias: str
    secret: str = field(repr=False)
    ends: datetime | None = None

    def has_ended(self, moment: datetime | None = None) -> bool:
        """Whether it is of no use any more."""
        return self.ends is not None and self.ends <= (moment or datetime.now(UTC))


def keyring_name() -> str:
    """What the keyring of this machine is called.

    Raises:
        ConfigError: there is none that could keep a login; with what to do instead.
    """
    found = _keyring()
    if found is None:
        raise ConfigError(f"keyring is not installed: pip install 'bids2xnat[keyring]'. Without it, {_INSTEAD}")
    if found.priority <= 0:
        raise ConfigError(f"there is no keyring on this machine that could keep a login: {_INSTEAD}")
    return str(found.name)


def keep(server: str, token: Token) -> None:
    """Keep a token for a server, instead of any other.

    Raises:
        ConfigError: the keyring does not take it.
    """
    ends = token.ends.isoformat() if token.ends is not None else ""
    content = {"user": token.user, "alias": token.alias, "secret": token.secret, "ends": ends}
    found = _keyring()
    if found is not None:
        _safely(partial(found.set_password, _SERVICE, server, json.dumps(content)))


def find(server: str) -> Token | None:
    """The token that is kept for a server, whether it has ended or not.

    Raises:
        ConfigError: the keyring cannot be read; it may be locked.
    """
    found = _keyring()
    if found is None or found.priority <= 0:
        return None
    text = _safely(partial(found.get_password, _SERVICE, server))
    return _token(text) if text else None


def forget(server: str) -> None:
    """Keep nothing for a server.

    Raises:
        ConfigError: the keyring does not let go of it.
    """
    found = _keyring()
    if found is not None and _safely(partial(found.get_password, _SERVICE, server)) is not None:
        _safely(partial(found.delete_password, _SERVICE, server))


def _keyring() -> KeyringBackend | None:
    try:
        import keyring  # a luxury, and slow to load
    except ImportError:
        return None
    return keyring.get_keyring()


def _token(text: str) -> Token | None:
    """What was kept; None if somebody else has put something there."""
    try:
        content = json.loads(text)
        ends = datetime.fromisoformat(content["ends"]) if content["ends"] else None
        return Token(content["user"], content["alias"], content["secret"], ends)
    except (ValueError, LookupError, TypeError):
        return None


def _safely(act: Callable[[], _Told]) -> _Told:
    """What a keyring answers; what goes wrong in it, in our words."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # each system's backend raises its own, and they share no ancestor
        kind = type(error).__name__
    # Not from the error, whose words and frames may hold the secret.
    raise ConfigError(f"the keyring of this machine fails ({kind}); it may be locked")
