"""What an HTTP answer asks to wait."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.httpaware import Advice, HttpRules, advice_in

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
RULES = HttpRules()


def asked(answer: str, rules: HttpRules = RULES) -> tuple[float, str] | None:
    found = advice_in(answer.replace("\n", "\r\n").encode(), rules, NOW_S)
    return (found.seconds, found.source) if found else None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("HTTP/1.1 503 X\nRetry-After: 30\n\n", (30, "retry-after-header")),
        ("HTTP/1.1 503 X\nretry-after:   30\n\n", (30, "retry-after-header")),
        ("HTTP/2 429\nretry-after: 30\n\n", (30, "retry-after-header")),
        ("HTTP/1.1 503 X\nRetry-After: Tue, 14 Nov 2023 22:14:20 GMT\n\n", (60, "retry-after-header")),
        ("HTTP/1.1 503 X\nRetry-After: 0\n\n", (1, "retry-after-header")),
        ("HTTP/1.1 503 X\nRetry-After: 999999\n\n", (1800, "retry-after-header")),
        ("HTTP/1.1 503 X\nRetry-After: -5\n\n", None),
        ("HTTP/1.1 503 X\nRetry-After: soon\n\n", None),
        ("HTTP/1.1 503 X\nRetry-After: 1\nRetry-After: 2\n\n", None),
        ("HTTP/1.1 200 OK\nRetry-After: 30\n\n", None),
        ("HTTP/1.1 404 X\nRetry-After: 30\n\n", None),
        ("HTTP/1.1 403 X\nRetry-After: 3600\n\n", (1800, "retry-after-header")),
        ("HTTP/1.1 302 X\nRetry-After: 30\n\n", (30, "retry-after-header")),
        ("HTTP/1.1 302 X\nRetry-After: 30\n\nHTTP/1.1 200 OK\n\n", None),
        ("HTTP/1.1 200 Connection established\n\nHTTP/1.1 503 X\nRetry-After: 7\n\n", (7, "retry-after-header")),
        ("HTTP/1.1 429 X\nX-RateLimit-Reset: 42\nX-RateLimit-Remaining: 0\n\n", (42, "rate-limit-header")),
        ("HTTP/1.1 429 X\nX-RateLimit-Reset: 1700000042\n\n", (42, "rate-limit-header")),
        ("HTTP/1.1 429 X\nRateLimit-Reset: 42\nRateLimit-Remaining: 3\n\n", None),
        ('HTTP/1.1 429 X\n\n{"retry_after": 64.57}', (65, "json-retry-after")),
        ('HTTP/1.1 429 X\n\n{"retryAfter": "5"}', (5, "json-retry-after")),
        ('HTTP/1.1 429 X\n\n{"error": {"retry_after": 5}}', (5, "json-retry-after")),
        ('HTTP/1.1 429 X\n\n{"rate_limit": {"reset_in": 5}}', (5, "json-rate-limit")),
        ('HTTP/1.1 429 X\n\n{"backoff": {"delay": 5}}', (5, "json-backoff")),
        ('HTTP/1.1 429 X\n\n{"retry_after": -1, "backoff": {"delay": 5}}', (5, "json-backoff")),
        ('HTTP/1.1 429 X\n\n{"retry_after": true}', None),
        ('HTTP/1.1 429 X\n\n[{"retry_after": 5}]', None),
        ('HTTP/1.1 429 X\n\n{"retry_after": 5', None),
        ('HTTP/1.1 503 X\nRetry-After: 2\n\n{"retry_after": 5}', (2, "retry-after-header")),
        ("Retry-After: 30", None),
        ("a page\nHTTP/1.1 503 X\nRetry-After: 30\n\n", None),
        ("", None),
    ],
)
def test_an_answer_asks_for_a_wait(answer: str, expected: tuple[float, str] | None) -> None:
    assert asked(answer) == expected
    assert advice_in(answer.encode(), RULES, NOW_S) == (Advice(*expected) if expected else None), "with bare line feeds"


def test_what_is_heeded_can_be_said() -> None:
    busy = 'HTTP/1.1 503 X\nRetry-After: 9\n\n{"retry_after": 5, "quota": {"back": 3}}'
    assert asked(busy, HttpRules(headers=False)) == (5, "json-retry-after")
    assert asked(busy, HttpRules(headers=False, fields=("quota.back",))) == (3, "json-custom-field")
    assert asked(busy, HttpRules(headers=False, json=False)) is None
    assert asked(busy, HttpRules(min_s=20)) == (20, "retry-after-header")
    assert asked("HTTP/1.1 404 X\nRetry-After: 9\n\n", HttpRules(trust_client=True)) == (9, "retry-after-header")


def test_nesting_without_end_is_no_advice() -> None:
    assert advice_in(b"HTTP/1.1 429 X\n\n" + b'{"a":' * 100_000, RULES, NOW_S) is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 503 X\r\n", b"HTTP/1.1 429 X\r\n\r\n{"]))
def test_whatever_is_printed_the_wait_is_within_its_bounds(rest: bytes, start: bytes) -> None:
    found = advice_in(start + rest, RULES, NOW_S)
    assert found is None or 1 <= found.seconds <= 1800


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text(max_size=20) | st.none())
def test_whatever_a_field_holds_the_wait_is_within_its_bounds(value: object) -> None:
    body = json.dumps({"retry_after": value})
    found = advice_in(f"HTTP/1.1 429 X\n\n{body}".encode(), RULES, NOW_S)
    assert found is None or 1 <= found.seconds <= 1800
