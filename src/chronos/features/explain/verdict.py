"""Why a job ran at an instant, or why not: everything that is known of it, put in order. Pure."""

from __future__ import annotations

from msgspec import Struct, field
from msgspec.structs import replace

from chronos.errors import ChronosError
from chronos.features.explain.model import Explanation, Fact, FactKind, Reason, Told
from chronos.features.explain.outcome import told_of_execution
from chronos.features.explain.skips import told_of_range
from chronos.features.explain.timetable import Timing, timing_of
from chronos.features.explain.wording import at_s as instant_of
from chronos.features.explain.wording import clock_of, local
from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status, execution_id
from chronos.model.job import Job
from chronos.scheduler.evidence import Life, Progress
from chronos.scheduler.plan import Plan
from chronos.scheduler.timetable import CalendarOf
from chronos.store.records import Record, range_id
from chronos.store.tables import Slots

DAY_US = 86_400_000_000
VERSIONS_WALKED_MAX = 50
"""Versions looked through for the instant before, or after, this one."""


class Case(Struct, frozen=True, kw_only=True):
    """What is known.

    Attributes:
        records: Everything that is recorded of the instant, of whatever kind.
        asked: A note on how the instant was understood, if there is one to make.
    """

    life: Life
    at_s: int
    progress: Progress
    calendar_of: CalendarOf
    records: list[Record] = field(default_factory=list)
    slots: Slots = Slots()
    asked: str = ""


def explain(case: Case) -> Explanation:
    """Return the verdict on one instant of one job, with the facts it rests on."""
    force = case.life.in_force(case.at_s)
    if force is None and case.records:
        # Asked for by hand in the very second in which the job was made: the record is what counts.
        force = case.life.versions[0 if case.at_s * 1_000_000 <= case.life.versions[0][0].updated_at_us else -1]
    if force is None:
        return _outside(case)
    job, comment = force
    timing = timing_of(job, case.at_s, case.calendar_of)
    record = record_of(case.records, is_left_out=timing.is_left_out)
    told = _told(case, job, timing, record)
    facts = [*_asked(case), *timing.facts, _version(case, job, comment), *told.facts, *_others(case, record, job)]
    return replace(
        _frame(case, job, told),
        is_instant=timing.is_instant or timing.is_left_out or isinstance(record, RangeRecord) or _is_planned(record),
        status=_status(record),
        kind=record.kind if isinstance(record, Execution) else Kind.SCHEDULE,
        record_id=id_of(record) if record is not None else "",
        version=record.revision if isinstance(record, Execution) else job.revision,
        facts=facts,
    )


def neighbours(case: Case) -> tuple[int | None, int | None]:
    """Return the job's instants before and after the one asked about, by the versions in force at each."""
    return before_s(case.life, case.at_s, case.calendar_of), after_s(case.life, case.at_s, case.calendar_of)


def before_s(life: Life, at_s: int, calendar_of: CalendarOf) -> int | None:
    """Return the last instant of the job before `at_s`."""
    for since_s, until_s, job in reversed(_spans(life)[-VERSIONS_WALKED_MAX:]):
        plan = _plan(job, calendar_of)
        if plan is None or since_s >= at_s:
            continue
        found = plan.prev_s(min(at_s, until_s + 1))
        if found is not None and found > since_s:
            return found
    return None


def after_s(life: Life, at_s: int, calendar_of: CalendarOf) -> int | None:
    """Return the first instant of the job after `at_s`."""
    for since_s, until_s, job in _spans(life)[-VERSIONS_WALKED_MAX:]:
        plan = _plan(job, calendar_of)
        if plan is None or until_s <= at_s:
            continue
        found = plan.next_s(max(at_s, since_s))
        if found is not None and found <= until_s:
            return found
    return None


def record_of(records: list[Record], *, is_left_out: bool = False) -> Record | None:
    """Return the record that an instant's verdict rests on: what was due, else what was asked for; the newest."""
    planned = [record for record in records if isinstance(record, Execution) and record.kind is Kind.SCHEDULE]
    if planned:
        return max(planned, key=lambda record: record.series)
    ranges = [record for record in records if isinstance(record, RangeRecord)]
    fitting = [record for record in ranges if (record.reason is SkipReason.BLACKOUT) is is_left_out]
    if fitting:
        return max(fitting, key=lambda record: (record.decided_at_us, record.count))
    others = [record for record in records if isinstance(record, Execution)]
    return max(others, key=lambda record: record.decided_at_us) if others else None


