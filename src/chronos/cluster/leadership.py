"""Seeks the lead for as long as the node lives, and says who has it.

    seek ─▶ win ─▶ begin a term (fold to the end, write that it begins, plan) ─▶ lose ─▶ plan no more ─▶ seek

What it means to lead is the `Role`'s business; that nobody else thinks that he leads is the log's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self

import structlog

from chronos.cluster.port import Epoch, LeaderInfo, ReplicatedLog
from chronos.errors import LogFailed, NotLeader, SnapshotNeeded, Unavailable

log = structlog.get_logger(__name__)

SEEK_AGAIN_S = 0.25
RESIGN_S = 1.0
"""How long giving the lead up may take; others take it anyway when it does not work."""


class Role(Protocol):
    """What a node does because it leads."""

    async def lead(self, epoch: Epoch) -> None:
        """Begin a term; raises `Unavailable` when the lead was lost on the way."""
        ...

    async def lost(self) -> None:
        """Return when this node leads no more."""
        ...

    async def follow(self) -> None:
        """End what only a leader does. Asked after every `lead`, however that ended; what runs goes on."""
        ...

    def heard(self, leader: LeaderInfo) -> None:
        """Take in who leads now; nobody does while its node is empty."""
        ...


class Leadership:
    """`async with` begins to seek the lead, and gives it up in the end.

    Args:
        may_lead: Asked before the lead is sought; while it says no, somebody else may have it.
    """

    def __init__(
        self, log: ReplicatedLog, node: str, role: Role, *, may_lead: Callable[[], bool] = lambda: True
    ) -> None:
        self._log = log
        self._node = node
        self._role = role
        self._may_lead = may_lead
        self._epoch: Epoch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._handing: _HandingOver | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch(), name="leadership")
        self._seeking = asyncio.create_task(self._seek(), name="seeking the lead")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave()
        watching, self._watching = self._watching, None
        await _end(watching)

    async def leave(self, to: str | None = None) -> None:
        """Seek the lead no more, and give it up, to node `to` if it wants it; who leads is still heard of.

        Asked twice, or before the beginning, it does nothing.
        """
        seeking, self._seeking = self._seeking, None
        if seeking is not None:
            await _end(seeking)
            await self._resign(to)

    async def hand_over(self, to: str) -> None:
        """End this term, and let `to` begin the next one if it wants to; return when the seat is empty.

        Raises:
            NotLeader: This node does not lead.
            Unavailable: The seat could not be left; others take it when they hear nothing.
        """
        if self._handing is None:
            raise NotLeader("This node does not lead; nothing was handed over.")
        self._handing.to = to
        self._handing.asked.set()
        await asyncio.shield(self._handing.done)

    async def failure(self) -> None:
        """Return never, unless it ends by itself; then raise what ended it."""
        tasks = [task for task in (self._watching, self._seeking) if task is not None]
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                tasks.remove(task)
                if not task.cancelled():
                    task.result()
        await asyncio.Event().wait()

    @property
    def leads(self) -> bool:
        """Whether this node has won the lead, and not lost it since."""
        return self._epoch is not None

    async def _resign(self, to: str | None) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            return
        try:
            async with asyncio.timeout(RESIGN_S):
                await self._log.resign(epoch, to)
        except (Unavailable, TimeoutError) as error:
            log.warning("lead_not_given_up", reason=str(error))

    async def _watch(self) -> None:
        while True:
            try:
                async for leader in self._log.leadership():
                    self._role.heard(leader)
            except Unavailable as error:
                if isinstance(error, LogFailed):
                    raise
                await asyncio.sleep(SEEK_AGAIN_S)

    async def _seek(self) -> None:
        while True:
            if not self._may_lead():
                await asyncio.sleep(SEEK_AGAIN_S)
                continue
            try:
                await self._serve(await self._log.campaign())
            except (LogFailed, SnapshotNeeded):
                raise
            except Unavailable as error:
                log.info("not_leading", reason=str(error))
                await asyncio.sleep(SEEK_AGAIN_S)

    async def _serve(self, epoch: Epoch) -> None:
        """Serve one term, to its end."""
        self._epoch = epoch
        handing = _HandingOver()
        try:
            await self._role.lead(epoch)
            log.info("leading", node=self._node)
            self._handing = handing
            await _first(self._role.lost(), handing.asked.wait())
            self._epoch = None
            if not handing.asked.is_set():
                log.warning("lead_lost", node=self._node)
        except Unavailable:
            self._epoch = None
            raise
        finally:
            self._handing = None
            await self._role.follow()
            if not handing.asked.is_set():
                handing.give_up()
        if handing.asked.is_set():
            await self._hand_over(epoch, handing)

    async def _hand_over(self, epoch: Epoch, handing: _HandingOver) -> None:
        """Leave the seat, now that nothing is planned here any more."""
        try:
            async with asyncio.timeout(RESIGN_S):
                await self._log.resign(epoch, handing.to)
            log.info("lead_handed_over", to=handing.to)
        except (Unavailable, TimeoutError) as error:
            log.warning("lead_not_given_up", reason=str(error))
            handing.fail(Unavailable(f"The lead could not be handed to `{handing.to}`: {error or 'no answer in time'}"))
        finally:
            handing.end()


class _HandingOver:
    """Somebody's wish that this term ends, and what came of it."""

    def __init__(self) -> None:
        self.to = ""
        self.asked = asyncio.Event()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # whoever asked may have gone

    def give_up(self) -> None:
        self.fail(NotLeader("This node leads no more; nothing was handed over."))


async def _first(*waiting: Coroutine[Any, Any, Any]) -> None:
    """Return when the first of them does, and end the others."""
    tasks = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
