"""The API process's side of a request that it passes on to main."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chronos.errors import Overloaded, Unavailable
from chronos.server.gate import Message, Receive, Scope, Send
from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import Answered, Begun, Piece, Request, read_answered

WAYS_MAX = 512
"""How many requests main may have from this process at a time; a client that follows a log holds one."""

IDLE_MAX = 64
WAIT_S_MAX = 5.0
BEGIN_S_MAX = 600.0
"""Nothing in main takes longer before it begins to answer: `trigger?wait=` ends after a minute."""

HEALTH_S_MAX = 3.0
FIRST_BYTES = 64 * 1024
HEALTH = frozenset({"/health", "/healthz", "/ready", "/readyz"})


class MainGone(Unavailable):
    """The main process does not answer. What a write came to is not known; repeat it with its `Idempotency-Key`."""


class Ways:
    """The connections to main, kept for the next request. Bounded, and so is every wait."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(WAYS_MAX)

    async def forward(self, scope: Scope, receive: Receive, send: Send, *, body: bytes | None = None) -> None:
        """Let main answer a request, and pass its answer on as it is.

        Args:
            body: The request's body, when it was read already.

        Raises:
            MainGone: Nothing was answered yet. An answer that breaks off later leaves `send` without its end.
            Overloaded: Main has as many requests of this process as it may have.
        """
        begin = (body, False) if body is not None else await _first(receive)
        if begin is None:
            return  # the client has left in the middle of its request
        first, more = begin
        async with self._way() as way:
            way.put(frame(_request(scope, first, more=more)))
            whole = await self._pass(way, scope, receive, send, more=more)
            if whole and len(self._idle) < IDLE_MAX:
                self._idle.append(way)
            else:
                way.abort()

    async def _pass(self, way: Connection, scope: Scope, receive: Receive, send: Send, *, more: bool) -> bool:
        """Return whether both the request and its answer went through whole."""
        rest = asyncio.create_task(_upload(way, receive)) if more else None
        leaving = None
        try:
            answer = await _begin(way, HEALTH_S_MAX if scope["path"] in HEALTH else BEGIN_S_MAX)
            if answer.more and rest is None:
                leaving = asyncio.create_task(_abort_when_left(way, receive))
            whole = await _download(way, answer, send)
            return whole and (rest is None or rest.done())
        finally:
            for task in (rest, leaving):
                if task is not None:
                    task.cancel()

    @asynccontextmanager
    async def _way(self) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                await self._free.acquire()
        except TimeoutError:
            raise Overloaded("Too many requests wait for an answer; ask again in a moment.", retry_after=1) from None
        way: Connection | None = None
        try:
            way = await self._connected()
            yield way
        except BaseException:
            if way is not None:
                way.abort()
            raise
        finally:
            self._free.release()

    async def _connected(self) -> Connection:
        while self._idle:
            way = self._idle.pop()
            if not way.lost.is_set():
                return way
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                _, way = await asyncio.get_running_loop().create_unix_connection(Connection, str(self._path))
        except (OSError, TimeoutError):
            raise MainGone from None
        return way

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()


def _request(scope: Scope, body: bytes, *, more: bool) -> Request:
    # What the main process has to know beyond the request itself travels beside it and not among its headers:
    # there is no header by which a client could say it.
    return Request(
        scope["method"],
        scope["path"],
        scope.get("raw_path") or b"",
        scope["query_string"],
        [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        scope.get("scheme", "http"),
        body,
        more,
    )


async def _first(receive: Receive) -> tuple[bytes, bool] | None:
    """Return the beginning of the body, most often all of it, and whether more follows; None when nobody is there."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        found += message.get("body", b"")
        more = message.get("more_body", False)
        if not more or len(found) >= FIRST_BYTES:
            return bytes(found), more


async def _upload(way: Connection, receive: Receive) -> None:
    """Pass the rest of a request's body on, no faster than main takes it."""
    more = True
    while more and not way.lost.is_set():
        message = await receive()
        if message["type"] == "http.disconnect":
            way.abort()
            return
        more = message.get("more_body", False)
        way.put(frame(Piece(message.get("body", b""), more)))
        await way.drained()


async def _abort_when_left(way: Connection, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    way.abort()


async def _begin(way: Connection, seconds: float) -> Begun:
    try:
        async with asyncio.timeout(seconds):
            raw = await way.get()
    except TimeoutError:
        raise MainGone from None
    if raw is None:
        raise MainGone
    answer: Answered = read_answered(raw)
    assert isinstance(answer, Begun), "an answer begins with its status"
    return answer


async def _download(way: Connection, begun: Begun, send: Send) -> bool:
    """Pass an answer on, no faster than the client takes it; return whether it came whole."""
    await send({"type": "http.response.start", "status": begun.status, "headers": begun.headers})
    answer: Begun | Piece = begun
    while True:
        message: Message = {"type": "http.response.body", "body": answer.body, "more_body": answer.more}
        await send(message)
        if not answer.more:
            return True
        raw = await way.get()
        if raw is None:
            return False
        answer = read_answered(raw)
