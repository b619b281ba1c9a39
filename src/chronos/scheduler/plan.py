"""A job, compiled: everything the planner asks of it, in whole numbers.

Schedules are parsed once and shared between jobs that say the same; a plan holds what is the job's own.
"""

from __future__ import annotations

from functools import lru_cache

from chronos.errors import ChronosError, JobInvalid, ScheduleNeverFires
from chronos.model.job import Job, JobSpec
from chronos.model.times import times_of, times_of_spec
from chronos.scheduler.timetable import CalendarOf, Timetable
from chronos.timing.calendar import Shift
from chronos.timing.duration import parse_duration
from chronos.timing.jitter import jitter_us

GRACE_MAX_S = 60
GRACE_MIN_S = 5
CATCHUP_MIN_US = 10_000_000
CATCHUP_MAX_US = 366 * 86_400_000_000
JITTER_MAX_US = 24 * 3_600_000_000
TIMEOUT_MIN_US = 100_000
TIMEOUT_MAX_US = 24 * 3_600_000_000


class Plan(Timetable):
    """What one revision of a job owes, and how it is run."""

    __slots__ = ("_jitter_us", "catchup_window_s", "job", "retry_for_us", "since_us")

    def __init__(self, job: Job, calendar_of: CalendarOf) -> None:
        super().__init__(times_of(job), calendar_of)
        spec = job.spec
        self.job = job
        self.since_us = job.owed_since_us
        self._jitter_us = parse_duration(spec.jitter) if spec.jitter else 0
        self.catchup_window_s = parse_duration(spec.catchup_window) // 1_000_000
        self.retry_for_us = parse_duration(spec.retry_policy.retry_for)

    def grace_s(self, at: int) -> int:
        """Return how late an instant near `at` may be and still count as on time."""
        return min(GRACE_MAX_S, max(self._instants.period_hint_s(at), GRACE_MIN_S))

    def effective_us(self, instant: int) -> int:
        """Return when the run of `instant` starts: the instant plus its jitter, never past the next instant."""
        if not self._jitter_us:
            return instant * 1_000_000
        following = self.next_s(instant)
        bound = self._jitter_us if following is None else min(self._jitter_us, (following - instant) * 1_000_000)
        return instant * 1_000_000 + jitter_us(self.job.id, instant, bound)


def check_spec(spec: JobSpec, calendar_of: CalendarOf, now_s: int) -> Timetable:
    """Return when a new job with this spec, in normal form, would be due; raise what is wrong with it.

    Raises:
        Unprocessable: A schedule, zone, duration or calendar cannot be used, or nothing would ever fire.
    """
    _check_durations(spec)
    if spec.start_at and spec.end_at and spec.start_at >= spec.end_at:
        raise JobInvalid("`end_at` must lie after `start_at`.", field="end_at")
    if spec.shift is not Shift.NONE and spec.calendar is None:
        raise JobInvalid("`shift` needs a `calendar` that says which days are business days.", field="shift")
    try:
        timetable = Timetable(times_of_spec(spec, now_s), calendar_of)
    except ChronosError as error:
        error.facts.setdefault("field", "schedule")
        raise
    if spec.schedules and timetable.next_s(now_s - 1) is None:
        raise ScheduleNeverFires(
            "There is no instant left at which this job would fire.", field="schedule", schedule=spec.schedules
        )
    return timetable


_DURATIONS = (
    ("timeout", TIMEOUT_MIN_US, TIMEOUT_MAX_US),
    ("catchup_window", CATCHUP_MIN_US, CATCHUP_MAX_US),
    ("jitter", 0, JITTER_MAX_US),
    ("cancel_grace", 0, 3_600_000_000),
    ("retry_policy.initial_interval", 1_000, TIMEOUT_MAX_US),
    ("retry_policy.max_interval", 1_000, TIMEOUT_MAX_US),
    ("retry_policy.retry_for", 1_000_000, CATCHUP_MAX_US),
    ("dependencies.timeout", 1_000_000, CATCHUP_MAX_US),
)


def _check_durations(spec: JobSpec) -> None:
    retry = spec.retry_policy
    after = spec.dependencies.timeout if spec.dependencies is not None else None
    intervals = (retry.initial_interval, retry.max_interval, retry.retry_for)
    _check_all((spec.timeout, spec.catchup_window, spec.jitter, spec.cancel_grace, *intervals, after))


@lru_cache(1_000)
def _check_all(texts: tuple[str | None, ...]) -> None:
    """Check durations in the order of `_DURATIONS`; a million jobs say much the same."""
    for (name, least, most), text in zip(_DURATIONS, texts, strict=True):
        if text is not None:
            _check_duration(name, text, least, most)


def _check_duration(name: str, text: str, least: int, most: int) -> None:
    try:
        us = parse_duration(text)
    except ChronosError as error:
        error.facts.setdefault("field", name)
        raise
    if not least <= us <= most:
        raise JobInvalid(f"`{name}` is {text}; it must lie between {least / 1e6:g}s and {most / 1e6:g}s.", field=name)
