"""Lets planning through when the schedules change without pause.

A decision is refused when a schedule has changed while it was on its way. Under a stream of edits each one
would be refused in turn; so whoever was refused holds the edits back until its next decision has passed.
"""

from __future__ import annotations

import asyncio

PATIENCE_S = 1.0


class Turnstile:
    """Edits pass unless somebody holds them back, and after `PATIENCE_S` in any case."""

    def __init__(self) -> None:
        self._held_by: set[str] = set()
        self._open = asyncio.Event()
        self._open.set()

    def hold(self, who: str) -> None:
        """Keep edits waiting until `who` releases them."""
        self._held_by.add(who)
        self._open.clear()

    def release(self, who: str) -> None:
        self._held_by.discard(who)
        if not self._held_by:
            self._open.set()

    async def passed(self) -> None:
        """Return when nobody holds edits back any more."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._open.wait()
        except TimeoutError:
            pass
