"""The state in SQLite, with what has changed since the last flush laid over it in memory.

    get:    cache ▸ dirty ▸ flushing ▸ state.db         (the cache may forget; it never holds what is not so any more)
    flush:  history (fsynced) ▸ state.db (one transaction: everything dirty, and the applied index)

An execution that begins and ends between two flushes goes to history and never touches state.db.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from chronos.errors import Draining
from chronos.failpoints import reach
from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.model.times import PlanRow, plan_row
from chronos.store.archive import Archive
from chronos.store.background.files import AnyState
from chronos.store.background.lock import wait_unused
from chronos.store.background.relief import Relief
from chronos.store.cache import NOTHING, Cache
from chronos.store.commands import Seal
from chronos.store.copying import copy_files
from chronos.store.generation import Generation
from chronos.store.glance import OVERLAID_MAX, Glance, is_first_page, is_plain
from chronos.store.history import History, HistoryReader, HistorySettings
from chronos.store.jobsearch import Listed
from chronos.store.keeping import days_kept, rules_of
from chronos.store.listings import Listings
from chronos.store.newest import newest_runs
from chronos.store.offload import Offload, Thread
from chronos.store.port import Changes
from chronos.store.records import MemorySource, Position, Record, RecordFilter, matches, merged, record_in, row_of
from chronos.store.refolding import Journaled
from chronos.store.searching import Searching
from chronos.store.sqlitefile import translated
from chronos.store.state import KEY_MAX, RANGES_MAX, JobFilter, Key, format_digest, traits_of
from chronos.store.statefile import StateReader, StateWriter
from chronos.store.tables import JOBS, META, OPEN, TABLES, Table
from chronos.timing.duration import DAY_US

T = TypeVar("T")

_OPEN, _JOBS = OPEN.name, JOBS.name

_DECODERS: dict[str, Callable[[bytes], Any]] = {
    table.name: msgspec.msgpack.Decoder(table.of).decode for table in TABLES
}


class StateSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the state's files are kept.

    Attributes:
        cached_bytes: What values kept in memory may weigh, about, beside what is dirty and what is open.
        checkpoint_pages: After this many pages of a write-ahead log it is folded into the file, after a flush.
        pages_max: Bound of state.db; 0 is SQLite's own.
        background_rows: From so many rows in a flush on, a process of their own writes the files; 0 is never.
    """

    cached_bytes: int = 96 * 1024 * 1024
    checkpoint_pages: int = 4_000
    pages_max: int = 0
    background_rows: int = 5_000
    history: HistorySettings = HistorySettings()


