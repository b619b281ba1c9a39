"""How long to wait before a next try: the k-th delay of each strategy, as functions of k alone.

k counts delays from 1, the one before the second run. Every delay is capped before it can overflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def exponential_s(k: int, *, base_s: float, multiplier: float, max_s: float) -> float:
    """Return min(`max_s`, `base_s` * `multiplier`^(k - 1))."""
    # In logarithms first: the power itself may be too large for a float.
    if (k - 1) * math.log(multiplier) >= math.log(max_s / base_s):
        return max_s
    return min(max_s, base_s * multiplier ** (k - 1))


def fibonacci_s(k: int, *, base_s: float, max_s: float) -> float:
    """Return min(`max_s`, `base_s` * F(k)) with F = 1, 1, 2, 3, 5, 8 …"""
    this, following = 1, 1
    for _ in range(k - 1):
        if base_s * this >= max_s:
            break
        this, following = following, this + following
    return min(max_s, base_s * this)


def linear_s(k: int, *, increment_s: float, max_s: float) -> float:
    """Return min(`max_s`, k * `increment_s`)."""
    return min(max_s, k * increment_s)


def polynomial_s(k: int, *, base_s: float, exponent: float, max_s: float) -> float:
    """Return min(`max_s`, `base_s` * k^`exponent`)."""
    if exponent * math.log(k) >= math.log(max_s / base_s):
        return max_s
    return min(max_s, base_s * math.pow(k, exponent))


def decorrelated_s(previous_s: float, drawn: float, *, base_s: float, multiplier: float, max_s: float) -> float:
    """Return min(`max_s`, `base_s` + `drawn` * (`previous_s` * `multiplier` - `base_s`)).

    Args:
        previous_s: The delay before, after its cap; before the first one there is none, and the first is `base_s`.
        drawn: Uniform in [0, 1).

    Source:
        Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return min(max_s, base_s + drawn * (previous_s * multiplier - base_s))


def listed_s(k: int, delays_s: Sequence[float]) -> float:
    """Return the k-th of `delays_s`, the last one again where there are fewer."""
    return delays_s[min(k, len(delays_s)) - 1]
