"""After the last stop of all nodes: every disk is read, and all of them have to have come to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from chronos.store.sqlite import SqliteState
from chronos.testing.simulation.closing import gather, read_revisions, replayed
from chronos.testing.simulation.disk import Mount
from chronos.testing.simulation.load import CANARY

if TYPE_CHECKING:
    from chronos.testing.simulation.cluster.node import MemberNode
    from chronos.testing.simulation.cluster.world import ClusterWorld


async def look_at_members(world: ClusterWorld) -> None:
    """Read what every node has kept, and verify every file; the records are those of the node that has seen most."""
    evidence = world.evidence
    most = -1
    for node in world.members:
        if node.life is None:
            continue
        mount = Mount(node.disk, world.folder / f"{node.name}-end", node.life.mount.folder)
        try:
            state = SqliteState(mount.folder, vfs=mount.vfs)
            await state.start()
            applied = state.applied_index
            evidence.digests[node.number] = (await state.digest(), await replayed(world, applied))
            if applied > most:
                most = applied
                evidence.records.clear()
                await gather(evidence, state)
            await state.stop()
            evidence.integrity |= _verified(node, mount)
        finally:
            mount.close()
        evidence.leaks += [f"{node.name}: {name}" for name in node.disk.contains(CANARY.encode())]
        world.trace.add("state", f"{node.name} to entry {applied}: {evidence.digests[node.number][0]}")
    read_revisions(evidence)
    if most < len(world.ledger.entries):
        world.broken("I3", f"entries {most + 1} to {len(world.ledger.entries)} were shown, and no node has them")


def _verified(node: MemberNode, mount: Mount) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in sorted(node.disk.files):
        if name.endswith(".db"):
            db = apsw.Connection(str(mount.folder / name), vfs=mount.vfs)
            found[f"{node.name}: {name}"] = str(db.pragma("integrity_check"))
            db.close()
    return found
