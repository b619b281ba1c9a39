"""An attempt in the executor's hands, and the lines of those that wait for room at their host."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from enum import StrEnum

from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import Delivery, Outcome
from chronos.dispatch.underway import UnderWay


class Stage(StrEnum):
    HELD = "held"
    RUNNING = "running"
    DROPPED = "dropped"
    ENDED = "ended"


Host = tuple[str, str]
"""A namespace, and a host in it."""


class Held:
    """An attempt on its way. Only the loop's thread touches it.

    Attributes:
        begun: Its task has taken its first step.
        place: Where it runs; None where that is not counted.
        queued: It stood in line at its host.
        stop: What it is to come to, once it was told to stop.
        tell: Whether its target is told so.
        under_way: What runs without a task; None when there is a task, or nothing runs.
    """

    __slots__ = (
        "begun",
        "delivery",
        "due_us",
        "ended_us",
        "number",
        "place",
        "queued",
        "stage",
        "started_us",
        "stop",
        "task",
        "tell",
        "under_way",
    )

    def __init__(self, delivery: Delivery, number: int, now_us: int) -> None:
        self.delivery = delivery
        self.number = number
        self.stage = Stage.HELD
        self.due_us = max(delivery.not_before_us, now_us)
        host = host_of(delivery.target)
        self.place: Host | None = (delivery.namespace, host) if host is not None else None
        self.queued = False
        self.begun = False
        self.started_us = self.ended_us = 0
        self.task: asyncio.Task[None] | None = None
        self.under_way: UnderWay | None = None
        self.stop: Outcome | None = None
        self.tell = False


Place = tuple[int, int, Held]
"""What a place in line is sorted by (due time less the worth of its priority, number), and who stands there."""


class Line:
    """Places in order. Who comes in order, as nearly everybody does, costs the same however long the line is."""

    __slots__ = ("_early", "_ordered")

    def __init__(self) -> None:
        self._ordered: deque[Place] = deque()
        self._early: list[Place] = []

    def __bool__(self) -> bool:
        return bool(self._ordered or self._early)

    def add(self, place: Place) -> None:
        """Let it take its place."""
        if not self._ordered or place >= self._ordered[-1]:
            self._ordered.append(place)
        else:
            heapq.heappush(self._early, place)

    def first(self) -> Place:
        """Return who comes next, without taking it out. The line must not be empty."""
        if self._early and (not self._ordered or self._early[0] < self._ordered[0]):
            return self._early[0]
        return self._ordered[0]

    def pop(self) -> Place:
        """Take out who comes next. The line must not be empty."""
        if self._early and (not self._ordered or self._early[0] < self._ordered[0]):
            return heapq.heappop(self._early)
        return self._ordered.popleft()


class HostLines:
    """Counts what runs at each host; who finds no room stands in line there. Bounded by what the executor holds."""

    def __init__(self, per_host_max: int) -> None:
        self._per_host_max = per_host_max
        self._at: dict[Host, int] = {}
        self._lines: dict[Host, Line] = {}

    @property
    def are_waited_for(self) -> bool:
        """Whether anybody stands in line."""
        return bool(self._lines)

    def may_go(self, place: Place) -> bool:
        """Return whether there is room at its host, and take it; if not, it stands in line."""
        held = place[2]
        if held.place is None:
            return True
        running = self._at.get(held.place, 0)
        if running >= self._per_host_max:
            held.queued = True
            if (line := self._lines.get(held.place)) is None:
                line = self._lines[held.place] = Line()
            line.add(place)
            return False
        self._at[held.place] = running + 1
        return True

    def leave(self, held: Held) -> Place | None:
        """Give the room of one that ran back; return who comes next."""
        host = held.place
        if host is None:
            return None
        left = self._at[host] - 1
        if left:
            self._at[host] = left
        else:
            del self._at[host]
        return self._next(host) if host in self._lines else None

    def _next(self, host: Host) -> Place | None:
        line, first = self._lines[host], None
        while line and first is None:
            place = line.pop()
            if place[2].stage is Stage.HELD:
                first = place
        if not line:
            del self._lines[host]
        return first
