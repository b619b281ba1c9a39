"""The newest runs of some jobs, looked up together: those that are found job by job, wherever their versions lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.executions import an_execution

from chronos.model.execution import Execution, RangeRecord, SkipReason, Status
from chronos.store import jobindex
from chronos.store.history import History, HistoryReader, HistorySettings, segment_path
from chronos.store.newest import RAN, newest_runs
from chronos.store.records import AFTER_ALL, MemorySource, Record, RecordFilter, Source, merged
from chronos.store.segment import SegmentReader

JOBS = {"J1": "default", "J2": "default", "J3": "default"}


def once(executions: list[Execution]) -> list[Execution]:
    """Return them without an earlier one of the same id and series: a place holds one."""
    return list({(one.id, one.series): one for one in executions}.values())


versions = st.builds(
    an_execution,
    st.sampled_from(list(JOBS)),
    st.integers(0, 8),
    st.sampled_from([Status.SUCCESS, Status.FAILED, Status.SKIPPED]),
    series=st.integers(0, 2),
)


def written(folder: Path, batches: list[list[Execution]], few: int, rows: int) -> History:
    """Return history with these batches, cut into segments of so many rows."""
    history = History(folder, HistorySettings(segment_rows=rows))
    history.open()
    with patch.object(jobindex, "FEW", few):
        for number, batch in enumerate(batches, 1):
            history.write(once(batch), number, number)
    return history


def job_by_job(folder: Path, history: History, memory: list[list[Execution]]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for job_id in JOBS:
        wanted = RecordFilter(namespace="default", job_id=job_id, statuses=RAN)
        sources: list[Source] = [*map(MemorySource, memory), *HistoryReader(folder).sources(history.infos, wanted)]
        for record in merged(sources, wanted, AFTER_ALL, 1):
            found[job_id] = record
    return found


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(st.lists(versions, min_size=1, max_size=12), max_size=4),
    memory=st.lists(st.lists(versions, max_size=6).map(once), max_size=2),
    few=st.sampled_from([-1, 3, 100]),
    rows=st.sampled_from([3, 1_000]),
)
@example(  # decided, and then skipped, in another place
    batches=[[an_execution("J1", 3), an_execution("J1", 5)]],
    memory=[[an_execution("J1", 5, Status.SKIPPED)]],
    few=100,
    rows=1_000,
)
@example(  # long ended when it comes to history, after one that was due later
    batches=[[an_execution("J1", 5)], [an_execution("J1", 2)]], memory=[], few=100, rows=1
)
def test_together_they_are_what_is_found_job_by_job(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Execution]],
    memory: list[list[Execution]],
    few: int,
    rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("history")
    history = written(folder, batches, few, rows)

    found = newest_runs(JOBS, memory, HistoryReader(folder).sources(history.infos, RecordFilter()))

    assert found == job_by_job(folder, history, memory)


def test_ranges_and_other_jobs_are_no_runs(tmp_path: Path) -> None:
    history = written(tmp_path, [[an_execution("J1", 3)]], few=100, rows=1_000)
    skipped = RangeRecord("J1", "default", 0, 9, 10, SkipReason.PAUSED)
    memory: list[list[Any]] = [[skipped, an_execution("J9", 8)]]

    found = newest_runs(JOBS, memory, HistoryReader(tmp_path).sources(history.infos, RecordFilter()))

    assert found == {"J1": an_execution("J1", 3)}


def test_a_run_of_another_namespace_is_not_told(tmp_path: Path) -> None:
    memory = [[replace(an_execution("J1", 3), namespace="secret")]]

    assert newest_runs(JOBS, memory, []) == {}


def test_in_a_segment_of_an_earlier_release_they_are_found_too(tmp_path: Path) -> None:
    written(tmp_path, [[an_execution("J1", 3), an_execution("J1", 4), an_execution("J2", 1)]], 100, 1_000).close()
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    db.execute("DROP TABLE by_job; CREATE INDEX records_job ON records (job_id, scheduled_s, id)")
    db.close()

    reader = SegmentReader(segment_path(tmp_path, 1))

    assert {job: row.instant_s for job, row in reader.newest_runs(list(JOBS)).items()} == {"J1": 4, "J2": 1}


@pytest.mark.parametrize("statement", [jobindex.LAST_RUNS, jobindex.LAST_RUNS_BY_INDEX])
def test_no_file_is_read_from_end_to_end_for_them(tmp_path: Path, statement: str) -> None:
    written(tmp_path, [[an_execution("J1", 3)]], 100, 1_000).close()
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    if statement is jobindex.LAST_RUNS_BY_INDEX:
        db.execute("CREATE INDEX records_job ON records (job_id, scheduled_s, id)")

    plan = [str(row[3]) for row in db.execute("EXPLAIN QUERY PLAN " + statement, {"jobs": "[]"})]

    assert [step for step in plan if "SCAN records" in step] == []
    assert [row[0] for row in db.execute(statement, {"jobs": '["J1"]'})] == [3]
