"""A target that keeps what reaches it: the only witness that does not belong to Chronos."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Arrival:
    """One request, as it came in. Times are seconds since the epoch."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def execution(self) -> str:
        return self.headers.get("webhook-id", "")

    @property
    def attempt(self) -> int:
        return int(self.headers.get("x-chronos-attempt", "0"))


@dataclass
class RecordingTarget:
    """Answers 200 after `delay_s`; other answers by path: `/status/503` answers 503."""

    delay_s: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    url: str = ""
    _server: asyncio.Server | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1_024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def until(self, holds: Callable[[list[Arrival]], bool], *, within_s: float) -> None:
        """Return once `holds` says so of the arrivals; it is asked after each one.

        Raises:
            TimeoutError: It never did.
        """
        async with asyncio.timeout(within_s):
            while not holds(self.arrivals):
                self._news.clear()
                await self._news.wait()

    def by_execution(self) -> dict[str, list[Arrival]]:
        """Return the arrivals of each execution, in order."""
        found: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self.arrivals:
            found[arrival.execution].append(arrival)
        return found

    def status_of(self, path: str) -> int:
        """Return what a path is answered with."""
        return int(path.rpartition("/")[2]) if path.startswith("/status/") else 200

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        at = time.time()
        line, *rest = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): text.strip() for name, _, text in (r.partition(":") for r in rest)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.arrivals.append(Arrival(at, method, path, headers, body))
        self._news.set()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        writer.write(f"HTTP/1.1 {self.status_of(path)} X\r\nContent-Length: 2\r\n\r\nok".encode())
        await writer.drain()
        return True
