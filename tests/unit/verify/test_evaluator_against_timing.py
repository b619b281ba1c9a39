"""The verifier's evaluator and the product's share no code; they must name the same instants."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.dose import dose
from tests.unit.timing.oracle import transitions

from chronos.errors import ChronosError
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import Calendar, CalendarRules, Shift, compile_calendar
from chronos.timing.merged import Merged
from chronos.timing.schedule import parse_schedule
from chronos.verify.calendars import Rules
from chronos.verify.definition import Definition
from chronos.verify.fields import NotUnderstood
from chronos.verify.zones import Zones

ZONES = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "America/Havana",
    "America/Nuuk",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kwajalein",
]
ICAL = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//t//t//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20250310
DTEND;VALUE=DATE:20250312
RRULE:FREQ=YEARLY;INTERVAL=1
EXDATE;VALUE=DATE:20270310
SUMMARY:two days in March
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART:20271103T013000
DTEND:20271109T120000Z
SUMMARY:maintenance
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART;VALUE=DATE:20271106
RDATE;VALUE=DATE:20270314,20271107
SUMMARY:listed
END:VEVENT
END:VCALENDAR
"""
DOCUMENTS: list[dict[str, Any]] = [
    {"country": "GB", "subdivision": "ENG"},
    {"country": "US", "exclude_weekends": True},
    {"exclude": ["2027-12-31", "2027-03-15", "2027-11-07"], "exclude_weekends": True},
    {"business_days": ["sun", "mon", "tue", "wed", "thu"], "exclude_weekends": True, "timezone": "Asia/Tokyo"},
    {"blackouts": [{"from": "22:00", "to": "02:15"}, {"from": "12:00", "to": "12:00", "days": ["wed"]}]},
    {"blackouts": [{"from": "01:00", "to": "24:00", "days": ["sun", "mon"]}], "country": "DE"},
    {"blackouts": [{"start": "2027-03-13T12:00:00Z", "end": "2027-03-14T09:30:00+02:00"}]},
    {"include_only": ["2027-03-14", "2027-03-28", "2027-11-06", "2027-11-07"]},
    {"ical": ICAL},
    {"ical": ICAL, "use_dates_as": "include_only", "timezone": "Europe/Paris"},
]


def words(chance: random.Random) -> str:
    """Return five or six fields, with everything that a field can say."""
    minute = chance.choice(("*/7", "*", "?", "0", "30", "H", "0,20,40", "5-55/10", "59", "15/20", "H/7", "H(3-9)"))
    hour = chance.choice(("*", "*/2", "*/3", "0", "1", "2", "3", "0-4", "1,2", "H", "22-23", "0-23", "0/9", "H(0-5)/2"))
    if chance.random() < 0.5:
        day, month, weekday = "*", "*", "*"
    else:
        day = chance.choice(("*", "*/2", "1-7", "L", "L-2", "LW", "1W", "15W", "31W", "L,15", "28-31", "1/5", "H", "?"))
        weekday = chance.choice(
            ("*", "*/2", "0", "7", "SUN", "SAT-7", "0L", "SUN#2", "5#5,0#1", "1-5", "fri-sun", "SATL", "H", "THUL")
        )
        month = chance.choice(("*", "*", "*", "MAR,OCT", "3-4,9-11", "*/2", "jan-dec/2"))
    text = f"{minute} {hour} {day} {month} {weekday}"
    return f"{chance.choice(('0', '30', '*/20', '5,50', '59', 'H'))} {text}" if chance.random() < 0.3 else text


def a_schedule(chance: random.Random, around: datetime) -> str:
    """Return any kind of schedule, at home around an instant."""
    kind = chance.random()
    if kind < 0.06:
        return f"@every {chance.choice(('17s', '1h30m', '1.5h', '7m0.5s500ms', '1d', '2w'))}"
    if kind < 0.1:
        wall = around + timedelta(minutes=chance.randrange(-90, 90))
        return f"@at {wall:%Y-%m-%dT%H:%M}" + chance.choice(("", ":30", ":15Z", "+01:00"))
    if kind < 0.14:
        return chance.choice(("@daily", "@hourly", "@weekly", "@monthly", "@yearly", "@midnight"))
    zone = f"TZ={chance.choice(ZONES)} " if chance.random() < 0.1 else ""
    return zone + words(chance)


