"""Waiting for an execution to end: in the server as far as it lets us, then by asking again."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from chronos.cli.chronosctl.session import Session
from chronos.client import operations as ops
from chronos.errors import Invalid
from chronos.timing.duration import SECOND_US, format_duration, parse_duration

ASK_US = 20 * SECOND_US  # well below the request's own time-out and any proxy's
WAIT_US_MAX = 24 * 3_600 * SECOND_US
POLL_S = 1.0
ENDED = frozenset({"success", "failed", "skipped", "cancelled"})

Document = dict[str, Any]


def trigger_and_wait(
    session: Session, ref: str, wait: str, *, force: bool, sleep: Callable[[float], object] | None = None
) -> Document:
    """Trigger a job and return its execution when it has ended, or as it stands after `wait`.

    Raises:
        Invalid: `wait` is no duration, or longer than a day.
    """
    wait_us = parse_duration(wait)
    if not 0 < wait_us <= WAIT_US_MAX:
        raise Invalid(f"--wait: `{wait}` has to be longer than nothing and at most a day.")
    deadline = session.clock.boottime() + wait_us / SECOND_US
    first = format_duration(min(wait_us, ASK_US))
    run: Document = session.on_job(ref, lambda job: ops.trigger_job(job, wait=first, force=force))
    while run["status"] not in ENDED and session.clock.boottime() < deadline:
        (sleep or Event().wait)(POLL_S)
        run = session.fetch(ops.execution(run["id"]))
    return run
