"""What is owed is decided, once, and time never runs back: I1, I2, I3, I21, I22."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter

from chronos.model.events import EventType
from chronos.model.execution import Execution, Kind, RangeRecord
from chronos.store.tables import META
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Evidence, Violation

SHOWN = 5
AHEAD_S = 1.0
"""How far the mark may be ahead of the clock: the claim's lead, and the rest of a second."""


def no_instant_is_lost_or_recorded_twice(evidence: Evidence, course: Course) -> list[Violation]:
    """I1, I2: every instant that a definition owed, up to the mark, has exactly one record."""
    found: list[Violation] = []
    for job_id, revisions in evidence.revisions.items():
        name = revisions[-1].name
        owed = _owed(evidence, course, job_id)
        written = _written(evidence.records.get(job_id, []), owed)
        lost = [instant - evidence.begin_s for instant in sorted(owed) if not written[instant]]
        twice = [instant - evidence.begin_s for instant in sorted(owed) if written[instant] > 1]
        if lost:
            found.append(Violation("I1", f"{name} {job_id}: {len(lost)} instants have no record: {lost[:SHOWN]}"))
        if twice:
            found.append(Violation("I2", f"{name} {job_id}: {len(twice)} instants have two: {twice[:SHOWN]}"))
    return found + _twice_kept(evidence)


def _owed(evidence: Evidence, course: Course, job_id: str) -> set[int]:
    # What passes in a pause is written down when it ends; of one that has not ended there is no record yet.
    return {
        instant
        for span in course.spans[job_id]
        if not (span.is_paused and (span.is_last or job_id in evidence.deleted))
        for instant in span.instants
    }


def _written(records: list[Execution | RangeRecord], owed: set[int]) -> Counter[int]:
    """Return how often each instant is written down; a range stands for what was owed in it and did not run."""
    found: Counter[int] = Counter()
    ran = {r.scheduled_s for r in records if isinstance(r, Execution) and r.kind is Kind.SCHEDULE}
    for instant in ran:
        found[instant] += 1
    open_ranges: list[tuple[RangeRecord, list[int]]] = []
    ordered = sorted(owed)
    for record in records:
        if isinstance(record, RangeRecord):
            first, last = bisect_left(ordered, record.first_s), bisect_right(ordered, record.last_s)
            inside = [s for s in ordered[first:last] if s not in ran]
            if len(inside) <= record.count:
                found.update(inside)
            else:
                open_ranges.append((record, inside))
    # A range that others interrupt: what the others hold is not its own.
    for record, inside in open_ranges:
        left = [instant for instant in inside if not found[instant]]
        if len(left) <= record.count:
            found.update(left)
    return found


def _twice_kept(evidence: Evidence) -> list[Violation]:
    keys = Counter(
        (record.id, record.series)
        for records in evidence.records.values()
        for record in records
        if isinstance(record, Execution)
    )
    return [Violation("I2", f"{key} series {series} is kept {n} times") for (key, series), n in keys.items() if n > 1]


def marks_and_times_never_run_back(evidence: Evidence, course: Course) -> list[Violation]:
    """I3: log time, the high-water mark, and term never decrease; entries are dense."""
    found: list[Violation] = []
    index, time_us, term, hwm_s = 0, 0, 0, 0
    for entry in evidence.entries:
        if entry.index != index + 1:
            found.append(Violation("I3", f"entry {entry.index} follows entry {index}", entry.at))
        if entry.time_us < time_us:
            found.append(Violation("I3", f"log time runs back at entry {entry.index}", entry.at))
        for change in entry.changes:
            meta = change.puts.get((META.name, "meta"))
            if meta is not None and meta.term < term:
                found.append(Violation("I3", f"the term goes back to {meta.term} at entry {entry.index}", entry.at))
            term = meta.term if meta is not None else term
        index, time_us = entry.index, entry.time_us
    for entry, shard in course.marks:
        if shard.hwm_s < hwm_s:
            found.append(Violation("I3", f"the mark goes back to {shard.hwm_s} at entry {entry.index}", entry.at))
        hwm_s = shard.hwm_s
    return found


def what_was_decided_is_accounted_for(evidence: Evidence, course: Course) -> list[Violation]:
    """I21: whatever was decided has ended in one way, or is open."""
    decided: set[tuple[str, int]] = set()
    ended: Counter[tuple[str, int]] = Counter()
    for entry in evidence.entries:
        for change in entry.changes:
            for event in change.events:
                if event.execution is None:
                    continue
                key = (event.execution.id, event.execution.series)
                if event.type is EventType.EXECUTION_DECIDED:
                    decided.add(key)
                elif event.type is EventType.EXECUTION_FINISHED:
                    ended[key] += 1
    open_now = {(execution.id, execution.series) for execution in evidence.open_at_end}
    found = [Violation("I21", f"{key} series {n} has vanished") for key, n in sorted(decided - set(ended) - open_now)]
    found += [Violation("I21", f"{key} has ended and is open") for key in sorted(set(ended) & open_now)]
    found += [Violation("I21", f"{key} has ended {n} times") for key, n in sorted(ended.items()) if n > 1]
    return found + [Violation("I21", f"{key} ended undecided") for key in sorted(set(ended) - decided)]


def nothing_is_decided_by_a_clock_that_is_not_believed(evidence: Evidence, course: Course) -> list[Violation]:
    """I22: the mark never runs ahead of the latest time that there was reason to believe."""
    found: list[Violation] = []
    for entry, shard in course.marks:
        believed_s = evidence.believed_s(entry.at)
        if shard.hwm_s > believed_s + AHEAD_S:
            ahead_s = shard.hwm_s - believed_s
            found.append(Violation("I22", f"entry {entry.index} decides {ahead_s:.0f} s ahead of the clock", entry.at))
    return found[:SHOWN]
