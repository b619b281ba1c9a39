"""A whole node on virtual time: log, fold, state, scheduler, executor; only the targets are played."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.dispatch.executor import LocalExecutor
from chronos.dispatch.port import Delivered, Delivery, OnDone, Outcome
from chronos.dispatch.redaction import Redactor
from chronos.model.execution import Execution, RangeRecord, Status
from chronos.model.job import Job, JobSpec
from chronos.model.sealing import Sealer
from chronos.scheduler.jobs import JobService
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.pauses import PauseTimer
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commandlog import CommandLog, CommandLogSettings
from chronos.store.port import Result
from chronos.store.queries import ALL, Queries
from chronos.store.records import AFTER_ALL, RecordFilter
from chronos.store.state import MemoryState
from chronos.testing import VirtualClock
from chronos.timing.clock import Clock, SeededChance

BEGIN = datetime(2027, 1, 1, 12, tzinfo=UTC)
BEGIN_S = int(BEGIN.timestamp())
S = 1_000_000

Play = Callable[[Delivery], Awaitable[Outcome]]


class Sent(msgspec.Struct, frozen=True):
    """A first byte that left.

    Attributes:
        at: Seconds after the beginning.
        instant: The second it was due, counted from the beginning.
    """

    job: str
    at: float
    instant: int
    attempt: int
    id: str


class World:
    """What outlives a node: the disk, the targets, and time."""

    def __init__(self, *, seed: int = 1, latency: float = 0.002, clock: Clock | None = None) -> None:
        self.disk = SharedLog()
        self.clock = clock or VirtualClock(BEGIN)
        self.chance = SeededChance(random.Random(seed))
        self.latency: Callable[[], float] = lambda: latency
        self.sent: list[Sent] = []
        self.answers: dict[str, Play] = {}
        self.stopped: list[tuple[float, str, int]] = []
        self.secrets: frozenset[str] | None = frozenset()
        self.lives = 0

    @property
    def now(self) -> float:
        """Seconds after the beginning."""
        return self.clock.time() - BEGIN_S

    async def until(self, second: float) -> None:
        """Let time pass until `second` after the beginning, by the loop's clock."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, second - loop.time()))

    async def deliver(self, delivery: Delivery) -> Outcome:
        """Play the target that the job is named after."""
        instant = delivery.scheduled_s - BEGIN_S
        self.sent.append(Sent(delivery.job_name, self.now, instant, delivery.attempt, delivery.execution_id))
        play = self.answers.get(delivery.job_name)
        return await play(delivery) if play is not None else Delivered()

    async def tell_cancelled(self, delivery: Delivery) -> None:
        """Play a target's `cancel_url`."""
        self.stopped.append((self.now, delivery.execution_id, delivery.attempt))

    async def redactor(self, delivery: Delivery) -> Redactor | None:
        """Return what redacts `secrets`; None when those cannot be had."""
        return Redactor(self.secrets) if self.secrets is not None else None

    def fired(self, job: str = "nightly") -> list[int]:
        """Return the instants (seconds after the beginning) that were sent for a job, in the order they were."""
        return [sent.instant for sent in self.sent if sent.job == job]


