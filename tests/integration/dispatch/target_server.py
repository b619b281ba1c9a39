"""A target for tests: a raw server on loopback that answers well, badly, slowly or not at all, by path."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from msgspec import Struct


class Got(Struct):
    """A request, as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    raw_head: str = ""


Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[["TargetServer", Got, Writer], Awaitable[bool]]


class TargetServer:
    """Serves the paths below; keeps every request in `got`.

    Attributes:
        connections: Connections accepted so far.
        location: Where `/redirect/CODE` leads.
        reply: Bytes that `/raw` sends as they are before it closes.
        stalled: Set when a request to `/hang` has come in.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.got: list[Got] = []
        self.connections = 0
        self.location = "/"
        self.reply = b""
        self.stalled = asyncio.Event()
        self.open_now = 0
        self.open_max = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.connections
        try:
            while got := await self._request(reader, number):
                self.got.append(got)
                self.open_now += 1
                self.open_max = max(self.open_max, self.open_now)
                try:
                    if not await self._answer(got, writer):
                        break
                finally:
                    self.open_now -= 1
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _request(self, reader: Reader, connection: int) -> Got | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Got(method, path, headers, body, connection, head)

    async def _answer(self, got: Got, writer: Writer) -> bool:
        """Answer one request; returns whether the connection stays."""
        what, _, detail = got.path.partition("?")[0].strip("/").partition("/")
        handler = _HANDLERS.get(what, _ok)
        return await handler(self, Got(got.method, detail, got.headers, got.body, got.connection, got.raw_head), writer)


async def _send(writer: Writer, status: int, body: bytes = b"", **headers: str) -> bool:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    await writer.drain()
    return True


async def _ok(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, 200, b"ok")


async def _status(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, int(got.path), b"" if got.path in ("204", "304") else b"as you wish")


async def _later(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, 503, b"busy", Retry_After=got.path)


async def _echo(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, 200, got.raw_head.encode("latin-1") + got.body)


async def _hang(server: TargetServer, got: Got, writer: Writer) -> bool:
    server.stalled.set()
    await asyncio.Event().wait()
    return False


async def _drip(server: TargetServer, got: Got, writer: Writer) -> bool:
    """A byte at a time, for ever: each read succeeds, the whole never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)
    return False


async def _huge(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()
    return False


async def _bomb(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, 200, gzip.compress(bytes(int(got.path))), Content_Encoding="gzip")


async def _packed(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, 200, gzip.compress(b"hello, packed"), Content_Encoding="gzip")


async def _redirect(server: TargetServer, got: Got, writer: Writer) -> bool:
    return await _send(writer, int(got.path), b"over there", Location=server.location)


async def _raw(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(server.reply)
    await writer.drain()
    return False


async def _drop(server: TargetServer, got: Got, writer: Writer) -> bool:
    """Answers the first request of a connection, and closes it when the second has come in."""
    if sum(1 for each in server.got if each.connection == got.connection) > 1:
        return False
    return await _send(writer, 200, b"first")


async def _slam(server: TargetServer, got: Got, writer: Writer) -> bool:
    return False


async def _flood_headers(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(int(got.path))) + b"\r\n")
    await writer.drain()
    return False


async def _long_header(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * int(got.path) + b"\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    return False


async def _informational(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * int(got.path))
    return await _send(writer, 200, b"after all")


async def _cut(server: TargetServer, got: Got, writer: Writer) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    await writer.drain()
    return False


_HANDLERS: dict[str, Handler] = {
    "status": _status,
    "later": _later,
    "echo": _echo,
    "hang": _hang,
    "drip": _drip,
    "huge": _huge,
    "bomb": _bomb,
    "packed": _packed,
    "redirect": _redirect,
    "raw": _raw,
    "drop": _drop,
    "slam": _slam,
    "flood_headers": _flood_headers,
    "long_header": _long_header,
    "informational": _informational,
    "cut": _cut,
}


class FarSide:
    """A target that takes one request, says nothing, and notes how the connection ends: `closed`, or `reset`."""

    def __init__(self, ends: list[str], answer: bytes = b"") -> None:
        self.ended = asyncio.Event()
        self._ends = ends
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def _connected(self, reader: Reader, writer: Writer) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer)
            while await reader.read(4096):
                pass
            self._ends.append("closed")
        except ConnectionResetError:
            self._ends.append("reset")
        writer.close()
        self.ended.set()
