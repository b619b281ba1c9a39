"""The first instants of very many jobs after one mark: worked out once for all jobs that have one timetable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chronos.errors import ChronosError
from chronos.model.times import PlanRow, unpacked
from chronos.scheduler.timetable import CalendarOf, Timetable

SHARED_MAX = 20_000
"""So many timetables are remembered; jobs that have none in common cost no more memory than that."""


class _Shared(NamedTuple):
    """What jobs with one timetable have in common: its first instant after the mark, and the one in the span."""

    timetable: Timetable
    first: int | None
    missed: int | None


class Firsts:
    """Says when each job first owes something after `mark_s`, and who owes something in (`from_s`, `to_s`].

    Instants that a calendar leaves out count, too: they need a record in their time.

    Attributes:
        owing: The jobs gone through that owe something in the span.
        unplanned: The jobs gone through that cannot be planned, and why: their calendars are gone.
    """

    def __init__(self, calendar_of: CalendarOf, mark_s: int, *, from_s: int = 0, to_s: int = 0) -> None:
        self.owing: list[str] = []
        self.unplanned: list[tuple[str, ChronosError]] = []
        self._calendar_of = calendar_of
        self._mark_s, self._from_s, self._to_s = mark_s, from_s, to_s
        self._known: dict[bytes, _Shared] = {}

    def of(self, rows: Iterable[PlanRow]) -> Iterator[tuple[str, int | None]]:
        """Yield (id, first instant) of the jobs that can be planned; None for one that is paused, or owes no more.

        A job's first instant also lies after it began to owe any.
        """
        known = self._known.get
        for job_id, times, since_s, paused in rows:
            if paused:
                yield job_id, None
                continue
            shared = known(times)
            if shared is None:
                try:
                    shared = self._compile(times)
                except ChronosError as error:
                    self.unplanned.append((job_id, error))
                    continue
            timetable, first, missed = shared
            if missed is not None and (missed > since_s or self._owes(timetable, since_s)):
                self.owing.append(job_id)
            if first is not None and first <= since_s:
                first = timetable.next_planned_s(since_s)
            yield job_id, first

    def _owes(self, timetable: Timetable, since_s: int) -> bool:
        missed = timetable.next_planned_s(since_s)
        return missed is not None and missed <= self._to_s

    def _compile(self, times: bytes) -> _Shared:
        timetable = Timetable(unpacked(times), self._calendar_of)
        missed = timetable.next_planned_s(self._from_s) if self._to_s else None
        if missed is not None and missed > self._to_s:
            missed = None
        if len(self._known) >= SHARED_MAX:
            self._known.clear()
        shared = self._known[times] = _Shared(timetable, timetable.next_planned_s(self._mark_s), missed)
        return shared
