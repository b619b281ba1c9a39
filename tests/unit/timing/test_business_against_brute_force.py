"""Calendars and shifts, judged by moving every run by hand with `zoneinfo` and plain dates."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from holidays import country_holidays
from tests.dose import dose
from tests.unit.timing.oracle import instants, runs, tz

from chronos.errors import ScheduleNeverFires
from chronos.timing.business import CANDIDATES_MAX, CalendarSchedule
from chronos.timing.calendar import CalendarRules, Shift, compile_calendar
from chronos.timing.schedule import parse_schedule

DAY = timedelta(days=1)
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TEXTS = [
    "0 9 * * *",
    "30 2 * * *",
    "30 1 * * *",
    "0 0 1 * *",
    "45 23 * * 5-7",
    "0 12 L * *",
    "0 */7 * * *",
    "0 0 * * 6",
]
ZONES = ["UTC", "America/New_York", "Europe/London", "America/Havana", "Australia/Lord_Howe", "Asia/Tokyo"]
# Around the turn of the year, and around changes of the clocks in spring and in autumn.
DAYS = [
    date(2027, 12, 27),
    date(2024, 12, 30),
    date(2026, 3, 8),
    date(2027, 3, 14),
    date(2027, 3, 28),
    date(2027, 11, 6),
]
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"country": "GB", "subdivision": "ENG"},
    {"country": "US", "exclude_weekends": True},
    {"exclude": ["2027-12-31", "2028-01-03", "2024-12-31", "2027-03-15"], "exclude_weekends": True},
    {"business_days": ["sun", "mon", "tue", "wed", "thu"], "exclude_weekends": True},
    {"blackouts": [{"from": "22:00", "to": "02:15"}]},
    {"blackouts": [{"from": "01:00", "to": "03:00", "days": ["sun"]}], "country": "DE"},
    {"blackouts": [{"start": "2027-12-30T12:00:00Z", "end": "2028-01-03T09:30:00Z"}]},
]


class ByHand:
    """What the rules of a document mean, day by day and minute by minute."""

    def __init__(self, document: dict[str, Any], zone: str) -> None:
        self.document = document
        self.zone = tz(zone)
        self.business = document.get("business_days", WEEK[:5])
        country = document.get("country")
        self.holidays = (
            country_holidays(country, subdiv=document.get("subdivision"), years=range(2023, 2030)) if country else {}
        )

    def is_excluded(self, day: date) -> bool:
        weekend = WEEK[day.weekday()] not in self.business
        listed = day.isoformat() in self.document.get("exclude", ()) or day in self.holidays
        return listed or (weekend and self.document.get("exclude_weekends", False))

    def is_business_day(self, day: date) -> bool:
        return WEEK[day.weekday()] in self.business and not self.is_excluded(day)

    def is_blacked_out(self, at: datetime) -> bool:
        return any(self._hits(blackout, at) for blackout in self.document.get("blackouts", ()))

    def _hits(self, blackout: dict[str, Any], at: datetime) -> bool:
        if "start" in blackout:
            return datetime.fromisoformat(blackout["start"]) <= at < datetime.fromisoformat(blackout["end"])
        wall = at.astimezone(self.zone)
        begin, end = time.fromisoformat(blackout["from"]), time.fromisoformat(blackout["to"])
        days = blackout.get("days", WEEK)
        today, yesterday = WEEK[wall.weekday()] in days, WEEK[wall.weekday() - 1] in days
        if begin < end:
            return today and begin <= wall.time() < end
        return (today and wall.time() >= begin) or (yesterday and wall.time() < end)

    def moved(self, at: datetime, shift: Shift) -> datetime | None:
        """Return where a run goes, or None if it is left out."""
        wall = at.astimezone(self.zone).replace(tzinfo=None)
        if shift is Shift.NONE:
            return None if self.is_excluded(wall.date()) else at
        day = wall.date()
        while not self.is_business_day(day):
            day += DAY if shift is Shift.NEXT else -DAY
        if day == wall.date():
            return at
        (moved,) = instants(datetime.combine(day, wall.time()), 0, self.zone, "after", "first")
        return moved

    def runs(self, text: str, zone: str, shift: Shift, a: datetime, b: datetime) -> list[datetime]:
        candidates = [self.moved(at, shift) for at in runs(text, zone, a - 9 * DAY, b + 9 * DAY)]
        return sorted({at for at in candidates if at and a < at <= b and not self.is_blacked_out(at)})


@pytest.mark.parametrize("shift", list(Shift))
@pytest.mark.parametrize("zone", dose(ZONES, 2))
def test_every_run_is_where_moving_it_by_hand_puts_it(zone: str, shift: Shift) -> None:
    chance = random.Random(f"{zone} {shift}")
    for day in DAYS:
        text, document = chance.choice(TEXTS), chance.choice(DOCUMENTS)
        schedule = CalendarSchedule(
            parse_schedule(text, timezone=zone), compile_calendar(msgspec.convert(document, CalendarRules)), shift
        )
        a = datetime.combine(day, time(chance.randrange(24), 7), UTC) - 4 * DAY
        b = a + 8 * DAY
        expected = ByHand(document, zone).runs(text, zone, shift, a, b)
        case = (text, zone, shift, document, a)
        assert list(schedule.between(a, b)) == expected, case
        assert schedule.count_s(int(a.timestamp()), int(b.timestamp())) == len(expected), case
        back, at = [], b + timedelta(seconds=1)
        while (previous := schedule.prev(at)) is not None and previous > a:
            back.append(previous)
            at = previous
        assert back[::-1] == expected, case


def test_a_run_of_new_year_moves_into_the_old_year_or_on_in_the_new() -> None:
    calendar = compile_calendar(CalendarRules(country="DE"))
    new_year = parse_schedule("0 9 1 1 *", timezone="Europe/Berlin")  # 2028-01-01 is a Saturday and a holiday
    after = datetime(2027, 6, 1, tzinfo=UTC)
    assert CalendarSchedule(new_year, calendar, Shift.NEXT).next(after) == datetime(2028, 1, 3, 8, tzinfo=UTC)
    assert CalendarSchedule(new_year, calendar, Shift.PREVIOUS).next(after) == datetime(2027, 12, 31, 8, tzinfo=UTC)


def test_the_search_under_a_calendar_ends_after_its_bound_of_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    calendar = compile_calendar(CalendarRules(exclude_weekends=True))
    schedule = CalendarSchedule(parse_schedule("0 9 * * SAT"), calendar)
    asked = 0
    verdict = type(calendar).verdict

    def counted(self: Any, instant_s: int, timezone: str) -> Any:
        nonlocal asked
        asked += 1
        return verdict(self, instant_s, timezone)

    monkeypatch.setattr(type(calendar), "verdict", counted)
    with pytest.raises(ScheduleNeverFires, match="leaves out the next 400 times"):
        schedule.check_fires(1_800_000_000)
    assert asked == CANDIDATES_MAX == 400
