"""A small server on a disk: what is due is decided, run and kept, and what came of it can be exported and verified."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.unit.verify.small import a_spec

from chronos.cluster.local import LocalLog
from chronos.errors import CalendarInvalid
from chronos.model.execution import AttemptStatus, Execution
from chronos.model.job import HistoryPolicy, Pause
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import owed, paused_range
from chronos.server.backup.saving import Target, save_running
from chronos.server.backup.service import Backups
from chronos.store.commandlog import CommandLog
from chronos.store.commands import (
    BeginCatchup,
    Catchup,
    Command,
    Decide,
    Next,
    PutJob,
    Redrive,
    SetPause,
    Settle,
    Settlement,
    Start,
    StartAttempt,
)
from chronos.store.exporting import Exporter, Wanted
from chronos.store.history import HistorySettings
from chronos.store.port import Result
from chronos.store.queries import Queries
from chronos.store.retention import Retention, RetentionSettings
from chronos.store.sealing import Sealing
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.tables import DEAD, JOBS, OPEN, SHARDS, Shard
from chronos.store.verdict import accepted
from chronos.timing.clock import SeededChance
from chronos.timing.duration import DAY_US
from chronos.verify.report import Report
from chronos.verify.verifying import Question, verify

BEGIN_S = 1_800_000_000
RULES = RetentionSettings(default_us=3 * DAY_US, max_count=60)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: int = BEGIN_S) -> None:
        self.now = float(now_s)

    def time(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


class Shop:
    """Log, state, history, and somebody who decides; `step` does something at random.

    Attributes:
        steps: How many steps of time it has taken; a segment is closed after some of them.
    """

    def __init__(self, folder: Path, seed: int, clock: HandClock, rows: int = 40) -> None:
        self.folder, self.clock, self.chance = folder, clock, random.Random(seed)
        for name in ("log", "history"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        settings = StateSettings(history=HistorySettings(segment_rows=rows, segment_us=2 * 3_600_000_000))
        self.log, self.state = LocalLog(folder / "log"), SqliteState(folder, settings)
        self.commands = CommandLog(self.log, self.state, clock, SeededChance(random.Random(seed)))
        self.sealing = Sealing(self.state.archive, self.commands)
        queries = Queries(self.state, bytes(16))
        self.retention = Retention(self.state.archive, self.commands, queries.all_jobs, RULES)
        self.calendars = Calendars(self.state)

    @property
    def shard(self) -> Shard:
        return self.state.get(SHARDS, "0") or Shard()

    async def do(self, command: Command) -> Result:
        return accepted((await self.commands.submit([command]))[0])

    async def put(self, name: str, schedule: str, **more: Any) -> None:
        job_id = f"J-{name}"
        old = self.state.get(JOBS, job_id)
        ranges = self._passed(job_id)
        spec = a_spec(name, schedule, **more).normal()
        await self.do(PutJob(job_id, spec, "ann", -1 if old else 0, owed_to=self.shard.hwm_s, ranges=ranges))

    async def pause(self, name: str) -> None:
        ranges = self._passed(f"J-{name}")
        await self.do(SetPause(f"J-{name}", Pause(reason="quiet"), "ann", owed_to=self.shard.hwm_s, ranges=ranges))

    async def resume(self, name: str) -> None:
        ranges = self._passed(f"J-{name}")
        await self.do(SetPause(f"J-{name}", None, "ann", owed_to=self.shard.hwm_s, ranges=ranges))

    def _passed(self, job_id: str) -> list[Any]:
        job = self.state.get(JOBS, job_id)
        if job is None or job.paused is None:
            return []
        return paused_range(Plan(job, self.calendars.find), after_s=0, to_s=int(self.clock.now))

    def _plans(self) -> list[Plan]:
        found = []
        for _, job in self.state.scan(JOBS, "", "~", 1_000):
            if job.paused is None:
                with suppress(CalendarInvalid):
                    found.append(Plan(job, self.calendars.find))
        return found

    async def catch_up(self) -> None:
        """Make up for the time in which nobody was there."""
        now_s, shard = int(self.clock.now), self.shard
        if shard.hwm_s >= now_s:
            return
        await self.do(BeginCatchup(0, shard.hwm_s, now_s))
        shard = self.shard
        made_up = Catchup(0, "", "", shard.plan_version)
        for plan in self._plans():
            verdict = owed(plan, after_s=shard.catchup_from_s, to_s=now_s, now_us=now_s * 1_000_000)
            made_up.occurrences.extend(verdict.occurrences)
            made_up.ranges.extend(verdict.ranges)
        await self.do(made_up)
        await self._run()

    async def decide(self, seconds: int) -> None:
        """Let time pass, decide what was due in it, and let it run."""
        self.clock.now += seconds
        now_s, shard = int(self.clock.now), self.shard
        decided = Decide(0, shard.hwm_s, now_s, shard.plan_version)
        for plan in self._plans():
            verdict = owed(plan, after_s=shard.hwm_s, to_s=now_s, now_us=now_s * 1_000_000)
            decided.occurrences.extend(verdict.occurrences)
            decided.ranges.extend(verdict.ranges)
        await self.do(decided)
        await self._run()

    async def _run(self) -> None:
        for execution in sorted(self.state.open_executions(), key=lambda each: each.scheduled_s):
            await self._finish(execution)

    async def _finish(self, execution: Execution) -> None:
        n = execution.next_attempt
        await self.do(Start([StartAttempt(execution.id, n, "n/1", execution.effective_us)]))
        started = self.state.get(OPEN, execution.id)
        if started is None or started.running_attempt is None:
            return
        fails = self.chance.random() < 0.2
        status = AttemptStatus.FAILED if fails else AttemptStatus.SUCCESS
        attempt = replace(started.running_attempt, status=status, status_code=500)
        await self.do(Settle([Settlement(execution.id, attempt, Next.FAIL if fails else Next.SUCCEED)]))

    async def step(self) -> None:
        """Do something of what a server does all day."""
        what = self.chance.choice(["decide"] * 8 + ["flush", "pause", "resume", "seal", "redrive", "edit"])
        if what == "decide":
            await self.decide(self.chance.choice([30, 60, 60, 120, 1_800]))
        elif what == "flush":
            await self.state.flush()
        elif what in ("pause", "resume"):
            await (self.pause if what == "pause" else self.resume)("quiet")
        elif what == "seal":
            await self.sealing.turn()
        elif what == "edit":
            await self.put("quiet", self.chance.choice(["* * * * *", "*/2 * * * *"]))
        elif dead := self.state.scan(DEAD, "", "~", 5):
            await self.do(Redrive([self.chance.choice(dead)[0]], "ann"))

    async def work(self, steps: int) -> None:
        for _ in range(steps):
            await self.step()

    async def back_up(self, path: Path) -> None:
        backups = Backups(self.folder, self.log, self.state, self.clock)
        pieces = [piece async for piece in await backups.stream()]
        save_running(pieces, Target(path, SeededChance(random.Random(1))), keys_from=None)

    async def exported(self) -> bytes:
        """Seal what can be sealed, and return an export."""
        await self.sealing.turn()
        exporter = Exporter(self.state, bytes(16), version="0", node="n1")
        return b"".join([piece async for piece in exporter.begin(Wanted())])


@asynccontextmanager
async def a_shop(folder: Path, *, seed: int, clock: HandClock, rows: int = 40) -> AsyncIterator[Shop]:
    """Run one for as long as the block lasts."""
    shop = Shop(folder, seed, clock, rows)
    await shop.log.start()
    await shop.state.start()
    await shop.commands.start("n1", f"n1#{seed}")
    try:
        yield shop
    finally:
        await shop.commands.stop()
        await shop.state.stop()
        await shop.log.stop()


async def stocked(shop: Shop) -> None:
    """Give a new shop its jobs."""
    await shop.do(Decide(0, 0, int(shop.clock.now), 0))
    await shop.put("minutely", "* * * * *")
    await shop.put("quiet", "*/2 * * * *")
    await shop.put("short", "*/5 * * * *", history=HistoryPolicy(retention="1d"))
    await shop.put("long", "*/3 * * * *", history=HistoryPolicy(retention="90d"))


def judged(path: Path, export: bytes, *heads: str) -> Report:
    """Return what verification says of an export."""
    path.write_bytes(export)
    return verify([path], Question(heads=list(heads)))
