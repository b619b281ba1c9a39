"""Calendars: days on which jobs that name them do not run, and hours in which they must not.

A `CalendarRules` is the document a user writes; `compile_calendar` checks it and turns it into a
`Calendar`, which answers for an instant. `business` puts a schedule and a calendar together.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from msgspec import Struct, field

from chronos.errors import CalendarInvalid
from chronos.timing.civil import DAY_S, END_S
from chronos.timing.masks import ones
from chronos.timing.zone import Zone, zone

DATES_MAX: Final = 5_000
BLACKOUTS_MAX: Final = 500
_DAYS_KEPT: Final = 4_096
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)


class Weekday(StrEnum):
    """A day of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK: Final = tuple(Weekday)


class Shift(StrEnum):
    """Where a run goes that falls on a day that is not a business day."""

    NONE = "none"
    NEXT = "next_business_day"
    PREVIOUS = "previous_business_day"


class Blackout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A time in which nothing runs: one stretch (`start`, `end`) or hours of the week (`from`, `to`, `days`).

    Attributes:
        start, end: RFC 3339 instants; the end is not part of it.
        from_, to: Wall times `HH:MM`; `to` is not part of it. When `to` is not later, it ends on the next day.
        days: The days of the week on which it begins; all when empty.
        reason: Shown with every run it suppresses.
    """

    start: str | None = None
    end: str | None = None
    days: tuple[Weekday, ...] = ()
    from_: str | None = field(default=None, name="from")
    to: str | None = None
    reason: str = ""


class CalendarRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The days and hours in which jobs run, as a user writes them.

    Attributes:
        timezone: The zone in which dates and hours are meant; None takes that of the schedule.
        exclude: ISO dates on which nothing runs.
        include_only: ISO dates; if there are any, nothing runs on other days.
        country, subdivision: ISO 3166 codes whose public holidays count as dates.
        ical: The text of an iCalendar file whose events count as dates (at most 256 KiB).
        use_dates_as: Whether the dates of `country` and `ical` are excluded or the only ones included.
        business_days: The days of the week to which a shift may move a run.
        exclude_weekends: Whether nothing runs on the other days of the week, even without a shift.
        blackouts: Stretches and hours in which nothing runs; they never move a run.
    """

    timezone: str | None = None
    exclude: tuple[str, ...] = ()
    include_only: tuple[str, ...] = ()
    country: str | None = None
    subdivision: str | None = None
    ical: str | None = None
    use_dates_as: Literal["exclude", "include_only"] = "exclude"
    business_days: tuple[Weekday, ...] = _WEEK[:5]
    exclude_weekends: bool = False
    blackouts: tuple[Blackout, ...] = ()


class Verdict(NamedTuple):
    """What a calendar says about an instant: it runs, or it does not and why.

    It says the same about every instant from there until before `until_s`, at least.
    """

    runs: bool
    reason: str
    until_s: int


class Span(NamedTuple):
    """An excluded stretch of time, [`start_s`, `end_s`)."""

    start_s: int
    end_s: int
    reason: str


DayNames = Callable[[date], str | None]  # what is on a date, by one source; None: nothing


