"""The newest run of each of some jobs: asked for together, memory and each file are gone through once for all of them.

A thread that searches beside a busy event loop waits for the interpreter behind each row that SQLite gives it, so what
many jobs have in common must not be asked job by job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from chronos.model.execution import Execution, Status
from chronos.store.records import (
    AFTER_ALL,
    MemorySource,
    Record,
    RecordFilter,
    Row,
    Source,
    current,
    merged,
    newest_first,
    record_in,
    row_of,
)
from chronos.store.segment import SegmentSource

RAN = tuple(status for status in Status if status is not Status.SKIPPED)
_ANY_RUN = RecordFilter(statuses=RAN)


def newest_runs(
    jobs: Mapping[str, str], memory: Sequence[Iterable[Record]], segments: Sequence[SegmentSource]
) -> dict[str, Execution]:
    """Return the latest due run of each job that was not skipped, by the job's id; jobs without any are left out.

    Args:
        jobs: Their namespaces, by id.
        memory: What is in no segment yet; of two versions of a run, the earlier one's counts.
        segments: All there are, newest first.
    """
    held = _held(jobs, memory)
    sources: list[Source] = [MemorySource(execution for versions in held.values() for execution in versions), *segments]
    best = _best(held, segments)
    known = {row.key for row in current(sources, _ANY_RUN, list(best.values()))}
    found: dict[str, Execution] = {}
    for job_id, (_, row) in best.items():
        # What was decided, and then did not run, is kept out: the one before it counts.
        run = record_in(row) if row.key in known else _searched(job_id, held[job_id], segments)
        if isinstance(run, Execution) and run.namespace == jobs[job_id]:
            found[job_id] = run
    return found


def _held(jobs: Iterable[str], memory: Sequence[Iterable[Record]]) -> dict[str, list[Execution]]:
    """Return the versions that are in memory, by job."""
    held: dict[str, dict[tuple[str, int], Execution]] = {job_id: {} for job_id in jobs}
    for records in memory:
        for record in records:
            if (versions := held.get(record.job_id)) is not None and isinstance(record, Execution):
                versions.setdefault((record.id, record.series), record)
    return {job_id: list(versions.values()) for job_id, versions in held.items()}


def _best(held: Mapping[str, list[Execution]], segments: Sequence[SegmentSource]) -> dict[str, tuple[int, Row]]:
    """Return each job's highest row of a run, and the place of its source: memory, then the segments."""
    best: dict[str, tuple[int, Row]] = {}
    for job_id, versions in held.items():
        if ran := [row_of(execution) for execution in versions if execution.status is not Status.SKIPPED]:
            best[job_id] = (0, max(ran, key=newest_first))
    for place, segment in sorted(enumerate(segments, 1), key=lambda placed: -placed[1].last_s):
        # Of a job that has a later one already, nothing that lies there can be the newest.
        asked = [job_id for job_id in held if job_id not in best or best[job_id][1].instant_s <= segment.last_s]
        for job_id, row in segment.newest_runs(asked).items():
            if job_id not in best or newest_first(best[job_id][1]) < newest_first(row):
                best[job_id] = (place, row)
    return best


def _searched(job_id: str, versions: Sequence[Execution], segments: Sequence[SegmentSource]) -> Record | None:
    wanted = replace(_ANY_RUN, job_id=job_id)
    found = merged([MemorySource(versions), *segments], wanted, AFTER_ALL, 1)
    return found[0] if found else None
