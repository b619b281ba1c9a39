"""Clocks that jump, seen through the whole wiring: log time, planning, metric, words, and the ways out."""

from __future__ import annotations

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.errors import StorageFull
from chronos.model.events import Event, EventType
from chronos.server.clockwatch import ClockWatch
from chronos.store.commandlog import CommandLog
from chronos.store.commands import Decide, PutDocument
from chronos.store.state import MemoryState
from chronos.store.tables import META, SHARDS
from chronos.testing import VirtualClock, virtual_time
from chronos.timing.clock import SeededChance
from chronos.timing.trusted import TrustedClock

DAY = 86_400.0


class Watched:
    """A log behind a watched clock."""

    def __init__(self, disk: SharedLog | None = None, wall: VirtualClock | None = None) -> None:
        self.disk = disk or SharedLog()
        self.wall = wall or VirtualClock()
        self.clock = TrustedClock(self.wall)
        self.commands = CommandLog(MemoryLog(self.disk), MemoryState(), self.clock, SeededChance(random.Random(1)))
        self.kernel = False
        self.watch = ClockWatch(self.clock, self.commands, lambda: self.kernel)
        self.events: list[Event] = []
        self.commands.subscribe(self.events.extend)

    async def start(self) -> Watched:
        await self.commands.start("n1", "n1#1", on_recovered=self.clock.start_after)
        return self

    def told(self, kind: EventType) -> list[Event]:
        return [event for event in self.events if event.type is kind]

    async def write(self) -> float:
        """Write something; return log time afterwards, in seconds."""
        await self.commands.propose(PutDocument("toy", "default", "a", b"", "me", -1, False))
        return self.commands.time_us / 1e6


@virtual_time
async def test_a_small_jump_is_an_event_and_planning_goes_along() -> None:
    node = await Watched().start()
    watching = asyncio.create_task(node.watch.run())
    await asyncio.sleep(3)
    node.wall.step(90)
    await asyncio.sleep(3)
    [jump] = node.told(EventType.CLOCK_JUMP)
    assert "90 s" in jump.note
    assert node.watch.standing().hold_seconds == 0
    assert await node.write() == pytest.approx(node.wall.time(), abs=0.01)
    watching.cancel()
    await node.commands.stop()


@virtual_time
async def test_a_big_jump_is_held_back_from_log_time_and_said_everywhere() -> None:
    node = await Watched().start()
    watching = asyncio.create_task(node.watch.run())
    await asyncio.sleep(3)
    begun = node.wall.time()
    with capture_logs() as lines:
        node.wall.step(2 * DAY)
        await asyncio.sleep(10)
    standing = node.watch.standing()
    assert (standing.state.held, standing.state.needs_accept) == (True, True)
    assert standing.hold_seconds == pytest.approx(2 * DAY)
    assert "clock accept" in standing.note
    assert await node.write() == pytest.approx(begun + 10, abs=0.1)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["clock_held"]
    assert "clock accept" in next(line["what"] for line in lines if line["event"] == "clock_held")
    assert len(node.told(EventType.CLOCK_JUMP)) == 1
    watching.cancel()
    await node.commands.stop()


@virtual_time
async def test_whoever_accepts_a_clock_is_written_down_and_log_time_follows() -> None:
    node = await Watched().start()
    node.wall.step(2 * DAY)
    await node.watch.look()
    assert node.watch.standing().state.held
    await node.watch.accept(by="ann")
    assert not node.watch.standing().state.held
    assert [event.by for event in node.told(EventType.CLOCK_ACCEPTED)] == ["ann"]
    assert await node.write() == pytest.approx(node.wall.time(), abs=0.01)
    await node.commands.stop()


@virtual_time
async def test_what_cannot_be_written_down_is_not_accepted() -> None:
    node = await Watched().start()
    node.wall.step(2 * DAY)
    await node.watch.look()
    room, node.disk.bytes_max = node.disk.bytes_max, 0
    with pytest.raises(StorageFull):
        await node.watch.accept(by="ann")
    assert node.watch.standing().state.held
    node.disk.bytes_max = room
    await node.commands.stop()


@virtual_time
async def test_the_kernels_word_ends_a_hold_after_a_minute() -> None:
    node = await Watched().start()
    watching = asyncio.create_task(node.watch.run())
    await asyncio.sleep(2)
    node.wall.step(3_600)
    await asyncio.sleep(120)
    assert node.watch.standing().state.held
    node.kernel = True
    await asyncio.sleep(70)
    assert node.watch.standing().hold_seconds == 0
    watching.cancel()
    await node.commands.stop()


@virtual_time
async def test_a_start_long_after_the_last_entry_is_held_and_still_reads_and_writes() -> None:
    first = await Watched().start()
    last = await first.write()
    await first.commands.stop()
    first.wall.advance(30 * DAY)
    node = await Watched(first.disk, first.wall).start()
    standing = node.watch.standing()
    assert (standing.state.held, standing.state.needs_accept) == (True, True)
    assert "30 days" in standing.note
    assert "clock accept" in standing.note
    assert await node.write() == pytest.approx(last, abs=1)
    await node.commands.stop()


@virtual_time
async def test_a_start_after_a_week_at_most_is_an_outage() -> None:
    first = await Watched().start()
    await first.write()
    await first.commands.stop()
    first.wall.advance(6 * DAY)
    node = await Watched(first.disk, first.wall).start()
    assert not node.watch.standing().state.held
    assert await node.write() == pytest.approx(node.wall.time(), abs=0.01)
    await node.commands.stop()


@virtual_time
async def test_a_clock_set_back_is_silent_until_the_mark_and_a_reset_ends_that() -> None:
    node = await Watched().start()
    now_s = int(node.wall.time())
    shard = node.commands.view.get(SHARDS, "0")
    await node.commands.propose(
        Decide(0, shard.hwm_s if shard else 0, now_s, shard.plan_version if shard else 0, [], [])
    )
    node.wall.step(-600)
    standing = node.watch.standing()
    assert standing.silent_until_s == now_s
    assert standing.hold_seconds == pytest.approx(600, abs=2)
    assert "clock reset" in standing.note
    await node.watch.reset(by="ann")
    assert node.watch.standing().hold_seconds == 0
    meta = node.commands.view.get(META, "meta")
    assert meta is not None
    assert meta.restore_epoch == 1
    assert [event.by for event in node.told(EventType.CLOCK_RESET)] == ["ann"]
    await node.commands.stop()


@virtual_time
async def test_a_reset_of_a_held_clock_does_not_silence_anything() -> None:
    node = await Watched().start()
    node.wall.step(2 * DAY)
    await node.watch.look()
    await node.watch.reset(by="ann")
    assert node.watch.standing().silent_until_s is None
    await node.commands.stop()
