"""Three nodes as `chronos cluster init` makes them: their engines and their peers meet, with these certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.etcds import binary, free_ports

from chronos.cli.server import main
from chronos.cluster.peers.port import Placed
from chronos.cluster.peers.remote import FORWARD, Forward
from chronos.errors import Unavailable
from chronos.server import manifest
from chronos.server.clustered import Clustered, clustered
from chronos.server.config import load
from chronos.server.connecting import Connections, connections
from chronos.timing.clock import SystemChance, SystemClock

PATIENCE_S = 60.0


class Leading:
    """Answers as a leader would."""

    async def forward(self, commands: Sequence[bytes]) -> Placed:
        return Placed(len(commands), 0)

    async def renew(self, incarnation: str, seq: int) -> None: ...

    async def recall(self, execution_ids: Sequence[str], *, entry: int) -> Mapping[str, str]:
        return dict.fromkeys(execution_ids, "dropped")


def founded(folder: Path, count: int) -> list[Clustered]:
    """Found a cluster on loopback, and return its nodes' places."""
    ports = free_ports(count, and_behind=1)  # an engine takes the port behind its node's
    words = [word for n, port in enumerate(ports, 1) for word in ("--node", f"n{n}=127.0.0.1:{port}")]
    done = CliRunner().invoke(main, ["cluster", "init", "--name", "test", *words, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    places = []
    for n in range(1, count + 1):
        file = folder / f"n{n}" / "chronos.yaml"
        place = clustered(load(file, environ={}, flags={}, feature_types=manifest.sections()))
        assert place is not None
        places.append(place)
    return places


@asynccontextmanager
async def entered(places: list[Clustered], folder: Path) -> AsyncIterator[list[Connections]]:
    made = []
    for place in places:
        data = folder / place.node / "data"
        await asyncio.to_thread(data.mkdir)
        made.append(connections(place, data, {"CHRONOS_ETCD": binary()}, SystemClock(), SystemChance()))
    async with AsyncExitStack() as running:
        for one in made:
            await running.enter_async_context(one.listen(Leading()))
        # All at once: a cluster that begins needs most of its members.
        await asyncio.gather(*(running.enter_async_context(one.log) for one in made))
        yield made


@pytest.mark.asyncio
async def test_nodes_as_they_are_founded_share_a_log_and_ask_each_other(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S), entered(founded(tmp_path, 3), tmp_path) as (one, two, three):
        epoch = await one.log.campaign()
        await one.log.append(1, b"the first", epoch)
        await one.log.append(2, b"the second", epoch)
        for other in (two, three):
            assert await other.log.read_barrier() == 2
            assert [entry.data async for entry in other.log.tail(1)] == [b"the first", b"the second"]
        assert await two.peers.at("n1").forward([b"a", b"b", b"c"]) == Placed(3, 0)
        assert await three.peers.at("n2").recall(["x"], entry=1) == {"x": "dropped"}
        await one.log.resign(epoch)
    assert one.addresses == {
        "n1": "http://127.0.0.1:8080",
        "n2": "http://127.0.0.1:8081",
        "n3": "http://127.0.0.1:8082",
    }


@pytest.mark.asyncio
async def test_a_node_of_another_cluster_meets_neither_engines_nor_peers(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    [ours] = founded(tmp_path / "ours", 1)
    [theirs] = founded(tmp_path / "theirs", 1)
    async with asyncio.timeout(PATIENCE_S), entered([ours], tmp_path / "ours"):
        stranger = connections(theirs, tmp_path, {}, SystemClock(), SystemChance())
        stranger.net._roster.replace({"n1": theirs.own.peer, "n2": ours.listen})
        async with stranger.listen(Leading()):
            with pytest.raises(Unavailable):
                async with asyncio.timeout(2):
                    await stranger.net.call("n2", FORWARD, Forward([b"a"]), within_s=0.5)
