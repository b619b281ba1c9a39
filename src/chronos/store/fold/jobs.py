"""Jobs: created, edited, paused, resumed, deleted; and what becomes of what they owed."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import CatchingUp, JobInvalid, JobNotFound, NameTaken, PlanMoved, VersionConflict
from chronos.model.events import EventType
from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status
from chronos.model.job import Job, JobSpec, Pause
from chronos.store import proof
from chronos.store.commands import DeleteJob, Owed, PutJob, SetPause
from chronos.store.fold.draft import Draft, accepted, rejected
from chronos.store.fold.executions import add_range, cancel, is_planned, last_decided_s, open_owed, owed_ids, skip
from chronos.store.fold.keeping import note_deleted
from chronos.store.fold.sealing import next_change, note_change
from chronos.store.port import Result
from chronos.store.tables import JOBS, NAMES, OPEN, REVISIONS, SLOTS, Name, Revision, revision_key
from chronos.timing.clock import utc


def put_job(draft: Draft, command: PutJob) -> Result:
    """Create a job or replace its spec; pending executions follow the new definition.

    What says what is there already changes nothing, not even the revision.
    """
    old = draft.get(JOBS, command.job_id)
    refusal = _refuse_write(old, command) or _refuse_name(draft, command.spec, command.job_id)
    if refusal is None and old is not None and _says_the_same(old, command.spec):
        return accepted(old, recall=[])
    if refusal is None and not command.same_schedule:
        refusal = _refuse_plan(draft, old, command)
    if refusal is not None:
        return refusal
    job = _created(draft, command) if old is None else _edited(draft, old, command)
    for record in command.ranges:
        add_range(draft, record)
    _keep(draft, job, old, command.comment)
    recall: list[str] = []
    if not command.same_schedule:
        _replan(draft)
        owed, left_out = _ahead(job, command)
        if old is not None or owed or left_out:  # of a new job there is nothing yet that could be pending
            recall = _match_pending(draft, job, owed, left_out, because="edited")
    draft.emit(
        EventType.JOB_CREATED if old is None else EventType.JOB_UPDATED,
        namespace=job.namespace,
        job_id=job.id,
        by=command.by,
        job=job,
    )
    return accepted(job, recall=recall)


def set_pause(draft: Draft, command: SetPause) -> Result:
    """Pause or resume. A resumed job owes its first instant after the log time of the resumption."""
    old = draft.get(JOBS, command.job_id)
    if old is None:
        return rejected(JobNotFound)
    if command.expect_revision not in (-1, old.revision):
        return _stale(old)
    if old.paused is None and command.pause is None:
        return accepted(old, recall=[])
    refusal = _refuse_plan(draft, old, command)
    if refusal is not None:
        return refusal
    at = utc(draft.at.time_us / 1e6)
    pause = replace(command.pause, by=command.by, at=at) if command.pause is not None else None
    job = replace(
        old,
        paused=pause,
        revision=old.revision + 1,
        updated_at_us=draft.at.time_us,
        updated_by=command.by,
        owed_since_us=draft.at.time_us,
    )
    for record in command.ranges:
        add_range(draft, record)
    _keep(draft, job, old, "paused" if pause else "resumed")
    _replan(draft)
    recall = _match_pending(draft, job, *_ahead(job, command), because="paused")
    draft.emit(
        EventType.JOB_PAUSED if pause else EventType.JOB_RESUMED,
        namespace=job.namespace,
        job_id=job.id,
        by=command.by,
        job=job,
    )
    return accepted(job, recall=recall)


def delete_job(draft: Draft, command: DeleteJob) -> Result:
    """Delete; what runs may end, what is pending is cancelled, history and dead letters stay."""
    old = draft.get(JOBS, command.job_id)
    if old is None:
        return rejected(JobNotFound)
    if command.expect_revision not in (-1, old.revision):
        return _stale(old)
    if _is_overtaken(draft, command.undecided_us):
        return rejected(PlanMoved)
    if _is_being_caught_up(draft, old):
        return rejected(CatchingUp)
    for record in command.ranges:
        add_range(draft, record)
    draft.delete(JOBS, old.id)
    draft.delete(NAMES, _name_key(old.spec))
    note_deleted(draft, old)
    _count(draft, old, None)
    _replan(draft)
    recall = []
    for execution in _open(draft, old.id):
        if execution.running_attempt is None:
            cancel(draft, execution, "job_deleted", command.by)
        else:
            recall.append(execution.id)
    slots = draft.slots(old.id)
    if not slots.holding and not slots.waiting:
        draft.delete(SLOTS, old.id)
    draft.emit(EventType.JOB_DELETED, namespace=old.namespace, job_id=old.id, by=command.by, job=old)
    return accepted(old, recall=recall)


def _refuse_write(old: Job | None, command: PutJob) -> Result | None:
    if old is None:
        return rejected(JobNotFound) if command.expect_revision else None
    if command.expect_revision not in (-1, old.revision):
        return _stale(old)
    if old.namespace != command.spec.namespace:
        return rejected(JobInvalid, "A job keeps its namespace; create it anew in the other one.", field="namespace")
    return None


def _says_the_same(old: Job, spec: JobSpec) -> bool:
    is_kept = spec.enabled is None or spec.enabled == (old.paused is None)
    return is_kept and replace(spec, enabled=None) == old.spec


def _refuse_name(draft: Draft, spec: JobSpec, job_id: str) -> Result | None:
    holder = draft.get(NAMES, _name_key(spec))
    if holder is not None and holder.job_id != job_id:
        return rejected(
            NameTaken,
            f"Namespace {spec.namespace!r} has a job called {spec.name!r} already.",
            field="name",
            job_id=holder.job_id,
        )
    return None


def _refuse_plan(draft: Draft, old: Job | None, command: PutJob | SetPause) -> Result | None:
    """What is owed ahead was computed up to a mark; if planning, or time, has passed it, instants would be lost."""
    shard, owed_to, undecided_us = draft.shard(), command.owed_to, command.undecided_us
    behind = undecided_us > 0 and shard.hwm_s < owed_to  # a decision that the writer counted on was refused
    if shard.hwm_s > owed_to or behind or _is_overtaken(draft, undecided_us):
        return rejected(PlanMoved, hwm_s=shard.hwm_s)
    if old is not None and _is_being_caught_up(draft, old):
        return rejected(CatchingUp)
    return rejected(CatchingUp) if _joins_what_is_open(draft, command) else None


def _is_being_caught_up(draft: Draft, job: Job) -> bool:
    """Whether what the job owes behind the mark is still to be written down."""
    shard = draft.shard()
    return bool(shard.catchup_to_s) and job.id > shard.cursor and job.paused is None


def _joins_what_is_open(draft: Draft, command: PutJob | SetPause) -> bool:
    """Whether a job comes to owe an instant of a span that is decided in parts, before its part has come.

    Written down with the change, it would be decided once more with the part: nobody who goes on with the parts after
    a crash knows who has joined since they were begun.
    """
    shard = draft.shard()
    if not shard.catchup_to_s or command.job_id <= shard.cursor:
        return False
    instants = [owed.scheduled_s for owed in command.owed_ahead] + [
        left_out.first_s for left_out in command.left_out_ahead
    ]
    now_us = draft.at.time_us
    return any(shard.catchup_from_s < at <= shard.catchup_to_s and at * 1_000_000 > now_us for at in instants)


def _is_overtaken(draft: Draft, undecided_us: int) -> bool:
    """Whether the old definition has come to owe an instant that was not decided before this change."""
    return 0 < undecided_us <= draft.at.time_us


def _stale(old: Job) -> Result:
    return rejected(
        VersionConflict,
        f"The job is at version {old.revision}; it was changed by {old.updated_by or 'someone'} since it was read.",
        revision=old.revision,
    )


def _created(draft: Draft, command: PutJob) -> Job:
    now = draft.at.time_us
    spec = command.spec
    start = int(spec.start_at.timestamp()) if spec.start_at else now // 1_000_000
    paused = Pause(reason="disabled", by=command.by, at=utc(now / 1e6)) if spec.enabled is False else None
    return Job(
        id=command.job_id,
        spec=replace(spec, enabled=None),
        revision=1,
        created_at_us=now,
        updated_at_us=now,
        created_by=command.by,
        updated_by=command.by,
        owed_since_us=now,
        anchor_s=command.anchor_s or start,
        paused=paused,
    )


def _edited(draft: Draft, old: Job, command: PutJob) -> Job:
    now = draft.at.time_us
    paused = old.paused
    if command.spec.enabled is True:
        paused = None
    elif command.spec.enabled is False and paused is None:
        paused = Pause(reason="disabled", by=command.by, at=utc(now / 1e6))
    return replace(
        old,
        spec=replace(command.spec, enabled=None),
        revision=old.revision + 1,
        updated_at_us=now,
        updated_by=command.by,
        owed_since_us=old.owed_since_us if command.same_schedule else now,
        anchor_s=command.anchor_s or old.anchor_s,
        paused=paused,
    )


def _keep(draft: Draft, job: Job, old: Job | None, comment: str) -> None:
    if old is not None and _name_key(old.spec) != _name_key(job.spec):
        draft.delete(NAMES, _name_key(old.spec))
    draft.put(JOBS, job.id, job)
    draft.put(NAMES, _name_key(job.spec), Name(job.id))
    revision = Revision(job, comment, next_change(draft))
    draft.put(REVISIONS, revision_key(job.id, job.revision), revision)
    note_change(draft, proof.revision_line(revision))
    _count(draft, old, job)


def _count(draft: Draft, old: Job | None, new: Job | None) -> None:
    meta = draft.meta()
    jobs = (new is not None) - (old is not None)
    enabled = (new is not None and new.paused is None) - (old is not None and old.paused is None)
    if jobs or enabled:
        draft.put_meta(replace(meta, jobs=meta.jobs + jobs, jobs_enabled=meta.jobs_enabled + enabled))


def _replan(draft: Draft) -> None:
    shard = draft.shard()
    draft.put_shard(replace(shard, plan_version=shard.plan_version + 1))


def _ahead(job: Job, command: PutJob | SetPause) -> tuple[list[Owed], list[RangeRecord]]:
    """Return what runs ahead, and what the calendar leaves out there; a paused job owes neither."""
    return ([], []) if job.paused is not None else (command.owed_ahead, command.left_out_ahead)


def _match_pending(draft: Draft, job: Job, owed: list[Owed], left_out: list[RangeRecord], *, because: str) -> list[str]:
    """Keep, add or cancel what is pending so that it matches what is owed; return the attempts to recall."""
    now_us, hwm_s = draft.at.time_us, draft.shard().hwm_s
    wanted = {o.scheduled_s: o for o in owed if now_us < o.scheduled_s * 1_000_000 and o.scheduled_s <= hwm_s}
    skipped = {r.first_s: r for r in left_out if now_us < r.first_s * 1_000_000 and r.last_s <= hwm_s}
    recorded_s = last_decided_s(draft, job.id)
    recall: list[str] = []
    for execution in _open(draft, job.id):
        ahead = execution.kind is Kind.SCHEDULE and execution.scheduled_s * 1_000_000 > now_us
        kept = wanted.pop(execution.scheduled_s, None) if ahead else None
        if execution.running_attempt is not None:
            if job.paused is not None or (ahead and kept is None and _request_stop(draft, execution, because)):
                recall.append(execution.id)
        elif kept is not None:
            draft.put(OPEN, execution.id, replace(execution, revision=job.revision, effective_us=kept.effective_us))
        elif is_planned(execution) and execution.status is Status.PENDING:
            _drop_pending(draft, execution, job, ahead=ahead, because=because)
    # An instant that was taken back a moment ago has its record; what has ended stays ended.
    ids = dict(zip(wanted, owed_ids(list(wanted.values())), strict=True))
    for instant in sorted(instant for instant in {*wanted, *skipped} if instant > recorded_s):
        if instant in wanted:
            open_owed(draft, job, wanted[instant], ids[instant])
        else:
            add_range(draft, skipped[instant])
    return recall


def _drop_pending(draft: Draft, execution: Execution, job: Job, *, ahead: bool, because: str) -> None:
    if job.paused is not None:
        skip(draft, execution, SkipReason.PAUSED)
    elif ahead:
        cancel(draft, execution, because, job.updated_by)


def _request_stop(draft: Draft, execution: Execution, because: str) -> bool:
    """Mark an attempt that has not left yet as unwanted; return whether its executor must be asked."""
    attempt = execution.running_attempt
    assert attempt is not None
    if attempt.not_before_us <= draft.at.time_us:
        return False
    draft.put(OPEN, execution.id, replace(execution, cancel_requested=True, reason=because))
    return True


def _open(draft: Draft, job_id: str) -> list[Execution]:
    slots = draft.slots(job_id)
    found = (draft.get(OPEN, key) for key in [*slots.holding, *slots.waiting])
    return [execution for execution in found if execution is not None]


def _name_key(spec: JobSpec) -> str:
    return f"{spec.namespace}/{spec.name}"
