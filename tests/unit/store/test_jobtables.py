"""What jobs are found by: follows from the jobs, whoever has written the file before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace
from tests.conformance.store.test_state import TINY, a_job

from chronos.errors import StateDamaged, StorageFull
from chronos.model.job import Job, Pause
from chronos.store import jobsearch
from chronos.store.offload import Inline
from chronos.store.port import Changes, Result
from chronos.store.sqlite import SqliteState
from chronos.store.state import JobFilter, MemoryState
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


class FullState(SqliteState):
    """A state with no room left on its disk."""

    def _write(self, *_: object) -> None:
        raise StorageFull


WANTED = [
    JobFilter(**wanted)
    for wanted in (
        {},
        {"namespace": "ns0"},
        {"namespace": "ns1", "enabled": False},
        {"enabled": True},
        {"namespace": "ns0", "tags": {"team": "red"}},
        {"tags": {"team": "blue"}},
        {"text": "job 1"},
        {"text": "renamed"},
        {"namespace": "ns1", "text": "7"},
    )
]


async def paged(state: SqliteState | MemoryState, wanted: JobFilter, limit: int) -> list[object]:
    """Return what every page shows, one after the other."""
    pages: list[object] = []
    after = ("", "")
    while True:
        found, total = await state.find_jobs(wanted, after, limit)
        pages.append((found, total))
        if not found:
            return pages
        after = (found[-1].name, found[-1].id)


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_lists_show_what_was_answered_while_there_was_no_room_to_write_it(tmp_path: Path, limit: int) -> None:
    jobs = {job.id: job for job in (a_job(number, tags={"team": "red"}) for number in range(20))}
    edited = replace(jobs["J0003"], revision=2, paused=None)
    renamed = replace(jobs["J0006"], revision=2, spec=replace(jobs["J0006"].spec, name="renamed", tags={}))
    paused = replace(jobs["J0007"], revision=2, paused=Pause())
    made = a_job(31, tags={"team": "blue"})
    before: list[dict[str, Job | None]] = [{**jobs}]
    later: list[dict[str, Job | None]] = [
        {"J0003": edited, "J0004": None},
        {"J0006": renamed, made.id: made, "J0040": a_job(40), "J0007": paused},
        {"J0003": replace(edited, revision=3), "J0040": None},
    ]

    def take(state: SqliteState | MemoryState, changes: list[dict[str, Job | None]]) -> None:
        for change in changes:
            puts: Any = {(JOBS.name, key): job for key, job in change.items()}
            index = state.applied_index + 1
            state.commit([Changes(Result(), puts)], index, index)

    async def run() -> None:
        state, truth = await opened(tmp_path), MemoryState()
        take(truth, before + later)
        take(state, before)
        await state.flush()
        state.__class__ = FullState
        for change in later:
            take(state, [change])
            with pytest.raises(StorageFull):
                await state.flush()
        for wanted in WANTED:
            assert await paged(state, wanted, limit) == await paged(truth, wanted, limit), wanted
        state.__class__ = SqliteState
        await state.flush()
        for wanted in WANTED:
            assert await paged(state, wanted, limit) == await paged(truth, wanted, limit), wanted
        await state.stop()

    asyncio.run(run())
