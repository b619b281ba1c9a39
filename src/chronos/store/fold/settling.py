"""What became of attempts, and what follows from it."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import AttemptEnded
from chronos.model.events import EventType
from chronos.model.execution import Attempt, AttemptStatus, Execution, Ongoing, SkipReason, Status
from chronos.store.commands import Next, Report, Settle, Settlement
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.fold.executions import SUCCESS, finish, is_planned, skip, without
from chronos.store.fold.keeping import NOTES_MAX, note_late
from chronos.store.port import Result
from chronos.store.steps import STEP, Step
from chronos.store.tables import JOBS, OPEN, REVISIONS, revision_key

AGAIN, GO_ON, SUCCEED = Next.AGAIN, Next.GO_ON, Next.SUCCEED
"""An enum's member is looked up slowly, and these are asked for with each result."""


def settle(draft: Draft, command: Settle) -> Step[Result]:
    """Fold results in. One of an attempt that no longer holds the right to send becomes a note."""
    changed: list[Execution] = []
    for number, result in enumerate(command.results, 1):
        if number % STEP == 0:
            yield
        execution = draft.get(OPEN, result.execution_id)
        if execution is None or not _holds(execution, result.attempt):
            _note_late(draft, execution, result)
            continue
        changed.append(_settle_one(draft, execution, result))
    return accepted(changed)


def report(draft: Draft, command: Report) -> Result:
    """Note what the target says of an attempt that runs."""
    execution = draft.get(OPEN, command.execution_id)
    running = execution.running_attempt if execution is not None else None
    if execution is None or running is None or running.n != command.n:
        return rejected(AttemptEnded)
    ongoing = running.ongoing or Ongoing()
    heard = replace(
        ongoing,
        heard_us=draft.at.time_us,
        progress=command.progress if command.progress >= 0 else ongoing.progress,
        message=command.message or ongoing.message,
    )
    return accepted(_go_on(draft, execution, replace(running, ongoing=heard)))


def _go_on(draft: Draft, execution: Execution, attempt: Attempt) -> Execution:
    """The attempt keeps its right and its slot."""
    going = replace(execution, attempts=(*execution.attempts[:-1], attempt))
    draft.put(OPEN, execution.id, going)
    draft.emit(EventType.EXECUTION_PROGRESS, namespace=execution.namespace, job_id=execution.job_id, execution=going)
    return going


def _taken_on(execution: Execution, attempt: Attempt) -> Attempt:
    """Return the accepted attempt with what it has reported before its answer was known here."""
    early = execution.attempts[-1].ongoing
    if early is None or attempt.ongoing is None:
        return attempt
    heard_us = max(early.heard_us, attempt.ongoing.heard_us)
    known = replace(attempt.ongoing, heard_us=heard_us, progress=early.progress, message=early.message)
    return replace(attempt, ongoing=known)


def _holds(execution: Execution, attempt: Attempt) -> bool:
    running = execution.running_attempt
    # An attempt that was taken back leaves its number to the next one, which may be another node's: tokens differ.
    return (
        running is not None
        and running.n == attempt.n
        and running.token == attempt.token
        and running.series == attempt.series
    )


def _settle_one(draft: Draft, execution: Execution, result: Settlement) -> Execution:
    following = result.next
    if following is AGAIN:
        return _take_back(draft, execution, result)
    if following is GO_ON:
        return _go_on(draft, execution, _taken_on(execution, result.attempt))
    attempts = (*execution.attempts[:-1], _taken_on(execution, result.attempt))
    unknowns, tries = execution.unknowns + result.unknown, execution.tries + (not result.unknown)
    if following is SUCCEED:
        return _succeed(draft, execution, attempts, unknowns, tries)
    ended = replace(execution, attempts=attempts, unknowns=unknowns, tries=tries)
    if following is Next.RETRY and not execution.cancel_requested:
        return _wait_for_retry(draft, ended, result)
    return _end(draft, ended, result)


