"""A clock that is not quite like the others."""

from __future__ import annotations

from collections.abc import Callable

from chronos.testing.virtual_time import VirtualClock

DRIFT_MAX = 0.0005
"""By how much of a second a clock may be wrong in one: far more than quartz is, and less than leases allow for."""


class DriftingClock(VirtualClock):
    """A clock that runs faster or slower than the world does.

    Args:
        start: Wall time at the world's beginning, in seconds since the epoch.
        drift: Seconds by which it runs ahead in each second.
        seconds: Returns the world's time.
    """

    def __init__(self, start: float, drift: float, seconds: Callable[[], float]) -> None:
        super().__init__(start)
        self._drift = drift
        self._seconds = seconds

    def time(self) -> float:
        return super().time() + self._drift * self._seconds()

    def boottime(self) -> float:
        return super().boottime() + self._drift * self._seconds()
