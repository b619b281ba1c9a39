from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import START_AT, START_S, Answer, at, driven, gaps, starts

from chronos.repeater.modes.cron import Cron
from chronos.repeater.modes.interval import Interval
from chronos.repeater.modes.jitter import jittered, offset_s
from chronos.repeater.modes.retries import Linear
from chronos.repeater.port import ModeInvalid, Ticking

FRACTIONS = st.floats(0.01, 1)
SEEDS = st.integers(0, 2**64)


@given(SEEDS, st.integers(0, 10**9), st.floats(0, 1e6))
def test_an_offset_stays_in_its_bounds(seed: int, n: int, spread_s: float) -> None:
    assert -spread_s <= offset_s(seed, n, spread_s, never_early=False) <= spread_s
    assert 0 <= offset_s(seed, n, spread_s, never_early=True) <= spread_s


def test_offsets_are_uniform_over_their_range() -> None:
    bins = [0] * 10
    for n in range(10_000):
        bins[int((offset_s(3, n, 1.0, never_early=False) + 1) * 5)] += 1
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in bins)
    assert chi_squared < 27.9  # 99.9 % of nine degrees of freedom


@given(FRACTIONS, SEEDS)
def test_a_jittered_interval_keeps_its_grid(fraction: float, seed: int) -> None:
    found = starts(jittered(Interval(10), fraction, seed), runs=30)

    assert found[0] == 0
    assert all(abs(start - 10 * n) <= 10 * fraction + 1e-6 for n, start in enumerate(found))
    assert all(b >= a for a, b in pairwise(found))


def test_each_tick_has_an_offset_of_its_own_and_keeps_it_when_asked_again() -> None:
    mode = jittered(Interval(10), 0.2, 1)
    assert isinstance(mode, Ticking)
    mode.first_s(at(0))

    offsets = [round((mode.tick_s(n, at(0)) or 0) - START_S - 10 * n, 9) for n in range(1, 21)]

    assert len(set(offsets)) == 20
    assert offsets == [round((mode.tick_s(n, at(5)) or 0) - START_S - 10 * n, 9) for n in range(1, 21)]


def test_a_jittered_instant_of_the_wall_clock_is_never_early() -> None:
    mode = jittered(Cron("* * * * *", "UTC"), 0.5, 9)

    walls = [run.started_at for run in driven(mode, lambda _: Answer(ok=True), runs=20)]

    assert all(0 <= wall % 60 <= 30.001 for wall in walls)
    assert len({int(wall // 60) for wall in walls}) == 20
    assert walls[0] > START_AT


@given(FRACTIONS, SEEDS)
def test_a_jittered_wait_is_longer_or_shorter_by_a_share_of_itself(fraction: float, seed: int) -> None:
    found = gaps(starts(jittered(Linear(10, attempts=6), fraction, seed), runs=6))

    assert len(found) == 5
    assert all(
        (1 - fraction) * 10 * k - 1e-6 <= gap <= (1 + fraction) * 10 * k + 1e-6 for k, gap in enumerate(found, 1)
    )


def test_the_seed_decides_and_a_run_at_once_stays_at_once() -> None:
    one, same, other = (starts(jittered(Interval(1), 0.3, seed), runs=10) for seed in (1, 1, 2))
    assert one == same != other
    assert one[0] == 0


def test_a_first_run_that_is_waited_for_is_jittered_too() -> None:
    assert starts(jittered(Interval(10, immediate=False), 0.5, 1), runs=1) != [10]


def test_no_jitter_leaves_the_mode_as_it_is() -> None:
    mode = Interval(1)
    assert jittered(mode, 0, 1) is mode


def test_a_jittered_mode_says_so() -> None:
    assert jittered(Interval(1), 0.2, 1).describe() == "every 1s, from the start, ± 20%"
    assert jittered(Cron("@daily", "UTC"), 0.2, 1).describe().endswith("up to 20% later")


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_jitter_that_is_no_share_is_refused(fraction: float) -> None:
    with pytest.raises(ModeInvalid, match="--jitter must be at least 0 and at most 1"):
        jittered(Interval(1), fraction, 1)
