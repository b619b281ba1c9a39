"""Jobs, records and what is known around them, for questions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from chronos.features.explain.verdict import Case
from chronos.model.execution import (
    Attempt,
    AttemptStatus,
    Execution,
    Kind,
    RangeRecord,
    SkipReason,
    Status,
    Waited,
    execution_id,
)
from chronos.model.job import Job, JobSpec, Pause
from chronos.scheduler.evidence import Life, Progress
from chronos.store.tables import Shard, Slots
from chronos.timing.calendar import Calendar, CalendarRules, compile_calendar

ZONE = "America/New_York"
US = 1_000_000


def s(text: str) -> int:
    """Return an instant in seconds; UTC where no offset is given."""
    stated = datetime.fromisoformat(text)
    return int((stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp())


MADE = s("2027-01-01T00:00")
DUE = s("2027-06-01T13:00")  # 09:00 in New York
NOW = s("2027-06-01T20:00")
JOB_ID = "01J00000000000000000000000"
OTHER_RUN = "occ_" + "0" * 32
KEY = execution_id(JOB_ID, Kind.SCHEDULE, str(DUE), DUE)


def a_job(
    schedule: str = "0 9 * * *", *, revision: int = 1, at: int = MADE, paused: Pause | None = None, **spec: Any
) -> Job:
    """Return a version of the job `nightly`, written at `at` by ann."""
    given = {"name": "nightly", "schedule": schedule, "timezone": ZONE, "webhook": {"url": "http://h.test/"}} | spec
    if schedule == "":
        del given["schedule"]
    return Job(
        id=JOB_ID,
        spec=msgspec.convert(given, JobSpec).normal(),
        revision=revision,
        created_at_us=MADE * US,
        updated_at_us=at * US,
        created_by="ann",
        updated_by="ann",
        owed_since_us=at * US,
        anchor_s=MADE,
        paused=paused,
    )


def an_execution(at_s: int = DUE, **fields: Any) -> Execution:
    """Return the execution of an instant that ran on time and succeeded; `fields` say what is different."""
    ran = Execution(
        id=execution_id(JOB_ID, Kind.SCHEDULE, str(at_s), at_s),
        job_id=JOB_ID,
        job_name="nightly",
        namespace="default",
        kind=Kind.SCHEDULE,
        discriminator=str(at_s),
        scheduled_s=at_s,
        effective_us=at_s * US,
        revision=1,
        priority=5,
        decided_at_us=at_s * US - 250_000,
        status=Status.SUCCESS,
        attempts=(an_attempt(at_s),),
        started_at_us=at_s * US + 2_000,
        ended_at_us=at_s * US + 340_000,
    )
    return replace(ran, **fields)


def an_attempt(at_s: int = DUE, n: int = 1, **fields: Any) -> Attempt:
    """Return an attempt that succeeded."""
    given = Attempt(
        series=0,
        n=n,
        node="n1#A",
        token="0.1.7",
        not_before_us=at_s * US,
        started_at_us=at_s * US + 2_000,
        ended_at_us=at_s * US + 340_000,
        status=AttemptStatus.SUCCESS,
        status_code=200,
    )
    return replace(given, **fields)


def failed(n: int = 1, error: str = "HTTP 503", **fields: Any) -> Attempt:
    return an_attempt(
        n=n, status=AttemptStatus.FAILED, status_code=503, error=error, error_class="http_status", **fields
    )


def lost(n: int = 1) -> Attempt:
    return an_attempt(n=n, status=AttemptStatus.UNKNOWN, status_code=None, error="the server stopped")


def waiting(reason: str = "", **fields: Any) -> Execution:
    """Return an execution that has not begun."""
    given: dict[str, Any] = {
        "status": Status.PENDING,
        "attempts": [],
        "started_at_us": 0,
        "ended_at_us": 0,
        "reason": reason,
    }
    return an_execution(**(given | fields))


def a_range(reason: SkipReason, **fields: Any) -> RangeRecord:
    """Return the range record of five days around the instant."""
    day = 86_400
    given = RangeRecord(
        job_id=JOB_ID,
        namespace="default",
        first_s=DUE - 2 * day,
        last_s=DUE + 2 * day,
        count=5,
        reason=reason,
        decided_at_us=(DUE + 2 * day) * US,
        job_name="nightly",
    )
    return replace(given, **fields)


def a_case(
    *records: Execution | RangeRecord,
    at: int = DUE,
    job: Job | None = None,
    versions: list[Job] | None = None,
    deleted: int = 0,
    now: int = NOW,
    shard: Shard | None = None,
    holding: tuple[str, ...] = (),
    calendar: Calendar | None = None,
    **progress: Any,
) -> Case:
    """Return a question about `at`; planning has come to `now`."""
    known = versions or [job or a_job()]
    return Case(
        life=Life([(version, f"change {version.revision}") for version in known], deleted * US),
        at_s=at,
        progress=Progress(now_us=now * US, shard=shard or Shard(hwm_s=now), **progress),
        calendar_of=lambda namespace, name: calendar,
        records=list(records),
        slots=Slots(holding=tuple(holding)),
    )


def waited(**ms: int) -> Waited:
    return Waited(**ms)


NO_FIRST_OF_JUNE = compile_calendar(CalendarRules(exclude=("2027-06-01",)))
