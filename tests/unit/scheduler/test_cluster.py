"""Three nodes: one plans, all of them send, and whoever dies is made up for."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.unit.scheduler.cluster import Arrival, Node, a_cluster
from tests.unit.scheduler.harness import BEGIN_S, lasting

from chronos.dispatch.port import Delivered, Delivery, NoAnswer, Outcome, Refused
from chronos.errors import NotLeader, Unavailable
from chronos.model.execution import Execution, RangeRecord, Status
from chronos.model.job import Job
from chronos.scheduler.changes import Changes
from chronos.testing import virtual_time


async def every_instant_has_one_record(node: Node, job: Job, first: int, last: int) -> list[Execution]:
    """Check that each instant of a secondly job is recorded exactly once; return the executions."""
    records = await node.records(job)
    covered: Counter[int] = Counter()
    for record in records:
        if isinstance(record, RangeRecord):
            covered.update(range(record.first_s - BEGIN_S, record.last_s - BEGIN_S + 1))
        else:
            covered[record.scheduled_s - BEGIN_S] += 1
    wanted = range(first, last + 1)
    assert [second for second in wanted if covered[second] != 1] == []
    return [record for record in records if isinstance(record, Execution)]


def lateness(arrivals: list[Arrival], first: int, last: int) -> float:
    """Return how late the latest of the instants' first arrivals was."""
    firsts: dict[int, float] = {}
    for arrival in arrivals:
        firsts.setdefault(arrival.instant, arrival.at)
    assert [second for second in range(first, last + 1) if second not in firsts] == []
    return max(firsts[second] - second for second in range(first, last + 1))


@virtual_time
async def test_the_leader_plans_and_every_node_sends_its_share() -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("every second", concurrency="allow")
        begun = int(cluster.now) + 1
        await asyncio.sleep(30)
        told = cluster.told("every second")
        assert len(told) == len({arrival.id for arrival in told})
        assert lateness(told, begun, int(cluster.now) - 1) < 0.1
        shares = Counter(arrival.node for arrival in told)
        assert sorted(shares) == ["n1", "n2", "n3"]
        assert min(shares.values()) >= 8
        await cluster.rest()
        for node in cluster.nodes.values():
            executions = await every_instant_has_one_record(node, job, begun, int(cluster.now) - 1)
            assert {one.status for one in executions[:-1]} == {Status.SUCCESS}


@virtual_time
async def test_a_crowd_of_one_instant_is_spread_over_the_nodes() -> None:
    async with a_cluster() as cluster:
        for n in range(30):
            await cluster.leader.create(f"job {n}", "*/10 * * * * *")
        await asyncio.sleep(25)
        shares = Counter((arrival.instant, arrival.node) for arrival in cluster.arrivals)
        last = max(arrival.instant for arrival in cluster.arrivals)
        assert [shares[last, node] for node in ("n1", "n2", "n3")] == [10, 10, 10]


@virtual_time
async def test_jobs_can_be_written_and_read_on_every_node() -> None:
    async with a_cluster() as cluster:
        follower, other = cluster.followers
        job = await follower.create("a", "0 0 1 1 *")
        assert (await follower.jobs.get(job.id, namespace="default")).id == job.id
        await other.jobs.pause(job.id, namespace="default", by="bob")
        await cluster.rest()
        read = [await node.jobs.get("a", namespace="default") for node in cluster.nodes.values()]
        assert all(one.paused is not None and one.paused.by == "bob" for one in read)


