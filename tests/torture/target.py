"""A target that outlives every server, and writes down each arrival before it answers.

    python tests/torture/target.py LOG WHERE [HOST]        prints `ready PORT`

The path says how it behaves: `/NAME?delay=MIN-MAX` in milliseconds, drawn from the execution's id, and `&first=503`
for the status of an execution's first answer. With `&report=MIN-MAX` it answers 202 and reports so much later; of
some executions the first attempt fails, and of some it is never heard of again. The file WHERE says where the server
is. The log has one JSON object a line: `arrived`, then `answered` or `gone` when the other side hung up before, and
`reported` when a server has answered a report, with the time of the first try: one that died may have heard it, too.
`stalled` says that the target itself stood still since a moment, so that nobody is blamed for what came late then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

OK, ACCEPTED = 200, 202
NOT_NOW = frozenset({0, 503, 507})
REPORTS_MAX = 200
AGAIN_S = 0.25
BEAT_S = 0.1
STALL_S = 0.4
REPORT_S = 5.0
FATES = {0: "", 1: "failure"}
"""Of ten executions, what the first attempt reports of two; the others succeed. Nothing: it is never heard of again."""


class Log:
    """Appends lines with one system call each: what is written is in the kernel's hands, and survives us."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, "at": time.time(), **facts}) + "\n"
        os.write(self._file, line.encode())


class Reporter:
    """Reports what long work has come to, until a server has heard it."""

    def __init__(self, log: Log, where: Path) -> None:
        self._log = log
        self._where = where
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, key: str, attempt: int, address: str, report_ms: int) -> None:
        """Report on an attempt after that time, if it is one that reports."""
        result = FATES.get(zlib.crc32(key.encode()) % 10, "success") if attempt == 1 else "success"
        if result:
            task = asyncio.create_task(self._report(key, attempt, address, result, report_ms / 1000))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _report(self, key: str, attempt: int, address: str, result: str, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        since = time.time()
        for _ in range(REPORTS_MAX):
            status = await self._posted(address, json.dumps({"result": result}).encode())
            if status not in NOT_NOW:
                self._log.write("reported", id=key, attempt=attempt, result=result, status=status, since=since)
                return
            await asyncio.sleep(AGAIN_S)

    async def _posted(self, address: str, body: bytes) -> int:
        """Return what the server answers; 0 when there is none, or it dies before."""
        to, url = urlsplit(self._where.read_text()), urlsplit(address)  # each server has a port of its own
        head = f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: {to.netloc}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(REPORT_S):
                reader, writer = await asyncio.open_connection(to.hostname, to.port)
                try:
                    writer.write(head.encode() + body)
                    line = await reader.readline()
                finally:
                    writer.close()
            return int(line.split()[1])
        except (OSError, TimeoutError, IndexError):
            return 0


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self, log: Log, answered: Counter[str], reporter: Reporter) -> None:
        self._log = log
        self._answered = answered
        self._reporter = reporter
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
        token = headers.get("chronos-fencing-token", "")
        self._log.write("arrived", job=url.path.strip("/"), id=key, attempt=attempt, due=due, token=token)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        least, _, most = asked.get("delay", "0-0").partition("-")
        delay_ms = int(least) + zlib.crc32(key.encode()) % (int(most) - int(least) + 1)
        status = int(asked.get("first", OK)) if not self._answered[key] else OK
        if "report" in asked:
            status = ACCEPTED
            soonest, _, latest = asked["report"].partition("-")
            report_ms = int(soonest) + zlib.crc32(f"{key} {attempt}".encode()) % (int(latest) - int(soonest) + 1)
            self._reporter.begin(key, attempt, headers["x-chronos-callback"], delay_ms + report_ms)
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


async def beat(log: Log) -> None:
    """Write down whenever this process stood still."""
    before = time.time()
    while True:
        await asyncio.sleep(BEAT_S)
        now = time.time()
        if now - before > BEAT_S + STALL_S:
            log.write("stalled", since=before)
        before = now


async def serve(log: Log, where: Path, host: str) -> None:
    answered: Counter[str] = Counter()
    reporter = Reporter(log, where)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(log, answered, reporter), host, 0, backlog=1_024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    beating = asyncio.create_task(beat(log))
    await server.serve_forever()
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(serve(Log(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or ["127.0.0.1"])[0]))
