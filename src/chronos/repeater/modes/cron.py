"""`cron`: ticks on the wall clock, in every dialect that schedules know."""

from __future__ import annotations

import math

from chronos.errors import Invalid, TimezoneUnknown
from chronos.repeater.port import ModeInvalid, Moment, Run
from chronos.timing.schedule import EverySchedule, Schedule, parse_schedule

# cron's own bound: set back by more than this, the clock was wrong before; by less, it is being adjusted.
BACK_S_MAX = 3 * 3600


class Cron:
    """One tick at each instant of a schedule.

    An instant is run once. Is the clock set back by up to three hours, its instants are not run again; by more, ticks
    go on from the new time. Is it set forward, the instants in between have passed.
    """

    never_early = True

    def __init__(self, expression: str, timezone: str, *, immediate: bool = False) -> None:
        """Take a schedule as `parse_schedule` reads it, and the zone in which it is read.

        Args:
            immediate: Whether tick 0 is at once, ahead of the first instant.

        Raises:
            ModeInvalid: Not a schedule, one that never fires, or an unknown zone.
        """
        self._expression = expression
        self._timezone = timezone
        self._immediate = immediate
        self.schedule = _parsed(expression, timezone)
        self._next = 0
        self._start_s = 0.0
        self._seen: Moment | None = None
        # (n, second): tick n is due at that second; and: ticks up to n are due by that second.
        self._asked = (-1, 0)
        self._counted = (-1, 0)

    def first_s(self, now: Moment) -> float:
        """Return the second of the first tick.

        Raises:
            ModeInvalid: There is none: the one instant of `@at` is over.
        """
        start = math.floor(now.wall_s)
        if isinstance(self.schedule, EverySchedule):
            self.schedule = _parsed(self._expression, self._timezone, anchor=start)
        self._start_s = now.monotonic_s
        self._asked = self._counted = (0 if self._immediate else -1, start)
        first = self.tick_s(0, now)
        if first is None:
            raise ModeInvalid("cron", f"has no instant left: `{self.schedule.text}` is over")
        return first

    def next_s(self, last: Run, now: Moment) -> float | None:
        self._next = max(self._next + 1, self.passed(now))
        return self.tick_s(self._next, now)

    def tick_s(self, n: int, now: Moment) -> float | None:
        if n == 0 and self._immediate:
            return self._start_s
        self._look(now, spent=n - 1)
        at, instant = self._counted if self._asked[0] < self._counted[0] < n else self._asked
        assert at <= n, "ticks are asked for in ascending order"
        while at < n:
            following = self.schedule.next_s(instant)
            if following is None:
                return None
            at, instant = at + 1, following
        self._asked = (at, instant)
        return instant - now.wall_s + now.monotonic_s

    def passed(self, now: Moment) -> int:
        self._look(now, spent=self._asked[0])
        at, since = self._counted
        due = math.floor(now.wall_s)
        if due > since:
            at += self.schedule.count_s(since, due)
            self._counted = (at, due)
        return at + 1

    def gap_s(self, n: int) -> float:
        return self.schedule.period_hint_s(self._asked[1] - 1)

    def describe(self) -> str:
        return self.schedule.describe()

    def _look(self, now: Moment, spent: int) -> None:
        """Where the wall clock was set back far, let the tick after `spent` be the next instant from now on."""
        seen, self._seen = self._seen, now
        if seen is None:
            return
        jumped_s = (now.wall_s - seen.wall_s) - (now.monotonic_s - seen.monotonic_s)
        if jumped_s < -BACK_S_MAX:
            self._asked = self._counted = (spent, math.floor(now.wall_s))


def _parsed(expression: str, timezone: str, anchor: int | None = None) -> Schedule:
    try:
        return parse_schedule(expression, timezone=timezone, anchor=anchor)
    except TimezoneUnknown as bad:
        raise ModeInvalid("timezone", f"is not known: {bad}") from None
    except Invalid as bad:
        raise ModeInvalid("cron", f"cannot be used: {bad}") from None
