"""What a whole server exports is verified by the command, from the file alone."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.server.living import Living, a_node, until

from chronos.server.assemble import Outside
from chronos.store.history import HistorySettings
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.verify.report import rfc3339

SMALL = StateSettings(history=HistorySettings(segment_rows=6))
CALENDAR = {"blackouts": [{"start": "2020-01-01T00:00:00Z", "end": "2070-01-01T00:00:00Z", "reason": "closed"}]}


def a_job(name: str, **more: Any) -> dict[str, Any]:
    target = {"webhook": {"url": "http://127.0.0.1:9/"}, "retry_policy": {"max_attempts": 1}}
    return {"name": name, "schedule": "* * * * * *", **target, **more}


async def verified(*arguments: str | Path) -> tuple[int, Any]:
    """Run `chronos verify` in a process of its own; return its exit code and what it said."""
    command = [str(Path(sys.executable).with_name("chronos")), "verify", "-o", "json", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return process.returncode or 0, json.loads(said)


async def exported(living: Living, path: Path) -> Path:
    """Seal what can be sealed, and write an export into a file."""
    await living.node.drive.keeping.sealing.turn()
    answer = await living.call("GET", "/api/v1/export")
    assert answer.status_code == 200, answer.text
    await asyncio.to_thread(path.write_bytes, answer.content)
    return path


@pytest.mark.asyncio
async def test_what_a_server_exports_is_verified_and_a_row_less_is_named(tmp_path: Path) -> None:
    outside = Outside(state=partial(SqliteState, settings=SMALL))
    async with a_node(tmp_path / "data", outside) as living:
        assert (await living.call("PUT", "/api/v1/calendars/closed", CALENDAR)).status_code in (200, 201)
        names = [
            ("every-second", "* * * * * *", None),
            ("closed", "* * * * * *", "closed"),
            ("other", "*/2 * * * * *", None),
        ]
        jobs = [a_job(name, schedule=schedule, calendar=calendar) for name, schedule, calendar in names]
        for job in jobs:
            created = await living.call("POST", "/api/v1/jobs", job)
            assert created.status_code == 201, created.text

        async def has_run() -> bool:
            await living.node.truth.state.flush()
            return len(living.node.truth.state.archive.infos) > 4

        await until(has_run)
        assert (await living.call("POST", "/api/v1/jobs/every-second/pause")).status_code == 200
        await living.node.truth.state.flush()
        export = await exported(living, tmp_path / "export.ndjson")

    code, said = await verified(export)
    assert code == 0, said["problems"]
    assert said["seals"] >= 3
    assert said["counts"]["ended"]["failed"] > 3
    assert said["counts"]["skipped"]["blackout"] > 0

    lines = export.read_bytes().splitlines(keepends=True)
    rows = [line for line in lines if line.startswith(b'{"type":"execution"')]
    lines.remove(rows[1])
    (tmp_path / "copy.ndjson").write_bytes(b"".join(lines))
    code, told = await verified(tmp_path / "copy.ndjson", "--head", said["head"])
    assert code == 1
    assert {"instant-missing", "row-missing", "segment-differs", "cut-off"} <= set(told["problems_by_kind"])
    missing = json.loads(rows[1])["data"]["scheduled_s"]
    [problem] = [each for each in told["problems"] if each["kind"] == "instant-missing"]
    assert problem["instant"] == rfc3339(missing)
