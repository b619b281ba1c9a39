"""What people bring along from the original Chronos: its documented files, shortcuts and paths, on a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.shell import Shell, server, target

CLUSTER = """\
cluster:
  node_id: chronos-1
  raft:
    address: 10.0.0.1:7000
    peers:
      - chronos-2:7000
      - chronos-3:7000
    heartbeat_timeout: 500ms
    election_timeout: 1s
    snapshot_interval: 30s
    snapshot_threshold: 1000
"""
SCHEDULER = """\
scheduler:
  tick_interval: 1s          # How often to check for due jobs
  execution_timeout: 5m      # Default job timeout
  missed_run_policy: execute_one
"""
JOB = """\
name: daily-report
description: Build the report of the day
schedule: "0 9 * * *"
timezone: America/New_York
webhook:
  url: TARGET/report
  method: POST
  headers:
    Content-Type: application/json
  body: '{"job": "{{.JobName}}", "execution": "{{.ExecutionID}}", "attempt": {{.Attempt}}}'
  auth:
    type: bearer
    token: ${secret:env:CHRONOS_SECRET_REPORT}
  success_codes: [200, 201, 202]
retry_policy:
  max_attempts: 3
  initial_interval: 1s
  max_interval: 1m
  multiplier: 2.0
timeout: 5m
concurrency: forbid
tags:
  team: data
enabled: true
"""
DEPENDENCIES = """\
dependencies:
  depends_on:
    - job-a
    - job-b
  condition: all_success
