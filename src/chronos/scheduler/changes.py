"""What a changed job owes: computed before the change is proposed, because the fold knows no schedules."""

from __future__ import annotations

from typing import NamedTuple

from chronos.errors import ChronosError
from chronos.model.execution import RangeRecord
from chronos.model.job import Job, JobSpec
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.plan import Plan
from chronos.scheduler.planner import left_out_singly, paused_range
from chronos.scheduler.ports import Commands
from chronos.scheduler.timetable import Timetable
from chronos.store.commands import Owed
from chronos.store.tables import SLOTS, Slots

OWED_AHEAD_MAX = 1_000

_SCHEDULE_FIELDS = ("name", "schedules", "timezone", "dst", "start_at", "end_at", "calendar", "shift", "jitter")


class Ahead(NamedTuple):
    """What a new definition owes of the span that is decided for everybody else already."""

    owed: list[Owed]
    left_out: list[RangeRecord]


NOTHING_AHEAD = Ahead([], [])


class Changes:
    """Computes, for a job that is about to change, what no instant may be lost of."""

    def __init__(self, commands: Commands, scheduler: Scheduler) -> None:
        self._commands = commands
        self._scheduler = scheduler

    def ahead(self, job: Job, now_us: int, owed_to: int, like: Timetable | None = None) -> Ahead:
        """What `job` owes in (now, owed_to]: decided for everybody else already, so it comes with the change.

        Args:
            like: A timetable that equals the job's, if there is one; then most jobs need not be planned for this.
        """
        # What lies before log time is not owed any more, and log time may be ahead of a clock that was set back.
        at = begin = max(now_us, self._commands.time_us) // 1_000_000 - 1
        if like is not None and ((first := like.next_planned_s(begin)) is None or first > owed_to):
            return NOTHING_AHEAD
        plan = Plan(job, self._scheduler.calendars.find)
        owed: list[Owed] = []
        while len(owed) < OWED_AHEAD_MAX and (instant := plan.next_s(at)) is not None and instant <= owed_to:
            owed.append(Owed(job.id, instant, plan.effective_us(instant)))
            at = instant
        return Ahead(owed, left_out_singly(plan, after_s=begin, to_s=owed_to, most=OWED_AHEAD_MAX))

    def passed_in_pause(self, job: Job, now_us: int) -> list[RangeRecord]:
        """Return the record of what passed while `job` was paused, up to now; nothing when it is not."""
        if job.paused is None:
            return []
        try:
            plan = Plan(job, self._scheduler.calendars.find)
        except ChronosError:
            return []
        slots = self._commands.view.get(SLOTS, job.id) or Slots()
        # Decided ahead when the pause came: it has its record.
        recorded_s = slots.last_decided_s if slots.last_decided_s <= self._scheduler.shard.hwm_s else 0
        return paused_range(plan, after_s=recorded_s, to_s=now_us // 1_000_000)

    def undecided_us(self, job: Job, now_us: int, mark_s: int) -> int:
        """When the job as it is comes to owe an instant that a change would leave without a record; 0 for never.

        Args:
            mark_s: The high-water mark up to which what it owes has been decided.
        """
        try:
            plan = self._scheduler.plan_of(job)
        except ChronosError:
            return 0
        known_s = now_us // 1_000_000 if job.paused is not None else mark_s
        following = plan.next_planned_s(max(known_s, job.owed_since_us // 1_000_000))
        return following * 1_000_000 if following is not None else 0


def owes_the_same(old: Job, spec: JobSpec) -> bool:
    """Whether an edit leaves what the job owes as it was. The name counts: `H` is hashed from it."""
    enabled = old.paused is None
    if spec.enabled is not None and spec.enabled is not enabled:
        return False
    return all(getattr(old.spec, name) == getattr(spec, name) for name in _SCHEDULE_FIELDS)


def instants_in(plan: Plan, after_s: int, to_s: int, most: int) -> list[int]:
    """Return the instants in (`after_s`, `to_s`], ascending; one more than `most` when there are more."""
    found: list[int] = []
    while len(found) <= most and (instant := plan.next_s(after_s)) is not None and instant <= to_s:
        found.append(instant)
        after_s = instant
    return found
