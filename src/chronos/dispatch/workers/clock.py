"""The clock of a worker: boot time is the machine's, and how far the wall clock is ahead of it is what main says.

So a wall clock that main does not believe is not believed here either, and one that was set is noticed by both.
"""

from __future__ import annotations

from chronos.dispatch.right import RightToSend
from chronos.timing.clock import Clock


class LedClock:
    """A `Clock` that somebody leads."""

    def __init__(self, clock: Clock, ahead_s: float) -> None:
        self._ahead_s = ahead_s
        self.boottime = clock.boottime

    def lead(self, ahead_s: float) -> None:
        """From now on, be so far ahead of boot time."""
        self._ahead_s = ahead_s

    def time(self) -> float:
        return self.boottime() + self._ahead_s


class Lead:
    """Main's side of it: how far ahead a worker is told to be, and how far it may have come."""

    def __init__(self, clock: Clock, right: RightToSend | None = None) -> None:
        self._clock = clock
        self._right = right
        self._ahead_s = clock.time() - clock.boottime()
        self._latest_s = 0.0

    def ahead(self) -> float:
        """Return how far the wall clock is ahead of boot time, as the worker is about to be told."""
        boot_s = self._clock.boottime()
        ahead_s = self._clock.time() - boot_s
        self._latest_s = max(self._latest_s, boot_s + ahead_s, boot_s + self._ahead_s)
        self._ahead_s = ahead_s
        return ahead_s

    def until(self) -> float | None:
        """Return up to when the node may send, by boot time; None where it needs no right to."""
        return self._right.until_s if self._right is not None else None

    def latest(self) -> float:
        """Return the latest moment that a worker may have taken for now: nothing due after it has begun."""
        return max(self._latest_s, self._clock.boottime() + self._ahead_s)
