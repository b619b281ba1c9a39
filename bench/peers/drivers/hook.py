"""What every peer does for a job: one POST over a connection that is kept, with the instant it was due."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from datetime import UTC, datetime

_own = threading.local()


def work() -> dict:
    """Return what was asked for: url, shape, jobs, begin (seconds since the epoch), seconds."""
    return json.loads(sys.argv[1])


def dues(asked: dict) -> list[float]:
    """Return when each one-off job is due: all at once, or evenly over the time."""
    if asked["shape"] == "burst":
        return [asked["begin"]] * asked["jobs"]
    return [asked["begin"] + number * asked["seconds"] / asked["jobs"] for number in range(asked["jobs"])]


def fire(port: int, job: str, due: float | None) -> None:
    """Send the webhook. A recurring job is not told its instant by every peer: it is the whole second just begun."""
    due = float(int(time.time())) if due is None else due
    headers = {
        "X-Chronos-Scheduled-Time": datetime.fromtimestamp(due, UTC).isoformat(),
        "Webhook-Id": f"{job}:{due}",
        "X-Chronos-Job-Id": job,
    }
    connection = getattr(_own, "connection", None)
    if connection is None:
        connection = _own.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/", b"{}", headers)
    connection.getresponse().read()
