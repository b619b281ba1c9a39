"""What `--until` means."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from chronos.errors import Invalid
from chronos.timing.clock import Clock


def until_at(text: str, clock: Clock) -> float:
    """Return the instant that `15:30` or `2027-01-31T15:30` means, in seconds since the epoch.

    Local time if no zone is said. A time alone is the next one there is.

    Raises:
        Invalid: It is no time, or it has passed.
    """
    now = datetime.fromtimestamp(clock.time()).astimezone()
    at = _date(text) or _time_of_day(text, now)
    if at is None:
        raise Invalid(f"--until: `{text}` is no time; write 15:30, 2027-01-31T15:30 or 2027-01-31T15:30:00Z.")
    if at.timestamp() <= now.timestamp():
        raise Invalid(f"--until: {at.isoformat()} has passed.")
    return at.timestamp()


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone() if "-" in text[1:] else None
    except (ValueError, OverflowError):
        return None


def _time_of_day(text: str, now: datetime) -> datetime | None:
    try:
        clock_time = time.fromisoformat(text)
    except ValueError:
        return None
    naive = datetime.combine(now.date(), clock_time)
    today = naive.astimezone()
    return today if today > now else (naive + timedelta(days=1)).astimezone()
