"""What only the log in memory can be asked: several nodes over one order."""

from __future__ import annotations

import asyncio

import pytest

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.errors import Fenced
from chronos.testing import virtual_time


@virtual_time
async def test_a_new_leader_fences_the_old_one() -> None:
    shared = SharedLog()
    old, new = MemoryLog(shared, node="a"), MemoryLog(shared, node="b")
    before = await old.campaign()
    await old.append(1, b"mine", before)
    after = await new.campaign()
    with pytest.raises(Fenced) as caught:
        await old.append(2, b"late", before)
    assert caught.value.facts["leader"] == "b"
    await new.append(2, b"next", after)
    assert [e.data async for e in old.tail(1)] == [b"mine", b"next"]


@virtual_time
async def test_every_change_of_the_lead_is_seen() -> None:
    shared = SharedLog()
    a, b = MemoryLog(shared, node="a"), MemoryLog(shared, node="b")
    seen: list[str] = []

    async def watch() -> None:
        async for leader in b.leadership():
            seen.append(leader.node)  # noqa: PERF401  # it never ends

    watching = asyncio.create_task(watch())
    await asyncio.sleep(1)
    epoch = await a.campaign()
    await asyncio.sleep(1)
    await a.resign(epoch)
    await asyncio.sleep(1)
    await b.campaign()
    await asyncio.sleep(1)
    watching.cancel()
    assert seen == ["", "a", "", "b"]


@virtual_time
async def test_an_append_takes_as_long_as_it_is_told_to() -> None:
    log = MemoryLog(latency=lambda: 0.5)
    await log.append(1, b"slow", await log.campaign())
    assert asyncio.get_running_loop().time() == 0.5
