"""Restores and long work in evidence: the checks know their rules, and fire when one is broken.

As in `test_invariants`, the traces are a real run's, tampered with at one place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from operator import attrgetter

import pytest

from chronos.model.execution import Execution, Status
from chronos.model.target import HttpTarget
from chronos.testing.simulation.course import Course, course_of
from chronos.testing.simulation.evidence import Arrival, Evidence, Life, Restore, Word
from chronos.testing.simulation.invariants import judge
from chronos.testing.simulation.invariants.sending import duplicates_have_a_cause
from chronos.testing.simulation.longwork import LongWork, Turn, turns_of
from chronos.testing.simulation.profile import Fault, Profile
from chronos.testing.simulation.run import lived
from chronos.timing.duration import parse_duration

RESTORED = Profile(
    name="restored", jobs=12, fault_every_s=12, faults=(Fault.RESTORE,), faults_at_least=1, op_every_s=3, quiet_s=15
)


@cache
def a_run() -> Evidence:
    """Return the first run that has something of everything."""
    runs = (lived(seed, profile=RESTORED, minutes=1.5).evidence for seed in range(1, 20))
    return next(run for run in runs if len(run.restores) > 1 and one_behind_another(run) and taken_on(run))


@pytest.fixture
def evidence() -> Evidence:
    return copy.deepcopy(a_run())


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in judge(evidence)}


def results(evidence: Evidence) -> Iterator[Word]:
    return (word for word in evidence.words if word.result and word.answer == "ok")


def test_a_run_with_restores_breaks_nothing(evidence: Evidence) -> None:
    assert judge(evidence) == []
    assert len(evidence.left) == len(evidence.restores) >= 2
    assert evidence.undone


def test_what_a_restore_has_taken_back_is_kept_apart(evidence: Evidence) -> None:
    for left in evidence.left:
        assert not left.left
        assert left.records
        assert left.entries
    kept = {(a.execution_id, a.attempt, a.token) for a in evidence.arrivals}
    assert kept.isdisjoint((a.execution_id, a.attempt, a.token) for a in evidence.undone)


def test_what_was_lost_before_a_restore_is_seen(evidence: Evidence) -> None:
    left = evidence.left[0]
    kept = next(
        (records, record)
        for records in left.records.values()
        for record in records
        if isinstance(record, Execution) and record.status is Status.SUCCESS and record.kind.value == "schedule"
    )
    kept[0].remove(kept[1])
    assert "I1" in rules(evidence)


def test_i3_a_token_that_is_no_higher_than_one_from_before_the_restore_is_seen(evidence: Evidence) -> None:
    life = evidence.arrivals[-1].life
    for arrival in evidence.arrivals:
        if arrival.life == life:
            arrival.token = "0." + arrival.token.partition(".")[2]
    assert any(v.rule == "I3" and "has sent the token" in v.what for v in judge(evidence))


def test_i3_an_epoch_that_was_opened_before_is_seen(evidence: Evidence) -> None:
    evidence.restores[1] = replace(evidence.restores[1], epoch=evidence.restores[0].epoch)
    assert any(v.rule == "I3" and "opened epoch" in v.what for v in judge(evidence))


def arrived(attempt: int, at: float, life: int, answer: str = "200") -> Arrival:
    """Return a request of one execution that was answered after a tenth of a second."""
    return Arrival(
        at, at, 1, life, "job", "nightly", "occ_1", 0, attempt, f"0.{life}.{attempt}", 0, 0, at + 0.1, answer
    )


def test_i10_a_restore_excuses_what_it_has_taken_back_and_nothing_else() -> None:
    evidence = Evidence(arrivals=[arrived(1, 20.0, 1), arrived(2, 41.0, 2)])
    evidence.lives = [Life(1, 1, 0.0, ended=39.0, ended_by="stop"), Life(2, 1, 40.0)]
    for since, is_right in ((30.0, False), (19.0, True)):
        evidence.restores = [Restore(40.0, since, epoch=1)]
        assert (duplicates_have_a_cause(evidence, Course()) == []) is is_right


def test_i11_a_result_that_was_taken_and_does_not_count_is_seen(evidence: Evidence) -> None:
    word = next(results(evidence))
    was = word.result
    word.result = {"success": "failure", "failure": "success"}[was]
    assert "I11" in rules(evidence)
    word.result, word.attempt = was, 99
    assert "I11" in rules(evidence)


def test_i6_a_run_that_begins_before_the_work_of_the_one_before_was_reported_is_seen(evidence: Evidence) -> None:
    pair = one_behind_another(evidence)
    assert pair is not None
    first, second = pair
    evidence.words = [word for word in evidence.words if word.execution_id != first.execution_id]
    late = Word(second.at + 1, 1, first.job_id, first.execution_id, first.attempt, "success", answer="ok")
    evidence.words.append(late)
    assert "I6" in rules(evidence)


def one_behind_another(evidence: Evidence) -> tuple[Arrival, Arrival] | None:
    """Return the requests of two runs of a job that reports its work and does not run beside itself."""
    course = course_of(evidence)
    told = {(word.execution_id, word.attempt) for word in results(evidence)}
    arrivals = sorted(evidence.arrivals, key=attrgetter("job_id", "at"))
    pairs = (
        (before, after)
        for before, after in pairwise(arrivals)
        if before.job_id == after.job_id
        and before.execution_id != after.execution_id
        and (before.execution_id, before.attempt) in told
        and is_alone(course, after)
    )
    return next(pairs, None)


def is_alone(course: Course, arrival: Arrival) -> bool:
    grant = course.grants.get((arrival.execution_id, arrival.series, arrival.attempt, arrival.token))
    job = grant.job if grant is not None and not grant.execution.force else None
    return job is not None and job.spec.concurrency.value == "forbid"


def taken_on(evidence: Evidence) -> tuple[Arrival, HttpTarget] | None:
    """Return a request that was answered 202, whose target may not be silent for long, and that target."""
    jobs = {job.id: job for revisions in evidence.revisions.values() for job in revisions}
    for arrival in evidence.arrivals:
        target = jobs[arrival.job_id].target
        if arrival.answer == "202" and isinstance(target, HttpTarget) and target.heartbeat:
            return arrival, target
    return None


def test_i10_work_that_was_taken_on_is_asked_for_again_only_after_silence(evidence: Evidence) -> None:
    found = taken_on(evidence)
    assert found is not None
    before, target = found
    evidence.words = [word for word in evidence.words if word.execution_id != before.execution_id]
    assert target.heartbeat
    silent_s = parse_duration(target.heartbeat) / 1e6
    for at, is_right in ((before.closed + silent_s - 0.5, False), (before.closed + silent_s + 0.1, True)):
        after = replace(before, attempt=before.attempt + 1, at=at)
        assert LongWork(evidence, course_of(evidence)).may_come_again(before, after) is is_right
    evidence.words.append(Word(before.at + 1, 1, before.job_id, before.execution_id, before.attempt, answer="ok"))
    after = replace(before, attempt=before.attempt + 1, at=before.at + 1.5)
    assert not LongWork(evidence, course_of(evidence)).may_come_again(before, after)
    evidence.words[-1].result = "failure"
    assert LongWork(evidence, course_of(evidence)).may_come_again(before, after)


def test_i10_work_that_was_taken_on_and_comes_again_is_seen() -> None:
    evidence = Evidence(arrivals=[arrived(1, 20.0, 1, "202"), arrived(2, 21.0, 1)])
    evidence.lives = [Life(1, 1, 0.0)]
    [found] = duplicates_have_a_cause(evidence, Course())
    assert found.rule == "I10"
    evidence.words = [Word(20.5, 1, "job", "occ_1", 1, "failure", 20.6, "ok")]
    assert duplicates_have_a_cause(evidence, Course()) == []


def test_what_happens_around_long_work_is_counted(evidence: Evidence) -> None:
    turns = turns_of(evidence)
    assert turns[Turn.PROGRESS] > 0
    assert turns[Turn.SUCCESS] + turns[Turn.FAILURE] == sum(1 for _ in results(evidence))
