"""What may be written, what it means, and what is said about the rest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos.errors import ScheduleInvalid, ScheduleNeverFires, TimezoneUnknown
from chronos.timing.schedule import parse_schedule


def dates(text: str, a: str, b: str, **options: str) -> list[str]:
    """Return the UTC dates on which `text` fires, from `a` up to and including `b`."""
    schedule = parse_schedule(text, **options)  # type: ignore[arg-type]
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (a, b))
    return sorted({f"{run:%m-%d}" for run in schedule.between(begin, end)})


def times(text: str, **options: str) -> list[str]:
    """Return the times of day at which `text` fires on 2027-06-02, a Wednesday."""
    schedule = parse_schedule(text, **options)  # type: ignore[arg-type]
    begin, end = datetime(2027, 6, 1, 23, 59, 59, tzinfo=UTC), datetime(2027, 6, 2, 23, 59, 59, tzinfo=UTC)
    return [f"{run:%H:%M:%S}" if run.second else f"{run:%H:%M}" for run in schedule.between(begin, end)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 9 * * *", ["09:30"]),
        ("0 9-12 * * *", ["09:00", "10:00", "11:00", "12:00"]),
        ("0 9-17/4 * * *", ["09:00", "13:00", "17:00"]),
        ("0 20/2 * * *", ["20:00", "22:00"]),
        ("0,15-20/5 9 * * *", ["09:00", "09:15", "09:20"]),
        ("*/30 9,21 * * *", ["09:00", "09:30", "21:00", "21:30"]),
        ("30 0 9 * * *", ["09:00:30"]),
        ("*/20 0 9 * * *", ["09:00", "09:00:20", "09:00:40"]),
        ("0 9 * jun WED", ["09:00"]),
        ("0 9 * * THU", []),
        ("0 9 ? * ?", ["09:00"]),
        ("@daily", ["00:00"]),
        ("@midnight", ["00:00"]),
        ("  0   9  * * *  ", ["09:00"]),
    ],
)
def test_times_of_day(text: str, expected: list[str]) -> None:
    assert times(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 L * *", ["01-31", "02-28"]),
        ("0 9 L-2 * *", ["01-29", "02-26"]),
        ("0 9 LW * *", ["01-29", "02-26"]),  # the 31st of January 2027 is a Sunday
        ("0 9 2W * *", ["01-01", "02-02"]),  # the 2nd of January is a Saturday
        ("0 9 3W * *", ["01-04", "02-03"]),  # the 3rd a Sunday
        ("0 9 31W * *", ["01-29"]),  # never across the end of the month
        ("0 9 1,L * *", ["01-01", "01-31", "02-01", "02-28"]),
        ("0 9 * * 5L", ["01-29", "02-26"]),
        ("0 9 * * FRIL", ["01-29", "02-26"]),
        ("0 9 * * 1#2", ["01-11", "02-08"]),
        ("0 9 * * mon#1,fri#5", ["01-04", "01-29", "02-01"]),
        ("0 9 * 1 7", ["01-03", "01-10", "01-17", "01-24", "01-31"]),
        ("0 9 * 2 SAT-SUN", ["02-06", "02-07", "02-13", "02-14", "02-20", "02-21", "02-27", "02-28"]),
        ("@monthly", ["01-01", "02-01"]),
        ("@yearly", ["01-01"]),
        ("@annually", ["01-01"]),
    ],
)
def test_dates_of_january_and_february_2027(text: str, expected: list[str]) -> None:
    assert dates(text, "2026-12-31T12:00", "2027-02-28T23:59:59") == expected


def test_a_saturday_the_first_moves_on_to_monday_the_third() -> None:
    assert dates("0 9 1W * *", "2027-04-30", "2027-05-31") == ["05-03"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 13 * 5", ["01-01", "01-08", "01-13", "01-15", "01-22", "01-29"]),  # either
        ("0 9 13 * *", ["01-13"]),
        ("0 9 * * 5", ["01-01", "01-08", "01-15", "01-22", "01-29"]),
        ("0 9 */2 * 5", ["01-01", "01-15", "01-29"]),  # begins with a star: both
        ("0 9 ? * 5", ["01-01", "01-08", "01-15", "01-22", "01-29"]),
    ],
)
def test_two_day_fields_are_alternatives_unless_one_begins_with_a_star(text: str, expected: list[str]) -> None:
    assert dates(text, "2026-12-31", "2027-01-31T23:59:59") == expected


def test_a_leap_day_is_found_across_a_century_without_one() -> None:
    run = parse_schedule("0 0 29 2 *").next(datetime(2096, 3, 1, tzinfo=UTC))
    assert run == datetime(2104, 2, 29, tzinfo=UTC)


# H


def test_h_is_stable_and_depends_on_the_key() -> None:
    assert times("H H * * *", hash_key="default/a") == times("H H * * *", hash_key="default/a")
    assert len({times("H H * * *", hash_key=f"default/{n}")[0] for n in range(50)}) > 40


@given(st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_h_stays_in_its_range(key: str) -> None:
    (run,) = times("H(10-20) H(2-4) * * *", hash_key=key)
    assert 10 <= int(run[3:]) <= 20
    assert 2 <= int(run[:2]) <= 4


@given(st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_h_with_a_step_starts_somewhere_in_the_first_step(key: str) -> None:
    runs = times("H/15 9 * * *", hash_key=key)
    assert len(runs) == 4
    assert int(runs[0][3:]) < 15
    assert {int(later[3:]) - int(earlier[3:]) for earlier, later in pairwise(runs)} == {15}


@pytest.mark.parametrize(
    ("key", "second", "expected"),
    [
        ("", 2, "01-01 05:44, 01-08 05:44, 04-01 05:44, 01-05 05:44, 01-01 17:14, 01-01 05:44"),
        ("default/backup", 11, "01-01 09:46, 01-07 09:46, 07-01 09:46, 01-02 09:46, 01-01 12:01, 01-01 01:46"),
        ("default/report", 51, "01-01 20:20, 01-08 20:20, 10-01 20:20, 01-02 20:20, 01-01 17:05, 01-01 04:20"),
        ("tenant-a/backup", 26, "01-01 12:48, 01-25 12:48, 12-01 12:48, 01-07 12:48, 01-01 12:03, 01-01 04:48"),
        ("default/ünïcode", 17, "01-01 01:39, 01-27 01:39, 09-01 01:39, 01-06 01:39, 01-01 16:09, 01-01 01:39"),
        ("x" * 1024, 56, "01-01 08:36, 01-28 08:36, 05-01 08:36, 01-03 08:36, 01-01 14:06, 01-01 00:36"),
        ("x" * 2000, 56, "01-01 08:36, 01-28 08:36, 05-01 08:36, 01-03 08:36, 01-01 14:06, 01-01 00:36"),
    ],
)
def test_h_never_changes_from_release_to_release(key: str, second: int, expected: str) -> None:
    """Part of the format: a job keeps its slot through every upgrade. Never edit this table."""
    texts = ("H * * * * *", "H H * * *", "H H H * *", "H H * H *", "H H * * H", "H/15 H(9-17) * * *", "H H/8 * * *")
    numbers = []
    for text in texts:
        run = parse_schedule(text, hash_key=key).next(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
        assert run is not None
        numbers.append(f"{run:%m-%d %H:%M}")
        if text == texts[0]:
            assert run.second == second
    assert ", ".join(numbers[1:]) == expected


def test_h_is_a_number_before_stars_are_looked_for() -> None:
    # Were `H H` real-time, the run in the gap would be dropped.
    schedule = parse_schedule("H(30-30) H(2-2) * * *", timezone="America/New_York")
    assert schedule.next(datetime(2027, 3, 14, 5, tzinfo=UTC)) == datetime(2027, 3, 14, 7, tzinfo=UTC)


def test_h_of_a_day_is_in_every_month() -> None:
    for n in range(40):
        assert len(dates("0 0 H * *", "2026-12-31", "2027-12-31", hash_key=str(n))) == 12


# @every and @at


def test_every_counts_from_its_anchor_and_begins_one_interval_later() -> None:
    anchor = 1_000_000
    schedule = parse_schedule("@every 90s", anchor=anchor)
    assert schedule.next_s(0) == anchor + 90
    assert schedule.next_s(anchor) == anchor + 90
    assert schedule.next_s(anchor + 90) == anchor + 180
    assert schedule.prev_s(anchor + 90) is None
    assert schedule.prev_s(anchor + 91) == anchor + 90
    assert schedule.count_s(0, anchor + 900) == 10
    assert schedule.period_hint_s(anchor) == 90


@given(st.integers(1, 10**6), st.integers(0, 10**9), st.integers(0, 2 * 10**9), st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_every_counts_as_it_lists(interval: int, anchor: int, a: int, steps: int) -> None:
    schedule = parse_schedule(f"@every {interval}s", anchor=anchor)
    b = a + interval * (steps % 50) + steps
    runs = list(schedule.between_s(a, b)) if (b - a) // interval < 3000 else None
    assert runs is None or schedule.count_s(a, b) == len(runs)
    after = schedule.next_s(a)
    assert after is not None
    assert schedule.prev_s(after + 1) == after
    assert (after - anchor) % interval == 0


def test_every_takes_no_notice_of_the_clocks() -> None:
    schedule = parse_schedule("@every 1d", timezone="America/New_York", anchor=0)
    a, b = (int(datetime(2027, month, 1, tzinfo=UTC).timestamp()) for month in (3, 4))
    assert {later - earlier for earlier, later in pairwise(schedule.between_s(a, b))} == {86_400}


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("@at 2027-01-01T09:00:00+01:00", "UTC", "2027-01-01T08:00"),
        ("@at 2027-01-01T09:00:00Z", "Europe/Paris", "2027-01-01T09:00"),
        ("@at 2027-01-01 09:00", "Europe/Paris", "2027-01-01T08:00"),
        ("TZ=Asia/Tokyo @at 2027-01-01T09:00", "Europe/Paris", "2027-01-01T00:00"),
        ("@at 2027-03-14T02:30", "America/New_York", "2027-03-14T07:00"),  # in the gap
        ("@at 2027-11-07T01:30", "America/New_York", "2027-11-07T05:30"),  # twice: the first
    ],
)
def test_at_fires_once(text: str, zone: str, expected: str) -> None:
    schedule = parse_schedule(text, timezone=zone)
    run = schedule.next(datetime(2026, 1, 1, tzinfo=UTC))
    assert run is not None
    assert f"{run:%Y-%m-%dT%H:%M}" == expected
    assert schedule.is_one_shot
    assert schedule.next(run) is None
    assert schedule.prev(run) is None
    at = int(run.timestamp())
    assert (schedule.count_s(at - 1, at), schedule.count_s(at, at + 9), schedule.period_hint_s(0)) == (1, 0, 0)


# Zones


@pytest.mark.parametrize("prefix", ["TZ=Europe/Paris ", "CRON_TZ=Europe/Paris  "])
def test_a_zone_in_the_text_beats_the_option(prefix: str) -> None:
    schedule = parse_schedule(f"{prefix}0 9 * * *", timezone="Asia/Tokyo")
    assert schedule.timezone == "Europe/Paris"
    assert schedule.next(datetime(2027, 1, 1, tzinfo=UTC)) == datetime(2027, 1, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["TZ=Europe/Pariss 0 9 * * *", "TZ=Europe/Pariss @every 5m"])
def test_an_unknown_zone_is_refused_with_the_nearest_known(text: str) -> None:
    with pytest.raises(TimezoneUnknown, match=r"Europe/Pariss.*Did you mean `Europe/Paris`") as caught:
        parse_schedule(text)
    assert caught.value.facts["suggestions"][0] == "Europe/Paris"  # type: ignore[index]


# Sharing


def test_equal_questions_share_one_object() -> None:
    a = parse_schedule("0 9 * * *", timezone="Europe/Paris", anchor=5)
    assert parse_schedule(" 0  9 * * *", timezone="Europe/Paris", hash_key="unused") is a
    assert parse_schedule("TZ=Europe/Paris 0 9 * * *") is a
    assert parse_schedule("0 9 * * *", timezone="Europe/Berlin") is not a
    assert parse_schedule("0 9 * * *", timezone="Europe/Paris", gap="skip") is not a
    assert parse_schedule("@hourly", hash_key="a") is parse_schedule("@hourly", hash_key="b")
    assert parse_schedule("H * * * *") is not parse_schedule("H * * * *", hash_key="a")
    assert parse_schedule("@every 5m", anchor=1) is not parse_schedule("@every 5m", anchor=2)


# Refusals


@pytest.mark.parametrize(
    ("text", "field", "token", "words"),
    [
        ("61 * * * *", "minute", "61", "61 is not between 0 and 59"),
        ("0 24 * * *", "hour", "24", "24 is not between 0 and 23"),
        ("0 0 0 * *", "day-of-month", "0", "0 is not between 1 and 31"),
        ("0 0 * 13 *", "month", "13", "13 is not between 1 and 12"),
        ("0 0 * * 8", "day-of-week", "8", "8 is not between 0 and 7"),
        ("60 0 0 * * *", "second", "60", "60 is not between 0 and 59"),
        ("0 0 * * FOO", "day-of-week", "FOO", "neither a number nor a name"),
        ("0 MON * * *", "hour", "MON", "it is not a number"),
        ("5-2 * * * *", "minute", "5-2", "write `5-59,0-2`"),
        ("1,,2 * * * *", "minute", "", "missing beside a comma"),
        ("*/0 * * * *", "minute", "*/0", "between 1 and 59"),
        ("*/90 * * * *", "minute", "*/90", "between 1 and 59"),
        ("*/x * * * *", "minute", "*/x", "must be a number"),
        ("-5 * * * *", "minute", "-5", "on both sides"),
        ("1.5 * * * *", "minute", "1.5", "not a number"),
        ("٣ * * * *", "minute", "٣", "only the digits 0 to 9"),
        ("0 0 L-31 * *", "day-of-month", "L-31", "31 is not between 1 and 30"),
        ("0 0 32W * *", "day-of-month", "32W", "32 is not between 1 and 31"),
        ("0 0 1-5W * *", "day-of-month", "1-5W", "`W` follows one day"),
        ("0 0 * * L", "day-of-week", "L", "`5L`"),
        ("0 0 * * 1#6", "day-of-week", "1#6", "6 is not between 1 and 5"),
        ("L 0 * * *", "minute", "L", "not a number"),
        ("0 9 * * FRI-MON", "day-of-week", "FRI-MON", "write `FRI-SAT,SUN-MON`"),
        ("0 9 * * 7-1", "day-of-week", "7-1", "write `0-1`"),
        ("0 9 * DEC-JAN *", "month", "DEC-JAN", "write `DEC,JAN`"),
        ("0 9 * * sat-mon", "day-of-week", "sat-mon", "write `SAT,SUN-MON`"),
        ("0 9 * * MON..FRI", "day-of-week", "MON..FRI", "a range is written with `-`"),
        ("0 9 * * MON–FRI", "day-of-week", "MON–FRI", "a range is written with `-`"),
        ("0 9 * * Friday", "day-of-week", "Friday", "three letters, here `FRI`"),
        ("0 9 * September *", "month", "September", "three letters, here `SEP`"),
        ("9:30 * * * *", "minute", "9:30", "09:30 is `30 9 * * *`"),
        ("/5 * * * *", "minute", "/5", "for example `*/5`"),
        ("'0 9 * * *'", "minute", "'0", "leave out the quotes"),
        ("0 0 * * L5", "day-of-week", "L5", "`5L` is the last Friday"),
        ("0 0 * * #1", "day-of-week", "#1", "for example `1#2`"),
        ("1-2-3 * * * *", "minute", "1-2-3", "one number on each side"),
        ("+5 * * * *", "minute", "+5", "no sign"),
        ("0 0 1 1 ? 2027", "day-of-week", "2027", "there is no year field"),
        ("0\0 9 * * *", "minute", "0\\x00", "not a number"),
        ("H(5) * * * *", "minute", "H(5)", "write `H`"),
        ("H(50-70) * * * *", "minute", "50-70", "70 is not between"),
    ],
)
def test_a_wrong_field_is_named_with_its_token_and_what_is_allowed(
    text: str, field: str, token: str, words: str
) -> None:
    with pytest.raises(ScheduleInvalid) as caught:
        parse_schedule(text)
    message, facts = str(caught.value), caught.value.facts
    assert words in message
    assert field in message
    assert (facts["field"], facts["token"]) == (field, token)
    assert str(facts["allowed"]) in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("* * * *", "this has 4"),
        ("0 0 0 1 1 * 2027", "a year field is not supported"),
        ("@reboot", "which never boots"),
        ("@dayly", "did you mean `@daily`"),
        ("@daily 5", "stands alone"),
        ("@every", "it needs a duration, for example `@every 5m`"),
        ("@every soon", "is not a duration"),
        ("@every 500ms", "whole number of seconds"),
        ("@every 1500ms", "whole number of seconds"),
        ("@every 0", "at least one"),
        ("@every -5m", "negative"),
        ("@at", "2027-01-01T09:00:00+01:00"),
        ("@DAILY", "did you mean `@daily`"),
        ("@every5m", "a blank stands after `@every`"),
        ("@at 2027-01-01", "it has no time of day"),
        ("@at 2027-13-01T00:00", "month must be in 1..12;"),
        ("TZ=Europe/Paris", "the schedule itself is missing; write for example `TZ=Europe/Paris 0 9 * * *`"),
        ("0 9 * * MON - FRI", "blanks part fields"),
        ("0 0 12 1 1 ? *", "a year field is not supported"),
        ("@at tomorrow", "2027-01-01T09:00:00+01:00"),
        ("@at 2027-02-30T00:00:00Z", "day is out of range"),
        ("@at 2027-01-01T00:00:00.5Z", "whole seconds"),
        ("@at 1969-12-31T00:00:00Z", "between 1970 and 2499"),
        ("@at 2500-01-01T00:00:00Z", "between 1970 and 2499"),
        ("x" * 513, "longer than 512 characters"),
        (",".join(["1"] * 200) + " * * * *", "at most 128 items"),
    ],
)
def test_what_is_no_schedule_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(ScheduleInvalid, match=r"(?s).*") as caught:
        parse_schedule(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("option", ["gap", "overlap"])
def test_an_unknown_option_is_refused(option: str) -> None:
    with pytest.raises(ScheduleInvalid, match=f"`{option}` cannot be `maybe`"):
        parse_schedule("* * * * *", **{option: "maybe"})  # type: ignore[arg-type]


NEVER = [
    ("0 0 30 2 *", {}),
    ("0 0 31 2,4,6,9,11 *", {}),
    ("0 0 31W 2 *", {}),
    ("0 0 L-29 2 *", {}),
    ("0 0 */20 * 1#2", {}),
    ("* 2 * 3 0#2", {"timezone": "America/New_York"}),
    ("30 2 * 3 0#2", {"timezone": "America/New_York", "gap": "skip"}),
    ("@at 2027-03-14T02:30", {"timezone": "America/New_York", "gap": "skip"}),
]


@pytest.mark.parametrize(("text", "options"), NEVER)
def test_what_never_fires_is_refused(text: str, options: dict[str, str]) -> None:
    with pytest.raises(ScheduleNeverFires, match="never fires") as caught:
        parse_schedule(text, **options)  # type: ignore[arg-type]
    assert caught.value.facts["token"]


def test_refusing_what_never_fires_takes_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in months looked at, not in time: the bound must hold on any machine."""
    from chronos.timing.recurrence import CronSchedule

    searched = 0
    search = CronSchedule._next_wall

    def counted(self: CronSchedule, wall: int) -> int:
        nonlocal searched
        searched += 1
        return search(self, wall)

    monkeypatch.setattr(CronSchedule, "_next_wall", counted)
    for text, options in NEVER[:-1]:
        searched = 0
        with pytest.raises(ScheduleNeverFires):
            parse_schedule(text, **options)  # type: ignore[arg-type]
        assert searched <= 250


