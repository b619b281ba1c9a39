"""What every transport between nodes has to do; run here against the one in memory."""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.cluster.played import Played

from chronos.cluster.peers.memory import MemoryPeers, Wires
from chronos.cluster.peers.port import Placed
from chronos.errors import NotLeader, Unavailable
from chronos.testing import virtual_time


@virtual_time
async def test_what_a_node_is_asked_arrives_and_its_answer_comes_back() -> None:
    wires, far = Wires(latency=lambda: 0.001), Played()
    wires.join("n2", far)
    peer = MemoryPeers(wires, "n1").at("n2")
    assert await peer.forward([b"a", b"b"]) == Placed(7, 2)
    await peer.renew("n1#1", 3)
    assert await peer.recall(["x", "y"], entry=9) == {"x": "dropped", "y": "dropped"}
    assert far.asked == [[b"a", b"b"], ("n1#1", 3), 9]


@virtual_time
async def test_a_refusal_arrives_as_the_error_it_is() -> None:
    wires = Wires()
    wires.join("n2", Played(leads=False))
    with pytest.raises(NotLeader) as caught:
        await MemoryPeers(wires, "n1").at("n2").forward([b"a"])
    assert caught.value.facts == {"leader": "n3"}


@virtual_time
async def test_a_node_that_is_not_there_cannot_be_reached() -> None:
    with pytest.raises(Unavailable, match="n2 cannot be reached"):
        await MemoryPeers(Wires(), "n1").at("n2").renew("n1#1", 1)


@virtual_time
async def test_what_was_done_before_the_answer_was_lost_stays_done() -> None:
    wires, far = Wires(), Played()
    wires.join("n2", far)
    wires.cut.add(("n2", "n1"))
    with pytest.raises(Unavailable):
        await MemoryPeers(wires, "n1").at("n2").forward([b"a"])
    assert far.asked == [[b"a"]]
    wires.heal()
    assert await MemoryPeers(wires, "n1").at("n2").forward([b"b"]) == Placed(7, 2)


@virtual_time
async def test_an_isolated_node_neither_asks_nor_is_asked() -> None:
    wires = Wires()
    for node in ("n1", "n2", "n3"):
        wires.join(node, Played())
    wires.isolate("n1")
    with pytest.raises(Unavailable):
        await MemoryPeers(wires, "n1").at("n2").renew("n1#1", 1)
    with pytest.raises(Unavailable):
        await MemoryPeers(wires, "n2").at("n1").renew("n2#1", 1)
    await MemoryPeers(wires, "n2").at("n3").renew("n2#1", 1)


@virtual_time
async def test_a_host_says_that_a_node_has_ended_and_a_cut_wire_says_nothing() -> None:
    wires, far = Wires(), Played()
    wires.join("n2", far)
    near = MemoryPeers(wires, "n1")
    assert near.refused_s("n2") == near.refused_s("n3") == 0.0
    wires.leave("n2", far)
    await asyncio.sleep(2)
    assert near.refused_s("n2") == pytest.approx(2.0)
    wires.isolate("n2")
    wires.cut.add(("n1", "n2"))
    assert near.refused_s("n2") == 0.0
    wires.heal()
    wires.join("n2", far)
    assert near.refused_s("n2") == 0.0
