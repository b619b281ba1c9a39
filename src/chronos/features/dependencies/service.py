"""Follows finished runs and owes the dependent ones."""

from __future__ import annotations

import hashlib

from chronos.errors import Invalid, NotFound
from chronos.features.dependencies.model import Result, Round
from chronos.features.dependencies.rules import next_round
from chronos.model.events import Event, EventType
from chronos.model.execution import Execution, Kind, Status
from chronos.model.job import Job
from chronos.plugin import Collection, Jobs
from chronos.timing.duration import parse_duration

FOLLOWED = frozenset(
    {
        EventType.EXECUTION_FINISHED,
        EventType.JOB_CREATED,
        EventType.JOB_UPDATED,
        EventType.JOB_PAUSED,
        EventType.JOB_RESUMED,
        EventType.JOB_DELETED,
        EventType.GAP,
    }
)
COUNTED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})


class Follower:
    """Told of every finished run, in order, at least once; the same run twice changes nothing."""

    def __init__(self, jobs: Jobs, rounds: Collection[Round]) -> None:
        self._jobs = jobs
        self._rounds = rounds
        self._dependents: dict[str, Job] | None = None

    def wants(self, event: Event) -> bool:
        """Whether `note` would do anything; most installations have no dependent jobs at all."""
        return self._dependents is None or event.execution is None or bool(self._dependents)

    async def note(self, event: Event) -> None:
        """Take in one event."""
        if event.type is EventType.GAP:
            self._dependents = None  # who depends on whom may have changed in it
            return
        dependents = self._known()
        if event.execution is not None:
            if event.execution.status in COUNTED:
                for job in [j for j in dependents.values() if _depends_on(j, event.execution)]:
                    await self._follow(job, event.execution)
        elif event.job is not None:
            dependents.pop(event.job.id, None)
            if event.type is not EventType.JOB_DELETED and event.job.spec.dependencies is not None:
                dependents[event.job.id] = event.job

    def _known(self) -> dict[str, Job]:
        if self._dependents is None:
            self._dependents = {job.id: job for job in self._jobs.following()}
        return self._dependents

    async def _follow(self, job: Job, execution: Execution) -> None:
        wanted = job.spec.dependencies
        assert wanted is not None
        old = await self._rounds.get(job.id, namespace=job.namespace) or Round()
        parents = [await self._id_of(ref, job.namespace) for ref in wanted.depends_on]
        result = Result(
            execution_id=execution.id, success=execution.status is Status.SUCCESS, at_us=execution.ended_at_us
        )
        timeout_us = parse_duration(wanted.timeout) if wanted.timeout is not None else None
        verdict = next_round(old, parents, execution.job_id, result, wanted.condition, timeout_us)
        if verdict.due and job.paused is None:
            await self._owe(job, verdict.due)
        await self._rounds.put(job.id, verdict.round, by="dependencies", namespace=job.namespace)

    async def _owe(self, job: Job, due: list[str]) -> None:
        discriminator = hashlib.blake2b(" ".join(due).encode(), digest_size=16).hexdigest()
        try:
            await self._jobs.owe(job.id, Kind.DAG, discriminator, by="dependencies")
        except NotFound:
            # Deleted since: nobody waits for this run any more.
            return

    async def _id_of(self, ref: str, namespace: str) -> str:
        try:
            return (await self._jobs.get(ref, namespace=namespace)).id
        except (NotFound, Invalid):
            # A job that does not exist yet keeps an all-condition waiting until it does.
            return ref


def _depends_on(job: Job, execution: Execution) -> bool:
    wanted = job.spec.dependencies
    return (
        wanted is not None
        and job.namespace == execution.namespace
        and any(ref in (execution.job_id, execution.job_name) for ref in wanted.depends_on)
    )