ODD = [
    "*",
    "?",
    "L",
    "W",
    "LW",
    "#",
    "H",
    "H(",
    ")",
    ",",
    "-",
    "/",
    "1",
    "59",
    "9" * 30,
    "٣",
    "５",
    "\0",
    "\u00a0",
    "\u2003",
]
ODD += [
    "\t",
    "\r\n",
    "\v",
    "JAN",
    "SUN",
    "@every ",
    "@at ",
    "TZ=",
    "²",
    "½",
    "é",
    "\ud800",
    "\x1b[31m",
    "\u202e",
    " ",
    " ",
]


@given(st.lists(st.sampled_from(ODD), max_size=300).map("".join))
@settings(max_examples=500, deadline=None)
def test_hostile_text_is_refused_in_a_short_and_visible_line(text: str) -> None:
    refusal = ""
    try:
        parse_schedule(text, hash_key="k" * 5_000)
    except (ScheduleInvalid, ScheduleNeverFires, TimezoneUnknown) as refused:
        refusal = str(refused)
    assert refusal.isprintable()
    assert len(refusal) < 1_000


HOSTILE = [
    ",".join(["0-59"] * 90) + " 0 31 2 *",
    ",".join(["1-59/2"] * 64) + " 0 31 2 *",
    "0 0 " + ",".join(["31W"] * 100) + " 2 *",
    "0 0 L-29,L-30 2 *",
    "0 0 */30 2 1#5",
    "0 0 */30 2 " + ",".join(f"{day}#5" for day in range(8)),
    "H(59-59) H(23-23) H(31-31)/1 2 *",
    "0 0 29 2 6#5",
    "59 59 23 LW 2 *",
    "0 0 */29 2 6#5",
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Africa/Casablanca"])
@pytest.mark.parametrize("text", HOSTILE)
def test_the_steps_of_judging_any_text_are_bounded(text: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items parsed, months made into masks and searches of the wall, counted: they bound the time on any machine."""
    from chronos.timing import cron, days
    from chronos.timing.recurrence import CronSchedule

    steps = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            return function(*arguments)

        return count

    cron.parse_cron.cache_clear()
    monkeypatch.setattr(cron, "_item", counted(cron._item))
    monkeypatch.setattr(days.DaySpec, "mask", counted(days.DaySpec.mask))
    monkeypatch.setattr(CronSchedule, "_next_wall", counted(CronSchedule._next_wall))
    with suppress(ScheduleNeverFires):
        parse_schedule(text, timezone=zone)
    assert 0 < steps <= 6 * 128 + 91 + 250


@given(st.text(alphabet="0123456789*/,-LWH#?()@ SUNFEBTZ=", max_size=40))
@settings(max_examples=1500, deadline=None)
def test_any_text_is_a_schedule_or_a_named_refusal(text: str) -> None:
    with suppress(ScheduleInvalid, ScheduleNeverFires, TimezoneUnknown):
        schedule = parse_schedule(text)
        assert schedule.is_one_shot or schedule.next_s(1_750_000_000) is not None
        assert schedule.describe()
