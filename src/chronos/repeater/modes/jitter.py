"""`--jitter`: each start a little off, and never the same little twice."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from chronos.repeater.modes.bounds import need_number
from chronos.repeater.port import Mode, Moment, Run, Ticking
from chronos.timing.jitter import draw

_DRAWS = 2.0**64


@runtime_checkable
class Spaced(Ticking, Protocol):
    """A mode whose ticks know how far they lie apart."""

    def gap_s(self, n: int) -> float:
        """Return the seconds from tick `n`, the last one asked for, to the one after; 0 when there is none."""
        ...


def offset_s(seed: int, n: int, spread_s: float, *, never_early: bool) -> float:
    """Return the offset of start `n`: uniform in [-`spread_s`, `spread_s`), or in [0, `spread_s`) if never early.

    The same seed and number give the same offset: a tick that is asked for again has not moved.
    """
    drawn = draw(f"rpr\0{seed}\0{n}") / _DRAWS
    return drawn * spread_s if never_early else (2 * drawn - 1) * spread_s


def jittered(mode: Mode, fraction: float, seed: int) -> Mode:
    """Return `mode` with its starts moved by up to `fraction` of the wait before them; at 0 the mode itself.

    Ticks are moved by a share of the gap between two, and each from where it belongs, so that nothing adds up. What
    must not be early (`cron`, `rate-limit`) is moved to later only. A run that starts at once is not moved.

    Raises:
        ModeInvalid: `fraction` is not between 0 and 1.
    """
    need_number("jitter", fraction, least=0, most=1)
    if not fraction:
        return mode
    never_early = bool(getattr(mode, "never_early", False))
    if isinstance(mode, Spaced):
        return JitteredTicks(mode, fraction, seed, never_early=never_early)
    return JitteredWaits(mode, fraction, seed, never_early=never_early)


class JitteredWaits:
    """A mode that waits after each run, with each wait longer or shorter by up to a fraction of it."""

    def __init__(self, mode: Mode, fraction: float, seed: int, *, never_early: bool) -> None:
        self.mode = mode
        self._fraction = fraction
        self._seed = seed
        self._asked = 0
        self.never_early = never_early

    def first_s(self, now: Moment) -> float:
        return self._moved(self.mode.first_s(now), now)

    def next_s(self, last: Run, now: Moment) -> float | None:
        self._asked += 1
        planned_s = self.mode.next_s(last, now)
        return None if planned_s is None else self._moved(planned_s, now)

    def describe(self) -> str:
        return _described(self.mode, self._fraction, never_early=self.never_early)

    def _moved(self, planned_s: float, now: Moment) -> float:
        spread_s = self._fraction * (planned_s - now.monotonic_s)
        return max(
            now.monotonic_s, planned_s + offset_s(self._seed, self._asked, spread_s, never_early=self.never_early)
        )


class JitteredTicks:
    """A mode with ticks, each moved by up to a fraction of the gap to the next one."""

    def __init__(self, mode: Spaced, fraction: float, seed: int, *, never_early: bool) -> None:
        self.mode = mode
        self._fraction = fraction
        self._seed = seed
        self._next = 0
        self._at_once = False
        self.never_early = never_early

    def first_s(self, now: Moment) -> float:
        first_s = self.mode.first_s(now)
        self._at_once = first_s <= now.monotonic_s
        return first_s + self._offset_s(0)

    def next_s(self, last: Run, now: Moment) -> float | None:
        self._next = max(self._next + 1, self.passed(now))
        tick_s = self.tick_s(self._next, now)
        return None if tick_s is None else max(now.monotonic_s, tick_s)

    def tick_s(self, n: int, now: Moment) -> float | None:
        tick_s = self.mode.tick_s(n, now)
        return None if tick_s is None else tick_s + self._offset_s(n)

    def passed(self, now: Moment) -> int:
        return self.mode.passed(now)

    def gap_s(self, n: int) -> float:
        return self.mode.gap_s(n)

    def describe(self) -> str:
        return _described(self.mode, self._fraction, never_early=self.never_early)

    def _offset_s(self, n: int) -> float:
        if n == 0 and self._at_once:
            return 0.0
        return offset_s(self._seed, n, self._fraction * self.mode.gap_s(n), never_early=self.never_early)


def _described(mode: Mode, fraction: float, *, never_early: bool) -> str:
    return f"{mode.describe()}, {'up to' if never_early else '±'} {fraction:.0%}{' later' if never_early else ''}"
