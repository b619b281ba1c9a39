"""What leaves was granted, one at a time, for as often as there was a reason: I5 to I10, I13."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

from chronos.model.execution import AttemptStatus, Execution, Status
from chronos.model.job import Concurrency, Job
from chronos.testing.simulation.course import Course, Step
from chronos.testing.simulation.evidence import Arrival, Evidence, Violation
from chronos.testing.simulation.longwork import LongWork
from chronos.timing.duration import parse_duration

UNSETTLED_S = 5.0
"""An answer this old was settled, unless the disk was in trouble."""

RETRY_AFTER_MAX_S = 3600.0
EARLY_US = 1_000
_DISK = frozenset({"slow_disk", "disk_full", "fsync_eio", "fsync_eio_forever", "write_eio"})
_CLOCK = frozenset({"clock_back", "clock_ahead", "clock_far", "suspend", "clock_step"})
_SETTLING_S = 10.0
"""So long before it is written down a node may have drawn when it tries again, by its own clock."""


def every_arrival_was_granted_before(evidence: Evidence, course: Course) -> list[Violation]:
    """I5: the right to send stood in the log, under the token that was sent, before the first byte left."""
    found: list[Violation] = []
    for arrival in evidence.arrivals:
        grant = course.grants.get((arrival.execution_id, arrival.series, arrival.attempt, arrival.token))
        what = f"{arrival.job_name} {arrival.execution_id} attempt {arrival.attempt}"
        if grant is None:
            found.append(Violation("I5", f"{what} arrived without a grant in the log", arrival.at))
        elif grant.entry.at > arrival.at or int(arrival.token.rpartition(".")[2]) != grant.entry.index:
            found.append(Violation("I5", f"{what} arrived before entry {grant.entry.index} granted it", arrival.at))
        elif arrival.clock * 1e6 < arrival.not_before_us - EARLY_US:
            found.append(Violation("I5", f"{what} arrived before its time", arrival.at))
    return found


def leases_of_a_job_do_not_overlap(evidence: Evidence, course: Course) -> list[Violation]:
    """I6: under forbid, queue and replace nobody is let in beside another; under allow no more than may."""
    found: list[Violation] = []
    for grant in course.grants.values():
        job = grant.job
        if grant.execution.force or job is None:
            continue
        # A retry keeps the slot it got before somebody edited the job.
        room = max(_room(job), _room(grant.first or job))
        # Whoever forces a run beside another has asked for it, and may meet the other's retry.
        others = [other.id for other in grant.others if not other.force]
        if len(others) >= room:
            what = f"{job.name}: {grant.execution.id} was let in beside {others} under {job.spec.concurrency.value}"
            found.append(Violation("I6", what, grant.entry.at))
    return found


def _room(job: Job) -> int:
    return job.spec.max_concurrent if job.spec.concurrency is Concurrency.ALLOW else 1


def what_has_ended_does_not_change(evidence: Evidence, course: Course) -> list[Violation]:
    """I7: after a terminal state only a redrive opens an execution again, as the next series."""
    found: list[Violation] = []
    for key, steps in course.steps.items():
        for before, after in pairwise(steps):
            if before.execution.is_terminal and not _is_redrive(before.execution, after.execution):
                now = after.execution.status.value
                what = f"{key} was {before.execution.status.value} and became {now}"
                found.append(Violation("I7", what, after.entry.at))
    return found


def _is_redrive(before: Execution, after: Execution) -> bool:
    return before.status is Status.FAILED and after.series == before.series + 1 and not after.is_terminal


def attempts_are_numbered_without_gaps(evidence: Evidence, course: Course) -> list[Violation]:
    """I8: attempts are numbered 1, 2, 3 …, and there are no more than the policy and the unknown ones allow."""
    found: list[Violation] = []
    limits = {(job.id, job.revision): job for jobs in evidence.revisions.values() for job in jobs}
    for key, steps in course.steps.items():
        series, last, before = 0, 0, 0
        for step in steps:
            execution = step.execution
            numbers = [attempt.n for attempt in execution.attempts]
            if execution.series != series:
                series, before = execution.series, last  # a redrive counts on
            last = numbers[-1] if numbers else before
            if numbers != list(range(before + 1, before + len(numbers) + 1)):
                found.append(Violation("I8", f"{key} has the attempts {numbers}", step.entry.at))
            job = limits.get((execution.job_id, execution.revision))
            if job is not None and len(numbers) > job.spec.retry_policy.max_attempts + execution.unknowns:
                found.append(Violation("I8", f"{key} has {len(numbers)} attempts", step.entry.at))
    return found


def duplicates_have_a_cause(evidence: Evidence, course: Course) -> list[Violation]:
    """I9, I10: an attempt arrives once; an execution that a target has accepted comes again only after a crash."""
    found: list[Violation] = []
    seen = Counter((a.execution_id, a.series, a.attempt, a.token) for a in evidence.arrivals)
    found += [
        Violation("I9", f"{key} attempt {n} arrived {times} times")
        for (key, _, n, _), times in seen.items()
        if times > 1
    ]
    by_execution: dict[tuple[str, int], list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        by_execution[arrival.execution_id, arrival.series].append(arrival)
    long = LongWork(evidence, course)
    for arrivals in by_execution.values():
        for before, after in pairwise(sorted(arrivals, key=lambda arrival: arrival.at)):
            cause = "" if long.may_come_again(before, after) else _why_again(evidence, before, after)
            if cause:
                what = f"{after.job_name} {after.execution_id} attempt {after.attempt} {cause}"
                found.append(Violation("I10", what, after.at))
    return found


def _why_again(evidence: Evidence, before: Arrival, after: Arrival) -> str:
    """Return what is wrong with a second arrival; empty when it has a cause."""
    if after.attempt <= before.attempt:
        return f"arrived after attempt {before.attempt}"
    if not before.answer.startswith("2"):
        return ""
    lost = [life for life in evidence.lives if (life.node, life.number) == before.sender and life.ended >= before.at]
    if after.sender == before.sender or not lost:
        return "arrived although the one before it was accepted"
    # What a restore has taken back was as good as never settled.
    taken_back = [restore.since for restore in evidence.restores if before.at < restore.at <= after.at]
    settled_s = min([lost[0].ended, *taken_back]) - before.closed
    if settled_s > UNSETTLED_S and not evidence.was_in_trouble(_DISK, before.at - 30, lost[0].ended):
        return f"arrived although the one before it was accepted {settled_s:.1f} s before the crash"
    return ""


def tokens_never_go_back(evidence: Evidence) -> list[Violation]:
    """I3: what a later life sends has a higher token than anything an earlier one has sent, through every restore."""
    found: list[Violation] = []
    highest, of = (0, 0, 0), 0
    lives: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for arrival in (*evidence.arrivals, *evidence.undone):
        epoch, term, index = (int(part) for part in arrival.token.split("."))
        lives[arrival.life].append((epoch, term, index))
    for life, tokens in sorted(lives.items()):
        if min(tokens) <= highest:
            found.append(Violation("I3", f"life {life} has sent the token {min(tokens)}, and life {of} {highest}"))
        highest, of = max(highest, *tokens), life
    for before, after in pairwise(evidence.restores):
        if after.epoch <= before.epoch:
            found.append(Violation("I3", f"a restore opened epoch {after.epoch} after {before.epoch}", after.at))
    return found


def retries_wait_as_long_as_they_should(evidence: Evidence, course: Course) -> list[Violation]:
    """I13: a retry waits no longer than its backoff's cap, unless the target has asked for more, which is honoured."""
    found: list[Violation] = []
    wishes = {(a.execution_id, a.series, a.attempt): a for a in evidence.arrivals}
    jobs = {(job.id, job.revision): job for revisions in evidence.revisions.values() for job in revisions}
    for steps in course.steps.values():
        for before, step in pairwise(steps):
            job = jobs.get((step.execution.job_id, step.execution.revision))
            if job is None or not _has_failed(before, step):
                continue
            wish = wishes.get((step.execution.id, step.execution.series, step.execution.attempts[-1].n))
            what = _wrong_wait(evidence, step, job, wish)
            if what:
                found.append(Violation("I13", f"{step.execution.job_name} {step.execution.id}: {what}", step.entry.at))
    return found


