"""What is right to do with work that a target has taken on: by its own log, and by what it was promised."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from enum import StrEnum

from chronos.model.execution import Attempt, AttemptStatus, Execution
from chronos.model.job import Job
from chronos.model.target import HttpTarget
from chronos.store.tables import OPEN
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Arrival, Evidence, Word
from chronos.timing.duration import parse_duration

SLACK_S = 0.1


class Turn(StrEnum):
    """What can happen around work that a target has taken on."""

    PROGRESS = "progress"
    SUCCESS = "success"
    FAILURE = "failure"
    SILENCE = "silence"  # nothing was heard of it for too long
    DEADLINE = "deadline"  # it took too long
    BEFORE_THE_ANSWER = "before_the_answer"  # something was heard before 202 was
    IN_ANOTHER_LIFE = "in_another_life"  # a result was heard by a process that had not sent the request
    TOLD_TO_STOP = "told_to_stop"
    TOO_LATE = "too_late"  # a result of an attempt that was over
    TWICE = "twice"  # a result that had been taken already


_CLOCK = frozenset({"clock_back", "clock_ahead", "clock_far", "suspend", "clock_step"})


class LongWork:
    """Knows why work that was taken on may be asked for again: it failed, or was silent, or took too long."""

    def __init__(self, evidence: Evidence, course: Course) -> None:
        self._evidence = evidence
        self._course = course
        self._jobs = {(job.id, job.revision): job for jobs in evidence.revisions.values() for job in jobs}
        self._words: dict[tuple[str, int], list[Word]] = defaultdict(list)
        for word in evidence.words:
            self._words[word.execution_id, word.attempt].append(word)

    def may_come_again(self, before: Arrival, after: Arrival) -> bool:
        """Whether the target, which had answered `before` with 202, was asked again as it had to be."""
        if before.answer != "202" or after.attempt <= before.attempt:
            return False
        words = self._words[before.execution_id, before.attempt]
        if any(word.result == "failure" and word.answer in ("ok", "") for word in words):
            return True
        target = self._target(before)
        if target is None or self._evidence.was_in_trouble(_CLOCK, before.at, after.at):
            return target is not None
        heard = max([before.closed, *(word.at for word in words if word.answer == "ok" and word.at < after.at)])
        silent_s = parse_duration(target.heartbeat) / 1e6 if target.heartbeat else float("inf")
        assert target.deadline is not None, "the load gives one to each"
        lasts_s = parse_duration(target.deadline) / 1e6
        return after.at - heard >= silent_s - SLACK_S or after.at - before.at >= lasts_s - SLACK_S

    def _target(self, arrival: Arrival) -> HttpTarget | None:
        steps = self._course.steps.get(arrival.execution_id)
        job: Job | None = self._jobs.get((arrival.job_id, steps[0].execution.revision)) if steps else None
        target = job.target if job is not None else None
        return target if isinstance(target, HttpTarget) else None


def turns_of(evidence: Evidence) -> Counter[str]:
    """Return how often each of them happened."""
    found: Counter[str] = Counter()
    senders = {(a.execution_id, a.attempt): a.life for a in (*evidence.undone, *evidence.arrivals)}
    taken: set[tuple[str, int]] = set()
    for word in evidence.words:
        key = (word.execution_id, word.attempt)
        found[Turn.TOLD_TO_STOP] += word.cancelled
        if not word.result:
            found[Turn.PROGRESS] += word.answer == "ok"
        elif word.answer == "ok":
            found[Turn(word.result)] += 1
            found[Turn.TWICE] += key in taken
            found[Turn.IN_ANOTHER_LIFE] += senders.get(key) != word.life
            taken.add(key)
        elif word.answer == "attempt-ended":
            found[Turn.TOO_LATE] += 1
    ends = {
        (e.id, attempt.n): turn for e in _executions(evidence) for attempt in e.attempts if (turn := _end_of(attempt))
    }
    found.update(ends.values())
    return +found


def _executions(evidence: Evidence) -> Iterator[Execution]:
    for entry in evidence.entries:
        for change in entry.changes:
            yield from (value for (table, _), value in change.puts.items() if table == OPEN.name and value is not None)
            yield from change.ended


def _end_of(attempt: Attempt) -> Turn | None:
    if attempt.ongoing is None:
        return None
    if attempt.status is AttemptStatus.UNKNOWN and attempt.is_accepted:
        return Turn.SILENCE
    if attempt.error_class == Turn.DEADLINE:
        return Turn.DEADLINE
    return None if attempt.is_accepted else Turn.BEFORE_THE_ANSWER
