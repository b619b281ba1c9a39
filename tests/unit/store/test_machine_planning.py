from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.store.fold.harness import BEGIN_S, NODE, Machine, S, a_machine, a_range, owed, schedule_id

from chronos.model.events import EventType
from chronos.model.execution import SkipReason, Status
from chronos.model.job import Job
from chronos.store.commands import (
    BeginCatchup,
    Catchup,
    ClockNote,
    Decide,
    DeleteJob,
    NewLeader,
    Next,
    NoteClock,
    ResetClock,
    Settle,
    Settlement,
)
from chronos.store.machine import apply_in_steps
from chronos.store.port import At
from chronos.store.steps import STEP
from chronos.store.tables import OPEN


def test_each_leader_begins_a_term_of_its_own() -> None:
    machine = Machine()
    assert [machine.do(NewLeader("n1", f"n1/{life}")).facts["term"] for life in "ABC"] == [1, 2, 3]
    assert (machine.meta.term, machine.meta.leader, machine.meta.incarnation) == (3, "n1", "n1/C")


def test_what_is_decided_is_pending_and_moves_the_mark() -> None:
    machine = a_machine()
    job = machine.create()
    [key] = machine.due(job, 5)
    assert machine.shard.hwm_s == BEGIN_S + 5
    execution = machine.open(key)
    assert (execution.status, execution.scheduled_s, execution.revision) == (Status.PENDING, BEGIN_S + 5, 1)
    assert machine.slots(job).waiting == (key,)


def test_no_instant_can_be_jumped_over_or_decided_twice() -> None:
    machine = a_machine()
    job = machine.create()
    machine.due(job, 5)
    version = machine.shard.plan_version
    for begin, end in ((4, 8), (6, 8), (0, 5), (5, 4)):
        refused = machine.do(Decide(0, BEGIN_S + begin, BEGIN_S + end, version, [owed(job, end)]))
        assert refused.error == "plan-moved", (begin, end)
    assert machine.shard.hwm_s == BEGIN_S + 5
    assert machine.slots(job).waiting == (schedule_id(job, 5),)


def test_a_plan_made_before_the_schedules_changed_is_refused() -> None:
    machine = a_machine()
    job = machine.create()
    version = machine.shard.plan_version
    machine.create("other")
    refused = machine.do(Decide(0, BEGIN_S, BEGIN_S + 5, version, [owed(job, 5)]))
    assert refused.error == "plan-moved"
    assert refused.facts["plan_version"] == version + 1


def test_what_a_deleted_job_would_owe_is_left_out() -> None:
    machine = a_machine()
    job = machine.create()
    assert machine.decide(5, owed("gone", 3), owed(job, 4)).facts["opened"] == [schedule_id(job, 4)]


def test_wall_times_that_fell_together_are_noted() -> None:
    machine = a_machine()
    job = machine.create()
    one = replace(owed(job, 5), coalesced_wall_times=("02:30",))
    machine.decide(5, one)
    assert machine.open(schedule_id(job, 5)).notes == ("also due at 02:30",)


def test_adjacent_skips_of_one_reason_are_one_record() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(9, ranges=[a_range(job, 1, 9)])
    machine.decide(20, ranges=[a_range(job, 10, 20)])
    assert machine.skips(job) == [("misfire", 1, 20, 20)]


def test_a_run_between_two_skips_parts_their_records() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(9, ranges=[a_range(job, 1, 9)])
    machine.decide(20, owed(job, 10), ranges=[a_range(job, 11, 20)])
    assert machine.skips(job) == [("misfire", 1, 9, 9), ("misfire", 11, 20, 10)]


def test_what_one_decision_skips_before_a_run_lies_between_the_runs_around_it() -> None:
    machine = a_machine()
    job = machine.create()
    [before] = machine.due(job, 1)
    machine.decide(9, owed(job, 9), ranges=[a_range(job, 2, 8)])
    machine.at(9.1).pause(job)
    assert machine.skips(job) == [("misfire", 2, 8, 7), ("paused", 1, 1, 1), ("paused", 9, 9, 1)]
    assert machine.view.get(OPEN, before) is None


def test_another_reason_begins_another_record() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(9, ranges=[a_range(job, 1, 9), a_range(job, 10, 12, SkipReason.EXPIRED)])
    assert machine.skips(job) == [("expired", 10, 12, 3), ("misfire", 1, 9, 9)]


def test_the_records_of_two_jobs_do_not_meet() -> None:
    machine = a_machine()
    one, two = machine.create("one"), machine.create("two")
    machine.decide(9, ranges=[a_range(one, 1, 9)])
    machine.decide(12, ranges=[a_range(two, 10, 12)])
    assert machine.skips(one) == [("misfire", 1, 9, 9)]
    assert machine.skips(two) == [("misfire", 10, 12, 3)]


