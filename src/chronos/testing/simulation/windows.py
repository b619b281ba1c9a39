"""The target-window checker: what was due has arrived in its window, or there is a written and legal reason.

It starts from the targets' own log and a brute-force evaluator, not from what Chronos says of itself; from
Chronos it takes only the reasons it has written down. I14.

Source: the technique is that of the Jepsen tests of cron systems (chronos, dkron): windows, and a matching
of runs to windows. Ours also refuses overlaps, duplicates, and runs that nothing was due for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from chronos.model.execution import Execution, Kind, RangeRecord, execution_id
from chronos.model.job import Concurrency, Job
from chronos.testing.simulation.brute import planned_count, spans_of
from chronos.testing.simulation.course import Course
from chronos.testing.simulation.evidence import Arrival, Evidence, Violation
from chronos.timing.duration import parse_duration

EARLY_S = 0.05
LATE_S = 1.0
HEALED_S = 5.0
SHOWN = 5

_ALWAYS_LEGAL = frozenset({"overlap", "superseded", "paused", "blackout"})
_NEEDS_A_FAULT = frozenset({"misfire", "coalesced", "expired"})


class Window(NamedTuple):
    """When the first byte of one instant has to arrive, by the node's clock."""

    instant_s: int
    opens: float
    closes: float
    execution_id: str


def check_windows(evidence: Evidence, course: Course) -> list[Violation]:
    """I14: see the module."""
    found: list[Violation] = []
    arrivals: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in evidence.arrivals:
        arrivals[arrival.job_id].append(arrival)
    times = _Times(evidence, course)
    for job_id in evidence.revisions:
        windows, owed = _windows(evidence, job_id)
        excused = _Excuses(evidence, course, job_id, times)
        found += _missing(evidence, windows, arrivals[job_id], excused)
        found += _strangers(evidence, course, owed, arrivals[job_id])
        found += _overlapping(course, arrivals[job_id])
    return found


def _windows(evidence: Evidence, job_id: str) -> tuple[list[Window], set[int]]:
    """Return a window for each instant that has to run, and every instant that may have."""
    windows: list[Window] = []
    owed: set[int] = set()
    for span in spans_of(evidence, job_id):
        late_s = LATE_S + (parse_duration(span.job.spec.jitter) / 1e6 if span.job.spec.jitter else 0.0)
        for instant in span.instants():
            owed.add(instant)
            if not span.is_paused:
                key = execution_id(job_id, Kind.SCHEDULE, str(instant), instant)
                windows.append(Window(instant, instant - EARLY_S, instant + late_s, key))
    return windows, owed


def _missing(evidence: Evidence, windows: list[Window], arrivals: list[Arrival], excuses: _Excuses) -> list[Violation]:
    """(1) Each window has an arrival with its id; (2) and enough arrivals if ids did not count."""
    first: dict[str, Arrival] = {}
    for arrival in arrivals:
        first.setdefault(arrival.execution_id, arrival)
    now = evidence.samples[-1].clock if evidence.samples else 0.0
    unexcused: list[Window] = []
    found: list[Violation] = []
    for window in windows:
        if window.closes > now - HEALED_S:
            continue  # nobody could have written a reason yet
        came = first.get(window.execution_id)
        if came is not None and window.opens <= came.clock <= window.closes:
            unexcused.append(window)
            continue
        why = excuses.wrong(window, came)
        if why:
            at = window.instant_s - evidence.begin_s
            found.append(Violation("I14", f"{excuses.name} due at {at:+d} s {window.execution_id}: {why}", at))
    unmatched = greedy(unexcused, [arrival.clock for arrival in first.values() if arrival.series == 0])
    if unmatched:
        found.append(Violation("I14", f"{excuses.name}: {len(unmatched)} windows have no arrival of their own"))
    return found


