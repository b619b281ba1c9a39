"""Pages that are found on the loop: what they leave to a thread, and what they do not read from files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.executions import an_execution

from chronos.model.execution import Execution, RangeRecord, SkipReason, Status
from chronos.model.job import Job, JobSpec
from chronos.model.target import HttpTarget
from chronos.store import glance, listings, segment, sqlite
from chronos.store.history import HistorySettings
from chronos.store.jobsearch import Listed
from chronos.store.listings import Listings
from chronos.store.offload import Inline
from chronos.store.port import Changes, Result
from chronos.store.records import AFTER_ALL, MemorySource, RecordFilter, merged
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.state import JobFilter
from chronos.store.statefile import StateReader
from chronos.store.tables import JOBS, OPEN

T = TypeVar("T")
EVERYTHING = RecordFilter(namespace="default")


class Counting(Inline):
    """Does work right here, and counts what came to places where is searched."""

    searches = 0

    def __init__(self, name: str = "") -> None:
        self._name = name

    async def run(self, work: Callable[[], T]) -> T:
        Counting.searches += self._name == "chronos-search"
        return work()


@pytest.fixture(autouse=True)
def searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "searches", 0)


def a_job(number: int, **spec: Any) -> Job:
    whole = JobSpec(name=f"job-{number:03d}", target=HttpTarget(url="http://x/"), schedules=["@daily"], **spec)
    return Job(id=f"J{number:03d}", spec=whole, revision=1, created_at_us=0, updated_at_us=0)


def ended(instant: int, job: str = "J1", **more: Any) -> Execution:
    return an_execution(job, instant, Status.SUCCESS, ended_at_us=instant * 1_000_000, **more)


def asked(folder: Path, ask: Callable[[SqliteState], Any], **history: int) -> Any:
    """Return what `ask` answers about a new state in `folder`."""

    async def run() -> Any:
        state = SqliteState(folder, StateSettings(history=HistorySettings(**history)), offload=Counting)
        await state.start()
        Counting.searches = 0  # the start has opened files there
        try:
            return await ask(state)
        finally:
            await state.stop()

    return asyncio.run(run())


def skipped(instant: int, job: str = "J1", namespace: str = "default") -> RangeRecord:
    return RangeRecord(
        job_id=job,
        job_name=job,
        namespace=namespace,
        reason=SkipReason.OVERLAP,
        first_s=instant,
        last_s=instant,
        count=1,
        decided_at_us=instant * 1_000_000,
    )


def commit(
    state: SqliteState,
    *executions: Execution,
    ranges: tuple[RangeRecord, ...] = (),
    jobs: tuple[Job | None, ...] = (),
    gone: str = "",
) -> None:
    changes = Changes(Result(), ended=[one for one in executions if one.is_terminal], ranges=[*ranges])
    changes.puts = {(OPEN.name, one.id): one for one in executions if not one.is_terminal}
    changes.puts |= {(JOBS.name, job.id): job for job in jobs if job is not None}
    if gone:
        changes.puts[JOBS.name, gone] = None
    index = state.applied_index + 1
    state.commit([changes], index, index * 1_000_000)


def test_the_first_page_of_executions_is_found_on_the_loop(tmp_path: Path) -> None:
    async def ask(state: SqliteState) -> None:
        for instant in range(30):
            commit(state, ended(instant), an_execution("J2", instant, Status.PENDING))
            if instant % 10 == 0:
                await state.flush()
        found = await state.find_records(EVERYTHING, AFTER_ALL, 50)
        assert [record.scheduled_s for record in found if isinstance(record, Execution)] == [
            instant for instant in range(29, 4, -1) for _ in "12"
        ]
        of_job = await state.find_records(replace(EVERYTHING, job_id="J1"), AFTER_ALL, 3)
        assert of_job == [ended(29), ended(28), ended(27)]
        assert Counting.searches == 0
        await state.find_records(replace(EVERYTHING, statuses=(Status.FAILED,)), AFTER_ALL, 3)
        await state.find_records(EVERYTHING, (9, "occ_"), 3)
        assert Counting.searches == 2

    asked(tmp_path, ask)


RECORDS = st.lists(
    st.builds(
        an_execution,
        st.sampled_from(["J1", "J2"]),
        st.integers(0, 5),
        namespace=st.sampled_from(["default"] * 7 + ["other"]),
        series=st.integers(0, 2),
        revision=st.integers(1, 9),  # to tell versions apart
    ),
    max_size=12,
)


@given(RECORDS, st.lists(RECORDS, min_size=1, max_size=4), st.integers(1, 9))
@settings(max_examples=500)
def test_a_page_from_memory_has_the_newest_version_of_each_of_the_newest(
    executions: list[Execution], layers: list[list[Execution]], limit: int
) -> None:
    running = {one.id: one for one in executions}
    written: list[glance.Ended] = [{(one.id, one.series): one for one in layer} for layer in layers]
    page = glance.Glance(Path())
    for layer in reversed(written[1:]):
        page.written(layer)
    sources = [MemorySource(running.values()), *(MemorySource(layer.values()) for layer in written)]

    found = page.find(running, written[:1], (), EVERYTHING, limit)

    assert found == merged(sources, EVERYTHING, AFTER_ALL, limit)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ended"] * 5 + ["flush"] * 4 + ["open", "skipped"]),
        st.integers(0, 12),  # the instant
        st.sampled_from(["J1", "J2"]),
        st.sampled_from(["default", "default", "default", "other"]),
        st.integers(0, 2),  # the series
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 9))
@settings(max_examples=150)
def test_a_page_at_a_glance_is_the_page_that_a_search_finds(steps: list[Any], limit: int) -> None:
    async def ask(state: SqliteState) -> None:
        for what, instant, job, namespace, series in steps:
            named: dict[str, Any] = {"namespace": namespace, "series": series}
            if what == "flush":
                await state.flush()
            elif what == "open":
                commit(state, an_execution(job, instant, Status.RUNNING, **named))
            elif what == "ended":
                commit(state, ended(instant, job, **named))
            else:
                commit(state, ranges=(skipped(instant, job, namespace),))
        at_a_glance = await state.find_records(EVERYTHING, AFTER_ALL, limit)
        assert Counting.searches == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite, "is_first_page", lambda *_: False)
            assert at_a_glance == await state.find_records(EVERYTHING, AFTER_ALL, limit)
        assert Counting.searches == 1

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(glance, "WRITTEN_MAX", 4)
        patch.setattr(Counting, "searches", 0)
        asked(Path(folder), ask)


@given(STEPS)
@settings(max_examples=150)
def test_the_last_runs_that_are_found_at_a_glance_are_those_that_a_search_finds(steps: list[Any]) -> None:
    jobs = {"J1": "default", "J2": "other"}

    async def ask(state: SqliteState) -> None:
        for what, instant, job, _, series in steps:
            named: dict[str, Any] = {"namespace": jobs[job], "series": series}
            if what == "flush":
                await state.flush()
            elif what == "open":
                commit(state, an_execution(job, instant, Status.RUNNING, **named))
            else:
                did_run = ended(instant, job, **named)
                commit(state, did_run if what == "ended" else replace(did_run, status=Status.SKIPPED))
        at_a_glance = await state.newest_runs(jobs)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(glance, "REMEMBERED_MAX", -1)
            Counting.searches = 0
            assert at_a_glance == await state.newest_runs(jobs)
        assert Counting.searches == 1

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(glance, "WRITTEN_MAX", 4)
        asked(Path(folder), ask)


def test_last_runs_of_jobs_that_ran_just_now_need_no_search(tmp_path: Path) -> None:
    jobs = {"J1": "default", "J2": "default"}

    async def ask(state: SqliteState) -> None:
        commit(state, ended(3), an_execution("J2", 4, Status.RUNNING))
        await state.flush()
        commit(state, ended(5), replace(ended(6), status=Status.SKIPPED))
        found = await state.newest_runs(jobs)
        assert {job_id: run.scheduled_s for job_id, run in found.items()} == {"J1": 5, "J2": 4}
        assert Counting.searches == 0
        assert (await state.newest_runs({**jobs, "J3": "default"})).keys() == jobs.keys()
        assert Counting.searches == 1

    asked(tmp_path, ask)


def test_a_last_run_that_lies_below_what_is_in_memory_is_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "WRITTEN_MAX", 0)

    async def ask(state: SqliteState) -> None:
        commit(state, ended(5))
        await state.flush()
        commit(state, ended(4))  # long under way: it ended after one that was due later
        assert await state.newest_runs({"J1": "default"}) == {"J1": ended(5)}
        assert Counting.searches == 1

    asked(tmp_path, ask)


def test_a_page_that_lies_in_memory_is_not_put_together_from_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(state: SqliteState) -> None:
        for instant in range(30):
            commit(state, ended(instant), an_execution("J2", instant, Status.PENDING))
            await state.flush()
        monkeypatch.setattr(glance, "merged", None)
        found = await state.find_records(EVERYTHING, AFTER_ALL, 21)
        assert [record.scheduled_s for record in found if isinstance(record, Execution)][-2:] == [20, 19]

    asked(tmp_path, ask)


def test_what_ended_late_hides_nothing_that_memory_has_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "WRITTEN_MAX", 2)

    async def ask(state: SqliteState) -> None:
        for instant in (11, 13, 14, 10):
            commit(state, ended(instant))
            await state.flush()
        assert await state.find_records(EVERYTHING, AFTER_ALL, 2) == [ended(14), ended(13)]

    asked(tmp_path, ask)


def test_what_was_written_lately_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "WRITTEN_MAX", 20)
    read: list[str] = []
    real = segment.SegmentReader.select

    def noting(self: segment.SegmentReader, statement: str, bindings: Any) -> Any:
        read.append(statement)
        return real(self, statement, bindings)

    monkeypatch.setattr(segment.SegmentReader, "select", noting)

    async def ask(state: SqliteState) -> None:
        for instant in range(40):
            commit(state, ended(instant))
            await state.flush()
        assert await state.find_records(EVERYTHING, AFTER_ALL, 19) == [ended(instant) for instant in range(39, 20, -1)]
        assert read == []
        assert await state.find_records(EVERYTHING, AFTER_ALL, 25) == [ended(instant) for instant in range(39, 14, -1)]
        assert read

    asked(tmp_path, ask)


def test_what_reaches_into_a_closed_segment_is_searched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "WRITTEN_MAX", 0)

    async def ask(state: SqliteState) -> None:
        for instant in range(20):
            commit(state, ended(instant))
            await state.flush()
        assert [info.closed_us > 0 for info in state.history.infos] == [True, False]
        assert len(await state.find_records(EVERYTHING, AFTER_ALL, 5)) == 5
        assert Counting.searches == 0
        assert len(await state.find_records(EVERYTHING, AFTER_ALL, 15)) == 15
        assert Counting.searches == 1

    asked(tmp_path, ask, segment_rows=12)


def test_what_retention_takes_is_not_shown_from_memory(tmp_path: Path) -> None:
    async def ask(state: SqliteState) -> None:
        for instant in range(20):
            commit(state, ended(instant, "J1" if instant % 2 else "J2"))
            await state.flush()
        closed = next(info.number for info in state.history.infos if info.closed_us)
        assert await state.archive.thin(closed, "job_id", "J1", 100) == 6
        left = await state.find_records(EVERYTHING, AFTER_ALL, 50)
        assert len(left) == 14
        assert await state.archive.remove([closed]) == 1
        assert len(await state.find_records(EVERYTHING, AFTER_ALL, 50)) == 8

    asked(tmp_path, ask, segment_rows=12)


def test_a_crowd_in_memory_is_left_to_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "REMEMBERED_MAX", 5)

    async def ask(state: SqliteState) -> None:
        commit(state, *map(ended, range(6)))
        assert len(await state.find_records(EVERYTHING, AFTER_ALL, 9)) == 6
        assert Counting.searches == 1

    asked(tmp_path, ask)


def test_jobs_that_no_file_has_yet_are_listed_and_those_gone_are_not(tmp_path: Path) -> None:
    async def ask(state: SqliteState) -> None:
        commit(state, jobs=tuple(a_job(number) for number in range(5)))
        await state.flush()
        commit(state, jobs=(a_job(7), a_job(3, description="changed")), gone="J001")
        assert state.overlaid == 3
        jobs, total = await state.find_jobs(JobFilter(namespace="default"), ("", ""), 4)
        assert ([job.id for job in jobs], total) == (["J000", "J002", "J003", "J004"], 5)
        assert jobs[2].spec.description == "changed"
        found, total = await state.find_jobs(JobFilter(namespace="default"), ("job-003", "J003"), 4)
        assert ([job.id for job in found], total) == (["J004", "J007"], 5)
        assert Counting.searches == 0
        found, total = await state.find_jobs(JobFilter(text="changed"), ("", ""), 4)
        assert ([job.id for job in found], total) == (["J003"], 1)
        assert Counting.searches == 1
        await state.flush()
        assert state.overlaid == 0

    asked(tmp_path, ask)


def test_a_page_of_jobs_is_read_once_until_one_comes_goes_or_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    list_jobs = StateReader.list_jobs

    def counted(self: StateReader, *asked: Any) -> Listed:
        read.append(1)
        return list_jobs(self, *asked)

    monkeypatch.setattr(StateReader, "list_jobs", counted)

    async def ask(state: SqliteState) -> None:
        async def page() -> tuple[list[str], int | None, int]:
            read.clear()
            jobs, total = await state.find_jobs(JobFilter(namespace="default"), ("", ""), 4)
            return [f"{job.name} {job.spec.description}".strip() for job in jobs], total, len(read)

        commit(state, jobs=tuple(a_job(number) for number in range(3)))
        assert await page() == (["job-000", "job-001", "job-002"], 3, 1)
        await state.flush()
        assert await page() == (["job-000", "job-001", "job-002"], 3, 0)
        commit(state, jobs=(a_job(1, description="edited"),))
        assert await page() == (["job-000", "job-001 edited", "job-002"], 3, 0)
        commit(state, jobs=(a_job(3),))
        assert await page() == (["job-000", "job-001 edited", "job-002", "job-003"], 4, 1)
        commit(state, gone="J000")
        assert await page() == (["job-001 edited", "job-002", "job-003"], 3, 1)
        moved = a_job(2)
        commit(state, jobs=(replace(moved, spec=replace(moved.spec, name="zulu")),))
        assert await page() == (["job-001 edited", "job-003", "zulu"], 3, 1)
        moved = a_job(3)
        commit(state, jobs=(replace(moved, spec=replace(moved.spec, namespace="elsewhere")),))
        assert await page() == (["job-001 edited", "zulu"], 2, 1)

    asked(tmp_path, ask)


@pytest.mark.asyncio
async def test_no_more_than_some_pages_of_jobs_are_remembered() -> None:
    pages = Listings()
    looked_up: list[Any] = []

    async def look_up(*page: Any) -> Listed:
        looked_up.append(page)
        return Listed([], 0)

    for number in range(listings.PAGES_MAX):
        await pages.page(None, ("", f"job-{number}"), 20, look_up)
        await pages.page(None, ("", "job-0"), 20, look_up)
    assert len(looked_up) == listings.PAGES_MAX, "each was looked up once"

    await pages.page(None, ("", "one more"), 20, look_up)
    await pages.page(None, ("", "job-0"), 20, look_up)
    assert len(looked_up) == listings.PAGES_MAX + 2, "one page too many, and what was known is looked up again"


def test_a_crowd_of_changed_jobs_is_laid_over_the_file_in_a_thread_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "OVERLAID_MAX", 2)

    async def ask(state: SqliteState) -> None:
        commit(state, jobs=tuple(a_job(number) for number in range(3)))
        for _ in range(3):
            jobs, total = await state.find_jobs(JobFilter(namespace="default"), ("", ""), 2)
            assert ([job.id for job in jobs], total) == (["J000", "J001"], 3)
        assert Counting.searches == 1

    asked(tmp_path, ask)


def test_a_page_that_changes_while_it_is_looked_up_is_not_remembered() -> None:
    pages = Listings()

    async def look_up(*_: Any) -> Listed:
        pages.note(None, a_job(1))
        return Listed(["J000"], 1)

    async def look_up_later(*_: Any) -> Listed:
        return Listed(["J000", "J001"], 2)

    async def run() -> None:
        assert (await pages.page(None, ("", ""), 20, look_up)).total == 1
        assert (await pages.page(None, ("", ""), 20, look_up_later)).total == 2

    asyncio.run(run())
