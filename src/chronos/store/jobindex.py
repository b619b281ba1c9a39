"""Where each job's executions lie in a segment: a table beside the records, brought up to date many rows at a time.

The executions of many jobs that end together belong to as many places of an index by job. Brought up to date with each
write, it has all of its pages written each time, which costs more than the records themselves. So the newest rows may
wait; whoever searches goes through those one by one. They are put in their places together, in the order of the places.
"""

from __future__ import annotations

from typing import Any

import apsw

FEW = 5_000
"""After a write of so few rows all that wait are put in their places: nobody is in a hurry."""

GLANCED_MAX = 1_000
"""Of more that wait than this none is looked for on the event loop: it is half a millisecond's work."""

WAITING_MAX = 50_000
"""So many may wait: to go through them takes a search some 25 ms."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS by_job (
  job_id TEXT NOT NULL, scheduled_s INTEGER NOT NULL, id TEXT NOT NULL, series INTEGER NOT NULL,
  PRIMARY KEY (job_id, scheduled_s, id, series)
) WITHOUT ROWID
"""

_PLACED = "(SELECT coalesce(max(value), 0) FROM meta WHERE key = 'placed')"
_PLACE = """
INSERT OR IGNORE INTO by_job SELECT job_id, scheduled_s, id, series FROM records
WHERE rowid > (SELECT coalesce(max(value), 0) FROM meta WHERE key = 'placed') AND is_range = 0
ORDER BY job_id, scheduled_s, id, series
"""
_NOTE = "INSERT OR REPLACE INTO meta SELECT 'placed', coalesce(max(rowid), 0) FROM records"
_WAITING = """
SELECT (SELECT coalesce(max(rowid), 0) FROM records) - coalesce(max(value), 0) FROM meta WHERE key = 'placed'
"""

_FOUND = "SELECT scheduled_s, id, series, data FROM "
_IN_PLACE = _FOUND + "by_job CROSS JOIN records USING (job_id, scheduled_s, id, series) WHERE job_id = "
_UNPLACED = f"records NOT INDEXED WHERE rowid > {_PLACED} AND is_range = 0 AND "
_ON_THE_WAY = _FOUND + _UNPLACED + "job_id = "

JOBS = """
WITH RECURSIVE found (j) AS (
  SELECT min(job_id) FROM by_job
  UNION ALL SELECT (SELECT min(job_id) FROM by_job WHERE job_id > j) FROM found WHERE j IS NOT NULL
), skipped (j) AS (
  SELECT min(job_id) FROM records WHERE is_range = 1
  UNION ALL SELECT (SELECT min(job_id) FROM records WHERE is_range = 1 AND job_id > j) FROM skipped WHERE j IS NOT NULL
) SELECT j FROM found WHERE j IS NOT NULL UNION SELECT j FROM skipped WHERE j IS NOT NULL LIMIT ?
"""
COUNT = "SELECT count(*) FROM by_job WHERE job_id = ?"
GROUPS = "SELECT job_id, count(*) FROM by_job WHERE job_id > ? GROUP BY job_id LIMIT ?"
EARLIEST = f"{_IN_PLACE}? ORDER BY scheduled_s, id, series LIMIT ?"
TAKE_OUT = "DELETE FROM by_job WHERE job_id = ? AND scheduled_s = ? AND id = ? AND series = ?"

_EACH = "SELECT (SELECT records.rowid FROM "
_LAST = "status <> 'skipped' ORDER BY scheduled_s DESC, id DESC, series DESC LIMIT 1) FROM json_each(:jobs)"
_LAST_IN_PLACE = _EACH + "by_job CROSS JOIN records USING (job_id, scheduled_s, id, series) WHERE job_id = value AND "
_LAST_IN_PLACE += _LAST
_LAST_BY_INDEX = _EACH + "records WHERE job_id = value AND is_range = 0 AND " + _LAST
_RAN_BY_ONE = "status <> 'skipped' AND job_id IN (SELECT value FROM json_each(:jobs)) GROUP BY job_id)"
# Ids are in the order of instants.
_LAST_ON_THE_WAY = "SELECT found FROM (SELECT rowid AS found, max(id) FROM "
_LAST_ON_THE_WAY += _UNPLACED + _RAN_BY_ONE

LAST_RUNS = _FOUND + f"records WHERE rowid IN ({_LAST_IN_PLACE} UNION ALL {_LAST_ON_THE_WAY})"
"""Finds the last runs of `:jobs`. Of a job there may be two: one in its place and one on its way there."""
LAST_RUNS_BY_INDEX = _FOUND + f"records WHERE rowid IN ({_LAST_BY_INDEX})"
"""The same for segments without the table."""


def narrowed(conditions: str, order: str) -> str:
    """Return the statement that finds the executions of `:job`, those in their places and those on their way to them.

    One statement: between two of them rows might be put in their places, and be seen by neither.

    Args:
        conditions: ` AND …`, of the columns of the records.
        order: ` ORDER BY … LIMIT …`, of the columns that are found.
    """
    return f"{_IN_PLACE}:job{conditions} UNION ALL {_ON_THE_WAY}:job{conditions}{order}"


def has_table(db: apsw.Connection) -> bool:
    """Whether a segment has the table; those of earlier releases have an index, and one may have got it since."""
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    return "by_job" in names and "records_job" not in names


class JobIndex:
    """The table of the segment being written; without one there is nothing to do. Belongs to its writer."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._is_there = has_table(db)

    @property
    def waiting(self) -> int:
        """How many rows wait to be put in their places, at most."""
        if not self._is_there:
            return 0
        found: Any = self._db.execute(_WAITING).fetchone()
        return int(found[0])

    def wrote(self, rows: int) -> None:
        """Take note that so many rows were written, in the transaction that wrote them."""
        if rows <= FEW:
            self.place()

    def place(self) -> None:
        """Put all that wait in their places. Belongs into a transaction."""
        if self.waiting:
            self._db.execute(_PLACE)
            self._db.execute(_NOTE)
