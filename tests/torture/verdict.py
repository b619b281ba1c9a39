"""What must be so after any number of kills, from the target's log, the disks of the dead and the API's history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from tests.torture.load import HEARTBEAT_S, group_of
from tests.torture.witness import ACCEPTED, OK, Arrival, Left, Sent, Witness, seconds

from chronos.model.execution import TERMINAL, Execution, RangeRecord, Status

UNKNOWNS_MAX = 5
ATTEMPT_ENDED = 409

SLACK_S = 0.25
"""How much later the target may notice that a connection is closed than that the next one is open."""


class Evidence(NamedTuple):
    """All there is to judge by.

    Attributes:
        lives: What each server left behind when it died.
        executions: All that have ended or not, from the disk of the last server.
        ranges: The skipped instants that are kept as ranges.
        told: Some of the executions as the API told them.
        window: First and last instant to judge, seconds since the epoch, both included.
        lost: Attempts that died with a worker process, while the server lived.
    """

    witness: Witness
    lives: list[Left]
    executions: list[Execution]
    ranges: list[RangeRecord]
    told: list[dict[str, Any]]
    window: tuple[int, int]
    lost: frozenset[Sent] = frozenset()

    @property
    def in_flight(self) -> set[Sent]:
        return {sent for left in self.lives for sent in left.in_flight} | self.lost


def violations(evidence: Evidence) -> list[str]:
    """Return what is wrong; nothing, if all is well."""
    checks = (
        sent_after_its_outcome_was_recorded,
        repeated_without_cause,
        reported_and_forgotten,
        attempts_with_gaps,
        instants_without_one_record,
        due_and_never_sent,
        history_and_target_disagree,
        api_and_disk_disagree,
        overlapping_runs,
    )
    return [f"{check.__name__.replace('_', ' ')}: {found}" for check in checks for found in check(evidence)]


def sent_after_its_outcome_was_recorded(evidence: Evidence) -> Iterator[str]:
    """An execution with a recorded outcome has no attempt beyond the one that the record has."""
    last: dict[str, int] = Counter()
    for arrival in evidence.witness.arrivals:
        last[arrival.id] = max(last[arrival.id], arrival.attempt)
    for number, left in enumerate(evidence.lives):
        for key, (attempts, status) in left.ended.items():
            if last.get(key, 0) > attempts:
                yield f"{key} had ended ({status}) at kill {number} ({left.how}), and attempt {last[key]} came"


def repeated_without_cause(evidence: Evidence) -> Iterator[str]:
    """An attempt follows another because that one was refused, or was in flight at a kill; none comes twice."""
    yield from (f"{key} attempt {attempt} came twice" for key, attempt in evidence.witness.repeated)
    in_flight = evidence.in_flight
    for key, arrivals in by_id(evidence.witness.arrivals).items():
        for before, after in pairwise(arrivals):
            if after.attempt <= before.attempt:
                yield f"{key}: attempt {after.attempt} came after attempt {before.attempt}"
            if (key, before.attempt) not in in_flight and not _has_failed(before, after):
                yield f"{key}: attempt {before.attempt} came to {before.outcome}, and attempt {after.attempt} came"
            for missing in range(before.attempt + 1, after.attempt):
                if (key, missing) not in in_flight:
                    yield f"{key}: attempt {missing} never came, and was not in flight at a kill"


def _has_failed(arrival: Arrival, after: Arrival) -> bool:
    """Whether the target has refused it, has reported its failure, or was silent long enough to be given up."""
    if arrival.status != ACCEPTED or arrival.taken == OK:
        return arrival.outcome not in {0, OK}
    return (arrival.taken_at or after.at) - arrival.until >= HEARTBEAT_S - SLACK_S


def reported_and_forgotten(evidence: Evidence) -> Iterator[str]:
    """A success that a server has taken is the execution's; a report is refused only when its attempt was over."""
    ended = {execution.id: execution for execution in evidence.executions}
    in_flight = evidence.in_flight
    for arrival in evidence.witness.arrivals:
        sent, execution = (arrival.id, arrival.attempt), ended.get(arrival.id)
        if arrival.outcome == OK and arrival.status == ACCEPTED:
            if execution is None or (execution.status, len(execution.attempts)) != (Status.SUCCESS, arrival.attempt):
                yield f"{sent} of {arrival.job} was reported a success, and is {execution and execution.status}"
        elif arrival.taken not in {0, OK, ATTEMPT_ENDED}:
            yield f"a report on {sent} of {arrival.job} was answered {arrival.taken}"
        elif arrival.taken == ATTEMPT_ENDED and sent not in in_flight and not _has_failed(arrival, arrival):
            yield f"a report on {sent} of {arrival.job} was refused, and nothing had ended that attempt"


def survivors(evidence: Evidence) -> int:
    """Return how many attempts went on while the server was dead, and were then reported a success."""
    accepted = {sent for left in evidence.lives for sent in left.accepted}
    return sum(evidence.witness.by_sent[sent].outcome == OK for sent in accepted if sent in evidence.witness.by_sent)