def _has_failed(before: Step, step: Step) -> bool:
    """Whether this step waits for the next attempt because the last one was sent, and failed."""
    execution = step.execution
    return (
        execution.status is Status.RETRYING
        and before.execution.running_attempt is not None
        and len(execution.attempts) == len(before.execution.attempts)
        and execution.attempts[-1].status is AttemptStatus.FAILED
    )


def _wrong_wait(evidence: Evidence, step: Step, job: Job, wish: Arrival | None) -> str:
    policy, execution = job.spec.retry_policy, step.execution
    grown = parse_duration(policy.initial_interval) * policy.multiplier ** (execution.tries - 1)
    cap_us = min(parse_duration(policy.max_interval), grown)
    asked_us = min(wish.wish_s or 0.0, RETRY_AFTER_MAX_S) * 1e6 if wish is not None else 0.0
    apart_us = evidence.apart_s(step.entry.at - _SETTLING_S, step.entry.at) * 1e6
    if execution.retry_at_us > step.entry.time_us + max(cap_us, asked_us) + apart_us + 1:
        return f"waits {(execution.retry_at_us - step.entry.time_us) / 1e6:.3f} s, at most {cap_us / 1e6:g} s are right"
    if (
        wish is None
        or not asked_us
        or policy.give_up_at_next
        or evidence.was_in_trouble(_CLOCK, wish.at - 1, step.entry.at + 1)
    ):
        return ""
    left_us = execution.started_at_us + parse_duration(policy.retry_for) - step.entry.time_us
    floor_us = min(asked_us, max(0, left_us)) + execution.attempts[-1].ended_at_us
    if execution.retry_at_us < floor_us - 1:
        return f"comes {(floor_us - execution.retry_at_us) / 1e6:.3f} s before the target's Retry-After"
    return ""
