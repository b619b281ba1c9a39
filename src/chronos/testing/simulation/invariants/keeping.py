"""What is kept is whole, the same everywhere, and shows no secret: I4, I16, I17, I19, I20."""

from __future__ import annotations

from chronos.model.events import EventType
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Evidence, Violation


def one_life_writes_at_a_time(evidence: Evidence, course: Course) -> list[Violation]:
    """I4: a right to send names the life whose boot record was the last one before it."""
    found: list[Violation] = []
    leader = ""
    grants = sorted(course.grants.values(), key=lambda grant: grant.entry.index)
    place = 0
    for entry in evidence.entries:
        for change in entry.changes:
            for event in change.events:
                if event.type is EventType.LEADER_CHANGED:
                    leader = event.by
        while place < len(grants) and grants[place].entry.index == entry.index:
            grant = grants[place]
            place += 1
            if grant.attempt.node != leader:
                what = f"entry {entry.index} lets {grant.attempt.node} send while {leader} leads"
                found.append(Violation("I4", what, entry.at))
    return found


def state_equals_the_log_and_files_are_whole(evidence: Evidence, course: Course) -> list[Violation]:
    """I16, I19, I20: the state is what its log folds into; chain and files verify."""
    found = []
    for node, (kept, folded) in sorted(evidence.digests.items()):
        if kept != folded:
            what = f"node {node}: the state's digest is {kept}, and its log folds into {folded}"
            found.append(Violation("I19", what))
    for name, verdict in sorted(evidence.integrity.items()):
        if verdict != "ok":
            found.append(Violation("I16" if name.endswith("chain") else "I20", f"{name}: {verdict}"))
    return found


def credentials_stay_sealed(evidence: Evidence, course: Course) -> list[Violation]:
    """I17: the canary credential can be read nowhere."""
    return [Violation("I17", f"a credential can be read in {place}") for place in evidence.leaks]


def the_product_finds_no_fault_with_itself(evidence: Evidence, course: Course) -> list[Violation]:
    """Whatever is logged with a traceback is a bug, unless the disk was made to fail."""
    return [Violation("log", complaint) for complaint in evidence.complaints]
