"""How long connecting may take, and what comes of TLS that breaks."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpcore2
import pytest

from chronos.dispatch.egress import EgressGuard
from chronos.dispatch.http.transport import VettedBackend
from chronos.testing import VirtualClock, virtual_time


class Wire(httpcore2.AsyncNetworkStream):
    """Notes how long each step was given; `fails` is raised by reads and writes."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.given: list[float | None] = []
        self.fails = fails

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Wire:
        self.given.append(timeout)
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.fails:
            raise self.fails
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.fails:
            raise self.fails

    async def aclose(self) -> None:
        """Nothing to close."""


class Network(httpcore2.AsyncNetworkBackend):
    """Connects after `seconds`; to addresses in `dead` not at all, and takes all the time it is given for it."""

    def __init__(self, wire: Wire, seconds: float = 0.0, dead: frozenset[str] = frozenset()) -> None:
        self.wire = wire
        self.seconds = seconds
        self.dead = dead
        self.called: list[tuple[str, float | None]] = []

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any) -> Wire:
        self.called.append((host, timeout))
        assert timeout is not None
        needed = float("inf") if host in self.dead else self.seconds
        await asyncio.sleep(min(timeout, needed))
        if needed > timeout:
            raise httpcore2.ConnectTimeout
        return self.wire


def a_backend(network: Network, *addresses: str, lookup_s: float = 0.0) -> VettedBackend:
    async def lookup(host: str, port: int) -> list[str]:
        await asyncio.sleep(lookup_s)
        return list(addresses)

    return VettedBackend(EgressGuard(lookup=lookup), VirtualClock(), network)


@virtual_time
async def test_look_up_connection_and_handshake_share_one_time_out() -> None:
    network = Network(wire := Wire(), seconds=1.0)
    stream = await a_backend(network, "127.0.0.1", lookup_s=2.0).connect_tcp("a.test", 443, 5.0)
    await stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a.test", 5.0)
    assert network.called == [("127.0.0.1", 3.0)]
    assert wire.given == [2.0]


@virtual_time
async def test_a_handshake_with_no_time_left_gets_none() -> None:
    stream = await a_backend(Network(wire := Wire()), "127.0.0.1").connect_tcp("a.test", 443, 5.0)
    await asyncio.sleep(7.0)
    await stream.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a.test", 5.0)
    assert wire.given == [0.0]


@virtual_time
async def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    network = Network(Wire(), dead=frozenset({"127.0.0.1", "127.0.0.2"}))
    await a_backend(network, "127.0.0.1", "127.0.0.2", "127.0.0.3").connect_tcp("a.test", 80, 6.0)
    assert network.called == [("127.0.0.1", 2.0), ("127.0.0.2", 2.0), ("127.0.0.3", 2.0)]


@virtual_time
async def test_when_every_address_is_silent_the_time_out_holds() -> None:
    network = Network(Wire(), dead=frozenset({"127.0.0.1", "127.0.0.2"}))
    clock = VirtualClock()
    began = clock.boottime()
    with pytest.raises(httpcore2.ConnectTimeout):
        await a_backend(network, "127.0.0.1", "127.0.0.2").connect_tcp("a.test", 80, 6.0)
    assert clock.boottime() - began == 6.0


@virtual_time
async def test_tls_that_breaks_after_the_handshake_is_an_error_of_the_network() -> None:
    wire = Wire(fails=ssl.SSLError(1, "wrong version number"))
    stream = await a_backend(Network(wire), "127.0.0.1").connect_tcp("a.test", 443, 5.0)
    with pytest.raises(httpcore2.WriteError, match="TLS failed"):
        await stream.write(b"GET")
    with pytest.raises(httpcore2.ReadError, match="TLS failed"):
        await stream.read(1)
