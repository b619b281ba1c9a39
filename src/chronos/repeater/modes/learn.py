"""`learn`: keeps to the moments of the day at which runs have succeeded."""

from __future__ import annotations

import math
from typing import NamedTuple

from chronos.errors import TimezoneUnknown
from chronos.repeater.modes.bounds import need_number, need_wait, shown_s
from chronos.repeater.port import ModeInvalid, Moment, Run
from chronos.timing.zone import zone

DAY_S = 86_400
SLOT_S_MIN = 900
RUNS_PER_SLOT = 2  # a slot is long enough for so many runs a day
BASE_S_MAX = 6 * 3600.0
MEMORY_PER_DAY = 0.8
OPTIMISM = 0.9  # what is expected of a moment of which nothing is known
NEIGHBOURS_WEIGHT = 2.0
THRESHOLD_DEFAULT = 0.5


class _Slot(NamedTuple):
    """How many runs succeeded and failed, and the day (a fraction included) as of which that is so."""

    successes: float = 0.0
    failures: float = 0.0
    day: float = 0.0

    def as_of(self, day: float) -> _Slot:
        """Return the same, forgotten in part."""
        kept = MEMORY_PER_DAY ** max(0.0, day - self.day)
        return _Slot(kept * self.successes, kept * self.failures, day)


class History:
    """What became of the runs, by the slot of the day they started in. As large as there are slots."""

    def __init__(self, slot_s: int) -> None:
        """Divide the day into slots of `slot_s` seconds; the last one may be shorter."""
        self.slot_s = slot_s
        self._slots = [_Slot()] * -(-DAY_S // slot_s)

    @property
    def slots(self) -> int:
        return len(self._slots)

    def note(self, wall_s: int, *, ok: bool) -> None:
        """Take note of a run that started at a second of the wall, counted as if the wall were UTC."""
        index = wall_s % DAY_S // self.slot_s
        slot = self._slots[index].as_of(wall_s / DAY_S)
        self._slots[index] = slot._replace(successes=slot.successes + ok, failures=slot.failures + (not ok))

    def chance(self, wall_s: int) -> float:
        """Return the probability that a run at a second of the wall succeeds.

        (successes + 2 m) / (successes + failures + 2), with m what the two neighbours by themselves let expect, so
        that where little is known they decide.
        """
        index, day = wall_s % DAY_S // self.slot_s, wall_s / DAY_S
        slot = self._slots[index].as_of(day)
        neighbours = (self._alone(index - 1, day) + self._alone((index + 1) % self.slots, day)) / 2
        known = slot.successes + slot.failures
        return (slot.successes + NEIGHBOURS_WEIGHT * neighbours) / (known + NEIGHBOURS_WEIGHT)

    def slot_end(self, wall_s: int) -> int:
        """Return the first second after the slot that a second of the wall lies in."""
        second = wall_s % DAY_S
        return wall_s + min(DAY_S - second, self.slot_s - second % self.slot_s)

    def _alone(self, index: int, day: float) -> float:
        slot = self._slots[index].as_of(day)
        return (slot.successes + OPTIMISM) / (slot.successes + slot.failures + 1)


class Learn:
    """Run 1 at once; each next one after the base interval, or later: at the next moment that is expected to be good.

    Where no moment of the day is, the interval stays: there is nothing to choose.
    """

    def __init__(
        self, base_s: float, timezone: str, *, threshold: float = THRESHOLD_DEFAULT, immediate: bool = True
    ) -> None:
        """Take the interval between two runs while all is well, and the zone whose day is meant.

        Args:
            threshold: A moment at which a success is less probable than this is passed over.
            immediate: Whether run 1 is at once; otherwise it is one base interval later.

        Raises:
            ModeInvalid: The interval is longer than six hours, the zone unknown, or the threshold not between 0 and 1.
        """
        self._base_s = need_wait("base-interval", base_s)
        if base_s > BASE_S_MAX:
            raise ModeInvalid(
                "base-interval",
                f"must be at most {shown_s(BASE_S_MAX)}, to see something of a day; it is {shown_s(base_s)}",
            )
        self._threshold = need_number("failure-threshold", threshold, above=0, below=1)
        try:
            self._zone = zone(timezone)
        except TimezoneUnknown as bad:
            raise ModeInvalid("timezone", f"is not known: {bad}") from None
        self._immediate = immediate
        self.history = History(max(SLOT_S_MIN, math.ceil(RUNS_PER_SLOT * base_s)))

    def remember(self, started_at: float, *, ok: bool) -> None:
        self.history.note(self._on_wall(started_at), ok=ok)

    def first_s(self, now: Moment) -> float:
        return now.monotonic_s if self._immediate else now.monotonic_s + self._base_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        self.remember(last.started_at, ok=last.ok)
        due_s = max(now.monotonic_s, last.ended_s + self._base_s)
        return due_s + self._passed_over_s(now.wall_s + due_s - now.monotonic_s)

    def describe(self) -> str:
        return (
            f"{shown_s(self._base_s)} apart, but not at times of the day (in {self._zone.name}) at which less than "
            f"{self._threshold:.0%} of the runs are expected to succeed"
        )

    def _passed_over_s(self, at: float) -> float:
        """Return how much later than `at`, an epoch second, the next good moment is; 0 when none is better."""
        moment = math.floor(at)
        for _ in range(self.history.slots + 1):
            wall_s = self._on_wall(moment)
            if self.history.chance(wall_s) >= self._threshold:
                return max(0.0, moment - at)
            moment += self.history.slot_end(wall_s) - wall_s
        return 0.0

    def _on_wall(self, at: float) -> int:
        second = math.floor(at)
        return second + self._zone.offset_at(second)
