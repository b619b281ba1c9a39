"""Three real servers on three hosts, and what happens to hosts: the target's own log decides.

`make test` runs one of these, `make proof`, which CI runs too, those that say so, and `make torture` all of them.
Each ends with the judgement of `verdict.py`; one that fails leaves its history and a picture in
`.cache/cluster_faults`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from tests.cluster_faults.lab import Laboratory, Member, laboratory
from tests.cluster_faults.load import GROUPS, job
from tests.cluster_faults.verdict import duplicates
from tests.dose import PROOF

ALL = os.environ.get("CHRONOS_CLUSTER_FAULTS") == "all"

proof = pytest.mark.skipif(not (PROOF or ALL), reason="`make proof` runs it")
torture = pytest.mark.skipif(not ALL, reason="`make torture` runs it")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

TAKEOVER_S = 5.0
"""Until somebody else leads: three seconds are the aim, and a machine that does other things gets more."""
TOLD_S = 5.0
"""By then a node says that it is out of reach."""
LONGER_THAN_A_LEASE_S = 7.0


async def is_refused(member: Member, made: dict[str, object]) -> bool:
    """Whether a write is answered, in time, with: not now."""
    return (await member.call("POST", "/api/v1/jobs", made)).status_code == 503


async def is_not_ready(member: Member) -> bool:
    return await member.told("/ready") is None


async def has_ended(process: asyncio.subprocess.Process) -> bool:
    return process.returncode is not None


async def came_in_the_term_of(lab: Laboratory, leader: Member) -> bool:
    """Whether the target has seen what a leader has granted in its term."""
    status = await lab.status(leader)
    return any(run.token.split(".")[1] == str(status["term"]) for run in lab.watched().arrivals[-100:])


@proof
async def test_without_faults_everything_comes_in_time_and_nothing_twice(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "no-faults") as lab:
        await asyncio.sleep(6)
    assert duplicates(lab.evidence()) == 0


async def test_a_leader_that_is_cut_off_is_replaced_and_writes_nothing_more(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "leader-isolated") as lab:
        leader = await lab.leader()
        async with lab.fault("isolated", leader):
            await lab.isolate(leader)
            other = await lab.leader(besides=leader, within_s=TAKEOVER_S)
            await lab.until("the new leader's work arrives", partial(came_in_the_term_of, lab, other), TAKEOVER_S)
            await lab.until("the old one says so", partial(is_not_ready, leader), TOLD_S)
            assert await is_refused(leader, job(GROUPS[0], 90, lab.target))
            await lab.create(other, job(GROUPS[0], 91, lab.target))
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            await lab.heal()
            await lab.ready()
        assert (await leader.call("GET", "/api/v1/jobs/each-91")).status_code == 200
        assert (await leader.call("GET", "/api/v1/jobs/each-90")).status_code == 404


@proof
async def test_a_leader_that_hears_and_is_not_heard_is_replaced(tmp_path: Path) -> None:
    await one_way(tmp_path, "leader-mute", "out")


@torture
async def test_a_leader_that_is_heard_and_hears_nothing_is_replaced(tmp_path: Path) -> None:
    await one_way(tmp_path, "leader-deaf", "in")


async def one_way(folder: Path, name: str, ways: str) -> None:
    async with laboratory(folder, name) as lab:
        leader = await lab.leader()
        async with lab.fault(name, leader):
            await lab.isolate(leader, ways=ways)
            other = await lab.leader(besides=leader, within_s=TAKEOVER_S)
            await lab.until("the new leader's work arrives", partial(came_in_the_term_of, lab, other), TAKEOVER_S)
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            await lab.heal()
            await lab.ready()


@torture
async def test_a_leader_that_stood_still_longer_than_its_lease_does_no_harm_when_it_goes_on(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "leader-paused") as lab:
        leader = await lab.leader()
        async with lab.fault("paused", leader, pauses=True):
            leader.freeze()
            await lab.leader(besides=leader, within_s=TAKEOVER_S)
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            leader.thaw()
        await lab.ready()


@proof
async def test_a_cluster_of_which_every_process_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "all-killed") as lab:
        everybody = list(lab.members.values())
        async with lab.fault("killed", *everybody, keeps_quorum=False):
            await asyncio.gather(*(member.kill() for member in everybody))
            await asyncio.gather(*(member.start() for member in everybody))
            await lab.leader()
            await lab.ready()


@proof
async def test_a_leader_whose_disk_is_full_holds_nobody_up(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "leader-disk-full", disk_mb=400) as lab:
        leader = await lab.leader()
        async with lab.fault("disk full", leader):
            lab.fill(leader)
            await asyncio.sleep(2 * LONGER_THAN_A_LEASE_S)
            lab.make_space(leader)
            await lab.ready()


@torture
@pytest.mark.parametrize("step_s", [3.0, -3.0])
async def test_a_clock_that_is_set_under_the_leader_loses_and_repeats_nothing(tmp_path: Path, step_s: float) -> None:
    async with laboratory(tmp_path, f"clock{step_s:+.0f}", clocks=True) as lab:
        leader = await lab.leader()
        async with lab.fault(f"clock {step_s:+.0f} s", leader, clock_s=abs(step_s)):
            lab.clocks[leader.name].set(step_s)
            await asyncio.sleep(5)
            lab.clocks[leader.name].set(0.0)
            await asyncio.sleep(2)


@torture
async def test_the_leader_and_its_engine_are_killed_again_and_again(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "leader-killed") as lab:
        for _ in range(5):
            leader = await lab.leader()
            async with lab.fault("killed", leader):
                await leader.kill()
                other = await lab.leader(besides=leader, within_s=TAKEOVER_S)
                await lab.until("the new leader's work arrives", partial(came_in_the_term_of, lab, other))
                await leader.start()
                await lab.ready()


@torture
async def test_an_engine_that_is_killed_under_its_server_is_started_again(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "engine-killed") as lab:
        leader = await lab.leader()
        async with lab.fault("engine killed", leader):
            os.kill(leader.engine, signal.SIGKILL)
            await asyncio.sleep(3)
            await lab.ready()


@torture
async def test_an_engine_that_stands_still_under_its_server_costs_it_the_lead(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "engine-paused") as lab:
        leader = await lab.leader()
        async with lab.fault("engine paused", leader, pauses=True):
            engine = leader.engine
            os.kill(engine, signal.SIGSTOP)
            await lab.leader(besides=leader, within_s=2 * TAKEOVER_S)
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            os.kill(engine, signal.SIGCONT)
            await lab.ready()


@torture
async def test_a_server_that_stands_still_beside_its_workers_has_them_send_nothing_stale(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "server-paused", workers=1) as lab:
        leader = await lab.leader()
        async with lab.fault("server paused", leader, pauses=True):
            leader.freeze([leader.pid])
            await lab.leader(besides=leader, within_s=2 * TAKEOVER_S)
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            leader.thaw()
            await lab.ready()


@torture
async def test_pauses_shorter_than_anything_cost_nothing(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "short-pauses") as lab:
        for member in lab.members.values():
            async with lab.fault("paused", pauses=True):
                member.freeze()
                await asyncio.sleep(0.7)
                member.thaw()
            await asyncio.sleep(2)


@torture
async def test_without_a_majority_nothing_is_decided_and_afterwards_nothing_is_missing(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "no-majority") as lab:
        everybody = list(lab.members.values())
        async with lab.fault("each alone", *everybody, keeps_quorum=False):
            await lab.scatter()
            for member in everybody:
                await lab.until(f"{member.name} says so", partial(is_not_ready, member), TOLD_S)
                assert await is_refused(member, job(GROUPS[0], 90, lab.target))
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            await lab.heal()
            await lab.ready()


@torture
async def test_a_ring_in_which_the_leader_sees_half_of_the_others_goes_on(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "bridge") as lab:
        leader = await lab.leader()
        other = next(name for name in lab.members if name != leader.name)
        async with lab.fault("half cut off", leader):
            await lab.part(leader, [other])
            await asyncio.sleep(12)
            await lab.heal()
            await lab.ready()


@torture
async def test_a_cable_that_comes_and_goes_does_no_harm(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "flapping") as lab:
        leader = await lab.leader()
        async with lab.fault("flapping", *lab.members.values()):  # each has a cable that flaps to somebody
            for _ in range(30):
                await lab.isolate(leader)
                await asyncio.sleep(0.2)
                await lab.heal()
                await asyncio.sleep(0.2)
            await lab.ready()


@torture
async def test_frames_that_are_lost_late_doubled_and_out_of_order_do_no_harm(tmp_path: Path) -> None:
    bad = {"from": "*", "to": "*", "loss": 0.05, "delay_s": 0.02, "spread_s": 0.03, "twice": 0.02}
    async with laboratory(tmp_path, "bad-cable") as lab:
        everybody = list(lab.members.values())
        async with lab.fault("5 % lost, 20 to 50 ms late", *everybody, keeps_quorum=False):
            await lab.cable.order(bad)
            await asyncio.sleep(15)
            await lab.heal()
            await lab.ready()


@torture
async def test_a_node_that_does_not_reach_the_target_keeps_the_others_from_nothing(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "target-out-of-reach") as lab:
        leader = await lab.leader()
        async with lab.fault("cut off from the target", leader):
            await lab.part(leader, ["target"])
            await asyncio.sleep(LONGER_THAN_A_LEASE_S)
            await lab.heal()


@torture
async def test_an_engine_whose_disk_refuses_to_sync_ends_and_costs_nobody_a_write(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "engine-fsync") as lab:
        leader = await lab.leader()
        async with lab.fault("engine's fsync fails", leader):
            async with lab.traced(leader.engine, "error=EIO") as traced:
                await lab.until("the engine has ended", partial(has_ended, traced), TAKEOVER_S)
            await lab.ready()


@torture
async def test_a_server_whose_disk_refuses_to_sync_ends_and_another_one_leads(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "server-fsync") as lab:
        leader = await lab.leader()
        async with lab.fault("server's fsync fails", leader):
            async with lab.traced(leader.pid, "error=EIO"):
                assert await asyncio.wait_for(leader.ended(), 60) == 75
            await lab.leader(besides=leader, within_s=TAKEOVER_S)
            await leader.start()
            await lab.ready()


@torture
@pytest.mark.parametrize("late_ms", [50, 400, 3_000])
async def test_a_leader_whose_disk_is_slow_holds_nobody_up_for_long(tmp_path: Path, late_ms: int) -> None:
    async with laboratory(tmp_path, f"slow-disk-{late_ms}") as lab:
        leader = await lab.leader()
        async with lab.fault(f"fsync takes {late_ms} ms", leader, pauses=True):
            async with lab.traced(leader.engine, f"delay_enter={late_ms * 1000}"):
                await asyncio.sleep(12)
            await lab.ready()


@torture
async def test_a_rolling_restart_sends_nothing_twice_and_nothing_late(tmp_path: Path) -> None:
    async with laboratory(tmp_path, "rolling-restart") as lab:
        for member in lab.members.values():
            async with lab.fault("restarted"):  # of nobody: so nothing may come twice
                assert await member.stop() == 0, member.output
                await member.start()
                await lab.ready()
            await asyncio.sleep(2)
    assert duplicates(lab.evidence()) == 0
