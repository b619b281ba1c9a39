from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit import executions
from tests.unit.features.fake_host import a_job

from chronos.features.notify.model import (
    DIGEST_LINES_MAX,
    WINDOW_US,
    Addressed,
    Digest,
    Failing,
    Notice,
    NoticeKind,
    Queued,
    Settings,
)
from chronos.features.notify.rules import (
    BACKOFF_MAX_US,
    RateWindow,
    addressees,
    digest_notice,
    failure_notice,
    missed_range_notice,
    recovery_notice,
    retry_us,
    to_send,
    with_notice,
)
from chronos.model.execution import Attempt, AttemptStatus, Execution, RangeRecord, SkipReason, Status
from chronos.model.notify import NotifyEmail, NotifyOn

MINUTE_US = 60_000_000


def an_execution(job_id: str = "J1", name: str = "nightly", **facts: Any) -> Execution:
    known: dict[str, Any] = {"id": "occ_1", "job_name": name, "status": Status.FAILED, "ended_at_us": 9_000_000}
    return executions.an_execution(job_id, 1_735_689_600, **(known | facts))


def an_attempt(n: int, series: int = 0, **facts: Any) -> Attempt:
    return Attempt(series=series, n=n, node="a", token="", not_before_us=0, status=AttemptStatus.FAILED, **facts)


def a_notice(number: int = 1, kind: NoticeKind = NoticeKind.FAILURE, job_id: str = "J1") -> Notice:
    return Notice(id=f"n{number}", kind=kind, at_us=number, job_id=job_id, job_name=f"name-{job_id}")


def queued(number: int, channel: str, not_before_us: int = 0) -> Queued:
    return Queued(notice=a_notice(number), to=Addressed(key=channel), queued_at_us=number, not_before_us=not_before_us)


def test_a_jobs_own_channels_are_told_instead_of_the_servers() -> None:
    mail = NotifyEmail(to=["a@example.org"])
    server = Settings(channels=[mail, mail])
    own = a_job(notify={"on": ["failure"], "channels": [{"type": "slack", "url": "sealed:x"}]})
    on, channels = addressees(own, server)
    assert on == {NotifyOn.FAILURE}
    assert [(to.key, to.path) for to in channels] == [("job:J1:0", "notify.channels[0]")]
    assert [to.key for to in addressees(a_job(), server)[1]] == ["server:0", "server:1"]
    assert addressees(None, Settings())[1] == []


def test_a_failure_says_why_when_how_often_and_what_is_next() -> None:
    attempts = [an_attempt(1), an_attempt(2, error="HTTP 503", status_code=503)]
    notice = failure_notice(an_execution(attempts=attempts), at_us=5, next_run_s=77)
    assert notice.id == "occ_1-failure"
    assert (notice.attempts, notice.error, notice.status_code) == (2, "HTTP 503", 503)
    assert (notice.at_us, notice.next_run_s) == (9_000_000, 77)


def test_a_second_failure_after_a_redrive_is_another_notice_and_counts_its_own_attempts() -> None:
    execution = an_execution(series=1, attempts=(an_attempt(1), an_attempt(2, series=1)))
    notice = failure_notice(execution, at_us=5, next_run_s=0)
    assert notice.id == "occ_1-failure-1"
    assert notice.attempts == 1


def test_without_an_attempt_the_executions_own_reason_is_told() -> None:
    assert failure_notice(an_execution(reason="no such zone"), at_us=5, next_run_s=0).error == "no such zone"


def test_the_same_trouble_always_has_the_same_id_and_no_dot_in_it() -> None:
    record = RangeRecord("J1", "default", 10, 70, 2, SkipReason.MISFIRE)
    failing = Failing(job_id="J1", namespace="default", since_us=3, execution_id="occ_0")
    ids = [
        (
            failure_notice(an_execution(), at_us=at, next_run_s=at).id,
            recovery_notice(an_execution(status=Status.SUCCESS), failing, at, at).id,
            missed_range_notice(record, "nightly", at, at).id,
        )
        for at in (1, 2)
    ]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert "." not in "".join(ids[0]), "Standard Webhooks joins the signed parts with dots"


