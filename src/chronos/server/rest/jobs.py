"""Jobs: list, read, create, replace, patch, delete."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from chronos.errors import JobInvalid, Unprocessable
from chronos.model.job import Job, JobSpec, RetryPolicy
from chronos.plugin import Action, Call, Endpoint, Reply
from chronos.server.decoding import convert
from chronos.server.rest.core import PAGE, PAGE_MAX, Core, idem, reply, revision_of
from chronos.server.rest.documents import JobDocument, LastExecution, editable, job_document, shown_document
from chronos.server.rest.guards import check_writer

TAG = "jobs"
_NO_POLICY = RetryPolicy()


class JobsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs to list, by name. Further filters: `tag.KEY=VALUE`, each of which has to hold.

    Attributes:
        text: Part of the name or the description, in any case.
        cursor: `next_cursor` of the page before, with the same filters.
    """

    enabled: bool | None = None
    text: Annotated[str, Meta(max_length=200)] | None = None
    tags: Annotated[dict[str, str], Meta(max_length=16)] = field(default_factory=dict)
    cursor: Annotated[str, Meta(max_length=1_024)] | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = PAGE


class JobPage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs by name. `next_cursor` is null on the last page; `total` counts all pages; null where too many fit."""

    jobs: list[JobDocument]  # type: ignore[valid-type]  # built from the spec at import
    next_cursor: str | None = None
    total: int | None = None


class Deleted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was deleted, and what of it had already left."""

    id: str
    name: str
    already_sent: list[str] = field(default_factory=list)


# What is merged key by key: a part may be given, and null takes a key away. The merged job is decoded strictly.
_MERGED: dict[str, Any] = {
    "tags": dict[str, str | None],
    **dict.fromkeys(("dst", "webhook", "target", "retry_policy", "notify", "dependencies"), dict[str, Any]),
}


def _patch_type() -> type[Struct]:
    fields = [(f.name, _MERGED.get(f.name, f.type) | None, None) for f in msgspec.structs.fields(JobSpec)]
    doc = "A JSON merge patch of a job: what is given replaces, null takes the default, the rest stays."
    return msgspec.defstruct(
        "JobPatch",
        fields,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
        namespace={"__doc__": doc},
    )


JobPatch = _patch_type()


