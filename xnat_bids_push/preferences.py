"""The settings file: servers with names, and what some options are unless they are given. Its form, checked. Pure.

::

    [defaults]
    server = "lab"
    validation = "warn"

    [server.lab]
    url = "https://xnat.lab.example.org"
    user = "alice"
    jobs = 8
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from math import inf

from xnat_bids_push.model import Dates, Privacy, Validation

Rows = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a key's value must be.

    Args:
        words: the same for people.
        fits: tells of a value whether it is.
    """

    words: str
    fits: Callable[[object], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _number(low: float, high: float = inf, *, kind: type[int | float] = float) -> Kind:
    whole = "whole number" if kind is int else "number"
    words = f"a {whole} from {low:g} to {high:g}" if high < inf else f"a {whole}, at least {low:g}"
    kinds = (int,) if kind is int else (int, float)

    def fits(value: object) -> bool:
        return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high

    return Kind(words, fits)


def _one_of(choices: type[StrEnum]) -> Kind:
    names = [str(one) for one in choices]
    return Kind(f"one of {', '.join(names)}", lambda value: value in names)


_TEXT = Kind("a text", _is_text)
_PATH = Kind("a path", _is_text)
_FLAG = Kind("true or false", lambda value: isinstance(value, bool))
_TABLE = Kind("a table", lambda value: isinstance(value, Mapping))

OPTIONS: dict[str, Kind] = {
    "timeout": _number(1),
    "jobs": _number(1, 64, kind=int),
    "validation": _one_of(Validation),
    "privacy": _one_of(Privacy),
    "dates": _one_of(Dates),
    "no_demographics": _FLAG,
    "mapping": _PATH,
    "receipts": _PATH,
}
"""Options of which the file may say what they are: what a site or a lab decides once, and no dataset by itself."""

DEFAULTS: dict[str, Kind] = {"server": _TEXT, "archive": _PATH} | OPTIONS
SERVER: dict[str, Kind] = {"url": _TEXT, "user": _TEXT, "ca_bundle": _PATH} | OPTIONS
"""What may stand in the table of all servers, and in that of one."""

PATHS = frozenset(key for key, kind in (DEFAULTS | SERVER).items() if kind is _PATH)

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"pass(w(or)?d|phrase)?|pwd|secret|token|.*_(pass(word)?|secret|token)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and who said so."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Site:
    """A server with a name.

    Args:
        name: the name.
        url: its address.
        user: the login there; empty if the file does not say.
        values: what options and certificates are for this server.
    """

    name: str
    url: str
    user: str = ""
    values: Rows = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a settings file says; without one, nothing.

    Args:
        file: where it says so.
        sites: the servers, by name.
        defaults: what counts for all of them.
    """

    file: str = ""
    sites: Mapping[str, Site] = field(default_factory=dict)
    defaults: Rows = field(default_factory=dict)

    def site_at(self, address: str) -> Site | None:
        """The server of an address; the first one, if it has several names."""
        return next((site for site in self.sites.values() if site.url == address), None)

    def setting(self, key: str, site: Site | None = None) -> Setting | None:
        """What a key is for a server, if the file says so.

        >>> preferences_of({"defaults": {"jobs": 2}, "server": {"a": {"url": "https://a.org"}}}, "f").setting("jobs")
        Setting(value=2, origin='[defaults] in f')
        """
        if site is not None and key in site.values:
            return Setting(site.values[key], self.origin(site))
        return Setting(self.defaults[key], self.origin(None)) if key in self.defaults else None

    def origin(self, site: Site | None) -> str:
        """The table of a server, or of all, for people."""
        return f"[server.{site.name}] in {self.file}" if site is not None else f"[defaults] in {self.file}"


def preferences_of(rows: Rows, file: str) -> Preferences:
    """What a settings file without `faults` says."""
    sites = {name: _site(name, table) for name, table in _tables(rows.get("server")).items()}
    return Preferences(file, sites, _table(rows.get("defaults")))


def _site(name: str, table: Rows) -> Site:
    others = {key: value for key, value in table.items() if key not in ("url", "user")}
    return Site(name, str(table["url"]).rstrip("/"), str(table.get("user", "")), others)


def _tables(value: object) -> dict[str, Rows]:
    return {name: _table(one) for name, one in _table(value).items()}


def _table(value: object) -> Rows:
    return value if isinstance(value, Mapping) else {}


# ------------------------------------------------------------------ what is wrong


def faults(rows: Rows) -> Iterator[str]:
    """All that is wrong with the form of a settings file. No value is quoted: it may be a secret."""
    yield from _faults("", rows, {"defaults": _TABLE, "server": _TABLE})
    servers, defaults = _table(rows.get("server")), _table(rows.get("defaults"))
    yield from _faults("[defaults] ", defaults, DEFAULTS)
    for name, table in servers.items():
        if not isinstance(table, Mapping):
            yield f"[server] {name}: it must be a table: write [server.{name}], and its url below"
            continue
        if not _NAME.fullmatch(name):
            yield f"[server.{name}] a server's name is made of letters, digits, - and _"
        yield from _faults(f"[server.{name}] ", table, SERVER)
        if "url" not in table:
            yield f"[server.{name}] url is missing: the server's address"
    default = defaults.get("server")
    if isinstance(default, str) and _NAME.fullmatch(default) and default not in servers:
        yield f"[defaults] server: there is no [server.{default}]: {_advice(default, list(servers))}"


def _faults(place: str, table: Rows, known: Mapping[str, Kind]) -> Iterator[str]:
    for key, value in table.items():
        if key in known and not known[key].fits(value):
            yield f"{place}{key}: it must be {known[key].words}"
        elif key not in known and _SECRET.fullmatch(key):
            yield (
                f"{place}{key}: no secret is ever read from this file: take it out. `bids2xnat login` keeps a login in "
                "your keyring; or put it into ~/.netrc, which nobody else may read"
            )
        elif key not in known:
            yield f"{place}there is no {key!r}: {_advice(key, list(known))}"


def _advice(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key.replace("-", "_").casefold(), known, 1)
    return f"did you mean {close[0]!r}?" if close else f"there {_are(known)}"


def _are(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if len(names) > 1 else f"is {''.join(names) or 'none'}"
