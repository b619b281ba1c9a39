"""Listens to what happens and puts what is worth a message into the outbox."""

from __future__ import annotations

from msgspec.structs import replace

from chronos.errors import ChronosError, JobNotFound
from chronos.features.notify.model import Addressed, Failing, Notice, Settings
from chronos.features.notify.outbox import BY, Outbox
from chronos.features.notify.port import NextRun
from chronos.features.notify.rules import (
    MISSED_REASONS,
    addressees,
    failure_notice,
    missed_execution_notice,
    missed_range_notice,
    recovery_notice,
)
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, RangeRecord, Status
from chronos.model.job import Job
from chronos.model.notify import NotifyOn
from chronos.plugin import Collection, Jobs

HEARD = frozenset(
    {
        EventType.EXECUTION_FINISHED,
        EventType.RANGE_SKIPPED,
        EventType.JOB_DELETED,
        EventType.LEADER_CHANGED,
        EventType.GAP,
    }
)


class Listener:
    """Subscribed on the leader with a durable cursor: what it has returned from is in the outbox, durably.

    Success, the usual case, costs a look into a dict. Which jobs are failing is kept in documents and, while
    this node leads, in memory: nobody else writes them.
    """

    def __init__(
        self, settings: Settings, outbox: Outbox, failing: Collection[Failing], jobs: Jobs, outlook: NextRun | None
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._documents = failing
        self._jobs = jobs
        self._outlook = outlook
        self._failing: dict[str, Failing] | None = None
        self._index = 0

    def wants(self, event: Event) -> bool:
        """Whether `on_event` would do anything: a success of a job that is well calls for nothing."""
        execution = event.execution
        if self._failing is None or execution is None or execution.status is not Status.SUCCESS:
            return True
        return execution.job_id in self._failing

    async def on_event(self, event: Event) -> None:
        """Put what `event` calls for into the outbox. May hear of an event twice: it tells of it once."""
        failing = await self._lead(event)
        if event.type is EventType.JOB_DELETED:
            await self._forget(event.job_id, failing)
        elif event.execution is not None:
            await self._finished(event, event.execution, failing)
        elif event.range is not None and event.range.reason in MISSED_REASONS:
            await self._missed_range(event, event.range)
        elif event.type is EventType.GAP:
            await self._forget_the_deleted(failing)

    async def stand_down(self, event: Event) -> None:
        """Let go, on every node, when another leader begins; the leader's own cursor takes over again."""
        if event.index > self._index:
            self._failing = None
            self._outbox.drop()

    async def _lead(self, event: Event) -> dict[str, Failing]:
        self._index = max(self._index, event.index)
        if self._failing is None:
            await self._outbox.load()
            self._failing = {one.job_id: one for _, one in await self._documents.items()}
        return self._failing

    async def _finished(self, event: Event, execution: Execution, failing: dict[str, Failing]) -> None:
        if execution.status is Status.SUCCESS and execution.job_id in failing:
            await self._recovered(event, execution, failing)
        elif execution.status is Status.FAILED:
            await self._failed(event, execution, failing)
        elif execution.status is Status.SKIPPED and execution.reason in MISSED_REASONS:
            job, on, channels = await self._whom(event, execution.job_id, execution.namespace)
            if NotifyOn.MISSED in on:
                await self._tell(missed_execution_notice(execution, event.time_us, self._next(job, event)), channels)

    async def _failed(self, event: Event, execution: Execution, failing: dict[str, Failing]) -> None:
        job, on, channels = await self._whom(event, execution.job_id, execution.namespace)
        notice = failure_notice(execution, event.time_us, self._next(job, event))
        known = failing.get(execution.job_id)
        if not channels or (known is not None and known.last_notice == notice.id):
            return
        was_told = NotifyOn.FAILURE in on and await self._tell(notice, channels)
        # Written last, and so true: whoever finds it need not tell again.
        if known is None:
            known = Failing(
                job_id=execution.job_id,
                namespace=execution.namespace,
                since_us=notice.at_us,
                execution_id=execution.id,
                last_notice=notice.id,
            )
        elif not was_told:
            return
        failing[execution.job_id] = known = replace(known, last_notice=notice.id)
        await self._documents.put(known.job_id, known, by=BY, namespace=known.namespace)

    async def _recovered(self, event: Event, execution: Execution, failing: dict[str, Failing]) -> None:
        job, on, channels = await self._whom(event, execution.job_id, execution.namespace)
        if NotifyOn.RECOVERY in on:
            known = failing[execution.job_id]
            await self._tell(recovery_notice(execution, known, event.time_us, self._next(job, event)), channels)
        await self._forget(execution.job_id, failing)

    async def _missed_range(self, event: Event, record: RangeRecord) -> None:
        job, on, channels = await self._whom(event, record.job_id, record.namespace)
        if NotifyOn.MISSED in on:
            name = job.name if job is not None else record.job_id
            await self._tell(missed_range_notice(record, name, event.time_us, self._next(job, event)), channels)

    async def _forget(self, job_id: str, failing: dict[str, Failing]) -> None:
        known = failing.get(job_id)
        if known is not None:
            await self._documents.delete(job_id, by=BY, namespace=known.namespace)
            del failing[job_id]

    async def _forget_the_deleted(self, failing: dict[str, Failing]) -> None:
        for job_id, known in list(failing.items()):
            try:
                await self._jobs.get(job_id, namespace=known.namespace)
            except JobNotFound:
                await self._forget(job_id, failing)

    async def _whom(
        self, event: Event, job_id: str, namespace: str
    ) -> tuple[Job | None, frozenset[NotifyOn], list[Addressed]]:
        job = event.job
        if job is None:
            try:
                job = await self._jobs.get(job_id, namespace=namespace)
            except JobNotFound:
                pass  # deleted since; the server's own channels still want to know
        return (job, *addressees(job, self._settings))

    async def _tell(self, notice: Notice, channels: list[Addressed]) -> bool:
        """Return whether at least one channel is told in a message of its own."""
        told = [await self._outbox.put(notice, to) for to in channels]
        return any(told)

    def _next(self, job: Job | None, event: Event) -> int:
        if job is None or self._outlook is None:
            return 0
        try:
            return self._outlook.next_run(job, event.time_us // 1_000_000) or 0
        except ChronosError:
            return 0  # a broken calendar must not keep a failure from being told
