"""What clients were told holds: I11, I12."""

from __future__ import annotations

from collections import defaultdict

from chronos.model.execution import Attempt, AttemptStatus, Kind
from chronos.model.job import Job
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Arrival, Evidence, Operation, Violation

_WRITES = frozenset({"create", "edit", "pause", "resume"})
_BY_NAME = frozenset({"get", "edit", "pause", "resume", "delete", "trigger", "backfill"})
FOREVER = float("inf")
FLUSHED_S = 15.0
"""Longer than a change takes into the files that are searched, on the slowest disk there is."""


class _Reign(tuple[float, float, Job]):
    """(from, until, the job): when a revision was the current one. The log's order is the witness."""

    __slots__ = ()


def _reigns(course: Course) -> dict[str, list[_Reign]]:
    """Return by name when each revision of each job held, by the world's time."""
    found: dict[str, list[_Reign]] = defaultdict(list)
    for changes in course.revised.values():
        for place, (entry, job, exists) in enumerate(changes):
            if exists:
                until = changes[place + 1][0].at if place + 1 < len(changes) else FOREVER
                found[job.name].append(_Reign((entry.at, until, job)))
    return found


def _reigns_in_lists(evidence: Evidence, course: Course) -> dict[str, list[_Reign]]:
    """Return when each revision may have been in lists: they read files, and those hold a write once it is answered."""
    answered = {(o.job_id, o.job.revision): o.ended for o in evidence.operations if o.answer == "ok" and o.job}
    found: dict[str, list[_Reign]] = defaultdict(list)
    for name, reigns in _reigns(course).items():
        for begins, until, job in reigns:
            followed = answered.get((job.id, job.revision + 1), until + FLUSHED_S)
            found[name].append(_Reign((begins, max(until, followed) if until != FOREVER else until, job)))
    return found


def accepted_writes_can_be_read(evidence: Evidence, course: Course) -> list[Violation]:
    """I11: every answer fits one order of all writes: the one in the log, each inside its request's time."""
    found: list[Violation] = []
    reigns, listed = _reigns(course), _reigns_in_lists(evidence, course)
    for operation in evidence.operations:
        if operation.kind == "list":
            what = _wrong_list(operation, reigns, listed) if operation.answer == "ok" else ""
        else:
            what = _wrong_answer(operation, reigns)
        if what:
            name = f"client {operation.client}: {operation.kind} {operation.name}"
            found.append(Violation("I11", f"{name}: {what}", operation.began))
    return found


def _wrong_answer(operation: Operation, reigns: dict[str, list[_Reign]]) -> str:
    """Return what is wrong with an answer; empty when it is right, or when there was none."""
    if not operation.answer:
        return ""
    during = [r for r in reigns[operation.name] if r[0] <= operation.ended and r[1] >= operation.began]
    if operation.answer == "ok" and operation.job is not None and operation.kind == "delete":
        gone = any(r[2].id == operation.job_id and operation.began <= r[1] <= operation.ended for r in during)
        return "" if gone else "was acknowledged, and is not in the log"
    if operation.answer == "ok" and operation.job is not None:
        return _wrong_job(operation, operation.job, during)
    if operation.answer == "job-not-found" and operation.kind in _BY_NAME:
        return "" if _is_interrupted(operation, during) else "was not found, and was there all the time"
    if operation.answer == "version-conflict" and operation.revision is not None:
        same = all(r[2].revision == operation.revision for r in during) and not _is_interrupted(operation, during)
        return "was refused for its version, and had it all the time" if same else ""
    return ""


