"""Counting without walking: what is counted by days equals what is found by looking at each instant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos.timing.base import Schedule
from chronos.timing.business import CalendarSchedule
from chronos.timing.calendar import CalendarRules, Shift, compile_calendar
from chronos.timing.civil import DAY_S, END_S
from chronos.timing.merged import Merged
from chronos.timing.recurrence import CronSchedule
from chronos.timing.schedule import parse_schedule

YEAR_2027 = 1_798_761_600
TEXTS = [
    "*/7 * * * *",
    "30 1,2 * * *",
    "0 */2 * * *",
    "15 2-3 * * *",
    "0 0-23 * * 1-5",
    "*/20 3 L * *",
    "*/30 * * * * *",
    "0,30 30 1-2 * * *",
    "@daily",
    "@every 7m",
    "@every 26h",
    "@at 2027-03-14T07:00:00Z",
]
ZONES = ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]
CHANGES = [1_805_007_600, 1_825_581_600, 1_837_000_000, 1_325_239_200, 1_806_195_600, 1_822_528_800]
"""Seconds near which a clock of one of the zones changes."""
CALENDARS: list[dict[str, Any]] = [
    {"exclude_weekends": True},
    {"blackouts": [{"from": "01:30", "to": "03:10"}]},
    {"blackouts": [{"from": "22:00", "to": "02:15", "days": ["sat", "sun"]}], "timezone": "America/New_York"},
]

schedules = st.builds(
    lambda text, zone, gap, overlap: parse_schedule(text, timezone=zone, gap=gap, overlap=overlap, anchor=CHANGES[0]),
    st.sampled_from(TEXTS),
    st.sampled_from(ZONES),
    st.sampled_from(["after", "skip"]),
    st.sampled_from(["first", "second", "both"]),
)
spans = st.tuples(
    st.sampled_from([YEAR_2027, *CHANGES]), st.integers(-3 * DAY_S, 3 * DAY_S), st.integers(0, 4 * DAY_S)
).map(lambda drawn: (drawn[0] + drawn[1], drawn[0] + drawn[1] + drawn[2]))


def under(schedule: Schedule, calendar: dict[str, Any], shift: str = "none") -> CalendarSchedule:
    return CalendarSchedule(schedule, compile_calendar(msgspec.convert(calendar, CalendarRules)), Shift(shift))


def walked(parts: Sequence[Schedule], a: int, b: int) -> set[int]:
    return {instant for part in parts for instant in part.between_s(a, b)}


def bits(start: int, mask: int) -> set[int]:
    return {start + place for place in range(mask.bit_length()) if mask >> place & 1}


@given(schedules, spans)
def test_a_mask_has_every_instant_and_no_other(schedule: Schedule, span: tuple[int, int]) -> None:
    start, seconds = span[0], min(DAY_S, span[1] - span[0])
    assert bits(start, schedule.mask_s(start, seconds)) == walked([schedule], start - 1, start + seconds - 1)


@settings(max_examples=60)
@given(st.lists(schedules, min_size=1, max_size=4), spans)
def test_the_count_of_several_schedules_is_that_of_their_distinct_instants(
    parts: list[Schedule], span: tuple[int, int]
) -> None:
    assert Merged(parts).count_s(*span) == len(walked(parts, *span))


@settings(max_examples=60)
@given(st.lists(schedules, min_size=1, max_size=3), st.sampled_from(CALENDARS), spans)
def test_every_planned_instant_is_kept_or_left_out(
    bases: list[Schedule], calendar: dict[str, Any], span: tuple[int, int]
) -> None:
    merged = Merged([under(base, calendar) for base in bases])
    left_out = {instant for start, mask in merged.left_out_s(*span) for instant in bits(start, mask)}
    kept = walked([under(base, calendar) for base in bases], *span)
    assert left_out == walked(bases, *span) - kept
    assert merged.count_s(*span) == len(kept)
    assert all(merged.reason_s(instant) for instant in list(left_out)[:20])
    following = [n for base in bases if (n := base.next_s(span[0])) is not None]
    assert merged.next_planned_s(span[0]) == min(following, default=None)


@settings(max_examples=30)
@given(
    st.sampled_from(["*/7 * * * *", "30 1,2 * * *", "15 2-3 * * *", "0 */2 * * *"]),
    st.sampled_from(ZONES),
    st.sampled_from(CALENDARS[1:]),
    st.sampled_from(["next_business_day", "previous_business_day"]),
    spans,
)
def test_moved_runs_are_counted_as_they_are_found(
    text: str, zone: str, calendar: dict[str, Any], shift: str, span: tuple[int, int]
) -> None:
    schedule = under(parse_schedule(text, timezone=zone), calendar, shift)
    found = walked([schedule], *span)
    assert schedule.count_s(*span) == len(found)
    start, seconds = span[0], min(DAY_S, span[1] - span[0])
    assert bits(start, schedule.mask_s(start, seconds)) == walked([schedule], start - 1, start + seconds - 1)
    landed, at = set(), span[0]
    while (following := schedule.next_planned_s(at)) is not None and following <= span[1]:
        at = following
        landed.add(at)
    left_out = {instant for s, mask in Merged([schedule]).left_out_s(*span) for instant in bits(s, mask)}
    assert landed == found | left_out


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    for name in ("next_s", "prev_s", "mask_s"):
        real = getattr(CronSchedule, name)

        def spy(self: CronSchedule, *args: int, real: Any = real, name: str = name) -> Any:
            asked.append(name)
            return real(self, *args)

        monkeypatch.setattr(CronSchedule, name, spy)
    return asked


def test_ten_years_of_seconds_are_counted_by_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    secondly, minutely = (parse_schedule(text, timezone="Europe/London") for text in ("* * * * * *", "0 * * * * *"))
    blacked = under(secondly, {"blackouts": [{"from": "00:00", "to": "06:00"}]})
    ten_years_s = 3_652 * DAY_S
    asked = counted(monkeypatch)
    assert secondly.count_s(YEAR_2027, YEAR_2027 + ten_years_s) == ten_years_s
    assert asked == []
    assert Merged([secondly, minutely]).count_s(YEAR_2027, YEAR_2027 + ten_years_s) == ten_years_s
    assert asked == ["mask_s"] * 2 * 3_652
    asked.clear()
    left_out = Merged([blacked]).left_out_s(YEAR_2027, YEAR_2027 + ten_years_s)
    assert sum(mask.bit_count() for _, mask in left_out) == ten_years_s // 4
    assert asked == ["mask_s"] * 3_652


def test_nothing_lies_beyond_the_last_year() -> None:
    merged = Merged([parse_schedule("* * * * * *"), parse_schedule("@every 1s")])
    assert merged.count_s(END_S - 3, END_S + 1_000) == 2
