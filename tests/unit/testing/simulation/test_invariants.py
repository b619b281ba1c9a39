"""Each promise has a trace in which it is broken, and the check that watches over it says so.

The traces are a real run's, tampered with at one place, so that a check that never fires cannot hide.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace as with_

from chronos.model.events import EventType
from chronos.model.execution import AttemptStatus, Execution, Kind, Status
from chronos.model.job import Concurrency, Pause
from chronos.model.target import Completion, HttpTarget
from chronos.store.port import Changes, Result
from chronos.store.tables import JOBS, META, OPEN, SHARDS, Meta
from chronos.testing.simulation import windows
from chronos.testing.simulation.course import Grant, Step, course_of
from chronos.testing.simulation.evidence import Arrival, Entry, Evidence, Operation
from chronos.testing.simulation.invariants import judge
from chronos.testing.simulation.profile import Profile
from chronos.testing.simulation.run import lived
from chronos.timing.clock import utc

SMALL = Profile(name="small", jobs=12, fault_every_s=0, faults=(), faults_at_least=0, op_every_s=3, quiet_s=15)


@cache
def a_run() -> Evidence:
    return lived(3, profile=SMALL, minutes=1.0).evidence


@pytest.fixture
def evidence() -> Evidence:
    return copy.deepcopy(a_run())


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in judge(evidence)}


def records(evidence: Evidence) -> Iterator[tuple[list[Any], Execution]]:
    """Yield planned executions that ended well, with the list they are kept in."""
    for kept in evidence.records.values():
        for record in kept:
            if isinstance(record, Execution) and record.kind is Kind.SCHEDULE and record.status is Status.SUCCESS:
                yield kept, record


def granted(evidence: Evidence, wanted: Callable[[Grant], bool] = lambda grant: True) -> Grant:
    return next(g for g in course_of(evidence).grants.values() if g.job is not None and wanted(g))


def goes_on(grant: Grant) -> bool:
    """Whether its target takes work on and reports later."""
    target = grant.job.target if grant.job is not None else None
    return isinstance(target, HttpTarget) and target.completion is Completion.CALLBACK


def arrival_of(evidence: Evidence, grant: Grant) -> Arrival:
    return next(a for a in evidence.arrivals if a.execution_id == grant.execution.id)


def add_entry(evidence: Evidence, table: str, key: str, value: Any) -> None:
    """Append an entry that puts one value and nothing else."""
    last = evidence.entries[-1]
    changes = Changes(Result(), puts={(table, key): value})
    evidence.entries.append(Entry(last.index + 1, last.time_us, (changes,), last.at, last.life))


def put_open(evidence: Evidence, execution: Execution) -> None:
    add_entry(evidence, OPEN.name, execution.id, execution)


def test_a_run_in_which_nothing_was_tampered_with_breaks_nothing(evidence: Evidence) -> None:
    assert judge(evidence) == []
    assert len(evidence.arrivals) > 50
    assert {o.kind for o in evidence.operations} >= {"create", "edit", "pause", "resume", "get"}


def test_i1_an_instant_without_a_record_is_lost(evidence: Evidence) -> None:
    kept, record = next(records(evidence))
    kept.remove(record)
    assert "I1" in rules(evidence)


def test_i2_a_record_that_is_kept_twice_is_seen(evidence: Evidence) -> None:
    kept, record = next(records(evidence))
    kept.append(record)
    assert "I2" in rules(evidence)


def test_i3_log_time_that_runs_back_is_seen(evidence: Evidence) -> None:
    evidence.entries[5] = replace(evidence.entries[5], time_us=evidence.entries[5].time_us - 10_000_000)
    assert "I3" in rules(evidence)


def test_i3_an_entry_that_is_missing_is_seen(evidence: Evidence) -> None:
    del evidence.entries[7]
    assert "I3" in rules(evidence)


def test_i3_a_mark_or_a_term_that_goes_back_is_seen(evidence: Evidence) -> None:
    _, shard = course_of(evidence).marks[-1]
    add_entry(evidence, SHARDS.name, "0", with_(shard, hwm_s=shard.hwm_s - 5))
    assert "the mark goes back" in next(v.what for v in judge(evidence) if v.rule == "I3")
    evidence.entries.pop()
    add_entry(evidence, META.name, "meta", Meta(term=0))
    assert "the term goes back" in next(v.what for v in judge(evidence) if v.rule == "I3")


def test_i4_a_right_to_send_for_a_life_that_does_not_lead_is_seen(evidence: Evidence) -> None:
    grant = granted(evidence)
    attempt = with_(grant.attempt, node="chronos-1#ANOTHER", token=f"0.1.{len(evidence.entries) + 1}")
    stolen = with_(grant.execution, attempts=(attempt,), status=Status.RUNNING)
    put_open(evidence, stolen)
    assert "I4" in rules(evidence)


def test_i5_an_arrival_that_nobody_granted_is_seen(evidence: Evidence) -> None:
    evidence.arrivals.append(replace(evidence.arrivals[-1], token="0.1.999999"))
    assert "I5" in rules(evidence)


def test_i5_an_arrival_before_its_grant_was_durable_is_seen(evidence: Evidence) -> None:
    arrival = arrival_of(evidence, granted(evidence))
    arrival.at -= 5.0
    assert "I5" in rules(evidence)


def test_i5_an_arrival_before_its_time_is_seen(evidence: Evidence) -> None:
    arrival = next(a for a in evidence.arrivals if a.not_before_us)
    arrival.clock = arrival.not_before_us / 1e6 - 0.5
    assert "I5" in rules(evidence)


def test_i6_two_rights_to_send_of_one_job_are_seen(evidence: Evidence) -> None:
    grant = granted(evidence, lambda g: g.job is not None and g.job.spec.concurrency.value == "forbid")
    for number in (1, 2):
        token = f"0.1.{len(evidence.entries) + 1}"
        attempt = with_(grant.attempt, token=token, status=AttemptStatus.STARTED)
        put_open(evidence, with_(grant.execution, id=f"occ_{number}", attempts=(attempt,), status=Status.RUNNING))
    assert "I6" in rules(evidence)


def test_i6_requests_of_one_job_that_overlap_at_the_target_are_seen(evidence: Evidence) -> None:
    first, second = arrivals_alone(evidence)
    first.closed = second.at + 3
    assert "I6" in rules(evidence)


def arrivals_alone(evidence: Evidence) -> list[Arrival]:
    """Return the first two arrivals of a job whose runs are never beside each other."""

    def alone(grant: Grant) -> bool:
        assert grant.job is not None
        is_alone = grant.job.spec.concurrency is Concurrency.FORBID and grant.execution.kind is Kind.SCHEDULE
        return is_alone and not goes_on(grant)

    job_id = granted(evidence, alone).execution.job_id
    return [a for a in evidence.arrivals if a.job_id == job_id][:2]


@pytest.mark.parametrize(("later", "rules_broken"), [(1, []), (-1, ["I6"])])
def test_i6_a_run_that_an_edit_lets_in_beside_an_earlier_grant_is_no_overlap(
    evidence: Evidence, later: int, rules_broken: list[str]
) -> None:
    course = course_of(evidence)
    first, second = arrivals_alone(evidence)
    place, other = ((a.execution_id, a.series, a.attempt, a.token) for a in (first, second))
    grant, entry = course.grants[place], course.grants[other].entry
    assert grant.job is not None
    allowing = with_(grant.job, spec=with_(grant.job.spec, concurrency=Concurrency.ALLOW))
    course.grants[place] = replace(grant, job=allowing, entry=replace(entry, index=entry.index + later))
    first.closed = second.at + 3
    assert [violation.rule for violation in windows._overlapping(course, [first, second], {})] == rules_broken


@pytest.mark.parametrize(("closed", "rules_broken"), [(0.5, []), (3.0, ["I6"])])
def test_i6_a_word_for_an_attempt_that_a_restore_has_forgotten_keeps_nobody_out(
    evidence: Evidence, closed: float, rules_broken: list[str]
) -> None:
    course = course_of(evidence)
    first, second = arrivals_alone(evidence)
    again = copy.copy(first)
    first.answer, first.closed = "202", first.at + 0.1
    again.at, again.answer = second.at - 1, "200"
    again.closed = again.at + closed
    words = {(first.execution_id, first.attempt): second.at + 3}
    found = windows._overlapping(course, [first, again, second], words)
    assert [violation.rule for violation in found] == rules_broken


def test_i7_a_terminal_state_that_changes_is_seen(evidence: Evidence) -> None:
    _, record = next(records(evidence))
    put_open(evidence, with_(record, status=Status.RUNNING))
    assert "I7" in rules(evidence)


def test_i8_a_gap_between_attempts_and_one_too_many_are_seen(evidence: Evidence) -> None:
    _, record = next(records(evidence))
    gap = with_(record, id="occ_gap", attempts=(with_(record.attempts[0], n=2),))
    many = with_(record, id="occ_many", attempts=tuple(with_(record.attempts[0], n=n) for n in range(1, 10)))
    for wrong in (gap, many):
        tampered = copy.deepcopy(evidence)
        put_open(tampered, wrong)
        assert "I8" in rules(tampered)


def test_i9_an_attempt_that_arrives_twice_is_seen(evidence: Evidence) -> None:
    evidence.arrivals.append(replace(evidence.arrivals[3]))
    assert "I9" in rules(evidence)


def test_i10_an_execution_that_was_accepted_and_comes_again_is_seen(evidence: Evidence) -> None:
    accepted = next(a for a in evidence.arrivals if a.answer == "200")
    evidence.arrivals.append(replace(accepted, attempt=accepted.attempt + 1, at=accepted.closed + 1))
    assert "I10" in rules(evidence)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda o: setattr(o, "job", with_(o.job, revision=o.job.revision + 7)),
        lambda o: setattr(o, "job", with_(o.job, created_by="somebody else")),
        lambda o: setattr(o, "answer", "job-not-found"),
        lambda o: o.__dict__.update(answer="version-conflict", revision=o.job.revision),
    ],
)
def test_i11_an_answer_that_fits_no_order_of_writes_is_seen(
    evidence: Evidence, tamper: Callable[[Operation], None]
) -> None:
    tamper(next(o for o in evidence.operations if o.kind == "get" and o.job is not None))
    assert "I11" in rules(evidence)


def test_i11_a_list_without_a_job_that_is_there_is_seen(evidence: Evidence) -> None:
    name = evidence.operations[0].name
    evidence.operations.append(Operation(9, "list", name, 40.0, 40.1, "ok", facts={"names": {}}))
    assert "I11" in rules(evidence)


@pytest.mark.parametrize("kind", ["pause", "delete"])
def test_i12_a_first_byte_after_a_pause_or_deletion_is_seen(evidence: Evidence, kind: str) -> None:
    arrival = next(a for a in evidence.arrivals if a.at > 20 and a.series == 0)
    job = evidence.revisions[arrival.job_id][-1]
    done = Operation(9, kind, job.name, arrival.at - 1, arrival.at - 0.5, "ok", job, job.id)
    evidence.operations.append(done)
    assert "I12" in rules(evidence)
    done.already_sent = [a.execution_id for a in evidence.arrivals if a.job_id == job.id]
    assert "I12" not in rules(evidence)


def failed_step(evidence: Evidence) -> Step:
    return next(
        step
        for steps in course_of(evidence).steps.values()
        for step in steps
        if step.execution.status is Status.RETRYING and step.execution.attempts[-1].status is AttemptStatus.FAILED
    )


def put_again(evidence: Evidence, before: Execution, after: Execution) -> None:
    for changes in (before, after):
        put_open(evidence, with_(changes, id="occ_again"))


def test_i13_a_retry_that_waits_too_long_is_seen(evidence: Evidence) -> None:
    retrying = failed_step(evidence).execution
    running = with_(retrying, attempts=(with_(retrying.attempts[-1], status=AttemptStatus.STARTED),))
    late_us = evidence.entries[-1].time_us + 3_600_000_000
    put_again(evidence, running, with_(retrying, attempts=retrying.attempts[-1:], retry_at_us=late_us))
    assert "I13" in rules(evidence)


def test_i13_a_retry_that_ignores_retry_after_is_seen(evidence: Evidence) -> None:
    step = next(s for s in (failed_step(evidence),) if s.job is not None)
    attempt = step.execution.attempts[-1]
    for arrival in evidence.arrivals:
        if (arrival.execution_id, arrival.attempt) == (step.execution.id, attempt.n):
            arrival.wish_s = 100.0
    if step.job is not None and step.job.spec.retry_policy.give_up_at_next:
        pytest.fail("choose another seed: this one's first retry may be cut short")
    assert "I13" in rules(evidence)


def test_i14_an_instant_that_never_arrives_is_seen(evidence: Evidence) -> None:
    early_s = evidence.begin_s + 40  # of what is due at the very end nobody can tell yet
    record = next(r for _, r in records(evidence) if len(r.attempts) == 1 and r.scheduled_s < early_s)
    evidence.arrivals = [a for a in evidence.arrivals if a.execution_id != record.id]
    assert "I14" in rules(evidence)


def test_i14_an_arrival_that_is_late_without_a_reason_is_seen(evidence: Evidence) -> None:
    for arrival in evidence.arrivals:
        arrival.clock += 1.5
    late = [violation for violation in judge(evidence) if violation.rule == "I14"]
    assert len(late) > 10
    assert all("late, and nothing had gone wrong" in violation.what for violation in late)


def test_i14_an_arrival_under_another_id_or_for_nothing_is_seen(evidence: Evidence) -> None:
    for wrong in ({"execution_id": "occ_made_up"}, {"scheduled_s": 1_000}):
        tampered = copy.deepcopy(evidence)
        tampered.arrivals.append(replace(tampered.arrivals[10], **wrong))
        assert "I14" in rules(tampered)


def test_i15_a_queue_that_grows_is_seen(evidence: Evidence) -> None:
    evidence.samples.append(replace(evidence.samples[-1], waiting_commands=100_000))
    assert "I15" in rules(evidence)


def test_i16_i17_i19_i20_what_is_kept_is_looked_at(evidence: Evidence) -> None:
    evidence.integrity["node 1: chain"] = "The log does not verify after entry 12."
    evidence.integrity["node 1: state.db"] = "row 3 missing from index jobs_name"
    evidence.digests[1] = (evidence.digests[1][0], "0" * 32)
    evidence.leaks.append("state.db")
    assert rules(evidence) >= {"I16", "I17", "I19", "I20"}


def test_an_error_of_the_products_own_is_seen(evidence: Evidence) -> None:
    evidence.complaints.append("subscriber_failed: KeyError('x')")
    assert "log" in rules(evidence)


def test_i21_what_was_decided_and_vanished_is_seen(evidence: Evidence) -> None:
    for place, entry in enumerate(evidence.entries):
        for change in entry.changes:
            if any(event.type is EventType.EXECUTION_FINISHED for event in change.events):
                change.events = [e for e in change.events if e.type is not EventType.EXECUTION_FINISHED]
                assert "I21" in rules(evidence), place
                return


def test_i22_a_mark_ahead_of_every_believable_clock_is_seen(evidence: Evidence) -> None:
    _, shard = course_of(evidence).marks[-1]
    add_entry(evidence, SHARDS.name, "0", with_(shard, hwm_s=shard.hwm_s + 3_600))
    assert "I22" in rules(evidence)
    evidence.beliefs.append((0.0, 4_000.0))
    assert "I22" not in rules(evidence)


def test_i23_a_request_that_a_stop_has_cut_short_is_seen(evidence: Evidence) -> None:
    life = evidence.lives[-1]
    arrival = evidence.arrivals[-1]
    arrival.at, arrival.closed, arrival.answer = life.asked - 0.1, life.asked + 1.0, "cut"
    assert "I23" in rules(evidence)


def test_i24_planning_that_is_behind_at_the_end_is_seen(evidence: Evidence) -> None:
    evidence.samples.append(replace(evidence.samples[-1], hwm_s=evidence.samples[-1].hwm_s - 60))
    assert "I24" in rules(evidence)


def test_i24_a_clock_that_is_not_believed_in_the_end_is_seen(evidence: Evidence) -> None:
    evidence.samples.append(replace(evidence.samples[-1], wall=evidence.samples[-1].wall + 1_000))
    assert "I24" in rules(evidence)


def test_i24_a_pause_that_does_not_end_is_seen(evidence: Evidence) -> None:
    job = next(revisions[-1] for key, revisions in evidence.revisions.items() if key not in evidence.deleted)
    late = Pause(until=utc(evidence.samples[-1].clock - 20))
    add_entry(evidence, JOBS.name, job.id, with_(job, paused=late))
    assert any("still paused" in violation.what for violation in judge(evidence))


def stuck(evidence: Evidence) -> Execution:
    """Return an execution that waits, of a job that is not paused."""
    _, record = next((kept, r) for kept, r in records(evidence))
    waiting = with_(record, status=Status.PENDING, attempts=(), effective_us=record.effective_us - 10**9)
    job_id = next(j for j, revisions in evidence.revisions.items() if revisions[-1].paused is None)
    return with_(waiting, job_id=job_id, id="occ_stuck")


def test_i24_who_waits_behind_a_run_that_ended_during_the_stop_is_not_stuck(evidence: Evidence) -> None:
    waiting = stuck(evidence)
    evidence.open_at_end = [waiting]
    arrival = evidence.arrivals[-1]
    evidence.lives[-1].asked = evidence.samples[-1].at
    evidence.arrivals.append(replace(arrival, job_id=waiting.job_id, closed=evidence.samples[-1].at + 0.5))
    assert not any("nothing runs" in violation.what for violation in judge(evidence))


def test_i24_an_execution_that_waits_for_nothing_is_seen(evidence: Evidence) -> None:
    evidence.open_at_end = [stuck(evidence)]
    assert "I24" in rules(evidence)
