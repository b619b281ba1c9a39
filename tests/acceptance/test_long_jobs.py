"""Long jobs against a real server: a target that answers 202 and reports later, across kill -9 and a restart; and
reports that mean harm."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.acceptance.fences import fences
from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget

pytestmark = pytest.mark.asyncio

WAIT_S = 20.0
JSON = {"Content-Type": "application/json"}


class LateTarget(RecordingTarget):
    """Answers 202 to everything but `/cancel`."""

    def status_of(self, path: str) -> int:
        return 200 if path == "/cancel" else 202

    async def arrived(self, execution: str, path: str = "/work") -> Arrival:
        """Return the first request that comes for an execution and a path."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for arrival in self.arrivals:
                    if (arrival.execution, arrival.path) == (execution, path):
                        return arrival
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Node]:
    node = Node(folder, workers="1")
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def started(node: Node, target: LateTarget, **webhook: Any) -> tuple[str, str]:
    """Return the id and the callback address of a run whose target has answered."""
    job = {
        "name": "long",
        "schedule": "@yearly",
        "webhook": {"url": f"{target.url}/work", "completion": "callback", **webhook},
        "retry_policy": {"max_attempts": 2, "initial_interval": "10ms"},
        "cancel_grace": "10s",
    }
    await node.call("POST", "/api/v1/jobs", job)
    triggered = await node.call("POST", "/api/v1/jobs/long/trigger", {})
    assert triggered.status_code in (200, 202), triggered.text
    key = triggered.json()["id"]
    arrival = await target.arrived(key)
    await until(node, key, lambda run: run["attempts"] and run["attempts"][-1]["ongoing"])
    return key, arrival.headers["x-chronos-callback"]


async def execution(node: Node, key: str) -> dict[str, Any]:
    found: dict[str, Any] = (await node.call("GET", f"/api/v1/executions/{key}")).json()
    return found


async def until(node: Node, key: str, holds: Any) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_S):
        while True:
            run = await execution(node, key)
            if holds(run):
                return run
            await asyncio.sleep(0.05)


