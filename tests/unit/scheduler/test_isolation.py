"""What becomes of work on a node that is cut off from the others, by the job's `on_isolation`."""

from __future__ import annotations

import asyncio

from tests.unit.scheduler.cluster import Arrival, Cluster, Node, a_cluster
from tests.unit.scheduler.harness import lasting

from chronos.model.execution import AttemptStatus, Execution, Status
from chronos.model.job import Job
from chronos.testing import virtual_time


def cut_off(node: Node) -> None:
    node.cluster.wires.isolate(node.name)
    node.log.cut_off = True


def let_back(node: Node) -> None:
    node.cluster.wires.heal()
    node.log.cut_off = False


async def on_a_follower(cluster: Cluster, job: Job) -> tuple[Arrival, Node]:
    """Wait until a follower has begun something of a job, and return both."""
    names = {node.name for node in cluster.followers}
    await cluster.until(lambda: any(a.node in names and a.job == job.name for a in cluster.arrivals), 300)
    arrival = next(a for a in cluster.arrivals if a.node in names and a.job == job.name)
    return arrival, cluster.nodes[arrival.node]


async def found(node: Node, job: Job, key: str) -> Execution:
    return next(one for one in await node.records(job) if isinstance(one, Execution) and one.id == key)


def sendings(cluster: Cluster, key: str) -> list[Arrival]:
    return [arrival for arrival in cluster.arrivals if arrival.id == key]


@virtual_time
async def test_by_default_a_cut_off_node_stops_and_another_tries_at_once() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create("long", "*/10 * * * * *", concurrency="allow", timeout="30s")
        first, node = await on_a_follower(cluster, job)
        await asyncio.sleep(1)
        cut_off(node)
        cut_at = cluster.now
        await asyncio.sleep(10)
        again = sendings(cluster, first.id)[1]
        assert 4.0 < again.at - cut_at < 6.5
        assert again.node != node.name


@virtual_time
async def test_with_continue_what_a_cut_off_node_runs_comes_to_its_end_and_counts() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create("long", "*/10 * * * * *", timeout="30s", on_isolation="continue")
        first, node = await on_a_follower(cluster, job)
        cut_off(node)
        await asyncio.sleep(25)
        let_back(node)
        await asyncio.sleep(5)
        assert len(sendings(cluster, first.id)) == 1
        execution = await found(cluster.leader, job, first.id)
        assert execution.status is Status.SUCCESS
        assert execution.unknowns == 0


@virtual_time
async def test_with_continue_nobody_else_tries_before_the_deadline_of_what_may_still_run() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create(
            "long", "*/10 * * * * *", timeout="30s", cancel_grace="2s", on_isolation="continue"
        )
        first, node = await on_a_follower(cluster, job)
        cut_off(node)
        cut_at = cluster.now
        await asyncio.sleep(34)
        assert len(sendings(cluster, first.id)) == 1, "it may run until its deadline"
        held = [a for a in cluster.arrivals if a.job == "long" and a.at > cut_at]
        assert held == [], "and holds the slot as long"
        await asyncio.sleep(6)
        again = sendings(cluster, first.id)
        assert [arrival.attempt for arrival in again] == [1, 2]
        assert 37.0 < again[1].at - cut_at < 40.0  # 5.2 s until it is lost, 30 s, 2 s of grace, and a second
        assert again[1].node != node.name
        execution = await found(cluster.leader, job, first.id)
        assert execution.attempts[0].status is AttemptStatus.UNKNOWN


@virtual_time
async def test_with_continue_a_node_begins_nothing_new_after_its_right_is_over() -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("quick", concurrency="allow", on_isolation="continue")
        _, node = await on_a_follower(cluster, job)
        cut_off(node)
        cut_at = cluster.now
        await asyncio.sleep(15)
        assert [a for a in cluster.arrivals if a.node == node.name and a.at > cut_at + 5.0] == []


@virtual_time
async def test_with_continue_a_node_that_begins_anew_has_ended_what_it_ran() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create("long", "*/10 * * * * *", timeout="30s", on_isolation="continue")
        first, node = await on_a_follower(cluster, job)
        node.kill()
        cluster.wires.heal()
        killed_at = cluster.now
        await cluster.boot(node.name)
        await asyncio.sleep(5)
        again = sendings(cluster, first.id)
        assert len(again) == 2
        assert again[1].at - killed_at < 4.0


@virtual_time
async def test_a_new_leader_goes_by_continue_as_well() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create("long", "*/10 * * * * *", timeout="30s", on_isolation="continue")
        first, node = await on_a_follower(cluster, job)
        cut_off(node)
        await asyncio.sleep(3)
        old = cluster.leader
        await old.leadership.leave()
        await cluster.a_leader()
        await asyncio.sleep(20)
        assert len(sendings(cluster, first.id)) == 1
