"""What several nodes promise together: who may send, whose term it is, what may come twice: I10, I25, I26, I27."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from itertools import pairwise

from chronos.cluster.leases import node_of
from chronos.model.events import EventType
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Arrival, Evidence, Violation
from chronos.testing.simulation.longwork import LongWork
from chronos.testing.simulation.profile import Fault

LEASE_S = 5.0
"""What B4.8 says of a node's right to send. Not the product's own number: that may be wrong."""
SLACK_S = 0.1
"""Clocks that drift, and what is on its way within a process."""
SETTLED_S = 6.0
"""How long before an accident an answer may have come that nobody could write down any more."""
SHORT_S = 1.9
"""A lease lasts for five seconds, the last renewal may be more than one old, and the next one takes its time."""
DRAIN_S = 5.0
TAKEN_OVER_S = 6.0
"""Within so long after a fault the lead may change because of it."""

# B2: what may let an attempt come again that a target has accepted.
_ACCIDENTS = frozenset(
    {
        Fault.KILL,
        Fault.POWER_CUT,
        Fault.POWER_CUT_ALL,
        Fault.DISK_LOST,
        Fault.PAUSE,
        Fault.ENGINE_KILL,
        Fault.ENGINE_PAUSE,
        Fault.ISOLATED,
        Fault.LEADER_ISOLATED,
        Fault.DEAF,
        Fault.MUTE,
        Fault.LOSSY,
        Fault.SLOW_NETWORK,
        Fault.SLOW_DISK,
    }
)
_ENDS = frozenset({"stop", "hang", Fault.KILL, Fault.POWER_CUT, Fault.POWER_CUT_ALL, Fault.DISK_LOST})
_PASSES = frozenset(
    {
        Fault.PAUSE,
        Fault.ENGINE_KILL,
        Fault.ENGINE_PAUSE,
        Fault.ISOLATED,
        Fault.LEADER_ISOLATED,
        Fault.DEAF,
        Fault.MUTE,
    }
)
"""What is over before anybody counts as lost excuses nothing."""


def nobody_sends_without_a_right(evidence: Evidence, course: Course) -> list[Violation]:
    """I25: what a node sends leaves within five seconds of the last time the log said that it lives."""
    found: list[Violation] = []
    said: dict[str, list[float]] = defaultdict(list)
    for at, alive in evidence.alive:
        for incarnation in alive:
            said[incarnation].append(at)
    names = {(life.node, life.number): life.incarnation for life in evidence.lives}
    for arrival in evidence.arrivals:
        times = said[names[arrival.sender]]
        place = bisect_right(times, arrival.at)
        silent_s = arrival.at - times[place - 1] if place else float("inf")
        if silent_s > LEASE_S + SLACK_S:
            what = f"{arrival.execution_id} left node {arrival.node} {silent_s:.3f} s after the log said that it lives"
            found.append(Violation("I25", what, arrival.at))
    return found


def tokens_are_of_the_term_that_granted_them(evidence: Evidence, course: Course) -> list[Violation]:
    """I26: a token's term is that of the entry that gave the right to send; terms count up with each new leader."""
    found: list[Violation] = []
    term = 0
    terms: dict[int, int] = {}
    for entry in evidence.entries:
        term += sum(event.type is EventType.LEADER_CHANGED for change in entry.changes for event in change.events)
        terms[entry.index] = term
    for arrival in evidence.arrivals:
        epoch, of, index = (int(part) for part in arrival.token.split("."))
        if epoch or terms.get(index) != of:
            what = f"{arrival.execution_id} came with {arrival.token}; entry {index} is of term {terms.get(index)}"
            found.append(Violation("I26", what, arrival.at))
    return found


