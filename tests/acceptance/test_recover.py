"""Damage on disk: the server refuses, says what it knows, and `chronos recover` goes on from there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from tests.acceptance.node import Node
from tests.acceptance.recording_target import RecordingTarget

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

NAMES = ["one", "two", "three"]


def chronos(*arguments: str) -> tuple[int, str]:
    """Run `chronos`, and return its exit code and what it said."""
    command = [sys.executable, "-m", "chronos.cli.server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def recover(folder: Path, *arguments: str) -> tuple[int, str]:
    return chronos("recover", "--data-dir", str(folder), *arguments)


async def with_three_jobs(folder: Path) -> Node:
    """Return a stopped server that has made three jobs and run each of them."""
    node = Node(folder)
    await node.start()
    async with RecordingTarget() as target:
        for name in NAMES:
            body = {"name": name, "schedule": "0 0 1 1 *", "webhook": {"url": target.url}}
            assert (await node.call("POST", "/api/v1/jobs", body)).status_code == 201
            ran = await node.call("POST", f"/api/v1/jobs/{name}/trigger?wait=10s", {})
            assert ran.status_code < 300, ran.text
        assert await node.stop() == 0
    return node


def entries_of(folder: Path) -> int:
    db = apsw.Connection(str(folder / "log" / "log.db"))
    row = db.execute("SELECT max(idx) FROM entries").fetchone()
    db.close()
    assert row is not None
    return int(row[0])


def vandalise(path: Path, sql: str, bindings: tuple[int, ...] = ()) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, bindings)
    db.close()


async def refuses_to_start(node: Node, words: str) -> None:
    with pytest.raises(AssertionError, match="the server ended") as caught:
        await node.start()
    assert words in str(caught.value)
    assert await node.ended() == 75


async def names_of(node: Node) -> list[str]:
    return sorted(job["name"] for job in (await node.call("GET", "/api/v1/jobs")).json()["jobs"])


async def test_a_flipped_bit_in_the_log_is_refused_and_named_and_recovered_from(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    node = await with_three_jobs(folder)
    last = entries_of(folder)
    vandalise(folder / "log" / "log.db", "UPDATE entries SET data = zeroblob(length) WHERE idx = ?", (last - 1,))

    await refuses_to_start(node, f"does not verify after entry {last - 2}")
    code, said = recover(folder)
    assert code == 0
    assert f"the last that verifies is {last - 2}" in said
    assert f"state has folded up to entry {last}" in said
    code, said = recover(folder, "--truncate-at", str(last))
    assert code == 75
    assert f"after entry {last - 2}" in said

    code, said = recover(folder, "--truncate-at", str(last - 2))
    assert (code, "the log goes on behind it" in said) == (0, True)
    assert (folder / "log" / f"log.db.damaged-{last - 2}").is_file()
    await node.start()
    assert await names_of(node) == sorted(NAMES), "what state had is still there"
    assert (await node.call("DELETE", "/api/v1/jobs/one")).status_code < 300
    assert await node.stop() == 0
    await node.start()
    assert await names_of(node) == sorted(NAMES[1:])
    assert await node.stop() == 0


async def test_a_log_can_be_cut_back_to_what_was_before_when_state_is_lost_too(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    node = await with_three_jobs(folder)
    last = entries_of(folder)
    vandalise(folder / "log" / "log.db", "UPDATE entries SET epoch = 7 WHERE idx = ?", (last,))
    assert recover(folder, "--rebuild-state")[0] == 0
    code, said = recover(folder, "--truncate-at", str(last - 1))
    assert (code, f"the log ends at entry {last - 1}; 1 entries are cut off" in said) == (0, True)
    await node.start()
    assert await names_of(node) == sorted(NAMES)
    assert await node.stop() == 0


@pytest.mark.parametrize(
    ("file", "sql"),
    [
        ("state.db", "UPDATE jobs SET value = zeroblob(length(value)) WHERE name = 'two'"),
        ("state.db", "DELETE FROM jobs WHERE name = 'two'"),
        ("state.db", "UPDATE meta SET value = zeroblob(16) WHERE key = 'digest'"),
    ],
)
async def test_damaged_state_is_refused_and_rebuilt_from_the_log(tmp_path: Path, file: str, sql: str) -> None:
    folder = tmp_path / "data"
    node = await with_three_jobs(folder)
    vandalise(folder / file, sql)
    await refuses_to_start(node, "recover --rebuild-state")
    code, said = recover(folder, "--rebuild-state")
    assert (code, "damaged-1" in said) == (0, True)
    await node.start()
    assert await names_of(node) == sorted(NAMES)
    ran = (await node.call("GET", "/api/v1/executions?status=success")).json()["executions"]
    assert sorted(execution["job_name"] for execution in ran) == sorted(NAMES)
    assert await node.stop() == 0


async def test_history_that_is_no_database_is_refused_and_rebuilt_from_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    node = await with_three_jobs(folder)
    (folder / "history" / "000001.db").write_bytes(b"anything else" * 1_000)
    await refuses_to_start(node, "recover --rebuild-state")
    assert recover(folder, "--rebuild-state")[0] == 0
    await node.start()
    ran = (await node.call("GET", "/api/v1/executions?status=success")).json()["executions"]
    assert len(ran) == len(NAMES)
    assert await node.stop() == 0


async def test_what_is_in_use_or_no_data_folder_is_left_alone(tmp_path: Path) -> None:
    assert recover(tmp_path / "nothing")[0] == 2
    node = Node(tmp_path / "data")
    await node.start()
    code, said = recover(tmp_path / "data", "--truncate-at", "0")
    assert code == 75
    assert "is used by process" in said
    assert await node.stop() == 0
