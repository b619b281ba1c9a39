"""What an execution's record says: the word for it, a sentence, and the steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from chronos.features.explain.model import Fact, FactKind, Reason, Told
from chronos.features.explain.skips import told_of_skip
from chronos.features.explain.wording import clock_of, outcome_of, span
from chronos.model.execution import Attempt, AttemptStatus, Execution, Kind, Status, Waited
from chronos.model.job import Job

DELAYED_US = 1_000_000
"""A first byte later than this after its time is worth a word: the promise is a second."""


WAITS = {
    "slot": "for a free slot of its job",
    "breaker": "for the circuit breaker of its host",
    "host_cap": "because its host had as many requests as it may have at a time",
    "capacity": "because this node ran as many as it may",
    "jitter": "for its jitter",
    "commit": "for the disk",
}
_WAITING = {
    "breaker": (Reason.WAITING_BREAKER, "its host's circuit breaker is open"),
    "host_cap": (Reason.WAITING_HOST_CAP, "its host has as many requests as it may have at a time"),
    "capacity": (Reason.WAITING_CAPACITY, "this node runs as many as it may at a time"),
}


def told_of_execution(execution: Execution, job: Job, holding: tuple[str, ...], now_us: int) -> Told:
    """Return what an execution's record says.

    Args:
        job: The version that it ran, or would run; its pause is that of the job now.
        holding: The executions that hold the job's slots now.
    """
    where = job.spec.timezone
    if execution.status is Status.SKIPPED:
        return told_of_skip(execution, job)
    facts = [_decided(execution, where), *_late(execution, job), *_attempts(execution, where)]
    if execution.status is Status.SUCCESS:
        reason, verdict = _ran(execution, where)
    elif execution.status is Status.FAILED:
        reason, verdict = _failed(execution)
    elif execution.status is Status.CANCELLED:
        reason, verdict = _cancelled(execution, where)
    else:
        reason, verdict = _open(execution, job, holding, now_us)
    facts.append(Fact(kind=FactKind.OUTCOME, text=outcome_of(execution, where), record_id=execution.id))
    facts += [Fact(kind=FactKind.NOTE, text=note, record_id=execution.id) for note in execution.notes]
    return Told(reason=reason, verdict=verdict, facts=facts)


# What happened, step by step.


def _decided(execution: Execution, where: str) -> Fact:
    at_us = execution.decided_at_us
    if execution.series:
        by = f" by {execution.by}" if execution.by else ""
        text = (
            f"Started anew{by} at {clock_of(at_us, where)}, after it had failed for good (series {execution.series})."
        )
    elif execution.kind is Kind.SCHEDULE:
        late_us = at_us - execution.scheduled_s * 1_000_000
        how = f", {span(late_us)} after it was due" if late_us > DELAYED_US else ""
        text = f"Decided at {clock_of(at_us, where)}{how}, as version {execution.revision}."
    else:
        by = f" by {execution.by}" if execution.by else ""
        of = f", again what {execution.replay_of} ran" if execution.replay_of else ""
        text = (
            f"Asked for{by} ({execution.kind.value}) at {clock_of(at_us, where)}{of}, as version {execution.revision}."
        )
    return Fact(kind=FactKind.DECISION, text=text, record_id=execution.id)


def _late(execution: Execution, job: Job) -> Iterator[Fact]:
    if execution.late and execution.kind is Kind.SCHEDULE and not execution.series:
        policy = job.spec.missed_run_policy.value
        text = f"It was missed when it came due; `missed_run_policy` is `{policy}`, so it ran afterwards."
        yield Fact(kind=FactKind.MISFIRE, text=text, record_id=execution.id)


def _attempts(execution: Execution, where: str) -> Iterator[Fact]:
    for attempt in execution.attempts:
        for name, ms in _waits(attempt.waited):
            said = f"Attempt {attempt.n} waited {span(ms * 1_000)} {WAITS[name]}."
            yield Fact(kind=FactKind.WAIT, text=said, record_id=execution.id)
        yield Fact(kind=FactKind.ATTEMPT, text=_attempt(attempt, where), record_id=execution.id)
    for name, ms in _waits(execution.waited):
        said = f"Attempt {execution.next_attempt} has waited {span(ms * 1_000)} {WAITS[name]} so far."
        yield Fact(kind=FactKind.WAIT, text=said, record_id=execution.id)
    if execution.retry_at_us and not execution.is_terminal:
        text = f"Attempt {execution.next_attempt} is due at {clock_of(execution.retry_at_us, where)}."
        yield Fact(kind=FactKind.RETRY, text=text, record_id=execution.id)


def _waits(waited: Waited) -> Iterator[tuple[str, int]]:
    return ((name, ms) for name in WAITS if (ms := getattr(waited, name)) > 0)


def _attempt(attempt: Attempt, where: str) -> str:
    begun = f" at {clock_of(attempt.started_at_us, where)}" if attempt.started_at_us else ""
    took = (
        f", {span(attempt.ended_at_us - attempt.started_at_us)}"
        if attempt.started_at_us and attempt.ended_at_us
        else ""
    )
    code = f" ({attempt.status_code})" if attempt.status_code is not None else ""
    said = f": {attempt.error}" if attempt.error else ""
    if attempt.status is AttemptStatus.UNKNOWN:
        return f"Attempt {attempt.n}{begun}: nobody can say whether it arrived{said}. It does not count as a try."
    if attempt.status is AttemptStatus.STARTED:
        if attempt.is_accepted:
            return f"Attempt {attempt.n}{begun}: the target has taken the work on and reports by itself."
        return f"Attempt {attempt.n} holds the right to send on {attempt.node.partition('#')[0]}{begun}."
    return f"Attempt {attempt.n}{begun}{took}: {attempt.status.value}{code}{said}."


# The verdicts.


def _ran(execution: Execution, where: str) -> tuple[Reason, str]:
    began = clock_of(execution.started_at_us, where)
    if execution.late and not execution.series and execution.kind is Kind.SCHEDULE:
        late = span(max(0, execution.started_at_us - execution.scheduled_s * 1_000_000))
        return Reason.LATE, f"ran {late} late, at {began}: it was missed when it came due, and made up for."
    if len(execution.attempts) > 1 or execution.series:
        tries = execution.earlier_attempts + len(execution.attempts)
        return Reason.RETRIED, f"ran, and succeeded with attempt {tries}."
    late_us = execution.attempts[0].started_at_us - execution.effective_us if execution.attempts else 0
    if late_us > DELAYED_US:
        waits = [f"{span(ms * 1_000)} {WAITS[name]}" for name, ms in _waits(execution.attempts[0].waited)]
        why = f": it waited {', '.join(waits)}." if waits else "."
        return Reason.DELAYED, f"ran {span(late_us)} late, at {began}{why}"
    return Reason.ON_TIME, f"ran on time, at {began}, and succeeded."


def _failed(execution: Execution) -> tuple[Reason, str]:
    again = f"`chronosctl execution redrive {execution.id}` starts it anew."
    if execution.attempts and execution.attempts[-1].status is AttemptStatus.UNKNOWN:
        return Reason.UNKNOWN, f"may have run: nobody can say whether its last attempt arrived. {again}"
    tries = f"{len(execution.attempts)} attempt{'' if len(execution.attempts) == 1 else 's'}"
    said = execution.attempts[-1].error if execution.attempts else ""
    return Reason.FAILED, f"ran and failed for good after {tries}: {(said or execution.reason).rstrip('.')}. {again}"


def _cancelled(execution: Execution, where: str) -> tuple[Reason, str]:
    began = (
        f"was stopped (it had begun at {clock_of(execution.started_at_us, where)})"
        if execution.attempts
        else "did not run"
    )
    by = f" by {execution.by}" if execution.by else ""
    if execution.reason == "superseded":
        return Reason.SUPERSEDED, f"{began}: a newer run took its place ({execution.blocked_by or 'unknown'})."
    if execution.reason == "edited":
        return Reason.EDITED, f"{began}: the job was changed{by} before it started, and is not due then any more."
    if execution.reason == "job_deleted":
        return Reason.JOB_DELETED, f"{began}: the job was deleted{by}."
    said = f": {execution.reason}" if execution.reason not in ("", "cancelled") else ""
    return Reason.CANCELLED, f"{began}: somebody cancelled it{by}{said}."


def _open(execution: Execution, job: Job, holding: tuple[str, ...], now_us: int) -> tuple[Reason, str]:
    where = job.spec.timezone
    if execution.running_attempt is not None:
        if execution.running_attempt.not_before_us > now_us:
            return Reason.WAITING, f"is about to start, at {clock_of(execution.running_attempt.not_before_us, where)}."
        return Reason.RUNNING, f"is running: attempt {execution.running_attempt.n}."
    if job.paused is not None and ((execution.kind is Kind.SCHEDULE and not execution.series) or execution.attempts):
        return Reason.WAITING_PAUSE, "waits until the job is resumed."
    if execution.reason in _WAITING:
        reason, why = _WAITING[execution.reason]
        return reason, f"waits: {why}; it asks again at {clock_of(execution.retry_at_us, where)}."
    if execution.status is Status.RETRYING:
        last = execution.attempts[-1] if execution.attempts else None
        if last is not None and last.status is AttemptStatus.UNKNOWN:
            return Reason.UNKNOWN, f"may have run: nobody can say whether attempt {last.n} arrived; it is sent again."
        again = clock_of(execution.retry_at_us, where)
        return Reason.RETRYING, f"failed with attempt {last.n if last else 0}, and is tried again at {again}."
    others = [key for key in holding if key != execution.id]
    if execution.effective_us > now_us:
        jitter = execution.effective_us - execution.scheduled_s * 1_000_000
        if jitter > 0 and execution.kind is Kind.SCHEDULE:
            return (
                Reason.WAITING_JITTER,
                f"waits for its jitter, and starts at {clock_of(execution.effective_us, where)}.",
            )
        return Reason.WAITING, f"is about to start, at {clock_of(execution.effective_us, where)}."
    if others:
        return Reason.WAITING_SLOT, f"waits in line: {others[0]} holds the slot."
    return Reason.WAITING, "waits for its turn to start."