def _wrong_job(operation: Operation, job: Job, during: list[_Reign]) -> str:
    reign = next((r for r in during if (r[2].id, r[2].revision) == (job.id, job.revision)), None)
    if reign is None:
        return f"answered version {job.revision}, which was not there then"
    if reign[2] != job:
        return f"answered a version {job.revision} that is not the one in the log"
    if operation.kind not in _WRITES:
        return ""
    if reign[0] < operation.began and operation.kind in ("create", "edit"):
        return f"was acknowledged with version {job.revision}, which is older than the request"
    if operation.revision is not None and job.revision not in (operation.revision, operation.revision + 1):
        return f"asked for version {operation.revision} and made version {job.revision}"
    return ""


def _is_interrupted(operation: Operation, during: list[_Reign]) -> bool:
    """Whether there was a moment in the request's time at which the name was nobody's."""
    at = operation.began
    for begins, ends, _ in sorted(during, key=lambda reign: reign[0]):
        if begins > at:
            return True
        at = max(at, ends)
    return at <= operation.ended


def _wrong_list(operation: Operation, reigns: dict[str, list[_Reign]], listed: dict[str, list[_Reign]]) -> str:
    seen: dict[str, tuple[str, int]] = operation.facts["names"]
    for name, reign in listed.items():
        during = [r for r in reign if r[0] <= operation.ended and r[1] >= operation.began]
        if name in seen and not any((r[2].id, r[2].revision) == seen[name] for r in during):
            return f"showed {name} as {seen[name]}, which it was not then"
    for name, reign in reigns.items():
        there = (r[0] <= operation.began - FLUSHED_S and r[1] > operation.ended for r in reign)
        if name not in seen and any(there):
            return f"did not show {name}, which was there all the time"
    return ""


def results_that_were_taken_count(evidence: Evidence, course: Course) -> list[Violation]:
    """I11: a result that a target was told to be taken is what its attempt came to, and stays so."""
    found: list[Violation] = []
    for word in evidence.words:
        if word.answer == "ok" and word.result:
            attempts = [
                attempt
                for step in course.steps.get(word.execution_id, ())
                for attempt in step.execution.attempts
                if attempt.n == word.attempt
            ]
            if not attempts or not _says(attempts[-1], word.result):
                came_to = attempts[-1].status.value if attempts else "nothing"
                what = f"{word.execution_id}: attempt {word.attempt} came to {came_to}, and its target was told that "
                found.append(Violation("I11", f"{what}its {word.result} was taken", word.ended))
    return found


def _says(attempt: Attempt, result: str) -> bool:
    if result == "success":
        return attempt.status is AttemptStatus.SUCCESS
    return attempt.status is AttemptStatus.FAILED and attempt.error_class == "reported"


def nothing_leaves_after_a_pause_or_deletion(evidence: Evidence, course: Course) -> list[Violation]:
    """I12: after the answer no first byte of the job arrives, except of what was sent already."""
    found: list[Violation] = []
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        arrivals[arrival.job_id].append(arrival)
    for operation in evidence.operations:
        if operation.answer != "ok" or operation.kind not in ("pause", "delete") or operation.job is None:
            continue
        until = _held_until(operation, course)
        for arrival in arrivals[operation.job_id]:
            late = operation.ended < arrival.at < until and arrival.execution_id not in operation.already_sent
            if late and (operation.kind == "delete" or _is_planned(arrival, course)):
                what = f"{arrival.job_name} {arrival.execution_id} arrived {arrival.at - operation.ended:.3f} s after"
                found.append(Violation("I12", f"{what} the {operation.kind} was acknowledged", arrival.at))
    return found


def _held_until(operation: Operation, course: Course) -> float:
    """Return when the pause ended; a deletion never does."""
    if operation.kind == "delete":
        return FOREVER
    assert operation.job is not None
    changes = course.revised[operation.job_id]
    later = [entry.at for entry, job, exists in changes if job.revision > operation.job.revision and exists]
    return min(later, default=FOREVER)


def _is_planned(arrival: Arrival, course: Course) -> bool:
    steps = course.steps.get(arrival.execution_id, [])
    return bool(steps) and steps[0].execution.kind is Kind.SCHEDULE and arrival.series == 0
