"""The intervals that + and - step through. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

MINUTE, HOUR = 60.0, 3600.0
LADDER_S = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(1 * MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE),
    *(1 * HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR),
)


def longer(every_s: float) -> float:
    """Return the next interval above; beyond the longest one, the same."""
    at = bisect_right(LADDER_S, every_s)
    return LADDER_S[at] if at < len(LADDER_S) else every_s


def shorter(every_s: float) -> float:
    """Return the next interval below; beyond the shortest one, the same."""
    at = bisect_left(LADDER_S, every_s) - 1
    return LADDER_S[at] if at >= 0 else every_s
