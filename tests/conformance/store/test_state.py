"""Every state keeps the same promises; the one in memory is what the others are measured by."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit import executions

from chronos.errors import Draining
from chronos.model.execution import TERMINAL, Execution, Kind, RangeRecord, SkipReason, Status
from chronos.model.job import Dependencies, HistoryPolicy, Job, JobSpec, Pause
from chronos.model.target import HttpTarget
from chronos.store.history import HistorySettings
from chronos.store.newest import RAN
from chronos.store.offload import Inline, Thread
from chronos.store.port import Changes, Result
from chronos.store.records import AFTER_ALL, Record, RecordFilter, row_of
from chronos.store.sqlite import SqliteState, StateSettings
from chronos.store.state import (
    FOLLOWS,
    KEEPS,
    KEY_MAX,
    RESUMES,
    UNDER_CALENDARS,
    JobFilter,
    MemoryState,
    State,
    calendar_trait,
    paused_trait,
    tag_trait,
)
from chronos.store.tables import DEAD, DOCUMENTS, JOBS, OPEN, SLOTS, Document, Slots, Table

TINY = StateSettings(
    cached_bytes=8_000, checkpoint_pages=20, history=HistorySettings(segment_rows=7, segment_us=5_000_000)
)
MEMORY, INLINE, THREADS, PROCESS = "memory", "inline", "threads", "process"


class Disk:
    """Where a state lies, so that it can be opened twice."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._memory = MemoryState()

    def state(self) -> State:
        if self._kind == MEMORY:
            return self._memory
        kept = replace(TINY, background_rows=1) if self._kind == PROCESS else TINY
        return SqliteState(self._folder, kept, offload=Inline if self._kind == INLINE else Thread)


@pytest.fixture(params=[MEMORY, INLINE, THREADS, PROCESS])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return Disk(request.param, tmp_path)


def a_job(number: int, **spec: Any) -> Job:
    paused = Pause() if number % 3 == 0 else None
    name = spec.pop("name", f"job {number % 5} {number}")
    target = HttpTarget(url="http://localhost/")
    whole = JobSpec(name=name, target=target, schedules=["* * * * *"], namespace=f"ns{number % 2}", **spec)
    return Job(id=f"J{number:04d}", spec=whole, revision=1, created_at_us=number, updated_at_us=number, paused=paused)


def an_execution(
    job: int, instant: int, status: Status = Status.PENDING, series: int = 0, ended_us: int = 0
) -> Execution:
    facts = {"job_name": "", "namespace": f"ns{job % 2}", "series": series, "ended_at_us": ended_us}
    return executions.an_execution(f"J{job:04d}", instant, status, **facts)


def a_range(job: int, first: int, last: int) -> RangeRecord:
    return RangeRecord(f"J{job:04d}", f"ns{job % 2}", first, last, last - first + 1, SkipReason.PAUSED)


