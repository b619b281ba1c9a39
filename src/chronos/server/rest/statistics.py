"""`GET /api/v1/stats`: what the node is doing now, in one document, from what lies ready in memory."""

from __future__ import annotations

import asyncio
from datetime import datetime

from msgspec import Struct

from chronos import __version__
from chronos.plugin import Call, Endpoint, Reply
from chronos.scheduler.load import Load, load_ahead
from chronos.server.rest.core import Core, reply
from chronos.server.rest.documents import at_s
from chronos.server.rest.operations import WorkerDocument, worker_document
from chronos.server.stats import RATE_S, WINDOW_S, Failing, Lateness
from chronos.store.tables import META, Meta

FAILING_SHOWN = 50
LOAD_KEPT_S = 2.0
"""The next minute is worked out so often at most, however many ask."""


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Executions that ended, a second, over the last ten whole seconds, by how they ended."""

    success: float
    failed: float
    skipped: float
    cancelled: float


class Now(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is under way.

    Attributes:
        running: Attempts handed to their target and not yet answered.
        ongoing: Runs whose target has answered 202 and has yet to report the result.
        held: Attempts that may start, and wait for their moment or for capacity.
        waiting: Executions that wait for the right to start.
        retrying: Executions that wait for their next attempt.
        log: Commands that wait for their entry in the log.
    """

    running: int
    ongoing: int
    held: int
    waiting: int
    retrying: int
    log: int


class NextMinute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much comes due, before jitter, in each of the 60 seconds that begin with `from_time`.

    Attributes:
        estimated: Whether a part of the jobs stands for all, because there are too many to look at each.
    """

    from_time: datetime
    by_second: list[int]
    total: int
    estimated: bool


class FailingJob(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job whose last run has failed.

    Attributes:
        failures: How many runs have failed in a row since the server's start.
    """

    job_id: str
    job_name: str
    namespace: str
    reason: str
    failures: int
    last_failure_at: datetime


class NodeNow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the node stands.

    Attributes:
        planned_to: The high-water mark: every instant up to it is decided.
        catching_up: Whether instants of an outage are still being decided.
        clock: `ok`, `held` (it jumped ahead and is not believed) or `behind` (nothing fires until it has caught up).
        storage: `ok`, or `full`: nothing is written and nothing new runs.
        workers: The processes that deliver; none where the main process does.
        api_processes: Processes that answer requests; 0 where the main process does.
        notes: What it cannot do now, and what to do about it.
    """

    id: str
    version: str
    ready: bool
    reason: str
    is_leader: bool
    applied_index: int
    planned_to: datetime | None
    catching_up: bool
    clock: str
    storage: str
    jobs: int
    jobs_enabled: int
    dead_letters: int
    workers: list[WorkerDocument]
    api_processes: int
    notes: list[str]


class StatsDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the node is doing.

    Attributes:
        rates_window_s: How many seconds the rates are about.
        ended_by_second: How many executions ended in each second of the last minute, the oldest first.
        start_lateness_ms: From the instant an attempt was due to its first byte, of the last minute.
        failing: Those that failed last, at most 50; `failing_total` says of how many.
    """

    time: datetime
    node: NodeNow
    now: Now
    rates: Rates
    rates_window_s: int
    ended_by_second: list[int]
    start_lateness_ms: Lateness
    failing: list[FailingJob]
    failing_total: int
    next_minute: NextMinute


class Statistics:
    """The handler."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._load: Load | None = None
        self._loaded_s = 0.0
        self._turn = asyncio.Lock()

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/api/v1/stats",
                self.read,
                "cluster:read",
                "Say what the node is doing now: rates, lateness, what runs, waits and fails, and what comes next.",
                answers=StatsDocument,
                tag="server",
                operation="get_stats",
            )
        ]

    async def read(self, _: Call) -> Reply:
        core, stats = self._core, self._core.stats
        load = await self._next_minute()
        failing = stats.failing()
        return reply(
            StatsDocument(
                time=at_s(int(core.clock.time())),
                node=self._node(),
                now=self._now(),
                rates=Rates(**stats.rates()),
                rates_window_s=RATE_S,
                ended_by_second=stats.ended_by_second(),
                start_lateness_ms=stats.lateness(),
                failing=[_failing(one) for one in failing[:FAILING_SHOWN]],
                failing_total=len(failing),
                next_minute=NextMinute(
                    from_time=at_s(load.from_s),
                    by_second=load.by_second,
                    total=sum(load.by_second),
                    estimated=load.estimated,
                ),
            )
        )

    def _now(self) -> Now:
        core = self._core
        executor = core.scheduler.executor
        running = core.running()
        return Now(
            running=running,
            ongoing=len(core.scheduler.long_runs),
            held=max(0, executor.in_flight() - running),
            waiting=len(core.scheduler.line),
            retrying=core.stats.retrying(),
            log=core.log.waiting,
        )

    def _node(self) -> NodeNow:
        core = self._core
        meta = core.log.view.get(META, "meta") or Meta()
        status, standing, reason = core.scheduler.status(), core.watch.standing(), core.is_ready()
        return NodeNow(
            id=core.node,
            version=__version__,
            ready=not reason,
            reason=reason,
            is_leader=not core.log.failed.is_set(),
            applied_index=core.log.applied,
            planned_to=at_s(status["high_water_mark"]) if status["high_water_mark"] else None,
            catching_up=status["catching_up"],
            clock="held" if standing.state.held else "behind" if status["silent_until"] else "ok",
            storage="full" if core.log.storage_full or status["waits_for"] else "ok",
            jobs=meta.jobs,
            jobs_enabled=meta.jobs_enabled,
            dead_letters=meta.dead,
            workers=[worker_document(state) for state in core.workers()],
            api_processes=core.settings.server.processes,
            notes=core.notes(),
        )

    async def _next_minute(self) -> Load:
        async with self._turn:
            now_s = self._core.clock.boottime()
            if self._load is None or now_s - self._loaded_s > LOAD_KEPT_S:
                begin_s = self._core.scheduler.now_us // 1_000_000 + 1
                self._load = await load_ahead(self._core.scheduler.book, begin_s, WINDOW_S)
                self._loaded_s = now_s
            return self._load


def _failing(one: Failing) -> FailingJob:
    return FailingJob(
        job_id=one.job_id,
        job_name=one.job_name,
        namespace=one.namespace,
        reason=one.reason,
        failures=one.failures,
        last_failure_at=at_s(int(one.last_failure_s)),
    )
