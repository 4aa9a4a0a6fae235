"""Where to push to, and as whom: flags > environment > config file > netrc > a question. Never a password flag."""

from __future__ import annotations

import json
import netrc
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from xnat_bids_push.errors import ConfigError

_HOSTS = ("XNATPY_HOST", "XNAT_HOST")
_USERS = ("XNATPY_USER", "XNAT_USER")
_PASSWORDS = ("XNATPY_PASS", "XNAT_PASS")
_ARCHIVE = "BIDS2XNAT_ARCHIVE"

Ask = Callable[[str, bool], str]
"""Asks the user; the second argument says whether the answer is secret."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to push to. With an empty `server` that is the embedded archive in the folder `archive`.

    The password appears in no representation.
    """

    server: str
    user: str
    password: str = field(repr=False)
    archive: Path


def resolve(
    *,
    server: str = "",
    user: str = "",
    config: Path | None = None,
    archive: Path | None = None,
    environment: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> Settings:
    """Find out where to push to, and as whom.

    Args:
        server: the address that was given; it may hold neither user nor password.
        user: the login that was given.
        config: a JSON file of pyxnat's form: ``{"server": …, "user": …, "password": …}``.
        archive: the embedded archive's folder; if given, that is where it goes, whatever the environment says.
        environment: ``os.environ`` by default.
        ask: asks for what is missing; without it, that is an error.

    Raises:
        ConfigError: there is a server, and no credentials for it; or a setting is no good.
    """
    env = os.environ if environment is None else environment
    if archive is not None and (server or config):
        raise ConfigError("--archive is a local archive: it cannot be had together with --server or --config")
    folder = archive or Path(env.get(_ARCHIVE) or platformdirs.user_data_path("bids2xnat") / "archive")
    saved = _read_config(config) if config is not None else {}
    address = "" if archive is not None else server or saved.get("server", "") or _first(env, _HOSTS)
    if not address:
        return Settings("", "", "", folder.expanduser().absolute())
    _check_address(address)
    login = user or (saved.get("user", "") or _first(env, _USERS))
    password = _password(address, login, saved, env)
    if not (login and password):
        found = _from_netrc(address, login, env)
        login, password = found or (login, password)
    if not login:
        login = _asked(f"User at {address}", ask, secret=False)
    if not password:
        password = _asked(f"Password of {login} at {address}", ask, secret=True)
    return Settings(address, login, password, folder)


def _password(address: str, login: str, saved: Mapping[str, str], env: Mapping[str, str]) -> str:
    """A saved password, if it is that of this server and this user."""
    if saved.get("password") and saved.get("server", address) == address and saved.get("user", login) == login:
        return saved["password"]
    if _first(env, _USERS) in ("", login) and _first(env, _HOSTS) in ("", address):
        return _first(env, _PASSWORDS)
    return ""


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((env[name] for name in names if env.get(name)), "")


def _read_config(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        # The parser's words may quote the file, and the file holds a password.
        raise ConfigError(f"{path} is not JSON; it should be like {{'server': …, 'user': …, 'password': …}}") from None
    if not isinstance(content, dict) or not isinstance(content.get("server"), str):
        raise ConfigError(f"{path} names no server; it should be like {{'server': …, 'user': …, 'password': …}}")
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise ConfigError("the server's address holds a user or a password: give them by --user, netrc or environment")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{address!r} is no server's address: it must begin with https:// or http://")


def _from_netrc(address: str, login: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of the server, looked up with its port first."""
    default = Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
    path = Path(env.get("NETRC") or default)
    if not path.is_file():
        return None
    try:
        entries = netrc.netrc(path)
    except netrc.NetrcParseError as error:
        raise ConfigError(f"{path} cannot be read (line {error.lineno})") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    parts = urlsplit(address)
    for host in (parts.netloc, parts.hostname or ""):
        found = entries.authenticators(host)
        if found is not None and found[2] and login in ("", found[0]):
            return found[0], found[2]
    return None


def _asked(question: str, ask: Ask | None, *, secret: bool) -> str:
    answer = ask(question, secret) if ask is not None else ""
    if not answer:
        what = "password" if secret else "user"
        raise ConfigError(
            f"no {what} is known for the server: set XNAT_USER and XNAT_PASS, or put them into ~/.netrc, "
            "or give a file by --config"
        )
    return answer
