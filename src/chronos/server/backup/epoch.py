"""The first thing that is written into a copy that was brought back: a new restore epoch.

Fencing tokens begin with the epoch. It is the wall clock's second, at least, so that it is higher than any epoch that
the original may have opened since, and than that of every copy restored before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack

from msgspec import Struct

from chronos.cluster.local import LocalLog
from chronos.errors import ChronosError
from chronos.model.job import Job
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import owed
from chronos.store.commandlog import CommandLog
from chronos.store.commands import ResetClock
from chronos.store.sqlite import SqliteState
from chronos.store.state import KEY_MAX
from chronos.store.tables import JOBS, META, SHARDS, Meta, Shard
from chronos.timing.clock import Chance, Clock, ulid

BY = "restore"
_PAGE = 500


class Begun(Struct, frozen=True, kw_only=True):
    """How the copy stands after its first entry.

    Attributes:
        last: That entry.
        missed: How many planned instants lie between the mark and now; `will_run` of them are not just recorded.
    """

    last: int
    restore_epoch: int
    hwm_s: int
    jobs: int
    open_executions: int
    missed: int
    will_run: int


async def begin_epoch(log: LocalLog, state: SqliteState, clock: Clock, chance: Chance, *, hwm_s: int = 0) -> Begun:
    """Fold what state lacks, and open a new restore epoch; log and state are opened, and closed again.

    Args:
        hwm_s: The high-water mark moves ahead to it; instants up to it are neither run nor made up for.

    Raises:
        LogDamaged: Log and state do not verify, or do not belong together.
    """
    async with AsyncExitStack() as running:
        await running.enter_async_context(log)
        running.push_async_callback(state.stop)
        await state.start()
        commands = CommandLog(log, state, clock, chance)
        running.push_async_callback(commands.stop)
        node = (state.get(META, "meta") or Meta()).leader or BY
        await commands.start(node, f"{node}#{BY}-{ulid(clock, chance)}")
        await commands.propose(ResetClock(hwm_s, BY, epoch=int(clock.time()), restored=True))
        return _begun(state, clock)


def _begun(state: SqliteState, clock: Clock) -> Begun:
    meta, shard = state.get(META, "meta") or Meta(), state.get(SHARDS, "0") or Shard()
    missed, will_run = _missed(state, shard.hwm_s, clock) if shard.hwm_s else (0, 0)
    return Begun(
        last=state.applied_index,
        restore_epoch=meta.restore_epoch,
        hwm_s=shard.hwm_s,
        jobs=meta.jobs,
        open_executions=len(state.open_executions()),
        missed=missed,
        will_run=will_run,
    )


def _missed(state: SqliteState, hwm_s: int, clock: Clock) -> tuple[int, int]:
    """Return how many instants are missed by now, and how many of them run, by their jobs' policies."""
    now_us = int(clock.time() * 1_000_000)
    calendars, missed, will_run = Calendars(state), 0, 0
    for job in _jobs(state):
        if job.paused is not None or now_us <= hwm_s * 1_000_000:
            continue
        try:
            plan = Plan(job, calendars.find)
            verdict = owed(plan, after_s=hwm_s, to_s=now_us // 1_000_000, now_us=now_us)
        except ChronosError:
            continue  # its calendar is gone, and it owes nothing until there is one
        will_run += len(verdict.occurrences)
        missed += len(verdict.occurrences) + sum(one.count for one in verdict.ranges)
    return missed, will_run


def _jobs(state: SqliteState) -> Iterator[Job]:
    low = ""
    while rows := state.scan(JOBS, low, KEY_MAX, _PAGE):
        yield from (job for _, job in rows)
        low = rows[-1][0] + "\0"
