"""Finding jobs in `state.db`: a page of them by name, and how many there are. One thread's connection.

What narrows most is asked first: a text by its three letters, a tag or a pause by its trait. A filter that none of them
answers goes through the jobs by name until the page is full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import apsw
import msgspec

from chronos.model.job import Job
from chronos.model.times import PlanRow
from chronos.store.state import JobFilter, job_matches, paused_trait, tag_trait

NARROW_MAX = 5_000
"""A text or trait that more jobs have does not narrow: by name the page is full soon."""

COUNTED_MAX = 100_000
"""Jobs of one trait are counted up to here; what is more is not counted."""

TRIGRAM = 3

_MATCHING = """
  (:namespace IS NULL OR jobs.namespace = :namespace) AND (:enabled IS NULL OR enabled = :enabled)
  AND (:text = '' OR instr(text, :text) > 0)
  AND (:tags = '{}' OR NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS want WHERE NOT EXISTS (
      SELECT 1 FROM json_each(jobs.tags) AS has WHERE has.key = want.key AND has.value = want.value)))
"""
_NEXT = " AND (jobs.name, jobs.key) > (:name, :id) ORDER BY jobs.name, jobs.key LIMIT :most"
_JOB = "SELECT value FROM jobs WHERE "
_BY_KEY = _JOB + "key = :key"
_VALUE = "SELECT value FROM "
_COUNTED = "SELECT count(*) FROM "
_HAVING = "job_traits AS t CROSS JOIN jobs ON jobs.key = t.key WHERE t.trait = :trait AND "
_IN = "jobs.namespace = :namespace AND "
_BY_NAME = _JOB + _MATCHING + _NEXT
_BY_NAME_IN = _JOB + _IN + _MATCHING + _NEXT
_BY_TRAIT = _VALUE + _HAVING + _MATCHING + _NEXT.replace("jobs.", "t.")
_TRAIT_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM job_traits WHERE trait = :trait LIMIT :counted)"
_ALL_OF_TRAIT = _COUNTED + _HAVING + _MATCHING
_ALL_BY_NAME = _COUNTED + "jobs WHERE " + _MATCHING
_TEXT_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM jobs_text WHERE jobs_text MATCH :match LIMIT :counted)"
_PLACE = "SELECT name, key FROM jobs WHERE rowid IN (SELECT rowid FROM jobs_text WHERE jobs_text MATCH :match) AND "
_BY_TEXT = _PLACE + _MATCHING
_LISTED = """
SELECT (SELECT json_group_array(json_array(name, key)) FROM (
  SELECT name, key FROM jobs INDEXED BY jobs_name WHERE (name, key) > (:name, :id) ORDER BY name, key LIMIT :most)),
  (SELECT coalesce(sum(jobs), 0) FROM job_counts WHERE :namespace IS NULL OR namespace = :namespace),
  (SELECT count(*) FROM jobs WHERE (:namespace IS NULL OR namespace = :namespace)
    AND key IN (SELECT value FROM json_each(:keys)))
