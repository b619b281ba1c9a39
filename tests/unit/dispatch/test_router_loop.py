"""A router that is used on one loop after the other keeps its deadlines by the one that runs."""

from __future__ import annotations

import asyncio

from chronos.dispatch.router import Router
from chronos.testing.virtual_time import VirtualClock


def test_a_router_knows_the_loop_that_runs_also_after_another_one() -> None:
    router = Router({}, VirtualClock())

    async def known() -> bool:
        return router.loop is asyncio.get_running_loop() and router.loop is router.loop

    assert [asyncio.run(known()) for _ in range(2)] == [True, True]
