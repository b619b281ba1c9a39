"""`--dry-run`: the starts there would be, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chronos.cli.rpr.asked import asked
from chronos.cli.rpr.modes import mode_of
from chronos.cli.rpr.preview import preview
from chronos.cli.rpr.reading import read_flags
from chronos.cli.rpr.words import take_apart
from chronos.errors import Invalid

BEFORE_SPRING = 1_805_983_200.0  # 2027-03-25T14:00:00Z; clocks in Paris go forward on the 28th


class Still:
    """A clock that stands."""

    def time(self) -> float:
        return BEFORE_SPRING

    def boottime(self) -> float:
        return 5_000.0


def dry(*words: str, seed: int = 7) -> str:
    line = take_apart([*words, "--dry-run", "--", "work", "hard"])
    assert line.subcommand is not None
    wanted = asked(line.subcommand, read_flags(line.subcommand.name, line.flags), line.argv, Still())
    return preview(wanted, mode_of(wanted, seed), seed, Still())


def starts(*words: str) -> list[str]:
    return [line.strip() for line in dry(*words).partition("Starts")[2].splitlines()[1:]]


def as_object(*words: str) -> dict[str, Any]:
    found = json.loads(dry(*words, "--json"))
    assert isinstance(found, dict)
    return found


def test_the_instants_of_a_schedule_are_on_the_wall_of_its_zone_and_in_utc_across_a_clock_change() -> None:
    assert starts("cron", "--cron", "0 9 * * *", "--tz", "Europe/Paris", "--next", "4") == [
        "2027-03-26T09:00:00+01:00 (Europe/Paris)  2027-03-26T08:00:00Z",
        "2027-03-27T09:00:00+01:00 (Europe/Paris)  2027-03-27T08:00:00Z",
        "2027-03-28T09:00:00+02:00 (Europe/Paris)  2027-03-28T07:00:00Z",
        "2027-03-29T09:00:00+02:00 (Europe/Paris)  2027-03-29T07:00:00Z",
    ]


def test_in_utc_it_is_said_once() -> None:
    assert starts("cron", "--cron", "0 9 * * *", "--tz", "UTC", "--next", "1") == ["2027-03-26T09:00:00+00:00 (UTC)"]


def test_five_starts_are_shown_and_no_more_than_there_would_be() -> None:
    assert starts("interval", "-e", "10s") == [f"after {wait}" for wait in ("0s", "10s", "20s", "30s", "40s")]
    assert len(starts("count", "-t", "3", "-e", "1s")) == 3
    assert starts("duration", "--for", "25s", "-e", "10s") == ["after 0s", "after 10s", "after 20s"]
    assert starts("interval", "-e", "10s", "--for", "20s") == ["after 0s", "after 10s"]
    assert starts("cron", "--cron", "0 9 * * *", "--tz", "UTC", "--for", "1h") == [
        "none: the time is up before the first one"
    ]


def test_until_is_an_end_too() -> None:
    shown = starts("cron", "--cron", "0 9 * * *", "--tz", "UTC", "--until", "2027-03-28T09:00:00Z")
    assert [line[:10] for line in shown] == ["2027-03-26", "2027-03-27"]


def test_a_schedule_is_one_object_for_programs() -> None:
    assert as_object("cron", "--cron", "0 9 * * *", "--tz", "Europe/Paris", "--next", "1") == {
        "mode": "cron",
        "describes": "At 09:00 (Europe/Paris)",
        "command": ["work", "hard"],
        "seed": None,
        "timezone": "Europe/Paris",
        "supposing": None,
        "starts": [{"run": 1, "wait_s": 64_800.0, "utc": "2027-03-26T08:00:00Z", "local": "2027-03-26T09:00:00+01:00"}],
    }


def test_waits_are_instants_for_programs_too() -> None:
    found = as_object("exp", "-bd", "250ms", "--next", "3")
    assert found["supposing"] == "each run fails at once"
    assert [(each["wait_s"], each["utc"], each["local"]) for each in found["starts"]] == [
        (0.0, "2027-03-25T14:00:00.000Z", None),
        (0.25, "2027-03-25T14:00:00.250Z", None),
        (0.75, "2027-03-25T14:00:00.750Z", None),
    ]


def test_what_is_drawn_can_be_drawn_again_from_the_seed_that_is_told() -> None:
    words = ("chaos", "-b", "1m", "--intensity", "1")
    assert as_object(*words)["seed"] == 7
    assert as_object(*words) == as_object(*words)
    assert "seed 7" in dry(*words)


@pytest.mark.parametrize(("count", "says"), [("0", "--next must be more than 0"), ("1001", "--next must be at most")])
def test_a_number_of_starts_that_is_none_or_without_end_is_refused(count: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        dry("interval", "-e", "1s", "--next", count)
