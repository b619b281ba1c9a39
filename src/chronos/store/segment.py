"""One file of history: how it is written, and how it is read. Synchronous; each belongs to one thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
from msgspec import Struct

from chronos.model.execution import TERMINAL, Kind, RangeRecord, Status
from chronos.model.formats import SEGMENT
from chronos.store import jobindex
from chronos.store.jobfilter import JOBS_MAX, filter_of, may_have
from chronos.store.jobindex import JobIndex
from chronos.store.records import (
    INSTANT_MAX,
    Columns,
    Position,
    Record,
    RecordFilter,
    Row,
    columns,
    newest_first,
    not_yet_opened,
    record_in,
)
from chronos.store.sqlitefile import (
    Pause,
    check_pages,
    damaged,
    note_format,
    open_reader,
    open_writer,
    pausing,
    transaction,
    write_rows,
)

_ID, _FIRST, _LAST = itemgetter(0), itemgetter(6), itemgetter(7)  # of what `columns` returns
FIRST_CHUNK, CHUNK = 25, 200
"""Rows read at a time: at first as many as a usual page, then more."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
  id TEXT NOT NULL, series INTEGER NOT NULL, job_id TEXT NOT NULL, namespace TEXT NOT NULL, status TEXT NOT NULL,
  kind TEXT NOT NULL, scheduled_s INTEGER NOT NULL, last_s INTEGER NOT NULL, ended_us INTEGER NOT NULL,
  is_range INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (id, series)
);
CREATE INDEX IF NOT EXISTS records_namespace ON records (namespace, scheduled_s, id);
CREATE INDEX IF NOT EXISTS ranges_job ON records (job_id, scheduled_s, id) WHERE is_range = 1;
CREATE INDEX IF NOT EXISTS ranges_namespace ON records (namespace, scheduled_s, id) WHERE is_range = 1;
CREATE INDEX IF NOT EXISTS ranges_last ON records (last_s) WHERE is_range = 1;
CREATE INDEX IF NOT EXISTS unwell_job ON records (job_id, status, scheduled_s, id) WHERE status <> 'success';
CREATE INDEX IF NOT EXISTS unwell_namespace ON records (namespace, status, scheduled_s, id) WHERE status <> 'success';
CREATE INDEX IF NOT EXISTS unplanned_namespace ON records (namespace, kind, scheduled_s, id) WHERE kind <> 'schedule';
"""

_UPSERT = """
INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id, series) DO UPDATE SET
  status = excluded.status, last_s = excluded.last_s, ended_us = excluded.ended_us, data = excluded.data
"""

_SELECT = "SELECT scheduled_s, id, series, data FROM records WHERE "
_WANTED = """
  AND (scheduled_s, id) < (:instant, :id) AND scheduled_s <= :until
  AND (:statuses = '' OR instr(:statuses, ',' || status || ',') > 0) AND (:kind = '' OR kind = :kind)
  AND ended_us >= :ended
"""
_ORDER = " ORDER BY scheduled_s DESC, id DESC, series DESC LIMIT :most"
_NEWEST = """
SELECT json_group_object(id, series)
FROM (SELECT id, max(series) AS series FROM records WHERE id IN (SELECT value FROM json_each(?)) GROUP BY id)
"""
_OF_NAMESPACE = "(:namespace IS NULL OR namespace = :namespace)"
_JOB = f"job_id = :job AND {_OF_NAMESPACE}"
_NAMESPACE = "namespace = :namespace"
# Two statements each: executions stop at `since`, while a range that began long before may still reach into it.
_EXECUTIONS = " AND is_range = 0 AND scheduled_s >= :since"
_RANGES = " AND is_range = 1 AND last_s >= :since"
_OF_JOB = jobindex.narrowed(f" AND {_OF_NAMESPACE} AND scheduled_s >= :since{_WANTED}", _ORDER)
# What is rare has indexes of its own, which hardly anything is written to: without them a search for the failures
# of a healthy year reads the whole year. SQLite has to be told: unasked it takes the index with the longer range.
_RARE = {"unwell_job", "unwell_namespace", "unplanned_namespace"}
_UNWELL = " AND status = :status AND status <> 'success'"
_UNPLANNED = " AND kind = :kind AND kind <> 'schedule'"
_IN_ORDER = "SELECT scheduled_s, id, series, data FROM records WHERE (id, series) > (:id, :series) "
_THINNED_IN_ORDER = "UNION ALL SELECT -1, id, series, leaf FROM thinned WHERE (id, series) > (:id, :series) "
_IN_ORDER_THINNED = _IN_ORDER + _THINNED_IN_ORDER + "ORDER BY id, series LIMIT :most"
_IN_ORDER += "ORDER BY id, series LIMIT :most"
_THINNED = """
CREATE TABLE IF NOT EXISTS thinned (id TEXT NOT NULL, series INTEGER NOT NULL, leaf BLOB NOT NULL,
PRIMARY KEY (id, series)) WITHOUT ROWID
"""
_GROUPS = {
    "job_id": "SELECT job_id, count(*) FROM records WHERE job_id > ? AND is_range = 0 GROUP BY job_id LIMIT ?",
    "namespace": """
