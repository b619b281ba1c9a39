"""A request that is passed on over a socket reaches the application as it was sent, and its answer the client."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from chronos.errors import Overloaded
from chronos.server.gate import Message, Receive, Scope, Send
from chronos.server.processes import forwarding
from chronos.server.processes.exchange import Requests
from chronos.server.processes.forwarding import MainGone, Ways

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own, in real time: there are sockets in it."""

    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


class Client:
    """The listener's side: sends pieces of a body, and keeps what is answered."""

    def __init__(self, *pieces: bytes, leaves: bool = False) -> None:
        self._pieces = list(pieces or (b"",))
        self._leaves = leaves
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.answered = asyncio.Event()

    async def receive(self) -> Message:
        if self._pieces:
            body = self._pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._pieces) or self._leaves}
        if not self._leaves:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.answered.set()

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_whole(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False)


def a_scope(path: str = "/", method: str = "GET", **more: Any) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost")],
        **more,
    }


@asynccontextmanager
async def between(app: App) -> AsyncIterator[Ways]:
    """Put a socket between a client and an application."""
    with tempfile.TemporaryDirectory(prefix="ways-") as folder:
        path = Path(folder) / "requests"
        requests, ways = Requests(app, path), Ways(path)
        await requests.start()
        try:
            yield ways
        finally:
            ways.close()
            await requests.stop()


async def read(receive: Receive) -> bytes:
    """Return a whole body; raise when the client leaves in the middle of it."""
    found = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise EOFError
        found += bytes(message["body"])
        if not message["more_body"]:
            return found


