"""Makes connections: to vetted addresses only, one after the other, within one connect timeout."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.connection import Connection, Keeper
from chronos.dispatch.http.exchange import ConnectFailed, TlsFailed
from chronos.dispatch.http.reader import Heads
from chronos.dispatch.http.sessions import Place, Sessions
from chronos.timing.clock import Clock

MakeProtocol = Callable[[], Connection]


class Network(Protocol):
    """Where connections are made; a test brings its own."""

    async def reach(self, address: str, port: int) -> socket.socket:
        """Return a socket connected to an IP address. Raises `OSError`."""
        ...

    async def begin(self, make: MakeProtocol, sock: socket.socket, tls: ssl.SSLContext | None, name: str) -> Connection:
        """Return the connection on `sock`, after the TLS handshake if there is one. Raises `OSError`."""
        ...


class Sockets:
    """The network there is."""

    async def reach(self, address: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def begin(self, make: MakeProtocol, sock: socket.socket, tls: ssl.SSLContext | None, name: str) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            _, made = await loop.create_connection(make, sock=sock, ssl=tls, server_hostname=name if tls else None)
        except BaseException:
            sock.close()
            raise
        return made


class Connector:
    """Connects to what the guard has vetted.

    Args:
        contexts: TLS contexts, with and without checking.
        timeout_s: Shared by look-up, connection and TLS handshake.
        network: Makes the connections; sockets by default.
    """

    def __init__(
        self,
        guard: EgressGuard,
        clock: Clock,
        contexts: dict[bool, ssl.SSLContext],
        timeout_s: float,
        network: Network | None = None,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._contexts = contexts
        self._timeout_s = timeout_s
        self._network: Network = network or Sockets()
        self.sessions = Sessions(clock)
        self._heads = Heads()

    async def connect(self, place: Place, keeper: Keeper) -> tuple[Connection, frozenset[str]]:
        """Return a new connection, and the addresses that were vetted for it.

        Raises:
            EgressRefused: The guard forbids the place.
            LookupFailed: The name has no address.
            ConnectFailed: Nobody answers at any of the addresses, or not in time.
            TlsFailed: The far side is not trusted, or speaks no TLS.
        """
        _, host, port, _ = place
        ends = self._clock.boottime() + self._timeout_s
        addresses = await self._guard.vetted(host, port)
        sock, address = await self._reach(host, port, addresses, ends)
        return await self._begin(place, keeper, sock, address, ends), frozenset(addresses)

    async def _reach(self, host: str, port: int, addresses: list[str], ends: float) -> tuple[socket.socket, str]:
        failure = ConnectFailed(f"no connection: no time was left to connect to {host}")
        for n, address in enumerate(addresses):
            left = ends - self._clock.boottime()
            if left <= 0:
                break
            try:
                # The first of three addresses gets a third of the time, so that a silent one hides no other.
                async with asyncio.timeout(left / (len(addresses) - n)):
                    return await self._network.reach(address, port), address
            except TimeoutError as silent:
                failure = ConnectFailed(_words(silent))
            except OSError as failed:
                failure = ConnectFailed(_words(failed))
        raise failure

    async def _begin(self, place: Place, keeper: Keeper, sock: socket.socket, address: str, ends: float) -> Connection:
        scheme, host, _, verify = place
        tls = self.sessions.context(place, self._contexts[verify]) if scheme == "https" else None
        try:
            async with asyncio.timeout(max(0.0, ends - self._clock.boottime())):
                return await self._network.begin(partial(Connection, keeper, address, self._heads), sock, tls, host)
        except TimeoutError as silent:
            raise ConnectFailed(_words(silent)) from None
        except OSError as failed:
            self.sessions.forget(place)
            raise (TlsFailed(_tls_words(failed)) if tls else ConnectFailed(_words(failed))) from None


def _words(failed: OSError) -> str:
    if isinstance(failed, TimeoutError) and not failed.errno:
        return "no connection within the connect timeout"
    return f"no connection: {os.strerror(failed.errno).lower() if failed.errno else 'it cannot be reached'}"


def _tls_words(failed: OSError) -> str:
    if isinstance(failed, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {failed.verify_message}"
    if isinstance(failed, ssl.SSLError):
        return f"TLS failed: {getattr(failed, 'reason', None) or failed}"
    return "it closed the connection during the TLS handshake"
