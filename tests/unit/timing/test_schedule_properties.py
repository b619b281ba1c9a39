"""What holds for every schedule, in every zone."""

from __future__ import annotations

from calendar import isleap
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.timing.oracle import ZONES

from chronos.errors import ScheduleNeverFires
from chronos.timing.schedule import Gap, OverlapTime, Schedule, parse_schedule
from chronos.timing.zone import zone as load_zone
from chronos.timing.zone import zone_names

FROM = int(datetime(2010, 1, 1, tzinfo=UTC).timestamp())
UNTIL = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())


def items(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda ab: f"{min(ab)}-{max(ab)}")
    steps = st.tuples(st.one_of(ranges, st.just("*"), number.map(str)), st.integers(1, high))
    return st.one_of(number.map(str), ranges, st.just("*"), steps.map(lambda bs: f"{bs[0]}/{bs[1]}"))


def fields(low: int, high: int, *extras: str) -> st.SearchStrategy[str]:
    one = st.one_of(items(low, high), st.sampled_from(extras)) if extras else items(low, high)
    return st.lists(one, min_size=1, max_size=3).map(",".join)


@st.composite
def schedules(draw: st.DrawFn, zones: list[str] = ZONES) -> Schedule:
    parts = [draw(fields(0, 59)), draw(fields(0, 23))]
    parts += [draw(st.one_of(st.just("*"), fields(1, 31, "L", "L-3", "LW", "15W", "1W")))]
    parts += [draw(st.one_of(st.just("*"), fields(1, 12)))]
    parts += [draw(st.one_of(st.just("*"), fields(0, 7, "5L", "1#2", "0#5")))]
    if draw(st.booleans()) and draw(st.booleans()):
        parts.insert(0, draw(st.sampled_from(["0", "30", "*/20", "5,50"])))
    zone = draw(st.sampled_from(zones))
    gap, overlap = draw(st.sampled_from(Gap)), draw(st.sampled_from(OverlapTime))
    try:
        return parse_schedule(" ".join(parts), timezone=zone, gap=gap, overlap=overlap)
    except ScheduleNeverFires:
        return parse_schedule("0 0 * * *", timezone="UTC")


@st.composite
def moments(draw: st.DrawFn, schedule: Schedule) -> int:
    """Return an instant, often within a day of a change of the clocks."""
    at = draw(st.integers(FROM, UNTIL))
    changes = load_zone(schedule.timezone).transitions(at, at + 400 * 86_400)
    near: bool = draw(st.booleans())
    if changes and near:
        return changes[0].at_s + draw(st.integers(-90_000, 90_000))
    return at


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_next_is_after_and_in_order_and_prev_undoes_it(data: st.DataObject) -> None:
    schedule = data.draw(schedules())
    at = data.draw(moments(schedule))
    runs = list(islice(schedule.between_s(at, UNTIL + 40 * 366 * 86_400), 5))
    assert all(at < run for run in runs)
    assert all(earlier < later for earlier, later in pairwise(runs))
    for earlier, later in pairwise(runs):
        assert schedule.prev_s(later) == earlier
        assert schedule.next_s(later - 1) == later
        assert schedule.next_s(earlier) == later
        assert schedule.prev_s(earlier + 1) == earlier


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_nothing_lies_between_an_instant_and_its_neighbours(data: st.DataObject) -> None:
    schedule = data.draw(schedules())
    at = data.draw(moments(schedule))
    before, after = schedule.prev_s(at), schedule.next_s(at - 1)
    assert before is None or before < at
    assert after is None or after >= at
    if before is not None and after is not None:
        assert schedule.next_s(before) == after
        assert schedule.prev_s(after) == before


@given(st.data(), st.integers(0, 6 * 86_400))
@settings(max_examples=400, deadline=None)
def test_counting_agrees_with_listing(data: st.DataObject, length: int) -> None:
    schedule = data.draw(schedules())
    a = data.draw(moments(schedule))
    runs = list(schedule.between_s(a, a + length))
    assert schedule.count_s(a, a + length) == len(runs)
    assert [int(run.timestamp()) for run in schedule.between(utc(a), utc(a + length))] == runs