def greedy(windows: list[Window], arrivals: list[float]) -> list[Window]:
    """Match arrivals to windows, the window that closes first taking the earliest; return those left empty."""
    left = sorted(arrivals)
    empty: list[Window] = []
    for window in sorted(windows, key=lambda window: window.closes):
        place = next((n for n, at in enumerate(left) if window.opens <= at <= window.closes), None)
        if place is None:
            empty.append(window)
        else:
            left.pop(place)
    return empty


class _Times:
    """When things were wrong, and when jobs were busy.

    Attributes:
        faults: (began, healed) by the world's time.
        busy: By job, when its runs were open.
    """

    def __init__(self, evidence: Evidence, course: Course) -> None:
        self.faults = _fault_times(evidence)
        self.busy = _busy_times(course)
        self._log = [entry.time_us / 1e6 for entry in evidence.entries]
        self._world = [entry.at for entry in evidence.entries]

    def world(self, instant_s: int) -> float:
        """Return about when the log's time passed this instant."""
        place = bisect_right(self._log, float(instant_s))
        return self._world[place] if place < len(self._world) else float("inf")


class _Excuses:
    """What may excuse a window that was missed, for one job."""

    def __init__(self, evidence: Evidence, course: Course, job_id: str, times: _Times) -> None:
        self.name = evidence.revisions[job_id][-1].name
        self._course = course
        self._times = times
        records = evidence.records.get(job_id, [])
        self._ranges = sorted((r.first_s, r.last_s, r) for r in records if isinstance(r, RangeRecord))
        self._executions = {r.id: r for r in records if isinstance(r, Execution)}
        self._busy = times.busy.get(job_id, [])

    def wrong(self, window: Window, arrival: Arrival | None) -> str:
        """Return what is wrong with a missed window; empty when it is excused."""
        execution = self._executions.get(window.execution_id)
        if execution is not None:
            return self._wrong_run(window, execution, arrival)
        ranges = [r for first, last, r in self._ranges if first <= window.instant_s <= last]
        if not ranges:
            return "it neither arrived nor has a record"
        if any(r.reason.value in _ALWAYS_LEGAL for r in ranges):
            return ""
        if all(r.reason.value in _NEEDS_A_FAULT for r in ranges) and self._is_faulty(window.instant_s, None):
            return ""
        return f"skipped as {ranges[0].reason.value}, and nothing had gone wrong"

    def _wrong_run(self, window: Window, execution: Execution, arrival: Arrival | None) -> str:
        if arrival is None:
            if execution.is_terminal and execution.status.value == "cancelled":
                return ""  # somebody wanted it so, and it says who
            waits = execution.reason or self._waited(execution.id)
            if waits or not execution.is_terminal:
                return (
                    ""
                    if waits or self._is_busy(window, execution) or execution.late
                    else "it is open and never arrived"
                )
            return f"it is {execution.status.value} and never arrived"
        late_s = arrival.clock - window.closes
        if arrival.clock < window.opens:
            return f"it arrived {window.instant_s - arrival.clock:.3f} s early"
        if execution.late or self._is_busy(window, execution) or self._waited(execution.id):
            return ""
        if self._is_faulty(window.instant_s, arrival.at):
            return ""
        return f"it arrived {late_s + LATE_S:.3f} s late, and nothing had gone wrong"

    def _waited(self, key: str) -> str:
        """Return why it was taken back once before it was sent: an open breaker, a full host."""
        return next((s.execution.reason for s in self._course.steps.get(key, ()) if s.execution.reason), "")

    def _is_busy(self, window: Window, execution: Execution) -> bool:
        """Whether another run of the job held its slot, or stood in line, when this one was due and decided."""
        until = max(window.closes, execution.decided_at_us / 1e6 + LATE_S)
        return any(
            begins <= until and ends >= window.opens for begins, ends, key in self._busy if key != window.execution_id
        )

    def _is_faulty(self, instant_s: int, arrived: float | None) -> bool:
        """Whether something was wrong between the instant and its arrival, by the world's time."""
        at = self._times.world(instant_s)
        until = arrived if arrived is not None else at + LATE_S
        return any(began <= until and healed + HEALED_S >= at - 1.0 for began, healed in self._times.faults)


