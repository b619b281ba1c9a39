"""The next minute's load is what a walk over every job's instants finds, or close to it where there are many."""

from __future__ import annotations

import pytest
from tests.unit.scheduler.test_book import BEGIN, SCHEDULES, a_plan

from chronos.scheduler import load
from chronos.scheduler.book import Book
from chronos.scheduler.load import load_ahead
from chronos.scheduler.plan import Plan


def a_book(plans: list[Plan]) -> Book:
    by_id = {plan.job.id: plan for plan in plans}
    book = Book(by_id.get)
    for plan in plans:
        book.put(plan, BEGIN - 1)
    return book


def counted(plans: list[Plan], from_s: int, seconds: int = 60) -> list[int]:
    """Return the load by asking every plan for every instant."""
    counts = [0] * seconds
    for plan in plans:
        instant = plan.next_s(from_s - 1)
        while instant is not None and instant < from_s + seconds:
            counts[instant - from_s] += 1
            instant = plan.next_s(instant)
    return counts


def some_plans(many: int) -> list[Plan]:
    return [a_plan(f"J{number}", SCHEDULES[number % len(SCHEDULES)]) for number in range(many)]


@pytest.mark.asyncio
async def test_of_few_jobs_every_instant_is_counted_also_when_the_index_lags_behind() -> None:
    plans = some_plans(40)
    for begin in (BEGIN, BEGIN + 17):
        found = await load_ahead(a_book(plans), begin)
        assert found.by_second == counted(plans, begin)
        assert not found.estimated


@pytest.mark.asyncio
async def test_of_many_jobs_some_stand_for_all_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PLANNED", 100)
    plans = some_plans(800)
    found, exact = await load_ahead(a_book(plans), BEGIN + 1), sum(counted(plans, BEGIN + 1))
    assert found.estimated
    assert abs(sum(found.by_second) - exact) < exact / 4


@pytest.mark.asyncio
async def test_of_very_many_jobs_a_share_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LOOKED_AT", 100)
    plans = [a_plan(f"J{number}", "* * * * *") for number in range(1_000)]
    found = await load_ahead(a_book(plans), BEGIN + 1)
    assert found.estimated
    assert abs(sum(found.by_second) - 1_000) < 100


@pytest.mark.asyncio
async def test_where_nothing_comes_due_the_minute_is_empty() -> None:
    assert (await load_ahead(a_book([]), BEGIN)).by_second == [0] * 60
