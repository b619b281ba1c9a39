"""What people ask for: runs by hand, backfills, cancellations, redrives."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import ExecutionEnded, ExecutionNotFound, JobNotFound, NotRedrivable, Overlap
from chronos.model.events import EventType
from chronos.model.execution import Execution, Kind, SkipReason, Status, Waited, execution_id
from chronos.model.job import Concurrency, Job
from chronos.store.commands import Backfill, Cancel, Redrive, Trigger
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.fold.executions import cancel, open_execution, skip
from chronos.store.port import Result
from chronos.store.tables import DEAD, JOBS, OPEN


def trigger(draft: Draft, command: Trigger) -> Result:
    """Owe one execution now; under `forbid` a taken slot is an answer of its own."""
    job = draft.get(JOBS, command.job_id)
    if job is None:
        return rejected(JobNotFound)
    existing = draft.get(OPEN, command.execution_id)
    if existing is not None:
        return accepted(existing)
    execution = Execution(
        id=command.execution_id,
        job_id=job.id,
        job_name=job.name,
        namespace=job.namespace,
        kind=command.kind,
        discriminator=command.discriminator,
        scheduled_s=command.scheduled_s,
        effective_us=draft.at.time_us,
        revision=command.revision or job.revision,
        priority=job.spec.priority,
        decided_at_us=draft.at.time_us,
        by=command.by,
        force=command.force,
        replay_of=command.replay_of,
    )
    open_execution(draft, execution)
    blocker = _blocker(draft, job, command)
    if blocker is None:
        return accepted(execution)
    skip(draft, execution, SkipReason.OVERLAP, blocked_by=blocker)
    return rejected(Overlap, execution_id=execution.id, blocked_by=blocker)


def _blocker(draft: Draft, job: Job, command: Trigger) -> str | None:
    if command.force or not command.strict:
        return None
    slots = draft.slots(job.id)
    if job.spec.concurrency is Concurrency.FORBID:
        ahead = [*slots.holding, *(key for key in slots.waiting if _is_due(draft, key))]
        return next((key for key in ahead if key != command.execution_id), None)
    if job.spec.concurrency is Concurrency.QUEUE and slots.holding:
        line = [key for key in slots.waiting if key != command.execution_id]
        return slots.holding[0] if len(line) >= job.spec.queue_limit else None
    return None


def _is_due(draft: Draft, key: str) -> bool:
    """Whether what waits may start by now; what is decided ahead, or waits for its retry, blocks nobody yet."""
    waiting = draft.get(OPEN, key)
    return waiting is not None and max(waiting.effective_us, waiting.retry_at_us) <= draft.at.time_us


def backfill(draft: Draft, command: Backfill) -> Result:
    """Owe past instants once more, oldest first."""
    job = draft.get(JOBS, command.job_id)
    if job is None:
        return rejected(JobNotFound)
    opened = []
    for instant in sorted(set(command.instants_s)):
        discriminator = f"{instant}/{command.backfill_id}"
        key = execution_id(job.id, Kind.BACKFILL, discriminator, instant)
        if draft.get(OPEN, key) is not None:
            continue
        execution = Execution(
            id=key,
            job_id=job.id,
            job_name=job.name,
            namespace=job.namespace,
            kind=Kind.BACKFILL,
            discriminator=discriminator,
            scheduled_s=instant,
            effective_us=draft.at.time_us,
            revision=job.revision,
            priority=job.spec.priority,
            decided_at_us=draft.at.time_us,
            by=command.by,
        )
        open_execution(draft, execution)
        opened.append(key)
    return accepted(opened, resource=command.backfill_id)


def cancel_execution(draft: Draft, command: Cancel) -> Result:
    """Cancel at once what does not run; ask for the rest to be stopped."""
    execution = draft.get(OPEN, command.execution_id)
    if execution is None:
        known = draft.get(DEAD, command.execution_id) is not None
        return rejected(ExecutionEnded if known else ExecutionNotFound)
    reason = command.reason or "cancelled"
    if execution.running_attempt is None:
        cancel(draft, execution, reason, command.by)
        ended = replace(execution, status=Status.CANCELLED, reason=reason, ended_at_us=draft.at.time_us)
        return accepted(ended)
    asked = replace(execution, cancel_requested=True, reason=reason, by=command.by or execution.by)
    draft.put(OPEN, execution.id, asked)
    draft.emit(
        EventType.EXECUTION_CANCELLING,
        namespace=execution.namespace,
        job_id=execution.job_id,
        by=command.by,
        execution=asked,
    )
    return accepted(asked)


def redrive(draft: Draft, command: Redrive) -> Result:
    """Open dead letters anew: the same id, the next series, a fresh count of tries."""
    found = [(key, draft.get(DEAD, key)) for key in dict.fromkeys(command.execution_ids)]
    for key, dead in found:
        if dead is None:
            return rejected(NotRedrivable, f"{key} is not a dead letter.", execution_id=key)
        if draft.get(JOBS, dead.job_id) is None:
            return rejected(JobNotFound, f"The job of {key} is gone; create it anew to run it.", execution_id=key)
    opened = []
    for key, dead in found:
        assert dead is not None
        draft.delete(DEAD, key)
        meta = draft.meta()
        draft.put_meta(replace(meta, dead=meta.dead - 1))
        again = replace(
            dead,
            series=dead.series + 1,
            earlier_attempts=dead.earlier_attempts + len(dead.attempts),
            waited=Waited(),
            status=Status.PENDING,
            reason="",
            attempts=(),
            tries=0,
            unknowns=0,
            retry_at_us=0,
            started_at_us=0,
            ended_at_us=0,
            effective_us=draft.at.time_us,
            decided_at_us=draft.at.time_us,
            cancel_requested=False,
            late=True,
            by=command.by,
        )
        open_execution(draft, again)
        draft.emit(
            EventType.EXECUTION_REDRIVEN,
            namespace=dead.namespace,
            job_id=dead.job_id,
            by=command.by,
            execution=again,
        )
        opened.append(again)
    return accepted(opened)
