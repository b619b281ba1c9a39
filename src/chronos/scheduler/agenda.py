"""What every job owes next: its schedules compiled and indexed, and how far planning has come."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from chronos.errors import ChronosError
from chronos.model.job import Job
from chronos.scheduler.book import Book
from chronos.scheduler.calendars import Calendars
from chronos.scheduler.firsts import Firsts
from chronos.scheduler.plan import Plan
from chronos.scheduler.ports import Commands, Readings
from chronos.scheduler.turnstile import Turnstile
from chronos.store.state import UNDER_CALENDARS
from chronos.store.tables import JOBS, SHARDS, Shard
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)


class Agenda:
    """When each job is due next. Kept true by events; holds nothing that could not be built anew from the state.

    Attributes:
        proposed_hwm_s: The mark as the last decision on its way would leave it; 0 when none is.
        replanned: How often a calendar has changed.
    """

    def __init__(self, commands: Commands, readings: Readings, clock: Clock) -> None:
        self.calendars = Calendars(commands.view)
        self.book = Book(self._planned)
        self.turnstile = Turnstile()
        self.proposed_hwm_s = self.replanned = 0
        self._commands = commands
        self._readings = readings
        self._clock = clock

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
        known = self.book.known(job.id)
        if known is not None and known.job.revision == job.revision:
            return known
        return Plan(job, self.calendars.find)

    def find_plan(self, job_id: str) -> Plan | None:
        """Return the plan of a job as it is now, also on a node that does not plan; None without a job or a plan."""
        job = self._commands.view.get(JOBS, job_id)
        try:
            return self.plan_of(job) if job is not None else None
        except ChronosError:
            return None

    def _planned(self, job_id: str) -> Plan | None:
        job = self._commands.view.get(JOBS, job_id)
        if job is None:
            return None
        try:
            return Plan(job, self.calendars.find)
        except ChronosError as error:
            self._complain(job_id, error)
            return None

    def load(self) -> list[str]:
        """Index every job there is; none is read for that, but what the state keeps of it for planning.

        Returns:
            Those that owe something from the outage that is being made up for, by their schedules.
        """
        shard = self.shard
        firsts = Firsts(self.calendars.find, shard.hwm_s, from_s=shard.catchup_from_s, to_s=shard.catchup_to_s)
        self.book.load(firsts.of(self._readings.plan_rows()))
        for job_id, error in firsts.unplanned:
            self._complain(job_id, error)
        return firsts.owing

    def _complain(self, job_id: str, error: ChronosError) -> None:
        """Its calendar is gone or leaves nothing: the job stays, silent, and says so."""
        job = self._commands.view.get(JOBS, job_id)
        if job is not None:
            log.error("job cannot be planned", job=job.name, namespace=job.namespace, reason=str(error))

    def index(self, job: Job) -> None:
        """Plan `job` from the folded mark on: a decision still on its way is refused if the schedules changed."""
        try:
            plan = Plan(job, self.calendars.find)
        except ChronosError as error:
            self.book.remove(job.id)
            self._complain(job.id, error)
            return
        if job.paused is not None:
            self.book.keep(plan)
        else:
            self.book.put(plan, self.shard.hwm_s)

    def drop(self, job_id: str) -> None:
        """Forget a job that is gone."""
        self.book.remove(job_id)

    def replan(self, calendar_key: str) -> None:
        """Plan anew every job that refers to the calendar under `calendar_key`."""
        self.replanned += 1
        self.calendars.forget(calendar_key)
        for job in self._readings.jobs_with(self.calendars.trait_of(calendar_key)):
            self.index(job)

    def owing(self, from_s: int, to_s: int) -> Iterator[str]:
        """Yield for each job its id if it owes something in (`from_s`, `to_s`] by its schedules, else an empty text."""
        for job_id, first in Firsts(self.calendars.find, from_s).of(self._readings.plan_rows()):
            yield job_id if first is not None and first <= to_s else ""

    def under_calendars(self) -> Iterator[Job]:
        """Yield every job that refers to a calendar."""
        return self._readings.jobs_with(UNDER_CALENDARS)

    def begin_anew(self) -> None:
        """The mark was set: nothing on its way counts any more."""
        self.proposed_hwm_s = 0
        self.load()
