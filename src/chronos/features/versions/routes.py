"""The routes under `/api/v1/jobs/{job}/versions`, and rollback."""

from __future__ import annotations

from chronos.features.versions.model import Diff, DiffFormat, DiffQuery, ListQuery, RolledBack, Version, VersionPage
from chronos.features.versions.service import Versions
from chronos.plugin import Call, Endpoint, Reply

_JOB = "/api/v1/jobs/{job}"
_TAG = "versions"


def endpoints(versions: Versions) -> list[Endpoint]:
    """Return the feature's routes."""

    async def list_versions(call: Call) -> Reply:
        query: ListQuery = call.query
        page = await versions.page(call.path["job"], call.namespace, limit=query.limit, cursor=query.cursor)
        return Reply(page)

    async def get_version(call: Call) -> Reply:
        return Reply(await versions.one(call.path["job"], call.namespace, call.path["version"]))

    async def diff_versions(call: Call) -> Reply:
        query: DiffQuery = call.query
        diff = await versions.diff(call.path["job"], call.namespace, query.from_version, query.to_version)
        if query.format is DiffFormat.TEXT:
            return Reply(text=diff.text.encode(), content_type="text/plain; charset=utf-8")
        return Reply(diff)

    async def roll_back_job(call: Call) -> Reply:
        done = await versions.roll_back(
            call.path["job"],
            call.namespace,
            call.path["version"],
            by=call.principal.id,
            if_match=call.if_match,
        )
        return Reply(done, headers={"ETag": f'"{done.new_version}"'})

    return [
        Endpoint(
            "GET",
            f"{_JOB}/versions",
            list_versions,
            permission="job:read",
            summary="The versions of a job, newest first.",
            query=ListQuery,
            answers=VersionPage,
            errors=(404,),
            tag=_TAG,
            operation="list_versions",
        ),
        Endpoint(
            "GET",
            f"{_JOB}/versions/diff",
            diff_versions,
            permission="job:read",
            summary="What changed between two versions of a job, field by field.",
            query=DiffQuery,
            answers=Diff,
            errors=(404,),
            tag=_TAG,
            operation="diff_versions",
        ),
        Endpoint(
            "GET",
            f"{_JOB}/versions/{{version}}",
            get_version,
            permission="job:read",
            summary="A job as it was at one version; credentials are starred.",
            answers=Version,
            errors=(404,),
            tag=_TAG,
            operation="get_version",
        ),
        Endpoint(
            "POST",
            f"{_JOB}/rollback/{{version}}",
            roll_back_job,
            permission="job:update",
            summary="Write an old version's content as a new version. Whether the job is paused stays as it is.",
            answers=RolledBack,
            errors=(404, 409, 412, 422),
            idempotent_key=True,
            tag=_TAG,
            operation="roll_back_job",
        ),
    ]
