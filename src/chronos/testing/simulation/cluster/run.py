"""One run of a cluster: the world is made from a seed, lived in, brought to rest, and judged."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from chronos.errors import ChronosError
from chronos.testing.simulation.clients import Client
from chronos.testing.simulation.cluster.clock import DRIFT_MAX
from chronos.testing.simulation.cluster.closing import look_at_members
from chronos.testing.simulation.cluster.nemesis import ClusterNemesis
from chronos.testing.simulation.cluster.node import MemberLife
from chronos.testing.simulation.cluster.world import ClusterWorld
from chronos.testing.simulation.invariants import judge_cluster
from chronos.testing.simulation.listening import listening
from chronos.testing.simulation.load import first_specs
from chronos.testing.simulation.loop import SimLoop
from chronos.testing.simulation.profile import Profile
from chronos.testing.simulation.report import Report, report_of
from chronos.testing.simulation.run import SHARED_MEMORY, rarely_collecting
from chronos.testing.simulation.sampling import sample_of
from chronos.testing.simulation.trace import Tell, Trace
from chronos.timing.clock import SystemClock

SAMPLE_S = 1.0
LEAD_S = 30.0
"""How long a cluster that has just begun may have no leader."""
STOP_S = 30.0


def simulate_cluster(
    seed: int, *, profile: Profile, minutes: float, nodes: int, tell: Tell | None = None
) -> tuple[ClusterWorld, Report]:
    """Run one seed of several nodes and judge it; return the world, too, with its evidence. See `run.simulate`."""
    began = SystemClock().boottime()
    world = lived_together(seed, profile=profile, minutes=minutes, nodes=nodes, tell=tell)
    return world, report_of(world, SystemClock().boottime() - began, judge_cluster)


def lived_together(
    seed: int, *, profile: Profile, minutes: float, nodes: int, tell: Tell | None = None
) -> ClusterWorld:
    """Run one seed of several nodes and return the world as it is after that, with its evidence."""
    parent = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="chronos-simulated-", dir=parent) as folder:
        world = ClusterWorld(seed, profile, nodes, Path(folder), Trace(tell))
        with listening(world), rarely_collecting():
            loop = SimLoop(seed)
            world.enter(loop)
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(_Run(world, minutes * 60).run())
            for failure in loop.unhandled:
                world.broken("harness", f"nobody was waiting for {failure!r}")
    return world


class _Run:
    """The course of a run."""

    def __init__(self, world: ClusterWorld, seconds: float) -> None:
        self._world = world
        self._seconds = seconds
        self._busy_until = max(seconds - world.profile.quiet_s, seconds / 2)
        self._nemesis = ClusterNemesis(world)

    async def run(self) -> None:
        world = self._world
        await asyncio.gather(*(self._nemesis.bring_up(node) for node in world.members))
        await self._create_jobs()
        background = [asyncio.create_task(turn) for turn in (self._nemesis.supervise(), self._sample())]
        clients = [Client(world, number + 1) for number in range(world.profile.clients)]
        striking = self._nemesis.run(self._busy_until)
        await asyncio.gather(striking, *(client.run(self._busy_until) for client in clients))
        await asyncio.sleep(max(0.0, self._busy_until - world.seconds))
        self._come_to_rest()
        await asyncio.sleep(max(world.profile.quiet_s, self._seconds - world.seconds))
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._end()

    async def _create_jobs(self) -> None:
        world = self._world
        leader = await self._first_leader()
        world.trace.add("leads", leader.member.name)
        client = Client(world, 0)
        for spec in first_specs(world.stream("load"), world.profile.jobs, nasty=world.profile.nasty_targets):
            await client.act(leader, "create", spec.name, spec=spec)

    async def _first_leader(self) -> MemberLife:
        """Return the first that says that it leads itself."""
        lives = [life for node in self._world.members if (life := node.member) is not None]
        waiting = {life.run(life.until_leads()): life for life in lives}
        try:
            done, _ = await asyncio.wait(waiting, timeout=LEAD_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return next(life for one, life in waiting.items() if one in done)

    def _come_to_rest(self) -> None:
        world = self._world
        world.calm = True
        world.targets.heal()
        world.net.heal()
        world.evidence.quiet_from = world.seconds
        world.trace.add("calm", "nothing goes wrong from here on")

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            leader = self._world.leader()
            if leader is not None:
                self._world.evidence.samples.append(sample_of(leader))

    async def _end(self) -> None:
        """Let everybody fold what there is, stop all, and read what is on their disks then."""
        world = self._world
        lives = [node.member for node in world.members if node.member is not None and node.member.ready.is_set()]
        leader = world.leader()
        if leader is None or len(lives) < len(world.members):
            world.broken("I24", f"{len(lives)} of {len(world.members)} nodes serve at the end, leader: {leader}")
        world.evidence.seconds = world.seconds
        world.evidence.skew_s = 2 * DRIFT_MAX * world.seconds
        if leader is not None:
            world.evidence.samples.append(sample_of(leader))
        for life in lives:
            try:
                assert life.node is not None
                assert life.node.membership is not None
                await life.run(life.node.membership.barrier())
            except ChronosError as error:
                world.broken("I24", f"{life.member.name} cannot read at the end: {error}")
        world.ending = True
        for life in sorted(lives, key=lambda life: life is leader):  # who leads writes to the end what others settle
            life.evidence.asked = world.seconds
            assert life.lifecycle is not None
            life.lifecycle.ask()
            try:
                async with asyncio.timeout(STOP_S):
                    await life.ended.wait()
            except TimeoutError:
                world.broken("I23", f"{life.member.name} does not stop")
                life.kill("hang")
            await life.reap()
        await look_at_members(world)
