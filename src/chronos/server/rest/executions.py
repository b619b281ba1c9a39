"""Executions: list, read, cancel, replay, redrive; and the dead letters among them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, field

from chronos.errors import ExecutionNotFound, JobNotFound, Unprocessable
from chronos.model.execution import Execution, Kind, RangeRecord, Status
from chronos.plugin import Call, Endpoint, Reply
from chronos.server.rest.core import PAGE, PAGE_MAX, Core, idem, reply
from chronos.server.rest.documents import ExecutionDocument, execution_document, record_document

if TYPE_CHECKING:
    from chronos.store.queries import Page

TAG = "executions"
REDRIVE_MAX = 1_000


class ExecutionsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which executions to list, newest first.

    Attributes:
        status: One or several, separated by commas.
        since: Due at or after this instant.
        until: Due before it.
        cursor: `next_cursor` of the page before, with the same filters.
    """

    status: list[Status] = field(default_factory=list)
    kind: Kind | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None
    cursor: Annotated[str, Meta(max_length=1_024)] | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = PAGE


class PageQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which page of a list."""

    cursor: Annotated[str, Meta(max_length=1_024)] | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = PAGE


class DeadLettersQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to list, newest first.

    Attributes:
        job: Of this job only, by name or id; of a deleted one by its id.
    """

    job: Annotated[str, Meta(max_length=200)] | None = None


class ExecutionPage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Executions, newest first. `next_cursor` is null on the last page."""

    executions: list[ExecutionDocument]
    next_cursor: str | None = None


class CancelBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class RedriveBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters to start anew."""

    execution_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=REDRIVE_MAX)]


