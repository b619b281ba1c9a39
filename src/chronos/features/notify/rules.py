"""What is worth a message, to whom, how often, and when to try again. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from chronos.features.notify.model import (
    DIGEST_LINES_MAX,
    ERROR_CHARS_MAX,
    WINDOW_US,
    Addressed,
    Digest,
    DigestLine,
    Failing,
    Notice,
    NoticeKind,
    Queued,
    Settings,
)
from chronos.model.execution import Execution, RangeRecord, SkipReason
from chronos.model.job import Job
from chronos.model.notify import NotifyOn
from chronos.timing.pace import retry_delay_us

MISSED_REASONS = frozenset({SkipReason.MISFIRE, SkipReason.EXPIRED})
"""Skips that nobody asked for. Overlap, pause and calendar are the job's own rules."""

BACKOFF_FIRST_US = 5_000_000
BACKOFF_MAX_US = 600_000_000


def addressees(job: Job | None, settings: Settings) -> tuple[frozenset[NotifyOn], list[Addressed]]:
    """Return on what and over which channels to tell: the job's own `notify`, else the server's."""
    if job is not None and job.spec.notify is not None:
        own = job.spec.notify
        return frozenset(own.on), [
            Addressed(key=f"job:{job.id}:{i}", channel=channel, job_id=job.id, namespace=job.namespace)
            for i, channel in enumerate(own.channels)
        ]
    return frozenset(settings.on), [Addressed(key=f"server:{i}") for i in range(len(settings.channels))]


def failure_notice(execution: Execution, at_us: int, next_run_s: int) -> Notice:
    """Return what to tell about an execution that failed for good."""
    return Notice(kind=NoticeKind.FAILURE, **_about(execution, NoticeKind.FAILURE, at_us), next_run_s=next_run_s)


def recovery_notice(execution: Execution, failing: Failing, at_us: int, next_run_s: int) -> Notice:
    """Return what to tell about the first success after a failure."""
    about = _about(execution, NoticeKind.RECOVERY, at_us) | {"error": "", "failing_since_us": failing.since_us}
    return Notice(kind=NoticeKind.RECOVERY, **about, next_run_s=next_run_s)


def missed_execution_notice(execution: Execution, at_us: int, next_run_s: int) -> Notice:
    """Return what to tell about one due instant that was given up."""
    about = _about(execution, NoticeKind.MISSED, at_us) | {"error": "", "missed": 1}
    return Notice(
        kind=NoticeKind.MISSED,
        **about,
        missed_last_s=execution.scheduled_s,
        reason=execution.reason,
        next_run_s=next_run_s,
    )


def missed_range_notice(record: RangeRecord, job_name: str, at_us: int, next_run_s: int) -> Notice:
    """Return what to tell about adjacent instants that were given up."""
    return Notice(
        id=f"missed-{record.job_id}-{record.first_s}-{record.reason}",
        kind=NoticeKind.MISSED,
        at_us=at_us,
        namespace=record.namespace,
        job_id=record.job_id,
        job_name=record.job_name or job_name,
        scheduled_s=record.first_s,
        missed=record.count,
        missed_last_s=record.last_s,
        reason=record.reason.value,
        next_run_s=next_run_s,
    )


def _about(execution: Execution, kind: NoticeKind, at_us: int) -> dict[str, Any]:
    last = execution.attempts[-1] if execution.attempts else None
    # A redriven execution keeps its id; its second failure is another one.
    series = f"-{execution.series}" if execution.series else ""
    why = (last.error or last.error_class if last else "") or execution.reason
    return {
        "id": f"{execution.id}-{kind.value}{series}",
        "at_us": execution.ended_at_us or at_us,
        "namespace": execution.namespace,
        "job_id": execution.job_id,
        "job_name": execution.job_name,
        "execution_id": execution.id,
        "scheduled_s": execution.scheduled_s,
        "attempts": sum(1 for attempt in execution.attempts if attempt.series == execution.series),
        "status_code": last.status_code if last else None,
        "error": why[:ERROR_CHARS_MAX],
    }


class RateWindow:
    """Lets `limit` messages on a channel through in any five minutes of log time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: dict[str, deque[int]] = {}

    def admit(self, channel: str, at_us: int) -> bool:
        """Whether another message may go out on `channel`; counts it if so."""
        sent = self._sent.setdefault(channel, deque())
        while sent and sent[0] <= at_us - WINDOW_US:
            sent.popleft()
        if len(sent) >= self._limit:
            return False
        sent.append(at_us)
        return True

    def forget_before(self, at_us: int) -> None:
        """Drop channels on which nothing happened in the window before `at_us`."""
        for channel in [c for c, sent in self._sent.items() if not sent or sent[-1] <= at_us - WINDOW_US]:
            del self._sent[channel]


def with_notice(digest: Digest, notice: Notice) -> tuple[Digest, bool]:
    """Return the digest with `notice` counted in, and whether it says something new (not only more of the same)."""
    for i, line in enumerate(digest.lines):
        if (line.kind, line.job_id) == (notice.kind, notice.job_id):
            grown = replace(line, count=line.count + 1, execution_id=notice.execution_id or line.execution_id)
            return replace(digest, lines=[*digest.lines[:i], grown, *digest.lines[i + 1 :]]), False
    if len(digest.lines) >= DIGEST_LINES_MAX:
        return replace(digest, more=digest.more + 1), digest.more == 0
    line = DigestLine(
        kind=notice.kind,
        job_id=notice.job_id,
        job_name=notice.job_name,
        namespace=notice.namespace,
        count=1,
        execution_id=notice.execution_id,
    )
    return replace(digest, lines=[*digest.lines, line]), True


def digest_notice(digest: Digest, at_us: int) -> Notice:
    """Return the one message that stands for many."""
    return Notice(
        id=digest.id,
        kind=NoticeKind.DIGEST,
        at_us=at_us,
        namespace=digest.namespace,
        lines=digest.lines,
        more=digest.more,
    )


def retry_us(attempts: int, seed: str) -> int:
    """Return the microseconds to wait after `attempts` tries: 5 s, doubling to 10 min, between half and whole."""
    least = min(BACKOFF_MAX_US, BACKOFF_FIRST_US << min(attempts - 1, 20)) // 2
    return least + retry_delay_us(
        attempts, initial_us=BACKOFF_FIRST_US // 2, max_us=BACKOFF_MAX_US // 2, multiplier=2.0, seed=seed
    )


def to_send(
    waiting: Iterable[Queued], channel_not_before: dict[str, int], now_us: int, *, at_most: int
) -> tuple[list[Queued], int | None]:
    """Return what may go out now, one for each channel, and when the next one may (None: nothing is left).

    A channel that has just refused holds back everything queued for it, and nothing queued for others.
    """
    chosen: dict[str, Queued] = {}
    next_us: int | None = None
    for queued in sorted(waiting, key=lambda q: (q.not_before_us, q.queued_at_us, q.key)):
        due_us = max(queued.not_before_us, channel_not_before.get(queued.to.key, 0))
        if due_us <= now_us and queued.to.key not in chosen and len(chosen) < at_most:
            chosen[queued.to.key] = queued
        else:
            next_us = due_us if next_us is None else min(next_us, due_us)
    return list(chosen.values()), next_us
