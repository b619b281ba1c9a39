from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.unit import executions
from tests.unit.features.fake_host import EPOCH_S, FakeHost, a_job

from chronos.features.metrics import install
from chronos.features.metrics.model import BY_TELEMETRY, TABLE, MetricKind, Prometheus, Settings
from chronos.features.metrics.tallies import ExecutionTallies
from chronos.model.events import EventType
from chronos.model.execution import Attempt, Execution, Status
from chronos.model.job import Pause
from chronos.plugin import Place, Where
from chronos.scheduler.plan import Plan
from chronos.scheduler.successes import Successes
from chronos.store.tables import SLOTS, Slots, Table

T = TypeVar("T")

# Facts other tools (dashboards, alerts) are built on; not read from the table under test.
DOCUMENTED = {
    "chronos_jobs_total": "unknown",
    "chronos_jobs_enabled": "gauge",
    "chronos_executions_total": "counter",
    "chronos_execution_duration_seconds": "histogram",
    "chronos_execution_attempts": "histogram",
    "chronos_scheduler_tick_duration_seconds": "histogram",
    "chronos_scheduled_runs_total": "counter",
    "chronos_missed_runs_total": "counter",
    "chronos_raft_is_leader": "gauge",
    "chronos_raft_peers": "gauge",
    "chronos_raft_last_contact": "gauge",
    "chronos_http_requests_total": "counter",
    "chronos_http_request_duration_seconds": "histogram",
    "chronos_start_lateness_seconds": "histogram",
    "chronos_log_commit_seconds": "histogram",
    "chronos_build_info": "gauge",
    "process_cpu_seconds_total": "counter",
}


def an_execution(job_id: str = "J1", name: str = "nightly", status: Status = Status.SUCCESS, **facts: Any) -> Execution:
    return executions.an_execution(job_id, 1, status, id="occ_1", job_name=name, **facts)


def a_host(**settings: Any) -> FakeHost:
    host = FakeHost()
    host.provide(Successes, Successes(Ended(), lambda job: Plan(job, lambda *_: None), host.jobs.all))
    install(host, Settings(**settings))
    return host


class Ended:
    """A state in which jobs were last well when `at` says, in microseconds by job id."""

    at: ClassVar[dict[str, int]] = {"J1": (EPOCH_S + 7_200 + 3) * 1_000_000}  # 02:00:03

    def get(self, table: Table[T], key: str) -> T | None:
        if table.name != SLOTS.name or key not in self.at:
            return None
        return cast("T", Slots(last_success_us=self.at[key]))


async def page(host: FakeHost, path: str = "/metrics") -> str:
    reply = await host.call("GET", path)
    assert reply.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.text is not None
    return reply.text.decode()


