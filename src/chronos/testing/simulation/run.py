"""One run: the world is made from a seed, lived in, brought to rest, and judged."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronos.testing.simulation.clients import Client
from chronos.testing.simulation.closing import look_at_disk
from chronos.testing.simulation.faults import Nemesis
from chronos.testing.simulation.listening import listening
from chronos.testing.simulation.load import first_specs
from chronos.testing.simulation.loop import SimLoop
from chronos.testing.simulation.node import SimNode
from chronos.testing.simulation.profile import Profile
from chronos.testing.simulation.report import Report, report_of
from chronos.testing.simulation.sampling import sample_of
from chronos.testing.simulation.trace import Tell, Trace
from chronos.testing.simulation.world import World
from chronos.timing.clock import SystemClock

WATCH_S = 0.5
SAMPLE_S = 1.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
"""Empty folders on the fastest file system there is."""


def simulate(seed: int, *, profile: Profile, minutes: float, nodes: int = 1, tell: Tell | None = None) -> Report:
    """Run one seed and judge it.

    Args:
        minutes: Virtual minutes.
        tell: Called with every line of the transcript.
    """
    began = SystemClock().boottime()
    world = lived(seed, profile=profile, minutes=minutes, nodes=nodes, tell=tell)
    return report_of(world, SystemClock().boottime() - began)


def lived(seed: int, *, profile: Profile, minutes: float, nodes: int = 1, tell: Tell | None = None) -> World:
    """Run one seed and return the world as it is after that, with its evidence. See `simulate`."""
    parent = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="chronos-simulated-", dir=parent) as folder:
        world = World(seed, profile, nodes, Path(folder), Trace(tell))
        with listening(world), rarely_collecting():
            _live(world, minutes * 60)
    return world


def _live(world: World, seconds: float) -> None:
    loop = SimLoop(world.seed)
    world.enter(loop)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_Run(world, seconds).run())
    for failure in loop.unhandled:
        world.broken("harness", f"nobody was waiting for {failure!r}")


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Look for garbage rarely: a run keeps nearly everything it makes, and looking costs a fifth of it for nothing."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Run:
    """The course of a run."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world = world
        self._seconds = seconds
        self._busy_until = max(seconds - world.profile.quiet_s, seconds / 2)
        self._nemesis = Nemesis(world)
        self._draw = world.stream("run")
        self._striking = False

    async def run(self) -> None:
        world = self._world
        for node in world.nodes:
            await self._nemesis.bring_up(node, 0.0)
        await self._create_jobs()
        background = [asyncio.create_task(turn) for turn in (self._supervise(), self._sample())]
        clients = [Client(world, number + 1) for number in range(world.profile.clients)]
        await asyncio.gather(self._strike(), *(client.run(self._busy_until) for client in clients))
        await asyncio.sleep(max(0.0, self._busy_until - world.seconds))
        self._come_to_rest()
        await asyncio.sleep(max(0.0, self._seconds - world.seconds))
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for node in world.nodes:
            await self._end(node)

    async def _create_jobs(self) -> None:
        world = self._world
        life = world.alive()
        assert life is not None, "nothing goes wrong before the jobs are there"
        client = Client(world, 0)
        for spec in first_specs(world.stream("load"), world.profile.jobs, nasty=world.profile.nasty_targets):
            await client.act(life, "create", spec.name, spec=spec)

    async def _strike(self) -> None:
        self._striking = True
        await self._nemesis.run(self._busy_until)
        self._striking = False

    def _come_to_rest(self) -> None:
        world = self._world
        world.calm = True
        world.targets.heal()
        for node in world.nodes:
            node.disk.heal()
            node.slow_disk_s = 0.0
        world.evidence.quiet_from = world.seconds
        world.trace.add("calm", "nothing goes wrong from here on")

    async def _supervise(self) -> None:
        """Start a node again whose process has ended by itself, as a service manager does."""
        while True:
            await asyncio.sleep(WATCH_S)
            for node in self._world.nodes:
                if node.life is not None and node.life.dead and not self._nemesis.busy:
                    await self._nemesis.bring_up(node, 1.0)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            life = self._world.alive()
            if life is not None and life.node is not None:
                self._world.evidence.samples.append(sample_of(life))

    async def _end(self, node: SimNode) -> None:
        """Stop, and read what is on the disk then."""
        world, life = self._world, node.life
        if life is None or not life.ready.is_set() or life.dead or life.lifecycle is None:
            world.broken("I24", "there is no node that serves at the end")
            return
        world.evidence.seconds = world.seconds
        world.evidence.samples.append(sample_of(life))
        life.evidence.asked = world.seconds
        life.lifecycle.ask()
        await life.ended.wait()
        await life.reap()
        await look_at_disk(world, node, life)
