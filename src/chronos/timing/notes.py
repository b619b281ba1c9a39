"""What the next changes of the clocks do to a cron schedule, in words."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from math import floor
from typing import TYPE_CHECKING, Final

from chronos.timing.base import DstNote
from chronos.timing.civil import DAY_S, WALL_SHIFT_S
from chronos.timing.zone import Gap, OverlapTime, Transition, Zone

if TYPE_CHECKING:
    from chronos.timing.recurrence import CronSchedule

_LOOK_AHEAD_S: Final = 10 * 366 * DAY_S
_WALL_TIMES_MAX: Final = 60


def notes_of(schedule: CronSchedule, zone: Zone, after: datetime, transitions: int) -> list[DstNote]:
    """Return one note for each of the next changes (at most 100) within ten years, ascending."""
    start = floor(after.timestamp())
    changes = zone.transitions(start, start + _LOOK_AHEAD_S)
    return [_note(schedule, change) for change in changes[: min(transitions, 100)]]


def _note(schedule: CronSchedule, change: Transition) -> DstNote:
    low = change.at_s + min(change.before_s, change.after_s) + WALL_SHIFT_S
    high = change.at_s + max(change.before_s, change.after_s) + WALL_SHIFT_S
    walls = [_clock(wall) for wall in islice(schedule.walls_s(low, high), _WALL_TIMES_MAX + 1)]
    is_gap = change.shift_s > 0
    coalesces = is_gap and not schedule.wild and schedule.gap is Gap.AFTER
    effect = _gap_effect(schedule, change, walls) if is_gap else _overlap_effect(schedule, walls)
    return DstNote(
        at=datetime.fromtimestamp(change.at_s, UTC),
        kind="gap" if is_gap else "overlap",
        wall_from=_wall_datetime(low),
        wall_to=_wall_datetime(high),
        affected=bool(walls),
        effect=effect,
        coalesced_wall_times=tuple(walls[:_WALL_TIMES_MAX]) if coalesces else (),
    )


def _gap_effect(schedule: CronSchedule, change: Transition, walls: list[str]) -> str:
    if not walls:
        return "No run is affected: no wall time of this schedule is left out."
    named = _named(walls)
    if schedule.wild:
        return f"Not run at {named}, which the clocks leave out; the schedule follows real time."
    if schedule.gap is Gap.SKIP:
        return f"Not run for {named}, which the clocks leave out, because `gap` is `skip`."
    wall = change.at_s + change.after_s + WALL_SHIFT_S
    return f"Run once at {_clock(wall)}, right after the gap, for {named}, which the clocks leave out."


def _overlap_effect(schedule: CronSchedule, walls: list[str]) -> str:
    if not walls:
        return "No run is affected: no wall time of this schedule happens twice."
    named = _named(walls)
    if schedule.wild:
        return f"Run both times at {named}, which happens twice; the schedule follows real time."
    if schedule.overlap is OverlapTime.BOTH:
        return f"Run both times at {named}, because `overlap` is `both`."
    return f"Run once at {named}, which happens twice: the {schedule.overlap} time."


def _named(walls: list[str]) -> str:
    if len(walls) <= 3:
        return " and ".join(walls)
    count = str(len(walls)) if len(walls) <= _WALL_TIMES_MAX else f"more than {_WALL_TIMES_MAX}"
    return f"{walls[0]} and later ({count} wall times)"


def _clock(wall: int) -> str:
    seconds = wall % DAY_S
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


def _wall_datetime(wall: int) -> datetime:
    return datetime.fromtimestamp(wall - WALL_SHIFT_S, UTC).replace(tzinfo=None)
