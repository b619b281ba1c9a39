"""One request's look at the server from an API process: files, and what main says that no file has yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from chronos.model.execution import instant_of
from chronos.model.job import Job
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.finding import find_job
from chronos.scheduler.plan import Plan
from chronos.scheduler.successes import Successes
from chronos.server.processes.link import Link
from chronos.server.processes.messages import One, Who
from chronos.server.rest.core import Core
from chronos.server.rest.documents import LastExecution
from chronos.store.following import Following, Infos
from chronos.store.queries import Queries
from chronos.store.records import Position, Record, RecordFilter
from chronos.store.state import JobFilter
from chronos.store.tables import DEAD, LATE, OPEN, SLOTS, LateResults, Slots, Table
from chronos.timing.clock import Clock

T = TypeVar("T")

PLANS_MAX = 5_000
PREFIXED_MAX = 10


class Plans:
    """Stands in for the scheduler: compiles schedules, and keeps those of the jobs that were asked for last."""

    def __init__(self, files: Following) -> None:
        self.calendars = Calendars(files)
        self._kept: OrderedDict[str, tuple[int, Plan]] = OrderedDict()

    def plan_of(self, job: Job) -> Plan:
        """Return the compiled plan of `job`; raises what is wrong with its calendar."""
        if job.spec.calendar is not None:
            return Plan(job, self.calendars.find)  # a calendar changes without its jobs
        known = self._kept.pop(job.id, None)
        if known is None or known[0] != job.revision:
            known = (job.revision, Plan(job, self.calendars.find))
        self._kept[job.id] = known
        while len(self._kept) > PLANS_MAX:
            self._kept.popitem(last=False)
        return known[1]


class Look:
    """Stands in for the state, the log, the job service, the newest runs and the clock, for one request's handler.

    Everything it tells is at least as new as `who`, which main has said after the request came in.
    """

    def __init__(self, files: Following, link: Link, who: Who, clock: Clock, cursors: bytes) -> None:
        self._files = files
        self._link = link
        self._who = who
        self._clock = clock
        self._one: tuple[str, One] | None = None
        self._succeeded_us: dict[str, int] = {}
        self.queries = Queries(cast("Any", self), cursors)

    def core(self, base: Core, plans: Plans) -> Core:
        """Return `base` with this look in it."""
        mine: Any = self
        successes = Successes(self, plans.plan_of, self.queries.all_jobs)
        scheduler: Any = plans
        return replace(
            base,
            jobs=cast("Any", JobFinder(self)),
            log=mine,
            queries=self.queries,
            last_runs=mine,
            clock=mine,
            successes=successes,
            scheduler=scheduler,
        )

    async def prime(self, execution: str) -> None:
        """Ask main what it remembers of an execution, before it is looked up."""
        try:
            instant_s = instant_of(execution)
        except ValueError:
            return  # no such id; nobody remembers anything of it
        self._one = execution, await self._link.one(execution, instant_s)

    # The clock that main goes by.

    def time(self) -> float:
        return self._who.now_us / 1e6

    def boottime(self) -> float:
        return self._clock.boottime()

    # The log's view, and the state behind `Queries`.

    @property
    def view(self) -> Look:
        return self

    def get(self, table: Table[T], key: str) -> T | None:
        found: Any
        if table.name == SLOTS.name:
            found = Slots(last_success_us=self._succeeded_us.get(key, 0))
        elif table.name == OPEN.name:
            found = self._one[1].execution if self._one and self._one[0] == key else None
        elif table.name == DEAD.name:
            found = None  # told with those that are open
        elif table.name == LATE.name:
            late = self._one[1].late if self._one and self._one[0] == key else []
            found = LateResults(late) if late else None
        else:
            found = self._files.get(table, key)
        return cast("T | None", found)

    def scan(self, table: Table[T], low: str, high: str, limit: int, *, newest: bool = False) -> list[tuple[str, T]]:
        return self._files.scan(table, low, high, limit, newest=newest)

    async def find_jobs(self, wanted: JobFilter, after: tuple[str, str], limit: int) -> tuple[list[Job], int | None]:
        return await self._files.find_jobs(wanted, after, limit)

    async def find_records(self, wanted: RecordFilter, before: Position, limit: int) -> list[Record]:
        rows = await self._link.rows(wanted, before, limit)
        memory: list[Record] = [*rows.executions, *rows.ranges]
        infos = self._link.infos(rows.segments)
        return await self._files.find_records(infos, memory, rows.series, wanted, before, limit)

    async def record(self, record_id: str, instant_s: int) -> Record | None:
        return await self._files.record(self._infos(), record_id, instant_s)

    async def ranges_at(self, instant_s: int) -> list[Record]:
        assert self._one is not None, "main is asked first"
        return [*self._one[1].ranges, *await self._files.ranges_at(self._infos(), instant_s)]

    def _infos(self) -> Infos:
        assert self._one is not None, "main is asked first"
        return self._link.infos(self._one[1].segments)

    # The job service.

    async def jobs_by_prefix(self, prefix: str, namespace: str) -> list[Job]:
        return self.queries.jobs_by_prefix(prefix, namespace, limit=PREFIXED_MAX)

    # The newest runs.

    async def of(self, jobs: Sequence[Job]) -> dict[str, LastExecution | None]:
        """Return the newest run by job id; None for a job that has never run."""
        if not jobs:
            return {}
        last = await self._link.last([job.id for job in jobs])
        self._succeeded_us = {job.id: us for job, (_, us) in zip(jobs, last.runs, strict=True)}
        return {job.id: run for job, (run, _) in zip(jobs, last.runs, strict=True)}


class JobFinder:
    """Stands in for the job service."""

    def __init__(self, look: Look) -> None:
        self._look = look

    async def get(self, ref: str, *, namespace: str) -> Job:
        """Return the job that `ref` means."""
        return await find_job(self._look, self._look, ref, namespace=namespace)
