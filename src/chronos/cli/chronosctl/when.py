"""Instants as people type them: RFC 3339, a day, `now`, or so long ago (`2h`, `-30m`) or from now (`+1h`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chronos.errors import DurationInvalid, Invalid
from chronos.timing.clock import Clock, utc
from chronos.timing.duration import parse_duration


def parse_instant(text: str, clock: Clock, *, option: str) -> datetime:
    """Return the aware instant that `text` says; a bare duration is that long ago, a bare time is UTC.

    Raises:
        Invalid: It is none of these; the message names `option`.
    """
    now = utc(clock.time())
    body = text.strip()
    if body == "now":
        return now
    try:
        if body[:1] in ("+", "-") or body[4:5] != "-":
            ahead = body.startswith("+")
            span = timedelta(microseconds=parse_duration(body.lstrip("+-")))
            return now + span if ahead else now - span
        instant = datetime.fromisoformat(body)
    except (ValueError, DurationInvalid, OverflowError) as exc:
        raise Invalid(
            f"{option}: `{text}` is no instant; write 2027-01-01T09:00:00Z, 2027-01-01, now, 2h (ago) or +1h."
        ) from exc
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
