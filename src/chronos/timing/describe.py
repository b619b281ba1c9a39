"""Cron expressions in English words.

The words are made from the bitmasks that also decide when the schedule runs, not from its text, so
that they cannot promise anything else: `*/45` is minute 0 and minute 45, and `MON,TUE,WED` is a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from chronos.timing.cron import parse_cron
from chronos.timing.days import DaySpec

_CLOCK_TIMES_MAX: Final = 6  # beyond, a rule says more than a list
_WEEK: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NTH: Final = ("first", "second", "third", "fourth", "fifth")


def describe_cron(expression: str, hash_key: str, timezone: str, *, either: bool) -> str:
    """Return `expression` in words, with its zone.

    Args:
        either: Whether a day matches when one of the two day fields does (else both must).
    """
    fields = parse_cron(expression, hash_key)
    hours = [hour for hour in range(24) if fields.minutes >> 60 * hour & (1 << 60) - 1]
    minutes = _numbers(fields.minutes >> 60 * hours[0] & (1 << 60) - 1)
    time = _time(_numbers(fields.seconds), minutes, hours, wild=fields.wild)
    return f"{time}{_days(fields.days, either=either)}{_months(fields.days.months)} ({timezone})"


# The time of day


def _time(seconds: list[int], minutes: list[int], hours: list[int], *, wild: bool) -> str:
    if len(seconds) * len(minutes) * len(hours) <= _CLOCK_TIMES_MAX:
        times = [
            f"{h:02d}:{m:02d}" + (f":{s:02d}" if seconds != [0] else "")
            for h in hours
            for m in minutes
            for s in seconds
        ]
        return f"At {_listed(times)}"
    if seconds != [0]:
        return _with_seconds(seconds, minutes, hours)
    if len(minutes) == 1:
        return _hourly(minutes[0], hours, wild=wild)
    words = _repeated(minutes, 60, "minute")
    past = " past the hour" if len(hours) == 24 and words.startswith("at") else ""
    return _capital(f"{words}{past}{_in_hours(hours)}")


def _hourly(minute: int, hours: list[int], *, wild: bool) -> str:
    step = _step(hours)
    if len(hours) == 24 and wild:  # written out, the hours are times on the wall: 24, even on a day of 25
        return "Every hour" if minute == 0 else f"Every hour, at minute {minute}"
    if not step or len(hours) < 3:
        return f"At {_listed([f'{hour:02d}:{minute:02d}' for hour in hours])}"
    every = "Every hour" if step == 1 else f"Every {step} hours"
    if minute == 0 and wild and _is_whole(hours, 24):
        return every
    return f"{every} from {hours[0]:02d}:{minute:02d} through {hours[-1]:02d}:{minute:02d}"


def _with_seconds(seconds: list[int], minutes: list[int], hours: list[int]) -> str:
    few = 1 < len(seconds) <= 3 and len(minutes) < 60
    words = f"At seconds {_listed(seconds)}" if few else _capital(_repeated(seconds, 60, "second"))
    if len(minutes) == 1 and len(hours) == 1:
        clock = f"{hours[0]:02d}:{minutes[0]:02d}"
        return f"{words}, between {clock}:00 and {clock}:59"
    if len(minutes) == 60:
        whose = "" if _step(seconds) and _is_whole(seconds, 60) else " of every minute"
        return f"{words}{whose}{_in_hours(hours)}"
    if words.startswith("At") and _step(minutes) > 1:
        return f"{words}, {_repeated(minutes, 60, 'minute')}{_in_hours(hours)}"
    named = f"minute{'s' if len(minutes) > 1 else ''} {_listed(minutes)}"
    whose = named if len(minutes) <= 3 or _step(minutes) != 1 else _repeated(minutes, 60, "minute")
    return f"{words} of {whose}{_in_hours(hours)}"


def _in_hours(hours: list[int]) -> str:
    if len(hours) == 24:
        return ""
    if _step(hours) == 1 or len(hours) == 1:
        return f", between {hours[0]:02d}:00 and {hours[-1]:02d}:59"
    return f", in the hours {_listed(hours)}"


def _repeated(numbers: list[int], whole: int, unit: str) -> str:
    """Return the numbers of a field in words: `every 5 minutes`, or `at minutes 0 and 45 past the hour`."""
    step = _step(numbers)
    every = f"every {unit}" if step == 1 else f"every {step} {unit}s"
    if step and _is_whole(numbers, whole):
        return every
    if step and len(numbers) >= _CLOCK_TIMES_MAX:
        return f"{every} from {unit} {numbers[0]} through {numbers[-1]}"
    return f"at {unit}{'s' if len(numbers) > 1 else ''} {_listed(numbers)}"


def _step(numbers: Sequence[int]) -> int:
    """Return the distance between neighbours if it is the same for all, else 0."""
    distances = {later - earlier for earlier, later in pairwise(numbers)}
    return distances.pop() if len(distances) == 1 else 0


def _is_whole(numbers: list[int], whole: int) -> bool:
    """Say whether numbers of one step go round without a shorter stretch at the end."""
    return numbers[0] == 0 and len(numbers) * _step(numbers) == whole


# The days


def _days(spec: DaySpec, *, either: bool) -> str:
    dates, weekdays = _dates(spec), _weekdays(spec)
    if either:
        return f", {dates}, or {weekdays}" if dates and weekdays else ""
    if dates and weekdays:
        return f", {dates}, but only {weekdays}"
    if not weekdays:
        return f", {dates}" if dates else ""
    is_range = " through " in weekdays or "of the month" in weekdays
    return f", {weekdays}" if is_range else f", only {weekdays}"


def _dates(spec: DaySpec) -> str:
    """Return the days of the month in words; empty when every day is one."""
    numbers = [date + 1 for date in _numbers(spec.dates)]
    if len(numbers) == 31:
        return ""
    found = [_numbered(numbers)] if numbers else []
    found += [f"the workday nearest to day {date + 1}" for date in _numbers(spec.nearest)]
    found += [_before_last(n) for n in reversed(_numbers(spec.before_last))]
    found += ["the last workday"] if spec.last_workday else []
    return f"on {_listed(found)} of the month"


def _numbered(numbers: list[int]) -> str:
    step = _step(numbers)
    if len(numbers) == 1:
        return f"day {numbers[0]}"
    if step > 1 and len(numbers) >= _CLOCK_TIMES_MAX:
        last = "" if numbers[-1] + step > 31 else f" through {numbers[-1]}"
        return f"every {step}{ {2: 'nd', 3: 'rd'}.get(step, 'th') } day from day {numbers[0]}{last}"
    return f"days {_listed(_runs(numbers, [str(n) for n in range(32)]))}"


def _before_last(n: int) -> str:
    if n <= 1:
        return ("the last day", "the day before the last")[n]
    return f"the day {n} days before the last"


def _weekdays(spec: DaySpec) -> str:
    """Return the days of the week in words; empty when every day is one."""
    plain = _numbers(spec.weekdays)
    if len(plain) == 7:
        return ""
    nth = [f"the {_NTH[n]} {_WEEK[day]}" for n, days in enumerate(spec.nth) for day in _numbers(days)]
    nth += [f"the last {_WEEK[day]}" for day in _numbers(spec.last_weekdays)]
    # The week goes on from Saturday to Sunday: it is told from the day after a day that is left out.
    start = next(day for day in range(1, 8) if (day - 1) % 7 not in plain)
    found = _runs([day for day in range(start, start + 7) if day % 7 in plain], _WEEK * 2) if plain else []
    found += [f"{_listed(nth)} of the month"] if nth else []
    return found[0] if len(found) == 1 and " through " in found[0] else f"on {_listed(found)}"


def _months(months: int) -> str:
    found = _runs([month - 1 for month in _numbers(months)], _MONTHS)
    if found == ["January through December"]:
        return ""
    return f", {found[0]}" if len(found) == 1 and " through " in found[0] else f", only in {_listed(found)}"


# Lists


def _numbers(mask: int) -> list[int]:
    return [n for n in range(mask.bit_length()) if mask >> n & 1]


def _runs(numbers: list[int], names: Sequence[str]) -> list[str]:
    """Return the names of ascending numbers, three and more neighbours as `first through last`."""
    found: list[str] = []
    while numbers:
        length = next((i for i, n in enumerate(numbers) if n != numbers[0] + i), len(numbers))
        neighbours = [names[n] for n in numbers[:length]]
        found += [f"{neighbours[0]} through {neighbours[-1]}"] if length >= 3 else neighbours
        numbers = numbers[length:]
    return found


def _listed(items: Sequence[object]) -> str:
    texts = [str(item) for item in items]
    if len(texts) <= 2:
        return " and ".join(texts)
    return f"{', '.join(texts[:-1])}, and {texts[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
