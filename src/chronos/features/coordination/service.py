"""Gives out the leases: one at a time for each resource, each with a higher token than the one before.

A grant and a return are in the log before they are answered. When a lease ends is known to this process alone: after a
start every lease that was not given back lasts as long as it may from then on, so that it is never given out twice.
"""

from __future__ import annotations

import asyncio
from typing import Self

from msgspec.structs import replace

from chronos.errors import LeaseLost, QuotaExceeded, Unprocessable
from chronos.features.coordination.line import Line, ask_again_ms
from chronos.features.coordination.model import (
    TTL_MAX_S,
    TTL_MIN_S,
    ClusterState,
    Lease,
    LeaseAsked,
    LeaseNamed,
    LeaseReturned,
    Node,
    NodeAsked,
    NodeRecord,
    Resource,
    Settings,
    Standing,
)
from chronos.features.coordination.nodes import Nodes
from chronos.plugin import Collection
from chronos.timing.clock import Clock, utc
from chronos.timing.duration import SECOND_US, parse_duration

FLOOR = "*"
"""The document, of no resource's name, that keeps the highest token of all that were forgotten."""

FLOOR_NAMESPACE = "default"
UNKNOWN_REVISION = -1


class _Resource:
    """One resource, and who waits for it.

    Attributes:
        is_sure: The document is what we think it is; not so after a write of which nobody knows whether it came.
    """

    def __init__(self, standing: Standing, ends_s: float, revision: int) -> None:
        self.standing = standing
        self.ends_s = ends_s
        self.revision = revision
        self.is_sure = True
        self.line = Line()
        self.turn = asyncio.Lock()

    def is_held(self, now_s: float) -> bool:
        return not self.standing.is_free and now_s < self.ends_s

    def is_idle(self, now_s: float) -> bool:
        return not self.is_held(now_s) and not self.turn.locked() and not self.line.nodes(now_s)

    def left_ms(self, now_s: float) -> int:
        return max(1, round((self.ends_s - now_s) * 1000)) if self.is_held(now_s) else 0


