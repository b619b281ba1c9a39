"""Clocks that step, stand still and sleep beneath a whole server: what is due fires once, late or with a reason."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.simulation.machine import Machine, on_a_machine

from chronos.errors import ScheduleInvalid
from chronos.model.events import EventType
from chronos.model.job import Job
from chronos.timing.schedule import parse_schedule
from chronos.timing.trusted import ClockState

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def state(machine: Machine) -> ClockState:
    return machine.node.truth.watch.standing().state


async def once_each(machine: Machine, job: Job) -> None:
    """Every instant up to the mark has one record, and what was sent was sent once."""
    hwm_s = machine.node.drive.scheduler.shard.hwm_s
    assert await machine.instants(job) == list(range(job.created_at_us // 1_000_000 + 1, hwm_s + 1))
    assert set(machine.sent(job).values()) == {1}


@on_a_machine
async def test_a_step_back_fires_nothing_twice_and_is_silent_until_the_mark(machine: Machine) -> None:
    job = await machine.create("every-second")
    await asyncio.sleep(60)
    machine.clock.step(-600)
    silent_from = machine.world.seconds
    await asyncio.sleep(5)
    sent = sum(machine.sent(job).values())
    standing = machine.node.truth.watch.standing()
    assert standing.silent_until_s is not None
    assert standing.hold_seconds == pytest.approx(595, abs=3)
    await asyncio.sleep(580)
    assert sum(machine.sent(job).values()) == sent, "silent for ten minutes"
    await asyncio.sleep(30)
    assert machine.node.truth.watch.standing().note == ""
    assert max(machine.sent(job)) > machine.world.begin_s + silent_from
    await once_each(machine, job)


@on_a_machine
async def test_log_time_never_runs_back(machine: Machine) -> None:
    before = (await machine.create("first")).created_at_us
    for step in (-600.0, 30.0, -3_600.0):
        machine.clock.step(step)
        after = (await machine.create(f"after {step:g}", "@yearly")).created_at_us
        assert after >= before
        before = after


@pytest.mark.parametrize("step", [1.0, 30.0, 59.0])
def test_a_small_step_forward_is_lateness_and_no_jump(step: float) -> None:
    @on_a_machine
    async def run(machine: Machine) -> None:
        job = await machine.create("every-second", missed_run_policy="ignore")
        await asyncio.sleep(10)
        machine.clock.step(step)
        await asyncio.sleep(20)
        assert (machine.count(EventType.CLOCK_JUMP), state(machine).held) == (0, False)
        await once_each(machine, job)
        # What lies within the grace of five seconds runs, the rest is missed.
        assert (await machine.told(job))["misfire"] == pytest.approx(max(0, step - 6), abs=2)

    run()


@on_a_machine
async def test_a_step_of_minutes_is_told_and_what_it_left_out_is_missed(machine: Machine) -> None:
    one = await machine.create("one")
    none = await machine.create("none", missed_run_policy="ignore")
    await asyncio.sleep(10)
    machine.clock.step(10 * MINUTE)
    await asyncio.sleep(20)
    assert (machine.count(EventType.CLOCK_JUMP), state(machine).held) == (1, False)
    for job in (one, none):
        await once_each(machine, job)
    told = await machine.told(one)
    assert told["late"] == 1
    assert told["coalesced"] == pytest.approx(10 * MINUTE - 7, abs=3)
    assert (await machine.told(none))["misfire"] == told["coalesced"] + 1


@on_a_machine
async def test_a_jump_of_more_than_a_quarter_of_an_hour_is_held_and_what_is_due_by_elapsed_time_runs(
    machine: Machine,
) -> None:
    job = await machine.create("every-second")
    await asyncio.sleep(10)
    machine.clock.step(20 * MINUTE)
    await asyncio.sleep(120)
    assert (state(machine).held, state(machine).needs_accept) == (True, False)
    assert machine.count(EventType.CLOCK_JUMP) == 1
    assert set(await machine.told(job)) <= {"success", "running", "pending"}
    machine.sim.synchronised = True
    await asyncio.sleep(50)
    assert state(machine).held, "the kernel's word has to last a minute"
    await asyncio.sleep(20)
    assert not state(machine).held
    await asyncio.sleep(10)
    assert (await machine.told(job))["late"] == 1, "then it is an outage like any other"
    await once_each(machine, job)


@on_a_machine
async def test_a_jump_of_more_than_a_day_needs_a_person_also_when_it_comes_in_two(machine: Machine) -> None:
    job = await machine.create("every-second", missed_run_policy="ignore")
    await asyncio.sleep(10)
    machine.clock.step(20 * MINUTE)
    await asyncio.sleep(5)
    machine.clock.step(2 * DAY)
    machine.sim.synchronised = True
    await asyncio.sleep(300)
    assert (state(machine).held, state(machine).needs_accept, state(machine).jumps) == (True, True, 2)
    assert set(await machine.told(job)) <= {"success", "running", "pending"}, "nothing is silenced meanwhile"
    await machine.life.run(machine.node.truth.watch.accept(by="ann"))
    await asyncio.sleep(20)
    assert not state(machine).held
    told = await machine.told(job)
    assert told["misfire"] + told["expired"] == pytest.approx(2 * DAY + 20 * MINUTE, abs=20)
    await once_each(machine, job)


@on_a_machine
async def test_a_held_clock_that_is_set_right_goes_on_as_if_nothing_had_been(machine: Machine) -> None:
    job = await machine.create("every-second")
    await asyncio.sleep(10)
    machine.clock.step(2 * DAY)
    await asyncio.sleep(60)
    machine.clock.step(-2 * DAY)
    await asyncio.sleep(30)
    assert not state(machine).held
    assert set(await machine.told(job)) <= {"success", "running", "pending"}
    await once_each(machine, job)


@on_a_machine
async def test_sleep_is_an_outage_and_no_jump(machine: Machine) -> None:
    job = await machine.create("every-second")
    await asyncio.sleep(10)
    machine.clock.suspend(3 * HOUR)
    await asyncio.sleep(20)
    assert (machine.count(EventType.CLOCK_JUMP), state(machine).held) == (0, False)
    told = await machine.told(job)
    assert told["late"] == 1
    assert told["coalesced"] == pytest.approx(3 * HOUR - 7, abs=3)
    await once_each(machine, job)


@on_a_machine
async def test_a_start_within_a_week_is_an_outage_and_a_later_one_waits_for_a_person(machine: Machine) -> None:
    job = await machine.create("every-minute", "0 * * * * *", missed_run_policy="ignore")
    await asyncio.sleep(90)
    await machine.stop()
    machine.clock.advance(6 * DAY)
    await machine.boot()
    await asyncio.sleep(10)
    assert not state(machine).held
    assert sum((await machine.told(job)).values()) == pytest.approx(6 * 24 * 60, abs=3)
    await machine.stop()
    machine.clock.advance(8 * DAY)
    machine.sim.synchronised = True
    await machine.boot()
    await asyncio.sleep(200)
    assert (state(machine).held, state(machine).needs_accept) == (True, True)
    assert sum((await machine.told(job)).values()) == pytest.approx(6 * 24 * 60 + 3, abs=3)
    await machine.life.run(machine.node.truth.watch.accept(by="ann"))
    await asyncio.sleep(20)
    assert sum((await machine.told(job)).values()) == pytest.approx(14 * 24 * 60, abs=8)


@on_a_machine
async def test_a_start_with_a_clock_that_was_reset_is_silent_and_heals_with_the_clock(machine: Machine) -> None:
    job = await machine.create("every-second", missed_run_policy="ignore")
    await asyncio.sleep(30)
    await machine.stop()
    sent = sum(machine.sent(job).values())
    machine.clock.step(-HOUR)
    await machine.boot()
    await asyncio.sleep(60)
    assert sum(machine.sent(job).values()) == sent
    assert machine.node.truth.watch.standing().silent_until_s is not None
    machine.clock.step(HOUR)
    machine.sim.synchronised = True
    await asyncio.sleep(90)
    assert machine.node.truth.watch.standing().note == ""
    await once_each(machine, job)
    assert sum(machine.sent(job).values()) > sent


@on_a_machine
async def test_a_reset_plans_from_now_on_under_the_old_ids(machine: Machine) -> None:
    job = await machine.create("every-second")
    await asyncio.sleep(60)
    machine.clock.step(-30)
    await asyncio.sleep(5)
    first = {a.execution_id for a in machine.world.evidence.arrivals}
    await machine.life.run(machine.node.truth.watch.reset(by="ann"))
    await asyncio.sleep(60)
    again = [a for a in machine.world.evidence.arrivals if a.token.startswith("1.")]
    assert again, "the restore epoch is the token's first number"
    assert {a.execution_id for a in again} & first, "a receiver recognises what it has had"
    assert max(machine.sent(job).values()) == 2


# Leap seconds: POSIX time repeats a second, or is smeared over hours.


@pytest.mark.parametrize("schedule", ["60 59 23 30 6 *", "* 60 * * * *", "0-60 * * * * *"])
def test_sixty_is_never_an_instant(schedule: str) -> None:
    with pytest.raises(ScheduleInvalid):
        parse_schedule(schedule)


@on_a_machine
async def test_a_repeated_second_fires_once(machine: Machine) -> None:
    job = await machine.create("every-second")
    for _ in range(5):
        await asyncio.sleep(7.3)
        machine.clock.step(-1)
    await asyncio.sleep(10)
    assert set(await machine.told(job)) <= {"success", "running", "pending"}
    await once_each(machine, job)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_smeared_second_loses_and_repeats_nothing(sign: int) -> None:
    @on_a_machine
    async def run(machine: Machine) -> None:
        job = await machine.create("every-second")
        for _ in range(200):
            await asyncio.sleep(1.0)
            machine.clock.step(sign * 0.005)
        await asyncio.sleep(5.5)
        assert set(await machine.told(job)) <= {"success", "running", "pending"}
        await once_each(machine, job)

    run()


def test_the_page_on_clocks_names_tests_that_are_there() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/clocks.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) >= 13
    assert named <= set(globals())
