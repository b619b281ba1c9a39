"""The course of every execution, entry by entry, as the log's entries changed it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from chronos.model.execution import Attempt, Execution
from chronos.model.job import Job
from chronos.store.tables import JOBS, OPEN, SHARDS, Shard
from chronos.testing.simulation.brute import Span, spans_of
from chronos.testing.simulation.evidence import Entry, Evidence


@dataclass(frozen=True)
class Step:
    """An execution as one entry left it.

    Attributes:
        job: Its job's definition at that moment; None when the job was deleted.
    """

    entry: Entry
    execution: Execution
    job: Job | None


@dataclass(frozen=True)
class Grant:
    """The right to send, given: by entry `entry`, while `others` of the same job had theirs.

    Attributes:
        job: The definition at that moment. `first`: the one under which the execution got its slot; both may differ.
    """

    entry: Entry
    execution: Execution
    attempt: Attempt
    job: Job | None
    others: tuple[Execution, ...]
    first: Job | None


@dataclass
class Course:
    """Everything that became of executions, in the order of the log.

    Attributes:
        steps: By execution id.
        grants: By (execution id, series, attempt, token).
        firsts: By (execution id, series): the job when the first right to send was given.
        marks: (entry, shard) whenever planning moved.
        revised: By job id: (entry, revision, exists) whenever the job changed.
        spans: By job id: the stretches of its life, with what each of them owed.
    """

    steps: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    grants: dict[tuple[str, int, int, str], Grant] = field(default_factory=dict)
    firsts: dict[tuple[str, int], Job | None] = field(default_factory=dict)
    marks: list[tuple[Entry, Shard]] = field(default_factory=list)
    revised: dict[str, list[tuple[Entry, Job, bool]]] = field(default_factory=lambda: defaultdict(list))
    spans: dict[str, list[Span]] = field(default_factory=dict)

    @property
    def planned(self) -> int:
        """How many instants were owed by definitions that were not paused."""
        return sum(len(span.instants) for spans in self.spans.values() for span in spans if not span.is_paused)


def course_of(evidence: Evidence) -> Course:
    """Return the course of a run."""
    course = Course(spans={job_id: spans_of(evidence, job_id) for job_id in evidence.revisions})
    jobs: dict[str, Job] = {}
    running: dict[str, dict[str, Execution]] = defaultdict(dict)
    owners: dict[str, str] = {}  # the job of each execution that holds a right to send
    for entry in evidence.entries:
        for change in entry.changes:
            for (table, key), value in change.puts.items():
                if table == JOBS.name:
                    _note_job(course, jobs, entry, key, value)
                elif table == SHARDS.name and value is not None:
                    course.marks.append((entry, value))
            for (table, key), value in change.puts.items():
                if table == OPEN.name and value is not None:
                    _note_open(course, jobs, running, entry, value)
                    owners[key] = value.job_id
                elif table == OPEN.name and key in owners:
                    running[owners.pop(key)].pop(key, None)
            for execution in change.ended:
                course.steps[execution.id].append(Step(entry, execution, jobs.get(execution.job_id)))
    return course


def _note_job(course: Course, jobs: dict[str, Job], entry: Entry, key: str, job: Job | None) -> None:
    if job is not None:
        jobs[key] = job
        course.revised[key].append((entry, job, True))
    elif key in jobs:
        course.revised[key].append((entry, jobs.pop(key), False))


def _note_open(
    course: Course, jobs: dict[str, Job], running: dict[str, dict[str, Execution]], entry: Entry, execution: Execution
) -> None:
    job = jobs.get(execution.job_id)
    course.steps[execution.id].append(Step(entry, execution, job))
    attempt, held = execution.running_attempt, running[execution.job_id]
    if attempt is None:
        held.pop(execution.id, None)
        return
    key = (execution.id, execution.series, attempt.n, attempt.token)
    if key not in course.grants:
        others = tuple(other for other in held.values() if other.id != execution.id)
        first = course.firsts.setdefault((execution.id, execution.series), job)
        course.grants[key] = Grant(entry, execution, attempt, job, others, first)
    held[execution.id] = execution
