from __future__ import annotations

import msgspec
import pytest
from tests.unit.store.fold.harness import ALLOW, FORBID, NODE, QUEUE, REPLACE, S, a_machine, owed, schedule_id

from chronos.model.events import EventType
from chronos.model.execution import Status
from chronos.model.job import Concurrency
from chronos.store.commands import Cancel, Decide, Next, Start, StartAttempt
from chronos.store.entryfold import fold_entry
from chronos.store.machine import apply
from chronos.store.port import At


def test_a_grant_takes_the_slot_and_numbers_the_attempt() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 5)
    assert machine.at(4.8).start(key, not_before=5) == [key]
    execution = machine.open(key)
    assert execution.status is Status.RUNNING
    assert execution.started_at_us == execution.effective_us
    [attempt] = execution.attempts
    assert (attempt.n, attempt.series, attempt.node) == (1, 0, NODE)
    assert (machine.slots(job).holding, machine.slots(job).waiting) == ((key,), ())


@pytest.mark.parametrize("policy", [FORBID, QUEUE, ALLOW, REPLACE])
@pytest.mark.parametrize("late", [False, True], ids=["ahead", "late"])
@pytest.mark.parametrize("before", ["nobody", "one that runs", "one that waits", "a pause"])
def test_what_is_granted_with_its_decision_is_what_would_be_granted_right_after_it(
    policy: Concurrency, late: bool, before: str
) -> None:
    machine = a_machine()
    job = machine.create(concurrency=policy)
    if before != "nobody":
        [first] = machine.due(job, 5)
        machine.at(5)
        if before == "one that runs":
            machine.start(first)
        elif before == "a pause":
            machine.start(first)
            machine.settle(first, Next.SUCCEED)
            machine.pause(job)
    machine.at(9.5 if late else 8.8)
    shard, at = machine.shard, At(machine.index + 1, machine.now_us)
    instant = owed(job, 9)
    not_before_us = max(instant.effective_us, at.time_us)
    mark = (0, shard.hwm_s, instant.scheduled_s, shard.plan_version)
    asked = StartAttempt(schedule_id(job, 9), 1, NODE, not_before_us)
    apart = fold_entry(apply, machine.view, [Decide(*mark, [instant]), Start([asked])], at)
    claimed = msgspec.structs.replace(instant, not_before_us=not_before_us)
    [together] = fold_entry(apply, machine.view, [Decide(*mark, [claimed], [], NODE)], at)

    assert together.puts == apart[0].puts | apart[1].puts
    assert together.ended == apart[1].ended
    assert together.ranges == apart[1].ranges
    assert together.result.value == apart[1].result.value
    assert [event.type for event in together.events] == [event.type for one in apart for event in one.events]


def test_what_was_decided_before_is_not_granted_again() -> None:
    machine = a_machine()
    job = machine.create()
    [granted] = machine.decide(5, owed(job, 5, claim=True)).value
    assert machine.slots(job).holding == (granted.id,)
    assert machine.decide(6, owed(job, 5, claim=True), owed(job, 6, claim=True)).value == []
    assert machine.told(EventType.EXECUTION_STARTED)[-1].execution == granted


@pytest.mark.parametrize("n", [0, 2, 7])
def test_an_attempt_that_is_not_the_next_is_refused(n: int) -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 5)
    assert machine.at(5).start(key, n=n) == []
    assert machine.open(key).status is Status.PENDING


def test_what_runs_is_not_started_twice() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 5)
    machine.at(5).start(key)
    assert machine.start(key, n=1) == []
    assert machine.start(key, n=2) == []
    assert len(machine.open(key).attempts) == 1


def test_nobody_starts_what_does_not_exist() -> None:
    assert a_machine().do(Start([StartAttempt("occ_nothing", 1, NODE, 0)])).value == []


def test_under_forbid_a_taken_slot_means_skip_and_says_who_has_it() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    first, second = machine.due(job, 5, 6)
    machine.at(5).start(first)
    assert machine.at(6).start(second) == []
    assert not machine.is_open(second)
    assert machine.skips(job) == [("overlap", 6, 6, 1)]
    [record] = machine.ranges.values()
    assert record.into == first


