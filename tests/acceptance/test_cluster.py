"""Three real servers, founded with `chronos cluster init`, with real engines: what one is told, all do."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.etcds import binary, free_ports

from chronos.cli.server import main

PATIENCE_S = 60.0


def founded(folder: Path, workers: str = "0") -> list[Node]:
    """Found a cluster on loopback, and return its nodes, not started."""
    ports = free_ports(3, and_behind=1)  # an engine takes the port behind its node's
    words = [word for n, port in enumerate(ports, 1) for word in ("--node", f"n{n}=127.0.0.1:{port}")]
    done = CliRunner().invoke(main, ["cluster", "init", "--name", "test", *words, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    env = {"CHRONOS_ETCD": binary()}
    return [
        Node(folder / f"n{n}" / "data", "--config", str(folder / f"n{n}" / "chronos.yaml"), env=env, workers=workers)
        for n in (1, 2, 3)
    ]


async def until(node: Node, path: str, holds: Any) -> Any:
    """Ask until what is answered is as it should be."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await node.call("GET", path)
            if answer.status_code == 200 and holds(found := answer.json()):
                return found
            await asyncio.sleep(0.2)


async def written(node: Node, path: str, document: dict[str, Any]) -> Any:
    """Write until there is a leader to write it: a busy machine may be without one for a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await node.call("POST", path, document)
            if answer.status_code != 503:
                assert answer.status_code == 201, answer.text
                return answer.json()
            await asyncio.sleep(0.2)


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_job_told_to_one_node_is_known_to_all_and_outlives_the_leader(tmp_path: Path) -> None:
    nodes = founded(tmp_path)
    async with AsyncExitStack() as running, asyncio.timeout(2 * PATIENCE_S):
        target = await running.enter_async_context(RecordingTarget())
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        await until(nodes[1], "/api/v1/cluster/status", lambda status: status["leader"])
        job = {"name": "tick", "schedule": "* * * * * *", "webhook": {"url": target.url}}
        told = await written(nodes[1], "/api/v1/jobs", job)
        for node in nodes:
            answer = await until(node, "/api/v1/jobs/tick", lambda job: job["name"] == "tick")
            assert answer["id"] == told["id"]
        await until(nodes[0], "/ready", lambda _: len(target.arrivals) >= 2)

        leader = (await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"]))["leader"]
        killed = nodes[int(leader.removeprefix("n")) - 1]
        await killed.kill()
        others = [node for node in nodes if node is not killed]
        seen = len(target.arrivals)
        await until(others[0], "/api/v1/cluster/status", lambda status: status["leader"] not in ("", leader))
        await until(others[0], "/health", lambda _: len(target.arrivals) >= seen + 2)
        assert [await node.stop() for node in others] == [0, 0]
    ids = [arrival.execution for arrival in target.arrivals]
    terms = [int(arrival.headers["chronos-fencing-token"].split(".")[1]) for arrival in target.arrivals]
    assert max(terms) > min(terms)
    assert len(set(ids)) >= len(ids) - 2, "what was under way at the kill may be sent twice"


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_founder_may_come_late_and_one_whose_disk_was_wiped_may_not_come_back(tmp_path: Path) -> None:
    early, other, late = founded(tmp_path)
    async with AsyncExitStack() as running, asyncio.timeout(3 * PATIENCE_S):
        for node in (early, other, late):
            running.push_async_callback(ended, node)
        await asyncio.gather(early.start(), other.start())
        await until(early, "/api/v1/cluster/status", lambda status: status["leader"])
        await late.start()
        await until(late, "/ready", lambda _: True)

        await late.kill()
        shutil.rmtree(late.folder)
        with pytest.raises(AssertionError, match="is gone or older than what it has acknowledged"):
            await late.start()


async def ended(node: Node) -> None:
    if node.is_running:
        await node.kill()
