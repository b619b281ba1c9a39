"""One timer for all attempts: their deadlines are looked at in a coarse sweep, and met up to 50 ms late.

`asyncio.timeout` makes and cancels a timer for each attempt, which costs more than sending it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from types import TracebackType
from typing import Protocol, Self

GRAIN_S = 0.05
"""How late a deadline may be noticed."""


class Expiring(Protocol):
    """Something whose time is up at `at`, by the loop's clock in seconds."""

    at: float

    def expire(self) -> None:
        """Time is up."""
        ...


Sweep = dict[Expiring, None]
"""What is looked at together."""


class Deadlines:
    """Makes deadlines that share a timer."""

    def __init__(self) -> None:
        self._sweeps: dict[int, Sweep] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_number = 0

    def within(self, seconds: float) -> Deadline:
        """Return a deadline that begins when its block is entered."""
        return Deadline(self, seconds)

    def add(self, deadline: Expiring, loop: asyncio.AbstractEventLoop) -> Sweep:
        """Take a deadline in; returns the sweep that will look at it, to take out of it what was met."""
        number = math.ceil(deadline.at / GRAIN_S)
        if number * GRAIN_S < deadline.at:
            number += 1  # fractions round
        if (sweep := self._sweeps.get(number)) is None:
            sweep = self._sweeps[number] = {}
            heapq.heappush(self._order, number)
            if self._timer is None or number < self._timer_number:
                self._set_timer(loop)
        sweep[deadline] = None
        return sweep

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_number = self._order[0]
        self._timer = loop.call_at(self._timer_number * GRAIN_S, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        # By number, not by the time it is: a timer may fire a moment early, and would be set again and again.
        while self._order and self._order[0] <= self._timer_number:
            for deadline in self._sweeps.pop(heapq.heappop(self._order)):
                deadline.expire()
        while self._order and not self._sweeps[self._order[0]]:
            del self._sweeps[heapq.heappop(self._order)]
        if self._order:
            self._set_timer(loop)


class Deadline:
    """Cancels the task inside its block when its time is up, and turns that into `TimeoutError` at the block's end.

    Attributes:
        at: The loop's time in seconds; 0 before the block.
    """

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_seconds", "_sweep", "_task", "at")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._expired = False
        self.at = 0.0

    def expired(self) -> bool:
        """Whether time was up before the block ended."""
        return self._expired

    def expire(self) -> None:
        """Time is up."""
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        loop = self._task.get_loop()
        self._cancelling = self._task.cancelling()
        self.at = loop.time() + self._seconds
        self._sweep = self._deadlines.add(self, loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        self._sweep.pop(self, None)
        # Somebody else's wish to stop, made meanwhile, is let through.
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
