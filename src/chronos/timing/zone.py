"""Time zones as tables of integers: which instants a wall time stands for.

Between two changes of offset the wall is the epoch plus a constant. A `Windows` table holds, for
each such stretch, the wall times that count in it, so that finding the next fire is one bisection
and no calendar arithmetic in UTC.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cache, lru_cache
from typing import NamedTuple

from chronos.errors import TimezoneUnknown
from chronos.timing import tzif
from chronos.timing.civil import DAY_S, END_S, END_YEAR, WALL_SHIFT_S
from chronos.timing.refusal import shown

_FIRST_STAGE_YEAR = 2080  # enough to judge any expression over fifty years; the rest waits to be asked for
_BEFORE_ALL_S = -(2**62)
_NAME_MAX = 64


class Gap(StrEnum):
    """What becomes of a wall time that does not exist, because the clocks went forward over it."""

    AFTER = "after"  # the first instant after the gap
    SKIP = "skip"


class OverlapTime(StrEnum):
    """Which instant a wall time stands for that exists twice, because the clocks went back over it."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"


class Transition(NamedTuple):
    """A change of offset: from `at_s` on, the wall is `after_s` ahead of UTC instead of `before_s`."""

    at_s: int
    before_s: int
    after_s: int

    @property
    def shift_s(self) -> int:
        """How far the clocks jump: positive leaves a gap, negative an overlap."""
        return self.after_s - self.before_s


class Windows:
    """One zone under one overlap rule; entry i of each list is about the stretch from `starts[i]` on.

    `opens[i] <= wall < closes[i]` are the wall seconds that count in it, `shifts[i]` is wall minus
    epoch. Where `closes[i] < opens[i+1]` there is a gap. The lists only ever grow at their end.
    """

    __slots__ = ("closes", "opens", "rule", "shifts", "starts")

    def __init__(self, rule: OverlapTime) -> None:
        self.rule = rule
        self.starts: list[int] = []
        self.shifts: list[int] = []
        self.opens: list[int] = []
        self.closes: list[int] = []

    def append(self, start: int, end: int, offset_s: int, next_offset_s: int) -> None:
        shift = offset_s + WALL_SHIFT_S
        opens, closes = start + shift, end + shift
        if self.rule is OverlapTime.FIRST and self.closes:
            opens = max(opens, self.closes[-1])
        if self.rule is OverlapTime.SECOND:
            closes = min(closes, end + next_offset_s + WALL_SHIFT_S)
        self.shifts.append(shift)
        self.opens.append(opens)
        self.closes.append(closes)
        self.starts.append(start)  # last: a reader in another thread finds its stretch through this


