"""How much a question to history costs: counted in segments that are opened, and in what it waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.executions import an_execution

from chronos.model.execution import TERMINAL, Execution, Status
from chronos.store import segment
from chronos.store.history import MANIFEST, GivenUp, History, HistoryReader, HistorySettings
from chronos.store.jobfilter import may_have
from chronos.store.offload import Inline, Thread
from chronos.store.port import Changes, Result
from chronos.store.records import AFTER_ALL, MemorySource, Position, Record, RecordFilter, Source, merged, record_in
from chronos.store.searching import Searching
from chronos.store.sqlite import SqliteState, StateSettings

SECOND = 1_000_000
LATE_S = 60
"""On a machine with too much to do: what ends together was due within so many seconds."""


def ended(instant: int, at: int | None = None, job: str = "J1", status: Status = Status.SUCCESS) -> Execution:
    return an_execution(job, instant, status, ended_at_us=(instant if at is None else at) * SECOND)


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop of its own, in real time: there are threads in it."""

    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments that were opened, one entry each time."""
    paths: list[str] = []
    real = segment.SegmentReader.__init__

    def noting(self: segment.SegmentReader, path: Path, vfs: str | None = None) -> None:
        paths.append(path.name)
        real(self, path, vfs)

    monkeypatch.setattr(segment.SegmentReader, "__init__", noting)
    return paths


def punctual(folder: Path, segments: int) -> History:
    """Return a history of segments of ten seconds each."""
    history = History(folder, HistorySettings(segment_rows=10))
    history.open()
    for first in range(0, segments * 10, 10):
        history.write([ended(instant) for instant in range(first, first + 10)], first + 10, (first + 9) * SECOND)
    return history


def overdue(folder: Path, segments: int) -> History:
    """Return a history each of whose segments has something of a whole minute."""
    history = History(folder, HistorySettings(segment_rows=LATE_S))
    history.open()
    for now in range(segments):
        rows = [ended(now + back, now + LATE_S, f"J{now}") for back in range(LATE_S)]
        history.write(rows, now + 1, (now + LATE_S) * SECOND)
    return history


def found(
    reader: HistoryReader, history: History, wanted: RecordFilter, before: Position = AFTER_ALL, limit: int = 100
) -> list[Record]:
    return merged(reader.sources(history.infos, wanted, before), wanted, before, limit)


def test_one_execution_by_its_id_opens_the_segment_of_its_instant(tmp_path: Path, opened: list[str]) -> None:
    history = punctual(tmp_path, 40)
    reader = HistoryReader(tmp_path)
    for instant in (3, 277, 399):
        opened.clear()
        row = reader.get(history.infos, ended(instant).id, instant)
        assert row is not None
        assert record_in(row) == ended(instant)
        assert opened == [f"{instant // 10 + 1:06d}.db"]
    opened.clear()
    assert reader.get(history.infos, ended(277, job="J2").id, 277) is None
    assert len(opened) <= 1
    reader.close()
    history.close()


@pytest.mark.parametrize("statuses", [(), tuple(TERMINAL), (Status.SUCCESS,), (Status.SUCCESS, Status.FAILED)])
def test_a_page_opens_a_segment_no_more_often_the_more_rows_it_has(
    tmp_path: Path, opened: list[str], statuses: tuple[Status, ...]
) -> None:
    history = overdue(tmp_path, 40)
    reader = HistoryReader(tmp_path)
    wanted = RecordFilter(statuses=statuses)
    opens = []
    for limit in (10, 100, 600):
        opened.clear()
        page = found(reader, history, wanted, (70, ""), limit)
        assert len(page) == limit
        overlapping = sum(info.covers(_instant(page[-1]), 70) for info in history.infos)
        opens.append(len(opened) / overlapping)
    # Once for its rows, which are few enough to be read at once, and once for versions that are kept out.
    assert max(opens) <= 2
    reader.close()
    history.close()


def _instant(record: Record) -> int:
    assert isinstance(record, Execution)
    return record.scheduled_s


def test_a_page_of_long_ago_opens_nothing_that_is_newer(tmp_path: Path, opened: list[str]) -> None:
    history = punctual(tmp_path, 20)
    reader = HistoryReader(tmp_path)
    page = found(reader, history, RecordFilter(), (123, ""), 20)
    assert [_instant(record) for record in page] == list(range(122, 102, -1))
    assert set(opened) == {"000011.db", "000012.db", "000013.db"}
    reader.close()
    history.close()


def test_what_has_ended_lately_is_looked_for_where_it_can_be(tmp_path: Path, opened: list[str]) -> None:
    history = punctual(tmp_path, 20)
    history.write([ended(7, 200, "long")], 201, 200 * SECOND)
    reader = HistoryReader(tmp_path)
    page = found(reader, history, RecordFilter(statuses=tuple(TERMINAL), ended_since_us=195 * SECOND))
    assert [_instant(record) for record in page] == [199, 198, 197, 196, 195, 7]
    assert set(opened) == {"000019.db", "000020.db", "000021.db"}, "a segment is closed when the next one is begun"
    reader.close()
    history.close()


def test_what_a_job_did_last_is_looked_for_in_the_segments_that_it_is_in(tmp_path: Path, opened: list[str]) -> None:
    history = History(tmp_path, HistorySettings(segment_rows=10))
    history.open()
    for hour in range(40):
        runs = [ended(hour * 10 + n, job=f"J{n}") for n in range(9)]
        rare = [ended(hour * 10 + 9, job="monthly")] if hour in (5, 17) else [ended(hour * 10 + 9, job="J9")]
        history.write(runs + rare, hour + 1, (hour * 10 + 9) * SECOND)
    live = f"{history.infos[-1].number:06d}.db"
    for again in (False, True):
        if again:  # the manifest says it, and so does each file
            history.close()
            (tmp_path / MANIFEST).unlink()
            history = History(tmp_path, HistorySettings(segment_rows=10))
            history.open()
        for job, instants in (("monthly", [179, 59]), ("never", [])):
            reader = HistoryReader(tmp_path)
            opened.clear()
            page = found(reader, history, RecordFilter(job_id=job), limit=20)
            assert [_instant(record) for record in page] == instants
            assert set(opened) - {live} <= {"000006.db", "000018.db", *_taken_for(history, job)}
            reader.close()
    assert len(_taken_for(history, "never")) <= 5, "of a hundred jobs that are not in, one is taken to be"
    history.close()


def _taken_for(history: History, job: str) -> set[str]:
    return {f"{info.number:06d}.db" for info in history.infos if info.closed_us and may_have(info.jobs, job)}


def test_of_more_segments_than_that_it_is_asked_by_opening_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronos.store.history.FILTERED_MAX", 3)
    history = punctual(tmp_path, 8)
    assert [bool(info.jobs) for info in history.infos] == [False, False, False, False, True, True, True, False]
    history.close()


@settings(max_examples=30, deadline=None)
@given(
    versions=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(sorted(TERMINAL)), st.integers(0, 4)),
        max_size=30,
        unique_by=lambda version: version[:2],
    ),
    statuses=st.lists(st.sampled_from(sorted(TERMINAL)), unique=True, max_size=4).map(tuple),
    limit=st.integers(1, 5),
)
def test_a_version_that_is_kept_out_hides_the_older_ones_wherever_they_lie(
    tmp_path_factory: pytest.TempPathFactory,
    versions: list[tuple[int, int, Status, int]],
    statuses: tuple[Status, ...],
    limit: int,
) -> None:
    history = History(tmp_path_factory.mktemp("versions"), HistorySettings(segment_rows=1))
    history.open()
    places: dict[int, list[Record]] = {place: [] for place in range(5)}
    newest: dict[int, Execution] = {}
    for instant, series, status, place in versions:
        record = replace(ended(instant, status=status), series=series)
        if instant not in newest or newest[instant].series < series:
            newest[instant] = record
        places[place].append(record)
    memory = places.pop(4)
    for place, records in places.items():
        history.write(records, place + 1, place)
    wanted = RecordFilter(statuses=statuses)
    reader = HistoryReader(history._folder)
    sources: list[Source] = [MemorySource(memory), *reader.sources(history.infos, wanted)]

    page = merged(sources, wanted, AFTER_ALL, limit)

    visible = [newest[instant] for instant in sorted(newest, reverse=True)]
    assert page == [record for record in visible if not statuses or record.status in statuses][:limit]
    reader.close()
    history.close()


@in_a_loop
async def test_a_look_up_by_id_waits_for_no_search(tmp_path: Path) -> None:
    state = SqliteState(tmp_path, StateSettings(history=HistorySettings(segment_rows=2)), offload=Thread)
    await state.start()
    for number in range(1, 8):
        state.commit([Changes(Result(), ended=[ended(number)])], number, number * SECOND)
        await state.flush()
    is_over = threading.Event()
    async with asyncio.timeout(60):
        long_one = asyncio.create_task(state._searches.run(lambda _: is_over.wait()))
        page = asyncio.create_task(state.find_records(RecordFilter(), AFTER_ALL, 100))
        await asyncio.sleep(0)
        assert await state.record(ended(3).id, 3) == ended(3)
        assert await state.ranges_at(3) == []
        assert not page.done()
        is_over.set()
        assert len(await page) == 7
        assert await long_one
    await state.stop()


@in_a_loop
async def test_a_search_nobody_waits_for_any_more_ends_before_its_next_segment(tmp_path: Path) -> None:
    punctual(tmp_path, 2).close()
    searching = Searching(tmp_path, Thread("search"))
    has_begun, may_go_on = threading.Event(), threading.Event()
    ends: list[str] = []

    def search(reader: HistoryReader) -> None:
        assert reader.reader(1) is not None
        has_begun.set()
        may_go_on.wait()
        try:
            reader.reader(2)
        except GivenUp:
            ends.append("given up")
            raise
        ends.append("read")

    async with asyncio.timeout(60):
        given_up = asyncio.create_task(searching.run(search))
        await asyncio.to_thread(has_begun.wait)
        never_begun = asyncio.create_task(searching.run(lambda _: ends.append("begun")))
        await asyncio.sleep(0)
        for task in (given_up, never_begun):
            task.cancel()
        await asyncio.gather(given_up, never_begun, return_exceptions=True)
        may_go_on.set()
        assert await searching.run(lambda reader: reader.reader(2) is not None)
    assert ends == ["given up"]
    await searching.stop()
    await searching.stop()


@in_a_loop
async def test_a_place_of_its_own_is_closed_once(tmp_path: Path) -> None:
    punctual(tmp_path, 1).close()
    searching = Searching(tmp_path, Inline())
    assert await searching.run(lambda reader: reader.reader(1) is not None)
    await searching.rest()
    assert not searching.reader._open
    await searching.stop()
