"""What every job owes next: its schedules compiled and indexed, and how far planning has come."""

from __future__ import annotations

import structlog

from chronos.errors import ChronosError
from chronos.model.job import Job
from chronos.scheduler.book import Book
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.plan import Plan
from chronos.scheduler.ports import Commands, Readings
from chronos.scheduler.turnstile import Turnstile
from chronos.store.tables import JOBS, SHARDS, Shard
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)


class Agenda:
    """The plans of all jobs. Kept true by events; holds nothing that could not be built anew from the state.

    Attributes:
        proposed_hwm_s: The mark as the last decision on its way would leave it; 0 when none is.
    """

    def __init__(self, commands: Commands, readings: Readings, clock: Clock) -> None:
        self.calendars = Calendars(commands.view)
        self.book = Book()
        self.turnstile = Turnstile()
        self.proposed_hwm_s = 0
        self._commands = commands
        self._readings = readings
        self._clock = clock
        self._unplanned: dict[str, str] = {}

    @property
    def shard(self) -> Shard:
        return self._commands.view.get(SHARDS, "0") or Shard()

    @property
    def planned_to_s(self) -> int:
        """The high-water mark as it will be once everything proposed so far is folded."""
        return max(self.proposed_hwm_s, self.shard.hwm_s)

    @property
    def now_us(self) -> int:
        return int(self._clock.time() * 1_000_000)

    def plan_of(self, job: Job) -> Plan:
        """Return the compiled plan of `job` as it is now; raises what is wrong with its calendar."""
        known = self.book.get(job.id)
        if known is not None and known.job.revision == job.revision:
            return known
        return Plan(job, self.calendars.find)

    def load(self) -> None:
        """Index every job there is."""
        for job in self._readings.all_jobs():
            self.index(job)

    def index(self, job: Job) -> None:
        """Plan `job` from the folded mark on: a decision still on its way is refused if the schedules changed."""
        try:
            plan = Plan(job, self.calendars.find)
        except ChronosError as error:
            # Its calendar is gone or leaves nothing: the job stays, silent, and says so.
            log.error("job cannot be planned", job=job.name, namespace=job.namespace, reason=str(error))
            self.book.remove(job.id)
            self._unplanned[job.id] = self.calendars.key_of(job) or ""
            return
        self._unplanned.pop(job.id, None)
        if job.paused is not None:
            self.book.keep(plan)
        else:
            self.book.put(plan, self.shard.hwm_s)

    def drop(self, job_id: str) -> None:
        """Forget a job that is gone."""
        self.book.remove(job_id)
        self._unplanned.pop(job_id, None)

    def replan(self, calendar_key: str) -> None:
        """Plan anew every job that refers to the calendar under `calendar_key`."""
        self.calendars.forget(calendar_key)
        for plan in self.book.plans():
            if self.calendars.key_of(plan.job) == calendar_key:
                self.index(plan.job)
        for job_id in [job_id for job_id, needed in self._unplanned.items() if needed == calendar_key]:
            job = self._commands.view.get(JOBS, job_id)
            if job is not None:
                self.index(job)

    def begin_anew(self) -> None:
        """The mark was set: nothing on its way counts any more."""
        self.proposed_hwm_s = 0
        self.load()
