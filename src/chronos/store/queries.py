"""What can be asked. Reads only; every question names a namespace, or says ALL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct

from chronos.model.execution import Execution, Kind, RangeRecord, Status, execution_id, instant_of
from chronos.model.job import Job
from chronos.model.times import PlanRow
from chronos.store.cursors import Cursors
from chronos.store.records import AFTER_ALL, INSTANT_MAX, Position, Record, RecordFilter, row_of
from chronos.store.state import KEY_MAX, JobFilter, State, traits_of
from chronos.store.tables import (
    DEAD,
    DELETED_RING,
    DOCUMENTS,
    JOBS,
    KEPT_DOCUMENTS,
    LATE,
    META,
    NAMES,
    OPEN,
    REVISIONS,
    Document,
    KeptDocument,
    Meta,
    Revision,
    Table,
    document_key,
    revision_key,
)

T = TypeVar("T")

LIMIT_MAX = 1_000
CHUNK = 1_000
PLAN_CHUNK = 500
"""Fewer than the garbage collector waits for: it would look through them again and again."""
SCANNED_MAX = 20_000


class Everywhere(Enum):
    """The one way to ask across namespaces."""

    ALL = "*"


ALL: Final = Everywhere.ALL
Where = str | Literal[Everywhere.ALL]


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a listing.

    Attributes:
        cursor: Ask with it for what follows; empty when nothing does.
        total: How many there are on all pages; None where nobody counts them.
    """

    items: list[T]
    cursor: str = ""
    total: int | None = None


class Counts(Struct, frozen=True, kw_only=True):
    """Figures for metrics."""

    jobs: int
    jobs_enabled: int
    dead: int
    open: dict[Status, int]


