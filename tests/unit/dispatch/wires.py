"""A network without sockets that lead anywhere: far sides that answer, stay silent, or close, as they are told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, cast

from chronos.dispatch.egress import EgressGuard, EgressPolicy, EgressSettings
from chronos.dispatch.http.connection import Connection
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import HttpClient, Read, Wanted
from chronos.dispatch.http.pool import HotClient
from chronos.dispatch.http.url import parse_url
from chronos.testing import VirtualClock

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """The far side of one connection: says `answer` to every request, or nothing when it is empty."""

    def __init__(self, sock: socket.socket, far: socket.socket, connection: Connection, answer: bytes) -> None:
        super().__init__({"socket": sock})
        self.far = far
        self.connection = connection
        self.answer = answer
        self.written: list[bytes] = []
        self.said = 0
        self.unsent = 0
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        if self.answer:
            asyncio.get_running_loop().call_soon(self.say, self.answer)

    def say(self, data: bytes) -> None:
        if not self.closed:
            self.said += 1
            self.connection.data_received(data)

    def hang_up(self, error: Exception | None = None) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost(error)
            cast(socket.socket, self.get_extra_info("socket")).close()
            self.far.close()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        """Everything has been said."""

    def resume_reading(self) -> None:
        """Everything has been said."""

    def abort(self) -> None:
        asyncio.get_running_loop().call_soon(self.hang_up)


class Wires:
    """A `Network` that connects after `seconds`; to addresses in `dead` not at all.

    Attributes:
        made: Every connection, in the order in which they were made.
        called: Every address that was tried, and when, in seconds since the beginning.
        refuses: Raised by `reach` at once, when set.
        handshake_s: How long TLS takes.
    """

    def __init__(self, *, seconds: float = 0.0, dead: Iterable[str] = (), answer: bytes = ANSWER) -> None:
        self.seconds = seconds
        self.dead = frozenset(dead)
        self.answer = answer
        self.handshake_s = 0.0
        self.refuses: OSError | None = None
        self.distrusts: OSError | None = None
        self.made: list[Wire] = []
        self._far: dict[socket.socket, socket.socket] = {}
        self.called: list[tuple[str, float]] = []

    @property
    def open(self) -> int:
        return sum(not wire.closed for wire in self.made)

    async def reach(self, address: str, port: int) -> socket.socket:
        self.called.append((address, asyncio.get_running_loop().time()))
        if self.refuses is not None:
            raise self.refuses
        await asyncio.sleep(1e9 if address in self.dead else self.seconds)
        near, far = socket.socketpair()
        self._far[near] = far
        return near

    async def begin(
        self, make: Callable[[], Connection], sock: socket.socket, tls: ssl.SSLContext | None, name: str
    ) -> Connection:
        await asyncio.sleep(self.handshake_s if tls else 0)
        if self.distrusts is not None:
            sock.close()
            self._far.pop(sock).close()
            raise self.distrusts
        wire = Wire(sock, self._far.pop(sock), connection := make(), self.answer)
        connection.connection_made(wire)
        self.made.append(wire)
        return connection


def a_guard(addresses: Callable[[], list[str]], lookup_s: float = 0.0) -> EgressGuard:
    async def lookup(host: str, port: int) -> list[str]:
        await asyncio.sleep(lookup_s)
        return addresses()

    return EgressGuard(EgressSettings(policy=EgressPolicy.OPEN), lookup=lookup)


def a_connector(wires: Wires, *addresses: str, lookup_s: float = 0.0, timeout_s: float = 5.0) -> Connector:
    contexts = {verify: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for verify in (True, False)}
    guard = a_guard(lambda: list(addresses or ("127.0.0.1",)), lookup_s)
    return Connector(guard, VirtualClock(), contexts, timeout_s, wires)


def a_client(wires: Wires, connector: Connector | None = None, **changes: Any) -> HotClient:
    limits: dict[str, Any] = {"per_place_max": 100, "idle_max": 10, "idle_s": 4.0}
    return HotClient(connector or a_connector(wires), VirtualClock(), **(limits | changes))


class Waiting:
    """An `Asker` to wait for."""

    def __init__(self) -> None:
        self.read: asyncio.Future[Read] = asyncio.get_running_loop().create_future()

    def answered(self, read: Read) -> None:
        self.read.set_result(read)

    def failed(self, failure: BaseException) -> None:
        self.read.set_exception(failure)


async def exchanged(client: HttpClient, wanted: Wanted) -> Read:
    """Ask, and return the answer, or raise why there is none; a cancellation stops it."""
    waiting = Waiting()
    asked = client.ask(wanted, waiting)
    try:
        return await waiting.read
    except asyncio.CancelledError:
        asked.stop()
        raise


async def call(client: HotClient, text: str = "http://a.test/", *, verify: bool = True, method: str = "GET") -> Read:
    return await exchanged(client, Wanted(parse_url(text), method, b"GET / HTTP/1.1\r\n\r\n", verify))
