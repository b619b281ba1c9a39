"""Where the fold's result is kept. The port, and the adapter that keeps it in memory."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from chronos.model.execution import Execution
from chronos.model.job import Job
from chronos.model.times import PlanRow, plan_row
from chronos.store.commands import Seal
from chronos.store.newest import newest_runs
from chronos.store.port import Changes, View
from chronos.store.records import AFTER_ALL, MemorySource, Position, Record, RecordFilter, merged, row_of
from chronos.store.tables import CURSORS, DOCUMENTS, JOBS, NAMES, OPEN, REVISIONS, TABLES, Table

T = TypeVar("T")
Key = tuple[str, str]

WRITE_THROUGH = frozenset({JOBS.name, NAMES.name, REVISIONS.name, DOCUMENTS.name})
"""Tables that are searched: what is acknowledged in them is in the file, so that a search finds it."""

KEY_MAX = "\U0010ffff"


def is_searched(place: Key) -> bool:
    """Whether what is under `place`, in one of these tables, is ever found by searching.

    Where a subscriber stands is looked up by its key only, and is written every second.
    """
    return not place[1].startswith(f"{CURSORS}/")


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs to look at; what is None or empty does not narrow.

    Attributes:
        text: Part of the name or description, in any case.
    """

    namespace: str | None = None
    tags: dict[str, str] = {}
    enabled: bool | None = None
    text: str = ""