def test_before_its_time_a_taken_slot_means_not_yet() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    first, second = machine.due(job, 5, 6)
    machine.at(5).start(first)
    assert machine.at(5.8).start(second, not_before=6) == []
    assert machine.is_open(second)
    machine.at(5.9).settle(first, Next.SUCCEED)
    assert machine.at(6).start(second) == [second]


def test_runs_blocked_all_night_are_one_record() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    [first] = machine.due(job, 1)
    machine.at(1).start(first)
    for second in range(2, 40):
        machine.at(second - 0.2)
        [key] = machine.due(job, second)
        machine.at(second).start(key)
    assert machine.skips(job) == [("overlap", 2, 39, 38)]


def test_under_allow_runs_go_side_by_side_up_to_their_number() -> None:
    machine = a_machine()
    job = machine.create(concurrency=ALLOW, max_concurrent=2)
    keys = machine.due(job, 1, 2, 3)
    assert machine.at(3).start(*keys) == keys[:2]
    assert machine.slots(job).waiting == (keys[2],)
    machine.settle(keys[0], Next.SUCCEED)
    assert machine.start(keys[2]) == [keys[2]]


def test_under_queue_runs_wait_in_order_and_what_overflows_is_skipped() -> None:
    machine = a_machine()
    job = machine.create(concurrency=QUEUE, queue_limit=2)
    keys = machine.due(job, 1, 2, 3, 4)
    machine.at(1).start(keys[0])
    for place, key in enumerate(keys[1:], 2):
        assert machine.at(place).start(key) == []
    assert machine.slots(job).waiting == tuple(keys[1:3])
    assert machine.skips(job) == [("overlap", 4, 4, 1)]
    machine.at(9).settle(keys[0], Next.SUCCEED)
    assert machine.start(keys[2]) == [], "the queue keeps its order"
    assert machine.start(keys[1]) == [keys[1]]


def test_a_retry_that_gave_its_slot_back_lets_the_queue_move_on() -> None:
    machine = a_machine()
    job = machine.create(concurrency=QUEUE, retry_policy={"retry_holds_slot": False})
    first, second = machine.due(job, 1, 2)
    machine.at(1).start(first)
    machine.settle(first, Next.RETRY, retry_in=60)
    assert machine.slots(job).waiting == (first, second)
    assert machine.at(2).start(second) == [second]
    assert machine.at(61).start(first) == []
    machine.settle(second, Next.SUCCEED)
    assert machine.start(first) == [first]


@pytest.mark.parametrize("policy", [FORBID, QUEUE, REPLACE])
def test_catch_up_runs_wait_for_one_another(policy: str) -> None:
    machine = a_machine()
    job = machine.create(concurrency=policy)
    keys = machine.due(job, 1, 2, 3, late=True)
    order = []
    machine.at(100)
    for _ in keys:
        [started] = machine.start(*(key for key in keys if machine.is_open(key)))
        order.append(started)
        assert machine.start(*(key for key in keys if machine.is_open(key) and key != started)) == []
        machine.settle(started, Next.SUCCEED)
    assert sorted(order) == sorted(keys)
    assert machine.skips(job) == []


@pytest.mark.parametrize("policy", [FORBID, QUEUE, REPLACE])
def test_a_backfill_runs_one_after_the_other_under_any_policy(policy: str) -> None:
    machine = a_machine()
    job = machine.create(concurrency=policy)
    keys = machine.at(1_000).backfill(job, 30, 10, 20)
    for key in keys:
        assert machine.start(*(k for k in keys if machine.is_open(k))) == [key]
        machine.settle(key, Next.SUCCEED)
    assert [machine.end_of(key).scheduled_s for key in keys] == sorted(machine.end_of(k).scheduled_s for k in keys)


