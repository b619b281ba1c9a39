"""The simulated engine does what etcd does where it hurts: docs/explanation/cluster-log.md, each trap once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.cluster.etcd.client import (
    ALARM,
    COMPACT,
    DEFRAGMENT,
    RANGE,
    STATUS,
    TXN,
    Client,
    ClientSettings,
    NoAnswer,
    Refused,
)
from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.members import Members
from chronos.cluster.etcd.txn import absent, get, put, txn
from chronos.errors import LogDamaged, Unavailable
from chronos.testing.simulation.engine.channel import SimChannel
from chronos.testing.simulation.engine.cluster import SimEngine, url_of
from chronos.testing.simulation.engine.net import Net
from chronos.testing.simulation.loop import SimLoop

NAMES = ["n1", "n2", "n3"]
PATIENT = ClientSettings(call_s=1.0, answer_s=10.0)


class Three:
    """Three members, and a client of each."""

    def __init__(self, quota: int = 0) -> None:
        draw = random.Random(1)
        self.engine = SimEngine(NAMES, Net(draw), draw, quota=quota)
        for name in NAMES:
            self.engine.start(name)

    def client(self, *names: str) -> Client:
        endpoints = [self.engine.endpoint(name) for name in names or NAMES]
        return Client(endpoints, settings=PATIENT, connect=self.engine.channel)

    async def leader(self) -> str:
        while not self.engine.leader():  # noqa: ASYNC110  # time is virtual
            await asyncio.sleep(0.01)
        return self.engine.leader()

    async def write(self, key: bytes, *names: str) -> None:
        await self.client(*names).ask(TXN, txn([], [put(key, b"value")]))

    async def has(self, key: bytes, *names: str) -> bool:
        return bool((await self.client(*names).ask(RANGE, pb.RangeRequest(key=key))).count)

    def others(self, name: str) -> list[str]:
        return [one for one in NAMES if one != name]


def with_three(test: Callable[[Three], Awaitable[None]], quota: int = 0) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        async def main() -> None:
            async with asyncio.timeout(120):
                await test(Three(quota))

        loop = SimLoop(1)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
        assert loop.unhandled == []

    del run.__wrapped__  # or pytest looks for a fixture called three
    return run


@with_three
async def test_without_a_majority_nothing_is_written_and_nothing_is_read_for_certain(three: Three) -> None:
    await three.write(b"before")
    left = await three.leader()
    for name in three.others(left):
        three.engine.crash(name)
    client = three.client(left)
    with pytest.raises(NoAnswer, match="DEADLINE_EXCEEDED"):
        await client.once(TXN, txn([], [put(b"late", b"")]))
    with pytest.raises(NoAnswer):
        await client.once(RANGE, pb.RangeRequest(key=b"before"))
    local = await client.once(RANGE, pb.RangeRequest(key=b"before", serializable=True))
    assert local.count == 1, "what a member has of its own it tells all the same"


@with_three
async def test_what_was_not_answered_may_have_been_done_or_not(three: Three) -> None:
    leader = await three.leader()
    follower, other = three.others(leader)
    net = three.engine.net
    # The leader writes it, and its follower never hears of it.
    net.cut = {(leader, follower)}
    with pytest.raises(NoAnswer):
        await three.client(follower).once(TXN, txn([], [put(b"done", b"")]), call_s=0.3)
    assert await three.has(b"done", leader)
    net.heal()
    await asyncio.sleep(2)
    # The leader never hears of it.
    leader = await three.leader()
    follower, other = three.others(leader)
    net.cut = {(follower, leader)}
    with pytest.raises(NoAnswer):
        await three.client(follower).once(TXN, txn([], [put(b"lost", b"")]), call_s=0.3)
    assert not await three.has(b"lost", other)


@with_three
async def test_a_watch_of_a_member_without_a_majority_is_silent_unless_it_asked_for_a_leader(three: Three) -> None:
    leader = await three.leader()
    cut_off, other = three.others(leader)
    three.engine.net.isolate(cut_off, NAMES)
    loop = asyncio.get_running_loop()
    channel = SimChannel(three.engine, cut_off)
    create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"key", start_revision=1))
    begun = loop.time()
    watch = channel.stream_stream("/etcdserverpb.Watch/Watch")(metadata=(("hasleader", "true"),))
    silent = channel.stream_stream("/etcdserverpb.Watch/Watch")()
    for call in (watch, silent):
        await call.write(create)
        assert (await call.read()).created
    await three.write(b"key", leader, other)
    with pytest.raises(Exception, match="no leader"):
        await watch.read()
    assert 1.0 < loop.time() - begun < 4.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await silent.read()


@with_three
async def test_a_watch_from_before_a_compaction_is_told_so(three: Three) -> None:
    for number in range(5):
        await three.write(b"key%d" % number)
    client = three.client()
    await client.ask(COMPACT, pb.CompactionRequest(revision=4))
    async with client.watch(pb.WatchCreateRequest(key=b"key", range_end=b"kez", start_revision=2)) as following:
        assert (await following()).created
        assert (await following()).compact_revision == 4
    with pytest.raises(Refused, match="compacted"):
        await client.ask(COMPACT, pb.CompactionRequest(revision=3))


@with_three
async def test_a_member_that_was_cut_off_does_not_disturb_who_leads_when_it_is_back(three: Three) -> None:
    leader = await three.leader()
    cut_off = three.others(leader)[0]
    term = three.engine.running[leader].disk.raft.term
    three.engine.net.isolate(cut_off, NAMES)
    await asyncio.sleep(10)
    three.engine.net.heal()
    await asyncio.sleep(3)
    assert three.engine.leader() == leader
    assert three.engine.running[leader].disk.raft.term == term


@with_three
async def test_what_was_acknowledged_outlasts_a_power_cut_of_all(three: Three) -> None:
    for number in range(20):
        await three.write(b"key%d" % number)
    for name in NAMES:
        three.engine.crash(name)
    for name in NAMES:
        three.engine.start(name)
    for number in range(20):
        assert await three.has(b"key%d" % number)


@with_three
async def test_a_member_that_was_wiped_and_comes_back_under_its_name_loses_what_was_acknowledged(three: Three) -> None:
    """The trap that the marker of a data folder is there for."""
    leader = await three.leader()
    second, lagging = three.others(leader)
    await three.write(b"old")
    three.engine.crash(lagging)
    await three.write(b"acknowledged", leader, second)
    three.engine.crash(leader)
    three.engine.crash(second)
    three.engine.wipe(second)
    three.engine.start(second)
    three.engine.start(lagging)
    assert await three.has(b"old", second, lagging)
    assert not await three.has(b"acknowledged", second, lagging)


@with_three
async def test_what_a_log_has_seen_and_a_wiped_member_has_lost_is_noticed(three: Three) -> None:
    leader = await three.leader()
    second, lagging = three.others(leader)
    endpoints = [three.engine.endpoint(name) for name in (leader, second, lagging)]
    async with EtcdLog(endpoints, "trap", connect=three.engine.channel) as log:
        epoch = await log.campaign()
        await log.append(1, b"one", epoch)
        three.engine.crash(lagging)
        await log.append(2, b"two", epoch)
        three.engine.crash(leader)
        three.engine.crash(second)
        three.engine.wipe(second)
        three.engine.start(second)
        three.engine.start(lagging)
        with pytest.raises(LogDamaged, match="acknowledged and is gone"):
            await log.read_barrier()


@with_three
async def test_a_wiped_member_whose_leader_knows_better_ends_itself(three: Three) -> None:
    leader = await three.leader()
    wiped = three.others(leader)[0]
    await three.write(b"key")
    await asyncio.sleep(0.2)
    three.engine.crash(wiped)
    three.engine.wipe(wiped)
    three.engine.start(wiped)
    await asyncio.sleep(0.5)
    assert any("out of range" in panic for panic in three.engine.panics)


@with_three
async def test_a_lost_disk_is_replaced_by_another_member_and_nothing_is_lost(three: Three) -> None:
    await three.write(b"key")
    leader = await three.leader()
    lost = three.others(leader)[0]
    left = [name for name in NAMES if name != lost]
    three.engine.crash(lost)
    members = Members(three.client(*left))
    await members.remove(three.engine.disks[lost].member.id)
    added = await members.add(url_of(lost))
    assert added.is_learner
    three.engine.replace(lost, added.id)
    three.engine.start(lost)
    await members.promote(added.id)
    assert [one.is_learner for one in await members.all()] == [False, False, False]
    three.engine.crash(leader)
    assert await three.has(b"key", *three.others(leader))


@with_three
async def test_too_many_operations_and_too_big_requests_are_refused(three: Three) -> None:
    client = three.client()
    with pytest.raises(Refused, match="too many operations"):
        await client.ask(TXN, txn([], [put(b"key%d" % n, b"") for n in range(129)]))
    with pytest.raises(Refused, match="too large"):
        await client.ask(TXN, txn([], [put(b"key", bytes(1_600_000))]))


def test_a_full_database_refuses_every_write_until_the_alarm_is_lifted() -> None:
    async def full(three: Three) -> None:
        client = three.client()
        for number in range(18):
            await client.ask(TXN, txn([], [put(b"key%d" % (number % 2), bytes(1_000))]))
        with pytest.raises(Refused, match="database space exceeded"):
            await client.ask(TXN, txn([], [put(b"key", bytes(1_000))]))
        with pytest.raises(Refused, match="database space exceeded"):
            await client.ask(TXN, txn([absent(b"other")], [put(b"other", b"")]))
        status = await client.ask(STATUS, pb.StatusRequest())
        assert any("NOSPACE" in error for error in status.errors)
        await client.ask(COMPACT, pb.CompactionRequest(revision=status.header.revision))
        for place in range(len(NAMES)):
            await client.once(DEFRAGMENT, pb.DefragmentRequest(), at=place)
        with pytest.raises(Refused, match="database space exceeded"):
            await client.ask(TXN, txn([], [put(b"key", b"")]))
        assert await Members(client).disarm() >= 1
        await client.ask(TXN, txn([], [put(b"key", b"")]))
        listed = await client.ask(ALARM, pb.AlarmRequest(action=pb.AlarmRequest.GET, alarm=pb.NOSPACE))
        assert list(listed.alarms) == []

    with_three(full, quota=20_000)()


@with_three
async def test_a_stopped_member_answers_when_it_goes_on(three: Three) -> None:
    leader = await three.leader()
    stopped = three.others(leader)[0]
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    member = three.engine.running[stopped]
    loop.stop_owner(member)
    local = txn([], [get(b"key", local=True)])
    with pytest.raises(NoAnswer, match="DEADLINE"):
        await three.client(stopped).once(TXN, local)
    await three.write(b"key", leader)
    loop.go_on(member)
    assert await three.has(b"key", stopped)


@with_three
async def test_a_leader_that_was_stopped_finds_another_one_when_it_goes_on(three: Three) -> None:
    leader = await three.leader()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    loop.stop_owner(three.engine.running[leader])
    await asyncio.sleep(3)
    await three.write(b"key", *three.others(leader))
    assert three.engine.leader() in NAMES
    loop.go_on(three.engine.running[leader])
    await asyncio.sleep(1)
    assert await three.has(b"key", leader)
    assert three.engine.leader() != leader


@with_three
async def test_a_closed_log_and_a_log_without_members_say_so(three: Three) -> None:
    for name in NAMES:
        three.engine.crash(name)
    log = EtcdLog([three.engine.endpoint("n1")], "gone", connect=three.engine.channel)
    with pytest.raises(Unavailable, match="Fewer than half"):
        await log.start()
