"""What a member keeps: read through any other, backed up while it runs, and told of truly when it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.acceptance.trio import PATIENCE_S, Server, ended, founded, init

from chronos.cli.server import main

BODY = b"what the target said " * 200


@asynccontextmanager
async def talkative() -> AsyncIterator[str]:
    """Yield the address of a target that answers with four kilobytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def chronos(*words: str) -> Result:
    """Run a command; it talks to servers, so not on this loop."""
    return await asyncio.to_thread(CliRunner().invoke, main, list(words))


async def ran(server: Server, nodes: int) -> dict[str, str]:
    """Return which node each execution ran on that succeeded, once that many nodes have run some."""
    where: dict[str, str] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(set(where.values())) < nodes:
            page = await server.until("/api/v1/executions?status=success&limit=20", lambda page: page["executions"])
            for one in page["executions"]:
                found = await server.until(f"/api/v1/executions/{one['id']}", lambda _: True)
                where[one["id"]] = found["attempts"][0]["node"].partition("#")[0]
    return where


@pytest.mark.asyncio
@pytest.mark.slow
async def test_what_was_kept_on_one_node_is_read_through_every_other(tmp_path: Path) -> None:
    servers = founded(tmp_path, "n1", "n2", "n3")
    async with ended(*servers), talkative() as url:
        await asyncio.gather(*(server.start() for server in servers))
        target = {"url": url, "store_response": "node"}
        for n in range(5):
            await servers[0].write("/api/v1/jobs", {"name": f"job-{n}", "schedule": "* * * * * *", "webhook": target})
        nodes = await ran(servers[0], 2)
        for server in servers:
            for key in nodes:
                [entry] = (await server.until(f"/api/v1/executions/{key}/logs", lambda _: True))["logs"]
                assert (entry["text"].encode(), entry["is_excerpt"]) == (BODY, False)

        gone = next(server for server in servers if server.folder.parent.name in nodes.values())
        name = gone.folder.parent.name
        await gone.kill()
        other = next(server for server in servers if server is not gone)
        key = next(key for key, node in nodes.items() if node == name)
        told = await other.until(f"/api/v1/executions/{key}/logs", lambda answer: "note" in answer["logs"][0])
        [entry] = told["logs"]
        assert entry["note"] == f"More of it may lie on {name}, which cannot be asked now."
        assert (entry["text"].encode(), entry["is_excerpt"]) == (BODY[:1024], True)


@pytest.mark.asyncio
@pytest.mark.slow
async def test_a_backup_of_a_member_becomes_another_cluster(tmp_path: Path) -> None:
    [server] = founded(tmp_path, "n1")
    backup, restored = tmp_path / "one.backup", tmp_path / "restored"
    async with ended(server):
        await server.start()
        await server.until("/api/v1/cluster/status", lambda status: status["is_leader"])
        for n in range(5):
            job = {"name": f"job-{n}", "schedule": "@yearly", "webhook": {"url": "http://127.0.0.1:9/"}}
            await server.write("/api/v1/jobs", job)
        before = await server.until("/api/v1/cluster/status", lambda status: status["ready"])
        taken = await chronos(
            "backup", str(backup), "--data-dir", str(server.folder), "--plain", "--server", server.url, "-o", "json"
        )
        assert taken.exit_code == 0, taken.output
        assert json.loads(taken.output)["jobs"] == 5
        assert await server.stop() == 0

    for words in (
        ("backup", str(tmp_path / "two.backup"), "--data-dir", str(server.folder), "--plain"),
        ("recover", "--data-dir", str(server.folder)),
        ("explain", "job-1", "--offline", "--data-dir", str(server.folder)),
    ):
        refused = await chronos(*words)
        assert refused.exit_code == 2, refused.output
        assert "is the data folder of a member of a cluster" in refused.output

    done = await chronos("restore", str(backup), "--data-dir", str(restored))
    assert done.exit_code == 0, done.output
    [port] = init(tmp_path / "second", "n1", keys_from=restored)
    second = Server(restored, tmp_path / "second" / "n1" / "chronos.yaml", port, {})
    async with ended(second):
        await second.start()
        after = await second.until("/api/v1/cluster/status", lambda status: status["is_leader"])
        assert (after["jobs_total"], after["term"] > before["term"]) == (5, True)
        assert (await second.until("/api/v1/jobs/job-3", lambda job: job))["name"] == "job-3"
        assert await second.stop() == 0
