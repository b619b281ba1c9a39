"""The demo: an echo target on a loopback listener of its own, and three jobs that call it.

The jobs carry the tag `demo`; they vanish at the next start without `--demo`.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from chronos.errors import ConfigInvalid, JobNotFound
from chronos.model.job import JobSpec, RetryPolicy
from chronos.model.target import HttpTarget
from chronos.store.state import tag_trait
from chronos.timing.clock import Clock, utc

if TYPE_CHECKING:
    from chronos.scheduler.jobs import JobService
    from chronos.store.queries import Queries

log = structlog.get_logger("chronos.demo")

TAG = "demo"
BY = "demo"
NAMESPACE = "default"
LEFT_MAX = 100
READ_S = 10.0
REQUEST_BYTES_MAX = 64 * 1024
EVERY_THIRD = 3
ONE_SHOT_S = 30


class EchoTarget:
    """A small HTTP server on 127.0.0.1: `/echo` says yes, `/flaky` says no two times out of three."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._flaky = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=REQUEST_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = _content_length(head)
                body = await reader.readexactly(length) if length else b""
                writer.write(self.answer(head.split(" ", 2)[1] if " " in head else "/", body))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    def answer(self, path: str, body: bytes) -> bytes:
        """Return the whole HTTP answer to a request."""
        status, said = "200 OK", body or b"hello from the demo's echo target\n"
        if path == "/flaky":
            self._flaky += 1
            if self._flaky % EVERY_THIRD:
                status, said = "503 Service Unavailable", b"the flaky path is down; ask again\n"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + said


def demo_jobs(port: int, now_s: float) -> list[JobSpec]:
    """Return the three jobs of the demo, calling the echo target on `port`."""
    base, tags = f"http://127.0.0.1:{port}", {TAG: "true"}
    once = utc(int(now_s)) + timedelta(seconds=ONE_SHOT_S)
    return [
        JobSpec(
            name="demo-heartbeat",
            description="Says hello every five seconds.",
            schedule="*/5 * * * * *",
            webhook=HttpTarget(url=f"{base}/echo", body='{"job":"{{.JobName}}","attempt":{{.Attempt}}}'),
            tags=tags,
        ),
        JobSpec(
            name="demo-flaky",
            description="Calls a path that fails twice before it works: watch the retries.",
            schedule="* * * * *",
            webhook=HttpTarget(url=f"{base}/flaky"),
            retry_policy=RetryPolicy(max_attempts=5, initial_interval="500ms", max_interval="3s"),
            tags=tags,
        ),
        JobSpec(
            name="demo-once",
            description="Runs once, thirty seconds after the start.",
            schedule=f"@at {once.isoformat().replace('+00:00', 'Z')}",
            webhook=HttpTarget(url=f"{base}/echo", body="once"),
            tags=tags,
        ),
    ]


async def clear(jobs: JobService, queries: Queries) -> None:
    """Delete the jobs an earlier demo left behind."""
    # By the tag in its namespace, under which jobs are listed: across all of them every job there is would be read.
    tagged = list(islice(queries.jobs_with(tag_trait(NAMESPACE, TAG, "true")), LEFT_MAX))
    for job in tagged:
        if job.created_by == BY:
            try:
                await jobs.delete(job.id, namespace=job.namespace, by=BY)
            except JobNotFound:
                continue


async def start(jobs: JobService, target: EchoTarget, clock: Clock) -> None:
    """Create the demo's jobs."""
    for spec in demo_jobs(target.port, clock.time()):
        await jobs.create(spec, by=BY)
    log.info("demo_started", echo=f"http://127.0.0.1:{target.port}", jobs=3)


def check(on_loopback: bool) -> None:
    """Refuse a demo that others could reach.

    Raises:
        ConfigInvalid: The server listens beyond loopback.
    """
    if not on_loopback:
        raise ConfigInvalid(
            "`--demo` is for loopback: its jobs and its target are open to everybody who can reach them."
        )


def _content_length(head: str) -> int:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdigit():
            return min(int(value), REQUEST_BYTES_MAX)
    return 0
