"""How an execution opens, ends and is skipped: the steps that every other rule is made of."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from chronos.model.events import EventType
from chronos.model.execution import (
    Execution,
    Kind,
    RangeRecord,
    SkipReason,
    Status,
    execution_ids,
)
from chronos.model.job import Job
from chronos.store.commands import Owed
from chronos.store.fold.draft import Draft
from chronos.store.fold.keeping import keep_dead_letter
from chronos.store.tables import JOBS, OPEN, SLOTS, Slots

# An enum's member is looked up slowly, and these are needed for each execution.
DECIDED, STARTED, FINISHED = EventType.EXECUTION_DECIDED, EventType.EXECUTION_STARTED, EventType.EXECUTION_FINISHED
RUNNING, SUCCESS, FAILED = Status.RUNNING, Status.SUCCESS, Status.FAILED
PLANNED = Kind.SCHEDULE


def open_owed(draft: Draft, job: Job, owed: Owed, key: str) -> Execution | None:
    """Open the execution of a due instant, whose id is `key`; None when it is open already."""
    execution = owed_execution(draft, job, owed, key)
    if execution is None:
        return None
    draft.put(OPEN, execution.id, execution)
    slots = draft.slots(job.id)
    last_s, before_s = decided(draft, slots, owed.scheduled_s)
    waiting = (*slots.waiting, execution.id)
    draft.put_slots(job.id, Slots(slots.holding, waiting, slots.skips, last_s, before_s, slots.last_success_us))
    draft.tell(DECIDED, execution)
    return execution


def owed_ids(owed: Sequence[Owed]) -> list[str]:
    """Return the ids of the executions of due instants."""
    return execution_ids([(one.job_id, PLANNED, str(one.scheduled_s), one.scheduled_s) for one in owed])


def owed_execution(draft: Draft, job: Job, owed: Owed, key: str) -> Execution | None:
    """Return the execution of a due instant, to be opened under the id `key`; None when it is open already."""
    spec, instant_s = job.spec, owed.scheduled_s
    if draft.get(OPEN, key) is not None:
        return None
    return Execution(
        key,
        job.id,
        spec.name,
        spec.namespace,
        PLANNED,
        str(instant_s),
        instant_s,
        owed.effective_us,
        job.revision,
        spec.priority,
        draft.at.time_us,
        late=owed.late,
        notes=tuple([f"also due at {wall}" for wall in owed.coalesced_wall_times]) if owed.coalesced_wall_times else (),
    )


def is_planned(execution: Execution) -> bool:
    """Whether it is the run of a due instant, and not something asked for by hand, as a redrive is."""
    return execution.kind is PLANNED and execution.series == 0


def open_execution(draft: Draft, execution: Execution) -> None:
    """Make `execution` pending: last in its job's line."""
    draft.put(OPEN, execution.id, execution)
    slots = draft.slots(execution.job_id)
    draft.put_slots(execution.job_id, replace(slots, waiting=(*slots.waiting, execution.id)))
    draft.tell(DECIDED, execution)


def note_decided(draft: Draft, job_id: str, instant_s: int) -> None:
    """Remember the last two instants decided, so that a skip knows what it is adjacent to."""
    slots = draft.slots(job_id)
    last_s, before_s = decided(draft, slots, instant_s)
    if (last_s, before_s) != (slots.last_decided_s, slots.prev_decided_s):
        draft.put_slots(job_id, replace(slots, last_decided_s=last_s, prev_decided_s=before_s))


def decided(draft: Draft, slots: Slots, instant_s: int) -> tuple[int, int]:
    """Return the last two instants decided, once `instant_s` is."""
    last_s, before_s = _last_decided_s(draft, slots), slots.prev_decided_s
    if instant_s > last_s:
        return instant_s, last_s
    if before_s < instant_s < last_s:  # one decision holds what is owed and what is skipped, each by itself
        return slots.last_decided_s, instant_s
    return slots.last_decided_s, before_s


def last_decided_s(draft: Draft, job_id: str) -> int:
    """Return the last instant of the job that has a record; 0 when there is none."""
    return _last_decided_s(draft, draft.slots(job_id))


