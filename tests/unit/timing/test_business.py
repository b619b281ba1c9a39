"""Schedules under calendars."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos.errors import ScheduleInvalid, ScheduleNeverFires
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import CalendarRules, Shift, compile_calendar
from chronos.timing.merged import Merged
from chronos.timing.schedule import parse_schedule
from chronos.timing.zone import zone as load_zone


def left_out(schedule: CalendarSchedule, a: int, b: int) -> Iterator[tuple[int, str]]:
    """Yield (instant, reason) of each run in (`a`, `b`] that the calendar leaves out."""
    for start, mask in Merged([schedule]).left_out_s(a, b):
        while mask:
            bit = (mask & -mask).bit_length() - 1
            yield start + bit, schedule.reason_s(start + bit)
            mask ^= 1 << bit


def under(text: str, shift: str = "none", *, timezone: str = "UTC", **document: Any) -> CalendarSchedule:
    calendar = compile_calendar(msgspec.convert(document, CalendarRules))
    return CalendarSchedule(parse_schedule(text, timezone=timezone), calendar, Shift(shift))


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def runs(schedule: CalendarSchedule, a: str, b: str) -> list[str]:
    found = list(schedule.between_s(seconds(a), seconds(b)))
    assert schedule.count_s(seconds(a), seconds(b)) == len(found)
    return [f"{datetime.fromtimestamp(at, UTC):%m-%dT%H:%M}" for at in found]


def test_runs_on_excluded_dates_are_left_out_and_say_why() -> None:
    schedule = under("0 9 * * *", exclude=["2027-12-25", "2027-12-26"])
    assert runs(schedule, "2027-12-24", "2027-12-28") == ["12-24T09:00", "12-27T09:00"]
    assert [(at, why) for at, why in left_out(schedule, seconds("2027-12-24"), seconds("2027-12-28"))] == [
        (seconds("2027-12-25T09:00"), "2027-12-25 is excluded"),
        (seconds("2027-12-26T09:00"), "2027-12-26 is excluded"),
    ]


def test_a_night_of_many_refused_minutes_is_one_candidate() -> None:
    schedule = under("* * * * *", blackouts=[{"from": "20:00", "to": "08:00"}])
    assert schedule.next_s(seconds("2027-01-01T20:00")) == seconds("2027-01-02T08:00")
    assert schedule.prev_s(seconds("2027-01-02T08:00")) == seconds("2027-01-01T19:59")


def test_a_weekend_run_moves_to_monday() -> None:
    schedule = under("0 9 1 * *", "next_business_day")
    assert runs(schedule, "2027-04-30", "2027-06-02") == ["05-03T09:00", "06-01T09:00"]


def test_a_weekend_run_moves_back_to_friday() -> None:
    schedule = under("0 9 1 * *", "previous_business_day")
    assert runs(schedule, "2027-04-29", "2027-06-02") == ["04-30T09:00", "06-01T09:00"]


def test_a_moved_run_passes_over_public_holidays() -> None:
    schedule = under("0 9 25 12 *", "next_business_day", country="GB", subdivision="ENG")
    assert runs(schedule, "2027-12-20", "2028-01-05") == ["12-29T09:00"]  # two substitute days follow the weekend


def test_runs_that_meet_on_one_instant_are_one() -> None:
    schedule = under("0 9 * * *", "next_business_day")
    assert runs(schedule, "2027-01-01", "2027-01-05") == ["01-01T09:00", "01-04T09:00"]


def test_moved_runs_keep_the_order_of_the_wall() -> None:
    schedule = under("0 8 * * MON", "next_business_day")
    late = under("30 9 2 1 *", "next_business_day")  # a Saturday
    assert runs(schedule, "2027-01-01", "2027-01-05") == ["01-04T08:00"]
    assert runs(late, "2027-01-01", "2027-01-05") == ["01-04T09:30"]


def test_a_moved_run_keeps_its_wall_time_over_a_change_of_the_clocks() -> None:
    schedule = under("0 9 13 3 *", "next_business_day", timezone="America/New_York")  # Saturday before the gap
    assert runs(schedule, "2027-03-01", "2027-04-01") == ["03-15T13:00"]


def test_a_blackout_drops_a_run_and_never_moves_it() -> None:
    schedule = under("0 9 2 1 *", "next_business_day", blackouts=[{"from": "08:00", "to": "10:00", "days": ["mon"]}])
    assert runs(schedule, "2027-01-01", "2027-02-01") == []
    assert list(left_out(schedule, seconds("2027-01-01"), seconds("2027-02-01"))) == [
        (seconds("2027-01-04T09:00"), "blackout 08:00-10:00")
    ]


def test_a_calendar_that_refuses_everything_is_found_out() -> None:
    schedule = under("0 9 * * SAT", exclude_weekends=True)
    assert schedule.next_s(seconds("2027-01-01")) is None
    with pytest.raises(ScheduleNeverFires, match="its calendar leaves out"):
        schedule.check_fires(seconds("2027-01-01"))
    under("0 9 * * MON", exclude_weekends=True).check_fires(seconds("2027-01-01"))


def test_the_one_included_date_far_ahead_is_found() -> None:
    schedule = under("* * * * *", include_only=["2045-01-01"])
    assert schedule.next_s(seconds("2027-01-01")) == seconds("2045-01-01")


def test_what_runs_every_second_cannot_be_shifted() -> None:
    with pytest.raises(ScheduleInvalid, match="at most one run a minute"):
        under("* * * * * *", "next_business_day")


def test_the_rest_is_that_of_the_schedule_below() -> None:
    schedule = under("0 9 * * *", "next_business_day", timezone="Europe/Paris")
    assert (schedule.text, schedule.timezone, schedule.is_one_shot) == ("0 9 * * *", "Europe/Paris", False)
    assert schedule.describe() == "At 09:00 (Europe/Paris), moved to the next business day when it is none"
    assert schedule.period_hint_s(seconds("2027-01-01T12:00")) == 86_400
    assert len(schedule.notes(datetime(2027, 1, 1, tzinfo=UTC), 2)) == 2


def test_a_one_shot_moves_too() -> None:
    schedule = under("@at 2027-01-02T09:00:00Z", "next_business_day")
    assert schedule.is_one_shot
    assert runs(schedule, "2027-01-01", "2027-02-01") == ["01-04T09:00"]


TEXTS = ["0 9 * * *", "30 1,2 * * *", "0 */6 * * *", "0 0 1,15 * *", "45 23 * * 5-7", "@every 7h", "0 12 L * *"]
DOCUMENTS: list[dict[str, Any]] = [
    {},
    {"exclude": ["2027-03-12", "2027-03-15"], "exclude_weekends": True},
    {"country": "US", "blackouts": [{"from": "23:00", "to": "02:30"}]},
    {"blackouts": [{"start": "2027-03-13T12:00:00Z", "end": "2027-03-16T12:00:00Z"}], "business_days": ["tue", "sat"]},
    {"include_only": ["2027-03-10", "2027-03-14", "2027-11-07", "2027-11-20"], "business_days": ["wed", "sun"]},
]
ZONES = ["UTC", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Asia/Tokyo"]


@given(
    st.sampled_from(TEXTS),
    st.sampled_from(list(Shift)),
    st.sampled_from(ZONES),
    st.sampled_from(DOCUMENTS),
    st.integers(seconds("2027-03-01"), seconds("2027-11-20")),
    st.integers(0, 12 * 86_400),
)
@settings(max_examples=250, deadline=None)
def test_under_any_calendar_listing_counting_and_stepping_back_agree(
    text: str, shift: Shift, zone: str, document: dict[str, Any], a: int, length: int
) -> None:
    schedule = under(text, shift, timezone=zone, **document)
    found = list(schedule.between_s(a, a + length))
    assert schedule.count_s(a, a + length) == len(found)
    back, at = [], a + length + 1
    while (previous := schedule.prev_s(at)) is not None and previous > a:
        back.append(previous)
        at = previous
    assert back[::-1] == found


@given(
    st.sampled_from(TEXTS),
    st.sampled_from(ZONES),
    st.sampled_from(DOCUMENTS),
    st.integers(seconds("2027-03-01"), seconds("2027-11-20")),
)
@settings(max_examples=100, deadline=None)
def test_without_a_shift_every_run_is_either_let_through_or_skipped_with_a_reason(
    text: str, zone: str, document: dict[str, Any], a: int
) -> None:
    schedule, b = under(text, timezone=zone, **document), a + 20 * 86_400
    skipped = dict(left_out(schedule, a, b))
    assert all(skipped.values())
    assert sorted([*skipped, *schedule.between_s(a, b)]) == list(schedule.base.between_s(a, b))


@given(
    st.sampled_from(TEXTS),
    st.sampled_from([Shift.NEXT, Shift.PREVIOUS]),
    st.sampled_from(ZONES),
    st.sampled_from(DOCUMENTS),
    st.integers(seconds("2027-03-01"), seconds("2027-11-20")),
)
@settings(max_examples=100, deadline=None)
def test_with_a_shift_every_run_is_on_a_business_day(
    text: str, shift: Shift, zone: str, document: dict[str, Any], a: int
) -> None:
    schedule = under(text, shift, timezone=zone, **document)
    for at in schedule.between_s(a, a + 20 * 86_400):
        day = (at + load_zone(zone).offset_at(at)) // 86_400
        assert schedule.calendar.is_business_day(day)
