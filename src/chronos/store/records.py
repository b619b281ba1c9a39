"""History's rows: which there are, in which order, and which of several versions counts. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from chronos.model.execution import Execution, Kind, RangeRecord, Status

Record = Execution | RangeRecord
Position = tuple[int, str]
"""Where a record stands among the others: its instant (a range's first), then its id. Never changes."""

RANGE_PREFIX = "rng_"
INSTANT_MAX = 1 << 40
AFTER_ALL: Position = (INSTANT_MAX, "")


class RecordFilter(Struct, frozen=True, kw_only=True):
    """Which records to look at; what is None or empty does not narrow.

    Attributes:
        statuses: A range record counts as `skipped`.
        since_s: Instants from here on; a range record is in when any of it is.
        until_s: Instants up to here, itself included.
        ended_since_us: Log time from which on it has ended, or was decided when nothing ran.
    """

    namespace: str | None = None
    job_id: str | None = None
    statuses: tuple[Status, ...] = ()
    kind: Kind | None = None
    since_s: int = 0
    until_s: int = INSTANT_MAX
    ended_since_us: int = 0


class Row(NamedTuple):
    """A record, or the bytes of one, and what it is found by."""

    instant_s: int
    id: str
    series: int
    value: Record | bytes

    @property
    def position(self) -> Position:
        return self.instant_s, self.id

    @property
    def key(self) -> tuple[str, int]:
        """What it is kept under: no other record has it."""
        return self.id, self.series


def not_yet_opened(instant_s: int) -> Row:
    """Return the row that a source may yield first to say: ask me for more only when you have come to `instant_s`."""
    return Row(instant_s, _LAST_ID, _NO_SERIES, b"")


_LAST_ID = "\U0010ffff"
_NO_SERIES = -1


class Source(Protocol):
    """Some of the records: those in memory, or those in one file."""

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        """Yield the rows that match and stand before `before`, newest first."""
        ...

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        """Return the highest series held here of those of `rows` of which `wanted` may keep out a version, by id."""
        ...


def range_id(record: RangeRecord) -> str:
    """Return the id of a range record: it keeps it while it grows."""
    return f"{RANGE_PREFIX}{record.first_s:012d}_{record.job_id}_{record.reason.value}"


def row_of(record: Record) -> Row:
    """Return the row of a record."""
    if isinstance(record, RangeRecord):
        return Row(record.first_s, range_id(record), 0, record)
    return Row(record.scheduled_s, record.id, record.series, record)


def matches(wanted: RecordFilter, record: Record) -> bool:
    """Whether `record` is one of those wanted."""
    if isinstance(record, RangeRecord):
        first, last, status, kind = record.first_s, record.last_s, Status.SKIPPED, Kind.SCHEDULE
        ended_us = record.decided_at_us
    else:
        first, last, status, kind = record.scheduled_s, record.scheduled_s, record.status, record.kind
        ended_us = record.ended_at_us
    return (
        wanted.namespace in (None, record.namespace)
        and wanted.job_id in (None, record.job_id)
        and (not wanted.statuses or status in wanted.statuses)
        and wanted.kind in (None, kind)
        and last >= wanted.since_s
        and first <= wanted.until_s
        and ended_us >= wanted.ended_since_us
    )


PAGE = 64
"""As many are put in order at first; most pages are shorter."""


class MemorySource:
    """Records held in memory, by (id, series)."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = list(records)

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        for records in self._by_second(before[0]):
            of_job = records if wanted.job_id is None else [r for r in records if r.job_id == wanted.job_id]
            for record in _descending(of_job):
                if matches(wanted, record) and (row := row_of(record)).position < before:
                    yield row

    def _by_second(self, until_s: int) -> Iterator[list[Record]]:
        """Yield the records of each second up to `until_s`, the newest first.

        Of thousands that are in memory a page takes a few, and nearly always of the newest second: it is found
        without putting the others in order.
        """
        records = self._records
        instants = [r.first_s if isinstance(r, RangeRecord) else r.scheduled_s for r in records]
        newest = max((instant for instant in instants if instant <= until_s), default=None)
        if newest is None:
            return
        yield [record for record, instant in zip(records, instants, strict=True) if instant == newest]
        seconds: dict[int, list[Record]] = {}
        for record, instant in zip(records, instants, strict=True):
            if instant < newest:
                seconds.setdefault(instant, []).append(record)
        for instant in sorted(seconds, reverse=True):
            yield seconds[instant]

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        wanted_ids = {row.id for row in rows}
        known: dict[str, int] = {}
        for record in self._records:
            if isinstance(record, Execution) and record.id in wanted_ids:
                known[record.id] = max(record.series, known.get(record.id, -1))
        return known

    def series_of(self, record_id: str) -> int:
        """Return the highest series of a record, or -1."""
        rows = (row_of(record) for record in self._records)
        return max((row.series for row in rows if row.id == record_id), default=-1)


def _descending(records: Sequence[Record]) -> Iterator[Record]:
    """Yield the records of one second by (id, series), the highest first; for those of a page, without sorting all."""
    places = [
        (range_id(record), 0, number) if isinstance(record, RangeRecord) else (record.id, record.series, number)
        for number, record in enumerate(records)
    ]
    yield from (records[place[2]] for place in heapq.nlargest(PAGE, places))
    if len(places) > PAGE:
        places.sort(reverse=True)
        yield from (records[place[2]] for place in places[PAGE:])


def merged(sources: Sequence[Source], wanted: RecordFilter, before: Position, limit: int) -> list[Record]:
    """Return up to `limit` records newest first, each in its newest version only.

    Args:
        sources: The newest first: of two versions of one series, the earlier source's counts.
    """
    streams = [_ranked(source.matching(wanted, before), rank) for rank, source in enumerate(sources)]
    together = heapq.merge(*streams, key=lambda ranked: newest_first(ranked[1]), reverse=True)
    real = (ranked for ranked in together if ranked[1].series != _NO_SERIES)
    best = (_newest(list(versions)) for _, versions in groupby(real, key=lambda ranked: ranked[1].position))
    found: list[Record] = []
    while chunk := list(islice(best, limit - len(found))):
        found += [record_in(row) for row in current(sources, wanted, chunk)]
    return found


def _newest(versions: list[tuple[int, Row]]) -> tuple[int, Row]:
    """Return the version that counts. A range only grows, and whatever matches a part of it matches more of it."""
    if len(versions) > 1 and versions[0][1].id.startswith(RANGE_PREFIX):
        return max(versions, key=lambda ranked: (_count(ranked[1]), -ranked[0]))
    return min(versions, key=lambda ranked: (-ranked[1].series, ranked[0]))


def _count(row: Row) -> int:
    record = record_in(row)
    return record.count if isinstance(record, RangeRecord) else 0


def _ranked(rows: Iterator[Row], rank: int) -> Iterator[tuple[int, Row]]:
    return ((rank, row) for row in rows)


def newest_first(row: Row) -> tuple[int, str, int]:
    """What rows are sorted by, the highest first."""
    return row.instant_s, row.id, row.series


def current(sources: Sequence[Source], wanted: RecordFilter, chunk: list[tuple[int, Row]]) -> list[Row]:
    """Return the rows of which the filter has kept out no newer version, each given with the place of its source.

    Versions differ in their status and in nothing else that is asked for. Every source is asked once for all rows, and
    not for each: it may be a file that has to be opened.
    """
    rows = [row for _, row in chunk if not row.id.startswith(RANGE_PREFIX)] if wanted.statuses else []
    newest: dict[str, tuple[int, int]] = {}
    for rank, source in enumerate(sources if rows else ()):
        for record_id, series in source.newest_of(rows, wanted).items():
            newest[record_id] = max(newest.get(record_id, (-1, 0)), (series, -rank))
    return [row for rank, row in chunk if newest.get(row.id, (-1, 0)) <= (row.series, -rank)]


_encode = msgspec.msgpack.Encoder().encode
_execution = msgspec.msgpack.Decoder(Execution).decode
_range = msgspec.msgpack.Decoder(RangeRecord).decode


def record_in(row: Row) -> Record:
    """Return the record of a row, decoded where it has to be."""
    if not isinstance(row.value, bytes):
        return row.value
    return _range(row.value) if row.id.startswith(RANGE_PREFIX) else _execution(row.value)


Columns = tuple[str, int, str, str, str, str, int, int, int, int, bytes]
"""What a segment keeps of a record.

Its id, series, job, namespace, status, kind, first and last instant, end (µs), whether it is a range, and itself.
"""


def columns(record: Record, encoded: bytes | None = None) -> Columns:
    """Return what a segment keeps of a record; `encoded` is the record as it is kept, if that is known."""
    if encoded is None:
        encoded = _encode(record)
    if isinstance(record, RangeRecord):
        head = (range_id(record), 0, record.job_id, record.namespace, Status.SKIPPED.value, Kind.SCHEDULE.value)
        return (*head, record.first_s, record.last_s, record.decided_at_us, 1, encoded)
    return (
        record.id,
        record.series,
        record.job_id,
        record.namespace,
        record.status,  # a text already, and asking for its value takes longer than writing it
        record.kind,
        record.scheduled_s,
        record.scheduled_s,
        record.ended_at_us,
        0,
        encoded,
    )


Pending = Mapping[tuple[str, int], Record]
