"""An export small enough to count on one's fingers: two jobs, two hours, one of them with an hour off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from msgspec.structs import replace
from tests.unit.verify.exporting import Exporter

from chronos.errors import CalendarInvalid
from chronos.model.execution import AttemptStatus, Execution, RangeRecord
from chronos.model.job import JobSpec, Pause
from chronos.model.target import HttpTarget
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import owed, paused_range
from chronos.store.commands import (
    Command,
    Decide,
    DeleteJob,
    Next,
    PutDocument,
    PutJob,
    SetPause,
    Settle,
    Settlement,
    Start,
    StartAttempt,
)
from chronos.store.machine import apply
from chronos.store.port import At
from chronos.store.state import MemoryState
from chronos.store.tables import JOBS, OPEN, SHARDS, Shard

STEP_S = 20
"""How far a decision reaches."""


def begin_s() -> int:
    """Return when it begins: 2027-01-15T08:00:00Z."""
    return 1_800_000_000


class Server:
    """A planner and a fold without anything around them: what is due is decided, started and settled at once.

    Attributes:
        exporter: Has taken everything that changed.
        now_s: The time; move it with `run_to` or, for an outage, with `sleep_to`.
    """

    def __init__(self, rows_max: int = 30) -> None:
        self.state = MemoryState()
        self.exporter = Exporter(rows_max)
        self.now_s = begin_s()
        self._index = 0
        self._calendars = Calendars(self.state)
        self.do(Decide(0, 0, self.now_s, 0))

    @property
    def shard(self) -> Shard:
        return self.state.get(SHARDS, "0") or Shard()

    def do(self, command: Command) -> None:
        """Fold a command, half a second after the full one."""
        self._index += 1
        at = At(self._index, self.now_s * 1_000_000 + 500_000)
        changes = apply(self.state, command, at)
        assert changes.result.ok, changes.result
        self.state.commit([changes], at.index, at.time_us)
        self.exporter.take([changes], at.time_us)

    def put(self, job_id: str, spec: JobSpec) -> None:
        expected = -1 if self.state.get(JOBS, job_id) is not None else 0
        self.do(PutJob(job_id, spec.normal(), "ann", expected, owed_to=self.shard.hwm_s, ranges=self._passed(job_id)))

    def pause(self, job_id: str) -> None:
        self.do(SetPause(job_id, Pause(reason="quiet"), "ann", owed_to=self.shard.hwm_s))

    def resume(self, job_id: str) -> None:
        self.do(SetPause(job_id, None, "ann", owed_to=self.shard.hwm_s, ranges=self._passed(job_id)))

    def delete(self, job_id: str) -> None:
        self.do(DeleteJob(job_id, "ann", ranges=self._passed(job_id)))

    def put_calendar(self, name: str, text: bytes | None) -> None:
        self.do(PutDocument("calendars", "default", name, text, "ann", replans=True))

    def _passed(self, job_id: str) -> list[RangeRecord]:
        job = self.state.get(JOBS, job_id)
        if job is None or job.paused is None:
            return []
        return paused_range(Plan(job, self._calendars.find), after_s=0, to_s=self.now_s)

    def run_to(self, to_s: int) -> None:
        """Decide what is due a few seconds at a time, and let each run end well; every seventh fails."""
        while self.now_s < to_s:
            self.sleep_to(min(self.now_s + STEP_S, to_s))

    def sleep_to(self, to_s: int) -> None:
        """Decide at `to_s`, in one go, what was due up to then."""
        self.now_s = to_s
        shard = self.shard
        decided = Decide(0, shard.hwm_s, to_s, shard.plan_version)
        for plan in self.plans():
            verdict = owed(plan, after_s=shard.hwm_s, to_s=to_s, now_us=to_s * 1_000_000)
            decided.occurrences.extend(verdict.occurrences)
            decided.ranges.extend(verdict.ranges)
        self.do(decided)
        for execution in self.open():
            self.finish(execution)

    def plans(self) -> Iterator[Plan]:
        for _, job in self.state.scan(JOBS, "", "~", 1_000):
            if job.paused is None:
                with suppress(CalendarInvalid):  # it has lost its calendar, and owes nothing
                    yield Plan(job, self._calendars.find)

    def open(self) -> list[Execution]:
        """Return what is open, oldest first."""
        return sorted((each for _, each in self.state.scan(OPEN, "", "~", 1_000)), key=lambda each: each.scheduled_s)

    def finish(self, execution: Execution) -> None:
        """Start an execution, and let it end."""
        n = execution.next_attempt
        self.do(Start([StartAttempt(execution.id, n, "n/1", execution.effective_us)]))
        started = self.state.get(OPEN, execution.id)
        if started is None or started.running_attempt is None:
            return
        fails = execution.scheduled_s // 60 % 7 == 0
        attempt = replace(
            started.running_attempt, status=AttemptStatus.FAILED if fails else AttemptStatus.SUCCESS, status_code=500
        )
        self.do(Settle([Settlement(execution.id, attempt, Next.FAIL if fails else Next.SUCCEED)]))


def a_spec(name: str, *schedules: str, **more: Any) -> JobSpec:
    """Return a spec of a job that calls nobody."""
    target = HttpTarget(url="http://127.0.0.1:9/")
    return JobSpec(name=name, schedules=list(schedules), target=target, **more)


def a_small_export() -> list[bytes]:
    """Return the lines of an export with 120 due instants."""
    server = Server()
    server.put("01JA", a_spec("minutely", "* * * * *"))
    server.run_to(begin_s() + 3_600)
    server.pause("01JA")
    server.run_to(begin_s() + 5_400)
    server.resume("01JA")
    server.run_to(begin_s() + 7_200)
    return server.exporter.lines()