def test_an_outage_is_made_up_for_behind_the_mark_job_by_job() -> None:
    machine = a_machine()
    one, two = machine.create("one"), machine.create("two")
    assert machine.at(100).do(BeginCatchup(0, BEGIN_S, BEGIN_S + 100)).ok
    version = machine.shard.plan_version
    assert machine.do(Decide(0, BEGIN_S + 100, BEGIN_S + 101, version, [owed(one, 101)])).ok
    assert machine.do(Catchup(0, "", one.id, version, [owed(one, 7, late=True)])).ok
    assert machine.do(Catchup(0, "", two.id, version, [owed(one, 8, late=True)])).error == "plan-moved"
    assert machine.do(Catchup(0, one.id, "", version, [owed(two, 9, late=True)])).ok
    assert machine.shard.catchup_to_s == 0
    assert machine.shard.hwm_s == BEGIN_S + 101
    assert [machine.is_open(schedule_id(one, s)) for s in (7, 8, 101)] == [True, False, True]
    assert machine.is_open(schedule_id(two, 9))
    assert machine.do(Catchup(0, "", "", version)).error == "plan-moved"


@pytest.mark.parametrize("begin, end", [(1, 100), (0, -1)])
def test_an_outage_that_does_not_begin_at_the_mark_is_refused(begin: int, end: int) -> None:
    machine = a_machine()
    assert machine.do(BeginCatchup(0, BEGIN_S + begin, BEGIN_S + end)).error == "plan-moved"


def test_one_outage_is_made_up_for_at_a_time() -> None:
    machine = a_machine()
    assert machine.do(BeginCatchup(0, BEGIN_S, BEGIN_S + 100)).ok
    assert machine.do(BeginCatchup(0, BEGIN_S + 100, BEGIN_S + 200)).error == "plan-moved"


def test_a_clock_reset_moves_the_mark_back_and_opens_an_epoch() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(1_000_000)
    before = machine.shard.plan_version
    result = machine.at(10).do(ResetClock(BEGIN_S + 10, "ann"))
    assert result.facts == {"restore_epoch": 1}
    assert machine.shard.hwm_s == BEGIN_S + 10
    assert machine.shard.plan_version > before
    assert machine.told(EventType.CLOCK_RESET)[0].by == "ann"
    [key] = machine.due(job, 11)
    machine.start(key)
    assert machine.open(key).attempts[0].token == f"1.1.{machine.index}"


def test_a_restored_copy_opens_an_epoch_above_all_that_may_have_been_and_keeps_its_mark() -> None:
    machine = a_machine()
    job = machine.create()
    assert machine.at(100).do(BeginCatchup(0, BEGIN_S, BEGIN_S + 100)).ok
    before = machine.shard
    result = machine.do(ResetClock(BEGIN_S + 10, "restore", epoch=1_800_000_000, restored=True))
    assert result.facts == {"restore_epoch": 1_800_000_000}
    assert machine.shard == replace(before, plan_version=before.plan_version + 1), "what is made up for goes on"
    machine.do(ResetClock(BEGIN_S + 900, "restore", epoch=7, restored=True))
    assert machine.shard.hwm_s == BEGIN_S + 900, "what was due until then was given up on purpose"
    [key] = machine.due(job, 901)
    machine.start(key)
    assert machine.open(key).attempts[0].token == f"1800000001.1.{machine.index}"


def test_skips_after_a_clock_reset_go_on_growing_one_record() -> None:
    machine = a_machine()
    job = machine.create()
    machine.decide(1_000_000, owed(job, 1_000_000))
    machine.at(10).do(ResetClock(BEGIN_S + 10, "ann"))
    for second in (11, 12, 13):
        machine.decide(second, ranges=[a_range(job, second, second)])
    assert machine.skips(job) == [("misfire", 11, 13, 3)]


def test_a_rejected_command_changes_nothing() -> None:
    machine = a_machine()
    job = machine.create()
    machine.due(job, 5)
    before = dict(machine.view.rows)
    machine.do(Decide(0, 1, 2, 3, [owed(job, 2)]))
    assert machine.view.rows == before


def test_a_token_never_decreases_from_leader_to_leader() -> None:
    machine = a_machine()
    job = machine.create(concurrency="allow")
    tokens = []
    for second in (1, 2, 3):
        [key] = machine.due(job, second)
        machine.start(key)
        attempt = machine.open(key).running_attempt
        assert attempt is not None
        assert attempt.node == NODE
        tokens.append(tuple(int(part) for part in attempt.token.split(".")))
        machine.lead()
    assert tokens == sorted(tokens)
    assert [token[1] for token in tokens] == [1, 2, 3]
    assert machine.view.get(OPEN, key) is not None
    assert machine.now_us == BEGIN_S * S


