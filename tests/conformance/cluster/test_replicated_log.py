"""Every log keeps the same promises, whatever it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from pathlib import Path
from types import TracebackType

import pytest
from tests.conformance.cluster.simulated import SimEngine, as_it_is_played, three_simulated
from tests.dose import PROOF
from tests.etcds import Etcds, etcds

from chronos.cluster.etcd.log import EtcdLog, EtcdLogSettings
from chronos.cluster.local import LocalLog, LocalLogSettings
from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.port import Entry, Epoch, ReplicatedLog
from chronos.errors import Fenced, SnapshotNeeded, StorageFull

BYTES_MAX = 1 << 20


class Disk:
    """Where a log lies, so that it can be opened twice."""

    def __init__(self, kind: str, folder: Path, endpoints: list[str]) -> None:
        self._kind = kind
        self._folder = folder
        self._endpoints = endpoints
        self._shared = SharedLog(BYTES_MAX)
        self._simulated: SimEngine | None = None

    @property
    def is_played(self) -> bool:
        return self._kind in SIMULATED

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ReplicatedLog]:
        async with AsyncExitStack() as stack:
            if self._kind == "memory":
                yield await stack.enter_async_context(MemoryLog(self._shared))
            elif self._kind in SIMULATED:
                if self._simulated is None:
                    self._simulated = three_simulated(without=SIMULATED[self._kind])
                engine, settings = self._simulated, EtcdLogSettings(bytes_max=BYTES_MAX, truncate_entries=100)
                endpoints = [engine.endpoint(name) for name in engine.disks]
                log = EtcdLog(endpoints, "simulated", settings=settings, connect=engine.channel)
                yield await stack.enter_async_context(log)
            elif self._kind in ENGINES:
                settings = EtcdLogSettings(bytes_max=BYTES_MAX, truncate_entries=100)
                yield await stack.enter_async_context(EtcdLog(self._endpoints, self._folder.name, settings=settings))
            else:
                local = LocalLogSettings(bytes_max=BYTES_MAX, checkpoint_pages=20)
                yield await stack.enter_async_context(LocalLog(self._folder, local))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    with etcds(tmp_path_factory.mktemp("etcd")) as engine:
        asyncio.run(engine.ready())
        yield engine


@pytest.fixture(scope="module")
def engine_one_killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    with etcds(tmp_path_factory.mktemp("killed"), 3) as engine:
        asyncio.run(engine.ready())
        engine.members[-1].kill()
        yield engine


@pytest.fixture(scope="module")
def engine_one_stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcds]:
    with etcds(tmp_path_factory.mktemp("stopped"), 3) as engine:
        asyncio.run(engine.ready())
        engine.members[-1].pause()
        yield engine


ENGINES = {"etcd": "engine", "etcd-one-killed": "engine_one_killed", "etcd-one-stopped": "engine_one_stopped"}


SIMULATED = {"simulated": "", "simulated-one-killed": "killed", "simulated-one-stopped": "stopped"}


@pytest.fixture(params=["memory", "local", *SIMULATED, "etcd", *(list(ENGINES)[1:] if PROOF else [])])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    engine = ENGINES.get(request.param)
    return Disk(request.param, tmp_path, request.getfixturevalue(engine).endpoints if engine else [])


def on_a_loop(test: Callable[[Disk], Awaitable[None]]) -> Callable[[Disk], None]:
    @wraps(test)
    def run(disk: Disk) -> None:
        async def main() -> None:
            await test(disk)

        as_it_is_played(main()) if disk.is_played else asyncio.run(main())

    return run


async def filled(log: ReplicatedLog, count: int, size: int = 10) -> Epoch:
    epoch = await log.campaign()
    for index in range(1, count + 1):
        await log.append(index, entry(index, size), epoch)
    return epoch


def entry(index: int, size: int = 10) -> bytes:
    return index.to_bytes(4, "big") * (size // 4 + 1)


async def read(log: ReplicatedLog, frm: int) -> list[tuple[int, bytes]]:
    return [(index, data) async for index, _, data in log.tail(frm)]


class Follower:
    """Reads what `follow` yields, from another task than the one that appends."""

    def __init__(self, log: ReplicatedLog, frm: int) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self._more = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(log, frm))

    async def _follow(self, log: ReplicatedLog, frm: int) -> None:
        async for index, _, data in log.follow(frm):
            self.seen.append((index, data))
            async with self._more:
                self._more.notify_all()

    async def upto(self, index: int) -> None:
        """Return when it has read the entry at `index`."""
        async with asyncio.timeout(20), self._more:
            await self._more.wait_for(lambda: bool(self.seen) and self.seen[-1][0] >= index)

    async def __aenter__(self) -> Follower:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@on_a_loop
async def test_a_new_log_is_empty(disk: Disk) -> None:
    async with disk.open() as log:
        assert await log.bounds() == (1, 0)
        assert await read(log, 1) == []
        assert await log.read_barrier() == 0
        assert isinstance(log, ReplicatedLog)


@on_a_loop
async def test_what_was_appended_is_read_in_order_from_anywhere(disk: Disk) -> None:
    async with disk.open() as log:
        await filled(log, 100)
        for frm in (1, 2, 33, 64, 100, 101):
            assert await read(log, frm) == [(index, entry(index)) for index in range(frm, 101)]


@on_a_loop
async def test_who_follows_sees_what_is_there_and_then_what_comes_in_order(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 40)
        async with Follower(log, 30) as follower:
            await follower.upto(40)
            for index in range(41, 80):
                await log.append(index, entry(index), epoch)
            await follower.upto(79)
        assert follower.seen == [(index, entry(index)) for index in range(30, 80)]


@on_a_loop
async def test_who_follows_what_is_still_to_come_waits_for_it(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 1)
        async with Follower(log, 3) as follower:
            await log.append(2, entry(2), epoch)
            await log.append(3, entry(3), epoch)
            await follower.upto(3)
        assert follower.seen == [(3, entry(3))]


@on_a_loop
async def test_who_follows_too_far_behind_needs_a_snapshot(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 600)
        following = log.follow(1)
        assert (await anext(following)).index == 1
        await log.truncate(599, epoch)
        with pytest.raises(SnapshotNeeded) as caught:
            [e async for e in following]
        assert caught.value.facts["first"] == 599


@on_a_loop
async def test_what_was_appended_is_there_after_a_restart(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 5)
    async with disk.open() as log:
        assert await log.bounds() == (1, 5)
        assert [e async for e in log.tail(5)] == [Entry(5, epoch.id, entry(5))]


@on_a_loop
async def test_appending_the_same_bytes_again_changes_nothing(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 3)
        await log.append(2, entry(2), epoch)
        await log.append(3, entry(3), epoch)
        assert await log.bounds() == (1, 3)


@on_a_loop
async def test_other_bytes_at_a_taken_index_are_refused(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 3)
        with pytest.raises(Fenced):
            await log.append(3, b"other", epoch)
        assert await read(log, 3) == [(3, entry(3))]


@on_a_loop
async def test_a_gap_is_refused(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 3)
        with pytest.raises(ValueError, match="gap"):
            await log.append(5, b"five", epoch)
        assert await log.bounds() == (1, 3)


@on_a_loop
async def test_who_does_not_lead_neither_appends_nor_truncates(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 3)
        with pytest.raises(Fenced):
            await log.append(4, b"four", Epoch(epoch.id + 7))
        with pytest.raises(Fenced):
            await log.truncate(3, Epoch(epoch.id + 7))
        assert await log.bounds() == (1, 3)


@on_a_loop
async def test_what_was_truncated_is_gone_and_said_to_be(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 600)
        await log.truncate(550, epoch)
        assert await log.bounds() == (550, 600)
        assert await read(log, 550) == [(index, entry(index)) for index in range(550, 601)]
        with pytest.raises(SnapshotNeeded) as caught:
            await read(log, 549)
        assert caught.value.facts["first"] == 550


@on_a_loop
async def test_truncating_less_than_before_does_nothing(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 10)
        await log.truncate(8, epoch)
        await log.truncate(3, epoch)
        assert await log.bounds() == (8, 10)


@on_a_loop
async def test_the_newest_entry_is_never_truncated(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 10)
        await log.truncate(1_000, epoch)
        assert await log.bounds() == (10, 10)


@on_a_loop
async def test_a_truncated_log_goes_on_after_a_restart(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await filled(log, 10)
        await log.truncate(8, epoch)
    async with disk.open() as log:
        epoch = await log.campaign()
        await log.append(11, entry(11), epoch)
        assert await read(log, 8) == [(index, entry(index)) for index in range(8, 12)]


@on_a_loop
async def test_a_full_log_says_so_and_takes_the_same_index_when_there_is_space_again(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await log.campaign()
        index = 1
        while (await log.health()).bytes < BYTES_MAX * 3 // 4:
            await log.append(index, entry(index, 50_000), epoch)
            index += 1
        with pytest.raises(StorageFull):
            await log.append(index, bytes(BYTES_MAX), epoch)
        assert await log.bounds() == (1, index - 1)
        await log.truncate(index - 1, epoch)
        await log.append(index, b"something else", epoch)
        assert await read(log, index) == [(index, b"something else")]


@on_a_loop
async def test_what_to_keep_is_bounded_by_entries_and_by_size(disk: Disk) -> None:
    async with disk.open() as log:
        assert await log.keep_from(10, 100) == 0
        await filled(log, 20, size=99)
        assert await log.keep_from(5, 10_000) == 16
        assert await log.keep_from(100, 10_000) == 1
        assert await log.keep_from(100, 399) == 18
        assert await log.keep_from(100, 1) == 20
        await log.truncate(11, await log.campaign())
        assert await log.keep_from(100, 10_000) == 11
        assert (await log.health()).bytes == 1_000


@on_a_loop
async def test_progress_is_told(disk: Disk) -> None:
    async with disk.open() as log:
        await log.publish_progress("n1", 7, "127.0.0.1:1")
        await log.publish_progress("n1", 9, "127.0.0.1:1")
        assert {node: p.durable_index for node, p in (await log.progress()).items()} == {"n1": 9}


@on_a_loop
async def test_health_tells_bounds_and_weight(disk: Disk) -> None:
    async with disk.open() as log:
        await filled(log, 4, size=99)
        health = await log.health()
        assert (health.ok, health.first, health.last, health.bytes) == (True, 1, 4, 400)


@on_a_loop
async def test_the_leader_is_told(disk: Disk) -> None:
    async with disk.open() as log:
        epoch = await log.campaign()
        async for leader in log.leadership():
            assert (leader.node, leader.epoch) == ("local", epoch.id)
            break
