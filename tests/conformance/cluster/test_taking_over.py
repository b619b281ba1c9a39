"""The lead is taken over by one of several, and only from the one that was seen to lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import pytest
from tests.conformance.cluster.simulated import SimEngine, as_it_is_played, three_simulated
from tests.etcds import Etcds, etcds

from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.port import Epoch, LeaderInfo, ReplicatedLog
from chronos.errors import Fenced

Open = Callable[[str], ReplicatedLog]


class Place:
    """Where several nodes have one log."""

    def __init__(self, kind: str, name: str, endpoints: list[str]) -> None:
        self._kind = kind
        self._name = name
        self._endpoints = endpoints
        self._shared = SharedLog()
        self._simulated: SimEngine | None = None

    @property
    def is_played(self) -> bool:
        return self._kind == "simulated"

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[ReplicatedLog]:
        address = f"{name}.example:1"
        if self._kind == "memory":
            yield MemoryLog(self._shared, node=name, address=address)
        elif self._kind == "simulated":
            if self._simulated is None:
                self._simulated = three_simulated()
            engine = self._simulated
            endpoints = [engine.endpoint(one) for one in engine.disks]
            async with EtcdLog(endpoints, "simulated", node=name, address=address, connect=engine.channel) as log:
                yield log
        else:
            async with EtcdLog(self._endpoints, self._name, node=name, address=address) as log:
                yield log


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    with etcds(tmp_path_factory.mktemp("etcd")) as engine:
        asyncio.run(engine.ready())
        yield engine


@pytest.fixture(params=["memory", "simulated", "etcd"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    endpoints = request.getfixturevalue("engine").endpoints if request.param == "etcd" else []
    return Place(request.param, tmp_path.name, endpoints)


def with_two(
    test: Callable[[ReplicatedLog, ReplicatedLog], Awaitable[None]],
) -> Callable[[Place], None]:
    @wraps(test)
    def run(place: Place) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), place.node("a") as a, place.node("b") as b:
                await test(a, b)

        as_it_is_played(main()) if place.is_played else asyncio.run(main())

    del run.__wrapped__  # or pytest would look for fixtures called a and b
    return run


@with_two
async def test_who_has_seen_the_leader_takes_over_and_fences_it(a: ReplicatedLog, b: ReplicatedLog) -> None:
    old = await a.campaign()
    await a.append(1, b"one", old)
    claim = await b.take_over(old.id, 1)
    assert claim.won
    assert claim.leader.node == "b"
    with pytest.raises(Fenced) as caught:
        await a.append(2, b"late", old)
    assert caught.value.facts["leader"] == "b"
    await b.append(2, b"two", Epoch(claim.leader.epoch))
    assert [e.data async for e in a.tail(1)] == [b"one", b"two"]


@with_two
async def test_who_has_seen_an_older_leader_does_not_take_over(a: ReplicatedLog, b: ReplicatedLog) -> None:
    seen = await a.campaign()
    epoch = await a.campaign()
    claim = await b.take_over(seen.id)
    assert (claim.won, claim.moved, claim.leader) == (False, False, LeaderInfo("a", "a.example:1", epoch.id))
    await a.append(1, b"one", epoch)


@with_two
async def test_nobody_takes_over_from_a_leader_that_goes_on_appending(a: ReplicatedLog, b: ReplicatedLog) -> None:
    epoch = await a.campaign()
    await a.append(1, b"one", epoch)
    await a.append(2, b"two", epoch)
    claim = await b.take_over(epoch.id, 1)
    assert (claim.won, claim.moved, claim.leader.node) == (False, True, "a")
    await a.truncate(2, epoch)
    assert not (await b.take_over(epoch.id, 0)).won
    await a.append(3, b"three", epoch)


@with_two
async def test_the_first_of_all_leaders_takes_over_from_nobody(a: ReplicatedLog, b: ReplicatedLog) -> None:
    assert (await a.take_over(0, 0)).won
    assert not (await b.take_over(0, 0)).won


@with_two
async def test_of_many_that_would_take_over_one_does(a: ReplicatedLog, b: ReplicatedLog) -> None:
    epoch = await a.campaign()
    claims = await asyncio.gather(*(log.take_over(epoch.id, 0) for log in (a, b) * 5))
    assert sum(claim.won for claim in claims) == 1


@with_two
async def test_who_resigns_leaves_the_seat_empty_and_says_for_whom(a: ReplicatedLog, b: ReplicatedLog) -> None:
    epoch = await a.campaign()
    await a.resign(epoch, to="b")
    leader = await anext(aiter(b.leadership()))
    assert (leader.node, leader.to) == ("", "b")
    assert leader.epoch > epoch.id
    with pytest.raises(Fenced):
        await a.append(1, b"late", epoch)
    await a.resign(epoch)  # lost already, and no error
    assert (await b.take_over(leader.epoch, 0)).won


@with_two
async def test_every_change_of_the_lead_is_seen_by_the_others(a: ReplicatedLog, b: ReplicatedLog) -> None:
    leaders = aiter(b.leadership())
    assert (await anext(leaders)).node == ""
    first = await a.campaign()
    assert await anext(leaders) == LeaderInfo("a", "a.example:1", first.id)
    second = await a.campaign()
    assert (await anext(leaders)).epoch == second.id
    third = await b.campaign()
    assert await anext(leaders) == LeaderInfo("b", "b.example:1", third.id)
