"""The routes under `/api/v1/jobs/{job}/versions`, and rollback."""

from __future__ import annotations

from chronos.features.versions.model import Diff, DiffFormat, DiffQuery, ListQuery, RolledBack, Version, VersionPage
from chronos.features.versions.service import Versions
from chronos.plugin import Call, Endpoint, Reply

_JOB = "/api/v1/jobs/{job}"
_TAG = "versions"


class Desk:
    """Answers for the feature."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def page(self, call: Call) -> Reply:
        query: ListQuery = call.query
        page = await self._versions.page(call.path["job"], call.namespace, limit=query.limit, cursor=query.cursor)
        return Reply(page)

    async def get(self, call: Call) -> Reply:
        return Reply(await self._versions.one(call.path["job"], call.namespace, call.path["version"]))

    async def diff(self, call: Call) -> Reply:
        query: DiffQuery = call.query
        diff = await self._versions.diff(call.path["job"], call.namespace, query.from_version, query.to_version)
        if query.format is DiffFormat.TEXT:
            return Reply(text=diff.text.encode(), content_type="text/plain; charset=utf-8")
        return Reply(diff)

    async def roll_back(self, call: Call) -> Reply:
        done = await self._versions.roll_back(
            call.path["job"], call.namespace, call.path["version"], by=call.principal.id, if_match=call.if_match
        )
        return Reply(done, headers={"ETag": f'"{done.new_version}"'})


def endpoints(desk: Desk) -> list[Endpoint]:
    """Return the feature's routes."""
    return [
        Endpoint(
            "GET",
            f"{_JOB}/versions",
            desk.page,
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
            desk.diff,
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
            desk.get,
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
            desk.roll_back,
            permission="job:update",
            summary="Write an old version's content as a new version. Whether the job is paused stays as it is.",
            answers=RolledBack,
            errors=(404, 409, 412, 422),
            idempotent_key=True,
            tag=_TAG,
            operation="roll_back_job",
        ),
    ]
