"""What members say of the cluster is true within five seconds of a death: status, readiness, metrics."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.test_cluster import PATIENCE_S, ended, founded, until

TRUE_WITHIN_S = 5.0
REFERENCE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")


async def became(what: Callable[[], Awaitable[bool]]) -> float:
    """Return after how many seconds it was so."""
    begun = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110  # who is asked is a server, and tells nobody by itself
            await asyncio.sleep(0.1)
    return time.monotonic() - begun


async def ready(node: Node) -> tuple[int, Any]:
    answer = await node.call("GET", "/ready")
    return answer.status_code, answer.json()


async def metrics(node: Node) -> dict[str, float]:
    """Return a member's gauges, those with several labels added up."""
    found: dict[str, float] = {}
    for name, value in re.findall(
        r"^(chronos_\w+)(?:\{[^}]*\})? (\S+)$", (await node.call("GET", "/metrics")).text, re.MULTILINE
    ):
        found[name] = found.get(name, 0.0) + float(value)
    return found


def documented() -> set[str]:
    table = REFERENCE.partition("## Members of a cluster")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(chronos_\w+)` \| gauge", table, re.MULTILINE))


@pytest.mark.asyncio
@pytest.mark.slow
async def test_who_is_lost_who_leads_and_who_takes_no_part_is_said_within_five_seconds(tmp_path: Path) -> None:
    nodes = founded(tmp_path)
    async with AsyncExitStack() as running, asyncio.timeout(3 * PATIENCE_S):
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"] and len(status["peers"]) == 2)
        for node in nodes:
            await until(node, "/ready", lambda said: said["ready"])

        async def is_well() -> bool:
            said = await metrics(nodes[0])
            return said.get("chronos_engine_up") == 1.0 and said["chronos_raft_peers"] == 3.0

        await became(is_well)
        said = await metrics(nodes[0])
        assert documented() <= set(said)
        assert said["chronos_cluster_members_lost"] == 0.0
        assert said["chronos_cluster_taking_part"] == 1.0
        assert 0.0 < said["chronos_node_lease_seconds"] <= 5.0
        assert 0.0 < said["chronos_engine_db_bytes"] < said["chronos_engine_quota_bytes"]
        assert said["chronos_raft_term"] >= 1.0
        leaders = sum([(await metrics(node))["chronos_raft_is_leader"] for node in nodes])
        assert leaders == 1.0

        status = (await nodes[0].call("GET", "/api/v1/cluster/status")).json()
        killed = nodes[int(status["leader"].removeprefix("n")) - 1]
        first, second = (node for node in nodes if node is not killed)
        await killed.kill()

        async def knows() -> bool:
            status = (await first.call("GET", "/api/v1/cluster/status")).json()
            parts = {peer["id"]: peer["state"] for peer in status["peers"]}
            other = (await metrics(first))["chronos_cluster_members_lost"]
            return "lost" in parts.values() and status["leader"] != f"n{nodes.index(killed) + 1}" and other == 1.0

        assert await became(knows) < TRUE_WITHIN_S

        second.send(signal.SIGKILL)  # no majority is left

        async def is_out() -> bool:
            code, said = await ready(first)
            return code == 503 and bool(said["reason"]) and not said["ready"]

        assert await became(is_out) < TRUE_WITHIN_S
        assert (await metrics(first))["chronos_cluster_taking_part"] == 0.0, "metrics are read without a quorum"
        status = (await first.call("GET", "/api/v1/cluster/status")).json()
        assert not status["ready"]
        assert status["notes"]
