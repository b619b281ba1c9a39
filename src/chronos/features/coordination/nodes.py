"""Who takes part: registered once, kept across starts, forgotten when long silent and in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from chronos.errors import Denied, NodeUnknown, QuotaExceeded
from chronos.features.coordination.model import Node, NodeAsked, NodeRecord
from chronos.plugin import Collection
from chronos.timing.clock import Clock, utc

SILENT_S = 600.0
"""A node that has asked for nothing for so long makes room for another when there is none."""

TAKEN_S = 60.0
"""A node's name can be taken over by another principal when nobody has used it for so long."""


@dataclass
class _Known:
    record: NodeRecord
    seen_s: float


class Nodes:
    """The nodes of every namespace.

    Args:
        is_holding: Says whether a node of a namespace has a lease.
    """

    def __init__(
        self,
        documents: Collection[NodeRecord],
        clock: Clock,
        nodes_max: int,
        is_holding: Callable[[str, str], bool],
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._max = nodes_max
        self._is_holding = is_holding
        self._known: dict[tuple[str, str], _Known] = {}
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Read what was kept; every node counts as seen now."""
        now_s = self._clock.boottime()
        for node, record in await self._documents.items():
            self._known[record.namespace, node] = _Known(record, now_s)

    def check(self, namespace: str, node: str, by: str) -> None:
        """Take note that a node asks for something.

        Raises:
            NodeUnknown: It is not registered.
            Denied: It belongs to another principal.
        """
        known = self._known.get((namespace, node))
        if known is None:
            raise NodeUnknown(f"There is no node `{node}`; register it first.", node=node)
        if known.record.by != by:
            raise Denied(f"The node `{node}` was registered by another caller.", node=node)
        known.seen_s = self._clock.boottime()

    async def register(self, namespace: str, node: str, asked: NodeAsked, by: str) -> Node:
        """Let a node take part, or change what is known of it.

        Raises:
            Denied: The name is in use by another principal.
            QuotaExceeded: There are as many as there may be, and none of them is long silent.
        """
        async with self._writing:
            known = self._known.get((namespace, node))
            if known is None:
                await self._make_room()
            elif known.record.by != by and not self._is_idle(namespace, node, TAKEN_S):
                raise Denied(f"The node `{node}` was registered by another caller; name this one otherwise.", node=node)
            before_us = known.record.registered_at_us if known and known.record.by == by else None
            record = NodeRecord(
                namespace=namespace,
                by=by,
                registered_at_us=before_us or round(self._clock.time() * 1e6),
                location=asked.location,
                tags=asked.tags,
            )
            if known is None or known.record != record:
                await self._documents.put(node, record, by=by, namespace=namespace)
            self._known[namespace, node] = _Known(record, self._clock.boottime())
            return self._shown(node, self._known[namespace, node])

    async def remove(self, namespace: str, node: str, by: str) -> None:
        """Forget a node."""
        async with self._writing:
            await self._forget(namespace, node, by)

    def shown(self, namespace: str) -> list[Node]:
        """Return the nodes of a namespace, by name."""
        return [self._shown(node, one) for (space, node), one in sorted(self._known.items()) if space == namespace]

    async def _make_room(self) -> None:
        if len(self._known) < self._max:
            return
        (namespace, node), _ = min(self._known.items(), key=lambda item: item[1].seen_s)
        if not self._is_idle(namespace, node, SILENT_S):
            raise QuotaExceeded(f"There are {self._max} nodes, as many as there may be: `coordination.nodes_max`.")
        await self._forget(namespace, node, "chronos")

    async def _forget(self, namespace: str, node: str, by: str) -> None:
        await self._documents.delete(node, by=by, namespace=namespace)
        self._known.pop((namespace, node), None)

    def _is_idle(self, namespace: str, node: str, silent_s: float) -> bool:
        silence_s = self._clock.boottime() - self._known[namespace, node].seen_s
        return silence_s >= silent_s and not self._is_holding(namespace, node)

    def _shown(self, node: str, known: _Known) -> Node:
        silence_s = self._clock.boottime() - known.seen_s
        return Node(
            node=node,
            location=known.record.location,
            tags=known.record.tags,
            registered_at=utc(known.record.registered_at_us / 1e6),
            seen_at=utc(self._clock.time() - silence_s),
        )
