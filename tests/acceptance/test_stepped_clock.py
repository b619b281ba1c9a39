"""A real server whose wall clock is set under it, and which is stopped while time goes on."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.acceptance.set_clock import SetClock, require_compiler

PATIENCE_S = 40.0
DAY = 86_400.0

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and SIGSTOP as Linux has them"),
]


@pytest.fixture
def clock(tmp_path: Path) -> SetClock:
    require_compiler()
    return SetClock(tmp_path)


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    """Ask `what` until it says yes."""
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.1)


async def the_clock(node: Node) -> Any:
    return (await node.call("GET", "/api/v1/clock")).json()


async def a_job(node: Node, target: RecordingTarget) -> None:
    job = {
        "name": "every-second",
        "schedule": "* * * * * *",
        "concurrency": "allow",
        "missed_run_policy": "ignore",
        "webhook": {"url": target.url},
    }
    assert (await node.call("POST", "/api/v1/jobs", job)).status_code == 201


def ids(target: RecordingTarget) -> Counter[str]:
    return Counter(arrival.execution for arrival in target.arrivals)


def more_than(target: RecordingTarget, count: int) -> Callable[[], Awaitable[bool]]:
    async def arrived() -> bool:
        return len(target.arrivals) > count

    return arrived


async def test_a_clock_set_days_ahead_is_held_and_one_set_back_is_silent(clock: SetClock, tmp_path: Path) -> None:
    node = Node(tmp_path / "data", env=clock.env)
    await node.start()
    async with RecordingTarget() as target:
        await a_job(node, target)
        await until(more_than(target, 2))

        clock.set(2 * DAY)
        held = await the_clock(node)
        assert (held["held"], held["needs_accept"]) == (True, True)
        await until(more_than(target, len(target.arrivals) + 2))  # planning goes on by the time that has passed
        assert (await the_clock(node))["held"]
        assert (await node.call("GET", "/api/v1/heartbeat")).json()["scheduling"] is False

        assert not (await node.call("POST", "/api/v1/clock/accept", {})).json()["held"]
        await until(more_than(target, len(target.arrivals) + 2))
        assert max(ids(target).values()) == 1

        clock.set(2 * DAY - 600)
        silent = await the_clock(node)
        assert silent["silent_until"] is not None
        before = len(target.arrivals)
        assert (await node.call("POST", "/api/v1/clock/reset", {})).json()["restore_epoch"] == 1
        await until(more_than(target, before + 2))
        assert target.arrivals[-1].headers["chronos-fencing-token"].startswith("1.")
        assert await node.stop() == 0


async def test_a_process_that_was_stopped_for_a_while_accounts_for_what_it_missed(
    clock: SetClock, tmp_path: Path
) -> None:
    node = Node(tmp_path / "data", env=clock.env)
    await node.start()
    async with RecordingTarget() as target:
        await a_job(node, target)
        await until(more_than(target, 2))
        node.send(signal.SIGSTOP)
        clock.set(600.0)  # ten minutes have passed when it goes on
        node.send(signal.SIGCONT)
        await until(more_than(target, len(target.arrivals) + 3))

        async def skipped() -> bool:
            page = (await node.call("GET", "/api/v1/executions?status=skipped")).json()["executions"]
            return any(row["reason"] == "misfire" and row["range"]["count"] > 500 for row in page)

        await until(skipped)
        assert not (await the_clock(node))["held"]
        assert max(ids(target).values()) == 1
        assert await node.stop() == 0
