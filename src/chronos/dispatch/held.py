"""An attempt in the executor's hands, and the lines of those that wait for room at their host."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from enum import StrEnum

from chronos.dispatch.hosts import host_of
from chronos.dispatch.port import Delivery, Outcome
from chronos.dispatch.underway import UnderWay

CROWD, SOON_US = 32, 2_000_000
"""So many that are due at one host at one instant are a crowd, which is announced when it comes so soon."""

USUAL_PRIORITY = 5
AGEING_US = 10_000_000
"""Waiting this long is worth one level of priority."""


class Stage(StrEnum):
    HELD = "held"
    RUNNING = "running"
    DROPPED = "dropped"
    ENDED = "ended"


class Held:
    """An attempt on its way. Only the loop's thread touches it.

    Attributes:
        begun: Its task has taken its first step.
        beside: Another attempt of the same execution, as long as there are two.
        host: Where it runs; None where that is not counted.
        queued: It stood in line at its host.
        stop: What it is to come to, once it was told to stop.
        tell: Whether its target is told so.
        under_way: What runs without a task; None when there is a task, or nothing runs.
    """

    __slots__ = (
        "begun",
        "beside",
        "delivery",
        "due_us",
        "ended_us",
        "host",
        "number",
        "queued",
        "stage",
        "started_us",
        "stop",
        "task",
        "tell",
        "under_way",
    )

    def __init__(self, delivery: Delivery, number: int, due_us: int, host: HostLine | None) -> None:
        self.delivery = delivery
        self.number = number
        self.stage = Stage.HELD
        self.due_us = due_us
        self.host = host
        self.beside: Held | None = None
        self.queued = self.begun = self.tell = False
        self.started_us = self.ended_us = 0
        self.task: asyncio.Task[None] | None = None
        self.under_way: UnderWay | None = None
        self.stop: Outcome | None = None


class Attempts:
    """What an executor holds or runs, by execution; more than one attempt of an execution is rare.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._latest: dict[str, Held] = {}

    def add(self, held: Held) -> None:
        """Take one in."""
        held.beside = self._latest.get(held.delivery.execution_id)
        self._latest[held.delivery.execution_id] = held
        self.count += 1

    def of(self, execution_id: str) -> list[Held]:
        """Return the attempts of an execution, oldest first."""
        found, held = [], self._latest.get(execution_id)
        while held is not None:
            found.append(held)
            held = held.beside
        return found[::-1]

    def all(self) -> list[Held]:
        """Return every attempt."""
        return [held for execution_id in self._latest for held in self.of(execution_id)]

    def remove(self, held: Held) -> None:
        """Let go of one that is here."""
        execution_id = held.delivery.execution_id
        latest = self._latest[execution_id]
        if latest is not held:
            while latest.beside is not held:
                assert latest.beside is not None
                latest = latest.beside
            latest.beside = held.beside
        elif held.beside is not None:
            self._latest[execution_id] = held.beside
        else:
            del self._latest[execution_id]
        self.count -= 1


Place = tuple[int, int, Held]
"""What a place in line is sorted by (a time, less the worth of its priority, and its number), and who stands there."""


def by_priority(place: Place) -> Place:
    """Return the place among those who are due. Ageing is the same for all, so that their order never changes."""
    due_us, number, held = place
    better = held.delivery.priority - USUAL_PRIORITY
    return (due_us - better * AGEING_US, number, held) if better else place


def crowds_in(deliveries: Sequence[Delivery], now_us: int) -> Iterator[tuple[Delivery, int]]:
    """Yield one of each crowd that is due soon, and how many it has; of those only that follow one another, as the
    crowd of one schedule does."""
    if len(deliveries) < CROWD:
        return
    first, due_us, count = deliveries[0], -1, 0
    for delivery in deliveries:
        if delivery.not_before_us == due_us and _is_beside(delivery, first):
            count += 1
            continue
        if count >= CROWD and now_us < due_us <= now_us + SOON_US:
            yield first, count
        first, due_us, count = delivery, delivery.not_before_us, 1
    if count >= CROWD and now_us < due_us <= now_us + SOON_US:
        yield first, count


def _is_beside(one: Delivery, other: Delivery) -> bool:
    return one.target is other.target or host_of(one.target) == host_of(other.target)


class Line:
    """Places in order. Who comes in order, as nearly everybody does, costs the same however long the line is.

    Attributes:
        size: How many stand in it.
    """

    __slots__ = ("_early", "_ordered", "size")

    def __init__(self) -> None:
        self._ordered: deque[Place] = deque()
        self._early: list[Place] = []
        self.size = 0

    def add(self, place: Place) -> None:
        """Let it take its place."""
        self.size += 1
        ordered = self._ordered
        if not ordered or place >= ordered[-1]:
            ordered.append(place)
        else:
            heapq.heappush(self._early, place)

    def take(self, upto: int) -> list[Place]:
        """Take out all up to `upto`, in no order."""
        taken: list[Place] = []
        ordered, early = self._ordered, self._early
        while ordered and ordered[0][0] <= upto:
            taken.append(ordered.popleft())
        while early and early[0][0] <= upto:
            taken.append(heapq.heappop(early))
        self.size -= len(taken)
        return taken

    def first(self) -> Place:
        """Return who comes next, without taking it out. The line must not be empty."""
        if self._early and (not self._ordered or self._early[0] < self._ordered[0]):
            return self._early[0]
        return self._ordered[0]

    def pop(self) -> Place:
        """Take out who comes next. The line must not be empty."""
        self.size -= 1
        if self._early and (not self._ordered or self._early[0] < self._ordered[0]):
            return heapq.heappop(self._early)
        return self._ordered.popleft()


class HostLine:
    """How many run at a host, and who waits for room there.

    Attributes:
        key: Its namespace and name.
        known: How many attempts know of it; when nobody does any more, it may be forgotten.
    """

    __slots__ = ("key", "known", "line", "most", "running")

    def __init__(self, key: tuple[str, str], most: int) -> None:
        self.key = key
        self.most = most
        self.known = self.running = 0
        self.line = Line()


class HostLines:
    """Counts what runs at each host; who finds no room stands in line there. Bounded by what the executor holds.

    Attributes:
        waiting: How many stand in line, those included that were dropped there.
    """

    def __init__(self, per_host_max: int) -> None:
        self._per_host_max = per_host_max
        self._hosts: dict[tuple[str, str], HostLine] = {}
        self.waiting = 0

    def of(self, delivery: Delivery) -> HostLine | None:
        """Return the line of a delivery that is held from now on, until `forget`; None where none is kept."""
        name = host_of(delivery.target)
        if name is None:
            return None
        key = (delivery.namespace, name)
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = HostLine(key, self._per_host_max)
        host.known += 1
        return host

    def forget(self, host: HostLine) -> None:
        """An attempt there is held no more."""
        host.known -= 1
        if not host.known:
            self.waiting -= host.line.size
            del self._hosts[host.key]

    def may_go(self, place: Place) -> bool:
        """Return whether there is room at its host, and take it; if not, it stands in line."""
        host = place[2].host
        if host is None:
            return True
        if host.running >= host.most:
            place[2].queued = True
            host.line.add(place)
            self.waiting += 1
            return False
        host.running += 1
        return True

    def leave(self, host: HostLine) -> Place | None:
        """Give the room of one that ran there back; return who comes next."""
        host.running -= 1
        while host.line.size:
            self.waiting -= 1
            place = host.line.pop()
            if place[2].stage is Stage.HELD:
                return place
        return None
