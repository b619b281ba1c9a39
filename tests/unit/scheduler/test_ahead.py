"""However far ahead of its time a run is claimed, it is in nobody's way who is due before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World

from chronos.dispatch.port import Delivered, Delivery
from chronos.model.events import Event, EventType
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


@pytest.mark.parametrize("policy", ONE_AT_A_TIME, ids=lambda policy: policy["concurrency"])
@virtual_time
async def test_who_waits_for_the_run_before_is_claimed_as_soon_as_that_has_ended(policy: dict[str, Any]) -> None:
    world = World()
    async with Node(world, settings=SchedulerSettings(claim_lead_us=2_400_000)) as node:
        world.answers["nightly"] = _brief
        claimed = _claims(node, world)
        await node.create(**policy)
        await world.until(10.5)
        ahead_s = [due_s - at_s for due_s, at_s in claimed if 2 <= due_s <= 10]
        assert len(ahead_s) == 9
        assert all(0.59 < each <= 0.7 for each in ahead_s), "0.3 s after the one before, and gathered for a tenth"


@virtual_time
async def test_who_waits_has_the_slot_decided_when_it_is_due_if_the_run_before_goes_on() -> None:
    world = World()
    async with Node(world, settings=SchedulerSettings(claim_lead_us=2_400_000)) as node:
        world.answers["nightly"] = _long
        claimed = _claims(node, world)
        job = await node.create(concurrency="forbid")
        await world.until(8.5)
        assert [second for second, status in await node.told(job) if second <= 7 and status == "overlap"] == [2, 4, 6]
        assert [round(due_s - at_s, 1) for due_s, at_s in claimed if 2 < due_s < 8] == [0.7, 0.7, 0.7]


@virtual_time
async def test_one_slot_that_was_set_free_lets_one_ask_ahead() -> None:
    world = World()
    async with Node(world, settings=SchedulerSettings(claim_lead_us=2_400_000)) as node:
        world.answers["nightly"] = _brief
        await node.create(concurrency="allow", max_concurrent=2)
        claimed = _claims(node, world)
        await world.until(10.5)
        assert world.fired() == list(range(1, 11))
        assert all(1.59 < due_s - at_s <= 1.71 for due_s, at_s in claimed if 4 <= due_s <= 10), "two ends before"


async def _long(delivery: Delivery) -> Delivered:
    await asyncio.sleep(1.3)
    return Delivered()


def _claims(node: Node, world: World) -> list[tuple[int, float]]:
    """Return a list that (due second, when it was claimed) of each run goes to from now on."""
    claimed: list[tuple[int, float]] = []

    def note(events: Sequence[Event]) -> None:
        due = [event.execution.scheduled_s - BEGIN_S for event in events if event.execution is not None]
        claimed.extend((due_s, world.now) for due_s in due)

    node.commands.subscribe(note, of={EventType.EXECUTION_STARTED})
    return claimed
