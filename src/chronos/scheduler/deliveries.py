"""From a granted execution to a delivery: the definition that is to run, with its deadline."""

from __future__ import annotations

from collections.abc import Callable

from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import Answer, Delivery
from chronos.model.execution import Attempt, Execution
from chronos.model.job import Concurrency, Job, OnIsolation
from chronos.model.target import HttpTarget
from chronos.scheduler.elsewhere import Host
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.port import View
from chronos.store.tables import JOBS, REVISIONS, revision_key
from chronos.timing.duration import parse_duration


def definition(view: View, execution: Execution) -> Job | None:
    """Return the job as of the revision that the execution runs, or None when even that is gone."""
    job = view.get(JOBS, execution.job_id)
    if job is not None and job.revision == execution.revision:
        return job
    kept = view.get(REVISIONS, revision_key(execution.job_id, execution.revision))
    return kept.job if kept is not None else job


def host_called(job: Job | None) -> Host | None:
    """Return the host that a job's attempts count by where breakers are concerned; None for those without one."""
    host = host_of(job.target) if job is not None else None
    return (job.namespace, host) if job is not None and host is not None else None


def may_overlap(view: View, settings: SchedulerSettings, execution: Execution) -> bool:
    """Return whether the job's author lets two runs of it go on at a time."""
    job = definition(view, execution)
    return job is not None and job.spec.concurrency is Concurrency.ALLOW and not goes_on(job, settings)


def delivery_of(execution: Execution, job: Job, settings: SchedulerSettings) -> Delivery:
    """Return the delivery of the execution's running attempt."""
    attempt = execution.running_attempt
    assert attempt is not None
    return Delivery(  # by place: there is most of these, and names cost as much as the rest
        execution.id,
        execution.job_id,
        execution.job_name,
        execution.namespace,
        attempt.n,
        attempt.token,
        execution.scheduled_s,
        job.target,
        timeout_us(job, settings),
        attempt.not_before_us,
        execution.priority,
        parse_duration(job.spec.cancel_grace),
        execution.series,
        max(execution.effective_us, execution.retry_at_us),
        goes_on=goes_on(job, settings),
    )


def known_answer(attempt: Attempt) -> Answer:
    """Return what the target of an attempt that goes on has answered so far."""
    return Answer(attempt.status_code, attempt.body_bytes, attempt.sha256, attempt.excerpt, notes=attempt.notes)


def goes_on(job: Job, settings: SchedulerSettings) -> bool:
    """Return whether its attempts go on when their node is cut off from the others."""
    return (job.spec.on_isolation or settings.on_isolation) is OnIsolation.CONTINUE


SPARE_S = 1.0
"""How much longer than its deadline an attempt that nobody hears of is waited for."""


def held_beyond_s(view: View, settings: SchedulerSettings, execution: Execution) -> float:
    """Return for how long the attempt of a node that was lost may go on, in seconds; 0 where it was stopped.

    It may have begun up to the moment at which its node's right to send was over.
    """
    job = definition(view, execution)
    if job is None or not goes_on(job, settings):
        return 0.0
    return (timeout_us(job, settings) + parse_duration(job.spec.cancel_grace)) / 1e6 + SPARE_S


def timeout_us(job: Job, settings: SchedulerSettings) -> int:
    """Return how long one attempt may take, in microseconds."""
    target = job.target
    if job.spec.timeout is not None:
        return parse_duration(job.spec.timeout)
    if isinstance(target, HttpTarget):
        return parse_duration(target.timeout) if target.timeout is not None else settings.http_timeout_us
    return settings.execution_timeout_us


KeepBody = Callable[[str, int, bytes], str]
"""Keeps an answer's body on this node under (execution id, attempt); returns the reference."""
