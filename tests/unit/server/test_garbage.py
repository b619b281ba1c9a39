"""A process looks for garbage when it is at rest; under load new objects are set aside."""

from __future__ import annotations

import asyncio

from chronos.server.garbage import (
    ALL_EVERY,
    AT_REST,
    FEW,
    LOOK_S,
    MANY,
    OLDER_EVERY,
    REST_S,
    SET_ASIDE_MAX,
    Garbage,
)
from chronos.testing import virtual_time


class Heap:
    """Counts objects as `gc` does, and notes what it is asked to do."""

    def __init__(self) -> None:
        self.young = 0
        self.done: list[str] = []

    def get_count(self) -> tuple[int, int, int]:
        return self.young, 0, 0

    def collect(self, generation: int = 2, /) -> int:
        self.done.append(f"collect {generation}")
        self.young = 0
        return 0

    def freeze(self) -> None:
        self.done.append("freeze")
        self.young = 0

    def unfreeze(self) -> None:
        self.done.append("unfreeze")


class Process:
    """One that makes objects and has executions in flight as it is told."""

    def __init__(self) -> None:
        self.heap, self.in_flight = Heap(), 0
        self.garbage = Garbage(lambda: self.in_flight, self.heap)
        self.now_s = 0.0
        self.make(0)

    def make(self, objects: int, after_s: float = REST_S) -> list[str]:
        """Make so many objects, let that time pass and look; return what was done."""
        self.heap.young, self.heap.done = objects, []
        self.now_s += after_s
        self.garbage.look(self.now_s)
        return self.heap.done


def test_new_objects_are_looked_through_at_rest() -> None:
    assert Process().make(FEW) == ["collect 0"]


def test_few_objects_are_not_worth_a_look() -> None:
    assert Process().make(FEW - 1) == []


def test_nobody_looks_while_executions_are_in_flight() -> None:
    process = Process()
    process.in_flight = AT_REST + 1
    assert process.make(MANY - 1) == []
    process.in_flight = AT_REST
    assert process.make(MANY - 1) == []
    assert process.make(MANY - 1) == ["collect 0"]


def test_a_moment_without_executions_is_no_rest() -> None:
    process = Process()
    process.in_flight = AT_REST + 1
    assert process.make(FEW) == []
    process.in_flight = 0
    assert process.make(FEW, after_s=1) == []
    assert process.make(FEW, after_s=1) == ["collect 0"]


def test_after_a_look_there_is_half_a_minute_of_rest() -> None:
    process = Process()
    assert process.make(FEW) == ["collect 0"]
    assert process.make(FEW, after_s=REST_S - 1) == []
    assert process.make(FEW, after_s=1) == ["collect 0"]


def test_older_objects_are_looked_through_seldom_and_all_of_them_when_nothing_is_in_flight() -> None:
    process = Process()
    looks = [process.make(FEW)[0] for _ in range(ALL_EVERY)]
    assert [n for n, look in enumerate(looks, 1) if look == "collect 1"] == [
        *range(OLDER_EVERY, ALL_EVERY, OLDER_EVERY)
    ]
    assert looks[-1] == "collect 2"
    process.in_flight = 1
    assert "collect 2" not in [process.make(FEW)[0] for _ in range(ALL_EVERY)]


def test_too_many_to_be_looked_through_are_set_aside_at_rest_or_not() -> None:
    process = Process()
    assert process.make(MANY) == ["freeze"]
    process.in_flight = AT_REST + 1
    assert process.make(MANY, after_s=0) == ["freeze"]


def test_what_was_set_aside_again_and_again_is_looked_through_after_all() -> None:
    process = Process()
    done = [process.make(MANY) for _ in range(2 * SET_ASIDE_MAX)]
    everything = ["unfreeze", "collect 2", "freeze"]
    assert [n for n, each in enumerate(done, 1) if each == everything] == [SET_ASIDE_MAX, 2 * SET_ASIDE_MAX]


@virtual_time
async def test_what_was_loaded_is_out_of_sight_and_looks_come_by_themselves() -> None:
    process = Process()
    process.garbage.settle()
    assert process.heap.done == ["collect 2", "freeze"]
    for _ in range(2):
        process.heap.young = MANY
        await asyncio.sleep(2 * LOOK_S)
    assert process.heap.done == ["collect 2", "freeze", "freeze", "freeze"]
