"""What the API answers with, as structs.

They name what a program usually needs and overlook the rest, so that a client keeps working with a
server newer than itself. `fetch` gives the whole answer as plain dictionaries.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field


class PauseAnswer(Struct, frozen=True, kw_only=True):
    """Why a job does not fire, and until when."""

    reason: str = ""
    until: datetime | None = None
    by: str = ""
    at: datetime | None = None


class LastExecutionAnswer(Struct, frozen=True, kw_only=True):
    """How a job's newest run stands: the latest due that was not skipped."""

    id: str
    status: str
    scheduled_time: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    reason: str = ""


class JobAnswer(Struct, frozen=True, kw_only=True):
    """A job as the server shows it; credentials are `***`.

    Attributes:
        revision: Give it back as `revision` when changing the job.
        target: `type` says which kind it is; the other fields are the target's own.
    """

    id: str
    name: str
    namespace: str = "default"
    revision: int = 0
    description: str = ""
    schedule: str | None = None
    schedules: list[str] = field(default_factory=list)
    timezone: str = "UTC"
    target: dict[str, Any] | None = None
    webhook: dict[str, Any] | None = None
    concurrency: str = "forbid"
    tags: dict[str, str] = field(default_factory=dict)
    enabled: bool | None = None
    paused: PauseAnswer | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    next_run: datetime | None = None
    last_execution: LastExecutionAnswer | None = None
    last_success_at: datetime | None = None
    overdue_since: datetime | None = None
    already_sent: list[str] = field(default_factory=list)


class JobPage(Struct, frozen=True, kw_only=True):
    """Some jobs, and where the next ones begin."""

    jobs: list[JobAnswer]
    next_cursor: str | None = None
    total: int | None = None


class AttemptAnswer(Struct, frozen=True, kw_only=True):
    """One try at delivering an execution."""

    attempt: int = 0
    status: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: float | None = None
    status_code: int | None = None
    error: str | None = None
    node: str = ""
    ongoing: dict[str, Any] | None = None


class ExecutionAnswer(Struct, frozen=True, kw_only=True):
    """One due instant of one job.

    Attributes:
        progress: How far a long job is, in percent, as its target has reported.
    """

    id: str
    job_id: str
    status: str
    job_name: str = ""
    namespace: str = "default"
    kind: str = "schedule"
    scheduled_time: datetime | None = None
    effective_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: float | None = None
    attempt: int = 0
    reason: str | None = None
    blocked_by: str | None = None
    revision: int = 0
    progress: int | None = None
    message: str = ""
    attempts: list[AttemptAnswer] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        return self.status in ("success", "failed", "skipped", "cancelled")


class ExecutionPage(Struct, frozen=True, kw_only=True):
    """Some executions, newest first, and where the older ones begin."""

    executions: list[ExecutionAnswer]
    next_cursor: str | None = None


class SchedulePreview(Struct, frozen=True, kw_only=True):
    """What a schedule means."""

    valid: bool = True
    description: str = ""
    next_runs: list[Any] = field(default_factory=list)
    dst_notes: list[Any] = field(default_factory=list)


class Whoami(Struct, frozen=True, kw_only=True):
    """Whom the server takes the caller for."""

    id: str = ""
    name: str = ""
    permissions: list[str] = field(default_factory=list)
