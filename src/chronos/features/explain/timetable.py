"""What a job's schedules say of an instant, and if nothing, why. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from chronos.errors import ChronosError
from chronos.features.explain.model import Fact, FactKind, Reason
from chronos.features.explain.wording import local
from chronos.model.job import Job
from chronos.scheduler.plan import Plan
from chronos.scheduler.timetable import CalendarOf
from chronos.timing.calendar import Shift
from chronos.timing.civil import WALL_SHIFT_S
from chronos.timing.clock import utc
from chronos.timing.schedule import CronSchedule, Schedule, parse_schedule
from chronos.timing.zone import Gap, OverlapTime, Transition, zone

NEAR_S = 86_400
"""How far from a change of the clocks an instant may be meant for a wall time that it left out."""


class Timing(Struct, frozen=True, kw_only=True):
    """What the schedules say.

    Attributes:
        plan: None when the job cannot be planned as it is.
        is_instant: Whether the job is due then.
        is_left_out: Whether it would be, but for its calendar.
        reason: Why it is not due; None when it is, or when a calendar leaves it out.
        why: The same as a sentence; what the calendar says, where it leaves it out.
    """

    plan: Plan | None
    is_instant: bool = False
    is_left_out: bool = False
    reason: Reason | None = None
    why: str = ""
    facts: list[Fact] = field(default_factory=list)


def timing_of(job: Job, at_s: int, calendar_of: CalendarOf) -> Timing:
    """Return what the schedules of one version of a job say of an instant."""
    if not job.spec.schedules:
        why = "It has no schedule: it runs after the jobs it depends on, or by hand."
        return Timing(plan=None, reason=Reason.NO_SCHEDULE, why=why)
    try:
        plan = Plan(job, calendar_of)
    except ChronosError as error:
        return Timing(plan=None, reason=Reason.CANNOT_BE_PLANNED, why=str(error))
    schedules = schedules_of(job)
    facts = [*_parsed(schedules, at_s), *_clock_changes(schedules, at_s)]
    if plan.next_s(at_s - 1) == at_s:
        return Timing(plan=plan, is_instant=True, facts=[*facts, *_calendar_lets_through(job)])
    if any(mask for _, mask in plan.left_out_s(at_s - 1, at_s)):
        why = plan.reason_s(at_s) or "its calendar excludes that day"
        fact = Fact(kind=FactKind.CALENDAR, text=f"Calendar `{job.spec.calendar}` leaves it out: {why}.")
        return Timing(plan=plan, is_left_out=True, why=why, facts=[*facts, fact])
    reason, why = _why_not(job, schedules, at_s)
    return Timing(plan=plan, reason=reason, why=why, facts=facts)


def schedules_of(job: Job) -> list[Schedule]:
    """Return a job's schedules without its calendar and bounds."""
    spec = job.spec
    return [
        parse_schedule(
            text,
            timezone=spec.timezone,
            gap=spec.dst.gap.value,
            overlap=spec.dst.overlap.value,
            hash_key=f"{spec.namespace}/{spec.name}",
            anchor=job.anchor_s,
        )
        for text in spec.schedules
    ]


def resolve_wall(wall_s: int, timezone: str) -> tuple[int, str]:
    """Return the instant that a wall time (as if it were UTC) stands for, and a note where there is not just one."""
    where = zone(timezone)
    exact = where.instants_of(wall_s, Gap.SKIP, OverlapTime.BOTH)
    shown = utc(wall_s).replace(tzinfo=None).isoformat(sep=" ")
    if not exact:
        after = where.instants_of(wall_s, Gap.AFTER, OverlapTime.BOTH)[0]
        note = f"{shown} does not exist in {timezone}: the clocks went over it. Taken for {local(after, timezone)}."
        return after, note
    if len(exact) > 1:
        times = " and ".join(local(instant, timezone) for instant in exact)
        return exact[0], f"{shown} happens twice in {timezone}: {times}. Taken for the first."
    return exact[0], ""


