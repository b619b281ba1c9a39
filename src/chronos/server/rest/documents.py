"""Jobs and executions as the API shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from chronos.model.execution import Attempt, Execution, Kind, Ongoing, RangeRecord, Status, Waited
from chronos.model.job import Job, JobSpec, Pause
from chronos.model.limits import ScheduleText
from chronos.model.secret import STARS, is_reference, map_credentials
from chronos.model.target import HttpTarget, Target
from chronos.store.records import range_id

if TYPE_CHECKING:
    from chronos.scheduler.plan import Plan
    from chronos.scheduler.successes import Success

NEXT_RUNS = 3


class LastExecution(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the job's newest run stands: the latest due that was not skipped."""

    id: str
    status: Status
    scheduled_time: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    reason: str = ""


class OngoingDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Work that a target has taken on with a 202 and reports about by itself.

    Attributes:
        accepted_at: When it said so; null while it has reported before its answer came.
        deadline: Up to when a result counts.
        heartbeat_seconds: The longest silence between two reports; null for any.
        heard_at: When it was last heard of.
        progress: In percent; null when it has not said.
    """

    accepted_at: datetime | None = None
    deadline: datetime | None = None
    heartbeat_seconds: float | None = None
    heard_at: datetime | None = None
    progress: int | None = None
    message: str = ""


class AttemptDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One try at delivering an execution.

    Attributes:
        waited_ms: What it waited for before its first byte left.
        excerpt: The redacted beginning of the answer.
        ongoing: What is known of work that went on after the answer; null for every other attempt.
    """

    attempt: int
    series: int
    status: str
    node: str
    token: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: float | None = None
    status_code: int | None = None
    error_class: str = ""
    error: str = ""
    response_bytes: int = 0
    response_sha256: str = ""
    excerpt: str = ""
    waited_ms: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ongoing: OngoingDocument | None = None


class SkippedRange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Adjacent instants that were skipped for one reason and are kept as one record.

    Attributes:
        into: The execution that ran in their place.
    """

    first: datetime
    last: datetime
    count: int
    into: str = ""
    facts: str = ""


class ExecutionDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """One due instant of one job.

    Attributes:
        scheduled_time: When it was due.
        effective_at: When it may start: the due instant plus its jitter.
        attempt: How many attempts were begun.
        revision: The job's revision that runs.
        reason: Why it was skipped, cancelled or failed.
        blocked_by: The execution that held the slot, or absorbed or superseded this one.
        progress: How far work is that reports about itself, in percent; null when nobody has said.
        message: What was said last of it.
        range: Set when this stands for several instants that were skipped for one reason.
        attempts: Only in the answer for a single execution.
    """

    id: str
    job_id: str
    job_name: str
    namespace: str
    kind: Kind
    status: Status
    scheduled_time: datetime
    effective_at: datetime
    decided_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    duration_ms: float | None = None
    attempt: int = 0
    status_code: int | None = None
    error: str = ""
    reason: str = ""
    blocked_by: str = ""
    revision: int = 0
    series: int = 0
    priority: int = 5
    by: str = ""
    replay_of: str = ""
    cancel_requested: bool = False
    late: bool = False
    notes: list[str] = field(default_factory=list)
    progress: int | None = None
    message: str = ""
    range: SkippedRange | None = None
    attempts: list[AttemptDocument] | UnsetType = UNSET


_ADDED: list[tuple[str, Any, Any]] = [
    ("schedule", ScheduleText | UnsetType, UNSET),
    ("schedules", list[ScheduleText] | UnsetType, UNSET),
    ("webhook", HttpTarget | UnsetType, UNSET),
    ("target", Target | UnsetType, UNSET),
    ("enabled", bool, True),
    ("paused", Pause | None, None),
    ("revision", int, 0),
    ("created_at", datetime | None, None),
    ("updated_at", datetime | None, None),
    ("created_by", str, ""),
    ("updated_by", str, ""),
    ("next_run", datetime | None, None),
    ("next_runs", list[datetime], field(default_factory=list)),
    ("effective_at", datetime | None, None),
    ("last_execution", LastExecution | None, None),
    ("last_success_at", datetime | None, None),
    ("overdue_since", datetime | None, None),
    ("already_sent", list[str] | UnsetType, UNSET),
]


def _job_document() -> type[Struct]:
    """Return the struct of a job's document: the spec's own fields, so that a new one appears by itself."""
    added = {name for name, _, _ in _ADDED}
    own: list[Any] = [("id", str)]
    for f in msgspec.structs.fields(JobSpec):
        if f.name in added:
            continue
        if f.required:
            own.append((f.name, f.type))
        elif f.default is not msgspec.NODEFAULT:
            own.append((f.name, f.type, f.default))
        else:
            own.append((f.name, f.type, field(default_factory=f.default_factory)))
    doc = "A job as the server keeps it. Credentials are shown as `***`; sent back, that keeps them."
    return msgspec.defstruct(
        "JobDocument",
        [*own, *_ADDED],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
        namespace={"__doc__": doc},
    )


JobDocument = _job_document()


def at(us: int) -> datetime | None:
    """Return microseconds since the epoch as a datetime; None for 0, which means not yet."""
    return datetime.fromtimestamp(us / 1_000_000, UTC) if us else None


def at_s(seconds: int) -> datetime:
    """Return seconds since the epoch as a datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def starred(spec: JobSpec) -> JobSpec:
    """Return the spec with stars in place of credentials."""
    return map_credentials(spec, lambda _path, text: text if is_reference(text) else STARS)