class Queries:
    """Asks the state and the history.

    Look-ups by key answer at once; what searches is awaited, because it may leave the loop.
    """

    def __init__(self, state: State, key: bytes) -> None:
        self._state = state
        self._cursors = Cursors(key)

    def job(self, job_id: str) -> Job | None:
        """Return a job by its id."""
        return self._state.get(JOBS, job_id)

    def job_by_name(self, namespace: str, name: str) -> Job | None:
        """Return a job by its name."""
        found = self._state.get(NAMES, f"{namespace}/{name}")
        return self._state.get(JOBS, found.job_id) if found else None

    def jobs_by_prefix(self, prefix: str, namespace: Where, limit: int = 2) -> list[Job]:
        """Return up to `limit` jobs whose id begins with `prefix`: two are enough to see that it is ambiguous."""
        found: list[Job] = []
        for _, job in self._chunks(JOBS, prefix, prefix + KEY_MAX):
            if namespace in (ALL, job.namespace):
                found.append(job)
            if len(found) == limit:
                break
        return found

    def all_jobs(self) -> Iterator[Job]:
        """Yield every job in the order of the ids, a chunk at a time; what changes meanwhile may be missed."""
        return (job for _, job in self._chunks(JOBS, "", KEY_MAX))

    def plan_rows(self) -> Iterator[PlanRow]:
        """Yield what a start has to know of every job, in the order of the ids, a chunk at a time; as `all_jobs`."""
        after = ""
        while rows := self._state.plan_rows(after, PLAN_CHUNK):
            yield from rows
            after = rows[-1][0]

    def jobs_with(self, trait: str) -> Iterator[Job]:
        """Yield every job that has a trait (`store.state.traits_of`), in the order of the names; as `all_jobs`."""
        after = ("", "")
        while places := self._state.jobs_of_trait(trait, after, CHUNK):
            for _, job_id in places:
                job = self._state.get(JOBS, job_id)
                if job is not None and trait in traits_of(job):
                    yield job
            after = places[-1]

    async def jobs(
        self,
        namespace: Where,
        *,
        tags: dict[str, str] | None = None,
        enabled: bool | None = None,
        text: str = "",
        cursor: str = "",
        limit: int = 100,
    ) -> Page[Job]:
        """Return jobs in the order of their names, with how many there are in all, as far as that is counted.

        Raises:
            Invalid: The cursor is not one of this listing.
        """
        wanted = JobFilter(namespace=_one(namespace), tags=tags or {}, enabled=enabled, text=text)
        listing = _listing("jobs", wanted)
        name, job_id = self._cursors.read(listing, cursor) if cursor else ("", "")
        limit = _bounded(limit)
        found, total = await self._state.find_jobs(wanted, (str(name), str(job_id)), limit + 1)
        page = found[:limit]
        following = self._cursors.write(listing, [page[-1].name, page[-1].id]) if len(found) > limit else ""
        return Page(items=page, cursor=following, total=total)

    def revision(self, job_id: str, number: int) -> Revision | None:
        """Return a job as it was at one revision."""
        return self._state.get(REVISIONS, revision_key(job_id, number))

    def revisions(self, job_id: str, *, cursor: str = "", limit: int = 100) -> Page[Revision]:
        """Return a job's revisions, the newest first."""
        listing, low = f"revisions {job_id}", f"{job_id}/"
        high = str(self._cursors.read(listing, cursor)[0]) if cursor else low + KEY_MAX
        limit = _bounded(limit)
        rows = self._state.scan(REVISIONS, low, high, limit + 1, newest=True)
        following = self._cursors.write(listing, [rows[limit - 1][0]]) if len(rows) > limit else ""
        return Page(items=[value for _, value in rows[:limit]], cursor=following)

    async def executions(
        self,
        namespace: Where,
        *,
        job_id: str | None = None,
        statuses: tuple[Status, ...] = (),
        kind: Kind | None = None,
        since_s: int = 0,
        until_s: int = INSTANT_MAX,
        ended_since_us: int = 0,
        cursor: str = "",
        limit: int = 100,
    ) -> Page[Execution | RangeRecord]:
        """Return executions, open and ended, and range records; the latest due first.

        A range record stands at its first instant. Of an execution that was redriven only the newest series shows.

        Raises:
            Invalid: The cursor is not one of this listing.
        """
        wanted = RecordFilter(
            namespace=_one(namespace),
            job_id=job_id,
            statuses=statuses,
            kind=kind,
            since_s=since_s,
            until_s=until_s,
            ended_since_us=ended_since_us,
        )
        listing = _listing("executions", wanted)
        before = _position(self._cursors.read(listing, cursor)) if cursor else AFTER_ALL
        limit = _bounded(limit)
        found: list[Record] = await self._state.find_records(wanted, before, limit + 1)
        page = found[:limit]
        following = self._cursors.write(listing, [*row_of(page[-1]).position]) if len(found) > limit else ""
        return Page(items=page, cursor=following)

    async def newest_runs(self, jobs: Sequence[Job]) -> dict[str, Execution]:
        """Return the latest due run that was not skipped of each job that has one, by the job's id."""
        return await self._state.newest_runs({job.id: job.namespace for job in jobs})

    async def execution(self, record_id: str) -> Execution | RangeRecord | None:
        """Return an execution: open, dead-lettered or ended; or the range record in which its instant was skipped."""
        try:
            instant = instant_of(record_id)
        except ValueError:
            return None
        found: Record | None = self._state.get(OPEN, record_id) or self._state.get(DEAD, record_id)
        found = found or await self._state.record(record_id, instant)
        if isinstance(found, Execution):
            return self._with_late_results(found)
        return found or await self._range_of(record_id, instant)

    def _with_late_results(self, execution: Execution) -> Execution:
        late = self._state.get(LATE, execution.id)
        return msgspec.structs.replace(execution, notes=(*execution.notes, *late.notes)) if late else execution

    async def _range_of(self, record_id: str, instant_s: int) -> RangeRecord | None:
        best: RangeRecord | None = None
        for record in await self._state.ranges_at(instant_s):
            assert isinstance(record, RangeRecord)
            if execution_id(record.job_id, Kind.SCHEDULE, str(instant_s), instant_s) != record_id:
                continue
            if best is None or record.count > best.count:  # of one that grew there may be several versions
                best = record
        return best

    def history_begins_us(self) -> int:
        """Return log time before which nothing of what is in history has happened; now, when it is empty."""
        return self._state.history_begins_us()

    def open_executions(self) -> list[Execution]:
        """Return the executions that have not ended, in the order of their ids."""
        return self._state.open_executions()

    def dead_letters(
        self, namespace: Where, *, job_id: str | None = None, cursor: str = "", limit: int = 100
    ) -> Page[Execution]:
        """Return dead letters, the latest due first. A page may be short, and have a cursor nevertheless."""
        wanted = RecordFilter(namespace=_one(namespace), job_id=job_id)
        listing = _listing("dead", wanted)
        high = str(self._cursors.read(listing, cursor)[0]) if cursor else KEY_MAX
        limit, items, scanned = _bounded(limit), [], 0
        while scanned < SCANNED_MAX:
            rows = self._state.scan(DEAD, "", high, CHUNK, newest=True)
            for high, dead in rows:
                scanned += 1
                if wanted.namespace in (None, dead.namespace) and wanted.job_id in (None, dead.job_id):
                    items.append(dead)
                if len(items) == limit:
                    return Page(items=items, cursor=self._if_more(listing, high))
            if len(rows) < CHUNK:
                return Page(items=items)
        return Page(items=items, cursor=self._cursors.write(listing, [high]))

    def _if_more(self, listing: str, high: str) -> str:
        return self._cursors.write(listing, [high]) if self._state.scan(DEAD, "", high, 1) else ""

    def document(self, prefix: str, namespace: str, key: str) -> Document | None:
        """Return a feature's document."""
        return self._state.get(DOCUMENTS, document_key(prefix, namespace, key))

    def documents(
        self, prefix: str, namespace: Where, *, cursor: str = "", limit: int = 100
    ) -> Page[tuple[str, Document]]:
        """Return a feature's documents with their keys (`prefix/namespace/key`), in the keys' order."""
        low = f"{prefix}/" if namespace is ALL else f"{prefix}/{namespace}/"
        listing = f"documents {low}"
        after = str(self._cursors.read(listing, cursor)[0]) + "\0" if cursor else low
        limit = _bounded(limit)
        rows = self._state.scan(DOCUMENTS, after, low + KEY_MAX, limit + 1)
        following = self._cursors.write(listing, [rows[limit - 1][0]]) if len(rows) > limit else ""
        return Page(items=rows[:limit], cursor=following)

    def kept_documents(self, prefix: str, namespace: str, key: str) -> list[KeptDocument]:
        """Return a document that changes what jobs owe as it was after each change, the oldest first; 1,000 at most."""
        low = f"{document_key(prefix, namespace, key)}/"
        rows = self._state.scan(KEPT_DOCUMENTS, low, low + KEY_MAX, LIMIT_MAX, newest=True)
        # A key may hold a slash: what lies below it belongs to another document.
        return [kept for _, kept in reversed(rows) if kept.key == document_key(prefix, namespace, key)]

    def deletions(self, limit: int) -> Iterator[tuple[Revision, int]]:
        """Yield (last version, log time) of jobs that were deleted, the last deleted first, at most `limit`."""
        high = KEY_MAX
        while limit > 0 and (rows := self._state.scan(DELETED_RING, "", high, min(CHUNK, limit), newest=True)):
            for _, item in rows:
                revision = self._state.get(REVISIONS, item.key)
                if revision is not None:
                    yield revision, item.time_us
            high, limit = rows[-1][0], limit - len(rows)

    def counts(self) -> Counts:
        """Return figures for metrics."""
        meta = self._state.get(META, "meta") or Meta()
        running = Counter(execution.status for execution in self._state.open_executions())
        return Counts(jobs=meta.jobs, jobs_enabled=meta.jobs_enabled, dead=meta.dead, open=dict(running))

    def _chunks(self, table: Table[T], low: str, high: str) -> Iterator[tuple[str, T]]:
        while rows := self._state.scan(table, low, high, CHUNK):
            yield from rows
            low = rows[-1][0] + "\0"


def _one(namespace: Where) -> str | None:
    return None if isinstance(namespace, Everywhere) else namespace


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIMIT_MAX))


def _listing(name: str, wanted: Struct) -> str:
    return name + msgspec.json.encode(wanted, order="deterministic").decode()


def _position(raw: list[int | str]) -> Position:
    instant, record_id = raw
    return int(instant), str(record_id)
