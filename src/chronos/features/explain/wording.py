"""How instants and lengths are said to people: on the wall of the job's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from chronos.errors import ChronosError
from chronos.model.execution import Execution
from chronos.timing.zone import zone


def local(at_s: int, timezone_name: str) -> str:
    """Return an instant on the wall of a zone, with its offset: `2027-03-14 03:00:00-04:00`."""
    try:
        offset_s = zone(timezone_name).offset_at(at_s)
    except ChronosError:
        offset_s = 0  # a zone that is gone from the tables
    return datetime.fromtimestamp(at_s, timezone(timedelta(seconds=offset_s))).isoformat(sep=" ")


def clock_of(at_us: int, timezone_name: str) -> str:
    """Return an instant in microseconds as `local` does, to the millisecond where it has any."""
    seconds, us = divmod(at_us, 1_000_000)
    text = local(seconds, timezone_name)
    return f"{text[:19]}.{us // 1_000:03d}{text[19:]}" if us >= 1_000 else text


def span(us: int) -> str:
    """Return a length of time for people: `340 ms`, `12.3 s`, `4 m 10 s`, `2 h 5 m`, `3 d 4 h`."""
    seconds = us / 1e6
    if seconds < 1:
        return f"{us / 1_000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def runs(count: int) -> str:
    """Return `1 instant`, `2 instants`."""
    return f"{count:,} instant{'' if count == 1 else 's'}"


def at_s(seconds: int) -> datetime:
    """Return the aware UTC datetime of whole seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def outcome_of(execution: Execution, where: str) -> str:
    """Return how an execution stands, and since when."""
    ended = f" at {clock_of(execution.ended_at_us, where)}" if execution.ended_at_us else ""
    reason = f": {execution.reason}" if execution.reason else ""
    return f"It is `{execution.status.value}`{ended}{reason}."
