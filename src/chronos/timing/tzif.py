"""The time zone rules of the `tzdata` package, read from its TZif files.

Source:
    RFC 9636 (TZif) and POSIX.1-2024, 8.3 (the `TZ` string in the footer, which holds for ever after).
"""

from __future__ import annotations

import re
import struct
from calendar import monthrange
from datetime import UTC, date, datetime
from importlib import import_module
from importlib.resources import files
from typing import NamedTuple

from chronos.timing.civil import DAY_S

_HEADER = struct.Struct(">4sc15x6l")
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_TIME = r"[+-]?[0-9]{1,3}(?::[0-9]{1,2}){0,2}"
_RULE = rf"(?:M[0-9]+\.[0-9]\.[0-9]|J[0-9]+|[0-9]+)(?:/{_TIME})?"
_FOOTER = re.compile(rf"{_NAME}({_TIME})(?:{_NAME}({_TIME})?,({_RULE}),({_RULE}))?")


class TzFile(NamedTuple):
    """What one file says: the offset before all, (instant, offset from then on) ascending, the footer."""

    first_offset_s: int
    changes: list[tuple[int, int]]
    footer: Footer


class Footer(NamedTuple):
    """The rule after the last change on file. Without `to_dst` the standard offset holds for ever."""

    std_offset_s: int
    dst_offset_s: int = 0
    to_dst: str = ""
    to_std: str = ""

    def changes(self, year: int) -> list[tuple[int, int]]:
        """Return the (instant, offset from then on) pairs of one year, ascending."""
        if not self.to_dst:
            return []
        begin = _rule_s(self.to_dst, year) - self.std_offset_s
        end = _rule_s(self.to_std, year) - self.dst_offset_s
        return sorted([(begin, self.dst_offset_s), (end, self.std_offset_s)])


def names() -> tuple[str, ...]:
    """Return every zone name of the package, links included, sorted."""
    return tuple(sorted((files("tzdata") / "zones").read_text(encoding="ascii").split()))


def version() -> str:
    """Return the IANA version of the rules, for example `2026f`."""
    return str(import_module("tzdata").IANA_VERSION)


def read(name: str) -> TzFile:
    """Return the rules of `name`, which must be one of `names()`: it becomes part of a path."""
    return decode(raw(name))


def raw(name: str) -> bytes:
    """Return the TZif file of `name`, which must be one of `names()`: it becomes part of a path."""
    return (files("tzdata") / "zoneinfo").joinpath(*name.split("/")).read_bytes()


def decode(data: bytes) -> TzFile:
    """Return what a TZif file of version 2 or later says. Leap seconds are ignored: time is POSIX time."""
    start = _HEADER.size + _body_size(data, 0, time_size=4)
    magic, _, ut, std, leaps, times, types, chars = _HEADER.unpack_from(data, start)
    assert magic == b"TZif"
    at = start + _HEADER.size
    instants = struct.unpack_from(f">{times}q", data, at)
    kinds = data[at + 8 * times : at + 9 * times]
    offsets = [struct.unpack_from(">l", data, at + 9 * times + 6 * i)[0] for i in range(types)]
    footer = data[at + 9 * times + 6 * types + chars + 12 * leaps + std + ut :].strip().decode("ascii")
    changes = [(instant, offsets[kind]) for instant, kind in zip(instants, kinds, strict=True)]
    return TzFile(offsets[0], changes, parse_footer(footer))


def parse_footer(text: str) -> Footer:
    """Return the rule a POSIX `TZ` string states."""
    match = _FOOTER.fullmatch(text)
    assert match, f"tzdata has a footer we cannot read: {text}"
    std, dst, to_dst, to_std = match.groups()
    std_s = -_time_s(std)
    if not to_dst:
        return Footer(std_s)
    return Footer(std_s, -_time_s(dst) if dst else std_s + 3600, to_dst, to_std)


def _body_size(data: bytes, start: int, time_size: int) -> int:
    _, _, ut, std, leaps, times, types, chars = _HEADER.unpack_from(data, start)
    return int(times * (time_size + 1) + types * 6 + chars + leaps * (time_size + 4) + std + ut)


def _time_s(text: str) -> int:
    parts = [int(part) for part in text.lstrip("+-").split(":")]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return -seconds if text.startswith("-") else seconds


def _rule_s(rule: str, year: int) -> int:
    """Return the wall time a rule names in `year`, as if the wall were UTC."""
    day, _, time = rule.partition("/")
    midnight = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    return midnight + _day_of_year(day, year) * DAY_S + (_time_s(time) if time else 7200)


def _day_of_year(rule: str, year: int) -> int:
    """Return the day a rule names, counted from 0 = 1 January."""
    if rule.startswith("J"):  # 1..365, the 29th of February is never counted
        day = int(rule[1:])
        return day if day >= 60 and monthrange(year, 2)[1] == 29 else day - 1
    if not rule.startswith("M"):  # 0..365, it is
        return int(rule)
    month, week, weekday = map(int, rule[1:].split("."))
    first, length = monthrange(year, month)
    day = 1 + (weekday - (first + 1)) % 7 + 7 * (week - 1)
    day = day if day <= length else day - 7
    return date(year, month, day).timetuple().tm_yday - 1