class Zone:
    """The rules of one time zone, from 1970 up to the year 2500."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = tzif.read(name)
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._windows = {rule: Windows(rule) for rule in OverlapTime}
        self._growing = threading.Lock()
        self.until_s = _BEFORE_ALL_S  # the tables are complete below this instant
        self._build(_FIRST_STAGE_YEAR)

    def offset_at(self, utc_s: int) -> int:
        """Return the seconds the wall is ahead of UTC at an instant."""
        if utc_s >= self.until_s:
            self.grow()
        return self._offsets[bisect_right(self._starts, utc_s) - 1]

    def transitions(self, after_s: int, before_s: int) -> list[Transition]:
        """Return the changes of offset with `after_s` < instant < `before_s`, ascending."""
        if before_s > self.until_s:
            self.grow()
        first = max(1, bisect_right(self._starts, after_s))
        last = bisect_right(self._starts, before_s - 1)
        return [Transition(self._starts[i], self._offsets[i - 1], self._offsets[i]) for i in range(first, last)]

    def instants_of(self, wall_s: int, gap: Gap, overlap: OverlapTime) -> list[int]:
        """Return the instants of a wall time (given as if it were UTC): none, one or two, ascending."""
        wall = wall_s + WALL_SHIFT_S
        if wall_s + 2 * DAY_S > self.until_s:
            self.grow()
        windows = self._windows[overlap]
        first = max(0, bisect_right(windows.starts, wall_s - 2 * DAY_S) - 1)
        last = bisect_right(windows.starts, wall_s + 2 * DAY_S)
        found = []
        for i in range(first, last):
            if windows.opens[i] <= wall < windows.closes[i]:
                found.append(wall - windows.shifts[i])
            elif gap is Gap.AFTER and i and windows.closes[i - 1] <= wall < windows.opens[i]:
                found.append(windows.starts[i])
        return found

    def day_start(self, day: int) -> int:
        """Return the first instant of a wall day, counted from 0 = 1970-01-01."""
        if day >= END_S // DAY_S - 1:
            return END_S
        return self.instants_of(day * DAY_S, Gap.AFTER, OverlapTime.FIRST)[0]

    def windows(self, rule: OverlapTime) -> Windows:
        """Return the table for one overlap rule; it is shared and must not be changed."""
        return self._windows[rule]

    def grow(self) -> bool:
        """Complete the tables up to the year 2500; say whether there was anything to do."""
        with self._growing:
            if self.until_s >= END_S:
                return False
            self._build(END_YEAR)
            return True

    def _build(self, until_year: int) -> None:
        changes, until_s = self._changes(until_year)
        starts, offsets = self._starts, self._offsets
        for at, offset in changes:
            if offsets and (at <= starts[-1] or offset == offsets[-1]):
                continue
            offsets.append(offset)
            starts.append(at)
        done = len(self._windows[OverlapTime.FIRST].starts)
        # The stretch that is cut off by the end of the stage is left out until its end is known.
        complete = len(starts) if until_s >= END_S else len(starts) - 1
        for windows in self._windows.values():
            for i in range(done, complete):
                last = i + 1 == len(starts)
                end = END_S if last else starts[i + 1]
                windows.append(starts[i], end, offsets[i], offsets[i] if last else offsets[i + 1])
        self.until_s = END_S if until_s >= END_S else starts[-1]

    def _changes(self, until_year: int) -> tuple[list[tuple[int, int]], int]:
        """Return (instant, offset) pairs, ascending, and the instant up to which they are complete."""
        file = self._file
        changes = [(_BEFORE_ALL_S, file.first_offset_s), *file.changes]
        if not file.footer.to_dst:
            return changes, END_S
        known_s = max(0, changes[-1][0])
        year = max(1970, datetime.fromtimestamp(known_s, UTC).year)
        for y in range(year, max(until_year, year + 1) + 1):
            changes += [change for change in file.footer.changes(y) if known_s < change[0] < END_S]
        return changes, END_S if until_year >= END_YEAR else changes[-1][0]


@lru_cache(maxsize=1024)  # more than there are zones: every one is read at most once
def zone(name: str) -> Zone:
    """Return the zone of that name, always the same object.

    Raises:
        TimezoneUnknown: `facts["suggestions"]` has the nearest known names.
    """
    if name not in _known():
        raise _unknown(name)
    return Zone(name)


@cache
def tzdata_version() -> str:
    """Return the IANA version of the zone rules in use, for example `2026f`."""
    return tzif.version()


@cache
def zone_names() -> tuple[str, ...]:
    """Return every zone name, links included, sorted."""
    return tzif.names()


@cache
def _known() -> frozenset[str]:
    return frozenset(zone_names())


def _unknown(name: str) -> TimezoneUnknown:
    near = _nearest(name[:_NAME_MAX])
    hint = (
        f" Did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else " Use an IANA name such as `Europe/Paris`."
    )
    return TimezoneUnknown(f"There is no time zone `{shown(name)}`.{hint}", token=shown(name), suggestions=near)


def _nearest(name: str) -> list[str]:
    wanted = name.strip().lower().replace(" ", "_")
    full = {known.lower(): known for known in zone_names()}
    cities = {known.rpartition("/")[2].lower(): known for known in zone_names() if "/" in known}
    if wanted in full:
        return [full[wanted]]
    if wanted in cities:
        return [cities[wanted]]
    close = [full[n] for n in get_close_matches(wanted, full, 3, 0.75)]
    return close or [cities[n] for n in get_close_matches(wanted, cities, 3, 0.75)]
