from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.unit.scheduler.harness import BEGIN, BEGIN_S, Node, World, in_turn, lasting

from chronos.dispatch.port import Delivered, NotSent, Refused
from chronos.errors import StorageFull
from chronos.model.execution import Execution, Status
from chronos.store.commands import ResetClock
from chronos.testing import VirtualClock, run_virtual, virtual_time
from chronos.timing.trusted import TrustedClock

HOURLY = "0 0 * * * *"


def a_world() -> tuple[VirtualClock, World]:
    wall = VirtualClock(BEGIN)
    return wall, World(clock=TrustedClock(wall))


@virtual_time
async def test_a_clock_that_is_set_back_fires_nothing_twice() -> None:
    wall, world = a_world()
    async with Node(world) as node:
        job = await node.create()
        await world.until(5.5)
        wall.step(-3)
        await world.until(7.9)
        assert world.fired() == [1, 2, 3, 4, 5], "silent until the mark is reached again"
        await world.until(12.5)
        assert world.fired() == list(range(1, 10))
        assert set(Counter(second for second, _ in await node.told(job)).values()) == {1}


@virtual_time
async def test_a_clock_that_is_set_ahead_a_little_misses_nothing() -> None:
    wall, world = a_world()
    async with Node(world) as node:
        job = await node.create(schedule="*/30 * * * * *")
        await world.until(31)
        wall.step(65)
        await world.until(60)
        told = await node.told(job)
    assert [second for second, _ in told] == [30, 60, 90, 120]


@virtual_time
async def test_a_clock_that_jumps_an_hour_ahead_silences_nothing_and_fires_nothing_early() -> None:
    wall, world = a_world()
    async with Node(world) as node:
        await node.create()
        await world.until(5.5)
        wall.step(3_600)
        await world.until(10.5)
        assert world.fired() == list(range(1, 11))
        wall.step(-3_600)
        await world.until(15.5)
        assert world.fired() == list(range(1, 16))


@virtual_time
async def test_a_reset_lets_a_node_plan_again_whose_mark_lies_in_the_future() -> None:
    wall, world = a_world()
    async with Node(world) as node:
        await node.create()
        await world.until(2.5)
        wall.step(600)
        await world.until(5.5)
        wall.step(-600)
        await world.until(8.5)
        before = list(world.fired())
        assert node.scheduler.status()["silent_until"] is not None
        await node.commands.propose(ResetClock(int(world.clock.time()), "ann"))
        await world.until(12.5)
    assert [instant for instant in world.fired()[len(before) :] if instant < 600] == [9, 10, 11, 12]


@virtual_time
async def test_a_full_disk_delays_planning_and_ends_nothing() -> None:
    world = World()
    async with Node(world) as node:
        watch = asyncio.create_task(node.scheduler.failure())
        job = await node.create(schedule="*/2 * * * * *")
        await world.until(5)
        room, world.disk.bytes_max = world.disk.bytes_max, 0
        await world.until(100)
        with pytest.raises(StorageFull):
            await node.create("other")
        world.disk.bytes_max = room
        await world.until(110.5)
        assert not watch.done()
        told = dict(await node.told(job))
        watch.cancel()
        counts = [1 if isinstance(record, Execution) else record.count for record in await node.records(job)]
    assert set(range(2, 111, 2)) <= set(told)
    assert sum(counts) == 55
    assert told[108] == "success"


@virtual_time
async def test_results_wait_for_room_and_are_not_sent_again() -> None:
    world = World()
    world.answers["nightly"] = lasting(3)
    async with Node(world) as node:
        await node.create(schedule=HOURLY)
        execution = await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(1)
        room, world.disk.bytes_max = world.disk.bytes_max, 0
        await world.until(20)
        assert (await node.jobs.execution(execution.id, namespace="default")).status is Status.RUNNING
        world.disk.bytes_max = room
        await world.until(25)
        assert (await node.jobs.execution(execution.id, namespace="default")).status is Status.SUCCESS
    assert len(world.sent) == 1


@virtual_time
async def test_a_cancellation_on_a_full_disk_stops_nobody_but_its_run() -> None:
    world = World()
    world.answers["nightly"] = lasting(1_000)
    async with Node(world) as node:
        watch = asyncio.create_task(node.scheduler.failure())
        await node.create(schedule=HOURLY)
        execution = await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(1)
        await node.jobs.cancel(execution.id, namespace="default", by="ann")
        room, world.disk.bytes_max = world.disk.bytes_max, 0
        await world.until(20)
        world.disk.bytes_max = room
        await world.until(25)
        assert (await node.jobs.execution(execution.id, namespace="default")).status is Status.CANCELLED
        assert not watch.done()
        watch.cancel()


