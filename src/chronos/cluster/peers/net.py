"""A node among its peers: its listener, and a connection to every other member."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from chronos.cluster.peers.caller import Caller
from chronos.cluster.peers.listener import PeerListener
from chronos.cluster.peers.roster import Address, Identity, Roster
from chronos.cluster.peers.session import Handler
from chronos.cluster.peers.tls import Credentials, TlsFiles
from chronos.cluster.peers.wire import Call, CallUnknown
from chronos.errors import PeerUnreachable
from chronos.timing.clock import Chance, Clock

Q = TypeVar("Q")
A = TypeVar("A")


class PeerNet:
    """This node among its peers. `async with`; whoever joins or leaves the roster is reached, or let go, at once.

    Raises:
        ConfigInvalid: The certificate cannot be used; on entering: nobody can listen there.
    """

    def __init__(
        self, own: Identity, listen: Address, roster: Roster, tls: TlsFiles, clock: Clock, chance: Chance
    ) -> None:
        self._own = own
        self._roster = roster
        self._chance = chance
        self._credentials = Credentials(tls, own, clock)
        self._handlers: dict[str, tuple[Call[Any, Any], Handler]] = {}
        self._listener = PeerListener(listen, own, roster, self._credentials, self._handlers, clock)
        self._callers: dict[str, tuple[Caller, asyncio.Task[None]]] = {}
        self._is_running = False
        roster.on_change(self._follow)

    async def __aenter__(self) -> Self:
        await self._listener.start()
        self._is_running = True
        self._follow()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_running = False
        tasks = [task for _, task in self._callers.values()]
        self._callers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._listener.stop()

    @property
    def address(self) -> Address:
        """Where this node listens; the port is the real one."""
        return self._listener.address

    def others(self) -> list[str]:
        """Return the names of the other members, in their order."""
        return [node for node in self._roster.names() if node != self._own.node]

    @property
    def not_after_s(self) -> float:
        """When this node's certificate ends, in seconds since the epoch."""
        return self._credentials.not_after_s

    def on(self, call: Call[Q, A], handler: Callable[[str, Q], Awaitable[A]]) -> None:
        """Have `handler` answer this call: it is given who asks, and what. A second one replaces the first.

        What it raises of `ChronosError` is raised where the question came from. It may be asked the same again by
        somebody who did not hear its answer, and is cancelled when nobody waits for the answer any more.
        """
        self._handlers[call.name] = (call, handler)

    async def call(self, node: str, call: Call[Q, A], question: Q, *, within_s: float | None = None) -> A:
        """Ask a member, this node itself included, and return its answer.

        Args:
            within_s: How long the answer may take, reaching the member included; None takes the call's own.

        Raises:
            PeerUnreachable: Nothing was sent, or there is no such member.
            PeerSilent: It was sent, and whether it was done is not known.
            Overloaded: Too much waits for this member already; nothing was sent.
            ChronosError: What the member answered, as it was raised there.
        """
        if node == self._own.node:
            return await self._own_answer(call, question, within_s)
        caller = self._callers.get(node)
        if caller is None:
            raise PeerUnreachable(f"`{node}` is no member of this cluster.")
        return await caller[0].call(call, question, within_s=within_s)

    def is_up(self, node: str) -> bool:
        """Whether a member could be asked just now; this node itself always can."""
        caller = self._callers.get(node)
        return node == self._own.node or (caller is not None and caller[0].is_up)

    def refused_s(self, node: str) -> float:
        """Return for how long a member's host has said that nobody listens there; see `Peers.refused_s`."""
        caller = self._callers.get(node)
        return caller[0].refused_s if caller is not None else 0.0

    def troubles(self) -> dict[str, str]:
        """Return, of every member that cannot be asked now, why not."""
        return {node: caller.trouble for node, (caller, _) in self._callers.items() if not caller.is_up}

    @asynccontextmanager
    async def lane(self, node: str) -> AsyncIterator[Caller]:
        """Yield a connection of its own to a member, for much: nothing else waits behind what goes over it."""
        caller = Caller(node, self._own, self._roster, self._credentials, self._chance)
        task = asyncio.get_running_loop().create_task(caller.run(), name=f"lane to {node}")
        try:
            yield caller
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _own_answer(self, call: Call[Q, A], question: Q, within_s: float | None) -> A:
        known = self._handlers.get(call.name)
        if known is None:
            raise CallUnknown(f"`{self._own.node}` does not know the call `{call.name}`.")
        answer: A = await known[1](self._own.node, question)
        return answer

    def _follow(self) -> None:
        """Keep a connection to every other member, and none to anybody else."""
        if not self._is_running:
            return
        wanted = {node for node in self._roster.names() if node != self._own.node}
        for node in self._callers.keys() - wanted:
            self._callers.pop(node)[1].cancel()
        for node in sorted(wanted - self._callers.keys()):
            caller = Caller(node, self._own, self._roster, self._credentials, self._chance)
            task = asyncio.get_running_loop().create_task(caller.run(), name=f"peer {node}")
            self._callers[node] = (caller, task)
