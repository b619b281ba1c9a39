"""Turns at a resource: one lease at a time, tokens that only rise, and ends that come by themselves."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.features.fake_host import FakeCollection, FakeHost

from chronos.errors import Denied, LeaseLost, NodeUnknown, QuotaExceeded, Unprocessable, VersionConflict
from chronos.features.coordination import install
from chronos.features.coordination.line import SILENT_S, Line, ask_again_ms
from chronos.features.coordination.model import (
    Lease,
    LeaseAsked,
    LeaseNamed,
    NodeAsked,
    NodeRecord,
    Settings,
    Standing,
)
from chronos.features.coordination.service import Coordination
from chronos.plugin import Place
from chronos.testing import VirtualClock

SPACE, BY = "default", "key:ada"


class Room:
    """A server's coordination, its documents, and a clock that goes where a test says."""

    def __init__(self, **settings: int) -> None:
        self.boot_s = 100.0
        self.wall_s = 1_800_000_000.0
        self.resources = FakeCollection(Standing)
        self.nodes = FakeCollection(NodeRecord)
        self.settings = replace(Settings(), **settings)

    def boottime(self) -> float:
        return self.boot_s

    def time(self) -> float:
        return self.wall_s

    async def start(self) -> Coordination:
        """Start the server: what is in memory alone is gone."""
        started = Coordination(self.settings, self.resources, self.nodes, self)
        await started.__aenter__()
        return started

    def pass_s(self, seconds: float) -> None:
        self.boot_s += seconds
        self.wall_s += seconds


async def with_nodes(room: Room, *nodes: str) -> Coordination:
    coordination = await room.start()
    for node in nodes:
        await coordination.register(SPACE, node, NodeAsked(), BY)
    return coordination


async def ask(to: Coordination, node: str, request: str = "r1", *, resource: str = "db", **more: Any) -> Lease:
    return await to.ask(SPACE, resource, LeaseAsked(node=node, request=request, **more), BY)


def of(node: str, token: int) -> LeaseNamed:
    return LeaseNamed(node=node, token=token)


@pytest.mark.asyncio
async def test_one_has_it_and_the_next_waits_until_it_is_given_back() -> None:
    room = Room()
    coordination = await with_nodes(room, "a", "b")
    first = await ask(coordination, "a")
    waiting = await ask(coordination, "b")
    assert (first.granted, first.holder, first.ends_in_ms) == (True, "a", 15_000)
    assert (waiting.granted, waiting.token, waiting.holder, waiting.place) == (False, 0, "a", 1)
    assert 0 < waiting.ask_again_ms <= 2_000

    await coordination.give_back(SPACE, "db", of("a", first.token), BY)
    second = await ask(coordination, "b")
    assert second.granted
    assert second.token > first.token


@pytest.mark.asyncio
async def test_the_same_request_gets_the_same_lease_however_often_it_is_sent() -> None:
    coordination = await with_nodes(Room(), "a")
    assert (await ask(coordination, "a")).token == (await ask(coordination, "a")).token
    assert not (await ask(coordination, "a", "r2")).granted, "a second turn of the same node waits for the first"


@pytest.mark.asyncio
async def test_a_lease_that_is_not_renewed_ends_and_its_token_opens_nothing_any_more() -> None:
    room = Room()
    coordination = await with_nodes(room, "a", "b")
    first = await ask(coordination, "a")
    room.pass_s(10)
    assert (await coordination.renew(SPACE, "db", of("a", first.token), BY)).ends_in_ms == 15_000
    room.pass_s(14.9)
    assert not (await ask(coordination, "b")).granted
    room.pass_s(0.2)
    second = await ask(coordination, "b")
    assert second.granted
    for refused in (coordination.renew, coordination.give_back):
        with pytest.raises(LeaseLost):
            await refused(SPACE, "db", of("a", first.token), BY)