def windows(zone: str, chance: random.Random, count: int) -> list[tuple[int, int]]:
    """Return stretches of some days, most of them around a change of the clocks."""
    changes = transitions(zone, 2011, 2011) + transitions(zone, 1993, 1993) + transitions(zone, 2026, 2028)
    found = []
    for _ in range(count):
        at = chance.choice(changes or [datetime(2027, 3, 1, tzinfo=UTC)])
        a = int(at.timestamp()) - chance.randrange(3 * 86_400)
        found.append((a, a + chance.randrange(1, 5 * 86_400)))
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_both_evaluators_name_the_same_instants(zone: str) -> None:
    chance = random.Random(zone)
    zones, compared = Zones(), 0
    for a, b in windows(zone, chance, 60):
        text = a_schedule(chance, datetime.fromtimestamp(b, UTC))
        gap, overlap = chance.choice(["after", "skip"]), chance.choice(["first", "second", "both"])
        anchor = a - chance.randrange(100_000)
        try:
            schedule = parse_schedule(
                text, timezone=zone, gap=gap, overlap=overlap, hash_key="ops/nightly", anchor=anchor
            )
        except ChronosError:
            continue
        spec = {
            "name": "nightly",
            "namespace": "ops",
            "schedules": [text],
            "timezone": zone,
            "dst": {"gap": gap, "overlap": overlap},
        }
        expected = list(schedule.between_s(a, b))
        assert Definition(spec, anchor).owed(a, b, zones).runs == expected, (spec, a, b)
        compared += len(expected)
    assert compared > 100


@pytest.mark.parametrize("document", dose(DOCUMENTS, 3), ids=str)
def test_both_leave_out_and_move_the_same_runs_under_a_calendar(document: dict[str, Any]) -> None:
    chance = random.Random(str(document))
    zones, calendar, rules = Zones(), compile_calendar(msgspec.convert(document, CalendarRules)), Rules(document)
    left_out = 0
    for shift in [*Shift] * 3:
        zone = chance.choice(ZONES)
        texts = [f"{chance.choice((0, 30))} {chance.choice(('*/6', '2', '1,23', '12'))} * * *", words(chance)]
        at = int(datetime(2027, *chance.choice(((3, 14), (11, 7), (3, 28), (12, 30))), tzinfo=UTC).timestamp())
        a, b = at - chance.randrange(5 * 86_400), at + chance.randrange(5 * 86_400)
        try:
            parts = [a_part(t, zone, calendar, shift) for t in texts]
        except ChronosError:
            continue
        merged = Merged(parts)
        expected = sorted(instants_of(start, mask) for start, mask in merged.left_out_s(a, b))
        spec = {"name": "n", "namespace": "ops", "schedules": texts, "timezone": zone, "calendar": "c", "shift": shift}
        owed = Definition(spec, 0).owed(a, b, zones, rules)
        assert owed.runs == sorted({i for part in parts for i in part.between_s(a, b)}), (spec, a, b)
        assert owed.left_out == [i for instants in expected for i in instants if a < i <= b], (spec, a, b)
        left_out += len(owed.left_out)
    assert left_out or not document.get("blackouts")


def a_part(text: str, zone: str, calendar: Calendar, shift: Shift) -> CalendarSchedule:
    return CalendarSchedule(parse_schedule(text, timezone=zone, hash_key="ops/n"), calendar, shift)


def instants_of(start: int, mask: int) -> list[int]:
    """Return the instants that a mask of the product's stands for."""
    return [start + bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def test_start_and_end_belong_to_what_is_owed_and_a_job_without_a_calendar_that_it_names_owes_nothing() -> None:
    spec = {
        "name": "n",
        "schedules": ["* * * * *"],
        "start_at": "2027-01-01T00:01:00Z",
        "end_at": "2027-01-01T01:03:00+01:00",
    }
    begin = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    owed = Definition(spec, 0).owed(begin - 600, begin + 600, Zones())
    assert owed.runs == [begin + 60, begin + 120, begin + 180]
    assert Definition({**spec, "calendar": "gone"}, 0).owed(begin, begin + 600, Zones()) == ([], [])


@pytest.mark.parametrize(
    "text", ["@reboot", "@every soon", "@every 1.5s", "* * *", "61x * * * *", "@at never", "TZ=Not/AZone 0 0 * * *"]
)
def test_what_is_no_schedule_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NotUnderstood):
        Definition({"name": "n", "schedules": [text]}, 0).owed(0, 86_400, Zones())
