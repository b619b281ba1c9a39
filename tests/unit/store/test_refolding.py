from __future__ import annotations

from pathlib import Path

from tests.unit.store.test_history import SECOND, ended, opened

from chronos.model.execution import RangeRecord, SkipReason
from chronos.store import proof
from chronos.store.commands import Drop, Seal
from chronos.store.history import History
from chronos.store.records import Record, row_of
from chronos.store.refolding import Journaled, Tally, without_rows
from chronos.store.segment import SegmentWriter


def skipped(first: int, last: int, count: int) -> RangeRecord:
    return RangeRecord("J1", "default", first, last, count, SkipReason.MISFIRE)


def a_seal(number: int, *records: Record, root: bytes = b"") -> Seal:
    """Return the seal of a segment with these rows."""
    rows = {(row_of(record).id, row_of(record).series): record for record in records}
    tree = proof.Tree()
    for _, record in sorted(rows.items()):
        tree.add(proof.leaf(proof.record_line(record)))
    first = min(row_of(record).instant_s for record in records)
    last = max(getattr(record, "last_s", row_of(record).instant_s) for record in records)
    return Seal(number, len(rows), first, last, root or tree.root(), *proof.planned(rows.values()), 5, 7)


def refolded(folder: Path, seals: list[Seal], *entries: tuple[Record, ...], at_once: int = 100) -> History:
    """Return a history into which the records of entries 1, 2, … were folded once more."""
    history = opened(folder)
    history.expect(seals)
    journal = [Journaled(index, index * SECOND, 0, record) for index, made in enumerate(entries, 1) for record in made]
    for begin in range(0, len(journal), at_once):
        batch = journal[begin : begin + at_once]
        history.refold(batch, batch[-1].entry, batch[-1].time_us)
    history.keep_apart()
    return history


def test_rows_are_cut_where_a_seal_says_that_a_segment_ended_however_they_come(tmp_path: Path) -> None:
    entries: list[tuple[Record, ...]] = [(ended(n),) for n in range(1, 8)]
    seals = [a_seal(3, *(ended(n) for n in (1, 2, 3))), a_seal(4, ended(4), ended(5))]
    for at_once in (1, 2, 100):
        folder = tmp_path / str(at_once)
        folder.mkdir()
        history = refolded(folder, seals, *entries, at_once=at_once)
        closed = [info for info in history.infos if info.closed_us]
        assert [(info.number, info.opened_us, info.closed_us) for info in closed] == [(3, 5, 7), (4, 5, 7)]
        assert all(info.number > 4 for info in history.infos if not info.closed_us)
        assert history.missing == []


def test_a_range_is_cut_as_it_stood_when_its_segment_was_closed(tmp_path: Path) -> None:
    grown = [skipped(10, 12, 3), skipped(10, 14, 5), skipped(10, 20, 11)]
    history = refolded(tmp_path, [a_seal(1, ended(1), grown[1])], (ended(1), grown[0]), (grown[1],), (grown[2],))
    assert [info.last_s for info in history.infos] == [14, 20]


def test_rows_with_the_same_counts_and_another_root_are_not_taken_for_it(tmp_path: Path) -> None:
    history = refolded(tmp_path, [a_seal(1, ended(1), root=bytes(32))], (ended(1),), (ended(2),))
    assert [info.number for info in history.infos] == [2]
    assert [seal.segment for seal in history.missing] == [1]
    [said] = without_rows(history.missing)
    assert isinstance(said, Drop)
    assert (said.segment, said.rows, said.whole) == (1, 1, True)


def test_a_segment_that_was_being_written_goes_on_and_gives_its_number_up_to_a_seal_it_does_not_fit(
    tmp_path: Path,
) -> None:
    history = opened(tmp_path)
    history.write([ended(1)], 1, SECOND)
    history.close()
    fits, fits_not = a_seal(1, ended(1), ended(2)), a_seal(1, ended(1), ended(9))
    for name, seal, numbers in (("fits", fits, [1]), ("not", fits_not, [2])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "000001.db").write_bytes((tmp_path / "000001.db").read_bytes())
        history = refolded(folder, [seal], (), (ended(2),))
        assert [info.number for info in history.infos] == numbers
        history.close()
        assert [path.name for path in folder.glob("*.db")] == [f"{numbers[0]:06d}.db"]


def test_a_segment_whose_name_a_crash_has_left_behind_gets_it(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.write([ended(1)], 1, SECOND)
    history.close()
    writer = SegmentWriter(tmp_path / "000001.db", history.infos[0])
    writer.note(number=4, closed_us=9)
    writer.close()
    assert [info.number for info in opened(tmp_path).infos] == [4]
    assert (tmp_path / "000004.db").exists()


def test_what_a_crash_wrote_before_it_was_said_is_counted_once() -> None:
    tally = Tally([ended(1)])
    tally.add(ended(1))
    tally.add(ended(2))
    assert tally.fits(a_seal(1, ended(1), ended(2)))
