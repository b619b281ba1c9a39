"""A whole node in this process, with what comes from outside brought along."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from chronos.server import manifest
from chronos.server.assemble import Node, Outside, assemble, data_folder
from chronos.server.config import load
from chronos.server.lifecycle import Lifecycle
from chronos.timing.clock import SystemClock

PATIENCE_S = 30.0


class SteppedClock:
    """The system's clock, on a machine whose administrator sets it."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s
        self._clock = SystemClock()

    def time(self) -> float:
        return self._clock.time() + self.ahead_s

    def boottime(self) -> float:
        return self._clock.boottime()


@dataclass
class Living:
    """A node that lives, and what it came to."""

    node: Node
    life: Lifecycle
    running: asyncio.Task[int]
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.node.door.listener.url

    async def call(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            return await client.request(method, self.url + path, json={} if body is None and method == "POST" else body)

    async def ctl(self, *arguments: str) -> tuple[int, str]:
        """Run `chronosctl` against it; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("chronosctl")), "--server", self.url, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode()


@asynccontextmanager
async def a_node(
    folder: Path, outside: Outside | None = None, *, prepare: Any = None, **flags: str
) -> AsyncIterator[Living]:
    """Run a node for as long as the block lasts; `prepare` is called with it before it starts.

    Args:
        flags: Keys of the configuration, two underscores for each dot.
    """
    flags = {name.replace("__", "."): value for name, value in flags.items()}
    given = {"cluster.data_dir": str(folder), "server.http.address": "127.0.0.1:0"}
    flags = {"dispatcher.workers": "0"} | flags | given
    config = load(None, environ={}, flags=flags, feature_types=manifest.sections())
    with data_folder(config.settings) as opened:
        node = assemble(config, opened, outside=outside)
        if prepare is not None:
            prepare(node)
        ready = asyncio.Event()
        life = Lifecycle(node, opened, with_demo=False, announce=lambda _: ready.set())
        living = Living(node, life, asyncio.create_task(life.live()))
        waiting = asyncio.create_task(ready.wait())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({waiting, living.running}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield living
        finally:
            life.ask()
            async with asyncio.timeout(PATIENCE_S):
                await living.running


async def until(what: Any) -> None:
    """Ask `what`, a coroutine function, until it says yes."""
    async with asyncio.timeout(PATIENCE_S):
        while not await what():  # noqa: ASYNC110  # it happens in the node, which tells nobody
            await asyncio.sleep(0.05)
