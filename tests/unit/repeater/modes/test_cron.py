from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from tests.unit.repeater.modes.driving import Answer, an_ended_run

from chronos.repeater.modes.cron import Cron
from chronos.repeater.port import ModeInvalid, Moment, Ticking

RUN = an_ended_run(1, 0.0, Answer(ok=True))


def instant(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class World:
    """A wall clock that can be set, beside one that cannot. Monotonic second 0 is where it begins."""

    def __init__(self, text: str) -> None:
        self.wall_s = instant(text)
        self.monotonic_s = 0.0

    @property
    def now(self) -> Moment:
        return Moment(self.monotonic_s, self.wall_s)

    def wait_until(self, monotonic_s: float | None) -> str:
        """Go on to a monotonic second and return what the wall says there."""
        assert monotonic_s is not None
        self.wall_s += monotonic_s - self.monotonic_s
        self.monotonic_s = monotonic_s
        return datetime.fromtimestamp(self.wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def set_wall(self, text: str) -> None:
        self.wall_s = instant(text)


def test_the_first_run_is_at_the_next_instant_and_each_instant_has_one_run() -> None:
    world, mode = World("2024-01-01 08:00:30.25"), Cron("* * * * *", "UTC")

    first = world.wait_until(mode.first_s(world.now))
    rest = [world.wait_until(mode.next_s(RUN, world.now)) for _ in range(2)]

    assert [first, *rest] == ["2024-01-01 08:01:00", "2024-01-01 08:02:00", "2024-01-01 08:03:00"]


def test_weekdays_at_nine_from_a_saturday_is_monday() -> None:
    world, mode = World("2024-01-06 08:00:00"), Cron("0 9 * * 1-5", "UTC")
    assert world.wait_until(mode.first_s(world.now)) == "2024-01-08 09:00:00"


def test_the_expression_is_read_on_the_wall_of_its_zone() -> None:
    world, mode = World("2024-01-01 08:00:00"), Cron("0 9 * * *", "America/New_York")
    assert world.wait_until(mode.first_s(world.now)) == "2024-01-01 14:00:00"


def test_when_both_day_fields_are_restricted_one_of_them_is_enough() -> None:
    world, mode = World("2024-01-01 00:00:00"), Cron("0 0 13 * FRI", "UTC")
    assert world.wait_until(mode.first_s(world.now)) == "2024-01-05 00:00:00"
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-12 00:00:00"
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-13 00:00:00"


@pytest.mark.parametrize(
    ("expression", "then"),
    [
        ("1-5,10 * * * *", "2024-02-01 00:01:00"),
        ("*/15,5 * * * *", "2024-02-01 00:05:00"),
        ("0 0 * JAN MON", "2025-01-06 00:00:00"),
        ("0 0 * * 7", "2024-02-04 00:00:00"),
        ("0 0 29 2 *", "2024-02-29 00:00:00"),
        ("*/20 * * * * *", "2024-02-01 00:00:20"),
        ("@midnight", "2024-02-02 00:00:00"),
        ("0 0 L * *", "2024-02-29 00:00:00"),
        ("@every 90s", "2024-02-01 00:01:30"),
        ("@at 2024-03-01T12:00:00Z", "2024-03-01 12:00:00"),
        ("TZ=Asia/Tokyo 0 12 * * *", "2024-02-01 03:00:00"),
    ],
)
def test_every_dialect_is_understood(expression: str, then: str) -> None:
    world, mode = World("2024-02-01 00:00:00"), Cron(expression, "UTC")
    assert world.wait_until(mode.first_s(world.now)) == then


def test_a_wall_time_that_comes_twice_in_autumn_runs_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    world, mode = World("2024-10-26 20:00:00"), Cron("30 2 * * *", "Europe/Berlin")
    world.wait_until(mode.first_s(world.now))
    world.wait_until(mode.next_s(RUN, world.now))
    assert datetime.fromtimestamp(world.wall_s, berlin).strftime("%d %H:%M") == "28 02:30"


def test_with_immediate_a_run_is_ahead_of_the_first_instant() -> None:
    world, mode = World("2024-01-01 08:00:30"), Cron("* * * * *", "UTC", immediate=True)

    assert world.wait_until(mode.first_s(world.now)) == "2024-01-01 08:00:30"
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-01 08:01:00"


def test_instants_that_pass_during_a_long_run_are_skipped_or_can_be_queued() -> None:
    world, mode = World("2024-01-01 08:30:00"), Cron("0 * * * *", "UTC")
    world.wait_until(mode.first_s(world.now))
    world.wait_until(6.5 * 3600)  # 15:00: the run of 09:00 took six hours

    assert mode.passed(world.now) == 7
    queued = [mode.tick_s(n, world.now) for n in range(1, 7)]
    assert queued == [(n + 0.5) * 3600 for n in range(1, 7)]
    assert world.wait_until(mode.tick_s(7, world.now)) == "2024-01-01 16:00:00"


def test_skipping_a_year_of_minutes_counts_them_and_goes_on() -> None:
    world, mode = World("2023-01-01 00:00:00"), Cron("* * * * *", "UTC")
    world.wait_until(mode.first_s(world.now))
    world.set_wall("2024-01-01 00:00:30")

    assert mode.passed(world.now) == 365 * 24 * 60
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-01 00:01:00"


def test_a_clock_set_forward_moves_the_tick_that_is_waited_for() -> None:
    world, mode = World("2024-01-01 08:00:00"), Cron("0 * * * *", "UTC")
    assert mode.first_s(world.now) == 3600.0
    world.set_wall("2024-01-01 08:40:00")
    assert mode.tick_s(0, world.now) == 1200.0


def test_a_clock_set_back_a_little_runs_no_instant_twice() -> None:
    world, mode = World("2024-01-01 08:59:00"), Cron("0 * * * *", "UTC")
    assert world.wait_until(mode.first_s(world.now)) == "2024-01-01 09:00:00"
    world.set_wall("2024-01-01 08:30:00")
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-01 10:00:00"


def test_after_a_clock_is_set_back_by_months_ticks_go_on_from_the_new_time() -> None:
    world, mode = World("2024-06-01 08:59:00"), Cron("0 * * * *", "UTC")
    assert world.wait_until(mode.first_s(world.now)) == "2024-06-01 09:00:00"
    world.set_wall("2024-01-01 08:30:00")
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-01-01 09:00:00"


def test_a_clock_set_back_by_months_while_a_tick_is_waited_for_moves_that_tick() -> None:
    world, mode = World("2024-06-01 08:59:00"), Cron("0 * * * *", "UTC")
    mode.first_s(world.now)
    world.set_wall("2024-01-01 08:30:00")
    assert world.wait_until(mode.tick_s(0, world.now)) == "2024-01-01 09:00:00"
    assert world.wait_until(mode.tick_s(1, world.now)) == "2024-01-01 10:00:00"


def test_a_clock_set_back_far_is_noticed_however_long_nobody_looked() -> None:
    world, mode = World("2024-06-01 00:59:00"), Cron("0 * * * *", "UTC")
    world.wait_until(mode.first_s(world.now))
    assert world.wait_until(mode.next_s(RUN, world.now)) == "2024-06-01 02:00:00"
    assert mode.tick_s(2, world.now) is not None
    world.wait_until(world.monotonic_s + 7200)  # 04:00
    world.set_wall("2024-06-01 00:00:00")
    assert world.wait_until(mode.tick_s(2, world.now)) == "2024-06-01 01:00:00"


def test_the_one_instant_of_at_is_the_last_one() -> None:
    world, mode = World("2024-01-01 00:00:00"), Cron("@at 2024-01-02T00:00:00Z", "UTC")
    world.wait_until(mode.first_s(world.now))
    assert mode.next_s(RUN, world.now) is None


def test_an_instant_that_is_over_is_refused_at_the_start() -> None:
    with pytest.raises(ModeInvalid, match="--cron has no instant left"):
        Cron("@at 2024-01-02T00:00:00Z", "UTC").first_s(World("2024-02-01 00:00:00").now)


@pytest.mark.parametrize(
    ("expression", "timezone", "field", "why"),
    [
        ("60 * * * *", "UTC", "cron", "minute"),
        ("* * *", "UTC", "cron", "5 fields"),
        ("@reboot", "UTC", "cron", "@reboot"),
        ("", "UTC", "cron", "empty"),
        ("0 0 30 2 *", "UTC", "cron", "never fires"),
        ("@daily", "Mars/X", "timezone", "Mars/X"),
    ],
)
def test_what_is_no_schedule_is_refused_before_the_first_run(
    expression: str, timezone: str, field: str, why: str
) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Cron(expression, timezone)
    assert refusal.value.field == field


def test_a_schedule_has_ticks_and_says_what_it_is() -> None:
    mode = Cron("0 9 * * 1-5", "Europe/Paris")
    assert isinstance(mode, Ticking)
    assert "Europe/Paris" in mode.describe()
