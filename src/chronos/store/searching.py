"""A place where history is read: its thread, the segments that are open there, and when a search is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from chronos.store.history import HistoryReader
from chronos.store.offload import Offload
from chronos.store.sqlitefile import translated

T = TypeVar("T")


class Searching:
    """Reads the history of a folder, one search after the other.

    Searches and look-ups have a place each: a page of a thousand records takes a thousand times as long as one record.

    Attributes:
        reader: What is open. It belongs to the place.
    """

    def __init__(self, folder: Path, place: Offload, vfs: str | None = None) -> None:
        self._folder = folder
        self._place = place
        self._is_stopped = False
        self.reader = HistoryReader(folder, vfs=vfs)

    async def run(self, work: Callable[[HistoryReader], T]) -> T:
        """Return what `work` finds.

        Cancelling the wait gives it up: what has not begun never does, what has ends before the next file is asked.

        Raises:
            StateDamaged, LogFailed: As the files are.
        """
        is_given_up = threading.Event()

        def search() -> T:
            self.reader.is_given_up = is_given_up.is_set
            with translated(self._folder):
                return work(self.reader)

        try:
            return await self._place.run(search)
        finally:
            is_given_up.set()

    async def forget(self, numbers: Collection[int]) -> None:
        """Close segments that are gone: as long as they are open, their space is not free."""
        await self._place.run(lambda: self.reader.forget(numbers))

    async def rest(self) -> None:
        """Close all segments until they are asked for again."""
        await self._place.run(self.reader.close)

    async def stop(self) -> None:
        """Close all segments, and the place. Stopping twice does nothing."""
        if not self._is_stopped:
            self._is_stopped = True
            await self.rest()
            self._place.close()
