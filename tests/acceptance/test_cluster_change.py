"""A cluster of real servers and engines changes while its jobs fire: it grows, loses a member, and gets another one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.acceptance.clusters import PATIENCE_S, done, ended, founded, server_of, told, until
from tests.acceptance.node import Node
from tests.acceptance.recording_target import Arrival, RecordingTarget
from tests.etcds import free_ports

MEMBERS = "/api/v1/cluster/members"


def made(folder: Path, name: str) -> tuple[str, Node]:
    """Make one more node; return where the others will reach it, and its server."""
    (port,) = free_ports(1, and_behind=1)
    said = told("cluster", "node", f"{name}=127.0.0.1:{port}", "--out", str(folder))
    assert f"chronosctl cluster add {name}=127.0.0.1:{port}" in said
    return f"127.0.0.1:{port}", server_of(folder / name)


async def has_joined(node: Node, name: str) -> None:
    """Wait until a node has its vote, and is heard of."""
    await until(node, MEMBERS, lambda found: roles(found).get(name) in ("follower", "leader"))


def roles(found: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {one["name"]: one["role"] for one in found["members"]}


def seconds(arrivals: list[Arrival]) -> list[str]:
    return sorted({arrival.headers["x-chronos-scheduled-time"] for arrival in arrivals})


@pytest.mark.asyncio
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_cluster_grows_loses_a_member_and_replaces_it_while_jobs_fire(tmp_path: Path) -> None:
    (one,) = founded(tmp_path, 1)
    async with AsyncExitStack() as running, asyncio.timeout(4 * PATIENCE_S):
        target = await running.enter_async_context(RecordingTarget())
        nodes = {"n1": one}
        running.push_async_callback(ended, one)
        await one.start()
        await until(one, "/api/v1/cluster/status", lambda status: status["leader"] == "n1")
        every = {"concurrency": "allow", "missed_run_policy": "execute_all"}  # so that nothing is left out on purpose
        job = {"name": "tick", "schedule": "* * * * * *", "webhook": {"url": target.url}, **every}
        await done(one, "POST", "/api/v1/jobs", job)

        for name in ("n2", "n3"):
            peer, node = made(tmp_path, name)
            nodes[name] = node
            running.push_async_callback(ended, node)
            added = await done(list(nodes.values())[-2], "POST", MEMBERS, {"name": name, "peer": peer})
            assert (added["name"], added["state"]) == (name, "joining")
            await node.start()
            await has_joined(one, name)
            await until(node, "/api/v1/jobs/tick", lambda found: found["name"] == "tick")

        refused = await one.call("POST", MEMBERS, {"name": "n2", "peer": "127.0.0.1:9"})
        assert (refused.status_code, "is a member already" in refused.text) == (409, True)

        await nodes["n3"].kill()
        await until(one, MEMBERS, lambda found: roles(found)["n3"] == "lost")
        refused = await one.call("DELETE", f"{MEMBERS}/n2")
        assert refused.status_code == 409
        assert "Start n3 first, or remove n3 instead" in refused.json()["detail"]

        # Its disk is lost as well: as the one it was it must not come back.
        (tmp_path / "n3" / "data").rename(tmp_path / "lost")
        with pytest.raises(AssertionError, match="chronosctl cluster remove n3"):
            await nodes["n3"].start()
        removed = await done(nodes["n2"], "DELETE", f"{MEMBERS}/n3")
        assert removed["state"] == "removed"
        await until(one, MEMBERS, lambda found: not of(found, "n3")["engine_id"])
        await done(nodes["n2"], "POST", MEMBERS, {"name": "n3"})
        await nodes["n3"].start()
        await has_joined(one, "n3")

        led = await done(nodes["n3"], "POST", "/api/v1/cluster/transfer-leadership", {"to": "n2"})
        assert led == {"leader": "n2", "engine": True}, "\n".join(node.output[-3_000:] for node in nodes.values())
        for node in nodes.values():
            await until(node, "/api/v1/cluster/status", lambda status: status["leader"] == "n2")
        seen = len(target.arrivals)
        await target.until(lambda found: len(found) >= seen + 3, within_s=PATIENCE_S)

        await done(one, "DELETE", f"{MEMBERS}/n2")
        assert await nodes["n2"].ended() == 0, "a member that is removed ends what it does, and stops"
        await until(one, "/api/v1/cluster/status", lambda status: status["leader"] not in ("", "n2"))
        seen = len(target.arrivals)
        await target.until(lambda found: len(found) >= seen + 3, within_s=PATIENCE_S)
        history = await until(one, "/api/v1/jobs/tick/executions?limit=200", lambda found: found)
        assert [await nodes[name].stop() for name in ("n3", "n1")] == [0, 0]

    due = seconds(target.arrivals)
    missing = all_between(due) - set(due)
    assert missing == set(), [one for one in history["executions"] if one["scheduled_time"] in missing]
    lost = [one for one in history["executions"] if one["status"] in ("failed", "skipped", "cancelled")]
    assert lost == []


def of(found: dict[str, list[dict[str, str]]], name: str) -> dict[str, str]:
    return next(one for one in found["members"] if one["name"] == name)


def all_between(due: list[str]) -> set[str]:
    """Return every second from the first instant to the last."""
    first, last = (datetime.fromisoformat(due[at]) for at in (0, -1))
    return {
        f"{first + timedelta(seconds=after):%Y-%m-%dT%H:%M:%SZ}" for after in range(int((last - first).total_seconds()))
    }
