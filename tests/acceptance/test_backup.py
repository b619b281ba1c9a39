"""Backups of real servers under load, killed wherever it hurts, and what starts on a folder that was brought back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget

from chronos.failpoints import VARIABLE

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

SECRET = "a credential that is nowhere to be read"
KILLED = -signal.SIGKILL
LOOK_S, LOOKS = 0.05, 400


async def chronos(*arguments: str | Path, **env: str) -> tuple[int, str, str]:
    """Run `chronos`; return its exit code, its output, and what it said beside it."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("CHRONOS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chronos.cli.server", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**inherited, **env},
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), said.decode()


async def backup(node: Node, path: Path, *arguments: str | Path, **env: str) -> dict[str, Any]:
    """Back a server up; return what is in it."""
    given = arguments or ("--plain",)
    code, output, said = await chronos(
        "backup", path, "--data-dir", node.folder, "--server", node.url, *given, "-o", "json", **env
    )
    assert code == 0, said
    told: dict[str, Any] = json.loads(output)
    return told


async def restore(path: Path, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    code, output, said = await chronos("restore", path, "--data-dir", folder, *arguments, "-o", "json")
    assert code == 0, said
    told: dict[str, Any] = json.loads(output)
    return told


def a_job(name: str, target: RecordingTarget, **more: Any) -> dict[str, Any]:
    webhook = {"url": target.url, "auth": {"type": "bearer", "token": SECRET}}
    return {"name": name, "schedule": "0 0 1 1 *", "webhook": webhook, **more}


async def create(node: Node, *bodies: dict[str, Any]) -> None:
    for body in bodies:
        answer = await node.call("POST", "/api/v1/jobs", body)
        assert answer.status_code == 201, answer.text


async def trigger(node: Node, name: str) -> str:
    ran = await node.call("POST", f"/api/v1/jobs/{name}/trigger?wait=20s", {})
    assert ran.status_code < 300, ran.text
    return str(ran.json()["id"])


async def names_of(node: Node) -> set[str]:
    return {job["name"] for job in (await node.call("GET", "/api/v1/jobs?limit=200")).json()["jobs"]}


def token_of(target: RecordingTarget) -> tuple[int, ...]:
    return tuple(int(part) for part in target.arrivals[-1].headers["chronos-fencing-token"].split("."))


async def test_what_was_acknowledged_before_a_backup_under_load_is_there_after_it(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    acknowledged: list[str] = []

    async def write_on(stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            name = f"job-{number}"
            await create(node, a_job(name, target))
            acknowledged.append(name)
            number += 1

    async with RecordingTarget() as target:
        await create(node, *(a_job(f"busy-{n}", target, schedule="* * * * * *") for n in range(10)))
        stop = asyncio.Event()
        writing = asyncio.create_task(write_on(stop))
        promised: dict[Path, set[str]] = {}
        for number in range(3):
            before = set(acknowledged)
            await backup(node, tmp_path / f"{number}.backup")
            promised[tmp_path / f"{number}.backup"] = before
        stop.set()
        await writing
        assert await node.stop() == 0
        assert len(promised[tmp_path / "2.backup"]) > len(promised[tmp_path / "1.backup"]) > 0
        for path, names in promised.items():
            await restore(path, path.with_suffix(".folder"))
            copy = Node(path.with_suffix(".folder"))
            await copy.start()
            assert names <= await names_of(copy)
            assert await copy.stop() == 0


async def test_tokens_of_every_restored_copy_are_higher_than_any_before(tmp_path: Path) -> None:
    original = Node(tmp_path / "data")
    await original.start()
    async with RecordingTarget() as target:
        await create(original, a_job("one", target))
        await trigger(original, "one")
        await backup(original, tmp_path / "b")
        for _ in range(3):
            assert (await original.call("POST", "/api/v1/clock/reset", {})).status_code == 200
        await trigger(original, "one")
        tokens = [token_of(target)]
        assert tokens[0][0] == 3
        for name in ("first", "second"):
            told = await restore(tmp_path / "b", tmp_path / name)
            copy = Node(tmp_path / name)
            await copy.start()
            await trigger(copy, "one")
            tokens.append(token_of(target))
            assert tokens[-1][0] == told["restore_epoch"]
            assert target.arrivals[-1].headers["authorization"] == f"Bearer {SECRET}", "the keys came along"
            assert await copy.stop() == 0
        assert tokens == sorted(set(tokens))
        assert await original.stop() == 0


async def test_an_execution_that_was_under_way_is_sent_again_under_its_id_and_what_had_ended_is_not(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    async with RecordingTarget() as target:
        await create(node, a_job("one", target), a_job("slow", target, timeout="30s"))
        ended = await trigger(node, "one")
        target.delay_s = 5.0
        begun = (await node.call("POST", "/api/v1/jobs/slow/trigger", {})).json()["id"]
        for _ in range(LOOKS):
            if begun in target.by_execution():
                break
            await asyncio.sleep(LOOK_S)
        told = await backup(node, tmp_path / "b")
        assert told["jobs"] == 2
        await node.kill()
        target.delay_s = 0.0
        assert (await restore(tmp_path / "b", tmp_path / "there"))["open_executions"] == 1
        copy = Node(tmp_path / "there")
        await copy.start()
        for _ in range(LOOKS):
            if len(target.by_execution()[begun]) == 2:
                break
            await asyncio.sleep(LOOK_S)
        first, again = target.by_execution()[begun]
        assert (first.attempt, again.attempt) == (1, 2)
        assert len(target.by_execution()[ended]) == 1
        row = (await copy.call("GET", f"/api/v1/executions/{ended}")).json()
        assert row["status"] == "success"
        assert await copy.stop() == 0


async def test_a_stopped_server_is_backed_up_from_its_folder_and_each_edit_has_its_instant(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    async with RecordingTarget() as target:
        await create(node, a_job("one", target, description="as it was"))
        answer = await node.call("GET", "/api/v1/jobs/one")
        job = answer.json()
        await trigger(node, "one")
        headers = {"If-Match": answer.headers["etag"]}
        changed = await node.call("PATCH", "/api/v1/jobs/one", {"description": "as it is"}, **headers)
        assert changed.status_code == 200, changed.text
        await trigger(node, "one")
        assert (await node.call("DELETE", "/api/v1/jobs/one")).status_code < 300
    assert await node.stop() == 0
    code, output, _ = await chronos("backup", tmp_path / "b", "--data-dir", node.folder, "--plain", "-o", "json")
    assert code == 0
    assert json.loads(output)["keys"]
    for as_of, description, runs in [
        (job["created_at"], "as it was", 0),
        (changed.json()["updated_at"], "as it is", 1),
    ]:
        told = await restore(tmp_path / "b", tmp_path / description, "--as-of", as_of)
        assert told["entries_left_out"] > 0
        copy = Node(tmp_path / description)
        await copy.start()
        assert (await copy.call("GET", "/api/v1/jobs/one")).json()["description"] == description
        found = (await copy.call("GET", "/api/v1/executions?status=success")).json()["executions"]
        assert len(found) == runs
        assert await copy.stop() == 0
    await restore(tmp_path / "b", tmp_path / "whole")
    copy = Node(tmp_path / "whole")
    await copy.start()
    assert await names_of(copy) == set()
    assert await copy.stop() == 0


async def test_what_is_encrypted_shows_nothing_and_wants_its_passphrase(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    (tmp_path / "pass").write_text("correct horse battery\n")
    (tmp_path / "pass").chmod(0o600)
    async with RecordingTarget() as target:
        await create(node, a_job("findable-name", target))
    for name, flags in [("sealed", f"--passphrase-file={tmp_path}/pass"), ("plain", "--plain")]:
        await backup(node, tmp_path / name, flags)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        raw = (tmp_path / name).read_bytes()
        assert SECRET.encode() not in raw
        assert (b"findable-name" in raw) == (name == "plain")
    no_keys = await backup(node, tmp_path / "keyless", "--without-keys")
    assert not no_keys["keys"]
    assert await node.stop() == 0
    for key in (node.folder / "keys").iterdir():
        text = key.read_bytes().strip()
        assert text in (tmp_path / "plain").read_bytes()
        assert text not in (tmp_path / "sealed").read_bytes() + (tmp_path / "keyless").read_bytes()
    code, _, said = await chronos("restore", tmp_path / "sealed", "--data-dir", tmp_path / "there")
    assert (code, "--passphrase-file" in said) == (2, True)
    (tmp_path / "pass").write_text("another passphrase\n")
    code, _, said = await chronos(
        "restore", tmp_path / "sealed", "--data-dir", tmp_path / "there", "--passphrase-file", tmp_path / "pass"
    )
    assert (code, "passphrase is not this backup's" in said) == (2, True)
    assert not (tmp_path / "there").exists()
    (tmp_path / "pass").write_text("correct horse battery\n")
    await restore(tmp_path / "sealed", tmp_path / "there", "--passphrase-file", tmp_path / "pass")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert modes == {0o600}


async def test_nothing_is_written_over_and_nothing_wrong_is_accepted(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    await backup(node, tmp_path / "b")
    kept = (tmp_path / "b").read_bytes()

    async def refused(code: int, words: str, *arguments: str | Path) -> None:
        got, _, said = await chronos(*arguments)
        assert (got, words in said) == (code, True), said
        assert (tmp_path / "b").read_bytes() == kept

    here: list[str | Path] = ["--data-dir", node.folder, "--server", node.url]
    await refused(5, "--replace", "backup", tmp_path / "b", *here, "--plain")
    await refused(2, "--plain", "backup", tmp_path / "c", *here)
    await refused(2, "folder that exists", "backup", tmp_path / "no" / "c", *here, "--plain")
    await refused(5, "not empty", "restore", tmp_path / "b", "--data-dir", node.folder)
    await refused(4, "no backup", "restore", tmp_path / "nothing", "--data-dir", tmp_path / "to")
    await refused(2, "future", "restore", tmp_path / "b", "--data-dir", tmp_path / "to", "--as-of", "+1h")
    await refused(
        2, "nothing before", "restore", tmp_path / "b", "--data-dir", tmp_path / "to", "--as-of", "2001-01-01"
    )
    other = Node(tmp_path / "other")
    await other.start()
    await refused(3, "not known", "backup", tmp_path / "c", "--data-dir", node.folder, "--server", other.url, "--plain")
    wrong: list[str | Path] = [
        "--data-dir",
        node.folder,
        "--server",
        other.url,
        "--api-key-file",
        other.folder / "admin.key",
    ]
    await refused(2, "not the one that uses", "backup", tmp_path / "c", *wrong, "--plain")
    assert await other.stop() == 0
    await backup(node, tmp_path / "b", "--plain", "--replace")
    assert await node.stop() == 0
    whole = (tmp_path / "b").read_bytes()
    for place in (3, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "bad").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        code, _, said = await chronos("restore", tmp_path / "bad", "--data-dir", tmp_path / "to")
        assert code == 2, said
    assert set(os.listdir(tmp_path)) == {"data", "other", "b", "bad"}


async def test_a_backup_that_is_killed_leaves_nothing_under_its_name_and_the_next_one_works(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    points = tmp_path / "points"
    points.mkdir(mode=0o700)
    here: list[str | Path] = ["--data-dir", node.folder, "--server", node.url, "--plain"]
    for place, times in [("backup.midway", 1), ("backup.midway", 4), ("backup.before-rename", 1)]:
        (points / place).write_text(str(times))
        code, _, _ = await chronos("backup", tmp_path / "b", *here, **{VARIABLE: str(points)})
        assert code == KILLED
        assert not (tmp_path / "b").exists()
        assert (points / f"{place}.met").exists()
    for _ in range(LOOKS):  # until the server has noticed that nobody listens any more
        code, _, said = await chronos("backup", tmp_path / "b", *here)
        if code != 6:
            break
    assert code == 0, said
    assert not (tmp_path / ".b.part").exists()
    assert not (node.folder / "backup.new").exists()
    assert await node.stop() == 0


async def test_a_server_that_is_killed_while_it_is_backed_up_loses_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    async with RecordingTarget() as target:
        await create(node, *(a_job(f"job-{n}", target) for n in range(20)))
    running = asyncio.create_task(
        chronos("backup", tmp_path / "b", "--data-dir", node.folder, "--server", node.url, "--plain")
    )
    for _ in range(LOOKS):
        if (node.folder / "backup.new").exists() or running.done():
            break
        await asyncio.sleep(0.005)
    await node.kill()
    code, _, said = await running
    assert (code == 0) == (tmp_path / "b").exists(), said
    await node.start()
    assert len(await names_of(node)) == 20
    await backup(node, tmp_path / "b", "--plain", "--replace")
    assert await node.stop() == 0
    assert (await restore(tmp_path / "b", tmp_path / "there"))["jobs"] == 20


async def test_a_restore_that_is_killed_leaves_no_folder_and_the_next_one_works(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    await node.start()
    async with RecordingTarget() as target:
        await create(node, a_job("one", target))
    await backup(node, tmp_path / "b")
    assert await node.stop() == 0
    shutil.rmtree(node.folder)
    node.folder.mkdir()
    points = tmp_path / "points"
    points.mkdir(mode=0o700)
    for place, times in [("restore.midway", 2), ("restore.midway", 5), ("restore.before-rename", 1)]:
        (points / place).write_text(str(times))
        env = {VARIABLE: str(points)}
        code, _, _ = await chronos("restore", tmp_path / "b", "--data-dir", node.folder, **env)
        assert code == KILLED
        assert os.listdir(node.folder) == []
    await restore(tmp_path / "b", node.folder)
    assert set(os.listdir(tmp_path)) == {"data", "b", "points"}
    await node.start()
    assert await names_of(node) == {"one"}
    assert await node.stop() == 0
