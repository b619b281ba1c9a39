"""Implements `Peers` over a `PeerNet`, and answers the others with this node's own `Peer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.port import Peer, Placed
from chronos.cluster.peers.wire import Call
from chronos.errors import Invalid

COMMANDS_BYTES_MAX = 1 << 20
WITHIN_S = 30.0
"""Whoever asks has a deadline of its own, and cancels; this is for who has none."""


class Forward(Struct, frozen=True, array_like=True):
    """See `Peer.forward`."""

    commands: list[bytes]


class Renew(Struct, frozen=True, array_like=True):
    """See `Peer.renew`."""

    incarnation: str
    seq: int


class Recall(Struct, frozen=True, array_like=True):
    """See `Peer.recall`."""

    execution_ids: list[str]
    entry: int


FORWARD = Call("forward", Forward, Placed, within_s=WITHIN_S)
RENEW = Call("renew", Renew, bool, within_s=WITHIN_S)
RECALL = Call("recall", Recall, dict[str, str], within_s=WITHIN_S)


class RemotePeers:
    """The other nodes, over the network."""

    def __init__(self, net: PeerNet) -> None:
        self._net = net

    def at(self, node: str) -> Peer:
        return _FarEnd(self._net, node)

    def refused_s(self, node: str) -> float:
        """See `Peers.refused_s`."""
        return self._net.refused_s(node)


class _FarEnd:
    def __init__(self, net: PeerNet, node: str) -> None:
        self._net = net
        self._node = node

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        size = sum(map(len, commands))
        if size > COMMANDS_BYTES_MAX:
            raise Invalid(f"{size} bytes of commands are too many to be forwarded; at most {COMMANDS_BYTES_MAX}.")
        return await self._net.call(self._node, FORWARD, Forward(list(commands)))

    async def renew(self, incarnation: str, seq: int) -> None:
        await self._net.call(self._node, RENEW, Renew(incarnation, seq))

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        return await self._net.call(self._node, RECALL, Recall(list(execution_ids), entry))


def answer_with(peer: Peer, net: PeerNet) -> None:
    """Let `peer` answer what other nodes ask this one."""

    async def forward(_: str, asked: Forward) -> Placed:
        return await peer.forward(asked.commands)

    async def renew(by: str, asked: Renew) -> bool:
        await peer.renew(_own(by, asked.incarnation), asked.seq)
        return True

    async def recall(_: str, asked: Recall) -> dict[str, str]:
        return dict(await peer.recall(asked.execution_ids, entry=asked.entry))

    net.on(FORWARD, forward)
    net.on(RENEW, renew)
    net.on(RECALL, recall)


def _own(by: str, incarnation: str) -> str:
    """A node vouches for its own life and for nobody else's.

    Raises:
        Invalid: It is another node's incarnation.
    """
    if incarnation.partition("#")[0] != by:
        raise Invalid(f"`{by}` cannot vouch for `{incarnation[:100]}`.")
    return incarnation
