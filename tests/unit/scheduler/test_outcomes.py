from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scheduler.harness import a_spec

from chronos.dispatch.port import (
    Accepted,
    Answer,
    Cancelled,
    Delivered,
    Done,
    Lost,
    NoAnswer,
    NotSent,
    Outcome,
    Refused,
)
from chronos.model.execution import Attempt, AttemptStatus, Execution, Kind, Waited
from chronos.model.job import Job
from chronos.scheduler.outcomes import AGAIN_MIN_US, RETRY_AFTER_MAX_US, late_result, next_step
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import Next, Settlement

S = 1_000_000
NOW = 1_800_000_000 * S


def a_job(**policy: Any) -> Job:
    on_unknown = policy.pop("on_unknown", "retry")
    spec = a_spec(retry_policy=policy, on_unknown=on_unknown).normal()
    return Job(id="J1", spec=spec, revision=1, created_at_us=0, updated_at_us=0)


def an_execution(**more: Any) -> Execution:
    given_: dict[str, Any] = {
        "attempts": [Attempt(0, 1, "n1", "0.1.2", NOW - S)],
        "started_at_us": NOW - S,
    }
    return Execution(
        "occ_1", "J1", "nightly", "default", Kind.SCHEDULE, "1", 1, NOW - S, 1, 5, NOW - S, **(given_ | more)
    )


def step(
    outcome: Outcome,
    *,
    next_instant_us: int | None = None,
    others_us: int | None = None,
    more: Any = None,
    **policy: Any,
) -> Settlement:
    execution = an_execution(**(more or {}))
    done = Done(execution.id, 1, outcome, NOW - S, NOW)
    return next_step(
        execution,
        a_job(**policy),
        done,
        now_us=NOW,
        settings=SchedulerSettings(),
        next_instant_us=next_instant_us,
        others_us=others_us,
    )


def refused(**more: Any) -> Refused:
    return Refused("HTTP 503", "http_status", Answer(status_code=503), **more)


SILENT = NoAnswer("timed out after 30s", "timeout")


@pytest.mark.parametrize(
    "outcome, what, status",
    [
        (Delivered(Answer(status_code=204)), Next.SUCCEED, AttemptStatus.SUCCESS),
        (refused(), Next.RETRY, AttemptStatus.FAILED),
        (refused(permanent=True), Next.FAIL, AttemptStatus.FAILED),
        (SILENT, Next.RETRY, AttemptStatus.FAILED),
        (Cancelled(), Next.CANCEL, AttemptStatus.CANCELLED),
        (Lost("drain"), Next.RETRY, AttemptStatus.UNKNOWN),
        (NotSent("breaker"), Next.AGAIN, AttemptStatus.STARTED),
    ],
)
def test_what_follows_each_outcome(outcome: Outcome, what: Next, status: AttemptStatus) -> None:
    settled = step(outcome)
    assert (settled.next, settled.attempt.status) == (what, status)
    assert settled.unknown is isinstance(outcome, Lost)


def test_what_came_back_is_kept_and_bounded() -> None:
    answer = Answer(status_code=500, body_bytes=70_000, sha256="ab", excerpt="x" * 5_000, notes=("n",) * 50)
    attempt = step(Refused("r" * 5_000, "http_status", answer, resent=True)).attempt
    assert (attempt.status_code, attempt.body_bytes, attempt.sha256, attempt.resent) == (500, 70_000, "ab", True)
    assert (len(attempt.excerpt), len(attempt.error), len(attempt.notes)) == (1_024, 1_024, 20)
    assert (attempt.started_at_us, attempt.ended_at_us) == (NOW - S, NOW)


@pytest.mark.parametrize("tries, what", [(0, Next.RETRY), (1, Next.RETRY), (2, Next.FAIL), (7, Next.FAIL)])
def test_tries_are_bounded(tries: int, what: Next) -> None:
    assert step(refused(), more={"tries": tries}).next is what


def test_one_attempt_means_one() -> None:
    settled = step(refused(), max_attempts=1)
    assert (settled.next, settled.reason) == (Next.FAIL, "gave up after 1 attempt: HTTP 503")