@virtual_time
async def test_a_drain_lets_what_runs_finish_and_starts_nothing_new() -> None:
    world = World()
    world.answers["nightly"] = lasting(3)
    async with Node(world) as node:
        job = await node.create(schedule="*/5 * * * * *")
        await world.until(5.5)
        await node.scheduler.stop(drain_s=30)
        assert 8 <= world.now < 8.5
        assert (await node.one(job)).status is Status.SUCCESS
        await world.until(20)
    assert world.fired() == [5]


@virtual_time
async def test_what_a_drain_cuts_off_is_unknown_and_sent_again_under_the_same_id() -> None:
    world = World()
    world.answers["nightly"] = lasting(100)
    async with Node(world) as node:
        job = await node.create(schedule=HOURLY)
        await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(1)
    world.answers.clear()
    async with Node(world) as node:
        await world.until(5)
        ended = await node.one(job)
    assert [(sent.attempt, sent.id) for sent in world.sent] == [(1, ended.id), (2, ended.id)]
    assert [attempt.status.value for attempt in ended.attempts] == ["unknown", "success"]


@pytest.mark.parametrize("offset_ms", [-250, -248, -200, -100, -1])
def test_what_is_staged_when_the_server_stops_was_never_sent(offset_ms: int) -> None:
    async def main() -> None:
        world = World(latency=0.02)
        async with Node(world) as node:
            job = await node.create(schedule="*/5 * * * * *", on_unknown="fail")
            await world.until(5 + offset_ms / 1000)
        async with Node(world) as node:
            await world.until(9)
            ended = await node.one(job)
            assert (ended.status, [attempt.n for attempt in ended.attempts]) == (Status.SUCCESS, [1])
        assert world.fired() == [5]

    run_virtual(main)


@virtual_time
async def test_a_target_behind_an_open_breaker_waits_without_using_up_tries() -> None:
    world = World()
    world.answers["nightly"] = in_turn(*[NotSent("breaker", 30.0)] * 5, Refused("HTTP 503", "http_status"), Delivered())
    async with Node(world) as node:
        job = await node.create(schedule=HOURLY, retry_policy={"max_attempts": 2})
        await node.jobs.trigger("nightly", namespace="default", by="ann")
        await world.until(300)
        ended = await node.one(job)
    assert (ended.status, ended.tries, [attempt.n for attempt in ended.attempts]) == (Status.SUCCESS, 2, [1, 2])


@virtual_time
async def test_stopping_twice_or_unstarted_does_nothing() -> None:
    world = World()
    await Node(world).scheduler.stop(drain_s=1)
    async with Node(world) as node:
        await node.scheduler.stop(drain_s=0)
        await node.scheduler.stop(drain_s=0)


@virtual_time
async def test_a_scheduler_that_finds_the_disk_full_begins_when_there_is_room() -> None:
    world = World()
    async with Node(world) as node:
        job = await node.create(schedule="0 * * * * *")
        await world.until(70)
    await world.until(290)
    node = Node(world)
    await node.commands.start("n1", "n1#2")
    room, world.disk.bytes_max = world.disk.bytes_max, 0
    async with node.executor, node.scheduler:
        watch = asyncio.create_task(node.scheduler.failure())
        await world.until(305)
        assert node.scheduler.status()["waits_for"]
        assert node.scheduler.shard.hwm_s < BEGIN_S + 290
        assert await node.jobs.get("nightly", namespace="default") == job
        world.disk.bytes_max = room
        await world.until(425)
        assert node.scheduler.status()["waits_for"] is None
        assert not watch.done()
        watch.cancel()
        told = await node.told(job)
    await node.commands.stop()
    assert sorted(world.fired()) == [60, 240, 300, 360, 420]
    assert [second for second, status in told if status == "success"] == [60, 240, 300, 360, 420]


@virtual_time
async def test_what_a_crash_cut_off_is_sent_again_once_there_is_room() -> None:
    world = World()
    world.answers["nightly"] = lasting(1_000)
    node = await Node(world).__aenter__()
    job = await node.create(schedule=HOURLY)
    await node.jobs.trigger("nightly", namespace="default", by="ann")
    await world.until(1)
    node.crash()
    world.answers.clear()
    node = Node(world)
    await node.commands.start("n1", "n1#2")
    room, world.disk.bytes_max = world.disk.bytes_max, 0
    async with node.executor, node.scheduler:
        await world.until(5)
        assert len(world.sent) == 1
        world.disk.bytes_max = room
        await world.until(40)
        ended = await node.one(job)
    await node.commands.stop()
    assert [attempt.status.value for attempt in ended.attempts] == ["unknown", "success"]


@virtual_time
async def test_a_scheduler_that_never_began_stops_at_once() -> None:
    world = World()
    node = Node(world)
    await node.commands.start("n1", "n1#1")
    world.disk.bytes_max = 0
    async with node.executor, node.scheduler:
        await world.until(2)
    await node.commands.stop()
    assert world.now < 8