@given(st.lists(st.integers(0, 3 * WINDOW_US), max_size=80), st.integers(1, 5))
def test_no_five_minutes_have_more_messages_than_the_limit(times: list[int], limit: int) -> None:
    window = RateWindow(limit)
    passed = [at for at in sorted(times) if window.admit("c", at)]
    for at in passed:
        assert sum(at - WINDOW_US < other <= at for other in passed) <= limit
    assert len(passed) >= min(limit, len(times))


def test_one_busy_channel_leaves_the_others_their_messages_and_is_forgotten_when_quiet() -> None:
    window = RateWindow(1)
    assert window.admit("a", 0)
    assert not window.admit("a", 1)
    assert window.admit("b", 1)
    window.forget_before(WINDOW_US + 1)
    assert window.admit("a", WINDOW_US + 1)


@given(st.lists(st.tuples(st.sampled_from(list(NoticeKind)[:3]), st.integers(0, 40)), min_size=1, max_size=120))
def test_a_digest_counts_every_notice_and_stays_small(stream: list[tuple[NoticeKind, int]]) -> None:
    digest = Digest(id="d", to=Addressed(key="server:0"), namespace="default", since_us=0)
    news = 0
    for kind, job in stream:
        digest, is_news = with_notice(digest, a_notice(kind=kind, job_id=f"J{job}"))
        news += is_news
    notice = digest_notice(digest, 5)
    assert sum(line.count for line in notice.lines) + notice.more == len(stream)
    assert len(notice.lines) <= DIGEST_LINES_MAX
    assert news <= DIGEST_LINES_MAX + 1, "writes are bounded too"


@given(st.integers(1, 200), st.text(max_size=5))
def test_waits_grow_stay_above_two_seconds_and_below_ten_minutes(attempts: int, seed: str) -> None:
    wait = retry_us(attempts, seed)
    assert 2_500_000 <= wait <= BACKOFF_MAX_US
    assert wait == retry_us(attempts, seed)


def test_twelve_tries_take_between_twenty_minutes_and_seventy() -> None:
    for seed in map(str, range(50)):
        assert 20 * MINUTE_US < sum(retry_us(n, seed) for n in range(1, 12)) < 70 * MINUTE_US


def test_a_channel_is_sent_one_message_at_a_time_oldest_first() -> None:
    chosen, next_us = to_send([queued(3, "a"), queued(1, "a"), queued(2, "b")], {}, 10, at_most=8)
    assert [q.notice.id for q in chosen] == ["n1", "n2"]
    assert next_us == 0


def test_a_channel_that_refused_holds_back_its_own_messages_only() -> None:
    chosen, next_us = to_send([queued(1, "a"), queued(2, "b")], {"a": 50}, 10, at_most=8)
    assert [q.notice.id for q in chosen] == ["n2"]
    assert next_us == 50


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("abcd"), st.integers(0, 30)), max_size=30),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30)),
    st.integers(0, 30),
)
def test_what_is_due_and_free_is_chosen_and_nothing_else(
    items: list[tuple[int, str, int]], held: dict[str, int], now: int
) -> None:
    waiting = [replace(queued(n, c, at), notice=a_notice(i)) for i, (n, c, at) in enumerate(items)]
    chosen, next_us = to_send(waiting, held, now, at_most=3)
    due = {q.to.key for q in waiting if max(q.not_before_us, held.get(q.to.key, 0)) <= now}
    assert len({q.to.key for q in chosen}) == len(chosen) == min(3, len(due))
    assert {q.to.key for q in chosen} <= due
    assert (next_us is None) == (len(chosen) == len(waiting))


def test_nothing_waiting_means_nothing_to_do() -> None:
    assert to_send([], {}, 10, at_most=8) == ([], None)
