"""The job service: everything people do to jobs and executions, as commands.

It computes what depends on time (what a changed job owes ahead, which instants passed in a pause), proposes,
and waits until nothing that was taken back can still leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

from msgspec import Struct, field

from chronos.errors import (
    ChronosError,
    ExecutionEnded,
    ExecutionNotFound,
    JobInvalid,
    JobNotFound,
    RevisionNotFound,
)
from chronos.model.callback import Heard, Standing
from chronos.model.execution import Execution, Kind, RangeRecord, execution_id
from chronos.model.job import Job, JobSpec, Pause
from chronos.model.sealing import Sealer
from chronos.scheduler.changes import NOTHING_AHEAD, Changes, instants_in
from chronos.scheduler.finding import find_job
from chronos.scheduler.loop import Scheduler
from chronos.scheduler.ports import Commands
from chronos.scheduler.proposing import Answer, Make, Proposals
from chronos.scheduler.writing import CheckTarget, Writes
from chronos.store.commands import (
    Backfill,
    Cancel,
    DeleteJob,
    Idem,
    Redrive,
    SetPause,
    Trigger,
)
from chronos.store.port import Result
from chronos.store.state import FOLLOWS
from chronos.store.tables import IDEM, JOBS, NAMES, OPEN, REVISIONS, idem_key, revision_key
from chronos.timing.clock import Chance, Clock, ulid, ulids

BACKFILL_MAX = 10_000


class Lookup(Protocol):
    """The reads the service needs (`store.queries.Queries`)."""

    def all_jobs(self) -> Iterator[Job]: ...
    def jobs_with(self, trait: str) -> Iterator[Job]: ...
    async def jobs_by_prefix(self, prefix: str, namespace: str) -> list[Job]: ...
    async def execution(self, execution_id: str) -> Execution | RangeRecord | None: ...
    async def revisions(self, job_id: str) -> list[tuple[Job, str]]: ...


class Changed(Struct, frozen=True):
    """A job after a change.

    Attributes:
        already_sent: Executions whose first byte had left before the change could stop them.
        replayed: This answers a request that was answered before under the same idempotency key.
    """

    job: Job
    already_sent: list[str] = field(default_factory=list)
    replayed: bool = False


class Asked(NamedTuple):
    """One of many jobs to be written."""

    spec: JobSpec
    idem: Idem | None = None


class JobService:
    """See the module."""

    def __init__(
        self,
        commands: Commands,
        lookup: Lookup,
        scheduler: Scheduler,
        *,
        clock: Clock,
        chance: Chance,
        sealer: Sealer,
        check_target: CheckTarget,
    ) -> None:
        self._commands = commands
        self._lookup = lookup
        self._scheduler = scheduler
        self._clock = clock
        self._chance = chance
        self._changes = Changes(commands, scheduler)
        self._proposals = Proposals(commands, scheduler)
        self._writes = Writes(
            commands,
            scheduler,
            self._changes,
            sealer=sealer,
            check_target=check_target,
        )

    # Reading.

    async def get(self, ref: str, *, namespace: str) -> Job:
        """Return the job whose id or name is `ref`, or the only one whose id begins with it.

        Raises:
            JobNotFound: There is none.
            JobInvalid: Several ids begin with it; `facts["candidates"]` lists them.
        """
        return await find_job(self._commands.view, self._lookup, ref, namespace=namespace)

    async def revisions(self, ref: str, *, namespace: str) -> list[tuple[Job, str]]:
        """Return (job as it was, comment) of every version, newest first."""
        job = await self.get(ref, namespace=namespace)
        return await self._lookup.revisions(job.id)

    async def revision(self, ref: str, number: int, *, namespace: str) -> Job:
        """Return the job as it was at version `number`; raises RevisionNotFound."""
        job = await self.get(ref, namespace=namespace)
        kept = self._commands.view.get(REVISIONS, revision_key(job.id, number))
        if kept is None:
            raise RevisionNotFound(f"Job {job.name!r} has no version {number}.", version=number)
        return kept.job

    # Changing jobs.

    async def create(self, spec: JobSpec, *, by: str, idem: Idem | None = None) -> Changed:
        """Create a job. Its first instant lies strictly after the log time of the acknowledgement."""
        return await self._changed(self._writes.creation(ulid(self._clock, self._chance), spec, by, idem))

    async def create_all(self, asked: Sequence[Asked], *, by: str) -> list[Changed | ChronosError]:
        """Create jobs, all in one entry, and return for each what came of it, as `create` would.

        What they need of the loop is not divided: a hundred, and a few hundred kilobytes, are as many as is good.
        """
        self._commands.read_ahead(NAMES, [f"{one.spec.namespace}/{one.spec.name}" for one in asked])
        ids = ulids(self._clock, self._chance, len(asked))
        return await self._change_all(
            [
                _tried(partial(self._writes.creation, job_id, one.spec, by, one.idem))
                for job_id, one in zip(ids, asked, strict=True)
            ]
        )

    async def replace_all(self, asked: Sequence[Asked], *, by: str) -> list[Changed | ChronosError]:
        """Replace the jobs that have these names, all in one entry; each is answered as `replace` would."""
        return await self._change_all(
            [_tried(partial(self._writes.replacement_by_name, one.spec, by, one.idem)) for one in asked]
        )

    async def replace(
        self,
        ref: str,
        spec: JobSpec,
        *,
        namespace: str,
        revision: int | None = None,
        by: str,
        idem: Idem | None = None,
        comment: str = "",
    ) -> Changed:
        """Replace a job's spec; `enabled` None leaves it paused or running as it is."""
        old = await self.get(ref, namespace=namespace)
        return await self._changed(self._writes.replacement(old, spec, revision, by, idem, comment or "edited"))

    async def delete(
        self, ref: str, *, namespace: str, revision: int | None = None, by: str, idem: Idem | None = None
    ) -> Changed:
        """Delete a job; once this returns, no first byte of it leaves, except of `already_sent`."""
        job_id = await self._id_of(ref, namespace, idem)
        expect = -1 if revision is None else revision

        def command() -> DeleteJob:
            job = self._commands.view.get(JOBS, job_id)
            if job is None:
                return DeleteJob(job_id, by, expect, idem)
            now_us = self._scheduler.now_us
            # The mark as it is folded: a decision still on its way may be refused.
            undecided_us = self._changes.undecided_us(job, now_us, self._scheduler.shard.hwm_s)
            return DeleteJob(job_id, by, expect, idem, undecided_us, self._changes.passed_in_pause(job, now_us))

        return await self._changed(command)

    async def _id_of(self, ref: str, namespace: str, idem: Idem | None) -> str:
        """Return the id of a job; of one that the first request under this key has deleted, too."""
        try:
            return (await self.get(ref, namespace=namespace)).id
        except JobNotFound:
            kept = self._commands.view.get(IDEM, idem_key(idem)) if idem is not None else None
            if kept is None or not kept.resource:
                raise
            return kept.resource

    async def pause(
        self,
        ref: str,
        *,
        namespace: str,
        reason: str = "",
        until: datetime | None = None,
        revision: int | None = None,
        by: str,
        idem: Idem | None = None,
    ) -> Changed:
        """Stop a job from firing; once this returns, no first byte of it leaves, except of `already_sent`."""
        old = await self.get(ref, namespace=namespace)
        if until is not None and until.timestamp() <= self._clock.time():
            raise JobInvalid("`until` must lie in the future.", field="until")
        pause = Pause(reason=reason, until=until)
        return await self._set_pause(old.id, pause, revision, by, idem)

    async def resume(
        self, ref: str, *, namespace: str, revision: int | None = None, by: str, idem: Idem | None = None
    ) -> Changed:
        """Let a job fire again, from its next instant on; what passed in the pause is recorded as paused."""
        old = await self.get(ref, namespace=namespace)
        return await self._set_pause(old.id, None, revision, by, idem)

    async def _set_pause(
        self, job_id: str, pause: Pause | None, revision: int | None, by: str, idem: Idem | None
    ) -> Changed:
        def command() -> SetPause:
            job = self._commands.view.get(JOBS, job_id)
            if job is None:
                raise JobNotFound
            now_us, owed_to = self._scheduler.now_us, self._scheduler.planned_to_s
            ahead = NOTHING_AHEAD if pause is not None else self._changes.ahead(job, now_us, owed_to)
            expect = -1 if revision is None else revision
            passed = self._changes.passed_in_pause(job, now_us)
            undecided_us = self._changes.undecided_us(job, now_us, owed_to)
            return SetPause(job_id, pause, by, expect, ahead.owed, owed_to, idem, passed, undecided_us, ahead.left_out)

        return await self._changed(command)

    # Runs.

    async def trigger(
        self, ref: str, *, namespace: str, by: str, force: bool = False, idem: Idem | None = None
    ) -> Execution:
        """Run a job now; raises Overlap when it is running and its policy forbids a second run."""
        job = await self.get(ref, namespace=namespace)
        return await self._trigger(job, by=by, force=force, idem=idem)

    async def replay(self, execution: str, *, namespace: str, by: str, idem: Idem | None = None) -> Execution:
        """Run again, under a new id, what an execution ran: the same version of the job."""
        found = await self.execution(execution, namespace=namespace)
        job = await self.get(found.job_id, namespace=namespace)
        return await self._trigger(job, by=by, idem=idem, replay_of=found.id, revision=found.revision)

    async def owe(self, job_id: str, kind: Kind, discriminator: str, *, by: str) -> Execution:
        """Owe one run of a job; the same discriminator is one run, however often it is asked for."""
        job = self._commands.view.get(JOBS, job_id)
        if job is None:
            raise JobNotFound(f"There is no job {job_id!r}.", job=job_id)
        # The instant is part of the id, so it comes from the first request: the key below answers the others.
        now_s = self._scheduler.now_us // 1_000_000
        key = execution_id(job_id, kind, discriminator, now_s)
        idem = Idem(f"{kind.value}/{job_id}", discriminator, "")
        result = await self._commands.propose(
            Trigger(key, job_id, kind, discriminator, now_s, by, strict=False, idem=idem)
        )
        if result.replayed:
            return await self.execution(str(result.facts["resource"]), namespace=job.namespace)
        opened: Execution = result.value
        return opened

    def all(self) -> Iterator[Job]:
        """Yield every job of every namespace."""
        return self._lookup.all_jobs()

    def following(self) -> Iterator[Job]:
        """Yield every job that runs when others have run."""
        return self._lookup.jobs_with(FOLLOWS)

    async def _trigger(
        self,
        job: Job,
        *,
        by: str,
        force: bool = False,
        idem: Idem | None = None,
        replay_of: str = "",
        revision: int = 0,
    ) -> Execution:
        discriminator = ulid(self._clock, self._chance)
        now_s = self._scheduler.now_us // 1_000_000
        key = execution_id(job.id, Kind.MANUAL, discriminator, now_s)
        result = await self._commands.propose(
            Trigger(
                key,
                job.id,
                Kind.MANUAL,
                discriminator,
                now_s,
                by,
                force=force,
                replay_of=replay_of,
                revision=revision,
                idem=idem,
            )
        )
        if result.replayed:
            return await self.execution(str(result.facts["resource"]), namespace=job.namespace)
        opened: Execution = result.value
        return opened

    async def backfill(
        self,
        ref: str,
        *,
        namespace: str,
        since: datetime,
        until: datetime,
        by: str,
        idem: Idem | None = None,
    ) -> list[str]:
        """Run the instants in [since, until) once more, oldest first; return the executions' ids."""
        job = await self.get(ref, namespace=namespace)
        if until <= since:
            raise JobInvalid("`until` must lie after `since`.", field="until")
        if until.timestamp() > self._clock.time():
            raise JobInvalid("`until` lies in the future; what is due there runs by itself.", field="until")
        plan = self._scheduler.plan_of(job)
        instants = instants_in(plan, int(since.timestamp()) - 1, int(until.timestamp()) - 1, BACKFILL_MAX)
        if len(instants) > BACKFILL_MAX:
            raise JobInvalid(f"The range has more than {BACKFILL_MAX} instants; split it.", field="until")
        backfill_id = ulid(self._clock, self._chance)
        result = await self._commands.propose(Backfill(job.id, backfill_id, instants, by, idem))
        if result.replayed:
            first = result.facts["resource"]
            return [execution_id(job.id, Kind.BACKFILL, f"{instant}/{first}", instant) for instant in instants]
        opened: list[str] = result.value
        return opened

    async def cancel(
        self, execution: str, *, namespace: str, by: str, reason: str = "", idem: Idem | None = None
    ) -> Execution:
        """Cancel an execution; what runs is asked to stop, and ends as cancelled when it has."""
        found = await self.execution(execution, namespace=namespace)
        try:
            result = await self._commands.propose(Cancel(found.id, by, reason, idem))
        except ExecutionNotFound:
            raise ExecutionEnded(execution=found.id, execution_status=found.status.value) from None
        return result.value or await self.execution(execution, namespace=namespace)

    async def hear(self, heard: Heard) -> Standing:
        """Take what a target reports of an attempt; see `Reports.hear`. Whoever calls has made sure that it may."""
        return await self._scheduler.reports.hear(heard)

    async def redrive(
        self, executions: list[str], *, namespace: str, by: str, idem: Idem | None = None
    ) -> list[Execution]:
        """Start dead letters anew under their old ids."""
        for key in executions:
            await self.execution(key, namespace=namespace)
        result = await self._commands.propose(Redrive(executions, by, idem))
        if result.replayed:
            return [await self.execution(key, namespace=namespace) for key in dict.fromkeys(executions)]
        opened: list[Execution] = result.value
        return opened

    async def execution(self, key: str, *, namespace: str) -> Execution:
        """Return an execution; raises ExecutionNotFound, also for one of another namespace."""
        found = self._commands.view.get(OPEN, key) or await self._lookup.execution(key)
        if isinstance(found, Execution) and found.namespace == namespace:
            return found
        raise ExecutionNotFound(f"There is no execution {key!r}.", execution=key)

    async def wait(self, key: str, seconds: float, *, namespace: str) -> Execution:
        """Return the execution as soon as it has ended, or as it is after `seconds`."""
        ended = await self._scheduler.wait(key, seconds)
        return ended if ended is not None else await self.execution(key, namespace=namespace)

    # The common path.

    async def _changed(self, command: Make) -> Changed:
        """Propose, again if planning has moved on meanwhile, and recall what must not leave any more."""
        return await self._done(await self._proposals.one(command))

    async def _change_all(self, makes: Sequence[Make | ChronosError]) -> list[Changed | ChronosError]:
        answers = iter(await self._proposals.many([make for make in makes if not isinstance(make, ChronosError)]))
        return [make if isinstance(make, ChronosError) else await self._told(next(answers)) for make in makes]

    async def _told(self, answer: Answer) -> Changed | ChronosError:
        if isinstance(answer, ChronosError):
            return answer
        try:
            return await self._done(answer)
        except ChronosError as error:  # it was made under this key before, and is gone
            return error

    async def _done(self, result: Result) -> Changed:
        if result.replayed:
            return Changed(self._job_again(result), replayed=True)
        recalled = list(result.facts.get("recall", ()))
        return Changed(result.value, await self._scheduler.recall(recalled) if recalled else [])

    def _job_again(self, result: Result) -> Job:
        job_id, revision = str(result.facts["resource"]), int(result.facts["revision"])
        kept = self._commands.view.get(REVISIONS, revision_key(job_id, revision))
        if kept is None:
            raise JobNotFound("The job that this request made has been deleted since.", job=job_id)
        return kept.job


def _tried(prepare: Callable[[], Make]) -> Make | ChronosError:
    try:
        return prepare()
    except ChronosError as error:
        return error
