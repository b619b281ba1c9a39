"""Finding jobs in `state.db`: a page of them by name, and how many there are. One thread's connection.

What narrows most is asked first: a text by its three letters, a tag or a pause by its trait. A filter that none of them
answers goes through the jobs by name until the page is full.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
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

AT_ONCE = 50
"""Jobs read in one row; each may be as long as its body."""

_MATCHING = """
  (:namespace IS NULL OR jobs.namespace = :namespace) AND (:enabled IS NULL OR enabled = :enabled)
  AND (:text = '' OR instr(text, :text) > 0)
  AND (:tags = '{}' OR NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS want WHERE NOT EXISTS (
      SELECT 1 FROM json_each(jobs.tags) AS has WHERE has.key = want.key AND has.value = want.value)))
"""
_OTHERS = " AND jobs.key NOT IN (SELECT value FROM json_each(:changed))"
_NEXT = _OTHERS + " AND (jobs.name, jobs.key) > (:name, :id) ORDER BY jobs.name, jobs.key LIMIT :most)"
# Many in one row: a thread beside a busy event loop waits for the interpreter behind each row that it is given.
_PLACES = "SELECT json_group_array(json_array(name, key)) FROM "
_PAGE = "SELECT json_group_array(json_array(name, key)) FROM (SELECT jobs.name, jobs.key FROM "
_JOB = _PAGE + "jobs WHERE "
_COUNTED = "SELECT count(*) FROM "
_HAVING = "job_traits AS t CROSS JOIN jobs ON jobs.key = t.key WHERE t.trait = :trait AND "
_IN = "jobs.namespace = :namespace AND "
_BY_NAME = _JOB + _MATCHING + _NEXT
_BY_NAME_IN = _JOB + _IN + _MATCHING + _NEXT
_BY_TRAIT = _PAGE + _HAVING + _MATCHING + _NEXT.replace("jobs.", "t.")
_TRAIT_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM job_traits WHERE trait = :trait LIMIT :counted)"
_ALL_OF_TRAIT = _COUNTED + _HAVING + _MATCHING
_ALL_BY_NAME = _COUNTED + "jobs WHERE " + _MATCHING
_TEXT_COUNTED = "SELECT count(*) FROM (SELECT 1 FROM jobs_text WHERE jobs_text MATCH :match LIMIT :counted)"
_OF_TEXT = "(SELECT rowid FROM jobs_text WHERE jobs_text MATCH :match)"
_BY_TEXT = _PLACES + "jobs WHERE rowid IN " + _OF_TEXT + " AND " + _MATCHING
_CHANGED = "key IN (SELECT value FROM json_each(:changed)) AND "
_HIDDEN = _COUNTED + "jobs WHERE " + _CHANGED + _MATCHING
_VALUES = "SELECT json_group_array(hex(value)) FROM jobs WHERE key IN (SELECT value FROM json_each(?))"
_LISTED = """
SELECT (SELECT json_group_array(json_array(name, key)) FROM (
  SELECT name, key FROM jobs INDEXED BY jobs_name WHERE (name, key) > (:name, :id) ORDER BY name, key LIMIT :most)),
  (SELECT coalesce(sum(jobs), 0) FROM job_counts WHERE :namespace IS NULL OR namespace = :namespace),
  (SELECT count(*) FROM jobs WHERE (:namespace IS NULL OR namespace = :namespace)
    AND key IN (SELECT value FROM json_each(:keys)))
