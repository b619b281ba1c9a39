"""The instants of one or more schedules, under a calendar, between a start and an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

from chronos.errors import CalendarInvalid
from chronos.model.times import Times
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import Calendar
from chronos.timing.civil import DAY_S
from chronos.timing.merged import Merged
from chronos.timing.schedule import parse_schedule

FOR_EVER_S = 1 << 39
UPCOMING_KEPT = 5
"""So many instants ahead are remembered: what documents of jobs show."""
SHARED_MAX = 16_384
"""So many compiled timetables stay in memory, the last asked for; one is a kilobyte or two."""

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


class _Compiled:
    """What timetables with equal `Times` have in common.

    Attributes:
        gap: Two neighbours: nothing lies between an instant, or a moment asked for, and the first instant after it.
        gap_before: What `gap` was before.
        past: The same backwards: the last instant before a moment that was asked for, and the moment.
        past_before: What `past` was before.
        counted: How many instants lie in the span that was asked for last: (from, to, how many).
        upcoming: The instants after a moment that were asked for last: (moment, how many, instants).
    """

    __slots__ = ("counted", "gap", "gap_before", "instants", "merged", "past", "past_before", "upcoming")

    def __init__(self, instants: Instants, merged: Merged | None) -> None:
        self.instants = instants
        self.merged = merged
        self.gap: tuple[int, int | None] = (0, 0)
        self.gap_before: tuple[int, int | None] = (0, 0)
        self.past: tuple[int | None, int] = (0, 0)
        self.past_before: tuple[int | None, int] = (0, 0)
        self.counted = (0, 0, 0)
        self.upcoming: tuple[int, int, list[int]] = (0, 0, [])


class Timetable:
    """When a job is due, compiled; jobs with equal `Times` may share one.

    Raises:
        CalendarInvalid: There is no such calendar.
        Invalid: A schedule cannot be read.
    """

    __slots__ = ("_anchor_s", "_common", "_end_s", "_instants", "_merged", "_start_s")

    def __init__(self, times: Times, calendar_of: CalendarOf) -> None:
        self._anchor_s = times.anchor_s
        self._start_s = times.start_s
        self._end_s = times.end_s or FOR_EVER_S
        self._common = _compiled(times, calendar_of) if times.calendar else _compiled_alone(times)
        self._instants, self._merged = self._common.instants, self._common.merged

    @property
    def is_anchored(self) -> bool:
        """Whether the instants are counted from a moment of the job's own."""
        return self._anchor_s != 0

    @property
    def is_merged(self) -> bool:
        """Whether there may be instants that are left out, or several schedules."""
        return self._merged is not None

    def next_s(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, inside start and end."""
        # Asked by turns for the same two gaps, by all jobs with these times: before what is owed, and behind it.
        common = self._common
        since, following = common.gap
        if following is not None and since <= after < following:
            return following
        since, following = common.gap_before
        if following is not None and since <= after < following:
            return following
        found = self._instants.next_s(max(after, self._start_s - 1))
        found = found if found is not None and found <= self._end_s else None
        common.gap, common.gap_before = (after, found), common.gap
        return found

    def upcoming_s(self, after: int, count: int) -> list[int]:
        """Return the first `count` instants strictly after `after`, or as many as there are, ascending."""
        since, asked, found = self._common.upcoming
        if asked == count and found and since <= after < found[0]:
            return found
        found = []
        instant: int | None = after
        while len(found) < count and instant is not None and (instant := self.next_s(instant)) is not None:
            found.append(instant)
        if count <= UPCOMING_KEPT:
            self._common.upcoming = (after, count, found)
        return found

    def prev_s(self, before: int) -> int | None:
        """Return the last instant strictly before `before`, inside start and end."""
        common = self._common
        for preceding, until in (common.past, common.past_before):
            if preceding is not None and preceding < before <= until:
                return preceding
        found = self._instants.prev_s(min(before, self._end_s + 1))
        found = found if found is not None and found >= self._start_s else None
        common.past, common.past_before = (found, before), common.past
        return found

    def count_s(self, a: int, b: int) -> int:
        """Return how many instants lie in (a, b]."""
        a, b = max(a, self._start_s - 1), min(b, self._end_s)
        if a >= b:
            return 0
        if self._common.counted[:2] != (a, b):
            self._common.counted = (a, b, self._instants.count_s(a, b))
        return self._common.counted[2]

    def next_planned_s(self, after: int) -> int | None:
        """Return the first instant after `after` that needs a record: it runs, or the calendar leaves it out."""
        if self._merged is None:
            return self.next_s(after)
        found = self._merged.next_planned_s(max(after, self._start_s - 1))
        return found if found is not None and found <= self._end_s else None

    def left_out_s(self, a: int, b: int) -> Iterator[tuple[int, int]]:
        """Yield (start, mask) for each day of (a, b] of which the calendar leaves out instants.

        An instant that another of the schedules keeps is not left out.
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


@lru_cache(SHARED_MAX)
def _compiled_alone(times: Times) -> _Compiled:
    """Return what is compiled of times that no calendar has a part in: of a million jobs it is often the same."""
    return _compiled(times, lambda _namespace, _name: None)


def _compiled(times: Times, calendar_of: CalendarOf) -> _Compiled:
    if not times.schedules:
        return _Compiled(Never(), None)
    schedules = [
        parse_schedule(
            text,
            timezone=times.timezone,
            gap=times.gap.value,
            overlap=times.overlap.value,
            hash_key=times.hash_key,
            anchor=times.anchor_s,
        )
        for text in times.schedules
    ]
    if not times.calendar:
        if len(schedules) == 1:
            return _Compiled(schedules[0], None)
        merged = Merged(schedules)
        return _Compiled(merged, merged)
    calendar = calendar_of(times.namespace, times.calendar)
    if calendar is None:
        raise CalendarInvalid(
            f"Namespace {times.namespace!r} has no calendar called {times.calendar!r}.", field="calendar"
        )
    under = [CalendarSchedule(schedule, calendar, times.shift) for schedule in schedules]
    merged = Merged(under)
    return _Compiled(under[0] if len(under) == 1 else merged, merged)
