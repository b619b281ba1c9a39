from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.executions import an_execution

from chronos.errors import StateDamaged
from chronos.model.execution import Execution
from chronos.store.history import MANIFEST, History, HistoryReader, HistorySettings
from chronos.store.records import AFTER_ALL, Record, RecordFilter, merged

SECOND = 1_000_000


def ended(instant: int) -> Execution:
    return an_execution("J1", instant)


def opened(folder: Path, **settings: int) -> History:
    history = History(folder, HistorySettings(**settings))
    history.open()
    return history


def read(folder: Path, history: History, wanted: RecordFilter | None = None) -> list[int]:
    reader = HistoryReader(folder)
    wanted = wanted or RecordFilter()
    found: list[Record] = merged(reader.sources(history.infos, wanted), wanted, AFTER_ALL, 1_000)
    reader.close()
    return [record.scheduled_s for record in found if isinstance(record, Execution)]


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.db"))


def test_a_segment_is_closed_when_it_has_its_rows(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=3)
    for instant in range(10):
        history.write([ended(instant)], instant + 1, instant * SECOND)
    assert segments(tmp_path) == ["000001.db", "000002.db", "000003.db", "000004.db"]
    assert [info.rows for info in history.infos] == [3, 3, 3, 1]
    assert read(tmp_path, history) == list(range(9, -1, -1))
    history.close()


def test_a_segment_is_closed_when_its_day_is_over(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_us=10 * SECOND)
    for at in (100, 105, 109, 111, 115, 130):
        history.write([ended(at)], at, at * SECOND)
    assert [(info.opened_us // SECOND, info.rows) for info in history.infos] == [(100, 3), (111, 2), (130, 1)]
    history.close()


def test_only_segments_of_the_time_asked_for_are_opened(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=2)
    for instant in range(10):
        history.write([ended(instant)], instant + 1, instant * SECOND)
    (tmp_path / "000001.db").write_bytes(b"never looked at")
    assert read(tmp_path, history, RecordFilter(since_s=4)) == [9, 8, 7, 6, 5, 4]
    reader = HistoryReader(tmp_path)
    everything = RecordFilter()
    newest = merged(reader.sources(history.infos, everything), everything, AFTER_ALL, 3)
    assert len(newest) == 3
    reader.close()
    history.close()


def test_what_is_older_than_its_retention_goes_by_whole_segments(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=2)
    for instant in range(9):
        history.write([ended(instant)], instant + 1, instant * SECOND)
    assert history.remove([1, 2]) == 2
    assert segments(tmp_path) == ["000003.db", "000004.db", "000005.db"]
    assert read(tmp_path, history) == [8, 7, 6, 5, 4]
    assert history.remove([1, 2]) == 0
    history.close()
    again = opened(tmp_path, segment_rows=2)
    assert read(tmp_path, again) == [8, 7, 6, 5, 4]
    assert again.complete_to == 9
    again.close()


def test_the_segment_being_written_is_never_dropped(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.write([ended(1)], 1, SECOND)
    assert history.remove([1]) == 0
    history.close()


def test_without_its_manifest_history_knows_itself_from_the_files(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=2)
    for instant in range(7):
        history.write([ended(instant)], instant + 1, instant * SECOND)
    before = history.infos
    history.close()
    (tmp_path / MANIFEST).unlink()
    again = opened(tmp_path, segment_rows=2)
    assert again.infos == before
    again.close()


def test_a_search_goes_on_when_retention_takes_a_segment_from_under_it(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=2)
    for instant in range(6):
        history.write([ended(instant)], instant + 1, instant * SECOND)
    infos = history.infos
    history.remove([1])
    reader = HistoryReader(tmp_path)
    found = merged(reader.sources(infos, RecordFilter()), RecordFilter(), AFTER_ALL, 100)
    assert len(found) == 4
    reader.close()
    history.close()


def test_more_segments_than_are_kept_open_are_searched_together(tmp_path: Path) -> None:
    history = opened(tmp_path, segment_rows=20)
    for number in range(400):
        history.write([ended(number * 37 % 400)], number + 1, number * SECOND)
    assert len(history.infos) == 20
    assert read(tmp_path, history) == list(range(399, -1, -1))
    history.close()


def test_a_broken_segment_is_said_to_be_broken(tmp_path: Path) -> None:
    (tmp_path / "000001.db").write_bytes(b"this is not a database, however long it may be" * 30)
    with pytest.raises(StateDamaged, match="file is not a database"):
        opened(tmp_path)
