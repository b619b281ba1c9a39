"""When a job runs next, for those who tell people about it."""

from __future__ import annotations

from collections.abc import Callable

from chronos.model.job import Job
from chronos.scheduler.plan import Plan


class Outlook:
    """The scheduler's own answer, offered to features as a capability."""

    def __init__(self, plan_of: Callable[[Job], Plan]) -> None:
        self._plan_of = plan_of

    def next_run(self, job: Job, after_s: int) -> int | None:
        """Return the first instant after `after_s`, seconds since the epoch; None when paused or at the end."""
        return None if job.paused is not None else self._plan_of(job).next_s(after_s)
