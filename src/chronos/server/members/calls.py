"""What nodes ask each other about membership."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.wire import Call
from chronos.cluster.port import EngineMember, EngineMembers

HandOver = Callable[[str], Awaitable[None]]
"""Ends this node's term in favour of a node."""


class AskEngines(Struct, frozen=True, array_like=True):
    """Who are the members of the engine?"""


class AskHandOver(Struct, frozen=True, array_like=True):
    """Let this node lead the log instead of you."""

    to: str


class AskEngineHandOver(Struct, frozen=True, array_like=True):
    """If your engine leads the others, let this one do so."""

    engine_id: str


ENGINES = Call("engines", AskEngines, list[EngineMember], within_s=5.0)
HAND_OVER = Call("hand-over", AskHandOver, bool, within_s=10.0)
HAND_OVER_ENGINE = Call("hand-over-engine", AskEngineHandOver, bool, within_s=3.0)


class Colleagues(Protocol):
    """The members, asked to hand over. This node itself may be asked, too."""

    def answer_with(self, hand_over: HandOver) -> None:
        """From now on this node hands over like this when it is asked."""
        ...

    async def hand_over(self, node: str, to: str) -> None:
        """Have `node`, which leads, hand the lead to `to`.

        Raises:
            NotLeader: It does not lead.
            Unavailable: It cannot be asked, or could not do it.
        """
        ...

    async def hand_over_engine(self, node: str, engine_id: str) -> bool:
        """Have the engine beside `node` hand over, if it leads; return whether it led. Raises `Unavailable`."""
        ...


class RemoteColleagues:
    """The members over the network; answers them for this node, too.

    Args:
        engines: None where the engine is somebody else's.
    """

    def __init__(self, net: PeerNet, engines: EngineMembers | None) -> None:
        self._net = net
        self._engines = engines
        if engines is not None:
            net.on(ENGINES, self._say_engines)
            net.on(HAND_OVER_ENGINE, self._hand_over_engine)

    def answer_with(self, hand_over: HandOver) -> None:
        async def answer(_: str, asked: AskHandOver) -> bool:
            await hand_over(asked.to)
            return True

        self._net.on(HAND_OVER, answer)

    async def hand_over(self, node: str, to: str) -> None:
        await self._net.call(node, HAND_OVER, AskHandOver(to))

    async def hand_over_engine(self, node: str, engine_id: str) -> bool:
        return await self._net.call(node, HAND_OVER_ENGINE, AskEngineHandOver(engine_id))

    async def _say_engines(self, _: str, asked: AskEngines) -> list[EngineMember]:
        assert self._engines is not None
        return await self._engines.all()

    async def _hand_over_engine(self, _: str, asked: AskEngineHandOver) -> bool:
        assert self._engines is not None
        return await self._engines.hand_over(asked.engine_id)