async def answer(send: Send, body: bytes = b"yes", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


@in_a_loop
async def test_a_request_arrives_as_it_was_sent_and_with_no_header_more() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append({**scope, "body": await read(receive)})
        await answer(send, b"answer", 201, (b"x-one", b"1"), (b"x-one", b"2"))

    # What a stranger may claim of himself stays among the headers, where nobody looks for it.
    forged = [(b"host", b"h"), (b"x-chronos-principal", b"admin"), (b"x-forwarded-proto", b"https"), (b"a", b"1")]
    sent = a_scope("/a b", "POST", raw_path=b"/a%20b", query_string=b"q=%2F", headers=forged, scheme="https")
    client = Client(b"body")
    async with between(app) as ways:
        await ways.forward(sent, client.receive, client.send)

    got = seen[0]
    for name in ("method", "path", "raw_path", "query_string", "scheme", "headers"):
        assert got[name] == sent[name], name
    assert got["body"] == b"body"
    assert "chronos.principal" not in got
    headers = [(b"content-length", b"6"), (b"x-one", b"1"), (b"x-one", b"2")]
    assert (client.status, client.sent[0]["headers"], client.body) == (201, headers, b"answer")


@in_a_loop
async def test_large_bodies_go_through_in_both_directions() -> None:
    pieces = [bytes([n]) * 300_000 for n in range(20)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, (await read(receive))[::-1])

    client = Client(*pieces)
    async with between(app) as ways:
        await ways.forward(a_scope(method="POST"), client.receive, client.send)

    assert client.body == b"".join(pieces)[::-1]
    assert client.is_whole


@in_a_loop
async def test_one_connection_serves_one_request_after_the_other_streams_among_them() -> None:
    peers = set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        peers.add(id(asyncio.current_task()))
        if scope["path"] != "/stream":
            await answer(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        listening = asyncio.create_task(receive_until_disconnect(receive))
        for n in range(3):
            await send({"type": "http.response.body", "body": b"%d" % n, "more_body": True})
        await send({"type": "http.response.body", "body": b"."})
        await listening  # there are frameworks that end only when they hear that it is over

    async def receive_until_disconnect(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with between(app) as ways:
        for path in ("/", "/stream", "/", "/stream", "/"):
            client = Client()
            await ways.forward(a_scope(path), client.receive, client.send)
            assert (client.status, client.body) == (200, b"012." if path == "/stream" else b"yes")

    assert len(peers) == 1


@in_a_loop
async def test_an_answer_may_come_before_the_body_was_read() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", 413)

    async with between(app) as ways:
        for _ in range(3):
            client = Client(*[b"x" * 100_000] * 50)
            await ways.forward(a_scope(method="POST"), client.receive, client.send)
            assert (client.status, client.body) == (413, b"too large")


@in_a_loop
async def test_half_a_body_never_looks_like_a_whole_one() -> None:
    seen: list[object] = []
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            seen.append(await read(receive))
        except EOFError as exc:
            seen.append(type(exc))
        done.set()
        await answer(send)

    async with between(app) as ways:
        small, large = Client(b"half", leaves=True), Client(b"x" * 100_000, leaves=True)
        await ways.forward(a_scope(method="POST"), small.receive, small.send)
        with pytest.raises(MainGone):
            await ways.forward(a_scope(method="POST"), large.receive, large.send)
        await done.wait()

    assert seen == [EOFError]
    assert small.sent == large.sent == []


@in_a_loop
async def test_a_client_that_leaves_a_stream_ends_it() -> None:
    left = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    client = Client()
    async with between(app) as ways:
        watching = asyncio.create_task(ways.forward(a_scope(), client.receive, client.send))
        await client.answered.wait()
        client.gone.set()
        await left.wait()
        await watching

    assert not client.is_whole


@in_a_loop
async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/breaks":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"beginning", "more_body": True})
        # and nothing more

    client, nothing = Client(), Client()
    async with between(app) as ways:
        await ways.forward(a_scope("/breaks"), client.receive, client.send)
        with pytest.raises(MainGone):
            await ways.forward(a_scope("/none"), nothing.receive, nothing.send)

    assert (client.body, client.is_whole) == (b"beginning", False)
    assert nothing.sent == []


@in_a_loop
async def test_a_slow_client_slows_the_stream_and_fills_no_memory() -> None:
    told = 0
    piece = b"x" * 65_536

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal told
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(400):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            told += 1
        await send({"type": "http.response.body", "body": b""})

    class Slow(Client):
        goes_on = asyncio.Event()

        async def send(self, message: Message) -> None:
            await super().send(message)
            await self.goes_on.wait()

    client = Slow()
    async with between(app) as ways:
        watching = asyncio.create_task(ways.forward(a_scope(), client.receive, client.send))
        before = -1
        while told != before or not told:
            before = told
            for _ in range(200):
                await asyncio.sleep(0)
        assert told < 100, "it waits long before all of it is somewhere on the way"
        client.goes_on.set()
        await watching

    assert len(client.body) == 400 * len(piece)


@in_a_loop
async def test_without_main_the_answer_is_that_it_is_gone(tmp_path: Path) -> None:
    client = Client()
    with pytest.raises(MainGone):
        await Ways(tmp_path / "nobody").forward(a_scope(), client.receive, client.send)
    assert client.sent == []


@in_a_loop
async def test_main_that_is_silent_is_not_waited_for_when_it_is_asked_how_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "HEALTH_S_MAX", 0.01)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    client = Client()
    async with between(app) as ways:
        with pytest.raises(MainGone):
            await ways.forward(a_scope("/ready"), client.receive, client.send)


@in_a_loop
async def test_more_than_main_may_have_at_a_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "WAYS_MAX", 1)
    monkeypatch.setattr(forwarding, "WAIT_S_MAX", 0.01)
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await goes_on.wait()
        await answer(send)

    first, second = Client(), Client()
    async with between(app) as ways:
        waiting = asyncio.create_task(ways.forward(a_scope(), first.receive, first.send))
        await began.wait()
        with pytest.raises(Overloaded):
            await ways.forward(a_scope(), second.receive, second.send)
        goes_on.set()
        await waiting

    assert first.is_whole
