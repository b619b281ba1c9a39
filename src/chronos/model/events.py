"""Domain events: what the fold says has happened. Features and views listen to these and to nothing else."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job


class EventType(StrEnum):
    """What has happened."""

    JOB_CREATED = "job_created"
    JOB_UPDATED = "job_updated"
    JOB_DELETED = "job_deleted"
    JOB_PAUSED = "job_paused"
    JOB_RESUMED = "job_resumed"
    EXECUTION_DECIDED = "execution_decided"
    EXECUTION_STARTED = "execution_started"
    EXECUTION_RETRYING = "execution_retrying"
    EXECUTION_PROGRESS = "execution_progress"
    EXECUTION_WAITING = "execution_waiting"
    EXECUTION_CANCELLING = "execution_cancelling"
    EXECUTION_FINISHED = "execution_finished"
    EXECUTION_REDRIVEN = "execution_redriven"
    RANGE_SKIPPED = "range_skipped"
    LATE_RESULT = "late_result"
    DEAD_LETTER_DROPPED = "dead_letter_dropped"
    HISTORY_DROPPED = "history_dropped"
    LEADER_CHANGED = "leader_changed"
    DOCUMENT_CHANGED = "document_changed"
    CLOCK_RESET = "clock_reset"
    CLOCK_JUMP = "clock_jump"
    CLOCK_ACCEPTED = "clock_accepted"
    MEMBER_CHANGED = "member_changed"
    GAP = "gap"


JOB_EVENTS = frozenset(
    {
        EventType.JOB_CREATED,
        EventType.JOB_UPDATED,
        EventType.JOB_DELETED,
        EventType.JOB_PAUSED,
        EventType.JOB_RESUMED,
    }
)
"""What happens to a job itself, and not to its executions."""


class Event(Struct, frozen=True, gc=False):
    """Something that is true now.

    Attributes:
        index: The log entry that made it true.
        seq: Its place among the events of that entry; (index, seq) orders all events.
        time_us: Log time, microseconds since the epoch.
        job: The job after the change (before it, when it was deleted).
        key: For documents: `prefix/namespace/key`. For members: the name; `note` is the state.
        note: A sentence, for what is about nothing else.
        since_index: Of a gap, the first entry whose events were not told one by one; `index` is the last of them.
        until_us: Of an attempt that was handed back: up to when `by` sends nothing to its host; 0 where others would
            not either.
    """

    type: EventType
    index: int
    seq: int
    time_us: int
    namespace: str = ""
    job_id: str = ""
    by: str = ""
    job: Job | None = None
    execution: Execution | None = None
    range: RangeRecord | None = None
    key: str = ""
    note: str = ""
    since_index: int = 0
    until_us: int = 0