@pytest.mark.asyncio
async def test_a_lease_that_has_ended_is_not_renewed_though_nobody_took_it() -> None:
    room = Room()
    coordination = await with_nodes(room, "a")
    first = await ask(coordination, "a")
    room.pass_s(15)
    with pytest.raises(LeaseLost):
        await coordination.renew(SPACE, "db", of("a", first.token), BY)


@pytest.mark.asyncio
async def test_a_restart_gives_nothing_out_twice_and_its_holder_goes_on() -> None:
    room = Room()
    first = await ask(await with_nodes(room, "a", "b"), "a")

    room.pass_s(14)
    coordination = await room.start()
    assert not (await ask(coordination, "b")).granted
    room.pass_s(5)
    assert not (await ask(coordination, "b")).granted, "it lasts as long as it may from the start on"
    assert (await coordination.renew(SPACE, "db", of("a", first.token), BY)).granted
    room.pass_s(16)
    assert (await ask(coordination, "b")).token > first.token


@pytest.mark.asyncio
async def test_tokens_rise_though_the_wall_clock_is_set_back_and_though_documents_are_old() -> None:
    room = Room()
    coordination = await with_nodes(room, "a")
    tokens = []
    for n in range(3):
        lease = await ask(coordination, "a", f"r{n}")
        tokens.append(lease.token)
        await coordination.give_back(SPACE, "db", of("a", lease.token), BY)
        room.wall_s -= 3_600
        coordination = await room.start()
    assert tokens == sorted(set(tokens))

    room.resources.documents.clear()  # a copy from before was brought back
    room.wall_s += 4 * 3_600
    assert (await ask(await room.start(), "a", "later")).token > tokens[-1]


@pytest.mark.asyncio
async def test_giving_back_twice_is_giving_back_once() -> None:
    room = Room()
    coordination = await with_nodes(room, "a")
    token = (await ask(coordination, "a")).token
    for _ in range(2):
        assert (await coordination.give_back(SPACE, "db", of("a", token), BY)).token == token
    assert room.resources.writes == 2, "the grant and one return"


@pytest.mark.asyncio
async def test_who_came_first_goes_first_but_for_a_higher_priority() -> None:
    room = Room()
    coordination = await with_nodes(room, "a", "b", "c", "d")
    token = (await ask(coordination, "a")).token
    places = [
        (await ask(coordination, node, priority=priority)).place for node, priority in [("b", 5), ("c", 5), ("d", 9)]
    ]
    assert places == [1, 2, 1]
    await coordination.give_back(SPACE, "db", of("a", token), BY)
    assert [(await ask(coordination, node, priority=5)).granted for node in "cb"] == [False, False]
    assert (await ask(coordination, "d", priority=9)).granted
    assert coordination.state(SPACE).resources[0].waiting == ["b", "c"]


def test_who_asks_no_more_has_left_the_line() -> None:
    line = Line()
    assert [line.join(node, "r", 5, 0.0) for node in "ab"] == [1, 2]
    assert line.join("b", "r", 5, SILENT_S) == 2
    assert line.join("b", "r", 5, SILENT_S + 0.1) == 1


@pytest.mark.parametrize(
    ("place", "left_ms", "again_ms"), [(1, 9_000, 100), (2, 9_000, 200), (99, 9_000, 2_000), (1, 40, 40), (3, 0, 300)]
)
def test_who_is_further_back_asks_less_often_and_nobody_after_the_end(place: int, left_ms: int, again_ms: int) -> None:
    assert ask_again_ms(place, left_ms) == again_ms