@virtual_time
async def test_when_the_leader_dies_every_instant_is_still_executed_and_none_is_recorded_twice() -> None:
    async with a_cluster() as cluster:
        jobs = [await cluster.leader.create(f"job {n}", concurrency="allow") for n in range(20)]
        begun = int(cluster.now) + 1
        await asyncio.sleep(10)
        old, killed_at = cluster.leader, cluster.now
        before = old.term
        old.kill()
        await asyncio.sleep(20)
        new, now = cluster.leader, int(cluster.now)
        assert new.term == before + 1
        first = min(arrival.at for arrival in cluster.arrivals if arrival.term == before + 1)
        assert first - killed_at < 3.0
        for job in jobs:
            executions = await every_instant_has_one_record(new, job, begun, now - 8)
            assert {one.status for one in executions if one.scheduled_s - BEGIN_S < now - 8} == {Status.SUCCESS}
            told = cluster.told(job.name)
            ids = {arrival.instant: arrival.id for arrival in told}
            assert all(arrival.id == ids[arrival.instant] for arrival in told), "a repeat has the same id"
            repeated = [instant for instant, times in Counter(a.instant for a in told).items() if times > 1]
            assert all(abs(instant - killed_at) < 1.5 for instant in repeated), "only what was in flight"
            gap = range(int(killed_at) + 1, int(first) + 1)
            assert lateness(told, gap.start + 1, gap.stop) < 3.0
            assert lateness(told, begun, now - 8) < 7.0
        assert sum(1 for a in cluster.arrivals if a.attempt > 1) <= 20, "at most what was on the dead node"
        tokens = [tuple(map(int, arrival.token.split("."))) for arrival in cluster.arrivals]
        assert all(token[1] in (before, before + 1) for token in tokens)
        late = [a for a in cluster.arrivals if a.at > first and a.term == before and a.node != old.name]
        assert all(a.at < killed_at + 1 for a in late), "what was granted before stays valid for its moment"


@virtual_time
async def test_a_leader_that_is_cut_off_stops_before_its_work_is_given_to_others() -> None:
    async with a_cluster() as cluster:
        ended: list[tuple[str, str, float]] = []

        async def play(delivery: object) -> object:
            try:
                await asyncio.sleep(40)
            finally:
                ended.append((delivery.execution_id, delivery.token, cluster.now))  # type: ignore[attr-defined]
            return None

        for n in range(3):
            cluster.plays[f"long {n}"] = play  # type: ignore[assignment]
            await cluster.leader.create(f"long {n}", "*/5 * * * * *", concurrency="allow", timeout="60s")
        await asyncio.sleep(12)
        old = cluster.leader
        cluster.wires.isolate(old.name)
        old.log.cut_off = True
        cut_at = cluster.now
        await asyncio.sleep(12)
        theirs = {a.id: a for a in cluster.arrivals if a.node == old.name and a.at <= cut_at}
        again = [a for a in cluster.arrivals if a.id in theirs and a.at > cut_at]
        assert theirs
        assert {a.id for a in again} == set(theirs)
        stopped = {key: at for key, token, at in ended if token == theirs.get(key, again[0]).token}
        for arrival in again:
            assert stopped[arrival.id] < arrival.at, "it had stopped before another began"
            assert arrival.at - cut_at < 8.0
        late = [a for a in cluster.arrivals if a.node == old.name and a.at > cut_at + 5.0]
        assert late == [], "no first byte after the lease"


@virtual_time
async def test_a_node_that_hears_nothing_of_the_log_is_given_nothing_although_it_reaches_the_others() -> None:
    async with a_cluster() as cluster:
        await cluster.leader.create("every second", concurrency="allow")
        await asyncio.sleep(5)
        node = cluster.followers[0]
        assert any(arrival.node == node.name for arrival in cluster.arrivals)
        node.log.cut_off = True  # its engine has no disk, say; the wires to the others are well
        cut_at = cluster.now
        await asyncio.sleep(30)
        assert lateness(cluster.told("every second"), int(cut_at) + 1, int(cluster.now) - 8) < 8.0
        assert lateness(cluster.told("every second"), int(cut_at) + 5, int(cluster.now) - 1) < 0.1


@virtual_time
async def test_a_node_that_was_cut_off_comes_back_and_takes_its_share() -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("every second", concurrency="allow")
        begun = int(cluster.now) + 1
        await asyncio.sleep(5)
        node = cluster.followers[0]
        cluster.wires.isolate(node.name)
        node.log.cut_off = True
        await asyncio.sleep(60)
        assert node.commands.applied < cluster.shared.last - 200
        cluster.wires.heal()
        node.log.cut_off = False
        healed = cluster.now
        await asyncio.sleep(15)
        assert any(a.node == node.name and a.at > healed for a in cluster.arrivals)
        await cluster.rest()
        await every_instant_has_one_record(node, job, begun, int(cluster.now) - 8)
        assert lateness(cluster.told("every second"), begun, int(cluster.now) - 1) < 8.0


