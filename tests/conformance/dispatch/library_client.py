"""The same port on a library: slower, written by others, and so a second opinion on what an answer means.

Chronos delivered with it until its own client took its place; nothing but tests and benchmarks uses it now.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore2

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http import HttpSettings
from chronos.dispatch.http.answer import WIRE_BYTES_MAX, AnswerTooLarge, BodyReader, HeadWatch, NotHttp
from chronos.dispatch.http.dispatcher import tls_contexts
from chronos.dispatch.http.exchange import (
    Asked,
    Asker,
    BrokenOff,
    ConnectFailed,
    Malformed,
    Read,
    StaleConnection,
    TlsFailed,
    Unanswered,
    Wanted,
)
from chronos.dispatch.http.reader import ANSWER_BYTES_MAX
from chronos.dispatch.http.url import HttpUrl
from chronos.timing.clock import Clock

PIECE_BYTES = 16 * 1024
TURN_PIECES = 256

Stream = httpcore2.AsyncNetworkStream
Pooled = httpcore2.AsyncHTTPConnection


class Stale(httpcore2.ReadError):
    """A connection that had been used before was closed without one byte of an answer."""


class Untrusted(httpcore2.ConnectError):
    """The connection was made, but no trust was found."""


class Exchange:
    """Implements `Asked` with a task."""

    def __init__(self, exchange: Coroutine[Any, Any, Read], asker: Asker) -> None:
        self._asker = asker
        self._task = asyncio.get_running_loop().create_task(exchange)
        self._task.add_done_callback(self._tell)

    def stop(self) -> None:
        self._task.remove_done_callback(self._tell)
        self._task.cancel()

    def _tell(self, task: asyncio.Task[Read]) -> None:
        failure = task.exception()
        if failure is None:
            self._asker.answered(task.result())
        else:
            self._asker.failed(failure)


class LibraryClient:
    """An `HttpClient` on httpcore2."""

    def __init__(self, guard: EgressGuard, clock: Clock, settings: HttpSettings | None = None) -> None:
        self._settings = settings or HttpSettings()
        self._contexts = tls_contexts(self._settings)
        self._backend = VettedBackend(guard, clock)
        self._idle: dict[tuple[str, bool], deque[Pooled]] = {}

    def ask(self, wanted: Wanted, asker: Asker) -> Asked:
        """See `HttpClient.ask`."""
        return Exchange(self.exchange(wanted), asker)

    async def exchange(self, wanted: Wanted) -> Read:
        """Return the answer, or raise why there is none."""
        try:
            return await self._exchange(wanted)
        except NotHttp as wrong:
            raise Malformed(f"the answer is not HTTP/1: {wrong}") from None
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as failed:
            raise unanswered(failed) from None

    def warm(self, url: HttpUrl, count: int, *, verify: bool) -> None:
        """The library makes connections as it needs them."""

    async def aclose(self) -> None:
        """See `HttpClient.aclose`."""
        for kept in self._idle.values():
            while kept:
                await kept.pop().aclose()

    async def _exchange(self, wanted: Wanted) -> Read:
        async with self._answering(wanted) as response:
            stream = response.extensions["network_stream"]
            if isinstance(stream, WatchedStream) and not stream.has_answered:
                raise httpcore2.RemoteProtocolError("it came before it was asked for")
            return await read_of(response)

    @asynccontextmanager
    async def _answering(self, wanted: Wanted) -> AsyncIterator[httpcore2.Response]:
        kept = self._idle.setdefault((wanted.url.origin, wanted.verify), deque())
        connection = await self._take(kept) or self._connection(wanted.url, verify=wanted.verify)
        try:
            response = await connection.handle_async_request(self._request(wanted))
            try:
                yield response
            finally:
                await response.aclose()
                if {b"content-length", b"transfer-encoding"} <= {name.lower() for name, _ in response.headers}:
                    await connection.aclose()
        finally:
            if connection.is_available():
                kept.append(connection)

    async def _take(self, kept: deque[Pooled]) -> Pooled | None:
        while kept:
            connection = kept.pop()
            if connection.is_available() and not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    def _request(self, wanted: Wanted) -> httpcore2.Request:
        head, _, body = wanted.wire.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        url = wanted.url
        return httpcore2.Request(
            wanted.method,
            httpcore2.URL(
                scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()
            ),
            headers=[(name, value) for name, _, value in lines],
            content=body,
            extensions={"timeout": {"connect": self._settings.connect_timeout_s}},
        )

    def _connection(self, url: HttpUrl, *, verify: bool) -> Pooled:
        return httpcore2.AsyncHTTPConnection(
            origin=httpcore2.Origin(url.scheme.encode(), url.host.encode(), url.port),
            ssl_context=self._contexts[verify],
            keepalive_expiry=self._settings.idle_s,
            network_backend=self._backend,
        )


async def read_of(response: httpcore2.Response) -> Read:
    """Read an answer's body within the limits."""
    body = BodyReader(joined(response, b"content-encoding").lower())
    try:
        async for piece in response.aiter_stream():
            body.feed(piece)
            if body.full:
                break
            if body.pieces % TURN_PIECES == 0:
                await asyncio.sleep(0)
    except (httpcore2.NetworkError, httpcore2.ProtocolError, AnswerTooLarge):
        body.notes.append("body cut: the connection broke off or its framing is wrong")
    return Read(response.status, joined(response, b"location"), values(response, b"retry-after"), body)


class VettedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to what the guard has vetted, address by address; look-up and handshake share one connect timeout."""

    def __init__(self, guard: EgressGuard, clock: Clock) -> None:
        self._guard = guard
        self._clock = clock
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Stream:
        assert timeout is not None
        ends = self._clock.boottime() + timeout
        addresses = await self._guard.vetted(host, port)
        failure: Exception = httpcore2.ConnectTimeout(f"no time was left to connect to {host}")
        for n, address in enumerate(addresses):
            left = ends - self._clock.boottime()
            try:
                stream = await self._network.connect_tcp(address, port, left / (len(addresses) - n))
            except httpcore2.ConnectTimeout as silent:
                failure = silent
            except httpcore2.ConnectError as failed:
                failure = httpcore2.ConnectError(connect_words(failed))
            else:
                return WatchedStream(stream, lambda: ends - self._clock.boottime())
        raise failure


class WatchedStream(Stream):
    """A connection that counts: requests sent on it, and every byte of the answer being read."""

    def __init__(self, stream: Stream, left_s: Callable[[], float]) -> None:
        self._stream = stream
        self._left_s = left_s
        self._requests = 0
        self._writing = False
        self._bytes = 0
        self._head = HeadWatch()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not self._writing:
            self._writing = True
            self._requests += 1
            self._bytes = 0
            self._head = HeadWatch()
        try:
            await self._stream.write(buffer, timeout)
        except ssl.SSLError as broken:
            raise httpcore2.WriteError(tls_words(broken)) from None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._writing = False
        try:
            data = await self._stream.read(min(max_bytes, PIECE_BYTES), timeout)
        except (httpcore2.ReadError, ssl.SSLError) as broken:
            if self._is_stale():
                raise Stale("closed while it was idle") from None
            raise httpcore2.ReadError(tls_words(broken)) from None
        if not data and self._is_stale():
            raise Stale("closed while it was idle")
        self._bytes += len(data)
        self._head.feed(data)
        if self._bytes > ANSWER_BYTES_MAX:
            raise AnswerTooLarge(f"the answer is larger than {WIRE_BYTES_MAX // 1024**2} MiB on the wire")
        return data

    @property
    def has_answered(self) -> bool:
        """Whether a byte has come in since the last request went out; an answer without one is a left-over."""
        return self._bytes > 0

    def _is_stale(self) -> bool:
        return self._requests > 1 and self._bytes == 0

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, max(0.0, self._left_s()))
            return WatchedStream(stream, self._left_s)
        except httpcore2.ConnectError as failed:
            raise Untrusted(tls_words(failed)) from None
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def unanswered(failed: Exception) -> Unanswered:
    """Return what the library says in the port's words."""
    match failed:
        case Stale():
            return StaleConnection(str(failed))
        case Untrusted():
            return TlsFailed(str(failed))
        case httpcore2.ConnectTimeout():
            return ConnectFailed("no connection within the connect timeout")
        case httpcore2.ConnectError():
            return ConnectFailed(f"no connection: {failed}")
        case httpcore2.RemoteProtocolError() if "disconnected" not in str(failed):
            return Malformed(f"the answer is not HTTP: {failed}")
        case _:
            return BrokenOff()


def connect_words(failed: BaseException) -> str:
    cause: BaseException | None = failed
    for _ in range(6):
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif cause is not None:
            cause = cause.__cause__
    return "it cannot be reached"


def tls_words(failed: BaseException) -> str:
    cause: BaseException | None = failed
    for _ in range(5):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {getattr(cause, 'reason', None) or cause}"
        cause = cause.__cause__ if cause else None
    return "it closed the connection during the TLS handshake"


def values(response: httpcore2.Response, name: bytes) -> list[str]:
    return [value.decode("latin-1") for known, value in response.headers if known.lower() == name]


def joined(response: httpcore2.Response, name: bytes) -> str:
    found = values(response, name)
    return found[0].strip() if len(found) == 1 else ",".join(found)
