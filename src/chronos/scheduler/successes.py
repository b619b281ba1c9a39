"""When each job last came to a good end, and since when one is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from chronos.errors import ChronosError
from chronos.model.job import Job
from chronos.scheduler.plan import Plan
from chronos.store.port import View
from chronos.store.tables import SLOTS


class Success(Struct, frozen=True, kw_only=True):
    """How long ago a job was well.

    Attributes:
        last_us: When a run last ended well; 0 when none has.
        age_s: Seconds since then; since the job was made, if it never was well.
        overdue_since_s: The first instant since then that came due, seconds since the epoch; 0 when none has.
    """

    last_us: int
    age_s: float
    overdue_since_s: int


class Successes:
    """Offered to features as a capability. Reads what lies ready; searches no history."""

    def __init__(self, view: View, plan_of: Callable[[Job], Plan], jobs: Callable[[], Iterator[Job]]) -> None:
        self._view = view
        self._plan_of = plan_of
        self.jobs = jobs

    def of(self, job: Job, now_us: int) -> Success:
        """Return when `job` was last well. A paused job owes no success, so none is overdue."""
        last_us = self.last_us(job)
        since_us = max(last_us, job.owed_since_us or job.created_at_us)
        return Success(
            last_us=last_us,
            age_s=max(0, now_us - (last_us or job.created_at_us)) / 1e6,
            overdue_since_s=0 if job.paused is not None else self._overdue(job, since_us, now_us),
        )

    def last_us(self, job: Job) -> int:
        """Return when a run of `job` last ended well, 0 when none has."""
        slots = self._view.get(SLOTS, job.id)
        return slots.last_success_us if slots is not None else 0

    def _overdue(self, job: Job, since_us: int, now_us: int) -> int:
        try:
            instant = self._plan_of(job).next_s(since_us // 1_000_000)
        except ChronosError:
            return 0  # its calendar is gone; the doctor says so
        return instant if instant is not None and instant * 1_000_000 <= now_us else 0
