"""A target that outlives every server, and writes down each arrival before it answers.

    python tests/torture/target.py LOG        prints `ready PORT`

The path says how it behaves: `/NAME?delay=MIN-MAX` in milliseconds, drawn from the execution's id, and `&first=503`
for the status of an execution's first answer. The log has one JSON object a line: `arrived`, then `answered` or
`gone` when the other side hung up before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from collections import Counter
from urllib.parse import parse_qs, urlsplit

OK = 200


class Log:
    """Appends lines with one system call each: what is written is in the kernel's hands, and survives us."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, "at": time.time(), **facts}) + "\n"
        os.write(self._file, line.encode())


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, log: Log, answered: Counter[str]) -> None:
        self._log = log
        self._answered = answered
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._waiting: tuple[str, int] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (each.partition(":") for each in fields)}
        length = int(headers.get("content-length", "0"))
        if len(rest) >= length:
            self._received = rest[length:]
            self._arrived(line.split(" ")[1], headers)

    def _arrived(self, target: str, headers: dict[str, str]) -> None:
        url = urlsplit(target)
        key, attempt = headers.get("webhook-id", ""), int(headers.get("x-chronos-attempt", "0"))
        due = headers.get("x-chronos-scheduled-time", "")
        self._log.write("arrived", job=url.path.strip("/"), id=key, attempt=attempt, due=due)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        least, _, most = asked.get("delay", "0-0").partition("-")
        delay_ms = int(least) + zlib.crc32(key.encode()) % (int(most) - int(least) + 1)
        status = int(asked.get("first", OK)) if not self._answered[key] else OK
        self._waiting = (key, attempt)
        self._timer = asyncio.get_running_loop().call_later(delay_ms / 1000, self._answer, status)

    def _answer(self, status: int) -> None:
        assert self._waiting is not None
        assert self._transport is not None
        key, attempt = self._waiting
        self._waiting = None
        self._answered[key] += 1
        self._log.write("answered", id=key, attempt=attempt, status=status)
        self._transport.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            key, attempt = self._waiting
            self._log.write("gone", id=key, attempt=attempt)
        if self._timer is not None:
            self._timer.cancel()


async def serve(log: Log) -> None:
    answered: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(log, answered), "127.0.0.1", 0, backlog=1_024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Log(sys.argv[1])))
