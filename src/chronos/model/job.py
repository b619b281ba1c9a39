"""Jobs: what users write (`JobSpec`) and what the server keeps (`Job`)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from chronos.errors import JobInvalid
from chronos.model.limits import (
    SCHEDULES_MAX,
    DurationText,
    JobName,
    Namespace,
    ScheduleText,
    Tags,
    Text,
    Url,
    ZoneName,
)
from chronos.model.notify import Notify
from chronos.model.target import HttpTarget, Target
from chronos.timing.calendar import Shift
from chronos.timing.duration import DAY_US, parse_duration
from chronos.timing.zone import Gap, OverlapTime

RETENTION_US_MAX = 365 * DAY_US


class Concurrency(StrEnum):
    """What to do when a run comes due while the previous one still holds the slot."""

    ALLOW = "allow"
    FORBID = "forbid"
    QUEUE = "queue"
    REPLACE = "replace"


class MissedRunPolicy(StrEnum):
    """What to do with instants that passed while nobody could run them."""

    EXECUTE_ONE = "execute_one"
    EXECUTE_ALL = "execute_all"
    IGNORE = "ignore"


class OnUnknown(StrEnum):
    """What to do when nobody can say whether an attempt reached its target."""

    RETRY = "retry"
    FAIL = "fail"
    PROBE = "probe"


class OnIsolation(StrEnum):
    """What a node does with a running attempt when it is cut off from the others.

    STOP: it stops it when its right to run it is over; another node may try again at once.
    CONTINUE: it goes on; nobody else tries before the attempt's deadline is over.
    """

    STOP = "stop"
    CONTINUE = "continue"


class Dst(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """How the schedule meets clock changes; the default is what Debian's cron does."""

    gap: Gap = Gap.AFTER
    overlap: OverlapTime = OverlapTime.FIRST