async def values(host: FakeHost) -> dict[str, float]:
    """Return every sample by its name and labels, as `name{a="b"}`."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(await page(host)):
        for sample in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def emit_everything(host: FakeHost) -> None:
    for metric in BY_TELEMETRY:
        labels = dict.fromkeys(metric.labels, "x")
        if metric.kind is MetricKind.COUNTER:
            host.telemetry.count(metric.name, 2, **labels)
        elif metric.kind is MetricKind.GAUGE:
            host.telemetry.gauge(metric.name, 3, **labels)
        else:
            host.telemetry.observe(metric.name, 0.25, **labels)


@pytest.mark.asyncio
async def test_every_documented_name_is_served_with_its_type() -> None:
    host = a_host()
    emit_everything(host)
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution())
    text = await page(host)
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert {name: types.get(name, "").replace("untyped", "unknown") for name in DOCUMENTED} == DOCUMENTED
    assert not [name for name in types if name.endswith("_created")]


@pytest.mark.asyncio
async def test_everything_in_the_table_moves_when_it_is_emitted() -> None:
    host = a_host()
    emit_everything(host)
    seen = await values(host)
    for metric in BY_TELEMETRY:
        labels = ",".join(f'{k}="x"' for k in sorted(metric.labels))
        suffix, value = {"counter": ("", 2), "gauge": ("", 3), "histogram": ("_sum", 0.25)}[metric.kind]
        key = f"chronos_{metric.name}{suffix}" + (f"{{{labels}}}" if labels else "")
        assert seen[key] == value, metric.name


@pytest.mark.asyncio
async def test_a_gauge_nobody_has_set_is_absent_and_a_counter_starts_at_zero() -> None:
    seen = await values(a_host())
    assert "chronos_raft_is_leader" not in seen
    assert "chronos_jobs_total" not in seen
    assert seen["chronos_missed_runs_total"] == 0


@pytest.mark.asyncio
async def test_an_execution_is_counted_with_its_status_duration_and_attempts() -> None:
    host = a_host()
    attempts = [Attempt(series=0, n=n, node="n", token="", not_before_us=0) for n in (1, 2)]
    failed = an_execution(
        status=Status.FAILED, started_at_us=1_000_000, ended_at_us=3_500_000, attempts=attempts, tries=2
    )
    await host.emit(EventType.EXECUTION_FINISHED, execution=failed)
    seen = await values(host)
    assert seen['chronos_executions_total{job_id="J1",job_name="nightly",status="failed"}'] == 1
    assert seen['chronos_execution_duration_seconds_sum{job_id="J1",job_name="nightly"}'] == 2.5
    assert seen["chronos_execution_attempts_sum"] == 2


@pytest.mark.asyncio
async def test_a_skipped_execution_has_a_status_and_no_duration() -> None:
    host = a_host(max_jobs=1)
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(status=Status.SKIPPED))
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution("J2", "hourly", status=Status.SKIPPED))
    seen = await values(host)
    assert seen['chronos_executions_total{job_id="J1",job_name="nightly",status="skipped"}'] == 1
    assert seen['chronos_executions_total{job_id="other",job_name="other",status="skipped"}'] == 1
    assert not [name for name in seen if name.startswith("chronos_execution_duration_seconds_")]
    assert seen["chronos_execution_attempts_count"] == 0


@pytest.mark.asyncio
async def test_jobs_above_the_bound_share_the_label_other_and_no_count_is_lost() -> None:
    host = a_host(max_jobs=2)
    for i in range(5):
        await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(f"J{i}", f"job-{i}"))
    counts = {k: v for k, v in (await values(host)).items() if k.startswith("chronos_executions_total{")}
    assert counts.pop('chronos_executions_total{job_id="other",job_name="other",status="success"}') == 3
    assert len(counts) == 2
    assert sum(counts.values()) == 2


def test_executions_that_come_together_are_counted_under_their_own_job_or_under_other() -> None:
    tallies, statuses = ExecutionTallies("t_", jobs_max=2), [Status.SUCCESS, Status.FAILED, Status.SKIPPED]
    ended = [
        an_execution(f"J{n % 5}", f"job-{n % 5}", statuses[n % 3], started_at_us=n % 3, ended_at_us=n % 3 + 2_000_000)
        for n in range(60)
    ]
    tallies.count(ended)
    executions, durations, _ = tallies.collect()
    labelled = [(one.job_id if one.job_id in ("J0", "J1") else "other", one) for one in ended]
    expected = Counter((label, one.status) for label, one in labelled)
    assert {(s.labels["job_id"], s.labels["status"]): s.value for s in executions.samples} == expected
    lasted = Counter(label for label, one in labelled if one.started_at_us)
    sums = {s.labels["job_id"]: s.value for s in durations.samples if s.name.endswith("_sum")}
    assert sums == {label: pytest.approx(2.0 * count) for label, count in lasted.items()}


@pytest.mark.asyncio
async def test_a_deleted_job_takes_its_series_with_it() -> None:
    host = a_host()
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(started_at_us=1, ended_at_us=2))
    await host.emit(EventType.JOB_DELETED, job_id="J1")
    assert 'job_id="J1"' not in await page(host)
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution())
    seen = await values(host)
    assert seen['chronos_executions_total{job_id="J1",job_name="nightly",status="success"}'] == 1


@pytest.mark.asyncio
async def test_a_renamed_job_is_shown_under_its_new_name_only() -> None:
    host = a_host()
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(name="before"))
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(name="after"))
    text = await page(host)
    assert 'job_name="after"' in text
    assert "before" not in text


@pytest.mark.asyncio
async def test_executions_are_counted_on_the_leader_so_that_a_sum_over_nodes_is_true() -> None:
    assert [w.where for w in a_host().watchers] == [Where.LEADER]


@pytest.mark.asyncio
async def test_a_name_nobody_announced_is_taken_in_up_to_a_bound_with_one_warning() -> None:
    host = a_host()
    with capture_logs() as logs:
        for i in range(205):
            host.telemetry.count(f"extra_{i}_total", 1, kind="x")
    seen = await values(host)
    assert seen['chronos_extra_199_total{kind="x"}'] == 1
    assert not [name for name in seen if "extra_200" in name]
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.asyncio
async def test_an_emission_that_does_not_fit_is_dropped_with_one_warning_and_never_raises() -> None:
    host = a_host()
    with capture_logs() as logs:
        for _ in range(3):
            host.telemetry.count("missed_runs_total", 1, colour="red")
            host.telemetry.gauge("scheduled_runs_total", 1)
            host.telemetry.observe("no good name", 1)
        host.telemetry.count("missed_runs_total", -1)
    assert len(logs) == 3
    assert (await values(host))["chronos_missed_runs_total"] == 0


@pytest.mark.asyncio
async def test_paths_without_end_do_not_become_series_without_end() -> None:
    host = a_host()
    for i in range(2_010):
        host.telemetry.count("http_requests_total", method="GET", path=f"/{i}", status="200")
    seen = {k: v for k, v in (await values(host)).items() if k.startswith("chronos_http_requests_total")}
    assert len(seen) == 2_001
    assert seen['chronos_http_requests_total{method="other",path="other",status="other"}'] == 10


@pytest.mark.asyncio
async def test_the_page_is_rendered_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    host = a_host()
    used: list[str] = []
    to_thread = asyncio.to_thread

    async def noted(function: Any, *args: Any) -> Any:
        used.append(function.__name__)
        return await to_thread(function, *args)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    await page(host)
    assert used == ["page"]


def test_the_page_needs_a_right_unless_it_is_made_public_and_stands_where_it_is_told() -> None:
    assert a_host().endpoints["GET", "/metrics"].permission == "metrics:read"
    moved = a_host(prometheus=Prometheus(path="/internal/prom", public=True))
    assert moved.endpoints["GET", "/internal/prom"].permission == "public"


@pytest.mark.parametrize("place", [Place.API, Place.WORKER])
def test_only_the_main_process_collects_and_answers(place: Place) -> None:
    host = FakeHost(place)
    install(host, Settings())
    assert (host.endpoints, host.subscriptions) == ({}, [])


def test_switched_off_it_does_nothing() -> None:
    host = a_host(prometheus=Prometheus(enabled=False))
    assert (host.endpoints, host.subscriptions) == ({}, [])


@pytest.mark.asyncio
async def test_prometheus_own_check_finds_nothing_to_complain_about() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("CHRONOS_REQUIRE_SERVICES") != "1", "promtool is required here (Debian: prometheus)"
        pytest.skip("promtool is not installed (Debian package prometheus)")
    host = a_host()
    emit_everything(host)
    host.telemetry.count("extra_total", 1, kind="x")
    host.telemetry.gauge("extra_things_total", 1)
    host.telemetry.observe("extra_seconds", 1)
    await host.emit(EventType.EXECUTION_FINISHED, execution=an_execution(started_at_us=1, ended_at_us=2))
    checked = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=(await page(host)).encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_the_reference_lists_every_metric() -> None:
    reference = Path(__file__).parents[4] / "docs/reference/metrics.md"
    text = reference.read_text(encoding="utf-8")
    assert [name for name in TABLE if f"`chronos_{name}`" not in text] == []


@pytest.mark.asyncio
async def test_a_gauge_with_a_source_is_as_it_is_when_the_page_is_read() -> None:
    host, jobs = a_host(), [3]
    host.telemetry.gauge_from("jobs_total", lambda: jobs[0])
    host.telemetry.gauge_from("queue_depth", lambda: jobs[0] * 2, queue="log")
    assert (await values(host))["chronos_jobs_total"] == 3
    jobs[0] = 4
    seen = await values(host)
    assert (seen["chronos_jobs_total"], seen['chronos_queue_depth{queue="log"}']) == (4, 8)


AGE, LATE = "chronos_job_last_success_age_seconds", "chronos_job_success_overdue_seconds"


def of(job_id: str, name: str) -> str:
    return f'{{job_id="{job_id}",job_name="{name}"}}'


@pytest.mark.asyncio
async def test_a_job_shows_how_long_it_has_not_been_well_and_since_when_it_should_have_been() -> None:
    host = a_host()
    host.job_service.add(a_job())  # at 02:00
    host.job_service.add(a_job("never", job_id="J2", schedule="0 1 * * *"))
    host.virtual.advance(3 * 3_600)
    seen = await values(host)
    assert (seen[AGE + of("J1", "nightly")], seen[LATE + of("J1", "nightly")]) == (3_597, 0)
    assert (seen[AGE + of("J2", "never")], seen[LATE + of("J2", "never")]) == (3 * 3_600, 2 * 3_600)
    host.virtual.advance(24 * 3_600)
    assert (await values(host))[LATE + of("J1", "nightly")] == 3_600


@pytest.mark.asyncio
async def test_a_paused_or_deleted_job_owes_no_success() -> None:
    host = a_host()
    host.job_service.add(replace(a_job(), paused=Pause()))
    host.job_service.add(a_job("gone", job_id="J2"))
    assert [key for key in await values(host) if key.startswith(AGE)] == [AGE + of("J2", "gone")]
    host.job_service.remove("J2")
    assert [key for key in await values(host) if key.startswith(AGE)] == []


@pytest.mark.asyncio
async def test_the_ages_of_jobs_are_bounded() -> None:
    host = a_host(max_jobs=3)
    for n in range(10):
        host.job_service.add(a_job(f"job{n}", job_id=f"J{n}"))
    assert len([key for key in await values(host) if key.startswith(AGE)]) == 3


@pytest.mark.asyncio
async def test_a_batch_of_measurements_is_counted_as_if_each_had_come_alone() -> None:
    at_once, alone, measured = a_host(), a_host(), [0.0001, 0.004, 0.004, 0.2, 10_000.0]
    at_once.telemetry.observe_all("start_lateness_seconds", measured)
    for value in measured:
        alone.telemetry.observe("start_lateness_seconds", value)
    seen = await values(at_once)
    lateness = {name: value for name, value in seen.items() if name.startswith("chronos_start_lateness")}
    assert lateness.items() <= (await values(alone)).items()
    assert seen['chronos_start_lateness_seconds_bucket{le="0.005"}'] == 3
    assert seen['chronos_start_lateness_seconds_bucket{le="+Inf"}'] == seen["chronos_start_lateness_seconds_count"] == 5