class Jobs:
    """The handlers of `/api/v1/jobs`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def endpoints(self) -> list[Endpoint]:
        one = "/api/v1/jobs/{job}"
        # What a create answers with is what the next operations take.
        links = {"id": ("get_job", "job")}
        return [
            Endpoint(
                "GET",
                "/api/v1/jobs",
                self.search,
                "job:read",
                "List jobs.",
                query=JobsQuery,
                answers=JobPage,
                tag=TAG,
                operation="list_jobs",
            ),
            Endpoint(
                "POST",
                "/api/v1/jobs",
                self.create,
                "job:create",
                "Create a job.",
                body=JobSpec,
                answers=JobDocument,
                status=201,
                errors=(403, 409),
                idempotent_key=True,
                tag=TAG,
                operation="create_job",
                also=("job:process",),
                links=links,
            ),
            Endpoint(
                "GET",
                one,
                self.get,
                "job:read",
                "Read a job by id, name or unique beginning of its id.",
                answers=JobDocument,
                errors=(404,),
                tag=TAG,
                operation="get_job",
                links=links,
            ),
            Endpoint(
                "PUT",
                one,
                self.replace,
                "job:update",
                "Replace a job.",
                body=JobSpec,
                answers=JobDocument,
                errors=(403, 404, 409),
                idempotent_key=True,
                needs_if_match=True,
                tag=TAG,
                operation="replace_job",
                also=("job:process",),
            ),
            Endpoint(
                "PATCH",
                one,
                self.patch,
                "job:update",
                "Change some fields of a job (JSON merge patch).",
                body=JobPatch,
                answers=JobDocument,
                errors=(403, 404, 409),
                idempotent_key=True,
                needs_if_match=True,
                tag=TAG,
                operation="patch_job",
                also=("job:process",),
            ),
            Endpoint(
                "DELETE",
                one,
                self.delete,
                "job:delete",
                "Delete a job; its history stays.",
                answers=Deleted,
                errors=(404, 412),
                idempotent_key=True,
                tag=TAG,
                operation="delete_job",
            ),
        ]

    async def search(self, call: Call) -> Reply:
        query: JobsQuery = call.query
        page = await self._core.queries.jobs(
            call.namespace,
            enabled=query.enabled,
            text=query.text or "",
            tags=query.tags,
            cursor=query.cursor or "",
            limit=query.limit,
        )
        last = await self._core.last_runs.of(page.items)
        jobs = [show(self._core, job, last=last[job.id]) for job in page.items]
        return reply({"jobs": jobs, "next_cursor": page.cursor or None, "total": page.total})

    async def create(self, call: Call) -> Reply:
        spec = with_defaults(self._core, in_namespace(call.body, call.namespace), msgspec.json.decode(call.raw))
        await check_writer(self._core, call.principal, spec, Action.CREATE_JOB)
        changed = await self._core.jobs.create(spec, by=call.principal.id, idem=idem(call))
        return _changed(self._core, changed.job, status=201, headers={"Location": f"/api/v1/jobs/{changed.job.id}"})

    async def get(self, call: Call) -> Reply:
        job = await self._core.jobs.get(call.path["job"], namespace=call.namespace)
        last = await self._core.last_runs.of([job])
        return reply(show(self._core, job, last=last[job.id]), revision=job.revision)

    async def replace(self, call: Call) -> Reply:
        spec = with_defaults(self._core, in_namespace(call.body, call.namespace), msgspec.json.decode(call.raw))
        return await self._replace(call, spec)

    async def patch(self, call: Call) -> Reply:
        job = await self._core.jobs.get(call.path["job"], namespace=call.namespace)
        patch = msgspec.json.decode(call.raw)
        document = editable(job.spec)
        _make_room(document, patch)
        return await self._replace(call, convert(merge(document, patch), JobSpec))

    async def _replace(self, call: Call, spec: JobSpec) -> Reply:
        await check_writer(self._core, call.principal, spec, Action.UPDATE_JOB)
        changed = await self._core.jobs.replace(
            call.path["job"],
            spec,
            namespace=call.namespace,
            revision=revision_of(call),
            by=call.principal.id,
            idem=idem(call),
        )
        return _changed(self._core, changed.job, changed.already_sent)

    async def delete(self, call: Call) -> Reply:
        job = await self._core.jobs.get(call.path["job"], namespace=call.namespace)
        await self._core.admit(Action.DELETE_JOB, job.spec, call.principal)
        changed = await self._core.jobs.delete(
            call.path["job"],
            namespace=call.namespace,
            revision=revision_of(call),
            by=call.principal.id,
            idem=idem(call),
        )
        return reply(Deleted(id=changed.job.id, name=changed.job.name, already_sent=changed.already_sent))


def _changed(core: Core, job: Job, already_sent: list[str] | None = None, **more: Any) -> Reply:
    return reply(show(core, job, already_sent), revision=job.revision, **more)


def show(
    core: Core, job: Job, already_sent: list[str] | None = None, *, last: LastExecution | None = None
) -> msgspec.Raw:
    """Return a job's document, encoded. A job whose calendar cannot be used has no next runs."""
    try:
        plan = core.scheduler.plan_of(job)
    except Unprocessable:
        plan = None
    now_us = int(core.clock.time() * 1_000_000)
    now_s, well_us = now_us // 1_000_000, core.successes.last_us(job)
    known = shown_document(job, plan=plan, now_s=now_s, last=last, last_success_us=well_us)
    if known is not None and already_sent is None:
        return known
    success = core.successes.of(job, now_us)
    return job_document(job, plan=plan, now_s=now_s, last=last, success=success, already_sent=already_sent)


def in_namespace(spec: JobSpec, namespace: str) -> JobSpec:
    """Return the spec in the namespace the request names.

    Raises:
        JobInvalid: The body names another one.
    """
    if spec.namespace not in ("default", namespace):
        if namespace == "default":
            return spec
        raise JobInvalid(
            f"The request is for namespace `{namespace}`, and its body says `{spec.namespace}`.", field="namespace"
        )
    return spec if spec.namespace == namespace else msgspec.structs.replace(spec, namespace=namespace)


def with_defaults(core: Core, spec: JobSpec, said: dict[str, Any]) -> JobSpec:
    """Return the spec with the server's own defaults where its document, `said`, says nothing."""
    settings = core.settings
    changes: dict[str, Any] = {}
    policy = settings.scheduler.default_retry_policy
    if policy != _NO_POLICY:
        given = said.get("retry_policy") or {}
        changes["retry_policy"] = convert({**msgspec.to_builtins(policy), **given}, RetryPolicy)
    missed = settings.scheduler.missed_run_policy
    if missed is not spec.missed_run_policy and "missed_run_policy" not in said:
        changes["missed_run_policy"] = missed
    limit = settings.dispatcher.concurrency.per_job_limit
    if limit is not None and "max_concurrent" not in said:
        changes["max_concurrent"] = min(limit, spec.max_concurrent)
    return msgspec.structs.replace(spec, **changes) if changes else spec


def merge(document: Any, patch: Any) -> Any:
    """Return `document` with a JSON merge patch applied. Source: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _make_room(document: dict[str, Any], patch: dict[str, Any]) -> None:
    """A patch that gives the one spelling of a thing drops the other."""
    for one, other in (
        ("schedule", "schedules"),
        ("schedules", "schedule"),
        ("webhook", "target"),
        ("target", "webhook"),
    ):
        if patch.get(one) is not None and other not in patch:
            document.pop(other, None)