class State(View, Protocol):
    """The fold's result up to one index, and the history it has left behind."""

    @property
    def applied_index(self) -> int:
        """The last entry folded into what `get` answers."""
        ...

    @property
    def flushed_index(self) -> int:
        """The entry up to which everything would still be there if the process died now."""
        ...

    @property
    def time_us(self) -> int:
        """Log time of the last entry folded."""
        ...

    @property
    def overlaid(self) -> int:
        """How many jobs have changed that are in no file yet: each search for jobs goes through them."""
        ...

    async def start(self) -> None:
        """Open what is kept; `applied_index` says up to where it reaches."""
        ...

    async def stop(self) -> None:
        """Flush and close. Stopping twice, or unstarted, does nothing."""
        ...

    def read_ahead(self, table: Table[Any], keys: Sequence[str]) -> None:
        """Keep at hand what `get` will be asked for, a thousand keys at most: reading them together is cheaper."""
        ...

    def commit(self, changes: Sequence[Changes], index: int, time_us: int) -> None:
        """Take in what the entry at `index` changes. It must be the next one."""
        ...

    async def flush(self, *, patiently: bool = False) -> None:
        """Write everything taken in, history first; then `flushed_index` is what `applied_index` was.

        Args:
            patiently: Nobody waits for it: it may take longer while others need the cores.

        Raises:
            StorageFull: Nothing is lost; a later flush writes it.
            LogFailed: The disk failed; the process has to end.
        """
        ...

    async def refold(self, seals: Sequence[Seal]) -> list[Seal]:
        """Cut history, as entries are folded once more, into the segments that these seals of theirs vouch for.

        Asked with no seals, it ends that, and returns those to which there were no rows.
        """
        ...

    async def checkpoint(self, *, patiently: bool = False) -> int:
        """Flush, patiently or not, and return the entry up to which everything survives a power cut."""
        ...

    async def digest(self) -> str:
        """Return a hash of the state after a flush: equal on every node that has folded the same entries."""
        ...

    def scan(self, table: Table[T], low: str, high: str, limit: int, *, newest: bool = False) -> list[tuple[str, T]]:
        """Return up to `limit` (key, value) with low <= key < high, in the keys' order, or from the last one back."""
        ...

    def open_executions(self) -> list[Any]:
        """Return the executions that have not ended, in the order of their ids."""
        ...

    def plan_rows(self, after: str, limit: int) -> list[PlanRow]:
        """Return what a start has to know of up to `limit` jobs with ids above `after`, by id."""
        ...

    def jobs_of_trait(self, trait: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """Return (name, id) of up to `limit` jobs behind `after` that have a trait (`traits_of`), in this order."""
        ...

    async def find_jobs(self, wanted: JobFilter, after: tuple[str, str], limit: int) -> tuple[list[Job], int | None]:
        """Return up to `limit` jobs behind `after` in the order of (name, id), and how many match in all.

        The number is None when a filter fits more jobs than are counted.
        """
        ...

    async def find_records(self, wanted: RecordFilter, before: Position, limit: int) -> list[Record]:
        """Return executions, open and ended, and range records that stand before `before`, newest first."""
        ...

    async def newest_runs(self, jobs: Mapping[str, str]) -> dict[str, Execution]:
        """Return the latest due run that was not skipped of each job that has one, by the job's id.

        Args:
            jobs: Their namespaces, by id.
        """
        ...

    async def record(self, record_id: str, instant_s: int) -> Record | None:
        """Return the newest version of an ended execution."""
        ...

    def history_begins_us(self) -> int:
        """Return log time before which nothing of what is in history has happened; now, when it is empty."""
        ...

    async def ranges_at(self, instant_s: int) -> list[Record]:
        """Return the range records that `instant_s` lies in, at most `RANGES_MAX`."""
        ...


RANGES_MAX = 100_000

_encode = msgspec.msgpack.Encoder().encode
_DIGEST_KEY = b"chronos state digest 1"
DIGEST_MODULUS = 1 << 128


def encode_value(value: object) -> bytes:
    """Return the bytes a value is kept as."""
    return _encode(value)


def row_hash(table: str, key: str, value: bytes) -> int:
    """Return a row's share of the digest; the digest is the sum of all shares, modulo 2^128."""
    head = f"{table}\0{key}\0".encode()
    return int.from_bytes(hashlib.blake2b(head + value, digest_size=16, key=_DIGEST_KEY).digest(), "big")


def digest_of(rows: Iterable[tuple[Key, Any]]) -> str:
    """Return the digest of a whole state."""
    total = sum(row_hash(table, key, encode_value(value)) for (table, key), value in rows)
    return format_digest(total)


def format_digest(total: int) -> str:
    """Return the digest as 32 hex digits."""
    return f"{total % DIGEST_MODULUS:032x}"


def searchable(job: Job) -> str:
    """Return the text in which a search looks."""
    return f"{job.spec.name}\n{job.spec.description}".casefold()


FOLLOWS = "follows"
"""The trait of jobs that run when others have run."""
KEEPS = "keeps"
"""The trait of jobs that say how many executions are kept."""
RESUMES = "resumes"
"""The trait of jobs whose pause ends by itself."""
UNDER_CALENDARS = "calendars"
"""The trait of jobs that refer to any calendar."""


def calendar_trait(namespace: str, calendar: str) -> str:
    """Return the trait of jobs that refer to a calendar."""
    return _trait("calendar", namespace, calendar)


def paused_trait(namespace: str) -> str:
    """Return the trait of a namespace's jobs that are paused."""
    return _trait("paused", namespace)


def tag_trait(namespace: str, key: str, value: str) -> str:
    """Return the trait of a namespace's jobs that have a tag."""
    return _trait("tag", namespace, key, value)


def _trait(*parts: str) -> str:
    return msgspec.json.encode(parts).decode()


def traits_of(job: Job) -> list[str]:
    """Return what a job is listed under, each once."""
    spec = job.spec
    found = [tag_trait(spec.namespace, key, value) for key, value in spec.tags.items()]
    if job.paused is not None:
        found.append(paused_trait(spec.namespace))
        if job.paused.until is not None:
            found.append(RESUMES)
    if spec.calendar is not None:
        found.append(calendar_trait(spec.namespace, spec.calendar))
        found.append(UNDER_CALENDARS)
    if spec.dependencies is not None:
        found.append(FOLLOWS)
    if spec.history is not None and spec.history.max_count is not None:
        found.append(KEEPS)
    return found


def job_matches(wanted: JobFilter, job: Job) -> bool:
    """Whether `job` is one of those wanted."""
    return (
        wanted.namespace in (None, job.namespace)
        and (wanted.enabled is None or wanted.enabled == (job.paused is None))
        and all(job.spec.tags.get(name) == text for name, text in wanted.tags.items())
        and wanted.text.casefold() in searchable(job)
    )


class MemoryState:
    """The state in dicts: for tests and simulation. A crash loses it, and the log brings it back."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Any]] = {table.name: {} for table in TABLES}
        self._history: dict[tuple[str, int], Record] = {}
        self._index = 0
        self._time_us = 0

    @property
    def applied_index(self) -> int:
        return self._index

    @property
    def flushed_index(self) -> int:
        return self._index

    @property
    def time_us(self) -> int:
        return self._time_us

    @property
    def overlaid(self) -> int:
        return 0

    async def start(self) -> None:
        """There is nothing to open."""

    async def stop(self) -> None:
        """There is nothing to close."""

    def get(self, table: Table[T], key: str) -> T | None:
        return self._tables[table.name].get(key)

    def read_ahead(self, table: Table[Any], keys: Sequence[str]) -> None:
        """It is all at hand."""

    def commit(self, changes: Sequence[Changes], index: int, time_us: int) -> None:
        assert index == self._index + 1
        for change in changes:
            for (table, key), value in change.puts.items():
                if value is None:
                    self._tables[table].pop(key, None)
                else:
                    self._tables[table][key] = value
            records: list[Record] = [*change.ended, *change.ranges]
            for record in records:
                row = row_of(record)
                self._history[row.key] = record
        self._index, self._time_us = index, time_us

    async def flush(self, *, patiently: bool = False) -> None:
        """There is nowhere to write to."""

    async def refold(self, seals: Sequence[Seal]) -> list[Seal]:
        return []  # there are no segments

    async def checkpoint(self, *, patiently: bool = False) -> int:
        return self._index

    async def digest(self) -> str:
        return digest_of(((table, key), value) for table, rows in self._tables.items() for key, value in rows.items())

    def scan(self, table: Table[T], low: str, high: str, limit: int, *, newest: bool = False) -> list[tuple[str, T]]:
        rows = self._tables[table.name]
        keys = sorted(rows)
        found = keys[bisect_left(keys, low) : bisect_left(keys, high)]
        return [(key, rows[key]) for key in (reversed(found) if newest else found)][:limit]

    def open_executions(self) -> list[Any]:
        return [value for _, value in self.scan(OPEN, "", KEY_MAX, len(self._tables[OPEN.name]))]

    def plan_rows(self, after: str, limit: int) -> list[PlanRow]:
        jobs = self._tables[JOBS.name]
        keys = sorted(jobs)
        return [plan_row(jobs[key]) for key in keys[bisect_right(keys, after) :][:limit]]

    def jobs_of_trait(self, trait: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        jobs = self._tables[JOBS.name].values()
        places = ((job.name, job.id) for job in jobs if trait in traits_of(job))
        return sorted(place for place in places if place > after)[:limit]

    async def find_jobs(self, wanted: JobFilter, after: tuple[str, str], limit: int) -> tuple[list[Job], int | None]:
        jobs = [job for job in self._tables[JOBS.name].values() if job_matches(wanted, job)]
        behind = sorted((job for job in jobs if (job.name, job.id) > after), key=lambda job: (job.name, job.id))
        return behind[:limit], len(jobs)

    async def find_records(self, wanted: RecordFilter, before: Position, limit: int) -> list[Record]:
        sources = [MemorySource(self._tables[OPEN.name].values()), MemorySource(self._history.values())]
        return merged(sources, wanted, before, limit)

    async def newest_runs(self, jobs: Mapping[str, str]) -> dict[str, Execution]:
        return newest_runs(jobs, [self._tables[OPEN.name].values(), self._history.values()], [])

    async def record(self, record_id: str, instant_s: int) -> Record | None:
        series = MemorySource(self._history.values()).series_of(record_id)
        return self._history.get((record_id, series))

    def history_begins_us(self) -> int:
        return self._time_us  # nobody keeps anything here for longer than asked

    async def ranges_at(self, instant_s: int) -> list[Record]:
        wanted = RecordFilter(since_s=instant_s, until_s=instant_s)
        rows = MemorySource(self._history.values()).matching(wanted, AFTER_ALL)
        return [self._history[row.key] for row in rows if row.id.startswith("rng_")]