def test_attempts_of_unknown_outcome_use_up_no_try() -> None:
    assert step(refused(), more={"tries": 1, "unknowns": 4}).next is Next.RETRY


@given(tries=st.integers(0, 20), initial=st.sampled_from(["1ms", "1s", "10s"]), cap=st.sampled_from(["5s", "1m"]))
def test_the_wait_lies_between_nothing_and_the_backoff(tries: int, initial: str, cap: str) -> None:
    settled = step(refused(), more={"tries": tries}, max_attempts=100, initial_interval=initial, max_interval=cap)
    first = {"1ms": 1_000, "1s": S, "10s": 10 * S}[initial]
    most = min({"5s": 5 * S, "1m": 60 * S}[cap], first * 2**tries)
    assert 0 <= settled.retry_at_us - NOW <= most


@pytest.mark.parametrize("wish_s, wait_us", [(120.0, 120 * S), (7_200.0, RETRY_AFTER_MAX_US)])
def test_the_targets_wish_is_a_floor_and_at_most_an_hour(wish_s: float, wait_us: int) -> None:
    assert step(refused(retry_after_s=wish_s)).retry_at_us == NOW + wait_us


def test_the_targets_wish_never_shortens_the_wait() -> None:
    plain = step(refused(), initial_interval="1m", max_interval="10m")
    wished = step(refused(retry_after_s=0.0), initial_interval="1m", max_interval="10m")
    assert wished.retry_at_us == plain.retry_at_us


def test_the_targets_wish_is_clipped_to_the_time_left() -> None:
    settled = step(refused(retry_after_s=600.0), retry_for="1m")
    assert (settled.next, settled.retry_at_us) == (Next.RETRY, NOW - S + 60 * S)


def test_when_no_time_is_left_it_fails() -> None:
    more = {"started_at_us": NOW - 60 * S}
    settled = step(refused(), more=more, retry_for="1m", initial_interval="1h", max_interval="1h")
    assert (settled.next, settled.reason) == (Next.FAIL, "no time left to retry: HTTP 503")


def test_it_gives_up_when_the_next_instant_would_come_first() -> None:
    soon = NOW + 10_000
    long: dict[str, Any] = {"initial_interval": "1h", "max_interval": "1h"}
    assert step(refused(), next_instant_us=soon, give_up_at_next=True, **long).next is Next.FAIL
    assert step(refused(), next_instant_us=soon, give_up_at_next=False, **long).next is Next.RETRY
    assert step(refused(), next_instant_us=None, give_up_at_next=True, **long).next is Next.RETRY


@pytest.mark.parametrize("unknowns, what", [(0, Next.RETRY), (4, Next.RETRY), (5, Next.FAIL)])
def test_unknown_attempts_are_tried_again_at_once_five_times(unknowns: int, what: Next) -> None:
    settled = step(Lost("drain"), more={"unknowns": unknowns})
    assert settled.next is what
    if what is Next.RETRY:
        assert settled.retry_at_us == NOW


def test_a_job_may_ask_for_unknown_to_mean_failed() -> None:
    settled = step(Lost("drain"), on_unknown="fail")
    assert (settled.next, settled.unknown, settled.reason) == (Next.FAIL, True, "unknown: drain")


@pytest.mark.parametrize("wish_s, wait_us", [(0.0, AGAIN_MIN_US), (3.0, 3 * S)])
def test_what_was_not_sent_is_asked_again_after_a_while(wish_s: float, wait_us: int) -> None:
    assert step(NotSent("breaker", wish_s)).retry_at_us == NOW + wait_us


@pytest.mark.parametrize(
    "others_us, at_us",
    [(NOW, NOW + AGAIN_MIN_US), (NOW + 10 * S, NOW + 10 * S), (NOW + 40 * S, NOW + 30 * S)],
    ids=["another may at once", "another may before", "this one may first"],
)
def test_what_this_node_holds_back_waits_for_the_first_that_may_send(others_us: int, at_us: int) -> None:
    settled = step(NotSent("breaker", 30.0), others_us=others_us)
    assert (settled.next, settled.retry_at_us, settled.held_until_us) == (Next.AGAIN, at_us, NOW + 30 * S)