class SqliteState:
    """`State` in a folder: `state.db` and `history/`.

    Args:
        offload: Makes the places, by name, where files are written and searched.
        vfs: The name of a file system registered with SQLite, for disks that fail on purpose.
    """

    def __init__(
        self,
        folder: Path,
        settings: StateSettings | None = None,
        *,
        offload: Callable[[str], Offload] = Thread,
        vfs: str | None = None,
    ) -> None:
        self._vfs = vfs
        self._path = folder / "state.db"
        self._settings = settings or StateSettings()
        self._history = History(folder / "history", self._settings.history, vfs=vfs)
        self._writing: Offload = offload("chronos-state")
        self._searching: Offload = offload("chronos-search")
        self._searches = Searching(folder / "history", self._searching, vfs)
        self._lookups = Searching(folder / "history", offload("chronos-lookup"), vfs)
        self._glance = Glance(folder / "history", vfs)
        self.archive = Archive(
            folder / "history",
            self._history,
            writing=self._writing,
            readers=[self._searches, self._lookups, self._glance],
            own=offload("chronos-archive"),
            vfs=vfs,
        )
        self._relief = Relief(self._path, self._history, self._settings, vfs)
        self._writer: AnyState | None = None
        self._reader: StateReader | None = None
        self._searcher: StateReader | None = None
        self._dirty = Generation()
        self._flushing = Generation()
        self._cache = Cache(self._settings.cached_bytes)
        self._remember = self._cache.put
        self._open: dict[str, Execution] = {}
        self._index = self._time_us = self._flushed = self._recorded = 0
        self._is_refolding = False
        self._turn = asyncio.Lock()

    @property
    def applied_index(self) -> int:
        return self._index

    @property
    def flushed_index(self) -> int:
        return self._flushed

    @property
    def time_us(self) -> int:
        return self._time_us

    @property
    def overlaid(self) -> int:
        return len(self._dirty.jobs) + len(self._flushing.jobs)

    @property
    def history(self) -> History:
        return self._history

    async def start(self) -> None:
        await self._writing.run(self._open_files)
        assert self._writer is not None
        self._index = self._flushed = self._writer.applied
        self._time_us = self._writer.time_us
        self._recorded = self._history.complete_to
        self._glance.start(self._history.infos)
        self._listings = Listings()
        with translated(self._path):
            self._reader = StateReader(self._path, self._vfs)
            self._open = {key: _DECODERS[_OPEN](value) for key, value in self._reader.everything(_OPEN)}
        self._searcher = await self._searching.run(partial(StateReader, self._path, self._vfs))

    def _open_files(self) -> None:
        with translated(self._path):
            (self._path.parent / "history").mkdir(mode=0o700, exist_ok=True)
            wait_unused(self._path.parent / "history")
            self._history.check()  # before the state is touched: what a newer release wrote is left as it is
            self._writer = StateWriter(self._path, self._settings.pages_max, self._vfs)
            self._writer.verify()
            meta = StateReader(self._path, self._vfs)
            found = meta.get(META.name, "meta")
            meta.close()
        self._history.open(_DECODERS[META.name](found).sealed if found else 0)

    async def stop(self) -> None:
        if self._writer is not None:
            await self.flush()
            await self._close()
        self._writing.close()
        await self._searches.stop()
        await self._lookups.stop()

    async def _close(self) -> None:
        assert self._writer is not None
        assert self._searcher is not None
        assert self._reader is not None
        self._reader.close()
        self._glance.close()
        await self._searching.run(self._searcher.close)
        await self.archive.stop()
        await self._writing.run(self._history.close)
        await self._writing.run(partial(self._translate, self._writer.close))
        await self._writing.run(self._relief.close)
        self._writer = None

    def get(self, table: Table[T], key: str) -> T | None:
        name = table.name
        value: Any = self._open.get(key) if name == _OPEN else self._cache.newer[name].get(key, NOTHING)
        found: T | None = self._look_up((name, key)) if value is NOTHING else value
        return found

    def _look_up(self, place: Key) -> Any:
        value = self._cache.get(place)
        if value is NOTHING:
            value = self._dirty.puts.get(place, NOTHING)
        if value is NOTHING:
            value = self._flushing.puts.get(place, NOTHING)
        return self._read(*place) if value is NOTHING else value

    def _read(self, table: str, key: str) -> Any:
        if self._reader is None or self._writer is None:
            raise Draining  # a request that was under way when the files were closed
        if key > self._writer.highest.get(table, KEY_MAX):
            return None  # a job that is being made: nothing is known of it, and that need not be looked up
        with translated(self._path):
            encoded = self._reader.get(table, key)
        value = None if encoded is None else _DECODERS[table](encoded)
        self._remember((table, key), value)
        return value

    def read_ahead(self, table: Table[Any], keys: Sequence[str]) -> None:
        if self._reader is None or self._writer is None:
            return  # whoever asks next is told that it is closed
        name = table.name
        places = ((name, key) for key in keys)
        layers = (self._dirty.puts, self._flushing.puts)
        unknown = [
            place[1]
            for place in places
            if self._cache.get(place) is NOTHING and all(place not in layer for layer in layers)
        ]
        if not unknown:
            return
        with translated(self._path):
            found = self._reader.get_all(name, unknown)
        for key, encoded in zip(unknown, found, strict=True):
            self._remember((name, key), None if encoded is None else _DECODERS[name](encoded))

    def commit(self, changes: Sequence[Changes], index: int, time_us: int) -> None:
        assert index == self._index + 1
        if self._history.is_new_stretch(self._time_us, time_us):
            self._dirty.cut(self._index, self._time_us)
        dirty, renew, is_open = self._dirty, self._cache.renew, self._open
        puts, fresh = dirty.puts, dirty.fresh
        for change in changes:
            if index > self._recorded:  # a crash may have come between history's flush and state's
                self._record(change, index, time_us)  # before the puts: what a deleted job leaves is kept as it said
            for place, value in change.puts.items():
                table, key = place
                if table != _OPEN:
                    if table == _JOBS:
                        self._listings.note(self._cache.get(place), value)
                        dirty.jobs[key] = value
                    puts[place] = value
                    renew(place, value)
                elif value is not None:
                    if key not in is_open and place not in puts:
                        fresh.add(place)
                    is_open[key] = puts[place] = value
                else:
                    is_open.pop(key, None)
                    if place in fresh:  # it began and ended between two flushes, and is never written
                        fresh.discard(place)
                        del puts[place]
                    else:
                        puts[place] = None
        self._index, self._time_us = index, time_us

    def _record(self, change: Changes, index: int, time_us: int) -> None:
        if not change.ended and not change.ranges:
            return
        dirty, rules = self._dirty, rules_of(self)
        ended = change.ended
        dirty.record_ended(ended, [days_kept(self, rules, one.job_id, one.namespace, one.revision) for one in ended])
        for skipped in change.ranges:
            place, days = row_of(skipped).key, days_kept(self, rules, skipped.job_id, skipped.namespace)
            if dirty.days.get(place, days) != days and self._history.is_cut_alike:
                dirty.cut(self._index, time_us)  # or another member, which writes now, would have it twice
            dirty.record(place, skipped, days)
        if self._is_refolding:
            records: list[Record] = [*change.ended, *change.ranges]
            for record in records:
                row = row_of(record)
                dirty.journal.append(Journaled(index, time_us, dirty.days[row.key], record))

    async def flush(self, *, patiently: bool = False) -> None:
        async with self._turn:
            self._relief.be(patient=patiently)
            if self._index == self._flushed:
                return
            batch = self._flushing = self._dirty
            self._dirty = Generation()
            index, time_us = self._index, self._time_us
            written = False
            try:
                await self._writing.run(partial(self._write, batch, index, time_us))
                self._glance.written(batch.records)
                written = True
            finally:
                if not written:
                    self._dirty.take_back(batch, index, time_us, in_order=self._history.is_cut_alike)
                self._flushing = Generation()
            self._flushed = index
        await self._tidy(self._settings.checkpoint_pages)

    def _write(self, batch: Generation, index: int, time_us: int) -> None:
        """History first: through a power cut it has then everything that state no longer has."""
        assert self._writer is not None
        if not batch.journal:
            self._writer = self._relief.writer(self._writer, len(batch.records) + len(batch.puts))
        reach("state.flush-before")
        self._history.write_all(batch, index, time_us)
        reach("state.flush-midway")
        with translated(self._path):
            self._writer.write(batch.puts, index, time_us, batch.fresh)

    def cut_alike(self) -> None:
        """Cut history as every member of a cluster does; before `start`."""
        self._history.is_cut_alike = True

    async def refold(self, seals: Sequence[Seal]) -> list[Seal]:
        if self._history.is_cut_alike:
            return []  # it is cut by log time, the second time as the first
        await self.flush()
        missing = await self._writing.run(partial(self._expect, seals))
        self._is_refolding = bool(seals) and await self._writing.run(lambda: bool(self._history.missing))
        return missing

    def _expect(self, seals: Sequence[Seal]) -> list[Seal]:
        with translated(self._path):
            missing = self._history.missing
            self._history.keep_apart()
            self._history.expect(seals)
        return missing

    async def _tidy(self, pages_max: int) -> None:
        if self._writer is not None and self._writer.wal_pages >= pages_max:
            await self._writing.run(self._checkpoint)
        if self._history.is_untidy(pages_max):
            await self._writing.run(partial(self._history.tidy, pages_max))

    def _checkpoint(self) -> int:
        assert self._writer is not None
        self._history.checkpoint()
        reach("state.checkpoint-midway")
        with translated(self._path):
            self._writer.checkpoint()
        return self._writer.durable

    async def checkpoint(self, *, patiently: bool = False) -> int:
        await self.flush(patiently=patiently)
        return await self._writing.run(self._checkpoint)

    async def copy(self, into: Path) -> int:
        """Copy state and history into the empty folder `into`, and return the last entry that either has.

        Writing waits meanwhile. What a file's write-ahead log holds is copied beside it, and has to be folded in
        (`copying.fold_in`).

        Raises:
            StorageFull: There is no room for it.
        """
        await self.flush()
        return await self._writing.run(partial(self._copy, into))

    def _copy(self, into: Path) -> int:
        assert self._writer is not None
        closed = [info.number for info in self._history.infos if info.closed_us]
        with translated(self._path):
            copy_files(self._path.parent, into, closed)
        return max(self._writer.applied, self._history.complete_to)

    async def digest(self) -> str:
        await self.flush()
        assert self._writer is not None
        return format_digest(self._writer.digest)

    def scan(self, table: Table[T], low: str, high: str, limit: int, *, newest: bool = False) -> list[tuple[str, T]]:
        over = {
            key: value
            for generation in (self._flushing, self._dirty)
            for (name, key), value in generation.puts.items()
            if name == table.name and low <= key < high
        }
        assert self._reader is not None, "state is read before it was started"
        with translated(self._path):
            # As many more as the overlay may hide.
            rows = self._reader.scan(table.name, low, high, limit + len(over), newest=newest)
        decode = _DECODERS[table.name]
        found = [(key, decode(value)) for key, value in rows if key not in over]
        found += [(key, value) for key, value in over.items() if value is not None]
        return sorted(found, key=lambda item: item[0], reverse=newest)[:limit]

    def open_executions(self) -> list[Any]:
        return [self._open[key] for key in sorted(self._open)]

    def plan_rows(self, after: str, limit: int) -> list[PlanRow]:
        over = self._changed_jobs()
        assert self._reader is not None, "state is read before it was started"
        with translated(self._path):
            rows = self._reader.plan_rows(after, limit + len(over))
        if not over:
            return rows
        found = [row for row in rows if row[0] not in over]
        found += [plan_row(job) for key, job in over.items() if job is not None and key > after]
        return sorted(found)[:limit]

    def jobs_of_trait(self, trait: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        over = self._changed_jobs()
        assert self._reader is not None, "state is read before it was started"
        with translated(self._path):
            rows = self._reader.jobs_of_trait(trait, after, limit + len(over))
        found = [row for row in rows if row[1] not in over]
        changed = (job for job in over.values() if job is not None and trait in traits_of(job))
        return sorted([*found, *((job.name, job.id) for job in changed if (job.name, job.id) > after)])[:limit]

    def _changed_jobs(self) -> dict[str, Job | None]:
        """Return the jobs that `state.db` does not have yet as they are now; None for those that are gone."""
        return {**self._flushing.jobs, **self._dirty.jobs}

    def in_memory(self) -> tuple[list[Record], list[Record]]:
        """Return the executions that are open, and the records that have ended and are in no segment yet."""
        return list(self._open.values()), self._pending()

    async def find_jobs(self, wanted: JobFilter, after: tuple[str, str], limit: int) -> tuple[list[Job], int | None]:
        if is_plain(wanted, limit):
            if self._reader is None or self._writer is None:
                raise Draining
            keys, total = await self._listings.page(wanted.namespace, after, limit, self._list_jobs)
            self.read_ahead(JOBS, keys)
            return [job for key in keys if (job := self.get(JOBS, key)) is not None], total
        assert self._searcher is not None
        search = partial(self._searcher.find_jobs, self._changed_jobs(), wanted, after, limit)
        return await self._searching.run(partial(self._translate, search))

    async def _list_jobs(self, namespace: str | None, after: tuple[str, str], limit: int) -> Listed:
        changed = self._changed_jobs()
        is_quick = len(changed) <= OVERLAID_MAX
        reader = self._reader if is_quick else self._searcher
        assert reader is not None
        look_up = partial(self._translate, partial(reader.list_jobs, changed, namespace, after, limit))
        return look_up() if is_quick else await self._searching.run(look_up)

    async def find_records(self, wanted: RecordFilter, before: Position, limit: int) -> list[Record]:
        is_near = is_first_page(wanted, before, limit) and self._history.is_at_hand(wanted)
        if is_near and (found := self._at_a_glance(wanted, limit)) is not None:
            return found
        running, pending = self.in_memory()

        def search(reader: HistoryReader) -> list[Record]:
            # Asked after the copies above were made: what has moved to a segment since is seen twice, not never.
            segments = reader.sources(self._history.infos, wanted, before)
            return merged([MemorySource(running), MemorySource(pending), *segments], wanted, before, limit)

        return await self._searches.run(search)

    async def newest_runs(self, jobs: Mapping[str, str]) -> dict[str, Execution]:
        found = self._glance.newest_runs(jobs, self._open, (self._dirty.records, self._flushing.records))
        if rest := {job_id: jobs[job_id] for job_id in jobs if job_id not in found}:
            memory = self.in_memory()
            found |= await self._searches.run(
                # Segments are asked for after memory, as in `find_records`.
                lambda reader: newest_runs(rest, memory, reader.sources(self._history.infos, RecordFilter()))
            )
        return found

    def _at_a_glance(self, wanted: RecordFilter, limit: int) -> list[Record] | None:
        if self._writer is None:
            raise Draining
        with translated(self._path):
            layers = (self._dirty.records, self._flushing.records)
            return self._glance.find(self._open, layers, self._history.infos, wanted, limit)

    async def record(self, record_id: str, instant_s: int) -> Record | None:
        # By the keys, newest versions last: most look-ups find nothing among thousands that have just ended.
        pending = [
            (series, record)
            for generation in (self._flushing, self._dirty)
            for (key, series), record in generation.records.items()
            if key == record_id
        ]
        if pending:
            newest = max(series for series, _ in pending)
            return [record for series, record in pending if series == newest][-1]

        def look_up(reader: HistoryReader) -> Record | None:
            row = reader.get(self._history.infos, record_id, instant_s)
            return record_in(row) if row else None

        return await self._lookups.run(look_up)

    def history_begins_us(self) -> int:
        # What a segment speaks of is older than the segment: a job may be gone by the time its last run ends.
        return min((info.opened_us - 2 * DAY_US for info in self._history.infos), default=self._time_us)

    async def ranges_at(self, instant_s: int) -> list[Record]:
        wanted = RecordFilter(since_s=instant_s, until_s=instant_s)
        pending = [r for r in self._pending() if not isinstance(r, Execution) and matches(wanted, r)]
        return [*pending, *await self._lookups.run(lambda r: r.ranges_at(self._history.infos, instant_s, RANGES_MAX))]

    def _pending(self) -> list[Record]:
        """Return the records that are not in a segment yet, in their newest versions."""
        newest = {**self._flushing.records, **self._dirty.records} if self._flushing.records else self._dirty.records
        return list(newest.values())

    def _translate(self, search: Callable[[], T]) -> T:
        with translated(self._path):
            return search()