def editable(spec: JobSpec) -> dict[str, Any]:
    """Return the part of a job's document that its owner writes: what PUT takes."""
    document: dict[str, Any] = msgspec.to_builtins(starred(spec))
    target = document["target"]
    for name in ("schedule", "schedules", "webhook", "target"):
        document.pop(name, None)
    if len(spec.schedules) == 1:
        document["schedule"] = spec.schedules[0]
    elif spec.schedules:
        document["schedules"] = list(spec.schedules)
    if isinstance(spec.target, HttpTarget):
        target.pop("type", None)
        document["webhook"] = target
    else:
        document["target"] = target
    return document


class _Shown:
    """What was said last of a job.

    Attributes:
        document: What stands in it as long as nobody changes the job.
        moving: What else stood in it; `raw` is all of it, encoded.
        plan: The plan it went by.
        since_s: When it was said.
        until_s: When the next run comes due: until then nothing in it changes by itself.
    """

    __slots__ = ("document", "job", "moving", "plan", "raw", "since_s", "until_s")

    def __init__(self, job: Job, document: dict[str, Any]) -> None:
        self.job = job
        self.document = document
        self.moving: _Moving | None = None
        self.plan: Plan | None = None
        self.since_s = self.until_s = 0
        self.raw = msgspec.Raw()


class _Moving(NamedTuple):
    """What changes in a job's document by itself."""

    runs: tuple[int, ...]
    effective_us: int
    last: LastExecution | None
    last_success_us: int
    overdue_since_s: int


_shown: dict[str, _Shown] = {}
"""By id: the same jobs are looked at again and again, and most of them say what they said."""

SHOWN_MAX = 1_000
"""One is some kilobytes."""

SHOWN_S = 3_600
"""How long what was said of a job that is never due again is taken for true without a look."""


def shown_document(
    job: Job, *, plan: Plan | None, now_s: int, last: LastExecution | None, last_success_us: int
) -> msgspec.Raw | None:
    """Return what `job_document` said of a job last, if it would say the same now; else None."""
    shown = _shown.get(job.id)
    if shown is None or shown.job is not job or shown.plan is not plan or not shown.since_s <= now_s < shown.until_s:
        return None
    moving = shown.moving
    is_same = moving is not None and moving.last_success_us == last_success_us and moving.last == last
    return shown.raw if is_same else None


def job_document(
    job: Job,
    *,
    plan: Plan | None,
    now_s: int,
    last: LastExecution | None = None,
    success: Success | None = None,
    already_sent: list[str] | None = None,
) -> msgspec.Raw:
    """Return a job as the API shows it: a `JobDocument`, encoded.

    Args:
        plan: Its compiled schedule; None when the next runs are not asked for.
        success: When it was last well.
        already_sent: Executions whose first byte had left when the change was accepted.
    """
    runs = plan.upcoming_s(now_s, NEXT_RUNS) if plan is not None and job.paused is None else []
    moving = _Moving(
        tuple(runs),
        plan.effective_us(runs[0]) if plan is not None and runs else 0,
        last,
        success.last_us if success is not None else 0,
        success.overdue_since_s if success is not None else 0,
    )
    shown = _standing(job)
    if already_sent is not None:
        return msgspec.Raw(msgspec.json.encode({**_whole(shown.document, moving), "already_sent": already_sent}))
    if shown.moving != moving:
        shown.raw = msgspec.Raw(msgspec.json.encode(_whole(shown.document, moving)))
        shown.moving = moving
    shown.plan, shown.since_s = plan, now_s
    shown.until_s = runs[0] if runs else now_s + SHOWN_S
    return shown.raw


def _whole(standing: dict[str, Any], moving: _Moving) -> dict[str, Any]:
    return {
        **standing,
        "next_run": at_s(moving.runs[0]) if moving.runs else None,
        "next_runs": [at_s(run) for run in moving.runs],
        "effective_at": at(moving.effective_us),
        "last_execution": moving.last,
        "last_success_at": at(moving.last_success_us),
        "overdue_since": at_s(moving.overdue_since_s) if moving.overdue_since_s else None,
    }


