"""Time zones by the standard library: where the offset changes, found by looking, and what wall times stand for."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from importlib.resources import files
from io import BytesIO
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from chronos.verify.fields import Expression, NotUnderstood

DAY_S: Final = 86_400
NEAR_S: Final = 3 * DAY_S
"""No wall time is further from its instants than this."""
_LOOK_S: Final = 3_600
_BLOCK_S: Final = 32 * DAY_S
_BLOCKS_MAX: Final = 2_000


class Stretch(NamedTuple):
    """Instants from `start` to before `end`, in which the wall is `offset` seconds ahead of UTC."""

    start: int
    end: int
    offset: int

    def has_wall(self, wall: int) -> bool:
        """Whether a wall time happens in it."""
        return self.start <= wall - self.offset < self.end


class Zone:
    """The rules of one zone, as a TZif file states them."""

    def __init__(self, name: str, tzif: bytes) -> None:
        self.name = name
        try:
            self._info = ZoneInfo.from_file(BytesIO(tzif), name)
        except ValueError as bad:
            raise NotUnderstood(f"the rules of time zone {name!r} cannot be read: {bad}") from None
        self._changes: dict[int, list[int]] = {}

    def offset(self, instant: int) -> int:
        """Return how many seconds the wall is ahead of UTC."""
        found = datetime.fromtimestamp(instant, UTC).astimezone(self._info).utcoffset()
        assert found is not None
        return found.days * DAY_S + found.seconds

    def stretches(self, start: int, end: int) -> list[Stretch]:
        """Return what [`start`, `end`) consists of, in order."""
        blocks = range(start // _BLOCK_S, (end - 1) // _BLOCK_S + 1)
        changes = [at for block in blocks for at in self._changes_in(block) if start < at < end]
        edges = [start, *changes, end]
        return [Stretch(a, b, self.offset(a)) for a, b in pairwise(edges)]

    def _changes_in(self, block: int) -> list[int]:
        known = self._changes.get(block)
        if known is None:
            if len(self._changes) > _BLOCKS_MAX:
                self._changes.clear()
            known = self._changes[block] = self._find_changes(block * _BLOCK_S, (block + 1) * _BLOCK_S)
        return known

    def _find_changes(self, start: int, end: int) -> list[int]:
        """Return the instants t, `start` <= t < `end`, whose offset is not that of the second before."""
        found = []
        before = self.offset(start - 1)
        for at in range(start - 1, end - 1, _LOOK_S):
            after = self.offset(at + _LOOK_S)
            if after != before:
                found.append(self._first_with(after, at, at + _LOOK_S))
            before = after
        return found

    def _first_with(self, offset: int, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.offset(middle) == offset else (middle, high)
        return high

    def instants_of(self, wall: int, gap: str, overlap: str) -> list[int]:
        """Return the instants of a wall time (seconds, as if it were UTC), ascending."""
        around = self.stretches(wall - NEAR_S, wall + NEAR_S)
        found = [wall - stretch.offset for stretch in around if stretch.has_wall(wall)]
        if found:
            return {"first": found[:1], "second": found[-1:], "both": found}[overlap]
        return [] if gap == "skip" else [min(b.start for a, b in _gaps(around) if a.end + a.offset <= wall)]


def _gaps(stretches: Sequence[Stretch]) -> list[tuple[Stretch, Stretch]]:
    return [(before, after) for before, after in pairwise(stretches) if before.offset < after.offset]


class Zones:
    """Zones by their names: those given, else those of the `tzdata` package, whatever the system has."""

    def __init__(self, given: Mapping[str, bytes] | None = None) -> None:
        self._given = dict(given or {})
        self._zones: dict[str, Zone] = {}

    def get(self, name: str) -> Zone:
        """Return a zone.

        Raises:
            NotUnderstood: Nobody knows one of that name.
        """
        known = self._zones.get(name)
        if known is None:
            tzif = self._given[name] if name in self._given else packaged(name)
            if tzif is None:
                raise NotUnderstood(f"nobody knows the rules of a time zone {name!r}")
            known = self._zones[name] = _zone_of(name, tzif)
        return known


@lru_cache(maxsize=1024)
def _zone_of(name: str, tzif: bytes) -> Zone:
    return Zone(name, tzif)


def packaged(name: str) -> bytes | None:
    """Return the TZif file that the `tzdata` package has for a zone, or None."""
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        return None
    path = (files("tzdata") / "zoneinfo").joinpath(*name.split("/"))
    return path.read_bytes() if path.is_file() else None


def tzdata_version() -> str:
    """Return the release of the `tzdata` package."""
    return str(import_module("tzdata").IANA_VERSION)


# Expressions on the wall.


def cron_instants(what: Expression, where: Zone, gap: str, overlap: str, a: int, b: int) -> list[int]:
    """Return the instants t, `a` < t <= `b`, at which an expression fires, ascending."""
    if what.is_wild:
        return [instant for stretch in where.stretches(a + 1, b + 1) for instant in _in_stretch(what, stretch)]
    return _by_the_wall(what, where, gap, overlap, a, b)


def _in_stretch(what: Expression, stretch: Stretch) -> list[int]:
    """Return the instants in a stretch whose wall time matches."""
    low, high = stretch.start + stretch.offset, stretch.end + stretch.offset
    found: list[int] = []
    for day in range(low // DAY_S, (high - 1) // DAY_S + 1):
        if what.is_on(day):
            midnight = day * DAY_S
            times = what.times[bisect_left(what.times, low - midnight) : bisect_left(what.times, high - midnight)]
            base = midnight - stretch.offset
            found += [base + time for time in times]
    return found


def _by_the_wall(what: Expression, where: Zone, gap: str, overlap: str, a: int, b: int) -> list[int]:
    around = where.stretches(a + 1 - NEAR_S, b + 1 + NEAR_S)
    if len(around) == 1:
        return _in_stretch(what, Stretch(a + 1, b + 1, around[0].offset))
    found: set[int] = set()
    for place, stretch in enumerate(around):
        others = {"first": around[:place], "second": around[place + 1 :], "both": []}[overlap]
        here = _in_stretch(what, stretch)
        found.update(t for t in here if not any(other.has_wall(t + stretch.offset) for other in others))
    if gap != "skip":
        found.update(after.start for before, after in _gaps(around) if _is_missed(what, before, after, around))
    instants = sorted(found)
    return instants[bisect_right(instants, a) : bisect_right(instants, b)]


def _is_missed(what: Expression, before: Stretch, after: Stretch, around: Sequence[Stretch]) -> bool:
    """Whether a wall time matches that the clocks left out between two stretches, and that never happens."""
    left_out = _in_stretch(what, Stretch(before.end + before.offset, after.start + after.offset, 0))
    return any(not any(stretch.has_wall(wall) for stretch in around) for wall in left_out)
