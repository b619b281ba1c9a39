"""Subscribers: one event at a time, in order; durable ones at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.executions import an_execution

from chronos.errors import VersionConflict
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution
from chronos.server.collections import Cursor
from chronos.server.subscribers import Subscriber, Subscribers
from chronos.store.queries import Page
from chronos.telemetry import Telemetry
from chronos.testing import virtual_time

FINISHED = frozenset({EventType.EXECUTION_FINISHED})
SECOND_US = 1_000_000


class Time:
    def time(self) -> float:
        return asyncio.get_running_loop().time()

    boottime = time


class Counter:
    def __init__(self) -> None:
        self.counted: dict[str, float] = {}

    def count(self, name: str, value: float, labels: dict[str, str]) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    def gauge(self, name: str, value: float, labels: dict[str, str]) -> None: ...
    def observe(self, name: str, values: Sequence[float], labels: dict[str, str]) -> None: ...


class World:
    """A log, its history, and the cursors that outlive a crash."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Sequence[Event]], None]] = []
        self.ended: list[Execution] = []
        self.cursors: dict[str, Cursor] = {}
        self.time_us = SECOND_US
        self.applied = 0
        self.counter = Counter()

    def subscribe(self, listener: Callable[[Sequence[Event]], None]) -> None:
        self.listeners.append(listener)

    async def executions(self, namespace: Any, **_: Any) -> Page[Execution]:
        return Page(items=list(reversed(self.ended)))

    async def get(self, key: str) -> Cursor | None:
        return self.cursors.get(key)

    async def put(self, key: str, value: Cursor, *, by: str) -> int:
        self.cursors[key] = value
        return 1

    def finish(self, n: int) -> None:
        """Execution `n` ends, a second after the one before."""
        self.applied += 1
        self.time_us = (n + 2) * SECOND_US
        execution = an_execution("j", n, id=f"occ_{n}", ended_at_us=self.time_us)
        self.ended.append(execution)
        event = Event(
            type=EventType.EXECUTION_FINISHED, index=self.applied, seq=0, time_us=self.time_us, execution=execution
        )
        for listener in self.listeners:
            listener([event])

    def crash(self) -> None:
        self.listeners.clear()

    @asynccontextmanager
    async def running(self, *subscribers: Subscriber) -> Any:
        telemetry = Telemetry()
        telemetry.add_sink(self.counter)
        world: Any = self
        everybody = Subscribers(world, world, world, Time(), telemetry)
        for subscriber in subscribers:
            everybody.add(subscriber)
        async with everybody:
            yield everybody


class Hearer:
    """Notes what he is told; fails the first `fails` times."""

    def __init__(self, fails: int = 0, takes_s: float = 0.0) -> None:
        self.heard: list[str] = []
        self.fails = fails
        self.takes_s = takes_s

    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(self.takes_s)
        if self.fails:
            self.fails -= 1
            raise VersionConflict
        assert event.execution is not None
        self.heard.append(event.execution.id)


@virtual_time
async def test_events_come_one_at_a_time_and_in_order() -> None:
    world, hearer = World(), Hearer(takes_s=1)
    async with world.running(Subscriber(FINISHED, hearer, durable="", bound=10)):
        for n in range(3):
            world.finish(n)
        await asyncio.sleep(10)

    assert hearer.heard == ["occ_0", "occ_1", "occ_2"]


@virtual_time
async def test_only_the_types_asked_for_come() -> None:
    world, hearer = World(), Hearer()
    async with world.running(Subscriber(frozenset({EventType.JOB_CREATED}), hearer, durable="", bound=10)):
        world.finish(0)
        await asyncio.sleep(1)

    assert hearer.heard == []


@virtual_time
async def test_one_who_fails_does_not_stop_the_others() -> None:
    world, broken, well = World(), Hearer(fails=1), Hearer()
    plain = [Subscriber(FINISHED, one, durable="", bound=10) for one in (broken, well)]
    async with world.running(*plain):
        world.finish(0)
        world.finish(1)
        await asyncio.sleep(1)

    assert (broken.heard, well.heard) == (["occ_1"], ["occ_0", "occ_1"])


@virtual_time
async def test_a_full_queue_drops_and_counts() -> None:
    world, slow = World(), Hearer(takes_s=100)
    async with world.running(Subscriber(FINISHED, slow, durable="", bound=2)):
        for n in range(5):
            world.finish(n)
        await asyncio.sleep(1)

        assert world.counter.counted == {"events_dropped_total": 3}


