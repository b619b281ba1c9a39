"""The right to send, which a member of a cluster has to renew. Asked before the first byte of every attempt.

Each process asks for itself: a main process that hangs cannot let its workers send when its right is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chronos.timing.clock import Clock

CUT_OFF = "the node was cut off from the others while this attempt was in flight"
ISOLATED = "isolated"
LOOK_S, LOOK_S_MIN, CUT_LOOK_S = 1.0, 0.001, 0.25
"""How far apart looks at the right are, at most and at least; and once it is lost."""


class RightToSend:
    """Up to when this node may send.

    Attributes:
        until_s: By boot time, which all processes of a machine share; in the past before the first renewal.
    """

    __slots__ = ("_clock", "until_s")

    def __init__(self, clock: Clock, until_s: float = float("-inf")) -> None:
        self._clock = clock
        self.until_s = until_s

    def holds(self) -> bool:
        """Return whether a first byte may leave now."""
        return self._clock.boottime() < self.until_s

    def left_s(self) -> float:
        """Return for how many seconds it lasts still; 0 or less when it is over."""
        return self.until_s - self._clock.boottime()


class RightWatch:
    """Looks, while there is anything to stop, whether the right lasts.

    Args:
        in_flight: How much there is to stop.
        cut_off: Called when the right is over, and again at every look until it is there again.
    """

    def __init__(self, right: RightToSend, in_flight: Callable[[], int], cut_off: Callable[[], None]) -> None:
        self._right = right
        self._in_flight = in_flight
        self._cut_off = cut_off
        self._next: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look from now on, until nothing is left; begun twice, it looks once."""
        if self._next is None and self._in_flight():
            left_s = self._right.left_s()
            look_s = min(max(left_s, LOOK_S_MIN), LOOK_S) if left_s > 0 else CUT_LOOK_S
            self._next = asyncio.get_running_loop().call_later(look_s, self._look)

    def end(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        if not self._right.holds():
            self._cut_off()
        self.begin()
