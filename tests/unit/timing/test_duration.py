from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.errors import DurationInvalid
from chronos.timing.duration import DAY_US, DURATION_US_MAX, HOUR_US, MINUTE_US, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("0", 0),
        ("0s", 0),
        ("1000ns", 1),
        ("1us", 1),
        ("1µs", 1),
        ("1μs", 1),
        ("1ms", 1_000),
        ("30s", 30_000_000),
        ("1.5h", 90 * MINUTE_US),
        (".5s", 500_000),
        ("1h30m", 90 * MINUTE_US),
        ("1m0s", MINUTE_US),
        ("2d12h", 60 * HOUR_US),
        ("1w", 7 * DAY_US),
        (" 5m ", 5 * MINUTE_US),
        ("+5m", 5 * MINUTE_US),
        ("-0s", 0),
    ],
)
def test_a_duration_is_read_as_microseconds(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write a number and a unit"),
        ("s", "write a number and a unit"),
        ("30", "`30` has no unit"),
        ("1h30", "`30` has no unit"),
        ("5 m", "write a number and a unit"),
        ("5y", "write a number and a unit"),
        ("1e3s", "write a number and a unit"),
        ("NaN", "write a number and a unit"),
        ("٣s", "write a number and a unit"),
        ("1ns", "finer than a microsecond"),
        ("0.0000001s", "finer than a microsecond"),
        ("-5m", "must not be negative"),
        ("3661d", "longer than ten years"),
        ("9" * 60 + "s", "longer than ten years"),
        ("1s" * 40, "longer than 64 characters"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(DurationInvalid) as caught:
        parse_duration(text)
    assert words in str(caught.value)


def test_a_negative_duration_is_read_where_it_is_allowed() -> None:
    assert parse_duration("-1h30m", allow_negative=True) == -90 * MINUTE_US


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (1, "1us"),
        (1_500, "1500us"),
        (500_000, "500ms"),
        (1_500_000, "1.5s"),
        (30_000_000, "30s"),
        (MINUTE_US, "1m"),
        (90 * MINUTE_US, "1h30m"),
        (HOUR_US + 1_000, "1h0.001s"),
        (7 * DAY_US, "168h"),
        (-90 * MINUTE_US, "-1h30m"),
    ],
)
def test_a_duration_is_written_in_units_that_parse_anywhere(us: int, text: str) -> None:
    assert format_duration(us) == text


@given(st.integers(-DURATION_US_MAX, DURATION_US_MAX))
def test_what_is_written_reads_back(us: int) -> None:
    assert parse_duration(format_duration(us), allow_negative=True) == us


@given(st.text(alphabet="0123456789.hmsuµndw+- ", max_size=20))
def test_any_text_is_a_bounded_duration_or_refused(text: str) -> None:
    try:
        us = parse_duration(text)
    except DurationInvalid:
        return
    assert 0 <= us <= DURATION_US_MAX
