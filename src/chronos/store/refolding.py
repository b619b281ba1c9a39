"""History that is folded from the log once more, cut into the segments there were before.

Where a segment ended was a matter of when the first server wrote, and nobody noted it; but the log has its seal. So
rows are gathered until they are those that a seal vouches for, and then the segment is closed under that seal's
number. What fits no seal stays in segments of later numbers, to be sealed anew; the seals that were left over are
said to be without rows (`Drop`), so that nobody takes them for records that somebody has made away with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from chronos.model.execution import RangeRecord
from chronos.store import proof
from chronos.store.commands import Command, Drop, Seal
from chronos.store.records import INSTANT_MAX, Record, Row, record_in, row_of

LOST = "its rows were folded anew from the log, in other segments"


class Journaled(NamedTuple):
    """A record, and the entry of the log that made it; `days` is the class of its segment."""

    entry: int
    time_us: int
    days: int
    record: Record


class Segments(Protocol):
    """The segments that are being written, as `History` keeps them."""

    def rows_of(self, days: int) -> Iterator[Row]:
        """Yield the rows of the segment of a class, in the order in which they are vouched for."""
        ...

    def put(self, days: int, records: Collection[Record], time_us: int, complete_to: int = 0) -> None:
        """Write to the segment of a class, whatever its age and size; all of history is there up to `complete_to`."""
        ...

    def close_as(self, days: int, seal: Seal) -> None:
        """Close the segment of a class under the number of `seal`."""
        ...


class Tally:
    """What a seal says of a segment, but for its root: cheap to keep, and nearly always enough to tell it."""

    def __init__(self, rows: Iterable[Record] = ()) -> None:
        self._rows = self._executions = self._skipped = 0
        self._first_s, self._last_s = INSTANT_MAX, -1
        self._ranges: dict[str, int] = {}
        self._known: set[tuple[str, int]] = set()
        for record in rows:
            self.add(record)
            row = row_of(record)
            self._known.add(row.key)

    def add(self, record: Record) -> None:
        """Count a record, or the newer version of one."""
        row = row_of(record)
        last_s = record.last_s if isinstance(record, RangeRecord) else row.instant_s
        self._first_s, self._last_s = min(self._first_s, row.instant_s), max(self._last_s, last_s)
        if isinstance(record, RangeRecord):
            self._rows += row.id not in self._ranges
            self._skipped += record.count - self._ranges.get(row.id, 0)
            self._ranges[row.id] = record.count
        elif row.key not in self._known:  # a crash may have come between writing it and saying so
            self._rows += 1
            self._executions += proof.planned([record])[0]

    def fits(self, seal: Seal) -> bool:
        """Whether this may be the segment that `seal` vouches for."""
        counts = (seal.rows, seal.executions, seal.skipped, seal.first_s, seal.last_s)
        return counts == (self._rows, self._executions, self._skipped, self._first_s, self._last_s)


class Refolding:
    """Takes records in the order of the log. Belongs to the thread that writes history.

    Args:
        seals: Those in the entries that are being folded, in their order.
        whole: Numbers of segments that are there already, closed.
    """

    def __init__(self, segments: Segments, seals: Iterable[Seal], whole: Collection[int]) -> None:
        self._segments = segments
        self._left: dict[int, Seal] = {}
        for seal in seals:
            if seal.segment not in whole and seal.segment > max(self._left, default=0):
                self._left[seal.segment] = seal
        self._tallies: dict[int, Tally] = {}

    @property
    def left(self) -> list[Seal]:
        """The seals to which no rows were found, or not yet."""
        return list(self._left.values())

    def write(self, journal: Sequence[Journaled], index: int, time_us: int) -> None:
        """Write what was made up to entry `index`."""
        waiting: dict[int, list[Record]] = defaultdict(list)
        for at, made in groupby(journal, key=lambda one: one.entry):
            touched = {}
            for one in made:
                self._tally(one.days).add(one.record)
                waiting[one.days].append(one.record)
                touched[one.days] = one.time_us
            for days, made_us in sorted(touched.items()):
                if fitting := [seal for seal in self._left.values() if self._tally(days).fits(seal)]:
                    self._put(waiting, at, made_us, last=days)
                    self._close(days, fitting)
        self._put(waiting, index, time_us)

    def _put(self, waiting: dict[int, list[Record]], index: int, time_us: int, last: int = -1) -> None:
        """Write all that waits, the class `last` at the end."""
        groups = sorted(waiting.items(), key=lambda group: (group[0] == last, group[0]))
        for left, (days, records) in enumerate(groups, 1 - len(groups)):
            # Only the last file says how far all of them have come: a crash may come between two of them.
            self._segments.put(days, records, time_us, index if left == 0 else 0)
        waiting.clear()

    def _tally(self, days: int) -> Tally:
        if days not in self._tallies:
            self._tallies[days] = Tally(record_in(row) for row in self._segments.rows_of(days))
        return self._tallies[days]

    def _close(self, days: int, fitting: list[Seal]) -> None:
        tree = proof.Tree()
        for row in self._segments.rows_of(days):
            tree.add(proof.leaf(proof.record_line(record_in(row))))
        root = tree.root()
        for seal in fitting:
            if seal.root == root:
                self._segments.close_as(days, seal)
                del self._left[seal.segment]
                self._tallies[days] = Tally()
                return


def without_rows(seals: Iterable[Seal]) -> list[Command]:
    """Return what says of seals that their rows lie elsewhere."""
    return [Drop(seal.segment, seal.rows, True, LOST) for seal in seals]
