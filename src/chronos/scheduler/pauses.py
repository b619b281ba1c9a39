"""Pauses that end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

import structlog

from chronos.errors import ChronosError
from chronos.model.events import JOB_EVENTS, Event, EventType
from chronos.model.job import Job
from chronos.scheduler.jobs import JobService
from chronos.scheduler.line import Line
from chronos.scheduler.ports import Commands, Readings
from chronos.store.state import RESUMES
from chronos.store.tables import JOBS
from chronos.timing.clock import Clock

log = structlog.get_logger(__name__)

IDLE_S = 1.0
AT_ONCE = 100
RETRY_US = 1_000_000


class PauseTimer:
    """Resumes each job when its pause is over."""

    def __init__(self, commands: Commands, readings: Readings, jobs: JobService, clock: Clock) -> None:
        self._commands = commands
        self._readings = readings
        self._jobs = jobs
        self._clock = clock
        self._line = Line()
        self._task: asyncio.Task[None] | None = None
        self._ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        commands.subscribe(self._on_events, of=JOB_EVENTS)

    async def __aenter__(self) -> Self:
        for job in self._readings.jobs_with(RESUMES):
            self._note(job)
        self._task = asyncio.create_task(self._run(), name="pauses")
        self._task.add_done_callback(self._ended.put_nowait)
        return self

    async def __aexit__(self, *exc: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def failure(self) -> None:
        """Return never, unless it does not look any more; then raise what ended it."""
        while True:
            task = await self._ended.get()
            if not task.cancelled():
                task.result()

    def _on_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.job is None or event.execution is not None:
                continue
            self._line.remove(event.job.id)
            if event.type is not EventType.JOB_DELETED:
                self._note(event.job)

    def _note(self, job: Job) -> None:
        if job.paused is not None and job.paused.until is not None:
            self._line.add(job.id, int(job.paused.until.timestamp() * 1_000_000))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S)
            now_us = int(self._clock.time() * 1_000_000)
            for job_id in self._line.due(now_us, AT_ONCE):
                await self._resume(job_id, now_us)

    async def _resume(self, job_id: str, now_us: int) -> None:
        job = self._commands.view.get(JOBS, job_id)
        if job is None or job.paused is None or job.paused.until is None:
            return
        try:
            await self._jobs.resume(job_id, namespace=job.namespace, revision=job.revision, by="chronos")
        except ChronosError as error:
            log.warning("resuming waits", job=job.name, reason=str(error))
            self._line.add(job_id, now_us + RETRY_US)
