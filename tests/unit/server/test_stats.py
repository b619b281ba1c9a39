"""What a node says it is doing is what has happened to it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.executions import an_execution

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Status
from chronos.server import stats as stats_module
from chronos.server.stats import Stats


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time(self) -> float:
        return 1_800_000_000.0 + self.now

    def boottime(self) -> float:
        return self.now


def run(number: int, status: Status = Status.SUCCESS, of: str = "a", **facts: Any) -> Execution:
    return an_execution(of, number, status, id=f"occ_{number}", job_name=f"job {of}", **facts)


def event(kind: EventType, execution: Execution | None = None, job_id: str = "") -> Event:
    job = execution.job_id if execution is not None else job_id
    return Event(type=kind, index=1, seq=0, time_us=1, execution=execution, job_id=job)


def ended(*executions: Execution) -> list[Event]:
    return [event(EventType.EXECUTION_FINISHED, execution) for execution in executions]


def test_rates_are_those_of_the_last_ten_whole_seconds() -> None:
    clock = SetClock()
    stats = Stats(clock, list)
    clock.now += 20
    stats.on_events(ended(*map(run, range(30)), run(31, Status.FAILED), run(32, Status.SKIPPED)))
    assert stats.rates()["success"] == 0.0, "the second is not over"
    clock.now += 1
    assert stats.rates() == {"success": 3.0, "failed": 0.1, "skipped": 0.1, "cancelled": 0.0}
    assert stats.ended_by_second()[-1] == 32
    clock.now += 10
    assert stats.rates()["success"] == 0.0
    assert sum(stats.ended_by_second()) == 32
    clock.now += 60
    assert stats.ended_by_second() == [0] * 60


def test_a_server_that_has_just_begun_divides_by_the_time_it_has_run() -> None:
    clock = SetClock()
    stats = Stats(clock, list)
    stats.on_events(ended(*map(run, range(8))))
    clock.now += 2
    assert stats.rates()["success"] == 4.0


def test_percentiles_of_lateness_are_exact_to_a_fifth() -> None:
    stats, chance = Stats(SetClock(), list), random.Random(5)
    values = [chance.lognormvariate(-5, 1.5) for _ in range(5_000)]
    for first in range(0, len(values), 100):
        stats.observe("start_lateness_seconds", values[first : first + 100], {})
    told, ordered = stats.lateness(), sorted(values)
    assert told.count == 5_000
    assert told.max == pytest.approx(ordered[-1] * 1_000, abs=0.01)
    for share, value in ((0.5, told.p50), (0.95, told.p95), (0.99, told.p99)):
        exact = ordered[int(share * 5_000) - 1] * 1_000
        assert value is not None
        assert exact * 0.99 <= value <= exact * 1.21, share


def test_lateness_is_forgotten_after_a_minute_and_other_measurements_are_none_of_it() -> None:
    clock = SetClock()
    stats = Stats(clock, list)
    stats.observe("start_lateness_seconds", [0.5], {})
    stats.observe("log_commit_seconds", [9.0], {})
    clock.now += 50
    stats.observe("start_lateness_seconds", [0.001], {})
    assert (stats.lateness().count, stats.lateness().max) == (2, 500.0)
    clock.now += 20
    assert (stats.lateness().count, stats.lateness().max) == (1, 1.0)
    clock.now += 100
    assert stats.lateness() == stats_module.Lateness(count=0)


def test_who_retries_is_looked_up_once_and_followed_from_then_on() -> None:
    asked: list[int] = []

    def open_executions() -> list[Execution]:
        asked.append(1)
        return [run(1, Status.RETRYING), run(2, Status.RUNNING), run(3, Status.RETRYING)]

    stats = Stats(SetClock(), open_executions)
    stats.on_events([event(EventType.EXECUTION_RETRYING, run(1, Status.RETRYING))])
    assert stats.retrying() == 2
    stats.on_events([event(EventType.EXECUTION_RETRYING, run(4, Status.RETRYING))])
    stats.on_events([event(EventType.EXECUTION_STARTED, run(1, Status.RUNNING)), *ended(run(3, Status.CANCELLED))])
    assert stats.retrying() == 1
    assert asked == [1]


def test_a_job_fails_until_it_succeeds_or_is_deleted_and_says_how_often_and_why() -> None:
    stats = Stats(SetClock(), list)
    no = replace(run(1, Status.FAILED), reason="HTTP 503")
    stats.on_events(ended(no, run(2, Status.FAILED, of="b"), no, run(9, Status.SKIPPED)))
    assert [(one.job_id, one.failures, one.reason) for one in stats.failing()] == [
        ("a", 2, "HTTP 503"),
        ("b", 1, "no reason was recorded"),
    ]
    stats.on_events([*ended(run(3)), event(EventType.JOB_DELETED, job_id="b")])
    assert stats.failing() == []


def test_only_so_many_failing_jobs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "FAILING_MAX", 3)
    stats = Stats(SetClock(), list)
    stats.on_events(ended(*(run(number, Status.FAILED, of=f"J{number}") for number in range(5))))
    assert [one.job_id for one in stats.failing()] == ["J4", "J3", "J2"]