@pytest.mark.parametrize("reason", ["host_cap", "capacity", "drain", "recalled"])
def test_only_what_a_breaker_holds_back_is_asked_elsewhere(reason: str) -> None:
    settled = step(NotSent(reason, 30.0), others_us=NOW)
    assert (settled.retry_at_us, settled.held_until_us) == (NOW + 30 * S, 0)


def test_alone_a_node_waits_for_its_own_breaker() -> None:
    settled = step(NotSent("breaker", 30.0))
    assert (settled.retry_at_us, settled.held_until_us) == (NOW + 30 * S, 0)


def test_what_cannot_be_sent_for_the_whole_time_fails_in_the_end() -> None:
    settled = step(NotSent("breaker", 30.0), more={"started_at_us": NOW - 50 * S}, retry_for="1m")
    assert (settled.next, settled.attempt.error_class) == (Next.FAIL, "not_sent")


def test_a_recall_is_never_a_failure() -> None:
    more = {"started_at_us": NOW - 3_600 * S, "cancel_requested": True}
    assert step(NotSent("recalled"), more=more, retry_for="1m").next is Next.AGAIN


def test_a_cancellation_keeps_its_reason() -> None:
    assert step(Cancelled(), more={"reason": "superseded"}).reason == "superseded"
    assert step(Cancelled()).reason == "cancelled"


@pytest.mark.parametrize("reason", ["breaker", "host_cap", "capacity"])
def test_what_kept_an_attempt_from_leaving_is_counted_as_waiting(reason: str) -> None:
    held = Attempt(0, 1, "n1", "0.1.2", NOW - S, waited=Waited(breaker=5))
    settled = step(NotSent(reason, retry_after_s=2.5), more={"attempts": [held]})
    assert settled.attempt.waited == Waited(breaker=5).plus(Waited(**{reason: 2500}))


def test_a_recall_is_no_wait() -> None:
    assert step(NotSent("recalled")).attempt.waited == Waited()


@pytest.mark.parametrize(
    "outcome, status",
    [
        (Delivered(Answer(status_code=204)), AttemptStatus.SUCCESS),
        (refused(), AttemptStatus.FAILED),
        (SILENT, AttemptStatus.FAILED),
        (Cancelled(), AttemptStatus.CANCELLED),
    ],
)
def test_a_late_result_says_what_came(outcome: Outcome, status: AttemptStatus) -> None:
    late = late_result(Done("occ_1", 3, outcome, NOW - S, NOW))
    assert late is not None
    assert (late.attempt.n, late.attempt.status) == (3, status)


@pytest.mark.parametrize("outcome", [NotSent("drain"), Lost("drain")])
def test_nothing_that_came_late_is_no_result(outcome: Outcome) -> None:
    assert late_result(Done("occ_1", 3, outcome, NOW - S, NOW)) is None


def test_work_that_is_taken_on_goes_on_until_its_deadline() -> None:
    answer = Answer(202, 5, "ab", "on it")
    settled = step(Accepted(answer, deadline_us=60 * S, heartbeat_us=10 * S, resent=True))
    attempt = settled.attempt
    assert (settled.next, settled.unknown, settled.retry_at_us) == (Next.GO_ON, False, 0)
    assert (attempt.status, attempt.ended_at_us, attempt.status_code) == (AttemptStatus.STARTED, 0, 202)
    assert (attempt.excerpt, attempt.resent, attempt.is_accepted) == ("on it", True, True)
    assert attempt.ongoing is not None
    assert (attempt.ongoing.deadline_us, attempt.ongoing.heartbeat_us) == (NOW - S + 60 * S, 10 * S)
    assert (attempt.ongoing.accepted_us, attempt.ongoing.heard_us, attempt.ongoing.progress) == (NOW, NOW, -1)


def test_that_work_was_taken_on_is_no_late_result() -> None:
    assert late_result(Done("occ_1", 1, Accepted(Answer(202)), NOW, NOW)) is None
