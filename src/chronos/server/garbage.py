"""When a process looks for garbage: while it has nothing better to do.

What an execution or a request leaves behind has no cycles, and goes without being looked for. Python would look all
the same, whenever so many objects more have been made than let go: at ten thousand executions a second that takes a
twentieth of the CPU, in pieces of up to a fifth of a second in which nothing leaves.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Protocol

THRESHOLDS = (4_000_000, 50, 100)
"""What Python itself goes by: the last resort, for a process that is never at rest."""

LOOK_S = 1.0
REST_S = 30.0
FEW, MANY = 2_000, 1_000_000
"""Objects made since the last look, less those let go: below the one there is nothing to find; a look through as
many as the other takes too long at any time."""
AT_REST = 200
"""Executions in flight, at most, of a process that has time."""
OLDER_EVERY, ALL_EVERY = 16, 256
SET_ASIDE_MAX = 8


class Collector(Protocol):
    """The module `gc`, as far as it is needed."""

    def get_count(self) -> tuple[int, int, int]: ...
    def collect(self, generation: int = 2, /) -> int: ...
    def freeze(self) -> None: ...
    def unfreeze(self) -> None: ...


class Garbage:
    """Looks through new objects when the process is at rest, at most every half minute; through older ones seldom.

    At rest is who was so a second ago, too: one that is late has nothing in flight for a moment.

    Under load, when there are too many to be looked through, new objects are set aside unseen: those that are let go
    go all the same. After eight times everything is looked through, whatever that takes.

    Args:
        in_flight: How many executions are held or running.
    """

    def __init__(self, in_flight: Callable[[], int], collector: Collector = gc) -> None:
        self._in_flight = in_flight
        self._gc = collector
        self._looks = self._set_aside = 0
        self._is_at_rest = False
        self._rest_until_s = 0.0

    def settle(self) -> None:
        """Take all that has been loaded out of sight: it stays to the end. Look now and then from now on."""
        self._gc.collect()
        self._gc.freeze()
        self._again()

    def _again(self) -> None:
        loop = asyncio.get_running_loop()
        self.look(loop.time())
        loop.call_later(LOOK_S, self._again)

    def look(self, now_s: float) -> None:
        """Look for garbage if this is the time for it."""
        young, in_flight = self._gc.get_count()[0], self._in_flight()
        was_at_rest, self._is_at_rest = self._is_at_rest, in_flight <= AT_REST
        if young >= MANY:
            self._make_room()
        elif young >= FEW and now_s >= self._rest_until_s and was_at_rest and self._is_at_rest:
            self._rest_until_s = now_s + REST_S
            self._looks += 1
            self._gc.collect(self._generation(in_flight))

    def _generation(self, in_flight: int) -> int:
        if self._looks % ALL_EVERY == 0 and not in_flight:
            return 2
        return 1 if self._looks % OLDER_EVERY == 0 else 0

    def _make_room(self) -> None:
        self._set_aside += 1
        if self._set_aside % SET_ASIDE_MAX == 0:
            self._gc.unfreeze()
            self._gc.collect()
        self._gc.freeze()
