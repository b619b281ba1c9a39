"""Clients that are slow, greedy or gone: on a real socket, with a patience of moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chronos.server.listener import Listener, _Gathering, limits_of
from chronos.server.settings import Http

PATIENCE_S = 20.0
QUICK = Http(read_timeout="100ms", write_timeout="100ms", idle_timeout="1s", max_header_bytes=2_048)
MUCH = 32 * 1024 * 1024


class App:
    """Answers every request with the size of its body; `/much` with more than a socket holds."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.set()
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(MUCH // 65_536 if scope["path"] == "/much" else 0):
                await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
            await send({"type": "http.response.body", "body": str(len(body)).encode()})
        finally:
            self.ended.set()


@asynccontextmanager
async def listening(http: Http = QUICK) -> AsyncIterator[tuple[App, asyncio.StreamReader, asyncio.StreamWriter]]:
    app = App()
    async with asyncio.timeout(PATIENCE_S), Listener(app, "127.0.0.1", 0, http) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        try:
            yield app, reader, writer
        finally:
            writer.close()


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server closes; it ends only when the server does."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@pytest.mark.asyncio
async def test_headers_that_never_end_are_given_up() -> None:
    async with listening() as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await writer.drain()

        assert await rest_of(reader) == b""


@pytest.mark.asyncio
async def test_a_connection_that_says_nothing_is_given_up() -> None:
    async with listening() as (_, reader, _writer):
        assert await rest_of(reader) == b""


@pytest.mark.asyncio
async def test_a_body_that_never_ends_is_given_up() -> None:
    async with listening() as (app, reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        await writer.drain()

        assert await rest_of(reader) == b""
        await app.ended.wait()


@pytest.mark.asyncio
async def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async with listening() as (app, reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's socket transports have it
        writer.write(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()

        await app.ended.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await rest_of(reader)) < MUCH


@pytest.mark.asyncio
async def test_a_connection_that_idles_between_requests_is_closed() -> None:
    async with listening() as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()

        assert b"200 OK" in await rest_of(reader)


@pytest.mark.asyncio
@pytest.mark.parametrize("head", [b"X-Big: " + b"a" * 4_096, b"\r\n".join(b"X-%d: 1" % n for n in range(101))])
async def test_headers_that_are_too_many_or_too_big_are_refused(head: bytes) -> None:
    async with listening() as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        await writer.drain()

        assert b" 400 " in (await rest_of(reader)).partition(b"\r\n")[0]


@pytest.mark.asyncio
async def test_a_request_in_time_is_answered() -> None:
    async with listening() as (_, reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")
        await writer.drain()

        assert (await rest_of(reader)).endswith(b"3\r\n0\r\n\r\n")


def test_the_limits_are_the_configurations() -> None:
    limits = limits_of(Http(read_timeout="2m", write_timeout="7s", idle_timeout="3s", max_header_bytes=4_096))

    assert (limits.header_s, limits.body_s, limits.write_s) == (10.0, 120.0, 7.0)
    assert (limits.idle_s, limits.header_bytes) == (3.0, 4_096)


class Wire:
    """A transport that notes what is asked of it."""

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.heard.append(data)

    def close(self) -> None:
        self.heard.append("close")

    def abort(self) -> None:
        self.heard.append("abort")

    def is_closing(self) -> bool:
        return self.heard[-1:] in (["close"], ["abort"])


@pytest.mark.asyncio
async def test_what_is_written_in_one_turn_of_the_loop_is_sent_together_and_before_the_end() -> None:
    wire = Wire()
    gathering = _Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head ")
    gathering.write(b"body")
    await asyncio.sleep(0)
    gathering.write(b"more")
    gathering.close()
    await asyncio.sleep(0)

    assert wire.heard == [b"head body", b"more", "close"]


@pytest.mark.asyncio
async def test_what_is_long_is_sent_at_once_and_what_is_broken_off_not_at_all() -> None:
    long, broken = Wire(), Wire()
    gathering = _Gathering(long, asyncio.get_running_loop())
    gathering.write(b"head")
    gathering.write(b"x" * 100_000)
    sent_at_once = list(long.heard)
    breaking = _Gathering(broken, asyncio.get_running_loop())
    breaking.write(b"head")
    breaking.abort()
    await asyncio.sleep(0)

    assert sent_at_once == long.heard == [b"head" + b"x" * 100_000]
    assert broken.heard == ["abort"]
