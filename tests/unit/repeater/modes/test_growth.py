"""The delays of the strategies against their formulae in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.modes.growth import (
    decorrelated_s,
    exponential_s,
    fibonacci_s,
    linear_s,
    listed_s,
    polynomial_s,
)

BASES = st.integers(1, 10**9).map(lambda us: us / 1e6)
CAPS = st.integers(10**9, 10**14).map(lambda us: us / 1e6)
KS = st.integers(1, 10**9)
Delay = Callable[[int], float]


def first_five(delay: Delay) -> list[float]:
    return [round(delay(k), 2) for k in range(1, 6)]


def test_the_delays_begin_as_documented() -> None:
    assert first_five(lambda k: exponential_s(k, base_s=1, multiplier=2, max_s=60)) == [1, 2, 4, 8, 16]
    assert first_five(lambda k: fibonacci_s(k, base_s=1, max_s=60)) == [1, 1, 2, 3, 5]
    assert first_five(lambda k: linear_s(k, increment_s=1, max_s=60)) == [1, 2, 3, 4, 5]
    assert first_five(lambda k: polynomial_s(k, base_s=1, exponent=1.5, max_s=60)) == [1, 2.83, 5.2, 8, 11.18]
    assert first_five(lambda k: listed_s(k, [1, 2, 4])) == [1, 2, 4, 4, 4]


@given(st.integers(1, 60), BASES, st.integers(11, 100).map(lambda tenths: tenths / 10), CAPS)
def test_exponential_is_its_formula(k: int, base_s: float, multiplier: float, max_s: float) -> None:
    exact = min(Fraction(max_s), Fraction(base_s) * Fraction(multiplier) ** (k - 1))
    assert exponential_s(k, base_s=base_s, multiplier=multiplier, max_s=max_s) == pytest.approx(float(exact))


@given(st.integers(1, 400), BASES, CAPS)
def test_fibonacci_is_its_formula(k: int, base_s: float, max_s: float) -> None:
    a, b = 0, 1
    for _ in range(k):
        a, b = b, a + b
    exact = min(Fraction(max_s), Fraction(base_s) * a)
    assert fibonacci_s(k, base_s=base_s, max_s=max_s) == pytest.approx(float(exact))


@given(st.integers(1, 1_000), BASES, st.integers(1, 10), CAPS)
def test_polynomial_is_its_formula(k: int, base_s: float, exponent: int, max_s: float) -> None:
    exact = min(Fraction(max_s), Fraction(base_s) * k**exponent)
    assert polynomial_s(k, base_s=base_s, exponent=exponent, max_s=max_s) == pytest.approx(float(exact))


@given(KS, KS, BASES, CAPS)
def test_no_delay_is_longer_than_the_cap_or_shorter_than_the_one_before(
    k: int, later: int, base_s: float, max_s: float
) -> None:
    delays: list[Delay] = [
        lambda n: exponential_s(n, base_s=base_s, multiplier=10, max_s=max_s),
        lambda n: fibonacci_s(n, base_s=base_s, max_s=max_s),
        lambda n: linear_s(n, increment_s=base_s, max_s=max_s),
        lambda n: polynomial_s(n, base_s=base_s, exponent=10, max_s=max_s),
    ]
    for delay in delays:
        assert 0 < delay(k) <= delay(k + later) <= max_s


@given(st.lists(st.floats(0, 1, exclude_max=True), max_size=50), BASES, CAPS)
def test_decorrelated_jitter_stays_between_its_base_and_multiplier_times_the_one_before(
    drawn: list[float], base_s: float, max_s: float
) -> None:
    before = base_s
    for draw in drawn:
        delay = decorrelated_s(before, draw, base_s=base_s, multiplier=3, max_s=max_s)
        assert base_s <= delay <= min(max_s, max(3 * before, base_s))
        before = delay


def test_decorrelated_jitter_is_uniform_between_its_bounds() -> None:
    ends = [decorrelated_s(10, drawn, base_s=2, multiplier=3, max_s=60) for drawn in (0, 0.25, 0.5, 1)]
    assert ends == [2, 9, 16, 30]
