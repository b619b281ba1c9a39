"""The listener of a server with API processes: main binds the address, they take the connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chronos.server.gate import Asgi
from chronos.server.listener import bind, tls_context, url_of
from chronos.server.processes.desk import Desk
from chronos.server.processes.exchange import Requests
from chronos.server.processes.keeper import Keeper
from chronos.server.processes.messages import Brief
from chronos.server.processes.sockets import LINK, REQUESTS, socket_folder
from chronos.server.settings import Http
from chronos.timing.clock import Clock


@dataclass(frozen=True)
class Backing:
    """What the processes are kept with.

    Attributes:
        folder: The data folder.
        brief: Returns what a process has to know, given the port.
    """

    folder: Path
    processes: int
    brief: Callable[[int], Brief]
    clock: Clock


class Front:
    """Implements `assemble.Listening`. Its socket is open from the first to the last of its processes, so that clients
    meet a queue and no refusal while one of them is replaced.

    Args:
        app: Builds the application, which answers what the processes pass on.
    """

    def __init__(self, app: Callable[[], Asgi], host: str, port: int, http: Http, desk: Desk, backing: Backing) -> None:
        if http.tls.enabled:
            tls_context(http.tls)  # what is wrong with it is said before anything is started
        self._app = app
        self._desk = desk
        self._backing = backing
        self._socket = bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = url_of("https" if http.tls.enabled else "http", host, self.port)
        self._requests: Requests | None = None
        self._keepers: list[Keeper] = []
        self._folder: Path | None = None

    async def __aenter__(self) -> Front:
        backing = self._backing
        self._folder = folder = socket_folder(backing.folder, os.environ)
        self._requests = Requests(self._app(), folder / REQUESTS)
        self._keepers = [
            Keeper(number, self._socket.fileno(), folder, self._desk, backing.clock)
            for number in range(1, backing.processes + 1)
        ]
        try:
            await self._requests.start()
            await self._desk.start(folder / LINK, partial(backing.brief, self.port))
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
        await self._desk.stop()
        if self._requests is not None:
            await self._requests.stop()
        if self._folder is not None:
            with suppress(OSError):  # somebody has put something into it
                self._folder.rmdir()
        self._socket.close()