"""
_LISTED_IN = _LISTED.replace("jobs_name WHERE", "jobs_namespace WHERE namespace = :namespace AND")
_decode_places = msgspec.json.Decoder(list[tuple[str, str]]).decode
_decode_job = msgspec.msgpack.Decoder(Job).decode


class Found(NamedTuple):
    """A page of jobs, by name, and how many there are on all pages; None where counting would take too long."""

    jobs: list[Job]
    total: int | None


class Listed(NamedTuple):
    """The ids of a page of jobs, by name, and how many there are on all pages."""

    ids: list[str]
    total: int


def find_jobs(db: apsw.Connection, wanted: JobFilter, after: tuple[str, str], limit: int) -> Found:
    """Return up to `limit` jobs behind `after`."""
    asked: dict[str, Any] = {
        "namespace": wanted.namespace,
        "enabled": None if wanted.enabled is None else int(wanted.enabled),
        "text": wanted.text.casefold(),
        "tags": msgspec.json.encode(wanted.tags).decode(),
        "name": after[0],
        "id": after[1],
        "most": limit,
    }
    if len(asked["text"]) >= TRIGRAM and "\0" not in asked["text"]:
        asked |= {"match": '"' + asked["text"].replace('"', '""') + '"', "counted": NARROW_MAX + 1}
        if _one(db, _TEXT_COUNTED, asked) <= NARROW_MAX:
            return _by_text(db, asked, after, limit)
    if wanted.namespace is not None and (trait := _trait_of(wanted)):
        return _by_trait(db, asked | {"trait": trait, "counted": COUNTED_MAX + 1}, wanted)
    sql = _BY_NAME if wanted.namespace is None else _BY_NAME_IN
    return Found(_jobs(db, sql, asked), _total_of(db, asked, wanted))


def find_jobs_under(
    db: apsw.Connection, changed: Mapping[str, Job | None], wanted: JobFilter, after: tuple[str, str], limit: int
) -> Found:
    """Return what `find_jobs` would if the file had `changed`: jobs by id as they are now, None for those gone."""
    with db:  # one reading: between two, what is counted could move into the file
        found, total = find_jobs(db, wanted, after, limit + len(changed))
        hidden = sum([job_matches(wanted, job) for key in changed for job in _jobs(db, _BY_KEY, {"key": key})])
    shown = [job for job in changed.values() if job is not None and job_matches(wanted, job)]
    page = [job for job in found if job.id not in changed]
    page += [job for job in shown if (job.name, job.id) > after]
    page.sort(key=lambda job: (job.name, job.id))
    return Found(page[:limit], None if total is None else total - hidden + len(shown))


def list_jobs(
    db: apsw.Connection, changed: Mapping[str, Job | None], namespace: str | None, after: tuple[str, str], limit: int
) -> Listed:
    """Return which jobs come up to `limit` behind `after`, of one namespace or of all, as if the file had `changed`.

    An index is read, and no job; but the jobs that have changed are counted one by one.
    """
    asked: dict[str, Any] = {"namespace": namespace, "name": after[0], "id": after[1], "most": limit + len(changed)}
    asked["keys"] = msgspec.json.encode([*changed]).decode()
    # One statement with one row: each step of one gives the interpreter away, and between two the file may change.
    found: Any = db.execute(_LISTED if namespace is None else _LISTED_IN, asked).fetchone()
    rows = _decode_places(found[0])
    total, hidden = int(found[1]), int(found[2])
    shown = [job for job in changed.values() if job is not None and namespace in (None, job.namespace)]
    page = [(name, key) for name, key in rows if key not in changed]
    page += [(job.name, job.id) for job in shown if (job.name, job.id) > after]
    return Listed([key for _, key in sorted(page)[:limit]], total - hidden + len(shown))


def _by_text(db: apsw.Connection, asked: dict[str, Any], after: tuple[str, str], limit: int) -> Found:
    places: list[Any] = sorted(db.execute(_BY_TEXT, asked))
    page = [key for name, key in places if (name, key) > after][:limit]
    rows: list[Any] = [db.execute("SELECT value FROM jobs WHERE key = ?", (key,)).fetchone() for key in page]
    # A job may be deleted between being found and being read.
    return Found([_decode_job(row[0]) for row in rows if row is not None], len(places))


def _trait_of(wanted: JobFilter) -> str:
    """Return the trait that all wanted jobs have; empty when there is none to look for."""
    assert wanted.namespace is not None
    for key, value in wanted.tags.items():
        return tag_trait(wanted.namespace, key, value)
    return paused_trait(wanted.namespace) if wanted.enabled is False else ""


def _by_trait(db: apsw.Connection, asked: dict[str, Any], wanted: JobFilter) -> Found:
    found = _jobs(db, _BY_TRAIT, asked)
    having: int = _one(db, _TRAIT_COUNTED, asked)
    narrowed = bool(wanted.text) + len(wanted.tags) + (wanted.enabled is not None) > 1
    if not narrowed:
        return Found(found, having if having <= COUNTED_MAX else None)
    return Found(found, _one(db, _ALL_OF_TRAIT, asked) if having <= NARROW_MAX else None)


def _total_of(db: apsw.Connection, asked: dict[str, Any], wanted: JobFilter) -> int | None:
    sql = "SELECT coalesce(sum(jobs), 0), coalesce(sum(enabled), 0) FROM job_counts"
    where = " WHERE namespace = :namespace" if wanted.namespace is not None else ""
    rows: list[Any] = db.execute(sql + where, asked).fetchall()
    jobs, enabled = rows[0]
    if not wanted.text and not wanted.tags:
        return int(jobs if wanted.enabled is None else enabled if wanted.enabled else jobs - enabled)
    return int(_one(db, _ALL_BY_NAME, asked)) if jobs <= NARROW_MAX else None


def plan_rows(db: apsw.Connection, after: str, limit: int) -> list[PlanRow]:
    """Return what a start has to know of up to `limit` jobs with ids above `after`, by id."""
    sql = "SELECT key, times, since, paused FROM plans WHERE key > ? ORDER BY key LIMIT ?"
    rows: list[Any] = db.execute(sql, (after, limit)).fetchall()
    return rows


def jobs_of_trait(db: apsw.Connection, trait: str, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """Return (name, id) of up to `limit` jobs that have a trait, behind `after`, in this order."""
    sql = "SELECT name, key FROM job_traits WHERE trait = ? AND (name, key) > (?, ?) ORDER BY name, key LIMIT ?"
    rows: list[Any] = db.execute(sql, (trait, *after, limit)).fetchall()
    return rows


def _jobs(db: apsw.Connection, sql: str, asked: dict[str, Any]) -> list[Job]:
    rows: list[Any] = db.execute(sql, asked).fetchall()
    return [_decode_job(value) for (value,) in rows]


def _one(db: apsw.Connection, sql: str, asked: Any) -> Any:
    rows: list[Any] = db.execute(sql, asked).fetchall()
    return rows[0][0]
