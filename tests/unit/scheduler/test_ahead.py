"""However far ahead of its time a run is claimed, it is in nobody's way who is due before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.scheduler.harness import Node, World

from chronos.dispatch.port import Delivered, Delivery
from chronos.scheduler.settings import SchedulerSettings
from chronos.testing import virtual_time

ONE_AT_A_TIME = [
    {"concurrency": "forbid"},
    {"concurrency": "queue"},
    {"concurrency": "replace"},
    {"concurrency": "allow", "max_concurrent": 1},
]


async def _brief(delivery: Delivery) -> Delivered:
    await asyncio.sleep(0.3)
    return Delivered()


@pytest.mark.parametrize("claim_lead_us", [250_000, 900_000, 1_600_000, 2_400_000])
@pytest.mark.parametrize("policy", ONE_AT_A_TIME, ids=lambda policy: policy["concurrency"])
@virtual_time
async def test_brief_runs_each_second_all_come_in_order_and_on_time(policy: dict[str, Any], claim_lead_us: int) -> None:
    world = World()
    async with Node(world, settings=SchedulerSettings(claim_lead_us=claim_lead_us)) as node:
        world.answers["nightly"] = _brief
        job = await node.create(**policy)
        await world.until(10.5)
        assert [sent.instant for sent in world.sent] == list(range(1, 11))
        assert max(sent.at - sent.instant for sent in world.sent) < 0.01
        assert [status for second, status in await node.told(job) if second <= 10] == ["success"] * 10