@virtual_time
async def test_a_follower_that_dies_costs_only_what_it_had() -> None:
    async with a_cluster() as cluster:
        jobs = [await cluster.leader.create(f"job {n}", concurrency="allow") for n in range(9)]
        begun = int(cluster.now) + 1
        await asyncio.sleep(5)
        dying, leader = cluster.followers[0], cluster.leader
        dying.kill()
        died = cluster.now
        await asyncio.sleep(20)
        assert cluster.leader is leader
        for job in jobs:
            await every_instant_has_one_record(leader, job, begun, int(cluster.now) - 8)
            assert lateness(cluster.told(job.name), begun, int(cluster.now) - 8) < 7.0
            assert lateness(cluster.told(job.name), int(died) + 3, int(cluster.now) - 1) < 0.1


@pytest.mark.parametrize(("concurrency", "least", "most"), [("allow", 0.0, 0.6), ("forbid", 4.0, 6.0)])
@virtual_time
async def test_a_node_whose_host_says_that_it_has_ended_is_not_waited_for_where_runs_may_overlap(
    concurrency: str, least: float, most: float
) -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("job", concurrency=concurrency)
        cluster.plays["job"] = lasting(0.5)
        begun = int(cluster.now) + 1
        dying, leader = cluster.followers[0], cluster.leader
        await cluster.until(lambda: bool(cluster.arrivals) and cluster.arrivals[-1].node == dying.name)
        held = cluster.arrivals[-1]
        leader.peers.refused_s = lambda node: float(node == dying.name)  # type: ignore[method-assign]  # a fake's
        dying.kill()
        died = cluster.now
        await asyncio.sleep(12)
        assert cluster.leader is leader
        [again] = [a for a in cluster.arrivals if a.id == held.id and a.attempt == 2]
        assert least < again.at - died < most
        assert [a for a in cluster.arrivals if a.node == dying.name and a.instant > died] == [], "it is given nothing"
        await every_instant_has_one_record(leader, job, begun, int(cluster.now) - 2)


@virtual_time
async def test_a_rolling_restart_loses_nothing_doubles_nothing_and_is_hardly_late() -> None:
    async with a_cluster() as cluster:
        jobs = [await cluster.leader.create(f"job {n}", concurrency="allow") for n in range(10)]
        for job in jobs:
            cluster.plays[job.name] = lasting(0.3)
        begun = int(cluster.now) + 1
        await asyncio.sleep(3)
        for name in ("n1", "n2", "n3"):
            await cluster.nodes[name].stop()
            await asyncio.sleep(0.5)
            await cluster.boot(name)
            await asyncio.sleep(4)
        leader = await cluster.a_leader()
        await asyncio.sleep(3)
        for job in jobs:
            executions = await every_instant_has_one_record(leader, job, begun, int(cluster.now) - 2)
            told = cluster.told(job.name)
            assert len(told) == len({a.id for a in told}), "nothing is sent twice"
            assert lateness(told, begun, int(cluster.now) - 2) < 3.0
            assert all(one.unknowns == 0 for one in executions)


@virtual_time
async def test_a_node_that_restarts_at_once_has_lost_what_its_earlier_life_had() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(30)
        job = await cluster.leader.create("long", "*/5 * * * * *", concurrency="allow")
        await cluster.until(lambda: any(a.node == cluster.followers[0].name for a in cluster.arrivals))
        node = cluster.followers[0]
        theirs = [a for a in cluster.arrivals if a.node == node.name]
        node.kill()
        cluster.wires.heal()
        await cluster.boot(node.name)
        booted = cluster.now
        await asyncio.sleep(4)
        again = [a for a in cluster.arrivals if a.id == theirs[0].id and a.attempt == 2]
        assert len(again) == 1
        assert again[0].at - booted < 4.0, "nobody waits for its lease"
        assert job.id


@virtual_time
async def test_a_pause_takes_back_what_other_nodes_hold_and_says_what_was_sent() -> None:
    async with a_cluster() as cluster:
        cluster.plays["long"] = lasting(20)
        job = await cluster.leader.create("long", "*/2 * * * * *", concurrency="allow")
        await asyncio.sleep(7)
        sent_before = {a.id for a in cluster.arrivals}
        changed = await cluster.followers[1].jobs.pause(job.id, namespace="default", by="ann")
        paused_at = cluster.now
        await asyncio.sleep(10)
        assert {a.id for a in cluster.arrivals if a.at > paused_at} <= set(changed.already_sent)
        assert set(changed.already_sent) <= {a.id for a in cluster.arrivals}
        assert sent_before


