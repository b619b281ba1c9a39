"""`--dry-run`: what would be run, and when. Nothing is."""

from __future__ import annotations

from collections.abc import Iterator

from chronos.cli.rpr.asked import Asked
from chronos.cli.rpr.headline import headline
from chronos.repeater.port import Mode, Moment, Run, Ticking
from chronos.repeater.showing import shown_s
from chronos.timing.clock import Clock

SHOWN = 5
SHOWN_MAX = 1000


def preview(asked: Asked, mode: Mode, seed: int, clock: Clock) -> str:
    """Return the lines that `--dry-run` prints."""
    now = Moment(clock.boottime(), clock.time())
    first_s = mode.first_s(now)
    count = min(asked.get("next", SHOWN), asked.get("times", SHOWN_MAX), SHOWN_MAX)
    if isinstance(mode, Ticking):
        supposing, starts = "", _ticks(mode, now, count)
    else:
        supposing = f", if each run {'fails' if asked.subcommand.retries else 'succeeds'} at once"
        starts = _supposed(mode, first_s, now, count, ok=not asked.subcommand.retries)
    lines = [headline(asked, mode, seed), f"Command: [{' '.join(asked.plan.argv)}]", f"Starts{supposing}:"]
    lines += [f"  {_when(mode, start_s - now.monotonic_s, now)}" for start_s in starts]
    return "\n".join(lines) + "\n"


def _ticks(mode: Ticking, now: Moment, count: int) -> Iterator[float]:
    for n in range(count):
        tick_s = mode.tick_s(n, now)
        if tick_s is None:
            return
        yield tick_s


def _supposed(mode: Mode, first_s: float, now: Moment, count: int, *, ok: bool) -> Iterator[float]:
    """Yield the starts of a mode that goes by its runs, were they to take no time and end alike."""
    due_s: float | None = first_s
    for number in range(1, count + 1):
        if due_s is None:
            return
        yield due_s
        then = Moment(due_s, now.wall_s + due_s - now.monotonic_s)
        run = Run(number, due_s, due_s, then.wall_s, ok=ok, exit_code=0 if ok else 1)
        due_s = mode.next_s(run, then)


def _when(mode: Mode, wait_s: float, now: Moment) -> str:
    """Return an instant as it is for the mode: on the wall of its schedule, or else as a wait."""
    wait_s = round(max(0.0, wait_s), 5)  # the last digits are those of the machine's clock
    schedule = getattr(getattr(mode, "mode", mode), "schedule", None)
    if schedule is None:
        return f"after {shown_s(wait_s)}"
    from datetime import datetime, timedelta, timezone

    from chronos.timing.zone import zone

    at = round(now.wall_s + wait_s)
    offset = timezone(timedelta(seconds=zone(schedule.timezone).offset_at(at)))
    return f"{datetime.fromtimestamp(at, offset).isoformat()} ({schedule.timezone})"
