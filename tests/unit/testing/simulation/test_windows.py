"""Matching arrivals to windows without looking at ids."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from chronos.testing.simulation.windows import Window, greedy


def window(opens: float, closes: float) -> Window:
    return Window(int(opens), opens, closes, "")


def test_one_arrival_fills_one_window_only() -> None:
    first, second = window(0, 2), window(1, 3)
    assert greedy([first, second], [1.5]) == [second]
    assert greedy([first, second], [1.5, 1.6]) == []


def test_the_window_that_closes_first_is_served_first() -> None:
    assert greedy([window(0, 10), window(0, 2)], [1.0, 9.0]) == []


@pytest.mark.parametrize("seed", range(50))
def test_it_leaves_no_more_windows_empty_than_the_best_of_all_matchings(seed: int) -> None:
    draw = random.Random(seed)
    windows = [window(at := draw.uniform(0, 5), at + 1) for _ in range(5)]  # of equal length, as a job's are
    arrivals = [draw.uniform(0, 6) for _ in range(5)]
    best = min(
        sum(not w.opens <= at <= w.closes for w, at in zip(windows, order, strict=True))
        for order in permutations(arrivals)
    )
    assert len(greedy(windows, arrivals)) == best
