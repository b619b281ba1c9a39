from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.repeater.modes.driving import START_S, Answer, driven, starts

from chronos.repeater.modes.rate_limit import RateLimit
from chronos.repeater.port import ModeInvalid

NANO = 1e-6
M = 60.0


def fullest(seconds: list[float], window_s: float) -> int:
    """Return the most starts in any window; starts a nanosecond or so short of one apart count as one apart."""
    return max(sum(first <= s < first + window_s - NANO for s in seconds) for first in seconds)


def test_a_full_burst_comes_first_and_then_each_start_waits_for_its_place() -> None:
    assert starts(RateLimit("3/1s"), runs=7, ok=True) == [0, 0, 0, 1, 1, 1, 2]


def test_windows_finer_than_a_second_are_as_long_as_they_say() -> None:
    assert starts(RateLimit("5/500ms"), runs=10, ok=True) == pytest.approx([0] * 5 + [0.5] * 5)


def test_windows_longer_than_an_hour_are_waited_for_in_one_piece() -> None:
    assert starts(RateLimit("1/3h"), runs=3, ok=True) == [0, 10_800, 21_600]


def test_a_window_is_about_real_starts_however_late_they_are() -> None:
    assert starts(RateLimit("2/10s"), runs=5, ok=True, took_s=4) == [0, 4, 10, 14, 20]


@given(st.integers(1, 6), st.integers(1, 20), st.lists(st.floats(0, 8), min_size=1, max_size=60))
def test_every_window_holds_at_most_n_starts(n: int, window_s: int, tooks: list[float]) -> None:
    each = iter(tooks)
    runs = driven(RateLimit(f"{n}/{window_s}s"), lambda _: Answer(True, next(each)), runs=len(tooks))
    assert fullest([run.started_s for run in runs], window_s) <= n


@given(
    st.integers(3, 8),
    st.lists(st.tuples(st.booleans(), st.floats(0, 8)), min_size=1, max_size=60),
    st.lists(st.integers(1, 15), min_size=1, max_size=2, unique=True),
)
def test_every_window_holds_at_most_n_starts_with_a_retry_pattern_too(
    n: int, answers: list[tuple[bool, float]], offsets: list[int]
) -> None:
    each = iter(answers)
    mode = RateLimit(f"{n}/10s", [0, *sorted(offsets)])
    runs = driven(mode, lambda _: Answer(*next(each)), runs=len(answers))
    assert fullest([run.started_s for run in runs], 10) <= n


def test_each_task_reserves_its_retries_so_that_ten_an_hour_are_three_tasks_with_two_retries() -> None:
    found = starts(RateLimit("10/1h", [0, 10 * M, 30 * M]), runs=4, ok=True)

    assert found[:3] == [0, 0, 0]
    assert found[3] > 1


def test_what_fails_is_tried_again_at_its_offsets_and_then_given_up() -> None:
    answers = iter([False, False, False, True, True])

    runs = driven(RateLimit("3/10h", [0, 10 * M, 30 * M]), lambda _: Answer(next(answers)), runs=5)

    assert [run.started_s - START_S for run in runs] == [0, 10 * M, 30 * M, 600 * M, 1200 * M]


def test_what_succeeds_is_not_tried_again() -> None:
    answers = iter([False, True, True])

    runs = driven(RateLimit("3/10h", [0, 10 * M, 30 * M]), lambda _: Answer(next(answers)), runs=3)

    assert [run.started_s - START_S for run in runs] == [0, 10 * M, 600 * M]


def test_the_first_offset_may_be_left_out() -> None:
    without = starts(RateLimit("10/1h", [600, 1800]), runs=20)
    assert without == starts(RateLimit("10/1h", [0, 600, 1800]), runs=20)


def test_a_retry_whose_time_went_by_during_a_long_run_starts_as_soon_as_it_fits_in() -> None:
    answers = iter([Answer(False, 5), Answer(True, 1000), Answer(True, 1)])

    found = [run.started_s - START_S for run in driven(RateLimit("4/1h", [0, 60]), lambda _: next(answers), runs=3)]

    assert found == [0, 5, 1005]


def test_what_is_kept_in_mind_is_bounded() -> None:
    mode = RateLimit("100/1s")
    seconds = starts(mode, runs=20_000, ok=True, took_s=0.001)
    assert all(b >= a for a, b in pairwise(seconds))
    assert len(mode._planned_us) <= 101


@pytest.mark.parametrize(
    ("rate", "pattern", "field", "why"),
    [
        ("10/1h", [0, 600, 600], "retry-pattern", "must ascend"),
        ("10/1h", [0, 600, 60], "retry-pattern", "must ascend"),
        ("2/1h", [0, 60, 120], "retry-pattern", "more starts in one period than --rate 2/1h allows"),
        ("100000/1s", [0, 3600], "retry-pattern", "more than 10000"),
        ("1000/1h", list(range(40)), "retry-pattern", "32 offsets"),
        ("0/1h", [], "rate", "between 1 and"),
    ],
)
def test_a_pattern_that_cannot_be_kept_to_is_refused(rate: str, pattern: list[float], field: str, why: str) -> None:
    with pytest.raises(ModeInvalid, match=why) as refusal:
        RateLimit(rate, pattern)
    assert refusal.value.field == field


def test_a_rate_limit_says_what_it_is() -> None:
    assert RateLimit("10/1h").describe() == "10 starts in any 1h at most"
    assert "tried again 10m, 30m after" in RateLimit("10/1h", [0, 600, 1800]).describe()
