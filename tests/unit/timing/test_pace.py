from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.timing.pace import parse_retry_after, retry_delay_us

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def delay(attempt: int, seed: str = "occ_1", *, initial_us: int = 1_000_000, max_us: int = 60_000_000) -> int:
    return retry_delay_us(attempt, initial_us=initial_us, max_us=max_us, multiplier=2.0, seed=seed)


@given(st.integers(1, 10_000), st.text())
def test_a_delay_is_between_nothing_and_the_grown_interval(attempt: int, seed: str) -> None:
    ceiling = min(60_000_000, 1_000_000 * 2 ** (attempt - 1))
    assert 0 <= delay(attempt, seed) <= ceiling


def test_a_delay_depends_on_the_execution_and_the_attempt_alone() -> None:
    assert delay(2, "occ_1") == delay(2, "occ_1")
    assert len({delay(n, seed) for n in range(3, 9) for seed in ("occ_1", "occ_2")}) == 12


def test_delays_use_the_whole_range() -> None:
    delays = [delay(3, f"occ_{n}") for n in range(2_000)]
    assert min(delays) < 40_000
    assert max(delays) > 3_960_000
    assert 1_850_000 < sum(delays) / len(delays) < 2_150_000


@pytest.mark.parametrize(("initial_us", "max_us"), [(0, 1_000), (1_000, 0)])
def test_no_interval_means_no_delay(initial_us: int, max_us: int) -> None:
    assert delay(1, initial_us=initial_us, max_us=max_us) == 0


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["120"], 120),
        ([" 120 "], 120),
        (["1.5"], 1.5),
        (["0"], 0),
        (["2147483648"], 2_147_483_648),
        (["Sun, 06 Nov 1994 08:50:37 GMT"], 60),
        (["Sunday, 06-Nov-94 08:50:37 GMT"], 60),
        (["Sun Nov  6 08:50:37 1994"], 60),
    ],
)
def test_a_wait_is_read_as_seconds(values: list[str], seconds: float) -> None:
    assert parse_retry_after(values, NOW) == seconds


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["1", "2"],
        ["1, 2"],
        [""],
        ["-1"],
        ["NaN"],
        ["inf"],
        ["1e3"],
        ["2147483649"],
        ["9" * 63],
        ["9" * 65],
        ["soon"],
        ["٣"],
        ["Sun, 06 Nov 1994 08:49:37 GMT"],  # now
        ["Sun, 06 Nov 1994 08:48:37 GMT"],  # past
        ["Sun, 99 Nov 1994 08:48:37 GMT"],
        ["Sun, 06 Nov 2094 08:48:37 GMT"],  # more than 2^31 seconds away
    ],
)
def test_a_wait_that_makes_no_sense_is_ignored(values: list[str]) -> None:
    assert parse_retry_after(values, NOW) is None


@given(st.lists(st.text(max_size=80), max_size=2))
def test_any_header_is_a_bounded_wait_or_ignored(values: list[str]) -> None:
    seconds = parse_retry_after(values, NOW)
    assert seconds is None or 0 <= seconds <= 2**31
