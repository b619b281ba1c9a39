"""A connection to etcd on which answers get lost and requests come late."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Proxy:
    """Listens on a port of its own and hands on what it hears.

    Attributes:
        hears: While cleared, what clients send waits here.
        answers: While cleared, what etcd answers is thrown away, and the connection is of no more use.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.hears, self.answers = asyncio.Event(), asyncio.Event()
        self.held = asyncio.Event()
        self.hears.set()
        self.answers.set()

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._hand_on(reader, upstream_writer, self.hears))
                both.create_task(self._answer(upstream_reader, writer))
        except* ConnectionError:
            pass
        finally:
            writer.close()
            upstream_writer.close()
            self._tasks.discard(task)

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            if not may.is_set():
                self.held.set()
                await may.wait()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.answers.is_set():
                self.held.set()
                continue
            writer.write(data)
            await writer.drain()
        writer.close()
