from __future__ import annotations

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.scheduler.harness import a_spec

from chronos.model.job import Job, Pause
from chronos.scheduler.book import Book
from chronos.scheduler.plan import Plan

BEGIN = 1_798_804_800
SCHEDULES = ["* * * * * *", "*/7 * * * * *", "* * * * *", "@every 11s", "@at 2027-01-01T12:00:30Z"]
IDS = st.sampled_from([f"J{number}" for number in range(9)])


def a_plan(job_id: str, schedule: str, since_s: int = 0, *, paused: bool = False) -> Plan:
    job = Job(
        id=job_id,
        spec=a_spec(job_id, schedule).normal(),
        revision=1,
        created_at_us=0,
        updated_at_us=0,
        owed_since_us=since_s * 1_000_000,
        anchor_s=BEGIN,
        paused=Pause() if paused else None,
    )
    return Plan(job, lambda namespace, name: None)


class Entry(NamedTuple):
    plan: Plan
    instant: int | None


class BooksTellTheSame(RuleBasedStateMachine):
    """A book, and a dict that is looked through from its beginning every time."""

    def __init__(self) -> None:
        super().__init__()
        self.naive: dict[str, Entry] = {}
        self.book = Book(self.plan_of, plans_kept=2)

    def plan_of(self, job_id: str) -> Plan:
        return self.naive[job_id].plan

    @rule(job_id=IDS, schedule=st.sampled_from(SCHEDULES), after=st.integers(0, 99))
    def put(self, job_id: str, schedule: str, after: int) -> None:
        plan = a_plan(job_id, schedule, BEGIN + after // 3)
        self.naive[job_id] = Entry(plan, plan.next_planned_s(max(BEGIN + after, BEGIN + after // 3)))
        self.book.put(plan, BEGIN + after)

    @rule(job_id=IDS)
    def keep(self, job_id: str) -> None:
        self.naive[job_id] = Entry(a_plan(job_id, SCHEDULES[0], paused=True), None)
        self.book.keep(self.naive[job_id].plan)

    @rule(job_id=IDS)
    def remove(self, job_id: str) -> None:
        self.naive.pop(job_id, None)
        self.book.remove(job_id)

    @rule(job_id=IDS, after=st.integers(0, 99))
    def advance(self, job_id: str, after: int) -> None:
        if job_id in self.naive and self.naive[job_id].plan.job.paused is None:
            plan = self.naive[job_id].plan
            after_s = max(BEGIN + after, plan.since_us // 1_000_000)
            self.naive[job_id] = Entry(plan, plan.next_planned_s(after_s))
        self.book.advance(job_id, BEGIN + after)

    @rule(to=st.integers(0, 120))
    def due(self, to: int) -> None:
        expected = sorted((at, key) for key, (_, at) in self.naive.items() if at is not None and at <= BEGIN + to)
        for _, job_id in expected:
            self.naive[job_id] = Entry(self.naive[job_id].plan, None)
        assert self.book.due(BEGIN + to) == [job_id for _, job_id in expected]

    @rule()
    def load(self) -> None:
        self.book.load((job_id, instant) for job_id, (_, instant) in self.naive.items())

    @rule(job_id=IDS)
    def get(self, job_id: str) -> None:
        known = self.naive.get(job_id)
        assert self.book.get(job_id) is (known.plan if known else None)

    @precondition(lambda self: self.naive)
    @rule(most=st.integers(1, 5))
    def upcoming(self, most: int) -> None:
        waiting = sorted(entry.instant for entry in self.naive.values() if entry.instant is not None)
        found = self.book.upcoming(most)
        assert [instant for instant, _ in found] == waiting[:most]
        assert all(self.naive[job_id].instant == instant for instant, job_id in found)
        assert len({job_id for _, job_id in found}) == len(found)

    @invariant()
    def they_agree(self) -> None:
        instants = [entry.instant for entry in self.naive.values() if entry.instant is not None]
        assert self.book.peek() == min(instants, default=None)
        assert len(self.book) == len(self.naive)

    @invariant()
    def few_plans_stay_in_memory(self) -> None:
        assert sum(self.book.known(job_id) is not None for job_id in self.naive) <= 4


TestBooksTellTheSame = BooksTellTheSame.TestCase
TestBooksTellTheSame.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_edits_leave_behind_is_cleared_away() -> None:
    book = Book(lambda job_id: None)
    plans = [a_plan("J1", schedule) for schedule in ("* * * * * *", "* * * * *")]
    for number in range(10_000):
        book.put(plans[number % 2], BEGIN + number)
    assert len(book._heap) <= 1_002
    assert book.peek() is not None


def test_slots_of_removed_jobs_are_used_again() -> None:
    book = Book(lambda job_id: None)
    for number in range(100):
        book.put(a_plan(f"J{number}", "* * * * *"), BEGIN)
        book.remove(f"J{number}")
    assert len(book._ids) == 1
    assert book.due(BEGIN + 120) == []
