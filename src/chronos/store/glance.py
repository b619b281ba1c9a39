"""What is found at a glance: pages for which nobody need leave the event loop.

A search in a thread of its own costs more than most pages do, and beside a busy loop each of its steps waits for the
interpreter. So the pages that are asked for most are looked up where they are asked for: the first one of all
executions, or of one job's, any of all jobs, and the last runs of jobs that run often. None of them goes through more
than what is in memory and a few dozen rows of an index. All else is searched for in a thread.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from chronos.model.execution import Execution
from chronos.store.history import HistoryReader
from chronos.store.newest import newest_runs
from chronos.store.records import (
    AFTER_ALL,
    INSTANT_MAX,
    RANGE_PREFIX,
    MemorySource,
    Position,
    Record,
    RecordFilter,
    Row,
    Source,
    matches,
    merged,
    row_of,
)
from chronos.store.segment import SegmentInfo, SegmentReader, SegmentSource
from chronos.store.state import JobFilter

LIMIT_MAX = 256
"""Longer pages take their time: they are searched for in a thread."""

OVERLAID_MAX = 500
"""When more jobs have changed that the file does not have yet, they are laid over it in a thread."""

WRITTEN_MAX = 5_000
"""So many records are kept in memory besides, once they are in a segment: some seconds' worth."""

REMEMBERED_MAX = 10_000
"""Of more records in memory than this none is looked through on the loop: it is a millisecond's work."""

PAGE = 64
"""As many are put in order at first; most pages are shorter."""

Ended = dict[tuple[str, int], Record]
"""Records that are in no segment yet, by (id, series)."""

FEW = 100
"""Up to so many new records are put in their places one by one."""

_RANGES = (RANGE_PREFIX, -1)


def is_plain(wanted: JobFilter, limit: int) -> bool:
    """Whether all jobs are wanted, of one namespace or of all: then an index has their places."""
    is_narrowed = wanted.text or wanted.tags or wanted.enabled is not None
    return not is_narrowed and limit <= LIMIT_MAX


def is_first_page(wanted: RecordFilter, before: Position, limit: int) -> bool:
    """Whether nothing narrows the page but a namespace and a job, and it is the first."""
    plain = RecordFilter(namespace=wanted.namespace, job_id=wanted.job_id)
    return wanted.namespace is not None and before == AFTER_ALL and limit <= LIMIT_MAX and wanted == plain


class _Further(Exception):
    """The page reaches into a segment that is not being written."""


class Glance:
    """Finds first pages of executions. Belongs to the event loop."""

    def __init__(self, folder: Path, vfs: str | None = None) -> None:
        self._reader = HistoryReader(folder, vfs=vfs)
        self._infos: tuple[SegmentInfo, ...] = ()
        self._pending: list[Pending] = []
        self._written: deque[Ended] = deque()
        self._below_s = INSTANT_MAX

    def start(self, infos: Sequence[SegmentInfo]) -> None:
        """Note what segments there are, before anything is written to them."""
        self._below_s = max((info.last_s for info in infos), default=-1)

    def written(self, records: Ended) -> None:
        """Take note of what has been written to segments: as long as there is room, it need not be read from there.

        The records must not be changed any more.
        """
        if records:
            self._written.appendleft(records)
        while sum(map(len, self._written)) > WRITTEN_MAX:
            self._let_go(self._written.pop())

    def _let_go(self, records: Ended) -> None:
        self._below_s = max(self._below_s, *map(_instant_s, records.values()))

    def find(
        self,
        running: dict[str, Execution],
        ended: Sequence[Ended],
        infos: tuple[SegmentInfo, ...],
        wanted: RecordFilter,
        limit: int,
    ) -> list[Record] | None:
        """Return up to `limit` records, newest first; None when that needs a search.

        Args:
            running: The executions that are open, by id.
            ended: What is in no segment yet, the newest versions first.
            infos: The segments.
        """
        if len(running) + sum(map(len, ended)) > REMEMBERED_MAX:
            return None
        self._keep_live(infos)
        segments = [info for info in reversed(infos) if info.may_hold(wanted, AFTER_ALL)]
        # A job's are looked for one by one in memory, and by an index in a segment.
        is_any_job = wanted.job_id is None
        below_s = self._below_s if is_any_job else INSTANT_MAX
        followed = self._followed([*ended, *self._written])
        if is_any_job and (newest := _newest(running, followed, wanted, limit, below_s if segments else -1)):
            return newest
        sources: list[Source] = [Running(running)]
        for pending in followed[: None if is_any_job else len(ended)]:
            sources += pending.sources(wanted.job_id)
        sources += [Below(below_s, info, partial(self._opened, info)) for info in segments]
        try:
            return merged(sources, wanted, AFTER_ALL, limit)
        except _Further:
            return None

    def newest_runs(
        self, jobs: Mapping[str, str], running: dict[str, Execution], ended: Sequence[Ended]
    ) -> dict[str, Execution]:
        """Return the latest run that was not skipped of each job of which it is in memory; the others need a search.

        Args:
            jobs: Their namespaces, by id.
            running: As for `find`.
            ended: As for `find`.
        """
        if len(running) + sum(map(len, ended)) > REMEMBERED_MAX:
            return {}
        memory = [running.values(), *(records.values() for records in (*ended, *self._written))]
        found = newest_runs(jobs, memory, [])
        # Of what is due behind that, everything is in memory: nothing newer, and no newer version, lies in a segment.
        return {job_id: run for job_id, run in found.items() if run.scheduled_s > self._below_s}

    def _followed(self, ended: Sequence[Ended]) -> list[Pending]:
        known = {id(pending.records): pending for pending in self._pending}
        self._pending = [known.get(id(records)) or Pending(records) for records in ended]
        return self._pending

    def _opened(self, info: SegmentInfo) -> SegmentReader | None:
        if info.closed_us:
            raise _Further
        return self._reader.reader(info.number)

    def _keep_live(self, infos: tuple[SegmentInfo, ...]) -> None:
        if infos is not self._infos:
            self._infos = infos
            self._reader.forget_gone(tuple(info for info in infos if not info.closed_us))

    async def forget(self, numbers: Collection[int]) -> None:
        """Close segments that are gone: as long as they are open, their space is not free."""
        self._reader.forget(numbers)
        while self._written:  # some of it may be gone with them
            self._let_go(self._written.pop())

    def close(self) -> None:
        """Close all segments."""
        self._reader.close()


