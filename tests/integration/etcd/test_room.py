"""An engine that is full: what takes no writes is given room by itself, and somebody leads again."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.etcds import free_ports
from tests.integration.etcd.running import alone, running, running_together, together

from chronos.cluster.etcd.log import EtcdLog, EtcdLogSettings
from chronos.cluster.etcd.members import Members
from chronos.cluster.etcd.room import Room
from chronos.cluster.etcd.space import Step
from chronos.cluster.etcd.supervisor import EtcdSupervisor
from chronos.cluster.etcd.takeover import TakeoverSettings
from chronos.cluster.port import Epoch
from chronos.errors import ChronosError, StorageFull, Unavailable
from chronos.timing.clock import SystemClock

QUOTA = 16 << 20
PATIENCE_S = 60.0
PATIENT = EtcdLogSettings(append_s=20.0)
SILENCE_S = 20.0
"""A disk that others use, too, may not answer for some seconds; an append that takes longer would end the term."""
SILENCE_TO_WAIT_FOR_S = 5.0


def a_log(engine: EtcdSupervisor, node: str, rank: int = 0, *, silence_s: float = SILENCE_S) -> EtcdLog:
    takeover = TakeoverSettings(silence_s=silence_s, rank=rank)
    return EtcdLog([engine.endpoint], "c", node=node, takeover=takeover, settings=PATIENT)


def a_room(shared: EtcdLog, engine: EtcdSupervisor) -> Room:
    members = Members(shared.client)
    return Room(shared, members, engine.metrics, SystemClock(), soon_s=2.0, foreign_s=4.0)


async def fill(shared: EtcdLog, epoch: Epoch, nodes: tuple[str, ...]) -> int:
    """Append until etcd has no space; return the last index. Every node has everything on disk, and says so."""
    last = 0
    for index in range(1, 1_000):
        try:
            await shared.append(index, os.urandom(300_000), epoch)
            last = index
            if index % 8 == 0:
                for node in nodes:
                    await shared.publish_progress(node, index, "")
        except StorageFull:
            return last
    raise AssertionError("etcd takes more than it was told to")


async def lead(shared: EtcdLog) -> Epoch:
    """Campaign until it is won; a candidate is told no while the engine takes no writes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await shared.campaign()
            except Unavailable:
                await asyncio.sleep(0.2)


@pytest.mark.asyncio
async def test_a_full_engine_is_given_room_and_takes_writes_again(tmp_path: Path) -> None:
    async with running(alone(tmp_path, quota_bytes=QUOTA)) as engine, a_log(engine, "n1") as shared:
        epoch = await lead(shared)
        last = await fill(shared, epoch, ("n1",))
        room = a_room(shared, engine)
        keeping = asyncio.create_task(room.keep_for_ever())
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await shared.append(last + 1, b"again", epoch)
                    break
                except StorageFull:
                    await asyncio.sleep(0.2)
        keeping.cancel()
        assert [entry.data async for entry in shared.tail(last + 1)] == [b"again"]
        first, _ = await shared.bounds()
        assert 1 < first <= last, "the newest stay"
        assert await room.turn() in (Step.NOTHING, Step.TRUNCATE)
        assert room.last is not None
        assert room.last.full == ()


@pytest.mark.asyncio
async def test_what_the_majority_does_not_have_on_disk_is_never_deleted(tmp_path: Path) -> None:
    async with running(alone(tmp_path, quota_bytes=QUOTA)) as engine, a_log(engine, "n1") as shared:
        epoch = await lead(shared)
        for index in range(1, 21):
            await shared.append(index, os.urandom(10_000), epoch)
        for node, durable in (("n1", 20), ("n2", 7), ("n3", 2)):
            await shared.publish_progress(node, durable, "")
        await shared.forget_what_is_safe(0)
        assert (await shared.bounds())[0] == 8


@pytest.mark.asyncio
@pytest.mark.slow
async def test_when_the_leader_dies_while_the_engine_is_full_another_leads_all_the_same(tmp_path: Path) -> None:
    names = ["n1", "n2", "n3"]
    members = together(tmp_path, names, free_ports(3), quota_bytes=QUOTA)
    async with asyncio.timeout(3 * PATIENCE_S), AsyncExitStack() as stack:
        engines = await stack.enter_async_context(running_together(members))
        logs = {
            name: a_log(engines[name], name, rank, silence_s=SILENCE_TO_WAIT_FOR_S) for rank, name in enumerate(names)
        }
        for shared in logs.values():
            await stack.enter_async_context(shared)
        epoch = await lead(logs["n1"])
        last = await fill(logs["n1"], epoch, tuple(names))
        await engines["n1"].stop()  # with its node: nobody leads, and nobody can write that he does
        with pytest.raises(StorageFull):
            await logs["n2"].take_over(epoch.id)

        rooms = [a_room(logs[name], engines[name]) for name in names if name != "n1"]
        keeping = [asyncio.create_task(room.keep_for_ever()) for room in rooms]
        try:
            following = await lead(logs["n2"])
            assert following.id > epoch.id
            index = await logs["n2"].read_barrier()
            assert index == last, "nothing that was acknowledged is gone"
            async with asyncio.timeout(PATIENCE_S):
                while True:  # etcd may raise the alarm once more, before the other member has made room
                    try:
                        await logs["n2"].append(index + 1, b"of the new term", following)
                        break
                    except ChronosError:
                        await asyncio.sleep(0.2)
        finally:
            for task in keeping:
                task.cancel()
