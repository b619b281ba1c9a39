"""A job's executions are found in a segment, whether they are in their places yet or wait to be put there."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.executions import an_execution

from chronos.model.execution import RangeRecord, SkipReason
from chronos.store import jobindex
from chronos.store.history import History, HistoryReader, segment_path
from chronos.store.jobfilter import may_have
from chronos.store.jobindex import FEW
from chronos.store.records import AFTER_ALL, MemorySource, Record, RecordFilter, Row, merged, row_of
from chronos.store.segment import SegmentReader, SegmentThinner

MANY = FEW + 1
PAGES = 10_000


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path)
    made.open()
    return made


def executions(job: str, count: int, first: int = 0) -> list[Record]:
    return [an_execution(job, instant) for instant in range(first, first + count)]


def instants(history: History, folder: Path, job: str) -> list[int]:
    """Return what a search for a job's executions finds, newest first."""
    wanted = RecordFilter(job_id=job)
    found = merged(HistoryReader(folder).sources(history.infos, wanted), wanted, AFTER_ALL, 10_000)
    return [row_of(record).instant_s for record in found]


def _opened(folder: Path) -> History:
    history = History(folder)
    history.open()
    return history


def catch_up(history: History) -> None:
    with patch("chronos.store.history.WAITING_MAX", -1):
        history.tidy(PAGES)


def waiting(folder: Path) -> int:
    db = apsw.Connection(str(segment_path(folder, 1)))
    return len(db.execute(f"SELECT 1 FROM records WHERE rowid > {jobindex._PLACED}").fetchall())


def test_after_a_big_write_rows_wait_and_are_found(history: History, tmp_path: Path) -> None:
    history.write([*executions("J1", MANY), *executions("J2", MANY)], 1, 0)

    assert waiting(tmp_path) == 2 * MANY
    assert instants(history, tmp_path, "J1") == [*range(MANY)][::-1]


