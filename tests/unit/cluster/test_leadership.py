"""Handing the lead over, over a log in memory."""

from __future__ import annotations

import asyncio

import pytest

from chronos.cluster.leadership import Leadership
from chronos.cluster.memory import MemoryLog, SharedLog
from chronos.cluster.port import Epoch, LeaderInfo
from chronos.errors import NotLeader


class Office:
    """A role that only notes what it is told."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.said: list[str] = []
        self.leads, self.lost_it = asyncio.Event(), asyncio.Event()

    async def lead(self, epoch: Epoch) -> None:
        self.said.append("lead")
        self.lost_it.clear()
        self.leads.set()

    async def lost(self) -> None:
        await self.lost_it.wait()

    async def follow(self) -> None:
        self.said.append("follow")
        self.leads.clear()

    def heard(self, leader: LeaderInfo) -> None:
        if leader.node != self.node:
            self.lost_it.set()


@pytest.mark.asyncio
async def test_the_lead_goes_to_whom_it_is_handed_and_comes_back_the_same_way() -> None:
    shared = SharedLog()
    one, two, three = Office("n1"), Office("n2"), Office("n3")

    def member(office: Office) -> Leadership:
        # Nobody takes the lead unasked: whoever waits for it waits for longer than this test.
        return Leadership(MemoryLog(shared, node=office.node, patience=lambda: 60.0), office.node, office)

    async with asyncio.timeout(5), member(one) as first:
        await one.leads.wait()
        async with member(two) as second, member(three):
            with pytest.raises(NotLeader):
                await second.hand_over("n1")
            await first.hand_over("n2")
            await two.leads.wait()
            assert (one.said, first.leads, second.leads) == (["lead", "follow"], False, True)
            await second.hand_over("n1")
            await one.leads.wait()
            assert three.said == []
