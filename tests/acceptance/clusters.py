"""Clusters of real servers on loopback, made with the commands that people give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from click.testing import CliRunner
from tests.acceptance.node import Node
from tests.etcds import binary, free_ports

from chronos.cli.server import main

PATIENCE_S = 60.0


def told(*words: str) -> str:
    """Give a command, and return what it says."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def server_of(folder: Path) -> Node:
    """Return the server that a node's folder is for, not started."""
    env = {"CHRONOS_ETCD": binary()}
    return Node(folder / "data", "--config", str(folder / "chronos.yaml"), env=env)


def founded(folder: Path, count: int) -> list[Node]:
    """Found a cluster on loopback, and return its nodes, not started."""
    ports = free_ports(count, and_behind=1)  # an engine takes the port behind its node's
    words = [word for n, port in enumerate(ports, 1) for word in ("--node", f"n{n}=127.0.0.1:{port}")]
    told("cluster", "init", "--name", "test", *words, "--out", str(folder))
    return [server_of(folder / f"n{n}") for n in range(1, count + 1)]


async def until(node: Node, path: str, holds: Callable[[Any], Any]) -> Any:
    """Ask until what is answered is as it should be."""
    found: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await node.call("GET", path)
                if answer.status_code == 200 and holds(found := answer.json()):
                    return found
                await asyncio.sleep(0.2)
    except (TimeoutError, httpx2.TransportError) as error:
        said = node.output[-4_000:]
        raise AssertionError(f"{path} stayed {found} ({error!r}); the server said:\n{said}") from None


async def done(node: Node, method: str, path: str, document: dict[str, Any] | None = None) -> Any:
    """Ask until there is a leader to do it: a busy machine may be without one for a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await node.call(method, path, document)
            except httpx2.TransportError as error:
                raise AssertionError(f"{method} {path}: {error!r}; the server said:\n{node.output[-4_000:]}") from None
            if answer.status_code != 503:
                assert answer.status_code < 300, f"{answer.text}\n{node.output[-4_000:]}"
                return answer.json()
            await asyncio.sleep(0.2)


async def ended(node: Node) -> None:
    """Kill a node that runs."""
    if node.is_running:
        await node.kill()
