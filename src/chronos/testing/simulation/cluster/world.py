"""The world of a cluster: machines with an engine each, and the network between them."""

from __future__ import annotations

import asyncio
import random
from itertools import count
from pathlib import Path

from chronos.server.founding.keys import SHARED, make_keys
from chronos.testing.simulation.cluster.ledger import ClusterLedger
from chronos.testing.simulation.cluster.node import HAND_OVER_S, MemberLife, MemberNode
from chronos.testing.simulation.engine.cluster import SimEngine
from chronos.testing.simulation.engine.net import Net
from chronos.testing.simulation.node import SimLife, SimNode
from chronos.testing.simulation.profile import Profile
from chronos.testing.simulation.trace import Trace
from chronos.testing.simulation.world import World, configured
from chronos.timing.clock import SeededChance

ENGINE_AGAIN_S = 0.3
"""How soon an engine that has ended is started again."""


class ClusterWorld(World):
    """A world of several nodes. Clients and targets turn to any of them.

    Attributes:
        ending: The nodes are asked to stop, all of them: the engines stay, so that everybody can write to the end.
    """

    def __init__(self, seed: int, profile: Profile, nodes: int, folder: Path, trace: Trace) -> None:
        self._lives = count(1)
        self.ending = False
        self._keys = _keys(folder, random.Random(f"{seed}/keys"))
        self.members: list[MemberNode] = []
        super().__init__(seed, profile, nodes, folder, trace)
        self.ledger: ClusterLedger = ClusterLedger(self.evidence, trace, lambda: self.seconds, self.broken)
        self.net = Net(self.stream("network"))
        self.engine = SimEngine([node.name for node in self.members], self.net, self.stream("engine"))
        self.engine.on_crash = self._on_engine_crash
        self._choice = self.stream("choice of a node")

    def _node(self, number: int) -> SimNode:
        node = MemberNode(self, number, configured(**{"cluster.node_id": f"n{number}"}), self._keys)
        self.members.append(node)
        return node

    def next_life(self) -> int:
        """Return the number of the next process; no two have the same, on whichever machine."""
        return next(self._lives)

    def member(self, name: str) -> MemberNode:
        """Return a machine by its name."""
        return next(node for node in self.members if node.name == name)

    def alive(self) -> SimLife | None:
        """Return any life that serves, if one does."""
        serving = [node.alive for node in self.members if node.alive is not None]
        return self._choice.choice(serving) if serving else None

    def leader(self) -> MemberLife | None:
        """Return the life that takes commands in; of two that think so the one that has seen more."""
        leading = [life for node in self.members if (life := node.member) is not None and life.leads]
        return max(leading, key=_applied, default=None)

    async def end_engine(self, name: str) -> None:
        """End a member of the engine as SIGTERM does: it hands its lead over first."""
        member = self.engine.running.get(name)
        if member is None or self.ending:
            return
        others = [one for one in self.engine.running.values() if one is not member]
        if member.raft.leads and others:
            member.raft.hand_over(max(others, key=lambda one: one.disk.raft.last).disk.member.id)
            await asyncio.sleep(HAND_OVER_S)
        self.engine.crash(name)

    def restart_engine(self, name: str) -> None:
        """Start an engine again whose process has ended, unless its node has, too."""
        node = self.member(name)
        if node.member is not None:
            self.engine.start(name)

    def _on_engine_crash(self, name: str) -> None:
        self.trace.add("engine", f"{name} ended: {self.engine.panics[-1]}")
        self.loop.call_later(ENGINE_AGAIN_S, self.restart_engine, name)


def _applied(life: MemberLife) -> int:
    assert life.node is not None
    return life.node.truth.commands.applied


def _keys(folder: Path, draw: random.Random) -> Path:
    """Write the keys that all members share, as `cluster init` does; return the folder they lie in."""
    made = make_keys("", SeededChance(draw))
    place = folder / "shared"
    (place / "keys").mkdir(parents=True, mode=0o700)
    for name in SHARED:
        path = place / "keys" / name
        path.write_text(made[name])
        path.chmod(0o600)
    return place
