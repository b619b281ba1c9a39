"""How long connecting may take, and what is said when it fails."""

from __future__ import annotations

import ssl

import pytest
from tests.unit.dispatch.wires import Wires, a_connector

from chronos.dispatch.http.connection import Connection
from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import ConnectFailed, TlsFailed
from chronos.testing import VirtualClock, virtual_time


class Nobody:
    def settled(self, connection: Connection, *, is_reusable: bool) -> None:
        """Nobody asks."""

    def lost(self, connection: Connection) -> None:
        """Nobody cares."""


async def connect(connector: Connector, scheme: str = "http") -> None:
    await connector.connect((scheme, "a.test", 80, True), Nobody())


@virtual_time
async def test_look_up_connection_and_handshake_share_one_time_out() -> None:
    wires = Wires(seconds=1.0)
    wires.handshake_s = 10.0
    clock = VirtualClock()
    began = clock.boottime()
    with pytest.raises(ConnectFailed, match="within the connect timeout"):
        await connect(a_connector(wires, "127.0.0.1", lookup_s=2.0), "https")
    assert clock.boottime() - began == 5.0


@virtual_time
async def test_a_handshake_with_no_time_left_gets_none() -> None:
    wires = Wires()
    wires.handshake_s = 0.1
    with pytest.raises(ConnectFailed):
        await connect(a_connector(wires, "127.0.0.1", lookup_s=4.95), "https")


@virtual_time
async def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    wires = Wires(dead=["127.0.0.1", "127.0.0.2"])
    await connect(a_connector(wires, "127.0.0.1", "127.0.0.2", "127.0.0.3", timeout_s=6.0))
    assert wires.called == [("127.0.0.1", 0.0), ("127.0.0.2", 2.0), ("127.0.0.3", 4.0)]


@virtual_time
async def test_when_every_address_is_silent_the_time_out_holds() -> None:
    clock = VirtualClock()
    began = clock.boottime()
    with pytest.raises(ConnectFailed):
        await connect(a_connector(Wires(dead=["127.0.0.1", "127.0.0.2"]), "127.0.0.1", "127.0.0.2", timeout_s=6.0))
    assert clock.boottime() - began == 6.0


@virtual_time
async def test_a_refused_connection_is_told_in_the_system_s_words() -> None:
    wires = Wires()
    wires.refuses = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 80)")
    with pytest.raises(ConnectFailed, match=r"^no connection: connection refused$"):
        await connect(a_connector(wires))


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ssl.SSLError(1, "wrong version number"), "TLS failed: "),
        (ConnectionResetError(104, "reset"), "it closed the connection during the TLS handshake"),
        (ConnectionAbortedError("handshake"), "it closed the connection during the TLS handshake"),
    ],
)
@virtual_time
async def test_a_handshake_that_fails_is_a_matter_of_trust(failure: OSError, words: str) -> None:
    wires = Wires()
    wires.distrusts = failure
    with pytest.raises(TlsFailed, match=words):
        await connect(a_connector(wires), "https")
