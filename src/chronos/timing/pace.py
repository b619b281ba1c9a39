"""How long to wait before asking again."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

from chronos.timing.jitter import draw

_RETRY_AFTER_S_MAX = 2.0**31
_HEADER_MAX = 64
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def retry_delay_us(attempt: int, *, initial_us: int, max_us: int, multiplier: float, seed: str) -> int:
    """Return the microseconds between the end of `attempt` and the next one.

    Full jitter: uniform in [0, min(`max_us`, `initial_us` * `multiplier`^(`attempt` - 1))].

    Args:
        attempt: The attempt that failed, counted from 1.
        seed: Names the execution. The same seed and attempt wait equally long on every node.

    Source:
        Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    assert attempt >= 1
    ceiling_us = _backoff_us(attempt, initial_us, max_us, multiplier)
    return draw(f"retry\0{seed}\0{attempt}") % (ceiling_us + 1)


def _backoff_us(attempt: int, initial_us: int, max_us: int, multiplier: float) -> int:
    if initial_us <= 0 or max_us <= 0:
        return 0
    try:
        grown = initial_us * multiplier ** (attempt - 1)
    except OverflowError:
        return max_us
    return max_us if grown >= max_us else max(0, int(grown))


def parse_retry_after(values: Sequence[str], now_s: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait, or None if it is to be ignored.

    Ignored are: no header or several, an empty or malformed one, a negative number, NaN,
    anything above 2^31 seconds, and a date that is not in the future.

    Args:
        values: Every value the answer had under that name.
        now_s: Seconds since the epoch, for headers that carry a date.
    """
    if len(values) != 1 or len(values[0]) > _HEADER_MAX:
        return None
    text = values[0].strip()
    seconds = float(text) if _SECONDS.fullmatch(text) else _until_date_s(text, now_s)
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= _RETRY_AFTER_S_MAX:
        return None
    return seconds


def _until_date_s(text: str, now_s: float) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # HTTP dates are GMT; the asctime form does not say so.
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    seconds = date.timestamp() - now_s
    return seconds if seconds > 0 else None
