"""What to do about a full disk: give the ballast back, cut the log, drop old history; and take the ballast up again."""

from __future__ import annotations

import asyncio
from typing import Protocol

from chronos.errors import StorageFull


class Filling(Protocol):
    """Who notices that the disk is full (`CommandLog`)."""

    @property
    def storage_full(self) -> bool: ...


class Ballast(Protocol):
    """Space that can be given back (`DataFolder`)."""

    def drop_ballast(self) -> None: ...
    def take_ballast(self) -> bool: ...
    def has_spare_space(self) -> bool: ...


class Cutting(Protocol):
    """What makes space (`Truncation`)."""

    async def turn(self) -> int: ...


class SpaceKeeper:
    """Makes space when the disk is full, and gets ready for the next time when it no longer is."""

    def __init__(self, filling: Filling, ballast: Ballast, cutting: Cutting, *, every_s: float = 1.0) -> None:
        self._filling = filling
        self._ballast = ballast
        self._cutting = cutting
        self._every_s = every_s

    async def run(self) -> None:
        """Take a turn every second, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.turn()

    async def turn(self) -> None:
        """Look once whether there is something to do."""
        if not self._filling.storage_full:
            if self._ballast.has_spare_space():
                self._ballast.take_ballast()
            return
        self._ballast.drop_ballast()
        try:
            await self._cutting.turn()
        except StorageFull:
            return  # somebody else has taken the space; there is another turn
