from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import START_S, Answer, an_ended_run, at, driven, gaps, starts

from chronos.repeater.modes.evolution import NEIGHBOURS_MIN, NEIGHBOURS_SHARE, TRIALS_MAX, Population, Trial, estimated
from chronos.repeater.modes.genetic import Genetic, fitness, gene_of, interval_of
from chronos.repeater.port import Load, ModeInvalid
from chronos.timing.clock import Dice, dice

MIN_S, MAX_S = 1.0, 100.0
RUNS = 1_200
TRIES_EACH = (1, 10, 20)
GENES = st.floats(0, 1)


class Target:
    """A service that fails and is slow when it is asked more often than every ten seconds or so.

    Its best interval is known: the expected fitness of every interval can be written down.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def answer(self, interval_s: float) -> Answer:
        return Answer(
            self._dice.random() < odds(interval_s), latency_s(interval_s) * math.exp(self._dice.gauss(0, 0.2))
        )


def odds(interval_s: float) -> float:
    return 0.98 / (1 + (10 / interval_s) ** 8)


def latency_s(interval_s: float) -> float:
    return 0.2 * (1 + (10 / interval_s) ** 2)


def cpu(interval_s: float) -> float:
    return min(1.0, 3 / interval_s)


def expected(interval_s: float) -> float:
    worth = fitness(
        ok=True, interval_s=interval_s, took_s=latency_s(interval_s), cpu=cpu(interval_s), min_s=MIN_S, max_s=MAX_S
    )
    return odds(interval_s) * worth


OPTIMUM_S = max((interval_of(step / 10_000, MIN_S, MAX_S) for step in range(10_001)), key=expected)


class Host:
    """A host whose CPU is the busier the oftener the target is asked."""

    interval_s = 50.0

    def read(self) -> Load:
        return Load(100 * cpu(self.interval_s), 10.0, 0.5)


def evolved(seed: int) -> float:
    """Return the interval that is thought best after so many runs."""
    host, target = Host(), Target(dice(seed + 1_000))
    mode = Genetic(50, dice(seed), min_s=MIN_S, max_s=MAX_S, source=host)

    def answer(_: float) -> Answer:
        host.interval_s = mode.interval_s
        return target.answer(mode.interval_s)

    assert sum(1 for _ in driven(mode, answer, runs=RUNS)) == RUNS
    return mode.best_s


def searched(seed: int, tries_each: int) -> float:
    """Return the best interval of a random search with as many runs, each candidate tried so many times."""
    drawn, target = dice(seed), Target(dice(seed + 1_000))

    def seen(interval_s: float) -> Iterator[float]:
        for _ in range(tries_each):
            run = target.answer(interval_s)
            yield fitness(
                ok=run.ok, interval_s=interval_s, took_s=run.took_s, cpu=cpu(interval_s), min_s=MIN_S, max_s=MAX_S
            )

    candidates = [interval_of(drawn.random(), MIN_S, MAX_S) for _ in range(RUNS // tries_each)]
    return max(candidates, key=lambda interval_s: sum(seen(interval_s)))


def off(interval_s: float) -> float:
    """Return how far an interval is from the optimum, as a share of it."""
    return abs(interval_s / OPTIMUM_S - 1)


def test_the_optimum_is_where_the_target_has_just_recovered() -> None:
    assert 13 < OPTIMUM_S < 20


def test_over_twenty_seeds_evolution_ends_within_ten_percent_of_the_optimum_and_nearer_than_random_search() -> None:
    evolution = [evolved(seed) for seed in range(20)]

    assert median(map(off, evolution)) <= 0.10
    for tries_each in TRIES_EACH:
        random_search = [searched(seed, tries_each) for seed in range(20)]
        assert median(map(off, evolution)) < median(map(off, random_search))
        assert median(map(expected, evolution)) > median(map(expected, random_search))


def test_the_seed_decides() -> None:
    def tried(seed: int) -> list[float]:
        return starts(Genetic(10, dice(seed)), runs=50, ok=True)

    assert tried(1) == tried(1) != tried(2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1e4)), max_size=40), st.integers(0, 2**32))
def test_whatever_happens_the_interval_stays_in_its_bounds(answers: list[tuple[bool, float]], seed: int) -> None:
    mode = Genetic(10, dice(seed), min_s=2, max_s=30)
    each = iter(answers)
    runs = list(driven(mode, lambda _: Answer(*next(each)), runs=len(answers)))
    waits = [b.started_s - a.ended_s for a, b in pairwise(runs)]
    assert all(2 - 1e-3 <= wait <= 30 + 1e-3 for wait in waits)
    assert 2 <= mode.best_s <= 30


def test_the_first_wait_is_the_base_interval_and_the_first_run_is_at_once() -> None:
    found = starts(Genetic(10, dice(1)), runs=2)
    assert found == pytest.approx([0, 10])


def test_every_generation_looks_elsewhere_too() -> None:
    found = gaps(starts(Genetic(10, dice(1)), runs=2_000, ok=True))[-80:]
    assert max(found) > 3 * min(found)


def test_a_trial_counts_for_the_wait_there_really_was() -> None:
    mode = Genetic(10, dice(1))
    mode.first_s(at(0))
    mode.next_s(an_ended_run(1, START_S, Answer(ok=True)), at(0))

    mode.next_s(an_ended_run(2, START_S + 40, Answer(ok=True, took_s=60)), at(100))

    [trial] = mode._population._trials
    assert trial.gene == pytest.approx(gene_of(40, 1, 100))
    assert trial.worth == pytest.approx(0.5 * (1 - trial.gene) + 0.3 * 0.4 + 0.2)


def test_only_the_last_trials_are_remembered() -> None:
    population = Population(dice(1), 0.5)
    for _ in range(5_000):
        population.tried(population.gene, 0.5)
    assert len(population._trials) == TRIALS_MAX


def test_a_failure_is_worth_nothing_and_a_success_the_more_the_oftener_quicker_and_easier() -> None:
    def worth(*, ok: bool = True, interval_s: float = 10, took_s: float = 0.0, cpu: float = 0.0) -> float:
        return fitness(ok=ok, interval_s=interval_s, took_s=took_s, cpu=cpu, min_s=1, max_s=100)

    assert worth(ok=False) == 0
    assert worth(interval_s=1) == pytest.approx(1)
    assert worth() == pytest.approx(0.25 + 0.3 + 0.2)
    assert worth(took_s=10) == pytest.approx(0.25 + 0.15 + 0.2)
    assert worth(cpu=0.5) == pytest.approx(0.25 + 0.3 + 0.1)


@given(GENES)
def test_a_gene_is_an_interval_and_back(gene: float) -> None:
    assert gene_of(interval_of(gene, MIN_S, MAX_S), MIN_S, MAX_S) == pytest.approx(gene, abs=1e-9)


@given(st.lists(st.builds(Trial, GENES, GENES), min_size=1, max_size=60).map(sorted), GENES)
def test_an_estimate_lies_among_the_worths_of_the_nearest_trials(trials: list[Trial], gene: float) -> None:
    count = min(len(trials), NEIGHBOURS_MIN + int(NEIGHBOURS_SHARE * len(trials)))
    reach = sorted(abs(trial.gene - gene) for trial in trials)[count - 1]
    nearest = [trial.worth for trial in trials if abs(trial.gene - gene) <= reach]
    assert min(nearest) - 1e-9 <= estimated(gene, trials) <= max(nearest) + 1e-9


def test_without_trials_nothing_is_worth_more_than_anything_else() -> None:
    assert estimated(0.3, []) == estimated(0.7, []) == 0


@pytest.mark.parametrize(
    ("options", "field", "why"),
    [
        ({"base_s": 200, "min_s": 1, "max_s": 100}, "base-interval", "between --min-interval"),
        ({"base_s": 5, "min_s": 10, "max_s": 1}, "min-interval", "shorter than --max-interval"),
        ({"base_s": 0}, "base-interval", "longer than 0s"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, float], field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Genetic(options.pop("base_s"), dice(1), **options)  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_a_genetic_mode_says_what_it_does() -> None:
    assert Genetic(10, dice(1)).describe().startswith("evolves between 1s and 1m40s")
