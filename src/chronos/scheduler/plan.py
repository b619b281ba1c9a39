"""A job, compiled: everything the planner asks of it, in whole numbers.

Schedules are parsed once and shared between jobs that say the same; a plan holds what is the job's own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Protocol

from chronos.errors import CalendarInvalid, ChronosError, JobInvalid, ScheduleNeverFires
from chronos.model.job import Job, JobSpec
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import Calendar, Shift
from chronos.timing.duration import parse_duration
from chronos.timing.jitter import jitter_us
from chronos.timing.schedule import parse_schedule

GRACE_MAX_S = 60
GRACE_MIN_S = 5
CATCHUP_MIN_US = 10_000_000
CATCHUP_MAX_US = 366 * 86_400_000_000
JITTER_MAX_US = 24 * 3_600_000_000
TIMEOUT_MIN_US = 100_000
TIMEOUT_MAX_US = 24 * 3_600_000_000

CalendarOf = Callable[[str, str], Calendar | None]
"""Returns the compiled calendar of (namespace, name), or None when there is none."""


class Instants(Protocol):
    """Instants in whole seconds since the epoch, ascending: a schedule, or several, or one under a calendar."""

    def next_s(self, after: int) -> int | None: ...
    def prev_s(self, before: int) -> int | None: ...
    def count_s(self, a: int, b: int) -> int: ...
    def period_hint_s(self, at: int) -> int: ...


class Merged:
    """Several schedules as one; instants at which they meet count once."""

    def __init__(self, parts: list[Instants]) -> None:
        self._parts = parts

    def next_s(self, after: int) -> int | None:
        found = [n for part in self._parts if (n := part.next_s(after)) is not None]
        return min(found) if found else None

    def prev_s(self, before: int) -> int | None:
        found = [p for part in self._parts if (p := part.prev_s(before)) is not None]
        return max(found) if found else None

    def count_s(self, a: int, b: int) -> int:
        # Instants may meet, so the counts cannot be added; walking is bounded by the catch-up window.
        count, at = 0, a
        while (nxt := self.next_s(at)) is not None and nxt <= b:
            count, at = count + 1, nxt
        return count

    def period_hint_s(self, at: int) -> int:
        first = self.next_s(at)
        second = self.next_s(first) if first is not None else None
        return second - first if first is not None and second is not None else 86_400


class Never:
    """The schedule of a job that has none: it runs when others have run, or by hand."""

    def next_s(self, after: int) -> int | None:
        return None

    def prev_s(self, before: int) -> int | None:
        return None

    def count_s(self, a: int, b: int) -> int:
        return 0

    def period_hint_s(self, at: int) -> int:
        return 86_400


class Plan:
    """What one revision of a job owes, and how it is run."""

    __slots__ = (
        "_end_s",
        "_instants",
        "_jitter_us",
        "_start_s",
        "_under",
        "catchup_window_s",
        "job",
        "retry_for_us",
        "since_us",
    )

    def __init__(self, job: Job, calendar_of: CalendarOf) -> None:
        spec = job.spec
        self.job = job
        self.since_us = job.owed_since_us
        self._start_s = int(spec.start_at.timestamp()) if spec.start_at else 0
        self._end_s = int(spec.end_at.timestamp()) if spec.end_at else 1 << 39
        self._jitter_us = parse_duration(spec.jitter) if spec.jitter else 0
        self.catchup_window_s = parse_duration(spec.catchup_window) // 1_000_000
        self.retry_for_us = parse_duration(spec.retry_policy.retry_for)
        self._instants, self._under = _instants(spec, job.anchor_s, calendar_of)

    def next_s(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, inside the job's start and end."""
        found = self._instants.next_s(max(after, self._start_s - 1))
        return found if found is not None and found <= self._end_s else None

    def prev_s(self, before: int) -> int | None:
        """Return the last instant strictly before `before`, inside the job's start and end."""
        found = self._instants.prev_s(min(before, self._end_s + 1))
        return found if found is not None and found >= self._start_s else None

    def count_s(self, a: int, b: int) -> int:
        """Return how many instants lie in (a, b]."""
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        return self._instants.count_s(a, b) if a < b else 0

    def skipped_s(self, a: int, b: int) -> Iterator[tuple[int, str]]:
        """Yield (instant, reason) of what the calendar leaves out in (a, b], ascending.

        An instant that another of the job's schedules keeps is not left out.
        """
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        last = a
        for instant, reason in heapq.merge(*(part.skipped_between(a, b) for part in self._under)):
            if instant > last and self._instants.next_s(instant - 1) != instant:
                last = instant
                yield instant, reason

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


