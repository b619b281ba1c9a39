"""Calendars day by day: what they leave out, and where they move it. Source: docs/reference/schedules.md, Calendars."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, timedelta
from typing import Any, Final

from chronos.verify.events import events_of
from chronos.verify.fields import NotUnderstood
from chronos.verify.zones import DAY_S, Zone, Zones

WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHIFT_DAYS: Final = 366
_DAYS_KEPT: Final = 2_000


class Rules:
    """One version of a calendar's document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._calendars: dict[str, Calendar] = {}

    def under(self, timezone: str, zones: Zones) -> Calendar:
        """Return the calendar it is for schedules in a zone."""
        known = self._calendars.get(timezone)
        if known is None:
            known = self._calendars[timezone] = Calendar(self._document, timezone, zones)
        return known


class Calendar:
    """One version of a calendar's document, for schedules in one zone."""

    def __init__(self, rules: dict[str, Any], timezone: str, zones: Zones) -> None:
        self.zone = zones.get(rules.get("timezone") or timezone)
        self._business = rules.get("business_days", WEEK[:5])
        self._without_weekends = rules.get("exclude_weekends", False)
        self._excluded = frozenset(rules.get("exclude", ()))
        self._only = frozenset(rules.get("include_only", ()))
        self._inclusive = rules.get("use_dates_as", "exclude") == "include_only"
        self._holidays = _holidays(rules)
        self._events = events_of(rules["ical"], self._zone_of_rules(rules, zones)) if "ical" in rules else None
        self._blackouts = rules.get("blackouts", ())
        self._known: dict[int, bool] = {}

    @staticmethod
    def _zone_of_rules(rules: dict[str, Any], zones: Zones) -> Zone:
        return zones.get(rules.get("timezone") or "UTC")

    def has_runs(self, day: int) -> bool:
        """Whether anything may run on a day, counted from 0 = 1970-01-01."""
        known = self._known.get(day)
        if known is None:
            if len(self._known) > _DAYS_KEPT:
                self._known.clear()
            known = self._known[day] = self._has_runs(date(1970, 1, 1) + timedelta(days=day))
        return known

    def _has_runs(self, on: date) -> bool:
        if on.isoformat() in self._excluded or (not self._inclusive and any(self._named(on))):
            return False
        if self._without_weekends and WEEK[on.weekday()] not in self._business:
            return False
        wanted = [on.isoformat() in self._only] if self._only else []
        wanted += self._named(on) if self._inclusive else []
        return any(wanted) if wanted else True

    def _named(self, on: date) -> list[bool]:
        """Return, of public holidays and of events as far as there are any, whether that date is one."""
        found = [on in self._holidays] if self._holidays is not None else []
        return [*found, self._events.is_on(on)] if self._events is not None else found

    def is_business_day(self, day: int) -> bool:
        """Whether a shift may move a run to a day."""
        weekday = WEEK[(date(1970, 1, 1) + timedelta(days=day)).weekday()]
        return weekday in self._business and self.has_runs(day)

    def is_blacked_out(self, instant: int) -> bool:
        """Whether nothing runs at an instant, whatever day it is."""
        timed = self._events.timed if self._events is not None and not self._inclusive else []
        if any(event.covers(instant) for event in timed):
            return True
        if not self._blackouts:
            return False
        day, second = divmod(instant + self.zone.offset(instant), DAY_S)
        return any(_hits(blackout, instant, day, second) for blackout in self._blackouts)

    def lets_through(self, instant: int) -> bool:
        """Whether a run at an instant is wanted, when nothing is shifted."""
        day = (instant + self.zone.offset(instant)) // DAY_S
        return self.has_runs(day) and not self.is_blacked_out(instant)

    def landing(self, day: int, step: int) -> int | None:
        """Return the business day to which what is due on `day` moves; None when there is none within a year."""
        return next((d for d in range(day, day + step * SHIFT_DAYS, step) if self.is_business_day(d)), None)

    def sources(self, day: int, step: int) -> list[int]:
        """Return the days whose runs land on the business day `day`, ascending."""
        found = [day]
        while len(found) < SHIFT_DAYS and not self.is_business_day(found[-1] - step):
            found.append(found[-1] - step)
        return sorted(found)

    def first_instant(self, day: int) -> int:
        """Return the first instant of a wall day."""
        return self.zone.instants_of(day * DAY_S, "after", "first")[0]


def _holidays(rules: dict[str, Any]) -> Any:
    if not rules.get("country"):
        return None
    # Late: the library is large, and few jobs have a calendar.
    from holidays import country_holidays

    try:
        return country_holidays(rules["country"], subdiv=rules.get("subdivision"), expand=True)
    except NotImplementedError:
        raise NotUnderstood(f"no public holidays are known for {rules['country']!r}") from None


def _hits(blackout: dict[str, Any], instant: int, day: int, second: int) -> bool:
    if blackout.get("start"):
        start, end = (datetime.fromisoformat(blackout[name]).timestamp() for name in ("start", "end"))
        return int(start) <= instant < int(end)
    begin, end_s = (_second_of(blackout[name]) for name in ("from", "to"))
    days = blackout.get("days") or WEEK
    today, yesterday = WEEK[(day + 3) % 7] in days, WEEK[(day + 2) % 7] in days
    if begin < end_s:
        return today and begin <= second < end_s
    return (today and second >= begin) or (yesterday and second < end_s)


def _second_of(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 3600 + int(minute) * 60


def between(ascending: list[int], a: int, b: int) -> list[int]:
    """Return the numbers n, `a` < n <= `b`, of an ascending list."""
    return ascending[bisect_left(ascending, a + 1) : bisect_left(ascending, b + 1)]
