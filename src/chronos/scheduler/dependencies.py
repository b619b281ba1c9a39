"""A job must not, over any number of others, depend on itself: it would run for ever."""

from __future__ import annotations

from collections.abc import Callable

from chronos.errors import JobInvalid
from chronos.model.job import Job, JobSpec

JOBS_WALKED_MAX = 10_000


def check_acyclic(spec: JobSpec, own: set[str], find: Callable[[str], Job | None]) -> None:
    """Raise JobInvalid, naming the circle, when `spec` depends on itself.

    Args:
        own: The names and the id under which others may refer to the job itself.
        find: Returns the job of the namespace with this id or name, or None.
    """
    if spec.dependencies is None:
        return
    seen: set[str] = set()
    stack = [(ref, [spec.name]) for ref in spec.dependencies.depends_on]
    while stack:
        ref, path = stack.pop()
        if ref in own:
            circle = " → ".join([*path, spec.name])
            raise JobInvalid(f"The job would depend on itself: {circle}.", field="dependencies.depends_on")
        job = find(ref)
        if job is None or job.id in seen or job.spec.dependencies is None:
            continue
        seen.add(job.id)
        if len(seen) > JOBS_WALKED_MAX:
            raise JobInvalid("The chain of dependencies is too long.", field="dependencies.depends_on")
        stack += [(parent, [*path, job.name]) for parent in job.spec.dependencies.depends_on]