@pytest.mark.asyncio
async def test_a_node_has_to_be_registered_and_belongs_to_who_registered_it() -> None:
    room = Room()
    coordination = await room.start()
    with pytest.raises(NodeUnknown):
        await ask(coordination, "a")
    await coordination.register(SPACE, "a", NodeAsked(location="Paris", tags=["big"]), BY)
    with pytest.raises(Denied):
        await coordination.ask(SPACE, "db", LeaseAsked(node="a", request="r"), "key:mallory")
    with pytest.raises(Denied):
        await coordination.register(SPACE, "a", NodeAsked(), "key:mallory")
    room.pass_s(60)
    await coordination.register(SPACE, "a", NodeAsked(), "key:mallory")
    with pytest.raises(Denied):
        await ask(coordination, "a")


@pytest.mark.asyncio
async def test_nodes_are_known_after_a_restart_and_namespaces_do_not_see_each_other() -> None:
    room = Room()
    await with_nodes(room, "a")
    coordination = await room.start()
    assert [node.node for node in coordination.state(SPACE).nodes] == ["a"]
    assert coordination.state("other").nodes == []
    assert (await ask(coordination, "a")).granted
    await coordination.register("other", "a", NodeAsked(), BY)
    assert (await coordination.ask("other", "db", LeaseAsked(node="a", request="r"), BY)).granted


@pytest.mark.asyncio
async def test_a_node_that_leaves_gives_back_what_it_has() -> None:
    coordination = await with_nodes(Room(), "a", "b")
    await ask(coordination, "a")
    await coordination.leave(SPACE, "a", BY)
    assert (await ask(coordination, "b")).granted
    assert [node.node for node in coordination.state(SPACE).nodes] == ["b"]


@pytest.mark.asyncio
async def test_there_are_no_more_nodes_than_there_may_be_and_the_silent_make_room() -> None:
    room = Room(nodes_max=2)
    coordination = await with_nodes(room, "a", "b")
    with pytest.raises(QuotaExceeded):
        await coordination.register(SPACE, "c", NodeAsked(), BY)
    room.pass_s(600)
    await ask(coordination, "a")
    await coordination.register(SPACE, "c", NodeAsked(), BY)
    assert [node.node for node in coordination.state(SPACE).nodes] == ["a", "c"]
    assert {key for _, key in room.nodes.documents} == {"a", "c"}


@pytest.mark.asyncio
async def test_a_resource_that_is_forgotten_to_make_room_does_not_begin_again_with_its_tokens() -> None:
    room = Room(resources_max=1)
    coordination = await with_nodes(room, "a")
    first = await ask(coordination, "a", resource="one")
    with pytest.raises(QuotaExceeded):
        await ask(coordination, "a", resource="two")
    await coordination.give_back(SPACE, "one", of("a", first.token), BY)
    second = await ask(coordination, "a", resource="two")
    await coordination.give_back(SPACE, "two", of("a", second.token), BY)
    room.wall_s -= 9_999
    assert (await ask(await room.start(), "a", resource="one")).token > first.token
    assert {key for _, key in room.resources.documents} == {"*", "one"}


class Wavering(FakeCollection):
    """Documents whose next write comes through though it is said not to, or does not."""

    def __init__(self, *, comes: bool) -> None:
        super().__init__(Standing)
        self.comes = comes
        self.is_wavering = False

    async def put(self, key: str, value: Any, *, by: str, namespace: str = "default", expect: int = -1) -> int:
        if self.is_wavering:
            self.is_wavering = False
            if self.comes:
                await super().put(key, value, by=by, namespace=namespace, expect=expect)
            raise VersionConflict("nobody knows")
        return await super().put(key, value, by=by, namespace=namespace, expect=expect)


