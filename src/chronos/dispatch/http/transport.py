"""Connections: made to vetted addresses only, watched while an answer comes in, kept for four seconds."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.answer import HEAD_BYTES_MAX, INFORMATIONAL_MAX, WIRE_BYTES_MAX, AnswerTooLarge, HeadWatch
from chronos.failpoints import reach
from chronos.timing.clock import Clock

_ANSWER_BYTES_MAX = WIRE_BYTES_MAX + HEAD_BYTES_MAX * (INFORMATIONAL_MAX + 1)
_PIECE_BYTES = 16 * 1024

Stream = httpcore2.AsyncNetworkStream


class StaleConnection(httpcore2.ReadError):
    """A connection that had been used before was closed without one byte of an answer."""


class TlsFailed(httpcore2.ConnectError):
    """The connection was made, but no trust was found."""


class VettedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to what the guard has vetted, address by address; look-up and handshake share one connect timeout.

    Args:
        network: Makes the connections; sockets by default.
    """

    def __init__(self, guard: EgressGuard, clock: Clock, network: httpcore2.AsyncNetworkBackend | None = None) -> None:
        self._guard = guard
        self._clock = clock
        self._network = network or httpcore2.AnyIOBackend()

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
            if left <= 0:
                break
            try:
                # The first of three addresses gets a third of the time, so that a silent one hides no other.
                stream = await self._network.connect_tcp(address, port, left / (len(addresses) - n))
            except httpcore2.ConnectTimeout as silent:
                failure = silent
            except httpcore2.ConnectError as failed:
                # The pool forgets an error's cause, so its words are kept here.
                failure = httpcore2.ConnectError(_connect_words(failed))
            else:
                return WatchedStream(stream, lambda: ends - self._clock.boottime())
        raise failure


class WatchedStream(Stream):
    """A connection that counts: requests sent on it, and every byte of the answer being read.

    Args:
        left_s: How many seconds are left to finish connecting.
    """

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
            reach("dispatch.first-byte")
        except ssl.SSLError as broken:
            # The library maps what TLS has against a handshake, and not what comes later.
            raise httpcore2.WriteError(_tls_words(broken)) from None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._writing = False
        try:
            data = await self._stream.read(min(max_bytes, _PIECE_BYTES), timeout)
        except (httpcore2.ReadError, ssl.SSLError) as broken:
            if self._is_stale():
                raise StaleConnection("closed while it was idle") from None
            raise httpcore2.ReadError(_tls_words(broken)) from None
        if not data and self._is_stale():
            raise StaleConnection("closed while it was idle")
        self._bytes += len(data)
        self._head.feed(data)
        if self._bytes > _ANSWER_BYTES_MAX:
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
            # Not `timeout`: the library would grant the handshake the whole of it again.
            stream = await self._stream.start_tls(ssl_context, server_hostname, max(0.0, self._left_s()))
            return WatchedStream(stream, self._left_s)
        except httpcore2.ConnectError as failed:
            raise TlsFailed(_tls_words(failed)) from None
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def tls_context(*, verify: bool = True, ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer that trusts `ca_file`, or the system's authorities.

    Raises:
        OSError: `ca_file` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server may ask for new handshakes as often as it likes, and each costs us more than it costs it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        _trust_the_system(context)
    return context


def _trust_the_system(context: ssl.SSLContext) -> None:
    # Not `load_default_certs`: it would believe SSL_CERT_FILE in the environment.
    paths = ssl.get_default_verify_paths()
    for cafile, capath in ((paths.openssl_cafile, None), (None, paths.openssl_capath)):
        try:
            context.load_verify_locations(cafile, capath)
        except OSError:
            continue


def _connect_words(failed: BaseException) -> str:
    cause: BaseException | None = failed
    for _ in range(6):
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif cause is not None:
            cause = cause.__cause__
    return "it cannot be reached"


def _tls_words(failed: BaseException) -> str:
    cause: BaseException | None = failed
    for _ in range(5):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {getattr(cause, 'reason', None) or cause}"
        cause = cause.__cause__ if cause else None
    return "it closed the connection during the TLS handshake"
