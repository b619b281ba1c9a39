"""`--dry-run`: what would be run, and when. Nothing is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from chronos.cli.rpr.asked import NEXT_MAX, Asked
from chronos.cli.rpr.headline import headline, is_drawn
from chronos.repeater.port import Mode, Moment, Run, Ticking
from chronos.repeater.showing import shown_s
from chronos.repeater.stops import Stops
from chronos.timing.clock import Clock, utc
from chronos.timing.zone import zone

SHOWN = 5


class Start(NamedTuple):
    """A start that would be. `zone`: the schedule's; empty where the mode goes by waits."""

    wait_s: float
    at: float
    zone: str = ""

    @property
    def local(self) -> str:
        """The instant on the wall of the zone."""
        offset = timezone(timedelta(seconds=zone(self.zone).offset_at(round(self.at))))
        return datetime.fromtimestamp(round(self.at), offset).isoformat()

    @property
    def utc(self) -> str:
        """The instant in UTC: to the second where it is on a wall, else to the millisecond."""
        at = round(self.at) if self.zone else self.at
        return utc(at).isoformat(timespec="seconds" if self.zone else "milliseconds").replace("+00:00", "Z")


def preview(asked: Asked, mode: Mode, seed: int, clock: Clock) -> str:
    """Return what `--dry-run` prints: lines, or one JSON object with `--json`."""
    now = Moment(clock.boottime(), clock.time())
    starts = list(_starts(asked, mode, now))
    if asked.is_on("json"):
        import json

        return json.dumps(_object(asked, mode, seed, starts), ensure_ascii=False) + "\n"
    supposing = "" if isinstance(mode, Ticking) else f", if each run {_ends(asked)} at once"
    lines = [headline(asked, mode, seed), f"Command: [{' '.join(asked.plan.argv)}]", f"Starts{supposing}:"]
    lines += [f"  {_when(start)}" for start in starts]
    lines += [] if starts else ["  none: the time is up before the first one"]
    return "\n".join(lines) + "\n"


def _ends(asked: Asked) -> str:
    return "fails" if asked.subcommand.retries else "succeeds"


def _object(asked: Asked, mode: Mode, seed: int, starts: Sequence[Start]) -> dict[str, object]:
    return {
        "mode": asked.subcommand.name,
        "describes": mode.describe(),
        "command": list(asked.plan.argv),
        "seed": seed if is_drawn(asked) else None,
        "timezone": starts[0].zone or None if starts else None,
        "supposing": None if isinstance(mode, Ticking) else f"each run {_ends(asked)} at once",
        "starts": [
            {
                "run": number,
                "wait_s": start.wait_s,
                "utc": start.utc,
                "local": start.local if start.zone else None,
            }
            for number, start in enumerate(starts, 1)
        ],
    }


def _starts(asked: Asked, mode: Mode, now: Moment) -> Iterator[Start]:
    """Yield the first starts, those after the end of the time that is given left out."""
    first_s = mode.first_s(now)
    count = min(asked.get("next", SHOWN), asked.get("times", NEXT_MAX))
    if isinstance(mode, Ticking):
        seconds = _ticks(mode, now, count)
    else:
        seconds = _supposed(mode, first_s, now, count, ok=not asked.subcommand.retries)
    end_s = _end_s(asked.plan.stops, now)
    schedule = getattr(getattr(mode, "mode", mode), "schedule", None)
    for start_s in seconds:
        if start_s >= end_s:
            return
        wait_s = round(max(0.0, start_s - now.monotonic_s), 5)  # the last digits are those of the machine's clock
        yield Start(wait_s, now.wall_s + wait_s, schedule.timezone if schedule else "")


def _end_s(stops: Stops, now: Moment) -> float:
    ends = [] if stops.for_s is None else [now.monotonic_s + stops.for_s]
    ends += [] if stops.until_at is None else [now.monotonic_s + stops.until_at - now.wall_s]
    return min(ends, default=math.inf)


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


def _when(start: Start) -> str:
    """Return an instant as it is for the mode: on the wall of its schedule and in UTC, or else as a wait."""
    if not start.zone:
        return f"after {shown_s(start.wait_s)}"
    elsewhere = "" if start.zone == "UTC" else f"  {start.utc}"
    return f"{start.local} ({start.zone}){elsewhere}"
