"""What becomes of executions, as lines of the server's log: failures always, everything when asked.

A busy node ends thousands of executions a second; a log is for people. So at most `LINES_MAX` lines leave in
a second of log time for what went well, as many for what did not, and one more says how many were left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import structlog

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, RangeRecord, SkipReason, Status

log = structlog.get_logger("chronos.executions")

LINES_MAX = 20
SECOND_US = 1_000_000

Wanted = Literal["all", "failures", "none"]

_MISSED = frozenset({SkipReason.MISFIRE, SkipReason.EXPIRED, SkipReason.OVERLAP, SkipReason.QUOTA})
TOLD = frozenset({EventType.EXECUTION_RETRYING, EventType.EXECUTION_FINISHED, EventType.RANGE_SKIPPED})


class Journal:
    """Writes a line for each end of an execution that is `wanted`."""

    def __init__(self, wanted: Wanted = "failures") -> None:
        self.wanted = wanted
        self._second = 0
        self._lines = {True: 0, False: 0}
        self._left_out = 0

    def on_events(self, events: Sequence[Event]) -> None:
        """Take note of what was committed, of what is `TOLD`. Called on the event loop; returns at once."""
        if self.wanted == "none":
            return
        for event in events:
            is_bad = _is_bad(event)
            if (is_bad or self.wanted == "all") and self._has_room(event.time_us, is_bad):
                _tell(event)

    def _has_room(self, time_us: int, is_bad: bool) -> bool:
        second = time_us // SECOND_US
        if second != self._second:
            if self._left_out:
                log.warning("lines_left_out", count=self._left_out)
            self._second, self._lines, self._left_out = second, {True: 0, False: 0}, 0
        if self._lines[is_bad] >= LINES_MAX:
            self._left_out += 1
            return False
        self._lines[is_bad] += 1
        return True


def _is_bad(event: Event) -> bool:
    if event.range is not None:
        return event.range.reason in _MISSED
    execution = event.execution
    if execution is None or event.type is EventType.EXECUTION_RETRYING:
        return False
    return execution.status is Status.FAILED or execution.reason in _MISSED


def _tell(event: Event) -> None:
    if event.range is not None:
        _tell_range(event.range)
    elif event.execution is not None:
        _tell_execution(event.type, event.execution)


def _tell_range(skipped: RangeRecord) -> None:
    level = log.warning if skipped.reason in _MISSED else log.info
    level("instants_skipped", job=skipped.job_name, count=skipped.count, reason=skipped.reason.value)


def _tell_execution(kind: EventType, execution: Execution) -> None:
    last = execution.attempts[-1] if execution.attempts else None
    facts: dict[str, Any] = {"job": execution.job_name, "execution": execution.id}
    if last is not None:
        facts |= {"attempt": last.n, "status_code": last.status_code}
    if kind is EventType.EXECUTION_RETRYING:
        log.warning("execution_retrying", **facts, error=last.error_class if last else "")
    elif execution.status is Status.SUCCESS:
        log.info("execution_succeeded", **facts, ms=_took_ms(execution))
    elif execution.status is Status.FAILED:
        log.error("execution_failed", **facts, reason=execution.reason, error=last.error_class if last else "")
    else:
        level = log.warning if execution.reason in _MISSED else log.info
        level(f"execution_{execution.status.value}", **facts, reason=execution.reason)


def _took_ms(execution: Execution) -> float:
    last = execution.attempts[-1]
    return round((last.ended_at_us - last.started_at_us) / 1000, 1)
