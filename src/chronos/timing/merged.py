"""Several schedules as one: instants at which they meet count once, and what one keeps no other leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from chronos.timing.base import Schedule
from chronos.timing.business import CalendarSchedule
from chronos.timing.civil import DAY_S, END_S

ALONE_S: Final = 86_400


class Merged:
    """The union of schedules, each perhaps under a calendar. Immutable."""

    def __init__(self, parts: Sequence[Schedule]) -> None:
        self._parts = tuple(parts)
        self._under = tuple(part for part in self._parts if isinstance(part, CalendarSchedule))

    @property
    def steps_a_day(self) -> int:
        """How many steps counting takes for a day; 0 where it takes next to none."""
        return len(self._parts) if len(self._parts) > 1 or self._under else 0

    def next_s(self, after: int) -> int | None:
        """Return the first instant strictly after `after`, or None."""
        found = [n for part in self._parts if (n := part.next_s(after)) is not None]
        return min(found) if found else None

    def prev_s(self, before: int) -> int | None:
        """Return the last instant strictly before `before`, or None."""
        found = [p for part in self._parts if (p := part.prev_s(before)) is not None]
        return max(found) if found else None

    def next_planned_s(self, after: int) -> int | None:
        """Return the first instant after `after` that runs or that a calendar leaves out, or None."""
        found = [
            part.next_planned_s(after) if isinstance(part, CalendarSchedule) else part.next_s(after)
            for part in self._parts
        ]
        return min((n for n in found if n is not None), default=None)

    def period_hint_s(self, at: int) -> int:
        """Return the seconds between the next two instants after `at`."""
        first = self.next_s(at)
        second = self.next_s(first) if first is not None else None
        return second - first if first is not None and second is not None else ALONE_S

    def count_s(self, a: int, b: int) -> int:
        """Return how many instants lie in (`a`, `b`]: one step a day for each schedule, whatever it has in it."""
        if len(self._parts) == 1:
            return self._parts[0].count_s(a, b)
        return sum(self._kept_s(start, seconds).bit_count() for start, seconds in _days(a, b))

    def left_out_s(self, a: int, b: int) -> Iterator[tuple[int, int]]:
        """Yield (start, mask) for each day of (`a`, `b`] of which calendars leave out instants; the mask says which."""
        if not self._under:
            return
        for start, seconds in _days(a, b):
            left_out = 0
            for part in self._under:
                left_out |= part.masks_s(start, seconds)[1]
            if left_out and len(self._parts) > 1:
                left_out &= ~self._kept_s(start, seconds)
            if left_out:
                yield start, left_out

    def reason_s(self, instant: int) -> str:
        """Return why calendars leave out a run at `instant`; empty when none does."""
        return next((why for part in self._under if (why := part.reason_s(instant))), "")

    def _kept_s(self, start: int, seconds: int) -> int:
        mask = 0
        for part in self._parts:
            mask |= part.mask_s(start, seconds)
        return mask


def _days(a: int, b: int) -> Iterator[tuple[int, int]]:
    """Yield (start, seconds) of stretches of a day at most that make up (`a`, `b`]."""
    first, end = max(a + 1, 0), min(b + 1, END_S)
    for start in range(first, end, DAY_S):
        yield start, min(DAY_S, end - start)