def _newest(
    running: dict[str, Execution], pending: Sequence[Pending], wanted: RecordFilter, limit: int, below_s: int
) -> list[Record] | None:
    """Return a full page of the newest records when all of it lies in memory above `below_s`; None when it may not.

    What `merged` would find, for a fraction of the work: ids of executions are in the order of their instants, so that
    the highest are the newest.
    """
    best: dict[tuple[str, int], Record] = {}
    for key in heapq.nlargest(limit, running):
        execution = running[key]
        best[key, execution.series] = execution
    least = ""
    for one in pending:  # the newest versions first
        keys = one.in_order()
        if keys and keys[-1] > _RANGES:
            return None
        for at in _highest(keys, limit, least):
            best.setdefault(at, one.records[at])
        if len(ids := {record_id for record_id, _ in best}) >= limit:
            least = heapq.nlargest(limit, ids)[-1]
    newest = {at[0]: best[at] for at in sorted(best)}  # of the versions of one, the last series
    found = [*newest.values()][: -limit - 1 : -1]
    is_full = len(found) == limit and _instant_s(found[-1]) > below_s
    return found if is_full and all(wanted.namespace == each.namespace for each in found) else None


def _highest(keys: Sequence[tuple[str, int]], limit: int, least: str) -> Iterator[tuple[str, int]]:
    """Yield the keys of up to `limit` records, the highest first, none of them below `least`."""
    last, count = "", 0
    for key in reversed(keys):
        if key[0] != last:
            last, count = key[0], count + 1
            if count > limit or last < least:
                return
        yield key


def _instant_s(record: Record) -> int:
    return record.scheduled_s if isinstance(record, Execution) else record.first_s


class Running:
    """Open executions, by id: a page of the newest is found without putting all of them in order."""

    def __init__(self, executions: dict[str, Execution]) -> None:
        self._executions = executions

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        executions = self._executions
        if wanted.job_id is None:
            keys = [*reversed(executions)]  # those claimed last are due last
        else:
            keys = [key for key, execution in executions.items() if execution.job_id == wanted.job_id]
        for key in descending(keys):
            execution = executions[key]
            if matches(wanted, execution) and (row := row_of(execution)).position < before:
                yield row

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        return {}  # such a filter keeps out no version that another row of the same record passes


class Pending:
    """Records that have ended, by (id, series). They only become more, so their order is kept from page to page."""

    def __init__(self, records: Ended) -> None:
        self.records = records
        self._keys: list[tuple[str, int]] = []

    def sources(self, job_id: str | None) -> list[Source]:
        """Return the records, as far as a job's are wanted, as sources."""
        keys = self.in_order()
        # Ids of executions are in the order of their instants; those of ranges, which are above them, are not.
        first_range = bisect_left(keys, _RANGES) if keys and keys[-1] > _RANGES else len(keys)
        ranges = MemorySource([self.records[key] for key in keys[first_range:]])
        return [_Ended(self.records, keys, first_range, job_id), *([ranges] if first_range < len(keys) else [])]

    def in_order(self) -> list[tuple[str, int]]:
        """Return the keys, ascending."""
        new = len(self.records) - len(self._keys)
        if new > FEW:
            self._keys = sorted(self.records)
        else:
            for key in islice(reversed(self.records), new):
                insort(self._keys, key)
        return self._keys


class _Ended:
    def __init__(self, records: Ended, keys: Sequence[tuple[str, int]], count: int, job_id: str | None) -> None:
        self._records, self._keys, self._count = records, keys, count
        self._job_id = job_id

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        records, keys = self._records, self._keys
        places: Iterable[int] = range(self._count - 1, -1, -1)
        if self._job_id is not None:
            places = [place for place in places if records[keys[place]].job_id == self._job_id]
        for place in places:
            record = records[keys[place]]
            if matches(wanted, record) and (row := row_of(record)).position < before:
                yield row

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        return {}


class Below:
    """What a segment holds up to an instant; what is above it lies in memory, too, and is found there."""

    def __init__(self, last_s: int, info: SegmentInfo, reader: Callable[[], SegmentReader | None]) -> None:
        self._before: Position = (last_s + 1, "")
        self._segment = SegmentSource(replace(info, last_s=min(info.last_s, last_s)), reader)

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        return self._segment.matching(wanted, min(before, self._before))

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        return {}


def descending(keys: Collection[str]) -> Iterator[str]:
    """Yield keys, the highest first; for those of a page, without sorting all."""
    yield from heapq.nlargest(PAGE, keys)
    if len(keys) > PAGE:
        yield from sorted(keys, reverse=True)[PAGE:]