def test_replace_asks_for_the_old_run_to_stop_and_starts_when_it_has() -> None:
    machine = a_machine()
    job = machine.create(concurrency=REPLACE)
    old, new = machine.due(job, 1, 2)
    machine.at(1).start(old)
    assert machine.at(2).start(new) == []
    assert machine.open(old).cancel_requested
    assert machine.open(old).blocked_by == new
    assert [event.execution.id for event in machine.told(EventType.EXECUTION_CANCELLING) if event.execution] == [old]
    assert machine.start(new) == [], "at no time do two runs hold the slot"
    machine.settle(old, Next.CANCEL)
    assert machine.start(new) == [new]
    ended = machine.end_of(old)
    assert (ended.status, ended.reason) == (Status.CANCELLED, "superseded")


def test_of_several_that_wait_to_replace_the_last_wins() -> None:
    machine = a_machine()
    job = machine.create(concurrency=REPLACE)
    old, second, third = machine.due(job, 1, 2, 3)
    machine.at(1).start(old)
    machine.at(2).start(second)
    machine.at(3).start(third)
    machine.settle(old, Next.CANCEL)
    assert machine.start(third) == [third]
    assert not machine.is_open(second)
    assert machine.skips(job) == [("superseded", 2, 2, 1)]


def test_a_run_that_waits_for_its_retry_is_replaced_at_once() -> None:
    machine = a_machine()
    job = machine.create(concurrency=REPLACE)
    old, new = machine.due(job, 1, 2)
    machine.at(1).start(old)
    machine.settle(old, Next.RETRY, retry_in=60)
    machine.at(2).start(new)
    assert machine.end_of(old).status is Status.CANCELLED
    assert machine.start(new) == [new]


def test_a_retry_without_a_slot_keeps_its_attempts_when_it_is_superseded() -> None:
    machine = a_machine()
    job = machine.create(concurrency=REPLACE, retry_policy={"retry_holds_slot": False})
    old, new = machine.due(job, 1, 2)
    machine.at(1).start(old)
    machine.settle(old, Next.RETRY, retry_in=0.5)
    assert machine.at(2).start(new) == [new]
    ended = machine.end_of(old)
    assert (ended.status, ended.reason, len(ended.attempts)) == (Status.CANCELLED, "superseded", 1)
    assert machine.skips(job) == []


def test_a_live_run_replaces_a_catch_up_run_but_not_those_that_wait() -> None:
    machine = a_machine()
    job = machine.create(concurrency=REPLACE)
    first, waiting = machine.due(job, 1, 2, late=True)
    machine.at(10).start(first)
    [live] = machine.due(job, 11)
    machine.at(11).start(live)
    machine.settle(first, Next.CANCEL)
    assert machine.start(waiting) == [], "the live run comes first"
    assert machine.start(live) == [live]
    machine.settle(live, Next.SUCCEED)
    assert machine.start(waiting) == [waiting]


@pytest.mark.parametrize("policy", [ALLOW, FORBID, QUEUE, REPLACE])
def test_a_forced_run_starts_beside_the_one_that_holds_the_slot(policy: str) -> None:
    machine = a_machine()
    job = machine.create(concurrency=policy, max_concurrent=1)
    [key] = machine.due(job, 1)
    machine.at(1).start(key)
    forced = machine.trigger(job, force=True).value.id
    assert machine.start(forced) == [forced]
    assert machine.slots(job).holding == (key, forced)


def test_a_retry_keeps_its_slot_and_starts_in_it() -> None:
    machine = a_machine()
    job = machine.create(concurrency=FORBID)
    first, second = machine.due(job, 1, 2)
    machine.at(1).start(first)
    machine.settle(first, Next.RETRY, retry_in=5)
    assert machine.at(2).start(second) == []
    assert not machine.is_open(second)
    assert machine.at(6).start(first) == [first]
    assert [attempt.n for attempt in machine.open(first).attempts] == [1, 2]


def test_a_cancelled_run_that_waits_is_gone_before_it_starts() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 1)
    assert machine.do(Cancel(key, "ann", "enough")).value.status is Status.CANCELLED
    assert machine.start(key) == []
    ended = machine.end_of(key)
    assert (ended.status, ended.reason, ended.by) == (Status.CANCELLED, "enough", "ann")


def test_a_jittered_run_may_start_only_when_it_is_told_to() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(5, owed(job, 5, jitter=0.5))
    assert machine.open(schedule_id(job, 5)).effective_us == machine.now_us + int(5.5 * S)
