"""A clock that jumps under a whole node: what the API, the metrics and the command line say and do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.server.living import Living, SteppedClock, a_node, until

from chronos.server.assemble import Outside

DAY = 86_400.0
JOB = {"name": "nightly", "schedule": "@yearly", "webhook": {"url": "http://127.0.0.1:9/"}}


async def the_clock(living: Living) -> Any:
    return (await living.call("GET", "/api/v1/clock")).json()


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def hold_seconds(living: Living) -> float:
    page = (await living.call("GET", "/metrics")).text
    [line] = [line for line in page.splitlines() if line.startswith("chronos_clock_hold_seconds ")]
    return float(line.split()[1])


@pytest.mark.asyncio
async def test_a_jump_is_held_said_everywhere_and_accepted_by_command(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with a_node(tmp_path / "data", Outside(clock=clock, synchronised=lambda: False)) as living:
        assert await hold_seconds(living) == 0
        clock.ahead_s = 2 * DAY

        held = await the_clock(living)
        assert (held["held"], held["needs_accept"], held["jumps"]) == (True, True, 1)
        assert "clock accept" in held["note"]
        assert instant(held["now"]) - instant(held["planning_time"]) == pytest.approx(2 * DAY, abs=2)
        assert await hold_seconds(living) == pytest.approx(2 * DAY, abs=2)
        status = (await living.call("GET", "/api/v1/cluster/status")).json()
        assert status["clock"]["held"]
        ready = await living.call("GET", "/ready")
        assert ready.status_code == 200
        assert "clock accept" in ready.json()["notes"][0]

        created = await living.call("POST", "/api/v1/jobs", JOB)
        assert created.status_code == 201
        assert instant(created.json()["created_at"]) < clock.time() - DAY, "log time follows what is believed"

        code, said = await living.ctl("clock", "accept")
        assert code == 0, said
        freed = await the_clock(living)
        assert (freed["held"], freed["note"]) == (False, "")
        assert instant(freed["planning_time"]) == pytest.approx(clock.time(), abs=3)
        assert await hold_seconds(living) == 0
        assert (await living.call("GET", "/ready")).json()["notes"] == []


@pytest.mark.asyncio
async def test_the_api_accepts_a_clock_too(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with a_node(tmp_path / "data", Outside(clock=clock, synchronised=lambda: False)) as living:
        clock.ahead_s = 3_600
        assert (await the_clock(living))["held"]
        assert not (await living.call("POST", "/api/v1/clock/accept")).json()["held"]


@pytest.mark.asyncio
async def test_a_clock_set_back_is_told_and_reset_by_command(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with a_node(tmp_path / "data", Outside(clock=clock)) as living:
        job = {**JOB, "schedule": "* * * * * *"}
        assert (await living.call("POST", "/api/v1/jobs", job)).status_code == 201

        async def is_decided() -> bool:
            return (await the_clock(living))["high_water_mark"] is not None

        await until(is_decided)
        clock.ahead_s = -600
        silent = await the_clock(living)
        assert silent["silent_until"] is not None
        assert await hold_seconds(living) == pytest.approx(600, abs=5)

        code, said = await living.ctl("clock", "reset", "--yes")
        assert code == 0, said
        after = await the_clock(living)
        assert (after["silent_until"], after["restore_epoch"]) == (None, 1)


@pytest.mark.asyncio
async def test_a_start_weeks_after_the_last_entry_is_held_and_serves_reads_and_writes(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with a_node(tmp_path / "data", Outside(clock=clock)) as living:
        assert (await living.call("POST", "/api/v1/jobs", JOB)).status_code == 201
    clock.ahead_s = 30 * DAY
    async with a_node(tmp_path / "data", Outside(clock=clock)) as living:
        held = await the_clock(living)
        assert (held["held"], held["needs_accept"]) == (True, True)
        assert "30 days" in held["reason"]
        assert (await living.call("GET", "/api/v1/jobs/nightly")).status_code == 200
        assert (await living.call("POST", "/api/v1/jobs", {**JOB, "name": "second"})).status_code == 201
        code, said = await living.ctl("clock", "status")
        assert code == 0
        assert "clock accept" in said
