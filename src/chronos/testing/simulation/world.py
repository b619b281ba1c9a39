"""The world of a run: true time, the nodes, the targets, the network between them, and one source of chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any

from chronos.server import manifest
from chronos.server.config import Config, load
from chronos.testing.simulation.evidence import Evidence, Violation
from chronos.testing.simulation.ledger import Ledger
from chronos.testing.simulation.load import beginning
from chronos.testing.simulation.loop import OWNER, SimLoop
from chronos.testing.simulation.node import SimLife, SimNode
from chronos.testing.simulation.profile import Profile
from chronos.testing.simulation.targets import Targets
from chronos.testing.simulation.trace import Trace
from chronos.testing.simulation.works import Works

COMPLAINTS_MAX = 50
AIM_S, GLANCE_S = 3.0, 0.004
PART_JOBS = (1, 1, 2, 4, 200)
"""Of a crowd, so many jobs are decided together: the load of a run is no crowd by the product's own measure."""


def configured(**more: str) -> Config:
    """Return the configuration of a node: everything at its default, as far as that can be simulated."""
    flags = {
        "server.http.address": "127.0.0.1:0",
        "server.drain": "5s",
        "dispatcher.workers": "0",
        "server.public_url": "http://simulated.test",
    }
    return load(None, environ={}, flags=flags | more, feature_types=manifest.sections())


class World:
    """Everything outside the product.

    Attributes:
        begin: The wall time, in seconds since the epoch, at which every clock starts.
        calm: No faults any more: the run is coming to its end.
        hopeless: A node does not start any more; the run goes to its end without it, and has failed.
        part_jobs: How many jobs that are due together are decided in one entry, while clients write.
    """

    def __init__(self, seed: int, profile: Profile, nodes: int, folder: Path, trace: Trace) -> None:
        self.seed = seed
        self.profile = profile
        self.folder = folder
        self.trace = trace
        self.loop: SimLoop
        self.begin = beginning(self.stream("beginning")).timestamp()
        self.begin_s = int(self.begin)
        self.evidence = Evidence(begin_s=self.begin_s)
        self.ledger = Ledger(self.evidence, trace, lambda: self.seconds, self.broken)
        self.targets = Targets(self)
        self.works = Works(self)
        self.calm = False
        self.hopeless = False
        self.part_jobs = self.stream("parts").choice(PART_JOBS)
        self._aims = self.stream("aims")
        self._latency = self.stream("latency")
        self._context = copy_context()
        self._outside: set[asyncio.Task[None]] = set()
        self.nodes = [self._node(number + 1) for number in range(nodes)]

    def _node(self, number: int) -> SimNode:
        return SimNode(self, number, configured())

    def enter(self, loop: SimLoop) -> None:
        """Begin to live on `loop`."""
        self.loop = loop
        loop.latency = self.latency
        self._context = copy_context()
        self.trace.time_by(lambda: loop.seconds)

    @property
    def seconds(self) -> float:
        """World seconds since the beginning; they do not pass while a machine sleeps or its clock is set."""
        return self.loop.seconds

    def begin_outside(self, coro: Coroutine[Any, Any, None]) -> None:
        """Let something run that belongs to no process, and that nobody waits for."""
        task = self.loop.create_task(coro, context=self._context.copy())
        self._outside.add(task)
        task.add_done_callback(self._outside.discard)

    def stream(self, name: str) -> random.Random:
        """Return a source of chance of its own, so that one part of the world does not shift another's."""
        return random.Random(f"{self.seed}/{name}")

    def latency(self, thread: str) -> float:
        """Return how long a piece of work takes in a thread of this name, on the node that asks."""
        life = OWNER.get()
        slow_s = life.sim.slow_disk_s if isinstance(life, SimLife) else 0.0
        if thread.startswith("chronos-log"):
            return self._latency.choice((0.0004, 0.001, 0.002, 0.005)) + slow_s
        if thread.startswith("chronos-state"):
            return self._latency.choice((0.0005, 0.002, 0.01)) + slow_s / 4
        return 0.0005

    async def aim(self) -> None:
        """Every other time, return when a crowd is decided in part; or soon, if that does not come."""
        if self._aims.random() < 0.5:
            return
        for _ in range(round(AIM_S / GLANCE_S)):
            life = self.alive()
            if life is None or life.node is None or life.node.drive.scheduler.shard.catchup_to_s:
                return
            await asyncio.sleep(GLANCE_S)

    def broken(self, rule: str, what: str) -> None:
        """Note a promise that was seen broken while the run goes on."""
        self.trace.add("VIOLATION", f"{rule}: {what}")
        self.evidence.broken.append(Violation(rule, what, self.seconds))

    def complain(self, what: str) -> None:
        """Note what the product logs as a fault of its own."""
        if len(self.evidence.complaints) < COMPLAINTS_MAX:
            self.trace.add("complaint", what)
            self.evidence.complaints.append(what)

    def believe(self, seconds: float) -> None:
        """Note that clocks have moved by so much, and that there is reason to believe it."""
        beliefs = self.evidence.beliefs
        beliefs.append((self.seconds, (beliefs[-1][1] if beliefs else 0.0) + seconds))

    def alive(self) -> SimLife | None:
        """Return a life that serves, if one does."""
        return next((node.alive for node in self.nodes if node.alive is not None), None)


Judge = Callable[[Evidence], list[Violation]]
