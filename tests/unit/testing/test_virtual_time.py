from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronos.testing import (
    Deadlock,
    NotUnderVirtualTime,
    TimeStandsStill,
    VirtualClock,
    VirtualLoop,
    run_virtual,
    virtual_time,
)
from chronos.testing import virtual_time as decorator
from chronos.timing.clock import Clock

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_an_hour_passes_at_once_and_exactly() -> None:
    assert now() == 0.0
    await asyncio.sleep(HOUR)
    assert now() == HOUR


@virtual_time
async def test_timers_wake_in_the_order_of_their_time() -> None:
    woken: list[float] = []

    async def wake(after: float) -> None:
        await asyncio.sleep(after)
        woken.append(now())

    async with asyncio.TaskGroup() as group:
        for after in (3, 1, 2):
            group.create_task(wake(after))
    assert woken == [1.0, 2.0, 3.0]


@virtual_time
async def test_a_deadline_cuts_what_would_wait_for_ever() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()
    assert now() == 5.0


@virtual_time
async def test_a_cancelled_timer_does_not_make_time_jump_to_it() -> None:
    asyncio.get_running_loop().call_later(HOUR, lambda: None).cancel()
    await asyncio.sleep(1)
    assert now() == 1.0


def test_waiting_for_nobody_is_a_deadlock_that_names_who_waits() -> None:
    async def wait_for_nobody() -> None:
        await asyncio.sleep(2)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"deadlock at 2 s.*wait_for_nobody line \d+"):
        run_virtual(wait_for_nobody)


def test_tasks_that_never_wait_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualLoop, "steps_at_one_instant_max", 100)

    async def spin() -> None:
        for _ in range(1_000):
            await asyncio.sleep(0)

    with pytest.raises(TimeStandsStill, match="100 steps at 0 s"):
        run_virtual(spin)


def test_many_steps_are_fine_as_long_as_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualLoop, "steps_at_one_instant_max", 100)

    async def tick() -> float:
        for _ in range(500):
            await asyncio.sleep(1)
        return now()

    assert run_virtual(tick) == 500.0


def test_a_failure_nobody_waits_for_fails_the_run() -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ValueError("lost")

        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        del task
        gc.collect()

    with pytest.raises(BaseExceptionGroup, match="nobody was waiting") as caught:
        run_virtual(main)
    assert caught.group_contains(ValueError, match="lost")


async def use_a_thread() -> None:
    await asyncio.to_thread(print)


async def use_a_socket() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def use_a_listener() -> None:
    await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)


async def use_a_child() -> None:
    await asyncio.create_subprocess_exec("true")


async def use_a_descriptor() -> None:
    with socket.socket() as sock:
        asyncio.get_running_loop().add_reader(sock, print)


@pytest.mark.parametrize("use", [use_a_thread, use_a_socket, use_a_listener, use_a_child, use_a_descriptor])
def test_what_needs_real_time_is_refused_with_a_sentence(use: object) -> None:
    async def main() -> None:
        assert callable(use)
        work: Coroutine[object, object, None] = use()
        await work

    with pytest.raises(NotUnderVirtualTime, match="use a fake"):
        run_virtual(main)


def order_of_ten(seed: int | None) -> tuple[list[int], int]:
    """Return the order in which ten equal tasks end, and the loop's steps."""

    async def main() -> tuple[list[int], int]:
        ended: list[int] = []

        async def work(i: int) -> None:
            await asyncio.sleep(1)
            await asyncio.sleep(0)
            ended.append(i)

        async with asyncio.TaskGroup() as group:
            for i in range(10):
                group.create_task(work(i))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return ended, loop.steps

    return run_virtual(main, seed=seed)


def test_without_a_seed_the_first_ready_runs_first() -> None:
    assert order_of_ten(None)[0] == list(range(10))


@given(st.integers(0, 2**32))
def test_one_seed_is_one_order_and_loses_nobody(seed: int) -> None:
    order, steps = order_of_ten(seed)
    assert sorted(order) == list(range(10))
    assert (order, steps) == order_of_ten(seed)


@virtual_time
async def test_timers_of_one_instant_run_in_the_order_they_were_set() -> None:
    ran: list[int] = []
    for i in range(100):
        asyncio.get_running_loop().call_at(5.0, ran.append, i)
    await asyncio.sleep(5)
    assert ran == list(range(100))


def test_other_seeds_are_other_orders() -> None:
    assert len({tuple(order_of_ten(seed)[0]) for seed in range(20)}) > 15


def test_the_decorator_takes_a_seed_and_passes_arguments_and_results() -> None:
    @decorator(seed=7)
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(HOUR)
        return a + b

    assert add(1, b=2) == 3


@virtual_time
async def test_the_clock_runs_with_the_loop() -> None:
    clock = VirtualClock(datetime(2027, 3, 14, tzinfo=UTC), boottime=50.0)
    await asyncio.sleep(HOUR)
    assert clock.now() == datetime(2027, 3, 14, 1, tzinfo=UTC)
    assert clock.boottime() == 50.0 + HOUR


@virtual_time
async def test_a_step_moves_the_wall_clock_and_nothing_else() -> None:
    clock = VirtualClock(1_000_000.0, boottime=50.0)
    clock.step(-HOUR)
    assert clock.time() == 1_000_000.0 - HOUR
    assert clock.boottime() == 50.0
    assert now() == 0.0


@virtual_time
async def test_a_suspended_machine_loses_time_on_its_timers_only() -> None:
    clock = VirtualClock(1_000_000.0, boottime=50.0)
    async with asyncio.TaskGroup() as group:
        sleeper = group.create_task(asyncio.sleep(10))
        clock.suspend(HOUR)
        await sleeper
    assert clock.time() == 1_000_000.0 + HOUR + 10
    assert clock.boottime() == 50.0 + HOUR + 10
    assert now() == 10.0


def test_without_a_loop_the_clock_stands_until_it_is_advanced() -> None:
    clock: Clock = VirtualClock()
    assert clock.time() == clock.time()
    moved = VirtualClock()
    moved.advance(90)
    assert moved.now() - VirtualClock().now() == timedelta(seconds=90)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(AssertionError, match="zone"):
        VirtualClock(datetime(2025, 1, 1))
