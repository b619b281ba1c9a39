"""What a node does because it leads: it writes, and it plans. Behind `cluster.leadership`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from chronos.cluster.port import Epoch, LeaderInfo
from chronos.scheduler.company import ClusterCommands, Company
from chronos.scheduler.loop import Scheduler

Duty = Callable[[], AbstractAsyncContextManager[Any]]
"""Something that only a leader does: entered when a term begins, left when it ends."""


Pruning = Callable[[Epoch], Coroutine[Any, Any, None]]


class LeadingCommands(ClusterCommands, Protocol):
    """The command log of a node that may lead (`store.clusterlog.ClusterLog`)."""

    leader: str

    async def lead(self, epoch: Any) -> None: ...
    def step_down(self) -> None: ...
    async def until_lost(self) -> None: ...


class NodeRole:
    """Begins and ends terms, in the order in which that is safe.

    Args:
        duties: Begun after planning, in order.
        pruning: Cuts the log as long as it is let.
    """

    def __init__(
        self,
        node: str,
        commands: LeadingCommands,
        company: Company,
        scheduler: Scheduler,
        *duties: Duty,
        pruning: Pruning | None = None,
    ) -> None:
        self._node = node
        self._commands = commands
        self._company = company
        self._scheduler = scheduler
        self._duties = duties
        self._pruning = pruning
        self._on_duty = AsyncExitStack()
        self._epoch = Epoch(-1)

    async def lead(self, epoch: Epoch) -> None:
        """See `cluster.leadership.Role`."""
        self._epoch = epoch
        await self._commands.lead(epoch)
        await self._company.begin_term()
        await self._scheduler.lead()
        async with AsyncExitStack() as beginning:
            for duty in self._duties:
                await beginning.enter_async_context(duty())
            if self._pruning is not None:
                await beginning.enter_async_context(running(self._pruning(epoch)))
            self._on_duty = beginning.pop_all()

    async def lost(self) -> None:
        """See `cluster.leadership.Role`."""
        await self._commands.until_lost()

    async def follow(self) -> None:
        """See `cluster.leadership.Role`."""
        self._commands.step_down()
        await self._scheduler.follow()
        await self._on_duty.aclose()

    def heard(self, leader: LeaderInfo) -> None:
        """See `cluster.leadership.Role`."""
        if leader.epoch < self._epoch.id:
            return  # this node's own term is newer
        if leader.node != self._node:
            self._commands.leader = leader.node
            self._commands.step_down()
        self._company.on_leader()


@asynccontextmanager
async def running(turns: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let something go on beside, until this is left."""
    task = asyncio.create_task(turns)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