def the_lead_changes_for_a_reason(evidence: Evidence, course: Course) -> list[Violation]:
    """I27: as long as nothing goes wrong, whoever leads goes on to."""
    found: list[Violation] = []
    changes = [
        (entry.at, event.by)
        for entry in evidence.entries
        for change in entry.changes
        for event in change.events
        if event.type is EventType.LEADER_CHANGED
    ]
    for at, by in changes[1:]:
        around = any(
            trouble.kind not in ("targets_down", "targets_hang", "targets_slow")
            and trouble.began <= at
            and (trouble.healed < 0 or at <= trouble.healed + TAKEN_OVER_S)
            for trouble in evidence.troubles
        )
        if not around:
            found.append(Violation("I27", f"{by} took the lead, and nothing had gone wrong", at))
    return found


def duplicates_have_an_accident(evidence: Evidence, course: Course) -> list[Violation]:
    """I9, I10: an attempt arrives once; what a target has accepted comes again only as B2 says."""
    found: list[Violation] = []
    by_execution: dict[tuple[str, int], list[Arrival]] = defaultdict(list)
    seen: set[tuple[str, int, int]] = set()
    for arrival in evidence.arrivals:
        key = (arrival.execution_id, arrival.series, arrival.attempt)
        if key in seen:
            found.append(Violation("I9", f"{arrival.execution_id} attempt {arrival.attempt} came twice", arrival.at))
        seen.add(key)
        by_execution[arrival.execution_id, arrival.series].append(arrival)
    long = LongWork(evidence, course)
    for arrivals in by_execution.values():
        for before, after in pairwise(sorted(arrivals, key=lambda arrival: arrival.attempt)):
            if not before.answer.startswith("2") or long.may_come_again(before, after):
                continue
            if not _had_an_accident(evidence, before, after):
                what = f"{after.job_name} {after.execution_id} attempt {after.attempt} came although the one before"
                found.append(Violation("I10", f"{what} was accepted at {before.closed:.3f} s", after.at))
    return found


def _had_an_accident(evidence: Evidence, before: Arrival, after: Arrival) -> bool:
    """Whether something happened that could keep the answer to `before` from being written down in time."""
    since, until = before.at - SETTLED_S, min(after.at, before.closed + SETTLED_S)
    for trouble in evidence.troubles:
        healed = trouble.healed if trouble.healed >= 0 else float("inf")
        is_short = trouble.kind in _PASSES and healed - trouble.began < SHORT_S
        if trouble.kind in _ACCIDENTS and not is_short and trouble.began <= until and healed >= since:
            return True
    # A drain that was cut off counts, too: what still ran after its end nobody heard the end of.
    asked = [life.asked for life in evidence.lives if (life.node, life.number) == before.sender and life.asked >= 0]
    return bool(asked) and before.closed >= asked[0] + DRAIN_S


def processes_end_for_a_reason(evidence: Evidence, course: Course) -> list[Violation]:
    """I24: nobody ends by itself; a start may fail for want of a majority."""
    return [
        Violation("I24", f"life {life.number} of node {life.node} ended by itself: {life.ended_by}", life.ended)
        for life in evidence.lives
        if life.ended >= 0 and life.ended_by not in _ENDS and not (life.ready < 0 and life.ended_by == "unavailable")
    ]


def is_excused(evidence: Evidence, violation: Violation) -> bool:
    """Whether nobody promises it of several: when all are stopped at the end, nobody is left to renew a right to send;
    and what a node that stands still for longer than its right has sent stays open at its target."""
    at = violation.at if violation.at is not None else -1.0
    if violation.rule == "I23":
        return at >= evidence.seconds
    return violation.rule == "I6" and any(
        trouble.kind == Fault.PAUSE
        and trouble.began <= at <= trouble.healed
        and at - _last_said_to_live(evidence, str(trouble.facts["nodes"]), at) > LEASE_S
        for trouble in evidence.troubles
    )


def _last_said_to_live(evidence: Evidence, nodes: str, at: float) -> float:
    """Return when the log last said of one of these nodes (names, joined by commas) that it lives, before `at`."""
    names = set(nodes.split(","))
    said = (second for second, alive in evidence.alive if second <= at and names & {node_of(one) for one in alive})
    return max(said, default=0.0)
