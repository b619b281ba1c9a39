"""What the API says about an instant of a job: a verdict with a stable word for it, and the facts it rests on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from chronos.model.execution import Kind, Status


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the route is there."""

    enabled: bool = True


class Reason(StrEnum):
    """What became of an instant, in one word that programs may rely on. The skips are called as their records are."""

    # It ran.
    ON_TIME = "on_time"
    DELAYED = "delayed"
    RETRIED = "retried"
    LATE = "late"
    # It ran, or was to, and came to another end.
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    EDITED = "edited"
    JOB_DELETED = "job_deleted"
    # It is not over yet.
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING_BREAKER = "waiting_breaker"
    WAITING_HOST_CAP = "waiting_host_cap"
    WAITING_CAPACITY = "waiting_capacity"
    WAITING_SLOT = "waiting_slot"
    WAITING_JITTER = "waiting_jitter"
    WAITING_PAUSE = "waiting_pause"
    WAITING = "waiting"
    # It did not run, and its record says why.
    MISFIRE = "misfire"
    COALESCED = "coalesced"
    OVERLAP = "overlap"
    SUPERSEDED = "superseded"
    PAUSED = "paused"
    QUOTA = "quota"
    EXPIRED = "expired"
    POLICY = "policy"
    BLACKOUT = "blackout"
    NONEXISTENT_TARGET = "nonexistent_target"
    # It is no instant of the job.
    NOT_DUE = "not_due"
    DST_GAP = "dst_gap"
    DST_REPEAT = "dst_repeat"
    CALENDAR_SHIFT = "calendar_shift"
    BEFORE_START_AT = "before_start_at"
    AFTER_END_AT = "after_end_at"
    NO_SCHEDULE = "no_schedule"
    NOT_CREATED_YET = "not_created_yet"
    DELETED = "deleted"
    CANNOT_BE_PLANNED = "cannot_be_planned"
    # It is one, and has no record (yet).
    WILL_RUN = "will_run"
    CATCHING_UP = "catching_up"
    NOT_DECIDED_YET = "not_decided_yet"
    HISTORY_GONE = "history_gone"
    NO_RECORD = "no_record"


class FactKind(StrEnum):
    """What a fact is about."""

    SCHEDULE = "schedule"
    DST = "dst"
    CALENDAR = "calendar"
    BOUNDS = "bounds"
    VERSION = "version"
    PAUSE = "pause"
    DECISION = "decision"
    MISFIRE = "misfire"
    OVERLAP = "overlap"
    WAIT = "wait"
    ATTEMPT = "attempt"
    RETRY = "retry"
    OUTCOME = "outcome"
    RECORD = "record"
    OTHER_RUN = "other_run"
    CLOCK = "clock"
    NOTE = "note"


class Fact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of the answer.

    Attributes:
        record_id: The execution or range record that says so; empty when none does.
    """

    kind: FactKind
    text: str
    record_id: str = ""


class Told(Struct, frozen=True, kw_only=True):
    """A verdict, and what it rests on. `verdict` is what follows "The job …"."""

    reason: Reason
    verdict: str
    facts: list[Fact] = field(default_factory=list)


class Neighbour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instant of the job next to the one asked about.

    Attributes:
        local: The wall time in the job's zone.
        became: Its status, or why it was skipped; empty when there is no record.
    """

    at: datetime
    local: str
    became: str = ""
    record_id: str = ""


class Explanation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a job ran at an instant, or why it did not.

    Attributes:
        at: The instant asked about.
        local: The same on the wall of the job's zone.
        is_instant: Whether the job was (or is) due then, by the version in force.
        reason: Stable; `verdict` is the same for people.
        status: Of the execution, where there is one; `skipped` where a range record holds the instant.
        execution_id: The id that a scheduled run of this instant has, whether it ran or not.
        record_id: The record the verdict rests on; empty when there is none.
        version: The job's version that ran, or else that was in force.
        facts: From the schedule to the outcome.
        before: The job's instant before this one.
        after: The one after it.
    """

    job_id: str
    job_name: str
    namespace: str
    at: datetime
    local: str
    timezone: str
    is_instant: bool
    reason: Reason
    verdict: str
    status: Status | None = None
    kind: Kind = Kind.SCHEDULE
    execution_id: str = ""
    record_id: str = ""
    version: int = 0
    facts: list[Fact] = field(default_factory=list)
    before: Neighbour | None = None
    after: Neighbour | None = None


class ExplainQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which instant.

    Attributes:
        at: RFC 3339; without an offset it is a wall time in the job's zone. Left out: the job's last instant.
    """

    at: Annotated[str, Meta(max_length=64)] = ""
