"""`state.db`: the SQL of it. Synchronous; a writer and any number of readers, each for one thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import structlog

from chronos.model.formats import STATE
from chronos.model.job import Job
from chronos.model.times import PlanRow
from chronos.store import jobsearch
from chronos.store.jobsearch import Found, Listed
from chronos.store.jobtables import MARK, JobTables
from chronos.store.sqlitefile import (
    CHECKED_BYTES_MAX,
    Pause,
    damaged,
    in_pieces,
    note_format,
    open_reader,
    open_writer,
    pausing,
    transaction,
    write_rows,
)
from chronos.store.state import DIGEST_MODULUS, KEY_MAX, JobFilter, Key, encode_value, row_hash, searchable
from chronos.store.tables import DEAD, DOCUMENTS, JOBS, OPEN, REVISIONS, SLOTS

log = structlog.get_logger("chronos.state")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('applied', 0), ('time_us', 0), ('digest', zeroblob(16));
CREATE TABLE IF NOT EXISTS small (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS large (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key));
CREATE TABLE IF NOT EXISTS jobs (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, enabled INTEGER NOT NULL,
  tags TEXT NOT NULL, created INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_name ON jobs (name, key);
CREATE INDEX IF NOT EXISTS jobs_namespace ON jobs (namespace, name, key);
"""


class _Sql(NamedTuple):
    get: str
    put: str
    delete: str
    up: str
    down: str


# Rows of a hundred bytes lie best in their index; bigger ones would make it deep.
_SMALL = _Sql(
    "SELECT value FROM small WHERE tbl = ? AND key = ?",
    "INSERT INTO small VALUES (?, ?, ?) ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value",
    "DELETE FROM small WHERE (tbl, key) IN (VALUES (?, ?))",
    "SELECT key, value FROM small WHERE tbl = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
    "SELECT key, value FROM small WHERE tbl = ? AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?",
)
_LARGE = _Sql(
    "SELECT value FROM large WHERE tbl = ? AND key = ?",
    "INSERT INTO large VALUES (?, ?, ?) ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value",
    "DELETE FROM large WHERE (tbl, key) IN (VALUES (?, ?))",
    "SELECT key, value FROM large WHERE tbl = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
    "SELECT key, value FROM large WHERE tbl = ? AND key >= ? AND key < ? ORDER BY key DESC LIMIT ?",
)
# The jobs' table takes the table's name too, and has no use for it, so that all three are asked alike.
_JOBS = _Sql(
    "SELECT value FROM jobs WHERE ?1 = 'jobs' AND key = ?2",
    "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
    "namespace = excluded.namespace, name = excluded.name, enabled = excluded.enabled, tags = excluded.tags, "
    "created = excluded.created, text = excluded.text",
    "DELETE FROM jobs WHERE ?1 = 'jobs' AND key = ?2",
    "SELECT key, value FROM jobs WHERE ?1 = 'jobs' AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4",
    "SELECT key, value FROM jobs WHERE ?1 = 'jobs' AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4",
)
_BY_TABLE = {JOBS.name: _JOBS, **{table.name: _LARGE for table in (REVISIONS, OPEN, DEAD, DOCUMENTS)}}

_EVERYTHING = """
SELECT tbl, key, value FROM small UNION ALL SELECT tbl, key, value FROM large
UNION ALL SELECT 'jobs', key, value FROM jobs
"""

_decode_job = msgspec.msgpack.Decoder(Job).decode


def _sql(table: str) -> _Sql:
    return _BY_TABLE.get(table, _SMALL)


ASCENDING = (JOBS.name, REVISIONS.name, SLOTS.name)
"""Tables whose new keys are above the old ones, most of the time."""

SHARES_KNOWN_MAX = 100_000
"""Rows whose share in the digest is remembered, so that it need not be read before it is written anew."""


def raise_highest(highest: dict[str, str], puts: Iterable[Key]) -> None:
    """Let no key that is about to be written be above `highest` of its table, where that has one."""
    for table, key in puts:
        if key > highest.get(table, KEY_MAX):
            highest[table] = key


def _at_once() -> None:
    """No pause."""


