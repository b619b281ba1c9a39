"""A day and a half without power, and a job for every second of it: each policy accounts for every instant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.simulation.machine import Machine, on_a_machine

from chronos.model.execution import Execution
from chronos.model.job import Job

HOUR = 3_600
OFF_S = 36 * HOUR
WINDOW_S = 24 * HOUR
GRACE_S = 5  # of a job that is due every second
CATCHUP = 100  # runs that `execute_all` makes up for, one a second


@on_a_machine
async def test_after_36_hours_off_each_policy_has_its_exact_counts(machine: Machine) -> None:
    one = await machine.create("one")
    many = await machine.create("many", missed_run_policy="execute_all", max_catchup=CATCHUP)
    none = await machine.create("none", missed_run_policy="ignore")
    wide = await machine.create("wide", missed_run_policy="ignore", catchup_window="48h")
    await asyncio.sleep(30)
    await machine.stop()
    decided_to = machine.node.drive.scheduler.shard.hwm_s
    before = {job.id: await _ran(machine, job) for job in (one, many, none, wide)}

    machine.clock.advance(OFF_S)
    await machine.boot()
    await asyncio.sleep(CATCHUP + 60)

    assert not machine.node.drive.scheduler.shard.catchup_to_s
    now_s = _decided_at_s(await machine.records(one))
    assert OFF_S <= now_s - decided_to <= OFF_S + 10
    expired = now_s - WINDOW_S - decided_to
    missed = WINDOW_S - GRACE_S - 1
    told = {job.name: await machine.told(job) for job in (one, many, none, wide)}
    hwm_s = machine.node.drive.scheduler.shard.hwm_s
    on_time = hwm_s - (now_s - GRACE_S - 1)  # since then, with those of the last five seconds of the outage
    for job in (one, many, none, wide):
        ran = told[job.name].pop("success") + sum(told[job.name].pop(open_, 0) for open_ in ("pending", "running"))
        assert ran == before[job.id] + on_time, job.name
    assert told == {
        "one": {"expired": expired, "coalesced": missed - 1, "late": 1},
        "many": {"expired": expired, "late": CATCHUP, "misfire": missed - CATCHUP},
        "none": {"expired": expired, "misfire": missed},
        "wide": {"misfire": expired + missed},
    }


@on_a_machine
async def test_no_instant_of_an_outage_is_lost_and_none_is_told_twice(machine: Machine) -> None:
    jobs = [
        await machine.create(policy, missed_run_policy=policy) for policy in ("execute_one", "execute_all", "ignore")
    ]
    await asyncio.sleep(10)
    machine.life.kill("kill")  # without a word, two hours before the next one
    machine.clock.advance(2 * HOUR)
    await machine.boot()
    await asyncio.sleep(200)
    hwm_s = machine.node.drive.scheduler.shard.hwm_s
    for job in jobs:
        made_s = job.created_at_us // 1_000_000
        assert await machine.instants(job) == list(range(made_s + 1, hwm_s + 1)), job.name
        assert all(times == 1 for instant, times in machine.sent(job).items() if instant > made_s + 12)


@on_a_machine
async def test_the_run_that_is_made_up_for_is_the_latest_and_the_ones_of_execute_all_the_oldest(
    machine: Machine,
) -> None:
    one = await machine.create("one", "0 * * * * *")
    many = await machine.create("many", "0 * * * * *", missed_run_policy="execute_all", max_catchup=3)
    await asyncio.sleep(5)
    await machine.stop()
    decided_to = machine.node.drive.scheduler.shard.hwm_s
    machine.clock.advance(10 * HOUR)
    await machine.boot()
    await asyncio.sleep(10)
    late = {job.name: [e.scheduled_s for e in _late(await machine.records(job))] for job in (one, many)}
    first = decided_to // 60 * 60 + 60
    assert sorted(late["many"]) == [first, first + 60, first + 120]
    [latest] = late["one"]
    assert latest % 60 == 0
    assert machine.clock.time() - latest < 60 + 60 + 15, "the last one before the minute of grace"


async def _ran(machine: Machine, job: Job) -> int:
    told = await machine.told(job)
    assert set(told) == {"success"}, job.name
    return told["success"]


def _late(records: Sequence[object]) -> list[Execution]:
    return [record for record in records if isinstance(record, Execution) and record.late]


def _decided_at_s(records: Sequence[object]) -> int:
    """Return the second at which the outage was decided: then the run that makes up for it may start."""
    [late] = _late(records)
    return late.effective_us // 1_000_000