async def report(address: str, body: Any = None, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        if "content" not in more:
            more["json"] = {} if body is None else body
        return await client.post(address, headers=JSON, **more)


def moved(address: str, node: Node) -> str:
    """Return a callback address with the port that the server has now: here it draws one anew at every start."""
    return node.url + address[address.index("/api/") :]


async def test_a_target_answers_202_and_completes_later_across_a_kill_and_a_restart(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    async with LateTarget() as target:
        await node.start()
        key, address = await started(node, target, deadline="1h", heartbeat="10m")
        first = await report(address, {"progress": 40, "message": "four of ten"})
        assert (first.status_code, first.json()) == (
            200,
            {"execution_id": key, "status": "running", "cancelled": False},
        )
        await node.kill()

        await node.start()
        run = await execution(node, key)
        assert (run["status"], run["progress"], run["message"]) == ("running", 40, "four of ten")
        assert len(run["attempts"]) == 1
        blocked = await node.call("POST", "/api/v1/jobs/long/trigger", {})
        assert (blocked.status_code, blocked.json()["blocked_by"]) == (409, key)
        assert await node.stop() == 0

        await node.start()
        done = await report(moved(address, node), {"result": "success", "output": "all ten"})
        assert (done.status_code, done.json()["status"]) == (200, "success")
        run = await execution(node, key)
        assert (run["status"], len(run["attempts"]), run["attempts"][0]["excerpt"]) == ("success", 1, "all ten")
        again = await report(moved(address, node), {"result": "success", "output": "all ten"})
        assert (again.status_code, again.json()) == (200, done.json())
        assert len(target.arrivals) == 1, "it was sent once"
        await node.stop()


async def test_a_report_after_the_end_is_refused_and_noted(tmp_path: Path) -> None:
    async with LateTarget() as target, running(tmp_path / "data") as node:
        key, address = await started(node, target, deadline="1s", cancel_url=f"{target.url}/cancel")
        run = await until(node, key, lambda run: run["attempt"] == 2)
        assert run["attempts"][0]["error_class"] == "deadline"
        assert (await target.arrived(key, "/cancel")).attempt == 1
        run = await until(node, key, lambda run: run["status"] == "failed")
        for _ in range(2):
            late = await report(address, {"result": "success"})
            assert (late.status_code, late.json()["type"]) == (409, "attempt-ended")
            assert late.headers["content-type"] == "application/problem+json"
        assert (await execution(node, key))["notes"] == ["late_result: attempt 1 success"]


async def test_a_cancelled_run_is_told_at_its_next_report_and_ends_when_it_says_so(tmp_path: Path) -> None:
    async with LateTarget() as target, running(tmp_path / "data") as node:
        key, address = await started(node, target, cancel_url=f"{target.url}/cancel")
        await node.call("POST", f"/api/v1/executions/{key}/cancel", {"reason": "not today"})
        assert (await target.arrived(key, "/cancel")).attempt == 1
        assert (await report(address, {"progress": 50})).json()["cancelled"] is True
        stopped = await report(address, {"result": "failure", "message": "stopped"})
        assert stopped.json() == {"execution_id": key, "status": "cancelled", "cancelled": False}
        run = await execution(node, key)
        assert (run["status"], run["reason"]) == ("cancelled", "not today")


async def test_what_means_harm_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with LateTarget() as target, running(tmp_path / "data") as node:
        key, address = await started(node, target)
        before = await execution(node, key)
        base, _, token = address.partition("?token=")
        run, attempt, expires, mac = token.split(".")
        success = {"result": "success"}
        forged = [
            f"{run}.{attempt}.{expires}.{'A' * 43}",
            f"{run}.2.{expires}.{mac}",
            f"{run}.{attempt}.{int(expires) + 1}.{mac}",
            f"{run[:-1]}{'0' if run[-1] != '0' else '1'}.{attempt}.{expires}.{mac}",
            f"{run}.{attempt}.{expires}.",
            "x",
            "é" * 20,
            f"{token}.",
        ]
        answers = [await report(f"{base}?token={text}", success) for text in forged]
        assert {answer.status_code for answer in answers} == {403}
        assert len({answer.json()["detail"] for answer in answers}) == 1, "what was wrong is not told"
        assert (await report(base, success)).status_code == 422
        assert (await report(f"{address}&token={token}", success)).status_code == 422
        assert (await report(address, content=b"{" * 600_000)).status_code == 413
        assert (await report(address, content=b"{" * 100)).status_code == 400
        odd: list[Any] = [
            {"progress": 101},
            {"progress": -1},
            {"result": "maybe"},
            {"output": "x" * 70_000, "result": "success"},
            {"message": "x" * 5_000},
            {"status": "success"},
            [],
        ]
        for body in odd:
            assert (await report(address, body)).status_code in (400, 422), body
        async with httpx2.AsyncClient(trust_env=False) as client:
            assert (await client.get(address)).status_code == 405
            assert (await client.post(address, content=b"result=success")).status_code == 415
            foreign = await client.post(address, json=success, headers={"Origin": "https://evil.example"})
            assert foreign.status_code == 403
        after = await execution(node, key)
        assert after == before
        metrics = (await node.call("GET", "/metrics")).text
        assert f'chronos_callbacks_total{{outcome="refused"}} {len(forged)}.0' in metrics
        assert "chronos_executions_ongoing 1.0" in metrics
        assert (await report(address, success)).status_code == 200


async def test_the_address_of_an_attempt_is_kept_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with LateTarget() as target, running(folder) as node:
        key, address = await started(node, target)
        token = address.partition("?token=")[2]
        await report(address, {"progress": 1, "message": f"it said {address}"})
        await report(address, {"result": "success", "output": f"it said {token}"})
        shown = await execution(node, key)
        assert "it said ***" in shown["attempts"][0]["excerpt"]
        assert token not in str(shown)
        assert token not in node.output
    mac = token.rpartition(".")[2].encode()
    assert [path for path in folder.rglob("*") if path.is_file() and mac in path.read_bytes()] == []


async def test_a_job_whose_target_could_never_report_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as node:
        webhook = {"url": "http://reports.example.org/", "completion": "callback"}
        refused = await node.call("POST", "/api/v1/jobs", {"name": "long", "schedule": "@yearly", "webhook": webhook})
        assert (refused.status_code, refused.json()["type"]) == (422, "job-invalid")
        assert refused.json()["field"] == "target.completion"
        assert "server.public_url" in refused.json()["detail"]


async def test_every_report_is_an_event_of_the_stream(tmp_path: Path) -> None:
    async with LateTarget() as target, running(tmp_path / "data") as node:
        _, address = await started(node, target)
        async with (
            asyncio.timeout(WAIT_S),
            httpx2.AsyncClient(trust_env=False, timeout=30) as client,
            client.stream("GET", f"{node.url}/api/v1/executions/stream") as stream,
        ):
            seen: list[str] = []
            async for line in stream.aiter_lines():
                if line == ": watching":
                    await report(address, {"progress": 40, "message": "four of ten"})
                seen.append(line)
                if line.startswith("data: "):
                    break
    assert "event: execution_progress" in seen
    assert '"progress":40,"message":"four of ten"' in seen[-1]


async def test_the_target_of_the_documentation_works_as_it_stands_there(tmp_path: Path) -> None:
    [fence] = [fence for fence in fences() if fence.option("example") == "long-target"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "target.py").write_text(fence.text.replace("9000", str(port)))
    process = await asyncio.create_subprocess_exec(sys.executable, str(tmp_path / "target.py"))
    try:
        async with running(tmp_path / "data") as node, asyncio.timeout(60):
            webhook = {"url": f"http://127.0.0.1:{port}/", "completion": "callback"}
            # It may take a moment to come up: that is what retries are for.
            policy = {"max_attempts": 20, "initial_interval": "500ms", "multiplier": 1.0}
            job = {"name": "backup", "schedule": "@yearly", "webhook": webhook, "retry_policy": policy}
            assert (await node.call("POST", "/api/v1/jobs", job)).status_code == 201
            run = (await node.call("POST", "/api/v1/jobs/backup/trigger?wait=30s", {})).json()
            done = await execution(node, run["id"])
            assert (done["status"], done["progress"], done["message"]) == ("success", 100, "events is done")
            assert done["attempts"][-1]["excerpt"] == "4 tables"
    finally:
        process.terminate()
        await process.wait()


async def test_a_published_address_is_what_targets_are_told(tmp_path: Path) -> None:
    node = Node(tmp_path / "data", env={"CHRONOS_SERVER__PUBLIC_URL": "https://chronos.example.org/cron"})
    await node.start()
    try:
        async with LateTarget() as target:
            _, address = await started(node, target)
            assert address.startswith("https://chronos.example.org/cron/api/v1/callbacks?token=occ_")
            answer = await node.call("POST", address[address.index("/api/") :], {}, Host="chronos.example.org")
            assert answer.status_code == 200
    finally:
        await node.stop()
