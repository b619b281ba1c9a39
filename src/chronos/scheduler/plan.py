"""A job, compiled: everything the planner asks of it, in whole numbers.

Schedules are parsed once and shared between jobs that say the same; a plan holds what is the job's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from chronos.errors import CalendarInvalid, ChronosError, JobInvalid, ScheduleNeverFires
from chronos.model.job import Job, JobSpec
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import Calendar, Shift
from chronos.timing.civil import DAY_S
from chronos.timing.duration import parse_duration
from chronos.timing.jitter import jitter_us
from chronos.timing.merged import Merged
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
        "_gap",
        "_instants",
        "_jitter_us",
        "_merged",
        "_start_s",
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
        self._gap: tuple[int, int | None] = (0, 0)
        self._instants, self._merged = _instants(spec, job.anchor_s, calendar_of)

    @property
    def is_merged(self) -> bool:
        """Whether there may be instants that are left out, or several schedules."""
        return self._merged is not None

    def next_s(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, inside the job's start and end."""
        # Asked by turns for the same gap: what is owed, until when, how far it may be late, and when it is due next.
        since, following = self._gap
        if following is not None and since <= after < following:
            return following
        found = self._instants.next_s(max(after, self._start_s - 1))
        found = found if found is not None and found <= self._end_s else None
        self._gap = (after, found)
        return found

    def prev_s(self, before: int) -> int | None:
        """Return the last instant strictly before `before`, inside the job's start and end."""
        found = self._instants.prev_s(min(before, self._end_s + 1))
        return found if found is not None and found >= self._start_s else None

    def count_s(self, a: int, b: int) -> int:
        """Return how many instants lie in (a, b]."""
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        return self._instants.count_s(a, b) if a < b else 0

    def next_planned_s(self, after: int) -> int | None:
        """Return the first instant after `after` that needs a record: it runs, or the calendar leaves it out."""
        if self._merged is None:
            return self.next_s(after)
        found = self._merged.next_planned_s(max(after, self._start_s - 1))
        return found if found is not None and found <= self._end_s else None

    def left_out_s(self, a: int, b: int) -> Iterator[tuple[int, int]]:
        """Yield (start, mask) for each day of (a, b] of which the calendar leaves out instants.

        An instant that another of the job's schedules keeps is not left out.
        """
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        if self._merged is not None and a < b:
            yield from self._merged.left_out_s(a, b)

    def reason_s(self, instant: int) -> str:
        """Return why the calendar leaves out `instant`."""
        return self._merged.reason_s(instant) if self._merged is not None else ""

    def steps(self, a: int, b: int) -> int:
        """Return how many steps it takes, about, to say what is owed in (a, b]; a step takes some microseconds."""
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        if self._merged is None or a >= b:
            return 1
        return 1 + self._merged.steps_a_day * ((b - a) // DAY_S)

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


def _instants(spec: JobSpec, anchor_s: int, calendar_of: CalendarOf) -> tuple[Instants, Merged | None]:
    if not spec.schedules:
        return Never(), None
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
        if len(schedules) == 1:
            return schedules[0], None
        merged = Merged(schedules)
        return merged, merged
    calendar = calendar_of(spec.namespace, spec.calendar)
    if calendar is None:
        raise CalendarInvalid(
            f"Namespace {spec.namespace!r} has no calendar called {spec.calendar!r}.", field="calendar"
        )
    under = [CalendarSchedule(schedule, calendar, spec.shift) for schedule in schedules]
    merged = Merged(under)
    return (under[0] if len(under) == 1 else merged), merged


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
