"""The `Executor` whose attempts run in worker processes.

Deliveries are spread by namespace and host, so that a host's breaker, its cap and its connections live in one place.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from msgspec import Struct

from chronos.dispatch.breaker import BreakerState
from chronos.dispatch.executor import ExecutorSettings
from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import Delivery, Done, NotSent, OnDone
from chronos.dispatch.right import RightToSend
from chronos.dispatch.workers.process import Launcher
from chronos.dispatch.workers.protocol import VERSION, Begin
from chronos.dispatch.workers.seat import Seat, WorkerState
from chronos.telemetry import Telemetry
from chronos.timing.clock import Clock


class PoolSettings(Struct, frozen=True, kw_only=True):
    """How many work, and how much each may have.

    Attributes:
        workers: At least one.
        max_held: Attempts given out or waiting; what comes beyond is reported as `NotSent("capacity")`.
        executor: Of each worker.
    """

    workers: int = 1
    max_held: int = 200_000
    executor: ExecutorSettings = ExecutorSettings()


class WorkerPool:
    """Implements `Executor`. Entered, it starts the workers; left, it ends them. It may be entered again meanwhile.

    An attempt is never submitted a second time before its end is reported.

    Args:
        handover: Makes what each worker is equipped with; called for every start of one.
        on_done: Called on the loop with every batch of ended attempts; must not raise.
        right: This node's right to send, which each worker is told of; None where it needs none.
    """

    def __init__(
        self,
        launcher: Launcher,
        handover: Callable[[], bytes],
        on_done: OnDone,
        clock: Clock,
        settings: PoolSettings | None = None,
        *,
        telemetry: Telemetry | None = None,
        right: RightToSend | None = None,
    ) -> None:
        self._handover = handover
        self._on_done = on_done
        self._clock = clock
        self._settings = settings or PoolSettings()
        telemetry = telemetry or Telemetry()
        self._seats = [
            Seat(number, launcher, self._begin, on_done, clock, telemetry, right)
            for number in range(1, self._settings.workers + 1)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._refused: list[Done] = []
        self._draining = False

    async def __aenter__(self) -> Self:
        if not self._tasks:
            self._tasks = [asyncio.create_task(seat.run(), name=f"worker {seat.number}") for seat in self._seats]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        await self.drain(0)
        for seat in self._seats:
            seat.leave()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ready(self) -> None:
        """Return when every worker has been there once.

        Raises:
            WorkersFailed: One does not come up.
            ConfigInvalid: One cannot work with what it was handed.
        """
        all_up, failed = asyncio.create_task(self._all_up()), asyncio.create_task(self.failure())
        try:
            await asyncio.wait({all_up, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            all_up.cancel()
            failed.cancel()
            await asyncio.gather(all_up, failed, return_exceptions=True)

    async def _all_up(self) -> None:
        for seat in self._seats:
            await seat.was_up.wait()

    async def failure(self) -> None:
        """Return never while workers can be had, and when they are let go; then raise what is wrong."""
        waiting = set(self._tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _begin(self, number: int, ahead_s: float, until_s: float | None) -> Begin:
        return Begin(VERSION, number, ahead_s, self._settings.executor, self._handover(), until_s)

    # The port.

    def submit(self, deliveries: list[Delivery]) -> None:
        """Take over `deliveries`; each is reported once. See `Executor.submit`."""
        if self._draining or not self._tasks:
            self._refuse(deliveries, NotSent("drain"))
            return
        room = self._settings.max_held - self.in_flight()
        if len(deliveries) > room:
            self._refuse(deliveries[room:], NotSent("capacity", retry_after_s=1.0))
            deliveries = deliveries[:room]
        if len(self._seats) == 1:
            self._seats[0].desk.take(deliveries)
            return
        for seat, some in self._spread(deliveries):
            seat.desk.take(some)

    async def recall(self, execution_ids: list[str]) -> dict[str, str]:
        """Return `dropped`, `sent` or `unknown` for each id. See `Executor.recall`.

        What a worker does not answer for in time, or takes with it, counts as sent.
        """
        answers = dict.fromkeys(execution_ids, "unknown")
        for found in await asyncio.gather(*(seat.desk.recall(execution_ids) for seat in self._seats)):
            answers |= found
        return answers

    async def cancel(self, execution_ids: list[str], *, cancel_url: bool = True) -> None:
        """Stop what runs under these ids. See `Executor.cancel`. What was still held becomes `NotSent("recalled")`."""
        for seat in self._seats:
            seat.desk.cancel(execution_ids, cancel_url=cancel_url)

    def in_flight(self) -> int:
        """How many attempts are held or running."""
        return sum(seat.desk.in_flight() for seat in self._seats)

    async def drain(self, seconds: float) -> None:
        """Take nothing new, let what runs finish for `seconds`, report the rest. See `Executor.drain`."""
        self._draining = True
        await asyncio.gather(*(seat.desk.drain(seconds) for seat in self._seats))
        self._tell_refused()

    # For people.

    @property
    def running(self) -> int:
        """How many attempts are under way, as the workers said last; at most half a second ago."""
        return sum(state.running for state in self.workers())

    def workers(self) -> list[WorkerState]:
        """Return how every worker stands."""
        return [seat.state() for seat in self._seats]

    async def breakers(self) -> list[BreakerState]:
        """Return every worker's circuit breakers, by namespace and host.

        Raises:
            WorkersFailed: One did not say.
        """
        found = await asyncio.gather(*(seat.breakers() for seat in self._seats))
        return sorted((one for some in found for one in some), key=lambda one: (one.namespace, one.host))

    async def reset_breaker(self, namespace: str, host: str) -> bool:
        """Close a breaker wherever it is, and return whether there was one.

        Raises:
            WorkersFailed: A worker did not say.
        """
        return any(await asyncio.gather(*(seat.reset(namespace, host) for seat in self._seats)))

    # Who gets what.

    def _spread(self, deliveries: list[Delivery]) -> Iterable[tuple[Seat, list[Delivery]]]:
        hands: list[list[Delivery]] = [[] for _ in self._seats]
        for delivery in deliveries:
            hands[shard_of(delivery) % len(hands)].append(delivery)
        return ((seat, some) for seat, some in zip(self._seats, hands, strict=True) if some)

    def _refuse(self, deliveries: list[Delivery], outcome: NotSent) -> None:
        now_us = int(self._clock.time() * 1_000_000)
        if not self._refused:
            asyncio.get_running_loop().call_soon(self._tell_refused)
        self._refused += [Done(one.execution_id, one.attempt, outcome, now_us, now_us) for one in deliveries]

    def _tell_refused(self) -> None:
        refused, self._refused = self._refused, []
        if refused:
            self._on_done(refused)


def shard_of(delivery: Delivery) -> int:
    """Return a number that is the same for all deliveries to a host of a namespace; by job where there is no host."""
    place = host_of(delivery.target) or delivery.job_id
    return zlib.crc32(f"{delivery.namespace}\0{place}".encode())