class Coordination:
    """The leases of every namespace. Enter it before it is asked: it reads what was kept."""

    def __init__(
        self, settings: Settings, resources: Collection[Standing], nodes: Collection[NodeRecord], clock: Clock
    ) -> None:
        self._documents = resources
        self._clock = clock
        self._max = settings.resources_max
        self._resources: dict[tuple[str, str], _Resource] = {}
        self._floor = 0
        self._making_room = asyncio.Lock()
        self.nodes = Nodes(nodes, clock, settings.nodes_max, self._is_holding)

    async def __aenter__(self) -> Self:
        await self.nodes.load()
        now_s = self._clock.boottime()
        for name, standing in await self._documents.items():
            if name == FLOOR:
                self._floor = standing.token
            else:
                ends_s = now_s + standing.ttl_us / SECOND_US
                self._resources[standing.namespace, name] = _Resource(standing, ends_s, UNKNOWN_REVISION)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Leases end by themselves."""

    async def register(self, namespace: str, node: str, asked: NodeAsked, by: str) -> Node:
        """Let a node take part; see `Nodes.register`."""
        return await self.nodes.register(namespace, node, asked, by)

    async def leave(self, namespace: str, node: str, by: str) -> None:
        """Let a node take part no longer; what it has is free."""
        self.nodes.check(namespace, node, by)
        for (space, name), resource in list(self._resources.items()):
            if space != namespace:
                continue
            resource.line.leave(node)
            if resource.standing.node == node and not resource.standing.is_free:
                async with resource.turn:
                    await self._write(resource, name, replace(resource.standing, is_free=True), by)
        await self.nodes.remove(namespace, node, by)

    async def ask(self, namespace: str, name: str, asked: LeaseAsked, by: str) -> Lease:
        """Grant the resource to a node whose turn it is, or say where in the line it is.

        Raises:
            NodeUnknown: The node is not registered.
            QuotaExceeded: There are as many resources as there may be, and each is in use.
        """
        self.nodes.check(namespace, asked.node, by)
        ttl_us = _ttl_us(asked.ttl)
        resource = await self._resource(namespace, name)
        async with resource.turn:
            await self._be_sure(resource, namespace, name)
            now_s, standing = self._clock.boottime(), resource.standing
            is_same = (standing.node, standing.request) == (asked.node, asked.request)
            if resource.is_held(now_s) and is_same:
                resource.ends_s = now_s + standing.ttl_us / SECOND_US
                return self._granted(name, resource)
            place = resource.line.join(asked.node, asked.request, asked.priority, now_s)
            if resource.is_held(now_s) or place > 1:
                return self._put_off(name, resource, place, now_s)
            await self._write(resource, name, self._grant(namespace, resource, asked, ttl_us), by)
            resource.ends_s = self._clock.boottime() + ttl_us / SECOND_US
            resource.line.leave(asked.node)
            return self._granted(name, resource)

    async def renew(self, namespace: str, name: str, named: LeaseNamed, by: str) -> Lease:
        """Let a lease last from now on as long as it may.

        Raises:
            LeaseLost: It has ended, was given back, or is not the newest one.
        """
        resource = self._held(namespace, name, named, by)
        async with resource.turn:
            await self._be_sure(resource, namespace, name)
            self._check(resource, name, named)
            resource.ends_s = self._clock.boottime() + resource.standing.ttl_us / SECOND_US
            return self._granted(name, resource)

    async def give_back(self, namespace: str, name: str, named: LeaseNamed, by: str) -> LeaseReturned:
        """Make a resource free. A lease that was given back already is no error.

        Raises:
            LeaseLost: It has ended, or is not the newest one.
        """
        resource = self._held(namespace, name, named, by)
        async with resource.turn:
            await self._be_sure(resource, namespace, name)
            standing = resource.standing
            if not (standing.is_free and (standing.node, standing.token) == (named.node, named.token)):
                self._check(resource, name, named)
                await self._write(resource, name, replace(standing, is_free=True), by)
            return LeaseReturned(resource=name, token=named.token)

    def state(self, namespace: str) -> ClusterState:
        """Return who takes part in a namespace, and who has what."""
        now_s = self._clock.boottime()
        return ClusterState(
            nodes=self.nodes.shown(namespace),
            resources=[
                _shown(name, resource, now_s)
                for (space, name), resource in sorted(self._resources.items(), key=lambda item: item[0])
                if space == namespace
            ],
        )

    def _is_holding(self, namespace: str, node: str) -> bool:
        now_s = self._clock.boottime()
        return any(
            one.standing.node == node and one.is_held(now_s)
            for (space, _), one in self._resources.items()
            if space == namespace
        )

    def _held(self, namespace: str, name: str, named: LeaseNamed, by: str) -> _Resource:
        self.nodes.check(namespace, named.node, by)
        resource = self._resources.get((namespace, name))
        if resource is None:
            raise LeaseLost(f"Nobody has `{name}`; ask for it anew.", token=0)
        return resource

    def _check(self, resource: _Resource, name: str, named: LeaseNamed) -> None:
        standing = resource.standing
        is_theirs = (standing.node, standing.token) == (named.node, named.token)
        if not is_theirs or not resource.is_held(self._clock.boottime()):
            raise LeaseLost(
                f"The lease {named.token} on `{name}` is over; the newest is {standing.token}. Ask for it anew.",
                token=standing.token,
            )

    def _grant(self, namespace: str, resource: _Resource, asked: LeaseAsked, ttl_us: int) -> Standing:
        # The wall clock's part keeps tokens rising where an old copy of the data was brought back.
        now_us = round(self._clock.time() * 1e6)
        token = max(resource.standing.token + 1, self._floor + 1, now_us // 1000)
        return Standing(
            namespace=namespace,
            token=token,
            node=asked.node,
            request=asked.request,
            ttl_us=ttl_us,
            granted_at_us=now_us,
            is_free=False,
        )

    def _granted(self, name: str, resource: _Resource) -> Lease:
        standing = resource.standing
        left_ms = resource.left_ms(self._clock.boottime())
        return Lease(resource=name, granted=True, token=standing.token, ends_in_ms=left_ms, holder=standing.node)

    def _put_off(self, name: str, resource: _Resource, place: int, now_s: float) -> Lease:
        left_ms = resource.left_ms(now_s)
        return Lease(
            resource=name,
            granted=False,
            ends_in_ms=left_ms,
            holder=resource.standing.node if left_ms else "",
            place=place,
            ask_again_ms=ask_again_ms(place, left_ms),
        )

    async def _write(self, resource: _Resource, name: str, standing: Standing, by: str) -> None:
        resource.is_sure = False
        resource.revision = await self._documents.put(
            name, standing, by=by, namespace=standing.namespace, expect=resource.revision
        )
        resource.standing, resource.is_sure = standing, True

    async def _be_sure(self, resource: _Resource, namespace: str, name: str) -> None:
        """Read anew what a write came to that was not answered; a lease it may have granted lasts its time."""
        if resource.is_sure:
            return
        found = await self._documents.get(name, namespace=namespace)
        resource.standing = found or Standing(namespace=namespace)
        resource.ends_s = self._clock.boottime() + resource.standing.ttl_us / SECOND_US
        resource.revision, resource.is_sure = UNKNOWN_REVISION, True

    async def _resource(self, namespace: str, name: str) -> _Resource:
        async with self._making_room:
            key = (namespace, name)
            if key not in self._resources:
                await self._make_room()
                self._resources[key] = _Resource(Standing(namespace=namespace), 0.0, 0)
            return self._resources[key]

    async def _make_room(self) -> None:
        """Forget a resource that nobody has or wants, the one granted longest ago, but not how high its tokens were."""
        if len(self._resources) < self._max:
            return
        now_s = self._clock.boottime()
        idle = [key for key, one in self._resources.items() if one.is_idle(now_s)]
        if not idle:
            raise QuotaExceeded(f"There are {self._max} resources in use, as many as there may be.")
        key = min(idle, key=lambda each: self._resources[each].standing.granted_at_us)
        forgotten = self._resources[key].standing
        if forgotten.token > self._floor:
            await self._documents.put(FLOOR, Standing(token=forgotten.token), by="chronos", namespace=FLOOR_NAMESPACE)
            self._floor = forgotten.token
        await self._documents.delete(key[1], by="chronos", namespace=key[0])
        del self._resources[key]


def _shown(name: str, resource: _Resource, now_s: float) -> Resource:
    standing, is_held = resource.standing, resource.is_held(now_s)
    return Resource(
        resource=name,
        token=standing.token,
        holder=standing.node if is_held else "",
        since=utc(standing.granted_at_us / 1e6) if is_held else None,
        ends_in_ms=resource.left_ms(now_s),
        waiting=resource.line.nodes(now_s),
    )


def _ttl_us(text: str) -> int:
    ttl_us = parse_duration(text)
    if not TTL_MIN_S * SECOND_US <= ttl_us <= TTL_MAX_S * SECOND_US:
        raise Unprocessable(f"`ttl` must lie between {TTL_MIN_S}s and {TTL_MAX_S // 3600}h.", field="ttl")
    return ttl_us
