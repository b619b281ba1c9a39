"""A node that stands alone becomes a cluster of one with one restart, keeps what it was told, and never goes back."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.acceptance.trio import Server, ended, init

from chronos.failpoints import VARIABLE
from chronos.server.admission import ASIDE, NAME

PLACES = ("growth.folded", "growth.begun", "growth.founded", "growth.midway")


def a_job(name: str, url: str, schedule: str = "0 0 1 1 *") -> dict[str, Any]:
    return {"name": name, "schedule": schedule, "webhook": {"url": url}}


def token(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


async def arrived(target: RecordingTarget, count: int) -> None:
    async with asyncio.timeout(30):
        while len(target.arrivals) < count:  # noqa: ASYNC110  # who sends is another process, and tells nobody here
            await asyncio.sleep(0.1)


def member(tmp_path: Path, data: Path, env: dict[str, str] | None = None) -> Server:
    """Found a cluster of one for a data folder, and return the node, not started."""
    [port] = init(tmp_path, "n1", keys_from=data)
    return Server(data, tmp_path / "n1" / "chronos.yaml", port, env or {})


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_lone_node_becomes_a_cluster_and_is_killed_at_every_step_of_it(tmp_path: Path) -> None:
    points, data = tmp_path / "points", tmp_path / "data"
    points.mkdir(mode=0o700)
    alone = Node(data)
    async with RecordingTarget() as target:
        await alone.start()
        for n in range(10):
            assert (await alone.call("POST", "/api/v1/jobs", a_job(f"job-{n}", target.url))).status_code == 201
        answer = await alone.call("POST", "/api/v1/jobs", a_job("tick", target.url, "* * * * * *"))
        ids = {"tick": answer.json()["id"]}
        await arrived(target, 2)
        await alone.kill()  # no acknowledged write is lost, whatever its last flush was
        before = max(token(arrival.headers["chronos-fencing-token"]) for arrival in target.arrivals)
        seen = len(target.arrivals)

        grown = member(tmp_path, data, {VARIABLE: str(points)})
        async with ended(grown):
            for place in PLACES:
                (points / place).write_text("1")
                with pytest.raises(AssertionError, match="the server ended"):
                    await grown.start()
                assert await grown.ended() == -signal.SIGKILL
                assert (points / f"{place}.met").exists(), place
            await grown.start()
            await grown.until("/ready", lambda ready: ready["ready"])
            listed = await grown.until("/api/v1/jobs?limit=100", lambda page: page["jobs"])
            assert {job["name"] for job in listed["jobs"]} == {"tick", *(f"job-{n}" for n in range(10))}
            assert {"tick": next(job["id"] for job in listed["jobs"] if job["name"] == "tick")} == ids
            await arrived(target, seen + 3)
            after = [token(arrival.headers["chronos-fencing-token"]) for arrival in target.arrivals[seen:]]
            assert min(after) > before, "tokens only go up"
            assert (await grown.until("/api/v1/cluster/status", lambda status: status["leader"]))["engine"] == "etcd"
            assert (data / "log" / ASIDE).exists()
            assert await grown.stop() == 0

            await grown.start()  # an ordinary one
            assert "becoming_a_cluster" not in grown.output
            await grown.until("/api/v1/jobs/tick", lambda job: job["name"] == "tick")
            assert await grown.stop() == 0
    with pytest.raises(AssertionError, match="cannot go back to standing alone"):
        await Node(data).start()


@pytest.mark.asyncio
@pytest.mark.slow
async def test_what_could_not_become_a_cluster_still_stands_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    alone = Node(data)
    await alone.start()
    assert (await alone.call("POST", "/api/v1/jobs", a_job("first", "http://127.0.0.1:9/"))).status_code == 201
    assert await alone.stop() == 0

    init(tmp_path / "three", "n1", "n2", "n3", keys_from=data)
    config = tmp_path / "three" / "n1" / "chronos.yaml"
    three = Server(data, config, 0, {})
    with pytest.raises(AssertionError, match="becomes a cluster of one first"):
        await three.start()
    without_engine = member(tmp_path, data, {"CHRONOS_ETCD": str(tmp_path / "nowhere")})
    with pytest.raises(AssertionError, match="nowhere"):
        await without_engine.start()
    assert not (data / NAME).exists()

    points = tmp_path / "points"
    points.mkdir(mode=0o700)
    (points / "growth.begun").write_text("1")
    killed = Server(data, tmp_path / "n1" / "chronos.yaml", 0, {VARIABLE: str(points)})
    with pytest.raises(AssertionError):
        await killed.start()
    assert (data / NAME).exists()
    await alone.start()
    assert (await alone.call("GET", "/api/v1/jobs/first")).status_code == 200
    assert not (data / NAME).exists(), "nothing was founded"
    assert await alone.stop() == 0
