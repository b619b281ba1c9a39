"""State and history as another process sees them that only reads: files, and nothing of what their writer remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from chronos.errors import LogFailed
from chronos.model.job import Job
from chronos.store.history import HistoryReader
from chronos.store.offload import Offload, Thread
from chronos.store.records import MemorySource, Position, Record, RecordFilter, Row, merged, record_in
from chronos.store.searching import Searching
from chronos.store.segment import SegmentInfo
from chronos.store.sqlitefile import translated
from chronos.store.state import RANGES_MAX, JobFilter
from chronos.store.statefile import StateReader
from chronos.store.tables import TABLES, Table

T = TypeVar("T")
Infos = tuple[SegmentInfo, ...]

REACH_S_MAX = 0.1
READ_S_MAX = 1.0
"""A read transaction that lasts longer keeps the writer from folding its log in."""

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    table.name: msgspec.msgpack.Decoder(table.of).decode for table in TABLES
}


class Behind(Exception):
    """The files cannot say it in time; the process that writes them can."""


class Following:
    """Reads `state.db` and `history/` of a folder that another process writes. Never checkpoints, never writes.

    Errors of the files are those of the store: `StateDamaged`, `LogFailed`.

    Args:
        offload: Makes the place where searches go.
    """

    def __init__(self, folder: Path, *, offload: Callable[[str], Offload] = Thread) -> None:
        self._path = folder / "state.db"
        self._history = folder / "history"
        self._offload = offload
        self._place: Offload | None = None
        self._searches: Searching | None = None
        self._lookups: Searching | None = None
        self._reader: StateReader | None = None
        self._searcher: StateReader | None = None
        self._applied = 0
        self.searches = 0

    async def start(self) -> None:
        """Open the files."""
        self._place = self._offload("chronos-search")
        self._searches = Searching(self._history, self._place)
        self._lookups = Searching(self._history, self._offload("chronos-lookup"))
        with translated(self._path):
            self._reader = StateReader(self._path)
        self._searcher = await self._search(partial(StateReader, self._path))

    async def stop(self) -> None:
        """Close them. Stopping twice, or unstarted, does nothing."""
        place, self._place = self._place, None
        if place is None:
            return
        assert self._searches is not None
        assert self._lookups is not None
        await place.run(self._close)
        await self._searches.stop()
        await self._lookups.stop()

    def _close(self) -> None:
        for reader in (self._reader, self._searcher):
            if reader is not None:
                reader.close()

    async def reach(self, index: int) -> None:
        """Return when the file has entry `index`.

        Raises:
            Behind: It has not got it in a tenth of a second.
        """
        wait_s, waited_s = 0.001, 0.0
        while index > self._applied:
            with translated(self._path):
                self._applied = self._opened.applied()
            if index <= self._applied:
                return
            if waited_s >= REACH_S_MAX:
                raise Behind
            await asyncio.sleep(wait_s)
            waited_s += wait_s
            wait_s *= 2

    @property
    def _opened(self) -> StateReader:
        assert self._reader is not None, "the files are read before they were opened"
        return self._reader

    def get(self, table: Table[T], key: str) -> T | None:
        """Return the value under `key`, or None."""
        with translated(self._path):
            encoded = self._opened.get(table.name, key)
        value: T | None = None if encoded is None else _DECODERS[table.name](encoded)
        return value

    def scan(self, table: Table[T], low: str, high: str, limit: int, *, newest: bool = False) -> list[tuple[str, T]]:
        """Return up to `limit` (key, value) with low <= key < high, in the keys' order, or from the last one back."""
        with translated(self._path):
            rows = self._opened.scan(table.name, low, high, limit, newest=newest)
        decode = _DECODERS[table.name]
        return [(key, decode(value)) for key, value in rows]

    async def find_jobs(self, wanted: JobFilter, after: tuple[str, str], limit: int) -> tuple[list[Job], int | None]:
        """Return up to `limit` jobs behind `after` in the order of (name, id), and how many match in all.

        Raises:
            Behind: It takes too long to be read here.
        """
        searcher = self._searcher
        assert searcher is not None, "the files are searched before they were opened"
        late = asyncio.get_running_loop().call_later(READ_S_MAX, searcher.interrupt)
        try:
            return await self._search(partial(searcher.find_jobs, {}, wanted, after, limit))
        finally:
            late.cancel()

    async def find_records(
        self,
        infos: Infos,
        memory: Iterable[Record],
        series: Mapping[str, int],
        wanted: RecordFilter,
        before: Position,
        limit: int,
    ) -> list[Record]:
        """Return records that stand before `before`, newest first, of memory and of the segments.

        Args:
            infos: The segments as they were no earlier than `memory`.
            memory: Those of the writer's memory that match: the open ones, and what is in no segment yet.
            series: By id, the newest series of executions that the writer remembers, whether they match or not.
        """

        def search(reader: HistoryReader) -> list[Record]:
            reader.forget_gone(infos)
            segments = reader.sources(infos, wanted, before)
            return merged([_Remembered(memory, series), *segments], wanted, before, limit)

        return await self._read(self._searches, search)

    async def record(self, infos: Infos, record_id: str, instant_s: int) -> Record | None:
        """Return the newest version of an ended execution."""

        def look_up(reader: HistoryReader) -> Record | None:
            reader.forget_gone(infos)
            row = reader.get(infos, record_id, instant_s)
            return record_in(row) if row else None

        return await self._read(self._lookups, look_up)

    async def ranges_at(self, infos: Infos, instant_s: int) -> list[Record]:
        """Return the range records that `instant_s` lies in."""
        return await self._read(self._lookups, lambda reader: [*reader.ranges_at(infos, instant_s, RANGES_MAX)])

    async def rest(self) -> None:
        """Close the segments: as long as one is open that retention has taken, its space is not free."""
        for searching in (self._searches, self._lookups):
            if self._place is not None and searching is not None:
                await searching.rest()

    async def _read(self, searching: Searching | None, work: Callable[[HistoryReader], T]) -> T:
        assert searching is not None, "the files are searched before they were opened"
        self.searches += 1
        return await searching.run(work)

    async def _search(self, work: Callable[[], T]) -> T:
        assert self._place is not None, "the files are searched before they were opened"
        self.searches += 1
        return await self._place.run(partial(self._translate, work))

    def _translate(self, work: Callable[[], T]) -> T:
        try:
            with translated(self._path):
                return work()
        except LogFailed as exc:
            if isinstance(exc.__cause__, apsw.InterruptError):
                raise Behind from exc
            raise


class _Remembered:
    """What the writer has told of its memory, as a `Source`."""

    def __init__(self, records: Iterable[Record], series: Mapping[str, int]) -> None:
        self._memory = MemorySource(records)
        self._series = series

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        return self._memory.matching(wanted, before)

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        told = {row.id: self._series[row.id] for row in rows if row.id in self._series}
        return {**self._memory.newest_of(rows, wanted), **told}
