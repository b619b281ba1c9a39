"""A member of a simulated cluster: a whole node, its engine on the same machine, and its peers over the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.readiness import until_taking_part
from chronos.cluster.etcd.takeover import TakeoverSettings
from chronos.cluster.peers.port import Peer, Placed
from chronos.cluster.port import Entry, Epoch
from chronos.errors import Unavailable
from chronos.server.assemble import House, Outside
from chronos.server.config import Config
from chronos.server.membership import Wiring
from chronos.testing.simulation.cluster.clock import DRIFT_MAX, DriftingClock
from chronos.testing.simulation.disk import Mount
from chronos.testing.simulation.node import SimLife, SimNode

if TYPE_CHECKING:
    from chronos.testing.simulation.cluster.world import ClusterWorld

T = TypeVar("T")

CLUSTER = "simulated"
ENGINE_READY_S = 30.0
RESET_S = 2.0
"""When a connection counts as lost on which nothing comes back."""
HAND_OVER_S = 0.1
_DARK = frozenset({"power_cut", "power_cut_all", "disk_lost"})
"""Whoever ends like this has a host that says nothing any more."""


class MemberLife(SimLife):
    """A process of a member; its engine is a child of it, and ends with it.

    Attributes:
        peer: What answers the others, while it listens.
    """

    def __init__(self, sim: MemberNode, number: int, mount: Mount) -> None:
        super().__init__(sim, number, mount)
        self.member = sim
        self.peer: Peer | None = None

    @property
    def leads(self) -> bool:
        """Whether it takes commands in."""
        return self.node is not None and not self.dead and bool(getattr(self.node.truth.commands, "leads", False))

    async def until_leads(self) -> None:
        """Return when it leads, as far as it knows itself."""
        assert self.node is not None
        assert self.node.membership is not None
        await self.node.membership.commands.until_led_by(self.member.name)

    def kill(self, by: str) -> None:
        was_dead = self.dead
        super().kill(by)
        if not was_dead:
            self.member.world.engine.crash(self.member.name)
            self.member.left_s = None if by in _DARK else self.member.world.seconds

    def _on_end(self, code: int | None) -> None:
        super()._on_end(code)
        self.member.left_s = self.member.world.seconds
        if not self.member.world.ending:
            self.member.world.engine.crash(self.member.name)

    def _outside(self) -> Outside:
        return replace(super()._outside(), wiring=self._wire)

    def _wire(self, house: House) -> Wiring:
        world = self.member.world
        return Wiring(
            "etcd",
            OverheardLog(self, house),
            _Peers(world, self.member.name),
            self._listen,
            {node.name: f"http://{node.name}.test" for node in world.members},
        )

    @asynccontextmanager
    async def _listen(self, peer: Peer) -> AsyncIterator[None]:
        self.peer = peer
        self.member.left_s = None
        try:
            yield
        finally:
            self.peer = None


class MemberNode(SimNode):
    """A machine of the cluster.

    Attributes:
        name: As the others know it.
        booting: Held while a process is started: there is one at a time.
        left_s: World second since when its host says that nobody listens; None while somebody does, and without power.
    """

    world: ClusterWorld

    def __init__(self, world: ClusterWorld, number: int, config: Config, keys: Path) -> None:
        super().__init__(world, number, config)
        self.name = f"n{number}"
        self.booting = asyncio.Lock()
        self.left_s: float | None = None
        draw = world.stream(f"drift {number}")
        self.clock = DriftingClock(world.begin, draw.uniform(-DRIFT_MAX, DRIFT_MAX), lambda: world.seconds)
        self.restored = keys
        self._keys = keys

    def _life(self, mount: Mount) -> MemberLife:
        return MemberLife(self, self.world.next_life(), mount)

    def lose_disk(self) -> None:
        """Begin anew on an empty disk, with the keys that all members share."""
        self.disk.files.clear()
        self.restored = self._keys

    @property
    def member(self) -> MemberLife | None:
        """Its process, ready or not; None when none lives."""
        life = self.life
        return life if isinstance(life, MemberLife) and not life.dead else None


class OverheardLog(EtcdLog):
    """The product's log on this machine's engine, which runs while the log is entered; overheard."""

    def __init__(self, life: MemberLife, house: House) -> None:
        sim, world = life.member, life.member.world
        super().__init__(
            [world.engine.endpoint(sim.name)],
            CLUSTER,
            node=sim.name,
            address=f"http://{sim.name}.test",
            takeover=TakeoverSettings(rank=sim.number - 1),
            clock=house.clock,
            chance=house.outside.chance,
            connect=world.engine.channel,
        )
        self._life = life
        self._world = world
        self._name = sim.name

    async def __aenter__(self) -> Self:
        self._world.engine.start(self._name)
        await until_taking_part(self.client, ENGINE_READY_S)
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, exc, trace)
        if not self._life.dead:
            await self._world.end_engine(self._name)

    async def append(self, index: int, data: bytes, epoch: Epoch) -> None:
        await super().append(index, data, epoch)
        if not self._life.dead:
            self._world.ledger.shown(Entry(index, epoch.id, data))

    async def tail(self, frm: int) -> AsyncIterator[Entry]:
        async for entry in super().tail(frm):
            self._hear(entry)
            yield entry

    async def follow(self, frm: int) -> AsyncGenerator[Entry, None]:
        async with aclosing(super().follow(frm)) as entries:
            async for entry in entries:
                self._hear(entry)
                yield entry

    def _hear(self, entry: Entry) -> None:
        if not self._life.dead:
            self._world.ledger.shown(entry)


class _Peers:
    """The others, over the network."""

    def __init__(self, world: ClusterWorld, own: str) -> None:
        self._world = world
        self._own = own

    def at(self, node: str) -> Peer:
        return _FarEnd(self._world, self._own, node)

    def refused_s(self, node: str) -> float:
        """See `Peers.refused_s`: the host says that nobody listens, as long as it is reached and has power."""
        far, cut = self._world.member(node), self._world.net.cut
        if far.left_s is None or (self._own, node) in cut or (node, self._own) in cut:
            return 0.0
        return self._world.seconds - far.left_s


class _FarEnd:
    """Another node. What is asked of it runs in its process, and dies with that."""

    def __init__(self, world: ClusterWorld, own: str, far: str) -> None:
        self._world = world
        self._own = own
        self._far = far

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        return await self._ask(lambda peer: _coroutine(peer.forward(commands)))

    async def renew(self, incarnation: str, seq: int) -> None:
        await self._ask(lambda peer: _coroutine(peer.renew(incarnation, seq)))

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        return await self._ask(lambda peer: _coroutine(peer.recall(execution_ids, entry=entry)))

    async def _ask(self, question: Callable[[Peer], Coroutine[Any, Any, T]]) -> T:
        await self._pass(self._own, self._far)
        life = self._world.member(self._far).member
        if life is None or life.peer is None:
            raise Unavailable(f"Node {self._far} does not listen.", node=self._far)
        task = life.run(question(life.peer))
        task.add_done_callback(_heard_by_nobody)
        gone = asyncio.create_task(life.ended.wait())
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not task.done() or task.cancelled():
            raise Unavailable(f"The connection to node {self._far} broke.", node=self._far)
        await self._pass(self._far, self._own)
        return task.result()

    async def _pass(self, frm: str, to: str) -> None:
        """Let a message through; TCP sends one that was lost again, and gives up after a while."""
        net = self._world.net
        again_s = 0.0
        while net.loses(frm, to):
            again_s += max(0.2, again_s)
            if again_s > RESET_S:
                await asyncio.sleep(RESET_S)
                raise Unavailable(f"Nothing comes back from node {self._far}.", node=self._far)
        await asyncio.sleep(again_s + net.latency())


def _coroutine(asked: Awaitable[T]) -> Coroutine[Any, Any, T]:
    assert isinstance(asked, Coroutine)
    return asked


def _heard_by_nobody(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