class Writer:
    """Draws changes as a fold would make them, from a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._open: list[Execution] = []
        self._dead: list[Execution] = []
        self._ranges: list[RangeRecord] = []
        self._now = 0

    def changes(self) -> Changes:
        self._now += self._chance.randrange(3)
        changes = Changes(Result())
        for _ in range(self._chance.randrange(4)):
            self._chance.choice(
                [
                    self._job,
                    self._begin,
                    self._begin,
                    self._run,
                    self._end,
                    self._end,
                    self._redrive,
                    self._skip,
                    self._note,
                ]
            )(changes)
        return changes

    def _job(self, changes: Changes) -> None:
        number = self._chance.randrange(30)
        tags = {key: self._chance.choice("xy") for key in "ab" if self._chance.random() < 0.5}
        job = a_job(number, tags=tags, description=self._chance.choice(["", "Größe", 'nightly "quoted"', "x%"]))
        job = self._changed(job)
        changes.puts[JOBS.name, job.id] = None if self._chance.random() < 0.2 else job
        document = Document(self._chance.randbytes(3), 1, self._now)
        changes.puts[DOCUMENTS.name, f"p/ns{number % 2}/{number}"] = document

    def _changed(self, job: Job) -> Job:
        """Change something that jobs are looked for by, or planned by."""
        spec, until = job.spec, datetime(2030, 1, 1, tzinfo=UTC)
        drawn = [
            job,
            replace(job, spec=replace(spec, name=f"{spec.name}{self._chance.randrange(3)}")),
            replace(job, paused=self._chance.choice([None, Pause(), Pause(until=until)])),
            replace(job, spec=replace(spec, calendar="holidays", end_at=until)),
            replace(job, spec=replace(spec, dependencies=Dependencies(depends_on=["job 1 1"]))),
            replace(job, spec=replace(spec, history=HistoryPolicy(max_count=3), schedules=["@every 5m"]), anchor_s=7),
            replace(job, owed_since_us=self._now * 1_000_000 + 999_999),
        ]
        return self._chance.choice(drawn)

    def _begin(self, changes: Changes) -> None:
        execution = an_execution(self._chance.randrange(6), self._now)
        if all(execution.id != other.id for other in [*self._open, *self._dead]):
            self._open.append(execution)
            changes.puts[OPEN.name, execution.id] = execution
            changes.puts[SLOTS.name, execution.job_id] = Slots(waiting=(execution.id,))

    def _run(self, changes: Changes) -> None:
        for at, execution in enumerate(self._open[:1]):
            self._open[at] = an_execution(
                int(execution.job_id[1:]), execution.scheduled_s, Status.RUNNING, execution.series
            )
            changes.puts[OPEN.name, execution.id] = self._open[at]

    def _end(self, changes: Changes) -> None:
        if not self._open:
            return
        old = self._open.pop(self._chance.randrange(len(self._open)))
        status = self._chance.choice([Status.SUCCESS, Status.FAILED, Status.CANCELLED])
        ended = an_execution(int(old.job_id[1:]), old.scheduled_s, status, old.series, self._now * 100_000)
        changes.puts[OPEN.name, old.id] = None
        changes.puts[SLOTS.name, old.job_id] = None
        changes.ended.append(ended)
        if status is Status.FAILED:
            self._dead.append(ended)
            changes.puts[DEAD.name, ended.id] = ended

    def _redrive(self, changes: Changes) -> None:
        if self._dead:
            old = self._dead.pop(0)
            anew = an_execution(int(old.job_id[1:]), old.scheduled_s, Status.PENDING, old.series + 1)
            self._open.append(anew)
            changes.puts[DEAD.name, old.id] = None
            changes.puts[OPEN.name, anew.id] = anew

    def _skip(self, changes: Changes) -> None:
        if self._ranges and self._chance.random() < 0.5:
            old = self._ranges.pop(self._chance.randrange(len(self._ranges)))
            new = a_range(int(old.job_id[1:]), old.first_s, old.last_s + 1)
        else:
            new = a_range(self._chance.randrange(6), self._now, self._now + self._chance.randrange(20))
            if any(row_of(new).id == row_of(other).id for other in self._ranges):
                return
        self._ranges.append(new)
        changes.ranges.append(new)

    def _note(self, changes: Changes) -> None:
        """A late result: the same series once more, with something added."""
        if self._dead:
            old = self._dead[0]
            noted = Execution(**{**{f: getattr(old, f) for f in old.__struct_fields__}, "notes": ("late_result",)})
            self._dead[0] = noted
            changes.puts[DEAD.name, old.id] = noted
            changes.ended.append(noted)


FILTERS = [
    RecordFilter(),
    RecordFilter(namespace="ns1"),
    RecordFilter(job_id="J0002"),
    RecordFilter(job_id="J0002", namespace="ns1"),
    RecordFilter(namespace="ns0", statuses=(Status.FAILED,)),
    RecordFilter(statuses=(Status.SKIPPED, Status.RUNNING)),
    RecordFilter(statuses=tuple(sorted(TERMINAL))),
    RecordFilter(statuses=tuple(sorted(TERMINAL)), ended_since_us=3_000_000),
    RecordFilter(kind=Kind.MANUAL),
    RecordFilter(kind=Kind.SCHEDULE, since_s=10, until_s=30),
    RecordFilter(job_id="J0001", since_s=15),
]
JOB_FILTERS = [
    JobFilter(),
    JobFilter(namespace="ns1"),
    JobFilter(namespace="ns1", enabled=True),
    JobFilter(enabled=False, tags={"a": "x"}),
    JobFilter(tags={"a": "x", "b": "y"}),
    JobFilter(text="GRÖSSE"),
    JobFilter(text="job 3"),
    JobFilter(text="%"),
    JobFilter(text='Y "Q'),
    JobFilter(text="job", enabled=True, namespace="ns0"),
    JobFilter(text="size"),
    JobFilter(namespace="ns1", enabled=False),
    JobFilter(namespace="ns0", tags={"a": "x"}),
    JobFilter(namespace="ns0", tags={"a": "x", "b": "y"}, enabled=True, text="t"),
    JobFilter(namespace="nobody"),
]
TRAITS = [
    FOLLOWS,
    KEEPS,
    RESUMES,
    UNDER_CALENDARS,
    calendar_trait("ns0", "holidays"),
    paused_trait("ns1"),
    tag_trait("ns1", "b", "y"),
]


async def answers(state: State) -> dict[str, Any]:
    """Everything a state can be asked."""
    found: dict[str, Any] = {"applied": state.applied_index, "time": state.time_us, "digest": await state.digest()}
    for table in (JOBS, DOCUMENTS, DEAD, SLOTS, OPEN):
        for newest in (False, True):
            found[f"{table.name} {newest}"] = state.scan(table, "", KEY_MAX, 1_000, newest=newest)
        found[f"{table.name} some"] = state.scan(table, "J0003", "p/ns1", 4)
    for number, wanted in enumerate(FILTERS):
        found[f"records {number}"] = await state.find_records(wanted, AFTER_ALL, 1_000)
        found[f"first records {number}"] = await state.find_records(wanted, (20, "occ_m"), 3)
    for number, job_filter in enumerate(JOB_FILTERS):
        found[f"jobs {number}"] = await state.find_jobs(job_filter, ("", ""), 1_000)
        found[f"later jobs {number}"] = await state.find_jobs(job_filter, ("job 2 12", "J0012"), 2)
    for trait in TRAITS:
        found[trait] = state.jobs_of_trait(trait, ("", ""), 1_000)
        found[f"later {trait}"] = state.jobs_of_trait(trait, ("job 2 12", "J0012"), 2)
    found["plans"] = state.plan_rows("", 1_000)
    found["later plans"] = state.plan_rows("J0012", 3)
    found["open"] = state.open_executions()
    found["newest runs"] = await newest_runs(state)
    for record in await state.find_records(RecordFilter(), AFTER_ALL, 1_000):
        row = row_of(record)
        ended = await state.record(row.id, row.instant_s)
        found[row.id] = ended
        found[f"{row.id} ranges"] = newest_versions(await state.ranges_at(row.instant_s))
    return found


async def newest_runs(state: State) -> dict[str, Execution]:
    """The newest run of each job; they are those that are found job by job."""
    records = await state.find_records(RecordFilter(), AFTER_ALL, 1_000)
    jobs = {record.job_id: record.namespace for record in records} | {"unheard-of": "default"}
    found = await state.newest_runs(jobs)
    for job_id, namespace in jobs.items():
        wanted = RecordFilter(namespace=namespace, job_id=job_id, statuses=RAN)
        alone = await state.find_records(wanted, AFTER_ALL, 1)
        assert alone == ([found[job_id]] if job_id in found else []), job_id
    return found


async def pages(state: State) -> dict[str, Any]:
    """What is asked most often, as it is at any time: nothing need be written for it."""
    found: dict[str, Any] = {}
    plain = (RecordFilter(namespace="ns1"), RecordFilter(namespace="ns0", job_id="J0002"), RecordFilter(job_id="J0003"))
    for number, wanted in enumerate(plain):
        for limit in (1, 4, 40):
            found[f"records {number} {limit}"] = await state.find_records(wanted, AFTER_ALL, limit)
    for number, job_filter in enumerate(JOB_FILTERS):
        found[f"jobs {number}"] = await state.find_jobs(job_filter, ("", ""), 20)
        found[f"later jobs {number}"] = await state.find_jobs(job_filter, ("job 2 12", "J0012"), 2)
    return found


def newest_versions(ranges: list[Record]) -> dict[str, int]:
    found: dict[str, int] = {}
    for record in ranges:
        assert isinstance(record, RangeRecord)
        key = row_of(record).id
        found[key] = max(found.get(key, 0), record.count)
    return found


def commit_some(states: list[State], writer: Writer, count: int) -> None:
    for _ in range(count):
        index = states[0].applied_index + 1
        changes = [writer.changes() for _ in range(2)]
        for state in states:
            state.commit(changes, index, index * 1_000_000)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1 << 30),
    plan=st.lists(st.tuples(st.integers(0, 25), st.sampled_from("frcx")), max_size=8),
    kept=st.sampled_from([TINY, StateSettings(), replace(TINY, background_rows=1)]),
)
def test_state_on_disk_answers_as_state_in_memory_does_whenever_it_is_flushed_or_reopened(
    tmp_path_factory: pytest.TempPathFactory, seed: int, plan: list[tuple[int, str]], kept: StateSettings
) -> None:
    folder = tmp_path_factory.mktemp("state")

    async def run() -> None:
        model, writer = MemoryState(), Writer(seed)
        state = SqliteState(folder, kept, offload=Inline)
        await state.start()
        for count, what in [*plan, (10, "f")]:
            commit_some([model, state], writer, count)
            assert state.plan_rows("", 1_000) == model.plan_rows("", 1_000)
            assert await pages(state) == await pages(model)
            keys = [f"J{number:04d}" for number in range(0, 30, count + 1)]
            tables: tuple[Table[Any], ...] = (JOBS, SLOTS, DEAD)
            for table in tables:
                state.read_ahead(table, keys)
                assert [state.get(table, key) for key in keys] == [model.get(table, key) for key in keys]
            assert [state.jobs_of_trait(trait, ("", ""), 9) for trait in TRAITS] == [
                model.jobs_of_trait(trait, ("", ""), 9) for trait in TRAITS
            ]
            if what == "f":
                await state.flush()
            elif what == "c":
                assert await state.checkpoint() == state.applied_index
            elif what == "r":
                await state.stop()
                state = SqliteState(folder, kept, offload=Inline)
                await state.start()
            assert await pages(state) == await pages(model)
        await state.flush()
        assert await answers(state) == await answers(model)
        await state.stop()

    asyncio.run(run())


def test_a_state_keeps_what_was_committed_over_a_restart(disk: Disk) -> None:
    async def run() -> None:
        state = disk.state()
        await state.start()
        writer = Writer(7)
        commit_some([state], writer, 60)
        before = await answers(state)
        await state.stop()
        again = disk.state()
        await again.start()
        assert again.applied_index == again.flushed_index == 60
        assert await answers(again) == before
        await again.stop()
        await again.stop()

    asyncio.run(run())


def test_what_is_not_flushed_yet_is_answered_too(disk: Disk) -> None:
    async def run() -> None:
        state = disk.state()
        await state.start()
        changes = Changes(Result(), {(SLOTS.name, "J1"): Slots(last_decided_s=4)}, ended=[an_execution(1, 5)])
        state.commit([changes], 1, 1)
        assert state.get(SLOTS, "J1") == Slots(last_decided_s=4)
        assert state.get(SLOTS, "J2") is None
        assert await state.find_records(RecordFilter(), AFTER_ALL, 10) == [an_execution(1, 5)]
        assert [key for key, _ in state.scan(SLOTS, "", KEY_MAX, 5)] == ["J1"]
        await state.stop()

    asyncio.run(run())


def test_what_was_read_ahead_does_not_hide_what_comes_after(disk: Disk) -> None:
    async def run() -> None:
        state = disk.state()
        await state.start()
        state.commit([Changes(Result(), {(SLOTS.name, "J1"): Slots(last_decided_s=4)})], 1, 1)
        await state.flush()
        state.read_ahead(SLOTS, ["J1", "J2", "J1"])
        both = {(SLOTS.name, "J1"): None, (SLOTS.name, "J2"): Slots(last_decided_s=5)}
        state.commit([Changes(Result(), both)], 2, 2)
        state.read_ahead(SLOTS, ["J1", "J2"])
        assert (state.get(SLOTS, "J1"), state.get(SLOTS, "J2")) == (None, Slots(last_decided_s=5))
        await state.stop()
        state.read_ahead(SLOTS, ["J1"])  # of what is closed there is nothing to read

    asyncio.run(run())


def test_pages_put_together_are_the_whole_and_nothing_twice(disk: Disk) -> None:
    async def run() -> None:
        state = disk.state()
        await state.start()
        writer = Writer(11)
        for _ in range(8):
            commit_some([state], writer, 25)
            await state.flush()
        commit_some([state], writer, 5)
        for wanted in FILTERS:
            whole = await state.find_records(wanted, AFTER_ALL, 100_000)
            for limit in (1, 3, 7):
                pages: list[Record] = []
                before = AFTER_ALL
                while page := await state.find_records(wanted, before, limit):
                    pages += page
                    before = row_of(page[-1]).position
                assert pages == whole
            positions = [row_of(record).position for record in whole]
            assert positions == sorted(set(positions), reverse=True)
        assert len(await state.find_records(FILTERS[0], AFTER_ALL, 100_000)) > 100
        await state.stop()

    asyncio.run(run())


def test_a_state_that_never_started_stops(tmp_path: Path) -> None:
    asyncio.run(SqliteState(tmp_path).stop())


def test_who_reads_when_the_files_are_closed_hears_that_the_server_stops(tmp_path: Path) -> None:
    async def story() -> None:
        state = SqliteState(tmp_path)
        await state.start()
        await state.stop()
        with pytest.raises(Draining):
            state.get(JOBS, "gone")

    asyncio.run(story())
