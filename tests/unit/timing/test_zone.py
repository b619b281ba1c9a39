from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from tests.unit.timing.oracle import ZONES, tz

from chronos.errors import TimezoneUnknown
from chronos.timing import tzif
from chronos.timing.civil import END_S
from chronos.timing.zone import Gap, OverlapTime, tzdata_version, zone, zone_names


def test_every_zone_has_the_offsets_that_zoneinfo_reads_from_the_same_files() -> None:
    chance = random.Random(7)
    for name in zone_names():
        for _ in range(60):
            at = chance.randrange(0, END_S)
            expected = datetime.fromtimestamp(at, UTC).astimezone(tz(name)).utcoffset()
            assert timedelta(seconds=zone(name).offset_at(at)) == expected, (name, at)


@pytest.mark.parametrize("name", ZONES)
def test_a_transition_is_where_the_offset_changes(name: str) -> None:
    where = zone(name)
    changes = where.transitions(0, END_S)
    for change in changes:
        assert where.offset_at(change.at_s - 1) == change.before_s != change.after_s
        assert where.offset_at(change.at_s) == change.after_s
        assert change.shift_s == change.after_s - change.before_s
    for earlier, later in pairwise(changes):
        assert earlier.after_s == later.before_s


def test_offsets_change_at_most_once_a_week_so_that_a_wall_time_exists_at_most_twice() -> None:
    for name in zone_names():
        for earlier, later in pairwise(zone(name).transitions(0, END_S)):
            assert later.at_s - earlier.at_s > 6 * 86_400, name


def test_the_tables_grow_without_changing_what_they_said() -> None:
    spring = int(datetime(2400, 3, 12, 7, tzinfo=UTC).timestamp())  # a second Sunday in March
    where = zone("America/New_York")
    near = where.transitions(0, 4_000_000_000)
    assert (where.offset_at(spring - 1), where.offset_at(spring)) == (-18_000, -14_400)
    assert where.transitions(0, 4_000_000_000) == near
    assert not where.grow()


@pytest.mark.parametrize(
    ("wall", "gap", "overlap", "expected"),
    [
        ("2027-06-01T12:00", "after", "first", ["06-01T16:00"]),
        ("2027-03-14T02:30", "after", "first", ["03-14T07:00"]),
        ("2027-03-14T02:30", "skip", "first", []),
        ("2027-11-07T01:30", "after", "first", ["11-07T05:30"]),
        ("2027-11-07T01:30", "after", "second", ["11-07T06:30"]),
        ("2027-11-07T01:30", "after", "both", ["11-07T05:30", "11-07T06:30"]),
    ],
)
def test_a_wall_time_stands_for_its_instants(wall: str, gap: str, overlap: str, expected: list[str]) -> None:
    wall_s = int(datetime.fromisoformat(wall).replace(tzinfo=UTC).timestamp())
    found = zone("America/New_York").instants_of(wall_s, Gap(gap), OverlapTime(overlap))
    assert [f"{datetime.fromtimestamp(at, UTC):%m-%dT%H:%M}" for at in found] == expected


def test_a_day_that_begins_in_a_gap_begins_after_it() -> None:
    day = (datetime(2026, 3, 8, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert zone("America/Havana").day_start(day) == int(datetime(2026, 3, 8, 5, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("footer", "year", "expected"),
    [
        ("UTC0", 2027, []),
        ("EST5EDT,M3.2.0,M11.1.0", 2027, ["2027-03-14T07:00", "2027-11-07T06:00"]),
        ("<+00>0<+02>-2,M3.5.0/1,M10.5.0/3", 2027, ["2027-03-28T01:00", "2027-10-31T01:00"]),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", 2027, ["2027-03-28T01:00", "2027-10-31T01:00"]),
        ("EET-2EEST,M3.4.4/50,M10.4.4/50", 2027, ["2027-03-27T00:00", "2027-10-29T23:00"]),
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 2027, ["2027-03-28T01:00", "2027-10-31T01:00"]),
        ("AAA3BBB,J60/0,J300", 2028, ["2028-03-01T03:00", "2028-10-27T04:00"]),
        ("AAA3BBB2:30,59/0:30,J1/2:00:10", 2028, ["2028-01-01T04:30", "2028-02-29T03:30"]),
    ],
)
def test_a_footer_is_read_as_posix_says(footer: str, year: int, expected: list[str]) -> None:
    changes = tzif.parse_footer(footer).changes(year)
    assert [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M}" for at, _ in changes] == expected


def test_a_zone_is_read_once() -> None:
    assert zone("Europe/Paris") is zone("Europe/Paris")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("europe/paris", "Europe/Paris"),
        ("Paris", "Europe/Paris"),
        ("Europe/Berln", "Europe/Berlin"),
        ("new york", "America/New_York"),
    ],
)
def test_an_unknown_zone_is_answered_with_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(TimezoneUnknown, match=f"Did you mean .*`{suggestion}`") as caught:
        zone(name)
    assert suggestion in caught.value.facts["suggestions"]  # type: ignore[operator]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "/etc/localtime", "Europe/Paris\0", "x" * 10_000])
def test_a_name_never_leaves_the_package(name: str) -> None:
    with pytest.raises(TimezoneUnknown) as caught:
        zone(name)
    assert len(str(caught.value)) < 300


def test_the_version_of_the_rules_is_known() -> None:
    assert tzdata_version()[:4].isdigit()
    assert {"UTC", "Europe/Dublin", "US/Pacific"} <= set(zone_names())