class RetryPolicy(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """When and how often to try again; whatever is left out keeps its default.

    Attributes:
        retry_for: Bounds the whole execution, all attempts together.
        give_up_at_next: Stop retrying when the job's next instant comes.
        retry_holds_slot: Whether a run waiting for its next attempt blocks the job's next run.
    """

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    initial_interval: DurationText = "1s"
    max_interval: DurationText = "1m"
    multiplier: Annotated[float, Meta(ge=1.0, le=100.0)] = 2.0
    retry_for: DurationText = "24h"
    give_up_at_next: bool = False
    retry_holds_slot: bool = True


class DependencyCondition(StrEnum):
    """What the runs of the jobs depended on must have come to."""

    ALL_SUCCESS = "all_success"
    ALL_COMPLETE = "all_complete"
    ANY_SUCCESS = "any_success"
    ANY_COMPLETE = "any_complete"


class Dependencies(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """Run when other jobs of the namespace have run; names or ids."""

    depends_on: Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(min_length=1, max_length=32)]
    condition: DependencyCondition = DependencyCondition.ALL_SUCCESS
    timeout: DurationText | None = None


class HistoryPolicy(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """How much of the job's past is kept; what is left out is as the server or the namespace says.

    Attributes:
        retention: At least this long, at most 365 days; kept is the next of 1, 7, 30, 90 and 365 days.
        max_count: At least this many executions, the latest due; older ones go earlier than `retention` says.
    """

    retention: DurationText | None = None
    max_count: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class JobSpec(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A job as a user writes it.

    `webhook: {…}` is the short way to write `target: {type: http, …}`; `normal()` turns the one into the
    other. `schedule` is one expression, `schedules` several; runs that meet at one instant are one run.

    Attributes:
        timezone: The IANA zone in which the schedule is read.
        timeout: Bounds one attempt; None takes the target kind's default.
        catchup_window: How far back missed instants are still looked at, 10 s to 366 d.
        enabled: None leaves it as it is; a new job is enabled.
        priority: 0 to 9, higher first, when capacity is short.
        calendar: The name of a calendar whose days are left out or shifted.
        jitter: Spreads starts over this long after the instant; the same for an instant every time.
        on_isolation: What becomes of its attempts on a node that is cut off; None takes the server's default.
        probe_url: Asked with GET and the execution's id when `on_unknown` is `probe`.
    """

    name: JobName
    description: Text = ""
    schedule: ScheduleText | None = None
    schedules: Annotated[list[ScheduleText], Meta(max_length=SCHEDULES_MAX)] = field(default_factory=list)
    timezone: ZoneName = "UTC"
    dst: Dst = Dst()
    webhook: HttpTarget | None = None
    target: Target | None = None
    retry_policy: RetryPolicy = RetryPolicy()
    timeout: DurationText | None = None
    concurrency: Concurrency = Concurrency.FORBID
    max_concurrent: Annotated[int, Meta(ge=1, le=10_000)] = 10
    queue_limit: Annotated[int, Meta(ge=1, le=1_000)] = 1
    cancel_grace: DurationText = "10s"
    missed_run_policy: MissedRunPolicy = MissedRunPolicy.EXECUTE_ONE
    catchup_window: DurationText = "24h"
    max_catchup: Annotated[int, Meta(ge=1, le=10_000)] = 100
    tags: Tags = field(default_factory=dict)
    enabled: bool | None = None
    namespace: Namespace = "default"
    start_at: Annotated[datetime, Meta(tz=True)] | None = None
    end_at: Annotated[datetime, Meta(tz=True)] | None = None
    calendar: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    shift: Shift = Shift.NONE
    jitter: DurationText | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    on_unknown: OnUnknown = OnUnknown.RETRY
    probe_url: Url | None = None
    notify: Notify | None = None
    dependencies: Dependencies | None = None
    history: HistoryPolicy | None = None
    on_isolation: OnIsolation | None = None

    def normal(self) -> JobSpec:
        """Return the spec with the target in `target` and every schedule in `schedules`.

        Raises:
            JobInvalid: There is no target, or two; no schedule and no dependency, or `schedule` beside `schedules`.
        """
        if (self.webhook is None) == (self.target is None):
            raise JobInvalid("Give exactly one of `webhook` and `target`.", field="webhook")
        if self.schedule is not None and self.schedules and self.schedules != [self.schedule]:
            raise JobInvalid("Give `schedule` or `schedules`, not both.", field="schedules")
        schedules = self.schedules or ([self.schedule] if self.schedule is not None else [])
        if not schedules and self.dependencies is None:
            raise JobInvalid('Give a `schedule`, like "*/5 * * * *" or "@every 30s".', field="schedule")
        if self.history and self.history.retention and parse_duration(self.history.retention) > RETENTION_US_MAX:
            raise JobInvalid("`history.retention` is at most 365d.", field="history.retention")
        return replace(self, target=self.target or self.webhook, webhook=None, schedules=schedules, schedule=None)


class Pause(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """Why a job does not fire, and until when.

    Attributes:
        until: Resumes by itself then; None means until somebody resumes it.
        at: Log time at which the pause was accepted.
    """

    reason: str = ""
    until: datetime | None = None
    by: str = ""
    at: datetime | None = None


class Job(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A job as the server keeps it: the normal spec, credentials sealed, and what the server adds.

    Attributes:
        revision: Raised by one on every accepted change; the ETag.
        owed_since_us: Log time of the last change of what the job owes; its first instant lies after it.
        anchor_s: What `@every` counts from; kept across edits of anything but the schedule.
    """

    id: str
    spec: JobSpec
    revision: int
    created_at_us: int
    updated_at_us: int
    created_by: str = ""
    updated_by: str = ""
    owed_since_us: int = 0
    anchor_s: int = 0
    paused: Pause | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def namespace(self) -> str:
        return self.spec.namespace

    @property
    def target(self) -> Target:
        assert self.spec.target is not None, "a stored spec is normal"
        return self.spec.target