@virtual_time
async def test_what_is_cancelled_stops_on_the_node_that_runs_it() -> None:
    async with a_cluster() as cluster:
        stopped: list[float] = []

        async def play(delivery: object) -> object:
            try:
                await asyncio.sleep(100)
            finally:
                stopped.append(cluster.now)
            return None

        cluster.plays["long"] = play  # type: ignore[assignment]
        job = await cluster.leader.create("long", "*/3 * * * * *")
        await cluster.until(lambda: bool(cluster.arrivals))
        running = cluster.arrivals[0]
        asked = next(node for node in cluster.nodes.values() if node.name != running.node)
        await asked.jobs.cancel(running.id, namespace="default", by="ann")
        await asyncio.sleep(0.2)
        assert len(stopped) == 1
        found = [r for r in await asked.records(job) if isinstance(r, Execution) and r.id == running.id]
        assert found[0].status is Status.CANCELLED


@virtual_time
async def test_without_a_leader_writes_are_refused_with_a_hint_and_reads_go_on() -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("a", "0 0 1 1 *")
        await cluster.rest()
        for node in list(cluster.nodes.values())[:2]:
            node.kill()
        left = next(node for node in cluster.nodes.values() if not node.dead)
        left.log.cut_off = True  # no quorum
        with pytest.raises(Unavailable):
            await left.create("b", "0 0 1 1 *")
        left.commands.leader = ""
        with pytest.raises(NotLeader, match="No node leads"):
            await left.create("b", "0 0 1 1 *")
        assert (await left.jobs.get(job.id, namespace="default")).name == "a"
        with pytest.raises(Unavailable):
            await left.commands.barrier()


@virtual_time
async def test_the_lead_goes_round_for_an_hour_of_kills_and_nothing_is_lost_or_recorded_twice() -> None:
    async with a_cluster(seed=3) as cluster:
        jobs = [await cluster.leader.create(f"job {n}", concurrency="allow") for n in range(3)]
        begun = int(cluster.now) + 1
        terms = set()
        for _ in range(12):
            await asyncio.sleep(12 + 10 * cluster.random.random())
            victim = await cluster.a_leader()
            terms.add(victim.term)
            victim.kill()
            await asyncio.sleep(3 * cluster.random.random())
            cluster.wires.heal()
            await cluster.boot(victim.name)
        await asyncio.sleep(15)
        leader = await cluster.a_leader()
        now = int(cluster.now)
        assert len(terms) == 12
        digests = set()
        await cluster.rest()
        for node in cluster.nodes.values():
            digests.add(await node.state.digest())
        for job in jobs:
            executions = await every_instant_has_one_record(leader, job, begun, now - 8)
            done = [one for one in executions if one.scheduled_s - BEGIN_S <= now - 8]
            assert {one.status for one in done} == {Status.SUCCESS}
            told = cluster.told(job.name)
            assert {a.instant for a in told} >= set(range(begun, now - 8))
            by_instant: dict[int, set[str]] = {}
            for arrival in told:
                by_instant.setdefault(arrival.instant, set()).add(arrival.id)
            assert all(len(ids) == 1 for ids in by_instant.values())
        assert len(digests) == 1


@virtual_time
async def test_what_one_node_s_breaker_holds_back_another_one_sends_at_once() -> None:
    async with a_cluster() as cluster:
        job = await cluster.leader.create("every second", concurrency="allow")
        await asyncio.sleep(3)
        cluster.held_back_until["n2"] = cluster.now + 30
        begun = int(cluster.now) + 1
        await asyncio.sleep(20)
        told = cluster.told("every second")
        assert lateness(told, begun, int(cluster.now) - 1) < 0.5
        assert len({key for key, _ in cluster.handed_back}) <= 2, "once told, the leader asks others"
        assert {arrival.node for arrival in told if arrival.instant > begun} == {"n1", "n3"}
        cluster.held_back_until.clear()
        await asyncio.sleep(40)
        shares = Counter(arrival.node for arrival in cluster.told("every second") if arrival.at > cluster.now - 20)
        assert sorted(shares) == ["n1", "n2", "n3"]
        await cluster.rest()
        executions = await every_instant_has_one_record(cluster.leader, job, begun, int(cluster.now) - 1)
        assert {len(one.attempts) for one in executions[:-1]} == {1}, "what was not sent is no attempt"


