"""What follows an attempt: done, again, later, or never. Pure; the time is an argument."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.dispatch.breaker import BREAKER
from chronos.dispatch.port import (
    Accepted,
    Answer,
    Cancelled,
    Delivered,
    Done,
    Lost,
    NoAnswer,
    NotSent,
    Refused,
)
from chronos.model.execution import Attempt, AttemptStatus, Execution, Ongoing, Waited
from chronos.model.job import Job, OnUnknown
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import Next, Settlement
from chronos.timing.duration import parse_duration
from chronos.timing.pace import retry_delay_us

RETRY_AFTER_MAX_US = 3_600_000_000
AGAIN_MIN_US = 50_000
ERROR_MAX = 1_024
EXCERPT_MAX = 1_024
NOTES_MAX = 20
NO_SERIES = -1
"""Of an attempt that holds nothing any more."""


def next_step(
    execution: Execution,
    job: Job,
    done: Done,
    *,
    now_us: int,
    settings: SchedulerSettings,
    next_instant_us: int | None = None,
    others_us: int | None = None,
) -> Settlement:
    """Return the settlement of `done`, the end of the execution's running attempt.

    Args:
        job: The revision that ran.
        next_instant_us: When the job is due next; bounds retries if the job wants it so.
        others_us: When another node may be asked to send what this one's breaker holds back; None where there are never
            any.
    """
    running = execution.running_attempt
    assert running is not None
    outcome = done.outcome
    if isinstance(outcome, Delivered):
        return delivered(execution, done, outcome)
    attempt = replace(
        running,
        started_at_us=done.started_at_us,
        ended_at_us=done.ended_at_us,
        waited=running.waited.plus(done.waited),
    )
    if isinstance(outcome, NotSent):
        at_us, held_until_us = _asked_again(outcome, now_us, others_us)
        if at_us > _deadline_us(execution, job, next_instant_us) and not execution.cancel_requested:
            why = f"no time left to send: {outcome.reason}"
            ended = replace(attempt, status=AttemptStatus.FAILED, error_class="not_sent", error=outcome.reason)
            return Settlement(execution.id, ended, Next.FAIL, reason=why)
        waits = replace(attempt, waited=attempt.waited.plus(_wait_for(outcome.reason, at_us - now_us)))
        return Settlement(execution.id, waits, Next.AGAIN, at_us, False, outcome.reason, held_until_us)
    if isinstance(outcome, Accepted):
        return Settlement(execution.id, _ongoing(attempt, outcome, now_us), Next.GO_ON)
    if isinstance(outcome, Cancelled):
        ended = _with_answer(attempt, outcome.answer, AttemptStatus.CANCELLED)
        return Settlement(execution.id, ended, Next.CANCEL, reason=execution.reason or "cancelled")
    if isinstance(outcome, Lost):
        return lost(execution, job, attempt, outcome.reason, now_us=now_us, settings=settings)
    return _failed(execution, job, attempt, outcome, now_us, next_instant_us)


def _asked_again(outcome: NotSent, now_us: int, others_us: int | None) -> tuple[int, int]:
    """Return when to ask again, and up to when only other nodes are to be asked; 0 where it is the same for all."""
    soonest_us = now_us + AGAIN_MIN_US
    own_us = max(now_us + int(outcome.retry_after_s * 1e6), soonest_us)
    if others_us is None or outcome.reason != BREAKER:
        return own_us, 0
    return min(own_us, max(others_us, soonest_us)), own_us


def delivered(execution: Execution, done: Done, outcome: Delivered) -> Settlement:
    """Return the settlement of an attempt that was answered well, whatever its job says.

    In one piece: nearly all end like this, and a copy costs a microsecond.
    """
    answer, running = outcome.answer, execution.attempts[-1]
    attempt = Attempt(
        running.series,
        running.n,
        running.node,
        running.token,
        running.not_before_us,
        done.started_at_us,
        done.ended_at_us,
        _SUCCESS,
        answer.status_code,
        body_bytes=answer.body_bytes,
        sha256=answer.sha256,
        excerpt=answer.excerpt[:EXCERPT_MAX],
        waited=running.waited.plus(done.waited),
        resent=outcome.resent,
        notes=answer.notes[:NOTES_MAX],
        ongoing=running.ongoing,
    )
    return Settlement(execution.id, attempt, _SUCCEED)


_SUCCESS, _SUCCEED = AttemptStatus.SUCCESS, Next.SUCCEED  # an enum's member is looked up slowly


def _ongoing(attempt: Attempt, outcome: Accepted, now_us: int) -> Attempt:
    taken = _with_answer(attempt, outcome.answer, AttemptStatus.STARTED, resent=outcome.resent)
    ongoing = Ongoing(
        accepted_us=now_us,
        deadline_us=attempt.started_at_us + outcome.deadline_us,
        heartbeat_us=outcome.heartbeat_us,
        heard_us=now_us,
    )
    return replace(taken, ended_at_us=0, ongoing=ongoing)


def late_result(done: Done) -> Settlement | None:
    """Return the settlement of an attempt that is not its execution's running one any more: it becomes a note.

    None when there is nothing to note, because nothing was sent or nobody knows.
    """
    outcome = done.outcome
    if isinstance(outcome, NotSent | Lost | Accepted):
        return None
    status = AttemptStatus.FAILED
    if isinstance(outcome, Delivered):
        status = AttemptStatus.SUCCESS
    elif isinstance(outcome, Cancelled):
        status = AttemptStatus.CANCELLED
    attempt = Attempt(
        series=NO_SERIES,
        n=done.attempt,
        node="",
        token="",
        not_before_us=0,
        started_at_us=done.started_at_us,
        ended_at_us=done.ended_at_us,
        status=status,
        status_code=outcome.answer.status_code,
    )
    return Settlement(done.execution_id, attempt, Next.SUCCEED if status is AttemptStatus.SUCCESS else Next.FAIL)


def lost(
    execution: Execution,
    job: Job,
    attempt: Attempt,
    reason: str,
    *,
    now_us: int,
    settings: SchedulerSettings,
) -> Settlement:
    """Return the settlement of an attempt of which nobody can say whether it arrived."""
    ended = replace(attempt, status=AttemptStatus.UNKNOWN, error_class="unknown", error=reason, ended_at_us=now_us)
    if job.spec.on_unknown is OnUnknown.FAIL:
        return Settlement(execution.id, ended, Next.FAIL, unknown=True, reason=f"unknown: {reason}")
    if execution.unknowns >= settings.unknowns_max:
        return Settlement(
            execution.id, ended, Next.FAIL, unknown=True, reason=f"unknown {execution.unknowns + 1} times: {reason}"
        )
    return Settlement(execution.id, ended, Next.RETRY, retry_at_us=now_us, unknown=True, reason=f"unknown: {reason}")


def _failed(
    execution: Execution,
    job: Job,
    attempt: Attempt,
    outcome: Refused | NoAnswer,
    now_us: int,
    next_instant_us: int | None,
) -> Settlement:
    ended = _with_answer(attempt, outcome.answer, AttemptStatus.FAILED, resent=outcome.resent)
    ended = replace(ended, error_class=outcome.error_class, error=outcome.reason[:ERROR_MAX])
    if isinstance(outcome, Refused) and outcome.permanent:
        return Settlement(execution.id, ended, Next.FAIL, reason=outcome.reason)
    tries = execution.tries + 1
    if tries >= job.spec.retry_policy.max_attempts:
        why = f"gave up after {tries} attempt{'s' if tries > 1 else ''}: {outcome.reason}"
        return Settlement(execution.id, ended, Next.FAIL, reason=why)
    left_us = _deadline_us(execution, job, next_instant_us) - now_us
    wait_us = _delay_us(execution, job, tries)
    if isinstance(outcome, Refused) and outcome.retry_after_s is not None:
        floor_us = min(int(outcome.retry_after_s * 1e6), RETRY_AFTER_MAX_US, max(left_us, 0))
        wait_us = max(wait_us, floor_us)
    if wait_us > left_us:
        return Settlement(execution.id, ended, Next.FAIL, reason=f"no time left to retry: {outcome.reason}")
    return Settlement(execution.id, ended, Next.RETRY, retry_at_us=now_us + wait_us, reason=outcome.reason)


def _delay_us(execution: Execution, job: Job, tries: int) -> int:
    policy = job.spec.retry_policy
    return retry_delay_us(
        tries,
        initial_us=parse_duration(policy.initial_interval),
        max_us=parse_duration(policy.max_interval),
        multiplier=policy.multiplier,
        seed=execution.id,
    )


def _deadline_us(execution: Execution, job: Job, next_instant_us: int | None) -> int:
    begun = execution.started_at_us or execution.decided_at_us
    deadline = begun + parse_duration(job.spec.retry_policy.retry_for)
    if job.spec.retry_policy.give_up_at_next and next_instant_us is not None:
        deadline = min(deadline, next_instant_us)
    return deadline


def _wait_for(reason: str, us: int) -> Waited:
    """Return the wait before it is asked again, under what it is for."""
    ms = us // 1_000
    return Waited(**{reason: ms}) if reason in _WAITED_FOR else Waited()


_WAITED_FOR = frozenset({BREAKER, "host_cap", "capacity"})


def _with_answer(attempt: Attempt, answer: Answer, status: AttemptStatus, *, resent: bool = False) -> Attempt:
    return replace(
        attempt,
        status=status,
        status_code=answer.status_code,
        body_bytes=answer.body_bytes,
        sha256=answer.sha256,
        excerpt=answer.excerpt[:EXCERPT_MAX],
        notes=answer.notes[:NOTES_MAX],
        resent=resent,
    )
