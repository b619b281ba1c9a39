"""What a client sees of a member: as much of `grpc.aio` as `chronos.cluster.etcd.client` uses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from google.protobuf.message import Message

from chronos.cluster.etcd import rpc_pb2 as pb
from chronos.testing.simulation.engine.member import Member, Watcher
from chronos.testing.simulation.engine.store import Answer, Refusal

if TYPE_CHECKING:
    from chronos.testing.simulation.engine.cluster import SimEngine

HOP_S = (0.0001, 0.0004)
"""How long a message takes between a process and the member on the same machine."""
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class SimChannel:
    """A channel to the member of one machine, whichever process that is at the moment."""

    def __init__(self, engine: SimEngine, name: str) -> None:
        self._engine = engine
        self._name = name

    def unary_unary(self, method: str, **serializers: object) -> Callable[..., Awaitable[Answer]]:
        """Return what asks once: a coroutine of (request, timeout=seconds)."""
        return partial(self._ask, method)

    def stream_stream(self, method: str, **serializers: object) -> Callable[..., SimWatch]:
        """Return what opens a watch."""
        return partial(SimWatch, self)

    async def close(self) -> None:
        """There is no connection to close."""

    @property
    def member(self) -> Member | None:
        """The process that is there now."""
        return self._engine.running.get(self._name)

    def hop(self) -> float:
        """Return how long the next message takes, in seconds."""
        low, high = HOP_S
        return low + (high - low) * self._engine.draw.random()

    async def _ask(self, path: str, request: Message, timeout: float) -> Answer:  # as gRPC has it
        loop = asyncio.get_running_loop()
        member = self.member
        if member is None:
            raise failed(_UNAVAILABLE, "connection refused")
        heard: asyncio.Future[Answer] = loop.create_future()
        forgets: list[Callable[[], None]] = []

        def answered(answer: Answer | Refusal) -> None:
            loop.call_later(self.hop(), _hear, heard, answer, member)

        def arrive() -> None:
            if not member.dead and not heard.done():
                forgets.append(member.take(path, request, answered))

        loop.call_later(self.hop(), arrive, context=member.context)
        deadline = loop.call_later(timeout, _fail, heard, grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        member.connected[heard] = partial(_fail, heard, _UNAVAILABLE, "Socket closed")
        try:
            return await heard
        finally:
            deadline.cancel()
            member.connected.pop(heard, None)
            for forget in forgets:
                forget()


def _hear(heard: asyncio.Future[Answer], answer: Answer | Refusal, member: Member) -> None:
    if heard.done() or member.dead:
        return
    if isinstance(answer, Refusal):
        heard.set_exception(failed(answer.code, answer.details))
    else:
        heard.set_result(answer)


def _fail(heard: asyncio.Future[Answer], code: grpc.StatusCode, details: str) -> None:
    if not heard.done():
        heard.set_exception(failed(code, details))


def failed(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """Return the error that gRPC raises."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


class SimWatch:
    """A stream of one watch. Without `hasleader` it is silent for as long as its member has no quorum."""

    def __init__(self, channel: SimChannel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._channel = channel
        self._has_leader = ("hasleader", "true") in metadata
        self._member: Member | None = channel.member
        self._on_its_way: deque[pb.WatchResponse] = deque()
        self._come: deque[pb.WatchResponse] = deque()
        self._news = asyncio.Event()
        self._ended = ""
        self._watcher: Watcher | None = None

    async def write(self, request: pb.WatchRequest) -> None:
        """Begin the watch."""
        member = self._member
        if member is None:
            raise failed(_UNAVAILABLE, "connection refused")
        watcher = self._watcher = Watcher(request.create_request, self._tell)
        member.connected[self] = partial(self._end, "Socket closed")
        loop = asyncio.get_running_loop()

        def arrive() -> None:
            if not member.dead and not watcher.gone:
                member.watch(watcher)
                if self._has_leader:
                    member.watch_leader(self._end)

        loop.call_later(self._channel.hop(), arrive, context=member.context)

    def _tell(self, response: pb.WatchResponse) -> None:
        self._on_its_way.append(response)
        asyncio.get_running_loop().call_later(self._channel.hop(), self._arrive)

    def _arrive(self) -> None:
        self._come.append(self._on_its_way.popleft())  # in order, whichever of two calls comes first
        self._news.set()

    def _end(self, why: str) -> None:
        self._ended = why
        self._news.set()

    async def read(self) -> pb.WatchResponse:
        """Return the next message."""
        while not self._come:
            if self._ended:
                raise failed(_UNAVAILABLE, self._ended)
            if self._member is None or self._member.dead:
                raise failed(_UNAVAILABLE, "Socket closed")
            self._news.clear()
            await self._news.wait()
        return self._come.popleft()

    def cancel(self) -> None:
        """End it."""
        if self._watcher is not None:
            self._watcher.gone = True
        if self._member is not None:
            self._member.watch_leader_no_more(self._end)
            self._member.connected.pop(self, None)
