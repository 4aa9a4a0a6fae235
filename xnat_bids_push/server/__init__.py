"""The embedded archive: a server that answers as XNAT 1.8 does, for rehearsals and tests.

    with LocalServer(folder) as server:
        xnat.connect(server.url, user=server.user, password=server.password)

Everything lies in one folder. Two processes may open it at the same time, and a process that is killed at any moment
leaves an archive in which every listed file is there and complete.

Where a real XNAT is unsafe rather than unkind this server refuses; docs/explanation/embedded-archive.md lists it all.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import uvicorn
from starlette.applications import Starlette

from .accounts import ADMIN
from .app import make_app
from .behaviour import Behaviour
from .checking import Fault, Problem, check
from .site import Site

__all__ = ["Behaviour", "Fault", "LocalServer", "Problem", "Registered", "check", "create_app", "serve"]

Registered = Literal["all", "stock"]
"""Which session types the site knows: all of XNAT's schema, or only those of an untouched installation."""

_START_SECONDS = 30.0
_GOODBYE_SECONDS = 0.2


def create_app(
    folder: Path,
    *,
    registered: Registered = "all",
    behaviour: Behaviour | None = None,
    admin_password: str | None = None,
) -> Starlette:
    """The archive in a folder as an ASGI application; the folder is released when the application shuts down."""
    site = Site(folder, registered=registered, behaviour=behaviour, admin_password=admin_password)
    return make_app(site)[0]


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    registered: Registered = "all",
    behaviour: Behaviour | None = None,
    admin_password: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Open the archive in a folder to clients until interrupted; with a certificate and its key, over TLS."""
    site = Site(folder, registered=registered, behaviour=behaviour, admin_password=admin_password)
    app, _ = make_app(site)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


class LocalServer:
    """A server for the time of a ``with`` block, on a free port of this machine unless told otherwise.

    With a certificate and its key it speaks TLS only. A server that runs for long had better not remember its requests.

    Attributes:
        url: The address, for example ``http://127.0.0.1:41233``.
        user: The login of the administrator.
        password: The administrator's password.
        request_counts: How many requests came in, by method and route (of the first million).
        request_log: Method and path of each request, in order (of the first million).
        site: The open archive.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        registered: Registered = "all",
        admin_password: str | None = None,
        behaviour: Behaviour | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        remember: bool = True,
    ) -> None:
        self._folder = folder
        self._address = (host, port)
        self._tls = (certificate, key)
        self._remember = remember
        self._registered = registered
        self._given_password = admin_password
        self._behaviour = behaviour
        self.user = ADMIN
        self.url = ""
        self.password = ""
        self.request_counts: Counter[str] = Counter()
        self.request_log: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        self.site = Site(
            self._folder,
            registered=self._registered,
            behaviour=self._behaviour,
            admin_password=self._given_password,
        )
        with ExitStack() as undo:
            undo.callback(self.site.close)
            self._socket = _listening(self._address)
            undo.callback(self._socket.close)
            self._server = self._prepare()
            undo.pop_all()
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_START_SECONDS):
            raise TimeoutError("the embedded archive did not start")
        return self

    def _prepare(self) -> _Server:
        """The server, everything that can be wrong with its settings found out."""
        app, archive = make_app(self.site, remember=self._remember)
        self.request_counts, self.request_log = archive.request_counts, archive.request_log
        self.password = self.site.admin_password
        certificate, key = self._tls
        self.url = _url(self._address[0], self._socket.getsockname()[1], tls=certificate is not None)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=60,
            ws="none",
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
        return _Server(config)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hanging_up = asyncio.get_running_loop().call_later(_GOODBYE_SECONDS, self._hang_up)
        await super().shutdown(sockets)
        hanging_up.cancel()

    def _hang_up(self) -> None:
        """Drop idle connections over TLS: their clients would have to answer the goodbye, and do not look."""
        for connection in list(self.server_state.connections):
            if connection.transport.is_closing():
                connection.transport.abort()


def _url(host: str, port: int, *, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _listening(address: tuple[str, int]) -> socket.socket:
    """A listening socket that is marked as TCP, without which asyncio leaves a delay of 40 ms in every answer."""
    family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)[
        0
    ]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(512)
    except BaseException:
        listening.close()
        raise
    return listening
