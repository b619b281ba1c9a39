"""Schedules on their own: is this one valid, what does it mean, when does it fire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from chronos.errors import Unprocessable
from chronos.model.job import Dst, Job, JobSpec
from chronos.model.limits import DurationText, Namespace, ScheduleText, ZoneName
from chronos.model.target import HttpTarget
from chronos.plugin import Call, Endpoint, Reply
from chronos.scheduler.plan import Plan
from chronos.server.rest.core import Core, reply
from chronos.server.rest.documents import at, at_s
from chronos.timing.calendar import Shift
from chronos.timing.schedule import Schedule, parse_schedule

TAG = "schedules"
RUNS_MAX = 1_000
# Longer than anybody looks ahead; an interval that would hold more runs than may be shown is refused first.
SPAN_S_MAX = 200 * 366 * 86_400
NOTES = 5
# A `@every` counts from the job's creation, which a preview does not have: it counts from now.
_PROBE = HttpTarget(url="http://localhost/")


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule, as a job would state it."""

    schedule: ScheduleText
    timezone: ZoneName = "UTC"
    dst: Dst = Dst()
    calendar: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    shift: Shift = Shift.NONE
    jitter: DurationText | None = None
    namespace: Namespace = "default"
    name: Annotated[str, Meta(max_length=200)] = ""


class PreviewAsked(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule, and how far to look: `count` runs (at most 1,000), or all until `until`."""

    count: Annotated[int, Meta(ge=1, le=RUNS_MAX)] = 5
    after: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None


class Run(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run: the instant, when it starts with jitter, and what the wall clock shows."""

    at: datetime
    effective_at: datetime
    local: str


class Note(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of the next clock changes does to the schedule."""

    at: datetime
    kind: Literal["gap", "overlap"]
    affected: bool
    effect: str


class Validated(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether it is a schedule; if not, `error` says what is wrong with it."""

    valid: bool
    description: str = ""
    next_runs: list[datetime] = field(default_factory=list)
    error: str = ""
    field: str = ""


class Preview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When it fires, in words and instants."""

    valid: bool
    description: str
    timezone: str
    next_runs: list[datetime]
    runs: list[Run]
    dst_notes: list[Note]
    truncated: bool = False


class Schedules:
    """The handlers of `/api/v1/schedules`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                "/api/v1/schedules/validate",
                self.validate,
                "schedule:read",
                "Say whether a schedule is valid.",
                body=Asked,
                answers=Validated,
                tag=TAG,
                operation="validate_schedule",
            ),
            Endpoint(
                "POST",
                "/api/v1/schedules/preview",
                self.preview,
                "schedule:read",
                "Say when a schedule fires, in words and instants.",
                body=PreviewAsked,
                answers=Preview,
                tag=TAG,
                operation="preview_schedule",
            ),
        ]

    async def validate(self, call: Call) -> Reply:
        body: Asked = call.body
        now_s = int(self._core.clock.time())
        try:
            schedule, plan = self._read(body, now_s)
        except Unprocessable as exc:
            return reply(Validated(valid=False, error=str(exc), field=str(exc.facts.get("field", ""))))
        runs = [at_s(run) for run in plan.upcoming_s(now_s, 5)]
        return reply(Validated(valid=True, description=schedule.describe(), next_runs=runs))

    async def preview(self, call: Call) -> Reply:
        body: PreviewAsked = call.body
        now_s = int(self._core.clock.time())
        after_s = int(body.after.timestamp()) if body.after else now_s
        schedule, plan = self._read(body, now_s)
        runs = self._until(plan, after_s, body) if body.until else plan.upcoming_s(after_s, body.count)
        return reply(
            Preview(
                valid=True,
                description=schedule.describe(),
                timezone=schedule.timezone,
                next_runs=[at_s(run) for run in runs],
                runs=[_run(plan, schedule, run) for run in runs],
                dst_notes=_notes(schedule, at_s(after_s)),
            )
        )

    def _until(self, plan: Plan, after_s: int, body: PreviewAsked) -> list[int]:
        assert body.until is not None
        until_s = int(body.until.timestamp())
        if until_s <= after_s:
            raise Unprocessable("`until` has to lie after `after`.", field="until")
        if until_s - after_s > SPAN_S_MAX:
            raise Unprocessable("`until` is too far away; 200 years are the most.", field="until")
        runs = plan.upcoming_s(after_s, RUNS_MAX + 1)
        found = [run for run in runs if run <= until_s]
        if len(found) > RUNS_MAX:
            raise Unprocessable(
                f"There are more than {RUNS_MAX} runs until then; ask for a shorter range, or use `count`.",
                field="until",
            )
        return found

    def _read(self, body: Asked, now_s: int) -> tuple[Schedule, Plan]:
        schedule = parse_schedule(
            body.schedule,
            timezone=body.timezone,
            gap=body.dst.gap.value,
            overlap=body.dst.overlap.value,
            hash_key=f"{body.namespace}/{body.name}",
            anchor=now_s,
        )
        return schedule, Plan(_probe(body, now_s), self._core.scheduler.calendars.find)


def _probe(body: Asked, now_s: int) -> Job:
    spec = JobSpec(
        name=body.name or "preview",
        schedules=[body.schedule],
        timezone=body.timezone,
        dst=body.dst,
        calendar=body.calendar,
        shift=body.shift,
        jitter=body.jitter,
        namespace=body.namespace,
        target=_PROBE,
    )
    return Job(id="preview", spec=spec, revision=0, created_at_us=0, updated_at_us=0, anchor_s=now_s)


def _run(plan: Plan, schedule: Schedule, instant: int) -> Run:
    from chronos.timing.zone import zone

    offset_s = zone(schedule.timezone).offset_at(instant)
    local = at_s(instant + offset_s).replace(tzinfo=None).isoformat(sep=" ")
    return Run(at=at_s(instant), effective_at=at(plan.effective_us(instant)) or at_s(instant), local=local)


def _notes(schedule: Schedule, after: datetime) -> list[Note]:
    notes: list[Any] = schedule.notes(after, NOTES)
    return [Note(at=note.at, kind=note.kind, affected=note.affected, effect=note.effect) for note in notes]
