"""A server whose deliveries leave from a worker process: what people see of it, and what its death does to a run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget

pytestmark = pytest.mark.asyncio

WAIT_S = 30.0


@asynccontextmanager
async def running(folder: Path, **env: str) -> AsyncIterator[Node]:
    node = Node(folder, workers="1", env=env)
    await node.start()
    try:
        yield node
    finally:
        assert await node.stop() == 0, node.output


async def until(ask: Callable[[], Any], holds: Callable[[Any], Any]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not holds(found := (await ask()).json()):  # noqa: ASYNC110  # it happens in the server, which tells nobody
            await asyncio.sleep(0.05)
    return found


async def worker(node: Node) -> dict[str, Any]:
    """Return the worker as the status shows it, once it is up."""

    def is_up(status: dict[str, Any]) -> bool:
        return bool(status["workers"][0]["is_up"])

    status = await until(lambda: node.call("GET", "/api/v1/cluster/status"), is_up)
    [one] = status["workers"]
    return dict(one)


async def triggered(node: Node, name: str, url: str, **more: Any) -> str:
    job = {"name": name, "schedule": "@yearly", "webhook": {"url": url}, **more}
    assert (await node.call("POST", "/api/v1/jobs", job)).status_code == 201
    return str((await node.call("POST", f"/api/v1/jobs/{name}/trigger", {})).json()["id"])


async def arrived(target: RecordingTarget, key: str, attempt: int = 1) -> None:
    def is_there(arrivals: list[Arrival]) -> bool:
        return any((one.execution, one.attempt) == (key, attempt) for one in arrivals)

    await target.until(is_there, within_s=WAIT_S)


async def test_what_a_dead_worker_had_sent_is_unknown_and_sent_again_under_the_same_id(tmp_path: Path) -> None:
    async with RecordingTarget(delay_s=1.5) as target, running(tmp_path / "data") as node:
        before = await worker(node)
        key = await triggered(node, "slow", f"{target.url}/")
        await arrived(target, key)
        os.kill(before["pid"], signal.SIGKILL)
        ended = await until(
            lambda: node.call("GET", f"/api/v1/executions/{key}"), lambda run: run["status"] in ("success", "failed")
        )
        assert ended["status"] == "success"
        first, second = ended["attempts"]
        assert first["status"] == "unknown"
        assert first["error"] == "worker process 1 was ended by SIGKILL while this attempt was in flight"
        assert second["status"] == "success"
        assert [(one.execution, one.attempt) for one in target.arrivals] == [(key, 1), (key, 2)]
        after = await worker(node)
        assert (after["restarts"], after["pid"] != before["pid"]) == (1, True)
        assert "worker_replaced" in node.output


async def test_a_job_that_must_not_run_twice_is_given_up_with_the_worker(tmp_path: Path) -> None:
    async with RecordingTarget(delay_s=20) as target, running(tmp_path / "data") as node:
        key = await triggered(node, "once", f"{target.url}/", on_unknown="fail")
        await arrived(target, key)
        os.kill((await worker(node))["pid"], signal.SIGKILL)
        ended = await until(
            lambda: node.call("GET", f"/api/v1/executions/{key}"), lambda run: run["status"] == "failed"
        )
        assert len(ended["attempts"]) == 1
        assert len(target.arrivals) == 1


async def test_a_run_in_a_worker_can_be_cancelled(tmp_path: Path) -> None:
    async with RecordingTarget(delay_s=20) as target, running(tmp_path / "data") as node:
        key = await triggered(node, "slow", f"{target.url}/")
        await arrived(target, key)
        assert (await node.call("POST", f"/api/v1/executions/{key}/cancel", {})).status_code in (200, 202)
        ended = await until(
            lambda: node.call("GET", f"/api/v1/executions/{key}"), lambda run: run["status"] == "cancelled"
        )
        assert ended["attempts"][0]["status"] == "cancelled"


async def test_breakers_of_a_worker_are_listed_and_reset(tmp_path: Path) -> None:
    threshold = {"CHRONOS_DISPATCHER__CIRCUIT_BREAKER__FAILURE_THRESHOLD": "1"}
    async with RecordingTarget() as target, running(tmp_path / "data", **threshold) as node:
        policy = {"max_attempts": 2, "initial_interval": "60s"}
        key = await triggered(node, "broken", f"{target.url}/status/503", retry_policy=policy)
        await arrived(target, key)
        found = await until(lambda: node.call("GET", "/api/v1/breakers"), lambda answer: answer["breakers"])
        [breaker] = found["breakers"]
        assert (breaker["host"], breaker["state"]) == (target.url.removeprefix("http://"), "open")
        reset = await node.call("POST", "/api/v1/breakers/reset", {"host": breaker["host"]})
        assert (reset.status_code, reset.json()) == (200, {"breakers": []})
        again = await node.call("POST", "/api/v1/breakers/reset", {"host": breaker["host"]})
        assert again.status_code == 404


async def test_a_pause_takes_back_what_its_worker_holds(tmp_path: Path) -> None:
    """What is claimed ahead of its instant lies in the worker; after the pause is acknowledged, none of it arrives."""
    async with RecordingTarget() as target, running(tmp_path / "data") as node:
        jobs = [
            {"name": f"each-second-{n}", "schedule": "* * * * * *", "webhook": {"url": f"{target.url}/{n}"}}
            for n in range(20)
        ]
        for job in jobs:
            assert (await node.call("POST", "/api/v1/jobs", job)).status_code == 201
        await target.until(lambda arrivals: len(arrivals) >= 40, within_s=WAIT_S)
        sent: set[str] = set()
        for job in jobs:
            paused = await node.call("POST", f"/api/v1/jobs/{job['name']}/pause", {})
            assert paused.status_code == 200
            seen = {one.execution for one in target.arrivals if one.path == f"/{str(job['name'])[12:]}"}
            sent |= seen | set(paused.json().get("already_sent") or [])
        count = len(target.arrivals)
        await asyncio.sleep(2.5)  # two more instants pass
        late = {one.execution for one in target.arrivals[count:]}
        assert late <= sent
