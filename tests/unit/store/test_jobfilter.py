from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from chronos.store.jobfilter import BITS_A_JOB, BYTES_MIN, JOBS_MAX, filter_of, may_have

ids = st.text(min_size=1, max_size=40)


@given(st.lists(ids, min_size=1, max_size=200, unique=True))
def test_a_job_that_is_in_is_always_found_to_be_in(jobs: list[str]) -> None:
    bits = filter_of(jobs)
    assert all(may_have(bits, job) for job in jobs)


def test_of_a_hundred_jobs_that_are_not_in_about_one_is_taken_to_be() -> None:
    draw = random.Random(5)
    for count in (1, 10, 300, JOBS_MAX):
        bits = filter_of([f"{draw.getrandbits(80):020x}" for _ in range(count)])
        assert len(bits) <= max(BYTES_MIN, count * BITS_A_JOB / 8 + 1)
        taken = sum(may_have(bits, f"{draw.getrandbits(80):020x}") for _ in range(10_000))
        assert taken < 250


def test_without_a_filter_any_job_may_be_in() -> None:
    assert filter_of([]) == b""
    assert filter_of([f"J{n}" for n in range(JOBS_MAX + 1)]) == b""
    assert may_have(b"", "J1")
