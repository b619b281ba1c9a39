"""Waking those who follow a log when there is more of it."""

from __future__ import annotations

import asyncio


class Growth:
    """Counts what has happened to a log, and wakes who waits for the next.

    Attributes:
        count: How often something has happened. Look at it before reading, so that nothing between is missed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self) -> None:
        """Wake everybody."""
        self.count += 1
        while self._waiting:
            waiting = self._waiting.pop()
            if not waiting.done():
                waiting.set_result(None)

    async def since(self, count: int) -> None:
        """Return as soon as something has happened since `count`."""
        while self.count == count:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)
