from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import START_AT, Answer, driven, gaps, starts

from chronos.repeater.modes.interval import Interval
from chronos.repeater.modes.learn import DAY_S, History, Learn
from chronos.repeater.port import Mode, ModeInvalid, Remembering, Run
from chronos.timing.clock import dice

HOUR_S = 3600
BERLIN = ZoneInfo("Europe/Berlin")
# The world of these tests begins on 2023-11-14 at 23:13:20 in Berlin.
FIRST_DAY = datetime.fromtimestamp(START_AT, BERLIN).toordinal() + 1


def hour(at: float) -> float:
    wall = datetime.fromtimestamp(at, BERLIN)
    return wall.hour + wall.minute / 60


def day(at: float) -> int:
    """Return the day on Berlin's wall, 1 being the first whole one."""
    return datetime.fromtimestamp(at, BERLIN).toordinal() - FIRST_DAY + 1


def lived(mode: Mode, *, bad: tuple[float, float], days: int, base_s: float, seed: int = 1) -> list[Run]:
    """Return the runs of some days of a target that mostly fails between two hours and mostly works otherwise."""
    drawn = dice(seed)

    def answer(second: float) -> Answer:
        is_bad = bad[0] <= hour(START_AT + second) < bad[1]
        return Answer(drawn.random() >= (0.95 if is_bad else 0.03), took_s=1.0)

    runs = driven(mode, answer, runs=int((days + 1.1) * DAY_S / base_s))
    return [run for run in runs if 1 <= day(run.started_at) <= days]


def in_window(runs: list[Run], bad: tuple[float, float], on_day: int) -> int:
    return sum(day(run.started_at) == on_day and bad[0] <= hour(run.started_at) < bad[1] for run in runs)


def outside(runs: list[Run], bad: tuple[float, float], on_day: int) -> int:
    return sum(day(run.started_at) == on_day and not bad[0] <= hour(run.started_at) < bad[1] for run in runs)


@pytest.mark.parametrize("bad", [(2, 4), (8.5, 12), (22, 24)], ids=str)
@pytest.mark.parametrize("base_s", [60, 300, 600], ids="{}s".format)
def test_after_three_days_it_avoids_four_fifths_of_a_bad_window_and_a_control_does_not(
    base_s: float, bad: tuple[float, float]
) -> None:
    learned = lived(Learn(base_s, "Europe/Berlin"), bad=bad, days=4, base_s=base_s)
    control = lived(Interval(base_s), bad=bad, days=4, base_s=base_s)

    assert in_window(control, bad, 4) >= 0.95 * (bad[1] - bad[0]) * HOUR_S / base_s
    assert in_window(learned, bad, 4) <= 0.2 * in_window(control, bad, 4)
    assert outside(learned, bad, 4) >= 0.9 * outside(control, bad, 4)


def test_what_an_earlier_repetition_saw_counts_from_the_first_run_on() -> None:
    mode, bad = Learn(300, "Europe/Berlin"), (23.0, 24.0)
    assert isinstance(mode, Remembering)
    for days in (3, 2, 1):
        for since in range(0, DAY_S, 300):
            at = START_AT - days * DAY_S + since
            mode.remember(at, ok=not bad[0] <= hour(at) < bad[1])

    first, second = driven(mode, lambda _: Answer(ok=True), runs=2)

    assert hour(first.started_at) == pytest.approx(23.2, abs=0.1)
    assert hour(second.started_at) == 0


def test_a_window_that_is_good_again_is_found_out_within_days() -> None:
    mode, bad = Learn(300, "Europe/Berlin"), (2.0, 4.0)

    def answer(second: float) -> Answer:
        at = START_AT + second
        return Answer(day(at) > 4 or not bad[0] <= hour(at) < bad[1])

    runs = list(driven(mode, answer, runs=16 * 288))

    assert in_window(runs, bad, 4) <= 5
    assert in_window(runs, bad, 12) >= 23


def test_a_target_that_is_down_all_day_is_asked_on_at_the_base_interval() -> None:
    found = gaps(starts(Learn(600, "UTC"), runs=2_000))
    assert found[-100:] == pytest.approx([600] * 100)


def test_while_all_is_well_it_is_an_interval_from_end_to_start() -> None:
    assert starts(Learn(60, "UTC"), runs=4, ok=True, took_s=5) == [0, 65, 130, 195]


def test_one_failure_is_no_pattern() -> None:
    answers = iter([True] * 10 + [False] + [True] * 10)
    runs = driven(Learn(60, "UTC"), lambda _: Answer(next(answers)), runs=21)
    assert set(gaps([run.started_s for run in runs])) == {60}


def test_without_immediate_the_first_run_is_one_interval_later() -> None:
    assert starts(Learn(60, "UTC", immediate=False), runs=1) == [60]


@given(st.integers(900, DAY_S), st.lists(st.tuples(st.integers(0, 30 * DAY_S), st.booleans()), max_size=60))
def test_a_chance_lies_between_never_and_always(slot_s: int, runs: list[tuple[int, bool]]) -> None:
    history = History(slot_s)
    for second, ok in sorted(runs):
        history.note(second, ok=ok)
    for second in range(30 * DAY_S, 31 * DAY_S, 3_000):
        assert 0 < history.chance(second) < 1


@given(st.integers(900, DAY_S), st.integers(0, 10**10))
def test_a_slot_ends_within_its_length_and_the_day_with_the_last_one(slot_s: int, second: int) -> None:
    history = History(slot_s)
    end = history.slot_end(second)
    assert second < end <= second + slot_s
    assert end % DAY_S == 0 or end % DAY_S % slot_s == 0


def test_what_was_long_ago_is_forgotten() -> None:
    history = History(900)
    for _ in range(5):
        history.note(0, ok=False)
    chances = [history.chance(days * DAY_S) for days in range(20)]
    assert chances == sorted(chances)
    assert chances[0] < 0.3
    assert chances[-1] > 0.8


def test_a_day_has_at_most_ninety_six_slots_and_two_runs_in_each() -> None:
    assert [Learn(base_s, "UTC").history.slots for base_s in (0.01, 450, 900, 3600, 21_600)] == [96, 96, 48, 12, 2]


@pytest.mark.parametrize(
    ("base_s", "timezone", "threshold", "field", "why"),
    [
        (0, "UTC", 0.5, "base-interval", "longer than 0s"),
        (7 * 3600, "UTC", 0.5, "base-interval", "at most 6h, to see something of a day; it is 7h"),
        (60, "Mars/X", 0.5, "timezone", "Mars/X"),
        (60, "UTC", 1, "failure-threshold", "less than 1"),
    ],
)
def test_what_cannot_work_is_refused(base_s: float, timezone: str, threshold: float, field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Learn(base_s, timezone, threshold=threshold)
    assert refusal.value.field == field


def test_a_learning_mode_says_what_it_avoids() -> None:
    said = Learn(60, "Europe/Berlin").describe()
    assert said.startswith("1m apart, but not at times of the day (in Europe/Berlin)")
    assert "50%" in said
