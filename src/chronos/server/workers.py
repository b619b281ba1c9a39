"""Where attempts run: in this process, or in worker processes that are equipped from here."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.port import Delivery, Executor, OnDone
from chronos.dispatch.workers.lanes import Lanes
from chronos.dispatch.workers.pool import PoolSettings, WorkerPool
from chronos.dispatch.workers.process import Exec, Launcher
from chronos.model.target import ProcessTarget
from chronos.server.exits import executor_of
from chronos.server.worker import command
from chronos.server.workplace import KEYS, Handover, plain

if TYPE_CHECKING:
    from chronos.dispatch.breaker import Breakers, BreakerState
    from chronos.dispatch.egress import EgressGuard
    from chronos.dispatch.router import Router
    from chronos.dispatch.workers.seat import WorkerState
    from chronos.server.assemble import House
    from chronos.timing.clock import Clock


class Running(Executor, Protocol):
    """An executor that can be entered, and says how much runs."""

    @property
    def running(self) -> int: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Workers:
    """Makes the executor that the node is to have.

    Programs stay in the main process: whoever replaces a worker that hangs must not end a backup that has been
    running for hours, and what they print is kept here.

    Args:
        count: How many worker processes; 0 runs everything here.
        sections: The features' settings.
        features: Who is installed.
        guard: Knows which ports are Chronos' own; asked whenever a worker is started.

    Attributes:
        executor: What was made; there is one from `make` on.
        pool: The worker processes; None without any.
    """

    executor: Running

    def __init__(
        self,
        count: int,
        house: House,
        router: Router,
        sections: dict[str, Any],
        features: list[str],
        guard: EgressGuard,
        launcher: Launcher | None = None,
    ) -> None:
        self.count = count
        self._house = house
        self._router = router
        self._sections = sections
        self._features = features
        self._guard = guard
        self._launcher = launcher or Exec(command)
        self.pool: WorkerPool | None = None

    def make(self, on_done: OnDone) -> Running:
        """Return an executor that reports to `on_done`."""
        if not self.count:
            self.executor = self._here(on_done, share=1)
            return self.executor
        settings = self._house.settings
        # Without programs there is nothing to do here but to refuse them.
        share = self.count + settings.dispatcher.process.enabled
        self.pool = WorkerPool(
            self._launcher,
            self._handover,
            on_done,
            self._house.clock,
            PoolSettings(workers=self.count, executor=executor_of(settings, share=share)),
            telemetry=self._house.telemetry,
            right=self._house.right,
        )
        self.executor = Lanes(self._here(on_done, share=share), self.pool, _is_program)
        return self.executor

    def states(self) -> list[WorkerState]:
        """Return how every worker process stands."""
        return self.pool.workers() if self.pool is not None else []

    def starting(self) -> AbstractAsyncContextManager[object]:
        """Start the processes now: while they come up, others read the disk. Leaving it ends what is left of them."""
        return self.pool if self.pool is not None else nullcontext()

    async def ready(self) -> None:
        """Return when every worker has been there once; at once without any. See `WorkerPool.ready`."""
        if self.pool is not None:
            await self.pool.ready()

    async def failure(self) -> None:
        """Return never while workers can be had; then raise what is wrong."""
        if self.pool is not None:
            await self.pool.failure()
        await asyncio.Event().wait()

    def _here(self, on_done: OnDone, *, share: int) -> LocalExecutor:
        return LocalExecutor(
            self._router.deliver,
            on_done,
            self._house.clock,
            executor_of(self._house.settings, share=share),
            begin=self._router.begin,
            expect=self._router.expect,
            tell_cancelled=self._router.tell_cancelled,
            telemetry=self._house.telemetry,
            right=self._house.right,
        )

    def _handover(self) -> bytes:
        house = self._house
        return msgspec.msgpack.encode(
            Handover(
                settings=house.settings,
                sections=plain(self._sections),
                features=self._features,
                keys={name: house.premises.key(name) for name in KEYS},
                ports=self._guard.own_ports,
                on_loopback=house.premises.listens_on_loopback,
                is_insecure_allowed=house.premises.is_insecure_allowed,
                public_url=house.entrance.public_url,
                listener_url=house.entrance.listener_url,
                share=self.count,
            )
        )


class AllBreakers:
    """Every circuit breaker of the node: the workers', and main's own, for heartbeats and tests of webhooks."""

    def __init__(self, own: Breakers, clock: Clock, workers: Workers) -> None:
        self._own = own
        self._clock = clock
        self._workers = workers

    async def states(self) -> list[BreakerState]:
        """Return every breaker that has seen a failure, by namespace and host; a host's own worker knows best.

        Raises:
            WorkersFailed: A worker did not say.
        """
        found = {(one.namespace, one.host): one for one in self._own.states(self._clock.boottime())}
        if self._workers.pool is not None:
            found |= {(one.namespace, one.host): one for one in await self._workers.pool.breakers()}
        return [found[key] for key in sorted(found)]

    async def reset(self, namespace: str, host: str) -> bool:
        """Close a breaker wherever it is. Returns whether there was one.

        Raises:
            WorkersFailed: A worker did not say.
        """
        was_here = self._own.reset(namespace, host)
        pool = self._workers.pool
        return (pool is not None and await pool.reset_breaker(namespace, host)) or was_here


def _is_program(delivery: Delivery) -> bool:
    return isinstance(delivery.target, ProcessTarget)
