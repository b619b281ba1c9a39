"""A cron expression on the clock of one zone.

A search goes over the *wall* (bitmasks, no zone), then through the zone's windows: the wall second
found counts if it lies inside the window of its stretch; if not, the search crosses the change of
offset that lies between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from chronos.timing.base import DstNote, Schedule
from chronos.timing.civil import (
    DAY_S,
    END_S,
    FIRST_DAY,
    KIND_OF_DAY,
    KIND_OF_MONTH,
    MONTH_OF_DAY,
    PLACE_OF_DAY,
    SEARCH_MONTHS,
)
from chronos.timing.cron import CronFields
from chronos.timing.days import day_rule
from chronos.timing.masks import day_of_fields, ones
from chronos.timing.zone import Gap, OverlapTime, Zone

_NEVER: Final = 2**62
_NEVER_BEFORE: Final = -1
_SEARCH_S: Final = 50 * 366 * DAY_S


class CronSchedule(Schedule):
    """The instants of a cron expression. Use `parse_schedule`, which shares equal ones."""

    __slots__ = (
        "_closes",
        "_day_first",
        "_day_last",
        "_days",
        "_fires_after_gap",
        "_masks",
        "_minutes",
        "_opens",
        "_per_day",
        "_second_first",
        "_second_last",
        "_seconds",
        "_shifts",
        "_starts",
        "_zone",
        "expression",
        "hash_key",
        "wild",
    )

    def __init__(
        self,
        text: str,
        expression: str,
        zone: Zone,
        fields: CronFields,
        gap: Gap,
        overlap: OverlapTime,
        hash_key: str,
    ) -> None:
        super().__init__(text, zone.name, gap, overlap)
        self.expression = expression
        self.hash_key = hash_key
        self.wild = fields.wild
        self._zone = zone
        self._days = day_rule(fields.days)
        self._masks = self._days.masks
        self._minutes = fields.minutes
        self._seconds = fields.seconds
        self._second_first = _lowest(fields.seconds)
        self._second_last = _highest(fields.seconds)
        self._day_first = _lowest(fields.minutes) * 60 + self._second_first
        self._day_last = _highest(fields.minutes) * 60 + self._second_last
        self._per_day = fields.minutes.bit_count() * fields.seconds.bit_count()
        # Real time knows no wall time twice: a wild expression counts both and skips what is not there.
        windows = zone.windows(OverlapTime.BOTH if fields.wild else overlap)
        self._fires_after_gap = gap is Gap.AFTER and not fields.wild
        self._starts = windows.starts
        self._shifts = windows.shifts
        self._opens = windows.opens
        self._closes = windows.closes

    def next_s(self, after: int) -> int | None:
        if not 0 <= after < END_S:
            if after >= END_S:
                return None
            after = -1
        i = bisect_right(self._starts, after) - 1
        shift = self._shifts[i]
        wall = after + shift
        if wall < self._opens[i]:
            wall = self._opens[i] - 1
        found = self._next_wall(wall)
        if found < self._closes[i]:
            return found - shift
        return self._next_across(after, i, found)

    def prev_s(self, before: int) -> int | None:
        if before <= 0:
            return None
        before = min(before, END_S)
        if before > self._zone.until_s:
            self._zone.grow()
        i = bisect_left(self._starts, before) - 1
        # From inside a repeated hour whose wall times do not count: all before it do.
        wall = max(before + self._shifts[i], self._opens[i])
        found = self._prev_wall(min(wall, self._closes[i]))
        limit = before - _SEARCH_S
        while found < self._opens[i]:
            if found == _NEVER_BEFORE or i == 0 or self._starts[i] < limit:
                return None
            if self._fires_after_gap and self._closes[i - 1] <= found:
                return self._starts[i] if self._starts[i] >= 0 else None
            if self._closes[i - 1] > self._opens[i] or self._closes[i - 1] <= found:
                found = self._prev_wall(self._closes[i - 1])
            i -= 1
        instant = found - self._shifts[i]
        return instant if instant >= 0 else None

    def count_s(self, a: int, b: int) -> int:
        a, b = max(a, -1), min(b, END_S - 1)
        if b > self._zone.until_s:
            self._zone.grow()
        total = 0
        i = bisect_right(self._starts, a) - 1
        while i < len(self._starts) and self._starts[i] <= b:
            shift = self._shifts[i]
            total += self._count_walls(max(a + 1 + shift, self._opens[i]), min(b + 1 + shift, self._closes[i]))
            total += self._starts[i] > a and self._adds_run_after_gap(i)
            i += 1
        return total

    def mask_s(self, start: int, seconds: int) -> int:
        end = min(start + seconds, END_S)
        if end > self._zone.until_s:
            self._zone.grow()
        mask = 0
        i = bisect_right(self._starts, start) - 1
        while i < len(self._starts) and self._starts[i] < end:
            shift = self._shifts[i]
            low, high = max(start + shift, self._opens[i]), min(end + shift, self._closes[i])
            if low < high:
                mask |= self._walls_mask(low, high) << (low - shift - start)
            if self._starts[i] >= start and self._adds_run_after_gap(i):
                mask |= 1 << (self._starts[i] - start)
            i += 1
        return mask

    def describe(self) -> str:
        from chronos.timing.describe import describe_cron

        return describe_cron(self.expression, self.hash_key, self.timezone, either=self._days.spec.either)

    def notes(self, after: datetime, transitions: int = 5) -> list[DstNote]:
        from chronos.timing.notes import notes_of

        return notes_of(self, self._zone, after, transitions)

    def walls_s(self, low: int, high: int) -> Iterator[int]:
        """Yield the matching wall seconds w with `low` <= w < `high`, ascending, whatever the zone does."""
        wall = self._next_wall(low - 1)
        while wall < high:
            yield wall
            wall = self._next_wall(wall)

    def _next_across(self, after: int, i: int, found: int) -> int | None:
        """Go on with a search whose wall second lies beyond the window of stretch `i`."""
        limit = after + _SEARCH_S
        if after + self._shifts[i] >= self._closes[i]:
            # From inside an hour that will be repeated and counts only then.
            found = self._next_wall(self._closes[i] - 1)
        while found != _NEVER:
            i += 1
            if i == len(self._starts):
                # The offset was right only up to the end of the table: search again in the longer one.
                return self.next_s(after) if self._zone.grow() else None
            opens, closed = self._opens[i], self._closes[i - 1]
            if self._fires_after_gap and closed <= found < opens:
                return self._starts[i]
            if opens < closed or found < opens:
                found = self._next_wall(opens - 1)
            if found < self._closes[i]:
                return found - self._shifts[i]
            if self._starts[i] > limit:
                return None
        return None

    def _next_wall(self, wall: int) -> int:
        """Return the first matching wall second after `wall`."""
        day, second = divmod(wall, DAY_S)
        kind = KIND_OF_DAY[day]
        mask = self._masks[kind]
        if mask < 0:
            mask = self._days.fill(kind)
        place = PLACE_OF_DAY[day]
        if mask >> place & 1:
            minute = second // 60
            if self._seconds != 1 and self._minutes >> minute & 1:
                later = self._seconds >> (second % 60 + 1)
                if later:
                    return wall + (later & -later).bit_length()
            later = self._minutes >> (minute + 1)
            if later:
                return day * DAY_S + (minute + (later & -later).bit_length()) * 60 + self._second_first
        later = mask >> (place + 1)
        if later:
            return (day + (later & -later).bit_length()) * DAY_S + self._day_first
        return self._next_month(MONTH_OF_DAY[day])

    def _next_month(self, month: int) -> int:
        hops = self._days.hops
        limit = min(month + SEARCH_MONTHS, len(FIRST_DAY) - 1)
        while (month := month + hops[month % 12][0]) <= limit:
            kind = KIND_OF_MONTH[month]
            mask = self._masks[kind]
            if mask < 0:
                mask = self._days.fill(kind)
            if mask:
                return (FIRST_DAY[month] + _lowest(mask)) * DAY_S + self._day_first
        return _NEVER

    def _prev_wall(self, wall: int) -> int:
        """Return the last matching wall second before `wall`."""
        day, second = divmod(wall, DAY_S)
        mask, place = self._mask_of(KIND_OF_DAY[day]), PLACE_OF_DAY[day]
        if mask >> place & 1:
            minute = second // 60
            if self._minutes >> minute & 1:
                earlier = self._seconds & ((1 << second % 60) - 1)
                if earlier:
                    return wall - second % 60 + _highest(earlier)
            earlier = self._minutes & ((1 << minute) - 1)
            if earlier:
                return day * DAY_S + _highest(earlier) * 60 + self._second_last
        earlier = mask & ((1 << place) - 1)
        if earlier:
            return (day - place + _highest(earlier)) * DAY_S + self._day_last
        return self._prev_month(MONTH_OF_DAY[day])

    def _prev_month(self, month: int) -> int:
        hops = self._days.hops
        limit = max(month - SEARCH_MONTHS, 0)
        while (month := month - hops[month % 12][1]) >= limit:
            mask = self._mask_of(KIND_OF_MONTH[month])
            if mask:
                return (FIRST_DAY[month] + _highest(mask)) * DAY_S + self._day_last
        return _NEVER_BEFORE

    def _mask_of(self, kind: int) -> int:
        mask = self._masks[kind]
        return mask if mask >= 0 else self._days.fill(kind)

    def _count_walls(self, low: int, high: int) -> int:
        """Return how many wall seconds w with `low` <= w < `high` match."""
        if high <= low:
            return 0
        first, last = MONTH_OF_DAY[low // DAY_S], MONTH_OF_DAY[high // DAY_S]
        days = sum(self._mask_of(KIND_OF_MONTH[month]).bit_count() for month in range(first, last))
        return days * self._per_day + self._count_in_month(high) - self._count_in_month(low)

    def _walls_mask(self, low: int, high: int) -> int:
        """Return the wall seconds w with `low` <= w < `high` that match; bit 0 is `low`."""
        mask, times = 0, day_of_fields(self._minutes, self._seconds)
        for day in range(low // DAY_S, (high - 1) // DAY_S + 1):
            if self._mask_of(KIND_OF_DAY[day]) >> PLACE_OF_DAY[day] & 1:
                offset = day * DAY_S - low
                mask |= times << offset if offset >= 0 else times >> -offset
        return mask & ones(high - low)

    def _count_in_month(self, wall: int) -> int:
        """Return how many wall seconds match from the first of the month until before `wall`."""
        day, second = divmod(wall, DAY_S)
        mask, place = self._mask_of(KIND_OF_DAY[day]), PLACE_OF_DAY[day]
        total = (mask & ((1 << place) - 1)).bit_count() * self._per_day
        if mask >> place & 1:
            minute, second = divmod(second, 60)
            total += (self._minutes & ((1 << minute) - 1)).bit_count() * self._seconds.bit_count()
            if self._minutes >> minute & 1:
                total += (self._seconds & ((1 << second) - 1)).bit_count()
        return total

    def _adds_run_after_gap(self, i: int) -> bool:
        """Say whether the gap before stretch `i` makes a run at its start that no wall time of it makes."""
        if not self._fires_after_gap or i == 0:
            return False
        closed, opens = self._closes[i - 1], self._opens[i]
        return self._count_walls(closed, opens) > 0 and self._count_walls(opens, opens + 1) == 0


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1
