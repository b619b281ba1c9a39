from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import START_S, Answer, an_ended_run, at, starts

from chronos.repeater.modes.interval import Interval, tick_s, ticks_by
from chronos.repeater.port import ModeInvalid, Ticking

WAITS = st.integers(1_000, 10**13).map(lambda us: us / 1e6)


def test_the_first_run_is_at_once_and_the_rest_follow_at_equal_distances() -> None:
    assert starts(Interval(0.1), runs=5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_without_immediate_the_first_run_is_one_interval_later() -> None:
    assert starts(Interval(30, immediate=False), runs=3) == [30, 60, 90]


def test_ticks_that_pass_during_a_long_run_are_skipped_and_the_grid_stays() -> None:
    assert starts(Interval(10), runs=4, took_s=25) == [0, 30, 60, 90]


def test_a_run_that_wakes_a_little_early_does_not_get_its_tick_twice() -> None:
    mode, run = Interval(10), an_ended_run(1, START_S, Answer(ok=True))
    mode.first_s(at(0))
    assert mode.next_s(run, at(0)) == START_S + 10
    assert mode.next_s(run, at(9.999_999)) == START_S + 20


def test_an_interval_does_not_drift_in_a_million_ticks() -> None:
    exact = [Fraction(n * 5_001, 1_000_000) for n in (1, 1_000, 999_999, 1_000_000)]

    found = [tick_s(n, 0.0, 0.005_001) for n in (1, 1_000, 999_999, 1_000_000)]

    assert [float(abs(Fraction(f) - e)) < 1e-9 for f, e in zip(found, exact, strict=True)] == [True] * 4


@given(WAITS, st.integers(0, 10**6), st.floats(0, 1e6))
def test_a_tick_is_counted_when_it_is_there_and_not_before(every_s: float, n: int, first_s: float) -> None:
    tick = tick_s(n, first_s, every_s)

    passed = ticks_by(tick, first_s, every_s)

    assert tick_s(passed - 1, first_s, every_s) <= tick < tick_s(passed, first_s, every_s)
    assert passed == n + 1


@given(WAITS, st.floats(0, 1e7), st.floats(0, 1e6))
def test_the_first_tick_that_has_not_passed_is_the_next_one_later_than_now(
    every_s: float, later_s: float, first_s: float
) -> None:
    passed = ticks_by(first_s + later_s, first_s, every_s)

    assert tick_s(passed - 1, first_s, every_s) <= first_s + later_s < tick_s(passed, first_s, every_s)


def test_before_the_first_tick_none_has_passed() -> None:
    assert ticks_by(9.9, 10.0, 1.0) == 0


def test_an_interval_has_ticks_that_the_engine_may_queue() -> None:
    assert isinstance(Interval(1), Ticking)


@pytest.mark.parametrize(
    ("every_s", "why"),
    [(0, "longer than 0s"), (-1, "longer than 0s; it is -1s"), (1e10, "ten years"), (float("nan"), "longer than 0s")],
)
def test_an_interval_that_cannot_be_waited_for_is_refused(every_s: float, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Interval(every_s)
    assert refusal.value.field == "every"


def test_an_interval_says_what_it_is() -> None:
    assert Interval(90).describe() == "every 1m30s, from the start"
    assert "one interval after" in Interval(90, immediate=False).describe()
