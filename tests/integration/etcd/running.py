"""Members with real engines, on loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.etcds import ROOT, binary, free_ports

from chronos.cluster.etcd.binary import Engine, identify
from chronos.cluster.etcd.flags import EngineSettings, PeerTls
from chronos.cluster.etcd.supervisor import EngineStatus, EtcdSupervisor, State
from chronos.timing.clock import SystemClock

UUID = "7d4f8a10-0000-4000-8000-000000000001"
PATIENCE_S = 60.0
PACKAGED = ROOT / ".cache/engine/package/etcd"


def packaged() -> Path:
    """Return the distribution's etcd, an older one; where there is none, skip, unless it is required."""
    if not PACKAGED.is_file():
        assert not os.environ.get("CHRONOS_REQUIRE_SERVICES"), "`.ci/engine package` makes it"
        pytest.skip("there is no older etcd here; `.ci/engine package` makes it")
    return PACKAGED


def alone(data_dir: Path, **changes: Any) -> EngineSettings:
    """Return a member that needs nobody else."""
    [port] = free_ports(1)
    return together(data_dir, ["n1"], [port], **changes)["n1"]


def together(
    folder: Path, names: list[str], ports: list[int], tls: dict[str, PeerTls] | None = None, **changes: Any
) -> dict[str, EngineSettings]:
    """Return members that begin together, each with a data folder of its own."""
    members = {name: ("127.0.0.1", port) for name, port in zip(names, ports, strict=True)}
    found = {}
    for name, at in members.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        given: dict[str, Any] = {"node": name, "cluster_uuid": UUID, "data_dir": folder / name, "listen": at}
        given |= {"members": members, "tls": tls[name] if tls else None}
        found[name] = EngineSettings(**given | changes)
    return found


class Supervised(EtcdSupervisor):
    """A supervisor that tests can wait on."""

    def __init__(self, engine: Engine, settings: EngineSettings) -> None:
        self.heard: asyncio.Queue[EngineStatus] = asyncio.Queue()
        super().__init__(engine, settings, SystemClock(), told=self.heard.put_nowait)

    async def until(self, state: State) -> EngineStatus:
        """Return the next status that is `state`; what was told before it is forgotten."""
        async with asyncio.timeout(PATIENCE_S):
            while (status := await self.heard.get()).state is not state:
                pass
        return status


async def supervisor(settings: EngineSettings, program: Path | None = None) -> Supervised:
    return Supervised(await identify(program or Path(binary())), settings)


@asynccontextmanager
async def running(settings: EngineSettings, program: Path | None = None) -> AsyncIterator[Supervised]:
    """Run a member's engine until the block is left; it is ready."""
    async with await supervisor(settings, program) as engine:
        await engine.wait_ready(PATIENCE_S)
        yield engine


@asynccontextmanager
async def running_together(members: dict[str, EngineSettings]) -> AsyncIterator[dict[str, Supervised]]:
    """Run the engines of all members until the block is left; all are ready."""
    engines = {name: await supervisor(settings) for name, settings in members.items()}
    try:
        for engine in engines.values():
            await engine.start()
        for engine in engines.values():
            await engine.wait_ready(PATIENCE_S)
        yield engines
    finally:
        for engine in engines.values():
            await engine.stop()


class _Local(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


async def ask(engine: EtcdSupervisor, path: str, **body: Any) -> Any:
    """Ask the engine something over its JSON gateway."""

    def post() -> Any:
        connection = _Local(engine.socket)
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    return await asyncio.to_thread(post)
