"""Three real servers with real engines on loopback: founded, started, asked, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psutil
from bench.rig import ROLES

from chronos.cluster.etcd.child import mortal
from chronos.errors import Unavailable
from chronos.server import manifest
from chronos.server.founding.folders import Wanted, found
from chronos.server.founding.nodes import read_nodes
from chronos.timing.clock import Chance, Clock, SystemChance, SystemClock

START_S = 90.0
"""How long a node may take to start; the first start of a cluster waits for its engines to find each other."""
STOP_S = 45.0
PATIENCE_S = 60.0
LOOK_S = 0.05
BATCH = 250
"""Jobs a request: on a busy machine a leader that takes in more at a time may be taken for dead."""
PORTS_FROM = 7443
PORTS_APART = 10


class LoopbackNode:
    """One server in a process of its own, with its engine and its workers.

    Args:
        folder: What `chronos cluster init` has made for it; what it says goes to `server.log` in there.
        arguments: More of them, for `chronos server`.
    """

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str], arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.folder = folder
        self.url = ""
        self._environ = environ
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Return when the server says that it is ready.

        Raises:
            Unavailable: It has ended instead, or takes too long; the message ends with the last lines of its log.
        """
        with (self.folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *mortal(self._command(), os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=dict(self._environ),
                start_new_session=True,  # ^C is for whoever runs the cluster, and stops it in order
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = (await self._process.stdout.readline()).decode().split()
        except TimeoutError:
            line = []
        if line[:1] != ["ready"]:
            await self.kill()
            raise Unavailable(f"Node {self.name} did not start:\n{self.said()}")
        self.url = line[1]

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "chronos.cli.server", "server", "--config", str(self.folder / "chronos.yaml")]
        return [*command, "--data-dir", str(self.data), "--http-address", "127.0.0.1:0", *self._arguments]

    def said(self, lines: int = 12) -> str:
        """Return the last lines of its log."""
        text = (self.folder / "server.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def processes(self) -> dict[str, int]:
        """Return the processes of the node that run: `server`, `engine`, and `worker.1`, …, with their numbers."""
        if not self.is_running:
            return {}
        found = {"server": self.pid}
        for child in psutil.Process(self.pid).children(recursive=True):
            found[_role(child, len(found))] = child.pid
        return found

    async def kill(self) -> None:
        """End it and all that belongs to it at once, as a power cut would: SIGKILL for each."""
        if self._process is None:
            return
        for pid in self.processes().values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # they end with each other
        await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, as a service manager does, and return its exit code; end it when it takes too long."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return self._process.returncode or 1


class LoopbackCluster:
    """Nodes n1, n2, … on this machine, in folders of their own; `async with` starts all, and stops what runs.

    Args:
        folder: Where their folders are made; it must not have a cluster yet.
        engine: The etcd to run on.
        environ: What the servers get as their environment, beside `CHRONOS_ETCD`.
        arguments: More of them, for each `chronos server`.
    """

    def __init__(
        self,
        folder: Path,
        engine: Path,
        *,
        size: int = 3,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        clock, chance = clock or SystemClock(), chance or SystemChance()
        ports = free_ports(size)
        names = [f"n{number}" for number in range(1, size + 1)]
        members = read_nodes([f"{name}=127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)])
        admin = manifest.fresh_admin_key(chance)
        found(Wanted("loopback", members, folder, "./{node}/data", admin), clock, chance)
        env = {**(os.environ if environ is None else environ), "CHRONOS_ETCD": str(engine)}
        self.nodes = [LoopbackNode(name, folder / name, env, arguments) for name in names]
        self._client = httpx2.AsyncClient(trust_env=False, timeout=5.0)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(node.start() for node in self.nodes))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
        await asyncio.gather(*(node.stop() for node in self.nodes if node.is_running))

    @property
    def running(self) -> list[LoopbackNode]:
        return [node for node in self.nodes if node.is_running and node.url]

    async def status(self, node: LoopbackNode) -> dict[str, Any] | None:
        """Return how the cluster stands as `node` sees it; None when it does not answer."""
        try:
            answer = await self._client.get(f"{node.url}/api/v1/cluster/status?consistency=local")
        except httpx2.HTTPError:
            return None
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    async def leader(self, after: int = 0) -> tuple[LoopbackNode, int]:
        """Return who leads, as it says itself, and in which term, once that is higher than `after`.

        Raises:
            Unavailable: Nobody does within `PATIENCE_S`.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    for node in self.running:
                        status = await self.status(node)
                        if status is not None and status["is_leader"] and status["term"] > after:
                            return node, int(status["term"])
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise Unavailable(f"Nobody led within {PATIENCE_S:g} s.") from None

    async def whole(self) -> None:
        """Return when every node that runs is ready, and is heard of by each of the others.

        Raises:
            Unavailable: They are not within `PATIENCE_S`.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    if await self._is_whole():
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise Unavailable(f"The nodes did not find each other within {PATIENCE_S:g} s.") from None

    async def _is_whole(self) -> bool:
        names = {node.name for node in self.running}
        for node in self.running:
            status = await self.status(node)
            if status is None or not status["ready"]:
                return False
            if names - {peer["id"] for peer in status["peers"] if peer["state"] != "lost"} - {node.name}:
                return False
        return True

    async def create(self, jobs: Sequence[bytes]) -> None:
        """Create jobs, each a JSON document with a name of its own, through whichever node leads.

        What nobody took because the lead changed is asked for again; what is there by then is there.

        Raises:
            Unavailable: Some were refused, or nobody took them within `PATIENCE_S`.
        """
        left = list(jobs)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while left:
                    some = left[:BATCH]
                    left = [*await self._untaken(some), *left[BATCH:]]
        except TimeoutError:
            raise Unavailable(f"{len(left)} of {len(jobs)} jobs were not taken within {PATIENCE_S:g} s.") from None

    async def _untaken(self, jobs: Sequence[bytes]) -> list[bytes]:
        """Return those of the jobs that nobody has taken."""
        node, _ = await self.leader()
        headers = {"Content-Type": "application/x-ndjson"}
        content = b"\n".join(jobs) + b"\n"
        try:
            answer = await self._client.post(f"{node.url}/api/v1/jobs:batch", content=content, headers=headers)
        except httpx2.HTTPError:
            return list(jobs)
        if answer.status_code == 503:
            return list(jobs)
        if answer.status_code != 200:
            raise Unavailable(f"The jobs were refused ({answer.status_code}): {answer.text[:300]}")
        refused = [result for result in answer.json()["results"] if result["error"] is not None]
        wrong = [one for one in refused if one["error"]["status"] not in (409, 503)]
        if wrong:
            raise Unavailable(f"{len(wrong)} jobs were refused, the first: {wrong[0]}")
        return [jobs[one["line"] - 1] for one in refused if one["error"]["status"] == 503]

    async def text(self, node: LoopbackNode, path: str) -> str:
        """Return what a node answers at `path`."""
        return (await self._client.get(node.url + path, timeout=PATIENCE_S)).text


def free_ports(count: int) -> list[int]:
    """Return ports on loopback that nobody listens on, and neither on the one behind each: that is the engine's.

    Raises:
        Unavailable: There are none from 7443 on.
    """
    places = (port for port in range(PORTS_FROM, 32_000, PORTS_APART) if _is_free(port) and _is_free(port + 1))
    ports = [port for port, _ in zip(places, range(count), strict=False)]
    if len(ports) < count:
        raise Unavailable("There are no free ports on 127.0.0.1 for the nodes.")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _role(process: psutil.Process, number: int) -> str:
    try:
        command = process.cmdline()
    except psutil.Error:
        return f"child.{number}"
    if command and Path(command[0]).name.startswith("etcd"):
        return "engine"
    return next((f"{role}.{number}" for module, role in ROLES.items() if module in command), f"child.{number}")