@pytest.mark.asyncio
@pytest.mark.parametrize("comes", [True, False])
async def test_a_grant_that_nobody_knows_of_is_given_to_nobody_else_before_its_time(comes: bool) -> None:
    room = Room()
    documents = room.resources = Wavering(comes=comes)
    coordination = await with_nodes(room, "a", "b")
    documents.is_wavering = True
    with pytest.raises(VersionConflict):
        await ask(coordination, "a")
    assert (await ask(coordination, "a")).granted
    assert not (await ask(coordination, "b")).granted
    room.pass_s(15.1)
    assert (await ask(coordination, "b")).granted


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(20))
async def test_whatever_nodes_do_nobody_believes_to_have_what_another_has(seed: int) -> None:
    """Nodes keep their own view: a lease lasts from when they asked. Two views of one resource never overlap."""
    draw, room = random.Random(seed), Room()
    coordination = await with_nodes(room, "a", "b", "c")
    believed: dict[str, tuple[int, float]] = {}
    highest = 0
    for n in range(400):
        room.pass_s(draw.choice([0.0, 0.1, 1.0, 4.0]))
        node = draw.choice("abc")
        what = draw.choice(["ask", "ask", "renew", "return", "restart"])
        if what == "restart" and draw.random() < 0.2:
            coordination = await room.start()
        asked_s = room.boot_s
        if what == "ask" and node not in believed:
            lease = await ask(coordination, node, f"r{n}", ttl="5s")
            if lease.granted:
                assert lease.token > highest
                highest = lease.token
                believed[node] = (lease.token, asked_s + 5)
        elif what in ("renew", "return") and node in believed:
            named = of(node, believed.pop(node)[0])
            try:
                if what == "return":
                    await coordination.give_back(SPACE, "db", named, BY)
                else:
                    await coordination.renew(SPACE, "db", named, BY)
                    believed[node] = (named.token, asked_s + 5)
            except LeaseLost:
                pass
        believed = {who: (token, end_s) for who, (token, end_s) in believed.items() if end_s > room.boot_s}
        assert len(believed) <= 1, believed
    assert highest


@pytest.mark.asyncio
@pytest.mark.parametrize("ttl", ["500ms", "2h", "soon"])
async def test_a_lease_of_a_strange_length_is_refused(ttl: str) -> None:
    coordination = await with_nodes(Room(), "a")
    with pytest.raises(Unprocessable):
        await ask(coordination, "a", ttl=ttl)
    assert coordination.state(SPACE).resources == []


@pytest.mark.asyncio
async def test_many_who_ask_at_once_get_one_lease() -> None:
    coordination = await with_nodes(Room(), *"abcdefgh")
    leases = await asyncio.gather(*(ask(coordination, node) for node in "abcdefgh"))
    assert [lease.granted for lease in leases].count(True) == 1


@pytest.mark.asyncio
async def test_the_routes_serve_it_and_are_there_in_one_process_only_and_when_switched_on() -> None:
    host = FakeHost(clock=VirtualClock())
    install(host, Settings())
    async with host:
        path = {"node": "a", "resource": "db"}
        base = "/api/v1/coordination"
        await host.call("PUT", f"{base}/nodes/{{node}}", path_values=path, body=NodeAsked(location="Paris"))
        lease_path = f"{base}/resources/{{resource}}/lease"
        lease = (await host.call("POST", lease_path, path_values=path, body=LeaseAsked(node="a", request="r"))).value
        named = of("a", lease.token)
        assert (await host.call("POST", f"{lease_path}/renew", path_values=path, body=named)).value.granted
        state = (await host.call("GET", base)).value
        assert [(one.resource, one.holder, one.token) for one in state.resources] == [("db", "a", lease.token)]
        assert state.resources[0].since is not None
        assert [(one.node, one.location) for one in state.nodes] == [("a", "Paris")]
        await host.call("POST", f"{lease_path}/release", path_values=path, body=named)
        with pytest.raises(Unprocessable):
            await host.call("PUT", f"{base}/nodes/{{node}}", path_values={"node": "a b"}, body=NodeAsked())
        await host.call("DELETE", f"{base}/nodes/{{node}}", path_values=path)
        assert (await host.call("GET", base)).value.nodes == []

    for elsewhere, settings in ((FakeHost(Place.API), Settings()), (FakeHost(), Settings(enabled=False))):
        install(elsewhere, settings)
        assert not elsewhere.endpoints