def _standing(job: Job) -> _Shown:
    known = _shown.get(job.id)
    if known is not None and (known.job is job or known.job == job):
        known.job = job
        return known
    document = {
        "id": job.id,
        **editable(job.spec),
        "enabled": job.paused is None,
        "paused": job.paused,
        "revision": job.revision,
        "created_at": at(job.created_at_us),
        "updated_at": at(job.updated_at_us),
        "created_by": job.created_by,
        "updated_by": job.updated_by,
    }
    if len(_shown) >= SHOWN_MAX:
        _shown.clear()
    found = _shown[job.id] = _Shown(job, document)
    return found


def last_execution(execution: Execution) -> LastExecution:
    """Return the short form of an execution."""
    return LastExecution(
        id=execution.id,
        status=execution.status,
        scheduled_time=at_s(execution.scheduled_s),
        started_at=at(execution.started_at_us),
        completed_at=at(execution.ended_at_us),
        reason=execution.reason,
    )


def execution_document(execution: Execution, *, attempts: bool = False) -> ExecutionDocument:
    """Return an execution as the API shows it."""
    last = execution.attempts[-1] if execution.attempts else None
    return ExecutionDocument(
        id=execution.id,
        job_id=execution.job_id,
        job_name=execution.job_name,
        namespace=execution.namespace,
        kind=execution.kind,
        status=execution.status,
        scheduled_time=at_s(execution.scheduled_s),
        effective_at=at(execution.effective_us) or at_s(execution.scheduled_s),
        decided_at=at(execution.decided_at_us),
        started_at=at(execution.started_at_us),
        completed_at=at(execution.ended_at_us),
        next_attempt_at=at(execution.retry_at_us),
        duration_ms=_ms(execution.started_at_us, execution.ended_at_us),
        attempt=last.n if last else 0,
        status_code=last.status_code if last else None,
        error=last.error if last else "",
        reason=execution.reason,
        blocked_by=execution.blocked_by,
        revision=execution.revision,
        series=execution.series,
        priority=execution.priority,
        by=execution.by,
        replay_of=execution.replay_of,
        cancel_requested=execution.cancel_requested,
        late=execution.late,
        notes=list(execution.notes),
        progress=_progress(last.ongoing) if last else None,
        message=last.ongoing.message if last and last.ongoing else "",
        attempts=[_attempt(a) for a in execution.attempts] if attempts else UNSET,
    )


def record_document(record: Execution | RangeRecord, *, attempts: bool = False) -> ExecutionDocument:
    """Return an execution, or skipped instants in its shape, as the API shows them."""
    if isinstance(record, Execution):
        return execution_document(record, attempts=attempts)
    first = at_s(record.first_s)
    return ExecutionDocument(
        id=range_id(record),
        job_id=record.job_id,
        job_name=record.job_name,
        namespace=record.namespace,
        kind=Kind.SCHEDULE,
        status=Status.SKIPPED,
        scheduled_time=first,
        effective_at=first,
        decided_at=at(record.decided_at_us),
        reason=record.reason.value,
        blocked_by=record.into,
        range=SkippedRange(
            first=first, last=at_s(record.last_s), count=record.count, into=record.into, facts=record.facts
        ),
        attempts=[] if attempts else UNSET,
    )


def _attempt(attempt: Attempt) -> AttemptDocument:
    return AttemptDocument(
        attempt=attempt.n,
        series=attempt.series,
        status=attempt.status.value,
        node=attempt.node,
        token=attempt.token,
        started_at=at(attempt.started_at_us),
        completed_at=at(attempt.ended_at_us),
        duration_ms=_ms(attempt.started_at_us, attempt.ended_at_us),
        status_code=attempt.status_code,
        error_class=attempt.error_class,
        error=attempt.error,
        response_bytes=attempt.body_bytes,
        response_sha256=attempt.sha256,
        excerpt=attempt.excerpt,
        waited_ms={name: getattr(attempt.waited, name) for name in Waited.__struct_fields__},
        notes=list(attempt.notes),
        ongoing=_ongoing(attempt.ongoing),
    )


def _ongoing(ongoing: Ongoing | None) -> OngoingDocument | None:
    if ongoing is None:
        return None
    return OngoingDocument(
        accepted_at=at(ongoing.accepted_us),
        deadline=at(ongoing.deadline_us),
        heartbeat_seconds=ongoing.heartbeat_us / 1e6 or None,
        heard_at=at(ongoing.heard_us),
        progress=_progress(ongoing),
        message=ongoing.message,
    )


def _progress(ongoing: Ongoing | None) -> int | None:
    return ongoing.progress if ongoing is not None and ongoing.progress >= 0 else None


def _ms(began_us: int, ended_us: int) -> float | None:
    return (ended_us - began_us) / 1000 if began_us and ended_us else None
