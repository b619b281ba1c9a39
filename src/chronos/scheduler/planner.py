"""What a job is owed at an instant: due, missed, expired, blacked out. Pure; the time is an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from chronos.model.execution import Kind, RangeRecord, SkipReason, execution_id
from chronos.model.job import MissedRunPolicy
from chronos.scheduler.plan import GRACE_MIN_S, Plan
from chronos.store.commands import Owed
from chronos.timing.masks import ones

CATCHUP_SPACING_US = 1_000_000
ON_TIME_MAX = 10_000


class Verdict(Struct):
    """What is owed in one span, oldest first. `Σ occurrences + Σ range.count` is the number of its instants."""

    occurrences: list[Owed] = field(default_factory=list)
    ranges: list[RangeRecord] = field(default_factory=list)


def owed(plan: Plan, *, after_s: int, to_s: int, now_us: int, claim_to_us: int = 0) -> Verdict:
    """Return what the job of `plan` owes in (after_s, to_s], decided at `now_us`.

    What starts no later than `claim_to_us` asks for the right to send in the same breath.

    Instants no later than their grace run as they are. Missed ones inside the catch-up window follow the
    job's missed-run policy; older ones are expired. Cost grows with the days missed, not with the instants.

    Source: the policies are those of APScheduler and Temporal; see docs/reference/semantics.md B5.
    """
    verdict = Verdict()
    add_owed(verdict, plan, after_s=after_s, to_s=to_s, now_us=now_us, claim_to_us=claim_to_us)
    return verdict


def add_owed(total: Verdict, plan: Plan, *, after_s: int, to_s: int, now_us: int, claim_to_us: int = 0) -> None:
    """Add what `owed` returns to what others owe: in a crowd, a verdict for each costs as much as its instant."""
    begin = len(total.occurrences)
    after_s = max(after_s, plan.since_us // 1_000_000)
    on_time_after = after_s
    if after_s < (now_s := now_us // 1_000_000) - GRACE_MIN_S - 1:
        on_time_after = max(after_s, min(now_s - plan.grace_s(min(now_s, to_s)) - 1, to_s))
    if on_time_after > after_s:
        _owe_missed(plan, total, after_s, on_time_after, now_us)
        if claim_to_us:
            total.occurrences[begin:] = [_claimed(each, now_us, claim_to_us) for each in total.occurrences[begin:]]
    _owe_on_time(plan, total, on_time_after, to_s, now_us, claim_to_us)
    if plan.is_merged:
        runs = [occurrence.scheduled_s for occurrence in total.occurrences[begin:]]
        total.ranges += left_out(plan, after_s=after_s, to_s=to_s, runs=runs)


def paused_range(plan: Plan, *, after_s: int, to_s: int) -> list[RangeRecord]:
    """Return the record of the instants in (`after_s`, `to_s`] that passed while the job was paused."""
    after_s = max(after_s, plan.since_us // 1_000_000)
    return _range(plan, after_s, to_s, SkipReason.PAUSED) + left_out(plan, after_s=after_s, to_s=to_s)


def _owe_on_time(plan: Plan, verdict: Verdict, after_s: int, to_s: int, now_us: int, claim_to_us: int) -> None:
    at, job_id = after_s, plan.job.id
    for _ in range(ON_TIME_MAX):
        instant = plan.next_s(at)
        if instant is None or instant > to_s:
            return
        starts_us = plan.effective_us(instant)
        # Of these there is most, so that they are claimed where they are made.
        not_before_us = 0 if starts_us > claim_to_us else max(starts_us, now_us)
        verdict.occurrences.append(Owed(job_id, instant, starts_us, not_before_us=not_before_us))
        at = instant
    raise AssertionError("a span of planning is at most a minute and a bit, and instants are whole seconds")


def _claimed(owed: Owed, now_us: int, claim_to_us: int) -> Owed:
    starts_us = owed.effective_us
    return replace(owed, not_before_us=max(starts_us, now_us)) if starts_us <= claim_to_us else owed


def _owe_missed(plan: Plan, verdict: Verdict, after_s: int, to_s: int, now_us: int) -> None:
    window_s = min(max(after_s, now_us // 1_000_000 - plan.catchup_window_s), to_s)
    verdict.ranges += _range(plan, after_s, window_s, SkipReason.EXPIRED)
    policy = plan.job.spec.missed_run_policy
    if policy is MissedRunPolicy.IGNORE:
        verdict.ranges += _range(plan, window_s, to_s, SkipReason.MISFIRE)
    elif policy is MissedRunPolicy.EXECUTE_ONE:
        _owe_latest(plan, verdict, window_s, to_s, now_us)
    else:
        _owe_oldest(plan, verdict, window_s, to_s, now_us)


def _owe_latest(plan: Plan, verdict: Verdict, after_s: int, to_s: int, now_us: int) -> None:
    latest = plan.prev_s(to_s + 1)
    if latest is None or latest <= after_s:
        return
    into = execution_id(plan.job.id, Kind.SCHEDULE, str(latest), latest)
    verdict.ranges += _range(plan, after_s, latest - 1, SkipReason.COALESCED, into)
    verdict.occurrences.append(Owed(plan.job.id, latest, now_us, late=True))


def _owe_oldest(plan: Plan, verdict: Verdict, after_s: int, to_s: int, now_us: int) -> None:
    at = after_s
    for place in range(plan.job.spec.max_catchup):
        instant = plan.next_s(at)
        if instant is None or instant > to_s:
            return
        verdict.occurrences.append(Owed(plan.job.id, instant, now_us + place * CATCHUP_SPACING_US, late=True))
        at = instant
    verdict.ranges += _range(plan, at, to_s, SkipReason.MISFIRE)


def _range(plan: Plan, after_s: int, to_s: int, reason: SkipReason, into: str = "") -> list[RangeRecord]:
    first = plan.next_s(after_s) if after_s < to_s else None
    last = plan.prev_s(to_s + 1) if first is not None else None
    if first is None or last is None or first > to_s or last < first:
        return []
    job = plan.job
    return [
        RangeRecord(
            job_id=job.id,
            job_name=job.name,
            namespace=job.namespace,
            first_s=first,
            last_s=last,
            count=plan.count_s(after_s, to_s),
            reason=reason,
            into=into,
        )
    ]


def left_out(plan: Plan, *, after_s: int, to_s: int, runs: Iterable[int] = ()) -> list[RangeRecord]:
    """Return the records of what the calendar leaves out in (`after_s`, `to_s`].

    Args:
        runs: Instants in between that run: what lies on both sides of one is not adjacent.
    """
    found: list[RangeRecord] = []
    cuts = sorted(runs)
    for start, mask in plan.left_out_s(after_s, to_s):
        for cut, first, last, count in _between(cuts, start, mask):
            if found and found[-1].last_s >= cut:
                found[-1] = replace(found[-1], last_s=last, count=found[-1].count + count)
            else:
                found.append(_blackout(plan, first, last, count))
    return found


def left_out_singly(plan: Plan, *, after_s: int, to_s: int, most: int) -> list[RangeRecord]:
    """Return the same, one record an instant and at most `most`: whoever takes them may need some of them only."""
    found: list[RangeRecord] = []
    for start, mask in plan.left_out_s(after_s, to_s):
        while mask and len(found) < most:
            instant = start + (mask & -mask).bit_length() - 1
            found.append(_blackout(plan, instant, instant, 1))
            mask &= mask - 1
    return found


def _between(cuts: list[int], start: int, mask: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (the cut before it, first, last, count) of each stretch of a mask that has no cut inside."""
    place = bisect_right(cuts, start)
    before = cuts[place - 1] if place else 0
    while mask:
        cut = cuts[place] if place < len(cuts) and cuts[place] < start + mask.bit_length() else None
        here = mask if cut is None else mask & ones(cut - start)
        if here:
            yield before, start + (here & -here).bit_length() - 1, start + here.bit_length() - 1, here.bit_count()
        if cut is None:
            return
        mask, before, place = mask ^ here, cut, place + 1


def _blackout(plan: Plan, first: int, last: int, count: int) -> RangeRecord:
    job = plan.job
    return RangeRecord(
        job_id=job.id,
        job_name=job.name,
        namespace=job.namespace,
        first_s=first,
        last_s=last,
        count=count,
        reason=SkipReason.BLACKOUT,
        facts=plan.reason_s(first),
    )
