"""The sliding window: when one more start fits in. All in whole microseconds, so that a window is exactly as long as
it says.

A window is half open: of two starts exactly one window apart the second is already in the next one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from chronos.errors import DurationInvalid
from chronos.repeater.port import ModeInvalid
from chronos.timing.duration import format_duration, parse_duration
from chronos.timing.refusal import shown

COUNT_MAX = 100_000


class Rate(NamedTuple):
    """At most `starts_max` starts in every window of `window_us` microseconds."""

    starts_max: int
    window_us: int

    def __str__(self) -> str:
        return f"{self.starts_max}/{format_duration(self.window_us)}"


def parse_rate(text: str) -> Rate:
    """Return the rate that `N/PERIOD` says, such as `100/1h`; blanks around the parts are allowed.

    Raises:
        ModeInvalid: Not of that form, no period, or N not between 1 and 100,000.
    """
    count, slash, period = (part.strip() for part in text.partition("/"))
    if not slash or "/" in period or not (count.isascii() and count.removeprefix("-").isdigit()):
        raise ModeInvalid("rate", f"is written N/PERIOD, for example 100/1h; it is `{shown(text)}`")
    try:
        window_us = parse_duration(period)
    except DurationInvalid as bad:
        raise ModeInvalid("rate", f"is written N/PERIOD, for example 100/1h: {bad}") from None
    if not window_us:
        raise ModeInvalid("rate", f"needs a period longer than 0s, for example 100/1h; it is `{shown(text)}`")
    # Digits first: a number of thousands of them would take its time.
    if len(count) > 7 or not 1 <= int(count) <= COUNT_MAX:
        raise ModeInvalid("rate", f"allows between 1 and {COUNT_MAX} starts in a period; it is `{shown(text)}`")
    return Rate(int(count), window_us)


def slot_us(starts: Sequence[int], now_us: int, rate: Rate) -> int:
    """Return the first microsecond, not before `now_us`, at which one more start fits in.

    Args:
        starts: Ascending, none later than `now_us`; those within the last window at least.
    """
    if len(starts) < rate.starts_max:
        return now_us
    return max(now_us, starts[-rate.starts_max] + rate.window_us)


def pattern_slot_us(planned: Sequence[int], now_us: int, rate: Rate, offsets_us: Sequence[int]) -> int:
    """Return the first microsecond t, not before `now_us`, at which starts at every t + offset fit in.

    Args:
        planned: Starts there were and starts that are planned, ascending; those of the last window at least.
        offsets_us: Ascending. By themselves they must fit in the rate.
    """
    t = now_us
    # Each round leaves one window behind for good, and there are finitely many.
    while (later := _freed_us(planned, t, rate, offsets_us)) is not None:
        assert later > t
        t = later
    return t


def fits(offsets_us: Sequence[int], rate: Rate) -> bool:
    """Whether starts at these offsets alone keep to the rate."""
    pairs = zip(offsets_us, offsets_us[rate.starts_max :], strict=False)
    return all(later - first >= rate.window_us for first, later in pairs)


def _freed_us(planned: Sequence[int], t: int, rate: Rate, offsets_us: Sequence[int]) -> int | None:
    """Return None when starts at t + offsets fit in, or else the first t for which the window in the way is left.

    That is one window after the first of the planned starts in it: until then they and the new ones stay in it.
    """
    starts_max, window_us = rate
    low = bisect_left(planned, t - window_us)
    high = bisect_left(planned, t + offsets_us[-1] + window_us)
    points = sorted([(at, -1) for at in planned[low:high]] + [(t + offset, offset) for offset in offsets_us])
    left = 0
    for right, (at, _) in enumerate(points):
        while at - points[left][0] >= window_us:
            left += 1
        crowd = points[left : right + 1] if right - left >= starts_max else []
        last_new = max((offset for _, offset in crowd), default=-1)
        if last_new >= 0:
            first_planned = next(at for at, offset in crowd if offset < 0)
            return first_planned + window_us - last_new
    return None
