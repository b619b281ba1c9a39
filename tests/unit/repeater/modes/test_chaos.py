from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import gaps, starts

from chronos.repeater.modes.chaos import Chances, Chaos, wait_s
from chronos.repeater.port import ModeInvalid
from chronos.timing.clock import dice

UNIT = st.floats(0, 1, exclude_max=True)
DRAWS = 20_000


def drawn(chances: Chances, seed: int = 5) -> list[float]:
    fallen = dice(seed)
    return [wait_s(fallen.random(), fallen.random(), chances) for _ in range(DRAWS)]


def documented_share_below(wait: float, chances: Chances) -> float:
    """Return the documented probability of a wait below `wait`."""

    def uniform(low: float, high: float) -> float:
        return min(1.0, max(0.0, (wait - low) / (high - low)))

    half = chances.intensity / 2
    rush = half * uniform(chances.min_s, chances.base_s)
    lull = half * uniform(chances.base_s, chances.max_s)
    return rush + lull + (1 - chances.intensity) * uniform(*chances.steady_s)


@pytest.mark.parametrize(
    "chances", [Chances(10, 1, 50, 0.3), Chances(10, 1, 50, 1.0), Chances(10, 9, 11, 0.5)], ids=str
)
def test_waits_are_distributed_as_documented(chances: Chances) -> None:
    waits = sorted(drawn(chances))
    distance = max(abs((n + 0.5) / DRAWS - documented_share_below(wait, chances)) for n, wait in enumerate(waits))
    assert distance < 1.95 / math.sqrt(DRAWS)  # Kolmogorov and Smirnov, 99.9 %


def test_the_mean_wait_is_as_documented() -> None:
    chances = Chances(10, 1, 50, 0.3)
    expected = 0.7 * 10 + 0.15 * 5.5 + 0.15 * 30
    assert sum(drawn(chances)) / DRAWS == pytest.approx(expected, rel=0.02)


@given(UNIT, UNIT, st.floats(0.001, 1e6), st.floats(1.001, 100), st.floats(1.001, 100), st.floats(0, 1))
def test_no_wait_is_outside_its_bounds(
    kind: float, place: float, base_s: float, below: float, above: float, intensity: float
) -> None:
    chances = Chances(base_s, base_s / below, base_s * above, intensity)
    assume(chances.min_s < chances.base_s < chances.max_s)
    assert chances.min_s <= wait_s(kind, place, chances) <= chances.max_s


def test_without_intensity_it_is_an_interval() -> None:
    assert gaps(starts(Chaos(10, dice(1), intensity=0), runs=5)) == [10, 10, 10, 10]


def test_the_first_run_is_at_once_and_a_wait_begins_with_the_end_of_a_run() -> None:
    found = starts(Chaos(10, dice(1), min_s=5, max_s=20), runs=200, took_s=100)
    assert found[0] == 0
    assert all(104.999 <= gap <= 120.001 for gap in gaps(found))


def test_the_seed_decides() -> None:
    one, same, other = (starts(Chaos(10, dice(seed)), runs=50) for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("options", "field", "why"),
    [
        ({"base_s": 0}, "base-interval", "longer than 0s"),
        ({"base_s": 1, "intensity": 1.5}, "intensity", "at least 0 and at most 1; it is 1.5"),
        ({"base_s": 1, "min_s": 2}, "base-interval", "between --min-interval"),
        ({"base_s": 1, "min_s": 9, "max_s": 2}, "min-interval", "shorter than --max-interval"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, float], field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        Chaos(options.pop("base_s"), dice(1), **options)  # type: ignore[arg-type]
    assert refusal.value.field == field


def test_a_chaotic_mode_says_what_it_draws_from() -> None:
    assert Chaos(10, dice(1)).describe() == "around 10s, ± 30%; 30% of the waits anything from 1s to 50s"
