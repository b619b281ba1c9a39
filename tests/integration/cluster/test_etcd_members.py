"""Members of etcd that die, sleep, join and leave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.etcds import Etcds, Member, etcds, free_ports

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import Client, ClientSettings, NoAnswer
from chronos.cluster.etcd.log import EtcdLog, EtcdLogSettings
from chronos.cluster.etcd.members import Members
from chronos.cluster.etcd.takeover import TakeoverSettings
from chronos.cluster.port import Epoch, ReplicatedLog
from chronos.errors import Conflict, Fenced, NotFound, StorageFull, Unavailable

PATIENT = EtcdLogSettings(append_s=20.0, client=ClientSettings(call_s=1.0, answer_s=20.0))
TAKEOVER_S = 30.0


@pytest.fixture
def three(tmp_path: Path) -> object:
    with etcds(tmp_path, 3) as cluster:
        asyncio.run(cluster.ready())
        yield cluster


async def append_until(log: ReplicatedLog, epoch: Epoch, frm: int, to: int) -> None:
    for index in range(frm, to):
        await log.append(index, b"entry %d" % index, epoch)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_what_was_acknowledged_survives_the_member_that_led(three: Etcds, how: str) -> None:
    async def run() -> None:
        async with EtcdLog(three.endpoints, "c", settings=PATIENT) as log:
            epoch = await log.campaign()
            await append_until(log, epoch, 1, 50)
            leader = three.members[await three.leader()]
            writing = asyncio.create_task(append_until(log, epoch, 50, 400))
            await asyncio.sleep(0)
            (leader.kill if how == "killed" else leader.pause)()
            await writing
            assert [entry.index async for entry in log.tail(1)] == list(range(1, 400))
            if how == "stopped":
                leader.resume()
            else:
                leader.start(three.initial, "existing")
            await three.ready()
            async with EtcdLog([leader.endpoint], "c", settings=PATIENT) as behind:
                assert [entry.data async for entry in behind.tail(1)] == [b"entry %d" % n for n in range(1, 400)]

    asyncio.run(run())


def test_a_watch_at_a_member_that_sees_no_majority_ends_and_does_not_fall_silent(three: Etcds) -> None:
    async def run() -> None:
        client = Client(three.endpoints[:1])
        try:
            async with client.watch(pb.WatchCreateRequest(key=b"x")) as following:
                assert (await following()).created
                for member in three.members[1:]:
                    member.pause()
                with pytest.raises(NoAnswer, match="no leader"):
                    async with asyncio.timeout(20):
                        await following()
        finally:
            await client.close()

    asyncio.run(run())


def test_without_a_majority_nothing_is_claimed_and_health_says_so(three: Etcds) -> None:
    async def run() -> None:
        settings = EtcdLogSettings(append_s=1.0, health_s=1.0, client=ClientSettings(call_s=0.5, answer_s=1.0))
        async with EtcdLog(three.endpoints, "c", settings=settings) as log:
            epoch = await log.campaign()
            await append_until(log, epoch, 1, 5)
            for member in three.members[1:]:
                member.pause()
            for ask in (log.append(5, b"five", epoch), log.read_barrier(), log.campaign()):
                with pytest.raises(Unavailable, match="half of its members"):
                    await ask
            health = await log.health()
            assert (health.ok, bool(health.detail)) == (False, True)
            for member in three.members[1:]:
                member.resume()
            await three.ready()
            new = await log.campaign()
            last = await log.read_barrier()
            assert last in (4, 5)  # what was not answered may have been done
            await log.append(last + 1, b"on", new)
            with pytest.raises(Fenced):
                await log.append(last + 2, b"late", epoch)
            assert (await log.health()).ok

    asyncio.run(run())


class Node:
    """Appends that it is there while it leads, and seeks the lead while it does not."""

    def __init__(self, log: EtcdLog) -> None:
        self.log = log
        self.terms: list[int] = []
        self.acknowledged: list[int] = []

    async def live(self) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow())
            both.create_task(self._seek())

    async def _follow(self) -> None:
        async for _ in self.log.follow(1):
            pass

    async def _seek(self) -> None:
        while True:
            try:
                epoch = await self.log.campaign()
                self.terms.append(epoch.id)
                index = await self.log.read_barrier() + 1
                while True:
                    await self.log.append(index, b"%d of %d" % (index, epoch.id), epoch)
                    self.acknowledged.append(index)
                    index += 1
                    await asyncio.sleep(0.1)
            except Unavailable:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def living(cluster: Etcds) -> AsyncIterator[list[tuple[Node, asyncio.Task[None], Member]]]:
    async with AsyncExitStack() as stack:
        nodes = []
        for rank, member in enumerate(cluster.members):
            takeover = TakeoverSettings(rank=rank)
            log = await stack.enter_async_context(
                EtcdLog([member.endpoint], "c", node=member.name, takeover=takeover, settings=PATIENT)
            )
            node = Node(log)
            nodes.append((node, asyncio.create_task(node.live()), member))
        try:
            yield nodes
        finally:
            for _, task, _ in nodes:
                task.cancel()
            await asyncio.gather(*(task for _, task, _ in nodes), return_exceptions=True)


def test_a_node_that_dies_with_its_member_is_replaced_and_nothing_acknowledged_is_lost(three: Etcds) -> None:
    async def until(condition: object) -> None:
        assert callable(condition)
        async with asyncio.timeout(TAKEOVER_S):
            while not condition():  # noqa: ASYNC110  # several nodes, none of which knows of this
                await asyncio.sleep(0.02)

    async def run() -> None:
        async with living(three) as nodes:
            await until(lambda: any(len(node.acknowledged) > 5 for node, _, _ in nodes))
            dead, task, member = next(each for each in nodes if each[0].acknowledged)
            task.cancel()
            member.kill()
            others = [node for node, _, _ in nodes if node is not dead]
            await until(lambda: any(len(node.acknowledged) > 5 for node in others))
            assert sum(len(node.terms) for node in others) == 1
            entries = {e.index: e async for e in others[0].log.tail(1)}
        for node, _, _ in nodes:
            for index in node.acknowledged:
                assert entries[index].epoch in node.terms
        epochs = [entries[index].epoch for index in sorted(entries)]
        assert epochs == sorted(epochs)

    asyncio.run(run())


# Membership.


def test_one_member_grows_to_three_and_gets_rid_of_one(tmp_path: Path) -> None:
    async def join(cluster: Etcds, members: Members, name: str) -> Member:
        client, peer = free_ports(2)
        member = Member(name, tmp_path, client, peer, [])
        added = await members.add(member.peer_url)
        assert added.is_learner
        assert await members.add(member.peer_url) == added
        with pytest.raises(Conflict, match="joining already"):
            await members.add("http://127.0.0.1:1")
        cluster.initial += f",{name}={member.peer_url}"
        cluster.members.append(member)
        member.start(cluster.initial, "existing")
        await members.promote(added.id)
        await members.promote(added.id)
        return member

    async def run(cluster: Etcds) -> None:
        await cluster.ready()
        async with EtcdLog(cluster.endpoints, "c", settings=PATIENT) as log:
            members = Members(log.client)
            epoch = await log.campaign()
            await append_until(log, epoch, 1, 20)
            await join(cluster, members, "second")
            third = await join(cluster, members, "third")
            await append_until(log, epoch, 20, 40)
            there = {member.name: member for member in await members.all()}
            assert {name: member.is_learner for name, member in there.items()} == {
                "m0": False,
                "second": False,
                "third": False,
            }
            await members.move_leader(there["third"].id)
            assert (await members.status()).leader == there["third"].id
            await members.remove(there["second"].id)
            await members.remove(there["second"].id)
            with pytest.raises(NotFound):
                await members.promote(there["second"].id)
            await append_until(log, epoch, 40, 60)
        async with EtcdLog([third.endpoint], "c", settings=PATIENT) as log:
            assert await log.bounds() == (1, 59)

    with etcds(tmp_path) as cluster:
        asyncio.run(run(cluster))


async def full_at(log: ReplicatedLog, epoch: Epoch, data: bytes) -> int:
    """Append until there is no space, and return the index at which there was none."""
    for index in range(1, 100):
        try:
            await log.append(index, data, epoch)
        except StorageFull:
            return index
    raise AssertionError("etcd takes more than it was told to")


def test_a_full_etcd_says_so_and_is_emptied_though_it_takes_no_writes(tmp_path: Path) -> None:
    async def run(cluster: Etcds) -> None:
        await cluster.ready()
        async with EtcdLog(cluster.endpoints, "c", settings=PATIENT) as log:
            members, epoch, data = Members(log.client), await log.campaign(), os.urandom(400_000)
            index = await full_at(log, epoch, data)
            assert await log.read_barrier() == index - 1
            assert not (await log.health()).ok
            with pytest.raises(StorageFull):
                await log.append(index, data, epoch)
            await log.truncate(index - 1, epoch)
            await members.defragment()
            assert await members.disarm() == 1
            await log.append(index, b"something else", epoch)
            assert [entry.index async for entry in log.tail(index - 1)] == [index - 1, index]
            assert (await log.health()).ok

    with etcds(tmp_path, 1, "--quota-backend-bytes=8000000") as cluster:
        asyncio.run(run(cluster))
