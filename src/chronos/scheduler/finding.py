"""Which job somebody means."""

from __future__ import annotations

from typing import Protocol

from chronos.errors import JobInvalid, JobNotFound
from chronos.model.job import Job
from chronos.store.port import View
from chronos.store.tables import JOBS, NAMES

PREFIX_LENGTH_MIN = 4


class ByPrefix(Protocol):
    """The one read for it that is not by key."""

    async def jobs_by_prefix(self, prefix: str, namespace: str) -> list[Job]: ...


async def find_job(view: View, lookup: ByPrefix, ref: str, *, namespace: str) -> Job:
    """Return the job whose id or name is `ref`, or the only one whose id begins with it.

    Raises:
        JobNotFound: There is none.
        JobInvalid: Several ids begin with it; `facts["candidates"]` lists them.
    """
    job = view.get(JOBS, ref)
    if job is not None and job.namespace == namespace:
        return job
    named = view.get(NAMES, f"{namespace}/{ref}")
    # Of two look-ups in a file that another process writes, the second may find the job gone.
    if named is not None and (job := view.get(JOBS, named.job_id)) is not None:
        return job
    found = await lookup.jobs_by_prefix(ref, namespace) if len(ref) >= PREFIX_LENGTH_MIN else []
    if len(found) == 1:
        return found[0]
    if found:
        names = [f"{j.id} ({j.name})" for j in found[:10]]
        raise JobInvalid(f"{ref!r} could be any of {len(found)} jobs.", field="job", candidates=names)
    raise JobNotFound(f"Namespace {namespace!r} has no job {ref!r}.", job=ref)
