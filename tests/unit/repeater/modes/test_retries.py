from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.repeater.modes.driving import START_S, Answer, driven, gaps, starts

from chronos.repeater.modes.retries import (
    DecorrelatedJitter,
    Delays,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Retries,
)
from chronos.repeater.port import ModeInvalid
from chronos.timing.clock import dice

Make = Callable[[], Retries]
STRATEGIES = {
    "exponential": lambda: Exponential(0.05, attempts=5),
    "fibonacci": lambda: Fibonacci(0.05, attempts=5),
    "linear": lambda: Linear(0.05, attempts=5),
    "polynomial": lambda: Polynomial(0.05, attempts=5),
    "decorrelated-jitter": lambda: DecorrelatedJitter(0.05, dice(1), attempts=5),
    "delays": lambda: Delays([0.05, 0.1], attempts=5),
}


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_a_success_is_the_end(make: Make) -> None:
    assert starts(make(), runs=100, ok=True) == [0]


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_after_so_many_attempts_it_is_over(make: Make) -> None:
    assert len(starts(make(), runs=100)) == 5


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_the_third_try_may_be_the_one_that_works(make: Make) -> None:
    answers = iter([False, False, True])
    assert len(list(driven(make(), lambda _: Answer(next(answers)), runs=100))) == 3


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_a_strategy_says_what_it_does_in_one_line(make: Make) -> None:
    said = make().describe()
    assert "50ms" in said
    assert said.endswith("until it succeeds, 5 times at most")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Exponential(0.1, attempts=4), [0.1, 0.2, 0.4]),
        (Exponential(0.1, max_s=0.15, attempts=4), [0.1, 0.15, 0.15]),
        (Fibonacci(0.05, attempts=5), [0.05, 0.05, 0.1, 0.15]),
        (Linear(0.05, attempts=4), [0.05, 0.1, 0.15]),
        (Polynomial(0.05, exponent=2, attempts=4), [0.05, 0.2, 0.45]),
        (Delays([1, 2, 4]), [1, 2, 4]),
        (Delays([1, 0], attempts=5), [1, 0, 0, 0]),
        (Delays([5]), [5]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_gaps_are_those_of_the_formula(mode: Retries, expected: list[float]) -> None:
    assert gaps(starts(mode, runs=100)) == pytest.approx(expected)


def test_a_delay_counts_from_the_end_of_the_run_before() -> None:
    assert starts(Linear(10, attempts=3), runs=3, took_s=5) == [0, 15, 40]


def test_three_attempts_are_the_default_and_one_is_enough() -> None:
    assert len(starts(Exponential(1), runs=100)) == 3
    assert len(starts(Exponential(1, attempts=1), runs=100)) == 1


def test_decorrelated_jitter_begins_with_its_base_and_is_repeated_by_its_seed() -> None:
    def jittered(seed: int) -> list[float]:
        return gaps(starts(DecorrelatedJitter(0.05, dice(seed), max_s=0.4, attempts=50), runs=50))

    found = jittered(7)
    assert found[0] == pytest.approx(0.05)
    assert all(0.049 < gap < 0.401 for gap in found)
    assert len({round(gap, 6) for gap in found}) > 20
    assert found == jittered(7)
    assert found != jittered(8)


def test_a_hundred_thousand_failures_neither_overflow_nor_end_before_their_time() -> None:
    last_s, runs = START_S, 0
    for run in driven(Exponential(1, max_s=60, attempts=100_000), lambda _: Answer(ok=False), runs=1_000_000):
        last_s, runs = run.started_s, runs + 1
    assert runs == 100_000
    assert last_s - START_S == pytest.approx(63 + 60 * (100_000 - 7))


@pytest.mark.parametrize(
    ("make", "field", "why"),
    [
        (lambda: Exponential(0), "base-delay", "longer than 0s"),
        (lambda: Exponential(1, multiplier=1), "multiplier", "greater than 1 and at most 10; it is 1"),
        (lambda: Exponential(1, multiplier=11), "multiplier", "it is 11"),
        (lambda: Exponential(5, max_s=1), "max-delay", "not be shorter than --base-delay; it is 1s, that is 5s"),
        (lambda: Exponential(1, attempts=0), "attempts", "between 1 and"),
        (lambda: Fibonacci(-1), "base-delay", "it is -1s"),
        (lambda: Fibonacci(90), "max-delay", "it is 1m0s|it is 1m"),
        (lambda: Linear(0), "increment", "longer than 0s"),
        (lambda: Linear(2, max_s=1), "max-delay", "shorter than --increment"),
        (lambda: Polynomial(1, exponent=15), "exponent", "greater than 0 and at most 10; it is 15"),
        (lambda: Polynomial(1, exponent=0), "exponent", "it is 0"),
        (lambda: Polynomial(1, exponent=float("nan")), "exponent", "it is nan"),
        (lambda: DecorrelatedJitter(1, dice(1), multiplier=0.5), "multiplier", "it is 0.5"),
        (lambda: Delays([]), "delays", "such as 1s,2s,4s"),
        (lambda: Delays([1, -1]), "delays", "it is -1s"),
    ],
)
def test_what_cannot_work_is_refused_with_the_flag_and_the_bound(make: Make, field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        make()
    assert refusal.value.field == field
