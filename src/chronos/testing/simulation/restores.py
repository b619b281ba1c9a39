"""Backups of a simulated node, and the way back: by the product's own code, on real files beside the simulated disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chronos.errors import ChronosError
from chronos.server.backup.manifest import Manifest
from chronos.server.backup.restoring import Report, Wanted, restore
from chronos.server.backup.saving import Target, save_running
from chronos.testing.simulation.closing import look_at_disk
from chronos.testing.simulation.sampling import sample_of
from chronos.timing.clock import SeededChance

if TYPE_CHECKING:
    from chronos.testing.simulation.node import SimLife, SimNode
    from chronos.testing.simulation.world import World

SETTLED_S = 30.0
"""How long an outage may take to be made up for, before what is left behind can be judged."""


@dataclass(frozen=True)
class Backup:
    """A backup of a node.

    Attributes:
        last: The last entry of the log in it, `first_us` the log time of its first, `log_us` that of the last.
    """

    path: Path
    last: int
    first_us: int
    log_us: int


class Backups:
    """The backups of a world. A restore makes those worthless whose entries it takes back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: dict[int, Backup] = {}
        self._taken = 0

    def of(self, node: SimNode) -> Backup | None:
        """Return the newest backup of a node that its log still goes on from."""
        return self._kept.get(node.number)

    async def take(self, life: SimLife) -> Backup | None:
        """Back up a node that runs; None when it could not be."""
        self._taken += 1
        path = self._world.folder / f"{self._taken}.backup"
        task = life.run(self._save(life, path))
        await asyncio.wait([task])
        if life.dead or task.cancelled():
            return None
        if error := task.exception():
            self._world.broken("I20", f"a backup cannot be taken: {error}")
            return None
        manifest = task.result()
        backup = Backup(path, manifest.last, manifest.first_us if manifest.first == 1 else 0, manifest.log_us)
        self._kept[life.sim.number] = backup
        self._world.trace.add("backup", f"node {life.sim.number} to entry {backup.last}")
        return backup

    async def _save(self, life: SimLife, path: Path) -> Manifest:
        assert life.node is not None
        pieces = [piece async for piece in await life.node.truth.backups.stream()]
        target = Target(path, SeededChance(life.sim.chance))
        return save_running(pieces, target, keys_from=life.mount.folder)

    async def bring_back(self, node: SimNode, backup: Backup, as_of_us: int | None) -> None:
        """Put a backup in the place of all that a stopped node has; what it had since is judged and left behind."""
        world, life = self._world, node.life
        assert life is not None
        await life.reap()
        await look_at_disk(world, node, life)
        folder = world.folder / f"node{node.number}-restored{len(world.evidence.restores)}"
        wanted = Wanted(backup=backup.path, folder=folder, as_of_us=as_of_us)
        try:
            report = await restore(wanted, node.clock, SeededChance(node.chance))
        except ChronosError as error:
            world.broken("I20", f"the backup up to entry {backup.last} cannot be restored: {error}")
            return
        world.trace.add("restore", f"to entry {report.last_entry}, epoch {report.restore_epoch}")
        self._go_on_from(node, folder, report)
        if report.last_entry < backup.last:
            del self._kept[node.number]

    def _go_on_from(self, node: SimNode, folder: Path, report: Report) -> None:
        world = self._world
        node.disk.take(folder)
        node.restored = folder
        world.evidence.leave(report.last_entry, report.restore_epoch, world.seconds)
        world.ledger.restored(report.last_entry)


async def is_settled(life: SimLife) -> bool:
    """Wait until no outage is being made up for; return whether that came, and whether the node still serves."""
    for _ in range(int(SETTLED_S)):
        if life.dead or life.node is None:
            return False
        if not life.node.drive.scheduler.shard.catchup_to_s:
            life.sim.world.evidence.samples.append(sample_of(life))
            return True
        await asyncio.sleep(1.0)
    return False
