"""The newest run of each of some jobs: asked for together, what lies in memory is gone through once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from chronos.model.execution import Execution, Status
from chronos.store.records import AFTER_ALL, MemorySource, Record, RecordFilter, Source, merged

RAN = tuple(status for status in Status if status is not Status.SKIPPED)


def newest_runs(
    jobs: Mapping[str, str], memory: Sequence[Iterable[Record]], segments: Callable[[RecordFilter], Sequence[Source]]
) -> dict[str, Execution]:
    """Return the latest due run of each job that was not skipped, by the job's id; jobs without any are left out.

    Args:
        jobs: Their namespaces, by id.
        memory: What is in no segment yet; of two versions of a run, the earlier one's counts.
        segments: The segments in which something that matches may be, newest first.
    """
    held: list[dict[str, list[Record]]] = []
    for records in memory:
        by_job: dict[str, list[Record]] = {job_id: [] for job_id in jobs}
        for record in records:
            if (own := by_job.get(record.job_id)) is not None:
                own.append(record)
        held.append(by_job)
    found: dict[str, Execution] = {}
    for job_id, namespace in jobs.items():
        wanted = RecordFilter(namespace=namespace, job_id=job_id, statuses=RAN)
        sources = [*(MemorySource(by_job[job_id]) for by_job in held), *segments(wanted)]
        for record in merged(sources, wanted, AFTER_ALL, 1):
            if isinstance(record, Execution):
                found[job_id] = record
    return found
