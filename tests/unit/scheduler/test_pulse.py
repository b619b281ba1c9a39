"""Whether planning goes on: not before it has begun, not after it has stopped, and not while a turn hangs."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace
from tests.unit.scheduler.harness import BEGIN_S, Node, S, World

from chronos.dispatch.port import Delivery, Outcome, Refused
from chronos.model.job import Job
from chronos.scheduler.pulse import Pulse
from chronos.scheduler.successes import Success, Successes
from chronos.testing import virtual_time


def test_a_pulse_tells_the_first_trouble_it_hears_of() -> None:
    assert Pulse().trouble() == ""
    assert Pulse(lambda: "", lambda: "No room.", lambda: "Stuck.").trouble() == "No room."


@virtual_time
async def test_a_node_has_a_pulse_from_its_beginning_to_its_end_also_without_jobs() -> None:
    world = World()
    node = Node(world)
    assert "starting" in node.scheduler.standstill()
    async with node:
        assert node.scheduler.standstill() == ""
        await world.until(600)
        assert node.scheduler.standstill() == ""
        await node.create(schedule="*/5 * * * * *")
        await world.until(700)
        assert node.scheduler.standstill() == ""
    assert "shutting down" in node.scheduler.standstill()


@virtual_time
async def test_a_turn_that_hangs_is_noticed_and_so_is_that_it_goes_on_again() -> None:
    world = World()
    async with Node(world) as node:
        await node.create(schedule="*/5 * * * * *")
        await world.until(12)
        world.latency = lambda: 40.0
        await world.until(30)
        assert "No turn of planning has ended" in node.scheduler.standstill()
        world.latency = lambda: 0.002
        await world.until(120)
        assert node.scheduler.standstill() == ""


@virtual_time
async def test_turns_that_end_without_deciding_what_is_due_are_no_pulse() -> None:
    world = World()
    async with Node(world) as node:
        await node.create(schedule="*/5 * * * * *")
        await world.until(12)
        world.disk.bytes_max = 0  # every entry is refused, and every turn ends
        await world.until(40)
        assert "behind" in node.scheduler.standstill()


@virtual_time
async def test_success_is_remembered_and_missed_when_the_next_instant_has_come() -> None:
    world = World()

    async def fail(delivery: Delivery) -> Outcome:
        return Refused("HTTP 400", "http_status", permanent=True)

    async with Node(world) as node:
        job = await node.create(schedule="*/10 * * * * *")
        successes = Successes(node.commands.view, node.scheduler.plan_of, node.queries.all_jobs)

        def now(of: Job) -> Success:
            return successes.of(of, node.scheduler.now_us)

        assert (now(job).last_us, now(job).overdue_since_s) == (0, 0)
        await world.until(15)
        assert now(job).last_us // S == BEGIN_S + 10
        assert now(job).overdue_since_s == 0
        world.answers["nightly"] = fail
        await world.until(45)
        assert now(job).last_us // S == BEGIN_S + 10
        assert now(job).overdue_since_s == BEGIN_S + 20
        assert 34 < now(job).age_s < 36
        paused = (await node.jobs.pause("nightly", namespace="default", by="ann")).job
        assert now(paused).overdue_since_s == 0
        await asyncio.sleep(30)
        resumed = (await node.jobs.resume("nightly", namespace="default", by="ann")).job
        assert now(resumed).overdue_since_s == 0, "what came due in the pause is owed by nobody"
        assert [job.id for job in successes.jobs()] == [resumed.id]
        assert replace(now(resumed), age_s=0.0).last_us // S == BEGIN_S + 10