def _parsed(schedules: list[Schedule], at_s: int) -> Iterator[Fact]:
    for schedule in schedules:
        hit = schedule.next_s(at_s - 1) == at_s
        where = local(at_s, schedule.timezone)
        said = f"is due at {where}" if hit else f"is not due at {where}"
        meant = f"`{schedule.text}` ({schedule.describe()})"
        yield Fact(kind=FactKind.SCHEDULE, text=f"{meant} {said}.")


def _clock_changes(schedules: list[Schedule], at_s: int) -> Iterator[Fact]:
    """Say what a change of the clocks near the instant does to a schedule that it concerns."""
    told = set()
    for schedule in schedules:
        for note in schedule.notes(utc(at_s - NEAR_S), 1):
            if not note.affected or abs(note.at.timestamp() - at_s) > NEAR_S or note.effect in told:
                continue
            told.add(note.effect)
            text = f"The clocks of {schedule.timezone} change at {local(int(note.at.timestamp()), schedule.timezone)}: "
            yield Fact(kind=FactKind.DST, text=text + note.effect)


def _calendar_lets_through(job: Job) -> list[Fact]:
    if job.spec.calendar is None:
        return []
    return [Fact(kind=FactKind.CALENDAR, text=f"Calendar `{job.spec.calendar}` lets it through.")]


def _why_not(job: Job, schedules: list[Schedule], at_s: int) -> tuple[Reason, str]:
    spec = job.spec
    if any(schedule.next_s(at_s - 1) == at_s for schedule in schedules):
        if spec.start_at is not None and at_s < spec.start_at.timestamp():
            return Reason.BEFORE_START_AT, f"`start_at` is {local(int(spec.start_at.timestamp()), spec.timezone)}."
        if spec.end_at is not None and at_s > spec.end_at.timestamp():
            return Reason.AFTER_END_AT, f"`end_at` was {local(int(spec.end_at.timestamp()), spec.timezone)}."
        if spec.shift is not Shift.NONE:
            moved = f"Calendar `{spec.calendar}` moves it to the {spec.shift.value.replace('_', ' ')}."
            return Reason.CALENDAR_SHIFT, moved
    return _why_no_match(schedules, at_s)


def _why_no_match(schedules: list[Schedule], at_s: int) -> tuple[Reason, str]:
    for schedule in schedules:
        if not isinstance(schedule, CronSchedule):
            continue
        for change in zone(schedule.timezone).transitions(at_s - NEAR_S, at_s + NEAR_S):
            found = _through_change(schedule, change, at_s)
            if found is not None:
                return found
    return Reason.NOT_DUE, "Its schedule does not name that time."


def _through_change(schedule: CronSchedule, change: Transition, at_s: int) -> tuple[Reason, str] | None:
    """Say whether a change of the clocks took the instant away that somebody may have had in mind."""
    where = schedule.timezone
    if change.at_s - abs(change.shift_s) <= at_s < change.at_s + abs(change.shift_s):
        if change.shift_s < 0 and _is_on_wall(schedule, at_s, zone(where).offset_at(at_s)):
            why = f"That wall time happens twice; the schedule counts the {schedule.overlap.value} time only."
            return Reason.DST_REPEAT, why
        if change.shift_s > 0 and at_s >= change.at_s and _is_on_wall(schedule, at_s, change.before_s):
            return Reason.DST_GAP, _gap_words(schedule, change, at_s)
    return None


def _is_on_wall(schedule: CronSchedule, at_s: int, offset_s: int) -> bool:
    wall = at_s + offset_s + WALL_SHIFT_S
    return any(True for _ in schedule.walls_s(wall, wall + 1))


def _gap_words(schedule: CronSchedule, change: Transition, at_s: int) -> str:
    wall = utc(at_s + change.before_s).replace(tzinfo=None).isoformat(sep=" ")
    words = f"{wall} does not exist in {schedule.timezone}: the clocks went over it"
    if schedule.wild:
        return f"{words}, and a schedule whose hours or minutes begin with `*` follows real time."
    if schedule.gap is Gap.SKIP:
        return f"{words}, and `dst.gap` is `skip`."
    return f"{words}; it ran right after the gap instead, at {local(change.at_s, schedule.timezone)}."
