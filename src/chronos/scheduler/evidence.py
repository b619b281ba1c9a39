"""What is known of a job's past and of the planning of its future, for those who explain it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.scheduler.calendars import PREFIX
from chronos.scheduler.timetable import CalendarOf
from chronos.store.port import View
from chronos.store.queries import Queries
from chronos.store.records import row_of
from chronos.store.tables import LATE, SLOTS, Shard, Slots
from chronos.timing.calendar import Calendar, CalendarRules, compile_calendar

RECORDS_MAX = 100
DELETED_MAX = 20_000
"""Deleted jobs looked through for a name, the newest first."""


class Life(Struct, frozen=True):
    """A job from its making to its end.

    Attributes:
        versions: (job as it was, comment), the oldest first; at least one.
        deleted_us: Log time at which it was deleted; 0 while it is there.
    """

    versions: list[tuple[Job, str]]
    deleted_us: int = 0

    @property
    def newest(self) -> Job:
        return self.versions[-1][0]

    def in_force(self, at_s: int) -> tuple[Job, str] | None:
        """Return the version that an instant belongs to, with its comment; None when the job was not there then.

        A change counts from the first instant after its log time on.
        """
        if self.deleted_us and at_s * 1_000_000 > self.deleted_us:
            return None
        earlier = [version for version in self.versions if version[0].updated_at_us < at_s * 1_000_000]
        return earlier[-1] if earlier else None


class Progress(Struct, frozen=True, kw_only=True):
    """How far planning has come.

    Attributes:
        waits_for: Why nothing is planned at all; empty while it is.
        clock_note: What is wrong with the clock, for an administrator; empty while nothing is.
        kept_days: How long history is kept.
    """

    now_us: int
    shard: Shard = field(default_factory=Shard)
    waits_for: str = ""
    clock_note: str = ""
    kept_days: float = 90.0


class Evidence:
    """Offered to features as a capability. Reads only.

    Args:
        progress: Says how far planning has come, now.
    """

    def __init__(self, queries: Queries, view: View, progress: Callable[[], Progress]) -> None:
        self._queries = queries
        self._view = view
        self.progress = progress

    def deleted(self, ref: str, namespace: str) -> list[Life]:
        """Return the deleted jobs of that name or id whose versions are still kept, the last deleted first."""
        found = []
        for last, deleted_us in self._queries.deletions(DELETED_MAX):
            job = last.job
            if job.namespace == namespace and ref in (job.id, job.name):
                found.append(Life(self._versions(job.id), deleted_us))
        return found

    def _versions(self, job_id: str) -> list[tuple[Job, str]]:
        found: list[tuple[Job, str]] = []
        cursor = ""
        while True:
            page = self._queries.revisions(job_id, cursor=cursor, limit=1_000)
            found += [(revision.job, revision.comment) for revision in page.items]
            cursor = page.cursor
            if not cursor:
                return found[::-1]

    async def records(self, job: Job, at_s: int) -> list[Execution | RangeRecord]:
        """Return the executions due at `at_s`, of whatever kind, and the range records around it; 100 at most."""
        page = await self._queries.executions(
            job.namespace, job_id=job.id, since_s=at_s, until_s=at_s, limit=RECORDS_MAX
        )
        return [self._with_late_results(record) for record in page.items]

    async def last_run_s(self, job: Job) -> int | None:
        """Return the instant of the job's latest record, of whatever kind; None when it has none."""
        page = await self._queries.executions(job.namespace, job_id=job.id, limit=1)
        return row_of(page.items[0]).instant_s if page.items else None

    def _with_late_results(self, record: Execution | RangeRecord) -> Execution | RangeRecord:
        late = self._view.get(LATE, record.id) if isinstance(record, Execution) else None
        if late is None or not isinstance(record, Execution):
            return record
        return replace(record, notes=(*record.notes, *late.notes))

    def slots(self, job_id: str) -> Slots:
        """Return who holds the job's slots and who waits for one."""
        return self._view.get(SLOTS, job_id) or Slots()

    def calendars_at(self, at_s: int) -> CalendarOf:
        """Return what finds a calendar as it was at an instant; as it is, where nothing older was kept."""

        def find(namespace: str, name: str) -> Calendar | None:
            kept = self._queries.kept_documents(PREFIX, namespace, name)
            # What is due later than the mark at its writing is owed by it.
            earlier = [document for document in kept if (document.hwm_s or document.time_us // 1_000_000) < at_s]
            if earlier:
                return _compiled(earlier[-1].value)
            document = self._queries.document(PREFIX, namespace, name)
            return _compiled(document.value if document is not None else None)

        return find


def _compiled(value: bytes | None) -> Calendar | None:
    return compile_calendar(msgspec.json.decode(value, type=CalendarRules)) if value is not None else None