@pytest.mark.parametrize(
    ("what", "kind"),
    [(ClockNote.JUMP, EventType.CLOCK_JUMP), (ClockNote.ACCEPTED, EventType.CLOCK_ACCEPTED)],
)
def test_what_is_said_of_a_clock_is_told_and_changes_nothing(what: ClockNote, kind: EventType) -> None:
    machine = Machine()
    before = machine.shard
    machine.do(NoteClock(what, "ann", "why"))
    [event] = machine.told(kind)
    assert (event.by, event.note) == ("ann", "why")
    assert machine.shard == before


def test_what_changes_many_executions_is_folded_in_steps() -> None:
    machine = a_machine()
    jobs = [machine.create(f"job-{number}") for number in range(2 * STEP + 1)]
    shard, at = machine.shard, At(machine.index + 1, machine.now_us)
    instants = [owed(job, 5, claim=True) for job in jobs]
    decision = Decide(0, shard.hwm_s, BEGIN_S + 5, shard.plan_version, instants, [], NODE)
    assert len(list(apply_in_steps(machine.view, decision, at))) == 2
    granted = machine.do(decision).value
    assert len(granted) == len(jobs)
    outcome = Settle([Settlement(one.id, one.attempts[-1], Next.SUCCEED) for one in granted])
    assert len(list(apply_in_steps(machine.view, outcome, at))) == 2


def a_machine_in_parts() -> tuple[Machine, list[Job]]:
    """Return a machine at second 0 that has decided the first of two jobs up to second 5, and not yet the other."""
    machine = a_machine()
    jobs = [machine.create("a"), machine.create("b")]
    version = machine.shard.plan_version
    assert machine.do(BeginCatchup(0, BEGIN_S, BEGIN_S + 5, version)).ok
    part = Catchup(0, "", jobs[0].id, version, [owed(jobs[0], 5, claim=True)], [], NODE)
    [granted] = machine.do(part).value
    assert granted.id == schedule_id(jobs[0], 5)
    return machine, jobs


def test_a_crowd_is_decided_in_parts_that_grant_at_once() -> None:
    machine, [_, other] = a_machine_in_parts()
    assert machine.shard.is_in_parts(machine.now_us)
    assert not machine.shard.is_catching_up(machine.now_us)
    last = Catchup(
        0, machine.shard.cursor, "", machine.shard.plan_version, [owed(other, 5, claim=True)], [], "", ["n2"]
    )
    [granted] = machine.do(last).value
    assert granted.attempts[0].node == "n2"
    assert (machine.shard.hwm_s, machine.shard.catchup_to_s) == (BEGIN_S + 5, 0)


def test_parts_are_not_begun_by_schedules_that_have_changed() -> None:
    machine = a_machine()
    machine.create("a")
    refused = machine.do(BeginCatchup(0, BEGIN_S, BEGIN_S + 5, machine.shard.plan_version - 1))
    assert refused.error == "plan-moved"
    assert machine.shard.hwm_s == BEGIN_S


def test_who_is_yet_to_be_decided_cannot_be_changed_in_what_it_owes() -> None:
    machine, [first, other] = a_machine_in_parts()
    assert machine.pause(other).error == "catching-up"
    assert machine.put("b", job_id=other.id, schedule="0 0 * * *").error == "catching-up"
    assert machine.do(DeleteJob(other.id, "ann")).error == "catching-up"
    assert machine.put("b", job_id=other.id, description="another text", same=True).ok
    assert machine.pause(first).ok


def test_nobody_comes_to_owe_an_instant_of_parts_that_are_still_to_be_decided() -> None:
    machine, _ = a_machine_in_parts()
    paused = machine.create("z-paused", enabled=False)
    assert machine.put("z-new", owed=[owed("J-z-new", 5)], expect=0).error == "catching-up"
    assert machine.resume(paused, [owed(paused, 5)]).error == "catching-up"
    assert machine.put("z-rare", expect=0, schedule="0 0 * * *").ok, "it owes nothing of the span"
    machine.do(Catchup(0, machine.shard.cursor, "", machine.shard.plan_version))
    assert machine.put("z-new", owed=[owed("J-z-new", 5)], expect=0).ok
    assert machine.resume(paused, [owed(paused, 5)]).ok


def test_whoever_comes_when_the_instants_of_the_parts_are_over_owes_none_of_them() -> None:
    machine, _ = a_machine_in_parts()
    machine.at(5.5)
    assert machine.shard.is_catching_up(machine.now_us)
    assert machine.put("z-new", owed=[owed("J-z-new", 5)], expect=0).ok
    assert len(machine.told(EventType.EXECUTION_DECIDED)) == 1, "the first job's"
