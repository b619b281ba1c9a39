from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.store.fold.harness import BEGIN_S, Machine, S, a_machine

from chronos.model.events import EventType
from chronos.model.execution import AttemptStatus, Status, Waited
from chronos.model.job import Job
from chronos.store.commands import Cancel, DeleteJob, ExpireDead, Next, Redrive, Settle, Settlement
from chronos.store.fold import keeping
from chronos.store.tables import DEAD_RING, LATE


def running(machine: Machine, second: int = 1, **spec: Any) -> tuple[Job, str]:
    """Return a job and its execution, whose first attempt runs."""
    job = machine.create(**spec)
    [key] = machine.due(job, second)
    assert machine.at(second).start(key) == [key]
    return job, key


def test_a_success_ends_the_execution_and_frees_its_slot() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.at(3).settle(key, Next.SUCCEED)
    ended = machine.end_of(key)
    assert (ended.status, ended.tries, ended.reason) == (Status.SUCCESS, 1, "")
    assert ended.ended_at_us == (BEGIN_S + 3) * S
    assert ended.attempts[0].status is AttemptStatus.SUCCESS
    assert (machine.slots(job).holding, machine.slots(job).waiting) == ((), ())
    assert machine.told(EventType.EXECUTION_FINISHED)[0].execution == ended


def test_a_failure_that_may_be_tried_again_waits_until_its_time() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.settle(key, Next.RETRY, retry_in=7, reason="HTTP 503")
    waiting = machine.open(key)
    assert (waiting.status, waiting.reason) == (Status.RETRYING, "HTTP 503")
    assert waiting.retry_at_us == machine.now_us + 7 * S
    assert machine.slots(job).holding == (key,)


def test_exhaustion_leads_to_the_dead_letters_with_every_attempt() -> None:
    machine = a_machine()
    _, key = running(machine)
    for _ in range(2):
        machine.settle(key, Next.RETRY)
        machine.start(key)
    machine.settle(key, Next.FAIL, reason="gave up")
    dead = machine.dead(key)
    assert dead == machine.end_of(key)
    assert dead is not None
    assert (dead.status, dead.reason, dead.tries) == (Status.FAILED, "gave up", 3)
    assert [attempt.n for attempt in dead.attempts] == [1, 2, 3]
    assert machine.meta.dead == 1


def test_an_attempt_of_unknown_outcome_is_no_try() -> None:
    machine = a_machine()
    _, key = running(machine)
    machine.settle(key, Next.RETRY, unknown=True)
    assert (machine.open(key).tries, machine.open(key).unknowns) == (0, 1)
    machine.start(key)
    machine.settle(key, Next.SUCCEED)
    ended = machine.end_of(key)
    assert (ended.tries, ended.unknowns, [a.n for a in ended.attempts]) == (1, 1, [1, 2])


def test_what_was_not_sent_is_taken_back_and_its_number_used_again() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.settle(key, Next.AGAIN, retry_in=2, reason="breaker")
    back = machine.open(key)
    assert (back.status, back.attempts, back.tries, back.started_at_us) == (Status.PENDING, (), 0, 0)
    assert (machine.slots(job).holding, machine.slots(job).waiting) == ((), (key,))
    assert machine.at(3).start(key) == [key]
    assert [attempt.n for attempt in machine.open(key).attempts] == [1]


def test_a_retry_that_was_not_sent_waits_on_and_keeps_its_first_attempt() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.settle(key, Next.RETRY)
    machine.start(key)
    machine.settle(key, Next.AGAIN, retry_in=2)
    back = machine.open(key)
    assert (back.status, [a.n for a in back.attempts], back.tries) == (Status.RETRYING, [1], 1)
    assert machine.slots(job).holding == (key,)


def test_a_retry_that_was_not_sent_gives_its_slot_back_if_retries_hold_none() -> None:
    machine = a_machine()
    job, key = running(machine, retry_policy={"retry_holds_slot": False})
    machine.settle(key, Next.RETRY)
    assert machine.slots(job).waiting == (key,)
    machine.start(key)
    assert machine.slots(job).holding == (key,)
    machine.settle(key, Next.AGAIN)
    assert (machine.slots(job).holding, machine.slots(job).waiting) == ((), (key,))


def test_a_result_that_comes_after_the_end_changes_nothing() -> None:
    machine = a_machine()
    _, key = running(machine)
    attempt = machine.open(key).attempts[0]
    machine.settle(key, Next.FAIL)
    before = machine.end_of(key)
    assert machine.settle_attempt(key, attempt, Next.SUCCEED).value == []
    assert machine.end_of(key) == before
    assert [event.key for event in machine.told(EventType.LATE_RESULT)] == [key]


def test_a_result_of_an_earlier_attempt_becomes_a_note() -> None:
    machine = a_machine()
    _, key = running(machine)
    first = machine.open(key).attempts[0]
    machine.settle(key, Next.RETRY, unknown=True)
    machine.start(key)
    machine.settle_attempt(key, first, Next.SUCCEED)
    execution = machine.open(key)
    assert execution.notes == ("late_result: attempt 1 success",)
    assert execution.status is Status.RUNNING
    assert execution.attempts[0].status is AttemptStatus.UNKNOWN


