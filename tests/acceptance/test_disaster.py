"""What the guide to recovering a cluster says: most of it is lost, and then all of it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.acceptance.test_cluster import PATIENCE_S, ended, founded, until, written


async def chronos(*arguments: str) -> str:
    """Run a command to its end, and return what it says."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chronos.cli.server",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.asyncio
@pytest.mark.slow
async def test_the_last_member_gives_a_backup_without_a_quorum_and_a_new_server_goes_on_from_it(tmp_path: Path) -> None:
    nodes = founded(tmp_path)
    secret = tmp_path / "backup.pass"
    secret.write_text("a long passphrase of this test\n")
    secret.chmod(0o600)
    async with AsyncExitStack() as running, asyncio.timeout(3 * PATIENCE_S):
        target = await running.enter_async_context(RecordingTarget())
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"])
        job = {"name": "tick", "schedule": "* * * * * *", "webhook": {"url": target.url}}
        told = await written(nodes[0], "/api/v1/jobs", job)
        await target.until(lambda arrivals: len(arrivals) >= 3, within_s=PATIENCE_S)

        # Two of three are gone for good, with their disks.
        for lost in nodes[1:]:
            await lost.kill()
            shutil.rmtree(lost.folder)
        backup = str(tmp_path / "last.backup")
        survivor = nodes[0]
        given = ("--data-dir", str(survivor.folder), "--passphrase-file", str(secret))
        await chronos("backup", backup, "--server", survivor.url, *given)
        await survivor.kill()

        # Nothing of the cluster is used any more.
        await chronos("restore", backup, "--data-dir", str(tmp_path / "there"), "--passphrase-file", str(secret))
        seen = len(target.arrivals)
        alone = Node(tmp_path / "there")
        running.push_async_callback(ended, alone)
        await alone.start()
        answer = await alone.call("GET", "/api/v1/jobs/tick")
        assert answer.json()["id"] == told["id"]
        await target.until(lambda arrivals: len(arrivals) >= seen + 2, within_s=PATIENCE_S)
    tokens = [tuple(map(int, one.headers["chronos-fencing-token"].split("."))) for one in target.arrivals]
    assert {token[0] for token in tokens[:seen]} == {0}
    assert min(token[0] for token in tokens[seen:]) > 0, "whoever remembers tokens turns the lost cluster away"
