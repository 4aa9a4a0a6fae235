"""Opening the archive that the settings name: a server, or the embedded archive."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from xnat_bids_push.archive import Archive, enter, find_archive
from xnat_bids_push.client import Credentials, Patience, Session
from xnat_bids_push.config import Settings, resolve
from xnat_bids_push.errors import ConfigError

if TYPE_CHECKING:
    from xnat_bids_push.server import LocalServer


@contextmanager
def connect(
    server: str = "",
    *,
    project: str,
    user: str = "",
    password: str = "",
    archive: str | os.PathLike[str] | None = None,
    create_project: bool = False,
    ca_bundle: str | os.PathLike[str] | None = None,
) -> Iterator[Archive]:
    """Log in to an XNAT server, or open the embedded archive.

    What is not given is looked up as the command line does: environment, settings file, keyring, netrc. Without any
    server, the archive is the embedded one.

    Args:
        server: the address, ``https://xnat.example.org``, or its name in the settings file.
        project: the project's ID.
        user: the login; an alias token's name will do.
        password: its password.
        archive: the embedded archive's folder.
        create_project: create the project, private, if it is missing; the embedded archive always does.
        ca_bundle: a file of certificates to trust instead of the usual ones.

    Raises:
        ConfigError: there is a server, and no credentials for it.
        ArchiveError: the server does not answer as it should, or the project is not there.
    """
    folder = Path(archive) if archive is not None else None
    bundle = Path(ca_bundle) if ca_bundle is not None else None
    settings = resolve(server=server, user=user, password=password, archive=folder, ca_bundle=bundle)
    create = create_project or not settings.server
    with open_settings(settings, project, Access.CREATE if create else Access.EXISTING) as opened:
        yield opened


class Access(StrEnum):
    """What happens if the project is missing."""

    EXISTING = "existing"
    """That is an error."""
    CREATE = "create"
    """It is created."""
    PRETEND = "pretend"
    """It is looked upon as empty: for a plan, which changes nothing."""


class Entrance:
    """A login at a server that begins at once, in a thread of its own; nothing else is asked for there.

    What must be seen before anything is written, the dataset above all, can be looked at meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self._credentials = credentials_of(settings)
        self._session: Session | None = None
        self._error: Exception | None = None
        # A daemon: somebody who leaves does not wait for a server that does not answer.
        self._thread = threading.Thread(target=self._enter, name="login", daemon=True)
        self._thread.start()

    def _enter(self) -> None:
        try:
            self._session = enter(self._credentials)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to whoever goes in
            self._error = error

    def go_in(self) -> Session:
        """The login, once it is there, or its error."""
        while self._thread.is_alive():
            self._thread.join(_MOMENT)
        if self._error is not None:
            raise self._error
        if self._session is None:
            raise ConfigError("the login has been used")
        session, self._session = self._session, None
        return session

    def close(self) -> None:
        """Log out, if nobody went in."""
        self._thread.join(_MOMENT)
        session, self._session = self._session, None
        if session is not None:
            session.close()


_MOMENT = 0.5
"""Seconds after which somebody who waits looks up."""


@contextmanager
def entering(settings: Settings) -> Iterator[Entrance | None]:
    """Begin to log in at the server that the settings name; the embedded archive is opened when it is needed."""
    entrance = Entrance(settings) if settings.server else None
    try:
        yield entrance
    finally:
        if entrance is not None:
            entrance.close()


@contextmanager
def open_settings(
    settings: Settings, project: str, access: Access = Access.EXISTING, *, entrance: Entrance | None = None
) -> Iterator[Archive]:
    """Open what the settings name, by the entrance if there is one, and close it at the end.

    Raises:
        ConfigError: there is no local archive to look into.
        ArchiveError: the server does not answer as it should, or the project is not there.
    """
    with ExitStack() as stack:
        if entrance is not None:
            session = entrance.go_in()
        elif settings.server:
            session = enter(credentials_of(settings))
        else:
            session = enter(stack.enter_context(_embedded(settings.archive, access)))
        create, pretend = access is Access.CREATE, access is Access.PRETEND
        opened = find_archive(session, project, create=create, pretend=pretend)
        stack.callback(opened.close)
        yield opened


def credentials_of(settings: Settings) -> Credentials:
    """What one logs in with at the server that the settings name."""
    patience = Patience.of(settings.timeout)
    return Credentials(settings.server, settings.user, settings.password, settings.ca_bundle, patience)


@contextmanager
def open_local(folder: Path, start: Callable[[Path], LocalServer]) -> Iterator[LocalServer]:
    """Start the embedded archive in a folder of its own.

    Raises:
        ConfigError: the folder holds something else, or the archive cannot be started there.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "archive.sqlite3").exists():
        raise ConfigError(f"{folder} holds something else than a local archive: give a folder of its own")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = start(folder).__enter__()
    except OSError as error:
        way_on = ": give another --port" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"the local archive {folder} cannot be opened: {error.strerror}{way_on}") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"the local archive {folder} cannot be opened: {error}") from error
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


def check_system() -> None:
    """Whether the embedded archive can run here. It locks its folder, and sees to the disk, in the ways of POSIX.

    Raises:
        ConfigError: it cannot.
    """
    try:
        import_module("fcntl")
    except ImportError as error:
        way_on = "give --server, or run bids2xnat in WSL (Windows Subsystem for Linux)"
        raise ConfigError(f"the local archive works on Linux and macOS only: {way_on}") from error


@contextmanager
def _embedded(folder: Path, access: Access) -> Iterator[Credentials]:
    """The embedded archive, running on this machine for as long as it is needed."""
    check_system()
    from xnat_bids_push.server import LocalServer  # the server's libraries load only where it runs

    with ExitStack() as stack:
        if not folder.is_dir() and access is Access.EXISTING:
            raise ConfigError(f"there is no local archive in {folder} yet: push something first, or give --server")
        if not folder.is_dir() and access is Access.PRETEND:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bids2xnat-")))
        server = stack.enter_context(open_local(folder, LocalServer))
        yield Credentials(server.url, server.user, server.password)
