"""After an outage: decides, job by job, what was missed, while live planning goes on."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from chronos.scheduler.book import Book
from chronos.scheduler.planner import Verdict, owed
from chronos.scheduler.ports import Commands
from chronos.store.commands import BeginCatchup, Catchup
from chronos.store.tables import SHARDS, Shard

log = structlog.get_logger(__name__)

JOBS_AT_ONCE = 100
OCCURRENCES_AT_ONCE = 2_000
TRIES_MAX = 1_000
RETRY_S = 0.05


class Planning(Protocol):
    """What the catch-up needs of the scheduler."""

    book: Book

    @property
    def now_us(self) -> int: ...


class CatchupRunner:
    """Moves the mark to now at start, and makes up for what lies behind it."""

    def __init__(self, commands: Commands, planning: Planning) -> None:
        self._commands = commands
        self._planning = planning

    async def begin(self) -> None:
        """Let live planning begin at now. An outage that is still being made up for is continued."""
        shard = self._shard
        now_s = self._planning.now_us // 1_000_000
        if shard.catchup_to_s or shard.hwm_s >= now_s:
            return
        [result] = await self._commands.submit([BeginCatchup(0, shard.hwm_s, now_s)])
        assert result.ok, "nobody else plans before this"
        if shard.hwm_s and now_s - shard.hwm_s > 5:
            log.info("catching up", since=shard.hwm_s, seconds=now_s - shard.hwm_s)

    async def run(self) -> None:
        """Decide what is missing, in the order of job ids, and return when it is done."""
        tries = 0
        while (shard := self._shard).catchup_to_s:
            ids = sorted(p.job.id for p in self._planning.book.plans() if p.job.id > shard.cursor)
            command = self._next_step(shard, ids)
            [result] = await self._commands.submit([command])
            tries = 0 if result.ok else tries + 1
            if tries > TRIES_MAX:
                raise RuntimeError("the schedules change faster than the outage can be made up for")
            if not result.ok:
                await asyncio.sleep(RETRY_S)

    def _next_step(self, shard: Shard, ids: list[str]) -> Catchup:
        total, cursor_to = Verdict(), ""
        for place, job_id in enumerate(ids):
            if place >= JOBS_AT_ONCE or len(total.occurrences) >= OCCURRENCES_AT_ONCE:
                cursor_to = ids[place - 1]
                break
            plan = self._planning.book.get(job_id)
            if plan is None or plan.job.paused is not None:
                continue
            one = owed(plan, after_s=shard.catchup_from_s, to_s=shard.catchup_to_s, now_us=self._planning.now_us)
            total.occurrences += one.occurrences
            total.ranges += one.ranges
        return Catchup(0, shard.cursor, cursor_to, shard.plan_version, total.occurrences, total.ranges)

    @property
    def _shard(self) -> Shard:
        return self._commands.view.get(SHARDS, "0") or Shard()
