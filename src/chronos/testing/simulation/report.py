"""What came of a run, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from chronos.model.execution import Execution, RangeRecord
from chronos.testing.simulation.course import Course, course_of
from chronos.testing.simulation.evidence import Evidence, Violation
from chronos.testing.simulation.invariants import judge
from chronos.testing.simulation.longwork import turns_of
from chronos.testing.simulation.world import World

Judged = Callable[[Evidence, Course | None], list[Violation]]


class Report(Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes:
        digest: Hash of every arrival, log entry, fault and client's answer, and of the final state.
        planned: Instants that the jobs' definitions owed, by the brute-force evaluator.
        delivered: First bytes that arrived at targets.
        speed: Virtual seconds a real second.
        skips: Instants skipped, by reason. `transitions`: how often executions went from state to state.
        inconclusive: Too little happened for the run to prove anything.
        steps: Callbacks that its loop has run: what it costs, the same on every machine.
        long_work: What happened around work that targets had taken on, by `longwork.Turn`.
    """

    seed: int
    profile: str
    nodes: int
    digest: str
    violations: list[Violation]
    virtual_seconds: float
    real_seconds: float
    planned: int
    delivered: int
    speed: float
    lives: int
    faults: dict[str, int]
    skips: dict[str, int]
    transitions: dict[str, int]
    counts: dict[str, int]
    disk: dict[str, int]
    inconclusive: bool
    long_work: dict[str, int] = {}
    steps: int = 0


def report_of(world: World, real_s: float, judged: Judged = judge) -> Report:
    """Judge what a run has left behind, and say what came of it."""
    evidence, trace = world.evidence, world.trace
    course = course_of(evidence)
    violations = [*evidence.broken, *judged(evidence, course)]
    planned = course.planned
    return Report(
        seed=world.seed,
        profile=world.profile.name,
        nodes=len(world.nodes),
        digest=trace.digest(),
        violations=violations,
        virtual_seconds=round(world.seconds, 3),
        real_seconds=round(real_s, 3),
        planned=planned,
        delivered=len(evidence.arrivals) + len(evidence.undone),
        speed=round(world.seconds / real_s, 1),
        lives=len(evidence.lives),
        faults=_sorted(Counter(trouble.kind for trouble in evidence.troubles)),
        skips=_sorted(skips_of(evidence)),
        transitions=_sorted(transitions_of(evidence)),
        counts=_sorted(trace.counts),
        disk=_sorted(sum((node.disk.hits for node in world.nodes), Counter[str]())),
        inconclusive=planned < 0.8 * world.profile.planned_a_second * world.seconds,
        long_work=_sorted(turns_of(evidence)),
        steps=world.loop.steps,
    )


def skips_of(evidence: Evidence) -> Counter[str]:
    """Return how many instants were skipped, by reason."""
    found: Counter[str] = Counter()
    for records in evidence.records.values():
        for record in records:
            if isinstance(record, RangeRecord):
                found[record.reason.value] += record.count
    return found


def transitions_of(evidence: Evidence) -> Counter[str]:
    """Return how often executions went from one state to another."""
    found: Counter[str] = Counter()
    last: dict[str, str] = {}
    for entry in evidence.entries:
        for change in entry.changes:
            for event in change.events:
                if isinstance(event.execution, Execution):
                    key, now = event.execution.id, event.execution.status.value
                    before = last.get(key, "planned")
                    if before != now:
                        found[f"{before} -> {now}"] += 1
                    last[key] = now
    return found


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
