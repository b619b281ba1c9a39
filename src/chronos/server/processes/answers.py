"""What main answers API processes from memory: who is asking, how new is new enough, what no file has yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from typing import Any, Protocol

from chronos.errors import ChronosError
from chronos.model.execution import Execution, RangeRecord
from chronos.model.premises import Authenticator
from chronos.model.principal import Principal
from chronos.server.lastruns import LastRuns
from chronos.server.processes.messages import (
    Answer,
    AskLast,
    AskOne,
    AskRows,
    AskWho,
    Last,
    One,
    Question,
    Rows,
    Segments,
    Who,
)
from chronos.store.port import View
from chronos.store.records import AFTER_ALL, MemorySource, Position, Record, RecordFilter, matches, merged, row_of
from chronos.store.segment import SegmentInfo
from chronos.store.tables import DEAD, JOBS, LATE, OPEN, SLOTS
from chronos.timing.clock import Clock

PLAIN = str | int | float | bool
INLINE_MAX = 5_000
"""More records than this are looked through in a thread, so that executions do not wait for a list."""


class Log(Protocol):
    """The command log, as far as it is asked."""

    @property
    def applied(self) -> int: ...
    @property
    def unwritten(self) -> int: ...
    @property
    def storage_full(self) -> bool: ...


class Memory(Protocol):
    """The state, as far as it is asked (`store.sqlite.SqliteState`)."""

    def in_memory(self) -> tuple[list[Record], list[Record]]: ...


class Answers:
    """Answers questions.

    Args:
        view: The state, looked up by key.
        infos: Returns what is known of every segment.
    """

    def __init__(
        self,
        log: Log,
        view: View,
        memory: Memory,
        infos: Callable[[], tuple[SegmentInfo, ...]],
        authenticator: Authenticator,
        last_runs: LastRuns,
        clock: Clock,
    ) -> None:
        self._log = log
        self._view = view
        self._memory = memory
        self._shelf = Shelf(infos)
        self._authenticator = authenticator
        self._last_runs = last_runs
        self._clock = clock

    async def to(self, question: Question) -> Answer:
        """Return the answer to a question. Everything that is said of one instant is looked up at one."""
        match question:
            case AskWho():
                return await self._who(question)
            case AskLast():
                return await self._last(question)
            case AskRows():
                return await self._rows(question)
            case AskOne():
                return self._one(question)

    async def _who(self, question: AskWho) -> Who:
        principal: Principal | None = None
        refusal: tuple[str, str, dict[str, Any]] | None = None
        try:
            principal = await self._authenticator.recognise(dict(question.headers))
        except ChronosError as exc:
            facts = {name: fact for name, fact in exc.facts.items() if isinstance(fact, PLAIN)}
            refusal = (exc.slug, str(exc), facts)
        readable = not self._log.storage_full  # else what is acknowledged is in the log, and not in the files
        now_us = int(self._clock.time() * 1_000_000)
        return Who(question.id, principal, refusal, readable, self._log.applied, self._log.unwritten, now_us)

    async def _last(self, question: AskLast) -> Last:
        jobs = {key: job for key in question.jobs if (job := self._view.get(JOBS, key)) is not None}
        runs = await self._last_runs.of(list(jobs.values()))
        return Last(question.id, [(runs.get(key), self._succeeded_us(key)) for key in question.jobs])

    def _succeeded_us(self, job_id: str) -> int:
        slots = self._view.get(SLOTS, job_id)
        return slots.last_success_us if slots is not None else 0

    async def _rows(self, question: AskRows) -> Rows:
        running, pending = self._memory.in_memory()
        # Asked after the copies above were made: what has moved to a segment since is seen twice, not never.
        segments = self._shelf.segments(question.closed)
        search = partial(_search, running, pending, question)
        if len(running) + len(pending) > INLINE_MAX:
            found, series = await asyncio.to_thread(search)
        else:
            found, series = search()
        executions = [record for record in found if isinstance(record, Execution)]
        ranges = [record for record in found if isinstance(record, RangeRecord)]
        return Rows(question.id, executions, ranges, series, segments)

    def _one(self, question: AskOne) -> One:
        key = question.record_id
        execution = self._view.get(OPEN, key) or self._view.get(DEAD, key)
        _, pending = self._memory.in_memory()
        if execution is None:
            ended = [record for record in pending if isinstance(record, Execution) and record.id == key]
            execution = max(ended, key=lambda record: record.series, default=None)
        at = RecordFilter(since_s=question.instant_s, until_s=question.instant_s)
        ranges = [record for record in pending if isinstance(record, RangeRecord) and matches(at, record)]
        late = self._view.get(LATE, key)
        segments = self._shelf.segments(question.closed)
        return One(question.id, execution, ranges, late.notes if late is not None else [], segments)


class Shelf:
    """The segments, of which the closed ones are told only to who does not know them."""

    def __init__(self, infos: Callable[[], tuple[SegmentInfo, ...]]) -> None:
        self._infos = infos
        self._closed: list[SegmentInfo] = []
        self._number = 1

    def segments(self, known: int) -> Segments:
        """Return all of them; the closed ones by their number, when it is `known`."""
        infos = self._infos()
        closed = [info for info in infos if info.closed_us]
        if closed != self._closed:
            self._closed, self._number = closed, self._number + 1
        live = [info for info in infos if not info.closed_us]
        return Segments(self._number, None if known == self._number else closed, live)


def _search(running: list[Record], pending: list[Record], asked: AskRows) -> tuple[list[Record], dict[str, int]]:
    """Return the newest records that match, and the series of what was redriven.

    Thousands are remembered at a time, of which a page is wanted: what cannot be on it is left out by looking at one
    field of each, before anything is compared that costs more.
    """
    # A row of a segment that was redriven since is not the newest, though the new one may not be asked for.
    series: dict[str, int] = {}
    for record in (*running, *pending):
        if isinstance(record, Execution) and record.series:
            series[record.id] = max(record.series, series.get(record.id, 0))
    # Each of these may stand for another version that is hidden by it, here or where the segments are read.
    most = asked.limit + 2 * len(series)
    sources = [MemorySource(_newest(records, asked.wanted, asked.before, most)) for records in (running, pending)]
    return merged(sources, asked.wanted, asked.before, most), series


def _newest(records: list[Record], wanted: RecordFilter, before: Position, most: int) -> list[Record]:
    """Return those of `records` that match, without some of those that have `most` newer ones before them."""
    if wanted.namespace is not None:
        records = [record for record in records if record.namespace == wanted.namespace]
    if wanted.job_id is not None:
        records = [record for record in records if record.job_id == wanted.job_id]
    if before != AFTER_ALL or wanted != RecordFilter(namespace=wanted.namespace, job_id=wanted.job_id):
        records = [record for record in records if matches(wanted, record) and row_of(record).position < before]
    instants = [record.scheduled_s for record in records if isinstance(record, Execution)]
    if len(instants) <= most:
        return records
    cut = nlargest(most, instants)[-1]
    return [record for record in records if isinstance(record, RangeRecord) or record.scheduled_s >= cut]
