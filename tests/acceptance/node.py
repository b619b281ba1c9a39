"""A real `chronos server` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

START_S = 30.0
WORKERS = "CHRONOS_DISPATCHER__WORKERS"


class Node:
    """Starts, kills and restarts one server on one data folder.

    Args:
        program: What Python runs; it has to understand the arguments of `chronos`.
        workers: Processes that deliver; the server itself does without.
        within: What to put before the command, so that it runs somewhere else than here.
        http_address: Where it listens.

    Attributes:
        start_s: How long a start may take.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "chronos.cli.server"),
        workers: str = "0",
        within: Sequence[str] = (),
        http_address: str = "127.0.0.1:0",
    ) -> None:
        self.folder = folder
        self.url = ""
        self.start_s = START_S
        self._arguments = arguments
        self._program = program
        self._within = within
        self._http_address = http_address
        self._env = {WORKERS: workers, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._lines: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the server says that it is ready."""
        self._lines = []
        self._process = await asyncio.create_subprocess_exec(
            *self._within,
            sys.executable,
            *self._program,
            "server",
            "--http-address",
            self._http_address,
            "--data-dir",
            str(self.folder),
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._env},
            limit=1 << 20,
        )
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(ready))
        async with asyncio.timeout(self.start_s):
            self.url = await ready

    async def _read(self, ready: asyncio.Future[str]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self._lines.append(line)
            if line.startswith("ready ") and not ready.done():
                ready.set_result(line.split()[1])
        if not ready.done():
            ready.set_exception(AssertionError("the server ended:\n" + "\n".join(self._lines[-40:])))

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return await self._end(signal.SIGTERM)

    def ask_to_stop(self) -> None:
        """Ask it to end, and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def ended(self) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        return await self._end(None)

    async def _end(self, how: signal.Signals | None) -> int:
        assert self._process is not None
        if how is not None and self._process.returncode is None:
            self._process.send_signal(how)
        code = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return code

    @property
    def output(self) -> str:
        """What it has printed since its start."""
        return "\n".join(self._lines)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Make one request."""
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            return await client.request(
                method, self.url + path, json=body, headers={"Content-Type": "application/json", **headers}
            )
