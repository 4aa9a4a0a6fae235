"""Where to push to, and as whom: flags > the file of --config > environment > netrc > a question.

No password is ever a flag. A password goes only to the server and for the user that it was saved for.
"""

from __future__ import annotations

import json
import netrc
import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from xnat_bids_push.errors import ConfigError

_FAMILIES = ("XNATPY", "XNAT")
_ARCHIVE = "BIDS2XNAT_ARCHIVE"


def state_folder() -> Path:
    """Where what is worth keeping, and is no setting, goes: receipts."""
    return platformdirs.user_state_path("bids2xnat")


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
    ca_bundle: str = ""
    timeout: float = 300.0
    """Seconds to wait between two bytes of an answer."""
    login_from: str = field(default="", compare=False)
    """Where user and password were found, for people."""


def resolve(
    *,
    server: str = "",
    user: str = "",
    password: str = "",
    config: Path | None = None,
    archive: Path | None = None,
    ca_bundle: Path | None = None,
    environment: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> Settings:
    """Find out where to push to, and as whom.

    Args:
        server: the address that was given; it may hold neither user nor password.
        user: the login that was given.
        password: the password that was given to the Python API; the command line takes none.
        config: a JSON file of pyxnat's form: ``{"server": …, "user": …, "password": …}``.
        archive: the embedded archive's folder; if given, that is where it goes, whatever the environment says.
        ca_bundle: a file of certificates to trust instead of the usual ones.
        environment: ``os.environ`` by default.
        ask: asks for what is missing; without it, that is an error.

    Raises:
        ConfigError: there is a server, and no credentials for it; or a setting is no good.
    """
    env = os.environ if environment is None else environment
    if archive is not None and (server or config):
        raise ConfigError("--archive is a local archive: it cannot be had together with --server or --config")
    folder = archive or Path(env.get(_ARCHIVE) or platformdirs.user_data_path("bids2xnat") / "archive")
    known = [_read_config(config)] if config is not None else []
    known += [_from_environment(env, family) for family in _FAMILIES]
    address = "" if archive is not None else server.rstrip("/") or _first(one.server for one in known)
    if not address:
        return Settings("", "", "", folder.expanduser().absolute())
    _check_address(address)
    bundle = _checked_bundle(ca_bundle)
    known = [one for one in known if one.server in ("", address)]
    login = user or _first(one.user for one in known)
    sources = ["given"] if password else [one.name for one in known if one.password and one.user in ("", login)]
    password = password or _first(one.password for one in known if one.user in ("", login))
    if not (login and password):
        found = _from_netrc(address, login, env)
        login, password = (found[0], password or found[1]) if found else (login, password)
        sources += ["netrc"] if found else []
    if not login:
        login = _asked(f"User at {address}", ask, secret=False)
    if not password:
        password = _asked(f"Password of {login} at {address}", ask, secret=True)
    return Settings(address, login, password, folder, bundle, login_from=_first(sources) or "asked for")


def _checked_bundle(path: Path | None) -> str:
    """The file of certificates, if it holds any; without one, what the environment says counts."""
    if path is None:
        return ""
    try:
        ssl.create_default_context(cafile=path.expanduser())
    except OSError as error:  # an SSLError is one
        raise ConfigError(f"--ca-bundle {path}: it holds no certificates in PEM form, or cannot be read") from error
    return str(path.expanduser().absolute())


@dataclass(frozen=True, slots=True)
class _Saved:
    """What one place says; an empty server or user means that it goes with any."""

    server: str
    user: str
    password: str = field(repr=False)
    name: str = ""


def _from_environment(env: Mapping[str, str], family: str) -> _Saved:
    host, user, password = (env.get(f"{family}_{name}", "") for name in ("HOST", "USER", "PASS"))
    return _Saved(host.rstrip("/"), user, password, f"{family}_USER and {family}_PASS")


def _first(values: Iterable[str]) -> str:
    return next(filter(None, values), "")


def _read_config(path: Path) -> _Saved:
    try:
        content = json.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        # The parser's words may quote the file, and the file holds a password.
        raise ConfigError(f"{path} is not JSON; it should be like {{'server': …, 'user': …, 'password': …}}") from None
    texts = {key: text for key, text in content.items() if isinstance(text, str)} if isinstance(content, dict) else {}
    if not texts.get("server"):
        raise ConfigError(f"{path} names no server; it should be like {{'server': …, 'user': …, 'password': …}}")
    return _Saved(texts["server"].rstrip("/"), texts.get("user", ""), texts.get("password", ""), "--config")


def _check_address(address: str) -> None:
    if "@" in address:  # wherever it stands: a password may hold any sign, and must not be quoted here
        raise ConfigError("the server's address holds a user or a password: give them by --user, netrc or environment")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise ConfigError(f"{address!r} is no server's address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{address!r} is no server's address: it must begin with https:// or http://")


def _from_netrc(address: str, login: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of the server: of its name with the port, its name alone, or any server."""
    default = Path.home() / ("_netrc" if os.name == "nt" else ".netrc")
    path = Path(env.get("NETRC") or default)
    if not path.is_file():
        return None
    try:
        entries = netrc.netrc(path)
    except netrc.NetrcParseError as error:
        raise ConfigError(f"{path} cannot be read (line {error.lineno})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    parts = urlsplit(address)
    for host in (parts.netloc, parts.hostname or "", "default"):
        found = entries.hosts.get(host)
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
