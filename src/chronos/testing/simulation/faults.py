"""What goes wrong, and when: drawn from the seed, one kind after the other, each healed after a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chronos.errors import ChronosError
from chronos.testing.simulation.evidence import Trouble
from chronos.testing.simulation.profile import Fault
from chronos.testing.simulation.restores import Backups, is_settled

if TYPE_CHECKING:
    from chronos.testing.simulation.node import SimLife, SimNode
    from chronos.testing.simulation.world import World

DOWN_S = (0.0, 0.3, 2.0, 5.0, 15.0, 40.0)
"""How long a node stays down."""

DAY_S = 86_400.0
START_S = 30.0
"""How long a start may take before it counts as hanging."""

STARTS_MAX = 20
"""How often a start may fail, with room on the disk, before it is certain that no other will succeed."""


class Nemesis:
    """Makes things go wrong, one at a time, and lets them heal."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draw = world.stream("nemesis")
        self._backups = Backups(world)
        self.busy = False
        self._struck = 0
        profile = world.profile
        kinds = list(profile.faults)
        self._draw.shuffle(kinds)
        most = max(profile.faults_at_least, len(kinds))
        self.kinds = kinds[: self._draw.randint(min(profile.faults_at_least, len(kinds)), most)] if kinds else []

    async def run(self, until: float) -> None:
        """Make things go wrong until then."""
        every_s = self._world.profile.fault_every_s
        if not every_s or not self.kinds:
            return
        while True:
            await asyncio.sleep(self._draw.uniform(0.3, 1.4) * every_s)
            if self._world.seconds >= until or self._world.hopeless:
                return
            self._struck += 1
            tour = self._world.profile.tour
            await self.strike(self.kinds[self._struck % len(self.kinds)] if tour else self._draw.choice(self.kinds))

    async def strike(self, kind: Fault) -> None:
        """Let one thing go wrong, and heal."""
        self.busy = True
        try:
            await _STRIKES[kind](self, self._draw.choice(self._world.nodes))
        finally:
            self.busy = False

    @asynccontextmanager
    async def _trouble(self, kind: Fault, **facts: object) -> AsyncIterator[Trouble]:
        world = self._world
        trouble = Trouble(kind.value, world.seconds, facts=dict(facts))
        world.evidence.troubles.append(trouble)
        world.trace.add("fault", f"{kind.value} {facts or ''}")
        try:
            yield trouble
        finally:
            trouble.healed = world.seconds
            world.trace.add("healed", kind.value)

    async def _down(self, node: SimNode, kind: Fault, seconds: float) -> None:
        """End the node's process, let time pass, and start the next."""
        await self._world.aim()
        async with self._trouble(kind, down=seconds):
            life = node.life
            assert life is not None
            if kind is Fault.RESTART:
                await self._stop(life)
            else:
                life.kill(kind.value)
            if kind is Fault.POWER_CUT:
                fared = node.disk.cut_power(self._draw)
                self._world.trace.add("disk", f"lost: {[loss.value for loss in fared]}")
            await self.bring_up(node, seconds)

    async def bring_up(self, node: SimNode, seconds: float) -> None:
        """Start the node after `seconds`, again and again if it has to be; return when it is ready, or hopeless."""
        failed = 0
        while failed < STARTS_MAX and not self._world.hopeless:
            await asyncio.sleep(seconds)
            if node.life is not None and not node.life.dead:
                return  # somebody else was quicker
            life = await node.boot()
            ready = asyncio.create_task(life.ready.wait())
            ended = asyncio.create_task(life.ended.wait())
            done, pending = await asyncio.wait((ready, ended), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if ready in done:
                return
            if not done and not node.disk.full:
                self._world.broken("I24", f"life {life.number} was not ready after {START_S:g} s")
                life.kill("hang")
            failed += not node.disk.full
            seconds = 2.0
        if failed >= STARTS_MAX:
            self._world.hopeless = True
            ended_by = node.life.evidence.ended_by if node.life is not None else ""
            self._world.broken("I24", f"node {node.number} does not start any more: {ended_by}")

    async def _kill(self, node: SimNode) -> None:
        await self._down(node, Fault.KILL, self._draw.choice(DOWN_S))

    async def _power(self, node: SimNode) -> None:
        await self._down(node, Fault.POWER_CUT, self._draw.choice(DOWN_S))

    async def _restart(self, node: SimNode) -> None:
        await self._down(node, Fault.RESTART, self._draw.choice(DOWN_S))

    async def _restore(self, node: SimNode) -> None:
        """Everything that a node has is lost; what comes back is a backup from before. Some are brought back twice."""
        draw = self._draw
        again = draw.random() < 0.3
        backup = self._backups.of(node) if again else None
        if backup is None:
            if node.alive is None or (backup := await self._backups.take(node.alive)) is None:
                return
            await asyncio.sleep(draw.uniform(1, 25))
        life = node.alive
        if life is None or not await is_settled(life):
            return
        as_of_us = backup.log_us - int(draw.uniform(0, 8e6)) if draw.random() < 0.3 else None
        if as_of_us is not None and not backup.first_us <= as_of_us <= node.clock.time() * 1e6:
            as_of_us = None
        async with self._trouble(Fault.RESTORE, entry=backup.last):
            await self._stop(life)
            if life.evidence.ended_by == "stop":
                await self._backups.bring_back(node, backup, as_of_us)
            await self.bring_up(node, draw.choice(DOWN_S))

    async def _stop(self, life: SimLife) -> None:
        if life.lifecycle is not None and life.ready.is_set():
            life.evidence.asked = self._world.seconds
            life.lifecycle.ask()
            await life.ended.wait()

    async def _step(self, node: SimNode, kind: Fault, seconds: float) -> None:
        async with self._trouble(kind, step=seconds):
            node.clock.step(seconds)
            self._world.believe(seconds)
            await asyncio.sleep(self._draw.uniform(2, 10))

    async def _clock_back(self, node: SimNode) -> None:
        await self._step(node, Fault.CLOCK_BACK, -self._draw.choice((0.2, 1.0, 1.7, 4.0, 12.0)))

    async def _clock_ahead(self, node: SimNode) -> None:
        await self._step(node, Fault.CLOCK_AHEAD, self._draw.choice((0.3, 1.0, 3.5, 20.0, 90.0, 600.0)))

    async def _clock_far(self, node: SimNode) -> None:
        """A jump that may not be believed: set right again by hand, vouched for, or synchronised by the kernel."""
        draw = self._draw
        if draw.random() < 0.3:
            await self._clock_far_at_a_start(node)
            return
        seconds = draw.choice((1_000.0, 1_000.0, 7_200.0, 90_000.0, 3e6, 3e8))
        end = draw.choice(("set right", "accepted", "synchronised")) if seconds < 1e6 else "set right"
        async with self._trouble(Fault.CLOCK_FAR, step=seconds, end=end):
            node.clock.step(seconds)
            await asyncio.sleep(draw.uniform(3, 15))
            if end == "synchronised" and draw.random() < 0.3:
                node.clock.step(DAY_S)  # it jumps on, and nobody may believe the whole of it
                seconds += DAY_S
                await asyncio.sleep(2)
            is_believed = end == "accepted" and await self._is_accepted(node, seconds)
            if end == "synchronised":
                is_believed = await self._is_synchronised(node, seconds)
            if not is_believed:
                node.clock.step(-seconds)
            await asyncio.sleep(2)

    async def _clock_far_at_a_start(self, node: SimNode) -> None:
        """The clock is changed while nobody runs: an outage up to a week, and beyond it nothing to be believed."""
        seconds = self._draw.choice((1_000.0, 90_000.0, 8 * DAY_S, 30 * DAY_S))
        async with self._trouble(Fault.CLOCK_FAR, step=seconds, end="a start"):
            assert node.life is not None
            node.life.kill(Fault.KILL.value)
            node.clock.step(seconds)
            if seconds <= 7 * DAY_S:
                self._world.believe(seconds)
            await self.bring_up(node, 0.5)
            await asyncio.sleep(self._draw.uniform(3, 10))
            if seconds > 7 * DAY_S:
                node.clock.step(-seconds)
                await asyncio.sleep(2)

    async def _is_accepted(self, node: SimNode, seconds: float) -> bool:
        life = node.alive
        if life is None or life.node is None:
            return False
        self._world.believe(seconds)
        try:
            await life.run(life.node.truth.watch.accept(by="operator"))
        except (ChronosError, asyncio.CancelledError):
            return False
        return True

    async def _is_synchronised(self, node: SimNode, seconds: float) -> bool:
        """Let the kernel vouch for the clock for more than a minute; of more than a day it is not believed."""
        is_believed = seconds <= DAY_S
        if is_believed:
            self._world.believe(seconds)
        node.synchronised = True
        await asyncio.sleep(70)
        node.synchronised = False
        return is_believed

    async def _suspend(self, node: SimNode) -> None:
        seconds = self._draw.choice((0.5, 3.0, 3.0, 30.0, 30.0, 200.0, 1_800.0))
        async with self._trouble(Fault.SUSPEND, seconds=seconds):
            node.clock.suspend(seconds)
            self._world.believe(seconds)
            await asyncio.sleep(self._draw.uniform(2, 10))

    async def _slow_disk(self, node: SimNode) -> None:
        seconds = self._draw.choice((0.05, 0.3, 1.0, 3.0))
        async with self._trouble(Fault.SLOW_DISK, latency=seconds) as trouble:
            node.slow_disk_s = seconds
            await asyncio.sleep(self._draw.uniform(3, 15))
            node.slow_disk_s = 0.0
        # What stands in line already takes as long as when it was asked for, and whatever comes later stands behind it.
        if node.life is not None and not node.life.dead:
            trouble.healed = max(trouble.healed, self._world.loop.busy_until(node.life))

    async def _disk_full(self, node: SimNode) -> None:
        async with self._trouble(Fault.DISK_FULL):
            node.disk.full = True
            await asyncio.sleep(self._draw.uniform(2, 20))
            node.disk.full = False
            await self._if_it_ended(node)

    async def _fsync_once(self, node: SimNode) -> None:
        await self._break_disk(node, Fault.FSYNC_EIO)

    async def _fsync_forever(self, node: SimNode) -> None:
        await self._break_disk(node, Fault.FSYNC_EIO_FOREVER)

    async def _write_eio(self, node: SimNode) -> None:
        await self._break_disk(node, Fault.WRITE_EIO)

    async def _break_disk(self, node: SimNode, kind: Fault) -> None:
        """Let writes fail until the process has ended itself, as it has to; sometimes the power goes too."""
        async with self._trouble(kind):
            disk, life = node.disk, node.life
            assert life is not None
            if kind is Fault.WRITE_EIO:
                disk.write_failures = self._draw.randint(1, 3)
            else:
                disk.sync_failures = 1 if kind is Fault.FSYNC_EIO else -1
            try:
                async with asyncio.timeout(20):
                    await life.ended.wait()
            except TimeoutError:
                pass  # nothing was written meanwhile, or what failed need not last
            disk.heal()
            if life.dead and self._draw.random() < 0.5:
                disk.cut_power(self._draw)
                self._world.trace.add("disk", "and the power went")
            await self._if_it_ended(node)

    async def _if_it_ended(self, node: SimNode) -> None:
        if node.life is not None and node.life.dead:
            await self.bring_up(node, 1.0)

    async def _targets(self, kind: Fault) -> None:
        chosen = self._world.targets.some(self._draw)
        async with self._trouble(kind, hosts=",".join(sorted(target.name for target in chosen))):
            for target in chosen:
                target.suffer(kind)
            await asyncio.sleep(self._draw.uniform(3, 25))
            self._world.targets.heal()

    async def _targets_down(self, node: SimNode) -> None:
        await self._targets(Fault.TARGETS_DOWN)

    async def _targets_hang(self, node: SimNode) -> None:
        await self._targets(Fault.TARGETS_HANG)

    async def _targets_slow(self, node: SimNode) -> None:
        await self._targets(Fault.TARGETS_SLOW)

    async def _targets_lie(self, node: SimNode) -> None:
        await self._targets(Fault.TARGETS_LIE)


_STRIKES = {
    Fault.KILL: Nemesis._kill,
    Fault.POWER_CUT: Nemesis._power,
    Fault.RESTART: Nemesis._restart,
    Fault.RESTORE: Nemesis._restore,
    Fault.CLOCK_BACK: Nemesis._clock_back,
    Fault.CLOCK_AHEAD: Nemesis._clock_ahead,
    Fault.CLOCK_FAR: Nemesis._clock_far,
    Fault.SUSPEND: Nemesis._suspend,
    Fault.SLOW_DISK: Nemesis._slow_disk,
    Fault.DISK_FULL: Nemesis._disk_full,
    Fault.FSYNC_EIO: Nemesis._fsync_once,
    Fault.FSYNC_EIO_FOREVER: Nemesis._fsync_forever,
    Fault.WRITE_EIO: Nemesis._write_eio,
    Fault.TARGETS_DOWN: Nemesis._targets_down,
    Fault.TARGETS_HANG: Nemesis._targets_hang,
    Fault.TARGETS_SLOW: Nemesis._targets_slow,
    Fault.TARGETS_LIE: Nemesis._targets_lie,
}