def test_after_a_small_write_everything_is_in_its_place(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", MANY), 1, 0)
    history.write(executions("J1", 1, MANY), 2, 0)

    assert waiting(tmp_path) == 0
    assert instants(history, tmp_path, "J1") == [*range(MANY + 1)][::-1]


def test_what_is_written_again_is_found_once(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", MANY), 1, 0)
    catch_up(history)
    history.write(executions("J1", MANY), 2, 0)

    assert instants(history, tmp_path, "J1") == [*range(MANY)][::-1]


def test_when_too_many_wait_tidying_puts_them_in_their_places(history: History, tmp_path: Path) -> None:
    with patch("chronos.store.history.WAITING_MAX", MANY):
        history.write(executions("J1", MANY), 1, 0)
        assert not history.is_untidy(PAGES)
        history.write(executions("J2", MANY), 2, 0)
        assert history.is_untidy(PAGES)

        history.tidy(PAGES)

        assert not history.is_untidy(PAGES)
    assert waiting(tmp_path) == 0


def test_when_the_write_ahead_log_is_long_tidying_folds_it_in(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", MANY), 1, 0)
    assert history.is_untidy(5)

    history.tidy(5)

    assert not history.is_untidy(5)
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    assert db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)[0] <= 0  # nothing is left to be folded in


def test_a_page_of_a_job_is_at_hand_until_many_rows_wait(history: History) -> None:
    of_a_job, of_all = RecordFilter(namespace="default", job_id="J1"), RecordFilter(namespace="default")
    history.write(executions("J1", FEW), 1, 0)
    assert history.is_at_hand(of_a_job)

    history.write(executions("J2", MANY), 2, 0)

    assert not history.is_at_hand(of_a_job)
    assert history.is_at_hand(of_all)
    catch_up(history)
    assert history.is_at_hand(of_a_job)


def test_a_closed_segment_knows_the_jobs_of_rows_that_waited_and_of_ranges(history: History, tmp_path: Path) -> None:
    skipped = RangeRecord("J3", "default", 0, 9, 10, SkipReason.PAUSED)
    history.write([*executions("J1", MANY), *executions("J2", MANY), skipped], 1, 0)

    history.close_due(10**15)

    (info,) = history.infos
    assert waiting(tmp_path) == 0
    assert [job for job in ("J1", "J2", "J3", "J4") if may_have(info.jobs, job)] == ["J1", "J2", "J3"]


@pytest.mark.parametrize(("by", "of"), [("job_id", "J1"), ("namespace", "default")])
def test_rows_that_are_taken_out_are_counted_and_found_no_more(
    history: History, tmp_path: Path, by: str, of: str
) -> None:
    history.write(executions("J1", MANY), 1, 0)
    history.close_due(10**15)
    thinner = SegmentThinner(segment_path(tmp_path, 1))

    assert thinner.thin(by, of, 50, lambda _: b"leaf") == 50
    thinner.compact()
    thinner.close()

    reader = SegmentReader(segment_path(tmp_path, 1))
    assert reader.executions_of("J1") == MANY - 50
    assert reader.groups("job_id", "", 10) == [("J1", MANY - 50)]
    assert instants(history, tmp_path, "J1") == [*range(50, MANY)][::-1]


def test_a_segment_of_an_earlier_release_keeps_its_index(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", 2), 1, 0)
    history.close()
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    db.execute("DROP TABLE by_job; CREATE INDEX records_job ON records (job_id, scheduled_s, id)")
    db.close()

    later = _opened(tmp_path)
    later.write(executions("J1", MANY, 2), 2, 0)

    assert not later.is_untidy(PAGES)
    assert instants(later, tmp_path, "J1") == [*range(MANY + 2)][::-1]
    reader = SegmentReader(segment_path(tmp_path, 1))
    assert not reader.has_job_table
    assert reader.executions_of("J1") == MANY + 2


def test_an_earlier_release_in_between_leaves_nothing_unfound(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", 2), 1, 0)
    history.close()
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    db.execute("CREATE INDEX records_job ON records (job_id, scheduled_s, id)")  # what it makes when it opens a segment
    db.close()

    later = _opened(tmp_path)
    later.write(executions("J1", MANY, 2), 2, 0)

    assert instants(later, tmp_path, "J1") == [*range(MANY + 2)][::-1]


jobs = st.sampled_from(["J1", "J2", "J3"])


@settings(max_examples=40, deadline=None)
@given(
    writes=st.lists(
        st.lists(st.tuples(st.sampled_from(["J1", "J2", "J3"]), st.integers(0, 30)), max_size=20), max_size=5
    ),
    catching_up=st.sets(st.integers(0, 4)),
    few=st.sampled_from([-1, 0, 3, FEW]),
    wanted=st.builds(
        RecordFilter,
        job_id=st.sampled_from(["J1", "J2"]),
        namespace=st.sampled_from([None, "default", "other"]),
        since_s=st.integers(0, 20),
        until_s=st.integers(10, 40),
    ),
    limit=st.integers(1, 60),
)
def test_whatever_waits_a_search_finds_what_one_in_memory_finds(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[list[tuple[str, int]]],
    catching_up: set[int],
    few: int,
    wanted: RecordFilter,
    limit: int,
) -> None:
    folder = tmp_path_factory.mktemp("segment")
    history = _opened(folder)
    everything: dict[tuple[str, int], Record] = {}
    with patch.object(jobindex, "FEW", few):
        for number, places in enumerate(writes):
            records = {(job, instant): an_execution(job, instant) for job, instant in places}
            history.write(list(records.values()), number + 1, 0)
            everything |= records
            if number in catching_up:
                catch_up(history)

    found = merged(HistoryReader(folder).sources(history.infos, wanted), wanted, AFTER_ALL, limit)

    expected = merged([MemorySource(list(everything.values()))], wanted, AFTER_ALL, limit)
    assert _rows(found) == _rows(expected)


def _rows(records: list[Record]) -> list[Row]:
    return [row_of(record) for record in records]


def test_a_search_for_a_job_reads_the_rows_that_wait_and_those_of_the_job(history: History, tmp_path: Path) -> None:
    history.write(executions("J1", MANY), 1, 0)
    db = apsw.Connection(str(segment_path(tmp_path, 1)))
    statement = jobindex.narrowed(" AND scheduled_s >= 0", " ORDER BY scheduled_s DESC, id DESC, series DESC LIMIT 20")

    plan = " | ".join(str(row[3]) for row in db.execute("EXPLAIN QUERY PLAN " + statement, {"job": "J1"}))

    assert "SEARCH by_job USING PRIMARY KEY (job_id=? AND scheduled_s>?)" in plan
    assert "SEARCH records USING INDEX sqlite_autoindex_records_1 (id=? AND series=?)" in plan
    assert "SEARCH records USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert "SCAN records" not in plan