def test_notes_about_late_results_are_bounded() -> None:
    machine = a_machine()
    _, key = running(machine)
    first = machine.open(key).attempts[0]
    machine.settle(key, Next.RETRY, unknown=True)
    for _ in range(50):
        machine.settle_attempt(key, first, Next.SUCCEED)
    assert len(machine.open(key).notes) == 20


@pytest.mark.parametrize(
    "what, status",
    [
        (Next.SUCCEED, Status.SUCCESS),
        (Next.RETRY, Status.CANCELLED),
        (Next.FAIL, Status.CANCELLED),
        (Next.CANCEL, Status.CANCELLED),
        (Next.AGAIN, Status.CANCELLED),
    ],
)
def test_a_run_that_is_to_stop_is_tried_no_more(what: Next, status: Status) -> None:
    machine = a_machine()
    job, key = running(machine)
    asked = machine.do(Cancel(key, "ann", "enough")).value
    assert (asked.status, asked.cancel_requested) == (Status.RUNNING, True)
    machine.settle(key, what)
    ended = machine.end_of(key)
    assert ended.status is status
    assert ended.reason == ("" if status is Status.SUCCESS else "enough")
    assert machine.dead(key) is None
    assert machine.slots(job).holding == ()


def test_what_runs_when_its_job_is_deleted_may_end_but_is_not_tried_again() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.do(DeleteJob(job.id, "ann"))
    machine.settle(key, Next.RETRY)
    assert machine.start(key) == []
    ended = machine.end_of(key)
    assert (ended.status, ended.reason) == (Status.CANCELLED, "job_deleted")
    assert ("slots", job.id) not in machine.view.rows


def test_a_redrive_runs_the_same_execution_in_a_new_series() -> None:
    machine = a_machine()
    _, key = running(machine)
    machine.settle(key, Next.FAIL)
    first = machine.end_of(key)
    [again] = machine.at(50).do(Redrive([key, key], "bob")).value
    assert (again.id, again.series, again.attempts, again.tries, again.by) == (key, 1, (), 0, "bob")
    assert machine.dead(key) is None
    assert machine.meta.dead == 0
    machine.start(key)
    assert machine.open(key).attempts[0].series == 1
    machine.settle(key, Next.SUCCEED)
    assert machine.end_of(key, 1).status is Status.SUCCESS
    assert machine.end_of(key, 0) == first


def test_only_dead_letters_can_be_redriven_and_all_or_none_are() -> None:
    machine = a_machine()
    job, key = running(machine)
    [other] = machine.due(job, 2)
    machine.settle(key, Next.FAIL)
    refused = machine.do(Redrive([key, other], "bob"))
    assert (refused.error, refused.facts["execution_id"]) == ("not-redrivable", other)
    assert machine.dead(key) is not None


def test_a_dead_letter_of_a_deleted_job_is_kept_but_cannot_be_redriven() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.settle(key, Next.FAIL)
    machine.do(DeleteJob(job.id, "ann"))
    assert machine.dead(key) is not None
    assert machine.do(Redrive([key], "bob")).error == "job-not-found"


def test_a_redrive_is_held_by_a_pause_and_never_becomes_a_skipped_instant() -> None:
    machine = a_machine()
    job, key = running(machine)
    machine.settle(key, Next.FAIL)
    machine.do(Redrive([key], "bob"))
    machine.at(10).pause(job)
    assert machine.start(key) == []
    assert machine.skips(job) == []
    machine.at(20).resume(job)
    assert machine.start(key) == [key]


def test_the_oldest_dead_letter_gives_way_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "DEAD_LETTERS_MAX", 3)
    machine = a_machine()
    job = machine.create(concurrency="allow", max_concurrent=100)
    keys = machine.due(job, 1, 2, 3, 4, 5)
    machine.at(5).start(*keys)
    for key in keys:
        machine.settle(key, Next.FAIL)
    assert [machine.dead(key) is not None for key in keys] == [False, False, True, True, True]
    assert machine.meta.dead == 3
    assert sum(table == DEAD_RING.name for table, _ in machine.view.rows) == 3


def test_dead_letters_expire_by_the_time_they_died() -> None:
    machine = a_machine()
    job = machine.create(concurrency="allow", max_concurrent=100)
    keys = machine.due(job, 1, 2, 3)
    machine.at(5).start(*keys)
    for second, key in zip((10, 20, 30), keys, strict=True):
        machine.at(second).settle(key, Next.FAIL)
    machine.do(Redrive([keys[0]], "bob"))
    machine.start(keys[0])
    machine.at(40).settle(keys[0], Next.FAIL)
    assert machine.do(ExpireDead((BEGIN_S + 30) * S)).value == [keys[1]]
    assert [machine.dead(key) is not None for key in keys] == [True, False, True]
    assert machine.meta.dead == 2


