"""Attempts that go on after their answer, as the fold sees them."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.store.fold.harness import BEGIN_S, Machine, S, a_machine

from chronos.model.events import EventType
from chronos.model.execution import AttemptStatus, Execution, Ongoing, Status
from chronos.model.job import Job
from chronos.store.commands import Cancel, NewLeader, Next, Redrive
from chronos.store.tables import OPEN


def going_on(machine: Machine, second: int = 1) -> tuple[Job, str]:
    """Return a job and its execution, whose target has taken the work on."""
    job = machine.create()
    [key] = machine.due(job, second)
    assert machine.at(second).start(key) == [key]
    assert machine.accept(key, deadline_us=(BEGIN_S + 60) * S).ok
    return job, key


def ongoing_of(machine: Machine, key: str) -> Ongoing:
    ongoing = machine.open(key).attempts[-1].ongoing
    assert ongoing is not None
    return ongoing


def test_what_goes_on_keeps_its_attempt_and_its_slot() -> None:
    machine = a_machine()
    job, key = going_on(machine)
    run = machine.open(key)
    assert (run.status, run.tries, len(run.attempts)) == (Status.RUNNING, 0, 1)
    assert run.attempts[0].is_accepted
    assert machine.slots(job).holding == (key,)
    assert machine.told(EventType.EXECUTION_PROGRESS)[0].execution == run


def test_a_report_says_what_is_new_and_leaves_the_rest() -> None:
    machine = a_machine()
    _, key = going_on(machine)
    assert machine.at(10).report(key, progress=40, message="half").ok
    assert machine.at(20).report(key).ok
    told = ongoing_of(machine, key)
    assert (told.progress, told.message, told.heard_us) == (40, "half", (BEGIN_S + 20) * S)
    assert told.deadline_us == (BEGIN_S + 60) * S
    assert len(machine.told(EventType.EXECUTION_PROGRESS)) == 3


def test_a_report_on_what_does_not_run_is_refused_and_changes_nothing() -> None:
    machine = a_machine()
    _, key = going_on(machine)
    before = machine.open(key)
    assert machine.report(key, n=2, progress=1).error == "attempt-ended"
    assert machine.report("occ_" + "0" * 32, progress=1).error == "attempt-ended"
    assert machine.open(key) == before
    machine.settle(key, Next.SUCCEED)
    assert machine.report(key, n=1, progress=1).error == "attempt-ended"


def test_what_was_reported_before_the_answer_stays() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    machine.at(1).start(key)
    assert machine.at(2).report(key, progress=7, message="early").ok
    assert not machine.open(key).attempts[0].is_accepted
    machine.at(1.5).accept(key, deadline_us=(BEGIN_S + 60) * S)
    told = ongoing_of(machine, key)
    assert (told.progress, told.message, told.heard_us) == (7, "early", (BEGIN_S + 2) * S)
    assert (told.accepted_us, told.deadline_us) == (round((BEGIN_S + 1.5) * S), (BEGIN_S + 60) * S)


@pytest.mark.parametrize(
    "what, status", [(Next.SUCCEED, Status.SUCCESS), (Next.FAIL, Status.FAILED), (Next.RETRY, Status.RETRYING)]
)
def test_the_end_keeps_the_last_that_was_reported(what: Next, status: Status) -> None:
    machine = a_machine()
    _, key = going_on(machine)
    attempt = machine.open(key).attempts[0]
    machine.report(key, progress=90)
    machine.settle_attempt(key, attempt, what)
    run = machine.open(key) if machine.is_open(key) else machine.end_of(key)
    assert (run.status, run.tries) == (status, 1)
    assert run.attempts[0].ongoing is not None
    assert run.attempts[0].ongoing.progress == 90


def test_a_cancel_asks_and_whatever_end_but_success_is_one() -> None:
    machine = a_machine()
    _, key = going_on(machine)
    assert machine.do(Cancel(key, "ann")).ok
    assert machine.open(key).cancel_requested
    assert machine.report(key, progress=50).ok
    machine.settle(key, Next.RETRY)
    assert machine.end_of(key).status is Status.CANCELLED


def test_a_new_life_of_the_node_leaves_it_alone() -> None:
    machine = a_machine()
    _, key = going_on(machine)
    before = machine.open(key)
    machine.do(NewLeader("n1", "n1/B"))
    assert machine.open(key) == before


def test_the_attempts_of_a_redrive_have_numbers_of_their_own() -> None:
    machine = a_machine()
    _, key = going_on(machine)
    machine.settle(key, Next.FAIL)
    machine.do(Redrive([key], "ann"))
    machine.start(key)
    assert machine.report(key, n=1, progress=1).error == "attempt-ended"
    assert machine.report(key, n=2, progress=1).ok
    assert machine.open(key).attempts[0].status is AttemptStatus.STARTED


class Reporting(RuleBasedStateMachine):
    """One run and its target in any order; the model is what was said of the attempt that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = a_machine()
        self.job = self.machine.create(retry_policy={"max_attempts": 100})
        [self.key] = self.machine.due(self.job, 1)
        self.machine.at(1)
        self.runs = 0
        self.said = -1
        self.deadline_us = 0
        self.ended: dict[int, Execution] = {}

    @rule(ahead=st.booleans())
    def start(self, ahead: bool) -> None:
        number = self.execution.next_attempt if self.execution else 1
        if self.machine.start(self.key, n=number + ahead):
            self.runs, self.said, self.deadline_us = number, -1, 0

    @rule(length=st.integers(1, 100))
    def accept(self, length: int) -> None:
        if self.runs and not self.deadline_us:
            self.deadline_us = self.machine.now_us + length * S
            assert self.machine.accept(self.key, deadline_us=self.deadline_us).ok

    @rule(n=st.integers(1, 5), progress=st.integers(-1, 100))
    def report(self, n: int, progress: int) -> None:
        self.machine.now_us += 1
        result = self.machine.report(self.key, n=n, progress=progress)
        assert result.ok is (n == self.runs)
        if result.ok and progress >= 0:
            self.said = progress

    @rule(what=st.sampled_from((Next.SUCCEED, Next.RETRY, Next.FAIL, Next.CANCEL)), back=st.integers(0, 1))
    def settle(self, what: Next, back: int) -> None:
        """Settle the attempt that runs, or one before it, whose result is late."""
        known = self.execution or next(iter(self.ended.values()), None)
        if known is None or len(known.attempts) <= back:
            return
        attempt = known.attempts[-1 - back]
        runs = attempt.n == self.runs
        self.machine.settle_attempt(self.key, attempt, what)
        if runs:
            self.runs, self.said, self.deadline_us = 0, -1, 0

    @rule()
    def cancel(self) -> None:
        self.machine.do(Cancel(self.key, "ann"))

    @rule()
    def redrive(self) -> None:
        self.machine.do(Redrive([self.key], "ann"))

    @rule()
    def lead(self) -> None:
        self.machine.do(NewLeader("n1", "n1/B"))

    @invariant()
    def the_attempt_that_runs_is_as_it_was_said(self) -> None:
        attempt = self.execution.running_attempt if self.execution else None
        assert (attempt.n if attempt else 0) == self.runs
        if attempt is not None:
            ongoing = attempt.ongoing or Ongoing()
            assert (ongoing.progress, ongoing.deadline_us) == (self.said, self.deadline_us)
            assert attempt.is_accepted is bool(self.deadline_us)
            assert self.machine.slots(self.job).holding == (self.key,)

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        for (_, series), execution in self.machine.ended.items():
            assert self.ended.setdefault(series, execution) == execution

    @property
    def execution(self) -> Execution | None:
        return self.machine.view.get(OPEN, self.key)


Reporting.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestReporting = Reporting.TestCase
