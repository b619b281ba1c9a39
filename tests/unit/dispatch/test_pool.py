"""Which connection a request gets."""

from __future__ import annotations

import asyncio
import ssl

import httpcore2

from chronos.dispatch.http.pool import Pool
from chronos.dispatch.http.url import HttpUrl, parse_url
from chronos.testing import virtual_time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(httpcore2.AsyncNetworkStream):
    """A connection that answers every request."""

    def __init__(self) -> None:
        self.closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return ANSWER

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Takes whatever comes."""

    async def aclose(self) -> None:
        self.closed = True


class Network(httpcore2.AsyncNetworkBackend):
    def __init__(self) -> None:
        self.wires: list[Wire] = []

    async def connect_tcp(self, *args: object, **more: object) -> Wire:
        self.wires.append(Wire())
        return self.wires[-1]

    @property
    def open(self) -> int:
        return sum(not wire.closed for wire in self.wires)


def a_pool(network: Network, *, idle_max: int = 10, idle_s: float = 60.0) -> Pool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return Pool(network, {True: context, False: context}, idle_max=idle_max, idle_s=idle_s)


def a_request(url: HttpUrl) -> httpcore2.Request:
    return httpcore2.Request(
        "GET",
        httpcore2.URL(scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=b"/"),
        headers=[(b"Host", url.authority.encode())],
    )


async def call(pool: Pool, text: str, *, verify: bool = True, read: bool = True) -> None:
    url = parse_url(text)
    async with pool.answering(url, a_request(url), verify=verify) as response:
        if read:
            await response.aread()


def test_one_after_the_other_share_a_connection_and_at_once_do_not() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network)
        for _ in range(3):
            await call(pool, "http://a.test/")
        assert len(network.wires) == 1
        async with pool.answering(parse_url("http://a.test/"), a_request(parse_url("http://a.test/")), verify=True):
            await call(pool, "http://a.test/")
        assert len(network.wires) == 2

    asyncio.run(main())


def test_origins_and_kinds_of_trust_share_nothing() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network)
        for url in ("http://a.test/", "http://a.test:81/", "http://b.test/"):
            await call(pool, url)
        await call(pool, "http://a.test/", verify=False)
        assert len(network.wires) == 4

    asyncio.run(main())


def test_an_answer_that_is_left_unread_costs_its_connection() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network)
        await call(pool, "http://a.test/", read=False)
        assert network.open == 0
        await call(pool, "http://a.test/")
        assert len(network.wires) == 2

    asyncio.run(main())


def test_no_more_than_the_bound_are_kept_and_the_oldest_go_first() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network, idle_max=3)
        for n in range(10):
            await call(pool, f"http://h{n}.test/")
        assert [wire.closed for wire in network.wires] == [True] * 7 + [False] * 3
        await call(pool, "http://h9.test/")
        assert len(network.wires) == 10

    asyncio.run(main())


def test_what_was_idle_for_too_long_is_closed_by_anybody_s_next_request() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network, idle_s=-1.0)
        await call(pool, "http://a.test/")
        assert network.open == 0
        await call(pool, "http://b.test/")
        assert network.open == 0

    asyncio.run(main())


@virtual_time
async def test_what_was_idle_for_too_long_is_closed_when_no_request_comes_any_more() -> None:
    network = Network()
    pool = a_pool(network, idle_s=4.0)
    await call(pool, "http://a.test/")
    await call(pool, "http://b.test/")
    await asyncio.sleep(3.9)
    assert network.open == 2
    await call(pool, "http://b.test/")
    await asyncio.sleep(0.2)
    assert [wire.closed for wire in network.wires] == [True, False], "b was used in between"
    await asyncio.sleep(8.0)
    assert network.open == 0


@virtual_time
async def test_a_connection_in_use_is_not_swept_away() -> None:
    network = Network()
    pool = a_pool(network, idle_s=4.0)
    await call(pool, "http://a.test/")
    url = parse_url("http://a.test/")
    async with pool.answering(url, a_request(url), verify=True) as response:
        await asyncio.sleep(20.0)
        assert network.open == 1
        assert await response.aread() == b"ok"
    await pool.aclose()
    assert network.open == 0


def test_a_closed_pool_keeps_nothing() -> None:
    async def main() -> None:
        network = Network()
        pool = a_pool(network)
        for url in ("http://a.test/", "http://b.test/"):
            await call(pool, url)
        await pool.aclose()
        await pool.aclose()
        assert network.open == 0

    asyncio.run(main())
