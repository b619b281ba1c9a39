from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from chronos.errors import CalendarInvalid, TimezoneUnknown
from chronos.timing.calendar import Calendar, CalendarRules, compile_calendar

ICAL = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
{events}END:VCALENDAR
"""


def calendar(**document: object) -> Calendar:
    return compile_calendar(msgspec.convert(document, CalendarRules))


def event(*lines: str) -> str:
    return ICAL.format(events="\n".join(["BEGIN:VEVENT", "UID:1", "SUMMARY:Party", *lines, "END:VEVENT", ""]))


def reason(rules: Calendar, when: str, timezone: str = "UTC") -> str:
    """Return why nothing runs at an instant, or an empty text; check what the verdict says of `until`."""
    at = int(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp())
    verdict = rules.verdict(at, timezone)
    assert verdict.runs == (verdict.reason == "")
    assert verdict.until_s > at
    last = rules.verdict(verdict.until_s - 1, timezone)
    assert (last.runs, last.reason) == (verdict.runs, verdict.reason)
    return verdict.reason


def test_no_rules_exclude_nothing() -> None:
    assert reason(calendar(), "2027-12-25T12:00") == ""


def test_a_listed_date_is_excluded_in_the_zone_of_the_schedule() -> None:
    rules = calendar(exclude=["2027-12-25"])
    assert reason(rules, "2027-12-25T12:00") == "2027-12-25 is excluded"
    assert reason(rules, "2027-12-26T04:59", "America/New_York") == "2027-12-25 is excluded"
    assert reason(rules, "2027-12-26T05:00", "America/New_York") == ""


def test_the_zone_of_the_calendar_beats_that_of_the_schedule() -> None:
    rules = calendar(exclude=["2027-12-25"], timezone="Asia/Tokyo")
    assert reason(rules, "2027-12-24T15:00", "America/New_York") == "2027-12-25 is excluded"
    assert reason(rules, "2027-12-25T15:00", "America/New_York") == ""


def test_only_included_dates_run() -> None:
    rules = calendar(include_only=["2027-03-31", "2027-06-30"])
    assert reason(rules, "2027-03-31T00:00") == ""
    assert reason(rules, "2027-04-01T00:00") == "the date is not among the included ones"
    assert reason(rules, "2027-07-01T00:00") == "the date is not among the included ones"


def test_public_holidays_are_excluded() -> None:
    rules = calendar(country="DE", subdivision="BY")
    assert "public holiday" in reason(rules, "2027-01-06T12:00")
    assert reason(calendar(country="DE"), "2027-01-06T12:00") == ""
    assert "public holiday" in reason(calendar(country="DE"), "2027-12-25T12:00")


def test_public_holidays_can_be_the_only_days() -> None:
    rules = calendar(country="US", use_dates_as="include_only")
    assert reason(rules, "2027-12-25T12:00") == ""
    assert "not among the included" in reason(rules, "2027-12-28T12:00")


def test_weekends_are_excluded_when_asked_for() -> None:
    assert reason(calendar(), "2027-01-02T12:00") == ""  # a Saturday
    assert reason(calendar(exclude_weekends=True), "2027-01-02T12:00") == "sat is not a business day"
    gulf = calendar(exclude_weekends=True, business_days=["sun", "mon", "tue", "wed", "thu"])
    assert reason(gulf, "2027-01-01T12:00") == "fri is not a business day"
    assert reason(gulf, "2027-01-03T12:00") == ""


def test_a_stretch_is_blacked_out_up_to_its_end() -> None:
    rules = calendar(
        blackouts=[{"start": "2027-12-24T18:00:00+01:00", "end": "2027-12-27T00:00:00Z", "reason": "freeze"}]
    )
    assert reason(rules, "2027-12-24T16:59:59") == ""
    assert reason(rules, "2027-12-24T17:00") == "freeze"
    assert reason(rules, "2027-12-26T23:59:59") == "freeze"
    assert reason(rules, "2027-12-27T00:00") == ""


def test_overlapping_stretches_are_one_after_the_other() -> None:
    spans = [("2027-01-01", "2027-01-10", "a"), ("2027-01-05", "2027-01-07", "b"), ("2027-01-08", "2027-01-12", "c")]
    rules = calendar(blackouts=[{"start": f"{a}T00:00Z", "end": f"{b}T00:00Z", "reason": r} for a, b, r in spans])
    found = [reason(rules, f"2027-01-{day:02d}T12:00") for day in range(1, 13)]
    assert found == ["a"] * 9 + ["c"] * 2 + [""]


def test_hours_are_blacked_out_on_the_wall_and_across_midnight() -> None:
    rules = calendar(blackouts=[{"from": "22:00", "to": "06:00", "days": ["fri"]}])
    assert reason(rules, "2027-01-01T21:59") == ""
    assert reason(rules, "2027-01-01T22:00") == "blackout 22:00-06:00"
    assert reason(rules, "2027-01-02T05:59") == "blackout 22:00-06:00"
    assert reason(rules, "2027-01-02T06:00") == ""
    assert reason(rules, "2027-01-02T22:00") == ""
    assert reason(rules, "2027-07-02T21:00", "Europe/London") == "blackout 22:00-06:00"  # 22:00 in summer time


def test_hours_follow_the_wall_through_a_change_of_the_clocks() -> None:
    rules = calendar(blackouts=[{"from": "01:00", "to": "02:00"}])
    found = [
        reason(rules, f"2027-11-07T{hour:02d}:{minute:02d}", "America/New_York") != ""
        for hour in range(4, 9)
        for minute in (0, 30)
    ]
    assert found == [False, False, True, True, True, True, False, False, False, False]


def test_all_day_events_of_an_icalendar_are_excluded_dates() -> None:
    rules = calendar(ical=event("DTSTART;VALUE=DATE:20271224", "DTEND;VALUE=DATE:20271227"))
    found = [reason(rules, f"2027-12-{day}T12:00") for day in range(23, 28)]
    assert found == ["", *["calendar: Party"] * 3, ""]


def test_a_yearly_event_repeats_until_its_rule_ends() -> None:
    rules = calendar(ical=event("DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY;COUNT=8"))
    assert [reason(rules, f"{year}-05-01T12:00") != "" for year in (2019, 2020, 2027, 2028)] == [
        False,
        True,
        True,
        False,
    ]
    until = calendar(ical=event("DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY;INTERVAL=2;UNTIL=20260430"))
    assert [reason(until, f"{year}-05-01T12:00") != "" for year in (2022, 2023, 2024, 2026)] == [
        True,
        False,
        True,
        False,
    ]


def test_a_timed_event_is_a_stretch() -> None:
    rules = calendar(ical=event("DTSTART:20271224T180000Z", "DURATION:PT2H"))
    assert reason(rules, "2027-12-24T18:00") == "calendar: Party"
    assert reason(rules, "2027-12-24T20:00") == ""
    floating = calendar(ical=event("DTSTART:20270714T120000", "DTEND:20270714T130000"), timezone="Europe/Paris")
    assert reason(floating, "2027-07-14T10:30") == "calendar: Party"


def test_a_cancelled_event_does_not_count() -> None:
    rules = calendar(ical=event("STATUS:CANCELLED", "DTSTART;VALUE=DATE:20271224"))
    assert reason(rules, "2027-12-24T12:00") == ""


def on_first_of_may(rules: Calendar, *years: int) -> list[bool]:
    return [reason(rules, f"{year}-05-01T12:00") != "" for year in years]


def test_a_repetition_that_is_left_out_does_not_count() -> None:
    rules = calendar(
        ical=event(
            "DTSTART;VALUE=DATE:20200501",
            "RRULE:FREQ=YEARLY",
            "EXDATE;VALUE=DATE:20270501,20290501",
            "EXDATE;VALUE=DATE:20300501",
        )
    )
    assert on_first_of_may(rules, 2026, 2027, 2028, 2029, 2030, 2031) == [True, False, True, False, False, True]


def test_a_repetition_that_is_left_out_takes_all_its_days_with_it() -> None:
    lines = ("DTSTART;VALUE=DATE:20201231", "DTEND;VALUE=DATE:20210102", "RRULE:FREQ=YEARLY;COUNT=9")
    rules = calendar(ical=event(*lines, "EXDATE;VALUE=DATE:20261231"))
    days = ("2025-12-31", "2026-01-01", "2026-12-31", "2027-01-01", "2028-12-31", "2029-01-01", "2029-12-31")
    assert [reason(rules, f"{day}T12:00") != "" for day in days] == [True, True, False, False, True, True, False]


def test_a_repetition_that_is_moved_counts_where_it_is_moved_to() -> None:
    events = [
        ["DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY"],
        ["DTSTART;VALUE=DATE:20270503", "RECURRENCE-ID;VALUE=DATE:20270501"],
        ["DTSTART;VALUE=DATE:20280501", "RECURRENCE-ID;VALUE=DATE:20280501", "STATUS:CANCELLED"],
    ]
    texts = ["\n".join(["BEGIN:VEVENT", "UID:1", "SUMMARY:Party", *lines, "END:VEVENT", ""]) for lines in events]
    rules = calendar(ical=ICAL.format(events="".join(texts)))
    assert on_first_of_may(rules, 2026, 2027, 2028, 2029) == [True, False, False, True]
    assert reason(rules, "2027-05-03T12:00") == "calendar: Party"


def test_dates_that_an_event_lists_besides_its_start_count_too() -> None:
    rules = calendar(ical=event("DTSTART;VALUE=DATE:20270501", "RDATE;VALUE=DATE:20270508,20270515"))
    assert [reason(rules, f"2027-05-{day:02d}T12:00") != "" for day in (1, 2, 8, 15, 22)] == [
        *(True, False, True, True, False)
    ]


def test_times_of_an_icalendar_are_read_in_the_zone_they_name() -> None:
    rules = calendar(ical=event("DTSTART;TZID=Europe/Paris:20270714T120000", "DTEND;TZID=Europe/Paris:20270714T130000"))
    assert reason(rules, "2027-07-14T10:30") == "calendar: Party"
    assert reason(rules, "2027-07-14T12:30") == ""


def test_a_byte_order_mark_and_bare_line_feeds_do_no_harm() -> None:
    rules = calendar(ical="\ufeff" + event("DTSTART;VALUE=DATE:20271224"))
    assert reason(rules, "2027-12-24T12:00") == "calendar: Party"


HOSTILE = {
    "an interval beyond all numbers": event("DTSTART;VALUE=DATE:20200501", f"RRULE:FREQ=YEARLY;INTERVAL={'9' * 20}"),
    "two rules": event("DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY"),
    "a rule of nonsense": event("DTSTART;VALUE=DATE:20200501", "RRULE:FREQ=SOMETIMES"),
    "the end of time": event("DTSTART;VALUE=DATE:99991231"),
    "no zone that is known": event("DTSTART;TZID=Nowhere/X:20270714T120000", "DTEND;TZID=Nowhere/X:20270714T130000"),
    "an endless duration": event("DTSTART:20270714T120000Z", "DURATION:P99999999999D"),
    "two starts": event("DTSTART;VALUE=DATE:20270101", "DTSTART;VALUE=DATE:20270102"),
    "a time without a date": event("DTSTART;VALUE=TIME:120000"),
    "a start of control characters": event("DTSTART:\0\x1b[31m"),
    "events in events": "BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 5_000 + "END:VEVENT\n" * 5_000 + "END:VCALENDAR\n",
    "events without an end": "BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 9_000,
    "two calendars": event("DTSTART;VALUE=DATE:20270101") * 2,
    "nothing": "",
    "lone surrogates": "\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_icalendar_is_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(CalendarInvalid) as caught:
        calendar(ical=text)
    assert caught.value.facts["field"] == "ical"
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("rule", ["RRULE:FREQ=YEARLY\n", ""])
def test_the_days_of_all_events_together_are_bounded(rule: str) -> None:
    one = f"BEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20270101\nDTEND;VALUE=DATE:20280101\n{rule}END:VEVENT\n"
    calendar(ical=ICAL.format(events=one * 136))
    with pytest.raises(CalendarInvalid, match="more than 50000 days"):
        calendar(ical=ICAL.format(events=one * 137))


@pytest.mark.parametrize("when", ["00010101T000000", "99991231T235959"])
def test_events_beyond_all_schedules_have_no_effect(when: str) -> None:
    rules = calendar(ical=event(f"DTSTART:{when}"))
    assert reason(rules, "2027-05-01T12:00") == ""


@pytest.mark.parametrize("day", ["2027-03-12", "2027-11-05"])
@pytest.mark.parametrize(
    "blackouts",
    [
        [{"from": "23:30", "to": "00:30"}, {"start": "2027-03-14T06:10:00Z", "end": "2027-03-14T08:20:00Z"}],
        [{"from": "12:00", "to": "13:00"}],
        [{"from": "00:30", "to": "05:00"}],
    ],
)
def test_the_verdict_of_every_minute_is_that_of_its_stretch(day: str, blackouts: list[dict[str, str]]) -> None:
    rules = calendar(exclude=["2027-03-13"], blackouts=blackouts)
    at = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    end = at + 4 * 86_400
    while at < end:
        verdict = rules.verdict(at, "America/New_York")
        for inside in range(at, verdict.until_s, 600):
            again = rules.verdict(inside, "America/New_York")
            assert (again.runs, again.reason) == (verdict.runs, verdict.reason)
        at = verdict.until_s


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({"exclude": ["24.12.2027"]}, "exclude", "write it as 2027-12-24"),
        ({"include_only": ["2027-02-30"]}, "include_only", "`2027-02-30` is not a date"),
        ({"exclude": ["2027-01-01"] * 5_001}, "exclude", "at most 5000"),
        ({"country": "XX"}, "country", "`XX`"),
        ({"country": "DE", "subdivision": "ZZ"}, "country", "`DE-ZZ`"),
        ({"subdivision": "BY"}, "subdivision", "needs its `country`"),
        ({"business_days": []}, "business_days", "at least one day"),
        ({"blackouts": [{}]}, "blackouts", "either `start` and `end`, or"),
        ({"blackouts": [{"start": "2027-01-01T00:00:00Z", "to": "05:00"}]}, "blackouts", "either"),
        ({"blackouts": [{"from": "22:00"}]}, "blackouts", "not a time of day"),
        ({"blackouts": [{"from": "25:00", "to": "06:00"}]}, "blackouts", "`25:00` is not a time of day"),
        (
            {"blackouts": [{"start": "2027-01-01T00:00:00", "end": "2027-01-02T00:00:00Z"}]},
            "blackouts",
            "not an instant",
        ),
        ({"blackouts": [{"start": "2027-01-02T00:00:00Z", "end": "2027-01-01T00:00:00Z"}]}, "blackouts", "not after"),
        ({"blackouts": [{"from": "01:00", "to": "02:00"}] * 501}, "blackouts", "at most 500"),
        ({"ical": "nonsense"}, "ical", "ical"),
        ({"ical": "x" * 300_000}, "ical", "larger than"),
        ({"ical": event("DTSTART;VALUE=DATE:20270101", "RRULE:FREQ=WEEKLY")}, "ical", "every year on its date"),
        ({"ical": event("DTSTART;VALUE=DATE:20270101", "RRULE:FREQ=YEARLY;BYDAY=1MO")}, "ical", "every year"),
        ({"ical": event("DTSTART:20270101T100000Z", "RRULE:FREQ=YEARLY")}, "ical", "only whole days may repeat"),
        ({"ical": event("DTSTART;VALUE=DATE:20270101", "DTEND;VALUE=DATE:20300101")}, "ical", "longer than 366 days"),
        ({"ical": event()}, "ical", "no start"),
    ],
)
def test_wrong_rules_are_refused_with_the_field_and_the_reason(
    document: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(CalendarInvalid) as caught:
        calendar(**document)
    assert caught.value.facts["field"] == field
    assert words in str(caught.value)


def test_an_unknown_zone_of_a_calendar_is_refused() -> None:
    with pytest.raises(TimezoneUnknown):
        calendar(timezone="Nowhere")


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="excluded"):
        calendar(excluded=[])


def test_business_days_are_neither_weekend_nor_excluded() -> None:
    rules = calendar(exclude=["2027-01-05"])
    first = (date(2027, 1, 1) - date(1970, 1, 1)).days
    open_days = [(date(2027, 1, 1) + timedelta(days=n)).day for n in range(10) if rules.is_business_day(first + n)]
    assert open_days == [1, 4, 6, 7, 8]
