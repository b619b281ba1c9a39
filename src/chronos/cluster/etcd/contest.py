"""Waiting for the lead, and taking it when it is due: what `Takeover` decides is done here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import isinf
from typing import Protocol

import structlog

from chronos.cluster.etcd.takeover import Bid, Takeover
from chronos.cluster.port import Claim, Epoch, LeaderInfo
from chronos.errors import LogDamaged, LogFailed, Unavailable
from chronos.timing.clock import Clock

log = structlog.get_logger("chronos.cluster.log")


class Seat(Protocol):
    """What is contested."""

    def leadership(self) -> AsyncIterator[LeaderInfo]: ...

    async def take_over(self, seen: int, last: int | None = None) -> Claim: ...

    async def read_barrier(self) -> int: ...


class Contest:
    """One campaign, from its beginning until it is won."""

    def __init__(self, seat: Seat, takeover: Takeover, clock: Clock) -> None:
        self._seat = seat
        self._takeover = takeover
        self._clock = clock
        self._heard = asyncio.Event()

    async def won(self) -> Epoch:
        """Return when it is won.

        Raises:
            Unavailable: Who leads can no longer be followed, or how far the log goes not be asked.
        """
        takeover = self._takeover
        takeover.lost(self._clock.boottime())
        hearing = asyncio.create_task(self._hear(), name="who leads the log")
        try:
            while not takeover.epoch:
                self._heard.clear()
                if hearing.done():
                    hearing.result()
                bid = takeover.bid(self._clock.boottime())
                await (self._claim(bid) if bid else self._wait(hearing))
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])
        return Epoch(takeover.epoch)

    async def _hear(self) -> None:
        async for leader in self._seat.leadership():
            self._takeover.heard_leader(self._clock.boottime(), leader)
            self._heard.set()

    async def _wait(self, hearing: asyncio.Task[None]) -> None:
        """Return when a claim may be due, or something was heard of who leads."""
        left_s = self._takeover.claims_at - self._clock.boottime()
        waiting = asyncio.create_task(self._heard.wait())
        try:
            timeout = None if isinf(left_s) else max(left_s, 0.0)
            await asyncio.wait([waiting, hearing], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _claim(self, bid: Bid) -> None:
        try:
            claim = await self._seat.take_over(bid.seen, bid.last)
        except (LogDamaged, LogFailed):
            raise
        except Unavailable as exc:
            log.info("lead_claimed_without_an_answer", why=str(exc))
            self._takeover.unanswered(self._clock.boottime())
            return
        self._takeover.claimed(self._clock.boottime(), claim)
        if claim.moved:
            self._takeover.learned_last(await self._seat.read_barrier())