def id_of(record: Record) -> str:
    """Return a record's id."""
    return record.id if isinstance(record, Execution) else range_id(record)


def became(record: Record) -> str:
    """Return what became of an instant, in a word."""
    return record.reason.value if isinstance(record, RangeRecord) else record.status.value


def _spans(life: Life) -> list[tuple[int, int, Job]]:
    """Return (instants after, up to, version) of every stretch in which a job owed the same."""
    found = []
    for number, (job, _) in enumerate(life.versions):
        until_us = life.versions[number + 1][0].updated_at_us if number + 1 < len(life.versions) else life.deleted_us
        found.append((job.updated_at_us // 1_000_000, until_us // 1_000_000 if until_us else 1 << 40, job))
    return found


def _plan(job: Job, calendar_of: CalendarOf) -> Plan | None:
    try:
        return Plan(job, calendar_of)
    except ChronosError:
        return None


def _frame(case: Case, job: Job, told: Told) -> Explanation:
    return Explanation(
        job_id=job.id,
        job_name=job.name,
        namespace=job.namespace,
        at=instant_of(case.at_s),
        local=local(case.at_s, job.spec.timezone),
        timezone=job.spec.timezone,
        is_instant=False,
        reason=told.reason,
        verdict=f"`{job.name}` {told.verdict}",
        execution_id=execution_id(job.id, Kind.SCHEDULE, str(case.at_s), case.at_s),
        facts=told.facts,
    )


def _outside(case: Case) -> Explanation:
    """The job was not there."""
    first, last = case.life.versions[0][0], case.life.newest
    if case.life.deleted_us and case.at_s * 1_000_000 > case.life.deleted_us:
        job, reason = last, Reason.DELETED
        verdict = f"did not run: it had been deleted, at {clock_of(case.life.deleted_us, job.spec.timezone)}."
    else:
        job, reason = first, Reason.NOT_CREATED_YET
        by = f" by {first.created_by}" if first.created_by else ""
        verdict = f"did not run: it was made only at {clock_of(first.created_at_us, job.spec.timezone)}{by}."
    return replace(_frame(case, job, Told(reason=reason, verdict=verdict)), facts=_asked(case), version=job.revision)


def _told(case: Case, job: Job, timing: Timing, record: Record | None) -> Told:
    if isinstance(record, RangeRecord):
        return told_of_range(record, job)
    if isinstance(record, Execution):
        ran = next((kept for kept, _ in case.life.versions if kept.revision == record.revision), job)
        now = replace(ran, paused=case.life.newest.paused)
        return told_of_execution(record, now, case.slots.holding, case.progress.now_us)
    if timing.is_left_out:
        return _left_out(case, timing)
    if timing.reason is not None:
        return Told(reason=timing.reason, verdict=_not_due(case, timing.why))
    return _without_record(case, job)


def _not_due(case: Case, why: str) -> str:
    tense = "is not due then" if case.at_s * 1_000_000 > case.progress.now_us else "was not due then"
    return f"{tense}. {why}"


def _left_out(case: Case, timing: Timing) -> Told:
    will = "will not run" if case.at_s * 1_000_000 > case.progress.now_us else "did not run"
    return Told(reason=Reason.BLACKOUT, verdict=f"{will}: its calendar leaves that time out ({timing.why}).")


def _without_record(case: Case, job: Job) -> Told:
    """It was due, or will be, and nothing is written down of it."""
    at_us, now_us = case.at_s * 1_000_000, case.progress.now_us
    if job.paused is not None:
        return _paused(case, job)
    for ask in (_behind_the_cursor, _ahead_of_the_mark):
        told = ask(case, job)
        if told is not None:
            return told
    if now_us - at_us > case.progress.kept_days * DAY_US:
        days = f"{case.progress.kept_days:g} days"
        verdict = f"was due then, but history is kept for {days} only, and what became of it is gone."
        return Told(reason=Reason.HISTORY_GONE, verdict=verdict)
    verdict = "was due then, and there is no record of it. This must not be; please report it."
    return Told(reason=Reason.NO_RECORD, verdict=verdict)


def _paused(case: Case, job: Job) -> Told:
    pause, where = job.paused, job.spec.timezone
    assert pause is not None
    since = f" at {clock_of(round(pause.at.timestamp() * 1e6), where)}" if pause.at else ""
    by = f" by {pause.by}" if pause.by else ""
    why = f" ({pause.reason})" if pause.reason else ""
    is_future = case.at_s * 1_000_000 > case.progress.now_us
    until = f", until {local(int(pause.until.timestamp()), where)}" if pause.until else ""
    fact = Fact(kind=FactKind.PAUSE, text=f"Paused{since}{by}{why}{until}. Its record is written when it is resumed.")
    if is_future and pause.until is not None and case.at_s > pause.until.timestamp():
        return Told(
            reason=Reason.WILL_RUN, verdict="will run, if nothing changes: its pause is over by then.", facts=[fact]
        )
    will = "will not run unless it is resumed: it is paused" if is_future else "did not run: it was paused"
    return Told(reason=Reason.PAUSED, verdict=f"{will}{by}{why}.", facts=[fact])


def _behind_the_cursor(case: Case, job: Job) -> Told | None:
    shard = case.progress.shard
    if case.at_s * 1_000_000 > case.progress.now_us:
        return None  # it belongs to a crowd that is decided in parts, ahead of its time
    if shard.catchup_from_s < case.at_s <= shard.catchup_to_s and job.id > shard.cursor:
        verdict = "has not run yet: it came due during an outage that is being made up for right now. Ask again."
        return Told(reason=Reason.CATCHING_UP, verdict=verdict)
    return None


def _ahead_of_the_mark(case: Case, job: Job) -> Told | None:
    at_us, now_us = case.at_s * 1_000_000, case.progress.now_us
    if case.at_s <= _decided_to_s(case, job):
        return None
    trouble = [text for text in (case.progress.clock_note, case.progress.waits_for) if text]
    facts = [Fact(kind=FactKind.CLOCK, text=text) for text in trouble]
    if at_us <= now_us:
        why = trouble[0] if trouble else "Planning is about to come to it."
        return Told(reason=Reason.NOT_DECIDED_YET, verdict=f"has not run yet. {why}", facts=facts)
    plan = _plan(job, case.calendar_of)
    begins_us = plan.effective_us(case.at_s) if plan is not None else at_us
    jitter = (
        f", starting at {clock_of(begins_us, job.spec.timezone)} because of its jitter" if begins_us > at_us else ""
    )
    others = _who_may_be_in_the_way(case, job)
    return Told(reason=Reason.WILL_RUN, verdict=f"will run{jitter}, if nothing changes.", facts=[*facts, *others])


def _decided_to_s(case: Case, job: Job) -> int:
    """Return up to which second everything is decided of a job."""
    shard = case.progress.shard
    return shard.catchup_from_s if shard.catchup_to_s and job.id > shard.cursor else shard.hwm_s


def _who_may_be_in_the_way(case: Case, job: Job) -> list[Fact]:
    if not case.slots.holding:
        return []
    holder, policy = case.slots.holding[0], job.spec.concurrency.value
    text = f"`concurrency` is `{policy}`, and {holder} holds the slot now; it counts if it still does then."
    return [Fact(kind=FactKind.OVERLAP, text=text, record_id=holder)]


# The facts around it.


def _asked(case: Case) -> list[Fact]:
    return [Fact(kind=FactKind.DST, text=case.asked)] if case.asked else []


def _version(case: Case, job: Job, comment: str) -> Fact:
    by = f" by {job.updated_by}" if job.updated_by else ""
    said = f": {comment}" if comment else ""
    text = f"Version {job.revision} was in force, written {clock_of(job.updated_at_us, job.spec.timezone)}{by}{said}."
    newest = case.life.newest.revision
    if newest != job.revision:
        text += f" The job is at version {newest} now."
    return Fact(kind=FactKind.VERSION, text=text)


def _others(case: Case, record: Record | None, job: Job) -> list[Fact]:
    """What else ran for this instant: backfills, runs by hand."""
    facts = []
    for other in case.records:
        if isinstance(other, Execution) and other is not record and other.kind is not Kind.SCHEDULE:
            by = f" by {other.by}" if other.by else ""
            text = f"Besides, a {other.kind.value} run{by} for this instant: `{other.status.value}`."
            facts.append(Fact(kind=FactKind.OTHER_RUN, text=text, record_id=other.id))
    return facts


def _is_planned(record: Record | None) -> bool:
    return isinstance(record, Execution) and record.kind is Kind.SCHEDULE


def _status(record: Record | None) -> Status | None:
    if record is None:
        return None
    return record.status if isinstance(record, Execution) else Status.SKIPPED