class Node:
    """One life of the server over a world."""

    def __init__(
        self, world: World, *, settings: SchedulerSettings | None = None, log_settings: CommandLogSettings | None = None
    ) -> None:
        world.lives += 1
        self.world = world
        self.state = MemoryState()
        log = MemoryLog(world.disk, latency=lambda: world.latency())
        self.commands = CommandLog(log, self.state, world.clock, world.chance, settings=log_settings)
        self.queries = Queries(self.state, bytes(32))
        self.executor: LocalExecutor
        incarnation = f"n1#{world.lives}"
        self.scheduler = Scheduler(
            self.commands,
            self.queries,
            world.clock,
            self._make_executor,
            incarnation=incarnation,
            settings=settings,
            tell_cancelled=world.tell_cancelled,
            redactor=world.redactor,
        )
        self.jobs = JobService(
            self.commands,
            Lookup(self.queries),
            self.scheduler,
            clock=world.clock,
            chance=world.chance,
            sealer=Sealer(bytes(32), world.chance),
            check_target=lambda target: None,
        )
        self.pauses = PauseTimer(self.commands, self.queries, self.jobs, world.clock)
        self._incarnation = incarnation
        self._stack = AsyncExitStack()

    def _make_executor(self, on_done: OnDone) -> LocalExecutor:
        self.executor = LocalExecutor(self.world.deliver, on_done, self.world.clock)
        return self.executor

    async def __aenter__(self) -> Self:
        await self.commands.start("n1", self._incarnation)
        await self._stack.enter_async_context(self.executor)
        await self._stack.enter_async_context(self.scheduler)
        await self._stack.enter_async_context(self.pauses)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()
        await self.commands.stop()

    def crash(self) -> Self:
        """Die as under kill -9: every task of this life is gone, and what was not durable with it."""
        mine = [*self.scheduler._tasks, *self.scheduler._planning, *self.commands._tasks]
        if self.pauses._task is not None:
            mine.append(self.pauses._task)
        mine += [held.task for held in self.executor._attempts.all() if held.task]
        self.commands._on_end = lambda task: None  # type: ignore[method-assign]
        for task in mine:
            task.cancel()
        self.executor._cancel_timer()
        self.executor._draining = True
        self.executor._on_done = lambda done: None
        return self

    async def create(self, name: str = "nightly", schedule: str = "* * * * * *", **spec: Any) -> Job:
        return (await self.jobs.create(a_spec(name, schedule, **spec), by="ann")).job

    async def put(self, name: str = "nightly", schedule: str = "* * * * * *", **spec: Any) -> Job:
        changed = await self.jobs.replace(name, a_spec(name, schedule, **spec), namespace="default", by="ann")
        return changed.job

    async def records(self, job: Job) -> list[Execution | RangeRecord]:
        """Return everything that is known about a job's instants, oldest first."""
        found = await self.state.find_records(RecordFilter(job_id=job.id), AFTER_ALL, 1_000_000)
        return sorted(found, key=lambda r: r.first_s if isinstance(r, RangeRecord) else r.scheduled_s)

    async def told(self, job: Job) -> list[tuple[int, str]]:
        """Return (second, status or reason of the skip) of each of the job's instants, oldest first."""
        told: list[tuple[int, str]] = []
        for record in await self.records(job):
            if isinstance(record, Execution):
                told.append((record.scheduled_s - BEGIN_S, record.status.value))
                continue
            span = range(record.first_s - BEGIN_S, record.last_s - BEGIN_S + 1)
            told += [(second, record.reason.value) for second in span]
        return sorted(told)

    async def one(self, job: Job) -> Execution:
        """Return the job's only execution."""
        found = [record for record in await self.records(job) if isinstance(record, Execution)]
        assert len(found) == 1, found
        return found[0]


class Lookup:
    """The job service's questions over the real `Queries`."""

    def __init__(self, queries: Queries) -> None:
        self.queries = queries

    def all_jobs(self) -> Any:
        return self.queries.all_jobs()

    def jobs_with(self, trait: str) -> Any:
        return self.queries.jobs_with(trait)

    async def jobs_by_prefix(self, prefix: str, namespace: str) -> list[Job]:
        return self.queries.jobs_by_prefix(prefix, namespace)

    async def execution(self, execution_id: str) -> Execution | RangeRecord | None:
        return await self.queries.execution(execution_id)

    async def revisions(self, job_id: str) -> list[tuple[Job, str]]:
        return [(r.job, r.comment) for r in self.queries.revisions(job_id).items]


def a_spec(name: str = "nightly", schedule: str = "* * * * * *", **spec: Any) -> JobSpec:
    given: dict[str, Any] = {"name": name, "schedule": schedule, "webhook": {"url": "http://127.0.0.1:9/"}}
    return msgspec.convert(given | spec, JobSpec)


def lasting(seconds: float, outcome: Outcome | None = None) -> Play:
    """A target that takes its time."""

    async def play(delivery: Delivery) -> Outcome:
        await asyncio.sleep(seconds)
        return outcome or Delivered()

    return play


def in_turn(*outcomes: Outcome) -> Play:
    """A target that answers with these, one after the other, and then with the last for ever."""
    left = list(outcomes)

    async def play(delivery: Delivery) -> Outcome:
        return left.pop(0) if len(left) > 1 else left[0]

    return play


__all__ = ["ALL", "BEGIN", "BEGIN_S", "Node", "Result", "S", "Sent", "Status", "World", "a_spec", "in_turn", "lasting"]
