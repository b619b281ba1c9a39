"""Members on an etcd that is there already, over mutual TLS (`cluster.engine: etcd://…`)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.acceptance.test_cluster import PATIENCE_S, ended, until, written
from tests.etcds import binary, etcds, free_ports

from chronos.cli.server import main
from chronos.cluster.etcd.log import EtcdLog

ELSEWHERE = "CHRONOS_CLUSTER__ENGINE"


@contextmanager
def etcd(folder: Path, certificates: Path, client: int, peer: int) -> Iterator[None]:
    """Run an etcd that asks its clients for a certificate of the cluster's authority."""
    folder.mkdir()
    here, there = f"https://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    command = [binary(), "--name=e", f"--data-dir={folder / 'data'}", f"--listen-client-urls={here}"]
    command += [f"--advertise-client-urls={here}", f"--listen-peer-urls={there}", "--log-level=error"]
    command += [f"--initial-advertise-peer-urls={there}", f"--initial-cluster=e={there}", "--client-cert-auth"]
    command += [f"--cert-file={certificates / 'node.crt'}", f"--key-file={certificates / 'node.key'}"]
    command += [f"--trusted-ca-file={certificates / 'ca.crt'}"]
    with (folder / "said").open("ab") as said:
        running = subprocess.Popen(
            command, stdout=said, stderr=said, env={"PATH": os.environ["PATH"], "HOME": str(folder)}, cwd=folder
        )
    try:
        yield
    finally:
        running.kill()
        running.wait()


def two_members(folder: Path, engine: str) -> list[Node]:
    ports = free_ports(2, and_behind=1)
    words = [word for n, port in enumerate(ports, 1) for word in ("--node", f"n{n}=127.0.0.1:{port}")]
    done = CliRunner().invoke(main, ["cluster", "init", "--name", "test", *words, "--out", str(folder)])
    assert done.exit_code == 0, done.output
    env = {ELSEWHERE: engine}
    return [
        Node(folder / f"n{n}" / "data", "--config", str(folder / f"n{n}" / "chronos.yaml"), env=env) for n in (1, 2)
    ]


@pytest.mark.asyncio
@pytest.mark.slow
async def test_members_share_a_log_on_an_etcd_that_nobody_of_them_runs(tmp_path: Path) -> None:
    client, peer = free_ports(2)
    nodes = two_members(tmp_path, f"etcd://127.0.0.1:{client}")
    async with AsyncExitStack() as running, asyncio.timeout(2 * PATIENCE_S):
        running.enter_context(etcd(tmp_path / "etcd", tmp_path / "n1", client, peer))
        target = await running.enter_async_context(RecordingTarget())
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"])
        job = {"name": "tick", "schedule": "* * * * * *", "webhook": {"url": target.url}}
        told = await written(nodes[1], "/api/v1/jobs", job)
        found = await until(nodes[0], "/api/v1/jobs/tick", lambda one: one["name"] == "tick")
        assert found["id"] == told["id"]
        await target.until(lambda arrivals: len(arrivals) >= 3, within_s=PATIENCE_S)
        for node in nodes:
            assert not (node.folder / "engine").exists(), "it runs none of its own"
    assert len({one.execution for one in target.arrivals}) == len(target.arrivals)


@pytest.mark.asyncio
async def test_an_etcd_that_is_not_there_is_named_as_what_is_wrong(tmp_path: Path) -> None:
    [client] = free_ports(1)
    node = two_members(tmp_path, f"etcd://127.0.0.1:{client}")[0]
    with pytest.raises(AssertionError, match=r"log \(etcd\) has not answered for 5 s"):
        await node.start()


@pytest.mark.asyncio
async def test_two_clusters_on_one_etcd_do_not_see_each_other(tmp_path: Path) -> None:
    with etcds(tmp_path) as cluster:
        await cluster.ready()
        async with (
            EtcdLog(cluster.endpoints, "a", node="n1") as one,
            EtcdLog(cluster.endpoints, "b", node="n1") as other,
        ):
            led, also_led = await one.campaign(), await other.campaign()
            await one.append(1, b"of the one", led)
            await other.append(1, b"of the other", also_led)
            await one.publish_progress("n1", 1, "here")
            await one.append(2, b"and one more", led)
            await one.truncate(2, led)
            assert [entry.data async for entry in one.tail(2)] == [b"and one more"]
            assert [entry.data async for entry in other.tail(1)] == [b"of the other"]
            assert await other.progress() == {}
            await one.resign(led)
            await other.append(2, b"it leads all the same", also_led)
