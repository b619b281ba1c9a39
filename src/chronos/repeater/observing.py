"""What the health and the metrics pages say, as functions of a few counters."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chronos.repeater.engine import Report

BUCKETS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 300.0)
SICK_AFTER = 3
"""Failures in a row after which the command counts as unhealthy."""


class Figures(NamedTuple):
    """What has happened so far. `buckets`: runs no longer than each of `BUCKETS_S` and longer than the one before."""

    ok: int = 0
    failed: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS_S) + 1)
    last_at: float | None = None
    last_ok_at: float | None = None
    wait_s: float = 0.0
    held: int = 0

    @property
    def total(self) -> int:
        return self.ok + self.failed


class Observer:
    """A listener that keeps the figures; they may be read from other threads.

    Args:
        wait_s: Says how long it is until the next run, after each one.
    """

    def __init__(self, wait_s: Callable[[], float]) -> None:
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._figures = Figures()

    @property
    def figures(self) -> Figures:
        with self._lock:
            return self._figures

    def wrote(self, number: int, stream: int, data: bytes) -> None:
        """Output is not counted."""

    def ended(self, report: Report) -> None:
        if report.fate.counts:
            with self._lock:
                self._figures = after(self._figures, report, max(0.0, self._wait_s()))


def after(before: Figures, report: Report, wait_s: float) -> Figures:
    """Return the figures after one more run."""
    run = report.run
    took_s = max(0.0, run.ended_s - run.started_s)
    buckets = list(before.buckets)
    buckets[bisect_left(BUCKETS_S, took_s)] += 1
    return Figures(
        ok=before.ok + run.ok,
        failed=before.failed + (not run.ok),
        in_a_row=0 if run.ok else before.in_a_row + 1,
        seconds=before.seconds + took_s,
        buckets=tuple(buckets),
        last_at=run.started_at,
        last_ok_at=run.started_at if run.ok else before.last_ok_at,
        wait_s=wait_s,
        held=before.held + (wait_s > 0),
    )


def health(figures: Figures, *, version: str, uptime_s: float, wall_s: float) -> tuple[int, dict[str, Any]]:
    """Return status and body of `/health`. Times that pass are whole nanoseconds."""
    is_sick = figures.in_a_row >= SICK_AFTER
    body: dict[str, Any] = {
        "status": "unhealthy" if is_sick else "healthy",
        "timestamp": _instant(wall_s),
        "version": version,
        "uptime": _ns(uptime_s),
    }
    if figures.last_at is not None:
        body["metrics"] = {
            "total_executions": figures.total,
            "successful_executions": figures.ok,
            "failed_executions": figures.failed,
            "average_response_time": _ns(figures.seconds / figures.total),
            "last_execution": _instant(figures.last_at),
        }
    return (503 if is_sick else 200), body


def ready(wall_s: float) -> tuple[int, dict[str, Any]]:
    """Return status and body of `/ready`: it is, as soon as it answers."""
    return 200, {"ready": True, "timestamp": _instant(wall_s), "message": "repeating"}


def live(wall_s: float) -> tuple[int, dict[str, Any]]:
    """Return status and body of `/live`."""
    return 200, {"alive": True, "timestamp": _instant(wall_s)}


def metrics(figures: Figures, *, limits_rate: bool) -> str:
    """Return `/metrics` in Prometheus' text format."""
    lines = [
        "# HELP rpr_executions_total Runs that have ended, by how.",
        "# TYPE rpr_executions_total counter",
        f'rpr_executions_total{{status="success"}} {figures.ok}',
        f'rpr_executions_total{{status="failure"}} {figures.failed}',
        "# HELP rpr_execution_duration_seconds How long runs take.",
        "# TYPE rpr_execution_duration_seconds histogram",
        *_histogram(figures),
        "# HELP rpr_scheduler_interval_seconds From the end of the last run to the start of the next one.",
        "# TYPE rpr_scheduler_interval_seconds gauge",
        f"rpr_scheduler_interval_seconds {figures.wait_s:.6f}",
        "# HELP rpr_last_success_timestamp_seconds When the last run that succeeded was started; 0: none was.",
        "# TYPE rpr_last_success_timestamp_seconds gauge",
        f"rpr_last_success_timestamp_seconds {figures.last_ok_at or 0:.3f}",
    ]
    held = figures.held if limits_rate else 0
    lines += [
        "# HELP rpr_rate_limit_total Runs that the rate let start at once, and those it made wait.",
        "# TYPE rpr_rate_limit_total counter",
        f'rpr_rate_limit_total{{result="allowed"}} {figures.total - held if limits_rate else 0}',
        f'rpr_rate_limit_total{{result="hit"}} {held}',
    ]
    return "\n".join(lines) + "\n"


def _histogram(figures: Figures) -> list[str]:
    name, lines, sum_of_buckets = "rpr_execution_duration_seconds", [], 0
    for bound, count in zip((*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"), figures.buckets, strict=True):
        sum_of_buckets += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {sum_of_buckets}')
    return [*lines, f"{name}_sum {figures.seconds:.6f}", f"{name}_count {figures.total}"]


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _instant(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat().replace("+00:00", "Z")