def _succeed(draft: Draft, execution: Execution, attempts: tuple[Attempt, ...], unknowns: int, tries: int) -> Execution:
    """End it well, even if it was to be cancelled. Nearly all end here, so it is one copy."""
    ended = replace(
        execution,
        attempts=attempts,
        unknowns=unknowns,
        tries=tries,
        status=SUCCESS,
        reason="",
        retry_at_us=0,
        ended_at_us=draft.at.time_us,
    )
    finish(draft, ended)
    return ended


def _take_back(draft: Draft, execution: Execution, result: Settlement) -> Execution:
    """Nothing was sent: the attempt never was, and its number is used again."""
    back = replace(execution, attempts=execution.attempts[:-1], waited=result.attempt.waited)
    job = draft.get(JOBS, execution.job_id)
    if execution.cancel_requested or job is None:
        gone = replace(result, next=Next.CANCEL, reason="job_deleted" if job is None else result.reason)
        return _end(draft, back, gone)
    retry = replace(
        back,
        status=Status.RETRYING if back.attempts else Status.PENDING,
        retry_at_us=max(result.retry_at_us, draft.at.time_us),
        started_at_us=back.started_at_us if back.attempts else 0,
        reason=result.reason,
    )
    draft.put(OPEN, execution.id, retry)
    if not back.attempts:
        _give_slot_back(draft, retry)
        if job.paused is not None and is_planned(back):
            skip(draft, retry, SkipReason.PAUSED)
            return retry
    elif not _holds_slot_between(draft, retry):
        _give_slot_back(draft, retry)
    _tell_retry(draft, retry, by=result.attempt.node if result.held_until_us else "", until_us=result.held_until_us)
    return retry


def _holds_slot_between(draft: Draft, execution: Execution) -> bool:
    kept = draft.get(REVISIONS, revision_key(execution.job_id, execution.revision))
    return kept is None or kept.job.spec.retry_policy.retry_holds_slot


def _give_slot_back(draft: Draft, execution: Execution) -> None:
    """Let others have the slot; `execution` is the next in line when its time comes."""
    before = draft.slots(execution.job_id)
    slots = without(before, execution.id, before.last_success_us)
    draft.put_slots(execution.job_id, replace(slots, waiting=(execution.id, *slots.waiting)))


def _wait_for_retry(draft: Draft, execution: Execution, result: Settlement) -> Execution:
    retry = replace(execution, status=Status.RETRYING, retry_at_us=result.retry_at_us, reason=result.reason)
    draft.put(OPEN, execution.id, retry)
    if not _holds_slot_between(draft, retry):
        _give_slot_back(draft, retry)
    _tell_retry(draft, retry)
    return retry


def _tell_retry(draft: Draft, execution: Execution, *, by: str = "", until_us: int = 0) -> None:
    draft.emit(
        EventType.EXECUTION_RETRYING,
        namespace=execution.namespace,
        job_id=execution.job_id,
        execution=execution,
        by=by,
        until_us=until_us,
    )


def _end(draft: Draft, execution: Execution, result: Settlement) -> Execution:
    status = Status.CANCELLED if result.next is Next.CANCEL else Status.FAILED
    reason = result.reason
    if execution.cancel_requested:
        status, reason = Status.CANCELLED, execution.reason
    ended = replace(
        execution,
        status=status,
        reason=reason,
        retry_at_us=0,
        ended_at_us=draft.at.time_us,
    )
    finish(draft, ended)
    return ended


def _note_late(draft: Draft, execution: Execution | None, result: Settlement) -> None:
    """A fenced attempt answered after all. Its execution's outcome does not change; that it came is kept."""
    attempt = result.attempt
    if result.next in (Next.AGAIN, Next.GO_ON) or attempt.status is AttemptStatus.UNKNOWN:
        return  # that nothing was sent, or that nobody knows, is no result
    code = f" ({attempt.status_code})" if attempt.status_code is not None else ""
    note = f"late_result: attempt {attempt.n} {attempt.status.value}{code}"
    if execution is None:
        note_late(draft, result.execution_id, note)
    else:
        notes = (*execution.notes, note)[-NOTES_MAX:]
        draft.put(OPEN, execution.id, replace(execution, notes=notes))
    draft.emit(EventType.LATE_RESULT, key=result.execution_id, execution=execution, note=note)
