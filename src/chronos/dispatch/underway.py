"""Deliveries under way without a task: begun by a call, told of by a call. A task costs more than sending a request.

Whoever begins one asks what it came to on a turn of its own, never on the stack of who told it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from chronos.dispatch.port import Delivery, Outcome
from chronos.model.target import Target

Told = Callable[[], None]
"""Called when there is something to ask `UnderWay.outcome` for; maybe before what was begun is returned."""


class UnderWay(Protocol):
    """A delivery that was begun."""

    def outcome(self) -> Outcome | None:
        """Return what it came to; None when it goes on and will be told of again. Asked once each time it is told."""
        ...

    def stop(self) -> None:
        """Close what is open, at once; nothing is told any more. What has ended is not asked for either."""
        ...


@runtime_checkable
class Beginner(Protocol):
    """What a dispatcher offers besides, if its deliveries need no task."""

    def begin(self, delivery: Delivery, told: Told) -> UnderWay:
        """Begin to deliver; see `Dispatcher.deliver`. Who is told no more when the deadline is over, stops it."""
        ...


Start = Callable[[Delivery, Told], UnderWay]
"""Begins a delivery; see `Beginner.begin`."""


@runtime_checkable
class Planner(Protocol):
    """What a beginner offers besides, if it begins sooner when it has seen the target before."""

    def plan(self, target: Target) -> Start | None:
        """Return what begins deliveries to this target that nothing wraps, as often as it is called; None: `begin`."""
        ...

    def expect(self, target: Target, count: int) -> None:
        """Get ready for so many deliveries to this target that will begin together, soon. Must return at once."""
        ...


Begin = Callable[[Delivery, Told], UnderWay | None]
"""Begins a delivery, or returns None: nothing was done, and this one is to be delivered by a task."""


Expect = Callable[[Delivery, int], None]
"""Is told of one of so many deliveries to a place that will begin together, before they do. Must not raise."""


async def awaited(begin: Callable[[Told], UnderWay]) -> Outcome:
    """Begin, and return what it came to; a cancellation stops it."""
    is_told = asyncio.Event()
    under_way = begin(is_told.set)
    try:
        # Bounded by the caller's deadline, and by how often one goes on.
        while True:
            await is_told.wait()
            is_told.clear()
            if (outcome := under_way.outcome()) is not None:
                return outcome
    except asyncio.CancelledError:
        under_way.stop()
        raise
