"""Servers of one cluster with real engines, each a process of its own, at addresses that stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from click.testing import CliRunner
from tests.acceptance.node import Node
from tests.etcds import binary, free_ports

from chronos.cli.server import main
from chronos.cluster.etcd.log import EtcdLog
from chronos.cluster.etcd.reaching import endpoint_of
from chronos.cluster.port import Epoch
from chronos.server import manifest
from chronos.server.clustered import clustered
from chronos.server.config import load
from chronos.server.connecting import engine_settings

PATIENCE_S = 60.0


class Server(Node):
    """A member whose API is always at the same port."""

    def __init__(self, folder: Path, config: Path, port: int, env: dict[str, str]) -> None:
        address = ("--http-address", f"127.0.0.1:{port}")
        super().__init__(folder, "--config", str(config), *address, env={"CHRONOS_ETCD": binary(), **env})
        self.config = config
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> httpx2.Response | None:
        """Ask; None when nobody answers."""
        try:
            return await self.call("GET", path)
        except httpx2.TransportError:
            return None

    async def until(self, path: str, holds: Callable[[Any], Any], *, status: int = 200) -> Any:
        """Ask until what is answered is as it should be, and return it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.get(path)
                if answer is not None and answer.status_code == status and holds(found := answer.json()):
                    return found
                await asyncio.sleep(0.1)

    async def write(self, path: str, document: dict[str, Any]) -> Any:
        """Write until there is a leader to write it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self.call("POST", path, document)
                if answer.status_code != 503:
                    assert answer.status_code in (200, 201, 202), answer.text
                    return answer.json()
                await asyncio.sleep(0.1)


def init(folder: Path, *names: str, keys_from: Path | None = None) -> list[int]:
    """Found a cluster on loopback with the nodes `names`; return a free port for the API of each."""
    folder.mkdir(exist_ok=True)
    ports = free_ports(len(names), and_behind=1)  # an engine takes the port behind its node's
    words = [w for name, port in zip(names, ports, strict=True) for w in ("--node", f"{name}=127.0.0.1:{port}")]
    words += ["--keys-from", str(keys_from)] if keys_from is not None else []
    done = CliRunner().invoke(main, ["cluster", "init", "--name", "test", *words, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return free_ports(len(names))


def founded(folder: Path, *names: str, env: dict[str, str] | None = None) -> list[Server]:
    """Found a cluster, and return its nodes, not started."""
    ports = init(folder, *names)
    return [
        Server(folder / name / "data", folder / name / "chronos.yaml", port, env or {})
        for name, port in zip(names, ports, strict=True)
    ]


@asynccontextmanager
async def ended(*servers: Server) -> AsyncIterator[None]:
    """End whoever runs yet when the test is over."""
    async with AsyncExitStack() as running:
        for server in servers:
            running.push_async_callback(_end, server)
        yield


async def _end(server: Server) -> None:
    if server.is_running:
        await server.kill()


async def forget_log(server: Server) -> int:
    """Cut the cluster's log down to its last entry, as if a long time had passed; return that entry."""
    place = clustered(load(server.config, environ={}, flags={}, feature_types=manifest.sections()))
    assert place is not None
    async with EtcdLog([endpoint_of(engine_settings(place, server.folder))], place.uuid, node="test") as log:
        leader = await log._leader()
        _, last = await log.bounds()
        await log.truncate(last, Epoch(leader.epoch))
    return last
