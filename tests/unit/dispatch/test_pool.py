"""Which connection a request gets, and what becomes of it afterwards."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

import pytest
from tests.unit.dispatch.wires import ANSWER, Waiting, Wires, a_client, a_guard, call, exchanged

from chronos.dispatch.http.connector import Connector
from chronos.dispatch.http.exchange import BrokenOff, ConnectFailed, StaleConnection, Wanted
from chronos.dispatch.http.pool import CONNECTING_MAX, ENOUGH, LOOK_S
from chronos.dispatch.http.url import parse_url
from chronos.testing import VirtualClock, virtual_time


async def turns() -> None:
    """Let everything happen that takes no time."""
    await asyncio.sleep(0.001)


@virtual_time
async def test_one_after_the_other_share_a_connection_and_at_once_do_not() -> None:
    client = a_client(wires := Wires())
    for _ in range(3):
        await call(client)
    assert len(wires.made) == 1
    await asyncio.gather(call(client), call(client))
    assert len(wires.made) == 2


@virtual_time
async def test_places_and_kinds_of_trust_share_nothing() -> None:
    client = a_client(wires := Wires())
    for url in ("http://a.test/", "https://a.test/", "http://a.test:81/", "http://b.test/"):
        await call(client, url)
    await call(client, "http://a.test/", verify=False)
    assert len(wires.made) == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ANSWER + b"HTTP/1.1 200 OK\r\n",
        ANSWER + b"left over",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000,
    ],
)
@virtual_time
async def test_an_answer_that_nothing_may_follow_costs_its_connection(answer: bytes) -> None:
    client = a_client(wires := Wires(answer=answer))
    assert (await call(client)).status == 200
    await turns()
    assert wires.open == 0
    assert (await call(client)).status == 200
    assert len(wires.made) == 2


@virtual_time
async def test_an_answer_that_comes_before_the_request_is_all_sent_costs_its_connection() -> None:
    client = a_client(wires := Wires())
    await call(client)
    wires.made[0].unsent = 1
    await call(client)
    await turns()
    assert wires.open == 0


@virtual_time
async def test_what_comes_unasked_ends_a_kept_connection() -> None:
    client = a_client(wires := Wires())
    await call(client)
    wires.made[0].say(ANSWER)
    assert (await call(client)).status == 200
    assert len(wires.made) == 2


@virtual_time
async def test_what_the_kernel_holds_unread_ends_a_kept_connection_before_it_is_used() -> None:
    client = a_client(wires := Wires())
    await call(client)
    wires.made[0].far.send(b"an answer to nobody, or the end of the connection")
    assert (await call(client)).status == 200
    assert [len(wire.written) for wire in wires.made] == [1, 1]


@virtual_time
async def test_a_connection_that_was_used_before_and_closes_without_a_byte_is_stale() -> None:
    client = a_client(wires := Wires())
    await call(client)
    wires.made[0].answer = b""
    asked = asyncio.create_task(call(client))
    await turns()
    wires.made[0].hang_up()
    with pytest.raises(StaleConnection):
        await asked


@pytest.mark.parametrize("said", [b"", b"H", b"HTTP/1.1 200 OK\r\n"])
@virtual_time
async def test_a_connection_that_has_begun_to_answer_or_is_new_is_not_stale(said: bytes) -> None:
    client = a_client(wires := Wires(answer=b""))
    asked = asyncio.create_task(call(client))
    await turns()
    if said:
        wires.made[0].say(said)
    wires.made[0].hang_up(ConnectionResetError())
    with pytest.raises(BrokenOff) as ended:
        await asked
    assert not isinstance(ended.value, StaleConnection)


@virtual_time
async def test_a_fresh_connection_is_made_where_one_is_wanted() -> None:
    client = a_client(wires := Wires())
    await call(client)
    await exchanged(client, Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n", is_fresh=True))
    assert len(wires.made) == 2


@virtual_time
async def test_a_cancelled_exchange_closes_its_connection() -> None:
    client = a_client(wires := Wires(answer=b""))
    asked = asyncio.create_task(call(client))
    await turns()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await turns()
    assert wires.open == 0


@virtual_time
async def test_no_more_than_the_bound_are_kept_and_the_oldest_go_first() -> None:
    client = a_client(wires := Wires(), idle_max=3)
    for n in range(10):
        await call(client, f"http://h{n}.test/")
    await turns()
    assert [wire.closed for wire in wires.made] == [True] * 7 + [False] * 3
    await call(client, "http://h9.test/")
    assert len(wires.made) == 10


@virtual_time
async def test_what_was_idle_for_too_long_is_not_used_and_closed_when_no_request_comes_any_more() -> None:
    client = a_client(wires := Wires(), idle_s=4.0)
    await call(client, "http://a.test/")
    await call(client, "http://b.test/")
    await asyncio.sleep(3.9)
    assert wires.open == 2
    await call(client, "http://b.test/")
    await asyncio.sleep(0.7)
    assert [wire.closed for wire in wires.made] == [True, False], "b was used in between"
    await asyncio.sleep(8.0)
    assert wires.open == 0


@virtual_time
async def test_a_connection_in_use_is_not_swept_away() -> None:
    client = a_client(wires := Wires(), idle_s=4.0)
    await call(client)
    wires.made[0].answer = b""
    asked = asyncio.create_task(call(client))
    await asyncio.sleep(20.0)
    assert wires.open == 1
    wires.made[0].say(ANSWER)
    assert (await asked).status == 200


@virtual_time
async def test_a_name_is_looked_up_anew_when_its_connection_is_a_few_minutes_old() -> None:
    client = a_client(wires := Wires())
    for _ in range(150):
        await call(client)
        await asyncio.sleep(1.0)
    assert len(wires.made) == 3


@virtual_time
async def test_connections_to_an_address_that_a_name_no_longer_has_are_not_used() -> None:
    addresses = ["10.0.0.1"]
    contexts = {verify: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for verify in (True, False)}
    connector = Connector(a_guard(lambda: list(addresses)), VirtualClock(), contexts, 5.0, wires := Wires())
    client = a_client(wires, connector)
    await asyncio.gather(call(client), call(client))
    addresses[:] = ["10.0.0.2"]
    await asyncio.gather(call(client), call(client), call(client))
    await call(client)
    await asyncio.gather(*(call(client) for _ in range(3)))
    assert [address for address, _ in wires.called] == ["10.0.0.1"] * 2 + ["10.0.0.2"] * 3


@virtual_time
async def test_a_full_place_lets_requests_wait_and_serves_them_in_their_order() -> None:
    client = a_client(wires := Wires(answer=b""), per_place_max=2)
    asked = [asyncio.create_task(call(client)) for _ in range(5)]
    await turns()
    assert len(wires.made) == 2
    order: list[int] = []
    for n, task in enumerate(asked):
        task.add_done_callback(partial(lambda n, _: order.append(n), n))
    for _ in range(5):
        for wire in wires.made:
            if len(wire.written) > wire.said:
                wire.say(ANSWER)
        await turns()
    assert order == [0, 1, 2, 3, 4]
    assert len(wires.made) == 2


@virtual_time
async def test_a_place_has_room_again_when_a_connection_is_lost_or_cannot_be_made() -> None:
    client = a_client(wires := Wires(answer=b""), per_place_max=1)
    first, second, third = (asyncio.create_task(call(client)) for _ in range(3))
    await turns()
    wires.made[0].hang_up()
    wires.refuses = ConnectionRefusedError(111, "refused")
    await turns()
    assert isinstance(first.exception(), BrokenOff)
    assert isinstance(second.exception(), ConnectFailed)
    assert isinstance(third.exception(), ConnectFailed)


@virtual_time
async def test_a_crowd_at_a_quick_place_is_carried_by_a_few_connections() -> None:
    client = a_client(wires := Wires(), per_place_max=1_000)
    reads = await asyncio.gather(*(call(client) for _ in range(2_000)))
    assert {read.status for read in reads} == {200}
    assert len(wires.made) == ENOUGH


@virtual_time
async def test_connections_for_a_crowd_are_made_before_it_asks_and_nothing_is_sent_on_them() -> None:
    client = a_client(wires := Wires(), per_place_max=1_000, idle_max=200)
    client.warm(parse_url("http://a.test/"), 500, verify=True)
    client.warm(parse_url("http://b.test/"), 3, verify=True)
    await turns()
    assert len(wires.made) == ENOUGH + 3
    assert not any(wire.written for wire in wires.made)
    client.warm(parse_url("http://a.test/"), 500, verify=True)
    await asyncio.gather(*(call(client) for _ in range(300)))
    assert len(wires.made) == ENOUGH + 3
    await asyncio.sleep(10)
    assert wires.open == 0
    assert client.places == []


@virtual_time
async def test_nothing_that_is_kept_is_closed_for_a_crowd_and_no_bound_is_passed() -> None:
    client = a_client(wires := Wires(), per_place_max=5, idle_max=8)
    await asyncio.gather(*(call(client, "http://b.test/") for _ in range(5)))
    client.warm(parse_url("http://a.test/"), 500, verify=True)
    await turns()
    assert [wire.closed for wire in wires.made] == [False] * 8
    client.warm(parse_url("http://b.test/"), 500, verify=True)
    client.warm(parse_url("http://c.test/"), 500, verify=True)
    await turns()
    assert len(wires.made) == 8


@virtual_time
async def test_a_crowd_whose_place_cannot_be_reached_is_told_when_it_asks() -> None:
    client = a_client(wires := Wires())
    wires.refuses = ConnectionRefusedError(111, "refused")
    client.warm(parse_url("http://a.test/"), 500, verify=True)
    await turns()
    assert client.places == []
    tried = len(wires.called)
    await asyncio.sleep(10)
    assert len(wires.called) == tried <= CONNECTING_MAX
    with pytest.raises(ConnectFailed):
        await call(client)


@virtual_time
async def test_who_asks_while_connections_are_made_for_a_crowd_gets_one_of_them() -> None:
    client = a_client(wires := Wires(seconds=1))
    client.warm(parse_url("http://a.test/"), 2, verify=True)
    assert (await asyncio.gather(call(client), call(client)))[0].status == 200
    await asyncio.sleep(3)
    assert len(wires.made) <= 4


@virtual_time
async def test_a_crowd_at_a_slow_place_gets_as_many_connections_as_there_may_be() -> None:
    client = a_client(wires := Wires(answer=b""), per_place_max=500)
    asked = [asyncio.create_task(call(client)) for _ in range(2_000)]
    await asyncio.sleep(LOOK_S / 2)
    assert len(wires.made) == ENOUGH
    await asyncio.sleep(8 * LOOK_S)
    assert len(wires.made) == 500
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await asyncio.sleep(1)
    assert client.places == []


@virtual_time
async def test_a_place_that_becomes_slow_while_requests_wait_is_given_more_connections() -> None:
    client = a_client(wires := Wires(), per_place_max=500, idle_max=200)
    await asyncio.gather(*(call(client) for _ in range(2_000)))
    assert len(wires.made) == ENOUGH
    wires.answer = b""
    for wire in wires.made:
        wire.answer = b""
    asked = [asyncio.create_task(call(client)) for _ in range(200)]
    await asyncio.sleep(8 * LOOK_S)
    assert len(wires.made) == 200
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


@virtual_time
async def test_who_leaves_the_line_is_passed_over() -> None:
    client = a_client(wires := Wires(answer=b""), per_place_max=1)
    first, second, third = (asyncio.create_task(call(client)) for _ in range(3))
    await turns()
    second.cancel()
    await turns()
    for _ in range(2):
        wires.made[0].say(ANSWER)
        await turns()
    assert second.cancelled()
    assert (first.result().status, third.result().status) == (200, 200)
    assert len(wires.made) == 1
    assert len(wires.made[0].written) == 2


@virtual_time
async def test_who_leaves_with_a_request_under_way_takes_its_connection_along_and_the_next_gets_another() -> None:
    client = a_client(wires := Wires(answer=b""), per_place_max=1)
    first, second, third = (asyncio.create_task(call(client)) for _ in range(3))
    await turns()
    wires.made[0].say(ANSWER)  # the second leaves on the turn on which the first is answered
    second.cancel()
    await turns()
    wires.made[1].say(ANSWER)
    await turns()
    assert (first.result().status, third.result().status) == (200, 200)
    assert wires.made[0].closed
    assert not wires.made[1].closed


@virtual_time
async def test_a_connection_made_for_somebody_who_left_is_kept_for_the_next() -> None:
    client = a_client(wires := Wires())
    waiting = Waiting()
    asked = client.ask(Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n"), waiting)
    for _ in range(20):
        if wires.made:
            break
        await asyncio.sleep(0)
    asked.stop()  # on the turn on which it was made
    await turns()
    assert not waiting.read.done()
    assert (await call(client)).status == 200
    assert len(wires.made) == 1
    assert len(wires.made[0].written) == 1


@virtual_time
async def test_who_leaves_while_a_connection_is_made_leaves_nothing_behind() -> None:
    client = a_client(Wires(seconds=1))
    waiting = Waiting()
    asked = client.ask(Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n"), waiting)
    asked.stop()  # before the first step, even
    await asyncio.sleep(2)
    assert not waiting.read.done()
    assert client.places == []


@virtual_time
async def test_who_waits_for_a_connection_when_the_client_is_closed_is_told() -> None:
    client = a_client(Wires(dead=["127.0.0.1"]))
    waiting = Waiting()
    client.ask(Wanted(parse_url("http://a.test/"), "GET", b"GET / HTTP/1.1\r\n\r\n"), waiting)
    await turns()
    await client.aclose()
    assert isinstance(waiting.read.exception(), BrokenOff)
    assert client.places == []


@virtual_time
async def test_places_without_connections_are_forgotten() -> None:
    client = a_client(wires := Wires())
    for n in range(50):
        await call(client, f"http://h{n}.test/")
    wires.refuses = ConnectionRefusedError(111, "refused")
    with pytest.raises(ConnectFailed):
        await call(client, "http://nobody.test/")
    await asyncio.sleep(10.0)
    assert not client.places


@virtual_time
async def test_a_closed_client_keeps_nothing_and_may_be_used_again() -> None:
    client = a_client(wires := Wires())
    await client.aclose()
    for url in ("http://a.test/", "http://b.test/"):
        await call(client, url)
    await client.aclose()
    await client.aclose()
    assert wires.open == 0
    assert (await call(client)).status == 200
