"""A schedule under a calendar: runs left out on excluded days, or moved to business days."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from chronos.errors import ScheduleInvalid, ScheduleNeverFires
from chronos.timing.base import DstNote, Schedule
from chronos.timing.calendar import Calendar, Shift
from chronos.timing.civil import DAY_S, END_S
from chronos.timing.masks import moved, ones
from chronos.timing.zone import Gap, OverlapTime, Zone

CANDIDATES_MAX: Final = 400  # a search that is refused this often gives up
SHIFT_DAYS_MAX: Final = 366
_DENSITY_FROM_S: Final = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())


class CalendarSchedule(Schedule):
    """The instants of a schedule that a calendar lets through, after shifting, ascending.

    With a shift, a run on a day that is not a business day moves to the same wall time of the
    nearest business day in that direction; runs that meet there are one. A blackout never moves a
    run: it drops it, before or after a shift.
    """

    __slots__ = ("_days", "base", "calendar", "shift")

    def __init__(self, schedule: Schedule, calendar: Calendar, shift: Shift = Shift.NONE) -> None:
        super().__init__(schedule.text, schedule.timezone, schedule.gap, schedule.overlap)
        self.base = schedule
        self.calendar = calendar
        self.shift = shift
        self._days = None if shift is Shift.NONE else _ShiftedDays(schedule, calendar, shift)

    @property
    def is_one_shot(self) -> bool:
        return self.base.is_one_shot

    def check_fires(self, after: int) -> None:
        """Refuse a schedule without a run after `after`.

        Raises:
            ScheduleNeverFires: The calendar refuses 400 candidates in a row, or there are none.
        """
        if self.next_s(after) is None:
            raise ScheduleNeverFires(
                f"`{self.text}` never fires: its calendar leaves out the next {CANDIDATES_MAX} times.", token=self.text
            )

    def next_s(self, after: int) -> int | None:
        if self._days:
            return self._days.next_s(after)
        instant = self.base.next_s(after)
        for _ in range(CANDIDATES_MAX):
            if instant is None:
                return None
            verdict = self.calendar.verdict(instant, self.timezone)
            if verdict.runs:
                return instant
            instant = self.base.next_s(verdict.until_s - 1)
        return None

    def prev_s(self, before: int) -> int | None:
        if self._days:
            return self._days.prev_s(before)
        instant = self.base.prev_s(before)
        for _ in range(CANDIDATES_MAX):
            if instant is None or self.calendar.verdict(instant, self.timezone).runs:
                return instant
            instant = self._last_allowed_in_day(instant)
        return None

    def count_s(self, a: int, b: int) -> int:
        if self._days:
            return self._days.count_s(a, b)
        return sum(self.base.count_s(low - 1, high - 1) for low, high, runs, _ in self._stretches(a, b) if runs)

    def mask_s(self, start: int, seconds: int) -> int:
        return self.masks_s(start, seconds)[0]

    def masks_s(self, start: int, seconds: int) -> tuple[int, int]:
        """Return what runs and what the calendar leaves out, each as `mask_s` does."""
        if self._days:
            return self._days.masks_s(start, seconds)
        planned = self.base.mask_s(start, seconds)
        if not planned:
            return 0, 0
        kept = planned & self.calendar.open_mask(start, seconds, self.timezone)
        return kept, planned & ~kept

    def next_planned_s(self, after: int) -> int | None:
        """Return the first instant after `after` that runs or is left out, or None."""
        return self._days.next_landed_s(after) if self._days else self.base.next_s(after)

    def reason_s(self, instant: int) -> str:
        """Return why the calendar leaves out a run at `instant`; empty when it does not."""
        if self._days:
            return self.calendar.blackout_reason(instant, self.timezone)
        return self.calendar.verdict(instant, self.timezone).reason

    def describe(self) -> str:
        words = {
            Shift.NONE: "left out on days its calendar excludes",
            Shift.NEXT: "moved to the next business day when it is none",
            Shift.PREVIOUS: "moved to the previous business day when it is none",
        }
        return f"{self.base.describe()}, {words[self.shift]}"

    def notes(self, after: datetime, transitions: int = 5) -> list[DstNote]:
        return self.base.notes(after, transitions)

    def _stretches(self, a: int, b: int) -> Iterator[tuple[int, int, bool, str]]:
        """Yield (from, until, runs, reason) for stretches that together are (`a`, `b`]; a few a day."""
        low, end = max(a + 1, 0), min(b + 1, END_S)
        while low < end:
            verdict = self.calendar.verdict(low, self.timezone)
            high = min(verdict.until_s, end)
            yield low, high, verdict.runs, verdict.reason
            low = high

    def _last_allowed_in_day(self, before: int) -> int | None:
        """Return the last run before `before`, or the last that is refused on an earlier day."""
        where = self.calendar.zone_for(self.timezone)
        day_start = where.day_start(_day_of(where, before))
        found = None
        for low, high, runs, _ in self._stretches(day_start - 1, before - 1):
            if runs:
                last = self.base.prev_s(high)
                found = last if last is not None and last >= low else found
        return self.base.prev_s(day_start) if found is None else found


class _ShiftedDays:
    """The runs that land on each business day. Days count from 1970-01-01 in the calendar's zone."""

    def __init__(self, base: Schedule, calendar: Calendar, shift: Shift) -> None:
        if base.count_s(_DENSITY_FROM_S, _DENSITY_FROM_S + 366 * DAY_S) > 366 * 1440:
            raise ScheduleInvalid(
                f"`{base.text}` runs too often to be shifted: at most one run a minute.", field="shift", token=base.text
            )
        self._base = base
        self._calendar = calendar
        self._zone = calendar.zone_for(base.timezone)
        self._step = 1 if shift is Shift.NEXT else -1
        self._last: tuple[int, list[tuple[int, str]]] = (-1, [])
        self._last_masks: tuple[int, tuple[int, int]] = (-1, (0, 0))

    def next_s(self, after: int) -> int | None:
        return self._next_of(after, self._allowed_on)

    def next_landed_s(self, after: int) -> int | None:
        return self._next_of(after, lambda day: [instant for instant, _ in self._landed_on(day)])

    def _next_of(self, after: int, runs_on: Callable[[int], list[int]]) -> int | None:
        day = self._business_day(_day_of(self._zone, max(after, 0)), 1)
        for _ in range(CANDIDATES_MAX):
            if day is None:
                return None
            raw = self._base.next_s(self._zone.day_start(self._sources(day)[0]) - 1)
            target = None if raw is None else self._business_day(_day_of(self._zone, raw), self._step)
            if target is None:
                return None
            landed = runs_on(max(day, target))
            i = bisect_right(landed, after)
            if i < len(landed):
                return landed[i]
            day = self._business_day(max(day, target) + 1, 1)
        return None

    def prev_s(self, before: int) -> int | None:
        day = self._business_day(_day_of(self._zone, min(before, END_S) - 1), -1)
        for _ in range(CANDIDATES_MAX):
            if day is None:
                return None
            raw = self._base.prev_s(self._zone.day_start(self._sources(day)[-1] + 1))
            target = None if raw is None else self._business_day(_day_of(self._zone, raw), self._step)
            if target is None:
                return None
            landed = self._allowed_on(min(day, target))
            i = bisect_left(landed, before)
            if i:
                return landed[i - 1]
            day = self._business_day(min(day, target) - 1, -1)
        return None

    def count_s(self, a: int, b: int) -> int:
        return sum(self._count_on(day, a, b) for day in self._business_days(a, b))

    def masks_s(self, start: int, seconds: int) -> tuple[int, int]:
        """Return what runs and what a blackout leaves out, as bits from `start` on."""
        kept = left_out = 0
        for day in self._business_days(start - 1, start + seconds - 1):
            low = self._zone.day_start(day)
            for_day = self._masks_of_day(day)
            kept |= moved(for_day[0], low - start)
            left_out |= moved(for_day[1], low - start)
        whole = ones(seconds)
        return kept & whole, left_out & whole

    def _masks_of_day(self, day: int) -> tuple[int, int]:
        """Return what lands on a business day: what runs and what does not, as bits from its first second on."""
        known_day, known = self._last_masks
        if known_day == day:
            return known
        low, sources = self._zone.day_start(day), self._sources(day)
        seconds = self._zone.day_start(day + 1) - low
        if all(self._is_regular(each) for each in [day, *sources]):
            landed = 0
            for source in sources:
                landed |= self._base.mask_s(self._zone.day_start(source), DAY_S)
        else:
            landed = sum(1 << (instant - low) for instant, _ in self._landed_on(day))
        kept = landed
        if landed and self._calendar.has_blackouts:
            kept &= self._calendar.open_mask(low, seconds, self._base.timezone, days=False)
        self._last_masks = (day, (kept, landed & ~kept))
        return self._last_masks[1]

    def _is_regular(self, day: int) -> bool:
        """Whether the clocks do not change on `day`, so that its runs keep their distances when they move."""
        low, high = self._zone.day_start(day), self._zone.day_start(day + 1)
        return high - low == DAY_S and not self._zone.transitions(low, high)

    def _count_on(self, day: int, a: int, b: int) -> int:
        if self._calendar.has_blackouts or len(self._sources(day)) > 1:
            start = self._zone.day_start(day)
            kept = moved(self._masks_of_day(day)[0], min(0, start - a - 1))
            return (kept & ones(max(0, b + 1 - max(start, a + 1)))).bit_count()
        low, high = self._zone.day_start(day), self._zone.day_start(day + 1)
        return self._base.count_s(max(a, low - 1), min(b, high - 1)) if a < high else 0

    def _business_days(self, a: int, b: int) -> Iterator[int]:
        first, last = _day_of(self._zone, max(a, 0)), _day_of(self._zone, min(b, END_S - 1))
        return (day for day in range(first, last + 1) if self._calendar.is_business_day(day))

    def _business_day(self, day: int, step: int) -> int | None:
        """Return `day` or the nearest business day in the direction of `step`."""
        for n in range(SHIFT_DAYS_MAX):
            if self._calendar.is_business_day(day + n * step):
                return day + n * step
        return None

    def _sources(self, day: int) -> list[int]:
        """Return the days whose runs land on the business day `day`, itself included, ascending."""
        found = [day]
        while len(found) < SHIFT_DAYS_MAX and not self._calendar.is_business_day(found[-1] - self._step):
            found.append(found[-1] - self._step)
        return sorted(found)

    def _allowed_on(self, day: int) -> list[int]:
        return [instant for instant, reason in self._landed_on(day) if not reason]

    def _landed_on(self, day: int) -> list[tuple[int, str]]:
        """Return (instant, why it must not run, or empty) of all runs that land on `day`, ascending."""
        known_day, known = self._last
        if known_day == day:
            return known
        instants = {instant for source in self._sources(day) for instant in self._moved(source, day)}
        timezone = self._base.timezone
        found = [(instant, self._calendar.blackout_reason(instant, timezone)) for instant in sorted(instants)]
        self._last = (day, found)
        return found

    def _moved(self, source: int, day: int) -> Iterator[int]:
        low, high = self._zone.day_start(source), self._zone.day_start(source + 1)
        for instant in self._base.between_s(low - 1, high - 1):
            if source == day:
                yield instant
            else:
                wall = instant + self._zone.offset_at(instant) + (day - source) * DAY_S
                yield self._zone.instants_of(wall, Gap.AFTER, OverlapTime.FIRST)[0]


def _day_of(where: Zone, instant: int) -> int:
    return (instant + where.offset_at(instant)) // DAY_S
