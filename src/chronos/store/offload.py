"""Where the store's blocking work happens: in a thread with a name, or right here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """A place that does one piece of work after the other."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` there and return what it returns. Cancelling the wait does not stop the work."""
        ...

    def close(self) -> None:
        """Wait for the work at hand; there will be no more. Closing twice does nothing."""
        ...


class Inline:
    """Right here: for simulation, where a thread would have a time of its own."""

    def __init__(self, name: str = "") -> None:
        pass  # a thread has a name to be known by; nobody asks for this one's

    async def run(self, work: Callable[[], T]) -> T:
        return work()

    def close(self) -> None:
        """There is nothing to wait for."""


class Thread:
    """One dedicated thread."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        self._executor.shutdown(wait=True)
