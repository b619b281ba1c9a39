from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chronos.timing.jitter import jitter_us


@given(st.text(), st.integers(0, 2**40), st.integers(1, 10**12))
def test_jitter_is_below_its_bound_and_the_same_every_time(job_id: str, instant: int, bound: int) -> None:
    assert 0 <= jitter_us(job_id, instant, bound) < bound
    assert jitter_us(job_id, instant, bound) == jitter_us(job_id, instant, bound)


def test_no_bound_means_no_jitter() -> None:
    assert jitter_us("job", 1_750_000_000, 0) == 0


def test_jitter_is_part_of_the_format_and_never_changes() -> None:
    assert jitter_us("01JOB", 1_750_000_000, 30_000_000) == 4_030_519


def test_jitter_spreads_jobs_and_instants_evenly() -> None:
    for draws in (
        [jitter_us(f"job-{n}", 1_750_000_000, 1_000) for n in range(10_000)],
        [jitter_us("job", 1_750_000_000 + 60 * n, 1_000) for n in range(10_000)],
    ):
        tenths = [sum(low <= draw < low + 100 for draw in draws) for low in range(0, 1_000, 100)]
        assert all(850 <= tenth <= 1_150 for tenth in tenths)  # 1,000 expected, five standard deviations