def test_attempts_are_counted_on_across_redrives() -> None:
    machine = a_machine()
    _, key = running(machine)
    machine.settle(key, Next.RETRY)
    machine.start(key)
    machine.settle(key, Next.FAIL)
    for series in (1, 2):
        machine.do(Redrive([key], "bob"))
        assert machine.start(key, n=1) == []
        machine.start(key)
        machine.settle(key, Next.FAIL)
        assert [(a.series, a.n) for a in machine.end_of(key, series).attempts] == [(series, 2 + series)]


def test_a_dead_letter_that_gives_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "DEAD_LETTERS_MAX", 1)
    machine = a_machine()
    job = machine.create(concurrency="allow")
    first, second = machine.due(job, 1, 2)
    machine.at(2).start(first, second)
    machine.settle(first, Next.FAIL)
    machine.settle(second, Next.FAIL)
    [dropped] = machine.told(EventType.DEAD_LETTER_DROPPED)
    assert (dropped.key, dropped.job_id, dropped.note) == (first, job.id, "there are too many dead letters")
    assert dropped.execution == machine.end_of(first)
    machine.do(ExpireDead(machine.now_us + 1))
    assert [event.key for event in machine.told(EventType.DEAD_LETTER_DROPPED)] == [first, second]


def test_letters_that_were_redriven_take_no_room_from_those_that_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "DEAD_LETTERS_MAX", 2)
    machine = a_machine()
    job = machine.create(concurrency="allow")
    kept, again = machine.due(job, 1, 2)
    machine.at(2).start(kept, again)
    machine.settle(kept, Next.FAIL)
    machine.settle(again, Next.FAIL)
    for _ in range(2):
        machine.do(Redrive([again], "bob"))
        machine.start(again)
        machine.settle(again, Next.FAIL)
    assert machine.dead(kept) is not None
    assert machine.meta.dead == 2


def test_a_result_that_comes_after_the_end_is_noted_beside_the_record() -> None:
    machine = a_machine()
    _, key = running(machine)
    attempt = machine.open(key).attempts[0]
    machine.settle(key, Next.RETRY, unknown=True)
    machine.do(Cancel(key, "ann"))
    before = machine.end_of(key)
    for _ in range(30):
        machine.settle_attempt(key, attempt, Next.SUCCEED)
    late = machine.view.get(LATE, key)
    assert late is not None
    assert set(late.notes) == {"late_result: attempt 1 success"}
    assert len(late.notes) == 20
    assert machine.end_of(key) == before


def test_that_nothing_was_sent_after_all_is_no_result() -> None:
    machine = a_machine()
    _, key = running(machine)
    attempt = machine.open(key).attempts[0]
    machine.settle(key, Next.FAIL)
    machine.settle_attempt(key, attempt, Next.AGAIN)
    machine.settle_attempt(key, attempt, Next.RETRY, unknown=True)
    assert machine.view.get(LATE, key) is None
    assert machine.told(EventType.LATE_RESULT) == []


def test_late_results_are_bounded_and_go_with_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LATE_MAX", 2)
    machine = a_machine()
    job = machine.create(concurrency="allow")
    keys = machine.due(job, 1, 2, 3)
    machine.at(3).start(*keys)
    for second, key in enumerate(keys, 10):
        attempt = machine.open(key).attempts[0]
        machine.at(second).settle(key, Next.FAIL)
        machine.settle_attempt(key, attempt, Next.SUCCEED)
    assert [machine.view.get(LATE, key) is not None for key in keys] == [False, True, True]
    machine.do(ExpireDead(0, forgotten_us=(BEGIN_S + 12) * S))
    assert [machine.view.get(LATE, key) is not None for key in keys] == [False, False, True]


def test_what_an_attempt_waited_for_before_it_was_sent_at_last_is_kept() -> None:
    machine = a_machine()
    _, key = running(machine)
    for waited in (Waited(breaker=700), Waited(breaker=700, host_cap=50)):
        attempt = machine.open(key).attempts[0]
        machine.settle_attempt(key, replace(attempt, waited=waited), Next.AGAIN, reason="breaker")
        assert (machine.open(key).waited, machine.open(key).reason) == (waited, "breaker")
        machine.start(key)
    assert machine.open(key).attempts[0].waited == Waited(breaker=700, host_cap=50)
    machine.settle(key, Next.RETRY)
    machine.start(key)
    assert machine.open(key).attempts[1].waited == Waited()


def test_that_a_node_holds_something_back_is_told_and_changes_nothing_that_is_kept() -> None:
    told, kept = [], []
    for until_us in (0, 30 * S):
        machine = a_machine()
        _, key = running(machine)
        attempt = machine.open(key).attempts[0]
        machine.do(Settle([Settlement(key, attempt, Next.AGAIN, machine.now_us + S, False, "breaker", until_us)]))
        told += [(e.by, e.until_us) for e in machine.events if e.type is EventType.EXECUTION_RETRYING]
        kept.append(machine.open(key))
    assert told == [("", 0), (attempt.node, 30 * S)]
    assert kept[0] == kept[1], "a node that does not know of it yet keeps the same"
