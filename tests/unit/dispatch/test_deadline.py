"""Deadlines that share a timer: met up to a grain late, and nobody else's cancellation is taken for one."""

from __future__ import annotations

import asyncio

import pytest

from chronos.dispatch.deadline import GRAIN_S, Deadlines
from chronos.testing import virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 1.0, 7.77, 30.0])
@virtual_time
async def test_time_that_is_up_ends_the_block_within_a_grain(seconds: float) -> None:
    await asyncio.sleep(0.123)
    began = now()
    with pytest.raises(TimeoutError), Deadlines().within(seconds) as deadline:
        await asyncio.sleep(100)
    assert seconds <= now() - began <= seconds + GRAIN_S
    assert deadline.expired()


@virtual_time
async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(1.0) as deadline:
            await asyncio.sleep(0.5)
        assert not deadline.expired()
    await asyncio.sleep(10)


@virtual_time
async def test_each_of_many_ends_in_its_own_time() -> None:
    deadlines = Deadlines()

    async def one(seconds: float) -> float:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(100)
        return now() - seconds

    late = await asyncio.gather(*(one(0.037 * n) for n in range(200, 0, -1)))
    assert all(0 <= each <= GRAIN_S + 1e-9 for each in late)


@virtual_time
async def test_somebody_else_s_cancellation_is_let_through() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(5.0):
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_a_cancellation_at_the_moment_of_the_deadline_is_let_through() -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines.within(5.0):
            await asyncio.sleep(100)

    task = asyncio.create_task(work())
    asyncio.get_running_loop().call_at(5.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_an_error_of_the_block_s_own_is_let_through_even_when_time_is_up() -> None:
    async def fail_when_cancelled() -> None:
        with Deadlines().within(0.1):
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

    with pytest.raises(ZeroDivisionError):
        await fail_when_cancelled()
