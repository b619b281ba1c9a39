"""A second opinion on cron: slow, obvious, and sharing no code with what it judges.

It walks minute by minute over `zoneinfo` and matches fields as sets of numbers.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

ZONES = [
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Gaza",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Pacific/Apia",
]

MINUTE = timedelta(minutes=1)


@cache
def tz(name: str) -> ZoneInfo:
    """Return a zone from the `tzdata` package, whatever the system has."""
    with (files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


@cache
def transitions(name: str, first_year: int, last_year: int) -> list[datetime]:
    """Return the instants (UTC) at which the offset changes, found by looking at every quarter of an hour."""
    zone, found = tz(name), []
    at = datetime(first_year, 1, 1, tzinfo=UTC)
    end = datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        later = at + timedelta(days=5)
        if at.astimezone(zone).utcoffset() != later.astimezone(zone).utcoffset():
            step = at
            while step < later:
                if step.astimezone(zone).utcoffset() != (step + 15 * MINUTE).astimezone(zone).utcoffset():
                    found.append(step + 15 * MINUTE)
                step += 15 * MINUTE
        at = later
    return found


NAMES = {
    name: str(n)
    for names in ("SUN MON TUE WED THU FRI SAT", "- JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
    for n, name in enumerate(names.split())
}


def numbers(field: str, low: int, high: int) -> set[int]:
    """Return what a field of numbers, `*`, ranges, steps and lists matches."""
    found: set[int] = set()
    for item in field.split(","):
        body, _, step = item.partition("/")
        if body in ("*", "?"):
            first, last = low, high
        elif "-" in body:
            first, last = (int(part) for part in body.split("-"))
        else:
            first = int(body)
            last = high if step else first
        found |= set(range(first, last + 1, int(step or 1)))
    return found


class Expression:
    """Five fields, or six with seconds first, matched one by one."""

    def __init__(self, text: str) -> None:
        words = re.sub(r"[A-Z]{3}", lambda match: NAMES[match[0]], text.upper()).split()
        second, minute, hour, day, month, weekday = words if len(words) == 6 else ["0", *words]
        self.seconds = sorted(numbers(second, 0, 59))
        self.minutes = numbers(minute, 0, 59)
        self.hours = numbers(hour, 0, 23)
        self.dates = day.split(",")
        self.months = numbers(month, 1, 12)
        self.weekdays = weekday.split(",")
        self.both = day[0] in "*?" or weekday[0] in "*?"
        self.wild = minute[0] in "*?" or hour[0] in "*?"

    def matches_day(self, on: date) -> bool:
        by_date = any(is_date(item, on) for item in self.dates)
        by_weekday = any(is_weekday(item, on) for item in self.weekdays)
        right = (by_date and by_weekday) if self.both else (by_date or by_weekday)
        return on.month in self.months and right

    def matches(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours and self.matches_day(wall.date())


@cache
def is_date(item: str, on: date) -> bool:
    """Say whether one item of the day-of-month field means that date."""
    last = monthrange(on.year, on.month)[1]
    if item == "LW":
        return on == nearest_workday(on.replace(day=last))
    if item.startswith("L"):
        return on.day == last - int(item[2:] or 0)
    if item.endswith("W"):
        return int(item[:-1]) <= last and on == nearest_workday(on.replace(day=int(item[:-1])))
    return on.day in numbers(item, 1, 31)


@cache
def is_weekday(item: str, on: date) -> bool:
    """Say whether one item of the day-of-week field means that date."""
    today = on.isoweekday() % 7
    if item.endswith("L"):
        return today == int(item[:-1]) % 7 and (on + timedelta(days=7)).month != on.month
    if "#" in item:
        weekday, nth = map(int, item.split("#"))
        return today == weekday % 7 and (on.day + 6) // 7 == nth
    return today in {n % 7 for n in numbers(item, 0, 7)}


def nearest_workday(on: date) -> date:
    """Return the date from Monday to Friday in the same month that is nearest, by trying all."""
    month = [on.replace(day=n) for n in range(1, monthrange(on.year, on.month)[1] + 1)]
    return min((day for day in month if day.isoweekday() <= 5), key=lambda day: abs(day - on))


def runs(
    text: str, zone_name: str, a: datetime, b: datetime, gap: str = "after", overlap: str = "first"
) -> list[datetime]:
    """Return the instants t (UTC) with a < t <= b at which the rule of the product fires `text`."""
    expression, zone = Expression(text), tz(zone_name)
    if expression.wild:
        minutes = [at for at in minutes_after(a, b) if expression.matches(at.astimezone(zone))]
        found = {at + timedelta(seconds=second) for at in minutes for second in expression.seconds}
    else:
        found = set()
        wall = (a - timedelta(days=2)).replace(tzinfo=None, second=0, microsecond=0)
        while wall <= b.replace(tzinfo=None) + timedelta(days=2):
            if expression.matches(wall):
                found |= {at for second in expression.seconds for at in instants(wall, second, zone, gap, overlap)}
            wall += MINUTE
    return sorted(at for at in found if a < at <= b)


def minutes_after(a: datetime, b: datetime) -> list[datetime]:
    first = a.replace(second=0, microsecond=0)
    return [first + n * MINUTE for n in range(int((b - first) / MINUTE) + 1)]


def instants(wall: datetime, second: int, zone: ZoneInfo, gap: str, overlap: str) -> set[datetime]:
    """Return the instants that a second of a wall minute stands for."""
    readings = [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = [at for at in readings if at.astimezone(zone).replace(tzinfo=None) == wall]
    if real:
        chosen = {"first": real[:1], "second": real[-1:], "both": real}[overlap]
        return {at + timedelta(seconds=second) for at in chosen}
    if gap == "skip":
        return set()
    # Inside a gap: walk in real time from well before it, up to the jump over `wall`.
    at = min(readings) - timedelta(days=2)
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += MINUTE
    return {at}
