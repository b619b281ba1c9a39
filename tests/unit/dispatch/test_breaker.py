"""The circuit breaker's states, with the time as an argument."""

from __future__ import annotations

import random

import pytest

from chronos.dispatch.breaker import HOSTS_MAX, Breakers, BreakerSettings, Circuit, Ticket, Verdict

A, F, N = Verdict.ANSWERED, Verdict.FAILED, Verdict.NOTHING


def go(breakers: Breakers, verdict: Verdict, now_s: float, host: str = "h") -> None:
    ticket = breakers.admit("default", host, now_s)
    assert isinstance(ticket, Ticket)
    breakers.record(ticket, verdict, now_s)


def opened(now_s: float = 0.0) -> Breakers:
    breakers = Breakers()
    for _ in range(5):
        go(breakers, F, now_s)
    return breakers


def state(breakers: Breakers, now_s: float = 0.0) -> Circuit:
    states = breakers.states(now_s)
    return states[0].state if states else Circuit.CLOSED


def test_five_failures_in_a_row_open_the_circuit() -> None:
    breakers = opened(now_s=100)
    assert state(breakers) is Circuit.OPEN
    assert breakers.admit("default", "h", 110.0) == 20.0
    assert breakers.states(110.0)[0].retry_in_s == 20.0


def test_an_answer_in_between_starts_the_count_again() -> None:
    breakers = Breakers()
    for verdict in [F, F, F, F, A, F, F, F, F]:
        go(breakers, verdict, 0)
    assert state(breakers) is Circuit.CLOSED


def test_attempts_that_say_nothing_neither_open_nor_reset() -> None:
    breakers = Breakers()
    for verdict in [F, F, F, F, N, N, F]:
        go(breakers, verdict, 0)
    assert state(breakers) is Circuit.OPEN


def test_a_half_open_circuit_lets_one_through_at_a_time() -> None:
    breakers = opened()
    trial = breakers.admit("default", "h", 30.0)
    assert isinstance(trial, Ticket)
    assert breakers.admit("default", "h", 30.0) == 1.0
    breakers.record(trial, A, 30.0)
    assert state(breakers) is Circuit.HALF_OPEN
    assert isinstance(breakers.admit("default", "h", 30.0), Ticket)


def test_two_answers_close_it_and_it_is_forgotten() -> None:
    breakers = opened()
    go(breakers, A, 30.0)
    go(breakers, A, 30.0)
    assert breakers.states(30.0) == []


def test_one_failure_opens_a_half_open_circuit_again_for_the_whole_time() -> None:
    breakers = opened()
    go(breakers, A, 30.0)
    go(breakers, F, 31.0)
    assert breakers.admit("default", "h", 60.9) == pytest.approx(0.1)
    assert isinstance(breakers.admit("default", "h", 61.0), Ticket)


def test_a_trial_that_says_nothing_gives_its_place_back() -> None:
    """A cancelled trial once left the circuit half-open for ever."""
    breakers = opened()
    for _ in range(100):
        go(breakers, N, 30.0)
    go(breakers, A, 30.0)
    go(breakers, A, 30.0)
    assert state(breakers) is Circuit.CLOSED


def test_attempts_from_before_the_circuit_opened_do_not_judge_its_trial() -> None:
    breakers = Breakers()
    early = [breakers.admit("default", "h", 0.0) for _ in range(8)]
    for ticket in early[:5]:
        assert isinstance(ticket, Ticket)
        breakers.record(ticket, F, 0.0)
    trial = breakers.admit("default", "h", 30.0)
    assert isinstance(trial, Ticket)
    for ticket, verdict in zip(early[5:], (A, F, A), strict=True):
        assert isinstance(ticket, Ticket)
        breakers.record(ticket, verdict, 30.0)
    assert state(breakers) is Circuit.HALF_OPEN
    assert breakers.admit("default", "h", 30.0) == 1.0


def test_namespaces_and_hosts_have_their_own_breakers() -> None:
    breakers = opened()
    assert isinstance(breakers.admit("other", "h", 0.0), Ticket)
    assert isinstance(breakers.admit("default", "i", 0.0), Ticket)


def test_a_breaker_can_be_reset() -> None:
    breakers = opened()
    assert breakers.reset("default", "h")
    assert not breakers.reset("default", "h")
    assert isinstance(breakers.admit("default", "h", 0.0), Ticket)


def test_disabled_breakers_let_everything_through() -> None:
    breakers = Breakers(BreakerSettings(enabled=False))
    for _ in range(50):
        go(breakers, F, 0.0)


def test_no_more_breakers_are_remembered_than_the_bound() -> None:
    breakers = Breakers()
    for n in range(HOSTS_MAX + 10):
        go(breakers, F, 0.0, host=f"h{n}")
    assert len(breakers.states(0.0)) == HOSTS_MAX


@pytest.mark.parametrize("seed", range(50))
def test_a_host_that_answers_again_is_always_called_again(seed: int) -> None:
    """However it got there, no state is a dead end: a recovered host is closed within a minute of asking."""
    draw = random.Random(seed)
    breakers, now = Breakers(), 0.0
    held: list[Ticket] = []
    for _ in range(300):
        now += draw.random() * 5
        ticket = breakers.admit("default", "h", now)
        if isinstance(ticket, Ticket):
            held.append(ticket)
        while held and draw.random() < 0.6:
            breakers.record(held.pop(draw.randrange(len(held))), draw.choice([A, F, F, N]), now)
    for ticket in held:
        breakers.record(ticket, N, now)
    end = now + 60
    while now < end and breakers.states(now):
        now += 1
        ticket = breakers.admit("default", "h", now)
        if isinstance(ticket, Ticket):
            breakers.record(ticket, A, now)
    assert breakers.states(now) == []
