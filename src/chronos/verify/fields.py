"""Cron expressions as sets of numbers, matched one by one. Source: docs/reference/schedules.md."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Final

MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# Name, lowest, highest, highest (and lowest) that `H` may stand for.
_FIELDS: Final = (
    ("second", 0, 59, 0, 59),
    ("minute", 0, 59, 0, 59),
    ("hour", 0, 23, 0, 23),
    ("day-of-month", 1, 31, 1, 28),
    ("month", 1, 12, 1, 12),
    ("day-of-week", 0, 7, 0, 6),
)
_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = _FIELDS
_NAMES: Final = {
    name: str(n)
    for names in ("SUN MON TUE WED THU FRI SAT", "- JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
    for n, name in enumerate(names.split())
}
_NAME = re.compile("|".join(name for name in _NAMES if name != "-"))

Bounds = tuple[str, int, int, int, int]


class NotUnderstood(ValueError):
    """A definition says something that this evaluator does not know."""


class Expression:
    """Five fields, or six with seconds first.

    Attributes:
        times: The seconds of the day that match, ascending.
        is_wild: Whether the minute or hour field begins with a star: then it follows real time.
    """

    def __init__(self, text: str, hash_key: str) -> None:
        words = _NAME.sub(lambda found: _NAMES[found[0]], text.upper()).split()
        if len(words) not in (5, 6):
            raise NotUnderstood(f"{text!r} has {len(words)} fields, not five or six")
        second, minute, hour, day, month, weekday = words if len(words) == 6 else ["0", *words]
        seconds, minutes, hours = (
            sorted(_numbers(word, bounds, hash_key))
            for word, bounds in ((second, _SECOND), (minute, _MINUTE), (hour, _HOUR))
        )
        self.times = [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]
        self.is_wild = _is_starred(minute) or _is_starred(hour)
        self._months = _numbers(month, _MONTH, hash_key)
        self._dates = [_date_rule(item, hash_key) for item in day.split(",")]
        self._weekdays = [_weekday_rule(item, hash_key) for item in weekday.split(",")]
        self._needs_both = _is_starred(day) or _is_starred(weekday)
        self._known: dict[int, bool] = {}

    def is_on(self, day: int) -> bool:
        """Whether a day matches, counted from 0 = 1970-01-01."""
        known = self._known.get(day)
        if known is None:
            if len(self._known) > 1_000:
                self._known.clear()
            known = self._known[day] = self._matches(date(1970, 1, 1) + timedelta(days=day))
        return known

    def _matches(self, on: date) -> bool:
        if on.month not in self._months:
            return False
        by_date = any(_is_date(rule, on) for rule in self._dates)
        by_weekday = any(_is_weekday(rule, on) for rule in self._weekdays)
        return (by_date and by_weekday) if self._needs_both else (by_date or by_weekday)


@lru_cache(maxsize=4096)
def expression(text: str, hash_key: str) -> Expression:
    """Return what an expression matches; equal questions get the same object.

    Raises:
        NotUnderstood: It is no expression.
    """
    return Expression(text, hash_key)


def _is_starred(word: str) -> bool:
    return word[0] in "*?"


def _numbers(word: str, bounds: Bounds, hash_key: str) -> frozenset[int]:
    return frozenset(number for item in word.split(",") for number in _item(item, bounds, hash_key))


def _item(item: str, bounds: Bounds, hash_key: str) -> range:
    label, low, high, _, _ = bounds
    body, slash, step_text = item.partition("/")
    step = int(step_text) if slash else 1
    if body.startswith("H"):
        return _hashed(body, bounds, hash_key, step if slash else 0)
    if body in ("*", "?"):
        return range(low, high + 1, step)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", body)
    if match is None:
        raise NotUnderstood(f"{item!r} is no {label}")
    first = int(match[1])
    last = int(match[2]) if match[2] else (high if slash else first)
    if bounds is _WEEKDAY and last == 0 < first:
        last = 7
    if not low <= first <= last <= high:
        raise NotUnderstood(f"{item!r} is no {label}")
    return range(first, last + 1, step)


def _hashed(body: str, bounds: Bounds, hash_key: str, step: int) -> range:
    label, _, _, low, high = bounds
    if body != "H":
        match = re.fullmatch(r"H\((\d+)-(\d+)\)", body)
        if match is None:
            raise NotUnderstood(f"{body!r} is no {label}")
        low, high = int(match[1]), int(match[2])
        high = 7 if bounds is _WEEKDAY and high == 0 < low else high
    number = int.from_bytes(blake2b(f"{hash_key}\0{label}".encode(), digest_size=8).digest(), "big")
    if step:
        return range(low + number % min(step, high - low + 1), high + 1, step)
    chosen = low + number % (high - low + 1)
    return range(chosen, chosen + 1)


# The day fields. A rule is what an item says, and a number or a set of numbers.

Rule = tuple[str, int, int, frozenset[int]]


def _date_rule(item: str, hash_key: str) -> Rule:
    if item == "LW":
        return "last workday", 0, 0, frozenset()
    if match := re.fullmatch(r"L(?:-(\d+))?", item):
        return "before the last", int(match[1] or 0), 0, frozenset()
    if match := re.fullmatch(r"(\d+)W", item):
        return "nearest workday", int(match[1]), 0, frozenset()
    return "numbers", 0, 0, _numbers(item, _DAY, hash_key)


def _weekday_rule(item: str, hash_key: str) -> Rule:
    if match := re.fullmatch(r"(\d)L", item):
        return "last", int(match[1]) % 7, 0, frozenset()
    if match := re.fullmatch(r"(\d)#(\d)", item):
        return "nth", int(match[1]) % 7, int(match[2]), frozenset()
    return "numbers", 0, 0, frozenset(number % 7 for number in _numbers(item, _WEEKDAY, hash_key))


def _is_date(rule: Rule, on: date) -> bool:
    kind, number, _, numbers = rule
    last = monthrange(on.year, on.month)[1]
    if kind == "numbers":
        return on.day in numbers
    if kind == "before the last":
        return on.day == last - number
    wanted = last if kind == "last workday" else number
    return wanted <= last and on == _nearest_workday(on.replace(day=wanted))


def _is_weekday(rule: Rule, on: date) -> bool:
    kind, number, nth, numbers = rule
    today = on.isoweekday() % 7
    if kind == "numbers":
        return today in numbers
    if kind == "last":
        return today == number and (on + timedelta(days=7)).month != on.month
    return today == number and (on.day + 6) // 7 == nth


def _nearest_workday(on: date) -> date:
    """Return the date from Monday to Friday in the same month that is nearest, by trying all."""
    month = [on.replace(day=n) for n in range(1, monthrange(on.year, on.month)[1] + 1)]
    return min((day for day in month if day.isoweekday() <= 5), key=lambda day: abs(day - on))
