"""A schedule's text, and the instants it names. Source: docs/reference/schedules.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from chronos.verify.fields import MACROS, NotUnderstood, expression
from chronos.verify.zones import Zones, cron_instants

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+) (.+)")
_AT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d)?)(?:\.0+)?([Zz]|[+-]\d\d:?\d\d)?")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_UNITS_S: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
    "w": Fraction(7 * 86_400),
}


class Options(NamedTuple):
    """What a job says about all of its schedules."""

    timezone: str = "UTC"
    gap: str = "after"
    overlap: str = "first"
    hash_key: str = ""
    anchor_s: int = 0


def instants(text: str, options: Options, zones: Zones, a: int, b: int) -> list[int]:
    """Return the instants t, `a` < t <= `b`, that a schedule names, ascending.

    Raises:
        NotUnderstood: It is no schedule that this evaluator knows.
    """
    if a >= b:
        return []
    body, timezone = split(text, options.timezone)
    if body.startswith("@every "):
        return _every(_seconds(body[7:]), options.anchor_s, a, b)
    if body.startswith("@at "):
        return [at for at in _at(body[4:], zones, timezone, options.gap, options.overlap) if a < at <= b]
    if body.startswith("@") and body not in MACROS:
        raise NotUnderstood(f"{text!r} is no schedule")
    what = expression(MACROS.get(body, body), options.hash_key)
    return cron_instants(what, zones.get(timezone), options.gap, options.overlap, a, b)


@lru_cache(maxsize=4096)
def split(text: str, timezone: str) -> tuple[str, str]:
    """Return a schedule without its zone, and the zone on whose wall it is read."""
    body = " ".join(text.split())
    match = _ZONE.fullmatch(body)
    return (match[2], match[1]) if match else (body, timezone)


def _every(period_s: int, anchor_s: int, a: int, b: int) -> list[int]:
    first = max(1, (a - anchor_s) // period_s + 1)
    return list(range(anchor_s + first * period_s, b + 1, period_s))


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    parts = _PART.findall(text)
    total = sum((Fraction(number) * _UNITS_S[unit] for number, unit in parts), Fraction(0))
    if "".join(number + unit for number, unit in parts) != text.lstrip("+") or total.denominator != 1 or total < 1:
        raise NotUnderstood(f"{text!r} is no interval of whole seconds")
    return int(total)


def _at(text: str, zones: Zones, timezone: str, gap: str, overlap: str) -> list[int]:
    match = _AT.fullmatch(text)
    if match is None:
        raise NotUnderstood(f"{text!r} is no instant")
    stated = datetime.fromisoformat(f"{match[1]}T{match[2]}{(match[3] or 'Z').upper()}")
    seconds = int((stated - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return [seconds] if match[3] else zones.get(timezone).instants_of(seconds, gap, overlap)[:1]
