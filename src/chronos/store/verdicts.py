"""What came of entries that others have appended, kept for as long as somebody here waits for any."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from chronos.errors import Unavailable
from chronos.store.port import Result

KEPT_MAX = 20_000
"""Entries whose verdicts are kept at a time; who waits for older ones has waited for too long."""


class Verdicts:
    """Verdicts by entry. Nothing is kept while nobody waits."""

    def __init__(self) -> None:
        self._users = 0
        self._kept: dict[int, list[Result]] = {}
        self._waiting: dict[int, list[asyncio.Future[list[Result]]]] = {}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is noted from here on: which entry is asked for is known only after it may have been folded."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._kept.clear()

    def note(self, index: int, results: list[Result]) -> None:
        """Take in what came of the commands of an entry."""
        if not self._users:
            return
        self._kept[index] = results
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        for waiting in self._waiting.pop(index, ()):
            if not waiting.done():
                waiting.set_result(results)

    async def of(self, index: int) -> list[Result]:
        """Return what came of the commands of an entry, in order, as soon as it is folded.

        Raises:
            Unavailable: It is too long ago.
        """
        if index in self._kept:
            return self._kept[index]
        if self._kept and index < next(iter(self._kept)):
            raise Unavailable("Too much has been written since; nobody here can say what came of it.")
        waiting: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(index, []).append(waiting)
        try:
            return await waiting
        finally:
            left = self._waiting.get(index, [])
            if waiting in left:
                left.remove(waiting)
            if not left:
                self._waiting.pop(index, None)
