"""What health and metrics say."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from chronos.repeater.capture import Capture
from chronos.repeater.engine import Report
from chronos.repeater.observing import BUCKETS_S, Figures, after, health, metrics
from chronos.repeater.port import Run
from chronos.repeater.stops import Fate


def told(*runs: tuple[bool, float]) -> Figures:
    figures = Figures()
    for number, (ok, took_s) in enumerate(runs, 1):
        run = Run(number, 0, took_s, 1_700_000_000 + number, ok, 0 if ok else 1)
        fate = Fate.OK if ok else Fate.FAILED
        report = Report(run, fate, 1, "", Capture(texts=False, fingerprint=False))
        figures = after(figures, report, wait_s=1.5)
    return figures


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1000)), max_size=30))
def test_the_histogram_is_one(runs: list[tuple[bool, float]]) -> None:
    page = metrics(told(*runs), limits_rate=False)
    buckets = [(bound, int(count)) for bound, count in re.findall(r'_bucket\{le="([^"]+)"\} (\d+)', page)]
    assert [bound for bound, _ in buckets] == [*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"]
    for bound, count in buckets:
        assert count == sum(took_s <= float(bound) for _, took_s in runs)
    assert f"_count {len(runs)}\n" in page
    assert f'{{status="success"}} {sum(ok for ok, _ in runs)}\n' in page


def test_health_is_lost_with_three_failures_in_a_row_and_found_with_a_success() -> None:
    def status(*runs: bool) -> tuple[int, str]:
        code, body = health(told(*((ok, 0.5) for ok in runs)), version="1", uptime_s=2, wall_s=0)
        return code, body["status"]

    assert status() == (200, "healthy")
    assert status(False, False) == (200, "healthy")
    assert status(False, False, False) == (503, "unhealthy")
    assert status(False, False, False, True) == (200, "healthy")


def test_times_that_pass_are_nanoseconds_and_instants_are_utc() -> None:
    _, body = health(told((True, 0.5), (False, 1.5)), version="1.2", uptime_s=2.5, wall_s=1_700_000_000)
    assert body == {
        "status": "healthy",
        "timestamp": "2023-11-14T22:13:20Z",
        "version": "1.2",
        "uptime": 2_500_000_000,
        "metrics": {
            "total_executions": 2,
            "successful_executions": 1,
            "failed_executions": 1,
            "average_response_time": 1_000_000_000,
            "last_execution": "2023-11-14T22:13:22Z",
        },
    }


def test_before_the_first_run_there_are_no_figures() -> None:
    assert "metrics" not in health(Figures(), version="1", uptime_s=0, wall_s=0)[1]
