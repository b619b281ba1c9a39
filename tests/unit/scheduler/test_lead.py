"""The claim lead grows with the crowd that is due."""

from __future__ import annotations

import pytest

from chronos.scheduler.book import Book
from chronos.scheduler.lead import CROWD_MIN, LEAD_US_MAX, PER_JOB_US, SPREAD_US, Lead

LEAST_US = 250_000
DUE_S = 1_000


def a_book(crowd: int, *, later: int = 0) -> Book:
    book = Book(lambda job_id: None)
    book.load([*((f"a{n}", DUE_S) for n in range(crowd)), *((f"b{n}", DUE_S + 60) for n in range(later))])
    return book


@pytest.mark.parametrize(
    ("crowd", "lead_us"),
    [(1, LEAST_US + PER_JOB_US), (CROWD_MIN - 1, 304_890), (5_000, 1_350_000), (15_000, LEAD_US_MAX)],
)
def test_the_lead_grows_with_how_many_are_due_next(crowd: int, lead_us: int) -> None:
    assert Lead(a_book(crowd, later=500), LEAST_US).look((DUE_S - 1) * 1_000_000 + 100_000) == lead_us


def test_it_never_grows_beyond_its_bound_but_is_never_less_than_what_was_set() -> None:
    near_us = DUE_S * 1_000_000 - 500_000
    assert Lead(a_book(100_000), LEAST_US).look(near_us) == LEAD_US_MAX
    assert Lead(a_book(100_000), 3_000_000).look(near_us) == 3_000_000


@pytest.mark.parametrize(("crowd", "beyond_us"), [(1, 0), (CROWD_MIN - 1, 0), (CROWD_MIN, SPREAD_US)])
def test_a_crowd_is_claimed_with_what_jitter_spreads_behind_it(crowd: int, beyond_us: int) -> None:
    lead = Lead(a_book(crowd), LEAST_US)
    assert lead.claim_us == LEAST_US
    lead.look((DUE_S - 1) * 1_000_000 + 100_000)
    assert lead.claim_us == lead.us + beyond_us


def test_a_crowd_is_short_of_time_when_less_is_left_than_it_takes() -> None:
    lead = Lead(a_book(5_000), LEAST_US)
    lead.look(DUE_S * 1_000_000 - 800_000)
    takes_us = 5_000 * PER_JOB_US
    assert not lead.is_short(5_000, DUE_S, DUE_S * 1_000_000 - takes_us)
    assert lead.is_short(5_000, DUE_S, DUE_S * 1_000_000 - takes_us + 1)
    assert lead.is_short(5_000, DUE_S, DUE_S * 1_000_000 + 3_000_000)
    assert not lead.is_short(CROWD_MIN - 1, DUE_S, DUE_S * 1_000_000), "a few take no time"


def test_what_is_due_later_is_not_looked_at_yet() -> None:
    assert Lead(a_book(10_000), LEAST_US).look((DUE_S - 10) * 1_000_000) == LEAST_US
    assert Lead(a_book(0), LEAST_US).look(DUE_S * 1_000_000) == LEAST_US


def test_a_crowd_is_counted_up_to_a_bound() -> None:
    book = a_book(300, later=700)
    assert book.crowd(DUE_S, 1_000) == 300
    assert book.crowd(DUE_S + 60, 1_000) == 1_000
    assert book.crowd(DUE_S + 60, 50) == 50
    assert book.crowd(DUE_S - 1, 1_000) == 0