class Executions:
    """The handlers of `/api/v1/executions`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        one = "/api/v1/executions/{execution}"

        def act(name: str, handler: Any, summary: str, **more: Any) -> Endpoint:
            return Endpoint(
                "POST",
                f"{one}/{name}",
                handler,
                f"execution:{name}",
                summary,
                answers=ExecutionDocument,
                errors=(404, 409),
                idempotent_key=True,
                tag=TAG,
                operation=f"{name}_execution",
                **more,
            )

        page: dict[str, Any] = {"query": ExecutionsQuery, "answers": ExecutionPage, "tag": TAG}
        return [
            Endpoint(
                "GET",
                "/api/v1/executions",
                self.search,
                "execution:read",
                "List executions, newest first.",
                operation="list_executions",
                **page,
            ),
            Endpoint(
                "GET",
                "/api/v1/jobs/{job}/executions",
                self.search,
                "execution:read",
                "List a job's executions.",
                errors=(404,),
                operation="list_job_executions",
                **page,
            ),
            Endpoint(
                "GET",
                one,
                self.get,
                "execution:read",
                "Read an execution with its attempts.",
                answers=ExecutionDocument,
                errors=(404,),
                tag=TAG,
                operation="get_execution",
            ),
            Endpoint(
                "GET",
                "/api/v1/jobs/{job}/executions/{execution}",
                self.get,
                "execution:read",
                "Read an execution of a job.",
                answers=ExecutionDocument,
                errors=(404,),
                tag=TAG,
                operation="get_job_execution",
            ),
            act(
                "cancel",
                self.cancel,
                "Cancel an execution; what runs is stopped where that is possible.",
                body=CancelBody,
            ),
            act("replay", self.replay, "Run the job of an execution once more.", status=202),
            Endpoint(
                "POST",
                "/api/v1/jobs/{job}/executions/{execution}/replay",
                self.replay,
                "execution:replay",
                "Run the job of an execution once more; the execution has to be one of this job.",
                answers=ExecutionDocument,
                status=202,
                errors=(404, 409),
                idempotent_key=True,
                tag=TAG,
                operation="replay_job_execution",
            ),
            act("redrive", self.redrive, "Start a dead-lettered execution anew, under the same id.", status=202),
            Endpoint(
                "POST",
                "/api/v1/executions:redrive",
                self.redrive_many,
                "execution:redrive",
                "Start dead letters anew, at most 1,000 in one request.",
                body=RedriveBody,
                answers=ExecutionPage,
                status=202,
                errors=(404, 409),
                idempotent_key=True,
                tag=TAG,
                operation="redrive_executions",
            ),
            Endpoint(
                "GET",
                "/api/v1/dead-letters",
                self.dead_letters,
                "execution:read",
                "List executions that failed for good and can be redriven, newest first.",
                query=DeadLettersQuery,
                answers=ExecutionPage,
                tag=TAG,
                operation="list_dead_letters",
            ),
        ]

    async def search(self, call: Call) -> Reply:
        query: ExecutionsQuery = call.query
        job_id = None
        if "job" in call.path:
            job_id = (await self._core.jobs.get(call.path["job"], namespace=call.namespace)).id
        if query.since and query.until and query.since >= query.until:
            raise Unprocessable("`until` has to lie after `since`.", field="until")
        span: dict[str, int] = {}
        if query.since:
            span["since_s"] = max(0, math.ceil(query.since.timestamp()))
        if query.until:
            span["until_s"] = max(0, math.ceil(query.until.timestamp()) - 1)
        page = await self._core.queries.executions(
            call.namespace,
            job_id=job_id,
            statuses=tuple(query.status),
            kind=query.kind,
            cursor=query.cursor or "",
            limit=query.limit,
            **span,
        )
        return _page(page)

    async def dead_letters(self, call: Call) -> Reply:
        query: DeadLettersQuery = call.query
        page = self._core.queries.dead_letters(
            call.namespace,
            job_id=await self._job_id(query.job, call.namespace) if query.job else None,
            cursor=query.cursor or "",
            limit=query.limit,
        )
        return _page(page)

    async def _job_id(self, ref: str, namespace: str) -> str:
        """Return the id of a job; of one that is gone what was said, for its dead letters outlive it."""
        try:
            return (await self._core.jobs.get(ref, namespace=namespace)).id
        except JobNotFound:
            return ref

    async def get(self, call: Call) -> Reply:
        return reply(record_document(await self._find(call), attempts=True))

    async def _find(self, call: Call) -> Execution | RangeRecord:
        execution = await find(self._core, call)
        if "job" in call.path:
            job = await self._core.jobs.get(call.path["job"], namespace=call.namespace)
            if execution.job_id != job.id:
                raise ExecutionNotFound(f"Job `{job.name}` has no execution `{call.path['execution'][:64]}`.")
        return execution

    async def cancel(self, call: Call) -> Reply:
        execution = await self._core.jobs.cancel(
            call.path["execution"],
            namespace=call.namespace,
            by=call.principal.id,
            reason=call.body.reason,
            idem=idem(call),
        )
        return reply(execution_document(execution, attempts=True))

    async def replay(self, call: Call) -> Reply:
        if "job" in call.path:
            await self._find(call)
        execution = await self._core.jobs.replay(
            call.path["execution"], namespace=call.namespace, by=call.principal.id, idem=idem(call)
        )
        return reply(execution_document(execution), headers={"Location": f"/api/v1/executions/{execution.id}"})

    async def redrive(self, call: Call) -> Reply:
        started = await self._redrive(call, [call.path["execution"]])
        return reply(execution_document(started[0], attempts=True))

    async def redrive_many(self, call: Call) -> Reply:
        started = await self._redrive(call, list(dict.fromkeys(call.body.execution_ids)))
        return reply(ExecutionPage(executions=[execution_document(e) for e in started]))

    async def _redrive(self, call: Call, ids: list[str]) -> list[Execution]:
        started = await self._core.jobs.redrive(ids, namespace=call.namespace, by=call.principal.id, idem=idem(call))
        if started:
            return started
        # A repeated request under the same idempotency key: what it started then, as it is now.
        return [await self._core.jobs.execution(key, namespace=call.namespace) for key in ids]


def _page(page: Page[Execution] | Page[Execution | RangeRecord]) -> Reply:
    shown = [record_document(record) for record in page.items]
    return reply(ExecutionPage(executions=shown, next_cursor=page.cursor or None))


async def find(core: Core, call: Call) -> Execution | RangeRecord:
    """Return the execution a request names; one of another namespace is as unknown as none.

    Raises:
        ExecutionNotFound: There is none.
    """
    key = call.path["execution"]
    execution = await core.queries.execution(key)
    if execution is None or execution.namespace != call.namespace:
        raise ExecutionNotFound(f"There is no execution `{key[:64]}` in namespace `{call.namespace}`.")
    return execution