@given(st.data(), st.lists(st.integers(FROM, UNTIL), min_size=3, max_size=3))
@settings(max_examples=200, deadline=None)
def test_counts_of_adjoining_stretches_add_up(data: st.DataObject, edges: list[int]) -> None:
    schedule = data.draw(schedules())
    a, b, c = sorted(edges)
    assert schedule.count_s(a, b) + schedule.count_s(b, c) == schedule.count_s(a, c)
    assert schedule.count_s(c, a) == 0


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_zone_without_changes_is_utc_moved_by_its_offset(data: st.DataObject) -> None:
    schedule = data.draw(schedules(["UTC"]))
    elsewhere = parse_schedule(schedule.text, timezone="Asia/Kolkata")
    at = data.draw(st.integers(FROM, UNTIL))
    run, there = schedule.next_s(at), elsewhere.next_s(at - 19_800)
    assert run is not None
    assert there == run - 19_800


@given(st.data(), st.integers(0, 23), st.integers(0, 59))
@settings(max_examples=100, deadline=None)
def test_later_wall_times_never_run_earlier(data: st.DataObject, hour: int, minute: int) -> None:
    zone = data.draw(st.sampled_from(ZONES))
    earlier = parse_schedule(f"{minute} {hour} * * *", timezone=zone)
    later_minute = data.draw(st.integers(hour * 60 + minute, 24 * 60 - 1))
    later = parse_schedule(f"{later_minute % 60} {later_minute // 60} * * *", timezone=zone)
    day = data.draw(moments(earlier)) // 86_400 * 86_400
    # From the start of one local day to its end: the runs of the same date pair up in order.
    start = load_zone(zone).day_start(day // 86_400)
    assert (earlier.next_s(start - 1) or 0) <= (later.next_s(start - 1) or 0)


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_wall_schedule_has_a_run_for_every_day_of_the_year(zone: str) -> None:
    for year in range(2012, 2032):
        begin, end = (load_zone(zone).day_start(day_number(y)) for y in (year, year + 1))
        for text in ("30 2 * * *", "0 0 * * *", "30 1 * * *", "59 23 * * *"):
            assert parse_schedule(text, timezone=zone).count_s(begin - 1, end - 1) == 365 + isleap(year), (text, year)


def test_every_zone_of_the_package_can_be_scheduled_in() -> None:
    for zone in zone_names():
        run = parse_schedule("0 12 * * *", timezone=zone).next_s(FROM)
        assert run is not None
        assert (run + load_zone(zone).offset_at(run)) % 86_400 == 12 * 3600


@pytest.mark.parametrize("text", ["0 9 * * *", "* * * * * *", "*/5 9-17 * * 1-5"])
def test_counting_ten_years_agrees_with_counting_its_days(text: str) -> None:
    schedule = parse_schedule(text, timezone="America/New_York")
    days = range(FROM, FROM + 3_653 * 86_400, 86_400)
    assert schedule.count_s(FROM, days[-1]) == sum(schedule.count_s(a, b) for a, b in pairwise(days))


def test_seconds_of_a_minute_are_counted_and_listed_alike() -> None:
    schedule = parse_schedule("*/7 30 2 * * *", timezone="America/New_York")
    a = int(datetime(2027, 3, 13, tzinfo=UTC).timestamp())
    runs = list(schedule.between_s(a, a + 3 * 86_400))
    assert len(runs) == 9 + 1 + 9  # the nine of the 14th fall into the gap and become one
    assert schedule.count_s(a, a + 3 * 86_400) == 19


@pytest.mark.parametrize("after", [datetime(1969, 6, 1, tzinfo=UTC), datetime(2499, 12, 31, 23, 59, 30, tzinfo=UTC)])
def test_the_edges_of_the_calendar_answer(after: datetime) -> None:
    schedule = parse_schedule("* * * * *", timezone="America/New_York")
    run = schedule.next(after)
    assert run is None or run == datetime(1970, 1, 1, tzinfo=UTC)
    assert (run is None) == (after.year > 2000)
    assert schedule.next(datetime(2600, 1, 1, tzinfo=UTC)) is None
    assert schedule.prev(datetime(2600, 1, 1, tzinfo=UTC)) == datetime(2499, 12, 31, 23, 59, tzinfo=UTC)
    assert schedule.prev(datetime(1970, 1, 1, tzinfo=UTC)) is None


def test_fractions_of_a_second_round_to_the_right_side() -> None:
    schedule = parse_schedule("0 12 * * *")
    noon = datetime(2027, 1, 1, 12, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    assert schedule.next(noon - tick) == noon
    assert schedule.next(noon) == noon + timedelta(days=1)
    assert schedule.prev(noon + tick) == noon
    assert schedule.prev(noon) == noon - timedelta(days=1)
    assert list(schedule.between(noon - tick, noon)) == [noon]


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(AssertionError):
        parse_schedule("0 12 * * *").next(datetime(2027, 1, 1))


def utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def day_number(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
