from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import Answer, driven, gaps, starts

from chronos.repeater.modes.adaptive import Adaptive, Bounds, Circuit, State, learned, wait_s
from chronos.repeater.port import ModeInvalid

BOUNDS = Bounds(min_s=0.1, max_s=30.0, fast_s=0.5, slow_s=2.0, failure=0.3)
RUNS = st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=80)


def states(answers: list[tuple[bool, float]], bounds: Bounds = BOUNDS, base_s: float = 1.0) -> list[State]:
    """Return what is known after each run, before the first one included."""
    begin = State(base_s)
    return list(accumulate(answers, lambda state, a: learned(state, bounds, ok=a[0], took_s=a[1]), initial=begin))


def test_quick_successes_shorten_the_interval_by_steps_and_raise_the_odds() -> None:
    after = states([(True, 0.01)] * 6)[1:]

    assert [state.interval_s for state in after] == [0.8, 0.6, 0.4, 0.2, 0.2, 0.2]
    assert [round(100 * s.success_probability, 1) for s in after] == [67.2, 76.0, 81.2, 84.7, 87.3, 89.1]
    assert {state.circuit for state in after} == {Circuit.CLOSED}


def test_failures_lengthen_the_interval_and_open_the_circuit() -> None:
    after = states([(False, 0.01)] * 5)[1:]

    assert [state.interval_s for state in after] == pytest.approx([1 / 0.6, 1 / 0.36, 1 / 0.216, 1 / 0.1296, 12.86008])
    assert [round(100 * s.success_probability, 1) for s in after] == [32.8, 24.0, 18.8, 15.3, 12.7]
    assert [s.circuit.value for s in after] == ["CLOSED", "OPEN", "OPEN", "OPEN", "OPEN"]
    assert [round(wait_s(s, BOUNDS), 2) for s in after] == [1.67, 11.11, 18.52, 30, 30]


def test_slow_successes_lengthen_the_interval_by_steps() -> None:
    assert [s.interval_s for s in states([(True, 3)] * 3)] == [1, 1.2, 1.4, 1.6]


def test_runs_neither_fast_nor_slow_leave_the_interval_alone() -> None:
    assert [s.interval_s for s in states([(True, 1)] * 3)] == [1] * 4


def test_the_latency_is_smoothed_so_that_one_slow_run_is_not_a_slow_target() -> None:
    after = states([(True, 0.1), (True, 5.0)])[-1]
    assert after.latency_s == pytest.approx(0.59)
    assert after.interval_s == 0.8


def test_after_a_long_failure_the_circuit_is_half_open_before_it_is_closed() -> None:
    after = [s.circuit for s in states([(False, 0.1)] * 200 + [(True, 0.1)] * 40)[201:]]
    assert after.index(Circuit.HALF_OPEN) == 31
    assert after.index(Circuit.CLOSED) == 32


@given(RUNS, st.floats(0, 10))
def test_a_failure_never_shortens_the_wait(answers: list[tuple[bool, float]], took_s: float) -> None:
    before = states(answers)[-1]
    after = learned(before, BOUNDS, ok=False, took_s=took_s)
    assert wait_s(after, BOUNDS) >= wait_s(before, BOUNDS)
    assert wait_s(after, BOUNDS) > wait_s(before, BOUNDS) or wait_s(after, BOUNDS) == BOUNDS.max_s


@given(RUNS, st.floats(0, 0.4))
def test_after_a_quick_success_the_wait_is_never_longer_while_the_target_is_quick(
    answers: list[tuple[bool, float]], took_s: float
) -> None:
    before = states([(ok, min(took, 0.4)) for ok, took in answers])[-1]
    after = learned(before, BOUNDS, ok=True, took_s=took_s)
    assert wait_s(after, BOUNDS) <= wait_s(before, BOUNDS)


@given(RUNS)
def test_the_wait_stays_in_its_bounds_and_the_odds_between_none_and_certain(answers: list[tuple[bool, float]]) -> None:
    for state in states(answers):
        assert BOUNDS.min_s <= state.interval_s <= wait_s(state, BOUNDS) <= BOUNDS.max_s
        assert 0 < state.success_probability < 1


def test_what_is_known_has_the_weight_of_the_last_twenty_runs() -> None:
    state = State(1.0)
    for n in range(10_000):
        state = learned(state, BOUNDS, ok=n % 3 != 0, took_s=0.1)
    assert state.successes + state.failures == pytest.approx(20)  # 1 / (1 - 0.95)


def test_the_first_run_is_at_once_and_its_result_counts_for_the_second() -> None:
    assert starts(Adaptive(1), runs=3, ok=True, took_s=0.1) == pytest.approx([0, 0.9, 1.6])


def test_waits_grow_while_runs_fail() -> None:
    found = gaps(starts(Adaptive(0.1, min_s=0.05, max_s=2), runs=6))
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.1 / 0.6, abs=1e-6)
    assert found[-1] == 2


@pytest.mark.parametrize(("took_s", "then_s"), [(1.9, 3.8), (2.1, 4), (7.9, 4), (8.1, 4.2)])
def test_what_is_fast_and_what_is_slow_are_shares_of_the_base_interval(took_s: float, then_s: float) -> None:
    first, second = driven(Adaptive(4), lambda _: Answer(True, took_s), runs=2)
    assert second.started_s - first.ended_s == pytest.approx(then_s)


def test_without_immediate_the_first_run_is_one_interval_later() -> None:
    assert starts(Adaptive(5, immediate=False), runs=1) == [5]


def test_what_is_known_can_be_shown_after_each_run() -> None:
    mode = Adaptive(0.1, min_s=0.05, max_s=0.5)
    list(driven(mode, lambda _: Answer(ok=True), runs=1))
    assert (mode.state.interval_s, round(100 * mode.state.success_probability, 1)) == (0.1, 67.2)
    assert mode.state.circuit.value == "CLOSED"


@pytest.mark.parametrize(
    ("options", "field", "why"),
    [
        ({"base_s": 60}, "base-interval", "between --min-interval \\(100ms\\) and --max-interval \\(30s\\); it is 1m"),
        ({"base_s": 1, "min_s": 2, "max_s": 1}, "min-interval", "shorter than --max-interval"),
        ({"base_s": 1, "min_s": 1, "max_s": 1}, "min-interval", "shorter than --max-interval"),
        ({"base_s": 1, "slow": 0.5}, "slow-threshold", "greater than 1; it is 0.5"),
        ({"base_s": 1, "fast": 1.5}, "fast-threshold", "greater than 0 and less than 1; it is 1.5"),
        ({"base_s": 1, "failure": 1}, "failure-threshold", "less than 1; it is 1"),
        ({"base_s": 0}, "base-interval", "longer than 0s"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, float], field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Adaptive(**options)  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_an_adaptive_mode_says_what_it_moves_between() -> None:
    assert Adaptive(1).describe() == "1s to begin with, then between 100ms and 30s by success and latency"
