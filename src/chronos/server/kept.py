"""What targets answered and programs printed, on whichever node that was: read there, and handed on."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import structlog
from msgspec import Struct

from chronos.cluster.peers.net import PeerNet
from chronos.cluster.peers.wire import Call
from chronos.errors import ChronosError
from chronos.server.bodies import Bodies
from chronos.server.outputs import Outputs

log = structlog.get_logger("chronos.outputs")

WITHIN_S = 5.0


class AskKept(Struct, frozen=True, array_like=True):
    """What do you have of this attempt? Of what it printed, from byte `offset` on."""

    execution_id: str
    attempt: int
    offset: int = 0


class Kept(Struct, frozen=True, array_like=True):
    """What a node has of an attempt.

    Attributes:
        printed: At most a mebibyte; empty when there is no more.
        body: At most 64 KiB; None when none was kept.
    """

    printed: bytes = b""
    body: bytes | None = None


KEPT = Call("kept", AskKept, Kept, within_s=WITHIN_S)


class Found(NamedTuple):
    """What there is of an attempt; `missing` says, as a sentence, why there may be more."""

    kept: Kept
    missing: str = ""


class Keep:
    """What is kept of attempts, here and on the other nodes.

    Args:
        net: The others; None when there are none.
    """

    def __init__(self, node: str, bodies: Bodies, outputs: Outputs, net: PeerNet | None = None) -> None:
        self._node = node
        self._bodies = bodies
        self._outputs = outputs
        self._net = net
        if net is not None:
            net.on(KEPT, self._answer)

    async def read(self, where: str, execution_id: str, attempt: int, offset: int = 0) -> Found:
        """Return what is kept of an attempt; never raises.

        Args:
            where: The node, or incarnation, that ran it. One that is no member (a member had another name while it
                stood alone) is looked for among all.
        """
        own = await self._here(execution_id, attempt, offset)
        node = where.partition("#")[0]
        if own.printed or own.body is not None or self._net is None or node == self._node:
            return Found(own)
        others = self._net.others()
        asked = [node] if node in others else others
        answers = await asyncio.gather(*(self._there(one, AskKept(execution_id, attempt, offset)) for one in asked))
        for found in answers:
            if found.kept.printed or found.kept.body is not None:
                return found
        return next((found for found in answers if found.missing), Found(own))

    async def _here(self, execution_id: str, attempt: int, offset: int) -> Kept:
        printed = await self._outputs.read(execution_id, attempt, offset)
        return Kept(printed, self._bodies.read(execution_id, attempt))

    async def _there(self, node: str, asked: AskKept) -> Found:
        assert self._net is not None
        try:
            return Found(await self._net.call(node, KEPT, asked))
        except ChronosError as error:
            log.info("not_read_elsewhere", node=node, execution=asked.execution_id, reason=str(error))
            return Found(Kept(), f"More of it may lie on {node}, which cannot be asked now.")

    async def _answer(self, _: str, asked: AskKept) -> Kept:
        return await self._here(asked.execution_id, asked.attempt, max(0, asked.offset))