@virtual_time
async def test_a_durable_subscriber_is_asked_again_until_he_takes_it() -> None:
    world, hearer = World(), Hearer(fails=5)
    async with world.running(Subscriber(FINISHED, hearer, durable="d", bound=10)):
        world.finish(0)
        world.finish(1)
        await asyncio.sleep(300)

    assert hearer.heard == ["occ_0", "occ_1"]


@virtual_time
async def test_what_ended_while_nobody_listened_is_told_after_a_crash() -> None:
    world, before, after = World(), Hearer(), Hearer()
    async with world.running(Subscriber(FINISHED, before, durable="d", bound=10)):
        world.finish(0)
        await asyncio.sleep(5)
    world.crash()
    for n in (1, 2, 3):
        world.finish(n)
    async with world.running(Subscriber(FINISHED, after, durable="d", bound=10)):
        world.finish(4)
        await asyncio.sleep(5)

    assert set(before.heard + after.heard) == {f"occ_{n}" for n in range(5)}


@virtual_time
async def test_a_durable_subscriber_who_ran_over_makes_up_from_history() -> None:
    world, hearer = World(), Hearer(takes_s=1)
    async with world.running(Subscriber(FINISHED, hearer, durable="d", bound=2)):
        for n in range(10):
            world.finish(n)
        await asyncio.sleep(60)

    assert set(hearer.heard) == {f"occ_{n}" for n in range(10)}
    assert world.counter.counted == {}


@virtual_time
async def test_a_new_durable_subscriber_is_not_told_the_past() -> None:
    world, hearer = World(), Hearer()
    world.finish(0)
    async with world.running(Subscriber(FINISHED, hearer, durable="d", bound=10)):
        await asyncio.sleep(5)

    assert hearer.heard == []


@virtual_time
async def test_stopping_keeps_the_place() -> None:
    world, hearer = World(), Hearer()
    async with world.running(Subscriber(FINISHED, hearer, durable="d", bound=10)):
        world.finish(0)
        await asyncio.sleep(0.1)

    assert world.cursors["d"].time_us == world.time_us


def odd(event: Event) -> bool:
    return event.execution is not None and event.execution.scheduled_s % 2 == 1


@virtual_time
async def test_what_is_of_no_interest_is_passed_over_and_moves_the_cursor_all_the_same() -> None:
    world, hearer = World(), Hearer()
    async with world.running(Subscriber(FINISHED, hearer, durable="odd", bound=10, wants=odd)):
        for n in range(3):
            world.finish(n)
            await asyncio.sleep(5)
        moved = world.cursors["odd"]

    assert hearer.heard == ["occ_1"]
    assert moved.index == 3


@virtual_time
async def test_while_something_is_being_handled_everything_is_of_interest_for_it_may_change_what_is() -> None:
    world, hearer = World(), Hearer(takes_s=1)
    async with world.running(Subscriber(FINISHED, hearer, durable="", bound=10, wants=odd)):
        for n in (1, 2, 4):
            world.finish(n)
        await asyncio.sleep(10)
        world.finish(6)
        await asyncio.sleep(10)

    assert hearer.heard == ["occ_1", "occ_2", "occ_4"]


class Told(Hearer):
    """Notes gaps, too."""

    async def __call__(self, event: Event) -> None:
        if event.type is EventType.GAP:
            self.heard.append(f"gap {event.since_index}-{event.index}")
        else:
            await super().__call__(event)


@virtual_time
async def test_one_who_was_away_is_told_of_the_gap_and_then_of_what_ended_in_it() -> None:
    world, told = World(), Told()
    heard = FINISHED | {EventType.GAP}
    async with world.running(Subscriber(heard, told, durable="d", bound=10)):
        world.finish(0)
        await asyncio.sleep(5)
    world.crash()
    world.finish(1)
    world.finish(2)
    async with world.running(Subscriber(heard, told, durable="d", bound=10)):
        await asyncio.sleep(5)
    assert told.heard[:2] == ["occ_0", "gap 2-3"]
    assert set(told.heard[2:]) >= {"occ_1", "occ_2"}
    assert world.cursors["d"].time_us == world.time_us


@virtual_time
async def test_a_gap_that_was_told_moves_no_cursor_before_what_lies_in_it_is_told() -> None:
    world, told = World(), Told()
    subscriber = Subscriber(FINISHED | {EventType.GAP}, told, durable="d", bound=2)
    async with world.running(subscriber):
        for n in range(6):  # more than the queue holds
            world.finish(n)
        assert subscriber.needs == 1, "nothing is handled yet"
        told.fails = 0
        await asyncio.sleep(5)
        assert subscriber.needs is None
    assert [one for one in told.heard if one.startswith("gap")] != []
    assert {f"occ_{n}" for n in range(6)} <= set(told.heard)
