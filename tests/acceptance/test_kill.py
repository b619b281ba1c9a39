"""Ten times kill -9 under load, judged from the target's own log."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget

JOBS = 50
CYCLES = 10
LOAD_S = 2.0
PAGE = 200


def a_job(number: int, url: str) -> dict[str, object]:
    return {
        "name": f"job-{number:02d}",
        "schedule": "* * * * * *",
        "concurrency": "allow",
        "missed_run_policy": "execute_all",
        "max_catchup": 1000,
        "webhook": {"url": f"{url}/job-{number:02d}"},
    }


async def recorded_successes(node: Node) -> set[str]:
    """Return the executions whose success the server has recorded, newest pages first."""
    found: set[str] = set()
    path = f"/api/v1/executions?status=success&limit={PAGE}"
    cursor = ""
    for _ in range(3):
        page = (await node.call("GET", path + (f"&cursor={cursor}" if cursor else ""))).json()
        found |= {execution["id"] for execution in page["executions"]}
        cursor = page.get("next_cursor") or ""
        if not cursor:
            break
    return found


@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_ten_kills_under_load_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    async with RecordingTarget(delay_s=0.05) as target:
        node = Node(tmp_path / "data")
        await node.start()
        for number in range(JOBS):
            created = await node.call("POST", "/api/v1/jobs", a_job(number, target.url))
            assert created.status_code == 201, created.text
        begun = int(time.time()) + 2
        await asyncio.sleep(3)

        kills: list[float] = []
        recorded_before: list[set[str]] = []
        for _ in range(CYCLES):
            await asyncio.sleep(LOAD_S)
            recorded_before.append(await recorded_successes(node))
            await node.kill()
            kills.append(time.time())
            await node.start()
        await asyncio.sleep(8)
        ended = int(time.time()) - 3
        await node.stop()

    arrivals = target.by_execution()
    assert sum(len(a) for a in arrivals.values()) > 40 * CYCLES * LOAD_S, "the load must have been there"

    for kill, recorded in zip(kills, recorded_before, strict=True):
        assert recorded, "the server must have recorded something before each kill"
        again = [key for key in recorded if any(a.at > kill for a in arrivals.get(key, []))]
        assert not again, f"recorded as a success and sent again after the kill: {again[:5]}"

    for key, received in arrivals.items():
        numbers = [a.attempt for a in received]
        assert numbers == sorted(numbers), f"{key}: attempts {numbers}"
        for first, second in itertools.pairwise(received):
            assert second.attempt == first.attempt + 1, f"{key}: attempts {numbers}"
            assert any(first.at <= kill < second.at for kill in kills), f"{key} was repeated without a kill"

    seen: dict[str, set[str]] = {}
    for received in arrivals.values():
        seen.setdefault(received[0].path, set()).add(received[0].headers["x-chronos-scheduled-time"])
    for number in range(JOBS):
        due = {time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(s)) for s in range(begun, ended)}
        missing = sorted(due - seen.get(f"/job-{number:02d}", set()))
        assert not missing, f"job-{number:02d}: due and never sent: {missing[:5]} of {len(missing)}"
