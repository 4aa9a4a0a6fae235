"""Where to push to, and as whom: options > environment > settings file > keyring > netrc > a question.

No password is ever an option, or in the settings file. A password goes only to the server and for the user that it
was saved for.
"""

from __future__ import annotations

import json
import netrc
import os
import ssl
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from xnat_bids_push import vault
from xnat_bids_push.errors import ConfigError
from xnat_bids_push.preferences import OPTIONS, PATHS, Preferences, Rows, Setting, Site, faults, preferences_of

_FAMILIES = ("XNATPY", "XNAT")
_ARCHIVE = "BIDS2XNAT_ARCHIVE"
_CONFIG = "BIDS2XNAT_CONFIG"

TIMEOUT = 300.0
"""Seconds to wait between two bytes of an answer, unless somebody says otherwise."""


def state_folder() -> Path:
    """Where what is worth keeping, and is no setting, goes: receipts."""
    return platformdirs.user_state_path("bids2xnat")


def config_folder() -> Path:
    """Where settings are."""
    return platformdirs.user_config_path("bids2xnat")


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
    timeout: float = TIMEOUT
    """Seconds to wait between two bytes of an answer."""
    login_from: str = field(default="", compare=False)
    """Where user and password were found, for people."""
    login_ends: datetime | None = field(default=None, compare=False)
    """When the login ends, if it is a token of which that is known."""


