"""Connections kept for the next request: the one used last goes first, and nothing is searched.

The library's own pool looks at every connection and request for each request, which costs milliseconds with a
few hundred in flight; here a request costs the same with ten thousand.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpcore2

from chronos.dispatch.http.url import HttpUrl

Key = tuple[str, bool]
Connection = httpcore2.AsyncHTTPConnection


class Kept(NamedTuple):
    """Where a kept connection belongs, and the how manieth it was that was kept."""

    key: Key
    number: int


class Pool:
    """Connections by origin and by whether trust is checked. No proxy, no environment, HTTP/1.1.

    Args:
        backend: Makes the connections; every one of them.
        contexts: TLS contexts, with and without checking.
        idle_max: Connections kept at a time, over all origins.
        idle_s: How long one is kept.
    """

    def __init__(
        self,
        backend: httpcore2.AsyncNetworkBackend,
        contexts: dict[bool, ssl.SSLContext],
        *,
        idle_max: int,
        idle_s: float,
    ) -> None:
        self._backend = backend
        self._contexts = contexts
        self._idle_max = idle_max
        self._idle_s = idle_s
        self._idle: dict[Key, deque[Connection]] = {}
        self._oldest: OrderedDict[Connection, Kept] = OrderedDict()
        self._numbers = 0
        self._sweeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def answering(
        self, url: HttpUrl, request: httpcore2.Request, *, verify: bool
    ) -> AsyncIterator[httpcore2.Response]:
        """Send `request` and yield its answer, whose body is still to be read; what is left unread is not read."""
        key = (url.origin, verify)
        connection = await self._take(key) or self._connection(url, verify=verify)
        try:
            response = await connection.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
                if _is_framed_twice(response):
                    await connection.aclose()
        finally:
            await self._give_back(key, connection)

    async def aclose(self) -> None:
        """Close what is kept. May be called twice."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        while self._oldest:
            await self._close_oldest()

    async def _take(self, key: Key) -> Connection | None:
        # Bounded by what is kept: every turn takes one out.
        while kept := self._idle.get(key):
            connection = kept.pop()
            self._forget(key, connection)
            if connection.is_available() and not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def _give_back(self, key: Key, connection: Connection) -> None:
        if connection.is_available():
            self._idle.setdefault(key, deque()).append(connection)
            self._numbers += 1
            self._oldest[connection] = Kept(key, self._numbers)
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.create_task(self._sweep())
        while self._oldest and (len(self._oldest) > self._idle_max or next(iter(self._oldest)).has_expired()):
            await self._close_oldest()

    async def _sweep(self) -> None:
        """Close what nobody has asked for in time, also when no request comes any more; ends when nothing is kept."""
        while self._oldest:
            newest = self._numbers
            await asyncio.sleep(self._idle_s)
            # What was taken and given back meanwhile has a higher number.
            while self._oldest and next(iter(self._oldest.values())).number <= newest:
                await self._close_oldest()

    async def _close_oldest(self) -> None:
        connection, kept = next(iter(self._oldest.items()))
        self._idle[kept.key].remove(connection)  # at its left end: within an origin, too, it is the oldest
        self._forget(kept.key, connection)
        await connection.aclose()

    def _forget(self, key: Key, connection: Connection) -> None:
        del self._oldest[connection]
        if not self._idle[key]:
            del self._idle[key]

    def _connection(self, url: HttpUrl, *, verify: bool) -> Connection:
        return httpcore2.AsyncHTTPConnection(
            origin=httpcore2.Origin(url.scheme.encode(), url.host.encode(), url.port),
            ssl_context=self._contexts[verify],
            keepalive_expiry=self._idle_s,
            network_backend=self._backend,
        )


def _is_framed_twice(response: httpcore2.Response) -> bool:
    """Whether an answer has both a length and chunks: nobody knows where it ends, so nothing may follow it.

    Source: RFC 9112, section 6.3.
    """
    names = {name.lower() for name, _ in response.headers}
    return {b"content-length", b"transfer-encoding"} <= names
