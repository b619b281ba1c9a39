"""Why an instant did not run, as its record says: a range of skips, or an execution that was skipped. Pure."""

from __future__ import annotations

from chronos.features.explain.model import Fact, FactKind, Reason, Told
from chronos.features.explain.wording import clock_of, local, outcome_of, runs
from chronos.model.execution import Execution, RangeRecord, SkipReason
from chronos.model.job import Concurrency, Job, MissedRunPolicy
from chronos.store.records import range_id

_FACT_OF_SKIP = {
    SkipReason.OVERLAP: FactKind.OVERLAP,
    SkipReason.SUPERSEDED: FactKind.OVERLAP,
    SkipReason.PAUSED: FactKind.PAUSE,
    SkipReason.BLACKOUT: FactKind.CALENDAR,
    SkipReason.MISFIRE: FactKind.MISFIRE,
    SkipReason.COALESCED: FactKind.MISFIRE,
    SkipReason.EXPIRED: FactKind.MISFIRE,
}


def told_of_range(record: RangeRecord, job: Job) -> Told:
    """Return what a range record says of each instant in it."""
    where = job.spec.timezone
    first, last = local(record.first_s, where), local(record.last_s, where)
    text = f"{runs(record.count)} from {first} to {last}, all `{record.reason.value}`"
    if record.first_s == record.last_s:
        text = f"One instant, {first}, `{record.reason.value}`"
    decided = f", written {clock_of(record.decided_at_us, where)}" if record.decided_at_us else ""
    why = _why_skipped(record.reason, job, record.into, record.facts)
    key = range_id(record)
    facts = [
        Fact(kind=_FACT_OF_SKIP.get(record.reason, FactKind.RECORD), text=why, record_id=record.into or key),
        Fact(kind=FactKind.RECORD, text=f"{text}{decided}.", record_id=key),
    ]
    return Told(
        reason=Reason(record.reason.value),
        verdict=f"did not run: {_short_skip(record.reason, record.into)}",
        facts=facts,
    )


def told_of_skip(execution: Execution, job: Job) -> Told:
    """Return what the record of an execution says that was skipped: one asked for by hand."""
    reason = SkipReason(execution.reason)
    why = _why_skipped(reason, job, execution.blocked_by, "")
    kind = _FACT_OF_SKIP.get(reason, FactKind.RECORD)
    facts = [
        Fact(kind=kind, text=why, record_id=execution.blocked_by or execution.id),
        Fact(kind=FactKind.OUTCOME, text=outcome_of(execution, job.spec.timezone), record_id=execution.id),
    ]
    verdict = f"did not run: {_short_skip(reason, execution.blocked_by)}"
    return Told(reason=Reason(reason.value), verdict=verdict, facts=facts)


def _short_skip(reason: SkipReason, by: str) -> str:
    named = f" ({by})" if by else ""
    return {
        SkipReason.MISFIRE: "nobody could run it in time, and missed runs are left out.",
        SkipReason.COALESCED: f"nobody could run it in time, and a later one ran for all that were missed{named}.",
        SkipReason.OVERLAP: f"the run before it was not over{named}.",
        SkipReason.SUPERSEDED: f"a newer run took its place{named}.",
        SkipReason.PAUSED: "the job was paused.",
        SkipReason.QUOTA: "a quota was used up.",
        SkipReason.EXPIRED: "nobody could run it in time, and it was missed longer ago than its catch-up window.",
        SkipReason.POLICY: "a policy forbade it.",
        SkipReason.BLACKOUT: "its calendar leaves that time out.",
        SkipReason.NONEXISTENT_TARGET: "its target does not exist.",
    }[reason]


def _why_skipped(reason: SkipReason, job: Job, by: str, said: str) -> str:
    spec = job.spec
    came = "It came due while nobody could run it"
    missed = f"`missed_run_policy` is `{spec.missed_run_policy.value}`"
    policy = f"`concurrency` is `{spec.concurrency.value}`"
    blocker = by or "another run"
    words = {
        SkipReason.MISFIRE: f"{came}, and {missed}{_most(job)}.",
        SkipReason.COALESCED: f"{came}; {missed}: the latest missed one ran for all, {blocker}.",
        SkipReason.OVERLAP: f"{policy}{_queue(job)}, and {blocker} held the slot.",
        SkipReason.SUPERSEDED: f"{policy}: {blocker} was newer, and the last one wins.",
        SkipReason.PAUSED: "The job was paused then.",
        SkipReason.QUOTA: "A quota of its namespace was used up.",
        SkipReason.EXPIRED: f"{came}, longer ago than `catchup_window` ({spec.catchup_window}).",
        SkipReason.POLICY: "A policy of the server forbade it.",
        SkipReason.BLACKOUT: f"Calendar `{spec.calendar}` leaves it out.",
        SkipReason.NONEXISTENT_TARGET: "There was no such target any more.",
    }[reason]
    return f"{words} {said}".rstrip()


def _most(job: Job) -> str:
    if job.spec.missed_run_policy is MissedRunPolicy.EXECUTE_ALL:
        return f" with `max_catchup` {job.spec.max_catchup}: the oldest that many ran"
    return ""


def _queue(job: Job) -> str:
    return f" with `queue_limit` {job.spec.queue_limit}" if job.spec.concurrency is Concurrency.QUEUE else ""
