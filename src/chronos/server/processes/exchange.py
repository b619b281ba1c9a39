"""Main's side of a request that an API process passes on: it goes through the whole application, gate and all."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from chronos.server.gate import Asgi, Message, Scope
from chronos.server.processes.frames import Connection, frame
from chronos.server.processes.messages import Begun, Piece, Request, read_asked

PIECE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 4_096
STOP_S = 5.0
SKIP_S_MAX = 30.0


class Requests:
    """Answers what comes over the socket at `path` with `app`, one request at a time on each connection."""

    def __init__(self, app: Asgi, path: Path) -> None:
        self._app = app
        self._path = path
        self._server: asyncio.AbstractServer | None = None
        self._serving: dict[asyncio.Task[None], Connection] = {}

    async def start(self) -> None:
        """Take connections from now on."""
        self._server = await open_server(lambda: Connection(made=self._begin), self._path)

    async def stop(self) -> None:
        """Let what is under way end for five seconds, and close. Stopping twice, or unstarted, does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._serving)
        for connection in self._serving.values():
            connection.close()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _begin(self, connection: Connection) -> None:
        if not is_ours(connection) or len(self._serving) >= CONNECTIONS_MAX:
            connection.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection), name="passed on")
        self._serving[task] = connection
        task.add_done_callback(self._serving.pop)

    async def _serve(self, connection: Connection) -> None:
        try:
            while (raw := await connection.get()) is not None:
                request = read_asked(raw)
                assert isinstance(request, Request), "a request comes first"
                exchange = Exchange(connection, request)
                await self._app(exchange.scope, exchange.receive, exchange.send)
                if not exchange.is_answered or not await exchange.skip_rest():
                    break  # an answer that broke off is seen by the close
        finally:
            connection.close()


class Exchange:
    """One request and its answer, as an ASGI application sees them."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._unread: bytes | None = request.body
        self._more = request.more
        self._start: Message | None = None
        self._over = asyncio.Event()
        self.scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": None,
            "client": None,
            "scheme": request.scheme,
            "method": request.method,
            "root_path": "",
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "headers": request.headers,
            "state": {},
        }

    @property
    def is_answered(self) -> bool:
        """Whether the answer is complete."""
        return self._over.is_set()

    async def skip_rest(self) -> bool:
        """Read past what nobody wanted of the body, and return whether the next request may come.

        Closing at once would have the other end fail to send before it reads what was answered.
        """
        try:
            async with asyncio.timeout(SKIP_S_MAX):
                while self._more and (raw := await self._connection.get()) is not None:
                    piece = read_asked(raw)
                    self._more = isinstance(piece, Piece) and piece.more
        except TimeoutError:
            return False
        return not self._more

    async def receive(self) -> Message:
        if self._unread is not None:
            body, self._unread = self._unread, None
            return {"type": "http.request", "body": body, "more_body": self._more}
        if self._more and not self._over.is_set() and (raw := await self._connection.get()) is not None:
            piece = read_asked(raw)
            assert isinstance(piece, Piece), "only pieces of the body follow"
            self._more = piece.more
            return {"type": "http.request", "body": piece.body, "more_body": piece.more}
        await self._until_over()
        return {"type": "http.disconnect"}

    async def _until_over(self) -> None:
        """Return when the client is gone, or has its whole answer: there are applications that wait for it."""
        gone, over = asyncio.create_task(self._connection.lost.wait()), asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({gone, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            over.cancel()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            if _has_length(message):
                return  # the body comes at once, and travels along
            message = {"body": b"", "more_body": True}
        await self._send_body(message.get("body", b""), more=message.get("more_body", False))

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        for at in range(0, max(1, len(body)), PIECE_BYTES_MAX):
            is_last = at + PIECE_BYTES_MAX >= len(body)
            self._send_piece(bytes(body[at : at + PIECE_BYTES_MAX]), more=more or not is_last)
            if more or not is_last:
                await self._connection.drained()
        if not more:
            self._over.set()

    def _send_piece(self, body: bytes, *, more: bool) -> None:
        start, self._start = self._start, None
        if start is None:
            self._connection.put(frame(Piece(body, more)))
        else:
            headers: Any = [(bytes(name), bytes(value)) for name, value in start.get("headers", [])]
            self._connection.put(frame(Begun(start["status"], headers, body, more)))


def _has_length(message: Message) -> bool:
    return any(name.lower() == b"content-length" for name, _ in message.get("headers", []))


async def open_server(protocol: Any, path: Path) -> asyncio.AbstractServer:
    """Return a server on a Unix socket that only its owner may open."""
    before = os.umask(0o177)
    try:
        return await asyncio.get_running_loop().create_unix_server(protocol, str(path))
    finally:
        os.umask(before)


def is_ours(connection: Connection) -> bool:
    """Whether the process at the other end is of the same user as this one."""
    return connection.user() in (None, os.geteuid())
