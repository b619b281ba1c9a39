"""What is rare is found without reading what is not."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.executions import an_execution

from chronos.model.execution import Execution, Kind, RangeRecord, SkipReason, Status, execution_id
from chronos.store import segment
from chronos.store.history import History, HistoryReader
from chronos.store.records import AFTER_ALL, MemorySource, Record, RecordFilter, Row, merged, row_of

JOBS = ["J1", "J2"]
NAMESPACES = ["default", "other"]
kinds = st.sampled_from([Kind.SCHEDULE, Kind.MANUAL, Kind.BACKFILL])
statuses = st.sampled_from([Status.SUCCESS, Status.FAILED, Status.SKIPPED, Status.CANCELLED])


@st.composite
def executions(draw: st.DrawFn) -> Execution:
    job, kind, instant = draw(st.sampled_from(JOBS)), draw(kinds), draw(st.integers(0, 40))
    return an_execution(
        job,
        instant,
        draw(statuses),
        id=execution_id(job, kind, str(instant), instant),
        kind=kind,
        namespace=NAMESPACES[JOBS.index(job)],
        ended_at_us=draw(st.integers(0, 60)),
    )


@st.composite
def ranges(draw: st.DrawFn) -> RangeRecord:
    job, first = draw(st.sampled_from(JOBS)), draw(st.integers(0, 40))
    return RangeRecord(
        job_id=job,
        job_name=job,
        namespace=NAMESPACES[JOBS.index(job)],
        first_s=first,
        last_s=first + draw(st.integers(0, 9)),
        count=2,
        reason=SkipReason.PAUSED,
        decided_at_us=draw(st.integers(0, 60)),
    )


filters = st.builds(
    RecordFilter,
    namespace=st.sampled_from([None, *NAMESPACES]),
    job_id=st.sampled_from([None, *JOBS]),
    statuses=st.lists(statuses, unique=True, max_size=3).map(tuple),
    kind=st.none() | kinds,
    since_s=st.integers(0, 20),
    until_s=st.integers(20, 60),
    ended_since_us=st.sampled_from([0, 0, 0, 20, 50]),
)


@settings(max_examples=60, deadline=None)
@given(records=st.lists(executions() | ranges(), max_size=40), wanted=filters, old=st.booleans())
def test_a_segment_finds_what_a_search_in_memory_finds(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], wanted: RecordFilter, old: bool
) -> None:
    folder = tmp_path_factory.mktemp("segment")
    unique = {(row_of(record).id, row_of(record).series): record for record in reversed(records)}
    history = History(folder)
    history.open()
    history.write(list(unique.values()), 1, 0)
    if old:
        _without_indexes(folder)
    reader = HistoryReader(folder)

    found = merged(reader.sources(history.infos, wanted), wanted, AFTER_ALL, 100)

    assert found == merged([MemorySource(unique.values())], wanted, AFTER_ALL, 100)
    reader.close()
    history.close()


def _without_indexes(folder: Path) -> None:
    """Make of a segment one that an earlier version has written."""
    for path in folder.glob("*.db"):
        db = apsw.Connection(str(path))
        for name in ("unwell_job", "unwell_namespace", "unplanned_namespace"):
            db.execute(f"DROP INDEX {name}")
        db.close()


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (RecordFilter(namespace="default", statuses=(Status.FAILED,)), "unwell_namespace (namespace=? AND status=?"),
        (RecordFilter(job_id="J1", statuses=(Status.CANCELLED,)), "unwell_job (job_id=? AND status=?"),
        (RecordFilter(namespace="default", kind=Kind.MANUAL), "unplanned_namespace (namespace=? AND kind=?"),
        (RecordFilter(namespace="default"), "records_namespace (namespace=?"),
    ],
)
def test_a_search_for_what_is_rare_goes_by_an_index_of_it(tmp_path: Path, wanted: RecordFilter, index: str) -> None:
    history = History(tmp_path)
    history.open()
    history.write([RangeRecord("J1", "default", 1, 2, 2, SkipReason.MISFIRE)], 1, 0)
    asked: list[str] = []
    reader = HistoryReader(tmp_path)
    found = reader.reader(1)
    assert found is not None
    select = found.select

    def noting(statement: str, bindings: dict[str, str | int | None]) -> list[Row]:
        asked.append(statement)
        return select(statement, bindings)

    found.select = noting  # type: ignore[method-assign]
    source = segment.SegmentSource(history.infos[0], lambda: found)
    list(source.matching(wanted, AFTER_ALL))

    with apsw.Connection(str(next(tmp_path.glob("*.db")))) as db:
        names = ("job", "namespace", "since", "until", "statuses", "status", "kind", "ended", "most", "instant", "id")
        plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + asked[0], dict.fromkeys(names, ""))]
    assert index in plan[0]
    reader.close()
    history.close()
