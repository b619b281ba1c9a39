"""A machine of the simulation on which nothing goes wrong but what a test does to it: disk, clock, and lives on it."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job, JobSpec
from chronos.server.assemble import Node
from chronos.store.records import AFTER_ALL, RecordFilter
from chronos.testing.simulation.listening import listening
from chronos.testing.simulation.loop import SimLoop
from chronos.testing.simulation.node import SimLife
from chronos.testing.simulation.profile import PROFILES
from chronos.testing.simulation.trace import Trace
from chronos.testing.simulation.world import World

READY_S = 60.0
RECORDS_MAX = 1_000_000


class Machine:
    """What `assemble` has put together, on virtual time.

    Attributes:
        events: Everything that all lives have told.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.sim = world.nodes[0]
        self.clock = self.sim.clock
        self.events: list[Event] = []

    @property
    def life(self) -> SimLife:
        assert self.sim.life is not None
        return self.sim.life

    @property
    def node(self) -> Node:
        assert self.life.node is not None
        return self.life.node

    async def boot(self) -> None:
        """Start a process on what the last one left, and wait until it takes requests."""
        await self.sim.boot()
        async with asyncio.timeout(READY_S):
            await self.life.ready.wait()
        self.node.truth.commands.subscribe(self.events.extend)

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        assert self.life.lifecycle is not None
        self.life.lifecycle.ask()
        await self.life.ended.wait()

    async def create(self, name: str, schedule: str = "* * * * * *", **spec: Any) -> Job:
        """Create a job whose target answers at once."""
        given = {"name": name, "schedule": schedule, "webhook": {"url": "http://quick.test/"}, "concurrency": "allow"}
        wanted = msgspec.convert(given | spec, JobSpec)
        return (await self.life.run(self.node.drive.jobs.create(wanted, by="ann"))).job

    async def records(self, job: Job) -> list[Execution | RangeRecord]:
        """Return everything that is recorded of a job."""
        return await self.node.truth.state.find_records(RecordFilter(job_id=job.id), AFTER_ALL, RECORDS_MAX)

    async def told(self, job: Job) -> Counter[str]:
        """Return how many instants of a job came to what: a status, `late` where made up for, a skip's reason."""
        found: Counter[str] = Counter()
        for record in await self.records(job):
            if isinstance(record, RangeRecord):
                found[record.reason.value] += record.count
            else:
                found["late" if record.late else record.status.value] += 1
        return found

    async def instants(self, job: Job) -> list[int]:
        """Return every recorded instant of a job that is due every second, ascending, once for each record."""
        found: list[int] = []
        for record in await self.records(job):
            if isinstance(record, RangeRecord):
                found += range(record.first_s, record.last_s + 1)
            else:
                found.append(record.scheduled_s)
        return sorted(found)

    def sent(self, job: Job) -> Counter[int]:
        """Return how often each instant of a job arrived at its target."""
        return Counter(a.scheduled_s for a in self.world.evidence.arrivals if a.job_id == job.id)

    def count(self, kind: EventType) -> int:
        """Return how often something was told."""
        return sum(event.type is kind for event in self.events)


def on_a_machine(test: Callable[[Machine], Awaitable[None]]) -> Callable[[], None]:
    """Make a test of a function that takes a machine whose first life is ready."""

    @wraps(test)
    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="chronos-machine-") as folder:
            world = World(7, PROFILES["calm"], 1, Path(folder), Trace(None))
            with listening(world):
                loop = SimLoop(world.seed)
                world.enter(loop)
                with asyncio.Runner(loop_factory=lambda: loop) as runner:
                    runner.run(_live(world, test))
        assert world.evidence.complaints == []
        assert world.evidence.broken == []

    del run.__wrapped__  # pytest would ask for a fixture called machine
    return run


async def _live(world: World, test: Callable[[Machine], Awaitable[None]]) -> None:
    machine = Machine(world)
    await machine.boot()
    await test(machine)
    if not machine.life.dead:
        await machine.stop()
    await machine.life.reap()
