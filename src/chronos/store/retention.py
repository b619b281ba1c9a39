"""Lets go of history that is old enough, or more than is wanted; says so in the log first.

By age whole segments go: their files are removed, their seals stay. By count rows are taken out of sealed segments, and
their hashes stay in their places, so that what is left can be verified. Nothing goes that is not sealed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple

import structlog
from msgspec import Struct

from chronos.errors import ChronosError
from chronos.model.job import Job
from chronos.store.archive import Archive
from chronos.store.commands import Drop, KeepHistory, KeepingRule
from chronos.store.sealing import Proposing, sealed_to
from chronos.store.segment import Group, SegmentInfo
from chronos.store.tables import DROPS, KEEPING, SEALS, DropRecord
from chronos.store.verdict import accepted
from chronos.timing.duration import DAY_US

log = structlog.get_logger("chronos.history")

EVERY_S = 60.0
COUNT_EVERY = 60
"""By count it is looked every so many turns: it means to look at every segment."""
GROUPS_AT_ONCE = 500
JOBS_AT_ONCE = 100
JOBS_ASKED_MAX = 200
"""Up to so many jobs are asked for one by one."""
ROWS_AT_ONCE = 200
REST_S = 0.02
COMPACTED = 0.25
"""A segment's file is written anew when this part of its rows goes."""


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept when neither job nor namespace says otherwise.

    Attributes:
        default_us: How long, in log time after a segment was closed.
        max_count: How many executions of one job; 0 for any number.
        namespaces: What namespaces say.
    """

    default_us: int = 30 * DAY_US
    max_count: int = 0
    namespaces: dict[str, KeepingRule] = {}


class Excess(NamedTuple):
    """What one segment has too much of one job or namespace."""

    of: str
    rows: int


class Limits(NamedTuple):
    """How many executions are kept of each job (`by` "job_id") or namespace."""

    by: str
    most: dict[str, int]


class Retention:
    """Proposes what goes, and removes what may.

    Args:
        jobs: Yields every job.
        also: Called with the log time (s) before which nothing is in history any more: what belongs to it elsewhere
            goes, too.
    """

    def __init__(
        self,
        archive: Archive,
        commands: Proposing,
        jobs: Callable[[], Iterable[Job]],
        settings: RetentionSettings | None = None,
        also: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._archive = archive
        self._commands = commands
        self._jobs = jobs
        self._settings = settings or RetentionSettings()
        self._also = also
        self._turns = 0

    async def run(self, is_mine: Callable[[], bool] = lambda: True) -> None:
        """Take a turn every minute, until cancelled.

        Args:
            is_mine: Whether the rules of this node count. Every node of a cluster takes turns, for each removes its own
                files; whoever comes to something first says it in the log, and the rules are those of who leads.
        """
        while True:
            try:
                await self.turn(is_mine=is_mine())
                if self._turns % COUNT_EVERY == 0:
                    await self.thin_out()
                self._turns += 1
            except ChronosError as error:
                log.warning("history_dropped_later", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def turn(self, *, is_mine: bool = True) -> int:
        """Remove the segments that are old enough; return how many.

        Args:
            is_mine: Whether the rules of this node count.

        Raises:
            ChronosError: The log does not take it for the moment; nothing is removed that it does not say.
        """
        if is_mine:
            await self._agree()
        sealed = sealed_to(self._commands.view)
        old = [info for info in self._archive.closed if info.number <= sealed and self._is_old(info)]
        for info in old:
            await self._say(info, self._rows_of(info), whole=True, why=f"kept for {self._kept_for(info)}")
        removed = await self._archive.remove([info.number for info in old]) if old else 0
        infos = self._archive.infos
        if self._also is not None and infos and (removed or self._turns == 0):
            await self._also(min(info.opened_us for info in infos) // 1_000_000)
        return removed

    async def thin_out(self) -> int:
        """Take out what is more than jobs and namespaces want to keep; return how many rows that were.

        Those that ended last are kept: newer segments first, and inside of one those due last.

        Raises:
            ChronosError: As `turn`.
        """
        taken, sealed = 0, sealed_to(self._commands.view)
        for limits in (await self._limits_of_jobs(), self._limits_of_namespaces()):
            if limits is None:
                continue
            newer: Counter[str] = Counter()
            for info in sorted(self._archive.infos, key=lambda one: one.number, reverse=True):
                excess = await self._excess(info, limits, newer)
                if excess and info.closed_us and info.number <= sealed:
                    taken += await self._thin(info, limits.by, excess)
        return taken

    async def _limits_of_jobs(self) -> Limits | None:
        """Return how many executions jobs keep. What a deleted job wanted is not known: age takes care of it."""
        own, default = {}, self._settings.max_count
        for number, job in enumerate(self._jobs()):
            limit = (job.spec.history.max_count if job.spec.history is not None else None) or default
            if limit:
                own[job.id] = limit
            if number % JOBS_AT_ONCE == 0:
                await asyncio.sleep(REST_S)
        return Limits("job_id", own) if own else None

    def _limits_of_namespaces(self) -> Limits | None:
        found = {name: rule.max_count for name, rule in self._settings.namespaces.items() if rule.max_count}
        return Limits("namespace", found) if found else None

    async def _agree(self) -> None:
        """See to it that records are put to segments by the rules of this configuration."""
        rules, known = self._settings.namespaces, self._commands.view.get(KEEPING, "namespaces")
        if rules != (known.namespaces if known is not None else {}):
            accepted((await self._commands.submit([KeepHistory(rules)]))[0])

    def _is_old(self, info: SegmentInfo) -> bool:
        known = self._dropped(info.number)
        if known is not None and known.whole:
            return True  # a crash came between the saying and the doing
        return info.closed_us + self._span_us(info) < self._commands.time_us

    def _span_us(self, info: SegmentInfo) -> int:
        return info.days * DAY_US if info.days else self._settings.default_us

    def _kept_for(self, info: SegmentInfo) -> str:
        return f"{self._span_us(info) / DAY_US:g} days"

    def _rows_of(self, info: SegmentInfo) -> int:
        seal = self._commands.view.get(SEALS, f"{info.number:012d}")
        return seal.rows if seal is not None else info.rows

    def _dropped(self, number: int) -> DropRecord | None:
        return self._commands.view.get(DROPS, f"{number:012d}")

    async def _say(self, info: SegmentInfo, rows: int, *, whole: bool, why: str) -> None:
        known = self._dropped(info.number)
        if known is None or (whole and not known.whole) or (not whole and rows > known.rows):
            accepted((await self._commands.submit([Drop(info.number, rows, whole, why)]))[0])
            log.info("history_dropped", segment=info.number, rows=rows, whole=whole, why=why)

    async def _excess(self, info: SegmentInfo, limits: Limits, newer: Counter[str]) -> list[Excess]:
        """Return what a segment has too much of, and count in what it has."""
        found = []
        async for of, executions in self._held(info, limits):
            keep = max(0, limits.most[of] - newer[of])
            newer[of] += executions
            if executions > keep:
                found.append(Excess(of, executions - keep))
        return found

    async def _held(self, info: SegmentInfo, limits: Limits) -> AsyncIterator[Group]:
        """Yield what a segment has of those that have a limit."""
        if limits.by == "job_id" and len(limits.most) <= JOBS_ASKED_MAX:
            for job_id in limits.most:
                yield Group(job_id, await self._archive.executions_of(info.number, job_id))
            return
        after = ""
        while groups := await self._archive.groups(info.number, limits.by, after, GROUPS_AT_ONCE):
            for group in groups:
                if group.of in limits.most:
                    yield group
            after = groups[-1].of
            await asyncio.sleep(REST_S)

    async def _thin(self, info: SegmentInfo, by: str, excess: list[Excess]) -> int:
        wanted = sum(one.rows for one in excess)
        known = await self._archive.thinned(info.number)
        what = "jobs" if by == "job_id" else "namespaces"
        why = f"{len(excess)} {what} had more than `max_count`"
        await self._say(info, known + wanted, whole=False, why=why)
        taken = 0
        for one in excess:
            left = one.rows
            while left > 0:
                went = await self._archive.thin(info.number, by, one.of, min(left, ROWS_AT_ONCE))
                if went == 0:
                    break
                taken, left = taken + went, left - went
                await asyncio.sleep(REST_S)
        if taken >= COMPACTED * max(1, self._rows_of(info)):
            await self._archive.compact(info.number)
        return taken
