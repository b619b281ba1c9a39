"""Restores and long work in evidence: the checks know their rules, and fire when one is broken.

As in `test_invariants`, the traces are a real run's, tampered with at one place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from chronos.model.execution import Execution, Status
from chronos.model.target import HttpTarget
from chronos.testing.simulation.course import course_of
from chronos.testing.simulation.evidence import Arrival, Evidence, Word
from chronos.testing.simulation.invariants import judge
from chronos.testing.simulation.longwork import LongWork, Turn, turns_of
from chronos.testing.simulation.profile import Fault, Profile
from chronos.testing.simulation.run import lived
from chronos.timing.duration import parse_duration

RESTORED = Profile(
    name="restored", jobs=12, fault_every_s=12, faults=(Fault.RESTORE,), faults_at_least=1, op_every_s=3, quiet_s=15
)


@cache
def a_run() -> Evidence:
    return lived(2, profile=RESTORED, minutes=1.5).evidence


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
    assert len({word.result for word in results(evidence)}) == 2


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


def test_i10_a_restore_excuses_what_it_has_taken_back_and_nothing_else(evidence: Evidence) -> None:
    restore = evidence.restores[-1]
    ended = {life.number: life.ended for life in evidence.lives}
    accepted = next(
        a for a in evidence.arrivals if a.answer == "200" and a.closed < min(restore.since, ended[a.life]) - 6
    )
    again = replace(accepted, attempt=accepted.attempt + 1, at=restore.at + 1, closed=restore.at + 1, life=99)
    evidence.arrivals.append(again)
    assert "I10" in rules(evidence)
    evidence.restores[-1] = replace(restore, since=accepted.closed - 0.5)
    assert "I10" not in rules(evidence)


@pytest.mark.parametrize("tampered", [{"result": "failure"}, {"attempt": 99}])
def test_i11_a_result_that_was_taken_and_does_not_count_is_seen(
    evidence: Evidence, tampered: dict[str, object]
) -> None:
    word = next(word for word in results(evidence) if word.result == "success")
    word.__dict__.update(tampered)
    assert "I11" in rules(evidence)


def test_i6_a_run_that_begins_before_the_work_of_the_one_before_was_reported_is_seen(evidence: Evidence) -> None:
    course = course_of(evidence)
    for word in list(results(evidence)):
        revision = course.steps[word.execution_id][0].job
        assert revision is not None
        later = [a for a in evidence.arrivals if a.job_id == word.job_id and a.at > word.ended]
        if revision.spec.concurrency.value != "allow" and later and later[0].execution_id != word.execution_id:
            for said in evidence.words:
                if (said.execution_id, said.attempt) == (word.execution_id, word.attempt):
                    said.at = later[0].at + 0.5
            assert "I6" in rules(evidence)
            return
    pytest.fail("choose another seed: no job of this one runs again after long work")


def taken_on(evidence: Evidence) -> tuple[Arrival, HttpTarget]:
    """Return a request that was answered 202, whose target may not be silent for long, and that target."""
    jobs = {job.id: job for revisions in evidence.revisions.values() for job in revisions}
    for arrival in evidence.arrivals:
        target = jobs[arrival.job_id].target
        if arrival.answer == "202" and isinstance(target, HttpTarget) and target.heartbeat:
            return arrival, target
    pytest.fail("choose another seed: nobody who takes work on may be silent for long")


def test_i10_work_that_was_taken_on_is_asked_for_again_only_after_silence(evidence: Evidence) -> None:
    before, target = taken_on(evidence)
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


def test_i10_work_that_was_done_and_comes_again_is_seen(evidence: Evidence) -> None:
    word = next(word for word in results(evidence) if word.result == "success" and word.at < evidence.restores[0].since)
    before = next(a for a in evidence.arrivals if (a.execution_id, a.attempt) == (word.execution_id, word.attempt))
    evidence.arrivals.append(replace(before, attempt=before.attempt + 1, at=word.ended + 0.2))
    assert "I10" in rules(evidence)


def test_what_happens_around_long_work_is_counted(evidence: Evidence) -> None:
    turns = turns_of(evidence)
    assert turns[Turn.PROGRESS] > turns[Turn.SUCCESS] > 0
    assert turns[Turn.SUCCESS] + turns[Turn.FAILURE] == sum(1 for _ in results(evidence))
