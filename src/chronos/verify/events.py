"""The events of an iCalendar text, asked day by day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from chronos.verify.fields import NotUnderstood
from chronos.verify.zones import Zone


class Event(NamedTuple):
    """Something with a time of day: instants from `start_s` to before `end_s`."""

    start_s: int
    end_s: int

    def covers(self, instant: int) -> bool:
        return self.start_s <= instant < self.end_s


class WholeDays(NamedTuple):
    """An event of whole days, and what is said of its repetitions."""

    first: date
    days: int
    rule: dict[str, Any]
    more: frozenset[date]
    left_out: frozenset[date]

    def begins_on(self, on: date) -> bool:
        if on in self.left_out:
            return False
        if on in self.more:
            return True
        if not self.rule:
            return on == self.first
        if (on.month, on.day) != (self.first.month, self.first.day) or on < self.first:
            return False
        interval = max(1, int(self.rule.get("INTERVAL", [1])[0]))
        years = on.year - self.first.year
        return years % interval == 0 and self._is_within(on, years // interval)

    def _is_within(self, on: date, repetition: int) -> bool:
        if "COUNT" in self.rule and repetition >= int(self.rule["COUNT"][0]):
            return False
        until = self.rule.get("UNTIL", [None])[0]
        return until is None or (on.year, on.month, on.day) <= (until.year, until.month, until.day)

    def is_on(self, on: date) -> bool:
        return any(self.begins_on(on - timedelta(days=n)) for n in range(self.days))


class Events:
    """All events of one text."""

    def __init__(self, timed: list[Event], whole: list[WholeDays]) -> None:
        self.timed = timed
        self._whole = whole

    def is_on(self, on: date) -> bool:
        """Whether there is an event of whole days on a date."""
        return any(event.is_on(on) for event in self._whole)


def events_of(text: str, where: Zone) -> Events:
    """Return the events of an iCalendar text.

    Args:
        where: The zone in which times without one are meant.

    Raises:
        NotUnderstood: It cannot be read.
    """
    # Late: the library is large, and few jobs have a calendar.
    from icalendar import Calendar

    try:
        components: list[Any] = list(Calendar.from_ical(text.removeprefix("\ufeff")).walk("VEVENT"))
        moved = _moved(components)
        wanted = [c for c in components if c.get("STATUS") != "CANCELLED"]
        timed = [_timed(c, where) for c in wanted if isinstance(c["DTSTART"].dt, datetime)]
        whole = [_whole(c, moved) for c in wanted if not isinstance(c["DTSTART"].dt, datetime)]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as bad:
        raise NotUnderstood(f"an iCalendar text cannot be read: {bad}") from None
    return Events(timed, whole)


def _timed(component: Any, where: Zone) -> Event:
    start, end = (_instant(when, where) for when in _bounds(component))
    return Event(start, max(start + 1, end))


def _whole(component: Any, moved: dict[str, set[date]]) -> WholeDays:
    start, end = _bounds(component)
    rule = {key.upper(): values for key, values in (component.get("RRULE") or {}).items()}
    stands_in = component.get("RECURRENCE-ID") is not None
    left_out = _listed(component, "EXDATE") | (set() if stands_in else moved.get(str(component.get("UID")), set()))
    days = max(1, (end - start).days)
    return WholeDays(start, days, rule, frozenset(_listed(component, "RDATE")), frozenset(left_out))


def _bounds(component: Any) -> tuple[Any, Any]:
    start = component["DTSTART"].dt
    if component.get("DTEND") is not None:
        return start, component["DTEND"].dt
    if component.get("DURATION") is not None:
        return start, start + component["DURATION"].dt
    return start, start if isinstance(start, datetime) else start + timedelta(days=1)


def _moved(components: list[Any]) -> dict[str, set[date]]:
    found: dict[str, set[date]] = {}
    for component in components:
        stands_for = component.get("RECURRENCE-ID")
        if stands_for is not None:
            found.setdefault(str(component.get("UID")), set()).add(_date_of(stands_for.dt))
    return found


def _listed(component: Any, key: str) -> set[date]:
    lines = component.get(key, [])
    return {_date_of(entry.dt) for line in (lines if isinstance(lines, list) else [lines]) for entry in line.dts}


def _date_of(when: date) -> date:
    return when.date() if isinstance(when, datetime) else when


def _instant(when: datetime, where: Zone) -> int:
    if when.tzinfo is not None:
        return int(when.timestamp())
    wall = int((when.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return where.instants_of(wall, "after", "first")[0]
