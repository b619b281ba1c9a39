"""A node whose main process stands still: its workers stop by themselves before others take its work over."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget
from tests.acceptance.test_cluster import PATIENCE_S, ended, founded, until, written

LEASE_S, SLACK_S = 5.0, 0.5


class SilentTarget(RecordingTarget):
    """Takes requests, answers none, and notes when whoever asked has gone away."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[tuple[str, int], float] = {}

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        _, *rest = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in rest)}
        arrival = Arrival(time.time(), "POST", "/", headers, b"")
        self.arrivals.append(arrival)
        self._news.set()
        try:
            while await reader.read(1 << 16):
                pass
        finally:
            self.left[arrival.execution, arrival.attempt] = time.time()
        return False


async def attempts(node: Node) -> dict[tuple[str, int], str]:
    """Return whose attempts there are: which member each was given to."""
    found: dict[tuple[str, int], str] = {}
    answer = await node.call("GET", "/api/v1/executions?limit=100")
    for one in answer.json()["executions"]:
        whole: dict[str, Any] = (await node.call("GET", f"/api/v1/executions/{one['id']}")).json()
        for attempt in whole["attempts"]:
            found[one["id"], attempt["attempt"]] = attempt["node"].partition("#")[0]
    return found


def repeats(arrivals: list[Arrival]) -> list[Arrival]:
    return [arrival for arrival in arrivals if arrival.attempt == 2]


@pytest.mark.asyncio
@pytest.mark.slow
async def test_workers_of_a_stopped_process_let_go_before_another_node_sends_the_same(tmp_path: Path) -> None:
    nodes = founded(tmp_path, workers="1")
    async with AsyncExitStack() as running, asyncio.timeout(3 * PATIENCE_S):
        target = await running.enter_async_context(SilentTarget())
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        status = await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"])
        job = {"name": "long", "schedule": "* * * * * *", "concurrency": "allow", "max_concurrent": 1000}
        job |= {"webhook": {"url": target.url}, "timeout": "5m"}
        await written(nodes[0], "/api/v1/jobs", job)
        await target.until(lambda arrivals: len(arrivals) >= 9, within_s=PATIENCE_S)
        # On a busy machine the lead may have changed since.
        status = await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"])
        frozen = next(node for n, node in enumerate(nodes, 1) if f"n{n}" != status["leader"])
        name = f"n{nodes.index(frozen) + 1}"
        asked = next(node for node in nodes if node is not frozen)

        frozen.send(signal.SIGSTOP)
        stopped_at = time.time()
        had = {place for place, node in (await attempts(asked)).items() if node == name}
        await target.until(
            lambda arrivals: len([one for one in repeats(arrivals) if (one.execution, 1) in had]) >= 2,
            within_s=PATIENCE_S,
        )
        given = await attempts(asked)
        theirs = [one for one in target.arrivals if given.get((one.execution, one.attempt)) == name]
        second = {one.execution: one for one in repeats(target.arrivals)}
        handed_on = [one for one in theirs if one.execution in second]

        assert len(handed_on) >= 2, "what it had was tried again elsewhere"
        for one in handed_on:
            left_at = target.left[one.execution, one.attempt]
            assert left_at < second[one.execution].at, "it had let go of the target before"
            assert left_at < stopped_at + LEASE_S + SLACK_S
        assert max(one.at for one in theirs) < stopped_at + LEASE_S, "no first byte without the right to send"
        frozen.send(signal.SIGCONT)
