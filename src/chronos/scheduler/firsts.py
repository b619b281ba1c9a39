"""The first instants of very many jobs after one mark: worked out once for all jobs that have one timetable."""

from __future__ import annotations

from chronos.model.times import PlanRow, unpacked
from chronos.scheduler.timetable import CalendarOf, Timetable

SHARED_MAX = 20_000
"""So many timetables are remembered; jobs that have none in common cost no more memory than that."""


class Firsts:
    """Says when a job first owes something after `mark_s`.

    Instants that a calendar leaves out count, too: they need a record in their time.
    """

    def __init__(self, calendar_of: CalendarOf, mark_s: int) -> None:
        self._calendar_of = calendar_of
        self._mark_s = mark_s
        self._known: dict[bytes, tuple[Timetable, int | None]] = {}

    def of(self, row: PlanRow) -> int | None:
        """Return the job's first instant after the mark, and after it began to owe any; None when there is none.

        Raises:
            ChronosError: It cannot be planned: its calendar is gone.
        """
        known = self._known.get(row.times)
        if known is None:
            timetable = Timetable(unpacked(row.times), self._calendar_of)
            if len(self._known) >= SHARED_MAX:
                self._known.clear()
            known = self._known[row.times] = (timetable, timetable.next_planned_s(self._mark_s))
        timetable, first = known
        # What it does not owe because it was changed later than the mark, only its own plan can say.
        if first is not None and first <= row.since_s:
            return timetable.next_planned_s(row.since_s)
        return first
