"""The one clock and the one source of chance.

Nothing else in the product reads the time or draws a random number (a test in
`tests/architecture` sees to it), so that a simulation can own both.
"""

from __future__ import annotations

import os
import sys
import time as _time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """What time it is. Wall time chooses instants; `boottime` measures waits, leases and deadlines."""

    def time(self) -> float:
        """Seconds since the epoch, UTC. May step in either direction."""
        ...

    def boottime(self) -> float:
        """Seconds since some fixed point; never steps back, and runs on while the machine sleeps."""
        ...


class SystemClock:
    """The operating system's clocks, read without a detour: a delivery reads them half a dozen times."""

    def __init__(self) -> None:
        self.time: Callable[[], float] = _time.time
        # macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC runs through sleep.
        self.boottime: Callable[[], float] = _time.monotonic
        if sys.platform == "linux":
            self.boottime = partial(_time.clock_gettime, _time.CLOCK_BOOTTIME)


class Chance(Protocol):
    """Where ids, keys and jitter come from."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


class SystemChance:
    """The operating system's cryptographic generator."""

    def bytes(self, n: int) -> bytes:
        return os.urandom(n)


class ChanceSource(Protocol):
    """A seeded `random.Random`, for simulation."""

    def randbytes(self, n: int, /) -> bytes: ...


class SeededChance:
    """Repeatable chance, for tests and simulation; never for keys in production."""

    def __init__(self, source: ChanceSource) -> None:
        self._source = source

    def bytes(self, n: int) -> bytes:
        return self._source.randbytes(n)


class Dice(Protocol):
    """Repeatable draws for decisions that a user may want to see again; never for ids, never for keys."""

    def random(self) -> float:
        """Return a number drawn uniformly from [0, 1)."""
        ...

    def gauss(self, mu: float, sigma: float) -> float:
        """Return a number drawn from the normal distribution."""
        ...


def dice(seed: int) -> Dice:
    """Return dice that fall alike for the same seed, on every machine."""
    import random  # most of who needs a clock needs no dice

    return random.Random(seed)


def utc(seconds: float) -> datetime:
    """Return the aware UTC datetime of `seconds` since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _CROCKFORD for low in _CROCKFORD]
_SHIFTS = range(120, -1, -10)
DRAWN_AHEAD = 64


def ulid(clock: Clock, chance: Chance) -> str:
    """Return a ULID: 26 characters, ordered by the millisecond it was drawn in.

    Source: https://github.com/ulid/spec
    """
    return ulids(clock, chance, 1)[0]


def ulids(clock: Clock, chance: Chance, count: int) -> list[str]:
    """Return so many ULIDs of one millisecond, in no order; asking for chance is what takes longest."""
    time, drawn = int(clock.time() * 1000) << 80, chance.bytes(10 * count)
    return [_crockford(time | int.from_bytes(drawn[at : at + 10], "big")) for at in range(0, 10 * count, 10)]


def _crockford(value: int) -> str:
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])


class Ulids:
    """Draws ULIDs one after the other. It asks for chance for many at once, which costs hardly more than for one: draw
    ids here, and no keys."""

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self._drawn: list[bytes] = []

    def draw(self) -> str:
        """Return the next one, as `ulid` does."""
        if not self._drawn:
            drawn = self._chance.bytes(10 * DRAWN_AHEAD)
            self._drawn = [drawn[at : at + 10] for at in range(0, len(drawn), 10)]
        return _crockford(int(self._clock.time() * 1000) << 80 | int.from_bytes(self._drawn.pop(), "big"))