def attempts_with_gaps(evidence: Evidence) -> Iterator[str]:
    """Attempts are numbered through, and what was in flight at a kill is one of them."""
    attempts = {each.id: [attempt.n for attempt in each.attempts] for each in evidence.executions}
    for key, numbers in attempts.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{key} has the attempts {numbers}"
    for key, attempt in evidence.in_flight:
        if attempt not in attempts.get(key, []):
            yield f"{key}: attempt {attempt} was in flight, and history has {attempts.get(key)}"


def instants_without_one_record(evidence: Evidence) -> Iterator[str]:
    """Every instant of every job lies in one record or one range, and in one only."""
    first, last = evidence.window
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for execution in evidence.executions:
        found[execution.job_name][execution.scheduled_s] += 1
    for skipped in evidence.ranges:
        found[skipped.job_name].update(range(skipped.first_s, skipped.first_s + skipped.count))
    for job, instants in found.items():
        for instant in range(first, last + 1):
            if instants[instant] != 1:
                yield f"{job} has {instants[instant]} records of {instant}"


def due_and_never_sent(evidence: Evidence) -> Iterator[str]:
    """Of jobs that run at every instant, every instant has arrived, under one id."""
    first, last = evidence.window
    ids: dict[tuple[str, int], set[str]] = defaultdict(set)
    for arrival in evidence.witness.arrivals:
        ids[arrival.job, seconds(arrival.due)].add(arrival.id)
    for (job, instant), found in ids.items():
        if len(found) > 1:
            yield f"{job} at {instant} came under {len(found)} ids"
    for job in {execution.job_name for execution in evidence.executions}:
        if group_of(job).every_instant:
            missing = [instant for instant in range(first, last + 1) if (job, instant) not in ids]
            if missing:
                yield f"{job} was due and did not come at {missing[:5]}"


def history_and_target_disagree(evidence: Evidence) -> Iterator[str]:
    """A success was answered 200, what did not run has not come, and what has come is in history."""
    arrivals = by_id(evidence.witness.arrivals)
    in_flight = evidence.in_flight
    first, last = evidence.window
    for execution in evidence.executions:
        came = arrivals.pop(execution.id, [])
        if first <= execution.scheduled_s <= last:
            yield from _disagreement(execution, came, in_flight)
    for key, came in arrivals.items():
        yield f"{key} of {came[0].job} came, and is not in history"


def _disagreement(execution: Execution, came: list[Arrival], in_flight: set[Sent]) -> Iterator[str]:
    key, status, attempts = execution.id, execution.status, len(execution.attempts)
    name = f"{key} of {execution.job_name}"
    if status is Status.SUCCESS and (not came or (came[-1].attempt, came[-1].outcome) != (attempts, OK)):
        yield f"{name} is a success at attempt {attempts}, and the target has {came[-1:]}"
    if status is Status.SKIPPED and came:
        yield f"{name} was skipped ({execution.reason}), and came"
    # Whoever is hit by every kill is given up, as `on_unknown` says.
    is_given_up = execution.unknowns > UNKNOWNS_MAX and all((key, n + 1) in in_flight for n in range(attempts))
    if (status is Status.FAILED and not is_given_up) or not execution.is_terminal:
        yield f"{name} is {status}: {execution.reason}"
    if len(came) > attempts:
        yield f"{name} came {len(came)} times, and history has {attempts} attempts"


def api_and_disk_disagree(evidence: Evidence) -> Iterator[str]:
    """What the API told of an execution that had ended is what is on disk."""
    kept = {execution.id: execution for execution in evidence.executions}
    for told in evidence.told:
        if Status(told["status"]) not in TERMINAL:
            continue
        execution = kept[told["id"]]
        numbers = [attempt["attempt"] for attempt in told["attempts"]]
        on_disk = (execution.status, len(execution.attempts), [attempt.n for attempt in execution.attempts])
        if (told["status"], told["attempt"], numbers) != on_disk:
            yield f"{told['id']}: the API told {told['status']} {numbers}, and {on_disk} is on disk"


def overlapping_runs(evidence: Evidence) -> Iterator[str]:
    """Under forbid, queue and replace, no request of a job comes while the target still has another.

    Long work whose acceptance died with the server, on its way or before it left, is asked for again while it goes
    on: nobody knows of it. So is work that was silent for longer than it may be.
    """
    in_flight = evidence.in_flight
    of_job: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in evidence.witness.arrivals:
        of_job[arrival.job].append(arrival)
    for job, arrivals in of_job.items():
        group = group_of(job)
        if group.alone:
            for before, after in pairwise(arrivals):
                is_lost = group.report_ms is not None and (before.id, before.attempt) in in_flight
                if not is_lost and not _was_silent(before, after) and after.at < before.over - SLACK_S:
                    yield f"{job}: {after.id} came while {before.id} ran"


def _was_silent(before: Arrival, after: Arrival) -> bool:
    return before.status == ACCEPTED and after.at - before.until >= HEARTBEAT_S - SLACK_S


def duplicates(evidence: Evidence) -> int:
    """Return how many requests came again although the target had had the one before."""
    in_flight = evidence.in_flight
    return sum(
        1
        for key, arrivals in by_id(evidence.witness.arrivals).items()
        for before, _ in pairwise(arrivals)
        if (key, before.attempt) in in_flight
    )


def by_id(arrivals: Iterable[Arrival]) -> dict[str, list[Arrival]]:
    """Return the arrivals of each execution, in order."""
    found: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        found[arrival.id].append(arrival)
    return found
