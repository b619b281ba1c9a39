"""The listener of a server with API processes: main binds the address, they take the connections."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chronos.server.gate import Asgi
from chronos.server.listener import bind, tls_context, url_of
from chronos.server.processes.desk import Desk
from chronos.server.processes.exchange import Requests
from chronos.server.processes.keeper import Keeper
from chronos.server.processes.messages import Brief
from chronos.server.processes.sockets import LINK, REQUESTS, socket_folder
from chronos.server.settings import Settings
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock


@dataclass(frozen=True)
class Backing:
    """What stands behind the API processes.

    Attributes:
        hosts: Names that the server answers to, besides those of this machine.
        cursors: The key that pages' cursors are made with.
    """

    folder: Path
    settings: Settings
    hosts: list[str]
    cursors: bytes
    clock: Clock
    telemetry: Telemetry


class Front:
    """Implements `assemble.Listening`. Its socket is open from the first to the last of its processes, so that clients
    meet a queue and no refusal while one of them is replaced.

    Args:
        app: Builds the application, which answers what the processes pass on.
    """

    def __init__(self, app: Callable[[], Asgi], host: str, port: int, backing: Backing) -> None:
        tls = backing.settings.server.http.tls
        context: ssl.SSLContext | None = tls_context(tls) if tls.enabled else None
        self._app = app
        self._backing = backing
        self._socket = bind(host, port)
        self._host = host
        self.port: int = self._socket.getsockname()[1]
        self.url = url_of("https" if context else "http", host, self.port)
        self._requests: Requests | None = None
        self._desk: Desk | None = None
        self._keepers: list[Keeper] = []
        self._folder: Path | None = None

    async def __aenter__(self) -> Front:
        backing = self._backing
        self._folder = folder = socket_folder(backing.folder, os.environ)
        self._requests = Requests(self._app(), folder / REQUESTS)
        self._desk = Desk(folder / LINK, self._brief, backing.telemetry)
        count = backing.settings.server.processes
        self._keepers = [
            Keeper(number, self._socket.fileno(), folder, self._desk, backing.clock) for number in range(1, count + 1)
        ]
        try:
            await self._requests.start()
            await self._desk.start()
            async with asyncio.TaskGroup() as starting:
                for keeper in self._keepers:
                    starting.create_task(keeper.start())
        except BaseExceptionGroup as several:
            await self.stop()
            raise several.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Let the processes end what they are at, then close. May be called twice."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
        if self._desk is not None:
            await self._desk.stop()
        if self._requests is not None:
            await self._requests.stop()
        if self._folder is not None:
            with suppress(OSError):  # somebody has put something into it
                self._folder.rmdir()
        self._socket.close()

    def _brief(self) -> Brief:
        backing, settings = self._backing, self._backing.settings
        return Brief(
            folder=str(backing.folder.resolve()),
            address=self._host,
            port=self.port,
            http=settings.server.http,
            hosts=backing.hosts,
            logging=settings.logging,
            cursors=backing.cursors,
        )
