"""The events of an iCalendar file, as dates and stretches of time (RFC 5545)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from chronos.errors import CalendarInvalid
from chronos.timing.calendar import Span
from chronos.timing.civil import DAY_S, END_S
from chronos.timing.refusal import shown
from chronos.timing.zone import Gap, OverlapTime, Zone

ICAL_BYTES_MAX: Final = 256 * 1024
EVENTS_MAX: Final = 5_000
EVENT_DAYS_MAX: Final = 366
DAYS_MAX: Final = 50_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Parts of a yearly rule that say nothing its start does not say already.
_HARMLESS: Final = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY"}


class _Yearly(NamedTuple):
    first_year: int
    last_year: int
    interval: int
    name: str
    nth_day: int  # of the event, counted from 0
    left_out: frozenset[date]  # first days of the repetitions that do not happen

    def is_on(self, on: date) -> bool:
        years = on.year - self.first_year
        meant = years >= 0 and on.year <= self.last_year and years % self.interval == 0
        return meant and on - timedelta(days=self.nth_day) not in self.left_out


class Events:
    """All-day events by date, and timed events as stretches."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._once: dict[date, str] = {}
        self._yearly: dict[tuple[int, int], list[_Yearly]] = {}
        self._days = 0

    def name_of(self, on: date) -> str | None:
        """Return what is on that date, or None."""
        if on in self._once:
            return self._once[on]
        for event in self._yearly.get((on.month, on.day), ()):
            if event.is_on(on):
                return event.name
        return None

    def add_once(self, first: date, days: int, name: str) -> None:
        for n in range(self._taken(days)):
            self._once.setdefault(first + timedelta(days=n), name)

    def add_yearly(self, first: date, days: int, name: str, rule: dict[str, Any], left_out: frozenset[date]) -> None:
        interval, last_year = _repeats(first, rule, name)
        for n in range(self._taken(days)):
            on = first + timedelta(days=n)
            over = on.year - first.year
            event = _Yearly(on.year, last_year + over, interval, name, n, left_out)
            self._yearly.setdefault((on.month, on.day), []).append(event)

    def _taken(self, days: int) -> int:
        self._days += days
        if self._days > DAYS_MAX:
            raise _invalid(f"its events have more than {DAYS_MAX} days together")
        return days


def read_ical(text: str, zone: Zone) -> Events:
    """Return the events of an iCalendar text.

    Args:
        zone: Where times without a zone are meant.

    Raises:
        CalendarInvalid: Not an iCalendar, too large, or an event repeats otherwise than every
            year on its date.
    """
    data = text.encode(errors="replace")
    if len(data) > ICAL_BYTES_MAX:
        raise _invalid(f"it is larger than {ICAL_BYTES_MAX} bytes")
    events = Events()
    components = _components(data.decode().removeprefix("\ufeff"))
    if len(components) > EVENTS_MAX:
        raise _invalid(f"it has {len(components)} events; at most {EVENTS_MAX} are allowed")
    moved = _moved(components)
    for component in components:
        if component.get("STATUS") == "CANCELLED":
            continue
        name = str(component.get("SUMMARY", "event"))[:100]
        try:
            _add(events, component, name, zone, moved.get(str(component.get("UID")), set()))
        except (KeyError, AttributeError, ValueError, TypeError, OverflowError) as bad:
            raise _invalid(f"the event `{shown(name)}` {_why_unread(component, bad)}") from None
    return events


def _components(text: str) -> list[Any]:
    # Late: the library is large, and few jobs have a calendar.
    from icalendar import Calendar

    try:
        return list(Calendar.from_ical(text).walk("VEVENT"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as bad:
        raise _invalid(f"it cannot be read ({shown(str(bad))})") from None


def _why_unread(component: Any, bad: Exception) -> str:
    if component.get("DTSTART") is None and not component.errors:
        return "has no start"
    lines = ", ".join(f"`{shown(str(key))}`" for key, _ in component.errors[:3])
    return f"cannot be read: {lines or shown(str(bad))}"


def _moved(components: list[Any]) -> dict[str, set[date]]:
    """Return, by UID, the dates of repetitions that an event of their own stands for, moved or cancelled."""
    found: dict[str, set[date]] = {}
    for component in components:
        stands_for = getattr(component.get("RECURRENCE-ID"), "dt", None)
        if isinstance(stands_for, date):
            found.setdefault(str(component.get("UID")), set()).add(_date_of(stands_for))
    return found


def _add(events: Events, component: Any, name: str, zone: Zone, moved: set[date]) -> None:
    start, end, rule = component["DTSTART"].dt, _end(component), component.get("RRULE")
    more = _listed(component, "RDATE")
    if isinstance(start, datetime):
        if rule is not None or more:
            raise _invalid(f"the event `{shown(name)}` has a time of day and repeats; only whole days may repeat")
        _check_zone(component["DTSTART"], name)
        start_s, end_s = _instant_s(start, zone), _instant_s(end, zone)
        events.spans.append(Span(start_s, max(start_s + 1, end_s), f"calendar: {name}"))
        return
    days = max(1, (end - start).days)
    if days > EVENT_DAYS_MAX:
        raise _invalid(f"the event `{shown(name)}` is longer than {EVENT_DAYS_MAX} days")
    left_out = _listed(component, "EXDATE") | (moved if component.get("RECURRENCE-ID") is None else set())
    for first in sorted({*more, *([start] if rule is None else [])} - left_out):
        events.add_once(first, days, f"calendar: {name}")
    if rule is not None:
        events.add_yearly(start, days, f"calendar: {name}", rule, frozenset(left_out))


def _listed(component: Any, key: str) -> set[date]:
    """Return the dates of all lines `key`, which there may be none of, one, or several."""
    lines = component.get(key, [])
    return {_date_of(entry.dt) for line in (lines if isinstance(lines, list) else [lines]) for entry in line.dts}


def _date_of(when: date) -> date:
    return when.date() if isinstance(when, datetime) else when


def _check_zone(start: Any, name: str) -> None:
    stated = start.params.get("TZID")
    if stated and start.dt.tzinfo is None:
        raise _invalid(f"the event `{shown(name)}` is in a time zone that is not known, `{shown(str(stated))}`")


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
    if not DAY_S <= wall_s < END_S - DAY_S:
        return wall_s  # beyond all schedules
    return zone.instants_of(wall_s, Gap.AFTER, OverlapTime.FIRST)[0]


def _repeats(first: date, rule: dict[str, Any], name: str) -> tuple[int, int]:
    """Return every how many years, and in which year for the last time, an event that begins on `first` is."""
    parts = {key.upper(): values for key, values in rule.items()}
    plain = set(parts) <= _HARMLESS and parts.get("FREQ") == ["YEARLY"]
    same = parts.get("BYMONTH", [first.month]) == [first.month] and parts.get("BYMONTHDAY", [first.day]) == [first.day]
    if not plain or not same:
        raise _invalid(f"`{shown(name)}` repeats otherwise than every year on its date; list its dates instead")
    interval = max(1, int(parts.get("INTERVAL", [1])[0]))
    last = 9999
    if "COUNT" in parts:
        last = first.year + (int(parts["COUNT"][0]) - 1) * interval
    if "UNTIL" in parts:
        until = parts["UNTIL"][0]
        reached = (until.month, until.day) >= (first.month, first.day)
        last = min(last, until.year if reached else until.year - 1)
    return interval, last


def _invalid(why: str) -> CalendarInvalid:
    return CalendarInvalid(f"The calendar's `ical` is wrong: {why}.", field="ical")