def resolve(
    *,
    server: str = "",
    user: str = "",
    password: str = "",
    config: Path | None = None,
    archive: Path | None = None,
    ca_bundle: Path | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> Settings:
    """Find out where to push to, and as whom.

    Args:
        server: the address that was given, or a name of the settings file; it may hold neither user nor password.
        user: the login that was given.
        password: the password that was given to the Python API; the command line takes none.
        config: a settings file (``.toml``), instead of the user's; or a JSON file of pyxnat's form:
            ``{"server": …, "user": …, "password": …}``.
        archive: the embedded archive's folder; if given, that is where it goes, whatever the environment says.
        ca_bundle: a file of certificates to trust instead of the usual ones.
        timeout: seconds to wait between two bytes of an answer.
        environment: ``os.environ`` by default.
        ask: asks for what is missing; without it, that is an error.

    Raises:
        ConfigError: there is a server, and no credentials for it; or a setting is no good.
    """
    env = os.environ if environment is None else environment
    goal = find_goal(server=server, config=config, archive=archive, environment=env)
    patience = _seconds(goal, timeout)
    if not goal.address:
        return Settings("", "", "", goal.folder, timeout=patience)
    bundle = _checked_bundle(goal.ca_bundle(ca_bundle))
    login = find_login(goal, user=user, password=password, environment=env)
    name = login.name or _asked(f"User at {goal.address}", ask, login, secret=False)
    word = login.password or _asked(f"Password of {name} at {goal.address}", ask, login, secret=True)
    origin = login.password_from or _ASKED
    return Settings(goal.address, name, word, goal.folder, bundle, patience, origin, login.ends)


def _seconds(goal: Goal, given: float | None) -> float:
    said = goal.setting("timeout")
    return given or (float(str(said.value)) if said is not None else TIMEOUT)


def _checked_bundle(said: Setting | None) -> str:
    """The file of certificates, if it holds any; without one, what the environment says counts."""
    if said is None:
        return ""
    path = Path(str(said.value)).expanduser()
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one
        reason = "it holds no certificates in PEM form, or cannot be read"
        raise ConfigError(f"{said.origin}: {said.value}: {reason}") from error
    return str(path.absolute())


# ------------------------------------------------------------------ where to


@dataclass(frozen=True, slots=True)
class Goal:
    """Where to, before it is known who.

    Args:
        server: the address, or "" for the embedded archive.
        archive: the embedded archive's folder.
        site: what the settings file knows of the server.
        preferences: the settings file.
        saved: logins that were saved for it.
    """

    server: Setting
    archive: Setting
    site: Site | None
    preferences: Preferences
    saved: tuple[_Saved, ...] = ()

    @property
    def address(self) -> str:
        """The server's address, or ""."""
        return str(self.server.value)

    @property
    def folder(self) -> Path:
        """The embedded archive's folder."""
        return Path(str(self.archive.value)).expanduser().absolute()

    def setting(self, key: str) -> Setting | None:
        """What the settings file says of an option, for this server."""
        return self.preferences.setting(key, self.site)

    def ca_bundle(self, given: Path | None) -> Setting | None:
        """Which certificates are trusted: those given, or those of the server's table."""
        return Setting(str(given), "--ca-bundle") if given is not None else self.setting("ca_bundle")


def find_goal(
    *,
    server: str = "",
    config: Path | None = None,
    archive: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Goal:
    """Find out where to, by what `resolve` is given, and read the settings file.

    Raises:
        ConfigError: what was given makes no sense, or the settings file is no good.
    """
    env = os.environ if environment is None else environment
    if archive is not None and (server or (config is not None and not _is_toml(config))):
        raise ConfigError("--archive is a local archive: it cannot be had together with --server or --config")
    preferences = read_preferences(settings_file(config, env))
    saved = [_read_json(config)] if config is not None and not _is_toml(config) else []
    saved += [_from_environment(env, family) for family in _FAMILIES]
    folder = _archive_folder(archive, preferences, env)
    if archive is not None:
        return Goal(Setting("", "--archive"), folder, None, preferences)
    found = _server(server, saved, preferences)
    address = str(found.value)
    if not address:
        return Goal(found, folder, None, preferences)
    _check_address(address)
    site = preferences.sites.get(server) or preferences.site_at(address)
    return Goal(found, folder, site, preferences, tuple(one for one in saved if one.server in ("", address)))


def _archive_folder(given: Path | None, preferences: Preferences, env: Mapping[str, str]) -> Setting:
    if given is not None:
        return Setting(str(given), "--archive")
    if env.get(_ARCHIVE):
        return Setting(env[_ARCHIVE], _ARCHIVE)
    return preferences.setting("archive") or Setting(
        str(platformdirs.user_data_path("bids2xnat") / "archive"), "by default"
    )


def _server(given: str, saved: Iterable[_Saved], preferences: Preferences) -> Setting:
    """The server's address, and who says so."""
    if given:
        site = preferences.sites.get(given)
        origin = f"--server, {preferences.origin(site)}" if site is not None else "--server"
        return Setting(_address_of(given, preferences), origin)
    said = next((Setting(one.server, one.origin("HOST")) for one in saved if one.server), None)
    said = said or preferences.setting("server")
    if said is None:
        return Setting("", "by default")
    site = preferences.sites.get(str(said.value))
    return Setting(site.url, f"{said.origin}, {preferences.origin(site)}") if site is not None else said


def _address_of(text: str, preferences: Preferences) -> str:
    """The address that a text is, or that it names."""
    if text in preferences.sites:
        return preferences.sites[text].url
    if any(sign in text for sign in ".:/@"):
        return text.rstrip("/")
    names = ", ".join(preferences.sites)
    known = f"{preferences.file} has {names}" if names else "no settings file names any"
    raise ConfigError(f"{text!r} is no server's address, which begins with https://, and no server's name: {known}")


def _check_address(address: str) -> None:
    fault = _address_fault(address)
    if fault:
        raise ConfigError(fault)


def _address_fault(address: str) -> str:
    if "@" in address:  # wherever it stands: a password may hold any sign, and must not be quoted here
        return "the server's address holds a user or a password: give them by --user, netrc or environment"
    try:
        parts = urlsplit(address)
    except ValueError as error:
        return f"{address!r} is no server's address: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{address!r} is no server's address: it must begin with https:// or http://"
    return ""


def local_archive(environment: Mapping[str, str] | None = None) -> Path:
    """The embedded archive's folder, whatever server is configured."""
    env = os.environ if environment is None else environment
    folder = _archive_folder(None, read_preferences(settings_file(None, env)), env)
    return Path(str(folder.value)).expanduser().absolute()


# ------------------------------------------------------------------ what counts


def settings_used(
    goal: Goal, given: Rows, *, defaults: Rows, file: Setting, environment: Mapping[str, str] | None = None
) -> dict[str, Setting]:
    """All that counts for a goal, and who says so; of a password only whether it is known.

    Args:
        goal: where to.
        given: what was given as options, by their names.
        defaults: what options are if nobody says anything.
        file: the settings file.
        environment: ``os.environ`` by default.
    """
    found = {"config": file if goal.preferences.file else Setting(file.value, f"{file.origin}, and not there")}
    if not goal.address:
        found["archive"] = goal.archive
    else:
        login = find_login(goal, user=str(given.get("user") or ""), environment=environment)
        word = Setting("(not shown)", login.password_from) if login.password else Setting("", _ASKED)
        found |= {"server": goal.server, "user": Setting(login.user, login.user_from or _ASKED), "password": word}
        bundle = goal.ca_bundle(Path(str(given["ca_bundle"])) if given.get("ca_bundle") else None)
        found["ca_bundle"] = bundle or Setting("", "by default: those that Python trusts, or REQUESTS_CA_BUNDLE")
    for name in OPTIONS:
        option = Setting(given[name], f"--{name.replace('_', '-')}") if given.get(name) is not None else None
        standard = TIMEOUT if name == "timeout" else defaults.get(name)
        found[name] = option or goal.setting(name) or Setting("" if standard is None else standard, "by default")
    return found


_ASKED = "asked for"


# ------------------------------------------------------------------ the settings file


def _is_toml(path: Path) -> bool:
    return path.suffix.casefold() == ".toml"


def settings_file(given: Path | None = None, environment: Mapping[str, str] | None = None) -> Setting:
    """The path of the settings file, whether it is there or not, and who says so."""
    env = os.environ if environment is None else environment
    if given is not None and _is_toml(given):
        return Setting(given.expanduser(), "--config")
    if env.get(_CONFIG):
        return Setting(Path(env[_CONFIG]).expanduser(), _CONFIG)
    return Setting(config_folder() / "config.toml", "by default")


def read_preferences(file: Setting) -> Preferences:
    """Read the settings file; that of the user need not be there.

    Raises:
        ConfigError: with all that is wrong with it.
    """
    path = Path(str(file.value))
    try:
        rows = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        if file.origin == "by default":
            return Preferences()
        raise ConfigError(f"{file.origin}: {path} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8, whose error holds the text
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ConfigError(f"{path} is no TOML: {reason}") from None
    found = [*faults(rows), *_address_faults(rows)]
    if found:
        raise ConfigError("\n".join([f"{path} is wrong:", *found]))
    return preferences_of(_located(rows, path.absolute().parent), str(path))


def _address_faults(rows: Rows) -> Iterator[str]:
    tables = rows.get("server")
    for name, table in tables.items() if isinstance(tables, Mapping) else ():
        url = table.get("url") if isinstance(table, Mapping) else None
        fault = _address_fault(url) if isinstance(url, str) else ""
        if fault:
            yield f"[server.{name}] url: {fault}"


def _located(rows: Rows, folder: Path) -> Rows:
    """The rows with all paths absolute: they are meant from the file's folder."""
    found: dict[str, object] = {}
    for key, value in rows.items():
        if isinstance(value, Mapping):
            found[key] = _located(value, folder)
        else:
            found[key] = str(folder / Path(value).expanduser()) if key in PATHS and isinstance(value, str) else value
    return found


# ------------------------------------------------------------------ as whom


@dataclass(frozen=True, slots=True)
class Login:
    """A login as far as it is known, and who says so.

    Args:
        alias: what goes to the server as the user's name, if it is a token's.
        ends: when it ends, if it is a token's.
        remark: why no login could be had where one was expected.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    user_from: str = ""
    password_from: str = ""
    alias: str = ""
    ends: datetime | None = None
    remark: str = ""

    @property
    def name(self) -> str:
        """What goes to the server as the user's name."""
        return self.alias or self.user


def find_login(
    goal: Goal, *, user: str = "", password: str = "", environment: Mapping[str, str] | None = None
) -> Login:
    """Find the login for a server, as far as it is known without a question."""
    env = os.environ if environment is None else environment
    known = _login_of(goal, user)
    if password:
        known = Login(known.user, password, known.user_from, "given")
    if known.user and known.password:
        return known
    kept = known if known.password else _from_keyring(goal, known)
    if kept.password and kept.name:
        return kept
    return _completed(kept, _from_netrc(goal.address, known.user, env), "netrc")


def _from_keyring(goal: Goal, known: Login) -> Login:
    """The login that `bids2xnat login` has kept, if it is this user's."""
    try:
        token = vault.find(goal.address)
    except ConfigError as error:
        return replace(known, remark=str(error))
    if token is None or known.user not in ("", token.user):
        return known
    if token.has_ended():
        return replace(known, remark=f"the login kept in the keyring ended {when(token.ends)}")
    origin = f"keyring, until {when(token.ends)}" if token.ends is not None else "keyring"
    return Login(token.user, token.secret, known.user_from or "keyring", origin, token.alias, token.ends)


def when(moment: datetime | None) -> str:
    """A time for people, by this machine's clock."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment is not None else ""


def _login_of(goal: Goal, user: str) -> Login:
    """What was given, and what was saved for the server."""
    site = goal.site if goal.site is not None and goal.site.user else None
    users = [(user, "--user"), *((one.user, one.origin("USER")) for one in goal.saved)]
    users += [(site.user, goal.preferences.origin(site))] if site is not None else []
    login, login_from = _first(users)
    word, word_from = _first((one.password, one.origin("PASS")) for one in goal.saved if one.user in ("", login))
    return Login(login, word, login_from, word_from)


def _completed(known: Login, found: tuple[str, str] | None, origin: str) -> Login:
    """A login with what one place knows; a password that is known stays."""
    if found is None:
        return known
    word, word_from = (known.password, known.password_from) if known.password else (found[1], origin)
    return Login(found[0], word, known.user_from or origin, word_from, remark=known.remark)


def _first(values: Iterable[tuple[str, str]]) -> tuple[str, str]:
    return next((one for one in values if one[0]), ("", ""))


@dataclass(frozen=True, slots=True)
class _Saved:
    """What one place says; an empty server or user means that it goes with any.

    Args:
        name: of the place: a file, or what the names of some variables begin with.
    """

    server: str
    user: str
    password: str = field(repr=False)
    name: str = ""
    variables: bool = False

    def origin(self, word: str) -> str:
        """Who says so: HOST, USER or PASS."""
        return f"{self.name}_{word}" if self.variables else self.name


def _from_environment(env: Mapping[str, str], family: str) -> _Saved:
    host, user, password = (env.get(f"{family}_{name}", "") for name in ("HOST", "USER", "PASS"))
    return _Saved(host.rstrip("/"), user, password, family, variables=True)


def _read_json(path: Path) -> _Saved:
    try:
        content = json.loads(path.expanduser().read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        # The parser's words may quote the file, and the file holds a password.
        form = "it should be like {'server': …, 'user': …, 'password': …}; a settings file's name ends in .toml"
        raise ConfigError(f"{path} is not JSON; {form}") from None
    texts = {key: text for key, text in content.items() if isinstance(text, str)} if isinstance(content, dict) else {}
    if not texts.get("server"):
        raise ConfigError(f"{path} names no server; it should be like {{'server': …, 'user': …, 'password': …}}")
    return _Saved(texts["server"].rstrip("/"), texts.get("user", ""), texts.get("password", ""), f"--config {path}")


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


def _asked(question: str, ask: Ask | None, known: Login, *, secret: bool) -> str:
    remark = f" ({known.remark})" if known.remark else ""
    answer = ask(question + remark, secret) if ask is not None else ""
    if not answer:
        what = "password" if secret else "user"
        raise ConfigError(
            f"no {what} is known for the server{remark}: run bids2xnat login, or set XNAT_USER and XNAT_PASS, or put "
            "them into ~/.netrc, or give a file by --config"
        )
    return answer
