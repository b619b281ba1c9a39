"""A crowd is decided in parts while somebody outside writes: nobody sees it but those who would have waited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.scheduler.harness import BEGIN_S, Node, World

from chronos.cluster.memory import MemoryLog
from chronos.model.job import Job
from chronos.scheduler import lead
from chronos.scheduler.settings import SchedulerSettings
from chronos.store.commands import Catchup, Command, Decide, PutDocument, PutJob, decode_entry
from chronos.testing import virtual_time

NS: dict[str, Any] = {"namespace": "default", "by": "ann"}
SETTINGS = SchedulerSettings(part_jobs=2)
CLOSED = b'{"blackouts": [{"start": "2020-01-01T00:00:00Z", "end": "2070-01-01T00:00:00Z"}]}'


async def a_crowd(node: Node, jobs: int = 9, schedule: str = "10,20 0 12 * * *", **spec: Any) -> list[Job]:
    return [await node.create(f"job-{number}", schedule, **spec) for number in range(jobs)]


async def touched(node: Node, name: str) -> None:
    """Write something that no schedule has to do with."""
    await node.put(name, "0 0 1 1 *", description=f"at {node.world.now}")


async def commands_of(world: World) -> list[Command]:
    entries = [decode_entry(row.data) async for row in MemoryLog(world.disk).tail(1)]
    return [command for entry in entries for command in entry.commands]


def parts_of(commands: Sequence[Command]) -> list[Catchup]:
    return [command for command in commands if isinstance(command, Catchup) and command.occurrences]


def of(commands: Sequence[Command], *kinds: type) -> list[Command]:
    return [command for command in commands if isinstance(command, kinds)]


@virtual_time
async def test_while_nobody_writes_a_crowd_is_decided_in_one_entry() -> None:
    world = World()
    async with Node(world, settings=SETTINGS) as node:
        jobs = await a_crowd(node)
        await world.until(25)
        assert [await node.told(job) for job in jobs] == [[(10, "success"), (20, "success")]] * len(jobs)
    commands = await commands_of(world)
    assert [len(decide.occurrences) for decide in of(commands, Decide) if isinstance(decide, Decide)] == [9, 9]
    assert parts_of(commands) == []


@virtual_time
async def test_while_somebody_writes_it_is_decided_in_parts_and_every_job_runs_once_at_its_second() -> None:
    world = World()
    async with Node(world, settings=SETTINGS) as node:
        await node.create("quiet", "0 0 1 1 *")
        jobs = await a_crowd(node)
        await world.until(9)
        await touched(node, "quiet")
        await world.until(25)
        assert [await node.told(job) for job in jobs] == [[(10, "success"), (20, "success")]] * len(jobs)
        assert max(sent.at - sent.instant for sent in world.sent) < 0.001
    commands = await commands_of(world)
    parts = parts_of(commands)
    assert [len(part.occurrences) for part in parts] == [2, 2, 2, 2, 1]
    assert all(owed.not_before_us for part in parts for owed in part.occurrences), "they are claimed at once"
    assert len(of(commands, Decide)) == 1, "what is due when nobody has written for a while is decided as a whole"


@virtual_time
async def test_what_is_short_of_time_is_decided_as_a_whole_whoever_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead, "CROWD_MIN", 5)
    world = World(latency=0.24)
    async with Node(world, settings=SETTINGS) as node:
        await node.create("quiet", "0 0 1 1 *")
        jobs = await a_crowd(node, schedule="10-11 0 12 * * *", concurrency="allow")
        await world.until(9)
        await touched(node, "quiet")
        await world.until(15)
        assert [await node.told(job) for job in jobs] == [[(10, "success"), (11, "success")]] * len(jobs)
    commands = await commands_of(world)
    assert [{owed.scheduled_s - BEGIN_S for owed in part.occurrences} for part in parts_of(commands)] == [{10}] * 5
    [decide] = of(commands, Decide)
    assert isinstance(decide, Decide)
    assert [owed.scheduled_s - BEGIN_S for owed in decide.occurrences] == [11] * 9


@virtual_time
async def test_whoever_writes_waits_behind_one_part_only() -> None:
    world = World(latency=0.01)
    async with Node(world, settings=SETTINGS) as node:
        await node.create("quiet", "0 0 1 1 *")
        await a_crowd(node)
        await world.until(9)
        await touched(node, "quiet")
        await world.until(9.76)
        await touched(node, "quiet")
        await world.until(11)
    commands = await commands_of(world)
    kinds = [type(command) for command in commands if isinstance(command, PutJob) or command in parts_of(commands)]
    assert PutJob in kinds[kinds.index(Catchup) :][:3]


@virtual_time
async def test_nobody_takes_it_for_an_outage() -> None:
    world = World(latency=0.03)
    async with Node(world, settings=SETTINGS) as node:
        await node.create("quiet", "0 0 1 1 *")
        await a_crowd(node)
        await world.until(9)
        await touched(node, "quiet")
        await world.until(9.85)
        assert node.scheduler.shard.catchup_to_s
        assert not node.scheduler.status()["catching_up"]
        assert node.scheduler.status()["silent_until"] is None


@virtual_time
async def test_a_job_that_is_yet_to_be_decided_is_paused_as_soon_as_it_has_been() -> None:
    world = World(latency=0.02)
    async with Node(world, settings=SETTINGS) as node:
        await node.create("quiet", "0 0 1 1 *")
        jobs = await a_crowd(node)
        await world.until(9)
        await touched(node, "quiet")
        await world.until(9.8)
        last = max(jobs, key=lambda job: job.id)
        assert node.scheduler.shard.cursor < last.id
        changed = await node.jobs.pause(last.name, **NS)
        assert world.now < 10
        assert changed.already_sent == []
        await world.until(12)
        assert await node.told(last) == [(10, "paused")]
        assert [await node.told(job) for job in jobs if job.id != last.id] == [[(10, "success")]] * 8


@virtual_time
async def test_what_a_crash_leaves_undecided_is_decided_by_whoever_starts_next() -> None:
    world = World(latency=0.03)
    node = await Node(world, settings=SETTINGS).__aenter__()
    await node.create("quiet", "0 0 1 1 *")
    jobs = await a_crowd(node)
    await world.until(9)
    await touched(node, "quiet")
    await world.until(9.85)
    assert jobs[0].id <= node.scheduler.shard.cursor < jobs[-1].id
    node.crash()
    await world.until(9.9)
    async with Node(world, settings=SETTINGS) as node:
        await world.until(13)
        assert [await node.told(job) for job in jobs] == [[(10, "success")]] * len(jobs)
        assert not node.scheduler.shard.catchup_to_s


@virtual_time
async def test_a_job_that_is_made_while_a_crowd_is_decided_owes_its_instant_once_whatever_happens() -> None:
    world = World(latency=0.1)
    node = await Node(world, settings=SETTINGS).__aenter__()
    await node.create("quiet", "0 0 1 1 *")
    jobs = await a_crowd(node, 16)
    await world.until(9)
    await touched(node, "quiet")
    await world.until(9.86)
    assert node.scheduler.shard.catchup_to_s == BEGIN_S + 10
    making = asyncio.create_task(node.create("late", "10,20 0 12 * * *"))
    await world.until(10.4)
    assert node.scheduler.shard.catchup_to_s, "this is about what happens before the last part has come"
    node.crash()
    making.cancel()
    async with Node(world, settings=SETTINGS) as node:
        await world.until(22)
        found = [job for job in node.queries.all_jobs() if job.name == "late"]
        told = [await node.told(job) for job in found]
        assert told in ([], [[(20, "success")]], [[(10, "success"), (20, "success")]])
        assert [await node.told(job) for job in jobs] == [[(10, "success"), (20, "success")]] * len(jobs)
        assert len({(sent.job, sent.instant) for sent in world.sent}) == len(world.sent)


@virtual_time
async def test_a_calendar_that_changes_between_two_parts_holds_for_those_that_are_yet_to_be_decided() -> None:
    world = World(latency=0.03)
    async with Node(world, settings=SETTINGS) as node:
        await node.commands.propose(PutDocument("calendars", "default", "open", b"{}", "ann", replans=True))
        await node.create("quiet", "0 0 1 1 *")
        jobs = await a_crowd(node, calendar="open")
        await world.until(9)
        await touched(node, "quiet")
        await world.until(9.84)
        assert jobs[0].id <= node.scheduler.shard.cursor < jobs[-1].id
        await node.commands.propose(PutDocument("calendars", "default", "open", CLOSED, "ann", replans=True))
        cursor = node.scheduler.shard.cursor
        await world.until(13)
        for job in jobs:
            assert await node.told(job) == [(10, "success" if job.id <= cursor else "blackout")], job.name


@virtual_time
async def test_jobs_that_are_made_without_pause_do_not_keep_a_crowd_from_firing() -> None:
    world = World()
    async with Node(world, settings=SETTINGS) as node:
        jobs = await a_crowd(node, schedule="* * * * * *")
        for number in range(300):
            await world.until(3 + number / 50)
            await node.create(f"more-{number}", "0 0 1 1 *")
        await world.until(10.5)
        assert [await node.told(job) for job in jobs] == [[(second, "success") for second in range(1, 11)]] * len(jobs)
        assert max(sent.at - sent.instant for sent in world.sent) < 0.1
    assert parts_of(await commands_of(world))
