"""Every kind of change of the clocks there has been since 1990, asked forwards and backwards.

The zones are chosen for what they did: half-hour and two-hour changes, changes at midnight, days left
out, countries that gave up or took back daylight saving, changes of the standard time itself. The
judge walks minute by minute over `zoneinfo`.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from tests.unit.timing.oracle import instants, runs, transitions, tz

from chronos.errors import ScheduleNeverFires
from chronos.timing.schedule import Schedule, parse_schedule

ZONES = [
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Havana",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Europe/Dublin",
    "Asia/Kathmandu",
    "America/New_York",
    "Europe/London",
    "America/Sao_Paulo",
    "Asia/Tehran",
    "Asia/Gaza",
    "Africa/Cairo",
    "America/Santiago",
    "America/Nuuk",
    "Europe/Vilnius",
    "Africa/Monrovia",
    "Asia/Pyongyang",
    "Pacific/Kwajalein",
]
# The changes that gave a zone its place in the list: never left to the draw.
ALWAYS = {
    "Pacific/Apia": ["2011-12-30T10:00"],
    "America/Sao_Paulo": ["2018-02-18T02:00", "2018-11-04T03:00"],
    "America/Nuuk": ["2023-03-26T01:00", "2024-03-31T01:00", "2024-10-27T01:00"],
    "Europe/Vilnius": ["1998-10-25T01:00", "1999-03-28T01:00", "2003-03-30T01:00"],
    "Asia/Pyongyang": ["2015-08-14T15:00", "2018-05-04T15:00"],
    "Pacific/Kwajalein": ["1993-08-21T12:00"],
    "Australia/Lord_Howe": ["2010-04-03T15:00"],
}
CHANGES_PER_ZONE = 12
EXPRESSIONS_PER_CHANGE = 3


@cache
def changes(zone: str) -> list[datetime]:
    """Return changes of one zone: those named above, and some drawn with a seed."""
    every = transitions(zone, 1990, 2037)
    named = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in ALWAYS.get(zone, [])]
    assert set(named) <= set(every), (zone, set(named) - set(every))
    drawn = random.Random(zone).sample(every, min(len(every), CHANGES_PER_ZONE))
    return sorted({*named, *drawn}) or [datetime(2026, 3, 1, tzinfo=UTC)]


def expression(chance: random.Random) -> str:
    """Return five or six fields: real-time or wall, with everything a day field can say."""
    minute = chance.choice(("*/7", "*", "*/30", "0", "30", "31", "0,20,40", "5-55/10", "59", "15/20"))
    hour = chance.choice(("*", "*/2", "*/3", "0", "1", "2", "3", "0-4", "1,2", "23", "22-23", "0-23", "0/12"))
    if chance.random() < 0.6:
        day, month, weekday = "*", "*", "*"
    else:
        day = chance.choice(("*", "*/2", "1-7", "L", "L-2", "LW", "1W", "15W", "8-14", "L,15", "28-31", "1/5"))
        weekday = chance.choice(("*", "*/2", "0", "7", "SUN", "SAT-7", "0L", "SUN#2", "5#5,0#1", "1-5", "6,0", "SATL"))
        month = chance.choice(("*", "*", "*", "MAR,OCT", "3-4,9-11", "*/2"))
    text = f"{minute} {hour} {day} {month} {weekday}"
    return f"{chance.choice(('0', '30', '*/20', '5,50', '59'))} {text}" if chance.random() < 0.3 else text


@pytest.mark.parametrize("zone", ZONES)
def test_forwards_and_backwards_agree_with_the_brute_force(zone: str) -> None:
    chance = random.Random(f"odd {zone}")
    asked = 0
    for change in changes(zone):
        a = change - timedelta(hours=chance.randrange(3, 30), seconds=chance.randrange(3600))
        b = change + timedelta(hours=chance.randrange(3, 30), seconds=chance.randrange(3600))
        for _ in range(EXPRESSIONS_PER_CHANGE):
            text, gap = expression(chance), chance.choice(["after", "skip"])
            overlap = chance.choice(["first", "second", "both"])
            try:
                schedule = parse_schedule(text, timezone=zone, gap=gap, overlap=overlap)
            except ScheduleNeverFires:
                continue
            asked += 1
            expected = [int(run.timestamp()) for run in runs(text, zone, a, b, gap, overlap)]
            low, high = int(a.timestamp()), int(b.timestamp())
            case = (text, zone, gap, overlap, a, b)
            assert list(schedule.between_s(low, high)) == expected, case
            assert schedule.count_s(low, high) == len(expected), case
            agrees_from_everywhere(schedule, low, high, expected, chance)
    assert asked >= EXPRESSIONS_PER_CHANGE


def agrees_from_everywhere(schedule: Schedule, low: int, high: int, expected: list[int], chance: random.Random) -> None:
    """Ask from runs, from one second beside them, and from anywhere, inside gaps and repeated hours too."""
    anywhere = [chance.randrange(low, high) for _ in range(60)]
    for at in {*anywhere, *(run + beside for run in expected[:40] for beside in (-1, 0, 1)), low, high}:
        i = bisect_right(expected, at)
        if at >= low and i < len(expected):
            assert schedule.next_s(at) == expected[i], (schedule, at)
        i = bisect_left(expected, at)
        if at <= high and i:
            assert schedule.prev_s(at) == expected[i - 1], (schedule, at)
    for run in expected:
        after, before = schedule.next_s(run), schedule.prev_s(run)
        assert after is None or schedule.prev_s(after) == run, (schedule, run)
        assert before is None or schedule.next_s(before) == run, (schedule, run)


def test_the_minute_before_an_overlap_is_found_from_inside_it() -> None:
    # On 2010-04-04 the wall of Lord Howe went from 02:00 back to 01:30: 01:31 happened at 14:31Z and at 15:01Z.
    at = int(datetime(2010, 4, 3, 15, 0, 1, tzinfo=UTC).timestamp())
    first = int(datetime(2010, 4, 3, 14, 31, tzinfo=UTC).timestamp())
    schedule = parse_schedule("31 1 * * *", timezone="Australia/Lord_Howe")
    assert (at, first) == (1270306801, 1270305060)
    assert schedule.prev_s(at) == first
    assert schedule.prev_s(at + 1800) == first
    both = parse_schedule("31 1 * * *", timezone="Australia/Lord_Howe", overlap="both")
    second = parse_schedule("31 1 * * *", timezone="Australia/Lord_Howe", overlap="second")
    assert (both.prev_s(at), both.prev_s(at + 1800)) == (first, first + 1800)
    assert (second.prev_s(at), second.prev_s(at + 1800)) == (first - 86_400, first + 1800)


def test_a_stretch_leaves_out_its_beginning_and_includes_its_end() -> None:
    nine = int(datetime(2027, 6, 1, 9, tzinfo=UTC).timestamp())
    for text, step in (("0 9 * * *", 86_400), ("@every 1d", 86_400)):
        schedule = parse_schedule(text, anchor=nine - 86_400)
        assert list(schedule.between_s(nine, nine + step)) == [nine + step]
        assert list(schedule.between_s(nine - 1, nine)) == [nine]
        assert list(schedule.between_s(nine, nine)) == []
        assert (schedule.count_s(nine, nine + step), schedule.count_s(nine - 1, nine)) == (1, 1)
    once = parse_schedule("@at 2027-06-01T09:00Z")
    assert (list(once.between_s(nine - 1, nine)), list(once.between_s(nine, nine + 9))) == ([nine], [])


@pytest.mark.parametrize("zone", ZONES)
def test_intervals_take_no_notice_of_the_clocks_of_any_zone(zone: str) -> None:
    chance = random.Random(f"every {zone}")
    for change in changes(zone):
        at, interval = int(change.timestamp()), chance.randrange(1, 200_000)
        anchor = at - chance.randrange(0, 500_000)
        schedule = parse_schedule(f"@every {interval}s", timezone=zone, anchor=anchor)
        run = schedule.next_s(at)
        assert run is not None
        assert (run - anchor) % interval == 0
        assert max(at, anchor) < run <= max(at, anchor) + interval
        assert schedule.prev_s(run) == (run - interval if run - interval > anchor else None)


@pytest.mark.parametrize("zone", ZONES)
def test_a_single_instant_on_the_wall_is_the_one_the_rule_names(zone: str) -> None:
    for change in changes(zone):
        offsets = [offset_of(zone, change - timedelta(hours=1)), offset_of(zone, change)]
        for minutes in (-90, -31, -1, 0, 1, 31, 90):
            for offset in offsets:
                wall = (change + timedelta(minutes=minutes) + offset).replace(tzinfo=None)
                once = parse_schedule(f"@at {wall:%Y-%m-%dT%H:%M}", timezone=zone)
                assert {once.next(change - timedelta(days=3))} == instants(wall, 0, tz(zone), "after", "first")


def offset_of(zone: str, at: datetime) -> timedelta:
    offset = at.astimezone(tz(zone)).utcoffset()
    assert offset is not None
    return offset
