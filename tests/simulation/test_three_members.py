"""Whole servers as members of a cluster: their API, their roles, and what they do when one of them goes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.simulation.members import BEGIN_S, Life, Members, three_members

JOB: dict[str, Any] = {
    "name": "every second",
    "schedule": "* * * * * *",
    "concurrency": "allow",
    "webhook": {"url": "http://target.test/"},
}


async def created(life: Life, **more: Any) -> dict[str, Any]:
    answer = await life.ask("POST", "/api/v1/jobs", body=JOB | more)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


async def recorded(life: Life, job: str) -> Counter[int]:
    """Return how often each instant is recorded, as that member tells it."""
    counts: Counter[int] = Counter()
    page = "limit=200"
    while page:
        answer = await life.ask("GET", f"/api/v1/jobs/{job}/executions?{page}")
        assert answer.status == 200, answer.body
        for one in answer.json["executions"]:
            counts[seconds_of(one["scheduled_time"])] += 1
        cursor = answer.json.get("next_cursor")
        page = f"limit=200&cursor={cursor}" if cursor else ""
    return counts


def seconds_of(instant: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(instant).timestamp()) - BEGIN_S


@three_members
async def test_every_member_says_who_leads_and_what_it_is(world: Members) -> None:
    leader = await world.a_leader()
    await asyncio.sleep(2)
    for life in world.lives.values():
        ready = await life.ask("GET", "/ready")
        assert ready.status == 200
        assert ready.json["role"] == ("leader" if life is leader else "follower")
        assert (ready.json["leader"], ready.json["term"]) == (leader.name, 1)
        status = (await life.ask("GET", "/api/v1/cluster/status")).json
        assert (status["engine"], status["leader"]) == ("memory", leader.name)
        assert status["leader_address"] == f"http://{leader.name}.test"
        parts = {peer["id"]: peer["state"] for peer in status["peers"]}
        assert parts == {
            name: "leader" if name == leader.name else "follower" for name in world.lives if name != life.name
        }


@three_members
async def test_what_is_written_through_one_member_is_read_on_every_other_at_once(world: Members) -> None:
    follower, other = world.followers
    job = await created(follower)
    for life in (other, await world.a_leader(), follower):
        answer = await life.ask("GET", f"/api/v1/jobs/{job['id']}")
        assert answer.status == 200
        assert int(answer.headers["chronos-applied-index"]) >= 2
    paused = await other.ask("POST", f"/api/v1/jobs/{job['id']}/pause", body={})
    assert paused.status == 200
    assert (await follower.ask("GET", f"/api/v1/jobs/{job['id']}")).json["enabled"] is False


@three_members
async def test_without_a_quorum_reads_say_how_to_read_all_the_same(world: Members) -> None:
    job = await created(await world.a_leader())
    left = world.followers[0]
    await asyncio.sleep(1)
    for life in list(world.lives.values()):
        if life is not left:
            await life.kill()
    left.log.cut_off = True
    answer = await left.ask("GET", f"/api/v1/jobs/{job['id']}")
    assert answer.status == 503
    assert "consistency=local" in answer.json["detail"]
    local = await left.ask("GET", f"/api/v1/jobs/{job['id']}?consistency=local")
    assert (local.status, local.json["name"]) == (200, "every second")
    await asyncio.sleep(5)
    ready = await left.ask("GET", "/ready")
    assert (ready.status, ready.json["ready"]) == (503, False)
    assert "no quorum" in ready.json["reason"]
    write = await left.ask("POST", "/api/v1/jobs", body=JOB | {"name": "another"})
    assert write.status == 503


@three_members
async def test_when_the_leader_dies_another_goes_on_and_no_instant_is_lost_or_recorded_twice(world: Members) -> None:
    leader = await world.a_leader()
    job = await created(leader)
    begun = int(world.now) + 1
    await asyncio.sleep(6)
    killed_at = world.now
    await leader.kill()
    new = await world.a_leader()
    await asyncio.sleep(12)
    first = min(arrival.at for arrival in world.arrivals if arrival.term == 2)
    assert first - killed_at < 3.0
    counts = await recorded(new, job["id"])
    wanted = range(begun, int(world.now) - 1)
    assert [second for second in wanted if counts[second] != 1] == []
    assert {arrival.instant for arrival in world.arrivals} >= set(range(begun, int(world.now) - 7))
    again = await world.boot(leader.name)
    await asyncio.sleep(3)
    assert not again.leads
    digests = {await life.run(life.node.truth.state.digest()) for life in world.lives.values()}
    assert len(digests) <= 2  # a moment lies between asking one and the other
    assert (await recorded(again, job["id"]))[begun] == 1


@three_members
async def test_a_member_that_is_asked_to_stop_hands_over_and_ends_well(world: Members) -> None:
    leader = await world.a_leader()
    job = await created(leader)
    begun = int(world.now) + 1
    await asyncio.sleep(3)
    asked_at = world.now
    await leader.stop()
    assert leader.code == 0
    new = await world.a_leader()
    assert new is not leader
    await asyncio.sleep(4)
    assert len(world.arrivals) == len({arrival.id for arrival in world.arrivals}), "nothing is sent twice"
    late = {a.instant: a.at - a.instant for a in world.arrivals if a.instant >= asked_at - 1}
    assert max(late.values()) < 3.0
    counts = await recorded(new, job["id"])
    assert [second for second in range(begun, int(world.now) - 1) if counts[second] != 1] == []
