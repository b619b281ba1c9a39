"""What the published table says about changes of the clocks, line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.timing.oracle import tz

from chronos.timing import tzif
from chronos.timing.cron import parse_cron
from chronos.timing.recurrence import CronSchedule
from chronos.timing.schedule import Gap, OverlapTime, parse_schedule
from chronos.timing.zone import Zone

NEW_YORK, LORD_HOWE = "America/New_York", "Australia/Lord_Howe"


def runs_of_day(expression: str, zone: str, day: str, **options: str) -> list[str]:
    """Return the runs of one local day, as UTC texts to the minute."""
    schedule = parse_schedule(expression, timezone=zone, **options)  # type: ignore[arg-type]
    midnight = datetime.fromisoformat(day)
    begin, end = (at.replace(tzinfo=tz(zone)).astimezone(UTC) for at in (midnight, midnight + timedelta(days=1)))
    second = timedelta(seconds=1)
    return [f"{run:%Y-%m-%dT%H:%MZ}" for run in schedule.between(begin - second, end - second)]


# Havana's line is of 2026; what becomes of it in 2027 is told below.
@pytest.mark.parametrize(
    ("zone", "day", "expression", "expected"),
    [
        (NEW_YORK, "2027-03-14", "30 2 * * *", ["2027-03-14T07:00Z"]),
        (NEW_YORK, "2027-03-14", "0,30 2 * * *", ["2027-03-14T07:00Z"]),
        (NEW_YORK, "2027-03-14", "15 2-3 * * *", ["2027-03-14T07:00Z", "2027-03-14T07:15Z"]),
        (NEW_YORK, "2027-03-14", "* 2 * * *", []),
        (NEW_YORK, "2027-11-07", "30 1 * * *", ["2027-11-07T05:30Z"]),
        (
            NEW_YORK,
            "2027-11-07",
            "*/30 1 * * *",
            ["2027-11-07T05:00Z", "2027-11-07T05:30Z", "2027-11-07T06:00Z", "2027-11-07T06:30Z"],
        ),
        ("Europe/London", "2027-03-28", "30 1 * * *", ["2027-03-28T01:00Z"]),
        ("Europe/London", "2027-10-31", "30 1 * * *", ["2027-10-31T00:30Z"]),
        (LORD_HOWE, "2027-10-03", "15 2 * * *", ["2027-10-02T15:30Z"]),
        (LORD_HOWE, "2027-10-03", "0 2 * * *", ["2027-10-02T15:30Z"]),
        (LORD_HOWE, "2027-04-04", "45 1 * * *", ["2027-04-03T14:45Z"]),
        ("Antarctica/Troll", "2027-03-28", "30 2 * * *", ["2027-03-28T01:00Z"]),
        ("America/Havana", "2026-03-08", "30 0 * * *", ["2026-03-08T05:00Z"]),
        ("America/Havana", "2026-03-08", "@daily", ["2026-03-08T05:00Z"]),
        ("Pacific/Apia", "2011-12-29", "0 9 * * *", ["2011-12-29T19:00Z"]),
        ("Pacific/Apia", "2011-12-31", "0 9 * * *", ["2011-12-30T10:00Z", "2011-12-30T19:00Z"]),
    ],
)
def test_a_line_of_the_table_holds(zone: str, day: str, expression: str, expected: list[str]) -> None:
    assert runs_of_day(expression, zone, day) == expected


@pytest.mark.parametrize(
    ("zone", "day", "expression", "count"),
    [
        (NEW_YORK, "2027-03-14", "*/15 * * * *", 92),
        (NEW_YORK, "2027-03-14", "0 */2 * * *", 11),
        (NEW_YORK, "2027-11-07", "30 * * * *", 25),
        (NEW_YORK, "2027-11-07", "0 0-23 * * *", 24),
        (LORD_HOWE, "2027-10-03", "*/15 * * * *", 94),
        (LORD_HOWE, "2027-04-04", "*/15 * * * *", 98),
        (LORD_HOWE, "2027-04-04", "30 * * * *", 25),
    ],
)
def test_a_day_of_the_table_has_its_number_of_runs(zone: str, day: str, expression: str, count: int) -> None:
    assert len(runs_of_day(expression, zone, day)) == count


@pytest.mark.parametrize("expression", ["30 0 * * *", "@daily"])
def test_havana_runs_on_its_second_sunday_of_march_2027_as_the_installed_rules_have_it(expression: str) -> None:
    # Until tzdata 2026 a gap was foreseen at midnight of that day; newer rules keep summer time through the winter.
    # The standard library says which of the two is installed.
    zone = tz("America/Havana")
    before, after = (datetime(2027, 3, 14, hour, tzinfo=UTC).astimezone(zone).utcoffset() for hour in (4, 6))
    without_a_gap = {"30 0 * * *": "2027-03-14T04:30Z", "@daily": "2027-03-14T04:00Z"}[expression]
    expected = without_a_gap if before == after else "2027-03-14T05:00Z"
    assert after == timedelta(hours=-4)
    assert runs_of_day(expression, "America/Havana", "2027-03-14") == [expected]


@pytest.mark.parametrize("expression", ["30 0 * * *", "0 0 * * *"])
def test_a_gap_at_midnight_runs_once_right_after_it_under_the_rules_havana_had(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of the table as it was written, whatever tzdata says of 2027 by now."""
    rules = tzif.TzFile(-18_000, [], tzif.parse_footer("CST5CDT,M3.2.0/0,M11.1.0/1"))
    monkeypatch.setattr(tzif, "read", lambda name: rules)
    havana = Zone("America/Havana")
    schedule = CronSchedule(expression, expression, havana, parse_cron(expression), Gap.AFTER, OverlapTime.FIRST, "")
    day = schedule.between(datetime(2027, 3, 14, 4, tzinfo=UTC), datetime(2027, 3, 15, 3, 59, tzinfo=UTC))
    assert [f"{run:%Y-%m-%dT%H:%MZ}" for run in day] == ["2027-03-14T05:00Z"]


