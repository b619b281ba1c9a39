"""What goes wrong in a cluster, one thing after the other. Never with so many that no majority is left, but all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chronos.cluster.etcd.client import Client
from chronos.cluster.etcd.members import Members
from chronos.errors import ChronosError
from chronos.testing.simulation.engine.cluster import url_of
from chronos.testing.simulation.evidence import Trouble
from chronos.testing.simulation.loop import Owner
from chronos.testing.simulation.profile import Fault

if TYPE_CHECKING:
    from chronos.testing.simulation.cluster.node import MemberNode
    from chronos.testing.simulation.cluster.world import ClusterWorld

DOWN_S = (0.0, 0.3, 2.0, 6.0, 10.0)
START_S = 45.0
STARTS_MAX = 12
JOIN_S = 30.0


class ClusterNemesis:
    """Makes things go wrong in a cluster.

    Attributes:
        kinds: What may go wrong in this run.
    """

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._draw = world.stream("nemesis")
        self._nobody_starts: set[str] = set()
        self._struck = 0
        kinds = list(world.profile.faults)
        self._draw.shuffle(kinds)
        least = min(world.profile.faults_at_least, len(kinds))
        self.kinds = kinds[: self._draw.randint(least, len(kinds))] if kinds else []

    async def run(self, until: float) -> None:
        """Make things go wrong until then."""
        profile = self._world.profile
        if not profile.fault_every_s or not self.kinds:
            return
        await asyncio.sleep(profile.first_after_s)
        while True:
            await asyncio.sleep(self._draw.uniform(0.2, 1.2) * profile.fault_every_s)
            if self._world.seconds >= until or self._world.hopeless:
                return
            self._struck += 1
            await self.strike(
                self.kinds[self._struck % len(self.kinds)] if profile.tour else self._draw.choice(self.kinds)
            )

    async def strike(self, kind: Fault) -> None:
        """Let one thing go wrong, and heal."""
        await _STRIKES[kind](self, self._node())

    def _node(self) -> MemberNode:
        """Draw a machine, often the one that leads."""
        leader = self._world.leader()
        if leader is not None and self._draw.random() < 0.5:
            return leader.member
        return self._draw.choice(self._world.members)

    @asynccontextmanager
    async def _trouble(self, kind: Fault, *nodes: MemberNode, **facts: object) -> AsyncIterator[Trouble]:
        world = self._world
        names = ",".join(node.name for node in nodes)
        trouble = Trouble(kind.value, world.seconds, facts={"nodes": names, **facts})
        world.evidence.troubles.append(trouble)
        world.trace.add("fault", f"{kind.value} {names} {facts or ''}")
        try:
            yield trouble
        finally:
            trouble.healed = world.seconds
            world.trace.add("healed", kind.value)

    # Processes.

    async def bring_up(self, node: MemberNode, seconds: float = 0.0) -> None:
        """Start a node, again and again if it has to be; return when it is ready, or hopeless."""
        for _ in range(STARTS_MAX):
            await asyncio.sleep(seconds)
            async with node.booting:
                if node.member is not None or node.name in self._nobody_starts:
                    return
                life = await node.boot()
            ready, ended = (asyncio.create_task(event.wait()) for event in (life.ready, life.ended))
            done, pending = await asyncio.wait((ready, ended), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if ready in done:
                return
            if not done:
                self._world.broken("I24", f"life {life.number} was not ready after {START_S:g} s")
                life.kill("hang")
            seconds = 1.0
        self._world.hopeless = True
        self._world.broken("I24", f"node {node.name} does not start any more")

    async def supervise(self) -> None:
        """Start a node again whose process has ended by itself, as a service manager does."""
        starting: dict[str, asyncio.Task[None]] = {}
        while True:
            await asyncio.sleep(0.5)
            for node in self._world.members:
                under_way = starting.get(node.name)
                if node.life is not None and node.life.dead and (under_way is None or under_way.done()):
                    starting[node.name] = asyncio.create_task(self.bring_up(node, 0.5))

    async def _kill(self, node: MemberNode) -> None:
        await self._down(Fault.KILL, node)

    async def _power(self, node: MemberNode) -> None:
        await self._down(Fault.POWER_CUT, node)

    async def _down(self, kind: Fault, *nodes: MemberNode) -> None:
        down_s = self._draw.choice(DOWN_S)
        await self._world.aim()
        async with self._trouble(kind, *nodes, down=down_s, brief=len(nodes) == 1):
            self._nobody_starts.update(node.name for node in nodes)
            for node in nodes:
                if node.member is not None:
                    node.member.kill(kind.value)
                if kind is not Fault.KILL:
                    fared = node.disk.cut_power(self._draw)
                    self._world.trace.add("disk", f"{node.name} lost: {[loss.value for loss in fared]}")
            await asyncio.sleep(down_s)
            self._nobody_starts.clear()
            await asyncio.gather(*(self.bring_up(node) for node in nodes))

    async def _power_everywhere(self, node: MemberNode) -> None:
        await self._down(Fault.POWER_CUT_ALL, *self._world.members)

    async def _restart(self, node: MemberNode) -> None:
        async with self._trouble(Fault.RESTART, node, brief=True):
            await self._stop_and_start(node)

    async def _rolling(self, node: MemberNode) -> None:
        async with self._trouble(Fault.ROLLING_RESTART, *self._world.members):
            for one in self._world.members:
                await self._stop_and_start(one)
                await asyncio.sleep(2.0)

    async def _stop_and_start(self, node: MemberNode) -> None:
        life = node.member
        if life is not None and life.lifecycle is not None and life.ready.is_set():
            life.evidence.asked = self._world.seconds
            self._nobody_starts.add(node.name)
            life.lifecycle.ask()
            await life.ended.wait()
            self._nobody_starts.discard(node.name)
        await self.bring_up(node, self._draw.choice((0.0, 0.5, 2.0)))

    async def _pause(self, node: MemberNode) -> None:
        """SIGSTOP of a node and its engine, and SIGCONT."""
        seconds = self._draw.choice((0.4, 1.0, 2.0, 4.0, 7.0, 12.0))
        life, engine = node.member, self._world.engine.running.get(node.name)
        if life is None:
            return
        loop = self._world.loop
        async with self._trouble(Fault.PAUSE, node, seconds=seconds, brief=True):
            owners: list[Owner] = [life, *([engine] if engine is not None else [])]
            for owner in owners:
                loop.stop_owner(owner)
            await asyncio.sleep(seconds)
            for owner in owners:
                loop.go_on(owner)

    async def _engine_kill(self, node: MemberNode) -> None:
        async with self._trouble(Fault.ENGINE_KILL, node):
            self._world.engine.crash(node.name)
            await asyncio.sleep(self._draw.choice((0.2, 0.6, 2.0, 4.0)))
            self._world.restart_engine(node.name)
            await asyncio.sleep(1.0)

    async def _engine_pause(self, node: MemberNode) -> None:
        engine = self._world.engine.running.get(node.name)
        if engine is None:
            return
        async with self._trouble(Fault.ENGINE_PAUSE, node):
            self._world.loop.stop_owner(engine)
            await asyncio.sleep(self._draw.choice((0.3, 1.0, 3.0, 7.0)))
            self._world.loop.go_on(engine)

    # The network.

    async def _cut(self, kind: Fault, node: MemberNode, *, comes: bool, goes: bool) -> None:
        world = self._world
        async with self._trouble(kind, node):
            world.net.isolate(node.name, [one.name for one in world.members], in_and_out=(comes, goes))
            await asyncio.sleep(self._draw.choice((0.5, 2.0, 4.0, 8.0, 12.0)))
            world.net.heal()

    async def _isolated(self, node: MemberNode) -> None:
        await self._cut(Fault.ISOLATED, node, comes=True, goes=True)

    async def _leader_isolated(self, node: MemberNode) -> None:
        leader = self._world.leader()
        await self._cut(Fault.LEADER_ISOLATED, leader.member if leader else node, comes=True, goes=True)

    async def _deaf(self, node: MemberNode) -> None:
        await self._cut(Fault.DEAF, node, comes=True, goes=False)

    async def _mute(self, node: MemberNode) -> None:
        await self._cut(Fault.MUTE, node, comes=False, goes=True)

    async def _lossy(self, node: MemberNode) -> None:
        async with self._trouble(Fault.LOSSY, loss=0.0) as trouble:
            trouble.facts["loss"] = self._world.net.loss = self._draw.choice((0.02, 0.1, 0.3))
            await asyncio.sleep(self._draw.uniform(3, 10))
            self._world.net.heal()

    async def _slow_network(self, node: MemberNode) -> None:
        async with self._trouble(Fault.SLOW_NETWORK):
            self._world.net.slow_s = self._draw.choice((0.02, 0.1, 0.4))
            await asyncio.sleep(self._draw.uniform(3, 10))
            self._world.net.heal()

    async def _watches_lose(self, node: MemberNode) -> None:
        async with self._trouble(Fault.WATCHES_LOSE):
            self._world.engine.watch_loss = self._draw.choice((0.05, 0.3))
            await asyncio.sleep(self._draw.uniform(3, 10))
            self._world.engine.watch_loss = 0.0

    # Clocks and disks.

    async def _clock(self, node: MemberNode) -> None:
        """Set one clock, and set it right again after a while."""
        seconds = self._draw.choice((-4.0, -1.0, -0.3, 0.3, 1.0, 4.0, 10.0))
        world = self._world
        async with self._trouble(Fault.CLOCK_STEP, node, step=seconds):
            node.clock.step(seconds)
            world.evidence.beliefs.append((world.seconds, seconds))
            await asyncio.sleep(self._draw.uniform(2, 8))
            node.clock.step(-seconds)
            await asyncio.sleep(abs(seconds))

    async def _slow_disk(self, node: MemberNode) -> None:
        world, seconds = self._world, self._draw.choice((0.05, 0.3, 1.0))
        async with self._trouble(Fault.SLOW_DISK, node, latency=seconds) as trouble:
            node.slow_disk_s = world.engine.disks[node.name].slow_s = seconds
            await asyncio.sleep(self._draw.uniform(3, 8))
            node.slow_disk_s = world.engine.disks[node.name].slow_s = 0.0
        if node.member is not None:
            trouble.healed = max(trouble.healed, world.loop.busy_until(node.member))

    async def _disk_lost(self, node: MemberNode) -> None:
        """A machine is lost with everything on it; another one takes its place, as `cluster remove` and `add` do."""
        world, life = self._world, node.member
        others = [one for one in world.members if one is not node and one.alive is not None]
        if life is None or 2 * len(others) <= len(world.members):
            return
        async with self._trouble(Fault.DISK_LOST, node):
            self._nobody_starts.add(node.name)
            life.kill("disk_lost")
            await asyncio.sleep(self._draw.choice((0.0, 2.0, 5.0)))
            client = Client([world.engine.endpoint(one.name) for one in others], connect=world.engine.channel)
            members = Members(client, JOIN_S)
            try:
                await members.remove(world.engine.disks[node.name].member.id)
                added = await members.add(url_of(node.name))
                world.engine.replace(node.name, added.id)
                node.lose_disk()
                world.engine.start(node.name)
                await members.promote(added.id)
            except ChronosError as error:
                world.broken("I24", f"{node.name} cannot be replaced: {error}")
            self._nobody_starts.discard(node.name)
            await self.bring_up(node)

    # Targets.

    async def _targets(self, kind: Fault) -> None:
        chosen = self._world.targets.some(self._draw)
        async with self._trouble(kind, hosts=",".join(sorted(target.name for target in chosen))):
            for target in chosen:
                target.suffer(kind)
            await asyncio.sleep(self._draw.uniform(2, 8))
            self._world.targets.heal()

    async def _targets_down(self, node: MemberNode) -> None:
        await self._targets(Fault.TARGETS_DOWN)

    async def _targets_hang(self, node: MemberNode) -> None:
        await self._targets(Fault.TARGETS_HANG)

    async def _targets_slow(self, node: MemberNode) -> None:
        await self._targets(Fault.TARGETS_SLOW)


Strike = Callable[[ClusterNemesis, "MemberNode"], Awaitable[None]]
_STRIKES: dict[Fault, Strike] = {
    Fault.KILL: ClusterNemesis._kill,
    Fault.POWER_CUT: ClusterNemesis._power,
    Fault.POWER_CUT_ALL: ClusterNemesis._power_everywhere,
    Fault.RESTART: ClusterNemesis._restart,
    Fault.ROLLING_RESTART: ClusterNemesis._rolling,
    Fault.PAUSE: ClusterNemesis._pause,
    Fault.ENGINE_KILL: ClusterNemesis._engine_kill,
    Fault.ENGINE_PAUSE: ClusterNemesis._engine_pause,
    Fault.ISOLATED: ClusterNemesis._isolated,
    Fault.LEADER_ISOLATED: ClusterNemesis._leader_isolated,
    Fault.DEAF: ClusterNemesis._deaf,
    Fault.MUTE: ClusterNemesis._mute,
    Fault.LOSSY: ClusterNemesis._lossy,
    Fault.SLOW_NETWORK: ClusterNemesis._slow_network,
    Fault.WATCHES_LOSE: ClusterNemesis._watches_lose,
    Fault.CLOCK_STEP: ClusterNemesis._clock,
    Fault.SLOW_DISK: ClusterNemesis._slow_disk,
    Fault.DISK_LOST: ClusterNemesis._disk_lost,
    Fault.TARGETS_DOWN: ClusterNemesis._targets_down,
    Fault.TARGETS_HANG: ClusterNemesis._targets_hang,
    Fault.TARGETS_SLOW: ClusterNemesis._targets_slow,
}
