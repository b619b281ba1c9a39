"""A client that costs next to nothing: what is measured is the server, and both share the machine's cores."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

ANSWER_BYTES_MAX = 16 << 20


class Asker:
    """Sends HTTP/1.1 requests over kept connections, as many at a time as there are callers. No TLS, no chunks."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> int:
        """Send one request, read its answer, and return its status."""
        connection = self._idle.pop() if self._idle else await self._connect()
        reader, writer = connection
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{headers}"
        head += f"Content-Length: {len(body)}\r\n\r\n" if method != "GET" else "\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = lines.partition(b"content-length:")
        await reader.readexactly(int(length.split(b"\r\n", 1)[0]))
        self._idle.append(connection)
        return int(lines.split(b" ", 2)[1])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, limit=ANSWER_BYTES_MAX)

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            await writer.wait_closed()
