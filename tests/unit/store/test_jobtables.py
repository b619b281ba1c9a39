"""What jobs are found by: follows from the jobs, whoever has written the file before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.conformance.store.test_state import TINY, a_job

from chronos.errors import StateDamaged
from chronos.model.job import Job
from chronos.store import jobsearch
from chronos.store.offload import Inline
from chronos.store.port import Changes, Result
from chronos.store.sqlite import SqliteState
from chronos.store.state import JobFilter
from chronos.store.tables import JOBS


async def opened(folder: Path) -> SqliteState:
    state = SqliteState(folder, TINY, offload=Inline)
    await state.start()
    return state


async def put(state: SqliteState, *jobs: Job) -> None:
    index = state.applied_index + 1
    state.commit([Changes(Result(), {(JOBS.name, job.id): job for job in jobs})], index, index)
    await state.flush()


async def names(state: SqliteState, **wanted: object) -> tuple[list[str], int | None]:
    found, total = await state.find_jobs(JobFilter(**wanted), ("", ""), 100)  # type: ignore[arg-type]
    return [job.name for job in found], total


def change(folder: Path, *statements: str) -> None:
    db = apsw.Connection(str(folder / "state.db"))
    for statement in statements:
        db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    "statements",
    [
        ("DROP TABLE plans", "DROP TABLE job_traits", "DROP TABLE job_counts", "DROP TABLE jobs_text"),
        ("DELETE FROM meta WHERE key = 'job_tables'", "DELETE FROM plans WHERE key = 'J0001'"),
        ("UPDATE meta SET value = '1/0' WHERE key = 'job_tables'", "UPDATE job_counts SET jobs = jobs + 1"),
        ("UPDATE meta SET value = '0/1' WHERE key = 'job_tables'", "DELETE FROM job_traits"),
    ],
)
def test_tables_that_another_release_left_behind_are_made_anew(tmp_path: Path, statements: tuple[str, ...]) -> None:
    async def run() -> None:
        state = await opened(tmp_path)
        await put(state, *(a_job(number, tags={"team": "red"}) for number in range(7)))
        asked: list[dict[str, Any]] = [
            {"text": "job 1"},
            {"namespace": "ns1", "tags": {"team": "red"}},
            {"namespace": "ns0"},
        ]
        before = [await names(state, **one) for one in asked], state.plan_rows("", 100)
        await state.stop()
        if "DROP TABLE" in statements[0]:
            change(tmp_path, "DELETE FROM meta WHERE key = 'job_tables'")
        change(tmp_path, *statements)
        state = await opened(tmp_path)
        assert ([await names(state, **one) for one in asked], state.plan_rows("", 100)) == before
        await state.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE plans SET since = since + 1 WHERE key = 'J0001'",
        "DELETE FROM job_traits WHERE key = 'J0002'",
        "UPDATE job_counts SET enabled = 0 WHERE namespace = 'ns1'",
        "INSERT INTO jobs_text (jobs_text, rowid, text) VALUES ('delete', 2, 'other')",
    ],
)
def test_tables_that_say_something_else_than_the_jobs_are_noticed(tmp_path: Path, statement: str) -> None:
    async def run() -> None:
        state = await opened(tmp_path)
        await put(state, *(a_job(number, tags={"team": "red"}) for number in range(7)))
        await state.stop()
        change(tmp_path, statement)
        with pytest.raises(StateDamaged):
            await opened(tmp_path)

    asyncio.run(run())


def test_what_fits_too_many_is_found_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobsearch, "NARROW_MAX", 5)
    monkeypatch.setattr(jobsearch, "COUNTED_MAX", 5)

    async def run() -> None:
        state = await opened(tmp_path)
        await put(state, *(a_job(number, tags={"team": "red"}, name=f"j{number:02d}-many") for number in range(24)))
        every = [f"j{number:02d}-many" for number in range(24)]
        assert await names(state) == (every, 24)
        assert await names(state, enabled=False) == (every[::3], 8)
        assert await names(state, text="many") == (every, None)
        assert await names(state, text="07-m") == (every[7:8], 1)
        assert await names(state, text="07") == (every[7:8], None)
        assert await names(state, namespace="ns1", tags={"team": "red"}) == (every[1::2], None)
        assert await names(state, namespace="ns1", tags={"team": "red"}, text="07-m") == (every[7:8], 1)
        assert await names(state, namespace="ns1", enabled=False, text="-many") == (every[3::6], 4)
        await state.stop()

    asyncio.run(run())
