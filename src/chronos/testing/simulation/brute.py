"""What was owed, found by the evaluator that verifies exports: slow, obvious, sharing no code with `chronos.timing`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Final

from chronos.model.job import Job
from chronos.testing.simulation.evidence import Evidence
from chronos.verify.definition import Definition
from chronos.verify.zones import Zones

_ZONES: Final = Zones()


def instants(job: Job, after_s: int, to_s: int) -> Iterator[int]:
    """Yield the instants in (`after_s`, `to_s`] that the job's schedules name, ascending.

    Raises:
        ValueError: It has a calendar, which this does not heed, or a schedule that is none.
    """
    spec = job.spec
    if spec.calendar is not None:
        raise ValueError(f"{spec.name}: this does not know what its calendar says")
    limits = tuple(at.isoformat() if at else "" for at in (spec.start_at, spec.end_at))
    zone = (spec.timezone, spec.dst.gap.value, spec.dst.overlap.value)
    what = _definition(spec.namespace, spec.name, tuple(spec.schedules), zone, limits, job.anchor_s)
    yield from what.owed(after_s, to_s, _ZONES).runs


@lru_cache(maxsize=4096)
def _definition(
    namespace: str, name: str, schedules: tuple[str, ...], zone: tuple[str, ...], limits: tuple[str, ...], anchor_s: int
) -> Definition:
    timezone, gap, overlap = zone
    start_at, end_at = limits
    spec = {
        "namespace": namespace,
        "name": name,
        "schedules": list(schedules),
        "timezone": timezone,
        "dst": {"gap": gap, "overlap": overlap},
        "start_at": start_at,
        "end_at": end_at,
    }
    return Definition(spec, anchor_s)


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
