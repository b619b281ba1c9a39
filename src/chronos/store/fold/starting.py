"""Who gets the right to send: overlap, pause and order, decided where everybody's slots are known."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.model.events import EventType
from chronos.model.execution import NOT_WAITED, Attempt, Execution, Kind, SkipReason
from chronos.model.job import Concurrency, Job
from chronos.store.commands import Owed, Start, StartAttempt
from chronos.store.fold.draft import Draft, accepted
from chronos.store.fold.executions import (
    DECIDED,
    RUNNING,
    STARTED,
    cancel,
    decided,
    is_planned,
    open_owed,
    owed_execution,
    skip,
)
from chronos.store.port import Result
from chronos.store.tables import JOBS, OPEN, Slots

ALLOW_QUEUE_LIMIT = 1_000
ALLOW = Concurrency.ALLOW


def start(draft: Draft, command: Start) -> Result:
    """Grant, skip or leave waiting each attempt asked for; the value is the granted executions."""
    granted: list[Execution] = []
    token = token_of(draft)
    for asked in command.attempts:
        execution = draft.get(OPEN, asked.execution_id)
        if execution is None or execution.running_attempt is not None or execution.next_attempt != asked.n:
            continue
        started = _start_one(draft, execution, asked, token)
        if started is not None:
            granted.append(started)
    return accepted(granted)


def token_of(draft: Draft) -> str:
    """Return the fencing token of what is granted here."""
    meta = draft.meta()
    return f"{meta.restore_epoch}.{meta.term}.{draft.at.index}"


def open_started(draft: Draft, job: Job, owed: Owed, key: str, node: str, token: str) -> tuple[str, Execution | None]:
    """Open the execution of a due instant, whose id is `key`, and ask for its first attempt's right to send at once.

    Returns:
        The id of what was opened, empty when it was open already; and the execution, if it was granted the right.
    """
    execution = owed_execution(draft, job, owed, key)
    if execution is None:
        return "", None
    slots = draft.slots(job.id)
    if slots.waiting or len(slots.holding) >= room_of(job) or job.paused is not None:
        open_owed(draft, job, owed, key)
        asked = StartAttempt(execution.id, 1, node, owed.not_before_us)
        return execution.id, _start_one(draft, execution, asked, token)
    # There is room, and nobody waits for it. Nearly all are opened like this, so it is done in one go.
    draft.tell(DECIDED, execution)
    started = _with_attempt(execution, 1, node, token, owed.not_before_us, draft.at.time_us)
    last_s, before_s = decided(draft, slots, owed.scheduled_s)
    draft.put(OPEN, execution.id, started)
    draft.put_slots(
        job.id, Slots((*slots.holding, execution.id), (), slots.skips, last_s, before_s, slots.last_success_us)
    )
    draft.tell(STARTED, started)
    return execution.id, started


def _start_one(draft: Draft, execution: Execution, asked: StartAttempt, token: str) -> Execution | None:
    job = draft.get(JOBS, execution.job_id)
    if job is None:
        cancel(draft, execution, "job_deleted")
        return None
    if execution.cancel_requested:
        cancel(draft, execution, execution.reason or "cancelled")
        return None
    if is_held(job, execution):
        if is_planned(execution) and not execution.attempts:
            skip(draft, execution, SkipReason.PAUSED)
        return None
    slots = draft.slots(job.id)
    if not execution.force and execution.id not in slots.holding:
        if not _slot_is_free(draft, execution, job, slots, asked):
            return None
        if job.spec.concurrency is Concurrency.REPLACE:
            slots = draft.slots(job.id)  # those it supersedes have left
    return _grant(draft, execution, slots, asked, token)


def room_of(job: Job) -> int:
    """Return how many executions of a job may hold a slot at a time."""
    return job.spec.max_concurrent if job.spec.concurrency is ALLOW else 1


def is_held(job: Job, execution: Execution) -> bool:
    """Whether a pause keeps `execution` from starting. What is asked for by hand during the pause is meant to run."""
    if job.paused is None:
        return False
    at_us = round(job.paused.at.timestamp() * 1_000_000) if job.paused.at else 0
    return is_planned(execution) or execution.decided_at_us < at_us


def _slot_is_free(draft: Draft, execution: Execution, job: Job, slots: Slots, asked: StartAttempt) -> bool:
    """Whether it, who holds no slot, may start now; if not, it has been skipped, or it waits."""
    others = slots.holding
    policy = job.spec.concurrency
    room = room_of(job)
    due = asked.not_before_us <= draft.at.time_us
    if len(others) < room:
        if due and policy is Concurrency.REPLACE:
            return _supersede(draft, execution).id == execution.id
        if due and policy is Concurrency.FORBID:
            return True
        # Claimed ahead, the slot of those that are due before would be in their way.
        time_us = max(asked.not_before_us, draft.at.time_us)
        return _place_before_others(draft, slots, execution, time_us) < room - len(others)
    # Claimed ahead of its time, an occupied slot means "not yet": the run in it may end before then.
    if not due or execution.attempts:
        return False
    _refuse_or_wait(draft, execution, job, others)
    return False


def _refuse_or_wait(draft: Draft, execution: Execution, job: Job, others: tuple[str, ...]) -> None:
    policy = job.spec.concurrency
    if _is_patient(execution):
        # They are bounded at the source.
        return
    if policy is Concurrency.REPLACE:
        _replace(draft, execution, others)
    elif policy is Concurrency.FORBID:
        skip(draft, execution, SkipReason.OVERLAP, blocked_by=others[0])
    else:
        limit = job.spec.queue_limit if policy is Concurrency.QUEUE else ALLOW_QUEUE_LIMIT
        if _place_in_line(draft, execution) >= limit:
            skip(draft, execution, SkipReason.OVERLAP, blocked_by=others[0])


def _is_patient(execution: Execution) -> bool:
    """Runs that make up for an outage, and backfills, go one after the other, whatever the policy."""
    return execution.late or execution.kind is Kind.BACKFILL


def _place_before_others(draft: Draft, slots: Slots, execution: Execution, time_us: int) -> int:
    """How many stand before it and have a claim to the next slot that is free at `time_us`."""
    place = 0
    for key in slots.waiting:
        if key == execution.id:
            break
        other = draft.get(OPEN, key)
        # What is not due yet, or waits for its retry without a slot, lets the others pass; a line of runs
        # that make up for an outage keeps together.
        place += other is not None and (_is_ready(other, time_us) or (other.late and not other.attempts))
    return place


def _is_ready(execution: Execution, time_us: int) -> bool:
    return max(execution.effective_us, execution.retry_at_us) <= time_us


def _place_in_line(draft: Draft, execution: Execution) -> int:
    """How many wait before it, not counting runs that make up for an outage."""
    place = 0
    for key in draft.slots(execution.job_id).waiting:
        if key == execution.id:
            break
        other = draft.get(OPEN, key)
        place += other is not None and not _is_patient(other)
    return place


def _supersede(draft: Draft, execution: Execution) -> Execution:
    """Of the runs that wait and are due, end all but the newest, and return that one. The patient ones stay."""
    waiting = [draft.get(OPEN, key) for key in draft.slots(execution.job_id).waiting]
    line = [w for w in waiting if w is not None and not _is_patient(w) and _is_ready(w, draft.at.time_us)]
    if _is_patient(execution):
        return max(line, key=_age) if line else execution
    newest = max([*line, execution], key=_age)
    for other in line:
        if other.id == newest.id:
            continue
        if other.attempts:
            cancel(draft, other, SkipReason.SUPERSEDED.value, blocked_by=newest.id)
        else:
            skip(draft, other, SkipReason.SUPERSEDED, blocked_by=newest.id)
    return newest


def _age(execution: Execution) -> tuple[int, str]:
    return execution.scheduled_s, execution.id


def _replace(draft: Draft, execution: Execution, others: tuple[str, ...]) -> None:
    """Ask for what runs to be stopped; of several that wait, the newest wins."""
    newest = _supersede(draft, execution)
    for key in others:
        old = draft.get(OPEN, key)
        if old is None or old.cancel_requested:
            continue
        if old.running_attempt is None:
            cancel(draft, old, "superseded", blocked_by=newest.id)
            continue
        asked = replace(old, cancel_requested=True, reason="superseded", blocked_by=newest.id)
        draft.put(OPEN, key, asked)
        draft.emit(EventType.EXECUTION_CANCELLING, namespace=old.namespace, job_id=old.job_id, execution=asked)


def _grant(draft: Draft, execution: Execution, slots: Slots, asked: StartAttempt, token: str) -> Execution:
    started = _with_attempt(execution, asked.n, asked.node, token, asked.not_before_us, draft.at.time_us)
    draft.put(OPEN, execution.id, started)
    holding = slots.holding if execution.id in slots.holding else (*slots.holding, execution.id)
    waiting = tuple([i for i in slots.waiting if i != execution.id])
    draft.put_slots(
        execution.job_id,
        Slots(holding, waiting, slots.skips, slots.last_decided_s, slots.prev_decided_s, slots.last_success_us),
    )
    draft.tell(STARTED, started)
    return started


def _with_attempt(execution: Execution, n: int, node: str, token: str, not_before_us: int, time_us: int) -> Execution:
    attempt = Attempt(execution.series, n, node, token, not_before_us, waited=execution.waited)
    return replace(
        execution,
        status=RUNNING,
        attempts=(*execution.attempts, attempt),
        retry_at_us=0,
        waited=NOT_WAITED,
        started_at_us=execution.started_at_us or max(not_before_us, time_us),
    )
