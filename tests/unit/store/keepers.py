"""A store small enough to be kept by hand: log, state and history in a folder, and records that end when told to."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chronos.cluster.memory import MemoryLog
from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status, execution_id
from chronos.model.job import HistoryPolicy, JobSpec
from chronos.model.target import HttpTarget
from chronos.store.archive import FIRST
from chronos.store.commandlog import CommandLog
from chronos.store.commands import Command, PutJob
from chronos.store.entryfold import one_step_each
from chronos.store.history import HistorySettings
from chronos.store.machine import apply
from chronos.store.offload import Inline
from chronos.store.port import At, Changes, Result, View
from chronos.store.queries import Queries
from chronos.store.records import AFTER_ALL, Record, RecordFilter, row_of
from chronos.store.retention import Retention, RetentionSettings
from chronos.store.sealing import Sealing
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.tables import OPEN
from chronos.timing.clock import SeededChance

START_S = 1_800_000_000
DAY_S = 86_400
ENDING = "what ends now"


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = float(START_S)

    def time(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


def run(job_id: str, instant_s: int, *, namespace: str = "default", revision: int = 1) -> Execution:
    """Return an execution that has succeeded."""
    return Execution(
        id=execution_id(job_id, Kind.SCHEDULE, str(instant_s), instant_s),
        job_id=job_id,
        job_name=job_id,
        namespace=namespace,
        kind=Kind.SCHEDULE,
        discriminator=str(instant_s),
        scheduled_s=instant_s,
        effective_us=instant_s * 1_000_000,
        revision=revision,
        priority=5,
        decided_at_us=instant_s * 1_000_000,
        status=Status.SUCCESS,
        ended_at_us=instant_s * 1_000_000,
    )


def skipped(job_id: str, first_s: int, last_s: int, count: int, *, namespace: str = "default") -> RangeRecord:
    """Return a range record."""
    return RangeRecord(job_id, namespace, first_s, last_s, count, SkipReason.MISFIRE)


class Kept:
    """A store at work.

    Attributes:
        ending: Records that the next command ends, whatever the command is.
        beginning: Executions that it begins.
    """

    def __init__(self, folder: Path, log: MemoryLog, clock: HandClock, rows: int, retention: RetentionSettings) -> None:
        settings = StateSettings(history=HistorySettings(segment_rows=rows, segment_us=DAY_S * 1_000_000))
        self.clock, self.log = clock, log
        self.ending: list[Record] = []
        self.beginning: list[Execution] = []
        self.state = SqliteState(folder, settings, offload=Inline)
        chance = SeededChance(random.Random(1))
        self.commands = CommandLog(log, self.state, clock, chance, fold=one_step_each(self._fold))
        self.queries = Queries(self.state, bytes(16))
        self.sealing = Sealing(self.state.archive, self.commands)
        self.retention = Retention(self.state.archive, self.commands, self.queries.all_jobs, retention)

    def _fold(self, view: View, command: Command, at: At) -> Changes:
        changes = apply(view, command, at)
        for record in self.ending:
            if isinstance(record, RangeRecord):
                changes.ranges.append(record)
            else:
                changes.ended.append(record)
                changes.puts[OPEN.name, record.id] = None
        changes.puts.update({(OPEN.name, each.id): each for each in self.beginning})
        self.ending, self.beginning = [], []
        return changes

    async def begin(self, *executions: Execution) -> None:
        """Have executions that have not ended."""
        self.beginning = list(executions)
        await self.put("any")

    async def end(self, *records: Record) -> None:
        """End executions, and write them."""
        self.ending = list(records)
        await self.put("any")
        await self.state.flush()

    async def put(
        self, job_id: str, *, retention: str | None = None, max_count: int | None = None, namespace: str = "default"
    ) -> Result:
        """Write a job with an opinion on how long its history is kept."""
        spec = JobSpec(
            name=job_id,
            namespace=namespace,
            target=HttpTarget(url="http://localhost/"),
            schedules=["@daily"],
            history=HistoryPolicy(retention=retention, max_count=max_count),
        )
        # Without an opinion a job that is there stays as it is: the command only moves log time.
        expected = -1 if (retention or max_count) and self.queries.job(job_id) else 0
        [result] = await self.commands.submit([PutJob(job_id, spec, "me", expected)])
        return result

    async def keep(self) -> None:
        """Take a turn of everything that keeps history."""
        await self.sealing.turn()
        await self.retention.turn()
        await self.retention.thin_out()

    async def records(self) -> dict[tuple[str, int], Record]:
        """Return all of history that can be found."""
        found = await self.state.find_records(RecordFilter(), AFTER_ALL, 1_000_000)
        return {(row_of(record).id, row_of(record).series): record for record in found}

    async def archived(self) -> dict[tuple[str, int], Record]:
        """Return all of history, read segment by segment."""
        found: dict[tuple[str, int], Record] = {}
        for info in self.state.archive.infos:
            for row in await self.state.archive.rows(info.number, FIRST, 100_000) or []:
                if row.record is not None:
                    found[row.place] = row.record
        return found

    async def instants(self, job_id: str) -> list[int]:
        """Return the instants of a job that can be found, as days since the start."""
        records = (await self.records()).values()
        mine = [record for record in records if isinstance(record, Execution) and record.job_id == job_id]
        return sorted((record.scheduled_s - START_S) // DAY_S for record in mine)


@asynccontextmanager
async def kept(
    folder: Path,
    *,
    log: MemoryLog | None = None,
    clock: HandClock | None = None,
    rows: int = 10,
    retention: RetentionSettings | None = None,
) -> AsyncIterator[Kept]:
    """Run a store for as long as the block lasts."""
    store = Kept(folder, log or MemoryLog(), clock or HandClock(), rows, retention or RetentionSettings())
    await store.state.start()
    await store.commands.start("n1", "n1-1")
    try:
        yield store
    finally:
        await store.commands.stop()
        await store.state.stop()
