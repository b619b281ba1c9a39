"""The store's questions in the shape in which the job service asks them."""

from __future__ import annotations

from collections.abc import Iterator

from chronos.model.execution import Execution, RangeRecord
from chronos.model.job import Job
from chronos.store.queries import LIMIT_MAX, Queries

REVISIONS_MAX = 10_000


class JobLookup:
    """Implements `scheduler.jobs.Lookup` over `store.queries.Queries`."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def all_jobs(self) -> Iterator[Job]:
        return self._queries.all_jobs()

    def jobs_with(self, trait: str) -> Iterator[Job]:
        return self._queries.jobs_with(trait)

    async def jobs_by_prefix(self, prefix: str, namespace: str) -> list[Job]:
        return self._queries.jobs_by_prefix(prefix, namespace, limit=10)

    async def execution(self, execution_id: str) -> Execution | RangeRecord | None:
        return await self._queries.execution(execution_id)

    async def revisions(self, job_id: str) -> list[tuple[Job, str]]:
        """Return (job, comment) of every revision, the newest first, at most 10,000."""
        found: list[tuple[Job, str]] = []
        cursor = ""
        while len(found) < REVISIONS_MAX:
            page = self._queries.revisions(job_id, cursor=cursor, limit=LIMIT_MAX)
            found += [(revision.job, revision.comment) for revision in page.items]
            cursor = page.cursor
            if not cursor:
                break
        return found
