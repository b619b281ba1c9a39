"""A target that answers at once (or after a while) and remembers what arrived, for as little CPU as Python allows.

    python bench/sink.py FILE [--delay-ms N]

It runs in a process of its own, so that its CPU is told apart, prints its port, and on SIGTERM writes what it has
seen to FILE: msgpack, one array of (seconds since the epoch, execution id, job id, due instant, fencing token) per
request.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import cast

import msgspec
import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
END = b"\r\n\r\n"

Arrival = tuple[float, str, str, float]
Witnessed = tuple[float, str, str, float, str]
"""An arrival with its fencing token."""


class Sink:
    """What all connections share."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.seen: list[tuple[float, bytes]] = []

    def arrivals(self) -> list[Witnessed]:
        """Return what arrived, in order of arrival."""
        return [witnessed(one) for one in self.seen]


class Connection(asyncio.Protocol):
    """Reads requests with a `Content-Length`, one after the other."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._unread = data = self._unread + data if self._unread else data
        while (end := data.find(END)) >= 0:
            head = data[:end]
            length = _length(head)
            if len(data) < end + len(END) + length:
                break
            data = data[end + len(END) + length :]
            self._sink.seen.append((now, head))
            self._answer()
        self._unread = data

    def _answer(self) -> None:
        if self._sink.delay_s:
            asyncio.get_running_loop().call_later(self._sink.delay_s, self._send)
        else:
            self._transport.write(ANSWER)

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


def _length(head: bytes) -> int:
    found = _value(head, b"content-length")
    return int(found) if found else 0


def _value(head: bytes, name: bytes) -> bytes:
    lower = head.lower()
    begin = lower.find(b"\r\n" + name + b":")
    if begin < 0:
        return b""
    begin += len(name) + 3
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else None].strip()


def witnessed(taken: tuple[float, bytes]) -> Witnessed:
    """Return what a request says of itself."""
    at, head = taken
    due = datetime.fromisoformat(_value(head, b"x-chronos-scheduled-time").decode()).timestamp()
    execution, job, token = (
        _value(head, name).decode() for name in (b"webhook-id", b"x-chronos-job-id", b"chronos-fencing-token")
    )
    return at, execution, job, due, token


async def serve(sink: Sink) -> None:
    """Answer until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()


def main() -> int:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("file", type=Path)
    line.add_argument("--delay-ms", type=float, default=0.0)
    chosen = line.parse_args()
    sink = Sink(chosen.delay_ms / 1000)
    uvloop.run(serve(sink))
    chosen.file.write_bytes(msgspec.msgpack.encode(sink.arrivals()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
