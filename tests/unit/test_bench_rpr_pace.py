"""What the benchmark of `rpr`'s pace says of starts."""

from __future__ import annotations

from bench.rpr_pace import fastest, most_within


def test_an_even_pace_has_no_more_starts_in_a_window_than_fit() -> None:
    even = [float(at) for at in range(0, 1_000, 2)]
    assert most_within(even, 20) == 11
    assert fastest(even, 2) == {
        "wanted_ms": 2, "runs": 500, "runs_per_s": 500.0, "most_in_ten_intervals": 11, "drift_ms_per_1000": 0.0,
    }  # fmt: skip


def test_a_burst_shows() -> None:
    assert most_within([0.0, 10.0, 20.0, *(20.0 + n / 100 for n in range(50)), 30.0], 10) == 52


def test_one_run_has_no_rate() -> None:
    assert fastest([5.0], 1) == {}
