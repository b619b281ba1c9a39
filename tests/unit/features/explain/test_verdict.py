"""Every word there is for what became of an instant, with the record that says so."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from tests.unit.features.explain.cases import (
    DUE,
    KEY,
    MADE,
    NO_FIRST_OF_JUNE,
    NOW,
    OTHER_RUN,
    US,
    a_case,
    a_job,
    a_range,
    an_attempt,
    an_execution,
    failed,
    lost,
    s,
    waited,
    waiting,
)

from chronos.features.explain.model import FactKind, Reason
from chronos.features.explain.verdict import Case, explain, neighbours
from chronos.model.execution import AttemptStatus, Execution, Kind, Ongoing, SkipReason, Status, execution_id
from chronos.model.job import Pause
from chronos.store.records import range_id
from chronos.store.tables import Shard
from chronos.timing.clock import utc

DAY = 86_400


class Row(NamedTuple):
    """A question, the word that is the answer, the record it rests on, and what a person must read."""

    what: str
    case: Case
    reason: Reason
    record: str
    words: str


def of_range(reason: SkipReason, words: str, into: str = "", **spec: Any) -> Row:
    record = a_range(reason, into=into)
    case = a_case(record, job=a_job(**spec))
    return Row(f"skipped: {reason.value}", case, Reason(reason.value), range_id(record), words)


def of(
    what: str, word: Reason, words: str, /, *, holding: tuple[str, ...] = (), now: int | None = None, **fields: Any
) -> Row:
    record = an_execution(**fields)
    case = a_case(record, holding=holding, now=now or NOW)
    return Row(what, case, word, record.id, words)


def open_(what: str, word: Reason, words: str, why: str = "", /, **more: Any) -> Row:
    case = a_case(waiting(why, **more), now=DUE + 1, holding=(OTHER_RUN,) if word is Reason.WAITING_SLOT else ())
    return Row(what, case, word, KEY, words)


def asked(
    what: str, word: Reason, words: str, /, *records: Execution, job: dict[str, Any] | None = None, **more: Any
) -> Row:
    """A question to which the answer is no record, or that of an execution; `job` are fields of its spec."""
    version = a_job(**(job or {}))
    return Row(what, a_case(*records, **({"job": version} | more)), word, KEY if records else "", words)


RAN = [
    of("ran on time", Reason.ON_TIME, "ran on time"),
    of(
        "ran after the breaker let it",
        Reason.DELAYED,
        "30.0 s for the circuit breaker",
        attempts=(an_attempt(started_at_us=(DUE + 30) * US, waited=waited(breaker=30_000)),),
        started_at_us=(DUE + 30) * US,
    ),
    of("ran with its second attempt", Reason.RETRIED, "succeeded with attempt 2", attempts=(failed(), an_attempt(n=2))),
    of(
        "was made up for after an outage",
        Reason.LATE,
        "2 h 0 m late",
        late=True,
        decided_at_us=(DUE + 7_200) * US,
        started_at_us=(DUE + 7_200) * US,
    ),
    of(
        "was redriven, and succeeded",
        Reason.RETRIED,
        "succeeded with attempt 4",
        series=1,
        earlier_attempts=3,
        late=True,
        attempts=(an_attempt(n=4),),
    ),
]

ENDED = [
    of(
        "is a dead letter",
        Reason.FAILED,
        "failed for good after 3 attempts",
        status=Status.FAILED,
        reason="gave up after 3 attempts: HTTP 503",
        attempts=(failed(1), failed(2), failed(3)),
    ),
    of(
        "nobody knows whether it arrived",
        Reason.UNKNOWN,
        "nobody can say",
        status=Status.FAILED,
        reason="unknown: the server stopped",
        attempts=(lost(),),
    ),
    of(
        "was cancelled by a person",
        Reason.CANCELLED,
        "somebody cancelled it by bob: wrong data",
        status=Status.CANCELLED,
        reason="wrong data",
        by="bob",
    ),
    of(
        "was replaced while it ran",
        Reason.SUPERSEDED,
        "a newer run took its place",
        status=Status.CANCELLED,
        reason="superseded",
        blocked_by=OTHER_RUN,
    ),
    of(
        "its job was edited before it began",
        Reason.EDITED,
        "the job was changed",
        status=Status.CANCELLED,
        reason="edited",
        attempts=(),
    ),
    of(
        "its job was deleted",
        Reason.JOB_DELETED,
        "the job was deleted",
        status=Status.CANCELLED,
        reason="job_deleted",
        attempts=(),
    ),
]

UNDER_WAY = [
    of(
        "is running",
        Reason.RUNNING,
        "is running: attempt 1",
        now=DUE + 1,
        status=Status.RUNNING,
        attempts=(an_attempt(status=AttemptStatus.STARTED, ended_at_us=0),),
        ended_at_us=0,
    ),
    of(
        "is running at a target that reports by itself",
        Reason.RUNNING,
        "is running",
        now=DUE + 1,
        status=Status.RUNNING,
        attempts=(an_attempt(status=AttemptStatus.STARTED, ended_at_us=0, ongoing=Ongoing(accepted_us=DUE * US)),),
        ended_at_us=0,
    ),
    open_(
        "waits to be tried again",
        Reason.RETRYING,
        "is tried again at",
        "HTTP 503",
        status=Status.RETRYING,
        attempts=(failed(),),
        retry_at_us=(DUE + 9) * US,
    ),
    open_(
        "is sent again, for nobody knows",
        Reason.UNKNOWN,
        "it is sent again",
        "unknown: x",
        status=Status.RETRYING,
        attempts=(lost(),),
        retry_at_us=(DUE + 9) * US,
    ),
    open_(
        "waits for the breaker",
        Reason.WAITING_BREAKER,
        "circuit breaker is open",
        "breaker",
        retry_at_us=(DUE + 9) * US,
        waited=waited(breaker=9_000),
    ),
    open_("waits for its host", Reason.WAITING_HOST_CAP, "host has as many", "host_cap", retry_at_us=(DUE + 9) * US),
    open_("waits for the node", Reason.WAITING_CAPACITY, "node runs as many", "capacity", retry_at_us=(DUE + 9) * US),
    open_("waits in line", Reason.WAITING_SLOT, f"{OTHER_RUN} holds the slot"),
    open_("waits for its jitter", Reason.WAITING_JITTER, "starts at 2027-06-01 09:00:42", effective_us=(DUE + 42) * US),
    open_("is about to start", Reason.WAITING, "waits for its turn"),
]

SKIPPED = [
    of_range(SkipReason.MISFIRE, "missed runs are left out", missed_run_policy="ignore"),
    of_range(SkipReason.COALESCED, "a later one ran for all", into=OTHER_RUN),
    of_range(SkipReason.OVERLAP, "was not over", into=OTHER_RUN),
    of_range(SkipReason.SUPERSEDED, "a newer run took its place", into=OTHER_RUN, concurrency="replace"),
    of_range(SkipReason.PAUSED, "the job was paused"),
    of_range(SkipReason.QUOTA, "quota"),
    of_range(SkipReason.EXPIRED, "longer ago than its catch-up window", catchup_window="1h"),
    of_range(SkipReason.POLICY, "policy"),
    of_range(SkipReason.NONEXISTENT_TARGET, "target does not exist"),
    Row(
        "skipped: blackout",
        a_case(a_range(SkipReason.BLACKOUT, facts="holiday"), job=a_job(calendar="feast"), calendar=NO_FIRST_OF_JUNE),
        Reason.BLACKOUT,
        range_id(a_range(SkipReason.BLACKOUT)),
        "calendar leaves that time out",
    ),
]

PAUSE = Pause(reason="maintenance", by="bob", at=utc(DUE - DAY))

UNRECORDED = [
    asked("paused, and not resumed yet", Reason.PAUSED, "by bob (maintenance)", job={"at": DUE - DAY, "paused": PAUSE}),
    asked(
        "paused, and waits with its retry",
        Reason.WAITING_PAUSE,
        "until the job is resumed",
        waiting(status=Status.RETRYING, attempts=(failed(),)),
        job={"paused": PAUSE},
    ),
    asked("to come", Reason.WILL_RUN, "will run, if nothing changes", at=DUE + DAY),
    asked(
        "to come, and paused until then",
        Reason.WILL_RUN,
        "its pause is over by then",
        at=DUE + DAY,
        job={"paused": replace(PAUSE, until=utc(DUE + 60))},
    ),
    asked("to come, and paused", Reason.PAUSED, "unless it is resumed", at=DUE + DAY, job={"paused": PAUSE}),
    asked(
        "to come, and left out",
        Reason.BLACKOUT,
        "will not run",
        now=DUE - DAY,
        job={"calendar": "feast"},
        calendar=NO_FIRST_OF_JUNE,
    ),
    asked(
        "behind the cursor of a catch-up",
        Reason.CATCHING_UP,
        "made up for right now",
        shard=Shard(hwm_s=NOW, catchup_from_s=DUE - DAY, catchup_to_s=NOW),
    ),
    asked(
        "to come, in a crowd that is decided in parts",
        Reason.WILL_RUN,
        "will run, if nothing changes",
        at=DUE + DAY,
        shard=Shard(hwm_s=DUE + DAY, catchup_from_s=NOW, catchup_to_s=DUE + DAY),
    ),
    asked("a full disk", Reason.NOT_DECIDED_YET, "No room.", shard=Shard(hwm_s=DUE - 60), waits_for="No room."),
    asked("a held clock", Reason.NOT_DECIDED_YET, "It jumped.", shard=Shard(hwm_s=DUE - 60), clock_note="It jumped."),
    asked("older than history", Reason.HISTORY_GONE, "kept for 90 days only", now=DUE + 91 * DAY),
    asked("without a record", Reason.NO_RECORD, "must not be"),
]

GAP, REPEATED = s("2027-03-14T07:30Z"), s("2027-11-07T06:30Z")  # 02:30 and 01:30 in New York, if they were
LATER = {"now": s("2027-11-08T00:00Z")}

NOT_DUE = [
    asked("another time", Reason.NOT_DUE, "does not name that time", at=DUE + 60),
    asked("in a gap", Reason.DST_GAP, "instead, at 2027-03-14 03:00:00-04:00", at=GAP, job={"schedule": "30 2 * * *"}),
    asked("in a gap, real time", Reason.DST_GAP, "follows real time", at=GAP, job={"schedule": "*/30 2 * * *"}),
    asked(
        "in a gap, left out on purpose",
        Reason.DST_GAP,
        "`dst.gap` is `skip`",
        at=GAP,
        job={"schedule": "30 2 * * *", "dst": {"gap": "skip"}},
    ),
    asked("the second", Reason.DST_REPEAT, "first time only", at=REPEATED, job={"schedule": "30 1 * * *"}, **LATER),
    asked(
        "the first, where the second counts",
        Reason.DST_REPEAT,
        "second time only",
        at=REPEATED - 3_600,
        job={"schedule": "30 1 * * *", "dst": {"overlap": "second"}},
        **LATER,
    ),
    asked(
        "moved by its calendar",
        Reason.CALENDAR_SHIFT,
        "next business day",
        job={"calendar": "feast", "shift": "next_business_day"},
        calendar=NO_FIRST_OF_JUNE,
    ),
    asked("before its first day", Reason.BEFORE_START_AT, "is 2027-06-30", job={"start_at": "2027-07-01T00:00:00Z"}),
    asked("after its last day", Reason.AFTER_END_AT, "was 2027-04-30", job={"end_at": "2027-05-01T00:00:00Z"}),
    asked(
        "no schedule at all",
        Reason.NO_SCHEDULE,
        "after the jobs it depends on",
        job={"schedule": "", "dependencies": {"depends_on": ["other"]}},
    ),
    asked("before it was made", Reason.NOT_CREATED_YET, "only at 2026-12-31 19:00:00-05:00 by ann", at=MADE - 60),
    asked(
        "after it was deleted",
        Reason.DELETED,
        "had been deleted, at 2027-06-01 09:01:00-04:00",
        at=DUE + DAY,
        deleted=DUE + 60,
        now=DUE + 2 * DAY,
    ),
    asked("its calendar is gone", Reason.CANNOT_BE_PLANNED, "no calendar called 'feast'", job={"calendar": "feast"}),
]

ROWS = [*RAN, *ENDED, *UNDER_WAY, *SKIPPED, *UNRECORDED, *NOT_DUE]


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_the_verdict_has_its_word_its_record_and_a_sentence(row: Row) -> None:
    answer = explain(row.case)
    assert answer.reason is row.reason, answer.verdict
    assert answer.record_id == row.record
    assert row.words in answer.verdict
    assert answer.verdict.startswith("`nightly` ")


def test_every_word_is_in_the_table() -> None:
    assert {row.reason for row in ROWS} == set(Reason)


def test_every_reason_of_a_skip_is_a_word_of_the_answer() -> None:
    assert {row.reason.value for row in SKIPPED} == {reason.value for reason in SkipReason}


@pytest.mark.parametrize("row", [row for row in ROWS if row.record], ids=lambda row: row.what)
def test_a_fact_names_the_record_that_the_verdict_rests_on(row: Row) -> None:
    assert row.record in {fact.record_id for fact in explain(row.case).facts}


@pytest.mark.parametrize(
    "reason, kind", [(SkipReason.OVERLAP, FactKind.OVERLAP), (SkipReason.COALESCED, FactKind.MISFIRE)]
)
def test_a_skip_names_the_run_that_was_in_the_way(reason: SkipReason, kind: FactKind) -> None:
    answer = explain(a_case(a_range(reason, into=OTHER_RUN)))
    [fact] = [fact for fact in answer.facts if fact.kind is kind]
    assert fact.record_id == OTHER_RUN
    assert OTHER_RUN in fact.text


def test_a_range_is_told_with_its_ends_and_a_single_instant_without() -> None:
    several, single = a_range(SkipReason.OVERLAP), a_range(SkipReason.OVERLAP, first_s=DUE, last_s=DUE, count=1)
    assert "5 instants from 2027-05-30 09:00:00-04:00 to" in texts(a_case(several), FactKind.RECORD)[0]
    assert texts(a_case(single), FactKind.RECORD)[0].startswith("One instant, 2027-06-01 09:00:00-04:00, `overlap`")


# The chain.


def texts(case: Case, kind: FactKind) -> list[str]:
    return [fact.text for fact in explain(case).facts if fact.kind is kind]


def test_the_schedule_is_told_in_words_and_on_the_wall() -> None:
    [text] = texts(a_case(an_execution()), FactKind.SCHEDULE)
    assert "`0 9 * * *`" in text
    assert "is due at 2027-06-01 09:00:00-04:00" in text


def test_a_run_moved_out_of_a_gap_says_so() -> None:
    at = s("2027-03-14T07:00Z")
    [text] = texts(a_case(an_execution(at), at=at, job=a_job("30 2 * * *")), FactKind.DST)
    assert "right after the gap" in text


def test_each_attempt_is_told_with_what_it_waited_for() -> None:
    case = a_case(an_execution(attempts=(failed(waited=waited(host_cap=1_500)), an_attempt(n=2))))
    assert [text[:9] for text in texts(case, FactKind.ATTEMPT)] == ["Attempt 1", "Attempt 2"]
    assert "HTTP 503" in texts(case, FactKind.ATTEMPT)[0]
    assert texts(case, FactKind.WAIT) == [
        "Attempt 1 waited 1.5 s because its host had as many requests as it may have at a time."
    ]


def test_an_attempt_nobody_knows_of_does_not_count_as_a_try() -> None:
    [first, _] = texts(a_case(an_execution(attempts=(lost(1), an_attempt(n=2)))), FactKind.ATTEMPT)
    assert "nobody can say whether it arrived" in first
    assert "does not count" in first


def test_late_results_are_told() -> None:
    assert texts(a_case(an_execution(notes=("late_result: attempt 1 success (200)",))), FactKind.NOTE)


def test_after_an_edit_the_answer_for_an_older_instant_names_the_older_version() -> None:
    old, new = a_job("0 9 * * *", revision=1), a_job("0 10 * * *", revision=2, at=DUE + 3_600)
    before = explain(a_case(an_execution(), versions=[old, new]))
    assert (before.version, before.reason) == (1, Reason.ON_TIME)
    assert "Version 1 was in force" in next(f.text for f in before.facts if f.kind is FactKind.VERSION)
    assert "at version 2 now" in next(f.text for f in before.facts if f.kind is FactKind.VERSION)
    tomorrow = explain(a_case(versions=[old, new], at=DUE + DAY, now=DUE + 2 * DAY))
    assert (tomorrow.version, tomorrow.reason) == (2, Reason.NOT_DUE)
    later = explain(a_case(versions=[old, new], at=DUE + DAY + 3_600, now=DUE + 3_700))
    assert (later.version, later.reason) == (2, Reason.WILL_RUN)


def test_an_edit_counts_from_the_first_instant_after_it() -> None:
    old, new = a_job("0 9 * * *", revision=1), a_job("0 9 * * *", revision=2, at=DUE)
    assert explain(a_case(versions=[old, new])).version == 1
    assert explain(a_case(versions=[old, replace(new, updated_at_us=DUE * US - 1)])).version == 2


def test_a_backfill_of_the_instant_is_told_beside_its_own_run() -> None:
    again = an_execution(kind=Kind.BACKFILL, id=execution_id("x", Kind.BACKFILL, "1", DUE), by="bob")
    answer = explain(a_case(a_range(SkipReason.PAUSED), again))
    assert answer.reason is Reason.PAUSED
    [other] = [fact for fact in answer.facts if fact.kind is FactKind.OTHER_RUN]
    assert other.record_id == again.id
    assert "bob" in other.text


@pytest.mark.parametrize("kind", [Kind.MANUAL, Kind.DAG, Kind.EVENT])
def test_a_run_that_no_schedule_asked_for_is_explained_at_its_instant(kind: Kind) -> None:
    by_hand = an_execution(DUE + 7, kind=kind, by="bob")
    answer = explain(a_case(by_hand, at=DUE + 7))
    assert (answer.reason, answer.kind, answer.is_instant) == (Reason.ON_TIME, kind, False)
    assert "by bob" in next(fact.text for fact in answer.facts if fact.kind is FactKind.DECISION)


def test_a_run_by_hand_in_the_second_in_which_the_job_was_made_is_explained() -> None:
    made = replace(a_job(), updated_at_us=DUE * US + 300_000)
    answer = explain(a_case(an_execution(kind=Kind.MANUAL, by="bob"), job=made))
    assert (answer.reason, answer.version) == (Reason.ON_TIME, 1)


def test_a_manual_run_that_was_refused_names_what_was_in_the_way() -> None:
    refused = waiting("overlap", status=Status.SKIPPED, kind=Kind.MANUAL, blocked_by=OTHER_RUN)
    answer = explain(a_case(refused))
    assert (answer.reason, answer.status) == (Reason.OVERLAP, Status.SKIPPED)
    assert OTHER_RUN in {fact.record_id for fact in answer.facts}


def test_what_ran_counts_though_the_schedule_would_not_name_it_today() -> None:
    # The zone rules, or a calendar, have changed since: decisions are data.
    answer = explain(a_case(an_execution(DUE + 60), at=DUE + 60))
    assert (answer.reason, answer.is_instant) == (Reason.ON_TIME, True)


def test_what_a_calendar_leaves_out_inside_a_missed_stretch_is_the_calendars() -> None:
    missed, left_out = a_range(SkipReason.EXPIRED), a_range(SkipReason.BLACKOUT, first_s=DUE, last_s=DUE, count=1)
    case = a_case(missed, left_out, job=a_job(calendar="feast"), calendar=NO_FIRST_OF_JUNE)
    assert explain(case).reason is Reason.BLACKOUT
    assert explain(a_case(missed, left_out)).reason is Reason.EXPIRED


def test_of_several_decisions_after_a_clock_was_reset_the_newest_counts() -> None:
    old, new = a_range(SkipReason.MISFIRE), a_range(SkipReason.PAUSED, decided_at_us=(DUE + 9 * DAY) * US)
    assert explain(a_case(new, old)).reason is Reason.PAUSED


# The neighbours.


def test_the_instants_before_and_after_are_those_of_the_versions_in_force_then() -> None:
    old, new = a_job("0 9 * * *", revision=1), a_job("0 12 * * *", revision=2, at=DUE + 3_600)
    case = a_case(versions=[old, new], at=DUE + 3_600)
    assert neighbours(case) == (DUE, DUE + 3 * 3_600)
    assert neighbours(a_case(versions=[old, new], at=DUE + 3 * 3_600)) == (DUE, DUE + DAY + 3 * 3_600)


def test_there_is_no_instant_before_a_job_was_made_or_after_it_was_deleted() -> None:
    first = s("2027-01-01T14:00Z")
    assert neighbours(a_case(at=first)) == (None, first + DAY)
    assert neighbours(a_case(at=DUE, deleted=DUE + 60)) == (DUE - DAY, None)
    assert neighbours(a_case(at=MADE - DAY)) == (None, first)
