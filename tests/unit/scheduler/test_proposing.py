from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from unittest.mock import patch

from tests.unit.scheduler.harness import Node, World, a_spec

from chronos.errors import ChronosError, JobInvalid, JobNotFound, NameTaken
from chronos.scheduler.jobs import Asked, Changed
from chronos.scheduler.proposing import GIVE_WAY_S
from chronos.store.commands import Idem, PutJob, decode_entry
from chronos.testing import virtual_time


def names(came: list[Changed | ChronosError]) -> list[str]:
    return [one.job.name if isinstance(one, Changed) else type(one).__name__ for one in came]


@virtual_time
async def test_many_jobs_are_made_in_one_entry_and_each_is_answered_by_itself() -> None:
    world = World()
    async with Node(world) as node:
        await node.create("taken")
        asked = [Asked(a_spec("a")), Asked(a_spec("b", "nonsense")), Asked(a_spec("taken")), Asked(a_spec("c"))]
        came = await node.jobs.create_all(asked, by="ann")
    commands = [decode_entry(entry.data).commands for entry in world.disk.entries.values()]
    made = [[one.spec.name for one in entry if isinstance(one, PutJob)] for entry in commands]
    assert names(came) == ["a", "ScheduleInvalid", "NameTaken", "c"]
    assert [entry for entry in made if entry] == [["taken"], ["a", "taken", "c"]]


@virtual_time
async def test_many_jobs_owe_their_first_instants_as_if_each_had_been_made_alone() -> None:
    world = World(latency=0.03)
    async with Node(world) as node:
        await node.create("other")
        for n in range(8):
            await world.until(2.7 + n * 0.05)
            await node.jobs.create_all([Asked(a_spec(f"at-{n}-{m}")) for m in range(3)], by="ann")
        await world.until(6.5)
        for n in range(8):
            for m in range(3):
                job = await node.jobs.get(f"at-{n}-{m}", namespace="default")
                since = job.created_at_us / 1e6 - (world.clock.time() - world.now)
                assert [s for s, _ in await node.told(job)] == [s for s in range(1, 7) if s > since]


@virtual_time
async def test_jobs_replaced_together_are_found_by_name_and_those_that_are_gone_are_told() -> None:
    async with Node(World()) as node:
        kept = await node.create("a")
        came = await node.jobs.replace_all(
            [Asked(a_spec("a", description="new")), Asked(a_spec("b")), Asked(a_spec("a", "wrong"))], by="bob"
        )

    assert names(came) == ["a", "JobNotFound", "ScheduleInvalid"]
    assert isinstance(came[0], Changed)
    assert (came[0].job.id, came[0].job.revision, came[0].job.updated_by) == (kept.id, 2, "bob")


@virtual_time
async def test_a_repeat_under_a_key_is_answered_with_what_was_made_then() -> None:
    async with Node(World()) as node:
        asked = [Asked(a_spec(name), Idem("s", name, "h")) for name in "ab"]
        first = await node.jobs.create_all(asked, by="ann")
        await node.jobs.delete("b", namespace="default", by="ann")
        again = await node.jobs.create_all(asked, by="ann")

    assert isinstance(first[0], Changed)
    assert isinstance(again[0], Changed)
    assert again[0].replayed
    assert again[0].job == first[0].job
    assert not isinstance(again[1], NameTaken | JobInvalid)


def never_claimed(node: Node) -> AbstractContextManager[object]:
    """Let nobody who stands in the line come to his turn."""
    return patch.object(node.scheduler.line, "due", return_value=[])


@virtual_time
async def test_many_changes_wait_for_what_is_due_but_not_for_ever() -> None:
    world = World()
    async with Node(world) as node:
        node.scheduler.line.add("nobody", int(world.clock.time() * 1e6) - 1_000_000)
        began = world.now
        with never_claimed(node):
            await node.jobs.create_all([Asked(a_spec("a"))], by="ann")
        waited = world.now - began
        await node.create("b")
        alone = world.now - began - waited

    assert GIVE_WAY_S <= waited < GIVE_WAY_S + 0.05
    assert alone < 0.05


@virtual_time
async def test_many_changes_go_on_as_soon_as_what_is_due_is_claimed() -> None:
    world = World()
    async with Node(world) as node:
        node.scheduler.line.add("nobody", int(world.clock.time() * 1e6) - 1_000_000)
        asyncio.get_running_loop().call_later(0.1, node.scheduler.line.remove, "nobody")
        began = world.now
        with never_claimed(node):
            assert names(await node.jobs.create_all([Asked(a_spec("a"))], by="ann")) == ["a"]

    assert 0.1 <= world.now - began < 0.15


@virtual_time
async def test_what_is_not_there_is_told_without_an_entry() -> None:
    world = World()
    async with Node(world) as node:
        came = await node.jobs.replace_all([Asked(a_spec("a"))], by="ann")

    commands = [one for entry in world.disk.entries.values() for one in decode_entry(entry.data).commands]
    assert isinstance(came[0], JobNotFound)
    assert not any(isinstance(one, PutJob) for one in commands)