class StateWriter:
    """The connection that writes.

    Attributes:
        applied: The entry up to which the file is complete.
        durable: The entry up to which it would be after a power cut.
        highest: No key of these tables that is in the file is above it.
    """

    def __init__(self, path: Path, pages_max: int = 0, vfs: str | None = None) -> None:
        self._path = path
        self._db = open_writer(path, durable=False, pages_max=pages_max, vfs=vfs, of=STATE)
        with transaction(self._db) as db:
            db.execute(_SCHEMA)
            note_format(db, STATE)
        try:
            meta: dict[str, Any] = dict(self._db.execute("SELECT key, value FROM meta"))
            self.applied, self.time_us = int(meta["applied"]), int(meta["time_us"])
            self.digest = int.from_bytes(meta["digest"], "big")
        except (KeyError, TypeError, ValueError) as exc:
            raise damaged(path) from exc
        self._open_tables(meta.get(MARK))
        self.durable = self.applied
        self._known: dict[Key, int] = {}
        self.highest = {table: self._highest_in(table) for table in ASCENDING}
        self._wal_pages = 0
        self._pause: Pause = _at_once
        self._db.set_wal_hook(self._on_commit)

    def pause_with(self, pause: Pause) -> None:
        """Write in pieces from now on, with a pause between two."""
        self._pause = pause
        pausing(self._db, pause)

    def _open_tables(self, mark: object) -> None:
        self._tables = JobTables(self._db)
        try:
            with transaction(self._db):
                made_anew = self._tables.bring_up(mark, self.applied)
        except (msgspec.DecodeError, TypeError, ValueError) as exc:
            raise damaged(self._path) from exc
        if made_anew and self.applied:
            log.info("made anew what jobs are found by", file=str(self._path))

    def _highest_in(self, table: str) -> str:
        row = self._db.execute(_sql(table).down, (table, "", KEY_MAX, 1)).fetchone()
        return str(row[0]) if row else ""

    def _on_commit(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def verify(self) -> None:
        """See whether the file holds what was written to it, unless it is too big for that.

        Raises:
            StateDamaged: It does not.
        """
        db = self._db
        if int(db.pragma("page_count")) * int(db.pragma("page_size")) > CHECKED_BYTES_MAX:
            return
        try:
            is_good = (
                self._are_pages_right()
                and self._is_digest_right()
                and self._are_jobs_found()
                and self._tables.is_right()
            )
        except (TypeError, ValueError) as exc:  # of another type than it was written, or not decodable
            raise damaged(self._path) from exc
        if not is_good:
            raise damaged(self._path)

    def _are_pages_right(self) -> bool:
        """Whether pages are in order, and every index leads to the row that it names."""
        return self._db.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]

    def _is_digest_right(self) -> bool:
        rows: Iterable[Any] = self._db.execute(_EVERYTHING)
        found = sum(row_hash(table, key, value) for table, key, value in rows)
        return found % DIGEST_MODULUS == self.digest

    def _are_jobs_found(self) -> bool:
        """Whether each job is looked for by what it says: the digest is of values only."""
        rows: Iterable[Any] = self._db.execute("SELECT * FROM jobs")
        return all(row == _job_columns(_decode_job(row[1]), row[1]) for row in rows)

    @property
    def wal_pages(self) -> int:
        """How long the write-ahead log is."""
        return self._wal_pages

    def write(self, puts: Mapping[Key, Any], applied: int, time_us: int, fresh: Set[Key] = frozenset()) -> None:
        """Write all of it, and the entry it is complete up to, in one transaction.

        Args:
            fresh: Which of it the file is known not to have: it need not be asked.
        """
        known, self._known = self._known, {}
        jobs = sorted(key for table, key in puts if table == JOBS.name)
        rows = sorted(place for place in puts if place[0] != JOBS.name) if jobs else sorted(puts)
        asked = in_pieces((place for place in rows if place not in fresh), self._pause)
        digest = self.digest - sum([self._share(place, known) for place in asked])
        self._tables.begin()
        new = {key for key in jobs if key > self.highest[JOBS.name]}
        raise_highest(self.highest, puts)
        with transaction(self._db) as db:
            digest += self._put_all(rows, puts, known)
            digest += sum([self._put_job(key, puts[JOBS.name, key], is_new=key in new) for key in jobs])
            digest %= DIGEST_MODULUS
            self._tables.settle(applied)
            db.executemany(
                "UPDATE meta SET value = ? WHERE key = ?",
                [(applied, "applied"), (time_us, "time_us"), (digest.to_bytes(16, "big"), "digest")],
            )
        self.applied, self.time_us, self.digest = applied, time_us, digest
        for place in list(islice(known, max(0, len(known) - SHARES_KNOWN_MAX))):
            del known[place]  # the oldest
        self._known = known  # only now: what was not written is asked for again

    def _share(self, place: Key, known: dict[Key, int]) -> int:
        """Return what a row, as it is in the file, adds to the digest."""
        share = known.get(place)
        if share is None:
            table, key = place
            if key > self.highest.get(table, KEY_MAX):
                return 0
            old = self._db.execute(_sql(table).get, (table, key)).fetchone()
            share = row_hash(table, key, old[0]) if old else 0
        return share

    def _put_all(self, places: Iterable[Key], puts: Mapping[Key, Any], known: dict[Key, int]) -> int:
        """Write rows, but no jobs, in this order; return, and note, what they add to the digest now."""
        added = 0
        rows: dict[str, list[Any]] = {}
        gone: dict[str, list[Any]] = {}
        for place in in_pieces(places, self._pause):
            value, sql = puts[place], _sql(place[0])
            if value is None:
                known.pop(place, None)
                gone.setdefault(sql.delete, []).append(place)
                continue
            encoded = encode_value(value)
            known.pop(place, None)  # the newest come last
            known[place] = share = row_hash(*place, encoded)
            added += share
            rows.setdefault(sql.put, []).append((*place, encoded))
        for statement, bindings in gone.items():
            write_rows(self._db, statement, bindings)
        for statement, bindings in rows.items():
            write_rows(self._db, statement, bindings)
        return added

    def _put_job(self, key: str, job: Job | None, *, is_new: bool) -> int:
        """Write a job and what it is found by; return by how much that changes the digest."""
        sql = "SELECT rowid, value FROM jobs WHERE key = ?"
        rows: list[Any] = [] if is_new else self._db.execute(sql, (key,)).fetchall()
        row_id, old = rows[0] if rows else (0, None)
        change = -row_hash(JOBS.name, key, old) if old is not None else 0
        if job is None:
            self._db.execute(_JOBS.delete, (JOBS.name, key))
        else:
            encoded = encode_value(job)
            self._db.execute(_JOBS.put, _job_columns(job, encoded))
            row_id = row_id or self._db.last_insert_rowid()
            change += row_hash(JOBS.name, key, encoded)
        self._tables.put(row_id, _decode_job(old) if old is not None else None, job)
        return change

    def checkpoint(self) -> None:
        """Fold the write-ahead log in. When no reader was in the way, all of it survives a power cut: see `durable`."""
        row = self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        if row is not None and row[0] == 0 and row[1] == row[2]:
            self.durable = self.applied
        self._wal_pages = 0

    def close(self) -> None:
        """Fold the write-ahead log in, and close."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()


def _job_columns(job: Job, encoded: bytes) -> tuple[str, bytes, str, str, int, str, int, str]:
    tags = msgspec.json.encode(job.spec.tags).decode()
    enabled = int(job.paused is None)
    return job.id, encoded, job.namespace, job.name, enabled, tags, job.created_at_us, searchable(job)


class StateReader:
    """A connection that reads."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        self._db = open_reader(path, vfs, STATE)

    def applied(self) -> int:
        """Return the entry up to which the file is complete."""
        rows: list[Any] = self._db.execute("SELECT value FROM meta WHERE key = 'applied'").fetchall()
        return int(rows[0][0])

    def interrupt(self) -> None:
        """Break off what another thread is reading; it raises there. May be called from any thread."""
        self._db.interrupt()

    def get(self, table: str, key: str) -> bytes | None:
        """Return a value's bytes."""
        row = self._db.execute(_sql(table).get, (table, key)).fetchone()
        return row[0] if row else None

    def get_all(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values' bytes under many keys, read at once: each by itself would take its own locks."""
        found: list[bytes | None] = []
        with self._db:
            found += [self.get(table, key) for key in keys]
        return found

    def scan(self, table: str, low: str, high: str, limit: int, *, newest: bool) -> list[tuple[str, bytes]]:
        """Return up to `limit` rows with low <= key < high."""
        sql = _sql(table)
        rows: list[Any] = self._db.execute(sql.down if newest else sql.up, (table, low, high, limit)).fetchall()
        return rows

    def everything(self, table: str) -> Iterable[tuple[str, bytes]]:
        """Return all rows of a table."""
        return self.scan(table, "", "\U0010ffff", -1, newest=False)

    def find_jobs(
        self, changed: Mapping[str, Job | None], wanted: JobFilter, after: tuple[str, str], limit: int
    ) -> Found:
        """Return up to `limit` jobs behind `after`, by (name, id), with `changed` laid over the file.

        Args:
            changed: Jobs that the file does not have yet as they are now, by id; None for those gone.
        """
        return jobsearch.find_jobs(self._db, changed, wanted, after, limit)

    def list_jobs(
        self, changed: Mapping[str, Job | None], namespace: str | None, after: tuple[str, str], limit: int
    ) -> Listed:
        """Return the ids of up to `limit` jobs behind `after`, with `changed` laid over the file; no job is read."""
        return jobsearch.list_jobs(self._db, changed, namespace, after, limit)

    def plan_rows(self, after: str, limit: int) -> list[PlanRow]:
        """Return what a start has to know of up to `limit` jobs with ids above `after`, by id."""
        return jobsearch.plan_rows(self._db, after, limit)

    def jobs_of_trait(self, trait: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """Return (name, id) of up to `limit` jobs behind `after` that have a trait, in this order."""
        return jobsearch.jobs_of_trait(self._db, trait, after, limit)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
