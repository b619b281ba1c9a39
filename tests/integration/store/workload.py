"""A server's day in commands: jobs come, fire, fail, are redriven, and go."""

from __future__ import annotations

import random

from chronos.model.execution import Attempt, AttemptStatus, Execution, RangeRecord, SkipReason, Status
from chronos.model.job import Concurrency, JobSpec
from chronos.model.target import HttpTarget
from chronos.store.commandlog import CommandLog
from chronos.store.commands import (
    Command,
    Decide,
    DeleteJob,
    Next,
    Owed,
    PutDocument,
    PutJob,
    Redrive,
    Settle,
    Settlement,
    Start,
    StartAttempt,
)
from chronos.store.queries import ALL, Queries
from chronos.store.state import State
from chronos.store.tables import SHARDS, Shard


class Workload:
    """Draws what happens next from a seed and from what the state says."""

    def __init__(self, seed: int, commands: CommandLog, state: State) -> None:
        self._chance = random.Random(seed)
        self._commands = commands
        self._state = state
        self._queries = Queries(state, bytes(16))

    async def step(self) -> None:
        """Submit a few commands and wait for the verdicts."""
        drawn = [self._put_job, self._decide, self._decide, self._start, self._start, self._settle, self._settle]
        rule = self._chance.choice([*drawn, self._redrive, self._document, self._delete])
        await self._commands.submit(rule())

    def _put_job(self) -> list[Command]:
        number = self._chance.randrange(8)
        spec = JobSpec(
            name=f"job {number}",
            target=HttpTarget(url="http://localhost/"),
            schedules=["* * * * *"],
            concurrency=self._chance.choice([Concurrency.FORBID, Concurrency.ALLOW]),
            description=str(self._chance.random()),
        )
        hwm = self._shard().hwm_s
        expected = -1 if self._queries.job(f"J{number}") else 0
        return [PutJob(f"J{number}", spec, "me", expect_revision=expected, owed_to=hwm)]

    def _shard(self) -> Shard:
        return self._state.get(SHARDS, "0") or Shard()

    def _decide(self) -> list[Command]:
        shard = self._shard()
        jobs = list(self._queries.all_jobs())
        to = max(shard.hwm_s, self._state.time_us // 1_000_000) + 60
        owed = [Owed(job.id, to, to * 1_000_000) for job in jobs if self._chance.random() < 0.6]
        skipped = [job for job in jobs if self._chance.random() < 0.1]
        ranges = [RangeRecord(job.id, job.namespace, to - 20, to - 10, 2, SkipReason.MISFIRE) for job in skipped]
        return [Decide(0, shard.hwm_s, to, shard.plan_version, owed, ranges)]

    def _start(self) -> list[Command]:
        pending = [e for e in self._queries.open_executions() if e.status is not Status.RUNNING]
        return [Start([StartAttempt(e.id, len(e.attempts) + 1, "n1", self._state.time_us) for e in pending[:5]])]

    def _settle(self) -> list[Command]:
        running = [e for e in self._queries.open_executions() if e.running_attempt]
        return [Settle([self._settlement(e) for e in running[:4]])]

    def _settlement(self, execution: Execution) -> Settlement:
        attempt = execution.running_attempt
        assert attempt is not None
        following = self._chance.choice([Next.SUCCEED, Next.SUCCEED, Next.FAIL, Next.RETRY])
        status = AttemptStatus.SUCCESS if following is Next.SUCCEED else AttemptStatus.FAILED
        ended = Attempt(
            series=attempt.series, n=attempt.n, node="n1", token=attempt.token, not_before_us=0, status=status
        )
        return Settlement(execution.id, ended, following, retry_at_us=self._state.time_us)

    def _redrive(self) -> list[Command]:
        return [Redrive([e.id for e in self._queries.dead_letters(ALL, limit=3).items], "me")]

    def _document(self) -> list[Command]:
        return [PutDocument("notes", "default", f"d{self._chance.randrange(9)}", self._chance.randbytes(20))]

    def _delete(self) -> list[Command]:
        return [DeleteJob(f"J{self._chance.randrange(8)}", "me")] if self._chance.random() < 0.2 else self._decide()