def _fault_times(evidence: Evidence) -> list[tuple[float, float]]:
    times = [(t.began, t.healed if t.healed >= 0 else float("inf")) for t in evidence.troubles]
    # Between two lives nobody sends, whoever ended the first.
    lives = sorted(evidence.lives, key=lambda life: life.number)
    for before, after in zip([None, *lives], lives, strict=False):
        times.append((before.ended if before is not None else 0.0, after.ready))
    return times


def _busy_times(course: Course) -> dict[str, list[tuple[float, float, str]]]:
    """Return by job (from, until, execution) in log time: from when it could start to its end."""
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for key, steps in course.steps.items():
        first, last = steps[0], steps[-1]
        ends = last.entry.time_us / 1e6 if last.execution.is_terminal else float("inf")
        begins = max(first.entry.time_us / 1e6, min(s.execution.effective_us for s in steps) / 1e6 - LATE_S)
        found[first.execution.job_id].append((begins, ends + LATE_S, key))
    return found


def _strangers(evidence: Evidence, course: Course, owed: set[int], arrivals: list[Arrival]) -> list[Violation]:
    """(3) What arrives was due, or was asked for."""
    found: list[Violation] = []
    for arrival in arrivals:
        steps = course.steps.get(arrival.execution_id, [])
        if steps and steps[0].execution.kind is not Kind.SCHEDULE:
            continue
        expected = execution_id(arrival.job_id, Kind.SCHEDULE, str(arrival.scheduled_s), arrival.scheduled_s)
        if arrival.execution_id != expected:
            what = f"{arrival.job_name} {arrival.execution_id} is not the id of its instant"
            found.append(Violation("I14", what, arrival.at))
        elif arrival.scheduled_s not in owed and not _was_edited(evidence, arrival):
            at = arrival.scheduled_s - evidence.begin_s
            found.append(
                Violation("I14", f"{arrival.job_name} arrived for {at:+d} s, when nothing was due", arrival.at)
            )
    return found


def _was_edited(evidence: Evidence, arrival: Arrival) -> bool:
    """Whether the job was changed about then: what had left by the old definition cannot be called back."""
    times_us = [job.owed_since_us for job in evidence.revisions[arrival.job_id]]
    times_us += [evidence.deleted[arrival.job_id]] if arrival.job_id in evidence.deleted else []
    due_us = arrival.scheduled_s * 1_000_000
    return any(abs(due_us - time_us) <= 1_500_000 for time_us in times_us)


def _overlapping(course: Course, arrivals: list[Arrival]) -> list[Violation]:
    """(5) Under forbid, queue and replace no attempt begins before the one before it was closed."""
    found: list[Violation] = []
    open_until, holder = 0.0, ""
    for arrival in sorted(arrivals, key=lambda arrival: arrival.at):
        grant = course.grants.get((arrival.execution_id, arrival.series, arrival.attempt, arrival.token))
        job: Job | None = grant.job if grant is not None else None
        closed = arrival.closed if arrival.closed >= 0 else float("inf")
        if grant is not None and job is not None and not grant.execution.force:
            alone = Concurrency.ALLOW not in (job.spec.concurrency, (grant.first or job).spec.concurrency)
            if alone and arrival.at < open_until - 1e-6 and arrival.execution_id != holder:
                what = f"{arrival.job_name} {arrival.execution_id} began before {holder} was closed"
                found.append(Violation("I6", what, arrival.at))
        if closed > open_until and not (grant is not None and grant.execution.force):
            open_until, holder = closed, arrival.execution_id
    return found


__all__ = ["Window", "check_windows", "greedy", "planned_count"]