class Calendar:
    """Compiled rules. Immutable, apart from remembering days it was asked about."""

    def __init__(
        self,
        rules: CalendarRules,
        *,
        excluded: list[DayNames],
        included: list[DayNames],
        included_days: list[int],
        spans: list[Span],
        hours: list[list[Span]],
    ) -> None:
        self.rules = rules
        self.has_blackouts = bool(spans) or any(hours)
        self._excluded = excluded
        self._included = included
        self._included_days = included_days
        self._spans = spans
        self._hours = hours
        self._business = frozenset(_WEEK.index(day) for day in rules.business_days)
        self._reason_of_day = lru_cache(maxsize=_DAYS_KEPT)(self._find_day_reason)

    def zone_for(self, timezone: str) -> Zone:
        """Return the zone in which the rules are meant for a schedule in `timezone`."""
        return zone(self.rules.timezone or timezone)

    def verdict(self, instant_s: int, timezone: str) -> Verdict:
        """Say whether a run at `instant_s` is wanted, for a schedule in `timezone`."""
        where = self.zone_for(timezone)
        wall = instant_s + where.offset_at(instant_s)
        day, second = divmod(wall, DAY_S)
        steady_s = _steady_until(where, instant_s)
        reason = self._reason_of_day(day)
        if reason:
            until = where.day_start(self._next_open_day(day))
            return Verdict(False, reason, max(instant_s + 1, until))
        return self._blackout(instant_s, wall, day, second, min(steady_s, instant_s + DAY_S - second))

    def blackout_reason(self, instant_s: int, timezone: str) -> str:
        """Return why a run must not be at that instant, days aside; empty when it may."""
        where = self.zone_for(timezone)
        wall = instant_s + where.offset_at(instant_s)
        return self._blackout(instant_s, wall, *divmod(wall, DAY_S), END_S).reason

    def open_mask(self, start_s: int, seconds: int, timezone: str, *, days: bool = True) -> int:
        """Return, as bits from `start_s` on, the seconds in which runs are wanted; `days` False leaves days aside."""
        mask, low, end = 0, start_s, start_s + seconds
        while low < end:
            verdict = self.verdict(low, timezone) if days else self._verdict_of_hours(low, timezone)
            high = min(verdict.until_s, end)
            if verdict.runs:
                mask |= ones(high - low) << (low - start_s)
            low = high
        return mask

    def _verdict_of_hours(self, instant_s: int, timezone: str) -> Verdict:
        where = self.zone_for(timezone)
        wall = instant_s + where.offset_at(instant_s)
        day, second = divmod(wall, DAY_S)
        until_s = min(_steady_until(where, instant_s), instant_s + DAY_S - second)
        return self._blackout(instant_s, wall, day, second, until_s)

    def is_business_day(self, day: int) -> bool:
        """Say whether a shift may move a run to `day` (days since 1970-01-01)."""
        return (day + 3) % 7 in self._business and not self._reason_of_day(day)

    def day_reason(self, day: int) -> str:
        """Return why nothing runs on `day` (days since 1970-01-01); empty when something may."""
        return self._reason_of_day(day)

    def _find_day_reason(self, day: int) -> str:
        on = date.fromordinal(day + _EPOCH_ORDINAL)
        for names in self._excluded:
            name = names(on)
            if name is not None:
                return name
        if self.rules.exclude_weekends and (day + 3) % 7 not in self._business:
            return f"{_WEEK[(day + 3) % 7]} is not a business day"
        if self._included and all(names(on) is None for names in self._included):
            return "the date is not among the included ones"
        return ""

    def _next_open_day(self, day: int) -> int:
        """Return a day after `day` such that nothing runs in between; a lower bound is enough."""
        only_listed = self._included_days and len(self._included) == 1
        if not only_listed:
            return day + 1
        i = bisect_right(self._included_days, day)
        return self._included_days[i] if i < len(self._included_days) else END_S // DAY_S

    def _blackout(self, instant_s: int, wall: int, day: int, second: int, until_s: int) -> Verdict:
        i = bisect_right(self._spans, instant_s, key=lambda span: span.start_s)
        if i and instant_s < self._spans[i - 1].end_s:
            return Verdict(False, self._spans[i - 1].reason, self._spans[i - 1].end_s)
        if i < len(self._spans):
            until_s = min(until_s, self._spans[i].start_s)
        for hours in self._hours[(day + 3) % 7]:
            if hours.start_s <= second < hours.end_s:
                return Verdict(False, hours.reason, min(until_s, instant_s + hours.end_s - second))
            if second < hours.start_s:
                until_s = min(until_s, instant_s + hours.start_s - second)
        return Verdict(True, "", until_s)


def compile_calendar(rules: CalendarRules) -> Calendar:
    """Return the calendar that `rules` state.

    Raises:
        CalendarInvalid: `facts["field"]` names the field that is wrong.
        TimezoneUnknown: There is no such zone.
    """
    from chronos.timing.ical import read_ical

    where = zone(rules.timezone or "UTC")
    listed, only = _dates("exclude", rules.exclude), _dates("include_only", rules.include_only)
    names: list[DayNames] = []
    spans: list[Span] = []
    if rules.country or rules.subdivision:
        names.append(_public_holidays(rules.country, rules.subdivision))
    if rules.ical is not None:
        events = read_ical(rules.ical, where)
        names.append(events.name_of)
        spans += [] if rules.use_dates_as == "include_only" else events.spans
    spans += _stretches(rules.blackouts)
    included: list[DayNames] = [_listed(only, "is included")] if only else []
    excluded: list[DayNames] = [_listed(listed, "is excluded")] if listed else []
    (included if rules.use_dates_as == "include_only" else excluded).extend(names)
    if not rules.business_days:
        raise _invalid("business_days", "name at least one day")
    return Calendar(
        rules,
        excluded=excluded,
        included=included,
        included_days=sorted(on.toordinal() - _EPOCH_ORDINAL for on in only),
        spans=_merged(spans),
        hours=_hours(rules.blackouts),
    )


