"""Forgetting what no longer has to be in the log."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from chronos.errors import StorageFull
from chronos.failpoints import reach
from chronos.store.port import Log
from chronos.store.state import State


class TruncationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept.

    Attributes:
        every_s: Seconds between two turns.
        reserve_entries: How many entries stay in the log though they are safe elsewhere …
        reserve_bytes: … as long as they weigh no more than this.
    """

    every_s: float = 10.0
    reserve_entries: int = 10_000
    reserve_bytes: int = 64 * 1024 * 1024


class Truncation:
    """Cuts the log below what is safe in state and history, minus a reserve.

    Args:
        quiet: Held by whoever needs the log to stay as it is for a while; no turn is taken then.
    """

    def __init__(
        self,
        log: Log,
        state: State,
        epoch: Any,
        settings: TruncationSettings | None = None,
        *,
        quiet: asyncio.Lock | None = None,
    ) -> None:
        self._quiet = quiet or asyncio.Lock()
        self._log = log
        self._state = state
        self._epoch = epoch
        self._settings = settings or TruncationSettings()

    async def run(self) -> None:
        """Take a turn now and then, until cancelled. A full disk is waited out: turns are what makes space."""
        while True:
            await asyncio.sleep(self._settings.every_s)
            try:
                await self.turn()
            except StorageFull:
                continue

    async def turn(self) -> int:
        """Checkpoint and truncate once; return the first entry the log may still have.

        What is not on disk in state *and* history stays in the log, whatever the log weighs.
        """
        async with self._quiet:
            return await self._turn()

    async def _turn(self) -> int:
        settings = self._settings
        durable = await self._state.checkpoint()
        keep_from = await self._log.keep_from(settings.reserve_entries, settings.reserve_bytes)
        below = min(durable + 1, keep_from)
        first, _ = await self._log.bounds()
        if below > first:
            reach("truncation.before")
            await self._log.truncate(below, self._epoch)
        return max(below, first)
