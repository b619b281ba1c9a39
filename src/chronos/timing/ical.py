"""The events of an iCalendar file, as dates and stretches of time (RFC 5545)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from chronos.errors import CalendarInvalid
from chronos.timing.calendar import Span
from chronos.timing.zone import Gap, OverlapTime, Zone

ICAL_BYTES_MAX: Final = 256 * 1024
EVENTS_MAX: Final = 5_000
EVENT_DAYS_MAX: Final = 366
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Parts of a yearly rule that say nothing its start does not say already.
_HARMLESS: Final = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY"}


class _Yearly(NamedTuple):
    first_year: int
    last_year: int
    interval: int
    name: str


class Events:
    """All-day events by date, and timed events as stretches."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._once: dict[date, str] = {}
        self._yearly: dict[tuple[int, int], list[_Yearly]] = {}

    def name_of(self, on: date) -> str | None:
        """Return what is on that date, or None."""
        if on in self._once:
            return self._once[on]
        for event in self._yearly.get((on.month, on.day), ()):
            years = on.year - event.first_year
            if years >= 0 and on.year <= event.last_year and years % event.interval == 0:
                return event.name
        return None

    def add_days(self, first: date, days: int, name: str, rule: dict[str, Any] | None) -> None:
        for n in range(days):
            on = first + timedelta(days=n)
            if rule is None:
                self._once.setdefault(on, name)
            else:
                event = _yearly(on, rule, name)
                self._yearly.setdefault((on.month, on.day), []).append(event)


def read_ical(text: str, zone: Zone) -> Events:
    """Return the events of an iCalendar text.

    Args:
        zone: Where times without a zone are meant.

    Raises:
        CalendarInvalid: Not an iCalendar, too large, or an event repeats otherwise than every
            year on its date.
    """
    if len(text.encode()) > ICAL_BYTES_MAX:
        raise _invalid(f"it is larger than {ICAL_BYTES_MAX} bytes")
    events = Events()
    components = _components(text)
    if len(components) > EVENTS_MAX:
        raise _invalid(f"it has {len(components)} events; at most {EVENTS_MAX} are allowed")
    for component in components:
        _add(events, component, zone)
    return events


def _components(text: str) -> list[Any]:
    # Late: the library is large, and few jobs have a calendar.
    from icalendar import Calendar

    try:
        return [event for event in Calendar.from_ical(text).walk("VEVENT") if event.get("STATUS") != "CANCELLED"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as bad:
        raise _invalid(f"it cannot be read ({str(bad)[:100]})") from None


def _add(events: Events, component: Any, zone: Zone) -> None:
    name = str(component.get("SUMMARY", "event"))[:100]
    try:
        start, end, rule = component["DTSTART"].dt, _end(component), component.get("RRULE")
    except (KeyError, AttributeError, ValueError, TypeError) as bad:
        raise _invalid(f"the event `{name}` has no start that can be read ({str(bad)[:100]})") from None
    if isinstance(start, datetime):
        if rule is not None:
            raise _invalid(f"the event `{name}` has a time of day and repeats; only whole days may repeat")
        start_s, end_s = _instant_s(start, zone), _instant_s(end, zone)
        events.spans.append(Span(start_s, max(start_s + 1, end_s), f"calendar: {name}"))
        return
    days = max(1, (end - start).days)
    if days > EVENT_DAYS_MAX:
        raise _invalid(f"the event `{name}` is longer than {EVENT_DAYS_MAX} days")
    events.add_days(start, days, f"calendar: {name}", rule)


def _end(component: Any) -> Any:
    """Return the end, exclusive: a date for an all-day event, else a datetime."""
    start = component["DTSTART"].dt
    if component.get("DTEND") is not None:
        end = component["DTEND"].dt
    elif component.get("DURATION") is not None:
        end = start + component["DURATION"].dt
    else:
        end = start if isinstance(start, datetime) else start + timedelta(days=1)
    if isinstance(end, datetime) != isinstance(start, datetime):
        raise ValueError("start and end are not of one kind")
    return end


def _instant_s(when: datetime, zone: Zone) -> int:
    if when.tzinfo is not None:
        return int((when - _EPOCH).total_seconds())
    wall_s = int((when.replace(tzinfo=UTC) - _EPOCH).total_seconds())
    return zone.instants_of(wall_s, Gap.AFTER, OverlapTime.FIRST)[0]


def _yearly(on: date, rule: dict[str, Any], name: str) -> _Yearly:
    parts = {key.upper(): values for key, values in rule.items()}
    plain = set(parts) <= _HARMLESS and parts.get("FREQ") == ["YEARLY"]
    same = parts.get("BYMONTH", [on.month]) == [on.month] and parts.get("BYMONTHDAY", [on.day]) == [on.day]
    if not plain or not same:
        raise _invalid(f"`{name}` repeats otherwise than every year on its date; list its dates instead")
    interval = max(1, int(parts.get("INTERVAL", [1])[0]))
    last = 9999
    if "COUNT" in parts:
        last = on.year + (int(parts["COUNT"][0]) - 1) * interval
    if "UNTIL" in parts:
        until = parts["UNTIL"][0]
        reached = (until.month, until.day) >= (on.month, on.day)
        last = min(last, until.year if reached else until.year - 1)
    return _Yearly(on.year, last, interval, name)


def _invalid(why: str) -> CalendarInvalid:
    return CalendarInvalid(f"The calendar's `ical` is wrong: {why}.", field="ical")
