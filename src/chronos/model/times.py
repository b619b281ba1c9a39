"""When a job is due, as far as its definition says: what jobs with one timetable have in common, and how it is kept."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from chronos.model.job import Job, JobSpec
from chronos.timing.calendar import Shift
from chronos.timing.cron import has_hash
from chronos.timing.zone import Gap, OverlapTime


class Times(Struct, frozen=True, array_like=True):
    """Everything that the instants of a job depend on, and nothing else: equal times, equal instants.

    Attributes:
        start_s: No instant lies before it; 0 when there is no such bound.
        end_s: No instant lies after it; 0 when there is no such bound.
        hash_key: What `H` is a hash of; empty when no schedule has one.
        anchor_s: What `@every` counts from; 0 when no schedule is one.
        namespace: Where `calendar` is looked up; empty when there is none.
    """

    schedules: tuple[str, ...]
    timezone: str = "UTC"
    gap: Gap = Gap.AFTER
    overlap: OverlapTime = OverlapTime.FIRST
    anchor_s: int = 0
    hash_key: str = ""
    start_s: int = 0
    end_s: int = 0
    namespace: str = ""
    calendar: str = ""
    shift: Shift = Shift.NONE


PlanRow = tuple[str, bytes, int, int]
"""What a start has to know of a job, so that a million are planned without being read: (id, times, since_s, paused).

`times` are its packed `Times`: jobs with equal bytes have equal instants. Its first instant lies after `since_s`; it
owes none while `paused` is 1. A plain tuple, because a million of them are made and forgotten.
"""

_DEFAULTS = msgspec.structs.astuple(Times(()))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Times).decode


def times_of(job: Job) -> Times:
    """Return what the instants of `job` depend on."""
    return times_of_spec(job.spec, job.anchor_s)


def times_of_spec(spec: JobSpec, anchor_s: int) -> Times:
    """Return what the instants of a job with this spec, in normal form, depend on."""
    texts = spec.schedules
    return Times(
        tuple(texts),
        spec.timezone,
        spec.dst.gap,
        spec.dst.overlap,
        anchor_s if any("@every" in text for text in texts) else 0,
        # Of the whole text, zone prefix and all: a key too many only keeps two jobs from sharing.
        f"{spec.namespace}/{spec.name}" if any(map(has_hash, texts)) else "",
        int(spec.start_at.timestamp()) if spec.start_at else 0,
        int(spec.end_at.timestamp()) if spec.end_at else 0,
        spec.namespace if spec.calendar is not None else "",
        spec.calendar or "",
        spec.shift,
    )


def packed(times: Times) -> bytes:
    """Return the bytes of `times`: what has its default at the end is left out."""
    values = msgspec.structs.astuple(times)
    size = len(values)
    while size > 1 and values[size - 1] == _DEFAULTS[size - 1]:
        size -= 1
    return _encode(values[:size])


def unpacked(data: bytes) -> Times:
    """Return what `packed` was given."""
    return _decode(data)


def plan_row(job: Job) -> PlanRow:
    """Return what a start has to know of `job`."""
    return job.id, packed(times_of(job)), job.owed_since_us // 1_000_000, int(job.paused is not None)
