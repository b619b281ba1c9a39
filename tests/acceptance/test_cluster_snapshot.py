"""A snapshot of a member, taken over its API: what is in it, and what a server makes of it."""

from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.acceptance.clusters import PATIENCE_S, done, ended, founded, until
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget
from tests.acceptance.shell import Done, Shell

SECRET = "a credential that is nowhere to be read"


async def snapshot(node: Node, home: Path, *arguments: str) -> Done:
    """Give the command to one node."""
    shell = Shell(node.url, home, node.folder)
    return await asyncio.to_thread(shell, "cluster", "snapshot", *arguments)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def restored(file: Path, folder: Path, *arguments: str) -> None:
    """Bring a snapshot back."""
    words = ("restore", str(file), "--data-dir", str(folder), *arguments)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "chronos.cli.server", *words], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.asyncio
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_snapshot_of_a_follower_is_whole_and_a_server_goes_on_from_it(tmp_path: Path) -> None:
    nodes = founded(tmp_path, 3)
    secret = tmp_path / "backup.pass"
    secret.write_text("a long passphrase of this test\n")
    secret.chmod(0o600)
    async with AsyncExitStack() as running, asyncio.timeout(4 * PATIENCE_S):
        target = await running.enter_async_context(RecordingTarget())
        for node in nodes:
            running.push_async_callback(ended, node)
        await asyncio.gather(*(node.start() for node in nodes))
        leader = (await until(nodes[0], "/api/v1/cluster/status", lambda status: status["leader"]))["leader"]
        name, follower = next((f"n{n}", one) for n, one in enumerate(nodes, 1) if f"n{n}" != leader)
        webhook = {"url": target.url, "auth": {"type": "bearer", "token": SECRET}}
        job = {"name": "tick", "schedule": "* * * * * *", "webhook": webhook}
        made = await done(nodes[0], "POST", "/api/v1/jobs", job)
        await target.until(lambda arrivals: len(arrivals) >= 3, within_s=PATIENCE_S)

        # It is taken while the jobs fire, and has what was acknowledged before, on whichever node.
        late = await done(nodes[0], "POST", "/api/v1/jobs", job | {"name": "late", "schedule": "0 0 1 1 *"})
        file = tmp_path / "n.backup"
        taken = await snapshot(follower, tmp_path, str(file), "-o", "json")
        assert taken.code == 0, taken.err
        said = taken.json
        assert (said["node"], said["jobs"], said["keys"], said["encrypted"]) == (name, 2, False, False)
        assert said["has_log"]
        assert said["bytes"] == file.stat().st_size
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SECRET.encode() not in file.read_bytes()

        # It is there whole, or not at all, and is not written over unasked.
        again = await snapshot(follower, tmp_path, str(file))
        assert (again.code, "--replace" in again.err) == (5, True)
        sealed = await snapshot(follower, tmp_path, str(file), "--replace", "--passphrase-file", str(secret))
        assert sealed.code == 0, sealed.err
        assert f"{name} up to entry" in sealed.out
        assert ", encrypted, without keys" in sealed.out
        assert [name for name in left_in(tmp_path) if "part" in name] == []

        # Two of three are gone for good: the last one still gives what it had folded, and says that this is all.
        for node in nodes:
            if node is not follower:
                await node.kill()
        alone = await snapshot(follower, tmp_path, str(tmp_path / "last.backup"))
        assert alone.code == 0, alone.err
        assert "without the log, which only a majority can read" in alone.out
        await follower.kill()

        # What is brought back stands alone. With the keys that the cluster shares it opens its credentials, too.
        there = tmp_path / "there"
        await restored(file, there, "--passphrase-file", str(secret))
        shutil.copytree(follower.folder.parent / "keys", there / "keys", dirs_exist_ok=True)
        seen = len(target.arrivals)
        server = Node(there)
        running.push_async_callback(ended, server)
        await server.start()
        kept = (await server.call("GET", "/api/v1/jobs")).json()["jobs"]
        assert {one["id"] for one in kept} == {made["id"], late["id"]}
        await target.until(lambda arrivals: len(arrivals) >= seen + 2, within_s=PATIENCE_S)
    assert {one.headers["authorization"] for one in target.arrivals} == {f"Bearer {SECRET}"}
    tokens = [tuple(map(int, one.headers["chronos-fencing-token"].split("."))) for one in target.arrivals]
    assert max(tokens[:seen])[0] == 0
    assert min(tokens[seen:])[0] > 0, "whoever remembers tokens turns the lost cluster away"


@pytest.mark.asyncio
async def test_a_snapshot_that_cannot_be_had_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    try:
        made = await snapshot(node, tmp_path, str(tmp_path / "none" / "n.backup"))
        assert made.code == 2
        assert "a folder that exists" in made.err
        alone = await snapshot(node, tmp_path, str(tmp_path / "n.backup"), "-o", "json")
        assert (alone.code, alone.json["jobs"], alone.json["has_log"]) == (0, 0, True), alone.err
    finally:
        assert await node.stop() == 0
    nobody = await snapshot(node, tmp_path, str(tmp_path / "other.backup"))
    assert nobody.code == 6
    assert [name for name in left_in(tmp_path) if "other" in name] == []
    await restored(tmp_path / "n.backup", tmp_path / "there", "--dry-run")
