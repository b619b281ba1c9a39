"""What the screen says about a repetition, in lines of text. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo

from chronos.cli.rpr.live.difference import Difference
from chronos.cli.rpr.live.history import Past, Present, Snapshot
from chronos.cli.rpr.live.text import sparkline
from chronos.repeater.showing import shown_s
from chronos.repeater.stops import Fate

KEYS = "q quit  space pause  r run  +/- interval  ←/→ runs  l list  d diff  ? help"

HELP = """\
space   pause, or go on (the ticks that pass meanwhile are not made up for)
r       run now, unless a run is on
+ -     a longer or shorter interval, counted from the last start
← →     the run before, the run after     End  the latest one again
l       the list of runs (the last 200, 64 KiB of output each)
d       differences to the run before, or not
q       quit; a run that is on is asked to end, and with a second q ended
Ctrl-C  quit as interrupted, with exit code 130

In front of a line: + it is new, ~ it has changed; what is different is reversed.

Any key closes this page."""


def took(seconds: float) -> str:
    """Return a duration to three digits or so, as a person reads one."""
    if seconds < 0.0005:
        return f"{round(seconds * 1e6)}us"
    if seconds < 10:
        return shown_s(round(seconds, 3))
    return shown_s(round(seconds, 1 if seconds < 60 else 0))


def ending(run: Past) -> str:
    """Return how a run has ended."""
    if run.fate is Fate.OK:
        return "ok"
    if run.fate is Fate.FAILED:
        return f"failed, {run.reason or f'exit code {run.exit_code}'}"
    return f"{run.fate.value}, {run.reason}" if run.reason else run.fate.value


def run_line(run: Past, zone: tzinfo | None = None) -> str:
    """Return a run in one line; the wall time of its start in `zone`, this machine's unless said."""
    at = datetime.fromtimestamp(run.started_at, zone).astimezone(zone)
    cut = f" · {run.size:,} bytes, the middle is left out" if run.size > len(run.output) else ""
    return f"Run {run.number} · {at:%H:%M:%S} · {took(run.seconds)} · {ending(run)}{cut}"


def present_line(run: Present, now_s: float) -> str:
    """Return the run that is on, in one line."""
    return f"Run {run.number} · on for {took(max(0.0, round(now_s - run.since_s, 1)))}"


def changes(found: Difference | None) -> str:
    """Return how much is different; empty where nothing is compared."""
    if found is None:
        return ""
    gone = f", {found.gone} gone" if found.gone else ""
    return f"{found.changed} of {len(found.lines)} lines changed{gone}" if found.changed or gone else "unchanged"


def state_line(snapshot: Snapshot, wait_s: float | None, *, is_paused: bool, is_ending: bool) -> str:
    """Return what goes on: how many runs there were, and what comes next."""
    runs = "1 run" if snapshot.ended == 1 else f"{snapshot.ended:,} runs"
    failed = f", {snapshot.failed:,} failed" if snapshot.failed else ""
    return f"{_next(snapshot, wait_s, is_paused=is_paused, is_ending=is_ending)} · {runs}{failed}"


def _next(snapshot: Snapshot, wait_s: float | None, *, is_paused: bool, is_ending: bool) -> str:
    if is_ending:
        return "ENDING"
    if is_paused:
        return "PAUSED"
    if snapshot.present is not None:
        return f"run {snapshot.present.number} is on"
    return "waiting" if wait_s is None else f"next in {took(round(wait_s, 1))}"


def duration_line(snapshot: Snapshot, width: int) -> str:
    """Return the durations of the last runs as bars, and how long the longest of all that are kept took."""
    if not snapshot.runs:
        return ""
    seconds = [run.seconds for run in snapshot.runs]
    told = f" {took(min(seconds))} to {took(max(seconds))}"
    return sparkline(seconds, width - len(told)) + told
