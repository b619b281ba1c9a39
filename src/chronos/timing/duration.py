"""Durations as people write them: `1h30m`, `500ms`, `2.5d`.

Go's notation (`ns us µs ms s m h`) plus `d` (24 hours) and `w` (7 days). Inside Chronos a
duration is a whole number of microseconds.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from chronos.errors import DurationInvalid
from chronos.timing.refusal import shown

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
DURATION_US_MAX = 3_660 * DAY_US  # ten years

_TEXT_MAX = 64
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,  # the Greek letter; the line above has the micro sign
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_UNITS = "ns, us, ms, s, m, h, d, w"


def parse_duration(text: str, *, allow_negative: bool = False) -> int:
    """Return the microseconds that `text` says, at most ten years either way.

    Raises:
        DurationInvalid: Not a duration, negative without `allow_negative`, finer than a
            microsecond, or longer than ten years.
    """
    if len(text) > _TEXT_MAX:
        raise _invalid(text[:_TEXT_MAX], f"longer than {_TEXT_MAX} characters")
    return _parsed(text, allow_negative)


@lru_cache(maxsize=1_000)
def _parsed(text: str, allow_negative: bool) -> int:
    body = text.strip()
    negative = body.startswith("-")
    body = body[1:] if body[:1] in ("+", "-") else body
    ns = _sum_ns(text, body)
    if ns > DURATION_US_MAX * 1000:
        raise _invalid(text, "longer than ten years")
    us = _whole_us(text, ns)
    if negative and us and not allow_negative:
        raise _invalid(text, "it must not be negative")
    return -us if negative else us


def format_duration(us: int) -> str:
    """Return the shortest exact text in Go's own units (no `d`, no `w`), so that it parses anywhere."""
    if us == 0:
        return "0s"
    hours, rest = divmod(abs(us), HOUR_US)
    minutes, rest = divmod(rest, MINUTE_US)
    seconds, fraction = divmod(rest, SECOND_US)
    text = "-" if us < 0 else ""
    text += f"{hours}h" if hours else ""
    text += f"{minutes}m" if minutes else ""
    if fraction and abs(us) < SECOND_US:
        return text + (f"{fraction}us" if fraction % 1000 else f"{fraction // 1000}ms")
    if fraction:
        return text + f"{seconds}.{fraction:06d}".rstrip("0") + "s"
    return text + (f"{seconds}s" if seconds else "")


def _sum_ns(text: str, body: str) -> Decimal:
    if body == "0":
        return Decimal(0)
    total, end = Decimal(0), 0
    for part in _PART.finditer(body):
        if part.start() != end:
            break
        total += Decimal(part[1]) * _UNIT_NS[part[2]]
        end = part.end()
    if not body or end != len(body):
        rest = body[end:]
        bare = rest[:1].isdigit() and rest.replace(".", "", 1).isdigit()
        why = f"`{shown(rest)}` has no unit ({_UNITS})" if bare else f"write a number and a unit ({_UNITS})"
        raise _invalid(text, why)
    return total


def _whole_us(text: str, ns: Decimal) -> int:
    if ns % 1000:
        raise _invalid(text, "it is finer than a microsecond")
    return int(ns) // 1000


def _invalid(text: str, why: str) -> DurationInvalid:
    text = shown(text)
    return DurationInvalid(f"`{text}` is not a duration: {why}, for example `90s`, `1h30m` or `7d`.", token=text)
