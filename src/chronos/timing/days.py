"""Which days of a month an expression matches, as one bitmask a month.

A mask depends on the month, its length and the weekday it begins on: 91 kinds in all, so a rule
computes at most 91 masks in its life.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakValueDictionary

from chronos.timing.civil import KINDS, shape_of

_WEEKS = sum(1 << 7 * n for n in range(5))


class DaySpec(NamedTuple):
    """The three day fields. In masks of dates bit 0 is the 1st; weekday 0 is Sunday; month 1 is January."""

    months: int
    dates: int
    weekdays: int
    either: bool  # True: dates or weekdays must match; False: both
    before_last: int = 0  # bit n: n days before the last day
    nearest: int = 0  # bit n: the workday (Monday to Friday) nearest to day n + 1, in the same month
    last_workday: bool = False
    last_weekdays: int = 0  # the last such weekday of the month
    nth: tuple[int, ...] = (0, 0, 0, 0, 0)  # at n - 1: weekdays of which the nth in the month is meant

    def mask(self, kind: int) -> int:
        """Return the matching dates of a kind of month."""
        month, length, weekday = shape_of(kind)
        if not self.months >> month & 1:
            return 0
        by_date = self._dates(length, weekday)
        by_weekday = self._weekdays(length, weekday)
        return by_date | by_weekday if self.either else by_date & by_weekday

    def _dates(self, length: int, weekday: int) -> int:
        mask = self.dates
        for n in range(length):
            if self.before_last >> n & 1:
                mask |= 1 << (length - 1 - n)
            if self.nearest >> n & 1:
                mask |= 1 << _nearest_workday(n, length, weekday)
        if self.last_workday:
            mask |= 1 << _nearest_workday(length - 1, length, weekday)
        return mask & ((1 << length) - 1)

    def _weekdays(self, length: int, weekday: int) -> int:
        whole = (1 << length) - 1
        mask = _rotate(self.weekdays, weekday) * _WEEKS
        for n, weekdays in enumerate(self.nth):
            mask |= _rotate(weekdays, weekday) << 7 * n
        last_week = whole & ~((1 << (length - 7)) - 1)
        return (mask | _rotate(self.last_weekdays, weekday) * _WEEKS & last_week) & whole


class DayRule:
    """A `DaySpec` that remembers its masks. Get one from `day_rule`, so that equal ones are shared."""

    __slots__ = ("__weakref__", "hops", "masks", "spec")

    def __init__(self, spec: DaySpec) -> None:
        self.spec = spec
        self.masks = [-1] * KINDS  # -1: not computed yet
        self.hops = _hops(spec.months)

    def fill(self, kind: int) -> int:
        """Compute, remember and return the mask of one kind of month."""
        self.masks[kind] = mask = self.spec.mask(kind)
        return mask


_rules: WeakValueDictionary[DaySpec, DayRule] = WeakValueDictionary()


def day_rule(spec: DaySpec) -> DayRule:
    """Return the rule for `spec`, the same object for equal specs."""
    rule = _rules.get(spec)
    if rule is None:
        rule = _rules[spec] = DayRule(spec)
    return rule


def _hops(months: int) -> tuple[tuple[int, int], ...]:
    """Return, for each month (0 = January), how many months it is to the next and to the previous match."""

    def hop(start: int, direction: int) -> int:
        return next(n for n in range(1, 13) if months >> ((start + direction * n) % 12 + 1) & 1)

    return tuple((hop(month, 1), hop(month, -1)) for month in range(12))


def _rotate(weekdays: int, first: int) -> int:
    """Return the mask of the first seven dates that fall on `weekdays`, if the 1st is a `first`."""
    return (weekdays >> first | weekdays << (7 - first)) & 0x7F


def _nearest_workday(date: int, length: int, weekday: int) -> int:
    """Return the Monday-to-Friday date nearest to `date` in the same month; dates count from 0."""
    day = (weekday + date) % 7
    if day == 6:
        return date - 1 if date > 0 else date + 2
    if day == 0:
        return date + 1 if date + 1 < length else date - 2
    return date
