"""What is done to history besides writing and searching it: closing, reading whole, thinning out, removing.

All of it in pieces of a few milliseconds, in a place of its own, so that neither flushes nor searches wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from chronos.model.execution import Execution, RangeRecord
from chronos.store import proof
from chronos.store.history import History, HistoryReader, segment_path
from chronos.store.offload import Offload
from chronos.store.records import RANGE_PREFIX, Row, record_in
from chronos.store.segment import Group, SegmentInfo, SegmentThinner
from chronos.store.sqlitefile import translated

T = TypeVar("T")
Place = tuple[str, int]
FIRST: Place = ("", -1)


class ArchiveRow(NamedTuple):
    """A row of a segment as it is vouched for.

    Attributes:
        line: Its canonical line; empty when retention has taken the row and left its hash.
        record: The record itself; None when it was taken.
    """

    id: str
    series: int
    line: bytes
    leaf: bytes
    record: Execution | RangeRecord | None

    @property
    def place(self) -> Place:
        return self.id, self.series


class Reading(Protocol):
    """Somebody who reads history elsewhere."""

    async def forget(self, numbers: Collection[int]) -> None:
        """Close segments that are gone: as long as they are open, their space is not free."""
        ...


class Archive:
    """The segments of a state, for whoever keeps them.

    Args:
        writing: The place where history is written.
        readers: Those who read history elsewhere.
        own: A place for the work of this class.

    Attributes:
        still: Held by whoever needs the closed segments to stay as they are; nothing is thinned out meanwhile.
    """

    def __init__(
        self,
        folder: Path,
        history: History,
        *,
        writing: Offload,
        readers: Sequence[Reading],
        own: Offload,
        vfs: str | None = None,
    ) -> None:
        self._folder = folder
        self._history = history
        self._writing, self._own = writing, own
        self._vfs = vfs
        self._reader = HistoryReader(folder, vfs=vfs)
        self._readers = readers
        self.still = asyncio.Lock()

    @property
    def infos(self) -> tuple[SegmentInfo, ...]:
        """What is known of every segment, in the order of their numbers."""
        return self._history.infos

    @property
    def closed(self) -> list[SegmentInfo]:
        """The segments that nothing is written to any more."""
        return [info for info in self._history.infos if info.closed_us]

    async def close_due(self, time_us: int) -> None:
        """Close the segments whose time is over at `time_us` of log time."""
        await self._writing.run(partial(self._history.close_due, time_us))

    async def rows(self, number: int, after: Place, most: int) -> list[ArchiveRow] | None:
        """Return up to `most` rows behind `after` in the order of (id, series); None when the segment is gone."""

        def read() -> list[ArchiveRow] | None:
            reader = self._reader.reader(number)
            if reader is None:
                return None
            return [_archived(row) for row in reader.in_order(after, most)]

        return await self._own.run(partial(self._translate, read))

    async def groups(self, number: int, by: str, after: str, most: int) -> list[Group]:
        """Return up to `most` jobs (`by` "job_id") or namespaces behind `after`, and how many executions are theirs."""

        def read() -> list[Group]:
            reader = self._reader.reader(number)
            return [] if reader is None else reader.groups(by, after, most)

        return await self._own.run(partial(self._translate, read))

    async def executions_of(self, number: int, job_id: str) -> int:
        """Return how many executions of a job lie in a segment."""

        def read() -> int:
            reader = self._reader.reader(number)
            return 0 if reader is None else reader.executions_of(job_id)

        return await self._own.run(partial(self._translate, read))

    async def thin(self, number: int, by: str, of: str, most: int) -> int:
        """Take up to `most` executions of a job or namespace out of a closed segment, those due first.

        Their hashes stay. Returns how many went.
        """

        def work() -> int:
            thinner = SegmentThinner(segment_path(self._folder, number), self._vfs)
            try:
                return thinner.thin(by, of, most, lambda row: _archived(row).leaf)
            finally:
                thinner.close()

        async with self.still:
            thinned = await self._own.run(partial(self._translate, work))
            for elsewhere in self._readers:
                await elsewhere.forget([number])
            return thinned

    async def thinned(self, number: int) -> int:
        """Return how many rows of a segment are gone."""

        def read() -> int:
            reader = self._reader.reader(number)
            return 0 if reader is None else reader.thinned()

        return await self._own.run(partial(self._translate, read))

    async def compact(self, number: int) -> None:
        """Give the space of the rows that are gone back to the disk; seconds for a big segment, and nobody waits."""

        def work() -> None:
            thinner = SegmentThinner(segment_path(self._folder, number), self._vfs)
            try:
                thinner.compact()
            finally:
                thinner.close()

        async with self.still:
            await self._own.run(partial(self._translate, work))

    async def remove(self, numbers: Collection[int]) -> int:
        """Delete closed segments; return how many there were."""
        removed = await self._writing.run(partial(self._history.remove, numbers))
        for elsewhere in self._readers:
            await elsewhere.forget(numbers)
        await self._own.run(partial(self._reader.forget, numbers))
        return removed

    async def stop(self) -> None:
        """Close the files."""
        await self._own.run(self._reader.close)
        self._own.close()

    def _translate(self, work: Callable[[], T]) -> T:
        with translated(self._folder):
            return work()


def _archived(row: Row) -> ArchiveRow:
    if row.instant_s < 0:
        assert isinstance(row.value, bytes)
        return ArchiveRow(row.id, row.series, b"", row.value, None)
    record = record_in(row)
    line = proof.record_line(record)
    return ArchiveRow(row.id, row.series, line, proof.leaf(line), record)


def is_range(record_id: str) -> bool:
    """Whether a row's id is that of a range record."""
    return record_id.startswith(RANGE_PREFIX)
