"""Who reads the files from outside and asks for the rest is told what the writer itself would say, flushed or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.store.test_state import FILTERS, JOB_FILTERS, TINY, Writer, a_range, an_execution, commit_some

from chronos.model.execution import Status
from chronos.server.processes.answers import Answers
from chronos.server.processes.frames import frame
from chronos.server.processes.look import Look
from chronos.server.processes.messages import AskOne, AskRows, One, Rows, Who, read_to_main, read_to_process
from chronos.store.following import Behind, Following
from chronos.store.offload import Inline, Thread
from chronos.store.port import Changes, Result
from chronos.store.queries import Queries
from chronos.store.records import AFTER_ALL, Position, RecordFilter, row_of
from chronos.store.segment import SegmentInfo
from chronos.store.sqlite import SqliteState
from chronos.store.tables import JOBS
from chronos.timing.clock import SystemClock

KEY = b"k" * 32


class Direct:
    """A link without a socket: what goes over it is encoded and decoded all the same."""

    def __init__(self, state: SqliteState) -> None:
        nobody: Any = None
        self._answers = Answers(nobody, state, state, lambda: state.history.infos, nobody, nobody, SystemClock())
        self._closed: tuple[int, list[SegmentInfo]] = (0, [])

    async def _ask(self, question: AskRows | AskOne) -> Any:
        asked = cast("Any", read_to_main(frame(question)[4:]))
        return read_to_process(frame(await self._answers.to(asked))[4:])

    async def rows(self, wanted: RecordFilter, before: Position, limit: int) -> Rows:
        return cast("Rows", await self._ask(AskRows(1, wanted, before, limit, self._closed[0])))

    async def one(self, record_id: str, instant_s: int) -> One:
        return cast("One", await self._ask(AskOne(2, record_id, instant_s, self._closed[0])))

    def infos(self, told: Any) -> tuple[SegmentInfo, ...]:
        if told.closed is not None:
            self._closed = (told.number, told.closed)
        infos = {info.number: info for info in (*told.live, *self._closed[1])}
        return tuple(infos[number] for number in sorted(infos))


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own, in real time: there are threads in it."""

    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


def a_look(files: Following, link: Direct) -> Look:
    return Look(files, cast("Any", link), Who(0, None, None, True, 0, 0, 0), SystemClock(), KEY)


async def opened(folder: Path) -> tuple[SqliteState, Following]:
    state, files = SqliteState(folder, TINY, offload=Inline), Following(folder, offload=Inline)
    await state.start()
    await files.start()
    return state, files


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), plan=st.lists(st.tuples(st.integers(0, 25), st.sampled_from("fc ")), max_size=6))
def test_a_look_from_outside_sees_what_the_writer_sees(
    seed: int, plan: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def run() -> None:
        state, files = await opened(tmp_path_factory.mktemp("followed"))
        writer, link = Writer(seed), Direct(state)
        for count, then in plan:
            commit_some([state], writer, count)
            if then == "f":
                await state.flush()
            elif then == "c":
                await state.checkpoint()
            await compare(state, files, link)
        await state.flush()
        await compare_jobs(state, files)
        await files.stop()
        await state.stop()

    asyncio.run(run())


async def compare(state: SqliteState, files: Following, link: Direct) -> None:
    for wanted in FILTERS:
        before = AFTER_ALL
        for limit in (3, 2, 1_000):
            expected = await state.find_records(wanted, before, limit)
            assert await a_look(files, link).find_records(wanted, before, limit) == expected, wanted
            before = row_of(expected[-1]).position if expected else before
    everything = await state.find_records(RecordFilter(), AFTER_ALL, 1_000)
    for key in {row_of(record).id for record in everything}:
        if not key.startswith("rng_"):
            look = a_look(files, link)
            await look.prime(key)
            assert await look.queries.execution(key) == await Queries(state, KEY).execution(key), key


async def compare_jobs(state: SqliteState, files: Following) -> None:
    for wanted in JOB_FILTERS:
        assert await files.find_jobs(wanted, ("", ""), 1_000) == await state.find_jobs(wanted, ("", ""), 1_000)
    for job_id, job in state.scan(JOBS, "", "\U0010ffff", 1_000):
        assert files.get(JOBS, job_id) == job


@in_a_loop
async def test_an_instant_inside_a_range_that_is_in_no_file_yet_is_found(tmp_path: Path) -> None:
    state, files = await opened(tmp_path)
    link = Direct(state)
    skipped = a_range(1, 100, 160)
    state.commit([Changes(Result(), ranges=[skipped])], 1, 1)
    inside = an_execution(1, 120).id

    for _ in range(2):
        look = a_look(files, link)
        await look.prime(inside)
        assert await look.queries.execution(inside) == skipped
        await state.flush()

    await files.stop()
    await state.stop()


@in_a_loop
async def test_a_row_that_was_redriven_since_is_not_told_as_what_it_was(tmp_path: Path) -> None:
    state, files = await opened(tmp_path)
    failed = an_execution(1, 50, Status.FAILED)
    state.commit([Changes(Result(), ended=[failed])], 1, 1)
    await state.flush()
    again = an_execution(1, 50, Status.RUNNING, series=1)
    state.commit([Changes(Result(), puts={("open", again.id): again})], 2, 2)

    wanted = RecordFilter(statuses=(Status.FAILED,))
    assert await a_look(files, Direct(state)).find_records(wanted, AFTER_ALL, 10) == []

    await files.stop()
    await state.stop()


@in_a_loop
async def test_what_was_written_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    state, files = await opened(tmp_path)
    state.commit([Changes(Result())], 1, 1)

    with pytest.raises(Behind):
        await files.reach(1)
    waiting = asyncio.create_task(files.reach(1))
    await asyncio.sleep(0)
    await state.flush()
    await waiting

    await files.stop()
    await state.stop()


@in_a_loop
async def test_files_that_were_never_opened_are_closed_twice(tmp_path: Path) -> None:
    files = Following(tmp_path)
    await files.stop()
    await files.stop()


@in_a_loop
async def test_a_segment_that_retention_has_taken_is_let_go(tmp_path: Path) -> None:
    state = SqliteState(tmp_path, TINY, offload=Thread)
    files = Following(tmp_path, offload=Thread)
    await state.start()
    await files.start()
    link = Direct(state)
    for number in range(1, 30):
        ended = an_execution(number % 6, number, Status.SUCCESS)
        state.commit([Changes(Result(), ended=[ended])], number, number * 1_000_000)
        await state.flush()
    closed = [info.number for info in state.history.infos if info.closed_us]
    assert closed, "segments are short here"
    assert len(await a_look(files, link).find_records(RecordFilter(), AFTER_ALL, 100)) == 29

    await state.archive.remove(closed)
    left = await a_look(files, link).find_records(RecordFilter(), AFTER_ALL, 100)

    assert left == await state.find_records(RecordFilter(), AFTER_ALL, 100)
    assert files._searches is not None
    assert not set(closed) & set(files._searches.reader._open)
    await files.rest()
    assert not files._searches.reader._open
    await files.stop()
    await state.stop()
