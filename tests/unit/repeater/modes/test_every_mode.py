"""What holds for each mode, whatever the runs are like."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dose import PROOF
from tests.unit.repeater.modes.driving import START_S, Answer, an_ended_run, at, driven

from chronos.repeater.modes.adaptive import Adaptive
from chronos.repeater.modes.chaos import Chaos
from chronos.repeater.modes.cron import Cron
from chronos.repeater.modes.genetic import Genetic
from chronos.repeater.modes.interval import Interval
from chronos.repeater.modes.jitter import jittered
from chronos.repeater.modes.learn import Learn
from chronos.repeater.modes.load_adaptive import LoadAdaptive
from chronos.repeater.modes.rate_limit import RateLimit
from chronos.repeater.modes.retries import (
    DecorrelatedJitter,
    Delays,
    Exponential,
    Fibonacci,
    Linear,
    Polynomial,
    Retries,
)
from chronos.repeater.port import Load, Mode, Moment
from chronos.timing.clock import dice

MANY = 10**9


class Host:
    def read(self) -> Load:
        return Load(50.0, 50.0, 1.5)


Make = Callable[[int], Mode]
MODES: dict[str, Make] = {
    "interval": lambda _: Interval(5),
    "cron": lambda _: Cron("*/5 * * * * *", "Europe/Berlin"),
    "exponential": lambda _: Exponential(1, attempts=MANY),
    "fibonacci": lambda _: Fibonacci(1, attempts=MANY),
    "linear": lambda _: Linear(1, attempts=MANY),
    "polynomial": lambda _: Polynomial(1, attempts=MANY),
    "decorrelated-jitter": lambda seed: DecorrelatedJitter(1, dice(seed), attempts=MANY),
    "delays": lambda _: Delays([1, 2, 4], attempts=MANY),
    "rate-limit": lambda _: RateLimit("100/1m"),
    "rate-limit with retries": lambda _: RateLimit("20/1m", [0, 5, 20]),
    "adaptive": lambda _: Adaptive(1),
    "load-adaptive": lambda _: LoadAdaptive(1, Host()),
    "genetic": lambda seed: Genetic(1, dice(seed), source=Host()),
    "learn": lambda _: Learn(300, "Europe/Berlin"),
    "chaos": lambda seed: Chaos(1, dice(seed)),
}
LOOKING_AT_THE_WALL = {"cron", "learn"}
ANSWERS = st.lists(st.builds(Answer, st.booleans(), st.floats(0, 100)), max_size=30)
SEEDS = st.integers(0, 2**63)

every_mode = pytest.mark.parametrize("make", MODES.values(), ids=MODES)


def seconds(mode: Mode, answers: Iterable[Answer]) -> list[float]:
    each = list(answers)
    following = iter(each)
    return [run.started_s for run in driven(mode, lambda _: next(following), runs=len(each))]


@every_mode
@settings(max_examples=30)
@given(answers=ANSWERS, seed=SEEDS, fraction=st.sampled_from([0, 0.1, 1]))
def test_no_run_starts_before_the_one_ahead_of_it_has_ended(
    make: Make, answers: list[Answer], seed: int, fraction: float
) -> None:
    following = iter(answers)
    runs = list(driven(jittered(make(seed), fraction, seed), lambda _: next(following), runs=len(answers)))
    assert all(after.started_s >= before.ended_s for before, after in pairwise(runs))


@every_mode
@settings(max_examples=15)
@given(answers=ANSWERS, seed=SEEDS, fraction=st.sampled_from([0, 0.3]))
def test_the_same_seed_and_the_same_runs_give_the_same_starts(
    make: Make, answers: list[Answer], seed: int, fraction: float
) -> None:
    one, other = (seconds(jittered(make(seed), fraction, seed), answers) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("name", sorted(MODES.keys() - LOOKING_AT_THE_WALL))
@settings(max_examples=15)
@given(answers=ANSWERS, jumps_s=st.lists(st.floats(-1e8, 1e8), min_size=30, max_size=30))
def test_a_wall_clock_that_jumps_changes_nothing(name: str, answers: list[Answer], jumps_s: list[float]) -> None:
    jumping, steady = MODES[name](1), MODES[name](1)
    assert jumping.first_s(Moment(START_S, jumps_s[0])) == steady.first_s(Moment(START_S, 0.0))
    started_s = START_S
    for number, (answer, jump_s) in enumerate(zip(answers, jumps_s, strict=False), 1):
        run = an_ended_run(number, started_s, answer)
        now = Moment(run.ended_s, jump_s)
        following = jumping.next_s(run._replace(started_at=jump_s), now)
        assert following == steady.next_s(run, now._replace(wall_s=0.0))
        if following is None:
            return
        started_s = following


@every_mode
def test_a_mode_says_what_it_is_in_one_line(make: Make) -> None:
    for mode in (make(1), jittered(make(1), 0.2, 1)):
        said = mode.describe()
        assert 10 <= len(said) <= 160
        assert said.isprintable()


def held(thing: object, seen: set[int]) -> int:
    """Return about how many bytes an object and what it refers to take."""
    if id(thing) in seen or isinstance(thing, type) or callable(thing):
        return 0
    seen.add(id(thing))
    inner: list[object] = list(getattr(thing, "__dict__", {}).values())
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    if isinstance(thing, list | tuple | set | frozenset | deque):
        inner += thing
    return sys.getsizeof(thing) + sum(held(each, seen) for each in inner)


@every_mode
def test_what_a_mode_remembers_does_not_grow_with_the_runs(make: Make) -> None:
    mode, drawn = make(1), dice(2)
    odds = 0.0 if isinstance(mode, Retries) else 0.7
    half = 40_000 if PROOF else 4_000
    runs = driven(mode, lambda _: Answer(drawn.random() < odds, 0.1 * drawn.random()), runs=2 * half)
    sizes = [held(mode, set()) for run in runs if run.number % half == 0]
    assert len(sizes) == 2
    assert sizes[1] <= 1.1 * sizes[0] + 200
    assert sizes[1] < 200_000


@every_mode
def test_a_mode_can_begin_on_a_machine_that_has_been_up_for_decades(make: Make) -> None:
    mode = make(1)
    up_s = 1e9
    first_s = mode.first_s(Moment(up_s, at(0).wall_s))
    run = an_ended_run(1, first_s, Answer(ok=False, took_s=0.5))
    following = mode.next_s(run, Moment(run.ended_s, at(0).wall_s + 0.5))
    assert following is not None
    assert up_s <= first_s < following
