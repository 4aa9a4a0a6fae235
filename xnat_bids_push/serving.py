"""Opening the local archive to other clients: where it may listen, and whether what it keeps is whole."""

from __future__ import annotations

import ipaddress
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xnat_bids_push.connecting import check_system
from xnat_bids_push.errors import ConfigError

if TYPE_CHECKING:
    from xnat_bids_push.server import LocalServer

DATABASE = "archive.sqlite3"
IN_THE_CLEAR = (
    "Warning: other machines can reach this archive without TLS. Passwords and data travel in the clear: anybody on "
    "the way can read them."
)


@dataclass(frozen=True, slots=True)
class Door:
    """Where an archive listens, and how it is guarded."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    @property
    def is_private(self) -> bool:
        """Whether only this machine can knock; a name other than localhost may mean any address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_in_the_clear(self) -> bool:
        """Whether passwords leave this machine unencrypted."""
        return not self.is_private and self.certificate is None


def starting(door: Door, registered: Literal["all", "stock"]) -> Callable[[Path], LocalServer]:
    """What starts an archive behind a door that is safe to open.

    Raises:
        ConfigError: other machines could listen in, or certificate and key cannot be used.
    """
    check_system()
    from xnat_bids_push.server import LocalServer  # the server's libraries load only where it runs

    _check(door)

    def start(folder: Path) -> LocalServer:
        return LocalServer(
            folder,
            host=door.host,
            port=door.port,
            registered=registered,
            certificate=door.certificate,
            key=door.key,
            remember=False,
        )

    return start


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the files of an archive, one line each.

    Raises:
        ConfigError: there is no archive in the folder.
    """
    check_system()
    from xnat_bids_push.server import check

    # Looking into a folder must not make an archive of it.
    if not (folder / DATABASE).is_file():
        raise ConfigError(f"there is no local archive in {folder}")
    try:
        yield from map(str, check(folder))
    except sqlite3.DatabaseError as error:
        yield f"damaged: {DATABASE} ({error})"


def _check(door: Door) -> None:
    if (door.certificate is None) != (door.key is None):
        raise ConfigError("TLS needs both --certificate and --key")
    if door.certificate is not None and door.key is not None:
        _check_pair(door.certificate, door.key)
    elif not door.is_private and not door.insecure:
        raise ConfigError(
            f"{door.host or 'the empty host'} can be reached from other machines: give --certificate and --key for "
            "TLS, or --insecure if passwords may travel in the clear"
        )


def _check_pair(certificate: Path, key: Path) -> None:
    for file in (certificate, key):
        if not file.is_file():
            raise ConfigError(f"there is no file {file}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An empty passphrase, so that nobody is asked for one.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise ConfigError(
            f"{certificate} and {key} cannot be used: they must be a certificate and its key without a passphrase, "
            f"both in PEM form ({error.strerror})"
        ) from error
