"""`rate-limit`: as often as the rate allows, and never more often."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise

from chronos.repeater.modes.window import Rate, fits, parse_rate, pattern_slot_us, slot_us
from chronos.repeater.port import ModeInvalid, Moment, Run
from chronos.timing.duration import DURATION_US_MAX, SECOND_US, format_duration

OFFSETS_MAX = 32
PLANNED_MAX = 10_000


class RateLimit:
    """At most N starts in every window; with a pattern, what fails is tried again at its offsets.

    A task that starts at t reserves t + o for every offset o of the pattern, whether it will need them or not. A retry
    that comes too late, because another run was on, starts at the first moment that fits in.
    """

    never_early = True

    def __init__(self, rate: str, retry_pattern_s: Sequence[float] = ()) -> None:
        """Take a rate such as `100/1h` and the offsets of the retries, counted from the first start of a task.

        An offset of 0, the first start itself, may be left out.

        Raises:
            ModeInvalid: `rate` is none; or the pattern does not ascend, has more than 32 offsets, is more than the
                rate allows, or reserves more than 10,000 starts at a time.
        """
        self._rate = parse_rate(rate)
        self._offsets_us = _offsets(retry_pattern_s, self._rate)
        # Starts there were in the last window, and those reserved: ascending.
        self._planned_us: list[int] = []
        # By when it is due: the retries that a failed task has left.
        self._retries: list[tuple[int, ...]] = []
        self._running: tuple[int, ...] = ()

    def first_s(self, now: Moment) -> float:
        self._begin_task(_us(now.monotonic_s))
        return now.monotonic_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        now_us = _us(now.monotonic_s)
        self._started(_us(last.started_s))
        if not last.ok and len(self._running) > 1:
            heapq.heappush(self._retries, self._running[1:])
        self._forget(now_us)
        is_retry = bool(self._retries) and self._retry_slot_us(now_us) <= self._task_slot_us(now_us)
        slot = self._begin_retry(now_us) if is_retry else self._begin_task(now_us)
        return now.monotonic_s if slot == now_us else slot / SECOND_US

    def describe(self) -> str:
        rate = f"{self._rate.starts_max} starts in any {format_duration(self._rate.window_us)} at most"
        if len(self._offsets_us) == 1:
            return rate
        offsets = ", ".join(format_duration(us) for us in self._offsets_us[1:])
        return f"{rate}; what fails is tried again {offsets} after its first start"

    def _task_slot_us(self, now_us: int) -> int:
        if len(self._offsets_us) == 1:
            return slot_us(self._planned_us, now_us, self._rate)
        return pattern_slot_us(self._planned_us, now_us, self._rate, self._offsets_us)

    def _retry_slot_us(self, now_us: int) -> int:
        """Return when the retry that is due first can start, its own reservation put aside."""
        due_us = self._retries[0][0]
        others = self._planned_us.copy()
        _drop(others, due_us)
        return pattern_slot_us(others, max(now_us, due_us), self._rate, (0,))

    def _begin_task(self, now_us: int) -> int:
        slot = self._task_slot_us(now_us)
        self._running = tuple(slot + offset for offset in self._offsets_us)
        for at in self._running:
            insort(self._planned_us, at)
        return slot

    def _begin_retry(self, now_us: int) -> int:
        slot = self._retry_slot_us(now_us)
        due_us, *later = heapq.heappop(self._retries)
        _drop(self._planned_us, due_us)
        insort(self._planned_us, slot)
        self._running = (slot, *later)
        return slot

    def _started(self, at_us: int) -> None:
        """Put when a run really started in the place of when it was to start: the window is about real starts."""
        _drop(self._planned_us, self._running[0])
        insort(self._planned_us, at_us)

    def _forget(self, now_us: int) -> None:
        del self._planned_us[: bisect_left(self._planned_us, now_us - self._rate.window_us)]


def _us(seconds: float) -> int:
    # Up, so that nothing counts as earlier than it was; but not for what is only the rounding of a float.
    return math.ceil(seconds * SECOND_US - 0.01)


def _drop(ascending: list[int], value: int) -> None:
    index = bisect_left(ascending, value)
    if index < len(ascending) and ascending[index] == value:
        del ascending[index]


def _offsets(pattern_s: Sequence[float], rate: Rate) -> tuple[int, ...]:
    offsets = [round(s * SECOND_US) for s in pattern_s]
    if not offsets or offsets[0] != 0:
        offsets = [0, *offsets]
    if any(b <= a for a, b in pairwise(offsets)):
        raise ModeInvalid("retry-pattern", "must ascend, for example 0,10m,30m")
    if len(offsets) > OFFSETS_MAX or offsets[-1] > DURATION_US_MAX:
        raise ModeInvalid("retry-pattern", f"may have {OFFSETS_MAX} offsets and reach ten years; it goes beyond")
    if not fits(offsets, rate):
        raise ModeInvalid("retry-pattern", f"has more starts in one period than --rate {rate} allows")
    if len(offsets) > 1 and rate.starts_max * (1 + offsets[-1] / rate.window_us) > PLANNED_MAX:
        raise ModeInvalid(
            "retry-pattern", f"reserves more than {PLANNED_MAX} starts at --rate {rate}; shorten it or lower the rate"
        )
    return tuple(offsets)
