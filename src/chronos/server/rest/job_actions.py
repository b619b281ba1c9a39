"""What is done with a job: trigger, pause, resume, backfill; and many jobs at once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from chronos.errors import DurationInvalid, Unprocessable
from chronos.model.execution import TERMINAL
from chronos.model.limits import DurationText
from chronos.plugin import Action, Call, Endpoint, Reply
from chronos.server.rest.batch import NDJSON, BatchAnswer, Batches
from chronos.server.rest.core import Core, idem, reply, revision_of
from chronos.server.rest.documents import ExecutionDocument, JobDocument, execution_document
from chronos.server.rest.guards import require
from chronos.server.rest.jobs import show
from chronos.timing.duration import parse_duration

TAG = "jobs"
WAIT_US_MAX = 60_000_000


class TriggerQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to trigger.

    Attributes:
        wait: Answer with 200 when the execution has ended, or with 202 after this long (at most 60s).
        force: Start beside a run that holds the slot; needs `job:force`.
    """

    wait: DurationText | None = None
    force: bool = False


class PauseBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why, and until when; without `until` it lasts until somebody resumes the job."""

    reason: Annotated[str, Meta(max_length=500)] = ""
    until: Annotated[datetime, Meta(tz=True)] | None = None


class BackfillBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The range from `since` to before `until`, whose instants are run once more; at most 10,000 of them."""

    since: Annotated[datetime, Meta(tz=True)]
    until: Annotated[datetime, Meta(tz=True)]


class Backfilled(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The executions that were owed, oldest instant first."""

    execution_ids: list[str]
    count: int


class JobActions:
    """The handlers of the actions under `/api/v1/jobs/{job}`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._batches = Batches(core)

    def endpoints(self) -> list[Endpoint]:
        def action(name: str, handler: Any, permission: str, summary: str, **more: Any) -> Endpoint:
            more.setdefault("answers", JobDocument)
            return Endpoint(
                "POST",
                f"/api/v1/jobs/{{job}}/{name}",
                handler,
                permission,
                summary,
                errors=(403, 404, 409, 412),
                idempotent_key=True,
                tag=TAG,
                operation=f"{name}_job",
                **more,
            )

        execution_links = {"id": ("get_execution", "execution"), "job_id": ("get_job", "job")}
        return [
            action(
                "trigger",
                self.trigger,
                "job:trigger",
                "Run a job now.",
                also=("job:force",),
                query=TriggerQuery,
                answers=ExecutionDocument,
                status=202,
                links=execution_links,
            ),
            action("enable", self.resume, "job:enable", "Let a job fire again; the same as resume."),
            action("disable", self.disable, "job:disable", "Stop a job from firing; the same as pause."),
            action("pause", self.pause, "job:pause", "Stop a job from firing.", body=PauseBody),
            action("resume", self.resume, "job:resume", "Let a job fire again."),
            action(
                "backfill",
                self.backfill,
                "job:backfill",
                "Owe the instants of a past range once more.",
                body=BackfillBody,
                answers=Backfilled,
                status=202,
            ),
            Endpoint(
                "POST",
                "/api/v1/jobs:batch",
                self._batches.write,
                "job:create",
                "Create or replace up to 10,000 jobs by name: one JSON document a line.",
                raw_body=NDJSON,
                answers=BatchAnswer,
                errors=(403,),
                idempotent_key=True,
                tag=TAG,
                operation="batch_jobs",
                also=("job:process", "job:update"),
            ),
        ]

    async def trigger(self, call: Call) -> Reply:
        query: TriggerQuery = call.query
        patience_s = _patience_s(query.wait)
        if query.force:
            require(call.principal, "job:force")
        job = await self._core.jobs.get(call.path["job"], namespace=call.namespace)
        await self._core.admit(Action.TRIGGER_JOB, job.spec, call.principal)
        execution = await self._core.jobs.trigger(
            call.path["job"], namespace=call.namespace, by=call.principal.id, force=query.force, idem=idem(call)
        )
        if patience_s:
            execution = await self._core.jobs.wait(execution.id, patience_s, namespace=call.namespace)
        location = {"Location": f"/api/v1/executions/{execution.id}"}
        status = 200 if patience_s and execution.status in TERMINAL else 202
        return reply(execution_document(execution, attempts=bool(patience_s)), status=status, headers=location)

    async def pause(self, call: Call) -> Reply:
        body: PauseBody = call.body
        if body.until is not None and body.until.timestamp() <= self._core.clock.time():
            raise Unprocessable("`until` lies in the past.", field="until")
        return await self._pause(call, body.reason, body.until)

    async def disable(self, call: Call) -> Reply:
        return await self._pause(call, "disabled", None)

    async def _pause(self, call: Call, reason: str, until: datetime | None) -> Reply:
        changed = await self._core.jobs.pause(
            call.path["job"],
            namespace=call.namespace,
            reason=reason,
            until=until,
            revision=revision_of(call),
            by=call.principal.id,
            idem=idem(call),
        )
        return reply(show(self._core, changed.job, changed.already_sent), revision=changed.job.revision)

    async def resume(self, call: Call) -> Reply:
        changed = await self._core.jobs.resume(
            call.path["job"],
            namespace=call.namespace,
            revision=revision_of(call),
            by=call.principal.id,
            idem=idem(call),
        )
        return reply(show(self._core, changed.job, changed.already_sent), revision=changed.job.revision)

    async def backfill(self, call: Call) -> Reply:
        body: BackfillBody = call.body
        ids = await self._core.jobs.backfill(
            call.path["job"],
            namespace=call.namespace,
            since=body.since,
            until=body.until,
            by=call.principal.id,
            idem=idem(call),
        )
        return reply(Backfilled(execution_ids=ids, count=len(ids)))


def _patience_s(wait: str | None) -> float:
    if wait is None:
        return 0.0
    try:
        us = parse_duration(wait)
    except DurationInvalid as error:
        error.facts.setdefault("field", "wait")
        raise
    if us > WAIT_US_MAX:
        raise Unprocessable("`wait` is at most 60s; ask for the execution again after that.", field="wait")
    return us / 1e6