def _steady_until(where: Zone, instant_s: int) -> int:
    changes = where.transitions(instant_s, instant_s + 2 * DAY_S)
    return changes[0].at_s if changes else instant_s + 2 * DAY_S


def _dates(name: str, texts: tuple[str, ...]) -> frozenset[date]:
    if len(texts) > DATES_MAX:
        raise _invalid(name, f"there are {len(texts)} dates; at most {DATES_MAX} are allowed")
    found = set()
    for text in texts:
        try:
            found.add(datetime.strptime(text, "%Y-%m-%d").date())  # noqa: DTZ007 - a date has no zone
        except ValueError:
            raise _invalid(name, f"`{text[:40]}` is not a date; write it as 2027-12-24") from None
    return frozenset(found)


def _listed(dates: frozenset[date], what: str) -> DayNames:
    return lambda on: f"{on} {what}" if on in dates else None


def _public_holidays(country: str | None, subdivision: str | None) -> DayNames:
    # Late: the library is large, and few jobs have a calendar.
    from holidays import country_holidays

    if not country:
        raise _invalid("subdivision", "a subdivision needs its `country`")
    try:
        days = country_holidays(country, subdiv=subdivision, expand=True)
    except NotImplementedError:
        code = f"{country[:40]}-{subdivision[:40]}" if subdivision else country[:40]
        raise _invalid(
            "country", f"no public holidays are known for `{code}`; use ISO 3166 codes such as DE and BY"
        ) from None

    def name_of(on: date) -> str | None:
        name = days.get(on)
        return None if name is None else f"public holiday: {name}"

    return name_of


def _stretches(blackouts: tuple[Blackout, ...]) -> list[Span]:
    if len(blackouts) > BLACKOUTS_MAX:
        raise _invalid("blackouts", f"there are {len(blackouts)}; at most {BLACKOUTS_MAX} are allowed")
    found = []
    for blackout in blackouts:
        stretch = blackout.start is not None or blackout.end is not None
        hours = blackout.from_ is not None or blackout.to is not None or blackout.days
        if bool(stretch) == bool(hours):
            raise _invalid("blackouts", "each has either `start` and `end`, or `from` and `to` (and `days`)")
        if stretch:
            start_s, end_s = _instant(blackout.start), _instant(blackout.end)
            if start_s >= end_s:
                raise _invalid("blackouts", f"`end` {blackout.end} is not after `start` {blackout.start}")
            found.append(Span(start_s, end_s, blackout.reason or f"blackout until {blackout.end}"))
    return found


def _instant(text: str | None) -> int:
    try:
        parsed = datetime.fromisoformat(text or "")
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise _invalid("blackouts", f"`{(text or '')[:40]}` is not an instant; write 2027-12-24T18:00:00+01:00")
    return int(parsed.timestamp())


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans ascending and apart; where two overlap, the earlier one's reason goes first."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start_s < found[-1].end_s:
            if span.end_s <= found[-1].end_s:
                continue
            span = span._replace(start_s=found[-1].end_s)
        found.append(span)
    return found


def _hours(blackouts: tuple[Blackout, ...]) -> list[list[Span]]:
    """Return the hours of each day of the week, Monday first, in seconds of the day."""
    week: list[list[Span]] = [[] for _ in _WEEK]
    for blackout in blackouts:
        if blackout.start is not None or blackout.end is not None:
            continue
        begin, end = _clock_s(blackout.from_), _clock_s(blackout.to)
        reason = blackout.reason or f"blackout {blackout.from_}-{blackout.to}"
        for weekday in blackout.days or _WEEK:
            day = _WEEK.index(weekday)
            if begin < end:
                week[day].append(Span(begin, end, reason))
            else:
                week[day].append(Span(begin, DAY_S, reason))
                week[(day + 1) % 7].append(Span(0, end, reason))
    return [sorted(span for span in spans if span.start_s < span.end_s) for spans in week]


def _clock_s(text: str | None) -> int:
    if not text or not _CLOCK.fullmatch(text):
        raise _invalid("blackouts", f"`{(text or '')[:40]}` is not a time of day; write `from` and `to` as 22:00")
    return int(text[:2]) * 3600 + int(text[3:]) * 60


def _invalid(name: str, why: str) -> CalendarInvalid:
    return CalendarInvalid(f"The calendar's `{name}` is wrong: {why}.", field=name)
