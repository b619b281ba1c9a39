"""After an outage: decides, job by job, what was missed, while live planning goes on."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

import structlog

from chronos.errors import ChronosError
from chronos.scheduler.agenda import Agenda
from chronos.scheduler.planner import Verdict, add_owed
from chronos.scheduler.ports import Commands
from chronos.store.commands import BeginCatchup, Catchup
from chronos.store.tables import SHARDS, Shard

log = structlog.get_logger(__name__)

JOBS_AT_ONCE = 500
OCCURRENCES_AT_ONCE = 2_000
STEPS_AT_ONCE = 2_000
"""Steps of counting (`Plan.steps`) before others have their turn: some hundredths of a second."""
ROWS_AT_ONCE = 500
RETRY_S = 0.05
STORAGE_WAIT_S = 1.0


class CatchupRunner:
    """Moves the mark to now at start, and makes up for what lies behind it."""

    def __init__(self, commands: Commands, agenda: Agenda) -> None:
        self._commands = commands
        self._agenda = agenda
        self._wake = asyncio.Event()
        self._wake.set()
        self._ids: list[str] = []
        self._span = (0, 0)
        self._owing: tuple[tuple[int, int], Sequence[str]] = (0, 0), ()

    async def begin(self) -> None:
        """Let live planning begin at now. An outage that is still being made up for is continued."""
        shard = self._shard
        now_s = self._agenda.now_us // 1_000_000
        if shard.catchup_to_s or shard.hwm_s >= now_s:
            return
        [result] = await self._commands.submit([BeginCatchup(0, shard.hwm_s, now_s)])
        assert result.ok, "nobody else plans before this"
        if shard.hwm_s and now_s - shard.hwm_s > 5:
            log.info("catching up", since=shard.hwm_s, seconds=now_s - shard.hwm_s)

    def go_on(self, from_s: int, to_s: int, owing: Sequence[str]) -> None:
        """The span (`from_s`, `to_s`] is to be made up for; only these jobs owe something in it by their schedules."""
        self._owing = (from_s, to_s), owing
        self._ids, self._span = [], (0, 0)
        self._wake.set()

    async def run(self) -> None:
        """Decide what is missing, whenever something is."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._make_up()

    async def _make_up(self) -> None:
        """Decide what the outage left, in the order of job ids."""
        while (shard := self._shard).catchup_to_s:
            span = shard.catchup_from_s, shard.catchup_to_s
            if span != self._span:
                self._ids = await self._who_may_owe(*span)
                self._span = span
                continue
            try:
                [result] = await self._commands.submit([await self._next_step(shard)])
            except ChronosError as error:
                log.warning("catching up waits", reason=str(error))
                await asyncio.sleep(STORAGE_WAIT_S)
                continue
            if result.ok:
                self._agenda.turnstile.release("catchup")
            else:
                self._agenda.turnstile.hold("catchup")
                await asyncio.sleep(RETRY_S)
        self._ids, self._span, self._owing = [], (0, 0), ((0, 0), ())

    async def _who_may_owe(self, from_s: int, to_s: int) -> list[str]:
        """Return the ids, ascending, of the jobs that may owe something from the outage.

        Jobs that come later owe nothing from an outage that was over by then. Those under a calendar are asked one by
        one in their turn: the calendar may change until then.
        """
        span, owing = self._owing
        found = set(owing) if span == (from_s, to_s) else await self._who_owes(from_s, to_s)
        found.update(job.id for job in self._agenda.under_calendars())
        return sorted(found)

    async def _who_owes(self, from_s: int, to_s: int) -> set[str]:
        found: set[str] = set()
        for number, job_id in enumerate(self._agenda.owing(from_s, to_s)):
            if job_id:
                found.add(job_id)
            if number % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)
        return found

    async def _next_step(self, shard: Shard) -> Catchup:
        total, cursor_to, steps = Verdict(), "", 0
        ids = self._ids  # others may follow, of another span, while this waits
        first = bisect_right(ids, shard.cursor)
        for place in range(first, len(ids)):
            job_id = ids[place]
            if place - first >= JOBS_AT_ONCE or len(total.occurrences) >= OCCURRENCES_AT_ONCE:
                cursor_to = ids[place - 1]
                break
            plan = self._agenda.book.get(job_id)
            if plan is None or plan.job.paused is not None:
                continue
            steps += plan.steps(shard.catchup_from_s, shard.catchup_to_s)
            if steps > STEPS_AT_ONCE:
                # Whoever else waits for the loop goes first; what changes meanwhile, the fold sees.
                steps = 0
                await asyncio.sleep(0)
            add_owed(total, plan, after_s=shard.catchup_from_s, to_s=shard.catchup_to_s, now_us=self._agenda.now_us)
        return Catchup(0, shard.cursor, cursor_to, shard.plan_version, total.occurrences, total.ranges)

    @property
    def _shard(self) -> Shard:
        return self._commands.view.get(SHARDS, "0") or Shard()