"""
SHORTCUTS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("original")
    # The original's own blocks, put into one file as its users do.
    with server(folder, CLUSTER + SCHEDULER) as url:
        yield url, folder


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    with target() as url:
        yield url


@pytest.fixture
def ctl(place: tuple[str, Path], tmp_path: Path) -> Shell:
    url, folder = place
    return Shell(url, tmp_path, folder / "data")


@pytest.fixture
def api(place: tuple[str, Path]) -> Iterator[httpx2.Client]:
    headers = {"Content-Type": "application/json"}
    with httpx2.Client(base_url=f"{place[0]}/api/v1", headers=headers, trust_env=False, timeout=30) as client:
        yield client


def applied(ctl: Shell, tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    done = ctl("job", "apply", "-f", str(file))
    assert (done.code, done.err) == (0, "")


def test_a_server_started_with_the_originals_file_says_what_has_no_effect(place: tuple[str, Path]) -> None:
    log = (place[1] / "server.log").read_text()
    assert "cluster.raft" in log
    assert "scheduler.tick_interval" in log


@pytest.mark.parametrize("block", [CLUSTER, SCHEDULER])
def test_a_documented_block_passes_the_check(block: str, tmp_path: Path) -> None:
    file = tmp_path / "chronos.yaml"
    file.write_text(block)
    command = [sys.executable, "-m", "chronos.cli.server", "check", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_documented_job_is_taken_as_it_is(ctl: Shell, hook: str, tmp_path: Path) -> None:
    applied(ctl, tmp_path, JOB.replace("TARGET", hook))
    job = ctl("job", "get", "daily-report", "-o", "json").json
    assert (job["enabled"], job["timeout"], job["tags"]) == (True, "5m", {"team": "data"})
    assert datetime.fromisoformat(job["next_run"]).minute == 0
    assert job["retry_policy"]["max_attempts"] == 3


@pytest.mark.parametrize(("shortcut", "fields"), SHORTCUTS.items())
def test_a_shortcut_means_its_five_fields(ctl: Shell, shortcut: str, fields: str) -> None:
    def runs(schedule: str) -> Any:
        return ctl("schedule", "next", schedule, "-c", "3", "-o", "json").json["next_runs"]

    assert runs(shortcut) == runs(fields)


def test_a_shortcut_with_an_interval_is_taken_and_a_start_of_the_machine_is_not(ctl: Shell) -> None:
    assert ctl("schedule", "validate", "@every 1h30m").code == 0
    assert ctl("schedule", "validate", "@reboot").code == 2


def test_a_job_runs_when_all_it_depends_on_have_succeeded(ctl: Shell, hook: str, tmp_path: Path) -> None:
    for name in ("job-a", "job-b"):
        assert ctl("job", "create", name, "--schedule", "@yearly", "--url", f"{hook}/{name}").code == 0
    applied(ctl, tmp_path, f"name: after-both\nwebhook: {{url: '{hook}/after'}}\n{DEPENDENCIES}")
    assert ctl("job", "trigger", "job-a", "--wait=20s").code == 0
    assert ctl("job", "trigger", "job-b", "--wait=20s").code == 0
    ctl.until("execution", "list", "after-both", holds=lambda runs: [run["status"] for run in runs] == ["success"])


@pytest.mark.parametrize("condition", ["all_success", "all_complete", "any_success", "any_complete"])
def test_every_documented_condition_is_known(ctl: Shell, hook: str, tmp_path: Path, condition: str) -> None:
    ctl("job", "create", f"parent-{condition}", "--schedule", "@yearly", "--url", hook)
    depends = f"dependencies: {{depends_on: [parent-{condition}], condition: {condition}}}\n"
    applied(ctl, tmp_path, f"name: child-{condition}\nwebhook: {{url: '{hook}/'}}\n{depends}")


def test_a_namespace_keeps_its_jobs_to_itself(ctl: Shell, hook: str, tmp_path: Path) -> None:
    applied(ctl, tmp_path, JOB.replace("TARGET", hook).replace("daily-report", "apart") + "namespace: production\n")
    assert ctl("job", "get", "apart", "-n", "production").code == 0
    assert ctl("job", "get", "apart").code == 4


@pytest.mark.parametrize("concurrency", ["allow", "forbid", "replace"])
@pytest.mark.parametrize("policy", ["ignore", "execute_one", "execute_all"])
def test_every_documented_policy_is_known(api: httpx2.Client, hook: str, concurrency: str, policy: str) -> None:
    job = {"name": f"{concurrency}-{policy}", "schedule": "@daily", "webhook": {"url": hook}}
    answer = api.post("/jobs", json={**job, "concurrency": concurrency, "missed_run_policy": policy})
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["concurrency"], shown["missed_run_policy"]) == (concurrency, policy)


def test_documented_paths_answer_where_they_are_documented(api: httpx2.Client, hook: str) -> None:
    spec = {"name": "paths", "schedule": "@daily", "webhook": {"url": f"{hook}/p"}, "tags": {"of": "paths"}}
    job = api.post("/jobs", json=spec).json()
    run = api.post(f"/jobs/{job['id']}/trigger", params={"wait": "20s"}).json()
    again = api.post(f"/jobs/{job['id']}/executions/{run['id']}/replay")
    assert again.status_code in (200, 202)
    assert again.json()["id"] != run["id"]
    other = api.post("/jobs", json={**spec, "name": "other-paths"}).json()
    assert api.post(f"/jobs/{other['id']}/executions/{run['id']}/replay").status_code == 404
    api.delete(f"/jobs/{other['id']}")

    assert [version["version"] for version in api.get(f"/jobs/{job['id']}/versions").json()["versions"]] == [1]
    assert api.get(f"/jobs/{job['id']}/versions/1").status_code == 200
    api.put(f"/jobs/{job['id']}", json={**spec, "schedule": "@hourly"}, headers={"If-Match": '"1"'})
    assert api.post(f"/jobs/{job['id']}/rollback/1").status_code == 200
    assert api.get(f"/jobs/{job['id']}").json()["schedule"] == "@daily"

    for query in ({"tag.of": "paths"}, {"tag.of": "paths", "enabled": "true"}):
        assert [one["name"] for one in api.get("/jobs", params=query).json()["jobs"]] == ["paths"]


def test_documented_questions_get_the_documented_answers(api: httpx2.Client, hook: str) -> None:
    valid = api.post("/schedules/validate", json={"schedule": "0 9 * * *", "timezone": "America/New_York"}).json()
    assert {"valid", "next_runs", "description"} <= set(valid)
    tried = api.post("/webhooks/test", json={"url": f"{hook}/try", "method": "POST"}).json()
    assert {"success", "status_code", "response_body", "duration_ms"} <= set(tried)
    assert tried["success"]
