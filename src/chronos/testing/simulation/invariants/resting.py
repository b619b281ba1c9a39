"""Nothing piles up, stops are gentle, and in the end everything comes to rest: I15, I23, I24."""

from __future__ import annotations

from collections import defaultdict

from chronos.model.execution import Execution
from chronos.testing.simulation.brute import instants
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Evidence, Sample, Violation

WAITING_MAX = 2_000
HELD_MAX = 2_000
DRAIN_S = 5.0
STUCK_S = 30.0
"""Longer than any timeout, backoff, nap and sweep of the load together."""

LATE_S = 2.5
RESUMED_S = 10.0
AGREES_S = 2.5
"""A clock that was held and set right is believed again within this."""


def queues_are_bounded(evidence: Evidence, course: Course) -> list[Violation]:
    """I15: neither commands nor attempts pile up."""
    found = []
    for sample in evidence.samples:
        if sample.waiting_commands > WAITING_MAX or sample.held > HELD_MAX:
            what = f"{sample.waiting_commands} commands and {sample.held} attempts wait"
            found.append(Violation("I15", what, sample.at))
    return found[:1]


def stops_lose_nothing(evidence: Evidence, course: Course) -> list[Violation]:
    """I23: a node that is asked to stop lets what runs end, for as long as it was told to."""
    found: list[Violation] = []
    for life in evidence.lives:
        if life.asked < 0 or life.ended_by != "stop":
            continue
        if life.exit_code != 0:
            found.append(Violation("I23", f"life {life.number} was asked to stop and ended with {life.exit_code}"))
        for arrival in evidence.arrivals:
            cut = (
                arrival.sender == (life.node, life.number) and arrival.answer == "cut" and arrival.closed >= life.asked
            )
            # Somebody may have asked for it to be cancelled, while the node drained.
            wanted = any(step.execution.cancel_requested for step in course.steps.get(arrival.execution_id, ()))
            if cut and not wanted and arrival.closed < life.asked + DRAIN_S and _would_have_run(arrival.at, life.asked):
                what = f"{arrival.execution_id} was cut {arrival.closed - life.asked:.3f} s into a stop"
                found.append(Violation("I23", what, arrival.closed))
    return found


def _would_have_run(at: float, asked: float) -> bool:
    # What its own timeout ends during the drain is not the drain's doing; timeouts end within 8 s of the arrival.
    return at > asked - 0.5


def everything_comes_to_rest(evidence: Evidence, course: Course) -> list[Violation]:
    """I24: when nothing goes wrong any more, planning is up to date and nobody waits for nothing."""
    if not evidence.samples:
        return [Violation("I24", "no node was ever seen alive")]
    found: list[Violation] = []
    last = evidence.samples[-1]
    owed_s = _first_owed(course, last.hwm_s, int(last.clock - LATE_S))
    if owed_s is not None:
        found.append(Violation("I24", f"planning is {last.clock - owed_s:.1f} s behind at the end", last.at))
    if abs(last.wall - last.clock) > AGREES_S:
        found.append(Violation("I24", f"the clock is believed {last.wall - last.clock:.1f} s late at the end", last.at))
    if course.marks and course.marks[-1][1].catchup_to_s:
        found.append(Violation("I24", "an outage is still being made up for at the end", last.at))
    found += _paused_too_long(course, last)
    by_job: dict[str, list[Execution]] = defaultdict(list)
    for execution in evidence.open_at_end:
        by_job[execution.job_id].append(execution)
    for job_id, executions in by_job.items():
        changes = course.revised.get(job_id)
        if not changes or changes[-1][1].paused is None:  # what a pause holds may wait for its end
            found += _stuck(executions, last, _ended_while_stopping(evidence, executions))
    return found


def _ended_while_stopping(evidence: Evidence, executions: list[Execution]) -> bool:
    """Whether a run of the job came to its end when the node had been asked to stop: then nobody follows any more."""
    asked = evidence.lives[-1].asked if evidence.lives else -1.0
    of_job = {execution.job_id for execution in executions}
    return asked >= 0 and any(a.closed >= asked and a.job_id in of_job for a in evidence.arrivals)


def _paused_too_long(course: Course, last: Sample) -> list[Violation]:
    """Return the jobs whose pause was to be over by now."""
    found: list[Violation] = []
    for changes in course.revised.values():
        _, job, exists = changes[-1]
        until = job.paused.until if job.paused is not None and exists else None
        if until is not None and until.timestamp() < last.clock - RESUMED_S:
            late_s = last.clock - until.timestamp()
            found.append(Violation("I24", f"{job.name} is still paused {late_s:.0f} s after its pause", last.at))
    return found


def _first_owed(course: Course, after_s: int, to_s: int) -> int | None:
    """Return the first instant in (`after_s`, `to_s`] that some job owes; the mark moves only for those."""
    lasting = (spans[-1] for spans in course.spans.values() if spans and spans[-1].is_last)
    firsts = (next(instants(span.job, after_s, to_s), None) for span in lasting if not span.is_paused)
    return min((first for first in firsts if first is not None), default=None)


def _stuck(executions: list[Execution], last: Sample, has_just_run: bool) -> list[Violation]:
    """Return those that wait although nothing of their job runs, or that run for longer than anything may."""
    found: list[Violation] = []
    now_us, at = last.clock * 1e6, last.at
    name = executions[0].job_name
    running = [execution for execution in executions if execution.running_attempt is not None]
    for execution in running:
        attempt = execution.running_attempt
        assert attempt is not None
        if attempt.not_before_us < now_us - STUCK_S * 1e6:
            found.append(Violation("I24", f"{name} {execution.id} has run for too long", at))
    if not running and not has_just_run:
        ready = [max(execution.effective_us, execution.retry_at_us) for execution in executions]
        if max(ready) < now_us - STUCK_S * 1e6:
            waiting = [(execution.id, execution.status.value, execution.reason) for execution in executions]
            found.append(Violation("I24", f"{name}: nothing runs, and {waiting[:3]} wait", at))
    return found
