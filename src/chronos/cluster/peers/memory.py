"""Peers in one process: for tests and simulation. Its wires can be cut, one direction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from chronos.cluster.peers.port import Peer, Placed
from chronos.errors import Unavailable

T = TypeVar("T")


class Wires:
    """What lies between the nodes. It outlives them.

    Args:
        latency: Seconds that the next message takes, one way; called once for each.

    Attributes:
        cut: Pairs (from, to) between which nothing arrives.
    """

    def __init__(self, *, latency: Callable[[], float] | None = None) -> None:
        self.cut: set[tuple[str, str]] = set()
        self._latency = latency
        self._nodes: dict[str, Peer] = {}
        self._left_s: dict[str, float] = {}

    def join(self, node: str, peer: Peer) -> None:
        """Let `peer` answer for `node` from now on."""
        self._nodes[node] = peer
        self._left_s.pop(node, None)

    def leave(self, node: str, peer: Peer) -> None:
        """Let nobody answer for `node`, unless somebody else does by now."""
        if self._nodes.get(node) is peer:
            del self._nodes[node]
            self._left_s[node] = asyncio.get_running_loop().time()

    def refused_s(self, frm: str, to: str) -> float:
        """Return for how long nobody has answered for `to`, as far as `frm` can be told."""
        left_s = self._left_s.get(to)
        if left_s is None or {(frm, to), (to, frm)} & self.cut:
            return 0.0
        return asyncio.get_running_loop().time() - left_s

    def isolate(self, node: str) -> None:
        """Cut every wire of `node`, both ways."""
        self.cut |= {pair for other in self._nodes for pair in ((node, other), (other, node)) if other != node}

    def heal(self) -> None:
        """Mend every wire."""
        self.cut.clear()

    async def carry(self, frm: str, to: str, ask: Callable[[Peer], Awaitable[T]]) -> T:
        """Ask `to` something on behalf of `frm`.

        Raises:
            Unavailable: The question or its answer was lost.
        """
        await self._pass(frm, to)
        peer = self._nodes.get(to)
        if peer is None or (frm, to) in self.cut:
            raise Unavailable(f"Node {to} cannot be reached from {frm}.", node=to)
        answer = await ask(peer)
        await self._pass(to, frm)
        if (to, frm) in self.cut:
            raise Unavailable(f"The answer of node {to} did not reach {frm}.", node=to)
        return answer

    async def _pass(self, frm: str, to: str) -> None:
        if self._latency is not None and frm != to:
            await asyncio.sleep(self._latency())


class MemoryPeers:
    """The peers of one node over `Wires`."""

    def __init__(self, wires: Wires, node: str) -> None:
        self._wires = wires
        self._node = node

    def at(self, node: str) -> Peer:
        return _FarEnd(self._wires, self._node, node)

    def refused_s(self, node: str) -> float:
        """See `Peers.refused_s`."""
        return self._wires.refused_s(self._node, node)


class _FarEnd:
    def __init__(self, wires: Wires, frm: str, to: str) -> None:
        self._wires = wires
        self._frm = frm
        self._to = to

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        return await self._wires.carry(self._frm, self._to, lambda peer: peer.forward(commands))

    async def renew(self, incarnation: str, seq: int) -> None:
        await self._wires.carry(self._frm, self._to, lambda peer: peer.renew(incarnation, seq))

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        return await self._wires.carry(self._frm, self._to, lambda peer: peer.recall(execution_ids, entry=entry))