def _last_decided_s(draft: Draft, slots: Slots) -> int:
    # Past the mark lies only what was decided before the clock was reset.
    last_s = slots.last_decided_s
    return last_s if last_s <= draft.shard().hwm_s else 0


def finish(draft: Draft, execution: Execution) -> None:
    """End `execution` (its status is terminal): out of the state, into history, its slot free."""
    assert execution.is_terminal
    job = draft.get(JOBS, execution.job_id)
    draft.delete(OPEN, execution.id)
    leave_slots(draft, execution, job)
    if execution.status is FAILED:
        keep_dead_letter(draft, execution)
    draft.end(execution)
    draft.tell(FINISHED, execution, job)


def leave_slots(draft: Draft, execution: Execution, job: Job | None) -> None:
    """Take `execution` out of its job's line and slots; of a deleted job nothing is left with the last one."""
    before = draft.slots(execution.job_id)
    last_us = execution.ended_at_us if execution.status is SUCCESS else before.last_success_us
    slots = without(before, execution.id, last_us)
    if job is None and not slots.holding and not slots.waiting:
        draft.delete(SLOTS, execution.job_id)
    else:
        draft.put_slots(execution.job_id, slots)


def without(slots: Slots, execution: str, last_success_us: int) -> Slots:
    """Return `slots` without `execution`, and with when the job was last well."""
    holding = tuple([i for i in slots.holding if i != execution])
    waiting = tuple([i for i in slots.waiting if i != execution]) if slots.waiting else ()
    return Slots(holding, waiting, slots.skips, slots.last_decided_s, slots.prev_decided_s, last_success_us)


def cancel(draft: Draft, execution: Execution, reason: str, by: str = "", blocked_by: str = "") -> None:
    """End an execution of which nothing runs as CANCELLED."""
    finish(
        draft,
        replace(
            execution,
            status=Status.CANCELLED,
            reason=reason,
            by=by or execution.by,
            blocked_by=blocked_by or execution.blocked_by,
            retry_at_us=0,
            ended_at_us=draft.at.time_us,
        ),
    )


def skip(draft: Draft, execution: Execution, reason: SkipReason, blocked_by: str = "") -> None:
    """End an open execution that never ran as SKIPPED.

    Due instants become range records, which grow while one reason lasts, so that a job that is blocked
    all night costs one row; what was asked for by hand keeps a record of its own.
    """
    skipped = replace(
        execution,
        status=Status.SKIPPED,
        reason=reason.value,
        blocked_by=blocked_by,
        ended_at_us=draft.at.time_us,
    )
    job = draft.get(JOBS, execution.job_id)
    draft.delete(OPEN, execution.id)
    leave_slots(draft, execution, job)
    if is_planned(execution):
        instant = execution.scheduled_s
        extend_skips(
            draft,
            RangeRecord(
                job_id=execution.job_id,
                job_name=execution.job_name,
                namespace=execution.namespace,
                first_s=instant,
                last_s=instant,
                count=1,
                reason=reason,
                into=blocked_by,
                decided_at_us=draft.at.time_us,
            ),
        )
    else:
        draft.end(skipped)
    draft.tell(FINISHED, skipped, job)


def add_range(draft: Draft, record: RangeRecord) -> None:
    """Record instants that were skipped without ever being open."""
    note_decided(draft, record.job_id, record.last_s)
    extend_skips(draft, replace(record, decided_at_us=draft.at.time_us))
    draft.emit(EventType.RANGE_SKIPPED, namespace=record.namespace, job_id=record.job_id, range=record)


def extend_skips(draft: Draft, record: RangeRecord) -> None:
    """Grow the job's last range by `record` when nothing lies between them, else begin a new one."""
    slots = draft.slots(record.job_id)
    last = slots.skips
    made_up_to_s = draft.shard().catchup_to_s  # what an outage has left open up to here may lie between them still
    adjacent = (
        last is not None
        and not last.last_s <= made_up_to_s < record.first_s
        and last.reason is record.reason
        and last.last_s < record.first_s
        and slots.last_decided_s == record.last_s
        and slots.prev_decided_s == last.last_s
    )
    if last is not None and adjacent:
        record = replace(last, last_s=record.last_s, count=last.count + record.count, into=record.into or last.into)
    draft.put_slots(record.job_id, replace(slots, skips=record))
    draft.record_range(record)
