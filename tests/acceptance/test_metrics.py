"""Every series of the reference is real: it is there on a running server, and it moves."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.dashboards import promtool
from tests.acceptance.served import Served, answering, served

REFERENCE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
DEMO_S = 70.0
PATIENCE_S = 60.0

GAUGES: dict[str, Callable[[float], bool]] = {
    "chronos_raft_is_leader": lambda value: value == 1,
    "chronos_raft_peers": lambda value: value == 1,
    "chronos_raft_last_contact": lambda value: value == 0,
    "chronos_raft_commit_index": lambda value: value > 10,
    "chronos_raft_applied_index": lambda value: value > 10,
    "chronos_jobs_total": lambda value: value == 3,
    "chronos_jobs_enabled": lambda value: value == 3,
    "chronos_executions_in_flight": lambda value: 0 <= value <= 3,
    "chronos_executions_ongoing": lambda value: value == 0,
    "chronos_queue_depth": lambda value: 0 <= value <= 100,
    "chronos_backup_age_seconds": lambda value: value == -1,
    "chronos_log_bytes": lambda value: value >= 0,
    "chronos_log_entries": lambda value: value >= 0,
    "chronos_log_held_entries": lambda value: value == 0,
    "chronos_log_cut_past": lambda value: value == 0,
    "chronos_clock_hold_seconds": lambda value: value == 0,
    "chronos_scheduling": lambda value: value == 1,
    "chronos_workers": lambda value: value == 1,
    "chronos_worker_in_flight": lambda value: 0 <= value <= 3,
    "chronos_job_last_success_age_seconds": lambda value: 0 < value < 3_600,
    "chronos_job_success_overdue_seconds": lambda value: 0 <= value < 3_600,
}


def documented() -> dict[str, str]:
    """Return every series of the reference's tables with its type, but for those that only a cluster's members have."""
    before, _, rest = REFERENCE.partition("## Members of a cluster")
    text = before + rest.partition("\n## ")[2]
    rows = re.findall(r"^\| `(chronos_\w+)` \| (counter|histogram|gauge|untyped)", text, re.MULTILINE)
    return dict(rows)


def at_rest() -> set[str]:
    """Return the series of which the reference says that they move only in bad times."""
    table = REFERENCE.partition("### At rest")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(chronos_\w+)` \| ", table, re.MULTILINE))


def page(server: Served) -> str:
    return requests.get(f"{server.url}/metrics", timeout=10).text


def totals(text: str) -> dict[str, float]:
    """Return each series' sum over its labels: the value of a counter or gauge, the count of a histogram."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_sum")):
                continue
            name = re.sub(r"_count$", "", sample.name)
            found[name] = found.get(name, 0.0) + sample.value
    return found


def until(what: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    """Ask `what` until it says yes."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


@pytest.mark.timeout(240)
def test_every_documented_series_moves_while_the_demo_runs(tmp_path: Path) -> None:
    names = documented()
    assert len(names) > 15, "the reference's tables are not where they were"
    with served(tmp_path / "data", "--demo", workers="1") as server:
        begun = time.monotonic()
        before = totals(page(server))
        flaky = f"{server.url}/api/v1/jobs/demo-flaky/executions?status=success"
        until(lambda: time.monotonic() - begun > DEMO_S, DEMO_S + 30)
        until(lambda: requests.get(flaky, timeout=10).json()["executions"], 90)
        text = page(server)
    after = totals(text)
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))

    assert {name: types.get(name) for name in names} == names
    moving = {name for name, kind in names.items() if kind in ("counter", "histogram")}
    unmoved = {name for name in moving if after.get(name, 0) <= before.get(name, 0)}
    assert unmoved <= at_rest() <= moving

    assert {name for name, kind in names.items() if kind in ("gauge", "untyped")} == set(GAUGES)
    assert {name: after.get(name) for name, fits in GAUGES.items() if not fits(after.get(name, -1))} == {}
    assert after["chronos_raft_commit_index"] > before["chronos_raft_commit_index"]
    queues = set(re.findall(r'^chronos_queue_depth\{queue="(\w+)"\}', text, re.MULTILINE))
    assert queues == {"log", "scheduler", "executor"}
    assert re.search(
        r'^chronos_executions_total\{job_id="\w+",job_name="demo-flaky",status="success"\} [1-9]', text, re.MULTILINE
    )
    assert re.search(r'^chronos_execution_attempts_bucket\{le="2\.0"\} ', text, re.MULTILINE)
    assert re.search(r"^chronos_build_info\{.+\} 1\.0$", text, re.MULTILINE)


@pytest.mark.timeout(120)
def test_what_rests_in_good_times_moves_in_bad_ones(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with answering() as target:
        steady: dict[str, Any] = {
            "name": "every-second",
            "schedule": "* * * * * *",
            "missed_run_policy": "ignore",
            "webhook": {"url": f"{target}/"},
        }
        failing: dict[str, Any] = {
            "name": "failing",
            "schedule": "@yearly",
            "webhook": {"url": f"{target}/no"},
            "notify": {"channels": [{"type": "webhook", "url": f"{target}/told"}]},
        }
        with served(folder) as server:
            for job in (steady, failing):
                assert requests.post(f"{server.url}/api/v1/jobs", json=job, timeout=10).status_code == 201
            run = f"{server.url}/api/v1/jobs/failing/trigger?wait=10s"
            requests.post(run, headers={"Content-Type": "application/json"}, timeout=30)
            until(lambda: totals(page(server)).get("chronos_notifications_total"))
            url = f"{server.url}/api/v1/jobs/every-second/executions?status=success"
            until(lambda: requests.get(url, timeout=10).json()["executions"])
        down = time.monotonic()
        until(lambda: time.monotonic() - down > 8)
        with served(folder) as again:
            until(lambda: totals(page(again))["chronos_missed_runs_total"] >= 1)


def test_prometheus_own_check_is_content_with_a_running_server(tmp_path: Path) -> None:
    tool = promtool()
    with served(tmp_path / "data", "--demo") as server:
        until(lambda: "chronos_executions_total{" in page(server))
        text = page(server)
    checked = subprocess.run(
        [tool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_prometheus_takes_the_alerts_of_the_reference(tmp_path: Path) -> None:
    tool = promtool()
    rules = REFERENCE.partition("## Alerts to begin with")[2].partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "rules.yaml").write_text(rules)
    checked = subprocess.run(
        [tool, "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    named = set(re.findall(r"chronos_\w+?(?=_bucket|\b)", rules))
    assert named <= set(documented()), "an alert asks for a series that nobody serves"