def test_every_hour_written_out_is_a_wall_schedule_and_misses_the_repeated_hour() -> None:
    assert "2027-11-07T06:00Z" not in runs_of_day("0 0-23 * * *", NEW_YORK, "2027-11-07")
    assert "2027-11-07T06:00Z" in runs_of_day("0 * * * *", NEW_YORK, "2027-11-07")


def test_a_half_hour_overlap_repeats_the_half_hour_of_a_real_time_schedule() -> None:
    runs = runs_of_day("30 * * * *", LORD_HOWE, "2027-04-04")
    assert {"2027-04-03T14:30Z", "2027-04-03T15:00Z"} <= set(runs)


def test_the_day_that_samoa_left_out_runs_once_right_after_it() -> None:
    schedule = parse_schedule("0 9 * * *", timezone="Pacific/Apia")
    runs = schedule.between(datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, tzinfo=UTC))
    assert [f"{run:%d %H:%M}" for run in runs] == ["29 19:00", "30 10:00", "30 19:00"]


@pytest.mark.parametrize(
    ("options", "gap_runs", "overlap_runs"),
    [
        ({}, ["2027-03-14T07:00Z"], ["2027-11-07T05:30Z"]),
        ({"gap": "skip"}, [], ["2027-11-07T05:30Z"]),
        ({"overlap": "second"}, ["2027-03-14T07:00Z"], ["2027-11-07T06:30Z"]),
        ({"overlap": "both"}, ["2027-03-14T07:00Z"], ["2027-11-07T05:30Z", "2027-11-07T06:30Z"]),
    ],
)
def test_gap_and_overlap_can_be_chosen(options: dict[str, str], gap_runs: list[str], overlap_runs: list[str]) -> None:
    assert runs_of_day("30 2 * * *", NEW_YORK, "2027-03-14", **options) == gap_runs
    assert runs_of_day("30 1 * * *", NEW_YORK, "2027-11-07", **options) == overlap_runs


def test_notes_name_the_wall_times_that_become_one_run() -> None:
    schedule = parse_schedule("0,30 2 * * *", timezone=NEW_YORK)
    gap, overlap = schedule.notes(datetime(2027, 1, 1, tzinfo=UTC), transitions=2)
    assert (gap.kind, gap.affected, gap.coalesced_wall_times) == ("gap", True, ("02:00", "02:30"))
    assert f"{gap.at:%m-%dT%H:%M}" == "03-14T07:00"
    assert (gap.wall_from.hour, gap.wall_to.hour) == (2, 3)
    assert "once at 03:00" in gap.effect
    assert (overlap.kind, overlap.affected, overlap.coalesced_wall_times) == ("overlap", False, ())


@pytest.mark.parametrize(
    ("expression", "options", "gap_words", "overlap_words"),
    [
        ("*/30 1-2 * * *", {}, "leave out; the schedule follows real time", "Run both times"),
        ("30 1,2 * * *", {"gap": "skip"}, "because `gap` is `skip`", "the first time"),
        ("30 1,2 * * *", {"overlap": "second"}, "right after the gap", "the second time"),
        ("30 1,2 * * *", {"overlap": "both"}, "right after the gap", "because `overlap` is `both`"),
        ("30 12 * * *", {}, "No run is affected", "No run is affected"),
    ],
)
def test_notes_say_what_happens(expression: str, options: dict[str, str], gap_words: str, overlap_words: str) -> None:
    schedule = parse_schedule(expression, timezone=NEW_YORK, **options)  # type: ignore[arg-type]
    gap, overlap = schedule.notes(datetime(2027, 1, 1, tzinfo=UTC), transitions=2)
    assert gap_words in gap.effect
    assert overlap_words in overlap.effect


def test_a_zone_without_changes_has_no_notes() -> None:
    assert parse_schedule("30 2 * * *").notes(datetime(2027, 1, 1, tzinfo=UTC)) == []