SELECT namespace, count(*) FROM records WHERE namespace > ? AND is_range = 0 GROUP BY namespace LIMIT ?""",
}
_COUNT = "SELECT count(*) FROM records WHERE job_id = ? AND is_range = 0"
_EARLIEST = {by: f"{_SELECT}{by} = ? AND is_range = 0 ORDER BY scheduled_s, id, series LIMIT ?" for by in _GROUPS}
_DELETE = "DELETE FROM records WHERE id = ? AND series = ? RETURNING job_id, scheduled_s, id, series"
_NAMESPACES = """
WITH RECURSIVE found (n) AS (
  SELECT min(namespace) FROM records
  UNION ALL SELECT (SELECT min(namespace) FROM records WHERE namespace > n) FROM found WHERE n IS NOT NULL
) SELECT n FROM found WHERE n IS NOT NULL
"""
_JOBS = """
WITH RECURSIVE found (j) AS (
  SELECT min(job_id) FROM records
  UNION ALL SELECT (SELECT min(job_id) FROM records WHERE job_id > j) FROM found WHERE j IS NOT NULL
) SELECT j FROM found WHERE j IS NOT NULL LIMIT ?
"""


class Group(NamedTuple):
    """A job or a namespace, and how many of its executions lie in a segment."""

    of: str
    executions: int


class SegmentInfo(Struct, frozen=True):
    """What is known of a segment without opening it.

    Attributes:
        rows: At least this many rows were written.
        first_s: Lowest instant any record in it holds; above `last_s` when it is empty.
        opened_us: Log time at which it was begun.
        closed_us: Log time at which it was closed; 0 for one being written.
        complete_to: When it was last written to, everything up to this entry of the log was in history.
        days: How long it is kept once it is closed; 0 is what the server's configuration says.
        jobs: A filter of the jobs it has records of (`store.jobfilter`); empty when any may be among them.
    """

    number: int
    rows: int = 0
    first_s: int = INSTANT_MAX
    last_s: int = -1
    opened_us: int = 0
    closed_us: int = 0
    complete_to: int = 0
    days: int = 0
    jobs: bytes = b""

    def covers(self, first_s: int, last_s: int) -> bool:
        """Whether a record in it may hold an instant from `first_s` to `last_s`."""
        return self.first_s <= last_s and self.last_s >= first_s

    def may_hold(self, wanted: RecordFilter, before: Position) -> bool:
        """Whether a record in it may match and stand before `before`."""
        return (
            self.covers(wanted.since_s, min(wanted.until_s, before[0]))
            and (not self.closed_us or self.closed_us >= wanted.ended_since_us)
            and (wanted.job_id is None or may_have(self.jobs, wanted.job_id))
        )


class SegmentWriter:
    """The segment being written.

    Attributes:
        wal_pages: How long its write-ahead log is.
        waiting: How many rows are not in their jobs' places yet.
    """

    def __init__(self, path: Path, fresh: SegmentInfo, vfs: str | None = None) -> None:
        self._db = open_writer(path, durable=True, vfs=vfs, of=SEGMENT)
        if not check_pages(self._db):
            raise damaged(path)
        with transaction(self._db) as db:
            db.execute(_SCHEMA)
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'records_job'").fetchone():
                db.execute(jobindex.SCHEMA)
            note_format(db, SEGMENT)
            row = db.execute("SELECT value FROM meta WHERE key = 'info'").fetchone()
            if row is None:
                _write_info(db, fresh)
        self.info = msgspec.msgpack.decode(row[0], type=SegmentInfo) if row else fresh
        self._by_job = JobIndex(self._db)
        self.waiting = self._by_job.waiting
        self.wal_pages = 0
        self._db.set_wal_hook(self._on_commit)

    def pause_with(self, pause: Pause) -> None:
        """Write in pieces from now on, with a pause between two."""
        pausing(self._db, pause)

    def _on_commit(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def write(self, records: Iterable[Record], complete_to: int, time_us: int) -> None:
        """Write records durably, in one transaction with the entry they are complete up to."""
        self.write_rows([columns(record) for record in records], complete_to, time_us)

    def write_rows(self, rows: list[Columns], complete_to: int, time_us: int) -> None:
        """Write the rows of records, as `write` does."""
        # By id they go to neighbouring places of each index; as they ended, every one would look for its own.
        rows = sorted(rows, key=_ID)
        info = msgspec.structs.replace(
            self.info,
            rows=self.info.rows + len(rows),
            opened_us=self.info.opened_us or time_us,
            first_s=min(self.info.first_s, min(map(_FIRST, rows), default=INSTANT_MAX)),
            last_s=max(self.info.last_s, max(map(_LAST, rows), default=-1)),
            complete_to=complete_to,
        )
        with transaction(self._db) as db:
            write_rows(db, _UPSERT, rows)
            self._by_job.wrote(len(rows))
            _write_info(db, info)
        self.info = info
        self.waiting = self._by_job.waiting

    def catch_up(self) -> None:
        """Let all rows be found by their jobs at once."""
        with transaction(self._db):
            self._by_job.place()
        self.waiting = 0

    def finish(self, closed_us: int, **known: int) -> SegmentInfo:
        """Note durably that nothing is written to it any more, and in which jobs; return what is known of it now."""
        self.catch_up()
        statement = jobindex.JOBS if jobindex.has_table(self._db) else _JOBS
        rows: list[Any] = self._db.execute(statement, (JOBS_MAX + 1,)).fetchall()
        return self.note(closed_us=closed_us, jobs=filter_of([job_id for (job_id,) in rows]), **known)

    def note(self, **known: int | bytes) -> SegmentInfo:
        """Note durably what is known of it from now on, and return all of that."""
        self.info = msgspec.structs.replace(self.info, **known)
        with transaction(self._db) as db:
            _write_info(db, self.info)
        return self.info

    def in_order(self) -> Iterator[Row]:
        """Yield what was written, in the order of (id, series). Nothing may be written meanwhile."""
        for row in self._db.execute("SELECT scheduled_s, id, series, data FROM records ORDER BY id, series"):
            yield Row(*row)

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file."""
        self._db.execute("PRAGMA wal_checkpoint(FULL)")
        self.wal_pages = 0

    def close(self) -> None:
        """Close, with nothing left in the write-ahead log that only this process knew."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()


def _write_info(db: apsw.Connection, info: SegmentInfo) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES ('info', ?)", (msgspec.msgpack.encode(info),))


def read_info(path: Path, vfs: str | None = None) -> SegmentInfo | None:
    """Return what a segment says about itself; None when it was never begun."""
    db = open_writer(path, durable=True, vfs=vfs, of=SEGMENT)
    try:
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone():
            return None
        row = db.execute("SELECT value FROM meta WHERE key = 'info'").fetchone()
        return msgspec.msgpack.decode(row[0], type=SegmentInfo) if row else None
    finally:
        db.close()


_ROWS = "SELECT json_group_array(json_array(scheduled_s, id, series, hex(data))) FROM ("
_END = ")"
_decode_rows = msgspec.json.Decoder(list[tuple[int, str, int, str]]).decode


class SegmentReader:
    """A connection that reads a segment."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self._db = open_reader(path, vfs, SEGMENT)
        names = {name for (name,) in self._db.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        self.has_rare = names >= _RARE  # whether it has the indexes of what is rare
        self.has_job_table = jobindex.has_table(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def select(self, statement: str, bindings: dict[str, str | int | None]) -> list[Row]:
        """Return what a statement finds, newest first.

        All at once: one left open would keep the file from being checkpointed. And in one row: a thread beside a busy
        event loop waits for the interpreter behind each row that it is given.
        """
        found: Any = self._db.execute(_ROWS + statement + _END, bindings).fetchone()
        rows = [Row(at_s, key, series, bytes.fromhex(data)) for at_s, key, series, data in _decode_rows(found[0])]
        return sorted(rows, key=newest_first, reverse=True)

    def namespaces(self) -> list[str]:
        """Return the namespaces of which there are records."""
        rows: list[Any] = self._db.execute(_NAMESPACES).fetchall()
        return [name for (name,) in rows]

    def newest_of(self, ids: list[str]) -> dict[str, int]:
        """Return the highest series that lies here of each of these records that does."""
        found: Any = self._db.execute(_NEWEST, (msgspec.json.encode(ids).decode(),)).fetchone()
        return msgspec.json.decode(found[0], type=dict[str, int])

    def newest_runs(self, jobs: Sequence[str]) -> dict[str, Row]:
        """Return the latest execution that lies here, and was not skipped, of each of these jobs that has one."""
        statement = jobindex.LAST_RUNS if self.has_job_table else jobindex.LAST_RUNS_BY_INDEX
        newest: dict[str, Row] = {}
        for row in self.select(statement, {"jobs": msgspec.json.encode(jobs).decode()}):
            newest.setdefault(record_in(row).job_id, row)
        return newest

    def get(self, record_id: str) -> Row | None:
        """Return the record's newest series that lies here."""
        row = self._db.execute(
            "SELECT scheduled_s, id, series, data FROM records WHERE id = ? ORDER BY series DESC LIMIT 1", (record_id,)
        ).fetchone()
        return Row(*row) if row else None

    def in_order(self, after: tuple[str, int], most: int) -> list[Row]:
        """Return up to `most` rows behind `after` in the order of (id, series): that in which they are vouched for.

        A row that was taken out has the instant -1, and its hash for a value.
        """
        statement = _IN_ORDER_THINNED if _is_thinned(self._db) else _IN_ORDER
        rows: list[Any] = self._db.execute(statement, {"id": after[0], "series": after[1], "most": most}).fetchall()
        return [Row(*row) for row in rows]

    def groups(self, by: str, after: str, most: int) -> list[Group]:
        """Return up to `most` jobs or namespaces behind `after`, and how many executions of each lie here.

        Of jobs: without those that were written only just now, to the segment being written.
        """
        statement = jobindex.GROUPS if by == "job_id" and self.has_job_table else _GROUPS[by]
        rows: list[Any] = self._db.execute(statement, (after, most)).fetchall()
        return [Group(*row) for row in rows]

    def executions_of(self, job_id: str) -> int:
        """Return how many executions of a job lie here, as `groups` does."""
        statement = jobindex.COUNT if self.has_job_table else _COUNT
        rows: list[Any] = self._db.execute(statement, (job_id,)).fetchall()
        return int(rows[0][0])

    def thinned(self) -> int:
        """Return how many rows were taken out."""
        if not _is_thinned(self._db):
            return 0
        rows: list[Any] = self._db.execute("SELECT count(*) FROM thinned").fetchall()
        return int(rows[0][0])

    def ranges_at(self, instant_s: int, most: int) -> list[RangeRecord]:
        """Return up to `most` range records that `instant_s` lies in."""
        rows: list[Any] = self._db.execute(
            "SELECT data FROM records WHERE is_range = 1 AND last_s >= ? AND scheduled_s <= ? LIMIT ?",
            (instant_s, instant_s, most),
        ).fetchall()
        return [msgspec.msgpack.decode(data, type=RangeRecord) for (data,) in rows]


def _is_thinned(db: apsw.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'thinned'").fetchone() is not None


class SegmentThinner:
    """A connection that takes rows out of a segment nobody writes to any more. Their hashes stay in their places."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        if not path.exists():
            raise apsw.CantOpenError(str(path))
        # What a power cut undoes is done once more.
        self._db = open_writer(path, durable=False, vfs=vfs, of=SEGMENT)

    def thin(self, by: str, of: str, most: int, hash_of: Callable[[Row], bytes]) -> int:
        """Take up to `most` executions of a job or namespace out, those due first; return how many."""
        by_job = jobindex.has_table(self._db)
        earliest = jobindex.EARLIEST if by_job and by == "job_id" else _EARLIEST[by]
        found: list[Any] = self._db.execute(earliest, (of, most)).fetchall()
        rows = [Row(*row) for row in found]
        with transaction(self._db) as db:
            db.execute(_THINNED)
            db.executemany("INSERT INTO thinned VALUES (?, ?, ?)", [(row.id, row.series, hash_of(row)) for row in rows])
            gone: list[Any] = list(db.executemany(_DELETE, [row.key for row in rows]))
            if by_job:
                db.executemany(jobindex.TAKE_OUT, gone)
        return len(rows)

    def compact(self) -> None:
        """Write the file anew without what is gone."""
        self._db.execute("VACUUM")

    def close(self) -> None:
        """Close, with nothing left in the write-ahead log."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()


class SegmentSource:
    """A segment as a `Source`: it is not opened before a record of its time is asked for.

    Args:
        reader: Returns the open segment, or None when there is none any more. Asked again for every chunk, because
            a search through many segments has more of them at work than are kept open.
    """

    def __init__(self, info: SegmentInfo, reader: Callable[[], SegmentReader | None]) -> None:
        self._info = info
        self._reader = reader

    def matching(self, wanted: RecordFilter, before: Position) -> Iterator[Row]:
        yield not_yet_opened(self._info.last_s)
        yield from heapq.merge(*self._streams(wanted, before), key=newest_first, reverse=True)

    def _streams(self, wanted: RecordFilter, before: Position) -> list[Iterator[Row]]:
        reader = self._reader()
        if reader is None:
            return []
        namespaces: list[str | None]
        if wanted.job_id is not None:
            namespaces, of = [wanted.namespace], _JOB
        else:
            namespaces, of = [wanted.namespace] if wanted.namespace is not None else [*reader.namespaces()], _NAMESPACE
        return [
            self._rows(statement, wanted, name, before, status)
            for name in namespaces
            for statement, status in _statements(of, wanted, reader)
        ]

    def _rows(
        self, statement: str, wanted: RecordFilter, namespace: str | None, before: Position, status: str
    ) -> Iterator[Row]:
        bindings: dict[str, str | int | None] = {
            "job": wanted.job_id,
            "namespace": namespace,
            "since": wanted.since_s,
            "until": wanted.until_s,
            "statuses": "".join(f",{status.value}," for status in wanted.statuses),
            "status": status,
            "kind": wanted.kind.value if wanted.kind else "",
            "ended": wanted.ended_since_us,
        }
        most = FIRST_CHUNK
        while reader := self._reader():
            bindings["instant"], bindings["id"] = before
            rows = reader.select(statement, bindings | {"most": most})
            yield from rows
            if len(rows) < most:
                return
            before = rows[-1].position
            most = min(CHUNK, 4 * most)

    @property
    def last_s(self) -> int:
        """The latest instant of any record in it."""
        return self._info.last_s

    def newest_runs(self, jobs: Iterable[str]) -> Mapping[str, Row]:
        """Return the latest execution that lies here, and was not skipped, of each of these jobs that has one."""
        asked = [job_id for job_id in jobs if may_have(self._info.jobs, job_id)]
        reader = self._reader() if asked else None
        return reader.newest_runs(asked) if reader else {}

    def newest_of(self, rows: Sequence[Row], wanted: RecordFilter) -> Mapping[str, int]:
        if TERMINAL.issubset(wanted.statuses):
            return {}  # there is nothing else here
        ids = [row.id for row in rows if self._info.covers(row.instant_s, row.instant_s)]
        reader = self._reader() if ids else None
        return reader.newest_of(ids) if reader else {}


def _statements(of: str, wanted: RecordFilter, reader: SegmentReader) -> list[tuple[str, str]]:
    """Return the statements that find what is wanted, each with the one status it asks for; empty for any."""
    of_job, rare = of == _JOB, reader.has_rare
    executions = [(_OF_JOB if of_job and reader.has_job_table else _SELECT + of + _EXECUTIONS + _WANTED + _ORDER, "")]
    if rare and wanted.kind not in (None, Kind.SCHEDULE) and not of_job:
        executions = [(_rare("unplanned_namespace", of, _UNPLANNED), "")]
    elif rare and wanted.statuses and Status.SUCCESS not in wanted.statuses:
        index = "unwell_job" if of_job else "unwell_namespace"
        executions = [(_rare(index, of, _UNWELL), status.value) for status in wanted.statuses]
    # A range record is of skipped instants of the schedule, and of nothing else.
    if wanted.kind not in (None, Kind.SCHEDULE) or (wanted.statuses and Status.SKIPPED not in wanted.statuses):
        return executions
    return [*executions, (_SELECT + of + _RANGES + _WANTED + _ORDER, "")]


def _rare(index: str, of: str, narrowed: str) -> str:
    select = _SELECT.replace("FROM records", f"FROM records INDEXED BY {index}")
    return select + of + _EXECUTIONS + narrowed + _WANTED + _ORDER