@virtual_time
async def test_what_every_node_holds_back_goes_round_once_and_waits_for_the_first_that_may_send() -> None:
    async with a_cluster() as cluster:
        for n in range(30):
            await cluster.leader.create(f"job {n}", "*/30 * * * * *")
        cluster.held_back_until = {"n1": 40.0, "n2": 42.0, "n3": 44.0}
        await cluster.until(lambda: cluster.now > 60, 120)
        asked = Counter(cluster.handed_back)
        assert max(Counter(key for key, _ in asked.elements()).values()) <= 3
        assert max(asked.values()) == 1, "nobody is asked twice"
        first = [arrival for arrival in cluster.arrivals if arrival.instant == 30]
        assert len(first) == 30
        assert {arrival.node for arrival in first} == {"n1"}
        assert max(arrival.at for arrival in first) < 40.5


@virtual_time
async def test_what_the_only_node_holds_back_goes_to_the_next_one_that_comes() -> None:
    async with a_cluster() as cluster:
        await cluster.leader.create("a", "*/30 * * * * *")
        alone, others = cluster.leader, cluster.followers
        for node in others:
            await node.stop()
        cluster.held_back_until = {alone.name: 70.0}
        await cluster.until(lambda: bool(cluster.handed_back), 60)
        for node in others:
            await cluster.boot(node.name)
        await cluster.until(lambda: bool(cluster.told("a")), 10)
        [arrival] = cluster.told("a")
        assert arrival.instant == 30
        assert arrival.node != alone.name


@virtual_time
async def test_a_retry_goes_to_a_node_that_has_not_been_left_without_an_answer() -> None:
    async with a_cluster() as cluster:

        async def unreached(delivery: Delivery) -> Outcome:
            sender = next(one.node for one in reversed(cluster.arrivals) if one.id == delivery.execution_id)
            return NoAnswer("no route to host", "connect") if sender == "n3" else Delivered()

        for n in range(12):
            cluster.plays[f"job {n}"] = unreached
            retry = {"max_attempts": 2, "initial_interval": "100ms"}
            await cluster.leader.create(f"job {n}", "*/5 * * * * *", retry_policy=retry)
        begun = int(cluster.now) + 1
        await cluster.until(lambda: cluster.now > begun + 61, 120)
        second = [arrival for arrival in cluster.arrivals if arrival.attempt == 2]
        assert len(second) >= 12
        assert "n3" not in {arrival.node for arrival in second}


@virtual_time
async def test_a_node_that_came_back_knows_what_a_job_owes_that_it_is_told_to_change() -> None:
    # Else an edit that comes before a new leader has made up for the time without one loses what was due in it.
    async with a_cluster() as cluster:
        job = await cluster.leader.create("every second")
        back = cluster.followers[0]
        await back.stop()
        back = await cluster.boot(back.name)  # with what it had on disk: nobody has told it of the job in this life
        await asyncio.sleep(5)
        await cluster.rest()
        mark_s = BEGIN_S + int(cluster.now) - 3
        for node in cluster.nodes.values():
            changes = Changes(node.commands, node.scheduler)
            assert changes.undecided_us(job, node.scheduler.now_us, mark_s) == (mark_s + 1) * 1_000_000


@virtual_time
async def test_a_target_that_is_gone_pauses_its_job_whichever_node_has_asked_it() -> None:
    async with a_cluster() as cluster:
        back = cluster.followers[0]

        async def gone(_: Delivery) -> Outcome:
            asked = cluster.arrivals[-1]
            return Refused("HTTP 410", "", permanent=True, gone=True) if asked.node == back.name else Delivered()

        job = await cluster.leader.create("gone", webhook={"url": "http://127.0.0.1:9/", "pause_on_gone": True})
        await back.stop()
        back = await cluster.boot(back.name)
        cluster.plays["gone"] = gone
        begun = len(cluster.arrivals)
        await cluster.until(lambda: any(arrival.node == back.name for arrival in cluster.arrivals[begun:]))
        await asyncio.sleep(2)
        paused = (await cluster.leader.jobs.get(job.id, namespace="default")).paused
        assert paused is not None
        assert "410" in paused.reason
