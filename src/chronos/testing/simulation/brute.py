"""Which instants a definition owes, found the slow way: minute by minute, with the standard library's zones.

It shares no code with `chronos.timing`, on purpose. It knows the schedules that the simulation's load is made of,
and refuses every other: fields of `*`, numbers, ranges and steps, with a minute or hour that begins with `*`
(so that clock changes need no rule of their own), and `@every`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, cached_property
from zoneinfo import ZoneInfo

from chronos.model.job import Job
from chronos.testing.simulation.evidence import Evidence

_EVERY = re.compile(r"@every (\d+)s")
_BOUNDS = ((0, 59), (0, 59), (0, 23))


def instants(job: Job, after_s: int, to_s: int) -> Iterator[int]:
    """Yield the instants in (`after_s`, `to_s`] that the job's schedule names, ascending.

    Raises:
        ValueError: The schedule is not one this evaluator knows.
    """
    [text] = job.spec.schedules
    every = _EVERY.fullmatch(text)
    if every is not None:
        yield from _every(int(every[1]), job.anchor_s, after_s, to_s)
        return
    seconds, minutes, hours = _fields(text)
    for minute_s in range(after_s // 60 * 60, to_s + 1, 60):
        hour, minute = _wall(job.spec.timezone, minute_s)
        if minute in minutes and hour in hours:
            yield from (minute_s + second for second in seconds if after_s < minute_s + second <= to_s)


def _every(period: int, anchor_s: int, after_s: int, to_s: int) -> Iterator[int]:
    first = max(1, (after_s - anchor_s) // period + 1)
    yield from range(anchor_s + first * period, to_s + 1, period)


@cache
def _fields(text: str) -> tuple[tuple[int, ...], frozenset[int], frozenset[int]]:
    fields = text.split()
    fields = fields if len(fields) == 6 else ["0", *fields]
    if fields[3:] != ["*", "*", "*"] or not (fields[1].startswith("*") or fields[2].startswith("*")):
        raise ValueError(f"{text!r}: this evaluator does not know such a schedule")
    seconds, minutes, hours = (_values(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=False))
    return tuple(sorted(seconds)), minutes, hours


def _values(field: str, low: int, high: int) -> frozenset[int]:
    span, _, step = field.partition("/")
    if span != "*":
        first, _, last = span.partition("-")
        low, high = int(first), int(last or first)
    return frozenset(range(low, high + 1, int(step or 1)))


@cache
def _wall(zone: str, minute_s: int) -> tuple[int, int]:
    local = datetime.fromtimestamp(minute_s, UTC).astimezone(ZoneInfo(zone))
    return local.hour, local.minute


class Span:
    """A stretch of a job's life in which one definition held.

    Attributes:
        to_s: The last instant that this definition owes is no later.
        is_last: Nothing followed it: neither an edit, nor a pause, nor a deletion.
    """

    def __init__(self, job: Job, after_s: int, to_s: int, *, is_last: bool) -> None:
        self.job = job
        self.after_s = after_s
        self.to_s = to_s
        self.is_last = is_last

    @property
    def is_paused(self) -> bool:
        return self.job.paused is not None

    @cached_property
    def instants(self) -> list[int]:
        """What it owes, or would have owed while it was paused, ascending."""
        return list(instants(self.job, self.after_s, self.to_s))


def spans_of(evidence: Evidence, job_id: str) -> list[Span]:
    """Return the stretches of a job's life, in order; they do not overlap."""
    revisions = evidence.revisions[job_id]
    changes = [job for before, job in zip([None, *revisions], revisions, strict=False) if _owes_anew(before, job)]
    ends = [job.owed_since_us // 1_000_000 for job in changes[1:]]
    deleted_us = evidence.deleted.get(job_id)
    last_s = evidence.hwm_s if deleted_us is None else min(deleted_us // 1_000_000, evidence.hwm_s)
    return [
        Span(job, job.owed_since_us // 1_000_000, end_s, is_last=job is changes[-1] and deleted_us is None)
        for job, end_s in zip(changes, [*ends, last_s], strict=True)
    ]


def _owes_anew(before: Job | None, job: Job) -> bool:
    return before is None or _owing(before) != _owing(job)


def _owing(job: Job) -> tuple[object, ...]:
    # The time alone does not tell: while a clock that was set back catches up, log time stands still.
    return job.owed_since_us, job.paused is not None, job.spec.schedules, job.spec.timezone
