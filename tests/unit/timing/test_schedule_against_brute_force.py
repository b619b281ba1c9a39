"""The schedules around every change of the clocks, judged by walking minute by minute."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta

import pytest
from tests.dose import dose
from tests.unit.timing.oracle import ZONES, runs, transitions

from chronos.timing.schedule import Schedule, parse_schedule

EXPRESSIONS = [
    "*/7 * * * *",
    "30 * * * *",
    "0 */3 * * *",
    "0,20,40 0-4 * * *",
    "15 2 * * *",
    "45 1,23 * * *",
    "0 0 * * *",
    "59 23 * * 0-2",
    "10 3 8-14 3,10,11 0",
    "5-55/10 1-3 */2 * 1-5",
]


def windows(zone: str) -> list[tuple[datetime, datetime]]:
    """Return a stretch of days around every change, and one without any."""
    years = (2010, 2012) if zone == "Pacific/Apia" else (2023, 2026)
    around = [(at - timedelta(days=1, minutes=7), at + timedelta(days=1, hours=3)) for at in transitions(zone, *years)]
    return [*around, (datetime(2025, 2, 27, tzinfo=UTC), datetime(2025, 3, 2, tzinfo=UTC))]


@pytest.mark.parametrize("zone", dose(ZONES, 6))
def test_every_zone_agrees_with_the_brute_force_around_its_changes(zone: str) -> None:
    chance = random.Random(zone)
    for a, b in windows(zone):
        for expression in chance.sample(EXPRESSIONS, 4):
            gap, overlap = chance.choice(["after", "skip"]), chance.choice(["first", "second", "both"])
            schedule = parse_schedule(expression, timezone=zone, gap=gap, overlap=overlap)
            expected = runs(expression, zone, a, b, gap, overlap)
            case = (expression, zone, gap, overlap, a)
            assert list(schedule.between(a, b)) == expected, case
            assert schedule.count_s(int(a.timestamp()), int(b.timestamp())) == len(expected), case
            assert_answers_from_everywhere(schedule, a, b, expected)


def assert_answers_from_everywhere(schedule: Schedule, a: datetime, b: datetime, expected: list[datetime]) -> None:
    """Ask from instants inside gaps and repeated hours too, not only from one run to the next."""
    runs = [int(run.timestamp()) for run in expected]
    for at in range(int(a.timestamp()), int(b.timestamp()), 420):
        i = bisect_right(runs, at)
        if i < len(runs):
            assert schedule.next_s(at) == runs[i], (schedule, at)
        i = bisect_left(runs, at)
        if i:
            assert schedule.prev_s(at) == runs[i - 1], (schedule, at)


def test_the_day_that_samoa_left_out_agrees_with_the_brute_force() -> None:
    a, b = datetime(2011, 12, 28, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC)
    for expression in EXPRESSIONS:
        for gap in ("after", "skip"):
            schedule = parse_schedule(expression, timezone="Pacific/Apia", gap=gap)
            assert list(schedule.between(a, b)) == runs(expression, "Pacific/Apia", a, b, gap), expression
