"""How each job's newest run stands: kept up from the events, so that a list of jobs searches no history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Status
from chronos.model.job import Job
from chronos.server.rest.documents import LastExecution, last_execution
from chronos.store.queries import Queries

JOBS_MAX = 20_000
"""How many jobs are remembered; of those that were forgotten, history is asked again."""

_CREATED = EventType.JOB_CREATED  # an enum's member is looked up slowly, and this is asked for with each event


class _Known(NamedTuple):
    position: tuple[int, str]
    shown: LastExecution | None


_NEVER = _Known((-1, ""), None)


class LastRuns:
    """The newest run of each job: the latest due that was not skipped.

    A job is looked up in history the first time it is asked for, and followed by its events from then on. One that was
    made while this server runs has no history, and is not looked up before it runs.

    Args:
        may_have_run: Whether anything was ever run of the job of this id; what never ran is not looked up.
    """

    def __init__(self, queries: Queries, *, may_have_run: Callable[[str], bool] = lambda _: True) -> None:
        self._queries = queries
        self._may_have_run = may_have_run
        self._known: dict[str, _Known] = {}
        self._new: set[str] = set()
        self._looking: dict[str, asyncio.Event] = {}

    def on_events(self, events: Sequence[Event]) -> None:
        """Take note of what was committed. Called on the event loop; returns at once."""
        if not self._known and not self._new:  # nobody has asked: all that counts is who is new
            events = [event for event in events if event.type is _CREATED]
        for event in events:
            if event.execution is not None:
                self._new.discard(event.execution.job_id)
                self._note(event.execution)
            elif event.type is EventType.JOB_DELETED:
                self._new.discard(event.job_id)
                self._known.pop(event.job_id, None)
            elif event.type is _CREATED and len(self._new) < JOBS_MAX:
                self._new.add(event.job_id)

    async def of(self, jobs: Sequence[Job]) -> dict[str, LastExecution | None]:
        """Return the newest run by job id; None for a job that has never run."""
        asked = {
            job.id: job
            for job in jobs
            if job.id not in self._known and job.id not in self._new and self._may_have_run(job.id)
        }
        while unknown := [job for job in asked.values() if job.id not in self._known]:
            for job in await self._look_up_once(unknown):
                del asked[job.id]
        return {job.id: self._known.get(job.id, _NEVER).shown for job in jobs}

    async def _look_up_once(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Look up those whom nobody looks up already, and return them; if there are none, wait for the first.

        A page that is polled asks for its jobs again before they come.
        """
        mine = [job for job in jobs if job.id not in self._looking]
        if not mine:
            await self._looking[jobs[0].id].wait()
            return []
        done = asyncio.Event()
        self._looking |= {job.id: done for job in mine}
        try:
            await self._look_up(mine)
        finally:
            for job in mine:
                del self._looking[job.id]
            done.set()
        return mine

    async def _look_up(self, jobs: Sequence[Job]) -> None:
        found = await self._queries.newest_runs(jobs)
        for job in jobs:
            # Events came in while history was searched; what they say is newer.
            self._known.setdefault(job.id, _NEVER)
            if (execution := found.get(job.id)) is not None:
                self._note(execution)
        while len(self._known) > JOBS_MAX:
            self._known.pop(next(iter(self._known)))

    def _note(self, execution: Execution) -> None:
        known = self._known.get(execution.job_id)
        if known is None:
            return  # nobody has asked yet, and history may hold a later one
        if execution.status is Status.SKIPPED:
            if known.position == _position(execution):
                del self._known[execution.job_id]  # it was decided, and then did not run: the one before it counts
        elif known.position <= _position(execution):
            self._known[execution.job_id] = _Known(_position(execution), last_execution(execution))


def _position(execution: Execution) -> tuple[int, str]:
    return execution.scheduled_s, execution.id
