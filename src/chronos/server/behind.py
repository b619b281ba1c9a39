"""A member that is too far behind to follow the log: it fetches another's state and history, and says so meanwhile.

It takes part in the engine, for the others count on that, and in nothing else.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Protocol

import structlog

from chronos import __version__
from chronos.cluster.port import ReplicatedLog
from chronos.errors import Unavailable
from chronos.model.principal import Principal
from chronos.plugin import PUBLIC, Call, Endpoint, Reply
from chronos.server.listener import Listener
from chronos.server.rest.core import reply
from chronos.server.rest.health import Health, Ready
from chronos.server.settings import Server
from chronos.server.snapshots.calls import Offered
from chronos.server.snapshots.choosing import Others, Stage, fetch_from_anybody
from chronos.server.snapshots.fetching import YARD
from chronos.server.supervisor import Supervisor
from chronos.server.web import build
from chronos.store.replacing import replace
from chronos.store.upgrade import bring_up
from chronos.telemetry import Telemetry
from chronos.timing.clock import Chance, Clock

log = structlog.get_logger("chronos.snapshots")

RETRY_S = 5


class SharedLog(ReplicatedLog, AbstractAsyncContextManager[object], Protocol):
    """The cluster's log, with the engine that it is on."""


class CatchUp:
    """One fetch, from the beginning to the end.

    Args:
        room: Makes what answers requests meanwhile, of what tells how far it is.
    """

    def __init__(
        self,
        shared: SharedLog,
        members: Others,
        data: Path,
        node: str,
        room: Callable[[Callable[[], str]], AbstractAsyncContextManager[object]],
        supervisor: Supervisor,
    ) -> None:
        self._log = shared
        self._members = members
        self._data = data
        self._node = node
        self._room = room
        self._supervisor = supervisor
        self._asked = asyncio.Event()
        self._stage = Stage()

    def ask(self) -> None:
        """Ask it to stop; what has arrived stays for the next start."""
        self._asked.set()

    async def run(self) -> bool:
        """Put another member's state and history in the place of this node's; return whether that was done.

        Raises:
            NoSnapshot: Nobody had any, for as long as is waited for that.
            Unavailable: The engine did not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)
        async with AsyncExitStack() as running:
            await running.enter_async_context(self._room(self.sentence))
            work = [asyncio.create_task(self._fetch(), name="catching up"), asyncio.create_task(self._asked.wait())]
            if self._supervisor.is_there:
                running.push_async_callback(_end, asyncio.create_task(self._supervisor.run()))
            try:
                await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(*work)
            return False if work[0].cancelled() else work[0].result() is None

    def sentence(self) -> str:
        """Return why this node takes no requests, and how far it is."""
        return f"This node is too far behind to follow the others' log. {self._stage}"

    async def _fetch(self) -> None:
        async with self._log:
            fetched = await fetch_from_anybody(
                self._members, self._data, first=self._first, on_offered=self._publish, stage=self._stage
            )
        placing = asyncio.ensure_future(asyncio.to_thread(self._put_in_place, fetched.folder))
        try:
            await asyncio.shield(placing)
        finally:
            await placing  # whoever asks to stop waits for it: the folder is locked for as long
        log.info("snapshot_in_place", of=self._stage.node, entry=fetched.applied, copied_bytes=fetched.copied_bytes)

    async def _first(self) -> int:
        return (await self._log.bounds())[0]

    async def _publish(self, offered: Offered) -> None:
        """Have the log keep what comes behind the snapshot, within its bounds, until this node follows again."""
        try:
            await self._log.publish_progress(self._node, offered.applied, "")
        except Unavailable as error:
            log.info("progress_not_published", reason=str(error))

    def _put_in_place(self, folder: Path) -> None:
        replace(self._data, folder)
        shutil.rmtree(self._data / YARD, ignore_errors=True)
        bring_up(self._data)


async def _end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class WaitingRoom:
    """Answers for a node that takes no requests yet: it is alive, it is not ready, and why. `async with` listens.

    Args:
        why: Returns a sentence, anew for each request.
    """

    def __init__(
        self, address: str, port: int, server: Server, clock: Clock, chance: Chance, why: Callable[[], str]
    ) -> None:
        self._why = why
        app = build(
            self._endpoints(),
            authenticate=self._refuse,
            allowed_hosts=server.allowed_hosts,
            address=address,
            clock=clock,
            chance=chance,
            telemetry=Telemetry(),
        )
        self._listener = Listener(app, address, port, server.http)

    async def __aenter__(self) -> WaitingRoom:
        await self._listener.__aenter__()
        log.info("waiting_room", url=self._listener.url)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._listener.stop()

    def _endpoints(self) -> list[Endpoint]:
        answers = {"/health": self._health, "/healthz": self._health, "/ready": self._ready, "/readyz": self._ready}
        return [Endpoint("GET", path, handler, PUBLIC, "", tag="") for path, handler in answers.items()]

    async def _health(self, _: Call) -> Reply:
        return reply(Health(status="healthy", version=__version__))

    async def _ready(self, _: Call) -> Reply:
        standing = Ready(ready=False, reason=self._why(), role="follower")
        return reply(standing, status=503, headers={"Retry-After": str(RETRY_S)})

    async def _refuse(self, _: Mapping[str, str]) -> Principal:
        # Nobody can be recognised without state; and whatever was asked, the answer is the same.
        raise Unavailable(self._why(), retry_after=RETRY_S)