"""
_LISTED_IN = _LISTED.replace("jobs_name WHERE", "jobs_namespace WHERE namespace = :namespace AND")
_decode_places = msgspec.json.Decoder(list[tuple[str, str]]).decode
_decode_values = msgspec.json.Decoder(list[str]).decode
_decode_job = msgspec.msgpack.Decoder(Job).decode


class Found(NamedTuple):
    """A page of jobs, by name, and how many there are on all pages; None where counting would take too long."""

    jobs: list[Job]
    total: int | None


class Listed(NamedTuple):
    """The ids of a page of jobs, by name, and how many there are on all pages."""

    ids: list[str]
    total: int


def find_jobs(
    db: apsw.Connection, changed: Mapping[str, Job | None], wanted: JobFilter, after: tuple[str, str], limit: int
) -> Found:
    """Return up to `limit` jobs behind `after` as if the file had `changed`.

    Args:
        changed: Jobs by id as they are now, None for those gone.
    """
    asked: dict[str, Any] = {
        "namespace": wanted.namespace,
        "enabled": None if wanted.enabled is None else int(wanted.enabled),
        "text": wanted.text.casefold(),
        "tags": msgspec.json.encode(wanted.tags).decode(),
        "name": after[0],
        "id": after[1],
        "most": limit,
        "changed": msgspec.json.encode([*changed]).decode(),
    }
    with db:  # one reading: between two, what is counted could move into the file
        found, total = _in_file(db, asked, wanted, changed)
        hidden = int(_one(db, _HIDDEN, asked)) if changed else 0
    shown = [job for job in changed.values() if job is not None and job_matches(wanted, job)]
    page = [*found, *(job for job in shown if (job.name, job.id) > after)]
    page.sort(key=lambda job: (job.name, job.id))
    return Found(page[:limit], None if total is None else total - hidden + len(shown))


def _in_file(db: apsw.Connection, asked: dict[str, Any], wanted: JobFilter, changed: Collection[str]) -> Found:
    """Return the page without the changed jobs, and how many there are with them, both as the file says."""
    if len(asked["text"]) >= TRIGRAM and "\0" not in asked["text"]:
        asked = asked | {"match": '"' + asked["text"].replace('"', '""') + '"', "counted": NARROW_MAX + 1}
        if _one(db, _TEXT_COUNTED, asked) <= NARROW_MAX:
            return _by_text(db, asked, changed)
    if wanted.namespace is not None and (trait := _trait_of(wanted)):
        return _by_trait(db, asked | {"trait": trait, "counted": COUNTED_MAX + 1}, wanted)
    sql = _BY_NAME if wanted.namespace is None else _BY_NAME_IN
    return Found(_page(db, sql, asked), _total_of(db, asked, wanted))


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


def _by_text(db: apsw.Connection, asked: dict[str, Any], changed: Collection[str]) -> Found:
    places = _decode_places(_one(db, _BY_TEXT, asked))
    behind = (key for name, key in sorted(places) if (name, key) > (asked["name"], asked["id"]))
    page = list(islice((key for key in behind if key not in changed), asked["most"]))
    return Found(_jobs(db, page), len(places))


def _trait_of(wanted: JobFilter) -> str:
    """Return the trait that all wanted jobs have; empty when there is none to look for."""
    assert wanted.namespace is not None
    for key, value in wanted.tags.items():
        return tag_trait(wanted.namespace, key, value)
    return paused_trait(wanted.namespace) if wanted.enabled is False else ""


def _by_trait(db: apsw.Connection, asked: dict[str, Any], wanted: JobFilter) -> Found:
    found = _page(db, _BY_TRAIT, asked)
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


def _page(db: apsw.Connection, sql: str, asked: dict[str, Any]) -> list[Job]:
    return _jobs(db, [key for _, key in _decode_places(_one(db, sql, asked))])


def _jobs(db: apsw.Connection, keys: Sequence[str]) -> list[Job]:
    """Return these jobs, in any order."""
    found: list[Job] = []
    for first in range(0, len(keys), AT_ONCE):
        some = msgspec.json.encode(keys[first : first + AT_ONCE]).decode()
        found += [_decode_job(bytes.fromhex(digits)) for digits in _decode_values(_one(db, _VALUES, (some,)))]
    return found


def _one(db: apsw.Connection, sql: str, asked: Any) -> Any:
    rows: list[Any] = db.execute(sql, asked).fetchall()
    return rows[0][0]
