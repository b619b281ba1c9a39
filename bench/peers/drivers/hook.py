"""What every peer is told, and what each request says of itself."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

AT_ONCE = 64


def asked() -> dict:
    """Return what was asked for.

    That is shape, jobs, seconds, begin (seconds since the epoch), dues (of one-off jobs), url, store, folder.
    """
    return json.loads(Path(sys.argv[-1]).read_text())


def instant(due: float) -> datetime:
    """Return seconds since the epoch as a time."""
    return datetime.fromtimestamp(due, UTC)


def headers(job: str, due: float, run: str = "") -> dict:
    """Return what the target judges a request by. Without colons: not everybody can send a header that has some."""
    at = instant(due).strftime("%Y%m%dT%H%M%S.%f+0000")
    return {"X-Chronos-Scheduled-Time": at, "Webhook-Id": run or f"{job}-{at}", "X-Chronos-Job-Id": job}
