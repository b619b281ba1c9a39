"""A member that the log has gone on without fetches another's state, and goes on by itself, whatever happens to it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.trio import Server, ended, forget_log, founded

from chronos.failpoints import VARIABLE

PLACES = ("snapshot.offered", "snapshot.piece", "snapshot.fetched", "snapshot.ready", "snapshot.midway")


def a_job(name: str) -> dict[str, Any]:
    return {"name": name, "schedule": "0 0 1 1 *", "webhook": {"url": "http://127.0.0.1:9/"}}


def engine_of(server: Server) -> int:
    """Return the process id of a server's engine."""
    return int((server.folder / "engine" / "pid").read_text().split()[0])


async def begun(servers: list[Server]) -> None:
    await asyncio.gather(*(server.start() for server in servers))
    await servers[0].until("/api/v1/cluster/status", lambda status: status["leader"])


async def caught_up(server: Server, jobs: int) -> None:
    await server.until("/ready", lambda ready: ready["ready"])
    listed = await server.until("/api/v1/jobs?limit=100", lambda page: len(page["jobs"]) >= jobs)
    assert len(listed["jobs"]) == jobs


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_node_that_was_down_for_too_long_comes_back_and_is_killed_at_every_step_of_it(tmp_path: Path) -> None:
    points = tmp_path / "points"
    points.mkdir(mode=0o700)
    servers = founded(tmp_path, "n1", "n2", "n3", env={VARIABLE: str(points)})
    n1, _, n3 = servers
    async with ended(*servers):
        await begun(servers)
        await n1.write("/api/v1/jobs", a_job("first"))
        await n3.until("/api/v1/jobs/first", lambda job: job)
        assert await n3.stop() == 0
        for n in range(20):
            await n1.write("/api/v1/jobs", a_job(f"later-{n}"))
        await forget_log(n1)
        for place in PLACES:
            (points / place).write_text("1")
            with pytest.raises(AssertionError, match="the server ended"):
                await n3.start()
            assert await n3.ended() == -signal.SIGKILL
            assert (points / f"{place}.met").exists(), place
        await n3.start()
        await caught_up(n3, 21)
        statuses = [await server.until("/api/v1/cluster/status", lambda status: status["ready"]) for server in servers]
        assert len({status["jobs_total"] for status in statuses}) == 1
        await n3.write("/api/v1/jobs", a_job("after"))
        await caught_up(n1, 22)


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_node_that_slept_for_too_long_goes_on_in_the_same_process(tmp_path: Path) -> None:
    servers = founded(tmp_path, "n1", "n2", "n3")
    async with ended(*servers):
        await begun(servers)
        leader = (await servers[0].until("/api/v1/cluster/status", lambda status: status["leader"]))["leader"]
        sleeper = next(server for server in servers if server.folder.parent.name != leader)
        awake = next(server for server in servers if server is not sleeper)
        await awake.write("/api/v1/jobs", a_job("first"))
        await sleeper.until("/api/v1/jobs/first", lambda job: job)
        sleeper.send(signal.SIGSTOP)
        os.kill(engine_of(sleeper), signal.SIGKILL)  # or it would have kept for the server what the log forgets
        for n in range(10):
            await awake.write("/api/v1/jobs", a_job(f"later-{n}"))
        await forget_log(awake)
        pid = sleeper.pid
        sleeper.send(signal.SIGCONT)
        await caught_up(sleeper, 11)
        assert sleeper.pid == pid
        assert sleeper.is_running
        assert "too_far_behind" in sleeper.output
        assert await sleeper.stop() == 0


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_node_whose_state_is_gone_says_that_it_waits_for_another(tmp_path: Path) -> None:
    servers = founded(tmp_path, "n1", "n2", "n3")
    n1, n2, n3 = servers
    async with ended(*servers):
        await begun(servers)
        await n1.write("/api/v1/jobs", a_job("first"))
        await n3.until("/api/v1/jobs/first", lambda job: job)
        assert [await server.stop() for server in servers] == [0, 0, 0]
        await asyncio.gather(*(server.start() for server in servers))
        await n1.until("/api/v1/cluster/status", lambda status: status["leader"])
        await forget_log(n1)
        for server in (n2, n3):
            assert await server.stop() == 0
        for path in (n3.folder / "state.db", n2.folder / "state.db"):
            path.unlink()
        # Engines are a majority again, and nobody who is up has a state: n1 is down, too.
        assert await n1.stop() == 0
        starting = [asyncio.create_task(server.start()) for server in (n2, n3)]
        told = await n3.until("/ready", lambda ready: "No member that is reached" in ready["reason"], status=503)
        assert told["reason"].startswith("This node is too far behind to follow the others' log.")
        refused = await n3.until("/api/v1/jobs", lambda problem: problem["detail"], status=503)
        assert refused["detail"].startswith("This node is too far behind")
        assert (await n3.until("/health", lambda _: True))["status"] == "healthy"
        await n1.start()
        await asyncio.gather(*starting)
        for server in (n2, n3):
            await caught_up(server, 1)
