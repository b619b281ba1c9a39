"""Threads on a simulated loop take virtual time, one piece of work after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chronos.testing.simulation.loop import OWNER, SimLoop


class Owner:
    def __init__(self) -> None:
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()


def run(main: Coroutine[Any, Any, None]) -> SimLoop:
    loop = SimLoop(1)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main)
    return loop


def test_work_of_one_thread_is_done_in_order_and_takes_its_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.latency = lambda name: 2.0 if name == "disk" else 0.5
        done: list[tuple[str, float]] = []
        disk = ThreadPoolExecutor(1, "disk")

        async def work(name: str, where: ThreadPoolExecutor | None) -> None:
            done.append((await loop.run_in_executor(where, lambda: name), loop.time()))

        await asyncio.gather(work("a", disk), work("elsewhere", None), work("b", disk))
        assert min(done, key=lambda item: item[1]) == ("elsewhere", 0.5)
        assert sorted(at for name, at in done if name in "ab") == [2.0, 4.0]

    run(main())


def test_it_says_when_everything_is_done_that_a_life_has_given_to_threads() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        mine, other = Owner(), Owner()
        disk = ThreadPoolExecutor(1, "disk")
        waits = [3.0, 2.0, 0.5]
        loop.latency = lambda name: waits.pop(0)

        async def work(owner: Owner) -> float:
            OWNER.set(owner)
            await loop.run_in_executor(disk, lambda: None)
            return loop.time()

        slow = [asyncio.create_task(work(mine)), asyncio.create_task(work(mine))]
        await asyncio.sleep(0.1)
        later = asyncio.create_task(work(other))
        await asyncio.sleep(0.1)
        assert loop.busy_until(mine) == 5.0
        assert loop.busy_until(other) == 5.5, "it stands behind what was asked for before"
        assert sorted(await asyncio.gather(*slow, later)) == [3.0, 5.0, 5.5]
        assert loop.busy_until(Owner()) == 0.0

    run(main())


def test_work_goes_on_when_nobody_waits_any_more() -> None:
    async def main() -> None:
        done: list[int] = []
        waiting = asyncio.create_task(asyncio.to_thread(done.append, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(1)
        assert done == [1]

    run(main())


def test_what_is_raised_in_a_thread_reaches_whoever_waits() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    assert run(main()).unhandled == []


def test_tasks_belong_to_the_life_that_began_them() -> None:
    async def main() -> None:
        owner = Owner()

        async def inner() -> None:
            await asyncio.sleep(10)

        async def outer() -> None:
            OWNER.set(owner)
            await asyncio.gather(inner(), inner())

        task = asyncio.create_task(outer())
        await asyncio.sleep(1)
        assert len(owner.tasks) == 2
        for begun in [*owner.tasks, task]:
            begun.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(1)
        assert owner.tasks == set()

    run(main())


@pytest.mark.parametrize("dead", [True, False])
def test_the_last_words_of_a_dead_life_are_not_heard(dead: bool) -> None:
    async def main() -> None:
        owner = Owner()

        def break_down() -> None:
            raise RuntimeError("broken")

        def begin() -> None:
            OWNER.set(owner)
            asyncio.get_running_loop().call_later(1, break_down)

        asyncio.get_running_loop().call_soon(begin)
        await asyncio.sleep(0.5)
        owner.dead = dead
        await asyncio.sleep(1)

    assert len(run(main()).unhandled) == (not dead)
