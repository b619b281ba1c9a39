"""Two ways for an attempt to run: here, or in a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.port import Delivery
from chronos.dispatch.workers.pool import WorkerPool


class Lanes:
    """Implements `Executor` over two others.

    Args:
        stays: Whether a delivery runs in this process.
    """

    def __init__(self, here: LocalExecutor, there: WorkerPool, stays: Callable[[Delivery], bool]) -> None:
        self._here = here
        self._there = there
        self._stays = stays
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(self._here)
            await starting.enter_async_context(self._there)
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    def submit(self, deliveries: list[Delivery]) -> None:
        """Take over `deliveries`; each is reported once. See `Executor.submit`."""
        staying = [delivery for delivery in deliveries if self._stays(delivery)]
        if not staying:
            self._there.submit(deliveries)
            return
        self._here.submit(staying)
        self._there.submit([delivery for delivery in deliveries if not self._stays(delivery)])

    async def recall(self, execution_ids: list[str]) -> dict[str, str]:
        """Return `dropped`, `sent` or `unknown` for each id. See `Executor.recall`."""
        here = await self._here.recall(execution_ids)
        there = await self._there.recall([each for each in execution_ids if here[each] == "unknown"])
        return here | there

    async def cancel(self, execution_ids: list[str], *, cancel_url: bool = True) -> None:
        """Stop what runs under these ids. See `Executor.cancel`."""
        await self._here.cancel(execution_ids, cancel_url=cancel_url)
        await self._there.cancel(execution_ids, cancel_url=cancel_url)

    def in_flight(self) -> int:
        """How many attempts are held or running."""
        return self._here.in_flight() + self._there.in_flight()

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return self._here.running + self._there.running

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let what runs finish for `seconds`, report the rest. See `Executor.drain`."""
        await asyncio.gather(self._here.drain(seconds), self._there.drain(seconds))
