from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.errors import CallbackRefused
from chronos.features.callbacks.rules import Ticket, is_on_loopback, ticket_of, token_of

KEY, OTHER = b"k" * 32, b"o" * 32
NOW_S = 1_800_000_000
TICKET = Ticket("occ_" + "0" * 31 + "v", 3, NOW_S + 60)
TOKEN = token_of(KEY, TICKET)


def test_a_token_says_what_it_was_made_for_until_it_expires() -> None:
    assert ticket_of(KEY, TOKEN, NOW_S) == TICKET
    assert ticket_of(KEY, TOKEN, NOW_S + 60) == TICKET
    with pytest.raises(CallbackRefused, match="has expired"):
        ticket_of(KEY, TOKEN, NOW_S + 60.001)


def test_a_token_of_another_server_is_refused() -> None:
    with pytest.raises(CallbackRefused, match="not made by this server"):
        ticket_of(OTHER, TOKEN, NOW_S)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="utf-8"))
def test_a_token_with_any_character_changed_is_refused(place: int, character: str) -> None:
    altered = TOKEN[:place] + character + TOKEN[place + 1 :]
    if altered != TOKEN:
        with pytest.raises(CallbackRefused, match="not made by this server"):
            ticket_of(KEY, altered, NOW_S)


@given(st.text(max_size=200))
def test_whatever_else_is_sent_is_refused_alike(text: str) -> None:
    with pytest.raises(CallbackRefused, match="not made by this server"):
        ticket_of(KEY, text, NOW_S)


@given(st.integers(1, 999_999), st.integers(1, 10**12 - 1), st.integers(0, 25))
def test_no_two_attempts_share_a_token(attempt: int, expires_s: int, cut: int) -> None:
    other = Ticket(TICKET.execution_id, attempt, expires_s)
    token = token_of(KEY, other)
    assert (token == TOKEN) is (other == TICKET)
    assert ticket_of(KEY, token, 0) == other
    # Digits moved from one number to the next are another text: the parts are told apart.
    moved = token.replace(".", "", 1)
    with pytest.raises(CallbackRefused):
        ticket_of(KEY, moved, 0)


@pytest.mark.parametrize(
    "url, is_loopback",
    [
        ("http://127.0.0.1:9/", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:9/x", True),
        ("http://localhost/", True),
        ("http://a.localhost/", True),
        ("http://10.0.0.1/", False),
        ("http://reports.example.org/", False),
        ("nonsense", False),
    ],
)
def test_whether_an_address_is_this_machine_s_own(url: str, is_loopback: bool) -> None:
    assert is_on_loopback(url) is is_loopback
