"""`interval`, `count` and `duration`: a tick every so often, counted from the start."""

from __future__ import annotations

from chronos.repeater.modes.bounds import need_wait, shown_s
from chronos.repeater.port import Moment, Run

# What `count` and `duration` take without `--every`: one run after the other.
BACK_TO_BACK_S = 0.001


def tick_s(n: int, first_s: float, every_s: float) -> float:
    """Return the second of tick `n`: `first_s` + n * `every_s`, one multiplication, so that nothing adds up."""
    return first_s + n * every_s


def ticks_by(at_s: float, first_s: float, every_s: float) -> int:
    """Return how many ticks lie at or before `at_s`."""
    if at_s < first_s:
        return 0
    n = int((at_s - first_s) / every_s) + 1
    # The division may be off by one where `at_s` is a tick.
    while tick_s(n, first_s, every_s) <= at_s:
        n += 1
    while n and tick_s(n - 1, first_s, every_s) > at_s:
        n -= 1
    return n


class Interval:
    """Ticks at `first` + n * `every_s`; `count` and `duration` are this with a stop condition."""

    def __init__(self, every_s: float, *, immediate: bool = True) -> None:
        """Take the interval in seconds.

        Args:
            immediate: Whether tick 0 is at once; otherwise it is one interval later.

        Raises:
            ModeInvalid: The interval is not longer than 0s, or longer than ten years.
        """
        self.every_s = need_wait("every", every_s)
        self._immediate = immediate
        self._origin_s = 0.0
        self._next = 0

    def first_s(self, now: Moment) -> float:
        self._origin_s = now.monotonic_s if self._immediate else now.monotonic_s + self.every_s
        return self._origin_s

    def next_s(self, last: Run, now: Moment) -> float | None:
        self._next = max(self._next + 1, self.passed(now))
        return self.tick_s(self._next, now)

    def tick_s(self, n: int, now: Moment) -> float:
        return tick_s(n, self._origin_s, self.every_s)

    def passed(self, now: Moment) -> int:
        return ticks_by(now.monotonic_s, self._origin_s, self.every_s)

    def change(self, every_s: float, now: Moment) -> None:
        every_s = need_wait("every", every_s)
        following = self.passed(now)
        before_s = self.tick_s(following - 1, now)
        self.every_s = every_s
        self._origin_s = max(now.monotonic_s, before_s + every_s) - following * every_s

    def gap_s(self, n: int) -> float:
        return self.every_s

    def describe(self) -> str:
        start = "from the start" if self._immediate else "the first one interval after the start"
        return f"every {shown_s(self.every_s)}, {start}"
