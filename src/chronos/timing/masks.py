"""Sets of seconds as bits of one integer: united, cut and counted without visiting each."""

from __future__ import annotations

from functools import lru_cache

from chronos.timing.civil import DAY_S


def ones(count: int) -> int:
    """Return `count` bits, all set."""
    return (1 << count) - 1


@lru_cache(maxsize=64)  # eleven kilobytes each
def day_of_fields(minutes: int, seconds: int) -> int:
    """Return the seconds of a day that lie in `minutes` (of the day) at `seconds` (of the minute)."""
    return sum(seconds << 60 * minute for minute in range(DAY_S // 60) if minutes >> minute & 1)


def ladder(step: int, length: int) -> int:
    """Return a mask of `length` bits with every `step`-th one set, from bit 0 on."""
    mask, width = 1, step
    while width < length:
        mask |= mask << width
        width *= 2
    return mask & ones(length)


def moved(mask: int, by: int) -> int:
    """Return `mask` moved up by `by` bits, or down; what falls below bit 0 is lost."""
    return mask << by if by >= 0 else mask >> -by