def _instants(spec: JobSpec, anchor_s: int, calendar_of: CalendarOf) -> tuple[Instants, list[CalendarSchedule]]:
    if not spec.schedules:
        return Never(), []
    schedules = [
        parse_schedule(
            text,
            timezone=spec.timezone,
            gap=spec.dst.gap.value,
            overlap=spec.dst.overlap.value,
            hash_key=f"{spec.namespace}/{spec.name}",
            anchor=anchor_s,
        )
        for text in spec.schedules
    ]
    if spec.calendar is None:
        return schedules[0] if len(schedules) == 1 else Merged(list(schedules)), []
    calendar = calendar_of(spec.namespace, spec.calendar)
    if calendar is None:
        raise CalendarInvalid(
            f"Namespace {spec.namespace!r} has no calendar called {spec.calendar!r}.", field="calendar"
        )
    under = [CalendarSchedule(schedule, calendar, spec.shift) for schedule in schedules]
    return under[0] if len(under) == 1 else Merged(list(under)), under


def check_spec(spec: JobSpec, calendar_of: CalendarOf, now_s: int) -> None:
    """Raise what is wrong with the times of a spec in normal form, naming the field.

    Raises:
        Unprocessable: A schedule, zone, duration or calendar cannot be used, or nothing would ever fire.
    """
    _check_durations(spec)
    if spec.start_at and spec.end_at and spec.start_at >= spec.end_at:
        raise JobInvalid("`end_at` must lie after `start_at`.", field="end_at")
    if spec.shift is not Shift.NONE and spec.calendar is None:
        raise JobInvalid("`shift` needs a `calendar` that says which days are business days.", field="shift")
    probe = Job(id="new", spec=spec, revision=0, created_at_us=0, updated_at_us=0, anchor_s=now_s)
    try:
        plan = Plan(probe, calendar_of)
    except ChronosError as error:
        error.facts.setdefault("field", "schedule")
        raise
    if spec.schedules and plan.next_s(now_s - 1) is None:
        raise ScheduleNeverFires(
            "There is no instant left at which this job would fire.", field="schedule", schedule=spec.schedules
        )


def _check_durations(spec: JobSpec) -> None:
    checks: list[tuple[str, str | None, int, int]] = [
        ("timeout", spec.timeout, TIMEOUT_MIN_US, TIMEOUT_MAX_US),
        ("catchup_window", spec.catchup_window, CATCHUP_MIN_US, CATCHUP_MAX_US),
        ("jitter", spec.jitter, 0, JITTER_MAX_US),
        ("cancel_grace", spec.cancel_grace, 0, 3_600_000_000),
        ("retry_policy.initial_interval", spec.retry_policy.initial_interval, 1_000, TIMEOUT_MAX_US),
        ("retry_policy.max_interval", spec.retry_policy.max_interval, 1_000, TIMEOUT_MAX_US),
        ("retry_policy.retry_for", spec.retry_policy.retry_for, 1_000_000, CATCHUP_MAX_US),
    ]
    if spec.dependencies is not None:
        checks.append(("dependencies.timeout", spec.dependencies.timeout, 1_000_000, CATCHUP_MAX_US))
    for name, text, least, most in checks:
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
