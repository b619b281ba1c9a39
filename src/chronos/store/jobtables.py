"""What `state.db` keeps of jobs beside the jobs themselves, so that a million of them are planned, listed and found.

All of it follows from the jobs, is written in the transaction that writes them, and is made anew when it does not reach
as far as they do: when an older release has written the file since, or this release derives more than the one before.

    plans        what a start has to know of each, small enough to go through all of them
    job_traits   jobs by what they have, in the order of their names: a tag, a pause, a calendar
    jobs_text    their names and descriptions by three letters
    job_counts   how many there are in each namespace
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import msgspec

from chronos.model.job import Job
from chronos.model.times import plan_row
from chronos.store.state import searchable, traits_of

FORMAT = 1
"""Raised whenever something else is derived: the tables are then made anew."""

MARK = "job_tables"
"""Where `meta` says up to which entry they are complete."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plans (
  key TEXT PRIMARY KEY, times BLOB NOT NULL, since INTEGER NOT NULL, paused INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job_traits (
  trait TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (trait, name, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job_counts (
  namespace TEXT PRIMARY KEY, jobs INTEGER NOT NULL, enabled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS jobs_text USING fts5 (text, content = 'jobs', tokenize = 'trigram');
"""
_EMPTY = """
DELETE FROM plans; DELETE FROM job_traits; DELETE FROM job_counts;
INSERT INTO jobs_text (jobs_text) VALUES ('delete-all');
"""
_PUT_PLAN = (
    "INSERT INTO plans VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET times = excluded.times, "
    "since = excluded.since, paused = excluded.paused"
)
_PUT_TRAIT = "INSERT INTO job_traits VALUES (?, ?, ?)"
_DELETE_TRAIT = "DELETE FROM job_traits WHERE trait = ? AND name = ? AND key = ?"
_PUT_TEXT = "INSERT INTO jobs_text (rowid, text) VALUES (?, ?)"
_DELETE_TEXT = "INSERT INTO jobs_text (jobs_text, rowid, text) VALUES ('delete', ?, ?)"
_COUNT = (
    "INSERT INTO job_counts VALUES (?, ?, ?) ON CONFLICT (namespace) DO UPDATE SET jobs = jobs + excluded.jobs, "
    "enabled = enabled + excluded.enabled"
)
_decode_job = msgspec.msgpack.Decoder(Job).decode


class JobTables:
    """Keeps them up, on the connection that writes; every change is inside of a transaction of the caller's."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._counted: dict[str, tuple[int, int]] = {}
        db.execute(_SCHEMA)

    def bring_up(self, mark: object, applied: int) -> bool:
        """Make them anew unless they are complete up to entry `applied`; return whether they were made anew."""
        if mark == self.mark(applied):
            return False
        self.begin()
        self._db.execute(_EMPTY)
        rows: Iterable[Any] = self._db.execute("SELECT rowid, value FROM jobs")
        for row_id, value in rows:
            self.put(row_id, None, _decode_job(value))
        self.settle(applied)
        return True

    @staticmethod
    def mark(applied: int) -> str:
        """Return what `meta` says of tables that are complete up to entry `applied`."""
        return f"{FORMAT}/{applied}"

    def put(self, row_id: int, old: Job | None, new: Job | None) -> None:
        """Follow a change of the job in the row `row_id`."""
        if old is None and new is not None:
            self._db.execute(_PUT_PLAN, plan_row(new))
            self._db.execute(_PUT_TEXT, (row_id, searchable(new)))
        elif old is not None and new is None:
            self._db.execute("DELETE FROM plans WHERE key = ?", (old.id,))
            self._db.execute(_DELETE_TEXT, (row_id, searchable(old)))
        elif old is not None and new is not None:
            self._change(row_id, old, new)
        self._put_traits(set(_traits(old)), set(_traits(new)))
        self._count(old, -1)
        self._count(new, 1)

    def _change(self, row_id: int, old: Job, new: Job) -> None:
        row, text = plan_row(new), searchable(new)
        if row != plan_row(old):
            self._db.execute(_PUT_PLAN, row)
        if text != searchable(old):
            self._db.execute(_DELETE_TEXT, (row_id, searchable(old)))
            self._db.execute(_PUT_TEXT, (row_id, text))

    def _put_traits(self, old: set[tuple[str, str, str]], new: set[tuple[str, str, str]]) -> None:
        for row in sorted(old - new):
            self._db.execute(_DELETE_TRAIT, row)
        for row in sorted(new - old):
            self._db.execute(_PUT_TRAIT, row)

    def _count(self, job: Job | None, step: int) -> None:
        if job is not None:
            jobs, enabled = self._counted.get(job.namespace, (0, 0))
            self._counted[job.namespace] = (jobs + step, enabled + step * (job.paused is None))

    def begin(self) -> None:
        """A transaction begins; what one before it counted, and did not commit, is forgotten."""
        self._counted = {}

    def settle(self, applied: int) -> None:
        """Write down what was counted, and up to which entry the tables are complete."""
        for namespace, (jobs, enabled) in self._counted.items():
            if jobs or enabled:
                self._db.execute(_COUNT, (namespace, jobs, enabled))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (MARK, self.mark(applied)))

    def is_right(self) -> bool:
        """Whether all of it is what follows from the jobs. Reads everything."""
        jobs: list[Job] = [_decode_job(value) for (value,) in _rows(self._db, "SELECT value FROM jobs")]
        counted = _rows(self._db, "SELECT * FROM job_counts")
        counts = {name: (count, enabled) for name, count, enabled in counted if count or enabled}
        try:
            self._db.execute("INSERT INTO jobs_text (jobs_text, rank) VALUES ('integrity-check', 1)")
        except apsw.CorruptError:
            return False
        return (
            set(_rows(self._db, "SELECT * FROM plans")) == {plan_row(job) for job in jobs}
            and set(_rows(self._db, "SELECT * FROM job_traits")) == {row for job in jobs for row in _traits(job)}
            and counts == _counts(jobs)
        )


def _rows(db: apsw.Connection, sql: str) -> Iterator[Any]:
    return iter(db.execute(sql))


def _traits(job: Job | None) -> list[tuple[str, str, str]]:
    return [(trait, job.name, job.id) for trait in traits_of(job)] if job is not None else []


def _counts(jobs: Iterable[Job]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for job in jobs:
        count, enabled = found.get(job.namespace, (0, 0))
        found[job.namespace] = (count + 1, enabled + (job.paused is None))
    return found
