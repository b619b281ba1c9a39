from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.modes.window import Rate, fits, parse_rate, pattern_slot_us, slot_us
from chronos.repeater.port import ModeInvalid

RATES = st.builds(Rate, st.integers(1, 5), st.integers(1, 30))
OFFSETS = st.sets(st.integers(1, 40), max_size=3).map(lambda offsets: (0, *sorted(offsets)))


def crowded(starts: list[int], rate: Rate) -> bool:
    """Whether some half-open window holds more than the rate allows; by looking at each."""
    return any(sum(first <= start < first + rate.window_us for start in starts) > rate.starts_max for first in starts)


@given(RATES, st.lists(st.integers(0, 20), max_size=60))
def test_no_window_ever_holds_more_starts_than_the_rate_allows_and_none_waits_longer_than_it_must(
    rate: Rate, pauses: list[int]
) -> None:
    starts: list[int] = []
    now = 0
    for pause in pauses:
        now += pause
        slot = slot_us(starts, now, rate)
        assert not crowded([*starts, slot], rate)
        assert all(crowded([*starts, earlier], rate) for earlier in range(now, slot))
        starts.append(slot)
        now = slot


@given(RATES, OFFSETS, st.lists(st.integers(0, 20), max_size=8))
def test_a_task_reserves_the_first_place_at_which_all_its_tries_fit_in(
    rate: Rate, offsets: tuple[int, ...], pauses: list[int]
) -> None:
    if not fits(offsets, rate):
        return
    planned: list[int] = []
    now = 0
    for pause in pauses:
        now += pause
        slot = pattern_slot_us(planned, now, rate, offsets)
        assert not crowded([*planned, *(slot + offset for offset in offsets)], rate)
        for earlier in range(now, slot):
            assert crowded([*planned, *(earlier + offset for offset in offsets)], rate)
        planned = sorted([*planned, *(slot + offset for offset in offsets)])


@given(RATES, OFFSETS)
def test_a_pattern_fits_when_it_does_not_crowd_a_window_by_itself(rate: Rate, offsets: tuple[int, ...]) -> None:
    assert fits(offsets, rate) == (not crowded(list(offsets), rate))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/1h", Rate(100, 3_600_000_000)),
        ("5/500ms", Rate(5, 500_000)),
        (" 3 / 1s ", Rate(3, 1_000_000)),
        ("1/7d", Rate(1, 604_800_000_000)),
    ],
)
def test_a_rate_is_a_number_of_starts_in_a_period(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


def test_a_rate_is_shown_as_it_is_written() -> None:
    assert str(parse_rate("100/1h")) == "100/1h"


@pytest.mark.parametrize(
    "text",
    [
        "foo",
        "10/",
        "/1h",
        "1/2/3",
        "0/1h",
        "-1/1h",
        "10/0s",
        "10/-1s",
        "1.5/1h",
        "10/1",
        "²/1h",
        "9" * 5000 + "/1h",
        "",
    ],
)
def test_what_is_no_rate_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ModeInvalid) as refusal:
        parse_rate(text)
    assert refusal.value.field == "rate"
    assert len(str(refusal.value)) < 250
