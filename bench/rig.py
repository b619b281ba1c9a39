"""What load benchmarks share: a server and a sink in processes of their own, jobs in bulk, CPU and memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
from bench.pace import TICKS
from bench.sink import Arrival, Witnessed
from tests.acceptance.node import Node

ROLES = {"chronos.server.processes": "api", "chronos.server.worker": "worker", "chronos.store.background": "files"}
BATCH = 5_000
"""Jobs a request: 10,000 documents are what the server takes at most."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PAGE = Path(__file__).with_name("sink.py")


class Process(NamedTuple):
    """What one process has used so far."""

    cpu_s: float
    resident_bytes: int


class SinkProcess:
    """The target: see `bench.sink`."""

    def __init__(self, file: Path, delay_ms: float = 0.0) -> None:
        self._file = file
        self._delay_ms = delay_ms
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        command = [sys.executable, str(PAGE), str(self._file), "--delay-ms", str(self._delay_ms)]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(await self._process.stdout.readline())}/"

    async def stop(self) -> list[Arrival]:
        """End it, and return what arrived."""
        return [one[:4] for one in await self.witnessed()]

    async def witnessed(self) -> list[Witnessed]:
        """End it, and return what arrived, with the fencing tokens."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        return msgspec.msgpack.decode(self._file.read_bytes(), type=list[Witnessed])


class Rig(NamedTuple):
    """Both of them, started."""

    node: Node
    sink: SinkProcess
    client: httpx2.AsyncClient

    @property
    def server_pid(self) -> int:
        process = self.node._process
        assert process is not None
        return process.pid

    def used(self) -> dict[str, Process]:
        """Return what the server, its children, the sink and this script have used since they began."""
        used = {"server": process_of(self.server_pid)}
        used |= {f"{role_of(pid)}.{number}": process_of(pid) for number, pid in enumerate(children(self.server_pid), 1)}
        return used | {"sink": process_of(self.sink.pid), "bench": process_of(os.getpid())}

    async def create(self, jobs: Iterable[dict[str, Any]]) -> int:
        """Create jobs through the batch API; return how many there are."""
        count, lines = 0, bytearray()
        for job in jobs:
            lines += msgspec.json.encode(job) + b"\n"
            count += 1
            if count % BATCH == 0:
                await self._post(bytes(lines))
                lines.clear()
        if lines:
            await self._post(bytes(lines))
        return count

    async def _post(self, lines: bytes) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await self.client.post("/api/v1/jobs:batch", content=lines, headers=headers, timeout=300)
        answer.raise_for_status()
        wrong = [result for result in answer.json()["results"] if result["error"] is not None]
        if wrong:
            raise RuntimeError(f"{len(wrong)} jobs were refused, the first: {wrong[0]}")

    async def recorded(self) -> int:
        """Return how many executions have ended well, durably, since the server began."""
        text = (await self.client.get("/metrics", timeout=60)).text
        lines = [line for line in text.splitlines() if line.startswith("chronos_executions_total{")]
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if 'status="success"' in line))


@asynccontextmanager
async def rig(folder: Path, *arguments: str, delay_ms: float = 0.0) -> AsyncIterator[Rig]:
    """Start a server on a new data folder, and a sink; end both."""
    sink = SinkProcess(folder / "arrivals", delay_ms)
    node = Node(folder / "data", "--log-level", "error", *arguments, workers="auto")
    await sink.start()
    try:
        await node.start()
        async with httpx2.AsyncClient(trust_env=False, base_url=node.url, timeout=60) as client:
            yield Rig(node, sink, client)
    finally:
        if node._process is not None and node._process.returncode is None:
            await node.stop()
        await sink.stop()


def process_of(pid: int) -> Process:
    """Return what a process has used; nothing where there is no /proc, or when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Process(0.0, 0)
    return Process((int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_BYTES)


def role_of(pid: int) -> str:
    """Return what a server's child does, by the module it runs."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return "child"
    return next((role for module, role in ROLES.items() if module in command), "child")


def children(pid: int) -> list[int]:
    """Return the children of a process and theirs, in order of their ids."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        direct = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    for child in direct:
        found += [child, *children(child)]
    return sorted(found)


def spent(before: dict[str, Process], after: dict[str, Process]) -> dict[str, float]:
    """Return the seconds of CPU that each process has used in between."""
    return {name: round(used.cpu_s - before.get(name, Process(0.0, 0)).cpu_s, 2) for name, used in after.items()}
